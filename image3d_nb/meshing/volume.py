"""Depth views to a volume of signed distances, and the repairs that make its zero surface a closed shell.

Shapes: X Y Z points of a grid. A volume [X, Y, Z] float32 is -1 deep inside, 0 on the surface and 1 outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._jit import njit
from ..errors import InputError
from .cloud import Grid
from .depth import DepthView

Volume = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

BAND = 3.0  # cells on each side of a surface in which distances are told apart
SIGMA = 0.8  # cells
_jit = njit(nogil=True, error_model="numpy")


class Fusion:
    """A volume in the making: views are added one by one.

    Attributes:
        grid: the points.
        band: cells on each side of a surface in which distances are told apart.
        total: [X, Y, Z] float32, the sum of what the views say; infinity where a silhouette carves.
        count: [X, Y, Z] uint8, how many say something.
    """

    def __init__(self, grid: Grid, band: float = BAND) -> None:
        self.grid, self.band = grid, band
        self.total = np.zeros(grid.shape, np.float32)
        self.count = np.zeros(grid.shape, np.uint8)
        self._leaks: list[float] = []

    def add(self, view: DepthView) -> None:
        """Add what both sides of a view say."""
        steps = view.rotation * self.grid.cell  # [3, 3]: how right, down and along change from point to point
        start = view.rotation @ self.grid.origin
        start[:2] = (start[:2] - view.corner) / view.pixel  # right and down in pixels from here on
        steps[:2] /= view.pixel
        _add(self.total, self.count, start, steps, view.front, view.back, self.band * self.grid.cell)
        self._leaks.append(view.leaks)

    @property
    def leaks(self) -> float:
        """The mean share of the views' pixels through which light leaked."""
        return float(np.mean(self._leaks)) if self._leaks else 0.0

    def unseen(self) -> float:
        """The share of the border of the inside that no view has seen: open space meets there what is out of sight.

        It has no Gaussians, and would become a false surface: more directions are needed.
        """
        false, true = _borders(self.total, self.count)
        return false / max(false + true, 1)

    def volume(self) -> Volume:
        """[X, Y, Z] float32 in [-1, 1]: the means; -1 where no view has seen anything, 1 along the grid's border."""
        mean = np.divide(self.total, self.count, out=np.full(self.grid.shape, -1, np.float32), where=self.count > 0)
        np.minimum(mean, 1, out=mean)
        mean[[0, -1]] = mean[:, [0, -1]] = mean[:, :, [0, -1]] = 1
        return mean


def fuse(views: Iterable[DepthView], grid: Grid, band: float = BAND) -> Volume:
    """A truncated signed distance for each point of the grid: what the views say of it, averaged.

    A view that sees past the object through a point says: outside, whatever others say (the silhouette carves). A view
    whose surface is behind the point, or at most ``band`` cells in front of it, says by how much. A view whose surface
    is far in front of the point says nothing. What no view has seen is inside.

    Args:
        views: see :func:`image3d_nb.meshing.depth_views`.
        grid: the points.
        band: cells.

    Returns:
        [X, Y, Z] float32 in [-1, 1].

    Source:
        Curless and Levoy 1996, A Volumetric Method for Building Complex Models from Range Images, section 2; for what
        is not seen, section 4. All views weigh the same.
    """
    fusion = Fusion(grid, band)
    for view in views:
        fusion.add(view)
    return fusion.volume()


def smooth(volume: Volume, sigma: float = SIGMA) -> Volume:
    """The volume under a Gaussian of ``sigma`` cells: steps of the carving go, and tunnels of one cell."""
    from scipy import ndimage

    return ndimage.gaussian_filter(volume, sigma, mode="nearest", truncate=3.0)


def drop_floaters(volume: Volume, smallest: float = 0.01) -> Volume:
    """Keep the parts (points inside that touch by their faces) of at least ``smallest`` of the largest one's volume.

    Raises:
        InputError: nothing is inside.
    """
    from scipy import ndimage

    labels, count = ndimage.label(volume < 0)
    if not count:
        raise InputError(
            "to_mesh needs Gaussians that enclose a volume; seen from all around, these hide less than half of what "
            "is behind them"
        )
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    dropped = sizes < smallest * sizes.max()
    dropped[0] = False
    return np.where(dropped[labels], np.abs(volume), volume)


def fill_cavities(volume: Volume) -> Volume:
    """Fill what is outside but cannot be reached from the grid's border through the faces of points outside."""
    from scipy import ndimage

    labels, _ = ndimage.label(volume >= 0)
    return np.where((labels > 0) & (labels != labels[0, 0, 0]), -np.abs(volume), volume)


def seal(volume: Volume, width: int = 4) -> Volume:
    """Close holes up to ``width`` cells wide, if that shuts a cavity or removes a tunnel; else leave all as it is.

    Light that gets in through a thin place of a translucent skin carves what is behind it.
    """
    from scipy import ndimage
    from skimage.measure import euler_number

    inside = volume < 0
    closed = ndimage.binary_closing(inside, ndimage.generate_binary_structure(3, 2), iterations=width // 2)
    sealed = fill_cavities(np.where(closed, np.float32(-1), np.float32(1))) < 0
    if (sealed == closed).all() and euler_number(closed, 1) <= euler_number(inside, 1):
        return volume
    return smooth(np.where(sealed & ~inside, np.float32(-1), volume))


@_jit
def _add(total: Any, count: Any, start: Any, steps: Any, front: Any, back: Any, band: float) -> None:
    """One view. ``band``: its width on each side, world units."""
    height, width = front.shape
    carved = np.float32(np.inf)
    one, scale = np.float32(1), np.float32(1 / band)
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            u = start[0] + i * steps[0, 0] + j * steps[0, 1]
            v = start[1] + i * steps[1, 0] + j * steps[1, 1]
            w = start[2] + i * steps[2, 0] + j * steps[2, 1]
            for k in range(total.shape[2]):
                x, y = int(u), int(v)
                along = np.float32(w)
                u += steps[0, 2]
                v += steps[1, 2]
                w += steps[2, 2]
                if total[i, j, k] == carved:
                    continue
                if not (0 <= x < width and 0 <= y < height) or np.isnan(front[y, x]):
                    total[i, j, k] = carved
                    count[i, j, k] = 1
                    continue
                outside = (front[y, x] - along) * scale  # seen from the front, > 0 before the surface
                if outside > -one:
                    total[i, j, k] += min(outside, one)
                    count[i, j, k] += 1
                outside = (along - back[y, x]) * scale  # seen from behind
                if outside > -one:
                    total[i, j, k] += min(outside, one)
                    count[i, j, k] += 1


@_jit
def _borders(total: Any, count: Any) -> tuple[int, int]:
    """How many points (not seen, seen inside) have open space, further than 0.9 of the band, or outside beside them."""
    false = true = 0
    X, Y, Z = total.shape
    for i in range(1, X - 1):
        for j in range(1, Y - 1):
            for k in range(1, Z - 1):
                hidden = count[i, j, k] == 0
                if not (hidden or total[i, j, k] < 0.0):
                    continue
                level = 0.9 if hidden else 0.0
                for axis in range(3):
                    for step in (-1, 1):
                        a = i + step if axis == 0 else i
                        b = j + step if axis == 1 else j
                        c = k + step if axis == 2 else k
                        if count[a, b, c] > 0 and total[a, b, c] >= level * count[a, b, c]:
                            false += hidden
                            true += not hidden
                            break
                    else:
                        continue
                    break
    return false, true
