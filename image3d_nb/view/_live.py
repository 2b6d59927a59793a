"""Our own widgets, made with anywidget: flip book, before/after slider, upload, box. Their scripts: panel_js/."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from .._optional import require

_SOURCES = Path(__file__).parent / "panel_js"


def _sources(name: str) -> dict[str, str]:
    return {"_esm": (_SOURCES / f"{name}.js").read_text("utf-8"), "_css": (_SOURCES / f"{name}.css").read_text("utf-8")}


@functools.cache
def flipbook_class() -> Any:
    """The class FlipBook: it shows image number ``frame`` of ``images`` (the contents of image files)."""
    base = _anywidget("turntable")
    import traitlets  # comes with anywidget

    traits = {
        "images": traitlets.List(traitlets.Bytes()).tag(sync=True),
        "frame": traitlets.Int(0).tag(sync=True),
        "width": traitlets.Int(256).tag(sync=True),  # CSS pixels
        "label": traitlets.Unicode().tag(sync=True),  # for screen readers
    }
    return _make("FlipBook", base, "flipbook", traits)


@functools.cache
def compare_class() -> Any:
    """The class BeforeAfter: ``before`` (an image file's content) left of ``position`` (per cent), ``after`` right."""
    base = _anywidget("compare")
    import traitlets  # comes with anywidget

    traits = {
        "before": traitlets.Bytes().tag(sync=True),
        "after": traitlets.Bytes().tag(sync=True),
        "labels": traitlets.List(traitlets.Unicode(), ["", ""]).tag(sync=True),
        "position": traitlets.Float(50.0, min=0.0, max=100.0).tag(sync=True),
        "width": traitlets.Int(512).tag(sync=True),  # CSS pixels
        "pixelated": traitlets.Bool(False).tag(sync=True),
    }
    return _make("BeforeAfter", base, "compare", traits)


@functools.cache
def upload_class() -> Any:
    """The class Upload: a button that takes one file, which may also be dropped on it.

    Each file arrives as a message, ``on_msg(widget, content, buffers)``, and is not stored. The content is one of
    ``{"name", "size"}`` with the file's bytes in the one buffer, or without a buffer if it is larger than ``limit``;
    ``{"name", "size", "fault"}`` if the browser cannot read the file; ``{"count"}`` if there is not exactly one file.
    """
    base = _anywidget("studio")
    import traitlets  # comes with anywidget

    traits = {
        "label": traitlets.Unicode().tag(sync=True),
        "hint": traitlets.Unicode().tag(sync=True),
        "accept": traitlets.Unicode().tag(sync=True),  # as HTML's <input accept>; a drop may be anything
        "limit": traitlets.Int().tag(sync=True),  # bytes
    }
    return _make("Upload", base, "upload", traits)


@functools.cache
def box_class() -> Any:
    """The class ImageBox: it shows ``value`` (a PNG file's content), on which a box can be drawn.

    Each box arrives as a message, ``on_msg(widget, {"box": [left, top, right, bottom]}, [])``, in parts of the image's
    width and height, from 0 to 1. ``box`` holds the box that is shown, or nothing.
    """
    base = _anywidget("studio")
    import traitlets  # comes with anywidget

    traits = {
        "value": traitlets.Bytes().tag(sync=True),
        "box": traitlets.List(traitlets.Float()).tag(sync=True),
        "label": traitlets.Unicode().tag(sync=True),  # for screen readers
        "hint": traitlets.Unicode().tag(sync=True),
    }
    return _make("ImageBox", base, "box", traits)


def _anywidget(who: str) -> Any:
    return require("anywidget", extra="notebook", who=f"image3d_nb.{who}").AnyWidget


def _make(name: str, base: Any, source: str, traits: dict[str, Any]) -> Any:
    # Made at its first use, because its base is a class of an optional package.
    return type(base)(name, (base,), {"__module__": __name__, **_sources(source), **traits})
