"""Meshes of other programs: what their readers share.

- Positions must be finite; normals, texture coordinates and colours that are not are left out, with a warning.
- Colours above 1 are bytes, or are limited to 1.
- Coordinates that float32 cannot hold (those of maps) are moved to a local origin, with a warning.
- A text that is cut off loads as far as it goes; where the file says how many faces it has, a warning counts them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..errors import FormatError
from ..images.caller import warn

_MOST_NOTES = 6
_VISIBLE = 1e-5
"""Errors of float32 above this share of a mesh's size can be seen."""
_DECIMALS = 1e-8
"""Text of nine digits is within this share of a float32: such numbers have lost nothing."""
_COARSE = 0.01
"""Steps of float32 above this share of a mesh's size: the numbers are those of a map, whoever rounded them."""

_CALL, _MOST_COSTS = 2000, 3e8
"""Cutting up a concave polygon of n corners costs n^2 + 2000; all of a file may cost this much: some three seconds."""


@contextmanager
def parsing(kind: str) -> Iterator[None]:
    """Turn whatever plyfile raises into a FormatError.

    Args:
        kind: of file, for the message.

    Raises:
        FormatError: the file could not be read.
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            # this is how numpy before 2.4 says that a number could not be read
            warnings.simplefilter("error", DeprecationWarning)
            yield
    except FormatError:
        raise
    except Exception as error:  # it raises whatever its code runs into
        reason = f"{type(error).__name__}: {str(error)[:160]}"
        raise FormatError(f"the lines or bytes of {kind} must be whole; reading stops with {reason}") from error


def warn_left_out(notes: list[str], kind: str, holder: str = "a Mesh") -> None:
    """One warning for all that a reader left out.

    Args:
        notes: what was left out or changed, a phrase each; none, no warning.
        kind: of file, ".obj".
        holder: what was read from it.
    """
    if not notes:
        return
    notes = list(dict.fromkeys(notes))
    more = f" and {len(notes) - _MOST_NOTES} more" if len(notes) > _MOST_NOTES else ""
    listed = "; ".join(notes[:_MOST_NOTES])
    warn(f"{holder} does not hold all of this {kind}; left out: {listed}{more}")


def finite_or_none(rows: np.ndarray | None, name: str, notes: list[str]) -> np.ndarray | None:
    """An optional attribute [V, C], or None and a note where it has NaN or infinity."""
    if rows is None:
        return None
    bad = len(rows) - int(np.isfinite(rows).all(1).sum())
    if not bad:
        return rows
    notes.append(f"the {name}, of which {bad} of {len(rows)} are NaN or infinite")
    return None


def colors_from_numbers(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """[V, 3] sRGB in [0, 1] of a file that does not say whether its colours end at 1 or at 255.

    They are bytes if most numbers above 0 are above 1, else larger ones are limited to 1. NaN stays NaN.
    """
    above: np.ndarray = values[values > 0]
    if not above.size or above.max() <= 1:
        return values.clip(0, 1)
    if (above > 1).mean() > 0.5:
        return (values / (255 if above.max() <= 255 else 65535)).clip(0, 1)
    notes.append(f"what {int(np.any(values > 1, axis=1).sum())} of {len(values)} colours have above 1")
    return values.clip(0, 1)


def local_float32(positions: np.ndarray, notes: list[str]) -> np.ndarray:
    """[V, 3] positions as float32, moved to a local origin where float32 would merge or bend them.

    Raises:
        FormatError: a position is NaN or infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        single = positions.astype(np.float32)
    bad = ~np.logical_and.reduce(np.isfinite(single), axis=1)
    if bad.any():
        raise FormatError(f"positions must be finite; row {int(bad.argmax())} of {len(bad)} is NaN or beyond float32")
    if positions.dtype == np.float32 or not len(positions):
        return single
    size, largest = float(np.ptp(positions, axis=0).max()), float(np.abs(positions).max())
    error = float(np.abs(positions - single).max())
    lossy = error > max(_VISIBLE * size, _DECIMALS * largest)
    if size == 0 or not (lossy or np.spacing(np.float32(largest)) > _COARSE * size):
        return single
    origin = np.rint((positions.min(0) + positions.max(0)) / 2)
    place = ", ".join(f"{-x:.0f}" for x in origin)
    notes.append(f"the far origin: all positions are moved by ({place}), since float32 cannot hold them where they are")
    return (positions - origin).astype(np.float32)


def triangles_of(
    positions: np.ndarray, corners: np.ndarray, sizes: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Polygons as triangles that stay inside them, concave ones too.

    Args:
        positions: [V, 3].
        corners: [n] vertices of all polygons, one after the other.
        sizes: [P] the number of corners of each polygon; below 3 it gives no triangle.
        notes: gets a phrase for polygons that are too large to be cut up well.

    Returns:
        [T, 3] places in ``corners``; [T] the polygon of each triangle.
    """
    starts, count = np.cumsum(sizes) - sizes, np.maximum(sizes - 2, 0)
    ends = np.cumsum(count)
    polygon = np.repeat(np.arange(len(sizes)), count)
    step = np.arange(len(polygon)) - np.repeat(ends - count, count)
    first = starts[polygon]
    triangles = np.stack([first, first + step + 1, first + step + 2], axis=1)
    many = sizes[polygon] > 3
    if not many.any():
        return triangles, polygon
    a, b, c = (positions[corners[triangles[many, k]]].astype(np.float64) for k in range(3))
    normals = np.zeros((len(sizes), 3))
    with np.errstate(over="ignore", invalid="ignore"):  # positions are checked once they are known to be used
        areas = np.cross(b - a, c - a)  # [t, 3]
        np.add.at(normals, polygon[many], areas)  # twice the area of the whole polygon, by Newell's formula
        concave = np.unique(polygon[many][(areas * normals[polygon[many]]).sum(1) < 0])
    quads = concave[sizes[concave] == 4]  # the other diagonal lies inside
    triangles[ends[quads] - 2] = starts[quads, None] + (1, 2, 3)
    triangles[ends[quads] - 1] = starts[quads, None] + (1, 3, 0)
    others = concave[sizes[concave] > 4]
    costs = np.cumsum(sizes[others].astype(np.float64) ** 2 + _CALL)
    for one in others[costs <= _MOST_COSTS].tolist():
        inside = _ears(positions[corners[starts[one] : starts[one] + sizes[one]]], normals[one])
        if inside is not None:
            triangles[ends[one] - count[one] : ends[one]] = inside + starts[one]
    if len(costs) and costs[-1] > _MOST_COSTS:
        notes.append(
            f"the dents of {int((costs > _MOST_COSTS).sum())} concave polygons, which are too large or too many"
        )
    return triangles, polygon


def _ears(outline: np.ndarray, normal: np.ndarray) -> np.ndarray | None:
    """[n - 2, 3] triangles of one concave polygon [n, 3], by manifold3d; None if it finds another number."""
    import manifold3d

    axis = int(np.abs(normal).argmax())
    flat = np.delete(outline.astype(np.float64), axis, axis=1)
    if (normal[axis] < 0) != (axis == 1):  # seen from behind
        flat = flat * (-1, 1)
    if not np.isfinite(flat).all():
        return None
    found = np.asarray(manifold3d.triangulate([flat]))
    return found if found.shape == (len(flat) - 2, 3) else None
