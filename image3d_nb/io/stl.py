"""The .stl of printers: triangles without order, colours or units; 50 bytes a triangle.

Printers and CAD programs take z for up, -y for the front, and a unit for a millimetre. So files are turned by 90
degrees about x: ours, y up, stand upright on a printer's bed, and theirs in our world.
``save(mesh, "mug.stl", scale_mm=80)`` makes the longest side 80 mm.

Specification: https://www.loc.gov/preservation/digital/formats/fdd/fdd000504.shtml (binary), fdd000506 (text)
"""

from __future__ import annotations

import re

import numpy as np

from ..errors import FormatError, InputError
from ..mesh import Mesh, unique_rows
from ._foreign import local_float32, warn_left_out
from ._format import Sibling
from ._mesh_parts import float32, made

_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEADER = b"image3d_nb: binary STL, counter-clockwise seen from outside"
"""Not to begin with "solid", which is how a text begins."""
_START = 84
_TEXT = re.compile(rb"(\xef\xbb\xbf)?\s*solid\b", re.IGNORECASE)
_CORNER = re.compile(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)(?=\s+(?:vertex|endloop)\b)")
_FACET_START = re.compile(rb"\bfacet\s+normal\b")
_LOOKED_AT = 1 << 16


def sniff(buffer: memoryview) -> bool:
    """Whether the size is that of the count at byte 80, or it begins as a text of facets does."""
    return _is_binary(buffer) or _is_text(buffer)


def _is_binary(buffer: memoryview) -> bool:
    return len(buffer) > _START and len(buffer) == _START + _FACET.itemsize * _count(buffer)


def _is_text(buffer: memoryview) -> bool:
    start = bytes(buffer[:_LOOKED_AT]).lower()
    return _TEXT.match(start) is not None and b"facet" in start


def _count(buffer: memoryview) -> int:
    return int.from_bytes(buffer[80:_START], "little")


def read(buffer: memoryview, sibling: Sibling) -> Mesh:  # noqa: ARG001  (every format gets it)
    """Triangles. Corners that are equal bit by bit are one vertex: closed surfaces are closed.

    Stored normals and attribute bytes are not used: the order of the corners says where outside is. A text that is cut
    off gives the facets that are whole, with a warning.

    Raises:
        FormatError: a binary file that is cut off, no facets, or numbers that are not finite.
    """
    notes: list[str] = []
    # a binary header may begin with "solid", too: the size tells
    text = not _is_binary(buffer) and _is_text(buffer)
    stored = _text_corners(bytes(buffer), notes) if text else _binary_corners(buffer)
    corners = local_float32(stored, notes)  # [3 F, 3]
    corners = np.stack([corners[:, 0], corners[:, 2], -corners[:, 1]], axis=1)  # z up to y up
    vertices, _, inverse = unique_rows(corners)
    warn_left_out(notes, ".stl")
    return made(vertices=vertices, faces=inverse.reshape(-1, 3))


def _binary_corners(buffer: memoryview) -> np.ndarray:
    """[3 F, 3] float32 of a binary .stl, which says how many facets it has; more bytes may follow.

    Raises:
        FormatError: fewer are there, or no facets.
    """
    count = _count(buffer)
    size = _START + _FACET.itemsize * count
    if not count or size > len(buffer):
        raise FormatError(
            f"an .stl of {count} facets, as byte 80 says, must have {size} bytes and at least one facet; got "
            f"{len(buffer)}: it is cut off, or not an .stl"
        )
    return np.frombuffer(buffer, _FACET, count, _START)["corners"].reshape(-1, 3)


def _text_corners(content: bytes, notes: list[str]) -> np.ndarray:
    """[3 F, 3] float64 of the whole facets.

    Raises:
        FormatError: no whole facet, or a word in place of a number.
    """
    *pieces, rest = re.split(rb"\bendfacet\b", content.lower())
    loops = [piece[piece.rfind(b"outer") :] for piece in pieces]  # names may hold any word
    facets = [_CORNER.findall(loop) for loop in loops]
    whole = [facet for facet, loop in zip(facets, loops, strict=True) if len(facet) == loop.count(b"vertex") == 3]
    if not whole:
        raise FormatError(f'an .stl must have facets of 3 lines "vertex x y z"; got {len(pieces)}, none whole')
    lost = len(facets) - len(whole) + len(_FACET_START.findall(rest))
    if lost:
        notes.append(f"{lost} facets that are not whole; {len(whole)} are")
    try:
        return np.array(whole, np.bytes_).astype(np.float64).reshape(-1, 3)
    except ValueError as error:
        raise FormatError(f"the lines of an .stl must hold numbers after vertex: {error}") from error


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
