"""`show`: objects and pictures in a notebook, with no network and no widget extension."""

from __future__ import annotations

import base64
import html
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from PIL import Image

from .._optional import require
from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from .page import scene_page
from .sheets import as_images, png_bytes, sheet
from .scene import as_colour, frame, make_scene
from .stills import still

MAX_PNG = 512  # pixels; a notebook stores the PNG, so it stays small


def show(
    obj: Any, *, captions: Sequence[str] | None = None, columns: int | None = None, title: str | None = None,
    size: int = 512, background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, turn: bool = False, light: bool = True,
    cameras: Cameras | None = None, pictures: Any = None, rays: int = 0, axes: bool = False,
) -> None:  # fmt: skip
    """Show something in the notebook.

    Gaussians, meshes and cameras can be turned with the mouse; the notebook also keeps a PNG of the first view, for
    places where nothing runs (GitHub, a printout). Pictures are shown as one PNG. Outside of a notebook nothing can be
    shown: a warning says what to do there.

    Args:
        obj: Gaussians; a Mesh; Cameras, drawn as frusta; one picture (PIL image, array or tensor [H, W], [H, W, 3] or
            [H, W, 4], uint8 or floats in [0, 1]); a sequence of pictures, or an array [V, H, W, 3].
        captions: one text a picture.
        columns: pictures a line; None puts all in one line.
        title: of the viewer, any text; None names the type of the object.
        size: width of the viewer, or the largest width of the pictures together, in pixels.
        background: one grey or (r, g, b), in [0, 1]; not for pictures.
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units. None: 1.5, where LGM's cameras stand, if the object fits in
            their view; otherwise as far from its middle as it takes to see all of it.
        turn: whether the viewer turns on its own from the start.
        light: whether light falls on a mesh; otherwise its colours are shown as stored.
        cameras: drawn as frusta beside Gaussians or a mesh.
        pictures: one a camera, shown on its picture plane.
        rays: rays x rays rays from each camera are drawn, evenly over its picture; 0 to 16.
        axes: whether the axes of the world and of the cameras are drawn: x red, y green, z blue.

    Raises:
        InputError: an object of another type, nothing or NaN in it, captions or cameras that do not fit the pictures.
    """
    bundle = mimebundle(
        obj, captions=captions, columns=columns, title=title, size=size, background=background,
        elevation=elevation, azimuth=azimuth, radius=radius, turn=turn, light=light,
        cameras=cameras, pictures=pictures, rays=rays, axes=axes,
    )  # fmt: skip
    if not _in_notebook():
        warnings.warn(_elsewhere(obj), UserWarning, stacklevel=2)
        return
    require("IPython.display", extra="notebook", who="image3d_nb.show").display(bundle, raw=True)


def mimebundle(
    obj: Any, *, captions: Sequence[str] | None = None, columns: int | None = None, title: str | None = None,
    size: int = 512, background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, turn: bool = False, light: bool = True,
    cameras: Cameras | None = None, pictures: Any = None, rays: int = 0, axes: bool = False,
) -> dict[str, str]:  # fmt: skip
    """What :func:`show` hands to the notebook: MIME type -> text (pictures as base64). Arguments as there."""
    if not 16 <= size <= 4096:
        raise InputError(f"size must be a number of pixels from 16 to 4096; got {size!r}")
    if isinstance(obj, Gaussians | Mesh | Cameras):
        scene = make_scene(obj, "show", cameras=cameras, pictures=pictures, rays=rays, axes=axes)
        colour, view = as_colour(background), frame(scene, elevation, azimuth, radius)
        title = title or type(obj).__name__
        png = png_bytes(still(scene, min(size, MAX_PNG), colour, view, light))
        page = scene_page(scene, view, title, background=colour, turn=turn, light=light, embedded=True, picture=png)
        return {**_png_bundle(png, repr(obj)), "text/html": _iframe(page, title, size)}
    if not isinstance(obj, Image.Image | list | tuple) and not hasattr(obj, "ndim"):
        raise InputError(
            f"show must be given Gaussians, a Mesh, Cameras, a picture or several; got {type(obj).__name__}"
        )
    return _pictures_bundle(obj, captions, columns, size)


def _pictures_bundle(obj: Any, captions: Sequence[str] | None, columns: int | None, size: int) -> dict[str, str]:
    pictures = as_images(obj)
    if captions is not None and (isinstance(captions, str) or len(captions) != len(pictures)):
        count = 1 if isinstance(captions, str) else len(captions)
        raise InputError(f"captions must be a list of one text a picture, {len(pictures)} of them; got {count}")
    if columns is not None and columns < 1:
        raise InputError(f"columns must be a number of at least 1; got {columns!r}")
    picture = sheet(pictures, columns or len(pictures), captions, width=size)
    sizes = ", ".join(sorted({f"{p.width} x {p.height}" for p in pictures}))
    return _png_bundle(png_bytes(picture), f"{len(pictures)} picture{'s' * (len(pictures) > 1)}, {sizes} pixels")


def _png_bundle(png: bytes, text: str) -> dict[str, str]:
    return {"image/png": base64.b64encode(png).decode("ascii"), "text/plain": text}


def _iframe(page: str, title: str, size: int) -> str:
    # Without allow-same-origin the page has no access to the notebook around it, whatever the page holds.
    return (
        f'<iframe srcdoc="{html.escape(page)}" sandbox="allow-scripts" title="{html.escape(title)}" '
        f'width="{size}" height="{size}" allowfullscreen style="border: 0; max-width: 100%"></iframe>'
    )


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:  # a notebook's kernel has loaded it before any cell runs
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")  # IPython in a terminal has no kernel


def _elsewhere(obj: Any) -> str:
    if isinstance(obj, Gaussians | Mesh | Cameras):
        name = type(obj).__name__.lower()
        advice = f'image3d_nb.save_html({name}, "page.html") writes a page to open in a browser'
    else:
        advice = 'save the pictures instead, e.g. picture.save("picture.png")'
    return f"show needs a notebook, and there is none here: {advice}"
