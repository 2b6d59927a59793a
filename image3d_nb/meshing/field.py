"""The surface of a function of space, such as a network's density: evaluated on a grid, but only near the surface.

A grid of R points along each axis has R^3 points, and nearly all of them are far from the surface. So the function is
evaluated at every fourth point first (R = 256: 65^3 points). A cube of the coarse grid whose corners lie on both sides
of the surface is cut in eight, and so on down to the finest grid. There, where the surface leaves the cubes that were
cut, it is followed: a part of the surface that was found anywhere is complete.

Shapes: R points along each axis, N points, V vertices, F faces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._numbers import is_whole
from ..errors import InputError
from .cloud import Grid
from .surface import Floats, Ints, marching_cubes
from .volume import Volume

Field: TypeAlias = Callable[[Tensor], Tensor]
"""Values [N] at points of the grid, given as indices [N]: (i * R + j) * R + k for the point (i, j, k)."""
OnChunk: TypeAlias = Callable[[int, int], object]
Bools = NDArray[np.bool_]

CHUNK = 2**14
"""Points that are evaluated at once."""


def sample_field(
    field: Field, count: int, level: float, *, coarse: int = 64, exact: bool = False, on_chunk: OnChunk | None = None
) -> Volume:
    """Evaluate a function on a grid of points, near the surface where it crosses a level.

    A part of the surface is missed only if it is smaller than a cube of the coarse grid and no corner lies in it.

    Args:
        field: see :data:`Field`.
        count: R, points along each axis, 8 to 1024.
        level: the surface's value.
        coarse: points along each axis of the coarse grid, at least.
        exact: evaluate all R^3 points.
        on_chunk: called as f(done, total), in points, after each chunk. ``total`` grows as more points are needed.

    Returns:
        [R, R, R] float32. Points that were not evaluated hold ``level`` + 1 or ``level`` - 1: no cube that the surface
        crosses has such a corner.

    Raises:
        InputError: an argument is out of range, or a value is not a number.
    """
    if not is_whole(count) or not 8 <= count <= 1024:
        raise InputError(f"resolution must be a whole number from 8 to 1024; got {count!r}")
    done = total = 0
    known: list[tuple[Ints, Floats]] = []

    def evaluate(where: Ints) -> Floats:
        nonlocal done, total
        total += len(where)
        values = np.empty(len(where), np.float32)
        for start in range(0, len(where), CHUNK):
            chunk = slice(start, start + CHUNK)
            values[chunk] = field(torch.from_numpy(where[chunk])).float().cpu().numpy()
            done += len(values[chunk])
            if on_chunk is not None:
                on_chunk(done, total)
        if np.isnan(values).any():
            raise InputError(f"the field must give numbers; got NaN at {int(np.isnan(values).sum())} points")
        known.append((where, values))
        return values

    if exact:
        return evaluate(np.arange(count**3)).reshape((count,) * 3)
    stride = 1
    while count // (2 * stride) >= coarse:
        stride *= 2
    lines = _lines(count, stride)
    inside = evaluate(_flat(lines, count)).reshape((len(lines),) * 3) >= level  # at the points of this level's grid
    asked = np.ones_like(inside)
    while stride > 1:
        crossed = _crossed(inside)
        stride //= 2
        finer = _lines(count, stride)
        below = np.searchsorted(lines, finer, "right") - 1  # the coarser point at or before each finer one
        inside, asked = inside[np.ix_(below, below, below)], _spread(asked, lines, finer)
        lines, cubes = finer, below[:-1]
        new = np.flatnonzero(_corners(crossed[np.ix_(cubes, cubes, cubes)]) & ~asked)
        while len(new):
            inside.reshape(-1)[new] = evaluate(_flat(lines, count, new)) >= level
            asked.reshape(-1)[new] = True
            # the surface may leave the cubes that were cut: follow it
            new = np.flatnonzero(_corners(_crossed(inside)) & ~asked)
    volume = np.where(inside, np.float32(level + 1), np.float32(level - 1))
    for where, values in known:
        volume.reshape(-1)[where] = values
    return volume


def closed_surface(volume: Volume, level: float, half: float) -> tuple[Floats, Ints]:
    """The closed surface around the points of a volume that reach a level.

    A part that reaches the border of the grid is closed there.

    Args:
        volume: [R, R, R], index order [x][y][z], of the cube from -half to half, both ends included.
        level: values of at least this are inside.
        half: half of the side of the cube, world units.

    Returns:
        vertices [V, 3] float64, world units; faces [F, 3] int64, counter-clockwise seen from outside.

    Raises:
        InputError: no point is inside.
    """
    if not float(volume.max()) >= level:
        raise InputError(
            f"the object must have a surface at {level:g}; the largest value is {float(volume.max()):.4g}: the model"
            " saw no object, or the threshold is too high"
        )
    inside = volume >= level
    filled = [np.flatnonzero(inside.any(axis)) for axis in ((1, 2), (0, 2), (0, 1))]
    box = [(max(int(i[0]) - 1, 0), int(i[-1]) + 2) for i in filled]  # with a layer of points outside
    cropped = np.pad(np.float32(level) - volume[tuple(slice(*span) for span in box)], 1, constant_values=abs(level) + 1)
    cell = 2 * half / (len(volume) - 1)
    origin = np.array([start - 1 for start, _ in box]) * cell - half
    vertices, faces = marching_cubes(cropped, Grid(origin, cell, cropped.shape))
    return vertices.clip(-half, half), faces


def _lines(count: int, stride: int) -> Ints:
    """Indices along an axis at a stride, the last one included."""
    return np.append(np.arange(0, count - 1, stride), count - 1)


def _flat(lines: Ints, count: int, chosen: Ints | None = None) -> Ints:
    """Indices [N] in the finest grid of points of a coarser one, which are chosen by their indices there, or all."""
    if len(lines) == count:
        return np.arange(count**3) if chosen is None else chosen
    n = len(lines)
    chosen = np.arange(n**3) if chosen is None else chosen
    return (lines[chosen // n**2] * count + lines[chosen // n % n]) * count + lines[chosen % n]


def _crossed(inside: Bools) -> Bools:
    """[n - 1, n - 1, n - 1], cubes with corners on both sides."""
    some = every = inside
    for axis in range(3):
        low, high = _halves(axis)
        some, every = some[low] | some[high], every[low] & every[high]
    return some & ~every


def _corners(cubes: Bools) -> Bools:
    """[n, n, n], points that are corners of chosen cubes [n - 1, n - 1, n - 1]."""
    found = cubes
    for axis in range(3):
        wider = np.zeros([size + (a == axis) for a, size in enumerate(found.shape)], bool)
        low, high = _halves(axis)
        wider[low] = found
        wider[high] |= found
        found = wider
    return found


def _halves(axis: int) -> tuple[Any, Any]:
    before: list[Any] = [slice(None)] * 3
    after = list(before)
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    return tuple(before), tuple(after)


def _spread(known: Bools, lines: Ints, finer: Ints) -> Bools:
    """The known points of a coarse grid, in the finer one."""
    found = np.zeros((len(finer),) * 3, bool)
    at = np.searchsorted(finer, lines)
    found[np.ix_(at, at, at)] = known
    return found
