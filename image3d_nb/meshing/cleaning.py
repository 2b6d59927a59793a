"""What belongs to no object: Gaussians that are faint, giant, or far from all others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..gaussians import Gaussians

MIN_OPACITY = 0.02
LARGEST = 0.25  # a standard deviation over the object's longest side: wider ones are haze
SMALLEST_PART = 0.01  # of the largest connected part: less is a floater
REACH = 3.0  # neighbours are connected up to this many times the usual distance
NEIGHBOURS = 6
MOST_STEPS = 50  # points along half of a long Gaussian


def clean(
    gaussians: Gaussians,
    *,
    min_opacity: float | None = MIN_OPACITY,
    max_scale: float | None = LARGEST,
    floaters: float | None = SMALLEST_PART,
) -> Gaussians:
    """Take out Gaussians that belong to no object: first faint ones, then giants, then floaters. None leaves one out.

    Args:
        gaussians: on any device.
        min_opacity: fainter ones go, in [0, 1].
        max_scale: those whose largest standard deviation is more than this share of the object's longest side go. The
            object is the box of the middle 98 % of the means.
        floaters: connected parts of less than this share of the largest one's Gaussians go. Two are connected when they
            are no further apart than three times the usual distance to the sixth neighbour; a long one, from any place
            within two standard deviations.

    Returns:
        What is left, in its order; ``removed`` counts the rest, reason by reason.

    Raises:
        InputError: no Gaussians, NaN in them, or an argument out of its range.

    Example:
        >>> faint = torch.tensor([1, 1, 1, 1, 0, 1, 1, 1]) * 0.5
        >>> clean(Gaussians.from_lgm(faint[:, None].expand(8, 14)), floaters=None)
        Gaussians(n=7, sh_degree=0, device=cpu, removed: 1 faint)
    """
    if not isinstance(gaussians, Gaussians) or not len(gaussians):
        got = "0" if isinstance(gaussians, Gaussians) else type(gaussians).__name__
        raise InputError(f"clean needs at least one Gaussian; got {got}")
    gaussians.validate()
    _check(min_opacity=min_opacity, floaters=floaters)
    if max_scale is not None and not max_scale > 0:
        raise InputError(f"max_scale must be above 0, or None; got {max_scale}")
    if min_opacity is not None:
        gaussians = gaussians.prune(min_opacity)
    if max_scale is not None and len(gaussians):
        gaussians = gaussians.without(
            "giant", gaussians.scales.max(-1).values > max_scale * _longest_side(gaussians.means)
        )
    if floaters is not None and len(gaussians):
        gaussians = gaussians.without("floating", _floating(gaussians, floaters))
    return gaussians


def _longest_side(means: Tensor) -> float:
    low, high = np.quantile(means.detach().cpu().double().numpy(), [0.01, 0.99], axis=0)
    side = float((high - low).max())
    return side if side > 0 else np.inf  # a single point: nothing to compare with


def _floating(gaussians: Gaussians, smallest: float) -> Tensor:
    """[n] bool: in a connected part of less than ``smallest`` of the largest one's count."""
    means = gaussians.means.detach().cpu().double().numpy()
    if len(means) < 2:
        return torch.zeros(len(means), dtype=torch.bool, device=gaussians.device)
    part, reach = _parts(means)
    small = _small(part, smallest)
    if small.any():  # a wire of a few long Gaussians is one piece, though their means are far apart
        # where both ends of a gap have less than half the reach, their means are near enough
        owner, along = _along_the_long_ones(gaussians, means, reach, np.where(small, reach / 2, reach))
        part, _ = _parts(np.concatenate([means, along]), reach, owner)
        small = _small(part[: len(means)], smallest)
    return torch.from_numpy(small).to(gaussians.device)


def _small(part: NDArray[np.integer], smallest: float) -> NDArray[np.bool_]:
    sizes = np.bincount(part)
    return sizes[part] < smallest * sizes.max()


def _parts(
    points: NDArray[np.float64], reach: float | None = None, owner: NDArray[np.integer] | None = None
) -> tuple[NDArray[np.integer], float]:
    """Which connected part each of the points [m, 3] is in, and the reach; the last ones also hang on their owners."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    count = min(NEIGHBOURS, len(points) - 1)
    distance, index = cKDTree(points).query(points, count + 1)  # [m, k + 1], each point's own first
    reach = REACH * float(np.median(distance[:, -1])) if reach is None else reach
    near = distance <= reach
    start, end = np.repeat(np.arange(len(points)), count + 1)[near.ravel()], index[near]
    if owner is not None:
        start, end = np.append(start, np.arange(len(points) - len(owner), len(points))), np.append(end, owner)
    links: Any = coo_matrix((np.ones(len(start), bool), (start, end)), (len(points),) * 2)
    return connected_components(links, directed=False)[1], reach


def _along_the_long_ones(
    gaussians: Gaussians, means: NDArray[np.float64], reach: float, least: NDArray[np.float64]
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Owners [m] and points [m, 3] along axes, up to two standard deviations, where that is more than ``least`` [n]."""
    half = 2 * gaussians.scales.detach().cpu().double().numpy()  # [n, 3]
    owner, axis = np.nonzero(half > least[:, None])
    axes = gaussians[torch.from_numpy(owner).to(gaussians.device)].rotations().detach().cpu().double().numpy()
    ends = axes[np.arange(len(owner)), :, axis] * half[owner, axis, None]  # [l, 3]
    steps = np.clip(half[owner, axis] / max(reach, 1e-12) + 1, 1, MOST_STEPS).astype(np.int64)
    which = np.repeat(np.arange(len(owner)), steps)
    share = (np.arange(len(which)) - np.repeat(np.cumsum(steps) - steps, steps) + 1) / steps[which]  # 1/s, 2/s, ..., 1
    offset = share[:, None] * ends[which]
    return np.tile(owner[which], 2), np.concatenate([means[owner[which]] + offset, means[owner[which]] - offset])


def _check(**shares: float | None) -> None:
    for name, value in shares.items():
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} must be in [0, 1], or None; got {value}")
