"""From a model's name to the folder with its files: "tiny", a local folder, or a repository of the hub.

From a repository only ``*.json``, ``*.txt`` and ``*.safetensors`` are fetched: no Python, no pickles.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from ._files import data_dir
from .errors import WeightsError

FETCHED = ("*.json", "*.txt", "*.safetensors")
KNOWN = {
    "tiny": "bundled, 64-pixel views, runs on any CPU",
    "dylanebert/LGM-full": "ImageDream and LGM, 256-pixel views; needs about 10 GB of memory in float32",
}
"""Names that :func:`resolve` is known to work with, and what they are."""
LGM_ROTATION = {"dylanebert/LGM-full": "identity"}
"""LGM's ``rotation`` where a repository's configuration says none: these weights are from before the rotation fix,
trained as axis-aligned Gaussians, so their rotation channels are noise."""
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def resolve(name: str, revision: str | None = None) -> Path:
    """The folder of a model in diffusers' layout.

    Args:
        name: "tiny", a folder that holds ``model_index.json``, or a repository "owner/name".
        revision: of a repository, a branch or a commit; None is its main branch.

    Raises:
        WeightsError: there is no such model, or its files cannot be had; the message says what exists.
    """
    if name == "tiny":
        return _complete(data_dir() / "models" / "tiny")
    if os.path.isdir(name):  # noqa: PTH112 -- pathlib raises for a name that is too long
        return _complete(Path(name))
    if not _REPOSITORY.fullmatch(name):
        known = "; ".join(f"{key!r} ({what})" for key, what in KNOWN.items())
        raise WeightsError(f"a model must be a folder, a hub repository or one of {known}; got {name!r}")
    return _complete(_fetch(name, revision))


def model_hash(folder: Path) -> str:
    """sha256 over the names and contents of a model's weight files, in order of name: what made a result."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.safetensors")):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _complete(folder: Path) -> Path:
    if not (folder / "model_index.json").is_file():
        raise WeightsError(f"{folder}: a model's folder must hold model_index.json; it does not")
    return folder


def _fetch(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(FETCHED)))
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{repository!r} is not on this computer and the hub cannot be reached: connect once, or use 'tiny'"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise WeightsError(f"{repository!r} cannot be fetched from the hub: {error}") from error
