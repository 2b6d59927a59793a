"""Where each triangle lies in a texture, and what is painted there.

Shapes: V vertices, F faces, h w texels, N Gaussians.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .cloud import Cloud

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

SQUARE = 9  # texels along the square that two triangles share, if the texture's size is not given
SMALLEST = 4  # texels: less, and a square has no room for two triangles that do not bleed into each other
BLEND = 4  # nearest Gaussians whose colours are mixed
MARGIN = 1.5  # texels around a triangle that bilinear lookups may touch


def texture_size_for(faces: int) -> int:
    """Texels along the side of the texture of :func:`grid_atlas`: 9 for each square, and a multiple of 4."""
    return 4 * math.ceil(SQUARE * math.ceil(math.sqrt(faces / 2)) / 4)


def grid_atlas(vertices: Floats, faces: Ints, size: int) -> Floats:
    """Lay each triangle alone into a texture: two to a square of a grid, of the same size whatever theirs is.

    Its longest edge is the square's diagonal. Corners lie on texels' centres, and two texels stay free between
    triangles, so that bilinear lookups never touch another one's colour.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        size: texels along the texture's side.

    Returns:
        uvs [F, 3, 2] in [0, 1], one for each corner of each face; (0, 0) is the texture's lower left.

    Raises:
        InputError: the texture is too small for so many faces.
    """
    across = max(math.ceil(math.sqrt(len(faces) / 2)), 1)
    square = size // across
    if square < SMALLEST:
        raise InputError(f"texture_size must be at least {SMALLEST * across} for {len(faces)} faces; got {size}")
    corners = vertices[faces]  # [F, 3, 3]
    opposite = np.linalg.norm(np.roll(corners, -1, 1) - np.roll(corners, -2, 1), axis=2)  # [F, 3], of the edge opposite
    first = opposite.argmax(1)  # the corner that goes to the right angle
    leg = square - SMALLEST + 1
    lower = np.array([[0, 0], [leg, 0], [0, leg]]) + 0.5
    places = np.stack([lower, square - lower])  # [2, 3, 2], texels within the square
    slot = np.arange(len(faces))
    in_square = places[slot % 2, (np.arange(3)[None] - first[:, None]).T % 3].transpose(1, 0, 2)  # [F, 3, 2]
    corner = square * np.stack([slot // 2 % across, slot // 2 // across], 1)  # [F, 2]
    return (corner[:, None] + in_square) / size


def texels(uvs: Floats, size: int) -> tuple[Ints, Floats]:
    """Which face each texel belongs to, and where in it.

    Args:
        uvs: [F, 3, 2], no two triangles overlapping.
        size: texels along the side.

    Returns:
        owners [size, size] int32, first row at the top, -1 where no face is within a texel and a half; weights
        [size, size, 3] float32 of the face's corners, which add up to 1; some are below 0 outside the triangle.
    """
    owners = np.full((size, size), -1, np.int32)
    weights = np.zeros((size, size, 3), np.float32)
    for margin in (0.0, MARGIN):  # those inside first: a margin takes only what is free
        _claim(np.ascontiguousarray(uvs, np.float64), margin, owners, weights)
    return owners, weights


def colors_at(points: Floats, cloud: Cloud) -> Floats:
    """Mix the colours of the four Gaussians nearest to each point, by opacity and by distance.

    Args:
        points: [n, 3], world units.
        cloud: N Gaussians.

    Returns:
        [n, 3], sRGB in [0, 1].
    """
    from scipy.spatial import cKDTree

    distances, index = cKDTree(cloud.means).query(points, min(BLEND, len(cloud)))  # [n, k]
    squares = distances**2
    weights = cloud.opacities[index] * np.exp(-2 * squares / np.maximum(squares.mean(1, keepdims=True), 1e-30))
    return np.einsum("nk,nkc->nc", weights, cloud.colors[index]) / weights.sum(1, keepdims=True)


def bake(vertices: Floats, faces: Ints, uvs: Floats, size: int, cloud: Cloud) -> NDArray[np.uint8]:
    """Paint the texture: each texel gets the colour of its place on the surface.

    Args:
        vertices: [V, 3], world units.
        faces: [F, 3].
        uvs: [F, 3, 2], see :func:`grid_atlas`.
        size: texels along the side.
        cloud: N Gaussians.

    Returns:
        [size, size, 3] uint8, sRGB, first row at the top; texels of no face have the mean colour.
    """
    owners, weights = texels(uvs, size)
    painted = owners >= 0
    corners = vertices[faces[owners[painted]]]  # [n, 3, 3]
    colors = colors_at(np.einsum("nk,nkc->nc", weights[painted], corners), cloud)
    picture = np.broadcast_to(colors.mean(0), (size, size, 3)).copy()
    picture[painted] = colors
    return (picture * 255 + 0.5).astype(np.uint8)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _claim(uvs: Any, margin: float, owners: Any, weights: Any) -> None:
    """Give each free texel that is within ``margin`` texels of a triangle to it."""
    size = len(owners)
    for f in range(len(uvs)):
        ax, ay = uvs[f, 0, 0] * size - 0.5, (1.0 - uvs[f, 0, 1]) * size - 0.5
        bx, by = uvs[f, 1, 0] * size - 0.5, (1.0 - uvs[f, 1, 1]) * size - 0.5
        cx, cy = uvs[f, 2, 0] * size - 0.5, (1.0 - uvs[f, 2, 1]) * size - 0.5
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        # a weight times the height over its edge is a distance in texels
        slack_a = 1e-6 + margin * math.hypot(cx - bx, cy - by) / abs(area)
        slack_b = 1e-6 + margin * math.hypot(ax - cx, ay - cy) / abs(area)
        slack_c = 1e-6 + margin * math.hypot(bx - ax, by - ay) / abs(area)
        grow = min(margin, 1.0) + 1e-6  # a bilinear lookup touches no texel further off in x or in y
        x0, x1 = max(math.ceil(min(ax, bx, cx) - grow), 0), min(math.floor(max(ax, bx, cx) + grow), size - 1)
        y0, y1 = max(math.ceil(min(ay, by, cy) - grow), 0), min(math.floor(max(ay, by, cy) + grow), size - 1)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                if owners[y, x] >= 0:
                    continue
                wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                wc = 1.0 - wa - wb
                if wa >= -slack_a and wb >= -slack_b and wc >= -slack_c:
                    owners[y, x] = f
                    weights[y, x, 0], weights[y, x, 1], weights[y, x, 2] = wa, wb, wc
