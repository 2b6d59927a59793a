"""Textures of meshes: written as PNG, read from any common image format."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import PurePath

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import FormatError, InputError
from ..images.colour import DAMAGED

_READABLE = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "TIFF", "GIF")
"""What materials name in practice; other readers of Pillow start programs, or take any bytes for an image."""
MOST_PIXELS = 8192 * 8192
"""What graphics cards of today take, and 200 MB: for all images of a file together."""


def file_name(name: str) -> str:
    """The texture's file beside a mesh's file ``name``: not mug.png, which often is the image a mug.obj was made of."""
    return f"{PurePath(name).stem}_texture.png"


def encode(texture: np.ndarray) -> bytes:
    """A PNG of a texture [h, w, 3], uint8, sRGB, first row on top.

    Raises:
        InputError: without a pixel.
    """
    if not texture.size:
        raise InputError(f"texture must have a pixel; got shape {texture.shape}")
    stream = io.BytesIO()
    # level 1: a fifth of the time of Pillow's default, for a few percent of the size
    Image.fromarray(np.ascontiguousarray(texture)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def decode(content: bytes | memoryview, name: str, most: int = MOST_PIXELS) -> np.ndarray:
    """The image [h, w, 3], uint8, without its transparency.

    Args:
        content: the whole file, PNG, JPEG, WebP, BMP, TIFF or GIF; TGA, which has no mark, if its name says so.
        name: of the file, for errors.
        most: pixels that it may have, known before anything is decoded.

    Raises:
        FormatError: not an image, damaged, or too large.
    """
    Image.init()
    readable = (*_READABLE, "TGA") if name.lower().endswith(".tga") else _READABLE
    formats = [kind for kind in readable if kind in Image.OPEN]
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            if image.width * image.height > most:
                found = f"{image.width} x {image.height}"
                raise FormatError(f"{name} must have at most {most:,} pixels, with those before it; got {found}")
            straight = image.convert("RGBA") if image.mode in ("P", "PA", "LA", "La", "RGBa") else image
            return np.array(straight.convert("RGB"), np.uint8)
    except UnidentifiedImageError as error:
        first = bytes(content[:8])
        raise FormatError(f"{name} must be a PNG, JPEG, WebP, ...; its first bytes are {first!r}") from error
    except FormatError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, *DAMAGED) as error:
        raise FormatError(f"{name} must be a whole image; it is damaged or cut off: {error}") from error


class Textures:
    """The images that a file names, each decoded once. One that cannot be had is a note: the shape is worth more.

    Args:
        notes: gets what is left out.
    """

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self._known: dict[str, np.ndarray | None] = {}
        self._room = MOST_PIXELS

    def get(self, name: str, content: Callable[[], bytes | memoryview]) -> np.ndarray | None:
        """[h, w, 3] uint8, or None where it is missing, damaged or too large.

        Args:
            name: of the image; the same name gives the same array.
            content: fetches the file's bytes.
        """
        if name not in self._known:
            self._known[name] = self._decoded(name, content)
        return self._known[name]

    def _decoded(self, name: str, content: Callable[[], bytes | memoryview]) -> np.ndarray | None:
        try:
            image = decode(content(), name[:80], self._room)
        except (OSError, ValueError) as error:
            reason = str(error) if isinstance(error, FormatError) else "which is not there"
            self._notes.append(f"the texture {name[:80]!r}, {reason}")
            return None
        self._room -= image[..., 0].size
        return image


def sample(image: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Colours [V, 3] in [0, 1] of the nearest pixels at uvs [V, 2], repeated beyond [0, 1]; v = 0 is the lowest row."""
    height, width = image.shape[:2]
    inside = np.where((uvs < 0) | (uvs > 1), uvs - np.floor(uvs), uvs)  # 1 is the far edge, not the near one again
    x = np.minimum((inside[:, 0] * width).astype(np.int64), width - 1)
    y = np.minimum(((1 - inside[:, 1]) * height).astype(np.int64), height - 1)
    return image[y, x] / np.float32(255)
