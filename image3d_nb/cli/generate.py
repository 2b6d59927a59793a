"""``image3d generate``: pictures to 3D objects."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import CONVENTIONS
from ..errors import InputError, WeightsError
from ..generate import FORMATS, MEMORY, USUAL_FORMATS, GenerateSettings, generate_one, picture_name
from ._console import FAILED, Progress, complain, say, sentence

if TYPE_CHECKING:
    from ._console import Commands

_GO_ON = "The same command goes on where it stopped."
_WORDS = {"load": "loading the model", "generate": "making views", "files": "writing files"}


def add(commands: Commands) -> None:
    """Tell the parser of this command."""
    parser = commands.add_parser(
        "generate",
        help="pictures to 3D objects",
        description="Make a 3D object of each picture: files, a turntable, and a page to turn it in. Each picture gets "
        "a folder of its own in DIR, named after it; one that is there already, made of the same picture with the same "
        "settings, is not made again.",
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file, or an address that starts with http")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="DIR", help="where to (default: out)")
    parser.add_argument("--model", default="tiny", help='"tiny", a folder, or a hub repository (default: tiny)')
    parser.add_argument("--lgm", metavar="LGM", help="the second half, where MODEL is only the first")
    parser.add_argument("--revision", metavar="COMMIT", help="of the repository MODEL (default: its main branch)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all randomness (default: 0)")
    parser.add_argument("--candidates", type=int, default=1, metavar="N", help="make N, write the best (default: 1)")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the model's)")
    parser.add_argument("--guidance", type=float, metavar="X", help="1 is none (default: the model's)")
    formats = f"any of {','.join(FORMATS)} (default: {','.join(USUAL_FORMATS)})"
    parser.add_argument("--formats", type=_names, default=USUAL_FORMATS, metavar="A,B", help=formats)
    parser.add_argument(
        "--convention", choices=CONVENTIONS, default="3dgs", help="world of the splats in files"
    )
    parser.add_argument("--elevation", type=float, default=0.0, metavar="DEG", help="of the camera (default: 0)")
    parser.add_argument("--device", default="cpu", help='"cpu", "cuda", "mps" (default: cpu)')
    parser.add_argument("--memory", choices=MEMORY, default="normal", help="low: one network in memory at a time")
    parser.add_argument(
        "--no-prepare", action="store_true", help="the picture is a square with the object on white already"
    )
    parser.add_argument("--force", action="store_true", help="make it again even if it is there")
    parser.add_argument("--quiet", action="store_true", help="tell of errors only")
    parser.set_defaults(run=lambda arguments: generate(arguments, parser), go_on=_GO_ON)


def _names(text: str) -> tuple[str, ...]:
    """ "ply,html" -> ("ply", "html")."""
    return tuple(name.strip().removeprefix(".") for name in text.split(","))


def generate(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Work through the pictures; a failing one does not stop the rest."""
    names = (
        "model", "lgm", "revision", "seed", "candidates", "steps", "guidance", "formats", "convention", "elevation",
        "device", "memory",
    )  # fmt: skip
    try:
        settings = GenerateSettings(**{k: getattr(arguments, k) for k in names}, prepare=not arguments.no_prepare)
    except InputError as error:
        parser.error(str(error))  # exits with code 2
    jobs = list(_with_folders(dict.fromkeys(arguments.pictures), arguments.out))
    failed = 0
    gc.disable()  # until the libraries are loaded: it would free nothing and take a tenth of that time
    for number, (picture, folder) in enumerate(jobs, 1):
        try:
            line = _generate_one(picture, folder, settings, arguments)
        except WeightsError as error:  # the model's fault: no other picture would fare better
            left = len(jobs) - number
            complain(str(error) + (f" ({left} more not tried)" if left else ""))
            gc.enable()
            return FAILED
        except Exception as error:  # noqa: BLE001 -- whatever happens to one picture must not stop the others
            complain(f"{picture}: {sentence(error)}")
            failed += 1
        else:
            if not arguments.quiet:
                say(line)
        if number == 1:
            gc.freeze()  # the libraries stay: nobody need look through them again, at the exit neither
            gc.enable()
    if failed and len(jobs) > 1:
        complain(f"{failed} of {len(jobs)} pictures failed")
    return FAILED if failed else 0


def _with_folders(pictures: Iterable[str], out: Path) -> Iterable[tuple[str, Path]]:
    """Each picture with a folder of its own: a/mug.png and b/mug.jpg go to mug and mug-2.

    A folder a picture, also when there is only one: then a second run, with more pictures, finds what the first made.
    """
    taken: set[str] = set()
    for picture in pictures:
        name = stem = picture_name(picture)
        number = 2
        while name.casefold() in taken:  # on some systems Mug and mug are the same folder
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        yield picture, out / name


def _generate_one(picture: str, folder: Path, settings: GenerateSettings, arguments: argparse.Namespace) -> str:
    """Make one object; what to tell of it."""
    with Progress(Path(picture).name[:30], _WORDS, quiet=arguments.quiet) as progress:
        record = generate_one(picture, folder, settings, on_step=progress, force=arguments.force)
    if not progress.called:
        return f"{picture} -> {folder}{os.sep}: there already (--force makes it again)"
    files = ", ".join(name for name in record["files"] if name.rpartition(".")[2] in FORMATS)
    told = f"{record['gaussians']:,} Gaussians, {record['seconds']['total']:.1f} s"
    return f"{picture} -> {folder}{os.sep}: {files} ({told})"
