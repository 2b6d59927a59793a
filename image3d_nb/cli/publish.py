"""``image3d publish``: folders that are ready to upload."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Image3DError
from ._console import FAILED, complain, say

if TYPE_CHECKING:
    from ._console import Commands

_WHAT = {
    "page": "a gallery of finished objects, for a Static Space (free) or GitHub Pages",
    "space": "a ZeroGPU Space, which runs the demo app",
    "model": "a model repository, with its card",
}


def add(commands: Commands) -> None:
    """Add the parser of ``publish``."""
    parser = commands.add_parser(
        "publish",
        help="write a folder to upload: a gallery, a Space, a model",
        description="Write a folder that is ready to upload. Nothing is uploaded: the command that does it is printed.",
    )
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", dest="kind", required=True)
    page, space, model = (
        kinds.add_parser(kind, help=text, description=f"Write {text}.") for kind, text in _WHAT.items()
    )
    page.add_argument("results", nargs="+", metavar="DIR", help="a result of generate, or a folder of results")
    page.add_argument("--licence", default="not stated", help="of your images and objects, e.g. CC-BY-4.0")
    space.add_argument("--model", action="append", metavar="M", help="tiny or a hub repository; repeat it for more")
    model.add_argument("model", metavar="MODEL", help='"tiny" or a folder, e.g. of lesson 11')
    model.add_argument("--licence", help="of the weights, e.g. mit; needed if its card states none")
    model.add_argument("--data", metavar="TEXT", help="what it was trained on; needed if its card does not say it")
    for kind in (page, space):
        kind.add_argument("--title", default="Objects from images" if kind is page else "Image to 3D", help="any text")
    for kind in (page, space, model):
        kind.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="to write")
        kind.add_argument("--force", action="store_true", help="replace FOLDER if it exists")
    parser.set_defaults(run=publish, go_on="")


def publish(arguments: argparse.Namespace) -> int:
    """Write the folder and print what to do with it."""
    from ..publish import publish_model, publish_page, publish_space

    out, force = arguments.out, arguments.force
    try:
        if arguments.kind == "page":
            publish_page(arguments.results, out, title=arguments.title, licence=arguments.licence, force=force)
        elif arguments.kind == "space":
            publish_space(out, models=arguments.model or ("tiny",), title=arguments.title, force=force)
        else:
            publish_model(arguments.model, out, licence=arguments.licence, data=arguments.data, force=force)
    except (Image3DError, OSError, ImportError) as error:
        complain(str(error))
        return FAILED
    kind = "" if arguments.kind == "model" else " --repo-type space"
    say(f"{out}: look at it, then upload it:\n  hf auth login\n  hf upload YOUR_NAME/{out.name} {out} .{kind}")
    if arguments.kind == "page":
        say("or commit it to a repository whose GitHub Pages are on")
    return 0
