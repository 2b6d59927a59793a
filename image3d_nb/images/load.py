"""Pictures in: from anywhere, checked, upright, with the object alone on white.

Everything gives Pillow pictures with 8 bits a channel. Pillow's own settings (``MAX_IMAGE_PIXELS`` and the like) belong
to the program and are never touched.
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
from .download import download_picture

if TYPE_CHECKING:
    import torch

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray | torch.Tensor"
)

_READABLE = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "AVIF", "JPEG2000", "HEIF")
"""Pillow can read more: EPS would start Ghostscript, TGA and others have no mark and read any bytes as a picture."""

_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise on damaged files."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.3, tag 0x0112: what sets the picture upright."""

_LEAST_SIDE = 2
def load_image(
    source: Source, *, timeout: float = 10.0, max_bytes: int = 50_000_000, max_pixels: int = 100_000_000
) -> Image.Image:
    """Read a picture from anywhere.

    Args:
        source: a path; an http(s) URL; a file's bytes or an open binary file; a Pillow picture; an array or tensor
            [H, W] or [H, W, 1 | 3 | 4], uint8, uint16, or float in [0, 1], sRGB.
        timeout: seconds that a URL may take in all.
        max_bytes: what a URL may send at most.
        max_pixels: width times height at most; known before anything is decoded.

    Returns:
        A new picture in mode RGB, or RGBA where the source has transparency; set upright by its EXIF orientation. Of an
        animation the first frame.

    Raises:
        ImageError: not there, not a picture, damaged, too large, one pixel; an array of another shape, type or range.
        DownloadError: the URL cannot be fetched, takes too long, is too large, or is not a picture.

    Example:
        >>> load_image(np.zeros((4, 6, 3), np.uint8)).size
        (6, 4)
    """
    if isinstance(source, Image.Image):
        _check_size(source, max_pixels)
        try:
            source.load()  # a file that Pillow has opened but not read yet
        except _DAMAGED as error:
            raise ImageError(f"a picture must be whole and open; this one is damaged or closed: {error}") from error
        return _to_rgb(source, max_pixels)
    if isinstance(source, np.ndarray) or hasattr(source, "cpu"):
        return _to_rgb(_from_array(source), max_pixels)
    if isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE):
        return _decode(io.BytesIO(download_picture(source, timeout, max_bytes)), max_pixels)
    if isinstance(source, str) and re.match(r"[a-z][a-z0-9+.-]*://|data:", source, re.IGNORECASE):
        raise ImageError(f"the address of a picture must start with http:// or https://; got {source[:80]!r}")
    if isinstance(source, (str, os.PathLike)):
        return _from_path(Path(source), max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), max_pixels)
    if hasattr(source, "read"):
        content = source.read()
        if not isinstance(content, bytes):
            raise ImageError(f'a file object must be opened in binary mode, "rb"; it gave {type(content).__name__}')
        return _decode(io.BytesIO(content), max_pixels)
    wanted = "a path, an http(s) URL, bytes, a binary file, a Pillow picture, an array or a tensor"
    raise ImageError(f"a picture must be {wanted}; got {type(source).__name__}")


def _from_path(path: Path, max_pixels: int) -> Image.Image:
    if not os.path.isfile(path):  # noqa: PTH113 -- pathlib raises for a name that is too long
        found = "it is a folder" if os.path.isdir(path) else "there is no such file"  # noqa: PTH112
        raise ImageError(f"a picture's path must name a file; {found}: {str(path)!r}")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ImageError(f"a picture must be readable; {error}") from error
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
    """65535 becomes 255: 16 bits are scaled, where Pillow's convert would clip."""
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
            f"a picture must be a PNG, JPEG, WebP, ...; it is not one: its first bytes are {start!r}"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"a picture must not be larger than Pillow allows; {error}") from error
    except _DAMAGED as error:
        raise ImageError(f"a picture must be whole; this one is damaged or cut off: {error}") from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"a picture must have at most {max_pixels:,} pixels; got {width} x {height} = {width * height:,}"
        )
    if min(width, height) < _LEAST_SIDE:
        raise ImageError(f"a picture must be at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels; got {width} x {height}")


def _to_rgb(image: Image.Image, max_pixels: int) -> Image.Image:
    _check_size(image, max_pixels)
    turn = _orientation(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey_to_8_bit(image)
    if image.mode not in ("RGB", "RGBA"):
        try:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        except _DAMAGED as error:
            raise ImageError(
                f"a picture's colours must be RGB, grey, palette or CMYK; got mode {image.mode}"
            ) from error
    elif image.mode == "RGB" and "transparency" in image.info:  # one colour of a PNG stands for "nothing"
        image = image.convert("RGBA")
    image = image.transpose(turn) if turn is not None else image.copy()
    image.info = {}  # what it says (orientation, transparency) has been applied: it must not be applied again
    return image


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except _DAMAGED as error:
        warnings.warn(f"the picture's EXIF data are damaged ({error}): it is not turned upright", stacklevel=2)
        return None


def _grey_to_8_bit(image: Image.Image) -> Image.Image:
    """Modes I;16 (and its byte orders), I and F to L, or LA where one grey value stands for "nothing"."""
    values = np.asarray(image)
    if image.mode == "F":
        return _from_array(values)
    if values.min() < 0 or values.max() > 65535:
        found = f"values from {values.min()} to {values.max()}"
        raise ImageError(f"a grey picture of more than 8 bits must have values from 0 to 65535; got {found}")
    grey = Image.fromarray(_to_8_bit(values))
    if isinstance(image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.uint8(255) * (values != image.info["transparency"])))
    return grey


