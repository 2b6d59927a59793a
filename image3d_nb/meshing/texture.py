"""What is painted on a mesh, and where each triangle lies in the texture.

Shapes: V vertices, F faces, N Gaussians.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .atlas import GridAtlas
from .cloud import Cloud

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

CELL = 9  # texels along the cell that two triangles share, where the texture's size is not given
LEAST_CELL = 6  # texels; the atlas makes none smaller
BLEND = 4  # nearest Gaussians whose colours are mixed at a point
BLEND_HAZE = 32  # and where what one sees is made of many: fewer, and faint ones of odd colours make blotches


def grid_atlas(faces: int, size: int | None = None) -> GridAtlas:
    """A place in a square texture for each triangle, two to a cell, all of one size whatever theirs is.

    Args:
        faces: how many.
        size: texels along the texture's side; None: as many as make cells of 9.

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
    """The faces [F, 3], each turned until its longest edge runs from the second corner to the third.

    That is the diagonal of the atlas' cells, so that a triangle is stretched as little as may be.
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
        neighbours: how many.

    Returns:
        [n, 3], sRGB in [0, 1].
    """
    distances, index = cloud.tree.query(points, min(neighbours, len(cloud)))  # [n, k]
    squares = distances**2
    weights = cloud.opacities[index] * np.exp(-2 * squares / np.maximum(squares.mean(1, keepdims=True), 1e-30))
    return np.einsum("nk,nkc->nc", weights, cloud.colors[index]) / weights.sum(1, keepdims=True)


def even_colors(cloud: Cloud) -> Cloud:
    """The Gaussians of a haze, each with the mean colour of the 32 around it."""
    return replace(cloud, colors=colors_at(cloud.means, cloud, BLEND_HAZE))


def bake(vertices: Floats, faces: Ints, atlas: GridAtlas, cloud: Cloud) -> NDArray[np.uint8]:
    """Paint the texture: each texel gets the colour of its place on the surface.

    Args:
        vertices: [V, 3], world units.
        faces: [F, 3].
        atlas: see :func:`grid_atlas`.
        cloud: N Gaussians.

    Returns:
        [size, size, 3] uint8, sRGB, first row at the top; black where no face is.
    """
    corners = vertices[faces]  # [F, 3, 3]
    return atlas.paint(lambda face, weights: colors_at(np.einsum("nk,nkc->nc", weights, corners[face]), cloud))
