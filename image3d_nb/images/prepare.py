"""Cut an object out of its background and centre it on a white square, as the models expect it."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from .._numbers import is_whole
from .._optional import require
from ..errors import DownloadError, ImageError, InputError
from .background import object_mask
from .caller import warn
from .doubts import LEAST_SHARE, doubts_about, doubts_about_white
from .load import Source, load_image

BACKGROUNDS = ("auto", "polynomial", "grabcut", "rembg")
"""Methods of :func:`remove_background`."""

Prepared: TypeAlias = tuple[Image.Image, tuple[str, ...]]
"""An image, and sentences about what may be wrong with it."""


def remove_background(image: Source, method: str = "auto", *, mask: Source | None = None) -> Image.Image:
    """Cut the object out: make its surroundings transparent.

    Args:
        image: anything that :func:`load_image` takes, at least 8 x 8 pixels.
        method: "auto": use the image's own transparency if it has any; else model the plain background, and refine the
            edge with OpenCV if that is installed. "polynomial": the model alone. "grabcut": the model and OpenCV.
            "rembg": a neural network, U2-Net, for backgrounds that are not plain; it needs the extra ``rembg``, and
            downloads its weights (176 MB) the first time.
        mask: where the object is, in place of a method: an array or tensor [H, W] (bool, or 0 outside and 1 or 255
            inside), or another image that :func:`load_image` takes: white inside, or transparent outside. It must have
            the image's aspect ratio.

    Returns:
        Mode RGBA, as large as the image.

    Raises:
        ImageError: the image or the mask cannot be read, is too small, or has the wrong shape.
        InputError: unknown method.
        ImportError: the package of the method is not installed.
        DownloadError: rembg's weights cannot be downloaded.

    Warns:
        UserWarning: the object may be cut out badly; the message says why and what to do.
    """
    cut, doubts = cut_out(image, method, mask)
    for doubt in doubts:
        warn(doubt)
    return cut


def prepare_image(
    image: Source, size: int = 256, ratio: float = 0.8, background: str = "auto", *, mask: Source | None = None
) -> Image.Image:
    """Make what the models expect: the object alone, in the middle of a white square.

    Args:
        image: anything that :func:`load_image` takes.
        size: side of the square, 8 to 8192 pixels.
        ratio: longer side of the object over the side of the square, in (0, 1].
        background: as ``method`` of :func:`remove_background`; or "keep": nothing is removed, the whole image is fitted
            into the square, on white, and ``ratio`` is not used.
        mask: where the object is, as for :func:`remove_background`.

    Returns:
        Mode RGB, size x size.

    Raises:
        ImageError: the image or the mask cannot be read, or no object differs from the background or from white.
        InputError: another argument is out of range or unknown.
        ImportError: the package of the background method is not installed.
        DownloadError: rembg's weights cannot be downloaded.

    Warns:
        UserWarning: the object may be cut out badly (it touches the border, the background is not plain, there are
            several objects, most of it is white); the message says what to do.

    Example:
        >>> prepare_image(sample("mug")).size
        (256, 256)
    """
    square, doubts = prepared(image, size, ratio, background, mask)
    for doubt in doubts:
        warn(doubt)
    return square


def prepared(
    image: Source, size: int = 256, ratio: float = 0.8, background: str = "auto", mask: Source | None = None
) -> Prepared:
    """The result of :func:`prepare_image`, and its warnings as sentences; the same arguments."""
    if not is_whole(size) or not 8 <= size <= 8192:
        raise InputError(f"size must be a whole number from 8 to 8192 pixels; got {size!r}")
    if not 0 < ratio <= 1:
        raise InputError(f"ratio must be in (0, 1]; got {ratio}")
    if background == "keep" and mask is None:
        whole = load_image(image)
        return _on_square(_on_white(whole), (0, 0, *whole.size), 1.0, size), ()
    if background not in BACKGROUNDS:
        choices = ", ".join(BACKGROUNDS) + (", keep" if mask is None else " with mask=")
        raise InputError(f"background must be one of {choices}; got {background!r}")
    cut, doubts = cut_out(image, background, mask)
    box = object_box(cut)
    return _on_square(_on_white(cut), box, ratio, size), (*doubts, *doubts_about_white(cut))


def cut_out(image: Source, method: str = "auto", mask: Source | None = None) -> Prepared:
    """The result of :func:`remove_background`, and its warnings as sentences.

    Args:
        image: as for :func:`remove_background`.
        method: as there.
        mask: as there.
    """
    if method not in BACKGROUNDS:
        raise InputError(f"method must be one of {', '.join(BACKGROUNDS)}; got {method!r}")
    loaded = load_image(image)
    if min(loaded.size) < 8:
        raise ImageError(f"an image must be at least 8 x 8 pixels; got {loaded.width} x {loaded.height}")
    if mask is not None:
        cut = loaded.convert("RGB")
        cut.putalpha(_load_mask(mask, loaded.size))
        return cut, doubts_about(cut, given=True)
    if method == "auto" and _uses_alpha(loaded):
        return loaded, doubts_about(loaded, given=True)
    opaque, plain = _on_white(loaded), True
    if method == "rembg":
        cut = _cut_by_network(opaque)
    else:
        alpha, plain = object_mask(opaque, method)
        cut = opaque
        cut.putalpha(alpha)
    return cut, doubts_about(cut, plain=plain)


@functools.lru_cache(maxsize=1)
def _network(rembg: ModuleType) -> Any:
    # by name, because rembg's default changes; u2net's weights are free (Apache 2.0), those of others are not
    return rembg.new_session("u2net")


def _cut_by_network(opaque: Image.Image) -> Image.Image:
    rembg = require("rembg", extra="rembg", who='remove_background(method="rembg")')
    try:
        network = _network(rembg)
    except OSError as error:  # also those of requests
        raise DownloadError(f"rembg needs the weights of u2net, which cannot be downloaded: {error}") from error
    return load_image(rembg.remove(opaque, session=network)).convert("RGBA")


def object_box(cut: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the object in an RGBA image, the last two exclusive.

    Args:
        cut: result of :func:`remove_background`.

    Raises:
        ImageError: fewer than one pixel in a thousand belong to an object.
    """
    solid = cut.getchannel("A").point(lambda value: 255 * (value >= 128))
    box = solid.getbbox()
    if box is None or solid.histogram()[255] < LEAST_SHARE * cut.width * cut.height:
        raise ImageError(
            "an image must show an object that differs from its background; this one shows none: take one with a "
            'transparent or another background, give mask=, try background="rembg", or give a finished square with '
            'background="keep"'
        )
    return box


def _load_mask(source: Source, size: tuple[int, int]) -> Image.Image:
    """A mask in mode L, 255 inside, with the given width and height."""
    mask: Any = source
    if hasattr(mask, "cpu") and not mask.is_floating_point():  # a tensor
        mask = mask.cpu().numpy()
    if isinstance(mask, np.ndarray) and (mask.dtype == bool or (mask.dtype.kind in "iu" and mask.max(initial=0) <= 1)):
        mask = np.uint8(255) * (mask > 0).astype(np.uint8)
    elif (
        isinstance(mask, np.ndarray) and mask.dtype.kind in "iu" and mask.size and 0 <= mask.min() <= mask.max() <= 255
    ):
        mask = mask.astype(np.uint8)  # numpy's usual integers have 64 bits
    loaded = load_image(mask)
    width, height = size
    if abs(loaded.width / loaded.height - width / height) > 0.02 * width / height:
        found = f"{loaded.width} x {loaded.height}"
        raise ImageError(f"a mask must have the aspect ratio of its image, {width} x {height}; got {found}")
    grey = loaded.getchannel("A") if _uses_alpha(loaded) else loaded.convert("L")
    return grey if grey.size == size else grey.resize(size, Image.Resampling.BILINEAR)


def _uses_alpha(image: Image.Image) -> bool:
    """True if more than 0.1 % of the pixels are transparent."""
    if image.mode != "RGBA":
        return False
    clear = sum(image.getchannel("A").histogram()[:128])
    return clear > LEAST_SHARE * image.width * image.height


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image.copy()
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _on_square(image: Image.Image, box: tuple[int, int, int, int], ratio: float, size: int) -> Image.Image:
    """Fit the part in ``box`` into a square. The image is on white already, so that resizing makes no fringes."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top) / ratio  # of the square, in pixels of the image
    x, y = (left + right - side) / 2, (top + bottom - side) / 2  # corner of the square, in the image
    # one pixel around the box is included: an edge that is half transparent lies there
    box = (max(left - 1, 0), max(top - 1, 0), min(right + 1, image.width), min(bottom + 1, image.height))
    canvas = Image.new("RGB", (math.ceil(side) + 4, math.ceil(side) + 4), "white")
    x0, y0 = math.floor(x) - 1, math.floor(y) - 1  # corner of the canvas, in the image
    canvas.paste(image.crop(box), (box[0] - x0, box[1] - y0))
    frame = (x - x0, y - y0, x - x0 + side, y - y0 + side)
    return canvas.resize((size, size), Image.Resampling.LANCZOS, box=frame)
