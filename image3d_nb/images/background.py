"""Find the object in front of a plain background.

A plain background is not one colour: light falls off towards the corners, and one side is brighter than the other. So
the background is modelled by a polynomial over the image, in CIELAB, where distances match what people see.
"""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
from PIL import Image

from .._optional import require
from ..errors import ImageError, InputError

WORK_SIDE = 512
"""Longer side of the reduced image in which the object is searched: models see 256 pixels."""

VISIBLE = 2.3
"""CIELAB distance that people just notice (Mahy et al. 1994): pixels below it are not object."""


def object_mask(image: Image.Image, method: str) -> tuple[Image.Image, bool]:
    """Separate the object from a plain background.

    Args:
        image: mode RGB, at least 8 x 8 pixels.
        method: "polynomial"; "grabcut", which refines that mask with OpenCV; or "auto": "grabcut" if OpenCV is
            installed, else "polynomial".

    Returns:
        The mask: mode L, 255 inside, 0 outside, grey along the edge. And whether the background is plain.

    Raises:
        ImportError: method "grabcut", and OpenCV is not installed.
    """
    pixels = np.asarray(reduced(image))  # [h, w, 3]
    mask, plain = _polynomial_mask(pixels)  # [h, w]
    if method == "grabcut" or (method == "auto" and find_spec("cv2") is not None):
        mask = _refined(pixels, mask)
    return _soft(mask, image.size), plain


def mask_in_box(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Separate the object in a box from its surroundings, by GrabCut if OpenCV is installed, else from a plain ground.

    Args:
        image: mode RGB, at least 8 x 8 pixels.
        box: left, top, right, bottom, in pixels of the image; right and bottom are excluded.

    Returns:
        The mask: mode L, as large as the image, 255 inside, 0 outside, grey along the edge.

    Raises:
        InputError: the box does not lie in the image, or is smaller than 8 x 8 pixels.
        ImageError: no object stands out in the box.

    Source:
        Rother, Kolmogorov and Blake 2004, "GrabCut".
    """
    left, top, right, bottom = box
    if not (0 <= left <= right - 8 and right <= image.width and 0 <= top <= bottom - 8 and bottom <= image.height):
        size = f"{image.width} x {image.height}"
        raise InputError(f"box must be (left, top, right, bottom) within {size} pixels, at least 8 x 8; got {box}")
    if find_spec("cv2") is None:
        mask = Image.new("L", image.size)
        mask.paste(object_mask(image.crop(box), "polynomial")[0], box)
    else:
        mask = _grabcut_in_box(image, box)
    if sum(mask.histogram()[128:]) < 0.01 * (right - left) * (bottom - top):
        raise ImageError(f"a box must hold an object that differs from its surroundings; none stands out in {box}")
    return mask


def _grabcut_in_box(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    cv2 = require("cv2", extra="rembg", who="a box")
    pixels = np.asarray(reduced(image))  # [h, w, 3]
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(edge * width / image.width) for edge in box)
    trimap = np.full((height, width), cv2.GC_BGD, np.uint8)
    # a border of one pixel stays background: GrabCut must see some
    trimap[max(top, 1) : min(bottom, height - 1), max(left, 1) : min(right, width - 1)] = cv2.GC_PR_FGD
    bgr, models = np.ascontiguousarray(pixels[..., ::-1]), [np.zeros((1, 65)), np.zeros((1, 65))]
    cv2.setRNGSeed(0)  # clustering starts from random centres
    cv2.grabCut(bgr, trimap, None, *models, 5, cv2.GC_INIT_WITH_MASK)
    return _soft(trimap == cv2.GC_PR_FGD, image.size)


def _soft(mask: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """The mask [h, w] with an edge about two pixels wide, in mode L, scaled to width and height."""
    from scipy.ndimage import gaussian_filter  # takes 0.2 s

    edge = (gaussian_filter(mask.astype(np.float32), 1.0) - 0.5) * 1.5 + 0.5
    soft = Image.fromarray(np.rint(edge.clip(0, 1) * 255).astype(np.uint8))
    return soft.resize(size, Image.Resampling.BILINEAR)


def reduced(image: Image.Image) -> Image.Image:
    """A copy with at most :data:`WORK_SIDE` pixels a side."""
    small = image.copy()
    small.thumbnail((WORK_SIDE, WORK_SIDE), Image.Resampling.BOX)
    return small


def _polynomial_mask(pixels: np.ndarray) -> tuple[np.ndarray, bool]:
    """[h, w] bool, the object; and whether the background is plain.

    The polynomial is fitted to a ring along the border, then to everything that resembles it.
    """
    from scipy import ndimage

    lab = ndimage.gaussian_filter(to_lab(pixels), (0.7, 0.7, 0))  # [h, w, 3], without noise and JPEG blocks
    height, width = lab.shape[:2]
    ring = max(2, round(0.03 * min(height, width)))
    known = np.ones((height, width), bool)
    known[ring:-ring, ring:-ring] = False
    # fitted to the ring alone, a polynomial of high degree oscillates in the middle; fitted to everything around the
    # object, degree 4 follows a lens's vignette, which falls with the 4th power of a cosine
    plain = True
    for degree in (2, 4, 4):
        distance, spread, share = _distance(lab, degree, known)  # [h, w]
        plain = plain and spread < 12 and share > 0.6  # an object may cover some of the border, not most of it
        threshold = max(VISIBLE, 1.3 * spread)
        far = distance > threshold
        known = ~_grown(ndimage.binary_opening(far), 3 + 0.01 * width)
        if known.sum() < 200:
            break
    mask = _cleaned(far, distance, threshold)
    # blur and compression make an edge wider: its true place is where half the contrast is reached
    contrast = ndimage.maximum_filter(distance * mask, 11)
    return mask & ((distance > 0.45 * contrast) | ~_grown(~mask, 5.5)), plain


def _distance(lab: np.ndarray, degree: int, known: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Fit the background's polynomial to the pixels ``known``, and measure the distance of all pixels to it.

    The fit minimises absolute deviations (least squares with weights 1 / residual, repeated), so that an object which
    touches the border does not bend it.

    Returns:
        [h, w] CIELAB distance of each pixel to the polynomial; the 99th percentile of that over the background; the
        background's share of the known pixels.
    """
    height, width = known.shape
    u, v = np.linspace(-1, 1, width), np.linspace(-1, 1, height)
    powers = [(j, i) for j in range(degree + 1) for i in range(degree + 1 - j)]  # of v and u, P of them
    at = np.flatnonzero(known)
    at = at[:: max(1, len(at) // 8000)]
    x = np.stack([v[at // width] ** j * u[at % width] ** i for j, i in powers], axis=1)  # [n, P]
    y = lab.reshape(-1, 3)[at].astype(np.float64)  # [n, 3]
    weight = np.ones(len(at))
    for _ in range(12):
        weighted = x.T * weight  # [P, n]
        model = np.linalg.lstsq(weighted @ x, weighted @ y, rcond=1e-10)[0]  # [P, 3], the normal equations
        residual = np.linalg.norm(y - x @ model, axis=1)
        weight = 1 / np.maximum(residual, 0.1)
    near = residual[residual <= 3 * np.median(residual) + 0.5]
    grid = np.zeros((degree + 1, degree + 1, 3))
    for power, coefficients in zip(powers, model, strict=True):
        grid[power] = coefficients
    surface = np.polynomial.polynomial.polygrid2d(v, u, grid).transpose(1, 2, 0).astype(np.float32)  # [h, w, 3]
    difference = lab - surface
    distance = np.sqrt(np.einsum("hwc,hwc->hw", difference, difference))  # twice as fast as np.linalg.norm
    return distance, float(np.percentile(near, 99)), len(near) / len(residual)


def _grown(mask: np.ndarray, radius: float) -> np.ndarray:
    """[h, w] bool: all pixels within ``radius`` pixels of the mask."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~mask) <= radius if mask.any() else mask


def _cleaned(far: np.ndarray, distance: np.ndarray, threshold: float) -> np.ndarray:
    """[h, w] bool: the large parts without specks; gaps and holes are filled, unless the background shows."""
    from scipy import ndimage

    parts, count = ndimage.label(ndimage.binary_opening(far))
    if not count:
        return np.zeros_like(far)
    index = np.arange(1, count + 1)
    area = np.bincount(parts.ravel())[1:]
    peak = ndimage.maximum(distance, parts, index)
    # noise just passes the threshold; a part of the object clearly passes it somewhere
    kept = (peak > 1.5 * threshold) & (area >= 0.02 * area.max())
    mask = np.isin(parts, index[kept])
    reach = 0.02 * max(mask.shape)  # width of a stripe across the object in the background's colour
    margin = math.ceil(reach) + 1
    closed = ~_grown(~_grown(np.pad(mask, margin), reach), reach)[margin:-margin, margin:-margin]
    filled = ndimage.binary_fill_holes(closed | mask)
    return filled & ~_windows(filled, mask, distance, threshold)


def _windows(filled: np.ndarray, mask: np.ndarray, distance: np.ndarray, threshold: float) -> np.ndarray:
    """[h, w] bool: holes in which the background shows, as inside a mug's handle.

    Where the object itself has the background's colour, its shading changes gradually; at the edge of a hole the colour
    jumps. So a hole is at least 8 pixels wide, has the background's colour, and its rim does not.
    """
    from scipy import ndimage

    holes, count = ndimage.label(filled & ~mask)
    windows = np.zeros_like(mask)
    least = max(12, 0.002 * mask.sum())
    for label in np.flatnonzero(np.bincount(holes.ravel(), minlength=count + 1)[1:] >= least) + 1:
        hole = holes == label
        if ndimage.distance_transform_edt(hole).max() < 4:
            continue
        rim = _grown(hole, 4) & ~_grown(hole, 2) & filled
        if np.median(distance[hole]) < threshold and np.median(distance[rim]) > 2.5 * threshold:
            windows |= hole
    return windows


def _refined(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Refine the edge of a mask with GrabCut (Rother et al. 2004); keep the mask if the result differs too much."""
    cv2 = require("cv2", extra="rembg", who='remove_background(method="grabcut")')
    if not mask.any() or mask.all():
        return mask
    reach = max(2, round(0.01 * max(mask.shape)))
    inside, outside = ~_grown(~mask, reach), ~_grown(mask, reach)
    trimap = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[inside], trimap[outside] = cv2.GC_FGD, cv2.GC_BGD
    if not inside.any() or not outside.any():
        return mask
    bgr, models = np.ascontiguousarray(pixels[..., ::-1]), [np.zeros((1, 65)), np.zeros((1, 65))]
    cv2.setRNGSeed(0)  # clustering starts from random centres
    cv2.grabCut(bgr, trimap, None, *models, 2, cv2.GC_INIT_WITH_MASK)
    cut = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    agreement = (cut & mask).sum() / (cut | mask).sum()
    return cut if agreement > 0.9 else mask  # below, object and background share colours


def to_lab(pixels: np.ndarray) -> np.ndarray:
    """uint8 sRGB [..., 3] to CIELAB, D65, L in [0, 100] (IEC 61966-2-1 and CIE 15)."""
    value = np.arange(256, dtype=np.float32) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)[pixels]
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ (to_xyz / to_xyz.sum(1, keepdims=True)).T.astype(np.float32)  # white becomes (1, 1, 1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
