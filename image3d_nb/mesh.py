"""The container of a triangle mesh: plain arrays, in the world of :mod:`image3d_nb.cameras`.

Shapes: V vertices, F faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Floats = NDArray[np.floating]


@dataclass(frozen=True, repr=False)
class Mesh:
    """Triangles with colours: by vertex, or by a texture.

    Attributes:
        vertices: [V, 3] float, world units.
        faces: [F, 3] int, indices into ``vertices``, counter-clockwise seen from outside.
        vertex_colors: [V, 3] float, sRGB in [0, 1], or None.
        uvs: [V, 2] float, texture coordinates, (0, 0) at the texture's lower left corner, or None.
        texture: [h, w, 3] uint8, sRGB, first row at the top, or None.
        normals: [V, 3] float, unit length, or None: :meth:`vertex_normals` computes them then.

    Example:
        >>> Mesh(np.eye(3), np.array([[0, 1, 2]]))
        Mesh(vertices=3, faces=1, colors=none)
    """

    vertices: Floats
    faces: NDArray[np.integer]
    vertex_colors: Floats | None = None
    uvs: Floats | None = None
    texture: NDArray[np.uint8] | None = None
    normals: Floats | None = None

    def __post_init__(self) -> None:
        _require(self.vertices, "vertices", 3)
        _require(self.faces, "faces", 3)
        if not np.issubdtype(self.faces.dtype, np.integer):
            raise InputError(f"faces must be integers; got {self.faces.dtype}")
        if len(self.faces) and (self.faces.min() < 0 or self.faces.max() >= len(self.vertices)):
            low, high = self.faces.min(), self.faces.max()
            raise InputError(f"faces must index {len(self.vertices)} vertices; got {low}..{high}")
        for name, columns in (("vertex_colors", 3), ("uvs", 2), ("normals", 3)):
            array = getattr(self, name)
            if array is not None:
                _require(array, name, columns)
                if len(array) != len(self.vertices):
                    raise InputError(f"{name} must have a row a vertex ({len(self.vertices)}); got {len(array)}")
        if self.texture is not None and (self.texture.ndim != 3 or self.texture.shape[2] != 3):
            raise InputError(f"texture must be [h, w, 3] uint8; got {self.texture.shape}")

    def __repr__(self) -> str:
        colors = "texture" if self.texture is not None else "none" if self.vertex_colors is None else "vertex"
        return f"Mesh(vertices={len(self.vertices)}, faces={len(self.faces)}, colors={colors})"

    @property
    def bounds(self) -> Floats:
        """[2, 3], the lowest and the highest corner, world units."""
        if not len(self.vertices):
            raise InputError("bounds need at least one vertex; the mesh is empty")
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    def face_normals(self) -> Floats:
        """[F, 3], unit length, pointing outwards for counter-clockwise faces; zeros for faces without an area."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return _unit(np.cross(b - a, c - a))

    def vertex_normals(self) -> Floats:
        """[V, 3], unit length: the given ones, or the mean of the faces around a vertex, weighted by area."""
        if self.normals is not None:
            return self.normals
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        area = np.cross(b - a, c - a)  # [F, 3], length is twice the area
        total = np.zeros_like(self.vertices, dtype=np.float64)
        for corner in range(3):
            np.add.at(total, self.faces[:, corner], area)
        return _unit(total)


def _require(array: Floats | NDArray[np.integer], name: str, columns: int) -> None:
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != columns:
        got = array.shape if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{name} must be a numpy array [n, {columns}]; got {got}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite; got NaN or infinity")


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
