"""Colours of a mesh: from the Gaussians to a texture or to vertices.

Shapes: V vertices, F faces, N Gaussians.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .atlas import LEAST_CELL, GridAtlas
from .cloud import Cloud

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

CELL = 9  # texels along the cell that two triangles share, where the texture's size is not given
BLEND = 4  # nearest Gaussians whose colours are mixed at a point
BLEND_HAZE = 32  # the same for a haze, where single faint Gaussians of odd colours would make blotches


def grid_atlas(faces: int, size: int | None = None) -> GridAtlas:
    """Lay out a square texture with a cell for every two triangles; all cells have one size.

    Args:
        faces: number of triangles.
        size: texels along the texture's side; None makes cells of 9 texels.

    Raises:
        InputError: the texture is too small for so many faces.
    """
    across = math.ceil(math.sqrt((faces + 1) // 2))
    if size is None:
        size = CELL * across
    if size < LEAST_CELL * across:
        raise InputError(f"texture_size must be at least {LEAST_CELL * across} for {faces:,} faces; got {size}")
    return GridAtlas.of(faces, size)


def longest_edge_last(vertices: Floats, faces: Ints) -> Ints:
    """Rotate the corners of each face [F, 3] until its longest edge runs from the second corner to the third.

    That edge lies on the diagonal of the atlas's cell, which stretches the triangle least.
    """
    corners = vertices[faces]  # [F, 3, 3]
    opposite = np.linalg.norm(np.roll(corners, -1, 1) - np.roll(corners, -2, 1), axis=2)  # [F, 3], of each corner
    turned = (opposite.argmax(1)[:, None] + np.arange(3)) % 3
    return np.take_along_axis(faces, turned, 1)


def colors_at(points: Floats, cloud: Cloud, neighbours: int = BLEND) -> Floats:
    """Mix the colours of the Gaussians nearest to each point, by opacity and by distance.

    Args:
        points: [n, 3], world units.
        cloud: N Gaussians.
        neighbours: number of Gaussians to mix.

    Returns:
        [n, 3], sRGB in [0, 1].
    """
    distances, index = cloud.tree.query(points, min(neighbours, len(cloud)))  # [n, k]
    squares = distances**2
    weights = cloud.opacities[index] * np.exp(-2 * squares / np.maximum(squares.mean(1, keepdims=True), 1e-30))
    return np.einsum("nk,nkc->nc", weights, cloud.colors[index]) / weights.sum(1, keepdims=True)


def even_colors(cloud: Cloud) -> Cloud:
    """Give each Gaussian of a haze the mean colour of the 32 around it."""
    return replace(cloud, colors=colors_at(cloud.means, cloud, BLEND_HAZE))


def bake(vertices: Floats, faces: Ints, atlas: GridAtlas, cloud: Cloud) -> NDArray[np.uint8]:
    """Paint the texture: each texel gets the colour of its point on the surface.

    Args:
        vertices: [V, 3], world units.
        faces: [F, 3].
        atlas: see :func:`grid_atlas`.
        cloud: N Gaussians.

    Returns:
        [size, size, 3] uint8, sRGB, first row at the top; black where no face is.
    """
    corners = vertices[faces]  # [F, 3, 3]
    texture = atlas.blank()
    for rows, columns, face, weights in atlas.texels():
        colors = colors_at(np.einsum("nk,nkc->nc", weights, corners[face]), cloud)
        texture[rows, columns] = np.rint(colors.clip(0, 1) * 255)
    return texture
