"""Files in and out: one module a format, an explicit registry, and the only place that opens and turns them.

To add a format, write a module with a ``FORMAT`` (see ``_format.py``) and put it into :data:`_FORMATS`.

The ``convention`` argument says which world the numbers **in the file** live in. Objects in memory always live in the
world of :mod:`image3d_nb.cameras` (OpenGL, y up).

- ``"3dgs"``: the world of 3D Gaussian Splatting and COLMAP, y down, z away from the camera: ours turned by 180 degrees
  about x. Upright in gsplat.js and gradio.
- ``"opengl"``: our world as it is. Upright where the user turns splats himself, and in y-up viewers.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import torch

from .._files import atomic_write
from ..errors import FormatError, InputError
from ..gaussians import Gaussians
from . import ply, splat
from ._format import Format, FormatInfo, FormatTable

__all__ = ["formats", "load", "save"]

_FORMATS: dict[str, Format] = {module.FORMAT.suffix: module.FORMAT for module in (ply, splat)}

_TURNS = {"3dgs": torch.diag(torch.tensor([1.0, -1.0, -1.0])), "opengl": None}
"""180 degrees about x is its own inverse, so saving and loading turn alike."""


def formats() -> FormatTable:
    """The file formats there are: a tuple of records (suffix, name, holds, read, write) that prints as a table.

    Example:
        >>> print(formats())
        suffix  name                holds      read  write
        .ply    3DGS PLY            Gaussians  yes   yes
        .splat  antimatter15 splat  Gaussians  yes   yes
    """
    return FormatTable(
        FormatInfo(f.suffix, f.name, tuple(c.__name__ for c in f.holds), f.read is not None, f.write is not None)
        for f in _FORMATS.values()
    )


def save(obj: Gaussians, path: str | os.PathLike[str], convention: str = "3dgs") -> None:
    """Write an object to a file whose suffix names the format. Nothing is pruned; all or nothing is written.

    Args:
        obj: on any device; stored as float32 (.ply) or as the format says.
        path: e.g. "mug.ply"; the folder must exist; a file there is replaced once the new one is complete.
        convention: the world of the numbers in the file, "3dgs" (y down) or "opengl" (y up); see this module's text.

    Raises:
        FormatError: no format has this suffix.
        InputError: the format does not hold such an object, numbers in it are not finite or out of range, nothing is
            in it, or an unknown convention.
        FileNotFoundError: the folder does not exist.

    Example:
        >>> save(Gaussians.from_lgm(torch.rand(1, 8, 14)), "mug.ply")  # doctest: +SKIP
    """
    path = Path(path)
    _check_convention(convention)
    known = _FORMATS.get(path.suffix.lower())
    if known is None or known.write is None:
        raise FormatError(f"the suffix of a file to save must be one of {_suffixes()}; got {path.name!r}")
    if not isinstance(obj, known.holds):
        held = " or ".join(c.__name__ for c in known.holds)
        raise InputError(f"what is saved to {known.suffix} must be {held}; got {type(obj).__name__}")
    if not len(obj):
        raise InputError("what is saved must hold at least one Gaussian; got 0: prune or crop less")
    obj = _checked(obj.detach().to("cpu", torch.float32))
    files = known.write(_turned(obj, convention, known), path.name)
    atomic_write({path.parent / name: content for name, content in files.items()})


def load(path: str | os.PathLike[str], convention: str = "3dgs", *, drop_bad_rows: bool = False) -> Gaussians:
    """Read a file. Its content says what it is; the suffix decides only where the content does not (.splat).

    Args:
        path: the file.
        convention: the world of the numbers in the file, "3dgs" (y down) or "opengl" (y up); see this module's text.
        drop_bad_rows: leave out rows that no renderer can draw (NaN, infinite, orientation of length 0).

    Returns:
        float32 tensors on the CPU, in our world.

    Raises:
        FormatError: damaged, empty, of no known format, or with rows that cannot be drawn.
        InputError: an unknown convention.
        FileNotFoundError: no such file.

    Example:
        >>> load("mug.ply")  # doctest: +SKIP
        Gaussians(n=9876, sh_degree=0, device=cpu)
    """
    path = Path(path)
    _check_convention(convention)
    buffer = _content(path)
    try:
        known = _recognise(buffer, path)
        assert known.read is not None  # _recognise looks among the readable ones only
        obj = known.read(buffer, lambda name: (path.parent / Path(name).name).read_bytes())
        return _turned(_drawable(obj, drop_bad_rows), convention, known)
    except FormatError as error:
        raise FormatError(f"{path.name}: {error}") from error


def _content(path: Path) -> memoryview:
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            raise FormatError(f"{path.name}: a file to load must hold something; it is empty (0 bytes)")
        # never closed by hand: it goes when the last array that looks into it does, also after an error
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _recognise(buffer: memoryview, path: Path) -> Format:
    by_suffix = _FORMATS.get(path.suffix.lower())
    readable = [known for known in _FORMATS.values() if known.read]
    found = [known for known in readable if known.sniff and known.sniff(buffer)]
    if by_suffix in readable and (by_suffix in found or (not found and by_suffix.sniff is None)):
        return by_suffix
    if found:
        return found[0]
    raise FormatError(f"a file to load must be one of {_suffixes()}; its first bytes are {bytes(buffer[:8])!r}")


def _drawable(obj: Gaussians, drop_bad_rows: bool) -> Gaussians:
    good = _good_rows(obj)
    count = len(obj) - int(good.sum())
    if not count:
        return obj
    if drop_bad_rows and count < len(obj):
        return obj[torch.from_numpy(good)]
    raise FormatError(
        f"all numbers must be finite and orientations longer than 0; {count} of {len(obj)} rows are not (the first is "
        f"row {int(good.argmin())}): load(..., drop_bad_rows=True) leaves them out"
        + (", but nothing would be left" if count == len(obj) else "")
    )


def _good_rows(obj: Gaussians) -> np.ndarray:
    """[N] bool: finite, and an orientation longer than 0."""
    quats = obj.quats.numpy()
    good = quats[:, 0] != 0
    if not good.all():
        good = (quats != 0).any(1)
    fields = [obj.means, obj.quats, obj.scales, obj.opacities[:, None], obj.sh.flatten(1)]
    if _all_finite(fields):
        return good
    return np.logical_and.reduce([good, *(np.isfinite(field.numpy()).all(1) for field in fields)])


def _all_finite(fields: list[torch.Tensor]) -> bool:
    """False also where the squares of finite numbers overflow. Takes a twentieth of the time of isfinite.

    The fields of what a network made, or a .ply held, are views of one block of memory: if all of that is finite, they
    are. One NaN or infinity anywhere makes the sum of squares so.
    """
    blocks = {field.untyped_storage().data_ptr(): field.untyped_storage() for field in fields}
    numbers = [torch.empty(0, dtype=fields[0].dtype).set_(block).numpy() for block in blocks.values()]
    with np.errstate(over="ignore", invalid="ignore"):
        return all(np.isfinite(np.dot(flat, flat)) for flat in numbers)


def _checked(obj: Gaussians) -> Gaussians:
    """As :meth:`Gaussians.validate`, which is called only to say what is wrong: this takes a tenth of its time."""
    opacities, scales = obj.opacities.numpy(), obj.scales.numpy()
    in_range = opacities.min() >= 0 and opacities.max() <= 1 and scales.min() >= 0
    return obj if in_range and _good_rows(obj).all() else obj.validate()


def _turned(obj: Gaussians, convention: str, known: Format) -> Gaussians:
    turn = _TURNS[convention]
    return obj if turn is None or not known.turns else obj.transform(turn)


def _check_convention(convention: str) -> None:
    if convention not in _TURNS:
        raise InputError(f"convention must be one of {', '.join(map(repr, _TURNS))}; got {convention!r}")


def _suffixes() -> str:
    return ", ".join(_FORMATS)
