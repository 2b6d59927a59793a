"""``image3d view``: show a 3D file as a page in the browser."""

from __future__ import annotations

import argparse
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import CONVENTIONS
from ._console import FAILED, complain, say

if TYPE_CHECKING:
    from ._console import Commands


def add(commands: Commands) -> None:
    """Add the parser of ``view``."""
    parser = commands.add_parser(
        "view",
        help="show a 3D file in the browser",
        description="Write a page in which the object can be turned, and open it. The page is one file and needs no "
        "network. Without -o it is written to the system's folder for temporary files.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="Gaussians or a mesh: .ply .splat .glb ...")
    parser.add_argument("-o", "--out", type=Path, metavar="PAGE", help="the page to write, a name in .html")
    parser.add_argument("--no-open", action="store_true", help="do not open the page")
    parser.add_argument("--convention", choices=CONVENTIONS, default="3dgs", help="world of the splats in FILE")
    parser.set_defaults(run=view, go_on="")


def view(arguments: argparse.Namespace) -> int:
    """Write the page, print its path and open it."""
    page = write_page(arguments.file, arguments.out, arguments.convention)
    say(str(page))
    if not arguments.no_open and not webbrowser.open(page.resolve().as_uri()):
        complain(f"no browser could be started: open {page} yourself")
        return FAILED
    return 0


def write_page(file: Path, out: Path | None, convention: str) -> Path:
    """Write the page of a file and return its path; on an error nothing is written.

    Args:
        file: Gaussians or a mesh.
        out: the page, a name in .html; None writes to a new temporary folder.
        convention: the world of the splats in the file, as for ``load``.

    Raises:
        FormatError: the file cannot be read.
        InputError: the page's name does not end in .html.
        OSError: a file cannot be read or written.
    """
    from ..io import load
    from ..view import save_html

    obj = load(file, convention)
    if out is not None:
        return save_html(obj, out, title=file.name)
    folder = Path(tempfile.mkdtemp(prefix="image3d-view-"))
    try:
        return save_html(obj, folder / f"{file.stem}.html", title=file.name)
    except BaseException:
        folder.rmdir()
        raise
