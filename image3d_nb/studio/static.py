"""The studio as a picture and a text: for saved notebooks, and wherever no widgets run."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ..errors import Image3DError
from ..view.sheets import png_bytes, sheet

if TYPE_CHECKING:
    from PIL import Image

    from .session import Session

WIDTH = 512  # pixels; a notebook stores the picture
MOST = 4  # runs in it, the newest


def still_bundle(session: Session) -> dict[str, str]:
    """MIME type -> text, the picture as base64."""
    bundle = {"text/plain": _text(session)}
    picture = _still(session)
    if picture is not None:
        bundle["image/png"] = base64.b64encode(png_bytes(picture)).decode("ascii")
    return bundle


def _text(session: Session) -> str:
    return "\n".join([repr(session), *(f"{run.title}, {run.settings}" for run in session.runs[-MOST:])])


def _still(session: Session) -> Image.Image | None:
    """The newest runs, line by line: what the model saw and the four views; before the first run, the picture."""
    pictures: list[Image.Image] = []
    captions: list[str] = []
    for run in session.runs[-MOST:]:
        side = run.views.height
        views = [run.views.crop((x, 0, x + side, side)) for x in _corners(run.views.width, side)]
        pictures += [run.seen.resize((side, side)), *views]
        captions += [run.title, "front", "right", "back", "left"]
    if pictures:
        return sheet(pictures, 5, captions, WIDTH)
    if session.picture is None:
        return None
    try:
        return sheet([session.picture, session.what_the_model_sees()], 2, [session.name, "what the model sees"], WIDTH)
    except (Image3DError, ImportError):  # the panel says which
        return sheet([session.picture], 1, [session.name], WIDTH)


def _corners(width: int, side: int) -> list[int]:
    """Where each of four views begins, in a line of them with gaps between."""
    return [round(i * (width - side) / 3) for i in range(4)]
