"""Images of any kind a notebook has, as PIL images, sheets of several images, and PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError
from ..images.colour import from_array

GAP = 8  # pixels between the images of a sheet
CAPTION_SIZE = 14  # pixels
PIXELATED = 2  # an image enlarged by this factor or more keeps its pixels visible: no smoothing
CHECK = 8  # pixels, side of a checkerboard's square
NEEDED = "an image must be a PIL image, or an array [H, W] or [H, W, 1 | 3 | 4], uint8, uint16, or float in [0, 1]"


def as_images(source: Any) -> list[Image.Image]:
    """Convert whatever ``show`` takes to PIL images, RGB or RGBA.

    Args:
        source: a PIL image, an array or tensor [H, W] or [H, W, 1 | 3 | 4] (uint8, uint16, or float in [0, 1]), a
            sequence of these, or an array [V, H, W, 3].

    Raises:
        InputError: an entry is not an image, or there is none.
    """
    if isinstance(source, Image.Image) or (hasattr(source, "ndim") and source.ndim < 4):
        return [_as_image(source)]
    if not isinstance(source, list | tuple) and not hasattr(source, "ndim"):
        raise InputError(f"{NEEDED}; got {type(source).__name__}")
    images = [_as_image(item) for item in source]
    if not images:
        raise InputError("there must be at least one image; got none")
    return images


def _as_image(source: Any) -> Image.Image:
    if isinstance(source, Image.Image):
        return source if source.mode in ("RGB", "RGBA") else source.convert("RGBA" if "A" in source.mode else "RGB")
    if not hasattr(source, "ndim"):
        raise InputError(f"{NEEDED}; got {type(source).__name__}")
    image = from_array(source)
    return image.convert("RGB") if image.mode == "L" else image


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] as bytes, rounded to the nearest."""
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def check_captions(captions: Sequence[str] | None, columns: int | None, count: int) -> None:
    """Raise InputError unless there is one caption for each of ``count`` images, and at least one column."""
    if captions is not None and (isinstance(captions, str) or len(captions) != count):
        given = 1 if isinstance(captions, str) else len(captions)
        raise InputError(f"captions must be a list of one text for each image, {count} of them; got {given}")
    if columns is not None and columns < 1:
        raise InputError(f"columns must be a number of at least 1; got {columns!r}")


def sheet(
    images: Sequence[Image.Image], columns: int, captions: Sequence[str] | None = None, width: int | None = None,
    checkerboard: bool = False,
) -> Image.Image:  # fmt: skip
    """Set images side by side, row by row, on white.

    Args:
        images: any sizes; all get the same height.
        columns: images in a row.
        captions: one text for each image, wrapped below it.
        width: of the sheet, pixels; images are made smaller or larger to fill it. None keeps the highest as it is.
        checkerboard: whether a checkerboard shows behind transparent images; otherwise white does.
    """
    height = max(image.height for image in images)
    across = min(columns, len(images))
    if width is not None:
        widest = max(image.width / image.height for image in images)  # at height 1
        height = max(1, int((width - GAP * (across - 1)) / across / widest))
    cells = [resized(image, max(1, round(image.width * height / image.height)), height) for image in images]
    cell_width = max(cell.width for cell in cells)
    font = ImageFont.load_default(CAPTION_SIZE)
    texts = [_wrap(str(text), cell_width, font) for text in captions or ()]
    caption_height = max(map(len, texts)) * (CAPTION_SIZE + 3) + GAP if texts else 0
    row = height + caption_height + GAP
    canvas = Image.new("RGB", (across * (cell_width + GAP) - GAP, -(-len(cells) // columns) * row - GAP), "white")
    pen = ImageDraw.Draw(canvas)
    for i, cell in enumerate(cells):
        x, y = (i % columns) * (cell_width + GAP), (i // columns) * row
        left = x + (cell_width - cell.width) // 2
        if cell.mode == "RGBA" and checkerboard:
            canvas.paste(_checkerboard(cell.size), (left, y))
        canvas.paste(cell, (left, y), cell if cell.mode == "RGBA" else None)
        for number, line in enumerate(texts[i] if texts else ()):
            place = (x + cell_width // 2, y + height + GAP // 2 + number * (CAPTION_SIZE + 3))
            pen.text(place, line, fill="black", font=font, anchor="ma")
    return canvas


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """An image of another size; enlarged by :data:`PIXELATED` or more, it keeps its pixels as squares."""
    if image.size == (width, height):
        return image
    if height >= PIXELATED * image.height:
        return image.resize((width, height), Image.Resampling.NEAREST)
    larger = height > image.height
    return image.resize((width, height), Image.Resampling.BICUBIC if larger else Image.Resampling.LANCZOS)


def _wrap(text: str, width: int, font: Any) -> list[str]:
    """Lines of at most ``width`` pixels; a longer word breaks where it must."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _checkerboard(size: tuple[int, int]) -> Image.Image:
    y, x = np.ogrid[: size[1], : size[0]]
    return Image.fromarray(np.where((x // CHECK + y // CHECK) % 2, 205, 255).astype(np.uint8)).convert("RGB")


def png_bytes(image: Image.Image) -> bytes:
    """The content of a PNG file."""
    return image_bytes(image, "PNG", optimize=True)


def image_bytes(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The content of an image file of a kind that Pillow writes, with Pillow's options."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()
