"""Closed surfaces whose numbers are known."""

from __future__ import annotations

import numpy as np

from image3d_nb.mesh import Mesh

_CORNERS = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)]) - 0.5
_SIDES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def cube(sides: tuple[float, float, float] = (1, 1, 1), at: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    """8 vertices, 12 faces."""
    return Mesh(_CORNERS * sides + at, _SIDES.copy())


CUBE = cube()


def _closed_grid(rows: int, columns: int) -> np.ndarray:
    """Two faces a cell of a [rows + 1, columns + 1] grid of vertices."""
    index = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    return np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])  # [2, rows, columns, 3]


def ball(rows: int, radius: float = 0.5, texture: np.ndarray | None = None, normals: bool = False) -> Mesh:
    """A globe of 2 * rows columns. Textured, it has a seam: the first and the last meridian lie at the same place."""
    down, round_ = np.meshgrid(np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, 2 * rows + 1), indexing="ij")
    points = np.stack([np.sin(down) * np.sin(round_), np.cos(down), np.sin(down) * np.cos(round_)], axis=-1)
    points[:, -1], points[0], points[-1] = points[:, 0], (0, 1, 0), (0, -1, 0)
    uvs = np.stack([round_ / (2 * np.pi), 1 - down / np.pi], axis=-1).reshape(-1, 2)
    faces = _closed_grid(rows, 2 * rows)
    faces = np.concatenate([faces[0, :-1].reshape(-1, 3), faces[1, 1:].reshape(-1, 3)])  # none without an area
    points = points.reshape(-1, 3)
    mesh = Mesh(points * radius, faces, uvs=uvs, texture=texture, normals=points if normals else None)
    return mesh if texture is not None else _shared(mesh)


def doughnut(rows: int = 24, columns: int = 48, outer: float = 0.35, inner: float = 0.12) -> Mesh:
    """A torus about y; its volume is about 2 pi^2 outer inner^2."""
    turns = [np.linspace(0, 2 * np.pi, count + 1) for count in (rows, columns)]
    small, large = np.meshgrid(*turns, indexing="ij")
    small[-1], large[:, -1] = 0, 0  # to the last bit where they began
    radius = outer + inner * np.cos(small)
    points = np.stack([radius * np.sin(large), -inner * np.sin(small), radius * np.cos(large)], axis=-1)
    return _shared(Mesh(points.reshape(-1, 3), _closed_grid(rows, columns).reshape(-1, 3)))


def _shared(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces, normals=mesh.normals).merged_vertices()


def volume(mesh: Mesh) -> float:
    """The signed volume, positive where faces look outwards: the sum of the tetrahedra to the origin."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return float(np.einsum("fk,fk->", a, np.cross(b, c)) / 6)
