"""Geometry that shows cameras: frusta, rays and axes as lines, and their images as one textured mesh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .._texture_sheet import texture_sheet
from ..cameras import Cameras
from ..mesh import Mesh

DEPTH = 0.25  # of a frustum, as a part of the cameras' median distance from the origin
LINE_WIDTH = 1.5  # pixels, as in js/draw.js
IMAGE_SIDE = 256  # pixels; larger images are made smaller, since a frustum is small
MARGIN = 8  # pixels around each image in the atlas, because mipmaps mix neighbours
TOWARDS_EYE = 0.998  # as in js/lines.js
# sRGB, distinct to most eyes on white and on black. Source: Okabe and Ito 2008, without black and yellow.
_COLOURS = np.array([(213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233)]) / 255
_AXIS_COLOURS = np.array([(0.84, 0.15, 0.16), (0.17, 0.63, 0.17), (0.12, 0.38, 0.85)], np.float32)  # x y z
_RAY_FADE = 0.55  # of a camera's colour towards grey

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Lines:
    """Coloured straight lines: ends [n, 2, 3] float32, world space; colors [n, 3] float32, sRGB in [0, 1]."""

    ends: NDArray[np.float32]
    colors: NDArray[np.float32]

    def __add__(self, other: Lines) -> Lines:
        """All lines of both."""
        return Lines(np.concatenate([self.ends, other.ends]), np.concatenate([self.colors, other.colors]))


def frustum_depth(cameras: Cameras) -> float:
    """The depth of a drawn frustum, world units."""
    distance = float(cameras.positions.norm(dim=-1).median())
    return DEPTH * distance if distance > 0 else DEPTH


def frusta(cameras: Cameras) -> Lines:
    """Each camera as a pyramid from its eye to its image, with a roof on the upper edge of the image."""
    upper_left, upper_right, lower_right, lower_left = _corners(cameras, frustum_depth(cameras))  # [V, 3] each
    eye = _positions(cameras)
    roof = _at(cameras, 0, 1.4, frustum_depth(cameras))
    left, right = (_at(cameras, x, 1.08, frustum_depth(cameras)) for x in (-0.35, 0.35))
    pairs = [
        (eye, upper_left), (eye, upper_right), (eye, lower_right), (eye, lower_left),
        (upper_left, upper_right), (upper_right, lower_right), (lower_right, lower_left), (lower_left, upper_left),
        (left, roof), (roof, right), (right, left),
    ]  # fmt: skip
    ends = np.stack([np.stack(pair, 1) for pair in pairs], 1)  # [V, 11, 2, 3]
    return _lines(ends, np.repeat(_colors(len(cameras))[:, None], len(pairs), 1))


def rays(cameras: Cameras, side: int) -> Lines:
    """``side`` x ``side`` rays from each camera, evenly over its image, to the far side of the origin."""
    steps = (np.arange(side) + 0.5) / side * 2 - 1  # the pixel centres of an image of that size
    length = 2 * float(cameras.positions.norm(dim=-1).median()) or 1.0
    through = [_at(cameras, x, y, length) for y in steps for x in steps]  # side^2 of [V, 3]
    ends = np.stack([np.stack((_positions(cameras), end), 1) for end in through], 1)  # [V, side^2, 2, 3]
    pale = _colors(len(cameras)) * (1 - _RAY_FADE) + 0.6 * _RAY_FADE
    return _lines(ends, np.repeat(pale[:, None], len(through), 1))


def axes(matrices: Floats, length: float) -> Lines:
    """The axes of V frames as lines, x red, y green, z blue; ``matrices`` [V, 4, 4] map from a frame to the world."""
    origin = np.repeat(matrices[:, None, :3, 3], 3, 1)  # [V, 3, 3]
    tips = origin + length * matrices[:, :3, :3].transpose(0, 2, 1)  # [V, 3, 3], one row an axis
    return _lines(np.stack([origin, tips], 2), np.repeat(_AXIS_COLOURS[None], len(matrices), 0))


def panes(cameras: Cameras, images: Sequence[Image.Image]) -> Mesh:
    """Each image on the image plane of its camera: one mesh with one texture for all."""
    scale = min(1.0, IMAGE_SIDE / max(max(image.size) for image in images))
    atlas, places, _ = texture_sheet([_tile(image, scale) for image in images], MARGIN)
    uvs = np.array([(0, 1), (1, 1), (1, 0), (0, 0)]) * places[:, None, :2] + places[:, None, 2:]  # [V, 4, 2]
    corners = np.stack(_corners(cameras, frustum_depth(cameras)), 1)  # [V, 4, 3]
    square = np.array([(0, 3, 2), (0, 2, 1)])  # seen from the eye, counter-clockwise
    faces = (4 * np.arange(len(cameras))[:, None, None] + square).reshape(-1, 3)
    return Mesh(corners.reshape(-1, 3).astype(np.float32), faces, uvs=uvs.reshape(-1, 2), texture=atlas)


def ribbons(lines: Lines, viewmat: Floats, focal: float, width: float = LINE_WIDTH) -> Mesh:
    """Lines as thin quads that face a camera and are ``width`` pixels wide, as js/lines.js draws them on the GPU.

    Args:
        lines: n lines.
        viewmat: [4, 4], world to camera, OpenCV axes.
        focal: focal length, pixels.
        width: pixels.
    """
    ends = lines.ends @ viewmat[:3, :3].T + viewmat[:3, 3]  # [n, 2, 3], camera space
    across = np.cross((ends[:, 1] - ends[:, 0])[:, None], ends)  # [n, 2, 3]
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-12)
    half = 0.5 * width * np.maximum(ends[..., 2:], 0.01) / focal  # [n, 2, 1], world units
    quads = TOWARDS_EYE * np.stack([ends - half * across, ends + half * across], 2)  # [n, 2, 2, 3]
    to_world = np.linalg.inv(viewmat)
    vertices = quads.reshape(-1, 3) @ to_world[:3, :3].T + to_world[:3, 3]
    square = np.array([(0, 1, 3), (0, 3, 2)])
    faces = (4 * np.arange(len(ends))[:, None, None] + square).reshape(-1, 3)
    return Mesh(vertices, faces, vertex_colors=np.repeat(lines.colors, 4, 0))


def _positions(cameras: Cameras) -> Floats:
    return cameras.positions.detach().cpu().double().numpy()


def _colors(count: int) -> Floats:
    return _COLOURS[np.arange(count) % len(_COLOURS)]  # [V, 3]


def _lines(ends: Floats, colors: Floats) -> Lines:
    return Lines(ends.reshape(-1, 2, 3).astype(np.float32), colors.reshape(-1, 3).astype(np.float32))


def _at(cameras: Cameras, x: float, y: float, depth: float) -> Floats:
    """[V, 3], world: the point at ``depth`` in front of each camera, x and y from -1 to 1 across its image."""
    up = depth * math.tan(math.radians(cameras.fovy) / 2)
    local = torch.tensor([x * up * cameras.width / cameras.height, y * up, -depth, 1.0], dtype=torch.float64)
    return (cameras.c2w.detach().cpu().double() @ local)[:, :3].numpy()


def _corners(cameras: Cameras, depth: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Upper left, upper right, lower right, lower left of each image: [V, 3] each, world."""
    upper_left, upper_right, lower_right, lower_left = (
        _at(cameras, x, y, depth) for x, y in ((-1, 1), (1, 1), (1, -1), (-1, -1))
    )
    return upper_left, upper_right, lower_right, lower_left


def _tile(image: Image.Image, scale: float) -> NDArray[np.uint8]:
    """[h, w, 3]: the image over white."""
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    shown = image.convert("RGBA").resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)
    paper = Image.new("RGBA", size, "white")
    paper.alpha_composite(shown)
    return np.asarray(paper.convert("RGB"))
