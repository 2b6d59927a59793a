"""Fewer faces for a closed mesh, with its colours, texture and normals carried over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..mesh import Mesh, mixed, unique_rows, unit
from .atlas import GridAtlas
from .closest import Surface

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


def decimate(mesh: Mesh, target_faces: int) -> Mesh:
    """The mesh with fewer faces: closed before, closed after, with the same parts and handles.

    Positions that are equal are taken as one vertex, whatever their uvs. Vertices that stay, stay where they are,
    with the colour they have. A texture is drawn anew, as large as before, in an atlas with a place of its own for
    each face: simplified uvs would smear across seams. Normals are read off the old surface then.

    Args:
        mesh: closed, manifold, consistently wound.
        target_faces: the most that may be left, 4 or more; a mesh that has no more is returned as it is.

    Raises:
        InputError: the mesh is not closed, manifold and consistently wound (:func:`image3d_nb.mesh_report` says
            what is missing), or so few faces would lose a part or a handle.

    Source:
        Edge collapse within a tolerance: the manifold3d library.
    """
    if target_faces < 4:
        raise InputError(f"target_faces must be 4 (a tetrahedron) or more; got {target_faces}")
    if len(mesh.faces) <= target_faces:
        return mesh
    _, first, inverse = unique_rows(mesh.vertices)
    whole = Mesh(mesh.vertices[first], inverse[mesh.faces])
    vertices, faces = _simplify(whole.vertices, whole.faces, target_faces)
    plain = Mesh(vertices.astype(mesh.vertices.dtype), faces)
    surface = Surface(mesh.vertices, mesh.faces)
    if mesh.texture is not None and mesh.uvs is not None:
        shaded = mesh if mesh.normals is not None else replace(mesh, normals=whole.vertex_normals()[inverse])
        return _rebake_texture(shaded, surface, plain)
    face, weights = surface.closest(plain.vertices)
    colors = None if mesh.vertex_colors is None else mesh.colors_at(face, weights)
    normals = None if mesh.normals is None else unit(mixed(mesh.normals, mesh.faces, face, weights))
    return replace(plain, vertex_colors=colors, normals=normals)


def _rebake_texture(old: Mesh, surface: Surface, plain: Mesh) -> Mesh:
    """The faces of a plain mesh with the colours and normals of an old one, each in its own place of a texture."""
    assert old.texture is not None
    assert old.normals is not None
    front = plain.face_normals()

    def colors_at(face: Ints, weights: Floats) -> Floats:
        return old.colors_at(*surface.closest(plain.points_at(face, weights), front[face]))

    corners = plain.vertices[plain.faces].reshape(-1, 3, 3)
    inward = 0.99 * corners + 0.01 * corners.mean(1, keepdims=True)  # off the edges, where two sides meet
    face, weights = surface.closest(inward.reshape(-1, 3), np.repeat(front, 3, axis=0))
    atlas = GridAtlas.of(len(plain.faces), max(old.texture.shape[:2]))
    return Mesh(
        corners.reshape(-1, 3),
        np.arange(3 * len(plain.faces)).reshape(-1, 3),
        uvs=atlas.uvs,
        texture=atlas.paint(colors_at),
        normals=unit(mixed(old.normals, old.faces, face, weights)),
    )


def _simplify(vertices: Floats, faces: Ints, target_faces: int) -> tuple[Floats, Ints]:
    """At most ``target_faces`` faces, as near to that as a tolerance gets, with every part and handle kept.

    Args:
        vertices: [V, 3], each position once.
        faces: [F, 3], closed, manifold, consistently wound.
        target_faces: 4 or more.

    Returns:
        vertices, a subset of those given, and faces.

    Raises:
        InputError: the surface is not such a one, or cannot become so small.
    """
    import manifold3d

    start = manifold3d.Manifold(manifold3d.Mesh64(np.ascontiguousarray(vertices, np.float64), faces.astype(np.uint64)))
    if start.status() != manifold3d.Error.NoError or start.is_empty():
        raise InputError("what is decimated must be closed, manifold and consistently wound: see mesh_report(mesh)")
    mesh = _collapsed(start, target_faces, float(np.ptp(vertices, axis=0).max())).to_mesh64()
    return np.asarray(mesh.vert_properties)[:, :3], np.asarray(mesh.tri_verts).astype(np.int64)


def _collapsed(start: Any, target_faces: int, size: float) -> Any:
    """The Manifold with about as many faces as may be left, of the same topology."""
    topology, best, fewest = _topology(start), None, start.num_tri()
    low, high = 0.0, 1e-5 * size
    while high < size:  # double the tolerance until it leaves few enough faces, or tears at the mesh
        tried = start.simplify(high)
        if not target_faces < tried.num_tri() <= fewest or _topology(tried) != topology:
            break
        low, high, fewest = high, 2 * high, tried.num_tri()
    middle = high
    for _ in range(10):  # what leaves the most of few enough faces lies between
        tried = start.simplify(middle)
        # A tolerance beyond the size of the details tears: parts vanish, handles close, the count rises again.
        whole = tried.num_tri() <= fewest and _topology(tried) == topology
        if whole and tried.num_tri() > target_faces:
            low, fewest = middle, tried.num_tri()
        else:
            high = middle
            best = tried if whole and (best is None or tried.num_tri() > best.num_tri()) else best
        middle = (low + high) / 2
    if best is None:
        raise InputError(f"target_faces must be {fewest} or more to keep all parts and handles; got {target_faces}")
    return best


def _topology(manifold: Any) -> list[int]:
    """The genus of each part, sorted. (``Manifold.genus()`` of all counts 1 less for each part but the first.)"""
    return sorted(part.genus() for part in manifold.decompose())
