"""Panels for a notebook: pictures in a grid, a before/after slider, a turntable with a play bar.

Each is a widget that goes into any box of ipywidgets. What moves in it moves in the browser, without the kernel. A cell
that ends with one also keeps a PNG of it, for places where nothing runs.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from ..cameras import LGM_FOVY, LGM_RADIUS
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from ._live import compare_class, flipbook_class
from ._panel import caption, check_size, object_scene, widgets, with_still
from .sheets import PIXELATED, as_images, png_bytes, sheet
from .scene import View, as_colour
from .stills import draw
from .turntable import turntable_frames

STILL_WIDTH = 512  # pixels; a notebook stores the PNG, so it stays small
STILL_COLUMNS = 6
WEBP_QUALITY = 85
Pictures = Any  # whatever as_images takes


def gallery(
    images: Pictures, captions: Sequence[str] | None = None, columns: int | None = None, *, size: int = 160
) -> Any:
    """Pictures in a grid that fits the width of the page, with captions.

    Args:
        images: one picture (PIL image, array or tensor [H, W], [H, W, 3] or [H, W, 4], uint8 or floats in [0, 1]), a
            sequence of them, or an array [V, H, W, 3].
        captions: one text a picture.
        columns: pictures a line; None: as many as fit.
        size: width of a picture, pixels.

    Returns:
        ``ipywidgets.GridBox``; its children are boxes of a picture and its caption.

    Raises:
        InputError: no pictures, captions that do not fit them, or a number out of its range.
        ImportError: ipywidgets is not there.

    Example:
        >>> len(gallery([Image.new("RGB", (8, 8))] * 3, ["a", "b", "c"]).children)
        3
    """
    pictures = as_images(images)
    if captions is not None and (isinstance(captions, str) or len(captions) != len(pictures)):
        count = 1 if isinstance(captions, str) else len(captions)
        raise InputError(f"captions must be a list of one text a picture, {len(pictures)} of them; got {count}")
    if columns is not None and columns < 1:
        raise InputError(f"columns must be a number of at least 1; got {columns!r}")
    check_size(size)
    ipywidgets = widgets("gallery")
    cells = []
    for number, picture in enumerate(pictures):
        shown = ipywidgets.Image(value=png_bytes(_fit(picture, size)), format="png", width=size)
        text = [] if captions is None else [caption(str(captions[number]), ipywidgets)]
        cells.append(ipywidgets.VBox([shown, *text], layout={"width": f"{size}px", "align_items": "center"}))
    across = "auto-fill" if columns is None else str(columns)
    grid = {"grid_template_columns": f"repeat({across}, {size}px)", "grid_gap": "8px", "width": "100%"}
    texts = None if captions is None else [str(text) for text in captions]
    in_line = columns or min(len(pictures), STILL_COLUMNS)
    return with_still(
        ipywidgets.GridBox(cells, layout=grid),
        lambda: sheet(pictures, in_line, texts, width=STILL_WIDTH),
        f"gallery of {len(pictures)} picture{'s' * (len(pictures) > 1)}",
    )


def compare(
    a: Pictures | Gaussians | Mesh, b: Pictures | Gaussians | Mesh, *, labels: Sequence[str] = ("before", "after"),
    size: int = 384, background: float | Sequence[float] = 1.0, light: bool = False,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float = LGM_RADIUS, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """Two pictures on top of each other, with a bar between them to drag: left of it is ``a``, right of it ``b``.

    Objects are drawn by our own renderer. An object beside V pictures is drawn V times, all around, from ``azimuth``
    on: ``compare(result.images, result.gaussians)`` holds LGM's views against what it made of them. The bars of
    several pairs move together.

    Args:
        a, b: a picture, several, Gaussians or a Mesh; as many pictures on either side, of one shape (sizes may differ).
        labels: of a and of b, any text; "" for none.
        size: width of a pair, pixels.
        light: whether a soft light falls on a mesh; otherwise its colours are shown as stored.
        background, elevation, azimuth, radius, fovy: of objects, as for :func:`image3d_nb.preview_mesh`.

    Returns:
        A widget with the trait ``position`` (of the bar, per cent); or ``ipywidgets.HBox`` of several.

    Raises:
        InputError: nothing to draw, pictures that do not go together, or a number out of its range.
        ImportError: ipywidgets or anywidget is not there.

    Example:
        >>> compare(Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8))).position
        50.0
    """
    if isinstance(labels, str) or len(labels) != 2 or not all(isinstance(text, str) for text in labels):
        raise InputError(f"labels must be two texts; got {labels!r}")
    check_size(size)
    view, colour = View(elevation, azimuth, radius, fovy=fovy), as_colour(background)
    given = [None if isinstance(side, (Gaussians, Mesh)) else as_images(side) for side in (a, b)]
    count = next((len(pictures) for pictures in given if pictures is not None), 1)
    sides = [
        _views(obj, view, count, size, colour, light) if pictures is None else pictures
        for obj, pictures in zip((a, b), given, strict=True)
    ]
    if len(sides[0]) != len(sides[1]):
        raise InputError(f"a and b must have as many pictures; got {len(sides[0])} and {len(sides[1])}")
    pairs = list(zip(sides[0], sides[1], strict=True))
    for before, after in pairs:
        if abs(before.width * after.height - after.width * before.height) > max(*before.size, *after.size):
            raise InputError(f"pictures to compare must have one shape; got {before.size} and {after.size}")
    ipywidgets, make = widgets("compare"), compare_class()
    made = [
        make(
            before=png_bytes(before), after=png_bytes(after), labels=list(labels), width=size,
            pixelated=size >= PIXELATED * max(before.width, after.width),
        )
        for before, after in pairs
    ]  # fmt: skip
    for other in made[1:]:
        ipywidgets.jslink((made[0], "position"), (other, "position"))
    whole = made[0] if len(made) == 1 else ipywidgets.HBox(made, layout={"flex_flow": "row wrap", "grid_gap": "8px"})
    return with_still(
        whole,
        lambda: sheet(
            [_split(before, after, made[0].position) for before, after in pairs], min(len(pairs), 4), width=STILL_WIDTH
        ),
        f"comparison of {len(pairs)} pair{'s' * (len(pairs) > 1)} of pictures",
    )


def turntable(
    obj: Gaussians | Mesh, *, frames: int = 36, size: int = 320, fps: float = 12.0,
    elevation: float = 15.0, azimuth: float = 0.0, radius: float = LGM_RADIUS, fovy: float = LGM_FOVY,
    background: float | Sequence[float] = 1.0, light: bool = True, progress: bool = True,
) -> Any:  # fmt: skip
    """An object that turns: a play bar, a slider, and a picture to drag.

    Every frame is drawn beforehand by our own renderer, so that it plays without the kernel, and where there is no
    WebGL. For files see :func:`image3d_nb.render_turntable`.

    Args:
        obj: Gaussians or a Mesh.
        frames: pictures in the turn.
        size: of each, pixels.
        fps: frames a second.
        elevation, azimuth, radius, fovy, background, light, progress: as for :func:`image3d_nb.render_turntable`.

    Returns:
        ``ipywidgets.VBox`` of the picture (its trait ``frame`` counts from 0) and the bar.

    Raises:
        InputError: another type of object, nothing to draw in it, or a number out of its range.
        ImportError: ipywidgets or anywidget is not there.

    Example:
        >>> import torch
        >>> turntable(Gaussians.from_lgm(torch.rand(1, 8, 14)), frames=4, size=16).children[0].frame
        0
    """
    if not 0.1 <= fps <= 100:
        raise InputError(f"fps must be from 0.1 to 100; got {fps!r}")
    check_size(size)
    object_scene(obj, "turntable")
    ipywidgets, make = widgets("turntable"), flipbook_class()
    pictures = turntable_frames(
        obj, frames, size=size, elevation=elevation, azimuth=azimuth, radius=radius, fovy=fovy,
        background=background, light=light, progress=progress,
    )  # fmt: skip
    book = make(pictures=[_webp(picture) for picture in pictures], width=size, label=f"turntable of {obj!r}")
    play = ipywidgets.Play(min=0, max=frames - 1, interval=round(1000 / fps), repeat=True)
    slider = ipywidgets.IntSlider(min=0, max=frames - 1, readout=False, layout={"flex": "1 1 auto", "width": "auto"})
    for moved in (slider, book):
        ipywidgets.jslink((play, "value"), (moved, "frame" if moved is book else "value"))
    bar = ipywidgets.HBox([play, slider], layout={"width": f"{size}px"})
    chosen = pictures[:: -(-frames // STILL_COLUMNS)]
    return with_still(
        ipywidgets.VBox([book, bar]), lambda: sheet(chosen, 3, width=STILL_WIDTH), f"turntable of {obj!r}"
    )


def _fit(picture: Image.Image, size: int) -> Image.Image:
    """At most ``size`` wide; a very small one enlarged without smoothing: it is data to look at pixel by pixel."""
    if picture.width > size:
        height = max(1, round(picture.height * size / picture.width))
        return picture.resize((size, height), Image.Resampling.LANCZOS)
    times = size // picture.width
    if times < PIXELATED:
        return picture
    return picture.resize((times * picture.width, times * picture.height), Image.Resampling.NEAREST)


def _views(
    obj: Gaussians | Mesh, view: View, count: int, size: int, background: list[float], light: bool
) -> list[Image.Image]:
    """Pictures from ``count`` directions all around."""
    scene = object_scene(obj, "compare")
    turns = [view.azimuth + 360 * k / count for k in range(count)]
    cameras = [dataclasses.replace(view, azimuth=turn).cameras(size) for turn in turns]
    return [as_images(draw(scene, camera, background, light))[0] for camera in cameras]


def _split(before: Image.Image, after: Image.Image, position: float) -> Image.Image:
    """One picture: ``before`` left of the bar, ``after`` right of it."""
    size = max(before.size, after.size)
    first, whole = (picture.convert("RGB").resize(size, Image.Resampling.BICUBIC) for picture in (before, after))
    edge = round(size[0] * position / 100)
    whole.paste(first.crop((0, 0, edge, size[1])), (0, 0))
    ImageDraw.Draw(whole).line([(edge, 0), (edge, size[1])], fill="grey", width=max(1, size[0] // 200))
    return whole


def _webp(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=WEBP_QUALITY, method=4)
    return buffer.getvalue()
