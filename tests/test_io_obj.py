"""The .obj: what is written, line by line; what others write; damaged files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError
from image3d_nb.io import obj
from image3d_nb.mesh import Mesh

from .mesh_samples import ball, plain, textured

SAMPLES = {"vertex colours": ball(), "texture": textured(ball()), "plain": plain(ball())}
SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def missing(name: str) -> bytes:
    raise FileNotFoundError(2, "No such file", name)


def read(text: str, files: dict[str, bytes] | None = None) -> Mesh:
    def sibling(name: str) -> bytes:
        return files[name] if files and name in files else missing(name)

    return obj.read(memoryview(text.encode()), sibling)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def corners(mesh: Mesh, name: str = "vertices") -> np.ndarray:
    """What stands at each corner of each face, as float32."""
    return np.asarray(getattr(mesh, name)[mesh.faces], np.float32)


@pytest.mark.parametrize("kind", SAMPLES)
def test_round_trip_is_exact_at_every_corner(tmp_path: Path, kind: str) -> None:
    mesh = SAMPLES[kind]
    io3d.save(mesh, tmp_path / "a.obj")
    back = io3d.load(tmp_path / "a.obj")
    assert isinstance(back, Mesh)
    np.testing.assert_array_equal(corners(back).view(np.uint32), (corners(mesh) + 0).view(np.uint32))  # -0.0 is 0.0
    for name in ("vertex_colors", "uvs"):
        if getattr(mesh, name) is None:
            assert getattr(back, name) is None
        else:
            np.testing.assert_array_equal(corners(back, name), corners(mesh, name))
    np.testing.assert_allclose(
        corners(back, "normals"), np.float32(mesh.vertex_normals()[mesh.faces]), rtol=0, atol=1e-7
    )
    if kind == "texture":
        np.testing.assert_array_equal(back.texture, mesh.texture)
    else:
        np.testing.assert_array_equal(back.vertices, mesh.vertices)  # nothing is split: the order stays, too
        np.testing.assert_array_equal(back.faces, mesh.faces)
        assert back.texture is None


def test_nine_digits_hold_any_float32(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 40_000, np.uint32).view(np.float32)
    vertices = bits[np.isfinite(bits)][:29_997].reshape(-1, 3)
    mesh = Mesh(vertices, np.arange(len(vertices)).reshape(-1, 3), normals=np.full(vertices.shape, 3**-0.5))
    io3d.save(mesh, tmp_path / "a.obj")
    back = io3d.load(tmp_path / "a.obj")
    np.testing.assert_array_equal(corners(back).view(np.uint32), (corners(mesh) + 0).view(np.uint32))  # type: ignore[arg-type]


def test_lines_as_written(tmp_path: Path) -> None:
    mesh = Mesh(
        np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0], [-1, 0, 0.1]]),
        np.array([[0, 1, 2], [3, 4, 5]]),
        uvs=np.array([[0, 0], [0.5, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 0.5]]),
        texture=np.zeros((2, 2, 3), np.uint8),
        normals=np.tile([0.0, 0, 1], (6, 1)),
    )
    io3d.save(mesh, tmp_path / "two parts.obj")
    lines = (tmp_path / "two parts.obj").read_text().splitlines()
    assert lines[1:] == [
        "mtllib two parts.mtl", "v 0 0 0", "v 1 0 0", "v 0 1 0", "v -1 0 0.100000001",  # one line for one place
        "vt 0 0", "vt 0.5 0", "vt 0 0.5", "vt 0.5 0.5", "vt 0.5 1", "vt 1 0.5", "vn 0 0 1", "usemtl material",
        "f 1/1/1 2/2/1 3/3/1", "f 1/4/1 3/5/1 4/6/1",
    ]  # fmt: skip
    material = (tmp_path / "two parts.mtl").read_text().splitlines()
    assert material[0] == "newmtl material"
    assert "map_Kd two parts_texture.png" in material
    assert "Kd 1 1 1" in material
    np.testing.assert_array_equal(io3d.load(tmp_path / "two parts.obj").texture, mesh.texture)  # type: ignore[union-attr]


def test_a_material_and_normals_are_always_there(tmp_path: Path) -> None:
    io3d.save(plain(ball()), tmp_path / "a.obj", strict=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mtl", "a.obj"]
    text = (tmp_path / "a.obj").read_text()
    assert text.count("\nvn ") == len(ball().vertices)
    assert text.count("\nusemtl material\n") == 1


def test_a_closed_surface_is_closed_by_its_indices(tmp_path: Path) -> None:
    io3d.save(textured(ball()), tmp_path / "a.obj")
    text = (tmp_path / "a.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in text) == len(ball().vertices)
    faces = [[int(word.split("/")[0]) for word in line.split()[1:]] for line in text if line.startswith("f ")]
    edges = [(face[k], face[(k + 1) % 3]) for face in faces for k in range(3)]
    assert len(set(edges)) == len(edges)
    assert set(edges) == {(b, a) for a, b in edges}


# ---- what others write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("face", "triangles"),
    [
        ("f 1 2 3 4", [[0, 1, 2], [0, 2, 3]]),
        ("f -4 -3 -2 -1", [[0, 1, 2], [0, 2, 3]]),
        ("f 1// 2// 3//", [[0, 1, 2]]),
        ("f 1/ 2/ 3/", [[0, 1, 2]]),
        ("f 4\t3  2", [[1, 2, 3]]),
        ("  f 1 2 3  # a comment", [[0, 1, 2]]),
        ("f 1 2 \\\n3", [[0, 1, 2]]),
        ("f 1 \\\n2 \\\n3 \\\n4\nf 1 2 3", [[0, 1, 2], [0, 2, 3], [0, 1, 2]]),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_faces(face: str, triangles: list[list[int]], ends: str) -> None:
    mesh = read((SQUARE + face + "\n").replace("\n", ends))
    got = mesh.vertices[mesh.faces]
    want = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)[triangles]
    assert sorted(map(str, np.sort(got, axis=1).tolist())) == sorted(map(str, np.sort(want, axis=1).tolist()))
    if "\t" not in face:
        np.testing.assert_array_equal(got, want)


def test_negative_indices_count_back_from_their_line() -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 5 0 0\nv 6 0 0\nv 5 1 0\nf -3 -2 -1\n"
    mesh = read(text)
    np.testing.assert_array_equal(mesh.vertices[mesh.faces][0], [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(mesh.vertices[mesh.faces][1], [[5, 0, 0], [6, 0, 0], [5, 1, 0]])


def test_vertices_are_split_where_their_coordinates_or_normals_differ() -> None:
    mesh = read(
        SQUARE + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvn 0 0 1\nvn 1 0 0\nf 1/1/1 2/2/1 3/3/1\nf 1/4/1 3/3/1 4/4/2\n"
    )
    assert len(mesh.vertices) == 5  # position 1 with vt 1 and with vt 4
    np.testing.assert_array_equal(mesh.uvs[mesh.faces[1]], [[0, 1], [1, 1], [0, 1]])
    np.testing.assert_array_equal(mesh.normals[mesh.faces[1]], [[0, 0, 1], [0, 0, 1], [1, 0, 0]])


def test_corners_with_and_without_normals() -> None:
    mesh = read(SQUARE + "vt 0 0\nvn 0 0 1\nf 1/1/1 2/1/1 3/1/1\nf 1//1 3//1 4//1\nf 1 2 3\n")
    assert len(mesh.faces) == 3
    assert mesh.normals is None
    assert mesh.uvs is None


def test_unused_positions_and_other_elements_are_skipped() -> None:
    mesh = read("o thing\ng a b\ns off\nv 9 9 9\n" + SQUARE + "vp 1\nl 1 2\np 1\nf 2 3 4\nvendor line\n")
    np.testing.assert_array_equal(mesh.vertices, [[0, 0, 0], [1, 0, 0], [1, 1, 0]])


@pytest.mark.parametrize(("scale", "more"), [(1, ""), (255, ""), (1, " 0.5")])
def test_vertex_colours(scale: int, more: str) -> None:
    colors = np.array([[1, 0, 0], [0, 1, 0], [0.2, 0.4, 0.6]])
    lines = [f"v {i} {i % 2} 0 {' '.join(map(str, (scale * c).tolist()))}{more}\n" for i, c in enumerate(colors)]
    np.testing.assert_allclose(read("".join(lines) + "f 1 2 3\n").vertex_colors, colors, atol=1e-6)


QUADS = SQUARE + "vt 0.25 0.25\nvt 0.75 0.25\nvt 0.75 0.75\nvt 0.25 0.75\n"
PIXELS = np.arange(12).reshape(2, 2, 3) * 20


def test_materials_with_spaces_options_and_backslashes() -> None:
    for line in ("map_Kd wood grain.png", "map_Kd -s 1 1 1 -bm 0.5 wood grain.png", "  MAP_KD\t wood grain.png  "):
        files = {"my mug.mtl": f"newmtl the wood\nKd 0.5 0.5 0.5\n{line}\n".encode(), "wood grain.png": png(PIXELS)}
        mesh = read("mtllib my mug.mtl\n" + QUADS + "usemtl the wood\nf 1/1 2/2 3/3 4/4\n", files)
        np.testing.assert_array_equal(mesh.texture, PIXELS)
        assert mesh.vertex_colors is None
    files = {"a.mtl": b"newmtl m\r\nmap_Kd textures\\a.png\r\n", "textures/a.png": png(PIXELS)}
    mesh = read("mtllib a.mtl\n" + QUADS + "usemtl m\nf 1/1 2/2 3/3\n", files)
    np.testing.assert_array_equal(mesh.texture, PIXELS)


def test_companions_lie_in_the_folder_or_below_it(tmp_path: Path) -> None:
    (tmp_path / "mug" / "textures").mkdir(parents=True)
    (tmp_path / "mug" / "mug.obj").write_text("mtllib mug.mtl\n" + QUADS + "usemtl m\nf 1/1 2/2 3/3\n")
    (tmp_path / "mug" / "textures" / "a.png").write_bytes(png(PIXELS))
    (tmp_path / "mug" / "here.png").write_bytes(png(PIXELS))
    (tmp_path / "out.png").write_bytes(png(255 - PIXELS))
    for name in ("textures/a.png", "./textures/../textures/a.png", "../here.png", "/models/here.png"):
        (tmp_path / "mug" / "mug.mtl").write_text(f"newmtl m\nmap_Kd {name}\n")
        np.testing.assert_array_equal(io3d.load(tmp_path / "mug" / "mug.obj").texture, PIXELS)
    for name in ("../out.png", "textures/../../out.png", str(tmp_path / "out.png")):
        (tmp_path / "mug" / "mug.mtl").write_text(f"newmtl m\nmap_Kd {name}\n")
        with pytest.warns(UserWarning, match="not there"):
            assert io3d.load(tmp_path / "mug" / "mug.obj").texture is None


def test_plain_materials_become_vertex_colours() -> None:
    files = {"a.mtl": b"newmtl red\nKd 1 0 0\nnewmtl half\nKd 0.5 0.5 0.5\nnewmtl odd\nKd spectral file.rfl\n"}
    mesh = read("mtllib a.mtl\n" + SQUARE + "usemtl red\nf 1 2 3\nusemtl half\nf 1 3 4\nusemtl odd\nf 1 2 4\n", files)
    want = np.repeat([[1, 0, 0], [0.5] * 3, [1] * 3], 3, axis=0)
    np.testing.assert_allclose(mesh.vertex_colors, want)


def test_several_materials_share_a_texture() -> None:
    files = {
        "a.mtl": b"newmtl one\nmap_Kd 1.png\nnewmtl two\nmap_Kd 2.png\nnewmtl green\nKd 0 1 0\n",
        "1.png": png(PIXELS), "2.png": png(255 - PIXELS),
    }  # fmt: skip
    faces = (
        "usemtl one\nf 1/1 2/2 3/3\nusemtl two\nf 1/1 2/2 3/3\nusemtl green\nf 1/1 2/2 3/3\nusemtl one\nf 1/1 3/3 4/4\n"
    )
    mesh = read("mtllib a.mtl\n" + QUADS + faces, files)
    h, w = mesh.texture.shape[:2]

    def color(face: int) -> list[list[int]]:
        u, v = mesh.uvs[mesh.faces[face]].T
        return mesh.texture[((1 - v) * h).astype(int), (u * w).astype(int)].tolist()

    one = PIXELS[[1, 1, 0, 0], [0, 1, 1, 0]]
    assert color(0) == one[[0, 1, 2]].tolist()
    assert color(1) == one[[0, 2, 3]].tolist()  # faces of one material stand together
    assert color(2) == (255 - one[[0, 1, 2]]).tolist()
    assert color(3) == [[0, 255, 0]] * 3


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "materials of 'a.mtl'"),
        ({"a.mtl": b"newmtl m\nmap_Kd gone.png\n"}, "the texture 'gone.png'"),
        ({"a.mtl": b"newmtl other\n"}, "the material 'm'"),
    ],
)
def test_what_is_not_there_is_told(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    (tmp_path / "a.obj").write_text("mtllib a.mtl\n" + QUADS + "usemtl m\nf 1/1 2/2 3/3\n")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.warns(UserWarning, match=words) as caught:
        mesh = io3d.load(tmp_path / "a.obj")
    assert caught[0].filename == __file__
    assert len(mesh.faces) == 1  # type: ignore[union-attr]
    assert mesh.uvs is not None  # type: ignore[union-attr]


# ---- bad files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SQUARE, "must have faces"),
        (SQUARE + "f 1 2 5\n", "line 5 must have numbers of the 4 'v' lines; got 'f 1 2 5'"),
        (SQUARE + "f 1 2 0\n", "line 5 must have numbers of the 4 'v' lines"),
        (SQUARE + "f 1 2 -5\n", "line 5 must have numbers of the 4 'v' lines"),
        (SQUARE + "f 1 2 x\n", "line 5 must have corners like 1, 1/2, 1//3 or 1/2/3; got 'f 1 2 x'"),
        (SQUARE + "f 1 2 1.5\n", "line 5 must have corners like"),
        (SQUARE + "f 1/1/1/1 2/1/1/1 3/1/1/1\n", "line 5 must have corners like"),
        (SQUARE + "f 1/1/1/1 2 3\n", "line 5 must have corners like"),
        (SQUARE + f"f 1 2 {10**30}\n", "line 5 must have corners like"),
        (SQUARE + f"f 1 2 {2**63 - 1}\n", "line 5 must have numbers of the 4 'v' lines"),
        ("v 0 0\n" + SQUARE + "f 1 2 3\n", "line 1 must have 3 numbers after 'v'; got 'v 0 0'"),
        (SQUARE + "v 0 zero 0\nf 1 2 3\n", "line 5 must have numbers; got 'v 0 zero 0'"),
        (SQUARE + "v 0 nan 0\nf 1 2 5\n", "finite"),
        (SQUARE + "v 0 1e300 0\nf 1 2 5\n", "finite"),
        (SQUARE + "v 0 1.2.3 0\nf 1 2 5\n", "line 5 must have numbers"),
        (SQUARE + "f" + " 1" * 600_000, "lines of an .obj must have at most 1,048,576 characters; one has 1,200,001"),
        ("\0" + SQUARE, "must be a text; it has zero bytes"),
        ("", "must have faces"),
    ],
)
def test_lines_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.obj").write_text(text or "\n")
    with pytest.raises(FormatError, match=rf"a\.obj: .*{message}"):
        io3d.load(tmp_path / "a.obj")


def test_not_this_format(tmp_path: Path) -> None:
    for content in (b"\x89PNG\r\n\x1a\n" + bytes(100), b"dear reader,\nthis is a letter\n", bytes(range(256))):
        (tmp_path / "a.obj").write_bytes(content)
        with pytest.raises(FormatError, match=r"a\.obj: .*must (be a text|have faces)"):
            io3d.load(tmp_path / "a.obj")
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(FormatError, match=r"a\.txt: a file to load must be one of"):
            io3d.load(tmp_path / "a.txt")


def test_a_name_like_an_option_of_a_map_keeps_its_texture(tmp_path: Path) -> None:
    mesh = textured(ball())
    io3d.save(mesh, tmp_path / "-s 1.obj")
    np.testing.assert_array_equal(io3d.load(tmp_path / "-s 1.obj").texture, mesh.texture)
