"""Several images on one sheet, for meshes whose parts have textures of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def texture_sheet(
    images: Sequence[NDArray[np.uint8]], margin: int, most_side: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float64], int]:
    """Put images on one sheet.

    Args:
        images: [h, w, 3] each.
        margin: pixels of its own border around each image, because filters and mipmaps look beyond an edge.
        most_side: of the sheet, pixels; images are halved until it is reached. None sets no limit.

    Returns:
        The sheet [H, W, 3]; [n, 4] (scale of u, scale of v, offset of u, offset of v) for each image, so that
        ``uv * scale + offset`` finds on the sheet what ``uv`` finds in the image; the factor by which all were reduced.
    """
    divisor = 1
    while True:
        border = ((margin, margin), (margin, margin), (0, 0))
        padded = [np.pad(image[::divisor, ::divisor], border, mode="edge") for image in images]
        corners, width, height = _shelves([image.shape[:2] for image in padded])
        if most_side is None or max(width, height) <= most_side:
            break
        divisor *= 2
    sheet = np.zeros((height, width, 3), np.uint8)
    places = np.empty((len(images), 4))
    for i, (image, (x, y)) in enumerate(zip(padded, corners, strict=True)):
        h, w = image.shape[:2]
        sheet[y : y + h, x : x + w] = image
        inner_w, inner_h = w - 2 * margin, h - 2 * margin
        places[i] = inner_w / width, inner_h / height, (x + margin) / width, (height - y - margin - inner_h) / height
    return sheet, places, divisor


def _shelves(sizes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int, int]:
    """Left upper corners (x, y) for rectangles (height, width), the highest first, in rows; and width and height."""
    area = sum(height * width for height, width in sizes)
    limit = max(math.isqrt(area), *(width for _, width in sizes))
    corners = [(0, 0)] * len(sizes)
    x = y = shelf = widest = 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i][0]):
        height, width = sizes[i]
        if x + width > limit:
            x, y, shelf = 0, y + shelf, 0
        corners[i] = (x, y)
        x, shelf = x + width, max(shelf, height)
        widest = max(widest, x)
    return corners, widest, y + shelf
