"""``image3d inspect``: what a file holds and what is wrong with it; or a corrected copy."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import CONVENTIONS
from ..inspection import VIEWERS, Inspection, fix, inspect
from ._console import FAILED, complain, say, sentence
from ._paths import expand

if TYPE_CHECKING:
    from ._console import Commands


def add(commands: Commands) -> None:
    """Add the parser of ``inspect``."""
    parser = commands.add_parser(
        "inspect",
        help="inspect a 3D file, or write a corrected copy",
        description="Report what files of splats or meshes hold, what is wrong with them, and what viewers do with "
        "them. The exit code is 1 if a file cannot be read or no viewer shows it as intended. --fix writes a corrected "
        "copy instead, turned for one viewer; the file itself is never changed.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, or a pattern in quotes")
    parser.add_argument("--json", action="store_true", help="print JSON: a list with one object per file")
    fixing = parser.add_argument_group("a corrected copy")
    fixing.add_argument("--fix", action="store_true", help="write one")
    fixing.add_argument("--for", dest="viewer", choices=VIEWERS, help="the viewer that the copy is for")
    fixing.add_argument(
        "-o", "--out", type=Path, metavar="COPY", help=".ply or .splat (default: mug.gradio.ply of mug.ply)"
    )
    fixing.add_argument(
        "--min-opacity", type=float, metavar="X", help="remove splats with less opacity (default: keep all)"
    )
    world = "the world of the splats in FILE (default: as inspected)"
    fixing.add_argument("--convention", choices=CONVENTIONS, help=world)
    fixing.add_argument("--force", action="store_true", help="replace an existing copy")
    parser.set_defaults(run=lambda arguments: run(arguments, parser), go_on="")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Inspect or fix all files; one that fails does not stop the others."""
    files = [Path(name) for name in expand(arguments.files)]
    if arguments.fix != (arguments.viewer is not None):
        parser.error(f"--fix and --for go together, as in --fix --for {VIEWERS[0]}")
    given = [arguments.out, arguments.min_opacity, arguments.convention]
    if not arguments.fix and (arguments.force or any(value is not None for value in given)):
        parser.error("-o, --min-opacity, --convention and --force are for --fix")
    if arguments.fix and arguments.json:
        parser.error("--json is for inspecting, not for --fix")
    if arguments.out is not None and len(files) > 1:
        parser.error(f"-o names one copy, but there are {len(files)} files")
    return _fix(files, arguments) if arguments.fix else _inspect(files, arguments.json)


def _inspect(files: list[Path], as_json: bool) -> int:
    seen: list[Inspection] = []
    failed = False
    for file in files:
        try:
            inspection = inspect(file)
        except Exception as error:  # noqa: BLE001 -- one file must not stop the others
            complain(f"{file}: {sentence(error)}")
            failed = True
            continue
        failed = failed or any(finding.level == "blocks" for finding in inspection.findings)
        seen.append(inspection)
        if not as_json:
            say(("\n" if len(seen) > 1 else "") + repr(inspection))
    if as_json:
        say(json.dumps([inspection.to_dict() for inspection in seen], indent=2))
    return FAILED if failed else 0


def _fix(files: list[Path], arguments: argparse.Namespace) -> int:
    failed = False
    for file in files:
        try:
            report = fix(
                file, arguments.viewer, arguments.out, convention=arguments.convention,
                min_opacity=arguments.min_opacity, force=arguments.force,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 -- one file must not stop the others
            complain(f"{file}: {sentence(error)}")
            failed = True
        else:
            say(str(report))
    return FAILED if failed else 0
