"""Meshes of other programs: whole kinds of trouble, each read right or named; inputs are built here."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError, InputError
from image3d_nb.mesh import Mesh

from .gltf_scenes import PIXELS, SIDES, TETRA, UVS, Scene, skinned_scene, uv_scene
from .mesh_samples import ball, plain, textured
from .solids import volume

TETRA_V = "".join(f"v {x:g} {y:g} {z:g}\n" for x, y, z in TETRA)
TETRA_F = "".join(f"f {a} {b} {c}\n" for a, b, c in SIDES + 1)


def load(folder: Path, name: str, content: str | bytes, warns: str | None = None) -> Mesh:
    """The mesh of a file; it must warn of ``warns``, and of nothing for None."""
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mesh = io3d.load(folder / name)
    text = " ".join(str(one.message) for one in caught)
    assert warns in text if warns else not caught, text
    assert isinstance(mesh, Mesh)
    return mesh


def ply(columns: str, rows: list[str], faces: list[str], kind: str = "float") -> str:
    """An ascii .ply."""
    properties = "".join(f"property {kind if c in 'xyz' else 'float'} {c}\n" for c in columns.split())
    head = f"ply\nformat ascii 1.0\nelement vertex {len(rows)}\n{properties}element face {len(faces)}\n"
    return head + "property list uchar int vertex_indices\nend_header\n" + "\n".join([*rows, *faces, ""])


ROWS = [f"{x:g} {y:g} {z:g}" for x, y, z in TETRA]
FACES = [f"3 {a} {b} {c}" for a, b, c in SIDES]


@pytest.mark.parametrize("bad", ["nan", "-nan(ind)", "1.#QNAN", "inf", "-1.#IND00"])
@pytest.mark.parametrize(("word", "count", "warns"), [("vn", 3, "normals"), ("vt", 2, "texture coordinates")])
def test_obj_attributes_that_are_not_finite(tmp_path: Path, bad: str, word: str, count: int, warns: str) -> None:
    slash = "//" if word == "vn" else "/"
    faces = TETRA_F.replace(" 1", f" 1{slash}1").replace(" 2", f" 2{slash}1")
    faces = faces.replace(" 3", f" 3{slash}1").replace(" 4", f" 4{slash}1")
    mesh = load(tmp_path, "a.obj", TETRA_V + f"{word}{f' {bad}' * count}\n" + faces, warns)
    assert volume(mesh) == pytest.approx(1 / 6)
    unused = load(tmp_path, "b.obj", TETRA_V + f"{word}{f' {bad}' * count}\n" + TETRA_F)
    assert len(unused.faces) == 4


@pytest.mark.parametrize(
    ("columns", "warns"), [("nx ny nz", "normals"), ("s t", "texture coord"), ("red green blue", "colours")]
)
def test_ply_attributes_that_are_not_finite(tmp_path: Path, columns: str, warns: str) -> None:
    rows = [f"{row}{(' nan' if i == 0 else ' 1') * len(columns.split())}" for i, row in enumerate(ROWS)]
    mesh = load(tmp_path, "a.ply", ply(f"x y z {columns}", rows, FACES), warns)
    assert volume(mesh) == pytest.approx(1 / 6)
    unused = [*(row.replace("nan", "1") for row in rows), f"nan nan nan{' nan' * len(columns.split())}"]
    load(tmp_path, "b.ply", ply(f"x y z {columns}", unused, FACES))


@pytest.mark.parametrize(("name", "count"), [("NORMAL", 3), ("TEXCOORD_0", 2), ("COLOR_0", 3)])
def test_gltf_attributes_that_are_not_finite(tmp_path: Path, name: str, count: int) -> None:
    scene = Scene()
    rows = np.ones((4, count))
    rows[1] = np.nan
    scene.primitive(TETRA, SIDES)["attributes"][name] = scene.accessor(rows, "f4")
    assert len(load(tmp_path, "a.gltf", scene.text(), "NaN").faces) == 4


@pytest.mark.parametrize("faces", ["f 1/1/1 3/1/1 2/1/1\n", "f 1//7 3//7 2//7\n", "f 1/-9 3/-9 2/-9\n"])
@pytest.mark.parametrize("lines", ["", "vt 0 0\n", "vn 0 0 1\n"])
def test_indices_that_name_nothing(tmp_path: Path, faces: str, lines: str) -> None:
    mesh = load(tmp_path, "a.obj", TETRA_V + lines + faces, "name none")
    np.testing.assert_array_equal(mesh.vertices[mesh.faces[0]], TETRA[[0, 2, 1]])


@pytest.mark.parametrize("few", ["f 1\n", "f 1 2\n", "f\n", "f 1/1 2/2\n"])
def test_faces_of_fewer_than_three_corners(tmp_path: Path, few: str) -> None:
    for text in (TETRA_V + few + TETRA_F, TETRA_V + TETRA_F + few):
        assert len(load(tmp_path, "a.obj", text, "fewer than 3").faces) == 4
    for face in ("2 0 1", "1 0", "0"):
        assert len(load(tmp_path, "a.ply", ply("x y z", ROWS, [face, *FACES]), "fewer than 3").faces) == 4


@pytest.mark.parametrize("swap", [False, True])
def test_colours_on_some_vertices(tmp_path: Path, swap: bool) -> None:
    first, second = TETRA_V, TETRA_V.replace("\n", " 1 0 0\n")
    later = "".join(f"f {a} {b} {c}\n" for a, b, c in SIDES + 5)
    blocks = [second, first] if swap else [first, second]
    mesh = load(tmp_path, "a.obj", TETRA_F.join([blocks[0], blocks[1] + later]), None)
    colors = mesh.vertex_colors
    assert colors is not None
    assert {tuple(row) for row in colors.tolist()} == {(1, 0, 0), (1, 1, 1)}


@pytest.mark.parametrize(
    ("colors", "want", "warns"),
    [
        (["1.0001 0 0", "1 0 0", "0 1 0", "0 0 1"], [1, 0, 0], "above 1"),
        (["1.5 0.2 0", "1 0 0", "0 1 0", "0 0 1"], [1, 0.2, 0], "above 1"),
        (["300 0 0", "1 0.5 0", "0 1 0", "0 0 1"], [1, 0, 0], "above 1"),
        (["255 51 0", "255 0 0", "0 255 0", "0 0 1"], [1, 0.2, 0], None),
        (["65535 0 0", "65535 0 0", "0 6553 0", "0 0 9"], [1, 0, 0], None),
    ],
)
def test_colours_above_one(tmp_path: Path, colors: list[str], want: list[float], warns: str | None) -> None:
    rows = [f"{row} {color}" for row, color in zip(ROWS, colors, strict=True)]
    for name, text in (
        ("a.obj", "".join(f"v {row}\n" for row in rows) + TETRA_F),
        ("a.ply", ply("x y z red green blue", rows, FACES)),
    ):
        found = load(tmp_path, name, text, warns).vertex_colors
        assert found is not None
        np.testing.assert_allclose(found[0], want, atol=1e-6)


@pytest.mark.parametrize(("kind", "top"), [("int", 255), ("ushort", 65535), ("uint", 255), ("short", 255)])
def test_integer_colours_of_a_ply(tmp_path: Path, kind: str, top: int) -> None:
    text = ply("x y z red green blue", [f"{row} {top} 0 0" for row in ROWS], FACES)
    for channel in ("red", "green", "blue"):
        text = text.replace(f"float {channel}", f"{kind} {channel}")
    np.testing.assert_allclose(load(tmp_path, "a.ply", text).vertex_colors[0], [1, 0, 0])  # type: ignore[index]


def star(points: int, depth: float) -> np.ndarray:
    """[2 points, 2], concave at every second corner."""
    angle = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2, depth, 1.0)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


OUTLINES = {
    "L": np.array([[0, 0], [3, 0], [3, 1], [1, 1], [1, 3], [0, 3]], float),
    "arrow, concave first": np.array([[2, 1], [0, 4], [0, 0], [4, 0], [4, 4]], float),
    "dart": np.array([[0, 0], [2, 1], [0, 2], [0.5, 1]], float),
    "star": star(7, 0.3),
    "convex": star(5, 0.9),
    "comb": np.array([[0, 0], [9, 0], *((9 - x, 3 - 2.5 * (x % 2)) for x in range(10))], float),
}


@pytest.mark.parametrize("turn", [np.eye(3), trimesh.transformations.euler_matrix(1, 2, 3)[:3, :3]])
@pytest.mark.parametrize("kind", OUTLINES)
def test_concave_polygons_stay_inside(tmp_path: Path, kind: str, turn: np.ndarray) -> None:
    outline = OUTLINES[kind]
    count = len(outline)
    x, y = outline.T
    area = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2
    points = np.array([[*p, h] for h in (0.0, 1.0) for p in outline]) @ turn.T
    sides = [[k, (k + 1) % count, (k + 1) % count + count, k + count] for k in range(count)]
    faces = [list(range(count))[::-1], list(range(count, 2 * count)), *sides]
    lines = [f"v {p[0]!r} {p[1]!r} {p[2]!r}" for p in points.tolist()]
    text = "\n".join([*lines, *(f"f {' '.join(str(k + 1) for k in face)}" for face in faces), ""])
    around = np.linalg.norm(np.roll(outline, -1, 0) - outline, axis=1).sum()
    rows = [line[2:] for line in lines]
    for name, content in (
        ("a.obj", text),
        ("a.ply", ply("x y z", rows, [f"{len(f)} {' '.join(map(str, f))}" for f in faces], "double")),
    ):
        mesh = load(tmp_path, name, content)
        assert volume(mesh) == pytest.approx(area, rel=1e-5)
        assert float(mesh.face_areas().sum()) == pytest.approx(2 * area + around, rel=1e-5)


def test_too_many_corners_are_named_and_soon_done(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((40_000, 2))
    rows = [f"{x:.6f} {y:.6f} 0" for x, y in points]
    text = ply("x y z", rows, [f"40000 {' '.join(map(str, range(40_000)))}"]).replace("uchar int", "int int")
    start = time.thread_time()
    assert len(load(tmp_path, "a.ply", text, "concave").faces) == 39_998
    assert time.thread_time() - start < 5


@pytest.mark.parametrize("suffix", [".tga", ".bmp", ".png"])
def test_textures_of_other_kinds(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / f"wood{suffix}")
    (tmp_path / "a.mtl").write_text(f"newmtl m\nmap_Kd wood{suffix}\n")
    text = f"mtllib a.mtl\n{TETRA_V}vt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 3/2 2/3\n"
    np.testing.assert_array_equal(load(tmp_path, "a.obj", text).texture, PIXELS)


@pytest.mark.parametrize("content", [None, b"DDS " + bytes(120), b"\x89PNG\r\n\x1a\n" + bytes(9)])
def test_a_texture_that_cannot_be_had_is_left_out(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "wood.dds").write_bytes(content)
    scene = uv_scene(UVS, PIXELS)
    scene.json["images"] = [{"uri": "wood.dds"}]
    rows = [f"{row} 0 0" for row in ROWS]
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd wood.dds\n")
    for name, text in (
        ("a.gltf", scene.text()),
        ("a.obj", f"mtllib a.mtl\n{TETRA_V}vt 0 0\nusemtl m\nf 1/1 3/1 2/1\n"),
        ("a.ply", ply("x y z s t", rows, FACES).replace("1.0\n", "1.0\ncomment TextureFile wood.dds\n", 1)),
    ):
        mesh = load(tmp_path, name, text, "texture")
        assert mesh.texture is None
        assert len(mesh.faces)


def test_specular_glossiness(tmp_path: Path) -> None:
    scene = uv_scene(UVS, PIXELS)
    info = scene.json["materials"][0].pop("pbrMetallicRoughness")["baseColorTexture"]
    extension: dict[str, Any] = {"diffuseTexture": info}
    scene.json["materials"][0]["extensions"] = {"KHR_materials_pbrSpecularGlossiness": extension}
    np.testing.assert_array_equal(load(tmp_path, "a.gltf", scene.text()).texture, PIXELS)
    extension["diffuseFactor"] = [1, 0, 0, 1]
    del extension["diffuseTexture"]
    colors = load(tmp_path, "b.gltf", scene.text()).vertex_colors
    np.testing.assert_allclose(colors, [[1, 0, 0]] * 4, atol=1e-6)


@pytest.mark.parametrize("more", [{"emissiveFactor": [1, 0, 0]}, {"extensions": {"KHR_materials_clearcoat": {}}}])
def test_what_else_colours_a_material_is_named(tmp_path: Path, more: dict[str, Any]) -> None:
    scene = Scene()
    scene.primitive(TETRA, SIDES, material=scene.material(baseColorFactor=[0, 0, 0, 1]))
    scene.json["materials"][0] |= more
    load(tmp_path, "a.gltf", scene.text(), next(iter(more.get("extensions", more))))


def test_skins_stand_where_their_joints_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    node, joint, bound = (trimesh.transformations.random_rotation_matrix(rng.random(3)) for _ in range(3))
    joint[:3, 3], bound[:3, 3] = (1, 2, 3), (0, 0, 5)
    node[:3, :3] *= 100
    mesh = load(tmp_path, "a.gltf", skinned_scene(node, joint, bound).text(), "1 skins")
    moved = joint @ np.linalg.inv(bound)
    np.testing.assert_allclose(mesh.vertices, TETRA @ moved[:3, :3].T + moved[:3, 3], atol=1e-5)
    mirror = np.diag([-1.0, 1, 1, 1])
    assert volume(load(tmp_path, "b.gltf", skinned_scene(node, mirror).text(), "skins")) == pytest.approx(1 / 6)


def test_skins_blend_joints_by_their_weights(tmp_path: Path) -> None:
    scene = skinned_scene(np.eye(4), np.eye(4))
    scene.json["nodes"].append({"translation": [2, 0, 0]})
    scene.json["scenes"] = [{"nodes": [0, 1, 2]}]
    scene.json["skins"] = [{"joints": [1, 2]}]
    attributes = scene.json["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_0"] = scene.accessor([[0, 1, 0, 0]] * 4, "u2")
    weights = np.array([[65535, 0, 0, 0], [0, 65535, 0, 0], [32768, 32767, 0, 0], [16384, 49151, 0, 0]])
    attributes["WEIGHTS_0"] = scene.accessor(weights, "u2", normalized=True)
    moved = load(tmp_path, "a.gltf", scene.text(), "skins").vertices - TETRA
    np.testing.assert_allclose(moved[:, 0], [0, 2, 1, 1.5], atol=1e-4)
    attributes["JOINTS_0"] = scene.accessor([[0, 2, 0, 0]] * 4, "u2")
    with pytest.raises(FormatError, match="JOINTS_0"):
        load(tmp_path, "b.gltf", scene.text())


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    "name",
    ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_texture_basisu", "EXT_texture_avif"],
)
def test_compressed_data_is_refused_by_the_name_of_its_extension(tmp_path: Path, name: str, required: bool) -> None:
    scene = uv_scene(UVS, PIXELS)
    scene.json["extensionsRequired" if required else "extensionsUsed"] = [name]
    if "draco" in name:
        primitive = scene.json["meshes"][0]["primitives"][0]
        primitive["extensions"] = {name: {"bufferView": 0, "attributes": {"POSITION": 0}}}
        del scene.json["accessors"][primitive["attributes"]["POSITION"]]["bufferView"]
    elif "meshopt" in name:
        scene.json["bufferViews"][0]["extensions"] = {name: {"buffer": 0, "count": 4, "byteStride": 12}}
    else:
        scene.json["textures"] = [{"extensions": {name: {"source": 0}}}]
    with pytest.raises(FormatError, match=name):
        load(tmp_path, "a.gltf", scene.text())


def test_compressed_data_beside_plain_data_is_not_needed(tmp_path: Path) -> None:
    scene = uv_scene(UVS, PIXELS)
    scene.json["extensionsUsed"] = ["KHR_draco_mesh_compression", "KHR_texture_basisu"]
    extensions = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {}}}
    scene.json["meshes"][0]["primitives"][0]["extensions"] = extensions
    scene.json["textures"][0]["extensions"] = {"KHR_texture_basisu": {"source": 0}}
    np.testing.assert_array_equal(load(tmp_path, "a.gltf", scene.text()).texture, PIXELS)


@pytest.mark.parametrize("origin", [(500_000.0, 4_500_000.0, 0.0), (4.2e5, 5.6e6, 300.0)])
def test_coordinates_of_maps_move_to_a_local_origin(tmp_path: Path, origin: tuple[float, float, float]) -> None:
    far = TETRA * 0.1 + np.array(origin)
    rows = [f"{x:.6f} {y:.6f} {z:.6f}" for x, y, z in far]
    facets = "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join(f"vertex {rows[k].replace(' ', ' ')}\n" for k in side)
        + "endloop\nendfacet\n"
        for side in SIDES
    )
    for name, text in (
        ("a.obj", "".join(f"v {row}\n" for row in rows) + TETRA_F),
        ("a.ply", ply("x y z", rows, FACES, "double")),
        ("a.stl", f"solid a\n{facets}endsolid a\n"),
    ):
        mesh = load(tmp_path, name, text, "moved by")
        np.testing.assert_allclose(np.ptp(mesh.bounds, axis=0), 0.1, atol=1e-5)
        assert volume(mesh) == pytest.approx(1e-3 / 6, rel=1e-3)
    scene = Scene()
    scene.primitive(TETRA * 0.1, SIDES)
    scene.json["nodes"][0]["translation"] = list(origin)
    mesh = load(tmp_path, "a.gltf", scene.text(), "moved by")
    np.testing.assert_allclose(np.ptp(mesh.bounds, axis=0), 0.1, atol=1e-6)


def test_positions_that_float32_holds_do_not_move(tmp_path: Path) -> None:
    for scale, offset in ((1.0, 0.0), (1e-6, 0.0), (1.0, 3000.0), (1e4, 1e5)):
        mesh = Mesh((ball().vertices * scale + offset).astype(np.float32), ball().faces)
        for suffix in (".obj", ".ply", ".glb", ".stl"):
            io3d.save(mesh, tmp_path / f"a{suffix}")
            back = io3d.load(tmp_path / f"a{suffix}")
            np.testing.assert_array_equal(back.vertices[back.faces], mesh.vertices[mesh.faces])  # type: ignore[union-attr]


# ---- trimesh in memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mesh", [ball(), textured(ball()), plain(ball())], ids=["colours", "texture", "plain"])
def test_to_trimesh_and_back(mesh: Mesh) -> None:
    there = mesh.to_trimesh()
    assert there.volume == pytest.approx(volume(mesh), rel=1e-6)
    back = Mesh.from_trimesh(there)
    np.testing.assert_array_equal(back.vertices, mesh.vertices)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    np.testing.assert_allclose(back.vertex_normals(), mesh.vertex_normals(), atol=0.05)
    for name, atol in (("vertex_colors", 0.5 / 255 + 1e-6), ("uvs", 0), ("texture", 0)):
        a, b = getattr(back, name), getattr(mesh, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def test_from_trimesh_of_faces_materials_and_scenes() -> None:
    box = trimesh.creation.box()
    assert Mesh.from_trimesh(box).vertex_colors is None
    box.visual.face_colors = np.arange(12)[:, None] * [20, 1, 2, 0] + [0, 0, 0, 255]
    mesh = Mesh.from_trimesh(box)
    assert mesh.vertex_colors is not None
    np.testing.assert_allclose(mesh.vertex_colors[mesh.faces][:, 1], np.arange(12)[:, None] * [20, 1, 2] / 255)
    assert volume(mesh) == pytest.approx(1)
    moved = trimesh.transformations.translation_matrix([5, 0, 0])
    scene = trimesh.Scene([trimesh.creation.box(), trimesh.creation.box().apply_transform(moved)])
    np.testing.assert_allclose(Mesh.from_trimesh(scene).bounds, [[-0.5, -0.5, -0.5], [5.5, 0.5, 0.5]])
    with pytest.raises(InputError, match="PointCloud"):
        Mesh.from_trimesh(trimesh.PointCloud(np.zeros((3, 3))))  # type: ignore[arg-type]


@pytest.mark.parametrize("length", ["0 0 2", "0 0 1e-30", "0 0 1e200"])
def test_normals_of_another_length_become_unit_vectors(tmp_path: Path, length: str) -> None:
    faces = "".join(f"f {a}//1 {b}//1 {c}//1\n" for a, b, c in SIDES + 1)
    warns = "no length" if length.endswith("200") else None  # its square is beyond all numbers
    mesh = load(tmp_path, "a.obj", f"{TETRA_V}vn {length}\n{faces}", warns)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals(), axis=1), 1, atol=1e-6)
    if warns is None:
        np.testing.assert_allclose(mesh.vertex_normals(), [(0, 0, 1)] * 4, atol=1e-6)


def test_normals_of_no_length_are_those_of_the_faces(tmp_path: Path) -> None:
    normals = ["0 0 3", "0 0 0", "0 0 0", "1 0 0"]
    rows = [f"{row} {normal}" for row, normal in zip([*ROWS, "9 9 9"], [*normals, "0 0 0"], strict=True)]
    mesh = load(tmp_path, "a.ply", ply("x y z nx ny nz", rows, FACES), "normals of 2 of 5 vertices")
    computed = Mesh(mesh.vertices, mesh.faces).vertex_normals()
    want = [(0, 0, 1), computed[1], computed[2], (1, 0, 0), (0, 0, 0)]  # no face uses the last one
    np.testing.assert_allclose(mesh.vertex_normals(), want, atol=1e-6)
