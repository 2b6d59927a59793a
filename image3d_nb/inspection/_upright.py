"""Guess which way is up in a file of Gaussians, from light and shape. Often the answer is "unknown".

Most objects are lit from above and stand on their broader end. Two numbers are added up. Light: the correlation of
brightness with the height component of the outward normal (a Gaussian's shortest axis, turned away from the centre),
divided by 0.1. Shape: the natural logarithm of the breadth of the lowest tenth of the height over that of the highest
tenth, clipped to [-1, 1]. A sum above 2 or below -2 is a verdict.

Measured on 272 procedural objects of 34 families (mugs, trees, umbrellas, ...) with noisy normals: lit from above, 70 %
got the right verdict, 2 % the wrong one, the others none. With flat colours the guess is worthless (27 % right, 24 %
wrong), so the user must look at the object. Rooms and landscapes were not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..gaussians import Gaussians

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_VERDICT = 2.0
_MOST = 20_000
"""Gaussians that are used at most: with more, the two numbers hardly change."""
_LEAST = 100
"""Gaussians that are needed at least."""


@dataclass(frozen=True)
class Upright:
    """The two numbers of the guess.

    Attributes:
        light: correlation of brightness with the y component of the outward normal, -1 to 1.
        base: log of the breadth of the low-y end over that of the high-y end, -1 to 1.
    """

    light: float = 0.0
    base: float = 0.0

    @property
    def up(self) -> int:
        """1: +y seems up; -1: -y seems up; 0: unknown."""
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
    """Light and shape along y, in the axes of the Gaussians, which must be finite."""
    rows = torch.nonzero(gaussians.opacities > 0.1)[:, 0]
    if len(rows) < _LEAST:
        return Upright()
    seen = gaussians[rows[:: -(-len(rows) // _MOST)]]
    means = seen.means.double().numpy()
    by_size = np.sort(seen.scales.double().numpy(), axis=1)  # [N, 3]
    weights = seen.opacities.double().numpy() * by_size[:, 1] * by_size[:, 2]  # area that each Gaussian covers
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
    """The log of the breadth of the lowest tenth over that of the highest; 0 if the object has no height."""
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
