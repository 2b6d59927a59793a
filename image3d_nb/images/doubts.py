"""What may be wrong with an object that was cut out of its background, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from .background import VISIBLE, reduced, to_lab

LEAST_SHARE = 0.001
"""Fewer than one pixel in a thousand are no object, and no intended transparency."""
_SIDES = ("top", "bottom", "left", "right")
_CUT_BETTER = 'try background="rembg", give mask=, or take an image with a transparent background'


def doubts_about(cut: Image.Image, *, given: bool = False, plain: bool = True) -> tuple[str, ...]:
    """Sentences about a cut-out object, each with a remedy; none if nothing looks wrong.

    Args:
        cut: mode RGBA, the object with transparent surroundings.
        given: True if the transparency or the mask came with the image, False if it was found here.
        plain: False if the background was not plain.
    """
    mask = np.asarray(reduced(cut))[..., 3] >= 128
    return tuple(_doubts(mask, given, plain)) if mask.any() else ()


def _doubts(mask: np.ndarray, given: bool, plain: bool) -> Iterator[str]:
    if not plain:
        yield f"the background is not plain, so the object may be cut out badly: {_CUT_BETTER}"
    yield from _border(mask, given)
    parts = _large_parts(mask)
    if parts > 1:
        yield (
            f"the image shows {parts} separate objects, and the model makes one object of them: crop the image to one "
            "of them, or give its mask="
        )


def _border(mask: np.ndarray, given: bool) -> Iterator[str]:
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    touched = [side for side, edge in zip(_SIDES, edges, strict=True) if edge.sum() >= 3 and edge.mean() >= 0.02]
    if not touched or (given and len(touched) == 4):  # a cut-out that was cropped to its box touches all sides
        return
    where = f"the object touches the image's border ({', '.join(touched)}): a part of it may be missing"
    remedy = "take an image that shows all of it, with some background around it"
    if given:
        yield f"{where}: {remedy}"
    else:
        yield f"{where}, or a table, a wall or the background counts as object: {remedy}, or {_CUT_BETTER}"


def _large_parts(mask: np.ndarray) -> int:
    """Number of separate parts that have at least a tenth of the largest part's area."""
    from scipy import ndimage

    reach = max(1, round(0.01 * max(mask.shape)))
    padded = np.pad(mask, reach)
    parts, _ = ndimage.label(ndimage.binary_closing(padded, iterations=reach))
    area = np.bincount(parts.ravel())[1:]
    return int((area >= 0.1 * area.max()).sum())


def doubts_about_white(cut: Image.Image) -> tuple[str, ...]:
    """A sentence if most of the object is white, because models see it on white.

    Args:
        cut: mode RGBA, the object with transparent surroundings.
    """
    pixels = np.asarray(reduced(cut))
    colours = pixels[pixels[..., 3] >= min(128, pixels[..., 3].max())]  # [n, 4]; thin lines are faint when reduced
    opacity = colours[:, 3:] / 255
    seen = np.rint(colours[:, :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    visible = float((np.linalg.norm(to_lab(seen) - (100, 0, 0), axis=1) > VISIBLE).mean())
    if visible >= 0.2:
        return ()
    white = f"{1 - visible:.0%} of the object is as white as the background that models expect"
    return (f"{white}: darken or shade the object, or take an image with more contrast",)
