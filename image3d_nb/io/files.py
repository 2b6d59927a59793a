"""The registry of file formats, ``save`` and ``load``. Only this module opens files and converts axes.

To add a format, write a module with ``read`` and ``write`` and add a line to :data:`_FORMATS`. Where two formats
share a suffix (.ply, .glb), the class of the saved object or the content of the loaded file decides.

The ``convention`` argument names the axes of Gaussians **in the file**. Objects in memory always use the axes of
:mod:`image3d_nb.cameras` (OpenGL, y up).

- ``"3dgs"``: the axes that tools of 3D Gaussian Splatting expect of the format. In .ply and .splat those are COLMAP's,
  y down, z away from the camera: ours rotated by 180 degrees about x, upright in gsplat.js and gradio. In .spz and glTF
  y is up, as their specifications say.
- ``"opengl"``: y up in any format, for programs in which the user rotates splats.
- ``"ydown"``: y down in any format: an .spz for SuperSplat and splat-transform 3, which ignore its specification.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from .._files import CONVENTIONS, atomic_write, followed
from ..errors import FormatError, InputError
from ..gaussians import SHORTEST, TENSORS, Gaussians
from ..images.caller import warn
from ..mesh import Mesh
from . import compressed_ply, obj, ply, ply_mesh, sog, splat, spz, stl
from ._format import Asset, Content, Format, FormatInfo, FormatTable, Sibling
from ._mesh_parts import losses
from ._obj_text import sniff as is_obj
from .gltf import formats as gltf

__all__ = ["CONVENTIONS", "formats", "load", "read_stored", "save"]

_FORMATS: tuple[Format, ...] = (
    Format(".ply", "3DGS PLY", Gaussians, ply.sniff, ply.read, ply.write),
    Format(".splat", "antimatter15 splat", Gaussians, None, splat.read, splat.write, splat.losses),
    Format(".spz", "Niantic SPZ", Gaussians, spz.sniff, spz.read, spz.write, spz.losses, turns=False),
    Format(".sog", "PlayCanvas SOG", Gaussians, sog.sniff, sog.read, sog.write, sog.losses, suffix_tells=True),
    Format(".ply", "compressed PLY", Gaussians, compressed_ply.sniff, compressed_ply.read, None),
    gltf.GLB_GAUSSIANS,
    gltf.GLTF_GAUSSIANS,
    gltf.GLB,
    gltf.GLTF,
    Format(".obj", "Wavefront OBJ", Mesh, is_obj, obj.read, obj.write, losses, turns=False, suffix_tells=True),
    Format(".stl", "STL", Mesh, stl.sniff, stl.read, stl.write, stl.losses, turns=False, suffix_tells=True),
    Format(".ply", "PLY mesh", Mesh, ply_mesh.sniff, ply_mesh.read, ply_mesh.write, losses, turns=False),
)

_HALF_TURN = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
"""180 degrees about x is its own inverse, so saving and loading use the same rotation."""
_TURN_AT_ONCE = 1 << 17


def formats() -> FormatTable:
    """The known file formats: a tuple of records (suffix, name, holds, read, write) that prints as a table.

    Example:
        >>> print(formats())  # doctest: +ELLIPSIS
        suffix  name                holds      read  write
        .ply    3DGS PLY            Gaussians  yes   yes
        .splat  antimatter15 splat  Gaussians  yes   yes
        ...
    """
    return FormatTable(
        FormatInfo(f.suffix, f.name, f.holds.__name__, f.read is not None, f.write is not None) for f in _FORMATS
    )


def save(
    obj: Asset, path: str | os.PathLike[str], convention: str = "3dgs", *, scale_mm: float | None = None,
    strict: bool = False,
) -> Path:  # fmt: skip
    """Write an object to a file whose suffix names the format. Nothing is pruned; a file is written whole or not.

    The object's class decides where a suffix has two formats: Gaussians or a Mesh to .ply and .glb.

    Args:
        obj: Gaussians on any device, stored as float32 or as the format says; or a Mesh.
        path: e.g. "mug.ply" or "~/mug.ply"; the folder must exist; an existing file is replaced once the new one is
            complete. A symbolic link stays one: the file that it leads to is written. Some formats write companions
            beside the file (mug.obj: mug.mtl and mug_texture.png).
        convention: the axes of a file of Gaussians: "3dgs" (what 3DGS tools expect of the format), "opengl" (y up) or
            "ydown"; see :mod:`image3d_nb.io.files`. Meshes are y up (in .stl z up, as printers expect).
        scale_mm: the longest side of a mesh in millimetres, as printers need it; None keeps the numbers as they are.
        strict: raise an error if the format cannot hold everything; otherwise a warning lists what is left out.

    Returns:
        The path of the file, with ``~`` replaced by the user's folder.

    Raises:
        FormatError: no format has this suffix; or, strict, something would be lost.
        InputError: the format does not hold such an object, its numbers are not finite or out of range, it is empty,
            or the convention is unknown.
        OSError: the folder does not exist, the disk is full, or no permission; a file of that name stays as it was.

    Example:
        >>> save(Gaussians.from_lgm(torch.rand(1, 8, 14)), "mug.ply")  # doctest: +SKIP
    """
    path = Path(path).expanduser()
    _check_convention(convention)
    known = _writer(obj, path)
    if isinstance(obj, Gaussians):
        if scale_mm is not None:
            raise InputError("scale_mm sets the size of a mesh; got Gaussians: to_mesh(gaussians) makes one of them")
        if not len(obj):
            raise InputError("what is saved must hold at least one Gaussian; got 0: prune or crop less")
        obj = _checked(obj.detach().to("cpu", torch.float32))
    else:
        if not len(obj.faces):
            raise InputError(f"a mesh to save must have at least one face; got 0 and {len(obj.vertices)} vertices")
        obj = obj if scale_mm is None else obj.scaled_to_mm(scale_mm, known.unit_mm)
    lost = known.losses(obj)
    if lost and strict:
        raise FormatError(f"{path.name}: {known.name} cannot hold {'; '.join(lost)} (strict=False leaves that out)")
    for sentence in lost:
        warn(f"{path.name}: {known.name} cannot hold {sentence}; that is left out")
    assert known.write is not None  # _writer looks among the writable ones only
    if isinstance(obj, Gaussians) and _turns(convention, known):
        obj = obj.transform(_HALF_TURN)
    real = followed(path)
    _put(real, known.write(obj, real.name))
    return path


def _put(path: Path, files: Mapping[str, Content]) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "the path to save to must not be a folder", str(path))
    try:
        atomic_write({path.parent / name: content for name, content in files.items()})
    except OSError as error:
        if error.errno is None:
            raise
        # of a full disk the system names no file, of a folder without permission a temporary one
        raise OSError(error.errno, error.strerror, str(path)) from error


def _writer(obj: Asset, path: Path) -> Format:
    by_suffix = [known for known in _FORMATS if known.suffix == path.suffix.lower() and known.write]
    if not by_suffix:
        raise FormatError(f"the suffix of a file to save must be one of {_suffixes()}; got {path.name!r}")
    for known in by_suffix:
        if isinstance(obj, known.holds):
            return known
    held = " or ".join(known.holds.__name__ for known in by_suffix)
    advice = {Gaussians: ": to_mesh(gaussians) makes a Mesh", Mesh: ": to_gaussians(mesh) makes Gaussians"}
    raise InputError(
        f"what is saved to {by_suffix[0].suffix} must be {held}; got {type(obj).__name__}{advice.get(type(obj), '')}"
    )


def load(path: str | os.PathLike[str], convention: str = "3dgs", *, drop_bad_rows: bool = False) -> Asset:
    """Read a file. Its content identifies the format; the suffix decides only where the content cannot (.splat).

    Texts of meshes that are cut off load as far as they go. A warning lists what is left out, and how many faces are
    missing where the file says how many it has.

    Args:
        path: the file.
        convention: the axes of a file of Gaussians: "3dgs" (what 3DGS tools expect of the format), "opengl" (y up) or
            "ydown"; see :mod:`image3d_nb.io.files`. Meshes are always y up.
        drop_bad_rows: leave out Gaussians that no renderer can draw (NaN, infinite, a quaternion of length 0).

    Returns:
        Gaussians (float32 tensors on the CPU, y up) or a Mesh, depending on the content.

    Raises:
        FormatError: the file is damaged, empty, of no known format, or has rows that cannot be drawn.
        InputError: an unknown convention.
        OSError: no such file, a folder, or no permission to read it.

    Example:
        >>> load("mug.ply")  # doctest: +SKIP
        Gaussians(n=9876, sh_degree=0, device=cpu)
    """
    path = Path(path).expanduser()
    _check_convention(convention)
    known, obj = read_stored(path)
    if not isinstance(obj, Gaussians):
        return obj
    obj = _drawable(obj, drop_bad_rows, path.name)
    return _turned_in_place(obj) if _turns(convention, known) else obj


def read_stored(path: str | os.PathLike[str]) -> tuple[Format, Asset]:
    """Read a file as it is stored: axes are not converted, and rows that cannot be drawn are kept. For diagnosis.

    Raises:
        FormatError: damaged, empty, or of no known format.
        OSError: no such file, or it may not be read.
    """
    path = Path(path).expanduser()
    try:
        buffer = _content(path)
        known = _recognise(buffer, path)
        assert known.read is not None  # _recognise looks among the readable ones only
        return known, known.read(buffer, _siblings(path))
    except FormatError as error:
        raise FormatError(f"{path.name}: {error}") from error


def _siblings(path: Path) -> Sibling:
    """Read companions of ``path`` from its folder and below; only the last part of a name that leads outside counts.

    Companions of a symbolic link stand beside the file that it leads to, else beside the link.
    """

    def read(name: str) -> bytes:
        inside = Path(os.path.normpath(name.replace("\\", "/")))
        out = inside.is_absolute() or ".." in inside.parts
        places = [folder / (inside.name if out else inside) for folder in (followed(path).parent, path.parent)]
        return (places[0] if places[0].exists() else places[1]).read_bytes()

    return read


def _content(path: Path) -> memoryview:
    if not (path.is_file() or path.is_dir() or not path.exists()):
        raise FormatError("a file to load must be a regular file; it is a device or a pipe")  # which may never end
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            raise FormatError("a file to load must have content; it is empty (0 bytes)")
        # not closed here: it is released together with the last array that refers to it
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _recognise(buffer: memoryview, path: Path) -> Format:
    readable = [known for known in _FORMATS if known.read]
    by_suffix = [known for known in readable if known.suffix == path.suffix.lower()]
    for known in [*by_suffix, *readable]:
        if known.sniff and known.sniff(buffer):
            return known
    for known in by_suffix:
        if known.sniff is None or known.suffix_tells:
            return known
    raise FormatError(f"a file to load must be one of {_suffixes()}; its first bytes are {bytes(buffer[:8])!r}")


def _drawable(obj: Gaussians, drop_bad_rows: bool, name: str) -> Gaussians:
    good = _good_rows(obj)
    count = len(obj) - int(good.sum())
    if not count:
        return obj
    if drop_bad_rows and count < len(obj):
        return obj[torch.from_numpy(good)]
    raise FormatError(
        f"{name}: all numbers must be finite and quaternions longer than 0; {count} of {len(obj)} rows are not (the "
        f"first is row {int(good.argmin())}): load(..., drop_bad_rows=True) leaves them out"
        + (", but nothing would be left" if count == len(obj) else "")
    )


def _good_rows(obj: Gaussians) -> np.ndarray:
    """[N] bool: all numbers finite, and a quaternion that is not too short."""
    quats = obj.quats.numpy()
    good = abs(quats[:, 0]) >= SHORTEST
    if not good.all():  # check the other three numbers for these rows only: whole rows take long
        few = np.flatnonzero(~good)
        good[few] = np.linalg.norm(quats[few].astype(np.float64), axis=1) >= SHORTEST
    fields = [obj.means, obj.quats, obj.scales, obj.opacities[:, None], obj.sh.flatten(1)]
    if _all_finite(fields):
        return good
    return np.logical_and.reduce([good, *(np.isfinite(field.numpy()).all(1) for field in fields)])


def _all_finite(fields: list[torch.Tensor]) -> bool:
    """Whether the sum of squares is finite, in a twentieth of the time of isfinite; False also if squares overflow.

    The fields of a network's output, or of a .ply, are views of one block of memory: if the block is finite, they are.
    One NaN or infinity makes the sum of squares NaN or infinite.
    """
    blocks = {field.untyped_storage().data_ptr(): field.untyped_storage() for field in fields}
    numbers = [torch.empty(0, dtype=fields[0].dtype).set_(block).numpy() for block in blocks.values()]
    with np.errstate(over="ignore", invalid="ignore"):
        return all(np.isfinite(np.dot(flat, flat)) for flat in numbers)


def _checked(obj: Gaussians) -> Gaussians:
    """Like :meth:`Gaussians.validate`, in a tenth of its time; validate is called only to raise the error."""
    opacities, scales = obj.opacities.numpy(), obj.scales.numpy()
    # column by column: a minimum over rows of three takes five times as long
    in_range = opacities.min() >= 0 and opacities.max() <= 1 and min(column.min() for column in scales.T) >= 0
    return obj if in_range and _good_rows(obj).all() else obj.validate()


def _turns(convention: str, known: Format) -> bool:
    return convention == "ydown" or (convention == "3dgs" and known.turns)


def _turned_in_place(obj: Gaussians) -> Gaussians:
    """Rotate Gaussians that nobody else holds, in blocks, so that a large set is never in memory twice."""
    if len(obj) <= _TURN_AT_ONCE:
        return obj.transform(_HALF_TURN)
    for start in range(0, len(obj), _TURN_AT_ONCE):
        part = obj[start : start + _TURN_AT_ONCE]
        turned = part.transform(_HALF_TURN)
        for name in TENSORS:
            getattr(part, name)[:] = getattr(turned, name)
    return obj


def _check_convention(convention: str) -> None:
    if convention not in CONVENTIONS:
        raise InputError(f"convention must be one of {', '.join(map(repr, CONVENTIONS))}; got {convention!r}")


def _suffixes() -> str:
    return ", ".join(dict.fromkeys(known.suffix for known in _FORMATS))
