"""Which triangles cut through each other, and how often a surface winds around a point; compiled with numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._jit import njit


def count_intersections(points: NDArray[np.floating], faces: NDArray[np.integer]) -> int:
    """Pairs of faces of which a side of one goes through the inside of the other.

    Touching is not cutting, and neighbours that share a vertex are left out.

    Args:
        points: [V, 3].
        faces: [F, 3].
    """
    if not len(faces):
        return 0
    corners = points[faces].astype(np.float64)  # [F, 3, 3]
    low, high = corners.min(1), corners.max(1)  # [F, 3]
    axis = int(np.argmax(np.ptp(corners.reshape(-1, 3), axis=0) / ((high - low).mean(0) + 1e-300)))
    order = np.argsort(low[:, axis], kind="stable")
    return int(_sweep(corners[order], faces[order].astype(np.int64), low[order], high[order], axis))


@njit()
def _sweep(corners, faces, low, high, axis):  # type: ignore[no-untyped-def]
    """Faces sorted by where their boxes begin along an axis: each meets only those that begin before it ends."""
    found = 0
    for i in range(len(faces)):
        for j in range(i + 1, len(faces)):
            if low[j, axis] > high[i, axis]:
                break
            apart = False
            for k in range(3):
                apart = apart or low[i, k] > high[j, k] or low[j, k] > high[i, k]
                for m in range(3):
                    apart = apart or faces[i, k] == faces[j, m]
            if not apart and (_cuts(corners[i], corners[j]) or _cuts(corners[j], corners[i])):
                found += 1
    return found


@njit()
def _cuts(one, other):  # type: ignore[no-untyped-def]
    """Whether a side of the one goes through the inside of the other: by the signs of tetrahedra."""
    for k in range(3):
        p, q = one[k], one[(k + 1) % 3]
        if _volume(other[0], other[1], other[2], p) * _volume(other[0], other[1], other[2], q) < 0:
            a = _volume(other[0], other[1], p, q)
            b = _volume(other[1], other[2], p, q)
            c = _volume(other[2], other[0], p, q)
            if (a > 0 and b > 0 and c > 0) or (a < 0 and b < 0 and c < 0):
                return True
    return False


@njit()
def _volume(a, b, c, d):  # type: ignore[no-untyped-def]
    """Six times the signed volume of a tetrahedron."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    wx, wy, wz = d[0] - a[0], d[1] - a[1], d[2] - a[2]
    return (uy * vz - uz * vy) * wx + (uz * vx - ux * vz) * wy + (ux * vy - uy * vx) * wz


@njit()
def winding(points, corners):  # type: ignore[no-untyped-def]
    """How often triangles [F, 3, 3] wind around points [n, 3]: the sum of their solid angles over 4 pi, [n].

    Source: Van Oosterom and Strackee 1983, The Solid Angle of a Plane Triangle, equation 8.
    """
    turns = np.zeros(len(points))
    for n in range(len(points)):
        p = points[n]
        for f in range(len(corners)):
            a, b, c = corners[f, 0], corners[f, 1], corners[f, 2]
            ab, bc, ca, la, lb, lc = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for k in range(3):
                x, y, z = a[k] - p[k], b[k] - p[k], c[k] - p[k]
                ab, bc, ca = ab + x * y, bc + y * z, ca + z * x
                la, lb, lc = la + x * x, lb + y * y, lc + z * z
            la, lb, lc = np.sqrt(la), np.sqrt(lb), np.sqrt(lc)
            # the triple product of the three sides to p is minus the tetrahedron's volume
            turns[n] += np.arctan2(-_volume(a, b, c, p), la * lb * lc + ab * lc + bc * la + ca * lb)
    return turns / (2 * np.pi)
