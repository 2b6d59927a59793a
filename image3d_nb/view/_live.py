"""Our own widgets, made with anywidget: flip book, before/after slider, upload, box. Their scripts: panel_js/."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._optional import require

_SOURCES = Path(__file__).parent / "panel_js"


@functools.cache
def flipbook_class() -> Any:
    """The class FlipBook: it shows image number ``frame`` of ``images`` (the contents of image files)."""
    return _make("FlipBook", "flipbook", "turntable", lambda traits: {
        "images": traits.List(traits.Bytes()),
        "frame": traits.Int(0),
        "width": traits.Int(256),  # CSS pixels
        "label": traits.Unicode(),  # for screen readers
    })  # fmt: skip


@functools.cache
def compare_class() -> Any:
    """The class BeforeAfter: ``before`` (an image file's content) left of ``position`` (per cent), ``after`` right."""
    return _make("BeforeAfter", "compare", "compare", lambda traits: {
        "before": traits.Bytes(),
        "after": traits.Bytes(),
        "labels": traits.List(traits.Unicode(), ["", ""]),
        "position": traits.Float(50.0, min=0.0, max=100.0),
        "width": traits.Int(512),  # CSS pixels
        "pixelated": traits.Bool(False),
    })  # fmt: skip


@functools.cache
def upload_class() -> Any:
    """The class Upload: a button that takes one file, which may also be dropped on it.

    Each file arrives as a message, ``on_msg(widget, content, buffers)``, and is not stored. The content is one of
    ``{"name", "size"}`` with the file's bytes in the one buffer, or without a buffer if it is larger than ``limit``;
    ``{"name", "size", "fault"}`` if the browser cannot read the file; ``{"count"}`` if there is not exactly one file.
    """
    return _make("Upload", "upload", "studio", lambda traits: {
        "label": traits.Unicode(),
        "hint": traits.Unicode(),
        "accept": traits.Unicode(),  # as HTML's <input accept>; a drop may be anything
        "limit": traits.Int(),  # bytes
    })  # fmt: skip


@functools.cache
def box_class() -> Any:
    """The class ImageBox: it shows ``value`` (a PNG file's content), on which a box can be drawn.

    Each box arrives as a message, ``on_msg(widget, {"box": [left, top, right, bottom]}, [])``, in parts of the image's
    width and height, from 0 to 1. ``box`` holds the box that is shown, or nothing.
    """
    return _make("ImageBox", "box", "studio", lambda traits: {
        "value": traits.Bytes(),
        "box": traits.List(traits.Float()),
        "label": traits.Unicode(),  # for screen readers
        "hint": traits.Unicode(),
    })  # fmt: skip


def _make(name: str, source: str, who: str, traits: Callable[[Any], dict[str, Any]]) -> Any:
    """A class of widget, made at its first use, because its base is of an optional package."""
    base = require("anywidget", extra="notebook", who=f"image3d_nb.{who}").AnyWidget
    import traitlets  # comes with anywidget

    synced = {trait: kind.tag(sync=True) for trait, kind in traits(traitlets).items()}
    esm, css = ((_SOURCES / f"{source}.{suffix}").read_text("utf-8") for suffix in ("js", "css"))
    return type(base)(name, (base,), {"__module__": __name__, "_esm": esm, "_css": css, **synced})
