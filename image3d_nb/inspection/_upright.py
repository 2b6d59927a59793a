"""Which way is up in a file of Gaussians that does not say: a guess from light and shape, and often none.

Two things are true of most objects in pictures: they are lit from above, and they stand on their broader end. So two
numbers are added up. Light: the correlation of brightness with the height component of the outward normal (a Gaussian's
shortest axis, turned away from the middle), over 0.1. Shape: the natural logarithm of how much broader the lowest tenth
of the height is than the highest, within -1 and 1. Beyond 2 or -2 that is called a verdict, in between it is none.

Measured on 272 procedural objects of 34 families (mugs, trees, umbrellas, ...) with noisy normals: lit from above, 70 %
got the right verdict, 2 % the wrong one, the others none. With flat colours it is worth nothing (27 % right, 24 %
wrong), so it is a suspicion to look at, not a fact. Rooms and landscapes were not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..gaussians import Gaussians

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_VERDICT = 2.0
_MOST = 20_000
"""Gaussians looked at: as many as make the two numbers steady."""
_LEAST = 100
"""Fewer are too few to tell anything."""


@dataclass(frozen=True)
class Upright:
    """How a set of Gaussians seems to stand.

    Attributes:
        light: correlation of brightness with how far a surface faces +y, -1 to 1.
        base: log of the breadth of its low-y end over that of its high-y end, -1 to 1.
    """

    light: float = 0.0
    base: float = 0.0

    @property
    def up(self) -> int:
        """1: +y seems up, -1: -y seems up, 0: cannot tell."""
        score = self.light / 0.1 + self.base
        return int(score > _VERDICT) - int(score < -_VERDICT)

    def __str__(self) -> str:
        light = "brighter" if self.light > 0 else "darker"
        base = "broader" if self.base > 0 else "narrower"
        return (
            f"{light} on surfaces that face +y (correlation {self.light:+.2f}), "
            f"{base} at its low-y end (log ratio {self.base:+.2f})"
        )


def judge(gaussians: Gaussians) -> Upright:
    """Light and shape along y, in the axes that the Gaussians are in. They must be finite."""
    rows = torch.nonzero(gaussians.opacities > 0.1)[:, 0]
    if len(rows) < _LEAST:
        return Upright()
    seen = gaussians[rows[:: -(-len(rows) // _MOST)]]
    means = seen.means.double().numpy()
    by_size = np.sort(seen.scales.double().numpy(), axis=1)  # [N, 3]
    weights = seen.opacities.double().numpy() * by_size[:, 1] * by_size[:, 2]  # how much surface each one covers
    if not weights.sum() > 0:
        return Upright()
    weights /= weights.sum()
    shortest = seen.scales.argmin(1).numpy()
    normals = seen.rotations().double().numpy()[np.arange(len(seen)), :, shortest]  # [N, 3]
    normals *= np.sign((normals * (means - means.mean(0))).sum(1, keepdims=True))
    light = _correlation(seen.rgb.double().numpy() @ _LUMINANCE, normals[:, 1], weights)
    return Upright(light, float(np.clip(_base(means, weights), -1, 1)))


def _correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    a, b = a - a @ weights, b - b @ weights
    spread = np.sqrt((a * a) @ weights * ((b * b) @ weights))
    return float((a * b) @ weights / spread) if spread > 1e-12 else 0.0


def _base(means: np.ndarray, weights: np.ndarray) -> float:
    """The log of the breadth of the lowest tenth over that of the highest; 0 for what has no height."""
    order = np.argsort(means[:, 1])
    below = np.cumsum(weights[order])
    low, high = means[order[np.searchsorted(below, [0.01, 0.99]).clip(max=len(order) - 1)], 1]
    if not high > low:
        return 0.0
    height = (means[:, 1] - low) / (high - low)
    size = high - low
    breadths = [_breadth(means[part][:, [0, 2]], weights[part]) / size for part in (height < 0.1, height > 0.9)]
    return float(np.log((breadths[0] + 0.02) / (breadths[1] + 0.02)))


def _breadth(points: np.ndarray, weights: np.ndarray) -> float:
    total = weights.sum()
    if len(points) < 5 or not total > 0:
        return 0.0
    middle = weights @ points / total
    return float(np.sqrt(weights @ ((points - middle) ** 2).sum(1) / total))
