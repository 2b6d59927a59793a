"""The bundled sample images."""

from __future__ import annotations

import json
from pathlib import Path

from .._files import data_dir
from ..errors import InputError


def sample(name: str = "mug") -> Path:
    """Return the path of a bundled image.

    Args:
        name: "mug", "duck", "car", "robot", "house", "toadstool".

    Raises:
        InputError: unknown name; the message lists the known ones.
    """
    folder = data_dir() / "images"
    files = {entry["name"]: entry["file"] for entry in json.loads((folder / "index.json").read_text("utf-8"))}
    if name not in files:
        raise InputError(f"the name of a sample must be one of {', '.join(files)}; got {name!r}")
    return folder / str(files[name])
