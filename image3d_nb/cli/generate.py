"""``image3d generate``: images to 3D objects."""

from __future__ import annotations

import argparse
import gc
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import CONVENTIONS
from ..errors import InputError, WeightsError
from ..generate import (
    BACKGROUNDS,
    FORMATS,
    MEMORY,
    USUAL_FORMATS,
    GenerateSettings,
    belongs_to_another,
    generate_one,
    image_name,
    sharpened_by_default,
)
from ..hub.weights import KNOWN
from ._console import FAILED, Progress, complain, say, sentence

if TYPE_CHECKING:
    from ._console import Commands

_GO_ON = "Run the same command to continue."
_WORDS = {"load": "loading the model", "generate": "making views", "files": "writing files"}


def add(commands: Commands) -> None:
    """Add the parser of ``generate``."""
    parser = commands.add_parser(
        "generate",
        help="make 3D objects from images",
        description="Make a 3D object from each image: files, a turntable, and a page in which it can be turned. Each "
        "image gets its own folder in DIR, named after it. An object that exists already, from the same image with the "
        "same settings, is not made again.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a file or an http(s) URL")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("out"), metavar="DIR", help="folder of the results (default: out)"
    )
    add_settings(parser)
    parser.add_argument("--force", action="store_true", help="make existing objects again")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=lambda arguments: generate(arguments, parser), go_on=_GO_ON)


def add_settings(parser: argparse.ArgumentParser, formats: tuple[str, ...] = USUAL_FORMATS) -> None:
    """Add the options that :func:`settings_of` reads."""
    parser.add_argument(
        "--model", default="tiny", metavar="MODEL",
        help=f"{', '.join(name for name, known in KNOWN.items() if known.takes == 'image')}, another hub repository, "
        "a folder, or a checkpoint (default: tiny)",
    )  # fmt: skip
    parser.add_argument("--lgm", metavar="LGM", help="the second half, if MODEL is only the first")
    parser.add_argument("--revision", metavar="COMMIT", help="of the repository MODEL (default: its main branch)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    parser.add_argument("--candidates", type=int, default=1, metavar="N", help="make N, write the best (default: 1)")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the model's)")
    parser.add_argument("--guidance", type=float, metavar="X", help="guidance scale; 1 is none (default: the model's)")
    which = f"any of {','.join(FORMATS)} (default: {','.join(formats)})"
    parser.add_argument("--formats", type=_names, default=formats, metavar="A,B", help=which)
    parser.add_argument("--convention", choices=CONVENTIONS, default="3dgs", help="world of the splats in files")
    parser.add_argument(
        "--elevation", type=float, default=0.0, metavar="DEG", help="of the image's camera (default: 0)"
    )
    cut = "how the object is cut out of its background (default: auto)"
    parser.add_argument("--background", choices=BACKGROUNDS, default="auto", help=cut)
    parser.add_argument("--device", default="cpu", help='"cpu", "cuda", "mps" (default: cpu)')
    parser.add_argument("--memory", choices=MEMORY, default="normal", help="low: one network in memory at a time")
    parser.add_argument(
        "--no-prepare", action="store_true", help="the image already is a square with a white background"
    )
    parser.add_argument(
        "--refine", action=argparse.BooleanOptionalAction, help="sharpen the object from the image (default: with tiny)"
    )


def _names(text: str) -> tuple[str, ...]:
    """ "ply,html" -> ("ply", "html")."""
    return tuple(name.strip().removeprefix(".") for name in text.split(","))


def settings_of(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> GenerateSettings:
    """The settings that the options give; wrong ones end the program with code 2."""
    names = (
        "model", "lgm", "revision", "seed", "candidates", "steps", "guidance", "formats", "convention", "elevation",
        "background", "device", "refine", "memory",
    )  # fmt: skip
    try:
        return GenerateSettings(**{k: getattr(arguments, k) for k in names}, prepare=not arguments.no_prepare)
    except InputError as error:
        parser.error(str(error))


def generate(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Make all objects; an image that fails does not stop the others."""
    settings = sharpened_by_default(settings_of(arguments, parser))
    jobs = list(_with_folders(dict.fromkeys(arguments.images), arguments.out, replace=arguments.force))
    failed = 0
    gc.disable()  # while the libraries load: a collection would free nothing and take a tenth of the time
    for number, (image, folder) in enumerate(jobs, 1):
        try:
            line = _generate_one(image, folder, settings, arguments)
        except WeightsError as error:  # the model is to blame, so all other images would fail
            left = len(jobs) - number
            complain(str(error) + (f" ({left} more were not tried)" if left else ""))
            gc.enable()
            return FAILED
        except Exception as error:  # noqa: BLE001 -- one image must not stop the others
            complain(f"{image}: {sentence(error)}")
            failed += 1
        else:
            if not arguments.quiet:
                say(line)
        if number == 1:
            gc.freeze()  # the libraries stay: later collections skip them
            gc.enable()
    if failed and len(jobs) > 1:
        complain(f"{failed} of {len(jobs)} images failed")
    return FAILED if failed else 0


def _with_folders(images: Iterable[str], out: Path, *, replace: bool) -> Iterable[tuple[str, Path]]:
    """Pair each image with its own folder: a/mug.png and b/mug.jpg get mug and mug-2.

    Unless ``replace``, a folder with the result of another image is passed over as well. A single image gets a folder
    too, so that a second run with more images finds its result.
    """
    taken: set[str] = set()
    for image in images:
        name = stem = image_name(image)
        number = 2
        # on some systems Mug and mug are the same folder
        while name.casefold() in taken or (not replace and belongs_to_another(out / name, image)):
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        yield image, out / name


def _generate_one(image: str, folder: Path, settings: GenerateSettings, arguments: argparse.Namespace) -> str:
    """Make one object; return the line to print."""
    with (
        Progress(Path(image).name[:30], _WORDS, quiet=arguments.quiet) as progress,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always", UserWarning)
        record = generate_one(image, folder, settings, on_step=progress, force=arguments.force)
    if not arguments.quiet:
        for message in dict.fromkeys(str(each.message) for each in caught if each.category is UserWarning):
            complain(f"{image}: warning: {message}")
    if not progress.called:
        return f"{image} -> {folder}{os.sep}: exists already (--force makes it again)"
    files = ", ".join(name for name in record["files"] if name.rpartition(".")[2] in FORMATS)
    made = f"{record['faces']:,} triangles" if "faces" in record else f"{record['gaussians']:,} Gaussians"
    numbers = f"{made}, {record['seconds']['total']:.1f} s"
    return f"{image} -> {folder}{os.sep}: {files} ({numbers})"
