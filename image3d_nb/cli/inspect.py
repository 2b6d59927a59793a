"""``image3d inspect``: what a file holds, what is wrong with it, and a corrected copy."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import CONVENTIONS
from ._console import FAILED, complain, say, sentence
from ._paths import expand

if TYPE_CHECKING:
    from ..inspection import Inspection
    from ._console import Commands

_VIEWERS = ("gradio", "supersplat", "three")  # inspection's


def add(commands: Commands) -> None:
    """Tell the parser of this command."""
    parser = commands.add_parser(
        "inspect",
        help="what is in a 3D file, what is wrong with it, and a corrected copy",
        description="Say of files of splats and of meshes what they hold, what is wrong with them, and what viewers "
        "will do with them. The exit code is 1 where a file cannot be read or no viewer can show what was meant. --fix "
        "writes a corrected copy instead, turned for one viewer; the file itself is never touched.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, or a pattern in quotes")
    parser.add_argument("--json", action="store_true", help="for programs: a list with an object a file")
    fixing = parser.add_argument_group("a corrected copy")
    fixing.add_argument("--fix", action="store_true", help="write one")
    fixing.add_argument("--for", dest="viewer", choices=_VIEWERS, help="whom for")
    fixing.add_argument(
        "-o", "--out", type=Path, metavar="COPY", help=".ply or .splat (default: mug.gradio.ply of mug.ply)"
    )
    fixing.add_argument("--min-opacity", type=float, metavar="X", help="leave out fainter splats (default: keep all)")
    world = "the world of the splats in FILE (default: what is found, or guessed)"
    fixing.add_argument("--convention", choices=CONVENTIONS, help=world)
    fixing.add_argument("--force", action="store_true", help="replace a copy that is there already")
    parser.set_defaults(run=lambda arguments: run(arguments, parser), go_on="")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Work through the files; a failing one does not stop the rest."""
    files = [Path(name) for name in expand(arguments.files)]
    if arguments.fix != (arguments.viewer is not None):
        parser.error(f"--fix and --for go together, as in --fix --for {_VIEWERS[0]}")
    given = [arguments.out, arguments.min_opacity, arguments.convention]
    if not arguments.fix and (arguments.force or any(value is not None for value in given)):
        parser.error("-o, --min-opacity, --convention and --force are for --fix")
    if arguments.fix and arguments.json:
        parser.error("--json is for inspecting, not for --fix")
    if arguments.out is not None and len(files) > 1:
        parser.error(f"-o names one copy, these are {len(files)} files: leave it out")
    return _fix(files, arguments) if arguments.fix else _inspect(files, arguments.json)


def _inspect(files: list[Path], as_json: bool) -> int:
    from ..inspection import inspect

    seen: list[Inspection] = []
    failed = False
    for file in files:
        try:
            inspection = inspect(file)
        except Exception as error:  # noqa: BLE001 -- whatever happens to one file must not stop the others
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
    from ..inspection import fix

    failed = False
    for file in files:
        try:
            report = fix(
                file, arguments.viewer, arguments.out, convention=arguments.convention,
                min_opacity=arguments.min_opacity, force=arguments.force,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 -- whatever happens to one file must not stop the others
            complain(f"{file}: {sentence(error)}")
            failed = True
        else:
            say(str(report))
    return FAILED if failed else 0
