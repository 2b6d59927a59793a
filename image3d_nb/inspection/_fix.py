"""A corrected copy of a file of Gaussians, as one viewer needs it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import CONVENTIONS, check_free
from ..errors import InputError
from ._inspect import inspect
from ._record import percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..gaussians import Gaussians
    from ._record import Inspection
    from ._splats import Measures

VIEWERS = ("gradio", "supersplat", "three")
"""Whom a copy can be made for. gradio: gsplat.js too; supersplat: PlayCanvas too; three: Spark."""

_SUFFIXES = (".ply", ".splat")
"""What all of them read."""


_POSES = {"gradio": (1, -1, -1), "supersplat": (-1, -1, 1), "three": (1, 1, 1)}
"""Diagonals of the turns from our world to a file that a viewer shows in it. SuperSplat turns files about z itself."""


@dataclass(frozen=True)
class FixReport:
    """What became of a file.

    Attributes:
        source: the file's name.
        target: the copy's name.
        viewer: one of VIEWERS.
        changes: a sentence each; empty where nothing was wrong.
        lost: what the copy's format could not hold.
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
    """Write a corrected copy: bad rows out, unit quaternions, sizes and opacities as they must be, turned for a viewer.

    The file itself is never touched. In the copy the object stands upright and shows its front (our +z) to the
    viewer's default side.

    Args:
        path: a file of Gaussians.
        target_viewer: "gradio", "supersplat" or "three".
        out: the copy, .ply or .splat; None is a .ply beside the file, "mug.gradio.ply" of "mug.ply".
        convention: the world of the numbers in the file, as :func:`image3d_nb.load` takes it; None is what
            :func:`inspect` says, which may be a guess.
        min_opacity: leave out Gaussians below it; None keeps all.
        force: replace what is there already.

    Returns:
        What was changed.

    Raises:
        FormatError: the file cannot be read, or nothing in it can be drawn.
        InputError: it holds a mesh, an argument is out of its range, or nothing would be left.
        FileExistsError: the copy is there already, or would be the file itself.
    """
    from ..io import read_stored

    path = Path(path)
    out = path.with_name(f"{path.stem}.{target_viewer}.ply") if out is None else Path(out)
    _check(target_viewer, out, convention, min_opacity)
    check_free(out, path, force=force)
    inspection = inspect(path)
    known, obj = read_stored(path)  # raises what inspect told
    if inspection.holds != "Gaussians":
        raise InputError(f"a file to fix must hold Gaussians; {path.name} holds a mesh: convert writes it anew")
    gaussians, changes = _mended(obj, path, inspection, min_opacity)  # type: ignore[arg-type]  # it holds Gaussians
    reasons = inspection.reasons if convention is None else ("as you say",)
    convention = str(inspection.convention) if convention is None else convention
    y_down = convention == "ydown" or (convention == "3dgs" and known.turns)
    gaussians, turn = _turned(gaussians, y_down, target_viewer, reasons)
    lost = _save(gaussians, out)
    if inspection.finding("layout") and out.suffix.lower() == ".ply":
        changes.append("wrote it anew: float32, little-endian, LF line ends")
    return FixReport(path.name, out.name, target_viewer, (*changes, *turn), lost)


def _check(viewer: str, out: Path, convention: str | None, min_opacity: float | None) -> None:
    if viewer not in VIEWERS:
        raise InputError(f"target_viewer must be one of {', '.join(VIEWERS)}; got {viewer!r}")
    if out.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{viewer} needs a copy that is one of {', '.join(_SUFFIXES)}; got {out.name!r}")
    if convention is not None and convention not in CONVENTIONS:
        known = ", ".join(map(repr, CONVENTIONS))
        raise InputError(f"convention must be one of {known}, or None for a guess; got {convention!r}")
    if min_opacity is not None and not 0 <= min_opacity <= 1:
        raise InputError(f"min_opacity must be from 0 to 1; got {min_opacity}")


def _mended(
    gaussians: Gaussians, path: Path, inspection: Inspection, min_opacity: float | None
) -> tuple[Gaussians, list[str]]:
    import torch

    from ._splats import measure

    found = measure(gaussians, is_ply=inspection.format == "3DGS PLY")
    total, changes = len(gaussians), []
    good = torch.from_numpy(found.good)
    if not bool(good.any()):
        raise InputError(f"a file to fix must hold a Gaussian that can be drawn; none of {total} in {path.name} can be")
    if not bool(good.all()):
        changes.append(f"left out {total - int(good.sum()):,} of {total:,} rows that cannot be drawn")
    gaussians, restored = _restored(gaussians, path, found)
    changes += restored
    gaussians = gaussians[good]
    if min_opacity is not None:
        kept = gaussians.prune(min_opacity)
        if not len(kept):
            raise InputError(f"min_opacity must leave something; {min_opacity:g} leaves none of {len(gaussians)}")
        changes.append(f"left out {len(gaussians) - len(kept):,} Gaussians with an opacity below {min_opacity:g}")
        gaussians = kept
    if share := (found.shares or {}).get("non_unit", 0):
        changes.append(f"made quaternions as long as 1 ({percent(share)} were not)")
    return replace(gaussians, quats=torch.nn.functional.normalize(gaussians.quats, dim=-1)), changes


def _restored(gaussians: Gaussians, path: Path, found: Measures) -> tuple[Gaussians, list[str]]:
    """Sizes and opacities straight from the file: what was made of them on reading has lost digits."""
    import torch

    changes = []
    if found.linear_scales:
        scales = torch.from_numpy(_columns(path, ("scale_0", "scale_1", "scale_2"))).clamp_min(0)
        gaussians = replace(gaussians, scales=scales)
        changes.append("took the logarithm of the scales, which were sizes")
    if found.probabilities:
        gaussians = replace(gaussians, opacities=torch.from_numpy(_columns(path, ("opacity",))[:, 0]).clamp(0, 1))
        changes.append("took the logits of the opacities, which were opacities")
    return gaussians, changes


def _columns(path: Path, names: Sequence[str]) -> NDArray[np.float32]:
    """[N, len(names)] of a .ply in any encoding, as they stand there."""
    import numpy as np
    from plyfile import PlyData

    vertex = PlyData.read(str(path))["vertex"]
    return np.stack([np.asarray(vertex[name]).astype(np.float32) for name in names], axis=1)


def _turned(gaussians: Gaussians, y_down: bool, viewer: str, reasons: Sequence[str]) -> tuple[Gaussians, list[str]]:
    """From the axes of the file to those that show it upright and from its front."""
    import torch

    stored = (1, -1, -1) if y_down else (1, 1, 1)
    turn = tuple(a * b for a, b in zip(stored, _POSES[viewer], strict=True))
    if turn == (1, 1, 1):
        return gaussians, []
    axis = "xyz"[turn.index(1)]
    up = "y down" if y_down else "y up"
    sentence = f"turned by 180 degrees about {axis}, as {viewer} needs it: the file is {up} ({'; '.join(reasons)})"
    return gaussians.transform(torch.diag(torch.tensor(turn, dtype=torch.float64))), [sentence]


def _save(gaussians: Gaussians, out: Path) -> tuple[str, ...]:
    """Write the numbers as they are; what the format could not hold."""
    from ..io import save

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save(gaussians, out, "opengl")
    return tuple(str(warning.message) for warning in caught)
