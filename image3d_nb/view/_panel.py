"""What previews and panels share: the PNG and the line of text that a saved notebook keeps, and small checks."""

from __future__ import annotations

import base64
import html
import sys
from collections.abc import Callable
from typing import Any

from PIL import Image

from .._optional import require
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from .sheets import png_bytes
from .scene import Scene, make_scene

SIZES = (16, 4096)  # pixels


def check_size(size: Any) -> None:
    """Raise InputError for what cannot be the width of a picture."""
    low, high = SIZES
    if not (isinstance(size, int) and low <= size <= high):
        raise InputError(f"size must be a whole number of pixels from {low} to {high}; got {size!r}")


def object_scene(obj: Any, who: str) -> Scene:
    """Gaussians or a Mesh alone, checked.

    Raises:
        InputError: another type, nothing in it, or NaN.
    """
    if not isinstance(obj, Gaussians | Mesh):
        raise InputError(f"{who} must be given Gaussians or a Mesh; got {type(obj).__name__}")
    return make_scene(obj, who)


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
