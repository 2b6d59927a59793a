"""The command ``image3d``. To add a command, write ``_add_NAME(commands)`` and ``NAME(arguments)``, and list it below.

Exit codes: 0 all is done, 1 some of it failed, 2 it was called in a wrong way, 130 it was stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import __version__
from .cli_view import add_view
from .doctor import examine, report
from .errors import Image3DError, InputError, WeightsError
from .generate import CONVENTIONS, FORMATS, MEMORY, STAGES, GenerateSettings, generate_one, picture_name

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

FAILED, STOPPED = 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: what stands behind ``image3d``; None takes it from the command line.

    Returns:
        The exit code.

    Raises:
        SystemExit: after ``--help`` or ``--version``, and with code 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="image3d", description="One picture in, one 3D object out.")
    parser.add_argument("--version", action="version", version=f"image3d {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(commands)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        _complain("stopped; nothing half-written is left. The same command goes on where it stopped.")
        return STOPPED


def _add_generate(commands: Commands) -> None:
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
    formats = f"any of {','.join(FORMATS)} (default: all)"
    parser.add_argument("--formats", type=_names, default=FORMATS, metavar="A,B", help=formats)
    parser.add_argument(
        "--convention", choices=CONVENTIONS, default="3dgs", help="world of .ply and .splat: y down, or y up"
    )
    parser.add_argument("--elevation", type=float, default=0.0, metavar="DEG", help="of the camera (default: 0)")
    parser.add_argument("--device", default="cpu", help='"cpu", "cuda", "mps" (default: cpu)')
    parser.add_argument("--memory", choices=MEMORY, default="normal", help="low: one network in memory at a time")
    parser.add_argument(
        "--no-prepare", action="store_true", help="the picture is a square with the object on white already"
    )
    parser.add_argument("--force", action="store_true", help="make it again even if it is there")
    parser.add_argument("--quiet", action="store_true", help="tell of errors only")
    parser.set_defaults(run=lambda arguments: generate(arguments, parser))


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
            _complain(str(error) + (f" ({left} more not tried)" if left else ""))
            gc.enable()
            return FAILED
        except Exception as error:  # noqa: BLE001 -- whatever happens to one picture must not stop the others
            _complain(f"{picture}: {_sentence(error)}")
            failed += 1
        else:
            if not arguments.quiet:
                print(line, flush=True)
        if number == 1:
            gc.freeze()  # the libraries stay: nobody need look through them again, at the exit neither
            gc.enable()
    if failed and len(jobs) > 1:
        _complain(f"{failed} of {len(jobs)} pictures failed")
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
    with _Progress(picture, arguments.quiet) as progress:
        record = generate_one(picture, folder, settings, on_step=progress, force=arguments.force)
    if not progress.called:
        return f"{picture} -> {folder}{os.sep}: there already (--force makes it again)"
    files = ", ".join(name for name in record["files"] if name.rpartition(".")[2] in FORMATS)
    told = f"{record['gaussians']:,} Gaussians, {record['seconds']['total']:.1f} s"
    return f"{picture} -> {folder}{os.sep}: {files} ({told})"


class _Progress:
    """A bar on stderr; only where somebody can watch it."""

    def __init__(self, picture: str, quiet: bool) -> None:
        self.called = False
        self._title = Path(picture).name[:30]
        self._quiet = quiet
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm  # here, because it takes longer to import than --help to print

        self.called = True
        if self._bar is None:
            disable = True if self._quiet else None  # None: unless stderr is a terminal
            self._bar = tqdm(total=len(STAGES), file=sys.stderr, disable=disable, leave=False, bar_format="{desc}")
        words = {"load": "loading the model", "generate": "making views", "files": "writing files"}[stage]
        self._bar.set_description_str(f"{self._title}: {words} {done}/{total}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _add_doctor(commands: Commands) -> None:
    parser = commands.add_parser(
        "doctor",
        help="what this computer can run, and what is wrong with it",
        description="Look at this computer and its Python packages, make an object with the tiny model, estimate what "
        "LGM-full would take, and name the remedy for what is wrong. The exit code is 0 when the tiny model runs.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Print what :func:`image3d_nb.doctor.examine` finds."""
    found = examine()
    print(json.dumps(found, indent=2) if arguments.json else report(found))
    return 0 if found["ready"] else FAILED


def _add_verify_weights(commands: Commands) -> None:
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
    parser.set_defaults(run=verify_weights)


def verify_weights(arguments: argparse.Namespace) -> int:
    """Print the table of :func:`image3d_nb.verify.verify_weights`, and what it means."""
    try:
        from .image import load_image
        from .pipelines import generator, load_pipeline
        from .verify import verify_weights as verify

        image, random = load_image(arguments.image), generator(arguments.seed)  # before the model: they fail sooner
        pipe = load_pipeline(arguments.model, lgm=arguments.lgm, device=arguments.device)
        verdict = verify(pipe, image, generator=random)
    except (Image3DError, OSError, ImportError) as error:
        _complain(str(error))
        return FAILED
    print(verdict)
    return 0 if verdict.agrees else FAILED


def _sentence(error: Exception) -> str:
    """An expected error is a sentence already; one that nobody expected needs its traceback in a report."""
    if isinstance(error, (Image3DError, OSError, ImportError)):
        return str(error)
    traceback.print_exception(error)
    return f"unexpected {type(error).__name__}: {error}"


def _complain(sentence: str) -> None:
    print(f"image3d: {sentence}", file=sys.stderr, flush=True)


_COMMANDS: tuple[Callable[[Commands], None], ...] = (_add_generate, add_view, _add_doctor, _add_verify_weights)
