"""`show`: objects and images in a notebook, with no network and no widget extension."""

from __future__ import annotations

import base64
import html
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from .._optional import require
from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from ._panel import check_size, in_notebook
from .page import scene_page
from .scene import as_colour, frame, make_scene
from .sheets import GAP, as_images, check_captions, png_bytes, sheet
from .stills import still

VIEWER_SIZE = 512  # pixels
MANY_BYTES = 25_000  # of a PNG in a notebook; a larger one gets a palette
COLOURS = 128  # of that palette
MAX_PNG = 640  # pixels, of a viewer; a notebook stores the PNG, so it stays small
LEAST, MOST = 160, 860  # pixels: height of an image and width of all of them, where the caller gives no size


def show(
    obj: Any, *, captions: Sequence[str] | None = None, columns: int | None = None, title: str | None = None,
    size: int | None = None, background: float | Sequence[float] = 1.0, checkerboard: bool = False,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, turn: bool = False, light: bool = True,
    cameras: Cameras | None = None, pictures: Any = None, rays: int = 0, axes: bool = False,
) -> None:  # fmt: skip
    """Show something in the notebook.

    Gaussians, meshes and cameras can be turned with the mouse; the notebook also keeps a PNG of the first view, for
    places where nothing runs (GitHub, a printout). Images are shown as one PNG. Outside of a notebook ``show`` warns
    and says what to do there.

    Args:
        obj: Gaussians; a Mesh; Cameras, drawn as frusta; one image (PIL image, array or tensor [H, W] or
            [H, W, 1 | 3 | 4], uint8, uint16, or float in [0, 1]); a sequence of images, or an array [V, H, W, 3].
        captions: one text for each image, wrapped below it.
        columns: images in a row; None puts all in one row.
        title: of the viewer, any text; None names the type of the object.
        size: pixels. Of a viewer: width and height; None is 512. Of images: the width of a row, for which images are
            made smaller or larger (twice as large or more: with square pixels); None enlarges small images to a height
            of 160 and makes rows wider than 860 fit.
        background: of the viewer, one grey or (r, g, b), in [0, 1].
        checkerboard: whether a checkerboard shows behind transparent images; otherwise white does.
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units. None: 1.5, where LGM's cameras stand, if the object fits in
            their view; otherwise as far from its middle as it takes to see all of it.
        turn: whether the viewer turns on its own from the start.
        light: whether light falls on a mesh; otherwise its colours are shown as stored.
        cameras: drawn as frusta beside Gaussians or a mesh.
        pictures: one image for each camera, shown on its image plane.
        rays: rays x rays rays from each camera are drawn, evenly over its image; 0 to 16.
        axes: whether the axes of the world and of the cameras are drawn: x red, y green, z blue.

    Raises:
        InputError: an object of another type, nothing or NaN in it, captions or cameras that do not fit the images.
    """
    bundle = mimebundle(
        obj, captions=captions, columns=columns, title=title, size=size, background=background,
        checkerboard=checkerboard, elevation=elevation, azimuth=azimuth, radius=radius, turn=turn, light=light,
        cameras=cameras, pictures=pictures, rays=rays, axes=axes,
    )  # fmt: skip
    if not in_notebook():
        warnings.warn(_elsewhere(obj), UserWarning, stacklevel=2)
        return
    require("IPython.display", extra="notebook", who="image3d_nb.show").display(bundle, raw=True)


def mimebundle(
    obj: Any, *, captions: Sequence[str] | None = None, columns: int | None = None, title: str | None = None,
    size: int | None = None, background: float | Sequence[float] = 1.0, checkerboard: bool = False,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, turn: bool = False, light: bool = True,
    cameras: Cameras | None = None, pictures: Any = None, rays: int = 0, axes: bool = False,
) -> dict[str, str]:  # fmt: skip
    """The MIME bundle that :func:`show` displays. It takes the same arguments.

    Returns:
        MIME type -> text; PNGs as base64.
    """
    if size is not None:
        check_size(size)
    if isinstance(obj, Gaussians | Mesh | Cameras):
        size = size or VIEWER_SIZE
        scene = make_scene(obj, "show", cameras=cameras, pictures=pictures, rays=rays, axes=axes)
        colour, view = as_colour(background), frame(scene, elevation, azimuth, radius)
        title = title or type(obj).__name__
        png = _small_png(still(scene, min(size, MAX_PNG), colour, view, light))
        page = scene_page(scene, view, title, background=colour, turn=turn, light=light, embedded=True, picture=png)
        return {**_png_bundle(png, repr(obj)), "text/html": _iframe(page, title, size)}
    if not isinstance(obj, Image.Image | list | tuple) and not hasattr(obj, "ndim"):
        raise InputError(
            f"show must be given Gaussians, a Mesh, Cameras, an image or several; got {type(obj).__name__}"
        )
    images = as_images(obj)
    check_captions(captions, columns, len(images))
    columns = columns or len(images)
    whole = sheet(images, columns, captions, size or _usual_width(images, columns), checkerboard)
    sizes = ", ".join(sorted({f"{image.width} x {image.height}" for image in images}))
    return _png_bundle(_small_png(whole), f"{len(images)} picture{'s' * (len(images) > 1)}, {sizes} pixels")


def _usual_width(images: Sequence[Image.Image], columns: int) -> int:
    height = max(LEAST, *(image.height for image in images))
    widest = height * max(image.width / image.height for image in images)
    return min(MOST, round(min(columns, len(images)) * (widest + GAP) - GAP))


def _small_png(image: Image.Image) -> bytes:
    """A PNG; above MANY_BYTES with a palette of COLOURS, in which white stays white."""
    content = png_bytes(image)
    if len(content) <= MANY_BYTES:
        return content
    colours = image.convert("RGB")
    chosen = colours.quantize(COLOURS - 1)
    chosen.putpalette([*(chosen.getpalette() or [])[: 3 * COLOURS - 3], 255, 255, 255])
    white = (np.asarray(colours) == 255).all(-1)
    chosen.paste(COLOURS - 1, mask=Image.fromarray(white.astype(np.uint8) * 255))
    return png_bytes(chosen)


def _png_bundle(png: bytes, text: str) -> dict[str, str]:
    return {"image/png": base64.b64encode(png).decode("ascii"), "text/plain": text}


def _iframe(page: str, title: str, size: int) -> str:
    # Without allow-same-origin the page has no access to the notebook around it, whatever the page holds.
    return (
        f'<iframe srcdoc="{html.escape(page)}" sandbox="allow-scripts" title="{html.escape(title)}" '
        f'width="{size}" height="{size}" allowfullscreen style="border: 0; max-width: 100%"></iframe>'
    )


def _elsewhere(obj: Any) -> str:
    if isinstance(obj, Gaussians | Mesh | Cameras):
        name = type(obj).__name__.lower()
        advice = f'image3d_nb.save_html({name}, "page.html") writes a page to open in a browser'
    else:
        advice = 'save the images instead, e.g. image.save("image.png")'
    return f"show needs a notebook, and this is not one: {advice}"
