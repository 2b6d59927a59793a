"""Cut an object out of its background and place it in the middle of a white square, as the models expect it."""

from __future__ import annotations

import math

from PIL import Image

from .._optional import require
from ..errors import ImageError, InputError
from .background import find_object
from .load import Source, load_image

_LEAST_SHARE = 0.001
"""Of a picture's pixels: fewer than one in a thousand are no object, and no used transparency."""
_METHODS = ("auto", "polynomial", "grabcut", "rembg")


def remove_background(image: Source, method: str = "auto") -> Image.Image:
    """The object alone: RGBA, transparent around it.

    Args:
        image: whatever :func:`load_image` takes, at least 8 x 8 pixels.
        method: "auto": the picture's own transparency where it uses it, else the plain background is modelled, and
            the edge refined by OpenCV where that is installed. "polynomial": the model alone. "grabcut": needs
            OpenCV. "rembg": a network of its own, for backgrounds that are not plain; needs rembg.

    Raises:
        ImageError: the picture cannot be read, or is too small.
        InputError: unknown method.
        ImportError: the method's package is not installed.
    """
    if method not in _METHODS:
        raise InputError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    picture = load_image(image)
    if min(picture.size) < 8:
        width, height = picture.size
        raise ImageError(f"a picture to cut an object out of must be at least 8 x 8 pixels; got {width} x {height}")
    if method == "auto" and _uses_alpha(picture):
        return picture
    opaque = _on_white(picture)
    if method == "rembg":
        cut = require("rembg", extra="rembg", who='remove_background(method="rembg")').remove(opaque)
        return load_image(cut).convert("RGBA")
    opaque.putalpha(find_object(opaque, method))
    return opaque


def prepare_image(image: Source, size: int = 256, ratio: float = 0.8, background: str = "auto") -> Image.Image:
    """What the models want to see: the object alone, in the middle of a white square.

    Args:
        image: whatever :func:`load_image` takes.
        size: pixels of a side of the square.
        ratio: the object's longer side as a part of the square's, in (0, 1].
        background: as :func:`remove_background`'s method; or "keep": nothing is removed or cut out, the whole picture
            is fitted into the square, on white, and ``ratio`` is not used.

    Returns:
        Mode RGB, size x size.

    Raises:
        ImageError: the picture cannot be read, or nothing in it stands out from the background.
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
            "a picture must show an object that stands out from its background; nothing does: take one with alpha "
            'or on another background, try background="rembg", or give a finished picture with background="keep"'
        )
    return _on_square(_on_white(cut), box, ratio, size)


def _uses_alpha(picture: Image.Image) -> bool:
    """Not so where all is opaque, or where only stray pixels are not."""
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
    """The part in ``box``, on white already: then resizing makes no fringes, as premultiplied alpha would not."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top) / ratio  # of the square, in pixels of the picture
    x, y = (left + right - side) / 2, (top + bottom - side) / 2  # its corner, in the picture
    # one pixel of what is around the box comes along: an edge that is half transparent lies there
    box = (max(left - 1, 0), max(top - 1, 0), min(right + 1, picture.width), min(bottom + 1, picture.height))
    canvas = Image.new("RGB", (math.ceil(side) + 4, math.ceil(side) + 4), "white")
    x0, y0 = math.floor(x) - 1, math.floor(y) - 1  # the canvas's corner, in the picture
    canvas.paste(picture.crop(box), (box[0] - x0, box[1] - y0))
    frame = (x - x0, y - y0, x - x0 + side, y - y0 + side)
    return canvas.resize((size, size), Image.Resampling.LANCZOS, box=frame)
