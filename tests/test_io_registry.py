"""What all formats share: choosing one, turning, checking, and never leaving half a file."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from image3d_nb import convert
from image3d_nb import io as io3d
from image3d_nb.errors import FormatError, InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.io import ply

from .mesh_samples import ball, textured
from .test_io_ply import assert_same, example

SUFFIXES = [info.suffix for info in io3d.formats() if info.holds == "Gaussians" and info.write]
Y_DOWN = [".ply", ".splat", ".sog"]
"""Those that 3DGS tools take for y down; the specifications of the others say y up."""
EXACT = {".ply": 1e-5, ".splat": 0.05, ".spz": 0.08, ".sog": 0.03, ".glb": 1e-5, ".gltf": 1e-5}
"""How far covariances may be off, as a share of the largest."""
MEANS = {".spz": 1 / 8192, ".sog": 2e-5}
"""How far means may be off."""
TURN = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def test_formats_print_as_a_table() -> None:
    table = io3d.formats()
    assert {".ply", ".splat", ".spz", ".sog"} <= {info.suffix for info in table if info.read and info.write}
    assert {info.name for info in table if not info.write} == {"compressed PLY"}
    lines = repr(table).splitlines()
    assert lines[0].split() == ["suffix", "name", "holds", "read", "write"]
    assert len(lines) == len(table) + 1


def assert_same_shapes(got: Gaussians, means: torch.Tensor, covariances: torch.Tensor, suffix: str) -> None:
    """Whatever the order: a .splat is sorted."""
    nearest = torch.cdist(means, got.means).argmin(1)
    assert len(nearest.unique()) == len(means)
    torch.testing.assert_close(got.means[nearest], means, rtol=0, atol=MEANS.get(suffix, 1e-6))
    # the largest covariance a Gaussian of these can have
    atol = float(covariances.diagonal(dim1=1, dim2=2).max()) * EXACT[suffix]
    torch.testing.assert_close(got.covariances()[nearest], covariances, rtol=0, atol=atol)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("convention", io3d.CONVENTIONS)
def test_conventions_round_trip_through_covariances(tmp_path: Path, suffix: str, convention: str) -> None:
    gaussians = example(30)
    path = tmp_path / f"a{suffix}"
    io3d.save(gaussians, path, convention)
    assert_same_shapes(io3d.load(path, convention), gaussians.means, gaussians.covariances(), suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("convention", ["3dgs", "ydown"])
def test_which_files_are_ours_turned_about_x(tmp_path: Path, suffix: str, convention: str) -> None:
    gaussians = example(30)
    path = tmp_path / f"a{suffix}"
    io3d.save(gaussians, path, convention)
    stored = io3d.load(path, "opengl")  # the numbers as they are in the file
    turn = TURN if convention == "ydown" or suffix in Y_DOWN else torch.eye(3)
    assert_same_shapes(stored, gaussians.means @ turn, turn @ gaussians.covariances() @ turn, suffix)


def test_a_large_file_is_turned_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io3d.save(example(50, degree=2), tmp_path / "a.ply")
    at_once = io3d.load(tmp_path / "a.ply")
    monkeypatch.setattr("image3d_nb.io.files._TURN_AT_ONCE", 7)
    assert_same(io3d.load(tmp_path / "a.ply"), at_once)


def test_the_turn_is_the_quaternion_0_1_0_0(tmp_path: Path) -> None:
    gaussians = example(10)
    io3d.save(gaussians, tmp_path / "a.ply")
    w, x, y, z = gaussians.quats.T
    stored = io3d.load(tmp_path / "a.ply", "opengl").quats
    want = torch.stack([-x, w, -z, y], 1)
    sign = torch.sign((stored * want).sum(1, keepdim=True))  # q and -q are the same orientation
    torch.testing.assert_close(stored * sign, want)


def test_view_dependent_colours_turn_too(tmp_path: Path) -> None:
    gaussians = example(10, degree=3)
    io3d.save(gaussians, tmp_path / "a.ply")
    assert_same_up_to_sign(io3d.load(tmp_path / "a.ply"), gaussians)
    stored = io3d.load(tmp_path / "a.ply", "opengl").sh
    torch.testing.assert_close(stored[:, 0], gaussians.sh[:, 0])
    signs = torch.tensor([-1.0, -1.0, 1.0])[:, None]  # the harmonics of degree 1 go with y, z, x
    torch.testing.assert_close(stored[:, 1:4], gaussians.sh[:, 1:4] * signs, rtol=1e-5, atol=1e-5)


def assert_same_up_to_sign(got: Gaussians, want: Gaussians) -> None:
    sign = torch.sign((got.quats * want.quats).sum(1, keepdim=True))
    assert_same(dataclasses.replace(got, quats=got.quats * sign), want, atol=1e-5)


@pytest.mark.parametrize("convention", ["colmap", "", None, "3DGS"])
def test_unknown_convention(tmp_path: Path, convention: str) -> None:
    io3d.save(example(), tmp_path / "a.ply")
    with pytest.raises(InputError, match="convention must be one of '3dgs', 'opengl', 'ydown'; got"):
        io3d.save(example(), tmp_path / "b.ply", convention)
    with pytest.raises(InputError, match="convention must be one of"):
        io3d.load(tmp_path / "a.ply", convention)
    assert not (tmp_path / "b.ply").exists()


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    io3d.save(example(), tmp_path / "a.ply", "opengl")
    for name in ("a.splat", "a.bin", "a", "a.PLY"):
        (tmp_path / name).write_bytes((tmp_path / "a.ply").read_bytes())
        assert_same(io3d.load(tmp_path / name, "opengl"), example())


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    for name in ("A.PLY", "A.Splat"):
        io3d.save(example(), tmp_path / name)
        assert len(io3d.load(str(tmp_path / name))) == 50


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.ply.gz", ".ply"])
def test_unknown_suffix_names_those_there_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=r"must be one of \.ply, \.splat, \.spz.*; got"):
        io3d.save(example(), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.ply", "a.xyz", "a.png"])
def test_unknown_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(FormatError, match=rf"{name}: .*must be one of .*first bytes are b'.x89PNG"):
        io3d.load(tmp_path / name)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        io3d.load(tmp_path / "none.ply")
    with pytest.raises(FileNotFoundError, match="folder"):
        io3d.save(example(), tmp_path / "none" / "a.ply")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unsupported_objects_are_refused_before_anything_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    bad = [
        (torch.rand(1, 5, 14), "must be Gaussians.*; got Tensor"),
        (None, "got NoneType"),
        (example(0), "at least one Gaussian; got 0"),
        (change(example(9), "means", torch.nan), "means must be finite; 1 of 9"),
        (change(example(9), "sh", torch.inf), "sh must be finite"),
        (change(example(9), "scales", -1.0), "scales must be >= 0"),
        (change(example(9), "opacities", 1.5), r"opacities must be in \[0, 1\]"),
        (change(example(9), "quats", 0.0), "quats must have a length above 0"),
    ]
    for obj, message in bad:
        with pytest.raises(InputError, match=message):
            io3d.save(obj, path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def change(gaussians: Gaussians, name: str, value: float) -> Gaussians:
    getattr(gaussians, name)[3] = value
    return gaussians


def test_what_examiners_get_is_unturned_and_whole(tmp_path: Path) -> None:
    gaussians = example(20)
    io3d.save(gaussians, tmp_path / "a.splat")
    content = bytearray((tmp_path / "a.splat").read_bytes())
    content[28:32] = bytes([128] * 4)  # an orientation of length 0
    (tmp_path / "a.splat").write_bytes(content)
    known, stored = io3d.read_stored(tmp_path / "a.splat")
    assert known.suffix == ".splat"
    assert len(stored) == 20
    kept = io3d.load(tmp_path / "a.splat", "opengl", drop_bad_rows=True)
    assert torch.equal(stored.means[1:], kept.means)
    (tmp_path / "b.ply").write_bytes(b"nothing known")
    with pytest.raises(FormatError, match=r"b\.ply: .*must be one of"):
        io3d.read_stored(tmp_path / "b.ply")


def test_arguments_that_do_not_fit_the_object(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scale_mm sets the size of a mesh; got Gaussians: to_mesh"):
        io3d.save(example(), tmp_path / "a.ply", scale_mm=50)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_float_types_gradients_and_strides(tmp_path: Path, suffix: str) -> None:
    gaussians = example(12)
    io3d.save(gaussians, tmp_path / f"a{suffix}")
    tensor = gaussians.to_lgm().double().requires_grad_()
    io3d.save(Gaussians.from_lgm(tensor), tmp_path / f"b{suffix}")
    a, b = (io3d.load(tmp_path / f"{name}{suffix}") for name in "ab")
    assert a.dtype == b.dtype == torch.float32
    assert_same(b, a, atol=2e-2 if suffix in (".splat", ".spz", ".sog") else 1e-5)


@pytest.mark.parametrize("scale", [1e-10, 1e25])
@pytest.mark.parametrize(("suffix", "atol"), [(".splat", 1.01 / 128), (".spz", 2e-3), (".sog", 0.01)])
def test_quaternions_of_any_length(tmp_path: Path, suffix: str, atol: float, scale: float) -> None:
    gaussians = example(20)
    io3d.save(gaussians, tmp_path / f"a{suffix}")
    io3d.save(dataclasses.replace(gaussians, quats=gaussians.quats * scale), tmp_path / f"b{suffix}")
    a, b = (io3d.load(tmp_path / f"{name}{suffix}").quats for name in "ab")
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_input_is_checked_without_assert(tmp_path: Path) -> None:
    script = """
import sys, torch
from image3d_nb import io
from image3d_nb.errors import FormatError, InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.io import ply
from image3d_nb.images import load_image, prepare_image
import numpy as np
assert False, "asserts are off"
folder = sys.argv[1]
good = Gaussians.from_lgm(torch.rand(1, 5, 14))
def refused(kind, run):
    try:
        run()
    except kind:
        return
    sys.exit(f"not refused: {run}")
refused(InputError, lambda: io.save(None, folder + "/a.ply"))
refused(InputError, lambda: io.save(good, folder + "/a.ply", "up"))
refused(FormatError, lambda: io.save(good, folder + "/a.xyz"))
io.save(good, folder + "/a.ply")
content = open(folder + "/a.ply", "rb").read()
for cut in (0, 3, 100, len(content) - 5):
    open(folder + "/a.ply", "wb").write(content[:cut])
    refused(FormatError, lambda: io.load(folder + "/a.ply"))
refused(InputError, lambda: load_image(np.zeros((4, 4, 2))))
refused(InputError, lambda: load_image(np.full((4, 4, 3), np.nan)))
refused(InputError, lambda: prepare_image(np.zeros((64, 64, 3)), ratio=2))
"""
    root = Path(io3d.__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONOPTIMIZE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("suffix", [".obj", ".gltf", ".ply"])
def test_a_texture_never_replaces_the_image_that_the_object_was_made_of(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "mug.png").write_bytes(b"a photograph")
    for mesh in (textured(ball()), textured(ball(6))):  # a second save replaces what the first one wrote
        io3d.save(mesh, tmp_path / f"mug{suffix}")
        np.testing.assert_array_equal(io3d.load(tmp_path / f"mug{suffix}").texture, mesh.texture)  # type: ignore[union-attr,arg-type]
    assert (tmp_path / "mug.png").read_bytes() == b"a photograph"
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["mug.png", "mug_texture.png"]


@pytest.mark.parametrize("suffix", [".obj", ".gltf", ".ply"])
@pytest.mark.parametrize("by", ["save", "convert"])
def test_companions_stand_beside_the_file_that_a_link_leads_to(tmp_path: Path, suffix: str, by: str) -> None:
    (tmp_path / "real").mkdir()
    link, real = tmp_path / f"link{suffix}", tmp_path / "real" / f"mug{suffix}"
    link.symlink_to(real)
    mesh = textured(ball())
    if by == "save":
        io3d.save(mesh, link)
    else:
        io3d.save(mesh, tmp_path / "source.glb")
        convert(tmp_path / "source.glb", link, kind="mesh")
    assert {path.name for path in tmp_path.iterdir()} <= {"real", "source.glb", link.name}
    assert link.is_symlink()
    for path in (real, link):
        np.testing.assert_array_equal(io3d.load(path).texture, mesh.texture)  # type: ignore[union-attr,arg-type]


def test_companions_stand_beside_a_link_to_a_name_without_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "mug.gltf").symlink_to(tmp_path / "blobs" / "5f2a")  # as a cache stores files by their content
    io3d.save(textured(ball()), tmp_path / "mug.gltf")
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == ["5f2a"]
    np.testing.assert_array_equal(io3d.load(tmp_path / "mug.gltf").texture, textured(ball()).texture)  # type: ignore[union-attr,arg-type]


def test_rows_that_normalising_makes_no_rotation_cannot_be_drawn(tmp_path: Path) -> None:
    gaussians = example(9)
    io3d.save(gaussians, tmp_path / "a.ply")
    content = (tmp_path / "a.ply").read_bytes()
    gaussians.quats[4] = 1e-14
    with pytest.raises(InputError, match="quats"):
        io3d.save(gaussians, tmp_path / "a.ply")
    assert (tmp_path / "a.ply").read_bytes() == content
    (tmp_path / "a.ply").write_bytes(ply.write(gaussians, "a.ply")["a.ply"])
    with pytest.raises(FormatError, match="row 4"):
        io3d.load(tmp_path / "a.ply")
    assert len(io3d.load(tmp_path / "a.ply", drop_bad_rows=True)) == 8  # type: ignore[arg-type]
