"""What to_mesh takes of the Gaussians, and the grid that it lays around them.

Shapes: N Gaussians, X Y Z cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..gaussians import Gaussians

Floats = NDArray[np.floating[Any]]

MIN_OPACITY = 0.02  # fainter ones are left out: of LGM's, most are, and fifty together would not hide what is behind
MIN_COUNT = 32  # fewer visible Gaussians enclose nothing
LARGEST = 0.5  # of the object's longest side: wider Gaussians are haze, not surface
PADDING = 4  # cells between the object and the grid's border, on each side
COARSE = 32  # cells along the coarse grid in which the object is looked for


@dataclass(frozen=True)
class Grid:
    """Points of space, evenly spaced: index (i, j, k) is at ``origin + cell * (i, j, k)``.

    Attributes:
        origin: [3] float64, world units.
        cell: the spacing, world units.
        shape: (X, Y, Z), how many points along each axis.
    """

    origin: Floats
    cell: float
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Cloud:
    """The Gaussians that can be seen, as arrays.

    Attributes:
        means: [N, 3] float64, world units.
        covariances: [N, 3, 3] float64, world units squared.
        opacities: [N] float64, in (0, 1].
        colors: [N, 3] float64, sRGB in [0, 1]: the part of the colour that is the same from all sides.
    """

    means: Floats
    covariances: Floats
    opacities: Floats
    colors: Floats

    def __len__(self) -> int:
        return len(self.means)

    @cached_property
    def tree(self) -> Any:
        """A scipy cKDTree of the means."""
        from scipy.spatial import cKDTree

        return cKDTree(self.means)

    def __getitem__(self, index: NDArray[Any]) -> Cloud:
        """The Gaussians at a boolean mask [N] or an index array."""
        return Cloud(self.means[index], self.covariances[index], self.opacities[index], self.colors[index])


def visible(gaussians: Gaussians) -> Cloud:
    """The Gaussians of an opacity of at least 0.02, on the CPU, in float64.

    Raises:
        InputError: not Gaussians, NaN or numbers out of range, or fewer than 32 that can be seen.
    """
    if not isinstance(gaussians, Gaussians):
        raise InputError(f"gaussians must be Gaussians; got {type(gaussians).__name__}")
    if not len(gaussians):
        raise InputError("to_mesh needs Gaussians; got an empty set")
    chosen = gaussians.detach().to("cpu").validate().prune(MIN_OPACITY)
    if len(chosen) < MIN_COUNT:
        raise InputError(
            f"to_mesh needs at least {MIN_COUNT} Gaussians of opacity {MIN_OPACITY} or more, to enclose a volume; "
            f"got {len(chosen)} of {len(gaussians)}"
        )
    columns = (chosen.means, chosen.covariances(), chosen.opacities, chosen.rgb.clamp(0, 1))
    return Cloud(*(tensor.double().numpy() for tensor in columns))


def find_object(cloud: Cloud, resolution: int) -> tuple[Cloud, Grid]:
    """Lay a grid around the object, and leave out what is far from it.

    The object is where the Gaussians are dense: in a coarse grid around the middle nine tenths of them, the connected
    cells that hold a fiftieth of the usual count, and at least a fiftieth of all Gaussians together. A floater, however
    far away, does not make the grid larger.

    Args:
        cloud: see :func:`visible`.
        resolution: cells along the object's longest side.

    Returns:
        The Gaussians within the grid, without those wider than half the object, and the grid.

    Raises:
        InputError: all lie in a plane, on a line or in a point; or so far from the origin that float32 cannot tell
            neighbouring cells apart.
    """
    low, high = _dense_box(cloud.means)
    longest = float((high - low).max())
    if not longest > 0:
        raise InputError(f"to_mesh needs Gaussians that enclose a volume; all {len(cloud)} are at one point")
    cell = longest / resolution
    deviations = np.sqrt(np.trace(cloud.covariances, axis1=1, axis2=2) / 3)  # [N]
    margin = PADDING * cell + 2 * min(float(np.median(deviations)), 0.1 * longest)
    low, high = low - margin, high + margin
    if np.abs([low, high]).max() * np.finfo(np.float32).eps > cell / 64:
        raise InputError(
            f"to_mesh needs an object near the origin: float32 cannot tell cells of {cell:.3g} units apart "
            f"at {np.abs([low, high]).max():.3g}; move it first (Gaussians.transform)"
        )
    near = ((cloud.means >= low) & (cloud.means <= high)).all(1) & (deviations <= LARGEST * longest)
    chosen = cloud[near]
    _require_volume(chosen, cell)
    shape = tuple(int(count) for count in np.ceil((high - low) / cell).astype(int) + 1)
    assert len(shape) == 3
    middle = (low + high) / 2  # the grid is a little larger than the box: share that between both sides
    return chosen, Grid(middle - cell * (np.array(shape) - 1) / 2, cell, shape)


def _dense_box(means: Floats) -> tuple[Floats, Floats]:
    """Lowest and highest corner [3] of the means that lie where most of them do."""
    from scipy import ndimage

    low, high = np.quantile(means, [0.05, 0.95], axis=0)
    span = float((high - low).max())
    if not span > 0:
        low, high = means.min(0), means.max(0)
        span = float((high - low).max())
    if not span > 0:
        return low, high
    index = np.floor((means - (low + high) / 2) / (2 * span) * COARSE + COARSE / 2)  # [N, 3], twice the span
    inside = ((index >= 0) & (index < COARSE)).all(1)
    if not inside.any():
        return low, high
    flat = np.ravel_multi_index(tuple(index[inside].astype(int).T), (COARSE,) * 3)
    counts = np.bincount(flat, minlength=COARSE**3)
    dense = counts >= max(2.0, 0.02 * np.median(counts[flat]))
    labels, _ = ndimage.label(dense.reshape((COARSE,) * 3), np.ones((3, 3, 3)))
    of_mean = labels.ravel()[flat]  # [n], 0 where not dense
    sizes = np.bincount(of_mean)
    keep = (sizes >= 0.02 * len(flat)) & (np.arange(len(sizes)) > 0)
    kept = means[inside][keep[of_mean]]
    return (kept.min(0), kept.max(0)) if len(kept) else (low, high)


def _require_volume(cloud: Cloud, cell: float) -> None:
    if len(cloud) >= MIN_COUNT:
        thickness = float(np.sqrt(max(np.linalg.eigvalsh(np.cov(cloud.means.T))[0], 0.0)))
        if thickness >= 0.5 * cell:
            return
        found = f"all {len(cloud)} lie in a plane or on a line, {thickness:.3g} units thick, and a cell is {cell:.3g}"
    else:
        found = f"only {len(cloud)} lie close together"
    raise InputError(f"to_mesh needs Gaussians that enclose a volume; {found}")
