"""From file names, patterns and folders to pairs of a file to read and a file to write."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

READABLE = (".ply", ".splat", ".spz", ".sog", ".glb", ".gltf", ".obj", ".stl")
"""Suffixes that are searched for in folders. Companions (.mtl, .png, .bin) are not among them."""


@dataclass(frozen=True)
class Job:
    """One file to read and one to write; ``problem`` says why it cannot be done."""

    source: Path
    target: Path
    problem: str = ""


def expand(names: Iterable[str]) -> list[str]:
    """Replace patterns that no shell expanded ("*.ply" in quotes, or on Windows) by the files that they match.

    The name of an existing file is not a pattern, even with brackets. A pattern without a match stays as it is.
    """
    found: list[str] = []
    for name in names:
        is_pattern = glob.has_magic(name) and not os.path.lexists(name)
        matches = sorted(glob.glob(name, recursive=True)) if is_pattern else []  # noqa: PTH207 -- it may be absolute
        found += matches or [name]
    return list(dict.fromkeys(found))


def plan(sources: Sequence[str], target: str, suffix: str | None) -> list[Job]:
    """Pair each source with its target.

    Args:
        sources: files, patterns and folders. A folder stands for all files of known formats in it and below it.
        target: a file, if there is one source file; else a folder, which need not exist. Files of a source folder keep
            their relative paths.
        suffix: of the files that are written into a folder, ".glb".

    Raises:
        InputError: the target must be a folder but is a file, or the suffix is missing.
    """
    names = expand(sources)
    many = len(names) > 1 or Path(names[0]).is_dir()
    into_folder = many or suffix is not None or target.endswith(("/", os.sep)) or Path(target).is_dir()
    if not into_folder:
        return [Job(Path(names[0]), Path(target))]
    if Path(target).exists() and not Path(target).is_dir():
        raise InputError(f"the target of several files must be a folder; {target} is a file")
    if suffix is None:
        of = f"{len(names)} sources" if len(names) > 1 else "a folder" if many else "a file in a folder"
        raise InputError(f"--to must say the format of {of}, as in --to .glb; {target} does not")
    return list(_distinct(_into(names, Path(target), suffix)))


def _into(names: Iterable[str], folder: Path, suffix: str) -> Iterator[Job]:
    for name in names:
        source = Path(name)
        if not source.is_dir():
            yield Job(source, folder / f"{source.stem}{suffix}")
            continue
        files = list(_files_below(source, folder))
        if not files:
            yield Job(source, folder, f"no file in it is one of {', '.join(READABLE)}")
        for file in files:
            yield Job(file, folder / file.relative_to(source).with_suffix(suffix))


def _files_below(source: Path, target: Path) -> Iterator[Path]:
    """All files of known formats, except hidden ones and those in the target folder."""
    written = target.resolve()
    for folder, below, names in os.walk(source):
        here = Path(folder)
        below[:] = sorted(n for n in below if not n.startswith(".") and (here / n).resolve() != written)
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in READABLE:
                yield here / name


def _distinct(jobs: Iterable[Job]) -> Iterator[Job]:
    """If two sources have the same target, the second job gets a problem."""
    taken: dict[str, Path] = {}
    for job in jobs:
        key = os.path.normcase(job.target).casefold()  # on some systems Mug and mug are the same file
        if job.problem or key not in taken:
            taken.setdefault(key, job.source)
            yield job
        else:
            yield Job(job.source, job.target, f"{job.target} is already the target of {taken[key]}")
