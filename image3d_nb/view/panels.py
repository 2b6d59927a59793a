"""Panels for a notebook: a grid of images, a before/after slider, a turntable with a play bar.

Each is a widget that goes into any box of ipywidgets, and moves in the browser without the kernel. A cell that ends
with a panel also keeps a PNG of it, for places where nothing runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from ..cameras import LGM_FOVY, LGM_RADIUS
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from ._live import compare_class, flipbook_class
from ._panel import caption, check_size, object_scene, widgets, with_still
from .scene import View, as_colour
from .sheets import PIXELATED, as_images, check_captions, image_bytes, png_bytes, resized, sheet
from .stills import draw
from .turntable import turntable_frames

STILL_WIDTH = 640  # pixels; a notebook stores the PNG, so it stays small
STILL_COLUMNS = 6
WEBP_QUALITY = 85
Images = Any  # whatever as_images takes


def gallery(
    images: Images, captions: Sequence[str] | None = None, columns: int | None = None, *, size: int = 160
) -> Any:
    """Set images in a grid that fits the width of the page, with captions.

    Args:
        images: one image (PIL image, array or tensor [H, W] or [H, W, 1 | 3 | 4], uint8, uint16, or float in
            [0, 1]), a sequence of them, or an array [V, H, W, 3].
        captions: one text for each image.
        columns: images in a row; None: as many as fit.
        size: width of an image, pixels.

    Returns:
        ``ipywidgets.GridBox``; its children are boxes of an image and its caption.

    Raises:
        InputError: no images, captions that do not fit them, or a number out of its range.
        ImportError: ipywidgets is not installed.

    Example:
        >>> len(gallery([Image.new("RGB", (8, 8))] * 3, ["a", "b", "c"]).children)
        3
    """
    given = as_images(images)
    check_captions(captions, columns, len(given))
    check_size(size)
    ipywidgets = widgets("gallery")
    cells = []
    for number, image in enumerate(given):
        content = png_bytes(resized(image, size, max(1, round(image.height * size / image.width))))
        shown = ipywidgets.Image(value=content, format="png", width=size)
        text = [] if captions is None else [caption(str(captions[number]), ipywidgets)]
        cells.append(ipywidgets.VBox([shown, *text], layout={"width": f"{size}px", "align_items": "center"}))
    across = "auto-fill" if columns is None else str(columns)
    grid = {"grid_template_columns": f"repeat({across}, {size}px)", "grid_gap": "8px", "width": "100%"}
    return with_still(
        ipywidgets.GridBox(cells, layout=grid),
        lambda: sheet(given, columns or STILL_COLUMNS, captions, width=STILL_WIDTH),
        f"gallery of {len(given)} picture{'s' * (len(given) > 1)}",
    )


def compare(
    a: Images | Gaussians | Mesh, b: Images | Gaussians | Mesh, *, labels: Sequence[str] = ("before", "after"),
    size: int = 384, background: float | Sequence[float] = 1.0, light: bool = False,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float = LGM_RADIUS, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """Lay two images on top of each other, with a bar to drag: left of it is ``a``, right of it ``b``.

    Objects are drawn by our own renderer. An object beside V images is drawn V times, all around, from ``azimuth`` on:
    ``compare(result.images, result.gaussians)`` compares LGM's views with the object made from them. The bars of
    several pairs move together.

    Args:
        a: an image, several images, Gaussians or a Mesh.
        b: the same; as many images as in ``a``, of the same shape (sizes may differ).
        labels: of ``a`` and of ``b``, any text; "" for none.
        size: width of a pair, pixels.
        background: of objects, one grey or (r, g, b), in [0, 1].
        light: whether a soft light falls on a mesh; otherwise its colours are shown as stored.
        elevation: of an object's camera, degrees, up is positive.
        azimuth: of an object's first camera, degrees, 0 is the front.
        radius: of an object's camera, distance from the origin, world units.
        fovy: of an object's camera, degrees.

    Returns:
        A widget with the trait ``position`` (of the bar, per cent); or ``ipywidgets.HBox`` of several.

    Raises:
        InputError: nothing to draw, images that do not fit each other, or a number out of its range.
        ImportError: ipywidgets or anywidget is not installed.

    Example:
        >>> compare(Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8))).position
        50.0
    """
    if isinstance(labels, str) or len(labels) != 2 or not all(isinstance(text, str) for text in labels):
        raise InputError(f"labels must be two texts; got {labels!r}")
    check_size(size)
    view, colour = View(elevation, azimuth, radius, fovy=fovy), as_colour(background)
    given = [None if isinstance(side, (Gaussians, Mesh)) else as_images(side) for side in (a, b)]
    count = next((len(images) for images in given if images is not None), 1)
    sides = [
        _views(obj, view, count, size, colour, light) if images is None else images
        for obj, images in zip((a, b), given, strict=True)
    ]
    if len(sides[0]) != len(sides[1]):
        raise InputError(f"a and b must have equally many images; got {len(sides[0])} and {len(sides[1])}")
    pairs = list(zip(sides[0], sides[1], strict=True))
    for before, after in pairs:
        if abs(before.width * after.height - after.width * before.height) > max(*before.size, *after.size):
            raise InputError(f"images to compare must have one shape; got {before.size} and {after.size}")
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
    """Show an object that turns, with a play bar, a slider, and an image to drag.

    Every frame is drawn beforehand by our own renderer, so it plays without the kernel and without WebGL. For files
    see :func:`image3d_nb.render_turntable`.

    Args:
        obj: Gaussians or a Mesh.
        frames: images in the turn, 1 to 1000.
        size: width and height of each image, pixels.
        fps: frames a second.
        elevation: of the camera, degrees, up is positive.
        azimuth: of the first frame, degrees, 0 is the front.
        radius: distance from the origin, world units.
        fovy: degrees.
        background: one grey or (r, g, b), in [0, 1].
        light: whether light falls on a mesh; otherwise its colours are shown as stored.
        progress: whether a bar on stderr shows the progress.

    Returns:
        ``ipywidgets.VBox`` of the image (its trait ``frame`` counts from 0) and the bar.

    Raises:
        InputError: another type of object, nothing to draw in it, or a number out of its range.
        ImportError: ipywidgets or anywidget is not installed.

    Example:
        >>> import torch
        >>> turntable(Gaussians.from_lgm(torch.rand(1, 8, 14)), frames=4, size=16).children[0].frame
        0
    """
    if not 0.1 <= fps <= 100:
        raise InputError(f"fps must be from 0.1 to 100; got {fps!r}")
    check_size(size)
    ipywidgets, make = widgets("turntable"), flipbook_class()
    images = turntable_frames(
        obj, frames, size=size, elevation=elevation, azimuth=azimuth, radius=radius, fovy=fovy,
        background=background, light=light, progress=progress,
    )  # fmt: skip
    frames_webp = [image_bytes(image, "WEBP", quality=WEBP_QUALITY, method=4) for image in images]
    book = make(images=frames_webp, width=size, label=f"turntable of {obj!r}")
    play = ipywidgets.Play(min=0, max=frames - 1, interval=round(1000 / fps), repeat=True)
    slider = ipywidgets.IntSlider(min=0, max=frames - 1, readout=False, layout={"flex": "1 1 auto", "width": "auto"})
    for moved in (slider, book):
        ipywidgets.jslink((play, "value"), (moved, "frame" if moved is book else "value"))
    bar = ipywidgets.HBox([play, slider], layout={"width": f"{size}px"})
    chosen = images[:: -(-frames // STILL_COLUMNS)]
    return with_still(
        ipywidgets.VBox([book, bar]), lambda: sheet(chosen, 3, width=STILL_WIDTH), f"turntable of {obj!r}"
    )


def _views(
    obj: Gaussians | Mesh, view: View, count: int, size: int, background: list[float], light: bool
) -> list[Image.Image]:
    """Images from ``count`` directions all around."""
    scene = object_scene(obj, "compare")
    turns = [view.azimuth + 360 * k / count for k in range(count)]
    cameras = [dataclasses.replace(view, azimuth=turn).cameras(size) for turn in turns]
    return [as_images(draw(scene, camera, background, light))[0] for camera in cameras]


def _split(before: Image.Image, after: Image.Image, position: float) -> Image.Image:
    """One image: ``before`` left of the bar, ``after`` right of it."""
    size = max(before.size, after.size)
    layers = [image.convert("RGBA").resize(size, Image.Resampling.BICUBIC) for image in (before, after)]
    first, whole = (Image.alpha_composite(Image.new("RGBA", size, "white"), layer).convert("RGB") for layer in layers)
    edge = round(size[0] * position / 100)
    whole.paste(first.crop((0, 0, edge, size[1])), (0, 0))
    ImageDraw.Draw(whole).line([(edge, 0), (edge, size[1])], fill="grey", width=max(1, size[0] // 200))
    return whole
