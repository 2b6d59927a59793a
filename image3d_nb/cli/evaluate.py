"""``image3d evaluate``: how good results are, beside the truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import writable
from ._console import Progress, say

if TYPE_CHECKING:
    from ._console import Commands


def add(commands: Commands) -> None:
    """Add the parser of ``evaluate``."""
    parser = commands.add_parser(
        "evaluate",
        help="measure objects against the truth",
        description="Compare the results in DIR with the objects or images of the same names in TRUTH: PSNR, SSIM and "
        "LPIPS of renders, Chamfer distance and F-score of surfaces, consistency of the views; with mean, spread and "
        "interval. TRUTH/NAME.glb is an object; TRUTH/NAME/ has images, and their cameras in transforms.json.",
    )
    parser.add_argument("made", metavar="DIR", help="results of generate or batch, or files of splats or meshes")
    parser.add_argument("--against", required=True, metavar="TRUTH", help="folder of the truth")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the report, too: .json, .csv or .md")
    parser.add_argument("--views", type=int, default=8, metavar="N", help="cameras around an object (default: 8)")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="of their images, pixels (default: 256)")
    parser.add_argument("--threshold", type=float, default=0.01, metavar="X", help="of the F-score (default: 0.01)")
    parser.add_argument("--lpips", metavar="FILE", help='weights: the state dict of lpips.LPIPS(net="alex")')
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=lambda arguments: run(arguments, parser), go_on="")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Measure, print the table, and write the report."""
    from ..evaluation import evaluate

    if arguments.out is not None and arguments.out.suffix.lower() not in (".json", ".csv", ".md"):
        parser.error(f"the report's name must end in .json, .csv or .md; got {arguments.out.name!r}")
    if arguments.out is not None:
        writable(arguments.out)  # raises now what would lose the result of hours
    with Progress("evaluate", {}, quiet=arguments.quiet) as progress:
        result = evaluate(
            arguments.made, arguments.against, views=arguments.views, size=arguments.size,
            threshold=arguments.threshold, lpips_weights=arguments.lpips, on_step=progress,
        )  # fmt: skip
    say(str(result))
    if arguments.out is not None:
        result.save(arguments.out)
    return 0
