"""Measures of a set of Gaussians as a file stores them, and what they mean for whoever opens it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..gaussians import Gaussians
from ._record import Bounds, Finding, percent

NEAR_TRANSPARENT = 0.005
"""Opacity below which LGM's save_ply drops Gaussians."""
_INVISIBLE = 1 / 255
"""Opacity below which a byte of alpha is 0: such a Gaussian may be as large or as far away as it likes."""
_LARGE = 0.25
"""Of the diagonal: a standard deviation as long as that covers the object from end to end."""
_FAR = 3.0
"""Times the distance within which 95 % lie, from their median."""
_BEYOND = 0.05
"""How far a colour may leave [0, 1] before it counts: fits overshoot a little."""
_UNIT = 1e-3
_BYTE_UNIT = 0.02
"""How far from 1 the length of a quaternion of four bytes may be: half a step of each."""


@dataclass(frozen=True)
class Measures:
    """What was found of N Gaussians; shares of what, see :class:`Inspection`.

    Attributes:
        good: [N] bool, the rows that can be drawn.
        no_orientation: how many of the others have a quaternion of length 0 and are fine otherwise.
        linear_scales: whether the scale columns of a .ply seem to be sizes, where they must be logarithms.
        probabilities: whether its opacities seem to be opacities, where they must be logits.
        bounds: of the good rows, axes of the file; None where there is none.
        shares: name -> 0 to 1.
    """

    good: np.ndarray
    no_orientation: int = 0
    linear_scales: bool = False
    probabilities: bool = False
    bounds: Bounds | None = None
    shares: dict[str, float] | None = None

    @property
    def count(self) -> int:
        """N."""
        return len(self.good)


def measure(gaussians: Gaussians, *, is_ply: bool) -> Measures:
    """Look at Gaussians as they were read, bad rows and all.

    Args:
        gaussians: float32 on the CPU, in the axes of the file; nothing needs to be finite.
        is_ply: scales and opacities were logarithms and logits in the file.
    """
    finite, has_orientation = _sound_rows(gaussians)
    good = finite & has_orientation
    found = Measures(good, int((finite & ~has_orientation).sum()), shares={"bad": 1 - float(good.mean())})
    if not good.any():
        return found
    rows = gaussians if good.all() else gaussians[torch.from_numpy(good)]
    means = rows.means.numpy()
    low, high = (tuple(map(float, corner)) for corner in (means.min(0), means.max(0)))
    found = replace(
        found,
        linear_scales=is_ply and _are_linear(rows.scales.numpy(), _diagonal(means)),
        probabilities=is_ply and _are_probabilities(rows.opacities.numpy()),
        bounds=(low, high),  # type: ignore[arg-type]  # three numbers each
    )
    return replace(found, shares=(found.shares or {}) | _shares(restored(rows, found), is_ply=is_ply))


def restored(gaussians: Gaussians, found: Measures) -> Gaussians:
    """The Gaussians as they seem to be meant: sizes and opacities that were stored as such, read as such."""
    if found.linear_scales:
        gaussians = replace(gaussians, scales=gaussians.scales.log().clamp_min(0))
    if found.probabilities:
        gaussians = replace(gaussians, opacities=torch.logit(gaussians.opacities.double()).float().clamp(0, 1))
    return gaussians


def _sound_rows(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray]:
    """[N] bool each: all numbers are finite; the orientation is longer than 0."""
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities[:, None], gaussians.sh.flatten(1))
    finite = np.logical_and.reduce([np.isfinite(field.numpy()).all(1) for field in fields])
    return finite, (gaussians.quats.numpy() != 0).any(1)


def _diagonal(means: np.ndarray) -> float:
    """Of the box that leaves out 1 % at each of its sides."""
    low, high = np.percentile(means, [1, 99], axis=0)
    return float(np.linalg.norm(high - low))


def _are_linear(scales: np.ndarray, diagonal: float) -> bool:
    """Whether exp(column) was taken of sizes.

    Sizes are never negative, logarithms of sizes below one unit are. Where (almost) none is negative, the columns are
    taken for sizes if either reading them as logarithms makes most Gaussians as large as the object and reading them as
    sizes does not, or if they crowd at 0, which is an end for sizes and nothing special for logarithms.
    """
    with np.errstate(divide="ignore"):  # a scale of 0 is a logarithm of minus infinity: negative
        stored = np.log(scales.astype(np.float64))  # [N, 3]
    if (stored < 0).mean() > 1e-3:
        return False
    longest = np.median(stored.max(1))
    if not 0 < longest < _LARGE * diagonal:
        return False
    smallest = np.percentile(stored, 0.1)
    crowd = len(stored) >= 100 and smallest < 0.05 * np.median(stored)
    return bool(np.median(scales.max(1)) > _LARGE * diagonal or crowd)


def _are_probabilities(opacities: np.ndarray) -> bool:
    """Whether all logits lie within 0 and 1: opacities 0.5 to 0.731, which no fit and no network would make."""
    low, high = float(opacities.min()), float(opacities.max())
    return len(opacities) >= 10 and low >= 0.5 - 1e-6 and high <= 1 / (1 + np.exp(-1)) + 1e-6 and high > 0.5 + 1e-6


def _shares(rows: Gaussians, *, is_ply: bool) -> dict[str, float]:
    opacities, means = rows.opacities.numpy(), rows.means.numpy()
    seen = opacities >= _INVISIBLE
    some = seen if seen.sum() >= 10 else np.ones_like(seen)
    diagonal = _diagonal(means[some])
    distance = np.linalg.norm(means - np.median(means[some], axis=0), axis=1)
    rgb = rows.rgb.numpy()
    masks = {
        "near_transparent": opacities < NEAR_TRANSPARENT,
        "oversized": seen & (rows.scales.numpy().max(1) > _LARGE * diagonal) & (diagonal > 0),
        "far": seen & (distance > _FAR * np.percentile(distance[some], 95)),
        "colours": seen & ((rgb < -_BEYOND) | (rgb > 1 + _BEYOND)).any(1),
        "non_unit": np.abs(np.linalg.norm(rows.quats.numpy(), axis=1) - 1) > (_UNIT if is_ply else _BYTE_UNIT),
    }
    return {name: float(mask.mean()) for name, mask in masks.items()}


def splat_findings(found: Measures, sh_degree: int) -> Iterator[Finding]:
    """What is to be said of the measures, in no order."""
    yield from _broken(found)
    shares = found.shares or {}
    rest = int(found.good.sum())

    def told(name: str) -> str:
        return f"{round(shares[name] * rest):,} of {rest:,} Gaussians ({percent(shares[name])})"

    if shares.get("near_transparent", 0) > 0.01:
        what = f"{told('near_transparent')} have an opacity below {NEAR_TRANSPARENT}: weight without a look"
        yield Finding("near_transparent", "note", what, "--min-opacity 0.005 with --fix, or gaussians.prune(0.005)")
    if shares.get("oversized"):
        what = f"{told('oversized')} are oversized: a standard deviation above {_LARGE:.0%} of the object's diagonal"
        yield Finding("oversized", "warning", what, "clean(gaussians) takes giants out")
    if shares.get("far"):
        what = f"{told('far')} float more than {_FAR:g} times as far out as 95 % of all; viewers may frame those"
        yield Finding("far", "warning", what, "clean(gaussians) takes floaters out, gaussians.crop(low, high) a box")
    if shares.get("colours", 0) > 0.01:
        level = "warning" if shares["colours"] > 0.2 else "note"
        of = " from the front of their harmonics" if sh_degree else ""
        what = f"{told('colours')} have a colour out of [0, 1]{of}; .splat, .glb and byte colours clip it"
        yield Finding("colours", level, what, "where all are, f_dc may hold colours instead of harmonics")
    if shares.get("non_unit"):
        what = f"{told('non_unit')} have a quaternion whose length is not 1: usual in a .ply, viewers normalise it"
        yield Finding("quaternions", "note", what, "--fix writes unit quaternions, for readers that do not normalise")


def _broken(found: Measures) -> Iterator[Finding]:
    bad = found.count - int(found.good.sum())
    if bad:
        others = bad - found.no_orientation
        what = f"{bad:,} of {found.count:,} rows cannot be drawn ({others:,} with NaN or infinite numbers, "
        what += f"{found.no_orientation:,} with an orientation of length 0); load() refuses such a file"
        remedy = "--fix leaves them out, as load(..., drop_bad_rows=True) does"
        remedy = remedy if found.good.any() else "nothing would be left: write it anew"
        yield Finding("bad_rows", "blocks", what, remedy)
    if found.linear_scales:
        what = "the scale columns seem to be sizes; they must be their natural logarithms: every Gaussian is drawn huge"
        yield Finding("linear_scales", "blocks", what, "--fix takes the logarithm")
    if found.probabilities:
        what = "all logits of opacity lie in 0 to 1, as if opacities had been stored: all is drawn 50 to 73 % opaque"
        yield Finding("probabilities", "warning", what, "--fix takes the logits")
