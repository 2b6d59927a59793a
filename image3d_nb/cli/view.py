"""The command ``image3d view``: a file of Gaussians or of a mesh as a page in the browser."""

from __future__ import annotations

import argparse
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import CONVENTIONS
from ..errors import Image3DError
from ._console import FAILED, complain, say

if TYPE_CHECKING:
    from ._console import Commands


def add(commands: Commands) -> None:
    """Tell the parser of ``view``."""
    parser = commands.add_parser(
        "view",
        help="a 3D file in the browser",
        description="Write a page in which the object can be turned, and open it. It needs no network and can be "
        "mailed. Without -o it goes to the system's folder for temporary files.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="Gaussians or a mesh: .ply .splat .glb ...")
    parser.add_argument("-o", "--out", type=Path, metavar="PAGE", help="where to write the page, a name in .html")
    parser.add_argument("--no-open", action="store_true", help="write it and print its name, no more")
    parser.add_argument("--convention", choices=CONVENTIONS, default="3dgs", help="world of the splats in FILE")
    parser.set_defaults(run=view, go_on="")


def view(arguments: argparse.Namespace) -> int:
    """Write the page, open it, and print where it is."""
    try:
        page = write_page(arguments.file, arguments.out, arguments.convention)
    except (Image3DError, OSError, ImportError) as error:
        complain(str(error))
        return FAILED
    say(str(page))
    if not arguments.no_open and not webbrowser.open(page.resolve().as_uri()):
        complain(f"no browser could be started here: open {page} yourself")
        return FAILED
    return 0


def write_page(file: Path, out: Path | None, convention: str) -> Path:
    """The page of a file; in full, or nothing is written.

    Raises:
        FormatError, InputError, OSError: as ``load`` and ``save_html``.
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
