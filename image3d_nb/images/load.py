"""Load an image from a file, an address, bytes or an array.

The result is a Pillow image with 8 bits a channel. Pillow's own settings (``MAX_IMAGE_PIXELS`` and the like) belong to
the program and never change here.
"""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError, InputError
from .download import download_image

if TYPE_CHECKING:
    import torch

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray | torch.Tensor"
)

_READABLE = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "AVIF", "JPEG2000", "HEIF")
"""Pillow can read more: EPS would start Ghostscript; TGA and others have no signature, so any bytes would pass."""

DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, TypeError, struct.error, zlib.error,
)  # fmt: skip
"""The exceptions that Pillow's readers raise on damaged files."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.3, tag 0x0112: the transposition that sets the image upright."""

_LEAST_SIDE = 2


def load_image(
    source: Source, *, timeout: float = 10.0, max_bytes: int = 50_000_000, max_pixels: int = 100_000_000
) -> Image.Image:
    """Load an image.

    Args:
        source: a path; an http(s) URL; a file's bytes or an open binary file; a Pillow image; an array or tensor
            [H, W] or [H, W, 1 | 3 | 4], uint8, uint16, or float in [0, 1], sRGB.
        timeout: seconds for the whole download of a URL.
        max_bytes: the most bytes that a URL may send.
        max_pixels: the largest width times height; checked before the image is decoded.

    Returns:
        A new image in mode RGB, or RGBA where the source has transparency. It is set upright by its EXIF orientation.
        An animation gives its first frame.

    Raises:
        ImageError: no such file, not an image, damaged, too large, one pixel; an array of another shape, type or range.
        DownloadError: the URL cannot be reached, takes too long, is too large, or is not an image.

    Example:
        >>> load_image(np.zeros((4, 6, 3), np.uint8)).size
        (6, 4)
    """
    if isinstance(source, Image.Image):
        _check_size(source, max_pixels)
        try:
            source.load()  # a file that Pillow has opened but not read yet
        except DAMAGED as error:
            raise ImageError(f"an image must be whole and open; got a damaged or closed one: {error}") from error
        return _to_rgb(source, max_pixels)
    if isinstance(source, np.ndarray) or hasattr(source, "cpu"):
        return _to_rgb(_from_array(source), max_pixels)
    if isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE):
        return _decode(io.BytesIO(download_image(source, timeout, max_bytes)), max_pixels)
    if isinstance(source, str) and re.match(r"[a-z][a-z0-9+.-]*://|data:", source, re.IGNORECASE):
        raise ImageError(f"the address of an image must start with http:// or https://; got {source[:80]!r}")
    if isinstance(source, (str, os.PathLike)):
        return _from_path(Path(source), max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), max_pixels)
    if hasattr(source, "read"):
        content = source.read()
        if not isinstance(content, bytes):
            raise ImageError(f'a file object must be opened in binary mode, "rb"; got {type(content).__name__}')
        return _decode(io.BytesIO(content), max_pixels)
    wanted = "a path, an http(s) URL, bytes, a binary file, a Pillow image, an array or a tensor"
    raise ImageError(f"an image must be {wanted}; got {type(source).__name__}")


def _from_path(path: Path, max_pixels: int) -> Image.Image:
    if not os.path.isfile(path):  # noqa: PTH113 -- pathlib raises for a name that is too long
        found = "it is a folder" if os.path.isdir(path) else "there is no such file"  # noqa: PTH112
        raise ImageError(f"an image's path must name a file; {found}: {str(path)!r}")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ImageError(f"an image must be readable; {error}") from error
    with stream:
        return _decode(stream, max_pixels)


def _from_array(source: Any) -> Image.Image:
    wanted = "an array must be [H, W] or [H, W, 1 | 3 | 4], uint8, uint16, or float in [0, 1]"
    if hasattr(source, "cpu"):  # a tensor; numpy has no bfloat16
        source = source.detach().cpu()
        source = (source.float() if source.is_floating_point() else source).numpy()
    found = f"shape {source.shape}, {source.dtype}"
    if source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] not in (1, 3, 4)) or not source.size:
        channels = f": {source.shape[2]} channels" if source.ndim == 3 else ""
        hint = "; move the channels last" if source.ndim == 3 and source.shape[0] in (1, 3, 4) else ""
        raise ImageError(f"{wanted}; got {found}{channels}{hint}")
    if source.dtype.kind == "f":
        values = source.astype(np.float64)
        if not (values.min() >= 0 and values.max() <= 1):  # false for NaN, too
            nan = int(np.isnan(values).sum())
            span = f"{nan} NaN" if nan else f"values from {values.min():.4g} to {values.max():.4g}"
            raise ImageError(f"{wanted}; got {found} with {span}")
        source = np.rint(values * 255).astype(np.uint8)
    elif source.dtype == np.uint16:
        source = _to_8_bit(source)
    elif source.dtype != np.uint8:
        raise ImageError(f"{wanted}; got {found}")
    return Image.fromarray(
        np.ascontiguousarray(source[..., 0] if source.ndim == 3 and source.shape[2] == 1 else source)
    )


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Scale 16 bits to 8, 65535 to 255; Pillow's convert would clip."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _decode(stream: IO[bytes], max_pixels: int) -> Image.Image:
    Image.init()
    formats = [name for name in _READABLE if name in Image.OPEN]
    try:
        with Image.open(stream, formats=formats) as image:
            _check_size(image, max_pixels)
            image.load()
            return _to_rgb(image, max_pixels)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        stream.seek(0)
        start = stream.read(8)
        raise ImageError(
            f"an image must be a PNG, JPEG, WebP, ...; it is not one: its first bytes are {start!r}"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"an image must not be larger than Pillow allows; {error}") from error
    except DAMAGED as error:
        raise ImageError(f"an image must be whole; got a damaged or cut off one: {error}") from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"an image must have at most {max_pixels:,} pixels; got {width} x {height} = {width * height:,}"
        )
    if min(width, height) < _LEAST_SIDE:
        raise ImageError(f"an image must be at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels; got {width} x {height}")


def _to_rgb(image: Image.Image, max_pixels: int) -> Image.Image:
    _check_size(image, max_pixels)
    turn = _orientation(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey_to_8_bit(image)
    if image.mode not in ("RGB", "RGBA"):
        try:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        except DAMAGED as error:
            raise ImageError(f"an image's colours must be RGB, grey, palette or CMYK; got mode {image.mode}") from error
    elif image.mode == "RGB" and "transparency" in image.info:  # one colour of a PNG means transparent
        image = image.convert("RGBA")
    image = image.transpose(turn) if turn is not None else image.copy()
    image.info = {}  # its orientation and transparency are applied; nobody may apply them again
    return image


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except DAMAGED as error:
        warnings.warn(f"the image's EXIF data are damaged ({error}): it is not turned upright", stacklevel=2)
        return None


def _grey_to_8_bit(image: Image.Image) -> Image.Image:
    """Convert modes I;16 (in both byte orders), I and F to L, or to LA where one grey value means transparent."""
    values = np.asarray(image)
    if image.mode == "F":
        return _from_array(values)
    if values.min() < 0 or values.max() > 65535:
        found = f"values from {values.min()} to {values.max()}"
        raise ImageError(f"a grey image of more than 8 bits must have values from 0 to 65535; got {found}")
    grey = Image.fromarray(_to_8_bit(values))
    if isinstance(image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.uint8(255) * (values != image.info["transparency"])))
    return grey
