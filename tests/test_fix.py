"""fix: the copy has no findings, looks the same if nothing was wrong, and stands upright in its viewer."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

import image3d_nb as i3d
from image3d_nb import Gaussians, io, orbit_cameras, render
from image3d_nb.errors import FormatError, InputError
from image3d_nb.inspection import VIEWERS, fix, inspect

from .standing import ball, standing
from .test_inspect import GSPLAT, PLAYCANVAS, columns, found, write

OVER = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def looks(gaussians: Gaussians) -> torch.Tensor:
    return render(gaussians, orbit_cameras(elevation=(10, 40), azimuth=(0, 130), size=48), backend="numba")


def assert_looks_as(path: Path, want: Gaussians, convention: str = "3dgs", atol: float = 2e-3) -> None:
    got = io.load(path, convention)
    assert isinstance(got, Gaussians)
    torch.testing.assert_close(looks(got), looks(want), rtol=0, atol=atol)


def in_file(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """The columns of a y-down file."""
    return columns(gaussians.transform(OVER))


def test_a_sane_file_is_copied_number_by_number(tmp_path: Path) -> None:
    i3d.save(standing("car"), tmp_path / "car.ply")
    report = fix(tmp_path / "car.ply", "gradio")
    assert (report.source, report.target, report.changes, report.lost) == ("car.ply", "car.gradio.ply", (), ())
    assert "nothing was wrong" in str(report)
    before, after = (PlyData.read(str(tmp_path / name))["vertex"] for name in ("car.ply", "car.gradio.ply"))
    for name in before.data.dtype.names:
        np.testing.assert_allclose(after[name], before[name], rtol=0, atol=1e-6, err_msg=name)


def test_all_problems_at_once(tmp_path: Path) -> None:
    thing = standing("car")
    table = in_file(thing) | {f"scale_{i}": thing.scales[:, i].numpy() for i in range(3)}
    table |= {f"rot_{i}": 3 * table[f"rot_{i}"] for i in range(4)}
    extra = {name: np.concatenate([column, column[:9]]) for name, column in table.items()}
    extra["y"][-9:-4] = np.nan
    for i in range(4):
        extra[f"rot_{i}"][-4:] = 0
    path = write(tmp_path / "a.ply", extra, text=True)
    assert found(path) == {"bad_rows", "linear_scales", "quaternions", "layout"}
    content = path.read_bytes()
    report = fix(path, "gradio", tmp_path / "b.ply")
    assert found(tmp_path / "b.ply") == set()
    assert_looks_as(tmp_path / "b.ply", thing)
    assert [sentence.split(" (")[0] for sentence in report.changes] == [
        "left out 9 of 3,009 rows that cannot be drawn",
        "took the logarithm of the scales, which were sizes",
        "normalised the quaternions",
        "rewrote it: float32, little-endian, LF line ends",
    ]
    assert path.read_bytes() == content


def test_sizes_and_opacities_that_were_stored_as_such(tmp_path: Path) -> None:
    gaussians = ball()
    table = columns(gaussians) | {f"scale_{i}": gaussians.scales[:, i].numpy() for i in range(3)}
    write(tmp_path / "a.ply", table | {"opacity": gaussians.opacities.numpy()})
    assert found(tmp_path / "a.ply") == {"linear_scales", "probabilities"}
    fix(tmp_path / "a.ply", "three", tmp_path / "b.ply", convention="opengl")
    back = io.load(tmp_path / "b.ply", "opengl")
    assert isinstance(back, Gaussians)
    torch.testing.assert_close(back.scales, gaussians.scales, rtol=1e-4, atol=0)
    torch.testing.assert_close(back.opacities, gaussians.opacities, rtol=0, atol=1e-6)
    assert found(tmp_path / "b.ply") == set()


@pytest.mark.parametrize("suffix", [".ply", ".splat"])
@pytest.mark.parametrize("stored", ["3dgs", "opengl"])
@pytest.mark.parametrize("viewer", VIEWERS)
def test_the_copy_stands_upright_in_its_viewer(tmp_path: Path, viewer: str, stored: str, suffix: str) -> None:
    thing = standing("car")
    i3d.save(thing, tmp_path / "a.ply", stored)
    out = tmp_path / f"b{suffix}"
    report = fix(tmp_path / "a.ply", viewer, out)
    tolerance = 2e-3 if suffix == ".ply" else 0.05
    if viewer == "gradio":
        assert_looks_as(out, thing, "3dgs", tolerance)
        assert inspect(out).viewers[GSPLAT].shows == "yes"
    elif viewer == "supersplat":  # it turns what it reads by 180 degrees about z, and then shows our world
        read = io.load(out, "opengl")
        assert isinstance(read, Gaussians)
        shown = read.transform(torch.diag(torch.tensor([-1.0, -1.0, 1.0])))
        torch.testing.assert_close(looks(shown), looks(thing), rtol=0, atol=tolerance)
        assert inspect(out).viewers[PLAYCANVAS].says.startswith("upright")
    else:
        assert_looks_as(out, thing, "opengl", tolerance)
        assert inspect(out).convention == "opengl"
    turned = [sentence for sentence in report.changes if sentence.startswith("turned by 180 degrees about")]
    same = (viewer, stored) in (("gradio", "3dgs"), ("three", "opengl"))
    assert len(turned) == (0 if same else 1)


def test_the_given_convention_overrides_the_guess(tmp_path: Path) -> None:
    thing = standing("car")
    i3d.save(thing, tmp_path / "a.ply", "opengl")
    fix(tmp_path / "a.ply", "gradio", tmp_path / "guess.ply")
    assert_looks_as(tmp_path / "guess.ply", thing)
    fix(tmp_path / "a.ply", "gradio", tmp_path / "said.ply", convention="3dgs")
    assert_looks_as(tmp_path / "said.ply", thing.transform(OVER))
    assert found(tmp_path / "said.ply") == {"upside_down"}


def test_faint_ones_go_only_when_asked(tmp_path: Path) -> None:
    gaussians = dataclasses.replace(ball(), opacities=torch.linspace(0, 1, 400))
    i3d.save(gaussians, tmp_path / "a.ply")
    for asked, left in ((None, 400), (0.25, 300)):
        report = fix(tmp_path / "a.ply", "gradio", tmp_path / "b.ply", min_opacity=asked, force=True)
        assert len(io.load(tmp_path / "b.ply")) == left  # type: ignore[arg-type]
        told = any("left out 100 Gaussians with an opacity below 0.25" in line for line in report.changes)
        assert told is (left < 400)


def test_what_the_copy_cannot_hold_is_told(tmp_path: Path) -> None:
    i3d.save(ball(degree=2), tmp_path / "a.ply")
    report = fix(tmp_path / "a.ply", "three", tmp_path / "b.splat")
    (lost,) = report.lost
    assert "view-dependent" in lost
    assert f"  lost: {lost}" in str(report)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ply", columns(ball()))
    content = path.read_bytes()
    os.link(path, tmp_path / "same.ply")
    for target in (path, tmp_path / "same.ply"):
        with pytest.raises(FileExistsError, match="another"):
            fix(path, "gradio", target, force=True)
    (tmp_path / "b.ply").write_text("mine")
    with pytest.raises(FileExistsError, match="force"):
        fix(path, "gradio", tmp_path / "b.ply")
    assert (tmp_path / "b.ply").read_text() == "mine"
    fix(path, "gradio", tmp_path / "b.ply", force=True)
    assert len(io.load(tmp_path / "b.ply")) == 400  # type: ignore[arg-type]
    assert path.read_bytes() == content
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ply", "b.ply", "same.ply"]


@pytest.mark.parametrize(
    ("viewer", "options", "message"),
    [
        ("unity", {}, "unity"), ("gradio", {"out": "b.glb"}, "b.glb"), ("gradio", {"convention": "up"}, "convention"),
        ("gradio", {"min_opacity": 7}, "got 7"), ("gradio", {"min_opacity": 0.99}, "none of 400"),
    ],
)  # fmt: skip
def test_wrong_arguments(tmp_path: Path, viewer: str, options: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "a.ply", columns(ball()))
    with pytest.raises(InputError, match=message):
        fix(path, viewer, **options)
    assert [file.name for file in tmp_path.iterdir()] == ["a.ply"]


def test_what_cannot_be_fixed(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.ply", columns(ball()) | {"x": np.full(400, np.nan)})
    (tmp_path / "cut.ply").write_bytes(path.read_bytes()[:-5])
    for name, error, message in (
        ("bad.ply", InputError, "none of 400"), ("cut.ply", FormatError, "cut off"),
        ("none.ply", FileNotFoundError, "none.ply"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            fix(tmp_path / name, "gradio")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.ply", "cut.ply"]


@pytest.mark.filterwarnings("ignore:Gaussians cannot hold")  # reading says so, too
def test_elements_after_the_vertices_are_not_copied(tmp_path: Path) -> None:
    faces = PlyElement.describe(np.array([(7,)], [("camera", "i4")]), "view")
    path = write(tmp_path / "a.ply", in_file(standing("car")), extra=(faces,))
    assert found(path) == {"layout"}
    fix(path, "gradio", tmp_path / "b.ply")
    assert found(tmp_path / "b.ply") == set()
    assert_looks_as(tmp_path / "b.ply", standing("car"))
