"""The .stl of printers: triangles without order, colours or units; 50 bytes a triangle.

Printers and CAD programs take z for up, -y for the front, and a unit for a millimetre. So files are turned by 90
degrees about x: ours, y up, stand upright on a printer's bed, and theirs in our world.
``save(mesh, "mug.stl", scale_mm=80)`` makes the longest side 80 mm.

Specification: https://www.loc.gov/preservation/digital/formats/fdd/fdd000504.shtml (binary), fdd000506 (text)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np

from ..errors import FormatError, InputError
from ..mesh import Mesh
from ._format import Format, Sibling
from ._mesh_parts import first_rows, float32, made

_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEADER = b"image3d_nb: binary STL, counter-clockwise seen from outside"
"""Not to begin with "solid", which is how a text begins."""
_START = 84
_AT_ONCE = 1 << 15

_TEXT = re.compile(rb"\s*solid\b")
_CORNER = re.compile(rb"\bvertex[ \t]+(\S+)[ \t]+(\S+)[ \t]+(\S+)", re.IGNORECASE)
_END = re.compile(rb"\bendfacet\b", re.IGNORECASE)


def sniff(buffer: memoryview) -> bool:
    """Whether the size is that of the count at byte 80, or it begins as a text of facets does."""
    return _is_binary(buffer) or _is_text(buffer)


def _is_binary(buffer: memoryview) -> bool:
    return len(buffer) > _START and len(buffer) == _START + _FACET.itemsize * _count(buffer)


def _is_text(buffer: memoryview) -> bool:
    start = bytes(buffer[:4096]).lower()
    return _TEXT.match(start) is not None and b"facet" in start


def _count(buffer: memoryview) -> int:
    return int.from_bytes(buffer[80:_START], "little")


def read(buffer: memoryview, sibling: Sibling) -> Mesh:  # noqa: ARG001  (every format gets it)
    """Triangles whose equal corners (bit by bit) are one vertex, so that a closed surface is closed again.

    Stored normals and attribute bytes are not used: the order of the corners says where outside is.

    Raises:
        FormatError: cut off, no facets, or numbers that are not finite.
    """
    # a binary header may begin with "solid", too: the size tells
    rows = _read_text(buffer) if not _is_binary(buffer) and _is_text(buffer) else _read_binary(buffer)  # [3 F, 3]
    if not np.isfinite(rows).all():
        bad = int(np.isfinite(rows).all(1).argmin()) // 3
        raise FormatError(f"the corners of an .stl must be finite; those of facet {bad} are NaN or infinite")
    corners = np.stack([rows[:, 0], rows[:, 2], -rows[:, 1]], axis=1) + 0  # z up to y up; -0.0 + 0 is 0.0
    first, inverse = first_rows(corners)
    return made(vertices=corners[first], faces=inverse.reshape(-1, 3))


def _read_binary(buffer: memoryview) -> np.ndarray:
    if len(buffer) < _START + _FACET.itemsize:
        raise FormatError(f"an .stl must have 84 bytes and at least one facet of 50; got {len(buffer)}: it is cut off")
    count = _count(buffer)
    if not count or _START + _FACET.itemsize * count > len(buffer):
        raise FormatError(
            f"an .stl of {count} facets, as byte 80 says, must have {_START + _FACET.itemsize * count} bytes and at "
            f"least one facet; got {len(buffer)}: it is cut off, or not an .stl"
        )
    facets = np.frombuffer(buffer, _FACET, count, _START)
    return np.array(facets["corners"], np.float32).reshape(-1, 3)  # [3 F, 3]


def _read_text(buffer: memoryview) -> np.ndarray:
    text = bytes(buffer)
    corners = list(_text_corners(text))
    found, facets = sum(map(len, corners)), sum(1 for _ in _END.finditer(text))
    if not found or found != 3 * facets or b"endsolid" not in text[-4096:].lower():
        raise FormatError(
            f'an .stl must have 3 lines "vertex x y z" a facet, and end with "endsolid"; got {found} in {facets} '
            "whole facets: it is cut off or damaged"
        )
    return np.concatenate(corners)


def _text_corners(text: bytes) -> Iterator[np.ndarray]:
    """[n, 3] at a time: as objects of Python's, all of a large file's numbers would fill the memory."""
    matches = _CORNER.finditer(text)
    while some := [match.groups() for match in itertools.islice(matches, _AT_ONCE)]:
        try:
            with np.errstate(over="ignore"):
                yield np.array([float(number) for corner in some for number in corner], np.float32).reshape(-1, 3)
        except ValueError as error:
            raise FormatError(f"the corners of an .stl must be numbers; {error}") from error


def write(mesh: Mesh, name: str) -> dict[str, bytes]:
    """The binary form, with a normal for each facet; without, viewers draw it flat grey.

    Raises:
        InputError: a number beyond float32, or more facets than 4 bytes can count.
    """
    if len(mesh.faces) >= 1 << 32:
        raise InputError(f"an .stl must have fewer than 2^32 facets; got {len(mesh.faces)}")
    facets = np.zeros(len(mesh.faces), _FACET)
    facets["normal"] = _z_up(mesh.face_normals())
    facets["corners"] = _z_up(float32(mesh.vertices, "vertices"))[mesh.faces]  # [F, 3, 3]
    return {name: _HEADER.ljust(80) + len(facets).to_bytes(4, "little") + facets.tobytes()}


def _z_up(rows: np.ndarray) -> np.ndarray:
    return np.stack([rows[:, 0], -rows[:, 2], rows[:, 1]], axis=1) + 0  # -0.0 + 0 is 0.0


def losses(mesh: Mesh) -> list[str]:
    """Shape is all there is room for."""
    lost = []
    if mesh.vertex_colors is not None:
        lost.append("vertex colours")
    if mesh.texture is not None or mesh.uvs is not None:
        lost.append("a texture and its coordinates")
    return lost


FORMAT = Format(
    suffix=".stl",
    name="STL",
    holds=Mesh,
    sniff=sniff,
    read=read,
    write=write,
    losses=losses,
    turns=False,
    suffix_tells=True,
)
