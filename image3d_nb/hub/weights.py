"""Find the folder of a model by its name: "tiny", a local folder, or a repository of the hub.

Only ``*.json``, ``*.txt`` and ``*.safetensors`` of a repository are downloaded: no Python, no pickles.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._files import data_dir
from ..errors import WeightsError
from . import download

TEXTS = ("*.json", "*.txt")
"""Files of a repository that are downloaded beside the weights of the used components."""
WEIGHTS = "*.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Suffixes of files that run code when they are read. They are neither downloaded nor opened."""


@dataclass(frozen=True)
class KnownModel:
    """A model that this package knows by name.

    Attributes:
        what: description, for the list in an error message.
        rotation: LGM's setting, which no published configuration states.
        sha256: component -> sha256 of its one weight file.
    """

    what: str
    rotation: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)


_IMAGEDREAM = {
    "unet": "28d8b241a54125fa0a041c1818a5dcdb717e6f5270eea1268172acd3ab0238e0",
    "vae": "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a",
    "text_encoder": "bc1827c465450322616f06dea41596eac7d493f4e95904dcb51f0fc745c4e13f",
    "image_encoder": "2a56cfd4ffcf40be097c430324ec184cc37187f6dafef128ef9225438a3c03c4",
}
_LGM_FULL = _IMAGEDREAM | {"lgm": "79e5160e1fc45559515579a7e41ffc22606cf41c3ed8581b09dae9b4ce437099"}

# "identity": LGM's weights from before its rotation fix were trained as axis-aligned Gaussians; their rotation channels
# hold noise. "normalized": the weights trained after it.
KNOWN = {
    "tiny": KnownModel("bundled, 64-pixel views, runs on any CPU"),
    "dylanebert/LGM-full": KnownModel(
        "ImageDream and LGM, 256-pixel views; needs about 10 GB of memory in float32", "identity", _LGM_FULL
    ),
    "ashawkey/imagedream-ipmv-diffusers": KnownModel(
        "ImageDream, one picture to four views; with lgm='ashawkey/LGM' it makes objects", sha256=_IMAGEDREAM
    ),
    "dylanebert/multi-view-diffusion": KnownModel("ImageDream, the first half of LGM-full"),
    "ashawkey/mvdream-sd2.1-diffusers": KnownModel("MVDream, a sentence to four views"),
    "dylanebert/LGM": KnownModel("LGM, the second half of LGM-full: pass it as lgm=", "identity"),
    "ashawkey/LGM": KnownModel("LGM, with its rotations mended: pass it as lgm="),
}
"""Names that :func:`resolve` and :func:`resolve_lgm` know."""
BARE_ROTATION = {"model_fp16_fixrot.safetensors": "normalized", "model_fp16.safetensors": "identity"}
"""LGM's published files without a configuration, the better one first, and the rotation each was trained with."""
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FILE = re.compile(r"([\w.-]+/[\w.-]+)/([\w.-]+)")


def resolve(name: str, revision: str | None = None, skip: Sequence[str] = ()) -> Path:
    """Find the folder of a model in diffusers' layout, and download it if needed.

    Args:
        name: "tiny", a folder that holds ``model_index.json`` ("~" is the home folder), or a repository "owner/name".
        revision: branch or commit of the repository; None is its main branch.
        skip: components whose weights are not needed and not downloaded.

    Returns:
        The folder: the given one, the bundled one, or one in the hub's cache.

    Raises:
        WeightsError: there is no such model, or its files cannot be downloaded. The message names the known models.

    Warns:
        UserWarning: the repository is unknown to this package.
    """
    name = os.path.expanduser(name)  # noqa: PTH111 -- pathlib raises for an unknown user
    if name == "tiny":
        return _complete(data_dir() / "models" / "tiny", name)
    if os.path.isdir(name):  # noqa: PTH112 -- pathlib raises for a name that is too long
        return _complete(Path(name), name)
    if name.endswith((".safetensors", *PICKLES)):
        refuse_pickle(name)
        raise WeightsError(
            f"a model must be a folder or a repository; got the file {name!r}: pass LGM's file as lgm=, with the first"
            " half by name, e.g. 'ashawkey/imagedream-ipmv-diffusers'"
        )
    _check_repository(name)
    folder = _complete(download.fetch(name, revision, TEXTS), name)
    names = [part for part in read_json(folder / "model_index.json") if not part.startswith("_") and part not in skip]
    return _weights_of(name, folder, [f"{part}/{WEIGHTS}" for part in names])


def resolve_lgm(name: str, revision: str | None = None) -> Path:
    """Find LGM's own folder (``config.json`` and weights), or its bare weight file, and download it if needed.

    Args:
        name: "tiny"; such a folder or file; the folder of a whole model; a repository "owner/name" of any of these; or
            a file in one, "owner/name/file.safetensors".
        revision: branch or commit of the repository; None is its main branch.

    Returns:
        The folder or the file.

    Raises:
        WeightsError: there is no such model, or its files cannot be downloaded.

    Warns:
        UserWarning: the repository is unknown to this package.
    """
    name = os.path.expanduser(name)  # noqa: PTH111 -- as above
    refuse_pickle(name)
    if name == "tiny":
        return data_dir() / "models" / "tiny" / "lgm"
    if os.path.isfile(name):  # noqa: PTH113 -- pathlib raises for a name that is too long
        return Path(name)
    if os.path.isdir(name):  # noqa: PTH112 -- the same
        return Path(name) / "lgm" if (Path(name) / "lgm").is_dir() else Path(name)
    within = _FILE.fullmatch(name)
    repository = within[1] if within else name
    _check_repository(repository)
    folder = download.fetch(repository, revision, TEXTS)
    if within is None and (folder / "model_index.json").is_file():
        return _weights_of(repository, folder, [f"lgm/{WEIGHTS}"]) / "lgm"
    for file in [within[2]] if within else BARE_ROTATION:
        _weights_of(repository, folder, [file])
        if (folder / file).is_file():
            return folder / file
    wanted = within[2] if within else "model_index.json, or one of " + ", ".join(BARE_ROTATION)
    raise WeightsError(f"{repository!r} must hold {wanted}; it does not: look at https://huggingface.co/{repository}")


def rotation_of(name: str, path: Path) -> str | None:
    """Look up the ``rotation`` setting of LGM's weights by their repository or file name.

    Args:
        name: the name that the user gave.
        path: the model's folder, or LGM's folder or bare file.

    Returns:
        "identity", "normalized", or None for unknown weights.
    """
    if path.suffix == ".safetensors":
        return BARE_ROTATION.get(path.name)
    origin = download.hub_origin(path)
    known = KNOWN.get(name) or KNOWN.get(origin[0] if origin else "")
    return known.rotation if known else None


def origin_of(path: Path) -> str:
    """Describe where a folder or file is from: "owner/name@commit", with a bare file's name; or the local path."""
    origin = download.hub_origin(path)
    file = f"/{path.name}" if path.suffix == ".safetensors" else ""
    return f"{origin[0]}{file}@{origin[1]}" if origin else str(path)


def commit_of(path: Path) -> str | None:
    """Return the hub's commit of a folder or file in its cache; None for one elsewhere."""
    origin = download.hub_origin(path)
    return origin[1] if origin else None


def model_hash(weights: Path) -> str:
    """Hash a folder's weight files, or one file.

    Args:
        weights: the folder or file.

    Returns:
        sha256, in hexadecimal, over the files' names and contents in order of name.
    """
    digest = hashlib.sha256()
    folder = weights.parent if weights.is_file() else weights
    for file in [weights] if weights.is_file() else sorted(folder.rglob(WEIGHTS)):
        digest.update(file.relative_to(folder).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 24):  # a file may not fit in memory
                digest.update(block)
    return digest.hexdigest()


def refuse_pickle(name: str | Path) -> None:
    """Raise a WeightsError if a file's name says that reading it runs code."""
    if str(name).endswith(PICKLES):
        raise WeightsError(
            f"weights must be .safetensors; got the pickle {str(name)!r}, which runs code when it is read: look for the"
            " model's .safetensors, or ask its author to convert it"
        )


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Args:
        file: the file.

    Returns:
        The object.

    Raises:
        WeightsError: the file is missing or holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{file}: the file is needed; it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise WeightsError(f"{file}: the file must hold JSON; {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file}: the file must hold a JSON object; got {type(content).__name__}")
    return content


def _complete(folder: Path, name: str) -> Path:
    index = folder / "model_index.json"
    if not index.is_file():
        raise WeightsError(f"{folder}: a model's folder must hold model_index.json; there is none")
    parts = read_json(index)
    if "unet" not in parts and "lgm" in parts:
        raise WeightsError(
            f"{folder}: a model must have a unet, which makes the four views; got only LGM, which turns views into"
            f" Gaussians: load_pipeline('dylanebert/multi-view-diffusion', lgm={name!r})"
        )
    return folder


def _check_repository(name: str) -> None:
    if not _REPOSITORY.fullmatch(name):
        known = "; ".join(f"{key!r} ({model.what})" for key, model in KNOWN.items())
        raise WeightsError(f"a model must be a folder, a hub repository or one of {known}; got {name!r}")
    if name not in KNOWN:
        warnings.warn(
            f"{name!r} is an unknown repository: its weights are loaded, its code is not downloaded or run",
            stacklevel=4,  # the caller of load_pipeline or from_pretrained
        )


def _weights_of(repository: str, folder: Path, patterns: Sequence[str]) -> Path:
    """Download weights of the commit that ``folder`` holds, and check them."""
    download.fetch(repository, folder.name, patterns)
    known = KNOWN.get(repository)
    if folder.is_dir():  # a repository without such files makes no folder
        download.check(folder, known.sha256 if known else {})
    return folder
