"""The record of how a result was made, what is true of it still, and what made it."""

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
from .hub.weights import commit_of, model_hash

SCHEMA_VERSION = 1
"""Of the record; it goes up when a field changes its meaning or goes away."""
RECORD = "result.json"
Record: TypeAlias = dict[str, Any]
Files: TypeAlias = tuple[tuple[str, int, int], ...]
_LICENCE_LINE = re.compile(r"^license:\s*[\"']?([^\s\"']+)", re.MULTILINE)  # of a model card's front matter


def read_record(out_dir: str | os.PathLike[str]) -> Record | None:
    """The record in a folder that :func:`generate_one` wrote to; None where there is none, or none that can be read."""
    try:
        record = json.loads((Path(out_dir) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or somebody else's file of that name: nothing to go on from
        return None
    return record if isinstance(record, dict) else None


def weight_files(folder: Path) -> Files:
    """Names, sizes and times: what tells that a model's folder is another than when it was last looked at."""
    found = [folder] if folder.is_file() else sorted(folder.rglob("*.safetensors"))
    files = [(file, file.stat()) for file in found]
    return tuple((file.name, status.st_size, status.st_mtime_ns) for file, status in files)


def model_record(name: str, weights: Path, lgm: Path | None) -> Record:
    """What a record says of the weights: the model's folder, and LGM's own folder or file where it is another."""
    record = {
        "name": name, "sha256": _hash_once(weights, weight_files(weights)), "licence": _licence_of(weights),
        "commit": commit_of(weights),
    }  # fmt: skip
    if lgm is None:
        return record
    return record | {"lgm_sha256": _hash_once(lgm, weight_files(lgm)), "lgm_commit": commit_of(lgm)}


@functools.lru_cache(maxsize=8)
def _hash_once(weights: Path, _files: Files) -> str:
    return model_hash(weights)


def _licence_of(weights: Path) -> str | None:
    """What the model card's front matter says; None where there is no card, or it does not say."""
    card = weights / "README.md"
    found = _LICENCE_LINE.search(card.read_text(encoding="utf-8")) if card.is_file() else None
    return found[1] if found else None


def is_done(folder: Path, record: Record, wanted: Record) -> bool:
    """Whether a folder holds what its record tells of, and that is what is wanted."""
    same = all(record.get(key) == value for key, value in wanted.items())
    if not same or record.get("versions", {}).get("image3d_nb") != __version__:
        return False
    files = record.get("files")
    return isinstance(files, dict) and all(_is_there(folder / name, files[name]) for name in files)


def _is_there(file: Path, told: Record) -> bool:
    return file.is_file() and description(file) == told


def description(file: Path) -> Record:
    """Of a written file: its length and its sha256."""
    content = file.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def versions() -> dict[str, str]:
    """Of Python, of this package, and of what decides the numbers."""
    packages = {name: version(name) for name in ("torch", "diffusers", "numpy")}
    return {"python": platform.python_version(), "image3d_nb": __version__, **packages}


def peak_memory() -> int:
    """The most memory that this process has held so far, bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts in bytes, others in KiB
