"""The last result of each exercise, kept in a small local file."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._files import atomic_write

MARKS = {True: "■", False: "▨", None: "□"}


def path() -> Path:
    """The file: ``$IMAGE3D_PROGRESS``, else ``image3d_nb/course.json`` in the user's cache folder."""
    chosen = os.environ.get("IMAGE3D_PROGRESS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else cache / "image3d_nb" / "course.json"


def kept() -> dict[str, bool]:
    """The results in the learner's own file."""
    return read(path())


def read(file: Path) -> dict[str, bool]:
    """Exercise -> whether its last answer was right. A missing or damaged file counts as empty."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, bool)} if isinstance(found, dict) else {}


def keep(number: str, right: bool) -> None:
    """Store a result. If the file cannot be written, a warning says so."""
    results = kept()
    if results.get(number) is right:
        return
    content = json.dumps(results | {number: right}, indent=1, sort_keys=True).encode()
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        atomic_write({path(): content})
    except OSError as error:
        warnings.warn(f"the result was not stored: {path()}: {error.strerror}", UserWarning, stacklevel=3)


@dataclass(frozen=True, repr=False)
class Progress:
    """The state of all exercises.

    Attributes:
        numbers: all exercises, "00.1" and so on.
        results: exercise -> whether its last answer was right; without an entry, it has no answer.
    """

    numbers: Sequence[str]
    results: Mapping[str, bool]

    def __repr__(self) -> str:
        lessons: dict[str, list[bool | None]] = {}
        for number in self.numbers:
            lessons.setdefault(number[:2], []).append(self.results.get(number))
        rows = [
            f"{lesson}  {' '.join(MARKS[found] for found in results):12}{results.count(True)} of {len(results)}"
            for lesson, results in lessons.items()
        ]
        right = sum(self.results.get(number) is True for number in self.numbers)
        return "\n".join([*rows, f"{right} of {len(self.numbers)} right   (■ right, ▨ not yet, □ no answer)"])
