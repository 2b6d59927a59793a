"""``image3d batch``: many images to 3D objects, in processes or on a Ray cluster."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING

from ..batch import ENGINES, generate_many
from ..errors import Image3DError
from ._console import FAILED, complain, say, sentence
from .generate import add_settings, settings_of

if TYPE_CHECKING:
    from ._console import Commands


def add(commands: Commands) -> None:
    """Add the parser of ``batch``."""
    parser = commands.add_parser(
        "batch",
        help="make 3D objects from many images",
        description="Make a 3D object from each image of a folder, a pattern or a manifest: a folder for each in "
        "OUT/objects, OUT/results.csv and .parquet with a row for each, and contact sheets. Run the same command again "
        "to continue after a crash. Paths may be URLs such as s3://bucket/photos.",
    )
    parser.add_argument(
        "images", metavar="IMAGES", help="a folder, a pattern in quotes, or a .csv or .parquet with a column image"
    )
    parser.add_argument("-o", "--out", required=True, help="folder or URL of the results")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="processes here, or Ray (default: local)")
    workers = "processes or actors (default: 1; with Ray one a node, or one a GPU)"
    parser.add_argument("--workers", type=int, metavar="N", help=workers)
    parser.add_argument("--address", help='of a running Ray cluster, "auto" or ray://HOST:10001 (default: start one)')
    add_settings(parser, formats=("ply",))
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=lambda arguments: run(arguments, parser), go_on="Run the same command to continue.")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Make all objects; the exit code is 1 if an image failed."""
    from tqdm import tqdm

    settings = settings_of(arguments, parser)
    bar = tqdm(unit="image", file=sys.stderr, disable=True if arguments.quiet else None)
    with bar, warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: complain(str(message))

        def on_step(_stage: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            result = generate_many(
                arguments.images, arguments.out, settings, engine=arguments.engine, workers=arguments.workers,
                address=arguments.address, on_step=on_step,
            )  # fmt: skip
        except (Image3DError, OSError, ImportError) as error:
            complain(sentence(error))
            return FAILED
    if not arguments.quiet:
        say(f"{result.total} images: {result.made} made, {result.errors} errors -> {result.table}")
    if result.errors:
        complain(f"{result.errors} of {result.total} images failed; the column error of {result.table} says why")
    return FAILED if result.errors else 0
