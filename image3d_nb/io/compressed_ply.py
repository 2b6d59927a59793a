"""PlayCanvas's compressed.ply, which SuperSplat writes: a quarter of a .ply's size. Read only.

Rows are in chunks of 256. The element "chunk" has the least and the largest position, log scale and (in newer files)
colour of each; "vertex" has four words a Gaussian, with numbers that count from the least to the largest of its chunk:

===============  ==========================  =========================================================
word             bits, from the highest on   meaning
===============  ==========================  =========================================================
packed_position  11, 10, 11                  x, y, z
packed_rotation  2, 10, 10, 10               which of w, x, y, z is the largest; the others over 1/sqrt(2)
packed_scale     11, 10, 11                  log scales
packed_color     8, 8, 8, 8                  red, green, blue and opacity, which is from 0 to 1
===============  ==========================  =========================================================

The element "sh", where it is there, has a byte each for the colours of SH degree 1 to 3, from -4 to 4. The axes are
those of a .ply.

Specification: https://blog.playcanvas.com/compressing-gaussian-splats, and playcanvas/splat-transform.
"""

from __future__ import annotations

import numpy as np

from ..errors import FormatError
from ..gaussians import SH_C0, Gaussians
from ._format import Sibling
from ._ply_table import check_size, holds_mesh, holds_packed, is_ply, parse_header, records
from ._rows import blocks, tables, with_largest

_CHUNK = 256
_WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_POSITION, _SCALE, _COLOR = ("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b")
_REACH = 8.0
"""The bytes of SH coefficients cover -4 to 4."""


def sniff(buffer: memoryview) -> bool:
    """Whether it is a .ply with packed columns."""
    return is_ply(buffer) and holds_packed(buffer) and not holds_mesh(buffer)


def read(buffer: memoryview, sibling: Sibling) -> Gaussians:  # noqa: ARG001  (every format gets it)
    """Gaussians from the bytes of a compressed.ply, in the axes of the file.

    Raises:
        FormatError: damaged, or columns or chunks missing.
    """
    header = parse_header(buffer)
    check_size(header, buffer)
    elements = records(header, buffer[header.size :])
    chunk, vertex, coefficients = _checked(elements)
    count = len(vertex)
    means, quats, scales, opacities, sh = tables(count, 3, 4, 3, 1, 3 + len(coefficients))
    sh = sh.view(count, -1, 3)  # [N, K, 3]
    arrays = [field.numpy() for field in (means, quats, scales, opacities, sh)]
    for rows in blocks(count):
        row_means, row_quats, row_scales, row_opacities, row_sh = (array[rows] for array in arrays)
        packed = vertex[rows]
        ranges = chunk[np.arange(rows.start, rows.stop) // _CHUNK]
        with np.errstate(over="ignore", invalid="ignore"):  # numbers that are not finite are told of as such
            row_means[:] = _between(ranges, _POSITION, packed["packed_position"], (21, 11, 0), (11, 10, 11))
            row_scales[:] = np.exp(_between(ranges, _SCALE, packed["packed_scale"], (21, 11, 0), (11, 10, 11)))
            row_sh[:, 0] = (_between(ranges, _COLOR, packed["packed_color"], (24, 16, 8), (8, 8, 8)) - 0.5) / SH_C0
        row_opacities[:, 0] = (packed["packed_color"] & 255) / np.float32(255)
        row_quats[:] = _quats(packed["packed_rotation"])
        if coefficients:
            stored = np.stack([elements["sh"][name][rows] for name in coefficients], axis=1).astype(np.float32)
            # the ends of the byte are the ends of the range, all others the middles of 256 steps
            share = np.where(stored == 0, 0, np.where(stored == 255, 1, (stored + 0.5) / 256))
            by_channel = ((share - 0.5) * _REACH).reshape(len(stored), 3, -1)  # [n, 3, K - 1]
            row_sh[:, 1:] = by_channel.transpose(0, 2, 1)
    return Gaussians(means, quats, scales, opacities[:, 0], sh)


def _checked(elements: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The elements chunk and vertex, and the names of the columns of sh."""
    nothing = np.empty(0, [])
    chunk, vertex, rest = (elements.get(name, nothing) for name in ("chunk", "vertex", "sh"))
    limits = {f"{end}_{name}" for end in ("min", "max") for name in (*_POSITION, *_SCALE)}
    missing = sorted({*_WORDS} - {*(vertex.dtype.names or ())}) + sorted(limits - {*(chunk.dtype.names or ())})
    if missing:
        raise FormatError(f"the header of a compressed.ply, from byte 0 on, must have all columns; it lacks {missing}")
    if any(vertex.dtype[name].newbyteorder("=") != np.dtype("u4") for name in _WORDS):
        raise FormatError("the packed columns in the header of a compressed.ply, from byte 0 on, must be uint")
    if not len(vertex) or len(chunk) < -(-len(vertex) // _CHUNK):
        found = f"{len(vertex)} rows, {len(chunk)} chunks"
        raise FormatError(f"a compressed.ply must have Gaussians, and a chunk for each {_CHUNK} rows; got {found}")
    names = [f"f_rest_{i}" for i in range(len(rest.dtype.names or ()))]
    known = len(names) in (0, 9, 24, 45) and {*names} == {*(rest.dtype.names or ())}
    if not known or (names and len(rest) < len(vertex)):
        found = f"{len(names)} columns, {len(rest)} rows"
        raise FormatError(f'the element "sh" must have 9, 24 or 45 columns f_rest and {len(vertex)} rows; got {found}')
    return chunk, vertex, names


def _between(
    ranges: np.ndarray, names: tuple[str, ...], words: np.ndarray, shifts: tuple[int, ...], bits: tuple[int, ...]
) -> np.ndarray:
    """[n, 3]: numbers that count from the least to the largest one of the row's chunk; 0 to 1 where it has none."""
    columns = []
    for name, shift, width in zip(names, shifts, bits, strict=True):
        most = (1 << width) - 1
        share = ((words >> shift) & most) / np.float32(most)
        known = f"min_{name}" in ranges.dtype.names and f"max_{name}" in ranges.dtype.names  # type: ignore[operator]
        low, high = (ranges[f"min_{name}"], ranges[f"max_{name}"]) if known else (np.float32(0), np.float32(1))
        columns.append(low + (high - low) * share)
    return np.stack(columns, axis=1)


def _quats(words: np.ndarray) -> np.ndarray:
    """[n, 4] wxyz: the three smaller ones in their order, the largest follows from them."""
    others = np.stack([(words >> shift) & 1023 for shift in (20, 10, 0)], axis=1)  # [n, 3]
    others = (others / np.float32(1023) - np.float32(0.5)) * np.float32(2**0.5)
    return with_largest(others, words >> 30)
