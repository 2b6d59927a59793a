"""Measures of a set of Gaussians as a file stores them, and the findings that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..gaussians import SHORTEST, Gaussians
from ._findings import Bounds, Finding, percent

NEAR_TRANSPARENT = 0.005
"""Opacity below which LGM's save_ply drops Gaussians."""
_INVISIBLE = 1 / 255
"""Opacity below which a byte of alpha is 0: the size and position of such a Gaussian do not matter."""
_LARGE = 0.25
"""Fraction of the diagonal: a standard deviation of this length covers the object from end to end."""
_FAR = 3.0
"""Multiple of the distance from the median within which 95 % of the Gaussians lie."""
_BEYOND = 0.05
"""Distance outside [0, 1] from which a colour counts as wrong: fits overshoot a little."""
_UNIT = 1e-3
_BYTE_UNIT = 0.02
"""Tolerance for the length of a quaternion of four bytes: half a step of each."""


@dataclass(frozen=True)
class Measures:
    """Measures of N Gaussians.

    Attributes:
        good: [N] bool, the rows that can be drawn.
        no_orientation: number of rows that are finite but have a quaternion of length 0.
        linear_scales: True if the scale columns of a .ply seem to hold sizes instead of their logarithms.
        probabilities: True if the opacity column of a .ply seems to hold opacities instead of logits.
        bounds: lowest and highest position of the good rows, in the axes of the file; None if no row is good.
        shares: name -> 0 to 1, as in :class:`Inspection`.
    """

    good: np.ndarray
    no_orientation: int = 0
    linear_scales: bool = False
    probabilities: bool = False
    bounds: Bounds | None = None
    shares: Mapping[str, float] = field(default_factory=dict)


def measure(gaussians: Gaussians, *, is_ply: bool) -> Measures:
    """Measure Gaussians as they were read, including rows that cannot be drawn.

    Args:
        gaussians: float32 on the CPU, in the axes of the file; numbers may be NaN or infinite.
        is_ply: True if the file stores logarithms of scales and logits of opacities.
    """
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities[:, None], gaussians.sh.flatten(1))
    finite = np.logical_and.reduce([np.isfinite(field.numpy()).all(1) for field in fields])  # [N]
    has_orientation = ~(np.linalg.norm(gaussians.quats.numpy().astype(np.float64), axis=1) < SHORTEST)  # [N]
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
    return replace(found, shares={**found.shares, **_shares(reinterpreted(rows, found), is_ply=is_ply)})


def reinterpreted(gaussians: Gaussians, found: Measures) -> Gaussians:
    """The Gaussians as their author meant them, where a .ply stores sizes or opacities instead of logs or logits."""
    if found.linear_scales:
        gaussians = replace(gaussians, scales=gaussians.scales.log().clamp_min(0))
    if found.probabilities:
        gaussians = replace(gaussians, opacities=torch.logit(gaussians.opacities.double()).float().clamp(0, 1))
    return gaussians


def _diagonal(means: np.ndarray) -> float:
    """Diagonal of the box that leaves out 1 % of the positions at each of its sides."""
    low, high = np.percentile(means, [1, 99], axis=0)
    return float(np.linalg.norm(high - low))


def _are_linear(scales: np.ndarray, diagonal: float) -> bool:
    """True if the columns held sizes, so that reading took exp(size).

    Sizes are never negative; logarithms of sizes below one unit are. If (almost) no number is negative, the columns
    hold sizes in two cases: most Gaussians are as large as the object if the numbers are logarithms and are not if they
    are sizes; or the numbers gather at 0, which is the lowest size but an ordinary logarithm.
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
    """True if all logits lie within 0 and 1: opacities from 0.5 to 0.731, which no fit and no network makes."""
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
    """The findings about Gaussians of degree ``sh_degree``, in any order."""
    yield from _damage(found)
    shares = found.shares
    rest = int(found.good.sum())

    def part(name: str) -> str:
        return f"{round(shares[name] * rest):,} of {rest:,} Gaussians ({percent(shares[name])})"

    if shares.get("near_transparent", 0) > 0.01:
        what = f"{part('near_transparent')} have an opacity below {NEAR_TRANSPARENT}: they are invisible"
        yield Finding("near_transparent", "note", what, "--min-opacity 0.005 with --fix, or gaussians.prune(0.005)")
    if shares.get("oversized"):
        what = f"{part('oversized')} are oversized: a standard deviation above {_LARGE:.0%} of the object's diagonal"
        yield Finding("oversized", "warning", what, "clean(gaussians) removes giants")
    if shares.get("far"):
        what = f"{part('far')} float more than {_FAR:g} times as far out as 95 % of all; viewers may zoom out"
        yield Finding("far", "warning", what, "clean(gaussians) removes them, gaussians.crop(low, high) keeps a box")
    if shares.get("colours", 0) > 0.01:
        level = "warning" if shares["colours"] > 0.2 else "note"
        of = " (degree 0 of their harmonics)" if sh_degree else ""
        what = f"{part('colours')} have a colour outside [0, 1]{of}; .splat, .glb and byte colours clip it"
        yield Finding("colours", level, what, "if all are, f_dc may hold colours instead of harmonics")
    if shares.get("non_unit"):
        what = f"{part('non_unit')} have a quaternion whose length is not 1: usual in a .ply; viewers normalise it"
        yield Finding("quaternions", "note", what, "--fix writes unit quaternions, for readers that need them")


def _damage(found: Measures) -> Iterator[Finding]:
    bad = len(found.good) - int(found.good.sum())
    if bad:
        others = bad - found.no_orientation
        what = f"{bad:,} of {len(found.good):,} rows cannot be drawn ({others:,} with NaN or infinite numbers, "
        what += f"{found.no_orientation:,} with an orientation of length 0); load() refuses such a file"
        remedy = "--fix leaves them out, as load(..., drop_bad_rows=True) does"
        remedy = remedy if found.good.any() else "no row is left: write the file again"
        yield Finding("bad_rows", "blocks", what, remedy)
    if found.linear_scales:
        what = "the scale columns seem to be sizes; they must be their natural logarithms: every Gaussian is drawn huge"
        yield Finding("linear_scales", "blocks", what, "--fix takes the logarithm")
    if found.probabilities:
        what = "all logits of opacity lie in 0 to 1, as if opacities were stored: everything is drawn 50 to 73 % opaque"
        yield Finding("probabilities", "warning", what, "--fix takes the logits")
