"""The bundled sample images, and a photograph that comes with scikit-image."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from .._files import data_dir
from ..errors import InputError

_PHOTOGRAPHS = {"coffee": "coffee.png"}
"""Name -> file in scikit-image's folder ``data``. All are CC0; coffee is by Rachel Michetti, of Pikolo Espresso Bar."""


def sample(name: str = "mug") -> Path:
    """The path of a sample image.

    Args:
        name: "mug", "duck", ...: a bundled image of one object. Or "coffee": a photograph of a cup on a table, from
            scikit-image, which shows what happens to an image that is not an object on a plain background.

    Raises:
        InputError: no sample has this name; the message lists the names.
    """
    folder = data_dir() / "images"
    files = {entry["name"]: folder / entry["file"] for entry in json.loads((folder / "index.json").read_text("utf-8"))}
    package = find_spec("skimage")
    for place in (package.submodule_search_locations or ()) if package else ():
        photographs = {name: Path(place) / "data" / file for name, file in _PHOTOGRAPHS.items()}
        files |= {name: path for name, path in photographs.items() if path.is_file()}
    if name not in files:
        raise InputError(f"the name of a sample must be one of {', '.join(files)}; got {name!r}")
    return files[name]
