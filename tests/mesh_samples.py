"""Closed meshes with known volume, coloured by vertices or by a texture, for the tests of mesh files."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from image3d_nb.mesh import Mesh

from .solids import ball as globe

TOP, BOTTOM, FRONT = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9), (0.1, 0.8, 0.2)


def ball(rows: int = 10, radius: float = 0.4) -> Mesh:
    """A closed sphere of triangles, no vertex twice: red above, blue below, a green patch in front (+z)."""
    mesh = globe(rows, radius)
    vertices = mesh.vertices.astype(np.float32)
    return Mesh(vertices, mesh.faces, vertex_colors=paint(vertices, radius))


def paint(points: np.ndarray, radius: float = 0.4) -> np.ndarray:
    """[n, 3] sRGB in [0, 1]: red where y is above 0, blue below, green in front."""
    colors = np.where(points[:, 1:2] > 0, TOP, BOTTOM)
    return np.where(points[:, 2:] > 0.75 * radius, FRONT, colors).astype(np.float32)


def textured(mesh: Mesh, cell: int = 8) -> Mesh:
    """The same surface with a square of a texture for each triangle, as an atlas has it: no vertex is shared.

    Corners at one place keep equal positions bit by bit, and equal normals.
    """
    count = len(mesh.faces)
    side = math.ceil(math.sqrt(count))
    row, column = np.divmod(np.arange(count), side)
    inside = (np.array([[0.5, 0.5], [cell - 0.5, 0.5], [0.5, cell - 0.5]]) / cell)[None]  # [1, 3, 2]
    uvs = (inside + np.stack([column, row], axis=1)[:, None]) / side  # [F, 3, 2]
    middles = mesh.vertices[mesh.faces].mean(1)
    cells = np.zeros((side, side, 3), np.uint8)
    cells.reshape(-1, 3)[:count] = np.rint(255 * paint(middles))
    texture = cells[::-1].repeat(cell, 0).repeat(cell, 1)  # row 0 of the cells lies at v = 0, below
    return Mesh(
        vertices=mesh.vertices[mesh.faces].reshape(-1, 3),
        faces=np.arange(3 * count).reshape(-1, 3),
        uvs=uvs.reshape(-1, 2).astype(np.float32),
        texture=texture,
        normals=mesh.vertex_normals()[mesh.faces].reshape(-1, 3).astype(np.float32),
    )


def pear(rows: int = 20) -> Mesh:
    """A closed surface that shows how it stands: narrow and red above, wide and blue below, a green nose in front."""
    mesh = ball(rows)
    x, y, z = mesh.vertices.astype(np.float64).T
    narrow = 1 - 0.7 * (y + 0.4) / 0.8
    nose = 0.2 * np.exp(-((x**2 + y**2) / 0.02)) * (z > 0)
    return replace(mesh, vertices=np.stack([x * narrow, 1.2 * y, z * narrow + nose], axis=1).astype(np.float32))


def plain(mesh: Mesh) -> Mesh:
    """Its shape alone."""
    return Mesh(mesh.vertices, mesh.faces)


def is_closed(mesh: Mesh) -> bool:
    """Each edge is there once in either direction, when vertices at one place are one."""
    _, same = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = same.reshape(-1)[mesh.faces]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forth, back = (set(map(tuple, e.tolist())) for e in (edges, edges[:, ::-1]))
    return len(forth) == len(edges) and forth == back
