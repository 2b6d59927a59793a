"""Colours with names, and patterns to paint parts with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .shapes import Array, Pattern, unit_height

Rng = np.random.Generator


class Color(NamedTuple):
    """A colour and what a caption calls it."""

    name: str
    rgb: Array  # [3], in [0, 1]


_BRIGHT = {
    "red": (0.86, 0.13, 0.13), "orange": (0.95, 0.50, 0.10), "yellow": (0.96, 0.82, 0.14),
    "lime": (0.58, 0.82, 0.16), "green": (0.13, 0.62, 0.24), "teal": (0.06, 0.60, 0.58),
    "sky blue": (0.30, 0.66, 0.93), "blue": (0.13, 0.32, 0.85), "violet": (0.47, 0.20, 0.80),
    "magenta": (0.85, 0.15, 0.65), "pink": (0.96, 0.50, 0.66),
}  # fmt: skip
_MUTED = {
    "brick": (0.58, 0.26, 0.20), "rust": (0.68, 0.38, 0.20), "ochre": (0.75, 0.60, 0.28),
    "olive": (0.45, 0.47, 0.22), "sage": (0.52, 0.64, 0.50), "slate": (0.36, 0.45, 0.55),
    "navy": (0.12, 0.17, 0.38), "plum": (0.42, 0.22, 0.40), "dusty pink": (0.80, 0.60, 0.60),
    "cream": (0.93, 0.88, 0.74), "beige": (0.78, 0.70, 0.58), "mint": (0.66, 0.87, 0.75), "lilac": (0.74, 0.66, 0.87),
}  # fmt: skip
_NEUTRAL = {
    "white": (0.87, 0.87, 0.86), "grey": (0.56, 0.57, 0.59), "charcoal": (0.22, 0.23, 0.26),
    "black": (0.15, 0.15, 0.17),
}  # fmt: skip
_WOOD = {
    "pale wooden": (0.80, 0.64, 0.43), "wooden": (0.62, 0.42, 0.24), "dark wooden": (0.45, 0.28, 0.17),
    "reddish wooden": (0.55, 0.27, 0.16),
}  # fmt: skip
_METAL = {"steel": (0.68, 0.70, 0.73), "dark metal": (0.30, 0.31, 0.34), "brass": (0.78, 0.62, 0.28)}
_GROUPS = {"bright": _BRIGHT, "muted": _MUTED, "neutral": _NEUTRAL, "wood": _WOOD, "metal": _METAL}

SOFT = 0.12  # radians; a spot's edge, about a mesh cell wide, so that it looks round and not like stairs
BLACK = np.array([0.06, 0.06, 0.07])
WHITE = np.array([0.88, 0.88, 0.87])


def pick(rng: Rng, *groups: str) -> Color:
    """A colour from one of the groups (default: bright half the time, else muted or neutral), slightly varied."""
    shares = None if groups else [0.5, 0.35, 0.15]
    table = _GROUPS[str(rng.choice(groups or ("bright", "muted", "neutral"), p=shares))]
    name = list(table)[rng.integers(len(table))]
    return Color(name, jitter(rng, table[name]))


def jitter(rng: Rng, rgb: tuple[float, float, float] | Array, amount: float = 0.05) -> Array:
    """The colour, each channel moved by up to `amount` and all made lighter or darker by up to 10 %."""
    moved = np.asarray(rgb) * rng.uniform(0.9, 1.1) + rng.uniform(-amount, amount, 3)
    return np.clip(moved, 0.03, 0.97)


def pair(rng: Rng) -> tuple[Color, Color]:
    """Two colours that differ clearly."""
    first = pick(rng)
    for _ in range(20):
        second = pick(rng)
        if np.abs(first.rgb - second.rgb).sum() > 0.6:
            return first, second
    return first, Color("white", WHITE) if first.rgb.sum() < 1.5 else Color("charcoal", np.array(_NEUTRAL["charcoal"]))


def _mix(mask: NDArray[Any], first: Array, second: Array) -> Array:
    """[V, 3]: `first` where mask is 0, `second` where it is 1."""
    return first + mask.astype(np.float64)[:, None] * (second - first)


def _turns(points: Array) -> Array:
    """[V] in [0, 1): the angle about y, 0 at the back, so that a seam never shows in front."""
    return np.arctan2(points[:, 0], points[:, 2]) / (2 * np.pi) + 0.5


def gradient(low: Array, high: Array) -> Pattern:
    """From one colour at the bottom to another at the top."""
    return lambda points: _mix(unit_height(points), low, high)


def stripes(first: Array, second: Array, count: int) -> Pattern:
    """`count` rings of each colour along y."""
    return lambda points: _mix((unit_height(points) * 2 * count - 1e-6).astype(int) % 2, first, second)


def flutes(first: Array, second: Array, count: int) -> Pattern:
    """`count` upright stripes of each colour around y."""
    return lambda points: _mix((_turns(points) * 2 * count + 0.25).astype(int) % 2, first, second)


def checker(first: Array, second: Array, rows: int, columns: int) -> Pattern:
    """rows along y times 2 * columns around y."""

    def paint(points: Array) -> Array:
        cells = (unit_height(points) * rows - 1e-6).astype(int) + (_turns(points) * 2 * columns + 0.25).astype(int)
        return _mix(cells % 2, first, second)

    return paint


def band(base: Array, mark: Array, low: float, high: float) -> Pattern:
    """`mark` between two relative heights, `base` elsewhere."""

    def paint(points: Array) -> Array:
        height = unit_height(points)
        return _mix((height > low) & (height < high), base, mark)

    return paint


def spots(base: Array, mark: Array, centres: Array, radius: float) -> Pattern:
    """Round spots [S, 3]: directions from the part's middle, after it is squeezed into a cube; radius in that cube."""

    def paint(points: Array) -> Array:
        low, high = points.min(axis=0), points.max(axis=0)
        unit = (points - (low + high) / 2) / np.maximum((high - low) / 2, 1e-9)  # [V, 3]
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
        closest = np.arccos(np.clip((unit @ centres.T).max(axis=1), -1, 1))  # [V], radians
        return _mix(np.clip((radius - closest) / SOFT + 0.5, 0, 1), base, mark)

    return paint


def spread(rng: Rng, count: int, lowest: float = -1.0) -> Array:
    """`count` directions [S, 3] with y >= lowest, about evenly spread (a jittered Fibonacci spiral)."""
    y = lowest + (1 - lowest) * (np.arange(count) + rng.uniform(0.2, 0.8)) / count
    angle = np.arange(count) * 2.39996 + rng.uniform(0, 2 * np.pi) + rng.uniform(-0.25, 0.25, count)
    side = np.sqrt(np.maximum(1 - y**2, 0))
    return np.stack([side * np.sin(angle), y, side * np.cos(angle)], axis=1)


def surface(rng: Rng, first: Color, second: Color) -> tuple[Pattern | Array, str]:
    """A random pattern of two colours for a roundish part, and the words for it: "red and white striped"."""
    a, b = first.rgb, second.rgb
    both = f"{first.name} and {second.name}"
    kind = rng.choice(8, p=[0.34, 0.12, 0.10, 0.09, 0.12, 0.11, 0.07, 0.05])
    if kind == 0:
        return a, first.name
    if kind == 1:
        return stripes(a, b, int(rng.integers(2, 5))), f"{both} striped"
    if kind == 2:
        return flutes(a, b, int(rng.integers(3, 7))), f"{both} striped"
    if kind == 3:
        return checker(a, b, int(rng.integers(4, 7)), int(rng.integers(3, 6))), f"{both} checked"
    if kind == 4:
        return gradient(a, b), f"{first.name} to {second.name}"
    if kind == 5:
        low = rng.uniform(0.2, 0.6)
        return band(a, b, low, low + rng.uniform(0.12, 0.3)), f"{first.name} and {second.name} banded"
    if kind == 6:
        count = int(rng.integers(10, 20))
        return spots(a, b, spread(rng, count), 0.9 / np.sqrt(count)), f"{first.name} spotted"
    return band(a, b, -1.0, rng.uniform(0.35, 0.6)), f"{both} two-tone"
