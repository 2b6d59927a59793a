"""Pictures in whatever form a notebook has them, to PIL images, sheets of them, and PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError

GAP = 8  # pixels between pictures of a sheet
CAPTION_SIZE = 13  # pixels
SMALL = 128  # pixels; lower pictures are enlarged in a sheet of a given width
PIXELATED = 3  # enlarged by that or more, a picture is data to look at pixel by pixel: no smoothing
NEEDED = "a picture must be a PIL image, or an array [H, W], [H, W, 3] or [H, W, 4] of uint8 or of floats in [0, 1]"


def as_images(source: Any) -> list[Image.Image]:
    """One picture, a sequence of pictures, or an array [V, H, W, 3] to a list of PIL images (RGB or RGBA).

    Raises:
        InputError: something in it is not a picture, or it is empty.
    """
    if isinstance(source, Image.Image) or (hasattr(source, "ndim") and source.ndim < 4):
        return [_as_picture(source)]
    several = isinstance(source, list | tuple) or hasattr(source, "ndim")
    if not several:
        raise InputError(f"{NEEDED}; got {type(source).__name__}")
    pictures = [_as_picture(item) for item in source]
    if not pictures:
        raise InputError("there must be at least one picture; got none")
    return pictures


def _as_picture(source: Any) -> Image.Image:
    if isinstance(source, Image.Image):
        return source if source.mode in ("RGB", "RGBA") else source.convert("RGBA" if "A" in source.mode else "RGB")
    if not hasattr(source, "ndim"):
        raise InputError(f"{NEEDED}; got {type(source).__name__}")
    array = np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise InputError(f"{NEEDED}; got shape {array.shape}, {array.dtype}")
    return Image.fromarray(_as_bytes(array))


def _as_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f" or not np.isfinite(array).all() or array.min() < -1e-4 or array.max() > 1 + 1e-4:
        what = f"{array.dtype} from {array.min()} to {array.max()}" if array.dtype.kind in "fiu" else str(array.dtype)
        raise InputError(f"{NEEDED}; got {what}")
    return (array.clip(0, 1) * 255 + 0.5).astype(np.uint8)  # half up, as a reader rounds


def sheet(
    pictures: Sequence[Image.Image], columns: int, captions: Sequence[str] | None = None, width: int | None = None
) -> Image.Image:
    """Pictures side by side, line by line, on white.

    Args:
        pictures: any sizes; all get the height of the highest.
        columns: pictures a line.
        captions: one a picture, written below it.
        width: pixels that the sheet must not exceed: large pictures are made smaller, and small ones larger.
            None leaves them as they are.
    """
    cells = [_fit(picture, _cell_height(pictures, columns, width)) for picture in pictures]
    cell_width, height = max(cell.width for cell in cells), cells[0].height
    line = height + GAP + (CAPTION_SIZE + GAP if captions else 0)
    lines = -(-len(cells) // columns)
    size = (min(columns, len(cells)) * (cell_width + GAP) - GAP, lines * line - GAP)
    canvas = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(CAPTION_SIZE)
    for i, cell in enumerate(cells):
        x, y = (i % columns) * (cell_width + GAP), (i // columns) * line
        canvas.paste(cell, (x + (cell_width - cell.width) // 2, y), cell if cell.mode == "RGBA" else None)
        if captions:
            middle = (x + cell_width // 2, y + height + GAP // 2)
            pen.text(middle, _shorten(captions[i], cell_width, font), fill="black", font=font, anchor="ma")
    return canvas


def _cell_height(pictures: Sequence[Image.Image], columns: int, width: int | None) -> int:
    height = max(picture.height for picture in pictures)
    if width is None:
        return height
    across = min(columns, len(pictures))
    widest = max(picture.width / picture.height for picture in pictures)  # at height 1
    limit = max(1, int((width - GAP * (across - 1)) / across / widest))
    goal = min(limit, max(height, SMALL))
    return height * (goal // height) if goal >= PIXELATED * height else goal


def _fit(picture: Image.Image, height: int) -> Image.Image:
    if picture.height == height:
        return picture
    size = (max(1, round(picture.width * height / picture.height)), height)
    if height >= PIXELATED * picture.height:
        return picture.resize(size, Image.Resampling.NEAREST)
    return picture.resize(size, Image.Resampling.BICUBIC if height > picture.height else Image.Resampling.LANCZOS)


def _shorten(text: str, width: int, font: Any) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def png_bytes(picture: Image.Image) -> bytes:
    """A PNG file's content."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
