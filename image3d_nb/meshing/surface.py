"""From a volume to triangles, and the triangles to their place: marching cubes, pulling, smoothing, simplifying.

Shapes: V vertices, F faces, N Gaussians.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._topology import Topology
from .cloud import Cloud, Grid
from .volume import Volume

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

NEAREST = 16  # Gaussians that a vertex is pulled to


def marching_cubes(volume: Volume, grid: Grid) -> tuple[Floats, Ints]:
    """The zero surface of a volume, as triangles that face outwards (towards larger values).

    Values within a thousandth of zero are moved away from it, so that no two vertices coincide.

    Args:
        volume: [X, Y, Z] float32, below 0 inside.
        grid: where its points are.

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
    """Whether faces [F, 3] close: each edge has two, one along it and one back, and each vertex has a single fan."""
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
        vertices and faces of what is kept.
    """
    shell = Topology.of(faces).shell  # [F]
    a, b, c = (vertices[faces[:, corner]] - vertices.mean(0) for corner in range(3))
    volumes = np.bincount(shell, np.einsum("fc,fc->f", a, np.cross(b, c)) / 6)
    kept = (volumes >= smallest * volumes.max())[shell]  # [F]
    if kept.all():
        return vertices, faces
    used, renumbered = np.unique(faces[kept], return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)


def vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    """[V, 3], unit length: the mean of the faces around a vertex, weighted by their area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    area = np.cross(b - a, c - a)  # [F, 3], length is twice the area
    total = np.stack([np.bincount(faces.T.ravel(), np.tile(area[:, k], 3), len(vertices)) for k in range(3)], 1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)


def pull_to_centres(vertices: Floats, faces: Ints, cloud: Cloud, reach: float, rounds: int = 2) -> Floats:
    """Move each vertex along its normal to the mean height of the Gaussians' centres around it.

    What one sees of a Gaussian lies up to a deviation before its centre, and the front ones of a noisy layer hide the
    others: the surface of the depth views is too far out. The centres' mean is not. They count by opacity, and by how
    far they are from the vertex across the normal.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        cloud: N Gaussians.
        reach: no vertex moves further in a round, world units.
        rounds: how often; the Gaussians are those nearest to the vertex before the first.

    Returns:
        vertices [V, 3], moved.
    """
    _, index = cloud.tree.query(vertices, min(NEAREST, len(cloud)))  # [V, k]
    centres, opacities = cloud.means[index], cloud.opacities[index]  # [V, k, 3], [V, k]
    for _ in range(rounds):
        normals = vertex_normals(vertices, faces)
        offsets = centres - vertices[:, None]  # [V, k, 3]
        heights = np.einsum("vkc,vc->vk", offsets, normals)
        across = np.einsum("vkc,vkc->vk", offsets, offsets) - heights**2  # squared
        width = np.maximum(across.mean(1, keepdims=True), (0.25 * reach) ** 2)
        weights = opacities * np.exp(-across / width)
        height = (weights * heights).sum(1) / np.maximum(weights.sum(1), 1e-12)
        vertices = vertices + np.clip(height, -reach, reach)[:, None] * normals
    return vertices


def taubin(vertices: Floats, faces: Ints, rounds: int = 10, shrink: float = 0.5, grow: float = -0.53) -> Floats:
    """Smooth without shrinking: each round moves vertices towards the mean of their neighbours, then almost back.

    Args:
        vertices: [V, 3].
        faces: [F, 3], closed.
        rounds: how often.
        shrink: the share of the way there, lambda.
        grow: the share of the way back, mu, below ``-shrink``.

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


def simplify(vertices: Floats, faces: Ints, target_faces: int) -> tuple[Floats, Ints]:
    """Collapse edges until at most ``target_faces`` are left, and as a rule at least 0.8 of that.

    Args:
        vertices: [V, 3] float64.
        faces: [F, 3], closed: each edge is shared by two faces that run along it in opposite directions.
        target_faces: the most that may be left; the mesh comes back as it is if it has no more.

    Returns:
        vertices [v, 3] float64, some of those that came; faces [f, 3] int64, closed.

    Source:
        manifold3d, Manifold.simplify: no vertex that goes was further than a tolerance from what stays. The tolerance
        is searched for here.
    """
    import manifold3d

    if len(faces) <= target_faces:
        return vertices, faces
    solid = manifold3d.Manifold(manifold3d.Mesh64(vertices, faces.astype(np.uint64)))
    assert solid.status() == manifold3d.Error.NoError, solid.status()
    edge = float(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).mean())
    low, high, tolerance, best = 0.0, np.inf, 0.1 * edge, None
    for _ in range(40):
        tried = solid.simplify(tolerance)
        count = tried.num_tri()
        if count > target_faces:
            low, solid = tolerance, tried  # go on from here: there is less to do
        else:
            high, best = tolerance, tried
            if count >= 0.8 * target_faces or high < 1.05 * low:
                break
        # about twice as few for twice the tolerance; bracketed
        guess = tolerance * max(count, 1) / (0.92 * target_faces)
        tolerance = min(max(guess, low * 1.02), 4 * tolerance, low + 0.9 * (high - low))
    assert best is not None
    mesh = best.to_mesh64()
    return np.array(mesh.vert_properties[:, :3]), np.array(mesh.tri_verts, np.int64)


def distinct(vertices: Floats, faces: Ints) -> NDArray[np.float32]:
    """The vertices [V, 3] in float32, no two of them equal in all bits.

    Whoever merges vertices by position (every reader of .stl) then gets the same shell. Those that coincide go a little
    of the way to the middle of their own neighbours.
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
