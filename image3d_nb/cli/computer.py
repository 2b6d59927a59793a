"""``image3d doctor`` and ``image3d verify-weights``: what runs here, and whether a model is what it says."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ..doctor import examine, report
from ..errors import Image3DError
from ._console import FAILED, complain, say

if TYPE_CHECKING:
    from ._console import Commands


def add_doctor(commands: Commands) -> None:
    """Tell the parser of ``doctor``."""
    parser = commands.add_parser(
        "doctor",
        help="what this computer can run, and what is wrong with it",
        description="Look at this computer and its Python packages, make an object with the tiny model, estimate what "
        "LGM-full would take, and name the remedy for what is wrong. The exit code is 0 when the tiny model runs.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=doctor, go_on="")


def doctor(arguments: argparse.Namespace) -> int:
    """Print what :func:`image3d_nb.doctor.examine` finds."""
    found = examine()
    say(json.dumps(found, indent=2) if arguments.json else report(found))
    return 0 if found["ready"] else FAILED


def add_verify_weights(commands: Commands) -> None:
    """Tell the parser of ``verify-weights``."""
    parser = commands.add_parser(
        "verify-weights",
        help="which rays and rotations a model's LGM was trained with",
        description="Make four views of the picture, and of them Gaussians in every way that LGM's weights were"
        " ever trained or published with: the way that suits these weights gives an object that looks most like the "
        "views it was made of. The exit code is 0 when the model's configuration says the best one.",
    )
    parser.add_argument("model", metavar="MODEL", help='"tiny", a folder, or a hub repository')
    parser.add_argument("--image", required=True, metavar="PICTURE", help="a file, or an address that starts with http")
    parser.add_argument("--lgm", metavar="LGM", help="weights of LGM, where MODEL has none or instead of its own")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all randomness (default: 0)")
    parser.add_argument("--device", default="cpu", help='"cpu", "cuda", "mps" (default: cpu)')
    parser.set_defaults(run=verify_weights, go_on="")


def verify_weights(arguments: argparse.Namespace) -> int:
    """Print the table of :func:`image3d_nb.verify.verify_weights`, and what it means."""
    try:
        from ..images import load_image
        from ..pipelines import generator, load_pipeline
        from ..verify import verify_weights as verify

        image, random = load_image(arguments.image), generator(arguments.seed)  # before the model: they fail sooner
        pipe = load_pipeline(arguments.model, lgm=arguments.lgm, device=arguments.device)
        verdict = verify(pipe, image, generator=random)
    except (Image3DError, OSError, ImportError) as error:
        complain(str(error))
        return FAILED
    say(str(verdict))
    return 0 if verdict.agrees else FAILED
