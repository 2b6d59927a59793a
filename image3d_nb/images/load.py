"""Read images from anywhere, check them and set them upright.

All results are Pillow images with 8 bits per channel. Pillow's own settings (``MAX_IMAGE_PIXELS`` and the like) belong
to the program and are never changed.
"""

from __future__ import annotations

import importlib
import io
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError, InputError
from .caller import warn
from .colour import DAMAGED, from_array, scale_colour_key, to_srgb
from .download import download_image

if TYPE_CHECKING:
    import torch

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray | torch.Tensor"
)

_READABLE = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "AVIF", "JPEG2000", "HEIF")
"""Formats that Pillow may read. Others are unsafe: EPS starts Ghostscript; TGA has no signature and reads any bytes."""

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands in bytes 8 to 12 of an HEIF file, as phones write them."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.3, tag 0x0112 -> the turn that sets the image upright."""

_LEAST_SIDE = 2


def load_image(
    source: Source, *, timeout: float = 10.0, max_bytes: int = 50_000_000, max_pixels: int = 100_000_000,
    public_only: bool = False,
) -> Image.Image:  # fmt: skip
    """Read an image from anywhere.

    Args:
        source: a path ("~" is expanded); an http(s) URL; a file's bytes or an open binary file; a Pillow image; an
            array or tensor [H, W] or [H, W, 1 | 3 | 4], uint8, uint16, or float in [0, 1] (1e-4 beyond is clipped),
            in sRGB. HEIC photographs need ``pip install pillow-heif``.
        timeout: seconds for the whole download of a URL.
        max_bytes: the most bytes that a URL may send.
        max_pixels: the largest width times height, checked before anything is decoded.
        public_only: refuse a URL whose host, or that of a redirect, has a private, loopback or link-local address: for
            servers that load what strangers name.

    Returns:
        A new image in mode RGB, or RGBA if the source has transparency; upright according to its EXIF orientation, and
        in sRGB according to its embedded colour profile. Of an animation the first frame.

    Raises:
        ImageError: the file does not exist, is not an image, is damaged, too large, or narrower than 2 pixels; or the
            array has another shape, type or range.
        DownloadError: the URL cannot be fetched, takes too long, is too large, or is not an image.

    Warns:
        UserWarning: the colour profile or the EXIF orientation is damaged and was ignored.

    Example:
        >>> load_image(np.zeros((4, 6, 3), np.uint8)).size
        (6, 4)
    """
    if isinstance(source, Image.Image):
        return _finish(source, max_pixels)
    if isinstance(source, np.ndarray) or hasattr(source, "cpu"):
        return _finish(from_array(source), max_pixels)
    if isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE):
        return _decode(io.BytesIO(download_image(source, timeout, max_bytes, public_only)), max_pixels)
    if isinstance(source, str) and re.match(r"[a-z][a-z0-9+.-]*://|data:", source, re.IGNORECASE):
        raise ImageError(f"the URL of an image must start with http:// or https://; got {source[:80]!r}")
    if isinstance(source, (str, os.PathLike)):
        return _from_path(Path(source), max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), max_pixels)
    if hasattr(source, "read"):
        return _decode(io.BytesIO(_content(source)), max_pixels)
    wanted = "a path, an http(s) URL, bytes, a binary file, a Pillow image, an array or a tensor"
    raise ImageError(f"an image must be {wanted}; got {type(source).__name__}")


def _from_path(path: Path, max_pixels: int) -> Image.Image:
    path = path.expanduser()
    if not os.path.isfile(path):  # noqa: PTH113 -- pathlib raises for a name that is too long
        found = "it is a folder" if os.path.isdir(path) else "there is no such file"  # noqa: PTH112
        raise ImageError(f"an image's path must name a file; {found}: {str(path)!r}")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ImageError(f"an image must be readable; {error}") from error
    with stream:
        return _decode(stream, max_pixels)


def _content(stream: IO[bytes]) -> bytes:
    """The rest of an open file; all of it if the file was just written and stands at its end."""
    content = stream.read()
    if not content and hasattr(stream, "seekable") and stream.seekable():
        stream.seek(0)
        content = stream.read()
    if not isinstance(content, bytes):
        raise ImageError(f'a file object must be opened in binary mode, "rb"; it gave {type(content).__name__}')
    return content


def _decode(stream: IO[bytes], max_pixels: int) -> Image.Image:
    Image.init()
    start = stream.read(16)
    stream.seek(0)
    is_heic = start[4:8] == b"ftyp" and start[8:12] in _HEIC and "HEIF" not in Image.OPEN
    try:
        if is_heic:
            return _decode_heic(stream, max_pixels)
        with Image.open(stream, formats=[name for name in _READABLE if name in Image.OPEN]) as image:
            return _finish(image, max_pixels)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        wanted = "an image must be a PNG, JPEG, WebP, ..."
        raise ImageError(f"{wanted}; its first bytes are {start[:8]!r}, which is none of them") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"an image must not be larger than Pillow allows; {error}") from error
    except DAMAGED as error:
        kind = "a HEIC image" if is_heic else "an image"
        raise ImageError(f"{kind} must be complete; this one is damaged or cut off: {error}") from error


def _decode_heic(stream: IO[bytes], max_pixels: int) -> Image.Image:
    """Read a HEIC photograph without registering the reader in Pillow for the whole program."""
    if find_spec("pillow_heif") is None:
        remedy = "pip install pillow-heif, or export the photograph as JPEG"
        raise ImageError(f"this is a HEIC photograph, which Pillow cannot read: {remedy}")
    image = importlib.import_module("pillow_heif").open_heif(stream, convert_hdr_to_8bit=True)
    width, height = image.size
    _check_size(width, height, max_pixels)
    return _finish(image.to_pillow(), max_pixels)


def _finish(image: Image.Image, max_pixels: int) -> Image.Image:
    """Check the size, decode, convert to sRGB and set upright."""
    _check_size(*image.size, max_pixels)
    scale_colour_key(image)
    try:
        image.load()
    except DAMAGED as error:
        found = f"this one is damaged, cut off or closed: {error}"
        raise ImageError(f"an image must be complete and open; {found}") from error
    turn = _orientation(image)
    upright = to_srgb(image)
    if turn is not None:
        upright = upright.transpose(turn)
    upright.info = {}  # orientation, profile and transparency have been applied: they must not be applied again
    return upright


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        found = f"{width} x {height} = {width * height:,}"
        raise ImageError(f"an image must have at most {max_pixels:,} pixels; got {found}")
    if min(width, height) < _LEAST_SIDE:
        raise ImageError(f"an image must be at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels; got {width} x {height}")


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except DAMAGED as error:
        warn(f"the image's EXIF data are damaged ({error}): it is not set upright")
        return None
