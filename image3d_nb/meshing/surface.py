"""From a volume to triangles in their right place: marching cubes, pulling, smoothing.

Shapes: V vertices, F faces, N Gaussians.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mesh import vertex_normals
from ._topology import Topology
from .cloud import Cloud, Grid
from .volume import Volume

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

NEAREST = 16  # Gaussians that a vertex is pulled to


def marching_cubes(volume: Volume, grid: Grid) -> tuple[Floats, Ints]:
    """The zero surface of a volume, as triangles that face outwards, towards larger values.

    Values within a thousandth of zero are moved away from zero, so that no two vertices coincide.

    Args:
        volume: [X, Y, Z] float32, below 0 inside.
        grid: the positions of its points.

    Returns:
        vertices [V, 3] float64, world units; faces [F, 3] int64, counter-clockwise seen from outside.

    Source:
        Lewiner et al. 2003, Efficient Implementation of Marching Cubes' Cases with Topological Guarantees; by
        scikit-image.
    """
    from skimage.measure import marching_cubes as lewiner

    least = np.float32(1e-3)
    volume = np.where(np.abs(volume) < least, np.where(volume < 0, -least, least), volume)
    vertices, faces, _, _ = lewiner(volume, 0.0, gradient_direction="ascent")
    return grid.origin + grid.cell * vertices.astype(np.float64), faces[:, ::-1].astype(np.int64)


def is_manifold(faces: Ints) -> bool:
    """Whether faces [F, 3] form a closed manifold: two faces an edge, in opposite directions, and one fan a vertex."""
    topology = Topology.of(faces)
    paired = bool((topology.counts == 2).all() and topology.balanced.all())
    return paired and len(np.unique(topology.fan)) == len(np.unique(faces))


def outer_shells(vertices: Floats, faces: Ints, smallest: float = 0.01) -> tuple[Floats, Ints]:
    """Keep the shells that enclose at least ``smallest`` of the largest one's volume; inner walls enclose less than 0.

    Args:
        vertices: [V, 3].
        faces: [F, 3], closed, outward.
        smallest: a share of the largest volume.

    Returns:
        vertices and faces of the shells that are kept.
    """
    shell = Topology.of(faces).shell  # [F]
    a, b, c = (vertices[faces[:, corner]] - vertices.mean(0) for corner in range(3))
    volumes = np.bincount(shell, np.einsum("fc,fc->f", a, np.cross(b, c)) / 6)
    kept = (volumes >= smallest * volumes.max())[shell]  # [F]
    if kept.all():
        return vertices, faces
    used, renumbered = np.unique(faces[kept], return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)


def pull_to_centres(vertices: Floats, faces: Ints, cloud: Cloud, reach: float, rounds: int = 2) -> Floats:
    """Move each vertex along its normal by the mean height of the Gaussians' centres around it above the surface.

    A Gaussian becomes visible up to a standard deviation before its centre, and the front ones of a noisy layer hide
    the others, so the surface of the depth views lies too far out. The mean of the centres does not. Each centre is
    weighted by its opacity and by its distance from the vertex's normal. Its height is that above the surface where it
    is, not above the vertex's plane: a bent surface keeps its size.

    Args:
        vertices: [V, 3], as dense as marching cubes makes them.
        faces: [F, 3].
        cloud: N Gaussians.
        reach: no vertex moves further in a round, world units.
        rounds: number of moves; each vertex keeps the neighbours that it has before the first.

    Returns:
        vertices [V, 3], moved.
    """
    from scipy.spatial import cKDTree

    index = cloud.tree.query(vertices, min(NEAREST, len(cloud)))[1].reshape(len(vertices), -1)  # [V, k]
    _, under = cKDTree(vertices).query(cloud.means)  # [N], the vertex below each centre
    normals = vertex_normals(vertices, faces)
    offsets = cloud.means[index] - vertices[:, None]  # [V, k, 3]
    across = np.einsum("vkc,vkc->vk", offsets, offsets) - np.einsum("vkc,vc->vk", offsets, normals) ** 2  # squared
    width = np.maximum(across.mean(1, keepdims=True), (0.25 * reach) ** 2)
    weights = cloud.opacities[index] * np.exp(-across / width)
    total = np.maximum(weights.sum(1), 1e-12)
    for done in range(rounds):
        normals = vertex_normals(vertices, faces) if done else normals
        heights = np.einsum("nc,nc->n", cloud.means - vertices[under], normals[under])
        height = (weights * heights[index]).sum(1) / total
        vertices = vertices + np.clip(height, -reach, reach)[:, None] * normals
    return vertices


def thickness(vertices: Floats, faces: Ints, cloud: Cloud) -> float:
    """How thick Gaussians are along the surface's normal, over their mean width: 0 of flat discs in it, 1 of balls.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        cloud: N Gaussians.

    Returns:
        The median over 2,000 vertices, of the Gaussians nearest to each, weighted by their opaque area.
    """
    chosen = np.linspace(0, len(vertices) - 1, min(2_000, len(vertices))).astype(int)
    index = cloud.tree.query(vertices[chosen], min(NEAREST, len(cloud)))[1].reshape(len(chosen), -1)  # [n, k]
    normals, covariances = vertex_normals(vertices, faces)[chosen], cloud.covariances[index]
    along = np.einsum("ni,nkij,nj->nk", normals, covariances, normals)  # squared
    widths = np.trace(covariances, axis1=2, axis2=3) / 3
    areas = cloud.opacities[index] * widths
    return float(np.sqrt(np.median((areas * along).sum(1) / np.maximum((areas * widths).sum(1), np.finfo(float).tiny))))


def taubin(vertices: Floats, faces: Ints, rounds: int = 10, shrink: float = 0.5, grow: float = -0.53) -> Floats:
    """Smooth without shrinking: a round moves vertices towards the mean of their neighbours, then back a little more.

    Args:
        vertices: [V, 3].
        faces: [F, 3], closed.
        rounds: number of rounds.
        shrink: lambda, the fraction of the way to the neighbours' mean.
        grow: mu, the negative fraction of the second move, below ``-shrink``.

    Returns:
        vertices [V, 3], moved.

    Source:
        Taubin 1995, A Signal Processing Approach to Fair Surface Design, section 3.
    """
    from scipy.sparse import csr_matrix

    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    links = csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (len(vertices),) * 2)
    degrees = np.maximum(np.bincount(ends[:, 0], minlength=len(vertices)), 1)[:, None]  # [V, 1]
    for _ in range(rounds):
        for share in (shrink, grow):
            vertices = vertices + share * (links @ vertices / degrees - vertices)
    return vertices


def covered(vertices: Floats, means: Floats, within: float) -> NDArray[np.bool_]:
    """Which Gaussians lie at a surface: at most ``within`` inside or outside it.

    Args:
        vertices: [V, 3], as dense as marching cubes makes them.
        means: [N, 3].
        within: world units.

    Returns:
        [N].
    """
    from scipy.spatial import cKDTree

    distances, _ = cKDTree(vertices).query(means, distance_upper_bound=within)
    return np.isfinite(distances)


def enclosed(vertices: Floats, faces: Ints) -> float:
    """The volume inside closed faces [F, 3] that face outwards, world units cubed."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))  # [F, 3] each
    return float(np.einsum("fk,fk->", a, np.cross(b, c))) / 6


def area(vertices: Floats, faces: Ints) -> float:
    """The area of faces [F, 3], world units squared."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))  # [F, 3] each
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2


def distinct(vertices: Floats, faces: Ints) -> NDArray[np.float32]:
    """The vertices [V, 3] in float32, without two equal ones.

    A program that merges vertices by position (every reader of .stl) then gets the same shell. Vertices that coincide
    move a little towards the mean of their own neighbours.
    """
    moved = vertices.copy()
    for _ in range(20):
        rounded = moved.astype(np.float32) + np.float32(0)  # -0 becomes 0: they differ in bits, but not as numbers
        _, first, count = np.unique(rounded, axis=0, return_inverse=True, return_counts=True)
        double = count[first.ravel()] > 1
        if not double.any():
            return rounded
        start, end = faces.ravel(), np.roll(faces, -1, 1).ravel()
        sums = np.stack([np.bincount(start, moved[end, axis], len(moved)) for axis in range(3)], 1)
        middle = sums / np.maximum(np.bincount(start, minlength=len(moved)), 1)[:, None]
        moved[double] += 0.1 * (middle - moved)[double]
    raise AssertionError("vertices that coincide could not be moved apart")
