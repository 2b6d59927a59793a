"""An HTML page that holds an object and the viewer. It opens from disk and contacts no host."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from .._files import atomic_write
from ..cameras import LGM_FOVY, Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from .packing import page_json
from .scene import Scene, View, as_colour, frame, make_scene, payload
from .sheets import image_bytes, png_bytes
from .stills import still

_SOURCES = Path(__file__).parent / "js"
MODULES = (
    "gl", "data", "camera", "sort", "splat_shaders", "splats", "surfaces", "lines", "draw", "pick", "controls",
    "viewer", "mount",
)  # fmt: skip
"""The viewer's files, each after those that it imports."""
STARTERS = ("page", "widget")
"""The last file: one starts the viewer in a page, the other in a notebook's widget."""
STILL_SIZE = 512  # pixels; the image that browsers without WebGL2 show


def viewer_script(starter: str = "page") -> str:
    """Join the viewer's ES modules and one of :data:`STARTERS` into one module."""
    return "\n".join(_joined((_SOURCES / f"{name}.js").read_text("utf-8")) for name in (*MODULES, starter))


def viewer_style(page: bool = True) -> str:
    """The viewer's style sheet; for a page, with the page's own."""
    names = ("page.css", "viewer.css") if page else ("viewer.css",)
    return "\n".join((_SOURCES / name).read_text("utf-8") for name in names)


def _joined(source: str) -> str:
    # All files share one scope, so imports go and exports become plain; a widget's `export default` stays. Comments go,
    # too: a notebook stores the script with every object that it shows.
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("import ", "//"))]
    return "\n".join(line if line.startswith("export default") else line.removeprefix("export ") for line in lines)


def save_html(
    obj: Gaussians | Mesh | Cameras, path: str | os.PathLike[str], *, title: str | None = None,
    background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, turn: bool = False, light: bool = True,
    cameras: Cameras | None = None, pictures: Any = None, rays: int = 0, axes: bool = False,
) -> Path:  # fmt: skip
    """Write a page that opens in any browser, from disk and without a network.

    Args:
        obj: Gaussians, a Mesh, or Cameras (drawn as frusta); OpenGL world.
        path: must end in .html or .htm; the folder must exist.
        title: any text; None names the type of the object.
        background: one grey or (r, g, b), in [0, 1].
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units; None as in :func:`viewer_page`.
        turn: whether the object turns on its own from the start.
        light: whether light falls on a mesh; otherwise its colours are shown as stored.
        cameras: drawn as frusta beside the object.
        pictures: one image for each camera, shown on its image plane.
        rays: rays x rays rays from each camera are drawn, evenly over its image; 0 to 16.
        axes: whether the axes of the world and of the cameras are drawn: x red, y green, z blue.

    Returns:
        The path of the file, which is written in full or not at all.

    Raises:
        InputError: as :func:`viewer_page`, or the name does not end in .html or .htm.
        FileNotFoundError: the folder does not exist.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"the name of a page must end in .html; got {target.name!r}")
    page = viewer_page(
        obj, title, background=background, elevation=elevation, azimuth=azimuth, radius=radius, turn=turn, light=light,
        cameras=cameras, pictures=pictures, rays=rays, axes=axes,
    )  # fmt: skip
    atomic_write({target: page.encode("utf-8")})
    return target


def viewer_page(
    obj: Gaussians | Mesh | Cameras, title: str | None = None, *, background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, fovy: float = LGM_FOVY,
    turn: bool = False, light: bool = True,
    cameras: Cameras | None = None, pictures: Any = None, rays: int = 0, axes: bool = False,
    picture: bytes | None = None,
) -> str:  # fmt: skip
    """Make a complete HTML page in which an object can be turned.

    The page holds the viewer's script, the object's data, and a still image for browsers without WebGL2. Gaussians have
    one colour each, without view dependence. Numbers are rounded so that no pixel shows it: positions to 16 or 24 bits,
    scales to 8 (of their logarithm); Gaussians below opacity 1/255, which no renderer draws, are left out. A content
    security policy forbids every request, and every script but the viewer's.

    Args:
        obj: Gaussians, a Mesh, or Cameras (drawn as frusta); OpenGL world.
        title: any text; it is escaped. None names the type of the object.
        background: one grey or (r, g, b), in [0, 1].
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units. None: 1.5, where LGM's cameras stand, if the object fits in
            their view; otherwise as far from its middle as it takes to see all of it.
        fovy: field of view across the shorter side, degrees.
        turn: whether the object turns on its own from the start.
        light: whether light falls on a mesh; otherwise its colours are shown as stored.
        cameras: drawn as frusta beside the object.
        pictures: one image for each camera, shown on its image plane.
        rays: rays x rays rays from each camera are drawn, evenly over its image; 0 to 16.
        axes: whether the axes of the world and of the cameras are drawn: x red, y green, z blue.
        picture: PNG bytes of the first view; rendered when None.

    Raises:
        InputError: another type, nothing in it, NaN in it, images that do not fit the cameras, or a background that
            is not a colour.

    Example:
        >>> import torch
        >>> page = viewer_page(Gaussians.from_lgm(torch.rand(1, 8, 14)), "eight")
        >>> page.startswith("<!DOCTYPE html>")
        True
    """
    scene = make_scene(obj, "a page", cameras=cameras, pictures=pictures, rays=rays, axes=axes)
    view = frame(scene, elevation, azimuth, radius, fovy)
    return scene_page(
        scene, view, title or type(obj).__name__, background=background, turn=turn, light=light, picture=picture
    )


def scene_page(
    scene: Scene, view: View, title: str, *, background: float | Sequence[float] = 1.0, turn: bool = False,
    light: bool = True, embedded: bool = False, picture: bytes | None = None,
) -> str:  # fmt: skip
    """Make the page of a valid scene; arguments as for :func:`viewer_page`.

    ``embedded`` pages are for an iframe in a notebook: no heading, and the wheel zooms only after a click.
    """
    colour = as_colour(background)
    if picture is None:
        picture = png_bytes(still(scene, STILL_SIZE, colour, view, light))
    options = {**dataclasses.asdict(view), "background": colour, "turning": turn, "light": light, "embedded": embedded}
    script, style = viewer_script(), viewer_style()
    template = Template((_SOURCES / "page.html").read_text("utf-8"))
    return template.substitute(
        title=html.escape(title),
        policy=_policy(script, style),
        kind="embedded" if embedded else "standalone",
        style=style,
        script=script,
        options=json.dumps(options),  # numbers and booleans only: nothing that could close the element
        scene=page_json(payload(scene)),
        still=_webp(picture) if picture else "",
    )


def _webp(png: bytes) -> str:
    """A PNG as a smaller WebP, base64."""
    return base64.b64encode(image_bytes(Image.open(io.BytesIO(png)), "WEBP", quality=80)).decode("ascii")


def _policy(script: str, style: str) -> str:
    # The page may fetch nothing and run only this script: an injected one would have another hash.
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; worker-src blob:; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
