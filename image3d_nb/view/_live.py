"""Two small widgets of our own, on anywidget: a flip book and a before/after slider. Their scripts are in panel_js/."""

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


def _anywidget(who: str) -> Any:
    return require("anywidget", extra="notebook", who=f"image3d_nb.{who}").AnyWidget


def _make(name: str, base: Any, source: str, traits: dict[str, Any]) -> Any:
    # Made when it is first used: its base is a class of an optional package.
    return type(base)(name, (base,), {"__module__": __name__, **_sources(source), **traits})
