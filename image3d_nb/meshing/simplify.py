"""Collapse edges of a closed surface. Arrays only.

Shapes: V vertices, F faces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

TRIES = 40


def simplify(vertices: Floats, faces: Ints, target_faces: int, *, keep_topology: bool = False) -> tuple[Floats, Ints]:
    """Collapse edges until at most ``target_faces`` are left, as a rule at least 0.8 of that.

    Args:
        vertices: [V, 3], each position once.
        faces: [F, 3], closed, manifold and consistently wound.
        target_faces: the most faces that may be left; a mesh that has no more is returned as it is.
        keep_topology: keep every part and every handle, and come closer to the target (0.99); otherwise small parts
            and handles may vanish.

    Returns:
        vertices [v, 3] float64, a subset of those given; faces [f, 3] int64, closed.

    Raises:
        InputError: the surface is not closed, manifold and consistently wound; or ``keep_topology``, and so few faces
            would lose a part or a handle.

    Source:
        manifold3d, Manifold.simplify: no removed vertex was further than a tolerance from the result. This function
        searches for the tolerance.
    """
    import manifold3d

    if len(faces) <= target_faces:
        return vertices, faces
    vertices = np.ascontiguousarray(vertices, np.float64)
    start = manifold3d.Manifold(manifold3d.Mesh64(vertices, faces.astype(np.uint64)))
    if start.status() != manifold3d.Error.NoError or start.is_empty():
        raise InputError("the mesh must be closed, manifold and consistently wound: see mesh_report(mesh)")
    topology = _topology(start) if keep_topology else []
    enough = (0.99 if keep_topology else 0.8) * target_faces  # the search ends when at least so many faces are left
    edge = float(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).mean())
    low, high, tolerance = 0.0, np.inf, 0.1 * edge
    solid, best, fewest = start, None, start.num_tri()
    for _ in range(TRIES):
        tried = solid.simplify(tolerance)
        count = tried.num_tri()
        # a tolerance beyond the size of the details tears: parts vanish, handles close
        torn = keep_topology and _topology(tried) != topology
        if count > target_faces and not torn:
            low, fewest = tolerance, min(fewest, count)
            solid = start if keep_topology else tried  # continuing is faster, but depends on the way
        else:
            high, best = tolerance, best if torn else tried
            if best is not None and (count >= enough or high < 1.01 * low):
                break
        # about half as many faces for twice the tolerance; kept between the two that are known
        guess = low + (high - low) / 2 if torn else tolerance * max(count, 1) / (0.5 * (enough + target_faces))
        tolerance = min(max(guess, low * 1.01), 4 * tolerance, low + 0.9 * (high - low))
    if best is None:
        raise InputError(f"target_faces must be {fewest} or more to keep all parts and handles; got {target_faces}")
    mesh = best.to_mesh64()
    return np.array(mesh.vert_properties[:, :3]), np.array(mesh.tri_verts, np.int64)


def _topology(manifold: Any) -> list[int]:
    """The genus of each part, sorted. (``Manifold.genus()`` of all counts 1 less for each part but the first.)"""
    return sorted(part.genus() for part in manifold.decompose())
