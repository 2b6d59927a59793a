"""Our own widgets, on anywidget: a flip book, a before/after slider, an upload. Their scripts are in panel_js/."""

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
    """The class FlipBook: shows one of ``pictures`` (files' contents), the one that ``frame`` counts to."""
    base = _anywidget("turntable")
    import traitlets  # comes with anywidget

    traits = {
        "pictures": traitlets.List(traitlets.Bytes()).tag(sync=True),
        "frame": traitlets.Int(0).tag(sync=True),
        "width": traitlets.Int(256).tag(sync=True),  # CSS pixels
        "label": traitlets.Unicode().tag(sync=True),  # for who cannot see it
    }
    return _make("FlipBook", base, "flipbook", traits)


@functools.cache
def compare_class() -> Any:
    """The class BeforeAfter: ``before`` (a file's content) left of ``position`` (per cent), ``after`` right of it."""
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
    """The class Upload: a button that takes one file, dropped files too.

    Each file is a message of its own, ``on_msg(widget, content, buffers)``, and is kept nowhere. Content is one of
    ``{"name", "size"}``, its bytes the one buffer, or no buffer where it has more than ``limit``;
    ``{"name", "size", "fault"}``, where the browser could not read it; ``{"count"}``, of any number of files but one.
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


def _anywidget(who: str) -> Any:
    return require("anywidget", extra="notebook", who=f"image3d_nb.{who}").AnyWidget


def _make(name: str, base: Any, source: str, traits: dict[str, Any]) -> Any:
    # Made when it is first used: its base is a class of an optional package.
    return type(base)(name, (base,), {"__module__": __name__, **_sources(source), **traits})
