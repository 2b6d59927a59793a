"""How far a set of Gaussians is from a thin opaque skin, and what to do about it before one looks at it.

A scan-like set (or that of LGM at its full size) is a skin: what is seen lies where the centres lie. A small model's is
a haze, some cells deep, with gaps that show only from directions in which it was never looked at.

Shapes: N Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cloud import Cloud, Grid
from .depth import hidden_light

Floats = NDArray[np.floating[Any]]

SAMPLE = 2_000  # Gaussians that are asked for their neighbours
NEIGHBOURS = 16
OPAQUE = 12.0  # optical depth through a whole object: e^-6 of the light passes each of two skins
WIDER = 0.7  # of the haze's depth, by which Gaussians are widened
MOST = 4.0  # times as opaque, at most: beyond, every trace would become a wall


@dataclass(frozen=True)
class Haze:
    """How thick and how faint the layer of Gaussians is.

    Attributes:
        depth: the deviation of the centres from the plane through their 16 nearest neighbours, world units; of half the
            Gaussians' opaque area, not of half their number.
        faintness: how many times more opaque they would have to be to hide what is behind: 1 (a skin) to 4.
        spread: the same deviation over that along the plane: 0 of a skin, 0.55 of one with a noise of 0.6 spacings,
            0.64 to 0.8 of the tiny model's objects.
    """

    depth: float
    faintness: float
    spread: float

    def more_solid(self, steps: int, cell: float) -> Haze:
        """A reading in which less light leaks: each step is twice as opaque and half a cell wider."""
        if not steps:
            return self
        depth = float(np.hypot(self.depth, 0.5 * steps * cell / WIDER))
        return replace(self, depth=depth, faintness=self.faintness * 2.0**steps)


def measure_haze(cloud: Cloud, grid: Grid) -> Haze:
    """Medians over 2,000 Gaussians, weighted by opaque area, and over the pixels of three views along the axes.

    Thousands of small discs on one side (``refine`` lays them) do not make a skin of what is a haze on all others.
    """
    chosen = np.random.default_rng(0).choice(len(cloud), min(SAMPLE, len(cloud)), replace=False)
    _, index = cloud.tree.query(cloud.means[chosen], min(NEIGHBOURS, len(cloud)))
    near = cloud.means[index]  # [n, k, 3]
    near = near - near.mean(1, keepdims=True)
    deviations = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", near, near) / near.shape[1])  # [n, 3], squared
    deviations = np.sqrt(np.maximum(deviations, 0))  # the smallest first
    widths = np.linalg.eigvalsh(cloud.covariances[chosen])  # [n, 3], squared, the smallest first
    areas = cloud.opacities[chosen] * np.sqrt(np.maximum(widths[:, 1] * widths[:, 2], 1e-30))
    # by the faintest side: one that is covered with opaque discs says nothing of the others
    faintest = min(float(np.median(hidden_light(cloud, grid, axis))) for axis in np.eye(3))
    return Haze(
        depth=_median(deviations[:, 0], areas),
        faintness=float(np.clip(OPAQUE / max(faintest, 1e-6), 1, MOST)),
        spread=_median(deviations[:, 0] / np.maximum(deviations[:, 1], 1e-30), areas),
    )


def _median(values: Floats, weights: Floats) -> float:
    """The value below which half of the weight lies."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def solidify(cloud: Cloud, haze: Haze) -> Cloud:
    """The Gaussians as they are looked at: wider by 0.7 of the haze's depth, more opaque by its faintness.

    An opacity of o becomes 1 - (1 - o)^faintness, as that many layers of it. A skin stays nearly as it is.
    """
    wider = cloud.covariances + np.eye(3) * (WIDER * haze.depth) ** 2
    return Cloud(cloud.means, wider, 1 - (1 - cloud.opacities) ** haze.faintness, cloud.colors)
