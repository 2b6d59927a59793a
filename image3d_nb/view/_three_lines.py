"""Cameras, axes and rays as line segments, and a picture of them from our own renderer's camera.

Shapes: S segments, V views.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..cameras import Cameras, pixel_rays
from ..errors import InputError

Floats = NDArray[np.float64]

AXES = ((0.85, 0.15, 0.15), (0.1, 0.6, 0.15), (0.15, 0.3, 0.9))  # x red, y green, z blue, as everywhere
PIECES = 64  # of a segment, each of which an object can hide
WIDTH = 2  # pixels


@dataclass(frozen=True)
class Lines:
    """Coloured line segments.

    Attributes:
        ends: [S, 2, 3], world units.
        colors: [S, 3], sRGB in [0, 1].
    """

    ends: Floats
    colors: Floats

    def __add__(self, other: Lines) -> Lines:
        return Lines(np.concatenate([self.ends, other.ends]), np.concatenate([self.colors, other.colors]))


def hues(count: int) -> Floats:
    """[count, 3], a colour a camera: bright, dark enough for a white page, and none of them near its neighbours."""
    turn = 1 / max(count, 4) if count <= 12 else (math.sqrt(5) - 1) / 2
    return np.array([colorsys.hsv_to_rgb((0.04 + k * turn) % 1, 0.85, 0.8) for k in range(count)]).reshape(-1, 3)


def camera_lines(cameras: Cameras, depth: float) -> Lines:
    """Each camera as a pyramid: the tip is its centre, the base its picture, at ``depth`` world units away."""
    c2w = cameras.c2w.detach().cpu().double().numpy()  # [V, 4, 4], OpenGL axes
    high = depth * math.tan(math.radians(cameras.fovy) / 2)
    wide = high * cameras.width / cameras.height
    corners = [(-wide, -high), (wide, -high), (wide, high), (-wide, high)]
    points = np.array([(0, 0, 0), *((x, y, -depth) for x, y in corners), (0, 1.5 * high, -depth)])  # [6, 3]
    pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1), (3, 5), (5, 4)]
    world = np.einsum("vij,pj->vpi", c2w[:, :3, :3], points) + c2w[:, None, :3, 3]  # [V, 6, 3]
    return Lines(world[:, pairs].reshape(-1, 2, 3), hues(len(c2w)).repeat(len(pairs), 0))


def axis_lines(length: float) -> Lines:
    """The world's x, y and z from the origin, in red, green and blue."""
    return Lines(np.stack([np.zeros((3, 3)), length * np.eye(3)], 1), np.array(AXES))


def ray_lines(cameras: Cameras, pixels: Sequence[tuple[int, int]], length: float) -> Lines:
    """The rays through the centres of pixels (column, row), of every camera, ``length`` world units long.

    Raises:
        InputError: a pixel that is none, or outside of the picture.
    """
    wanted = [tuple(pixel) if np.shape(pixel) == (2,) else None for pixel in pixels]
    for pixel in wanted:
        inside = pixel is not None and all(int(v) == v for v in pixel)
        inside = inside and pixel is not None and 0 <= pixel[0] < cameras.width and 0 <= pixel[1] < cameras.height
        if not inside:
            raise InputError(
                f"rays must be pixels (column, row) in a picture of {cameras.width} x {cameras.height}; got {pixels!r}"
            )
    columns, rows = np.array(wanted, np.int64).T
    start, along = (field[:, rows, columns].detach().cpu().double().numpy() for field in pixel_rays(cameras))
    ends = np.stack([start, start + length * along], 2)  # [V, P, 2, 3]
    return Lines(ends.reshape(-1, 2, 3), hues(len(cameras)).repeat(len(wanted), 0))


def draw_lines(picture: Image.Image, lines: Lines, camera: Cameras, depth: Floats | None = None) -> Image.Image:
    """The picture with lines drawn over it, but for where the object is nearer.

    Args:
        picture: of the camera's size.
        lines: S segments.
        camera: one.
        depth: [H, W] of the object in it, world units along the camera's axis, 0 where nothing is; None: nothing.
    """
    scale = 2  # drawn twice as large, then made smaller: smooth edges
    canvas = picture.convert("RGB").resize((scale * picture.width, scale * picture.height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(canvas)
    share = np.linspace(0, 1, PIECES + 1)[:, None]
    points = lines.ends[:, :1] * (1 - share) + lines.ends[:, 1:] * share  # [S, PIECES + 1, 3]
    view, K = (tensor[0].detach().cpu().double().numpy() for tensor in (camera.viewmats, camera.Ks))
    local = points @ view[:3, :3].T + view[:3, 3]  # [S, P, 3]
    z = local[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = local[..., :2] / z[..., None] * K[[0, 1], [0, 1]] + K[:2, 2]  # [S, P, 2]
    for segment in np.argsort(-z.mean(1)):  # near ones over far ones
        colour = tuple(round(255 * value) for value in lines.colors[segment])
        for piece in range(PIECES):
            ends, deep = pixels[segment, piece : piece + 2], z[segment, piece : piece + 2]
            if deep.min() > 0.01 and not _hidden(ends.mean(0), float(deep.mean()), depth):
                pen.line([tuple(scale * end) for end in ends], fill=colour, width=scale * WIDTH)
    return canvas.resize(picture.size, Image.Resampling.LANCZOS)


def _hidden(pixel: Floats, z: float, depth: Floats | None) -> bool:
    if depth is None or not np.isfinite(pixel).all():
        return False
    x, y = int(pixel[0]), int(pixel[1])
    if not (0 <= x < depth.shape[1] and 0 <= y < depth.shape[0]):
        return False
    return bool(0 < depth[y, x] < z)
