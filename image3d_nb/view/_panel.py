"""What previews and panels share: the PNG and the text that a saved notebook keeps, and small checks."""

from __future__ import annotations

import base64
import html
import sys
from collections.abc import Callable
from typing import Any

from PIL import Image

from .._numbers import is_whole
from .._optional import require
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from .scene import Scene, make_scene
from .sheets import png_bytes

SIZES = (16, 4096)  # pixels
VIEW = "application/vnd.jupyter.widget-view+json"


def check_size(size: Any) -> None:
    """Raise InputError for a number that cannot be the width of an image."""
    low, high = SIZES
    if not (is_whole(size) and low <= size <= high):
        raise InputError(f"size must be a whole number of pixels from {low} to {high}; got {size!r}")


def object_scene(obj: Any, who: str) -> Scene:
    """The scene of Gaussians or a Mesh alone.

    Raises:
        InputError: another type, nothing in it, or NaN.
    """
    if not isinstance(obj, Gaussians | Mesh):
        raise InputError(f"{who} must be given Gaussians or a Mesh; got {type(obj).__name__}")
    return make_scene(obj, who)


def with_still(widget: Any, draw: Callable[[], Image.Image], text: str) -> Any:
    """Let a widget leave a PNG and a line of text in the notebook, for places where no widget runs; returns it.

    ``draw`` makes the image whenever a cell shows the widget. ``text`` must be the same on every run.
    """

    live = getattr(widget, "_repr_mimebundle_", None)

    def bundle(**options: Any) -> Any:
        data, metadata = live_bundle(widget, live, **options)
        png = base64.b64encode(png_bytes(draw())).decode("ascii")
        return {**data, "image/png": png, "text/plain": text}, metadata

    widget._repr_mimebundle_ = bundle  # IPython asks the object, and takes the first callable of that name
    display_bundle(widget)
    return widget


def display_bundle(obj: Any) -> None:
    """Make a notebook show ``obj._repr_mimebundle_()`` under ipywidgets 7, too, whose widgets display themselves."""
    if hasattr(widgets("a widget").Widget, "_ipython_display_"):

        def display(**_options: Any) -> None:
            shown = obj._repr_mimebundle_()
            data = shown[0] if isinstance(shown, tuple) else shown
            require("IPython.display", extra="notebook", who="image3d_nb").display(data, raw=True)

        obj._ipython_display_ = display


def live_bundle(widget: Any, method: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """MIME data and metadata with which a notebook shows a widget live.

    ``method`` is the widget's own ``_repr_mimebundle_``, or None where it has none (ipywidgets 7).
    """
    if method is None:
        return {VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}, {}
    shown = method(**options) or {}
    return shown if isinstance(shown, tuple) else (shown, {})


def allow_custom_widgets() -> None:
    """On Colab, turn on the manager for widgets of other packages: anywidget does so itself, pythreejs does not."""
    colab = sys.modules.get("google.colab")
    if colab is not None:
        colab.output.enable_custom_widget_manager()


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this code."""
    if "IPython" not in sys.modules:  # a kernel has loaded it before any cell runs
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")  # IPython in a terminal has no kernel


def caption(text: str, widgets: Any) -> Any:
    """A line of text below an image: plain text, neither HTML nor formulas."""
    style = "text-align: center; font-size: 12px; line-height: 16px; overflow-wrap: anywhere"
    return widgets.HTML(f'<div style="{style}">{html.escape(text)}</div>')


def widgets(who: str) -> Any:
    """The package ipywidgets; ``who`` needs it, says the ImportError if it is not installed."""
    return require("ipywidgets", extra="notebook", who=f"image3d_nb.{who}")
