"""The closest point of a triangle mesh. Arrays only.

Shapes: V vertices, F faces, n points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..mesh import random_weights

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

CANDIDATES = 4  # faces looked at for each point
CHUNK = 1 << 17  # points at a time: about 100 MB


class ClosestPoints:
    """Find the point of a triangle mesh that is closest to a given point.

    Only the faces near many sample points of the surface are compared, so the result may miss the closest point by a
    little; the position on the chosen face is exact.

    Args:
        vertices: [V, 3], world units.
        faces: [F, 3].
    """

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        from scipy.spatial import cKDTree

        self.corners = vertices[faces].astype(np.float64)  # [F, 3, 3]
        cross = np.cross(self.corners[:, 1] - self.corners[:, 0], self.corners[:, 2] - self.corners[:, 0])
        self.normals = cross  # [F, 3], length is twice the area
        self.owners, points = _sample_surface(self.corners, faces, np.linalg.norm(cross, axis=1))
        self.tree = cKDTree(points)
        self.far = 1e3 * float(np.ptp(points, axis=0).max())

    def find(self, points: Floats, normals: Floats | None = None, candidates: int = CANDIDATES) -> tuple[Ints, Floats]:
        """Find the closest point of the surface for each point.

        Args:
            points: [n, 3], world units.
            normals: [n, 3], or None. With normals, faces that look the other way are used only when nothing else is
                near, so that the two sides of a thin wall do not mix.
            candidates: faces looked at for each point.

        Returns:
            face [n], and barycentric weights [n, 3] in it, which add up to 1.
        """
        faces, weights = np.empty(len(points), np.int64), np.empty((len(points), 3))
        for start in range(0, len(points), CHUNK):
            part = slice(start, start + CHUNK)
            faces[part], weights[part] = self._find(
                points[part], None if normals is None else normals[part], candidates
            )
        return faces, weights

    def _find(self, points: Floats, normals: Floats | None, candidates: int) -> tuple[Ints, Floats]:
        _, near = self.tree.query(points, k=min(candidates, self.tree.n))
        owners = self.owners[near.reshape(len(points), -1)]  # [n, k]
        best = np.full(len(points), np.inf)
        face, weights = np.zeros(len(points), np.int64), np.zeros((len(points), 3))
        for candidate in owners.T:
            found = closest_weights(self.corners[candidate], points)  # [n, 3]
            distance = np.linalg.norm(np.einsum("nc,nck->nk", found, self.corners[candidate]) - points, axis=1)
            if normals is not None:
                turned = np.einsum("nk,nk->n", normals, self.normals[candidate]) < 0
                distance[turned] += self.far
            nearer = distance < best
            best[nearer], face[nearer], weights[nearer] = distance[nearer], candidate[nearer], found[nearer]
        return face, weights


def _sample_surface(corners: Floats, faces: Ints, area: Floats) -> tuple[Ints, Floats]:
    """Sample points: each vertex once, the middle of each face, and more on large faces. Faces [m], points [m, 3]."""
    total = area.sum()
    share = area / total if total > 0 else area
    more = np.minimum(share * 4 * max(len(corners), 5_000), 50_000).astype(np.int64)  # [F], about four a face
    index = np.arange(len(corners))
    rng = np.random.default_rng(0)
    mixed = random_weights(rng, int(more.sum()))
    _, first = np.unique(faces, return_index=True)  # one of the 3 F corners for each vertex
    owners = np.concatenate([first // 3, index, np.repeat(index, more)])
    weights = np.concatenate([np.eye(3)[first % 3], np.full((len(corners), 3), 1 / 3), mixed])  # [m, 3]
    return owners, np.einsum("nc,nck->nk", weights, corners[owners])


def closest_weights(corners: Floats, points: Floats) -> Floats:
    """Barycentric weights of the point of each triangle that is closest to a point.

    That is the closest point of the triangle's plane if it lies inside, else the closest point of the three sides.

    Args:
        corners: [n, 3, 3], one triangle for each point.
        points: [n, 3].

    Returns:
        [n, 3], adding up to 1.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    weights = _plane_weights(b - a, c - a, points - a)
    best = np.full(len(points), np.inf)
    outside = ~(weights >= 0).all(1)  # also NaN, of triangles without an area
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, side = corners[:, first], corners[:, second] - corners[:, first]
        length = np.maximum(np.einsum("nk,nk->n", side, side), 1e-300)
        along = np.clip(np.einsum("nk,nk->n", points - start, side) / length, 0, 1)  # [n]
        distance = np.linalg.norm(start + along[:, None] * side - points, axis=1)
        nearer = outside & (distance < best)
        best[nearer] = distance[nearer]
        weights[nearer] = 0
        weights[nearer, first], weights[nearer, second] = 1 - along[nearer], along[nearer]
    return weights


def _plane_weights(u: Floats, v: Floats, w: Floats) -> Floats:
    """Weights [n, 3] in the triangle (0, u, v) of w's projection onto its plane; NaN for a triangle without area."""
    uu, uv, vv, uw, vw = (np.einsum("nk,nk->n", p, q) for p, q in ((u, u), (u, v), (v, v), (u, w), (v, w)))
    with np.errstate(divide="ignore", invalid="ignore"):
        det = uu * vv - uv * uv
        second, third = (vv * uw - uv * vw) / det, (uu * vw - uv * uw) / det
    return np.stack([1 - second - third, second, third], axis=1)
