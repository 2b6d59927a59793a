"""Convert a file to another format: splats or a mesh, to splats or a mesh.

Importing this module loads none of the large libraries.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ._files import CONVENTIONS, check_free, check_parent, followed, replace, temporary_folder, writable
from ._numbers import is_whole
from .errors import FormatError, InputError, raise_if

if TYPE_CHECKING:
    from .gaussians import Gaussians

KINDS = ("splats", "mesh")
TEXTURES = ("uv", "vertex")
FACES, RESOLUTION, SPLATS = 20_000, 128, 50_000
"""Defaults: faces of a mesh made from splats, cells along its longest side, and splats sampled from a mesh."""
_SPLAT_SUFFIXES = (".ply", ".splat", ".spz", ".sog")
"""Formats that get splats by default; all others get a mesh."""

OnStep = Callable[[str, int, int], object]
_T = TypeVar("_T")


@dataclass(frozen=True)
class ConversionReport:
    """The result of :func:`convert`.

    Attributes:
        source: name of the source file.
        files: names of the written files: the target, then its companions.
        read: what the source holds, "Gaussians" or "Mesh".
        wrote: what the target holds.
        count: Gaussians or faces in the target.
        lost: what the target cannot hold, as sentences.
    """

    source: str
    files: tuple[str, ...]
    read: str
    wrote: str
    count: int
    lost: tuple[str, ...] = ()

    def __str__(self) -> str:
        made = f"{self.count:,} Gaussians" if self.wrote == "Gaussians" else f"a mesh of {self.count:,} faces"
        beside = f" (+ {', '.join(self.files[1:])})" if len(self.files) > 1 else ""
        return "\n".join([f"{self.source} -> {self.files[0]}{beside}: {made}", *(f"  lost: {it}" for it in self.lost)])


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    kind: str | None = None,
    from_convention: str = "3dgs",
    to_convention: str = "3dgs",
    drop_bad_rows: bool = False,
    scale_mm: float | None = None,
    strict: bool = False,
    resolution: int = RESOLUTION,
    faces: int | None = None,
    texture: Literal["uv", "vertex"] = "uv",
    splats: int = SPLATS,
    seed: int = 0,
    force: bool = False,
    on_step: OnStep | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ConversionReport:
    """Convert a file to the format that the target's suffix names. Either all files are written, or none.

    A .ply, .splat, .spz or .sog gets splats, any other format a mesh, unless ``kind`` says otherwise.
    :func:`image3d_nb.to_mesh` makes a mesh from splats, :func:`image3d_nb.to_gaussians` splats from a mesh.

    Args:
        source: the file to read; its content decides what it is.
        target: the file to write, in an existing folder. Companions (.mtl, .png, .bin) are written beside it.
        kind: "splats" or "mesh", for a target format that can hold both; None follows the rule above.
        from_convention: the world of the splats in the source, as for ``load``.
        to_convention: the world of the splats in the target, as for ``save``.
        drop_bad_rows: leave out splats that cannot be drawn; False refuses such a file.
        scale_mm: the longest side of a written mesh in millimetres; None keeps the size.
        strict: raise an error if the target's format cannot hold everything; False reports the loss.
        resolution: cells along the longest side of a mesh that is made from splats.
        faces: the most faces of a mesh; None is 20,000 for a mesh made from splats, and no limit for one that was read.
        texture: "uv" (an image) or "vertex" (vertex colours), for a mesh that is made from splats.
        splats: number of splats that are sampled from a mesh.
        seed: of that sampling.
        force: replace existing files.
        on_step: called as f(stage, done, total): "read", then the stages of ``to_mesh``, then "write".
        cancelled: called between steps; the work stops if it returns True.

    Returns:
        The report: what was read, written and lost.

    Raises:
        FormatError: the source cannot be read, the target's suffix is unknown; or, if strict, something would be lost.
        InputError: an argument is out of its range, or the target's format cannot hold ``kind``.
        FileExistsError: the target or a companion exists already, or the target is the source.
        Cancelled: ``cancelled`` returned True.

    Example:
        >>> print(convert("mug.ply", "mug.glb"))  # doctest: +SKIP
        mug.ply -> mug.glb: a mesh of 20,000 faces
          lost: transparency and soft edges of 16,384 Gaussians: a mesh is one opaque surface
    """
    source, target = Path(source).expanduser(), followed(target)
    _check(kind, from_convention, to_convention, texture, scale_mm)
    _check_counts(resolution=resolution, faces=faces, splats=splats)
    wanted = _wanted(target, kind)
    check_free(target, source, force=force)
    report = (lambda *_: None) if on_step is None else on_step

    from .gaussians import Gaussians
    from .io import load, save

    raise_if(cancelled, "convert")
    report("read", 0, 1)
    obj, lost = _with_warnings(lambda: load(source, from_convention, drop_bad_rows=drop_bad_rows))
    report("read", 1, 1)
    raise_if(cancelled, "convert")
    read = type(obj).__name__
    if isinstance(obj, Gaussians) and wanted == "Mesh":
        from .meshing import to_mesh

        lost += _softness(obj)
        most = FACES if faces is None else faces
        obj = to_mesh(obj, resolution, texture, most, on_step=on_step, cancelled=cancelled)
    elif not isinstance(obj, Gaussians) and wanted == "Gaussians":
        from .meshing import to_gaussians

        lost += [f"the {len(obj.faces):,} faces: {splats:,} splats are sampled on them"]
        obj = to_gaussians(obj, splats, seed)
    elif not isinstance(obj, Gaussians) and faces is not None and len(obj.faces) > faces:
        from .meshing import decimate

        lost += [f"{len(obj.faces) - faces:,} of {len(obj.faces):,} faces, as faces={faces} asks"]
        obj = decimate(obj, faces)
    raise_if(cancelled, "convert")
    report("write", 0, 1)
    with _folder_beside(target) as folder:
        write = functools.partial(save, obj, folder / target.name, to_convention, scale_mm=scale_mm, strict=strict)
        _, unsaved = _with_warnings(write)
        files = _move(folder, target, source, force=force)
    report("write", 1, 1)
    count = len(obj) if isinstance(obj, Gaussians) else len(obj.faces)
    return ConversionReport(source.name, files, read, wanted, count, (*lost, *unsaved))


def _check(kind: str | None, from_convention: str, to_convention: str, texture: str, scale_mm: float | None) -> None:
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, or None; got {kind!r}")
    for name, value in (("from_convention", from_convention), ("to_convention", to_convention)):
        if value not in CONVENTIONS:
            raise InputError(f"{name} must be one of {', '.join(map(repr, CONVENTIONS))}; got {value!r}")
    if texture not in TEXTURES:
        raise InputError(f"texture must be one of {', '.join(TEXTURES)}; got {texture!r}")
    if scale_mm is not None and not 0 < scale_mm < float("inf"):
        raise InputError(f"scale_mm must be above 0, or None; got {scale_mm}")


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and (not is_whole(count) or count < 1):
            raise InputError(f"{name} must be a whole number of 1 or more; got {count!r}")


def _wanted(target: Path, kind: str | None) -> str:
    """The name of the class to write, from the target's suffix and ``kind``."""
    from .io import formats

    suffix = target.suffix.lower()
    held = {info.holds for info in formats() if info.suffix == suffix and info.write}
    if not held:
        known = dict.fromkeys(info.suffix for info in formats() if info.write)
        raise FormatError(f"the suffix of a file to write must be one of {', '.join(known)}; got {target.name!r}")
    usual = "splats" if suffix in _SPLAT_SUFFIXES else "mesh"
    wanted = {"splats": "Gaussians", "mesh": "Mesh"}[usual if kind is None else kind]
    if wanted not in held:
        raise InputError(f"a {suffix} must get {' or '.join(sorted(held))}; got kind={kind!r}")
    return wanted


def _with_warnings(work: Callable[[], _T]) -> tuple[_T, list[str]]:
    """Do the work; return its result, and its warnings, which say what gets lost."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = work()
    return result, [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


def _softness(gaussians: Gaussians) -> list[str]:
    lost = f"transparency and soft edges of {len(gaussians):,} Gaussians: a mesh is one opaque surface"
    if not gaussians.sh_degree:
        return [lost]
    return [lost, f"the view-dependent part of their colours (SH degree 1 to {gaussians.sh_degree})"]


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target; an error of the system names the target instead of a temporary file."""
    check_parent(target)
    try:
        with temporary_folder(target) as folder:
            yield folder
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def _move(folder: Path, target: Path, source: Path, *, force: bool) -> tuple[str, ...]:
    """Move all files from the folder to the target's folder; return their names, the target's first.

    The names of companions are known only now, because the format chooses them: the arrays of a mug.gltf must not
    replace another mug.bin.
    """
    names = sorted((file.name for file in folder.iterdir()), key=lambda name: (name != target.name, name))
    for name in names:
        check_free(writable(target.parent / name), source, force=force)
    for name in reversed(names):  # the target last: once it exists, so do its companions
        replace(folder / name, target.parent / name)
    return tuple(names)
