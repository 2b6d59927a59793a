"""The .stl: bytes as specified, z up, corners merged; text and binary of others; damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError
from image3d_nb.io import stl
from image3d_nb.mesh import Mesh

from .mesh_samples import ball, is_closed, plain, textured
from .solids import volume


def test_bytes_are_those_of_the_specification() -> None:
    mesh = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0.5]]), np.array([[0, 1, 2]]))
    content = stl.write(mesh, "a.stl")["a.stl"]
    assert not content.startswith(b"solid")
    assert len(content) == 84 + 50
    assert struct.unpack_from("<I", content, 80) == (1,)
    *numbers, rest = struct.unpack_from("<12fH", content, 84)
    assert numbers[3:] == [0, 0, 0, 1, 0, 0, 0, -0.5, 2]  # y up becomes z up: (x, y, z) to (x, -z, y)
    length = 4.25**0.5
    np.testing.assert_allclose(numbers[:3], [0, -2 / length, -0.5 / length], atol=1e-7)  # (b - a) x (c - a), turned
    assert rest == 0


def test_round_trip_is_exact_up_to_order(tmp_path: Path) -> None:
    mesh = plain(ball())
    io3d.save(mesh, tmp_path / "a.stl", strict=True)
    back = io3d.load(tmp_path / "a.stl")
    assert isinstance(back, Mesh)
    np.testing.assert_array_equal(back.vertices[back.faces], mesh.vertices[mesh.faces])
    assert len(back.vertices) == len(mesh.vertices)
    assert is_closed(back)
    assert volume(back) == pytest.approx(volume(mesh), rel=1e-6)
    edges = np.concatenate([back.faces[:, [k, (k + 1) % 3]] for k in range(3)])
    assert len(np.unique(edges, axis=0)) == len(edges)  # closed by its indices, without merging anything


def test_minus_zero_and_zero_are_one_place(tmp_path: Path) -> None:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-0.0, -0.0, -0.0], [0, 1, 0], [0, 0, 1]])
    io3d.save(Mesh(corners, np.arange(6).reshape(2, 3)), tmp_path / "a.stl")
    assert len(io3d.load(tmp_path / "a.stl").vertices) == 4  # type: ignore[union-attr]


def test_scale_is_millimetres(tmp_path: Path) -> None:
    io3d.save(plain(ball()), tmp_path / "a.stl", scale_mm=80)
    facets = np.frombuffer((tmp_path / "a.stl").read_bytes(), stl._FACET, offset=84)
    assert float(np.ptp(facets["corners"].reshape(-1, 3), axis=0).max()) == pytest.approx(80)


def test_colours_are_left_out_with_a_warning(tmp_path: Path) -> None:
    for mesh, words in ((ball(), "vertex colours"), (textured(ball()), "a texture and its coordinates")):
        with pytest.warns(UserWarning, match=rf"a\.stl: STL cannot hold {words}; that is left out"):
            io3d.save(mesh, tmp_path / "a.stl")
        with pytest.raises(FormatError, match=rf"b\.stl: STL cannot hold {words}"):
            io3d.save(mesh, tmp_path / "b.stl", strict=True)
    assert not (tmp_path / "b.stl").exists()


# ---- what others write -----------------------------------------------------------------------------------------------


def as_text(mesh: Mesh, ends: str = "\n", name: str = "a vertex of facets") -> str:
    """An ascii .stl, z up."""
    lines = [f"solid {name}"]
    for a, b, c in mesh.vertices[mesh.faces].astype(np.float64):
        lines += ["  facet normal 0 0 0", "    outer loop"]
        lines += [f"      vertex {x:.9g} {-z:.9g} {y:.9g}" for x, y, z in (a, b, c)]
        lines += ["    endloop", "  endfacet"]
    return ends.join([*lines, f"endsolid {name}", ""])


@pytest.mark.parametrize(
    "change",
    ["", "crlf", "cr", "capitals", "tabs", "one line", "two solids", "end solid", "no end", "BOM", "long name"],
)
def test_text(tmp_path: Path, change: str) -> None:
    mesh = plain(ball())
    text = as_text(mesh, {"crlf": "\r\n", "cr": "\r", "one line": " "}.get(change, "\n"))
    text = {"end solid": text.replace("endsolid", "end solid"), "no end": text[: text.index("endsolid")],
            "BOM": f"\ufeff{text}", "long name": text.replace("a vertex", "x" * 9000, 1)}.get(change, text)  # fmt: skip
    if change == "capitals":
        text = text.replace("vertex ", "VERTEX ").replace("endfacet", "ENDFACET")
    if change == "tabs":
        text = text.replace("  ", "\t").replace("vertex ", "vertex\t\t")
    if change == "two solids":
        half = len(mesh.faces) // 2
        text = as_text(Mesh(mesh.vertices, mesh.faces[:half])) + as_text(Mesh(mesh.vertices, mesh.faces[half:]))
    (tmp_path / "any.name").write_bytes(text.encode())
    back = io3d.load(tmp_path / "any.name")
    np.testing.assert_array_equal(back.vertices[back.faces], mesh.vertices[mesh.faces])  # type: ignore[union-attr]
    assert is_closed(back)  # type: ignore[arg-type]


def test_binary_that_begins_like_a_text_and_one_with_bytes_behind(tmp_path: Path) -> None:
    content = stl.write(plain(ball()), "a")["a"]
    fooled = b"solid facet normal 0 0 0 ".ljust(80) + content[80:]
    for name, data in (("a.stl", fooled), ("b.bin", fooled), ("c.stl", content + b"\0\0\0")):
        (tmp_path / name).write_bytes(data)
        assert len(io3d.load(tmp_path / name).faces) == len(ball().faces)  # type: ignore[union-attr]


# ---- bad files -------------------------------------------------------------------------------------------------------


def test_a_text_that_is_cut_off_loads_as_far_as_it_goes(tmp_path: Path) -> None:
    text = as_text(plain(ball(4))).encode()
    (tmp_path / "a.stl").write_bytes(text[: text.index(b"facet normal 0 0 0", 2000) + 80])
    with pytest.warns(UserWarning, match="1 facets that are not whole; 11 are"):
        mesh = io3d.load(tmp_path / "a.stl")
    assert len(mesh.faces) == 11  # type: ignore[union-attr]
    (tmp_path / "a.stl").write_bytes(text[:100])
    with pytest.raises(FormatError, match="none whole"):
        io3d.load(tmp_path / "a.stl")


def test_numbers_that_are_none(tmp_path: Path) -> None:
    content = bytearray(stl.write(plain(ball(4)), "a")["a"])
    content[84 + 50 * 3 + 12 : 84 + 50 * 3 + 16] = struct.pack("<f", np.nan)
    (tmp_path / "a.stl").write_bytes(content)
    with pytest.raises(FormatError, match="finite; row 9 "):
        io3d.load(tmp_path / "a.stl")
    for value, words in (("1e99", "finite; row 0 "), ("x", "lines")):
        (tmp_path / "a.stl").write_text(as_text(ball(4)).replace("vertex 0 ", f"vertex {value} ", 1))
        with pytest.raises(FormatError, match=words):
            io3d.load(tmp_path / "a.stl")
