"""Write a corrected copy of a file of Gaussians for one viewer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import CONVENTIONS, check_free
from ..errors import InputError
from ._findings import Inspection, percent
from ._inspect import inspect

if TYPE_CHECKING:
    from ..gaussians import Gaussians

VIEWERS = ("gradio", "supersplat", "three")
"""Viewers that a copy can be made for. gradio: also gsplat.js; supersplat: also PlayCanvas; three: Spark."""

_SUFFIXES = (".ply", ".splat")
"""Formats that all of them read."""
_POSES = {"gradio": (1, -1, -1), "supersplat": (-1, -1, 1), "three": (1, 1, 1)}
"""Diagonals of the turns from our world to the viewer's. SuperSplat itself turns each file about z."""


@dataclass(frozen=True)
class FixReport:
    """The result of :func:`fix`.

    Attributes:
        source: the file's name.
        target: the copy's name.
        viewer: one of VIEWERS.
        changes: sentences; empty if nothing was wrong.
        lost: what the copy's format cannot hold, as sentences.
    """

    source: str
    target: str
    viewer: str
    changes: tuple[str, ...]
    lost: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.source} -> {self.target} (for {self.viewer})"]
        lines += [f"  {sentence}" for sentence in self.changes] or ["  nothing was wrong: the same Gaussians"]
        return "\n".join([*lines, *(f"  lost: {sentence}" for sentence in self.lost)])


def fix(
    path: str | os.PathLike[str],
    target_viewer: str,
    out: str | os.PathLike[str] | None = None,
    *,
    convention: str | None = None,
    min_opacity: float | None = None,
    force: bool = False,
) -> FixReport:
    """Write a corrected copy: bad rows removed, unit quaternions, correct sizes and opacities, turned for a viewer.

    The file itself is never changed. In the copy the object stands upright and its front (our +z) faces the viewer's
    default camera.

    Args:
        path: a file of Gaussians.
        target_viewer: "gradio", "supersplat" or "three".
        out: path of the copy, .ply or .splat; None writes a .ply beside the file: "mug.gradio.ply" for "mug.ply".
        convention: the world of the positions in the file, as for :func:`image3d_nb.load`; None takes it from
            :func:`inspect`, which may guess.
        min_opacity: remove Gaussians with a lower opacity, 0 to 1; None keeps all.
        force: replace an existing file.

    Returns:
        The changes.

    Raises:
        FormatError: the file cannot be read.
        InputError: the file holds a mesh, an argument is out of its range, or no Gaussian is left.
        FileExistsError: the copy exists already, or is the file itself.
    """
    from ..io import read_stored

    path = Path(path).expanduser()
    out = path.with_name(f"{path.stem}.{target_viewer}.ply") if out is None else Path(out).expanduser()
    _check(target_viewer, out, convention, min_opacity)
    check_free(out, path, force=force)
    inspection = inspect(path)
    known, obj = read_stored(path)  # raises the error that inspect reports
    if inspection.holds != "Gaussians":
        raise InputError(f"a file to fix must hold Gaussians; {path.name} holds a mesh: convert rewrites meshes")
    gaussians, changes = _corrected(obj, path, inspection, min_opacity)  # type: ignore[arg-type]  # it holds Gaussians
    reasons = inspection.reasons if convention is None else ("as given",)
    convention = str(inspection.convention) if convention is None else convention
    y_down = convention == "ydown" or (convention == "3dgs" and known.turns)
    gaussians, turn = _turned(gaussians, y_down, target_viewer, reasons)
    lost = _save(gaussians, out)
    if inspection.finding("layout") and out.suffix.lower() == ".ply":
        changes.append("rewrote it: float32, little-endian, LF line ends")
    return FixReport(path.name, out.name, target_viewer, (*changes, *turn), lost)


def _check(viewer: str, out: Path, convention: str | None, min_opacity: float | None) -> None:
    if viewer not in VIEWERS:
        raise InputError(f"target_viewer must be one of {', '.join(VIEWERS)}; got {viewer!r}")
    if out.suffix.lower() not in _SUFFIXES:
        raise InputError(f"a copy for {viewer} must be one of {', '.join(_SUFFIXES)}; got {out.name!r}")
    if convention is not None and convention not in CONVENTIONS:
        known = ", ".join(map(repr, CONVENTIONS))
        raise InputError(f"convention must be one of {known}, or None; got {convention!r}")
    if min_opacity is not None and not 0 <= min_opacity <= 1:
        raise InputError(f"min_opacity must be from 0 to 1; got {min_opacity}")


def _corrected(
    gaussians: Gaussians, path: Path, inspection: Inspection, min_opacity: float | None
) -> tuple[Gaussians, list[str]]:
    import torch

    from ._splats import measure, reinterpreted

    found = measure(gaussians, is_ply=inspection.format == "3DGS PLY")
    total, changes = len(gaussians), []
    good = torch.from_numpy(found.good)
    if not bool(good.any()):
        raise InputError(f"a file to fix must hold a row that can be drawn; none of {total} in {path.name} can be")
    if not bool(good.all()):
        changes.append(f"left out {total - int(good.sum()):,} of {total:,} rows that cannot be drawn")
    if found.linear_scales:
        changes.append("took the logarithm of the scales, which were sizes")
    if found.probabilities:
        changes.append("took the logits of the opacities, which were opacities")
    gaussians = reinterpreted(gaussians, found)[good]
    if min_opacity is not None:
        kept = gaussians.prune(min_opacity)
        if not len(kept):
            raise InputError(f"min_opacity must leave a Gaussian; {min_opacity:g} leaves none of {len(gaussians)}")
        changes.append(f"left out {len(gaussians) - len(kept):,} Gaussians with an opacity below {min_opacity:g}")
        gaussians = kept
    if share := found.shares.get("non_unit", 0):
        changes.append(f"normalised the quaternions ({percent(share)} had another length than 1)")
    return replace(gaussians, quats=torch.nn.functional.normalize(gaussians.quats, dim=-1)), changes


def _turned(gaussians: Gaussians, y_down: bool, viewer: str, reasons: Sequence[str]) -> tuple[Gaussians, list[str]]:
    """Turn from the axes of the file to those in which the viewer shows it upright and from its front."""
    import torch

    stored = (1, -1, -1) if y_down else (1, 1, 1)
    turn = tuple(a * b for a, b in zip(stored, _POSES[viewer], strict=True))
    if turn == (1, 1, 1):
        return gaussians, []
    axis = "xyz"[turn.index(1)]
    up = "y down" if y_down else "y up"
    sentence = f"turned by 180 degrees about {axis}, for {viewer}: the file is {up} ({'; '.join(reasons)})"
    return gaussians.transform(torch.diag(torch.tensor(turn, dtype=torch.float64))), [sentence]


def _save(gaussians: Gaussians, out: Path) -> tuple[str, ...]:
    """Write without a turn; return what the format cannot hold."""
    from ..io import save

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save(gaussians, out, "opengl")
    return tuple(str(warning.message) for warning in caught)
