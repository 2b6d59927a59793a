"""The studio as an image and a text, for saved notebooks and places where no widget runs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ..errors import Image3DError
from ..view.sheets import png_bytes, sheet

if TYPE_CHECKING:
    from PIL import Image

    from .session import Session

WIDTH = 512  # pixels; a notebook stores the image
MOST = 4  # newest runs that are shown


def still_bundle(session: Session) -> dict[str, str]:
    """MIME type -> text; the PNG as base64."""
    bundle = {"text/plain": _text(session)}
    image = _still(session)
    if image is not None:
        bundle["image/png"] = base64.b64encode(png_bytes(image)).decode("ascii")
    return bundle


def _text(session: Session) -> str:
    return "\n".join([repr(session), *(f"{run.title}, {run.settings}" for run in session.runs[-MOST:])])


def _still(session: Session) -> Image.Image | None:
    """The newest runs, one a row: the model's input and the four views; before the first run, the chosen image."""
    images: list[Image.Image] = []
    captions: list[str] = []
    for run in session.runs[-MOST:]:
        side = run.views.height
        views = [run.views.crop((x, 0, x + side, side)) for x in _corners(run.views.width, side)]
        images += [run.seen.resize((side, side)), *views]
        captions += [run.title, "front", "right", "back", "left"]
    if images:
        return sheet(images, 5, captions, WIDTH)
    if session.picture is None:
        return None
    try:
        return sheet([session.picture, session.what_the_model_sees()], 2, [session.name, "what the model sees"], WIDTH)
    except (Image3DError, ImportError):  # the panel shows the error
        return sheet([session.picture], 1, [session.name], WIDTH)


def _corners(width: int, side: int) -> list[int]:
    """The left edge of each of four views that stand in a row with gaps."""
    return [round(i * (width - side) / 3) for i in range(4)]
