"""``image3d convert``: files to other formats."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import CONVENTIONS
from ..conversion import FACES, KINDS, RESOLUTION, SPLATS, TEXTURES, convert
from ..errors import InputError
from ._console import FAILED, Progress, complain, say, sentence
from ._paths import Job, plan

if TYPE_CHECKING:
    from ._console import Commands

_WORDS = {
    "read": "reading", "views": "rendering views", "volume": "fusing a volume", "surface": "finding the surface",
    "simplify": "simplifying", "texture": "making the texture", "write": "writing",
}  # fmt: skip
_OPTIONS = (
    "kind", "from_convention", "to_convention", "drop_bad_rows", "scale_mm", "strict", "resolution", "faces",
    "texture", "splats", "seed", "force",
)  # fmt: skip
_GO_ON = "Run the same command with --skip to continue."


def add(commands: Commands) -> None:
    """Add the parser of ``convert``."""
    parser = commands.add_parser(
        "convert",
        help="convert files to another format, splats to meshes and back",
        description="Convert files of splats and of meshes: .ply .splat .spz .sog .glb .gltf .obj .stl. A .glb, "
        ".gltf, .obj or .stl gets a mesh (.glb and .gltf also splats, with --as splats); a .ply, .splat, .spz or .sog "
        "gets splats (.ply also a mesh, with --as mesh). What a format cannot hold is reported. An existing file is "
        "not replaced; a file that fails does not stop the others.",
        epilog='image3d convert mug.ply mug.glb | image3d convert "*.ply" meshes --to .glb | '
        "image3d convert folder other --to .spz",
    )
    parser.add_argument("sources", nargs="+", metavar="A", help="a file, a pattern in quotes, or a folder")
    parser.add_argument("target", metavar="B", help="a file; with several files or --to, a folder")
    parser.add_argument("--to", type=_suffix, metavar=".glb", help="the format of the files in folder B")
    parser.add_argument("--as", dest="kind", choices=KINDS, help="what B holds, if its format can hold both")
    worlds = {"choices": CONVENTIONS, "default": "3dgs"}
    about = "splats: 3dgs (usual in the format, the default), opengl (y up), ydown"
    parser.add_argument("--from-convention", help=f"the world of A's {about}", **worlds)  # type: ignore[arg-type]
    parser.add_argument("--to-convention", help=f"the world of B's {about}", **worlds)  # type: ignore[arg-type]
    parser.add_argument("--drop-bad-rows", action="store_true", help="leave out splats that cannot be drawn (NaN)")
    parser.add_argument("--scale-mm", type=_size, metavar="MM", help="longest side of a mesh in millimetres")
    parser.add_argument("--strict", action="store_true", help="fail if B's format cannot hold everything")
    cells = f"cells along the longest side of a mesh made from splats (default: {RESOLUTION})"
    parser.add_argument("--resolution", type=_count, default=RESOLUTION, metavar="N", help=cells)
    most = f"the most faces of a mesh (default: {FACES:,} if made from splats, else all)"
    parser.add_argument("--faces", type=_count, metavar="N", help=most)
    colours = "colours of a mesh made from splats: an image, or vertex colours"
    parser.add_argument("--texture", choices=TEXTURES, default="uv", help=colours)
    sampled = f"splats to sample from a mesh (default: {SPLATS:,})"
    parser.add_argument("--splats", type=_count, default=SPLATS, metavar="N", help=sampled)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed of the sampling (default: 0)")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--force", action="store_true", help="replace existing files")
    there.add_argument("--skip", action="store_true", help="skip existing files")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=lambda arguments: run(arguments, parser), go_on=_GO_ON)


def _suffix(text: str) -> str:
    """ "glb" and ".GLB" -> ".glb"."""
    name = text.lower().removeprefix(".")
    if not name.isalnum():
        raise argparse.ArgumentTypeError(f"must be a suffix such as .glb; got {text!r}")
    return f".{name}"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more; got {text!r}")
    return int(text)


def _size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0; got {text!r}")
    return size


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Convert all files; one that fails does not stop the others."""
    try:
        jobs = plan(arguments.sources, arguments.target, arguments.to)
    except InputError as error:
        parser.error(str(error))  # exits with code 2
    failed = 0
    for number, job in enumerate(jobs, 1):
        place = f"[{number}/{len(jobs)}] " if len(jobs) > 1 else ""
        try:
            line = _convert(job, arguments, place)
        except Exception as error:  # noqa: BLE001 -- one file must not stop the others
            complain(_named(job.source, sentence(error)))
            failed += 1
        else:
            if not arguments.quiet:
                say(line)
    if failed and len(jobs) > 1:
        complain(f"{failed} of {len(jobs)} files failed")
    return FAILED if failed else 0


def _convert(job: Job, arguments: argparse.Namespace, place: str) -> str:
    """Convert one file; return the line to print."""
    if job.problem:
        raise InputError(job.problem)
    if arguments.skip and job.target.exists():
        return f"{job.source} -> {job.target}: exists already"
    job.source.stat()  # fails before a folder is made for nothing
    job.target.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    options = {name: getattr(arguments, name) for name in _OPTIONS}
    with Progress(f"{place}{job.source.name[:30]}", _WORDS, quiet=arguments.quiet) as progress:
        report = convert(job.source, job.target, **options, on_step=progress)
    seconds = time.perf_counter() - start
    first, *lost = str(report).splitlines()
    first = first.replace(f"{report.source} -> {report.files[0]}", f"{job.source} -> {job.target}", 1)
    return "\n".join([f"{place}{first}, {seconds:.1f} s", *lost])


def _named(source: Path, message: str) -> str:
    """Put the source before the message, unless it is there already."""
    return message if message.startswith(str(source)) else f"{source}: {message.removeprefix(f'{source.name}: ')}"
