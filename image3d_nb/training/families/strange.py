"""Objects that no family has: a warped one, and two of different families grown together.

Like assemblies, they make a network look at the picture. They keep the details that families have and assemblies lack:
faces, wheels, handles, windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..palette import Rng
from ..shapes import Array, Part, join, unit_height
from .assembly import Built, repeated, stacked, turned

LARGEST = 6000
"""Vertices of the second object; one with more is left out, since it would take too long to draw."""


def chimera(rng: Rng, builders: Sequence[Callable[[Rng], Built]]) -> Built:
    """Most parts of one object, and another one that stands on it, hangs under it or sticks to it once or twice.

    Args:
        rng: the random generator.
        builders: of the families to draw from, two or more.
    """
    first, second = rng.choice(len(builders), 2, replace=False)
    parts, words = builders[first](rng)
    parts = [part for part in parts if rng.random() < 0.85] or parts
    other, more = builders[second](rng)
    piece = join([part for part in other if rng.random() < 0.85] or other)
    if len(piece.vertices) > LARGEST:
        return turned(rng, parts), words
    size = np.ptp(join(parts).vertices, axis=0).max() / np.ptp(piece.vertices, axis=0).max()
    piece = piece.move(*-piece.vertices.mean(axis=0)).scale(size * rng.uniform(0.35, 0.9))
    grown = stacked(rng, piece, parts) if rng.random() < 0.7 else repeated(rng, piece.scale(0.7), parts, 2)
    return turned(rng, [*parts, *grown]), f"{words}, grown together with {more}"


def warp(rng: Rng, vertices: Array) -> Array:
    """Vertices [V, 3] stretched along the axes, tapered or swollen, twisted and bent."""
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    points = (vertices - middle) * np.exp(rng.normal(0, 0.25, 3))
    up = 2 * unit_height(points) - 1  # [V], -1 to 1
    points[:, [0, 2]] *= (1 + rng.uniform(-0.35, 0.35) * up + rng.uniform(-0.3, 0.3) * (1 - up**2))[:, None]
    if rng.random() < 0.3:
        angle = rng.uniform(-0.7, 0.7) * up  # radians
        x, z = points[:, 0].copy(), points[:, 2].copy()
        points[:, 0], points[:, 2] = x * np.cos(angle) - z * np.sin(angle), x * np.sin(angle) + z * np.cos(angle)
    if rng.random() < 0.3:
        points[:, rng.choice([0, 2])] += rng.uniform(-0.3, 0.3) * np.ptp(points[:, 1]) * up**2
    return points


def recolored(rng: Rng, part: Part) -> Part:
    """The part with red, green and blue exchanged at random."""
    return part.paint(part.colors[:, rng.permutation(3)])
