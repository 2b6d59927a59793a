"""A mesh to Gaussians: flat ones, spread evenly over the surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .._numbers import is_whole
from ..errors import InputError
from ..gaussians import SH_C0, Gaussians
from ..mesh import Mesh

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

CANDIDATES = 8  # random places for each Gaussian, from which the even ones are chosen
ROUNDS = 3  # of Lloyd's method; each next one gains less
SPREAD = 0.8  # standard deviation over spacing: at 0.7 the far side shines through in places, at 0.9 all blurs
FLATNESS = 0.1  # thickness over spread
EDGE = 1.25  # standard deviations from the middle to a sharp edge: at 1.18 a lone disc is half gone there
NARROWEST = 0.2  # beside a sharp edge, across it, over spread
OPACITY = 0.99


@dataclass(frozen=True)
class _Places:
    """Places on a mesh: face [n], weights [n, 3] of its corners, the points [n, 3] and the face's normals [n, 3]."""

    face: Ints
    weights: Floats
    points: Floats
    normals: Floats

    def __getitem__(self, index: Ints) -> _Places:
        return _Places(self.face[index], self.weights[index], self.points[index], self.normals[index])


def to_gaussians(mesh: Mesh, n: int = 50_000, seed: int = 0) -> Gaussians:
    """A mesh as Gaussians that lie flat on its surface, in its colours: for teaching, tests and viewers of splats.

    Each is a disc as wide as its share of the area needs, so that the surface is closed, and a tenth as thick; beside a
    sharp edge it is narrower, so that edges stay sharp. The colours are those that the mesh is drawn in, without light,
    the same from all sides. Details finer than the spacing, sqrt(area / n), blur.

    Args:
        mesh: with at least one face that has an area; textured, with vertex colours or plain (grey).
        n: how many Gaussians.
        seed: of the draw; the same seed gives the same Gaussians.

    Returns:
        n Gaussians of SH degree 0, float32, on the CPU; the third local axis of each is the normal of its face.

    Raises:
        InputError: n below 1, or a mesh without an area.

    Source:
        Lloyd 1982, Least squares quantization in PCM, on random points of the surface: evenly spaced points.

    Example:
        >>> triangle = Mesh(np.eye(3), np.array([[0, 1, 2]]))
        >>> to_gaussians(triangle, n=100)
        Gaussians(n=100, sh_degree=0, device=cpu)
    """
    area = float(mesh.face_areas().sum())
    if not is_whole(n) or n < 1:
        raise InputError(f"n must be a whole number of 1 or more; got {n!r}")
    if not area > 0:
        raise InputError(f"mesh must have an area; got {area:g}")
    spacing = float(np.sqrt(area / n))
    face, weights = mesh.random_places(CANDIDATES * n, seed)
    places = _Places(face, weights, mesh.points_at(face, weights), mesh.face_normals()[face])
    chosen = places[_even(places, n, spacing)]
    width = np.full(n, SPREAD * spacing)
    across, room = _room(chosen, places, spacing)
    scales = np.stack([np.clip(room, NARROWEST * width, width), width, FLATNESS * width], axis=1)
    colors = mesh.colors_at(chosen.face, chosen.weights)  # [n, 3]
    return Gaussians(
        means=_tensor(chosen.points),
        quats=_tensor(_spun(quaternions_to(chosen.normals), across)),
        scales=_tensor(scales),
        opacities=torch.full((n,), OPACITY),
        sh=_tensor((colors - 0.5) / SH_C0)[:, None],  # [n, 1, 3]
    )


def quaternions_to(normals: Floats) -> Floats:
    """Rotations that bring the z axis to unit vectors, the shortest way.

    Args:
        normals: [n, 3], unit length.

    Returns:
        [n, 4], wxyz, unit length.
    """
    below = normals[:, 2] < 0
    x, y, z = np.where(below[:, None], -normals, normals).T  # z >= 0: far from the half turn, where there is no axis
    zero = np.zeros_like(x)
    up = np.stack([1 + z, -y, x, zero], axis=1)  # (1 + z . n, z x n)
    down = np.stack([y, 1 + z, zero, -x], axis=1)  # the same after half a turn about x, which brings z to -z
    quats = np.where(below[:, None], down, up)
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def _spun(quats: Floats, across: Floats) -> Floats:
    """The rotations [n, 4], with a spin about z before, so that the x axis comes to lie along `across` [n, 3]."""
    w, x, y, z = quats.T
    first = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=1)  # where x goes
    second = np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], axis=1)
    half = np.arctan2(np.sum(second * across, axis=1), np.sum(first * across, axis=1)) / 2
    c, s = np.cos(half), np.sin(half)
    return np.stack([w * c - z * s, x * c + y * s, y * c - x * s, z * c + w * s], axis=1)  # q (c + s k)


def _even(places: _Places, n: int, spacing: float) -> Ints:
    """[n], which of the places to take so that all have about the same distance to their neighbours."""
    from scipy.spatial import cKDTree

    # lifted off the surface, so that the two sides of a thin wall are no neighbours
    points = places.points + spacing * places.normals
    centres = points[:n]
    for _ in range(ROUNDS):
        owner = cKDTree(centres).query(points)[1]
        count = np.bincount(owner, minlength=n)
        total = np.stack([np.bincount(owner, axis, n) for axis in points.T], axis=1)
        centres = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], centres)
    index: Ints = cKDTree(points).query(centres)[1]  # a mean of places on a curved surface lies beside it
    return index


def _room(chosen: _Places, places: _Places, spacing: float) -> tuple[Floats, Floats]:
    """Where a sharp edge is, and how wide a disc may be so that it fades where the surface turns away.

    Returns:
        across [n, 3], the direction in the plane of each place to where the surface turns by 45 to 120 degrees (more
        is the other side of a thin wall), and room [n], the standard deviation that fits; infinity far from edges.
    """
    from scipy.spatial import cKDTree

    near = min(4 * CANDIDATES, len(places.points))  # a disc of 1.1 spacings
    distance, index = cKDTree(places.points).query(chosen.points, k=near, distance_upper_bound=1.5 * spacing)
    index = np.where(np.isfinite(distance), index, 0).reshape(len(chosen.points), near)
    offset = places.points[index] - chosen.points[:, None]  # [n, k, 3]
    height = np.einsum("nkc,nc->nk", offset, chosen.normals)
    offset = offset - height[:, :, None] * chosen.normals[:, None]
    turn = np.einsum("nkc,nc->nk", places.normals[index], chosen.normals)  # [n, k], cosine
    length = np.linalg.norm(offset, axis=-1)
    length[(turn > 0.7) | (turn < -0.5) | ~np.isfinite(distance.reshape(length.shape))] = np.inf
    rows, nearest = np.arange(len(length)), length.argmin(1)
    room = length[rows, nearest]
    return offset[rows, nearest], room / EDGE


def _tensor(array: Floats) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(array, np.float32))
