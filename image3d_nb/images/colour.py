"""Any colour mode of Pillow to 8-bit sRGB: embedded profiles, transparent colours, more than 8 bits."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from ..errors import ImageError
from .caller import warn

DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, TypeError, struct.error, zlib.error,
)  # fmt: skip
"""Exceptions of Pillow's readers on damaged files."""

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour space of a profile -> Pillow's mode."""

_GREY_STEP = {"L;2": 255 // 3, "L;4": 255 // 15}
"""Pillow's raw mode of a grey PNG -> the factor by which Pillow multiplies its values."""


def scale_colour_key(image: Image.Image) -> None:
    """Bring a PNG's transparent colour to the 8 bits of Pillow's pixels. Call it before the pixels are loaded.

    The file gives the colour in its own bit depth (1 to 16). Of a 16-bit RGB colour the high bytes are compared.
    """
    key = image.info.get("transparency")
    raw_mode = image.tile[0].args if image.format == "PNG" and image.tile else None  # type: ignore[attr-defined]
    if isinstance(key, int) and raw_mode in _GREY_STEP:
        image.info["transparency"] = key * _GREY_STEP[raw_mode]
    elif isinstance(key, tuple) and raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def to_srgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB, or RGBA if it has transparency, converted to sRGB by its embedded profile.

    Args:
        image: loaded; it is not changed.

    Raises:
        ImageError: the mode cannot be converted, or values are out of range.

    Warns:
        UserWarning: the profile is damaged; the colours are taken for sRGB.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey_to_8_bit(image)
    try:
        full = image.convert("RGBA") if image.has_transparency_data else image
        colours = (_apply(profile, image) if profile else None) or full.convert("RGB")
    except DAMAGED as error:
        raise ImageError(f"an image's colours must be RGB, grey, palette or CMYK; got mode {image.mode}") from error
    if full is not image:
        colours.putalpha(full.getchannel("A"))
    return colours


def _apply(profile: bytes, image: Image.Image) -> Image.Image | None:
    """The colours in sRGB; None if the profile is sRGB itself or cannot be applied."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return None
        mode = _MODES[source.profile.xcolor_space.strip()]
        if (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and image.mode not in ("1", "L", "LA")):
            raise ValueError(f"it is for {mode} and the image is {image.mode}")
        plain = image.convert("RGBA").convert("RGB") if mode == "RGB" else image.convert(mode)
        return ImageCms.profileToProfile(plain, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *DAMAGED) as error:
        warn(f"the image's colour profile cannot be applied ({error}): its colours are taken for sRGB")
        return None


def _grey_to_8_bit(image: Image.Image) -> Image.Image:
    """Modes I;16 (in any byte order), I and F to L; or to LA if one grey value is transparent."""
    values = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray(float_to_8_bit(values, "a grey image of floats must have values from 0 to 1"))
    if values.min() < 0 or values.max() > 65535:
        found = f"values from {values.min()} to {values.max()}"
        raise ImageError(f"a grey image with more than 8 bits must have values from 0 to 65535; got {found}")
    grey = Image.fromarray(to_8_bit(values))
    if isinstance(image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.uint8(255) * (values != image.info["transparency"])))
    return grey


def to_8_bit(values: np.ndarray) -> np.ndarray:
    """Integers from 0 to 65535, scaled to 0 to 255. (Pillow's convert clips them.)"""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def float_to_8_bit(values: np.ndarray, requirement: str) -> np.ndarray:
    """Floats in [0, 1], scaled to 0 to 255. A rounding error of 1e-4 beyond the range is clipped.

    Raises:
        ImageError: a value is out of range or NaN; the message starts with ``requirement``.
    """
    values = values.astype(np.float64)
    if not (values.min() >= -1e-4 and values.max() <= 1 + 1e-4):  # also false for NaN
        nan = int(np.isnan(values).sum())
        span = f"{nan} NaN" if nan else f"values from {values.min():.4g} to {values.max():.6g}"
        raise ImageError(f"{requirement}; got shape {values.shape} with {span}")
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)


def from_array(source: Any) -> Image.Image:
    """An array or a tensor as an image in mode L, RGB or RGBA.

    Raises:
        ImageError: another shape, type or range than :func:`load_image` documents.
    """
    wanted = "an array must be [H, W] or [H, W, 1 | 3 | 4], uint8, uint16, or float in [0, 1]"
    if hasattr(source, "cpu"):  # a tensor; numpy has no bfloat16
        source = source.detach().cpu()
        source = source.float() if source.is_floating_point() else source
    source = np.asarray(source)
    found = f"shape {source.shape}, {source.dtype}"
    if source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] not in (1, 3, 4)) or not source.size:
        channels = f": {source.shape[2]} channels" if source.ndim == 3 else ""
        hint = "; move the channels last" if source.ndim == 3 and source.shape[0] in (1, 3, 4) else ""
        raise ImageError(f"{wanted}; got {found}{channels}{hint}")
    if source.dtype.kind == "f":
        source = float_to_8_bit(source, wanted)
    elif source.dtype == np.uint16:
        source = to_8_bit(source)
    elif source.dtype != np.uint8:
        raise ImageError(f"{wanted}; got {found}")
    flat = source[..., 0] if source.ndim == 3 and source.shape[2] == 1 else source
    return Image.fromarray(np.ascontiguousarray(flat))
