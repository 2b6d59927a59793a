"""A texture atlas: a grid of cells with two triangles each. Arrays only.

uvs have (0, 0) at the lower left corner of a texture, rows count from the top, texel centres lie at +0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

LEAST_CELL = 6  # texels; below 5, two triangles would share one


@dataclass(frozen=True)
class GridAtlas:
    """Square cells in rows, two triangles in each, with a free texel between them so that no colour bleeds.

    Attributes:
        faces: number of triangles.
        size: texels along each side of the texture.
        cell: texels along each side of a cell.
    """

    faces: int
    size: int
    cell: int

    @staticmethod
    def of(faces: int, size: int) -> GridAtlas:
        """An atlas for a number of faces: ``size`` texels wide, or wider where the faces do not fit."""
        across = int(np.ceil(np.sqrt((faces + 1) // 2)))
        cell = max(size // across, LEAST_CELL)
        return GridAtlas(faces, max(size, across * cell), cell)

    @property
    def uvs(self) -> Floats:
        """[3 F, 2], uvs of the corners of each face in turn."""
        leg = self.cell - 3  # texels between two corners; both triangles then keep off the diagonal between them
        lower = np.array([[0, 0], [leg, 0], [0, leg]]) + 0.5  # x to the right, y downwards
        upper = self.cell - lower
        index = np.arange(self.faces)
        corners = np.where((index % 2 == 0)[:, None, None], lower, upper) + self._origins(index)[:, None]  # [F, 3, 2]
        return np.stack([corners[..., 0] / self.size, 1 - corners[..., 1] / self.size], axis=-1).reshape(-1, 2)

    def blank(self) -> NDArray[np.uint8]:
        """A black texture [size, size, 3]."""
        return np.zeros((self.size, self.size, 3), np.uint8)

    def _origins(self, index: Ints) -> Ints:
        across = self.size // self.cell
        return np.stack([index // 2 % across, index // 2 // across], axis=-1) * self.cell

    def texels(self, chunk: int = 1 << 18) -> Iterator[tuple[Ints, Ints, Ints, Floats]]:
        """All texels that belong to a face, about ``chunk`` at a time.

        Yields:
            row [n], column [n], face [n], and barycentric weights [n, 3] in that face.
        """
        y, x = np.divmod(np.arange(self.cell**2), self.cell)
        leg = self.cell - 3
        lower = x + y < self.cell  # [c * c]
        near = np.where(lower, 0, self.cell - 1)
        second, third = np.abs(x - near) / leg, np.abs(y - near) / leg
        weights = np.maximum(np.stack([1 - second - third, second, third], axis=1), 0)  # onto the face, in the gutter
        weights /= weights.sum(1, keepdims=True)
        step = max(1, chunk // len(x))
        for start in range(0, (self.faces + 1) // 2, step):
            cells = np.arange(start, min(start + step, (self.faces + 1) // 2))
            face = (2 * cells[:, None] + np.where(lower, 0, 1)).ravel()
            column, row = (self._origins(2 * cells)[:, None] + np.stack([x, y], axis=1)).reshape(-1, 2).T
            keep = face < self.faces
            yield row[keep], column[keep], face[keep], np.tile(weights, (len(cells), 1))[keep]
