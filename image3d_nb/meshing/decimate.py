"""Fewer faces for a closed mesh, with its colours, texture and normals carried over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..mesh import Mesh, mixed, unique_rows, unit
from .atlas import GridAtlas
from .closest import ClosestPoints
from .simplify import simplify


def decimate(mesh: Mesh, target_faces: int) -> Mesh:
    """Reduce the number of faces of a closed mesh; it stays closed and keeps its parts and handles.

    Vertices at one position count as one, whatever their uvs. Vertices that remain keep their place and their colour.
    Where vertices at one position differ in colour or normal (hard edges), each face of the result has corners of its
    own. A texture is baked again at its size, into an atlas with a cell for each face, because simplified uvs would
    smear across seams; the normals then come from the old surface.

    Args:
        mesh: closed, manifold and consistently wound.
        target_faces: the most faces that may be left, 4 or more; a mesh that has no more is returned as it is.

    Returns:
        A mesh with at most ``target_faces`` faces, as a rule at least 0.99 of that.

    Raises:
        InputError: the mesh is not closed, manifold and consistently wound (:func:`image3d_nb.mesh_report` says why),
            or so few faces would lose a part or a handle.

    Source:
        Edge collapse within a tolerance: the manifold3d library.
    """
    if target_faces < 4:
        raise InputError(f"target_faces must be 4 (a tetrahedron) or more; got {target_faces}")
    if len(mesh.faces) <= target_faces:
        return mesh
    _, first, inverse = unique_rows(mesh.vertices)
    whole = Mesh(mesh.vertices[first], inverse[mesh.faces])
    vertices, faces = simplify(whole.vertices, whole.faces, target_faces, keep_topology=True)
    plain = Mesh(vertices.astype(mesh.vertices.dtype), faces)
    surface = ClosestPoints(mesh.vertices, mesh.faces)
    if mesh.texture is not None and mesh.uvs is not None:
        shaded = mesh if mesh.normals is not None else replace(mesh, normals=whole.vertex_normals()[inverse])
        return _rebake_texture(shaded, surface, plain)
    if any(_differ(each, first, inverse) for each in (mesh.vertex_colors, mesh.normals)):
        return _with_corners(mesh, surface, plain)
    return _with_colours(mesh, plain, *surface.find(plain.vertices))


def _differ(attribute: np.ndarray | None, first: np.ndarray, inverse: np.ndarray) -> bool:
    """Whether vertices at one position have different values, by half a byte step or more."""
    return attribute is not None and bool((np.abs(attribute - attribute[first][inverse]) > 1 / 512).any())


def _with_colours(old: Mesh, plain: Mesh, face: np.ndarray, weights: np.ndarray) -> Mesh:
    """A plain mesh with an old one's colours and normals at these places, one for each vertex."""
    colors = None if old.vertex_colors is None else old.colors_at(face, weights)
    normals = None if old.normals is None else unit(mixed(old.normals, old.faces, face, weights))
    return replace(plain, vertex_colors=colors, normals=normals)


def _with_corners(old: Mesh, surface: ClosestPoints, plain: Mesh) -> Mesh:
    """The faces of a plain mesh with three vertices each, coloured and shaded as an old one on the face's own side."""
    corners = plain.vertices[plain.faces]  # [F, 3, 3]
    inward = 0.99 * corners + 0.01 * corners.mean(1, keepdims=True)  # off the edges, where two sides meet
    front = np.repeat(plain.face_normals(), 3, axis=0)
    found = surface.find(inward.reshape(-1, 3), front, candidates=16)  # of a hard corner six share a place, or more
    return _with_colours(old, Mesh(corners.reshape(-1, 3), np.arange(corners.size // 3).reshape(-1, 3)), *found)


def _rebake_texture(old: Mesh, surface: ClosestPoints, plain: Mesh) -> Mesh:
    """Give the faces of a plain mesh the colours and normals of an old one, each face in its own cell of a texture."""
    assert old.texture is not None
    front = plain.face_normals()
    atlas = GridAtlas.of(len(plain.faces), max(old.texture.shape[:2]))
    texture = atlas.blank()
    for rows, columns, face, weights in atlas.texels():
        found = surface.find(plain.points_at(face, weights), front[face])
        texture[rows, columns] = np.rint(old.colors_at(*found).clip(0, 1) * 255)
    return replace(_with_corners(old, surface, plain), vertex_colors=None, uvs=atlas.uvs, texture=texture)
