"""convert, inspect and fix across all formats: splats to meshes and back, always upright."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import image3d_nb as i3d
from image3d_nb import Gaussians, Mesh, convert, io
from image3d_nb.cli import main
from image3d_nb.errors import FormatError, InputError
from image3d_nb.inspection import fix, inspect
from image3d_nb.training.objects import make_object

from .standing import standing
from .test_convert import tree

SPLATS = (".ply", ".splat", ".spz", ".sog")
MESHES = (".glb", ".gltf", ".obj", ".stl")
RESOLUTION = 40
FAMILY = "boat"  # its sides differ, so a wrong turn shows in its bounds


@functools.cache
def splats() -> Gaussians:
    return standing(FAMILY, seed=1, count=4000)


@functools.cache
def surface() -> Mesh:
    """An open, coloured surface of many parts."""
    thing = make_object(1, FAMILY)
    return Mesh(thing.vertices, thing.faces, vertex_colors=thing.colors)


@functools.cache
def shell() -> Mesh:
    return i3d.to_mesh(splats(), resolution=RESOLUTION, target_faces=4000)


def put(folder: Path, name: str, kind: str) -> Path:
    """Write a file of "splats" or of a "mesh"."""
    plain = dataclasses.replace(surface(), vertex_colors=None)  # .stl cannot hold colours
    i3d.save(splats() if kind == "splats" else plain if name.endswith(".stl") else surface(), folder / name)
    return folder / name


def corners(obj: Gaussians | Mesh) -> np.ndarray:
    """[2, 3], the box without the outermost hundredth, in our world."""
    points = obj.means.numpy() if isinstance(obj, Gaussians) else obj.vertices
    return np.percentile(points, [1, 99], axis=0)


def assert_upright(path: Path, atol: float = 0.05) -> None:
    """The file holds the object in the same pose."""
    np.testing.assert_allclose(corners(io.load(path)), corners(splats()), rtol=0, atol=atol)


# ---------------------------------------------------------------- from anything to anything


SPLAT_FILES = ("a.ply", "a.splat", "a.spz", "a.sog", "a.glb")
FROM_SPLATS = [*((of, to) for of in SPLAT_FILES for to in (*SPLATS, ".glb")), *(("a.ply", to) for to in MESHES[1:])]


@pytest.mark.parametrize(("of", "to"), FROM_SPLATS)
def test_splats_to_everything(tmp_path: Path, of: str, to: str) -> None:
    source = put(tmp_path, of, "splats")
    report = convert(source, tmp_path / f"b{to}", resolution=RESOLUTION, faces=4000)
    wrote = "Gaussians" if to in SPLATS else "Mesh"
    assert (report.read, report.wrote, report.files[0]) == ("Gaussians", wrote, f"b{to}")
    made = io.load(tmp_path / f"b{to}")
    assert type(made).__name__ == wrote
    assert_upright(tmp_path / f"b{to}")
    assert any("transparency" in sentence for sentence in report.lost) is (wrote == "Mesh")
    assert report.count == (len(made) if isinstance(made, Gaussians) else len(made.faces))
    assert tree(tmp_path) == sorted([of, *report.files])


@pytest.mark.parametrize("to", [*SPLATS, *MESHES])
@pytest.mark.parametrize("of", ["a.ply", "a.glb", "a.gltf", "a.obj", "a.stl"])
def test_a_mesh_to_everything(tmp_path: Path, of: str, to: str) -> None:
    source = put(tmp_path, of, "mesh")
    report = convert(source, tmp_path / f"b{to}", splats=3000)
    wrote = "Gaussians" if to in SPLATS else "Mesh"
    assert (report.read, report.wrote) == ("Mesh", wrote)
    assert report.count == (3000 if wrote == "Gaussians" else len(surface().faces))
    assert any("3,000 splats" in sentence for sentence in report.lost) is (wrote == "Gaussians")
    assert type(io.load(tmp_path / f"b{to}")).__name__ == wrote
    assert_upright(tmp_path / f"b{to}")


def test_kind_chooses_for_a_format_that_can_hold_both(tmp_path: Path) -> None:
    soft, hard = put(tmp_path, "a.ply", "splats"), put(tmp_path, "a.glb", "mesh")
    for source, target, kind, wrote in (
        (soft, "b.glb", "splats", "Gaussians"), (soft, "b.gltf", "splats", "Gaussians"),
        (hard, "b.ply", "mesh", "Mesh"), (hard, "c.glb", "splats", "Gaussians"), (hard, "c.ply", None, "Gaussians"),
    ):  # fmt: skip
        report = convert(source, tmp_path / target, kind=kind, splats=2000)
        assert (report.wrote, type(io.load(tmp_path / target)).__name__) == (wrote, wrote)
        assert_upright(tmp_path / target)
    with pytest.raises(InputError, match="must get Mesh"):
        convert(soft, tmp_path / "b.stl", kind="splats")


def test_splats_become_a_mesh_by_to_mesh(tmp_path: Path) -> None:
    source = put(tmp_path, "a.ply", "splats")
    convert(source, tmp_path / "b.glb", resolution=RESOLUTION, faces=4000)
    i3d.save(i3d.to_mesh(io.load(source), resolution=RESOLUTION, target_faces=4000), tmp_path / "c.glb")
    assert (tmp_path / "b.glb").read_bytes() == (tmp_path / "c.glb").read_bytes()
    report = i3d.mesh_report(io.load(tmp_path / "b.glb"))
    assert report.watertight
    assert report.manifold
    convert(source, tmp_path / "d.glb", resolution=RESOLUTION, faces=1000, texture="vertex")
    made = io.load(tmp_path / "d.glb")
    assert isinstance(made, Mesh)
    assert made.texture is None
    assert made.vertex_colors is not None
    assert len(made.faces) <= 1000


def test_sampling_depends_on_the_seed(tmp_path: Path) -> None:
    source = put(tmp_path, "a.glb", "mesh")
    for name, seed in (("b", 0), ("c", 0), ("d", 1)):
        convert(source, tmp_path / f"{name}.splat", splats=500, seed=seed)
    b, c, d = ((tmp_path / f"{name}.splat").read_bytes() for name in "bcd")
    assert b == c != d
    assert len(b) == 500 * 32


def test_harmonics_and_colours_that_get_lost(tmp_path: Path) -> None:
    i3d.save(dataclasses.replace(splats(), sh=torch.nn.functional.pad(splats().sh, (0, 0, 0, 8))), tmp_path / "a.ply")
    report = convert(tmp_path / "a.ply", tmp_path / "b.stl", resolution=RESOLUTION, faces=2000)
    for loss in ("SH degree 1 to 2", "STL cannot hold a texture"):
        assert any(loss in sentence for sentence in report.lost)
    source = put(tmp_path, "c.glb", "mesh")
    with pytest.raises(FormatError, match="colour"):
        convert(source, tmp_path / "d.stl", strict=True)
    assert not (tmp_path / "d.stl").exists()


@pytest.mark.parametrize(("suffix", "unit_mm"), [(".stl", 1), (".obj", 1), (".glb", 1000), (".gltf", 1000)])
def test_millimetres(tmp_path: Path, suffix: str, unit_mm: float) -> None:
    convert(put(tmp_path, "a.glb", "mesh"), tmp_path / f"b{suffix}", scale_mm=80)
    made = io.load(tmp_path / f"b{suffix}")
    assert isinstance(made, Mesh)
    assert np.ptp(made.bounds, axis=0).max() * unit_mm == pytest.approx(80, rel=1e-4)
    assert inspect(tmp_path / f"b{suffix}").mesh["size_mm"] == pytest.approx(
        tuple(80 * np.ptp(surface().bounds, axis=0) / np.ptp(surface().bounds, axis=0).max()), rel=1e-3
    )


def test_fewer_faces_only_when_asked(tmp_path: Path) -> None:
    i3d.save(shell(), tmp_path / "a.glb")
    assert convert(tmp_path / "a.glb", tmp_path / "b.glb").count == len(shell().faces)
    report = convert(tmp_path / "a.glb", tmp_path / "c.glb", faces=1000)
    assert report.count <= 1000
    assert f"of {len(shell().faces):,} faces" in report.lost[0]
    assert i3d.mesh_report(io.load(tmp_path / "c.glb")).watertight


def test_companions_do_not_replace_an_image(tmp_path: Path) -> None:
    i3d.save(shell(), tmp_path / "a.glb")
    convert(tmp_path / "a.glb", tmp_path / "mug.obj")
    companions = set(tree(tmp_path)) - {"a.glb", "mug.obj"}
    assert {Path(name).suffix for name in companions} >= {".mtl", ".png"}
    for name in ("mug.obj", *companions):
        (tmp_path / name).unlink()
    picture = next(name for name in companions if name.endswith(".png"))
    (tmp_path / picture).write_text("mine")
    with pytest.raises(FileExistsError, match=picture):
        convert(tmp_path / "a.glb", tmp_path / "mug.obj")
    assert tree(tmp_path) == sorted(["a.glb", picture])
    assert (tmp_path / picture).read_text() == "mine"
    report = convert(tmp_path / "a.glb", tmp_path / "mug.obj", force=True)
    assert set(report.files) == {"mug.obj", *companions}
    assert f"mug.obj (+ {', '.join(sorted(companions))})" in str(report)


def test_y_down_in_every_format(tmp_path: Path) -> None:
    source = put(tmp_path, "a.ply", "splats")
    for suffix in SPLATS:
        convert(source, tmp_path / f"b{suffix}", to_convention="ydown")
        convert(tmp_path / f"b{suffix}", tmp_path / f"c{suffix}", from_convention="ydown")
        assert_upright(tmp_path / f"c{suffix}")


# ---------------------------------------------------------------- on a shell


def test_a_folder_of_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    put(tmp_path / "in", "a.spz", "splats")
    put(tmp_path / "in" / "deep", "b.obj", "mesh")
    (tmp_path / "in" / "c.stl").write_bytes(b"solid nothing")
    options = ["--resolution", str(RESOLUTION), "--faces", "100000", "--texture", "vertex"]
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--to", ".glb", *options]) == 1
    printed = capsys.readouterr()
    assert re.search(r"\[1/3\] .*a.glb: a mesh of", printed.out)
    assert "c.stl: " in printed.err
    assert tree(tmp_path / "out") == ["a.glb", "deep/b.glb"]
    for name in tree(tmp_path / "out"):
        assert_upright(tmp_path / "out" / name)
    more = ["--as", "splats", "--splats", "1000", "--force"]
    assert main(["convert", str(tmp_path / "in" / "deep" / "*.obj"), str(tmp_path / "x.glb"), *more]) == 0
    assert len(io.load(tmp_path / "x.glb")) == 1000  # type: ignore[arg-type]


def test_inspect_of_a_mesh_on_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    i3d.save(shell(), tmp_path / "a.glb")
    assert main(["inspect", str(tmp_path / "a.glb"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["holds"], found["count"]) == ("Mesh", len(shell().faces))
    assert found["mesh"]["watertight"] is found["mesh"]["printable"] is True
    assert found["findings"] == []
    assert main(["inspect", str(tmp_path / "a.glb")]) == 0
    assert "watertight yes, manifold yes" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "a.glb"), "--fix", "--for", "three"]) == 1
    assert "a.glb holds a mesh" in capsys.readouterr().err


# ---------------------------------------------------------------- inspect


@pytest.mark.parametrize("name", ["a.ply", "a.glb", "a.gltf", "a.obj", "a.stl"])
def test_meshes_are_reported(tmp_path: Path, name: str) -> None:
    seen = inspect(put(tmp_path, name, "mesh"))
    want = i3d.mesh_report(surface())
    assert (seen.holds, seen.count, seen.convention) == ("Mesh", len(surface().faces), None)
    assert seen.mesh["watertight"] is want.watertight is False
    assert [finding.name for finding in seen.findings] == ["mesh"]
    assert seen.findings[0].level == "note"
    assert [viewer.shows for viewer in seen.viewers] == ["yes"]
    assert seen.bounds is not None
    np.testing.assert_allclose(seen.bounds, surface().bounds, atol=1e-5)


def test_an_obj_without_normals_is_black_in_gradio(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (gradio,) = inspect(tmp_path / "a.obj").viewers
    assert (gradio.shows, "black" in gradio.says) == ("no", True)


@pytest.mark.parametrize(("suffix", "shows"), [(".spz", ["no", "turned"]), (".glb", ["no", "no"])])
def test_formats_that_are_y_up_by_specification(tmp_path: Path, suffix: str, shows: list[str]) -> None:
    i3d.save(splats(), tmp_path / f"a{suffix}")
    seen = inspect(tmp_path / f"a{suffix}")
    assert (seen.convention, seen.holds, seen.findings) == ("opengl", "Gaussians", ())
    assert [viewer.shows for viewer in seen.viewers] == shows
    i3d.save(splats(), tmp_path / f"b{suffix}", "ydown")
    seen = inspect(tmp_path / f"b{suffix}")
    assert [finding.name for finding in seen.findings] == ["upside_down"]
    assert seen.convention == "ydown"
    np.testing.assert_allclose(corners(io.load(tmp_path / f"b{suffix}", seen.convention)), corners(splats()), atol=0.01)


@pytest.mark.parametrize("name", ["a.spz", "a.glb"])
@pytest.mark.parametrize("convention", ["3dgs", "ydown"])
def test_fix_takes_every_file_of_splats(tmp_path: Path, name: str, convention: str) -> None:
    i3d.save(splats(), tmp_path / name, convention)
    report = fix(tmp_path / name, "gradio")
    assert report.target == "a.gradio.ply"
    assert_upright(tmp_path / "a.gradio.ply", atol=0.01)
    assert inspect(tmp_path / "a.gradio.ply").findings == ()
