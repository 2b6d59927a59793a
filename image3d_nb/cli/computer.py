"""``image3d doctor`` and ``image3d verify-weights``: check this computer, and check a model's configuration."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ..doctor import examine, report
from ._console import FAILED, say

if TYPE_CHECKING:
    from ._console import Commands


def add_doctor(commands: Commands) -> None:
    """Add the parser of ``doctor``."""
    parser = commands.add_parser(
        "doctor",
        help="check this computer: what it can run, and what is wrong",
        description="Check this computer and its Python packages, make an object with the tiny model, say how LGM-full "
        "runs best here, and name a remedy for each problem. The exit code is 0 if the tiny model runs.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=doctor, go_on="")


def doctor(arguments: argparse.Namespace) -> int:
    """Print the results of :func:`image3d_nb.doctor.examine`."""
    found = examine()
    say(json.dumps(found, indent=2) if arguments.json else report(found))
    return 0 if found["ready"] else FAILED


def add_verify_weights(commands: Commands) -> None:
    """Add the parser of ``verify-weights``."""
    parser = commands.add_parser(
        "verify-weights",
        help="find the rays and rotations that a model's LGM was trained with",
        description="Make four views of the image, and Gaussians from them in every way that weights of LGM were "
        "trained or published with. With the right way, the object looks most like its views. The exit code is 0 if "
        "the model's configuration names the best way.",
    )
    parser.add_argument("model", metavar="MODEL", help='"tiny", a folder, or a hub repository')
    parser.add_argument("--image", required=True, metavar="IMAGE", help="a file or an http(s) URL")
    parser.add_argument("--lgm", metavar="LGM", help="weights of LGM, if MODEL has none or instead of its own")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    parser.add_argument("--device", default="cpu", help='"cpu", "cuda", "mps" (default: cpu)')
    parser.set_defaults(run=verify_weights, go_on="")


def verify_weights(arguments: argparse.Namespace) -> int:
    """Print the table of :func:`image3d_nb.verify.verify_weights` and the verdict."""
    from ..images import load_image
    from ..pipelines import generator, load_pipeline
    from ..verify import verify_weights as verify

    image, random = load_image(arguments.image), generator(arguments.seed)  # before the model: they fail sooner
    pipe = load_pipeline(arguments.model, lgm=arguments.lgm, device=arguments.device)
    verdict = verify(pipe, image, generator=random)
    say(str(verdict))
    return 0 if verdict.agrees else FAILED
