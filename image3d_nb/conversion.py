"""One file to another of any format: splats to splats, splats to a mesh, a mesh to splats, a mesh to a mesh.

Importing this loads none of the large libraries.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ._files import CONVENTIONS, check_free
from .errors import Cancelled, FormatError, InputError

if TYPE_CHECKING:
    from .gaussians import Gaussians

KINDS = ("splats", "mesh")
TEXTURES = ("uv", "vertex")
FACES, RESOLUTION, SPLATS = 20_000, 128, 50_000
"""Faces of a mesh made of splats, cells along its longest side, and splats sampled of a mesh."""
_SPLAT_SUFFIXES = (".ply", ".splat", ".spz")
"""What holds splats unless told otherwise; all other suffixes hold a mesh."""

OnStep = Callable[[str, int, int], object]
_T = TypeVar("_T")


@dataclass(frozen=True)
class ConversionReport:
    """What became of a file.

    Attributes:
        source: the file's name.
        files: the names of what was written beside each other, the file itself first.
        read: what the source held, "Gaussians" or "Mesh".
        wrote: what the target holds.
        count: Gaussians or faces in the target.
        lost: what the target cannot hold, a sentence each.
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
    """Read a file and write it as another, whose suffix names the format. All of it is written, or nothing.

    A .ply, .splat or .spz gets splats, any other format a mesh; ``kind`` says otherwise. Splats become a mesh by
    :func:`image3d_nb.to_mesh`, a mesh becomes splats by :func:`image3d_nb.to_gaussians`. (``save`` is another matter:
    there the class of the object decides.)

    Args:
        source: the file; its content says what it is.
        target: the file to write, in a folder that exists. Companions (.mtl, .png, .bin) go beside it.
        kind: "splats" or "mesh", what the target shall hold, where its format can hold both; None as above.
        from_convention: the world of the splats in the source, as ``load`` takes it.
        to_convention: the world of the splats in the target, as ``save`` takes it.
        drop_bad_rows: leave out splats that cannot be drawn, instead of refusing the file.
        scale_mm: the longest side of a written mesh, millimetres; None keeps the size.
        strict: refuse what the target's format cannot hold, instead of telling of it.
        resolution: cells along the longest side, where a mesh is made of splats.
        faces: of a mesh, at most: one made of splats has 20,000 if None, one that was read is thinned out only if
            given.
        texture: "uv" (a picture) or "vertex" (colours at the vertices), where a mesh is made of splats.
        splats: how many to sample of a mesh.
        seed: of that sampling.
        force: replace files that are there already.
        on_step: called as f(stage, done, total): "read", then the stages of ``to_mesh``, then "write".
        cancelled: asked between steps; True stops the work.

    Returns:
        What was read and written, and what was lost.

    Raises:
        FormatError: the source cannot be read, no format has the target's suffix; or, strict, something would be lost.
        InputError: an argument is out of its range, or the target's format holds no such thing.
        FileExistsError: the target or a companion is there already, or the target is the source.
        Cancelled: ``cancelled`` said so.

    Example:
        >>> print(convert("mug.ply", "mug.glb"))  # doctest: +SKIP
        mug.ply -> mug.glb: a mesh of 20,000 faces
          lost: transparency and soft edges of 16,384 Gaussians: a mesh is one opaque surface
    """
    source, target = Path(source), Path(target)
    _check(kind, from_convention, to_convention, texture, scale_mm)
    _check_counts(resolution=resolution, faces=faces, splats=splats)
    wanted = _wanted(target, kind)
    check_free(target, source, force=force)
    report, stop = on_step or _silent, _raiser(cancelled)

    from .gaussians import Gaussians
    from .io import load, save

    stop()
    report("read", 0, 1)
    obj, lost = _listening(lambda: load(source, from_convention, drop_bad_rows=drop_bad_rows))
    report("read", 1, 1)
    stop()
    read = type(obj).__name__
    if isinstance(obj, Gaussians) and wanted == "Mesh":
        from .meshing import to_mesh

        lost += _softness(obj)
        most = FACES if faces is None else faces
        obj = to_mesh(obj, resolution, texture, most, on_step=on_step, cancelled=cancelled)
    elif not isinstance(obj, Gaussians) and wanted == "Gaussians":
        from .meshing import to_gaussians

        lost += [f"the faces of the mesh: {splats:,} splats are scattered on its {len(obj.faces):,}"]
        obj = to_gaussians(obj, splats, seed)
    elif not isinstance(obj, Gaussians) and faces is not None and len(obj.faces) > faces:
        from .meshing import decimate

        lost += [f"{len(obj.faces) - faces:,} of {len(obj.faces):,} faces, as you say"]
        obj = decimate(obj, faces)
    stop()
    report("write", 0, 1)
    made = obj
    with _beside(target) as folder:
        _, told = _listening(lambda: save(made, folder / target.name, to_convention, scale_mm=scale_mm, strict=strict))
        files = _moved(folder, target, source, force=force)
    report("write", 1, 1)
    count = len(made) if isinstance(made, Gaussians) else len(made.faces)
    return ConversionReport(source.name, files, read, wanted, count, (*lost, *told))


def _check(
    kind: str | None, from_convention: str, to_convention: str, texture: str, scale_mm: float | None
) -> None:
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
        if count is not None and (not isinstance(count, int) or count < 1):
            raise InputError(f"{name} must be a whole number of 1 or more; got {count!r}")


def _wanted(target: Path, kind: str | None) -> str:
    """The class of what to write, by the suffix of the target."""
    from .io import formats

    suffix = target.suffix.lower()
    held = {info.holds for info in formats() if info.suffix == suffix and info.write}
    if not held:
        known = dict.fromkeys(info.suffix for info in formats() if info.write)
        raise FormatError(f"the suffix of a file to write must be one of {', '.join(known)}; got {target.name!r}")
    usual = "splats" if suffix in _SPLAT_SUFFIXES else "mesh"
    wanted = {"splats": "Gaussians", "mesh": "Mesh"}[usual if kind is None else kind]
    if wanted not in held:
        raise InputError(f"what is written to {suffix} must be {' or '.join(sorted(held))}; got kind={kind!r}")
    return wanted


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Where nobody wants to know."""


def _raiser(cancelled: Callable[[], bool] | None) -> Callable[[], None]:
    def stop() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled("convert was cancelled; nothing has been written")

    return stop


def _listening(work: Callable[[], _T]) -> tuple[_T, list[str]]:
    """Do the work; what it warned of, which is how reading and writing tell what gets lost."""
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
def _beside(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target, on the same disk: moving from it is one rename. Gone afterwards."""
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder of a file to write must exist; {target.parent} does not: create it first")
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.stem[:40]}-", dir=target.parent))
        yield folder
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error  # and not a temporary name
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _moved(folder: Path, target: Path, source: Path, *, force: bool) -> tuple[str, ...]:
    """All that is in the folder to the target's; the names, the target's own first.

    Companions are looked for only now, because only the format knows their names: a mug.obj must not replace the
    picture mug.png that it was made of.
    """
    names = sorted((file.name for file in folder.iterdir()), key=lambda name: (name != target.name, name))
    for name in names:
        check_free(target.parent / name, source, force=force)
    for name in reversed(names):  # the file itself last: when it is there, so are its companions
        os.replace(folder / name, target.parent / name)
    return tuple(names)
