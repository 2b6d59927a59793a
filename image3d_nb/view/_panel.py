"""What previews and panels share: a look at an object from our own renderer, and the PNG that a notebook keeps."""

from __future__ import annotations

import base64
import html
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from .._optional import require
from ..cameras import LGM_FOVY, LGM_RADIUS, Cameras, orbit_cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from ..rendering import render
from .page import as_colour
from .pictures import as_pictures, png_bytes

SIZES = (16, 4096)  # pixels


@dataclass(frozen=True)
class Look:
    """From where and how large something is seen; a square picture of it.

    Attributes:
        size: pixels.
        background: one grey or (r, g, b), in [0, 1].
        elevation: degrees, up is positive.
        azimuth: degrees, 0 is the front.
        radius: distance from the origin, world units.
        fovy: degrees.
    """

    size: int = 512
    background: float | Sequence[float] = 1.0
    elevation: float = 0.0
    azimuth: float = 0.0
    radius: float = LGM_RADIUS
    fovy: float = LGM_FOVY

    def __post_init__(self) -> None:
        low, high = SIZES
        if not (isinstance(self.size, int) and low <= self.size <= high):
            raise InputError(f"size must be a whole number of pixels from {low} to {high}; got {self.size!r}")
        as_colour(self.background)
        _ = self.camera

    @property
    def camera(self) -> Cameras:
        """One camera."""
        return orbit_cameras(self.elevation, (self.azimuth,), self.radius, self.fovy, self.size)

    def picture(self, obj: Gaussians | Mesh, light: bool = True) -> Image.Image:
        """The object as our own renderer shows it; ``light`` falls on a mesh."""
        if isinstance(obj, Mesh) and light:
            from ..rendering.mesh_zbuffer import render_mesh

            return as_pictures(render_mesh(obj, self.camera, as_colour(self.background), shade=True)[0])[0]
        camera = self.camera.to(obj.device) if isinstance(obj, Gaussians) else self.camera
        return as_pictures(render(obj, camera, background=as_colour(self.background)))[0]

    def empty(self) -> Image.Image:
        """The background alone."""
        colour = tuple(round(255 * value) for value in as_colour(self.background))
        return Image.new("RGB", (self.size, self.size), colour)


def check_drawable(obj: Any, who: str) -> None:
    """Raise InputError for anything but Gaussians or a Mesh that has something to draw."""
    if isinstance(obj, Gaussians):
        if len(obj) == 0:
            raise InputError(
                f"{who} must be given at least one Gaussian; got none: did prune or crop take all of them?"
            )
        obj.validate()
    elif not isinstance(obj, Mesh):
        raise InputError(f"{who} must be given Gaussians or a Mesh; got {type(obj).__name__}")
    elif not len(obj.faces):
        raise InputError(f"{who} must be given a mesh with at least one face; got {obj!r}")


def with_still(widget: Any, draw: Callable[[], Image.Image], text: str) -> Any:
    """Let a widget leave a PNG and a line of text in the notebook, for where nothing runs.

    Args:
        widget: of ipywidgets.
        draw: makes the picture of the widget as it is; called whenever a cell shows the widget itself.
        text: what it is, the same on every run.

    Returns:
        The widget.
    """
    live = widget._repr_mimebundle_

    def bundle(**options: Any) -> Any:
        shown = live(**options)
        data, *metadata = shown if isinstance(shown, tuple) else (shown,)
        png = base64.b64encode(png_bytes(draw())).decode("ascii")
        data = {**data, "image/png": png, "text/plain": text}
        return (data, *metadata) if metadata else data

    widget._repr_mimebundle_ = bundle  # IPython asks the object, and takes the first callable of that name
    return widget


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this."""
    if "IPython" not in sys.modules:  # a kernel has loaded it before any cell runs
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")  # IPython in a terminal has no kernel


def caption(text: str, widgets: Any) -> Any:
    """A line of text below a picture. It stays text: no HTML, and no formulas."""
    style = "text-align: center; font-size: 12px; line-height: 16px; overflow-wrap: anywhere"
    return widgets.HTML(f'<div style="{style}">{html.escape(text)}</div>')


def widgets(who: str) -> Any:
    """The package ipywidgets.

    Raises:
        ImportError: it is not there; the message says how to get it.
    """
    return require("ipywidgets", extra="notebook", who=f"image3d_nb.{who}")
