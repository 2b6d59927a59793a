"""Run the checks of many learners' notebooks: ``python -m image3d_nb.course grade FOLDER`` prints a table."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._optional import require
from ..errors import InputError
from ._progress import MARKS, read

CHECK = re.compile(r"\bcheck\(\s*[\"'](\d\d\.\d+)[\"']")
CELL_SECONDS = 120.0
"""For each cell."""
NOTEBOOK_SECONDS = 900.0
"""For a notebook as a whole."""


@dataclass(frozen=True)
class Grade:
    """One notebook.

    Attributes:
        notebook: its path.
        results: exercise -> True (right), False (not yet) or None (no answer), in the notebook's order.
        note: what went wrong while it ran; "" if nothing did.
    """

    notebook: Path
    results: dict[str, bool | None]
    note: str = ""

    @property
    def right(self) -> int:
        """The number of right answers."""
        return sum(found is True for found in self.results.values())


def grade(
    folder: str | os.PathLike[str], *, cell_seconds: float = CELL_SECONDS, seconds: float = NOTEBOOK_SECONDS,
    on_start: Callable[[Path], None] | None = None,
) -> list[Grade]:  # fmt: skip
    """Run every notebook below a folder, each in a kernel of its own, and read what its checks said.

    The notebooks stay as they are. Their code runs with your rights: grade strangers' notebooks in a container or on an
    account made for it. A cell that fails or takes too long does not end the notebook: later exercises still count.

    Args:
        folder: searched for .ipynb files, sub-folders too.
        cell_seconds: a cell that takes longer is interrupted, seconds.
        seconds: a notebook that takes longer is stopped, seconds; results up to then count.
        on_start: called with each path before it runs.

    Returns:
        One grade a notebook, sorted by path. Broken files have a note and no results.

    Raises:
        InputError: the folder does not exist, or there is no notebook in it.
        ImportError: nbclient is not installed; it comes with JupyterLab.
    """
    root = Path(folder)
    paths = sorted(path for path in root.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    if not paths:
        raise InputError(f"the folder must hold notebooks (.ipynb); got {root}, which holds none")
    grades = []
    for path in paths:
        if on_start is not None:
            on_start(path)
        grades.append(_grade(path, cell_seconds, seconds))
    return grades


def table(grades: list[Grade], folder: str | os.PathLike[str] = ".") -> str:
    """The grades as text: a line a notebook, with a mark for each exercise."""
    names = [_below(each.notebook, Path(folder)) for each in grades]
    width = max(map(len, names), default=0)
    lines = []
    for name, each in zip(names, grades, strict=True):
        marks = " ".join(MARKS[found] for found in each.results.values())
        share = f"{each.right} of {len(each.results)}" if each.results else "-"
        lines.append(f"{name:{width}}  {share:7}  {marks:12} {each.note}".rstrip())
    return "\n".join([*lines, "■ right, ▨ not yet, □ no answer"])


def csv_rows(grades: list[Grade], folder: str | os.PathLike[str] = ".") -> Iterator[tuple[str, str, str, str]]:
    """(notebook, exercise, result, note) for each exercise; a header first. A notebook without results has one row."""
    yield "notebook", "exercise", "result", "note"
    words = {True: "right", False: "not yet", None: "no answer"}
    for each in grades:
        for number, found in each.results.items() or (("", None),):
            yield _below(each.notebook, Path(folder)), number, words[found] if number else "", each.note


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _grade(path: Path, cell_seconds: float, seconds: float) -> Grade:
    nbformat = require("nbformat", extra="notebook", who="image3d_nb.course.grade")
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    except Exception as error:  # noqa: BLE001 -- whatever a broken file makes the reader raise becomes its note
        return Grade(path, {}, f"not a notebook that can be read: {_first_line(error)}")
    asked = list(dict.fromkeys(number for source in sources for number in CHECK.findall(source)))
    if not asked:
        return Grade(path, {}, "it checks no exercise")
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "progress.json"
        note = _run(notebook, path, kept, cell_seconds, seconds)
        found = read(kept)
    return Grade(path, {number: found.get(number) for number in asked}, note)


def _run(notebook: Any, path: Path, kept: Path, cell_seconds: float, seconds: float) -> str:
    """Run a notebook in memory; its checks write to ``kept``. Returns what went wrong, or ""."""
    nbclient = require("nbclient", extra="notebook", who="image3d_nb.course.grade")
    end = time.monotonic() + seconds

    def stop_at_the_end(**_cell: Any) -> None:
        if time.monotonic() > end:
            raise _OutOfTimeError

    client = nbclient.NotebookClient(
        notebook, timeout=cell_seconds, interrupt_on_timeout=True, allow_errors=True, kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}}, on_cell_start=stop_at_the_end,
    )  # fmt: skip
    try:
        client.execute(env={**os.environ, "IMAGE3D_PROGRESS": str(kept)})
    except _OutOfTimeError:
        return f"stopped after {seconds:g} s"
    except Exception as error:  # noqa: BLE001 -- a learner's kernel may die of anything; the others are still to grade
        return f"its kernel stopped: {_first_line(error)}"
    failed = [
        (number, output.ename)
        for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1)
        for output in cell.get("outputs", [])
        if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", [])
    ]
    late = [number for number, name in failed if name == "KeyboardInterrupt"]
    if late:
        return f"cell [{late[0]}] took more than {cell_seconds:g} s"
    return f"cell [{failed[0][0]}] failed: {failed[0][1]}" if failed else ""


class _OutOfTimeError(Exception):
    """The time for a notebook is over."""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
