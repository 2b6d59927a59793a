"""Five shapes that are known exactly, about 0.8 units large, and Gaussians on them: for to_mesh's benchmark and tests.

A shape is a signed distance (below 0 inside) and a colour at every point of space. Its Gaussians are flat discs, one a
spacing wide, drawn evenly over the surface. ``noisy`` makes them as LGM's are: off the surface by 0.6 of their width,
of uneven size and opacity, with 8 % junk inside and 0.5 % floaters around.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from image3d_nb import Gaussians
from image3d_nb.gaussians import SH_C0

Floats = NDArray[np.float64]
NORMAL_NOISE, JUNK, FLOATERS = 0.6, 0.08, 0.005


@dataclass(frozen=True)
class Shape:
    """A solid: ``distance`` maps points [n, 3] to [n]; ``genera`` is the genus of each of its shells."""

    name: str
    distance: Callable[[Floats], Floats]
    genera: tuple[int, ...]

    @functools.cached_property
    def volume(self) -> float:
        """Units cubed, counted on a fine grid; cells that the surface cuts count in part (right to about 0.1 %)."""
        step = 1 / 200
        line = np.arange(-0.5, 0.5, step) + step / 2
        slabs = (np.stack(np.meshgrid([x], line, line, indexing="ij"), -1).reshape(-1, 3) for x in line)
        return float(sum(np.clip(0.5 - self.distance(slab) / step, 0, 1).sum() for slab in slabs) * step**3)

    def normals(self, points: Floats) -> Floats:
        """[n, 3], unit length: the gradient of the distance, by central differences."""
        steps = 1e-5 * np.eye(3)
        slopes = np.stack([self.distance(points + step) - self.distance(points - step) for step in steps], -1)
        return slopes / np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-12)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """``count`` points [n, 3] evenly on the surface, and its area: a thin shell of random points, projected."""
        shell, found, drawn = 0.004, [], 0
        while sum(map(len, found)) < count:
            points = rng.uniform(-0.5, 0.5, (500_000, 3))
            drawn += len(points)
            found.append(points[np.abs(self.distance(points)) < shell])
        points = np.concatenate(found)
        area = len(points) / drawn / (2 * shell)
        points = points[:count]
        for _ in range(3):
            points = points - self.distance(points)[:, None] * self.normals(points)
        return points, np.float64(area)


def colour(points: Floats) -> Floats:
    """[n, 3] in [0, 1]: soft waves of about 0.3 units, and a band with sharp edges."""
    waves = 0.5 + 0.3 * np.sin(points @ np.array([[19, 3, 7], [5, 17, -4], [-6, 8, 21]]).T + [0, 1, 2])
    band = np.abs(points[:, 1] - 0.08) < 0.05
    return np.where(band[:, None], [0.9, 0.25, 0.15], waves)


def gaussians(
    shape: Shape, count: int = 65_536, *, noisy: bool = False, seed: int = 0
) -> tuple[Gaussians, Callable[[Floats], Floats]]:
    """``count`` Gaussians of a shape that has been turned at random (by the seed), and the turn back to the shape.

    Returns:
        The Gaussians, and a function from their world, points [n, 3], to the shape's.
    """
    rng = np.random.default_rng(seed)
    turn = _random_rotation(rng)
    junk, floaters = (int(count * share) if noisy else 0 for share in (JUNK, FLOATERS))
    on_surface = count - junk - floaters
    points, area = shape.sample(on_surface, rng)
    width = float(np.sqrt(area / on_surface))  # the spacing
    normals = shape.normals(points)
    colours = colour(points)
    scales = width * np.tile([1.0, 1.0, 0.15], (count, 1))
    opacities = np.full(count, 0.95)
    if noisy:
        points = points + NORMAL_NOISE * width * rng.normal(size=(on_surface, 1)) * normals
        inside = np.concatenate([_inside(shape, rng, junk), rng.uniform(-0.6, 0.6, (floaters, 3))])
        points = np.concatenate([points, inside])
        normals = np.concatenate([normals, rng.normal(size=inside.shape)])
        colours = np.concatenate([colours, rng.random(inside.shape)])
        scales = scales * np.exp(0.3 * rng.normal(size=scales.shape))
        opacities = rng.uniform(0.4, 1.0, count)
    tensors = points @ turn.T, _quats(normals @ turn.T), scales, opacities, (colours - 0.5)[:, None] / SH_C0
    return Gaussians(*(torch.as_tensor(array, dtype=torch.float32) for array in tensors)), lambda world: world @ turn


def skin(
    shape: Shape,
    count: int,
    *,
    opacity: tuple[float, float] = (0.15, 0.99),
    noise: float = 0.0,
    junk: float = 0.0,
    width: float = 1.0,
    seed: int = 0,
) -> Gaussians:
    """A closed skin of Gaussians that are each translucent, not turned.

    Args:
        shape: what the skin encloses.
        count: number of Gaussians.
        opacity: lowest and highest; each Gaussian's is drawn evenly between them.
        noise: deviation along the normal, in spacings.
        junk: the share of Gaussians that lie anywhere inside.
        width: a Gaussian's deviation along the surface, in spacings.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    inner = int(count * junk)
    points, area = shape.sample(count - inner, rng)
    spacing = float(np.sqrt(area / len(points)))
    normals = shape.normals(points)
    points = points + noise * spacing * rng.normal(size=(len(points), 1)) * normals
    inside = _inside(shape, rng, inner)
    points, normals = np.concatenate([points, inside]), np.concatenate([normals, rng.normal(size=inside.shape)])
    scales = width * spacing * np.tile([1.0, 1.0, 0.15], (len(points), 1))
    tensors = (
        points,
        _quats(normals),
        scales,
        rng.uniform(*opacity, len(points)),
        (colour(points) - 0.5)[:, None] / SH_C0,
    )
    return Gaussians(*(torch.as_tensor(array, dtype=torch.float32) for array in tensors))


def ball(radius: float) -> Shape:
    """A sphere."""
    return Shape(f"sphere {radius:g}", lambda points: np.linalg.norm(points, axis=1) - radius, (0,))


def torus(ring: float, tube: float) -> Shape:
    """Around the z axis."""
    return Shape(f"torus {ring:g}, {tube:g}", lambda points: _torus(points, ring, tube), (1,))


def capsule(half: float, radius: float) -> Shape:
    """Along the z axis: a segment of twice ``half``, and all that lies within ``radius`` of it."""

    def distance(points: Floats) -> Floats:
        along = np.maximum(np.abs(points[:, 2]) - half, 0)
        return np.sqrt(points[:, 0] ** 2 + points[:, 1] ** 2 + along**2) - radius

    return Shape(f"capsule {half:g}, {radius:g}", distance, (0,))


def box(x: float, y: float, z: float) -> Shape:
    """Half sides."""

    def distance(points: Floats) -> Floats:
        off = np.abs(points) - [x, y, z]
        return np.linalg.norm(np.maximum(off, 0), axis=1) + np.minimum(off.max(1), 0)

    return Shape(f"box {x:g}, {y:g}, {z:g}", distance, (0,))


def _inside(shape: Shape, rng: np.random.Generator, count: int) -> Floats:
    points = rng.uniform(-0.5, 0.5, (200 * count + 1000, 3))
    return points[shape.distance(points) < 0][:count]


def _random_rotation(rng: np.random.Generator) -> Floats:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def _quats(normals: Floats) -> Floats:
    """[n, 4] wxyz that turn +z onto each normal: the half-way quaternion (1 + z.n, z x n)."""
    x, y, z = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).T
    quats = np.stack([1 + z, -y, x, np.zeros_like(x)], 1)
    quats[z < -0.999999] = [0, 1, 0, 0]
    return quats


def _torus(points: Floats, ring: float, tube: float) -> Floats:
    """Around the z axis."""
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - ring, points[:, 2]) - tube


def _cylinder(points: Floats, radius: float, bottom: float, top: float) -> Floats:
    """Around the y axis, with flat ends."""
    across = np.hypot(points[:, 0], points[:, 2]) - radius
    along = np.abs(points[:, 1] - (bottom + top) / 2) - (top - bottom) / 2
    return np.minimum(np.maximum(across, along), 0) + np.hypot(np.maximum(across, 0), np.maximum(along, 0))


def _sphere(points: Floats) -> Floats:
    return np.linalg.norm(points, axis=1) - 0.4


def _box_with_hole(points: Floats) -> Floats:
    off = np.abs(points) - [0.4, 0.3, 0.15]
    box = np.linalg.norm(np.maximum(off, 0), axis=1) + np.minimum(off.max(1), 0)
    return np.maximum(box, 0.14 - np.hypot(points[:, 0], points[:, 1]))


def _linked_rings(points: Floats) -> Floats:
    """One in the x-y plane, one in the x-z plane, each through the middle of the other."""
    aside = np.array([0.11, 0, 0])
    first, second = points + aside, points[:, [0, 2, 1]] - aside
    return np.minimum(_torus(first, 0.22, 0.07), _torus(second, 0.22, 0.07))


def _mug(points: Floats) -> Floats:
    """0.7 high, walls of 0.06, open at the top; the handle at +x."""
    body = _cylinder(points, 0.28, -0.35, 0.35)
    handle = _torus(points - [0.3, 0, 0], 0.15, 0.04)
    return np.maximum(np.minimum(body, handle), -_cylinder(points, 0.22, -0.29, 0.7))


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("sphere", _sphere, (0,)),
        Shape("torus", lambda points: _torus(points, 0.28, 0.12), (1,)),
        Shape("box with a hole", _box_with_hole, (1,)),
        Shape("linked rings", _linked_rings, (1, 1)),
        Shape("mug", _mug, (1,)),
    )
}
