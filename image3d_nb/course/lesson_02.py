"""Checks of lesson 02, images in."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._exercise import Exercise, array_of, call, need, number_of

ORIENTATION = 0x0112  # the EXIF tag
NOT_ROTATED, UPSIDE_DOWN, QUARTER = 1, 3, 6


def _quarters() -> NDArray[np.uint8]:
    """[24, 40, 3]: four corners of different colours, so that each turn and each mirror shows."""
    colours = np.array([[(200, 30, 30), (30, 160, 30)], [(30, 30, 200), (240, 240, 240)]], np.uint8)
    return colours.repeat(12, axis=0).repeat(20, axis=1)


def upright(answer: Any) -> None:
    """A function (path) that opens an image as its EXIF orientation says."""
    stored = _quarters()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        for orientation, turns in ((QUARTER, 3), (NOT_ROTATED, 0), (UPSIDE_DOWN, 2)):
            exif = Image.Exif()
            exif[ORIENTATION] = orientation
            Image.fromarray(stored).save(path, exif=exif)
            result = call(answer, path)
            found = array_of(result.convert("RGB") if isinstance(result, Image.Image) else result, "an image")
            if found.size and found.max() <= 1:
                found = found * 255
            wanted = np.rot90(stored, turns).astype(float)
            if _alike(found, wanted):
                continue
            for turn in range(4):
                if _alike(found, np.rot90(stored, turn).astype(float)):
                    if orientation == NOT_ROTATED:
                        need(False, "Orientation 1 means that the image stands upright already: leave it as it is.")
                    need(turn != 0, f"The note says orientation {orientation}, but the image is as it is stored.")
                    need(False, f"Orientation {orientation} is a turn, but by another angle: it is not upright yet.")
            mirrored = any(_alike(found, np.rot90(stored[:, ::-1], turn).astype(float)) for turn in range(4))
            need(not mirrored, "The image is mirrored: 5 and 7 are mirrors, 3, 6 and 8 are turns only.")
            size = f"{wanted.shape[1]} x {wanted.shape[0]}"
            need(False, f"It must be the image, {size} pixels, upright; it has the shape {found.shape}.")


def _alike(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() < 8)


def on_white(answer: Any) -> None:
    """A function (rgba) that blends a uint8 image onto white and gives floats."""
    rgba = np.array([[[0, 0, 0, 0], [255, 0, 0, 128], [10, 200, 90, 255]], [[80, 40, 0, 0], [0, 0, 255, 51], [9] * 4]])
    rgba = rgba.astype(np.uint8)
    found = array_of(call(answer, rgba.copy()), "an array of floats")
    need(found.shape == (2, 3, 3), f"The shape must be [H, W, 3], here [2, 3, 3]; it is {list(found.shape)}.")
    colour, alpha = rgba[..., :3] / 255, rgba[..., 3:] / 255
    wanted = alpha * colour + 1 - alpha
    for wrong, complaint in (
        (255 * wanted, "The numbers must lie in [0, 1]: divide bytes by 255."),
        (colour, "Alpha is ignored: a clear pixel must become white, whatever colour it holds."),
        (alpha * colour, "This is blended onto black: add 1 - alpha, the share of white."),
        (colour + 1 - alpha, "The colour must be multiplied by alpha: it is not premultiplied."),
        ((1 - alpha) * colour + alpha, "Alpha and 1 - alpha are swapped: 0 is clear, 255 is solid."),
        (alpha * colour / 255 + 1 - alpha, "The colour is divided by 255 twice: it is nearly black."),
    ):
        need(np.abs(found - wrong).max() > 2 / 255, complaint)
    for parts in ((256, 255), (255, 256), (256, 256)):
        c, a = rgba[..., :3] / parts[0], rgba[..., 3:] / parts[1]
        say = "A byte runs from 0 to 255: divide by 255, not by 256, or white is never quite 1."
        need(np.abs(found - (a * c + 1 - a)).max() > 1e-4, say)
    worst = np.unravel_index(np.abs(found - wanted).max(-1).argmax(), (2, 3))
    expected, came = (values[worst].round(2).tolist() for values in (wanted, found))
    say = f"{rgba[worst].tolist()} must give {expected}; yours is {came}."
    need(np.abs(found - wanted).max() < 0.6 / 255, say)  # rounded to bytes is right


def overlap(answer: Any) -> None:
    """A function (mask, truth) that gives their intersection over union."""
    rng = np.random.default_rng(7)
    for share in (0.3, 0.6):
        mask, truth = rng.random((2, 20, 30)) < share
        truth[:, :6] = False
        found = number_of(call(answer, mask.copy(), truth.copy()))
        both, either = int((mask & truth).sum()), int((mask | truth).sum())
        for wrong, complaint in (
            ((mask == truth).mean(), "This counts the ground, too: two empty masks would be nearly perfect."),
            (2 * both / (mask.sum() + truth.sum()), "This divides by the sum of both; pixels in both count once."),
            (both / mask.sum(), "This divides by the first mask: a tiny mask inside the truth would be perfect."),
            (both / truth.sum(), "This divides by the second mask: a mask that covers all would be perfect."),
            (both / mask.size, "This divides by all pixels: divide by those that are in either mask."),
            (both, "This is how many pixels are in both: divide by those that are in either."),
        ):
            need(abs(found - float(wrong)) > 1e-6, complaint)
        say = f"{both} pixels in both and {either} in either give {both / either:.3f}; yours is {found:.3f}."
        need(abs(found - both / either) < 5e-3, say)


def box_of(answer: Any) -> None:
    """A function (alpha) that gives the box of all pixels of 128 or more."""
    for left, top, right, bottom in ((7, 3, 25, 11), (2, 5, 9, 18)):
        alpha = np.zeros((20, 30), np.uint8)
        alpha[top - 2 : bottom + 1, left - 1 : right + 2] = 60  # a soft edge
        alpha[top:bottom, left:right] = 200
        alpha[top, left : right - 1] = alpha[bottom - 1, left + 1 : right] = 30  # rows with one solid pixel
        found = array_of(call(answer, alpha.copy()), "four numbers").ravel()
        need(found.shape == (4,), f"There must be four numbers; there are {found.size}.")
        box, wanted = [round(float(v)) for v in found], [left, top, right, bottom]
        for wrong, complaint in (
            ([left, top, right - 1, bottom - 1], "Right and bottom are the first column and row OUTSIDE: one more."),
            ([top, left, bottom, right], "Rows and columns are swapped: left and right are columns, the second axis."),
            ([left - 1, top - 2, right + 2, bottom + 1], "A soft edge counts, too: only 128 or more is the object."),
            ([left, top, right - left, bottom - top], "The last two must be right and bottom, not width and height."),
        ):
            need(box != wrong, complaint)
        need(np.allclose(found, wanted), f"The box must be {wanted}; yours is {box}.")


def square_of(answer: Any) -> None:
    """A function (box, ratio) that gives the square around a box."""
    for box, ratio in (((10, 20, 60, 40), 0.8), ((-5, 4, 15, 84), 0.5)):
        found = array_of(call(answer, box, ratio), "four numbers").ravel()
        need(found.shape == (4,), f"There must be four numbers; there are {found.size}.")
        wide, high = found[2] - found[0], found[3] - found[1]
        need(abs(wide - high) < 1e-3, f"It must be a square; yours is {wide:.1f} wide and {high:.1f} high.")
        longer, shorter = max(box[2] - box[0], box[3] - box[1]), min(box[2] - box[0], box[3] - box[1])
        for wrong, complaint in (
            (longer * ratio, "The square is smaller than the box: divide by the ratio."),
            (shorter / ratio, "The shorter side takes the share; it must be the longer one, or the object is cut off."),
            (float(longer), "The box fills the square from end to end: the ratio is not used."),
        ):
            need(abs(wide - wrong) > 1e-3, complaint)
        need(abs(wide - longer / ratio) < 1, f"Its side must be {longer / ratio:.1f}; it is {wide:.1f}.")
        middle = (found[:2] + found[2:]) / 2
        wanted = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        say = f"The middle must be that of the box, {wanted.tolist()}; it is {middle.round(1).tolist()}."
        need(np.abs(middle - wanted).max() < 1, say)


EXERCISES = (
    Exercise(
        "02.1", upright,
        ("The note is an EXIF entry. Pillow has a function that reads it and turns the image.",
         "ImageOps.exif_transpose(Image.open(path)), or the package's own load_image."),
        """\
def upright(path):
    return ImageOps.exif_transpose(Image.open(path))""",
        "Half of all telephone images lie on their side in the file; the model would make a lying object of them.",
    ),
    Exercise(
        "02.2", on_white,
        ("Divide by 255 first. Then each pixel is a mixture of its colour and white.",
         "alpha * colour + (1 - alpha), where alpha keeps its last axis: rgba[..., 3:]."),
        """\
def on_white(rgba):
    rgba = np.asarray(rgba) / 255
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    return alpha * colour + (1 - alpha)""",
        "The same sum blends a Gaussian over what is behind it.",
    ),
    Exercise(
        "02.3", overlap,
        ("& gives the pixels in both masks, | those in either; sum counts the True ones.",
         "(mask & truth).sum() / (mask | truth).sum()"),
        """\
def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()""",
        "It cannot be fooled by a mask that is too small or too large: both lower it.",
    ),
    Exercise(
        "02.4", box_of,
        ("Which columns hold at least one solid pixel? any(axis=0) says so; np.flatnonzero gives their numbers.",
         "columns = np.flatnonzero((alpha >= 128).any(0)); left is columns[0], right is columns[-1] + 1."),
        """\
def box_of(alpha):
    solid = np.asarray(alpha) >= 128
    columns, rows = np.flatnonzero(solid.any(0)), np.flatnonzero(solid.any(1))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1""",
        "With the end outside, width is right - left, and a crop needs no + 1.",
    ),
    Exercise(
        "02.5", square_of,
        ("First the side of the square: its share `ratio` is the longer side of the box. Then its corner.",
         "side = max(right - left, bottom - top) / ratio; the corner is the middle minus side / 2."),
        """\
def square_of(box, ratio):
    left, top, right, bottom = box
    side = max(right - left, bottom - top) / ratio
    x, y = (left + right - side) / 2, (top + bottom - side) / 2
    return x, y, x + side, y + side""",
        "This square decides how large the object looks to the model: it is the camera's distance in disguise.",
    ),
)  # fmt: skip
