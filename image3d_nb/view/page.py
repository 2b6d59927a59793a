"""One HTML page that holds Gaussians and the viewer: opens from disk, contacts no host, can be mailed."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from .._files import atomic_write
from ..cameras import LGM_FOVY, LGM_RADIUS
from ..errors import InputError
from ..gaussians import Gaussians
from ..io import splat
from .pictures import png_bytes, still

_SOURCES = Path(__file__).parent / "js"
MODULES = ("data", "camera", "sort", "shaders", "draw", "controls", "viewer", "page")
"""The viewer's files, each after those that it imports."""
STILL_SIZE = 512  # pixels; the picture that stands in where nothing can be drawn
MANY = 200_000  # Gaussians; beyond it a page is large and slow
_HINT = "Drag: turn · {wheel}: zoom · right-drag: move"


def viewer_script() -> str:
    """The viewer's ES modules joined into one module script, in the order of :data:`MODULES`."""
    return "\n".join(_without_imports((_SOURCES / f"{name}.js").read_text("utf-8")) for name in MODULES)


def _without_imports(source: str) -> str:
    lines = [line.removeprefix("export ") for line in source.splitlines() if not line.startswith("import ")]
    return "\n".join(lines)


def splat_page(
    gaussians: Gaussians, title: str = "Gaussians", *, background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float = LGM_RADIUS, fovy: float = LGM_FOVY,
    turn: bool = False, embedded: bool = False, picture: bytes | None = None,
) -> str:  # fmt: skip
    """A complete HTML page in which the Gaussians can be turned.

    It needs nothing but itself: the viewer's script, the Gaussians as base64 .splat rows (32 bytes each, colour
    without view dependence), and a still picture for browsers without WebGL2. A content security policy forbids
    every request and every script but the viewer's.

    Args:
        gaussians: N Gaussians, OpenGL world.
        title: any text; it is escaped.
        background: one grey or (r, g, b), in [0, 1].
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units.
        fovy: field of view across the shorter side, degrees.
        turn: whether it turns on its own from the start.
        embedded: made for an iframe in a notebook: no heading, and the wheel zooms only after a click.
        picture: PNG bytes of the first view; rendered when None.

    Raises:
        InputError: not Gaussians, none of them, NaN in them, or a background that is not a colour.

    Source: the rows are those of antimatter15/splat.

    Example:
        >>> import torch
        >>> page = splat_page(Gaussians.from_lgm(torch.rand(1, 8, 14)), "eight")
        >>> page.startswith("<!DOCTYPE html>")
        True
    """
    check_gaussians(gaussians, "splat_page")
    colour = as_colour(background)
    if picture is None:
        picture = png_bytes(still(gaussians, STILL_SIZE, colour, elevation, azimuth, radius, fovy))
    options = {
        "background": colour, "elevation": elevation, "azimuth": azimuth, "radius": radius, "fovy": fovy,
        "turn": turn, "embedded": embedded,
    }  # fmt: skip
    script, style = viewer_script(), (_SOURCES / "page.css").read_text("utf-8")
    template = Template((_SOURCES / "page.html").read_text("utf-8"))
    return template.substitute(
        title=html.escape(title),
        policy=_policy(script, style),
        kind="embedded" if embedded else "standalone",
        hint=_HINT.format(wheel="click, then wheel" if embedded else "wheel"),
        style=style,
        script=script,
        options=json.dumps(options),  # numbers and booleans only: nothing that could close the element
        splats=base64.b64encode(_rows(gaussians)).decode("ascii"),
        still=base64.b64encode(picture).decode("ascii"),
    )


def save_html(
    obj: Gaussians, path: str | os.PathLike[str], *, title: str = "Gaussians",
    background: float | Sequence[float] = 1.0, elevation: float = 0.0, azimuth: float = 0.0, turn: bool = False,
) -> Path:  # fmt: skip
    """Write a page to open in any browser, from disk and without a network. Arguments as in :func:`splat_page`.

    Returns:
        The path. The file is there in full or not at all.

    Raises:
        InputError: as :func:`splat_page`, or the name does not end in .html or .htm.
        FileNotFoundError: the folder does not exist.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"a page's name must end in .html; got {target.name!r}")
    check_gaussians(obj, "save_html")
    page = splat_page(obj, title, background=background, elevation=elevation, azimuth=azimuth, turn=turn)
    atomic_write({target: page.encode("utf-8")})
    return target


def check_gaussians(obj: Any, who: str) -> None:
    """Raise InputError for anything but finite Gaussians; warn when there are very many."""
    if not isinstance(obj, Gaussians):
        raise InputError(f"{who} must be given Gaussians; got {type(obj).__name__}")
    if len(obj) == 0:
        raise InputError(f"{who} must be given at least one Gaussian; got none: did prune or crop take all of them?")
    obj.validate()
    if len(obj) > MANY:
        size = len(obj) * 32 * 4 / 3 / 1e6
        warnings.warn(
            f"{len(obj):,} Gaussians make a page of {size:.0f} MB, slow to open and to turn; "
            "prune(min_opacity=...) or crop(...) makes it smaller",
            UserWarning,
            stacklevel=3,
        )


def as_colour(background: float | Sequence[float]) -> list[float]:
    """One grey or three numbers to [r, g, b], each in [0, 1]."""
    values = [float(value) for value in ([background] * 3 if isinstance(background, int | float) else background)]
    if len(values) != 3 or not all(0 <= value <= 1 for value in values):  # NaN fails too
        raise InputError(f"background must be one number or (r, g, b), in [0, 1]; got {background!r}")
    return values


def _rows(gaussians: Gaussians) -> bytes:
    if gaussians.sh_degree:
        warnings.warn(
            f"the viewer shows one colour a Gaussian: the view-dependent part (SH degree 1 to {gaussians.sh_degree}) "
            f"of {len(gaussians)} Gaussians is left out there",
            UserWarning,
            stacklevel=4,
        )
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh[:, :1])
    plain = Gaussians(*(field.detach().float().cpu() for field in fields))
    (content,) = splat.write(plain, "page.splat").values()  # one file, in the world of the Gaussians given
    return content


def _policy(script: str, style: str) -> str:
    # Nothing may be fetched, and only this very script may run: an injected one would have another hash.
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; worker-src blob:; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
