"""Cut an object out of its background and centre it on a white square, as the models expect it."""

from __future__ import annotations

import math

from PIL import Image

from .._optional import require
from ..errors import ImageError, InputError
from .background import object_mask
from .load import Source, load_image

_LEAST_SHARE = 0.001
"""Share of an image's pixels: fewer are neither an object nor meant as transparency."""
_METHODS = ("auto", "polynomial", "grabcut", "rembg")


def remove_background(image: Source, method: str = "auto") -> Image.Image:
    """Cut the object out of its background.

    Args:
        image: whatever :func:`load_image` takes, at least 8 x 8 pixels.
        method: "auto" keeps the image's own transparency if it has any; else it models the plain background and
            refines the edge with OpenCV where that is installed. "polynomial" models the background without OpenCV.
            "grabcut" needs OpenCV. "rembg" runs a segmentation network, for backgrounds that are not plain; it needs
            rembg.

    Returns:
        Mode RGBA, the image's size, transparent around the object.

    Raises:
        ImageError: the image cannot be read, or is too small.
        InputError: unknown method.
        ImportError: the method's package is not installed.
    """
    if method not in _METHODS:
        raise InputError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    picture = load_image(image)
    if min(picture.size) < 8:
        width, height = picture.size
        raise ImageError(f"an image must be at least 8 x 8 pixels to cut an object out of it; got {width} x {height}")
    if method == "auto" and _uses_alpha(picture):
        return picture
    opaque = _on_white(picture)
    if method == "rembg":
        cut = require("rembg", extra="rembg", who='remove_background(method="rembg")').remove(opaque)
        return load_image(cut).convert("RGBA")
    opaque.putalpha(object_mask(opaque, method))
    return opaque


def prepare_image(image: Source, size: int = 256, ratio: float = 0.8, background: str = "auto") -> Image.Image:
    """Centre the object on a white square, as the models expect it.

    Args:
        image: whatever :func:`load_image` takes.
        size: side of the square, pixels.
        ratio: the object's longer side divided by the square's, in (0, 1].
        background: a method of :func:`remove_background`; or "keep", which fits the whole image into the square, on
            white, and does not use ``ratio``.

    Returns:
        Mode RGB, size x size.

    Raises:
        ImageError: the image cannot be read, or no object stands out from its background.
        InputError: another argument is out of range or unknown.
        ImportError: the background method's package is not installed.

    Example:
        >>> prepare_image(sample("mug")).size
        (256, 256)
    """
    if not isinstance(size, int) or not 8 <= size <= 8192:
        raise InputError(f"size must be a whole number from 8 to 8192 pixels; got {size!r}")
    if not 0 < ratio <= 1:
        raise InputError(f"ratio must be in (0, 1]; got {ratio}")
    if background == "keep":
        picture = load_image(image)
        return _on_square(_on_white(picture), (0, 0, *picture.size), 1.0, size)
    if background not in _METHODS:
        raise InputError(f"background must be one of keep, {', '.join(_METHODS)}; got {background!r}")
    cut = remove_background(image, background)
    solid = cut.getchannel("A").point(lambda value: 255 * (value >= 128))
    box = solid.getbbox()
    if box is None or solid.histogram()[255] < _LEAST_SHARE * cut.width * cut.height:
        raise ImageError(
            "an image must show an object that stands out from its background; got none: take an image with alpha "
            'or with another background, try background="rembg", or pass a finished square with background="keep"'
        )
    return _on_square(_on_white(cut), box, ratio, size)


def _uses_alpha(picture: Image.Image) -> bool:
    """True if more than 0.1 % of the pixels are transparent."""
    if picture.mode != "RGBA":
        return False
    clear = sum(picture.getchannel("A").histogram()[:128])
    return clear > _LEAST_SHARE * picture.width * picture.height


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture.copy()
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _on_square(picture: Image.Image, box: tuple[int, int, int, int], ratio: float, size: int) -> Image.Image:
    """Centre the part in ``box``. The image is on white already, so resizing makes no dark fringes."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top) / ratio  # of the square, in the image's pixels
    x, y = (left + right - side) / 2, (top + bottom - side) / 2  # the square's corner, in the image
    # A border of one pixel is included: half-transparent edges lie there.
    box = (max(left - 1, 0), max(top - 1, 0), min(right + 1, picture.width), min(bottom + 1, picture.height))
    canvas = Image.new("RGB", (math.ceil(side) + 4, math.ceil(side) + 4), "white")
    x0, y0 = math.floor(x) - 1, math.floor(y) - 1  # the canvas's corner, in the image
    canvas.paste(picture.crop(box), (box[0] - x0, box[1] - y0))
    frame = (x - x0, y - y0, x - x0 + side, y - y0 + side)
    return canvas.resize((size, size), Image.Resampling.LANCZOS, box=frame)
