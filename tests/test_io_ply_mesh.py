"""The .ply of a mesh, with plyfile as the oracle in both directions."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData, PlyElement

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError
from image3d_nb.io import ply_mesh
from image3d_nb.mesh import Mesh

from .mesh_samples import ball, is_closed, plain, textured
from .test_io_gltf import same_mesh

SAMPLES = {"vertex colours": ball(), "texture": textured(ball()), "plain": plain(ball())}


@pytest.mark.parametrize("kind", SAMPLES)
def test_round_trip(tmp_path: Path, kind: str) -> None:
    mesh = SAMPLES[kind]
    io3d.save(mesh, tmp_path / "a.ply", strict=True)
    back = io3d.load(tmp_path / "a.ply")
    assert isinstance(back, Mesh)
    same_mesh(back, mesh, colors_atol=0.5 / 255 + 1e-6)
    assert is_closed(back)
    back.vertices[:] = 0  # owns its memory


def test_bytes_as_colours_come_back_exactly(tmp_path: Path) -> None:
    colors = np.arange(256)[:, None] / 255 * np.ones(3)
    mesh = Mesh(np.random.default_rng(0).normal(size=(256, 3)), np.arange(255).reshape(-1, 3), vertex_colors=colors)
    io3d.save(mesh, tmp_path / "a.ply")
    back = io3d.load(tmp_path / "a.ply")
    np.testing.assert_allclose(back.vertex_colors, colors, rtol=0, atol=1e-7)  # type: ignore[union-attr]


def test_plyfile_reads_what_we_write(tmp_path: Path) -> None:
    for kind, mesh in SAMPLES.items():
        io3d.save(mesh, tmp_path / "my mug.ply")
        data = PlyData.read(str(tmp_path / "my mug.ply"))
        assert (data.text, data.byte_order, [e.name for e in data.elements]) == (False, "<", ["vertex", "face"])
        vertex = data["vertex"]
        np.testing.assert_array_equal(np.stack([vertex[c] for c in "xyz"], 1), mesh.vertices)
        np.testing.assert_array_equal(np.stack(list(data["face"]["vertex_indices"])), mesh.faces)
        if kind == "vertex colours":
            colors = np.stack([vertex[c] for c in ("red", "green", "blue")], 1)
            np.testing.assert_array_equal(colors, np.rint(255 * mesh.vertex_colors.astype(np.float64)))
        if kind == "texture":
            assert data.comments == ["TextureFile my mug_texture.png"]
            np.testing.assert_array_equal(np.stack([vertex[c] for c in "st"], 1), mesh.uvs)
            np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "my mug_texture.png")), mesh.texture)


# ---- what others write -----------------------------------------------------------------------------------------------


def plyfile_bytes(
    mesh: Mesh, faces: list[list[int]] | None = None, columns: dict[str, Any] | None = None, kind: str = "f4",
    face: dict[str, Any] | None = None, name: str = "vertex_indices", extra: tuple[PlyElement, ...] = (),
    **options: Any,
) -> bytes:  # fmt: skip
    """The same shape, written by plyfile."""
    columns = {**dict(zip("xyz", mesh.vertices.T, strict=True)), **(columns or {})}
    rows = np.empty(len(mesh.vertices), [(c, kind if c in "xyz" else np.asarray(v).dtype) for c, v in columns.items()])
    for column, values in columns.items():
        rows[column] = values
    lists = faces if faces is not None else mesh.faces.tolist()
    fields = [(name, "O"), *((n, "O" if np.ndim(v[0]) else np.asarray(v).dtype) for n, v in (face or {}).items())]
    table = np.empty(len(lists), fields)
    for i, corners in enumerate(lists):
        table[name][i] = np.array(corners, "i4")
    for column, values in (face or {}).items():
        for i, value in enumerate(values):
            table[column][i] = np.array(value, "f4") if np.ndim(value) else value
    stream = io.BytesIO()
    described = PlyElement.describe(table, "face", val_types={"texcoord": "f4"})
    elements = [PlyElement.describe(rows, "vertex"), *extra, described]
    PlyData(elements, **options).write(stream)
    return stream.getvalue()


def read(content: bytes, files: dict[str, bytes] | None = None) -> Mesh:
    def sibling(name: str) -> bytes:
        if files and name in files:
            return files[name]
        raise FileNotFoundError(2, "No such file", name)

    return ply_mesh.read(memoryview(content), sibling)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"text": True}, {"byte_order": ">"}, {"kind": "f8"}, {"name": "vertex_index"},
        {"comments": ["made by a test"], "obj_info": ["x"]}, {"columns": {"quality": np.zeros(len(ball().vertices))}},
        {"face": {"flags": np.arange(len(ball().faces), dtype=np.uint8)}},
        {"extra": (PlyElement.describe(np.zeros(3, [("a", "f4"), ("b", "u1")]), "camera"),)},
        {"extra": (PlyElement.describe(np.array([([1, 2],), ([1],)], [("a", "O")]), "odd"),)},
    ],
)  # fmt: skip
def test_encodings_types_and_more_elements(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "any.name").write_bytes(plyfile_bytes(ball(), **options))
    back = io3d.load(tmp_path / "any.name")
    np.testing.assert_array_equal(back.vertices, ball().vertices)  # type: ignore[union-attr]
    np.testing.assert_array_equal(back.faces, ball().faces)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("dtype", "scale", "names"),
    [("u1", 255, "red green blue"), ("u2", 65535, "r g b"), ("f4", 1, "diffuse_red diffuse_green diffuse_blue")],
)
def test_colours_of_other_types(dtype: str, scale: float, names: str) -> None:
    want = np.round(ball().vertex_colors * 5) / 5
    columns = {name: (scale * want[:, k]).astype(dtype) for k, name in enumerate(names.split())}
    np.testing.assert_allclose(read(plyfile_bytes(ball(), columns=columns)).vertex_colors, want, atol=1e-4)


PIXELS = np.arange(12).reshape(2, 2, 3) * 20


def picture() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("names", [("s", "t"), ("u", "v"), ("texture_u", "texture_v")])
def test_texture_coordinates_of_vertices(names: tuple[str, str]) -> None:
    uvs = np.random.default_rng(0).uniform(size=(len(ball().vertices), 2)).astype(np.float32)
    content = plyfile_bytes(ball(), columns=dict(zip(names, uvs.T, strict=True)), comments=["TextureFile my wood.png"])
    mesh = read(content, {"my wood.png": picture()})
    np.testing.assert_array_equal(mesh.uvs, uvs)
    np.testing.assert_array_equal(mesh.texture, PIXELS)


@pytest.mark.parametrize("text", [False, True])
def test_texture_coordinates_of_corners_split_vertices(text: bool) -> None:
    square = Mesh(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32), np.array([[0, 1, 2], [0, 2, 3]]))
    texcoord = [[0, 0, 0.5, 0, 0.5, 0.5], [0, 0, 1, 1, 0, 1]]
    content = plyfile_bytes(square, face={"texcoord": texcoord}, comments=["TextureFile a.png"], text=text)
    mesh = read(content, {"a.png": picture()})
    assert len(mesh.vertices) == 5
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], square.vertices[square.faces])
    np.testing.assert_array_equal(mesh.uvs[mesh.faces].reshape(2, 6), texcoord)
    np.testing.assert_array_equal(mesh.texture, PIXELS)


def test_a_texture_that_is_not_there_is_told(tmp_path: Path) -> None:
    io3d.save(textured(ball()), tmp_path / "a.ply")
    (tmp_path / "a_texture.png").unlink()
    with pytest.warns(UserWarning, match=r"left out: the texture 'a_texture\.png', which is not there") as caught:
        mesh = io3d.load(tmp_path / "a.ply")
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(mesh.uvs, textured(ball()).uvs)  # type: ignore[union-attr]


# ---- bad files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("element", [b"vertex 14\n", b"face 24\n"])
@pytest.mark.parametrize("count", [b"1000000000000", b"99999999999999999999999", b"-1", b"0", b"31"])
def test_wrong_counts(tmp_path: Path, element: bytes, count: bytes, text: bool) -> None:
    content = plyfile_bytes(ball(3), text=text)
    assert element in content
    (tmp_path / "a.ply").write_bytes(content.replace(element, element.split()[0] + b" " + count + b"\n"))
    if text and element.startswith(b"face") and 24 < int(count) < 10**15:  # such a text loads as far as it goes
        with pytest.warns(UserWarning, match="cut off"):
            assert len(io3d.load(tmp_path / "a.ply").faces) == 23  # type: ignore[union-attr]
        return
    with pytest.raises(FormatError, match="must"):
        io3d.load(tmp_path / "a.ply")


def test_a_text_that_is_cut_off_loads_as_far_as_it_goes(tmp_path: Path) -> None:
    lines = plyfile_bytes(ball(3), text=True).splitlines()
    (tmp_path / "a.ply").write_bytes(b"\n".join(lines[:-10])[:-2])  # the last line is cut, too
    with pytest.warns(UserWarning, match="11 of 24 faces"):
        np.testing.assert_array_equal(io3d.load(tmp_path / "a.ply").faces, ball(3).faces[:13])  # type: ignore[union-attr]
    vertices = lines.index(b"end_header") + 10
    (tmp_path / "a.ply").write_bytes(b"\n".join(lines[:vertices]))
    with pytest.raises(FormatError, match="14 vertex"):
        io3d.load(tmp_path / "a.ply")


def test_faces_that_make_no_sense() -> None:
    square = Mesh(np.eye(4, 3, dtype=np.float32), np.zeros((0, 3), int))
    for faces, message in (
        ([[0, 1, 4]], r"faces must index 4 vertices; got 0\.\.4"),
        ([[0, 1, -1]], r"faces must index 4 vertices; got -1\.\.1"),
        ([[0, 1]], "at least one triangle"),
    ):
        with pytest.raises(FormatError, match=message):
            read(plyfile_bytes(square, faces))
    with pytest.raises(FormatError, match="got x y z corners"):
        read(plyfile_bytes(square, [[0, 1, 2]], name="corners"))
    with pytest.raises(FormatError, match="finite"):
        read(plyfile_bytes(dataclasses.replace(square, vertices=np.eye(4, 3) * 1e300), [[0, 1, 2]], kind="f8"))
    with pytest.raises(FormatError, match="got a b c"):
        read(
            plyfile_bytes(square, [[0, 1, 2]])
            .replace(b"t x\n", b"t a\n")
            .replace(b"t y\n", b"t b\n")
            .replace(b"t z\n", b"t c\n")
        )
