"""Meshes in .glb and .gltf: what is written, by the numbers of the specification; what others write; damaged files.

Readers of others look at our files in test_io_readers_meshes.py; Gaussians are in test_io_gltf_splats.py.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError, InputError
from image3d_nb.io.gltf import formats as gltf
from image3d_nb.mesh import Mesh

from .gltf_scenes import PIXELS, SIDES, TETRA, UVS, Json, Scene, uv_scene
from .mesh_samples import ball, is_closed, plain, textured
from .solids import volume

SAMPLES = {"vertex colours": ball(), "texture": textured(ball()), "plain": plain(ball())}
SUFFIXES = (".glb", ".gltf")


def same_mesh(got: Mesh, want: Mesh, colors_atol: float = 1e-6) -> None:
    """Positions and faces bit by bit; the rest within the rounding of the format."""
    assert got.vertices.dtype == np.float32
    np.testing.assert_array_equal(got.vertices.view(np.uint32), np.float32(want.vertices).view(np.uint32))
    np.testing.assert_array_equal(got.faces, want.faces)
    np.testing.assert_allclose(got.normals, want.vertex_normals(), rtol=0, atol=1e-6)
    for name, atol in (("vertex_colors", colors_atol), ("uvs", 6e-8), ("texture", 0)):
        a, b = getattr(got, name), getattr(want, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", SAMPLES)
def test_round_trip(tmp_path: Path, suffix: str, kind: str) -> None:
    io3d.save(SAMPLES[kind], tmp_path / f"a{suffix}")
    back = io3d.load(tmp_path / f"a{suffix}")
    assert isinstance(back, Mesh)
    same_mesh(back, SAMPLES[kind])
    assert is_closed(back)
    assert volume(back) == volume(SAMPLES[kind])


def test_round_trip_of_all_colours_and_of_many_vertices(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corners = rng.normal(size=(69_999, 3)).astype(np.float32)  # more than 2 bytes can count
    colors = (np.arange(69_999)[:, None] + [0, 85, 170]) % 256 / 255
    mesh = Mesh(corners, np.arange(69_999).reshape(-1, 3), vertex_colors=colors)
    io3d.save(mesh, tmp_path / "a.glb")
    same_mesh(io3d.load(tmp_path / "a.glb"), mesh)  # type: ignore[arg-type]


def test_convention_and_strict_change_nothing(tmp_path: Path) -> None:
    for name, convention in (("a", "3dgs"), ("b", "opengl")):
        io3d.save(ball(), tmp_path / f"{name}.glb", convention, strict=True)
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_scale_is_metres(tmp_path: Path) -> None:
    io3d.save(ball(), tmp_path / "a.glb", scale_mm=80)
    back = io3d.load(tmp_path / "a.glb")
    assert float(np.ptp(back.bounds, axis=0).max()) == pytest.approx(0.08)  # type: ignore[union-attr]


# ---- what is written -------------------------------------------------------------------------------------------------


def parts_of(content: bytes) -> tuple[Json, bytes]:
    """The JSON and the buffer of a .glb, by section 4.4 of the specification."""
    magic, version, total, length, kind = struct.unpack_from("<4sIIII", content)
    assert (magic, version, total, kind) == (b"glTF", 2, len(content), 0x4E4F534A)
    size, kind = struct.unpack_from("<II", content, 20 + length)
    assert (kind, length % 4, size % 4, 28 + length + size) == (0x004E4942, 0, 0, len(content))
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def attribute(document: Json, binary: bytes, name: str) -> np.ndarray:
    """Rows of a float attribute."""
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]
    view = document["bufferViews"][accessor["bufferView"]]
    assert accessor["componentType"] == 5126
    assert view["byteOffset"] % 4 == 0
    rows = np.frombuffer(binary[view["byteOffset"] :][: view["byteLength"]], "<f4")
    return rows.reshape(accessor["count"], -1)


def test_numbers_of_the_specification() -> None:
    mesh = Mesh(
        np.array([[0, 0, 0], [2, 0, 0], [0, 3, 0.5]], np.float32),
        np.array([[0, 1, 2]]),
        uvs=np.array([[0, 0], [1, 0], [0, 0.75]]),
        texture=np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8),
    )
    document, binary = parts_of(gltf.write(mesh, "a.glb")["a.glb"])
    position = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert (position["min"], position["max"]) == ([0, 0, 0], [2, 3, 0.5])
    np.testing.assert_array_equal(attribute(document, binary, "TEXCOORD_0"), [[0, 1], [1, 1], [0, 0.25]])  # v down
    np.testing.assert_allclose(np.linalg.norm(attribute(document, binary, "NORMAL"), axis=1), 1, atol=1e-6)
    surface = document["materials"][0]["pbrMetallicRoughness"]
    assert (surface["metallicFactor"], surface["roughnessFactor"]) == (0, 0.9)
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    png = Image.open(io.BytesIO(binary[view["byteOffset"] :][: view["byteLength"]]))
    np.testing.assert_array_equal(np.asarray(png), mesh.texture)


def test_vertex_colours_are_linear() -> None:
    colors = np.array([[0, 0.5, 1], [0.02, 0.2, 0.8], [1, 1, 1]])
    mesh = dataclasses.replace(Mesh(np.eye(3), np.array([[0, 1, 2]])), vertex_colors=colors)
    document, binary = parts_of(gltf.write(mesh, "a.glb")["a.glb"])
    want = [[0, 0.2140411, 1], [0.02 / 12.92, 0.0331048, 0.6038274], [1, 1, 1]]  # IEC 61966-2-1
    np.testing.assert_allclose(attribute(document, binary, "COLOR_0"), want, atol=1e-6)


def test_normals_are_unit_also_where_there_is_no_face() -> None:
    mesh = Mesh(np.concatenate([np.eye(3), np.zeros((2, 3))]), np.array([[0, 1, 2], [3, 3, 4]]))
    document, binary = parts_of(gltf.write(mesh, "a.glb")["a.glb"])
    np.testing.assert_allclose(np.linalg.norm(attribute(document, binary, "NORMAL"), axis=1), 1, atol=1e-6)
    long = dataclasses.replace(mesh, normals=np.full((5, 3), 7.0))
    document, binary = parts_of(gltf.write(long, "a.glb")["a.glb"])
    np.testing.assert_allclose(attribute(document, binary, "NORMAL"), 3**-0.5, atol=1e-6)


@pytest.mark.parametrize("stem", ["mug", "my mug", "Tasse 100% #1 ü"])
def test_companions_of_a_gltf(tmp_path: Path, stem: str) -> None:
    io3d.save(textured(ball()), tmp_path / f"{stem}.gltf")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{stem}.bin", f"{stem}.gltf", f"{stem}_texture.png"]
    document = json.loads((tmp_path / f"{stem}.gltf").read_text(encoding="utf-8"))
    uri = document["buffers"][0]["uri"]
    assert re.fullmatch(r"([\w.~-]|%[0-9A-F]{2})+", uri, re.ASCII)
    assert unquote(uri) == f"{stem}.bin"
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{stem}_texture.png")), textured(ball()).texture)
    same_mesh(io3d.load(tmp_path / f"{stem}.gltf"), textured(ball()))  # type: ignore[arg-type]


def test_what_cannot_be_held_is_told(tmp_path: Path) -> None:
    both = dataclasses.replace(textured(ball()), vertex_colors=np.ones((3 * len(ball().faces), 3)))
    no_uvs = dataclasses.replace(textured(ball()), uvs=None)
    for mesh, words in ((both, "vertex colours beside a texture"), (no_uvs, "a texture without uvs")):
        with pytest.warns(UserWarning, match=rf"a\.glb: .* cannot hold {words}"):
            io3d.save(mesh, tmp_path / "a.glb")
        with pytest.raises(FormatError, match=words):
            io3d.save(mesh, tmp_path / "b.glb", strict=True)
    assert not (tmp_path / "b.glb").exists()


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj", ".stl", ".ply"])
def test_numbers_that_do_not_fit_are_refused(tmp_path: Path, suffix: str) -> None:
    bad = [(dataclasses.replace(plain(ball()), vertices=ball().vertices.astype(np.float64) * 1e39), "fit into float32")]
    if suffix != ".stl":
        bright = ball()
        bright.vertex_colors[:] *= 2  # type: ignore[index]  # changed since the mesh was made
        bad.append((bright, r"vertex_colors must be in"))
        bad.append((dataclasses.replace(textured(ball()), texture=np.zeros((0, 2, 3), np.uint8)), "have a pixel"))
    for mesh, words in bad:
        with pytest.raises(InputError, match=words):
            io3d.save(mesh, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


# ---- what others write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["u1", "u2", "u4", None])
def test_indices(index: str | None) -> None:
    scene = Scene()
    if index:
        scene.primitive(TETRA, SIDES, index)
    else:
        scene.primitive(TETRA[SIDES].reshape(-1, 3))
    mesh = scene.read()
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], TETRA[SIDES])
    assert mesh.normals is None
    assert repr(mesh) == f"Mesh(vertices={4 if index else 12}, faces=4, colors=none)"


@pytest.mark.parametrize(
    ("mode", "indices", "faces"),
    [
        (5, [0, 1, 2, 3, 3, 1], [[0, 1, 2], [1, 3, 2]]),  # the last two have an index twice
        (6, [0, 1, 2, 3], [[1, 2, 0], [2, 3, 0]]),
    ],
)
def test_strips_and_fans(mode: int, indices: list[int], faces: list[list[int]]) -> None:
    scene = Scene()
    scene.primitive(TETRA, indices, mode=mode)
    np.testing.assert_array_equal(scene.read().faces, faces)


def test_nodes_move_turn_scale_and_mirror() -> None:
    scene = Scene()
    scene.primitive(TETRA, SIDES)["attributes"]["NORMAL"] = scene.accessor([[0, 0, 1.0]] * 4, "f4")
    half = 0.5**0.5
    scene.json["scenes"] = [{"nodes": []}, {"nodes": [0, 3]}]
    scene.json["scene"] = 1
    scene.json["nodes"] = [
        {"children": [1], "translation": [10, 0, 0]},
        {"children": [2], "rotation": [0, 0, half, half]},  # 90 degrees about z: x to y
        {"mesh": 0, "scale": [2, 3, -4]},  # mirrors
        {"mesh": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 6, 7, 1]},
        {"mesh": 0},  # in no scene
    ]
    mesh = scene.read()
    assert len(mesh.vertices) == 8
    first = np.stack([10 - 3 * TETRA[:, 1], 2 * TETRA[:, 0], -4 * TETRA[:, 2]], axis=1)
    np.testing.assert_allclose(mesh.vertices[:4], first, atol=1e-6)
    np.testing.assert_allclose(mesh.vertices[4:], TETRA + np.array([5, 6, 7]), atol=1e-6)
    np.testing.assert_allclose(mesh.normals, [[0, 0, -1]] * 4 + [[0, 0, 1]] * 4, atol=1e-6)
    assert volume(mesh) == pytest.approx((2 * 3 * 4 + 1) / 6, rel=1e-5)  # outside has stayed outside


def test_meshes_without_scenes_or_nodes() -> None:
    for gone in (["scene", "scenes"], ["scene", "scenes", "nodes"]):
        scene = Scene()
        scene.primitive(TETRA, SIDES)
        for name in gone:
            del scene.json[name]
        assert len(scene.read().faces) == 4


def test_several_primitives_are_one_mesh() -> None:
    scene = Scene()
    scene.primitive(TETRA, SIDES)
    scene.primitive(TETRA + 2, SIDES, "u1")
    mesh = scene.read()
    np.testing.assert_array_equal(mesh.vertices, np.concatenate([TETRA, TETRA + 2]))
    np.testing.assert_array_equal(mesh.faces, np.concatenate([SIDES, SIDES + 4]))


def test_interleaved_and_quantised_attributes() -> None:
    scene = Scene()
    rows = np.zeros(4, [("position", "<i2", 3), ("pad", "<u2"), ("color", "u1", 4), ("uv", "<u2", 2)])
    rows["position"] = np.rint(TETRA * 32767)
    rows["color"] = [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [188, 188, 188, 0]]
    rows["uv"] = [[0, 65535], [65535, 0], [0, 0], [32768, 32768]]
    view = scene.view(rows.tobytes(), byteStride=16)
    more = {"bufferView": view, "normalized": True}
    scene.primitive(TETRA, SIDES)["attributes"] = {
        "POSITION": scene.accessor(rows["position"], "i2", **more),
        "COLOR_0": scene.accessor(rows["color"], "u1", byteOffset=8, **more),
        "TEXCOORD_0": scene.accessor(rows["uv"], "u2", byteOffset=12, **more),
    }
    scene.json["extensionsRequired"] = ["KHR_mesh_quantization"]
    mesh = scene.read()
    np.testing.assert_allclose(mesh.vertices, TETRA, atol=1e-6)
    np.testing.assert_allclose(mesh.uvs, [[0, 0], [1, 1], [0, 1], [0.5, 0.5]], atol=1e-5)
    np.testing.assert_allclose(mesh.vertex_colors[:3], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(mesh.vertex_colors[3], 0.8748, atol=1e-3)  # linear 188 / 255


def test_sparse_accessors() -> None:
    scene = Scene()
    primitive = scene.primitive(np.zeros((4, 3)), SIDES)
    sparse = {
        "count": 2,
        "indices": {"bufferView": scene.view(np.array([1, 3], "u1").tobytes()), "componentType": 5121},
        "values": {"bufferView": scene.view(np.array([[1, 0, 0], [0, 0, 1]], "f4").tobytes())},
    }
    scene.json["accessors"][primitive["attributes"]["POSITION"]]["sparse"] = sparse
    np.testing.assert_array_equal(scene.read().vertices, TETRA * [[1], [1], [0], [1]])
    del scene.json["accessors"][primitive["attributes"]["POSITION"]]["bufferView"]  # then the rest is 0
    np.testing.assert_array_equal(scene.read().vertices, TETRA * [[1], [1], [0], [1]])


def test_plain_materials_become_vertex_colours() -> None:
    scene = Scene()
    for factor in ([1, 0, 0, 1], [0.2140411, 0.2140411, 0.2140411, 1], None):
        more = {} if factor is None else {"material": scene.material(baseColorFactor=factor)}
        scene.primitive(TETRA, SIDES, **more)
    colors = scene.read().vertex_colors
    np.testing.assert_allclose(colors, np.repeat([[1, 0, 0], [0.5] * 3, [1] * 3], 4, axis=0), atol=1e-5)


def test_factor_and_texture_are_multiplied_as_light() -> None:
    mesh = uv_scene(UVS, PIXELS, baseColorFactor=[0.5, 1, 0, 1]).read()
    np.testing.assert_allclose(mesh.uvs, UVS * [1, -1] + [0, 1])
    light = (
        np.where(
            PIXELS[..., 0] / 255 <= 0.04045,
            PIXELS[..., 0] / 255 / 12.92,
            ((PIXELS[..., 0] / 255 + 0.055) / 1.055) ** 2.4,
        )
        / 2
    )
    want = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(mesh.texture[..., 0], want, atol=0.51)
    np.testing.assert_array_equal(mesh.texture[..., 1], PIXELS[..., 1])
    assert not mesh.texture[..., 2].any()
    assert mesh.vertex_colors is None


def test_texture_transform() -> None:
    scene = uv_scene(UVS / 2, PIXELS)
    moved = {"offset": [0.25, 0.5], "scale": [0.5, 1.0], "rotation": 0.0}
    scene.json["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = {
        "KHR_texture_transform": moved
    }
    scene.json["extensionsRequired"] = ["KHR_texture_transform"]
    want = UVS / 2 * [0.5, 1] + [0.25, 0.5]
    np.testing.assert_allclose(scene.read().uvs, want * [1, -1] + [0, 1], atol=1e-6)


def looked_up(mesh: Mesh, uvs: np.ndarray) -> np.ndarray:
    """The nearest pixels."""
    h, w = mesh.texture.shape[:2]  # type: ignore[union-attr]
    return mesh.texture[((1 - uvs[:, 1]) * h).astype(int).clip(0, h - 1), (uvs[:, 0] * w).astype(int).clip(0, w - 1)]  # type: ignore[index]


@pytest.mark.parametrize("shift", [0, -3, 2])
def test_a_texture_that_repeats_is_laid_out(shift: int) -> None:
    middles = np.array([[0.25, 0.125], [0.75, 0.375], [1.75, 0.625], [2.25, 1.125]], np.float32)  # of pixels
    mesh = uv_scene(middles + shift, PIXELS[:, :2]).read()
    assert mesh.texture.shape == (8, 6, 3)
    assert mesh.uvs.min() >= 0
    assert mesh.uvs.max() <= 1
    column, row = (middles[:, 0] * 2).astype(int) % 2, (middles[:, 1] * 4).astype(int) % 4
    np.testing.assert_array_equal(looked_up(mesh, mesh.uvs), PIXELS[row, column])


WRAPPED: dict[int, Callable[[np.ndarray, int], np.ndarray]] = {
    10497: lambda at, size: at % size,
    33648: lambda at, size: np.minimum(at % (2 * size), 2 * size - 1 - at % (2 * size)),
    33071: lambda at, size: at.clip(0, size - 1),
}
"""Number of a mode -> the pixel that it puts at an index beyond an image."""


@pytest.mark.parametrize("wrap_s", WRAPPED)
@pytest.mark.parametrize("wrap_t", WRAPPED)
@pytest.mark.parametrize("first", [0, -7, 9])
def test_a_texture_goes_on_along_each_axis_as_its_sampler_says(wrap_s: int, wrap_t: int, first: int) -> None:
    columns, rows = np.array([0, 5, 9, 14]) + first, np.array([11, 2, 0, 6]) - first
    scene = uv_scene((np.stack([columns, rows], 1) + 0.5) / (6, 4), PIXELS)
    scene.json["samplers"] = [{"wrapS": wrap_s, "wrapT": wrap_t}]
    scene.json["textures"][0]["sampler"] = 0
    mesh = scene.read()
    want = PIXELS[WRAPPED[wrap_t](rows, 4), WRAPPED[wrap_s](columns, 6)]
    np.testing.assert_array_equal(looked_up(mesh, mesh.uvs), want)


def test_a_texture_that_repeats_too_often_is_left_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="repetition of 1 textures"):
        mesh = uv_scene(UVS * 1e6, PIXELS).read()
    np.testing.assert_array_equal(mesh.texture, PIXELS)


def mixed(second: Json, colors: Any = None) -> Scene:
    """One part with a texture, one with something else."""
    scene = uv_scene(UVS * 0.8 + 0.1, PIXELS)
    other = scene.primitive(TETRA + 2, SIDES)
    if colors is not None:
        other["attributes"]["COLOR_0"] = scene.accessor(colors, "f4")
    if "pixels" in second:
        other["attributes"]["TEXCOORD_0"] = scene.accessor(UVS * 0.8 + 0.1, "f4")
        second = {"baseColorTexture": {"index": scene.picture(second["pixels"])}}
    other["material"] = scene.material(**second)
    return scene


def test_several_textures_and_plain_colours_share_a_new_one() -> None:
    other = 255 - np.arange(5 * 3 * 3).reshape(5, 3, 3)
    for second, pixels in (({"pixels": other}, other), ({"baseColorFactor": [0, 1, 0, 1]}, np.array([[[0, 255, 0]]]))):
        mesh = mixed(second).read()
        assert mesh.vertex_colors is None
        at = UVS * 0.8 + 0.1
        for part, source in ((slice(0, 4), PIXELS), (slice(4, 8), pixels)):
            h, w = source.shape[:2]
            want = source[(at[:, 1] * h).astype(int), (at[:, 0] * w).astype(int)]
            np.testing.assert_array_equal(looked_up(mesh, mesh.uvs[part]), want)


def test_vertex_colours_beside_a_texture_make_all_of_them_vertex_colours() -> None:
    colors = np.eye(4, 3)
    with pytest.warns(UserWarning, match="except for their colours at the vertices"):
        mesh = mixed({}, colors).read()
    assert mesh.texture is None
    at = UVS * 0.8 + 0.1
    want = PIXELS[(at[:, 1] * 4).astype(int), (at[:, 0] * 6).astype(int)] / 255
    np.testing.assert_allclose(mesh.vertex_colors, np.concatenate([want, colors]), atol=1e-6)


@pytest.mark.parametrize(("wrap", "low_left"), [(10497, [0.1, 0.9]), (33071, [-0.4, 1.6])])
def test_vertex_colours_from_a_texture_know_its_far_edges(wrap: int, low_left: list[float]) -> None:
    scene = uv_scene(np.array([[0, 0], [1, 1], low_left, [0.5, 1]]), PIXELS)
    scene.json["samplers"] = [{"wrapS": wrap, "wrapT": wrap}]
    scene.json["textures"][0]["sampler"] = 0
    scene.primitive(TETRA + 2, SIDES)["attributes"]["COLOR_0"] = scene.accessor(np.eye(4, 3), "f4")
    with pytest.warns(UserWarning, match="except for their colours at the vertices"):
        mesh = scene.read()
    np.testing.assert_allclose(mesh.vertex_colors[:4], PIXELS[[0, 3, 3, 3], [0, 5, 0, 3]] / 255, atol=1e-6)


def test_what_a_mesh_has_no_room_for_is_told() -> None:
    scene = uv_scene(UVS, PIXELS)
    scene.primitive(TETRA, mode=1)
    scene.json["animations"] = [{}, {}]
    scene.json["materials"][0] |= {"normalTexture": {"index": 0}, "alphaMode": "BLEND"}
    with pytest.warns(UserWarning, match="2 animations") as caught:
        assert len(scene.read().faces) == 4
    assert all(word in str(caught[0].message) for word in ("normalTexture", "transparency", "lines of meshes"))


def test_files_beside_a_gltf(tmp_path: Path) -> None:
    scene = uv_scene(UVS, PIXELS)
    document = json.loads(scene.text())
    document["buffers"][0]["uri"] = "my%20data.bin"
    (tmp_path / "a.gltf").write_bytes(json.dumps(document).encode("utf-8-sig"))
    with pytest.raises(FormatError, match=r"a\.gltf: buffers\[0\]\.uri must be a file beside this one; 'my%20data"):
        io3d.load(tmp_path / "a.gltf")
    (tmp_path / "my data.bin").write_bytes(scene.binary)
    assert len(io3d.load(tmp_path / "a.gltf").faces) == 4  # type: ignore[union-attr]
    (tmp_path / "my data.bin").write_bytes(scene.binary[:-1])
    with pytest.raises(FormatError, match=r"buffers\[0\] must have \d+ bytes; got \d+: it is cut off"):
        io3d.load(tmp_path / "a.gltf")
