"""``python -m image3d_nb.course grade FOLDER``: the checks of many learners' notebooks, as a table."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from .._files import writable
from ..errors import InputError
from .grade import CELL_SECONDS, NOTEBOOK_SECONDS, csv_rows, grade, table


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m image3d_nb.course", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "grade", help="run notebooks and print which exercises are right",
        description="Run every notebook below FOLDER, with your rights, and print which exercises are right.",
    )  # fmt: skip
    one.add_argument("folder", type=Path, help="of notebooks, in sub-folders if you like")
    one.add_argument("--cell-seconds", type=float, default=CELL_SECONDS, help="for each cell (default %(default)g)")
    one.add_argument("--seconds", type=float, default=NOTEBOOK_SECONDS, help="for a notebook (default %(default)g)")
    one.add_argument("--csv", type=Path, help="write the results to this file, too")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.csv:
            writable(chosen.csv)  # raises now what would lose the result of hours
        grades = grade(
            chosen.folder, cell_seconds=chosen.cell_seconds, seconds=chosen.seconds,
            on_start=lambda path: print(f"running {path}", file=sys.stderr),
        )  # fmt: skip
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(grades, chosen.folder))
    if chosen.csv:
        with chosen.csv.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(csv_rows(grades, chosen.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
