"""Gaussians in .glb and .gltf: KHR_gaussian_splatting, written and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError
from image3d_nb.gaussians import Gaussians
from image3d_nb.io.gltf import formats as gltf

from .gltf_scenes import SIDES, TETRA, Json, Scene, missing
from .mesh_samples import ball
from .test_io_gltf import parts_of
from .test_io_ply import example

EXTENSION = "KHR_gaussian_splatting"
SUFFIXES = (".glb", ".gltf")


def same_gaussians(got: Gaussians, want: Gaussians) -> None:
    """Bit by bit, but for orientations, which are stored with unit length."""
    for name in ("means", "scales", "opacities", "sh"):
        assert torch.equal(getattr(got, name), getattr(want, name)), name
    atol = 1e-6 * float(want.scales.max() ** 2)
    torch.testing.assert_close(got.covariances(), want.covariances(), rtol=0, atol=atol)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("convention", ["3dgs", "opengl"])
def test_round_trip(tmp_path: Path, suffix: str, degree: int, convention: str) -> None:
    gaussians = example(40, degree)
    io3d.save(gaussians, tmp_path / f"a{suffix}", convention)
    same_gaussians(io3d.load(tmp_path / f"a{suffix}", convention), gaussians)  # type: ignore[arg-type]
    same_gaussians(io3d.load(tmp_path / f"a{suffix}", "opengl"), gaussians)  # type: ignore[arg-type]  # y up either way


def column(document: Json, binary: bytes, name: str) -> np.ndarray:
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]
    view = document["bufferViews"][accessor["bufferView"]]
    rows = np.frombuffer(
        binary[view["byteOffset"] :][: view["byteLength"]], {5126: "<f4", 5123: "<u2"}[accessor["componentType"]]
    )
    return rows.reshape(accessor["count"], -1)


def test_attributes_are_those_of_the_extension() -> None:
    gaussians = example(30, 3)
    document, binary = parts_of(gltf.write_gaussians(gaussians, "a.glb")["a.glb"])
    primitive = document["meshes"][0]["primitives"][0]
    sh = [f"{EXTENSION}:SH_DEGREE_{d}_COEF_{k}" for d in range(4) for k in range(2 * d + 1)]
    own = [f"{EXTENSION}:{name}" for name in ("ROTATION", "SCALE", "OPACITY")]
    assert set(primitive["attributes"]) == {"POSITION", "COLOR_0", *own, *sh}
    assert primitive["mode"] == 0
    assert primitive["extensions"] == {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}}
    assert document["extensionsUsed"] == [EXTENSION]
    rotation = column(document, binary, own[0])
    np.testing.assert_allclose(np.linalg.norm(rotation, axis=1), 1, atol=1e-6)
    want = gaussians.quats / gaussians.quats.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(rotation, want[:, [1, 2, 3, 0]], atol=1e-6)  # x y z w
    np.testing.assert_array_equal(column(document, binary, own[1]), gaussians.scales)
    np.testing.assert_array_equal(column(document, binary, own[2])[:, 0], gaussians.opacities)
    for k, name in enumerate(sh):
        np.testing.assert_array_equal(column(document, binary, name), gaussians.sh[:, k])


def test_colours_for_viewers_of_points_are_linear() -> None:
    gaussians = example(3)
    gaussians.sh[:, 0] = ((torch.tensor([[0.5] * 3, [1.0, 0, 0.02], [2.0, -1, 1]])) - 0.5) / 0.28209479177387814
    gaussians.opacities[:] = torch.tensor([0.25, 0.5, 1.0])
    document, binary = parts_of(gltf.write_gaussians(gaussians, "a.glb")["a.glb"])
    want = [[0.2140411] * 3 + [0.25], [1, 0, 0.02 / 12.92, 0.5], [1, 0, 1, 1]]
    np.testing.assert_allclose(column(document, binary, "COLOR_0") / 65535, want, atol=1e-5)


def test_the_class_chooses_between_mesh_and_gaussians(tmp_path: Path) -> None:
    for suffix in (*SUFFIXES, ".ply"):
        io3d.save(ball(), tmp_path / f"mesh{suffix}")
        io3d.save(example(), tmp_path / f"splats{suffix}")
        assert repr(io3d.load(tmp_path / f"mesh{suffix}")).startswith("Mesh(")
        assert repr(io3d.load(tmp_path / f"splats{suffix}")).startswith("Gaussians(")


# ---- what others write -----------------------------------------------------------------------------------------------


def splats(count: int = 3, degree: int = 0, quantised: bool = False) -> Scene:
    """Gaussians by hand."""
    scene = Scene()
    primitive = scene.primitive(np.arange(3 * count).reshape(count, 3), mode=0)
    primitive["extensions"] = {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}}
    norm: dict[str, Any] = {"normalized": True}
    own = {
        "ROTATION": scene.accessor([[0, 0, 127, 0]] * count, "i1", **norm) if quantised
        else scene.accessor([[0, 0, 1, 0]] * count, "f4"),
        "SCALE": scene.accessor([[1, 2, 3]] * count, "f4"),
        "OPACITY": scene.accessor([51] * count, "u1", **norm) if quantised else scene.accessor([0.2] * count, "f4"),
    }  # fmt: skip
    own |= {
        f"SH_DEGREE_{d}_COEF_{k}": scene.accessor([[d, k, 0.5]] * count, "f4")
        for d in range(degree + 1)
        for k in range(2 * d + 1)
    }
    primitive["attributes"] |= {f"{EXTENSION}:{name}": index for name, index in own.items()}
    return scene


def read(scene: Scene) -> Gaussians:
    return gltf.read_gaussians(memoryview(scene.text()), missing)


@pytest.mark.parametrize("quantised", [False, True])
def test_read_by_hand(quantised: bool) -> None:
    gaussians = read(splats(degree=2, quantised=quantised))
    assert gaussians.means.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    torch.testing.assert_close(gaussians.quats, torch.tensor([[0.0, 0, 0, 1]]).expand(3, 4))
    torch.testing.assert_close(gaussians.opacities, torch.full((3,), 0.2))
    assert gaussians.sh[0, :, :2].tolist() == [[d, k] for d in range(3) for k in range(2 * d + 1)]
    gaussians.means.add_(1)  # owns its memory


def test_nodes_place_gaussians_and_parts_are_merged() -> None:
    scene = splats()
    half = 0.5**0.5
    scene.json["nodes"] = [
        {"mesh": 0},
        {"mesh": 0, "rotation": [0, half, 0, half], "scale": [2, 2, 2], "translation": [0, 0, 5]},  # z to x
    ]
    scene.json["scenes"] = [{"nodes": [0, 1]}]
    gaussians = read(scene)
    plain, turned = gaussians[:3], gaussians[3:]
    matrix = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    torch.testing.assert_close(turned.means, 2 * plain.means @ matrix.T + torch.tensor([0.0, 0, 5]))
    torch.testing.assert_close(turned.covariances(), 4 * matrix @ plain.covariances() @ matrix.T, rtol=0, atol=1e-4)


def test_a_mesh_beside_gaussians_is_left_out_with_a_warning(tmp_path: Path) -> None:
    scene = splats()
    scene.primitive(TETRA, SIDES)
    (tmp_path / "a.gltf").write_bytes(scene.text())
    with pytest.warns(UserWarning, match="1 primitives") as caught:
        assert len(io3d.load(tmp_path / "a.gltf")) == 3  # type: ignore[arg-type]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": 4}, "mode must be 0, points"),
        ({"extensions": {EXTENSION: {"kernel": "gabor"}}}, "kernel must be 'ellipse'; got 'gabor'"),
        ({"extensions": {EXTENSION: {"colorSpace": "lin_rec709_display"}}}, "colorSpace must be .*lin_rec709"),
        (
            {"extensions": {EXTENSION: {"extensions": {"KHR_gaussian_splatting_compression_spz_2": {}}}}},
            "compression_spz_2",
        ),
        ({"extensions": {EXTENSION: 3}}, "must be an object; got 3"),
        ({"extensions": {}}, "must have a primitive of it in its scene; it has none"),
    ],
)
def test_kinds_that_we_cannot_read(change: Json, message: str) -> None:
    scene = splats()
    scene.json["meshes"][0]["primitives"][0].update(change)
    with pytest.raises(FormatError, match=message):
        read(scene)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ROTATION", None, "ROTATION must be one of the 5 accessors; got None"),
        ("SH_DEGREE_0_COEF_0", None, "whole degrees of SH.*lacks KHR_gaussian_splatting:SH_DEGREE_0_COEF_0"),
        ("SH_DEGREE_1_COEF_2", 0, "whole degrees of SH.*lacks .*SH_DEGREE_1_COEF_0, .*COEF_1 and"),
        ("SH_DEGREE_2_COEF_0", 0, "has KHR_gaussian_splatting:SH_DEGREE_2_COEF_0"),
        ("SCALE", 3, "SCALE must be VEC3; got 1"),
    ],
)
def test_attributes_that_lack_or_do_not_fit(name: str, value: int | None, message: str) -> None:
    scene = splats()
    attributes = scene.json["meshes"][0]["primitives"][0]["attributes"]
    attributes.pop(f"{EXTENSION}:{name}", None)
    if value is not None:
        attributes[f"{EXTENSION}:{name}"] = value
    with pytest.raises(FormatError, match=message):
        read(scene)


def test_numbers_out_of_range() -> None:
    scene = splats()
    attributes = scene.json["meshes"][0]["primitives"][0]["attributes"]
    for name, rows, message in (
        ("SCALE", [[-3, -3, -3]] * 3, "early drafts stored logarithms"),
        ("OPACITY", [0, 1.5, 0], "opacities in"),
        ("OPACITY", [0, 0], "as many rows each; got 2, 3"),
    ):
        before = attributes[f"{EXTENSION}:{name}"]
        attributes[f"{EXTENSION}:{name}"] = scene.accessor(rows, "f4")
        with pytest.raises(FormatError, match=message):
            read(scene)
        attributes[f"{EXTENSION}:{name}"] = before
    scene.json["nodes"][0]["scale"] = [1, 2, 1]
    with pytest.raises(FormatError, match="placed by turns, moves and one scale"):
        read(scene)


def test_damaged_rows_are_counted(tmp_path: Path) -> None:
    scene = splats(8)
    primitive = scene.json["meshes"][0]["primitives"][0]
    rows = np.zeros((8, 3))
    rows[5] = np.nan
    primitive["attributes"]["POSITION"] = scene.accessor(rows, "f4")
    (tmp_path / "a.gltf").write_text(json.dumps(json.loads(scene.text())))
    with pytest.raises(FormatError, match=r"1 of 8 rows are not \(the first is row 5\)"):
        io3d.load(tmp_path / "a.gltf")
    assert len(io3d.load(tmp_path / "a.gltf", drop_bad_rows=True)) == 7  # type: ignore[arg-type]
