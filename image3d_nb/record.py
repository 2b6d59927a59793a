"""``result.json``: how the files of a result were made, by what, and whether they are still the same."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from . import __version__
from .hub.weights import KNOWN, commit_of, model_hash

SCHEMA_VERSION = 1
"""Version of the record. It increases when a field changes its meaning or is removed."""
RECORD = "result.json"
Record: TypeAlias = dict[str, Any]
FileStamps: TypeAlias = tuple[tuple[str, int, int], ...]
_LICENCE_LINE = re.compile(r"^license:\s*[\"']?([^\s\"']+)", re.MULTILINE)  # in the front matter of a model card


def read_record(out_dir: str | os.PathLike[str]) -> Record | None:
    """The record in a folder that :func:`generate_one` wrote; None if there is none or it cannot be read."""
    try:
        record = json.loads((Path(out_dir).expanduser() / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing, or a foreign file with this name: there is nothing to resume
        return None
    return record if isinstance(record, dict) else None


def file_stamps(folder: Path) -> FileStamps:
    """(name, size, time in ns) of each weight file in a folder, or of one file: they change if the weights change."""
    found = [folder] if folder.is_file() else sorted(folder.rglob("*.safetensors"))
    files = [(file, file.stat()) for file in found]
    return tuple((file.name, status.st_size, status.st_mtime_ns) for file, status in files)


def model_record(name: str, weights: Path, lgm: Path | None) -> Record:
    """The record's part about the weights.

    Args:
        name: the model's name, as the user gave it.
        weights: the model's folder.
        lgm: LGM's own folder or file, if it is not in the model's folder.
    """
    record = {
        "name": name, "sha256": _hash_once(weights, file_stamps(weights)), "licence": _licence_of(name, weights),
        "commit": commit_of(weights),
    }  # fmt: skip
    if lgm is None:
        return record
    return record | {"lgm_sha256": _hash_once(lgm, file_stamps(lgm)), "lgm_commit": commit_of(lgm)}


@functools.lru_cache(maxsize=8)
def _hash_once(weights: Path, _stamps: FileStamps) -> str:
    return model_hash(weights)


def _licence_of(name: str, weights: Path) -> str | None:
    """The licence in the model card's front matter, or in the table of known models, or None."""
    card = (weights.parent if weights.is_file() else weights) / "README.md"
    found = _LICENCE_LINE.search(card.read_text(encoding="utf-8")) if card.is_file() else None
    return found[1] if found else KNOWN[name].licence if name in KNOWN else None


def is_done(folder: Path, record: Record, wanted: Record) -> bool:
    """True if the folder holds the files of its record, unchanged, and they were made from the ``wanted`` inputs."""
    same = all(record.get(key) == value for key, value in wanted.items())
    if not same or record.get("versions", {}).get("image3d_nb") != __version__:
        return False
    files = record.get("files")
    return isinstance(files, dict) and all(
        (folder / name).is_file() and description(folder / name) == files[name] for name in files
    )


def description(file: Path) -> Record:
    """Length in bytes and sha256 of a file."""
    content = file.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def versions() -> dict[str, str]:
    """Versions of Python, of this package, and of the packages that affect the result."""
    packages = {name: version(name) for name in ("torch", "diffusers", "numpy")}
    return {"python": platform.python_version(), "image3d_nb": __version__, **packages}


def peak_memory() -> int:
    """The most memory that this process has used so far, in bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts in bytes, others in KiB
