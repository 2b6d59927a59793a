"""The result of an inspection: findings, viewers, and the record that prints as a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Finding:
    """One fact about a file that its user should know.

    Attributes:
        name: a word for programs: "unreadable", "bad_rows", "linear_scales", "probabilities", "upside_down",
            "oversized", "far", "colours", "near_transparent", "quaternions", "layout", "mesh".
        level: "blocks" (no viewer shows the object as intended), "warning" (some viewers do not), or "note".
        what: the finding, with numbers.
        remedy: what to do about it.
    """

    name: str
    level: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Viewer:
    """What one viewer does with a file.

    Attributes:
        name: the programs that read the file in the same way.
        shows: "yes" (as intended), "turned" (complete, but not upright or not from its front), "no".
        says: the reason, and what gets lost.
    """

    name: str
    shows: str
    says: str


@dataclass(frozen=True, repr=False)
class Inspection:
    """What a file holds, what is wrong with it, and what viewers do with it. Prints as a report.

    Attributes:
        name: the file's name.
        size: bytes.
        format: a name from ``formats()``; None if the format is unknown or the file is damaged.
        holds: "Gaussians" or "Mesh", or None.
        layout: columns and encoding of a .ply, else None.
        error: why the file cannot be read, or None.
        convention: the argument of ``load`` with which the object stands upright: "3dgs" or "ydown" (y down),
            "opengl" (y up). The format prescribes it, or it is usual, or it is a guess. None for a mesh.
        reasons: why that convention.
        count: Gaussians or faces, including rows that cannot be drawn.
        bounds: ((x, y, z), (x, y, z)), the lowest and the highest position, in the axes and units of the file.
        sh_degree: 0 to 3, for Gaussians.
        shares: fractions of the Gaussians, 0 to 1: "bad" (NaN, infinite, or no orientation); of the others
            "near_transparent" (opacity below 0.005) and "non_unit" (quaternions); of the visible ones "oversized",
            "far" (from the rest) and "colours" (outside [0, 1]).
        mesh: from ``mesh_report``: watertight, manifold, components, genus, volume, size_mm, printable, missing; empty
            for other files.
        findings: the gravest first.
        viewers: what each viewer does with the file; empty if it cannot be read.
    """

    name: str
    size: int
    format: str | None = None
    holds: str | None = None
    layout: str | None = None
    error: str | None = None
    convention: str | None = None
    reasons: tuple[str, ...] = ()
    count: int | None = None
    bounds: Bounds | None = None
    sh_degree: int | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    mesh: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    viewers: tuple[Viewer, ...] = ()

    @property
    def healthy(self) -> bool:
        """True if no finding is graver than a note."""
        return all(finding.level == "note" for finding in self.findings)

    def finding(self, name: str) -> Finding | None:
        """The finding with this name, or None."""
        return next((finding for finding in self.findings if finding.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values that JSON can hold."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{'file':10} {self.name}, {self.size:,} bytes"
        if self.format:
            yield f"{'format':10} {self.format}" + (f" ({self.layout})" if self.layout else "")
        if self.holds == "Gaussians":
            yield f"{'holds':10} {self.count:,} Gaussians of SH degree {self.sh_degree}"
        elif self.holds == "Mesh":
            yield f"{'holds':10} a mesh of {self.count:,} faces"
        if self.bounds:
            low, high = ("(" + ", ".join(f"{number:.4g}" for number in corner) + ")" for corner in self.bounds)
            yield f"{'bounds':10} {low} to {high}"
        if self.convention:
            up = "y up" if self.convention == "opengl" else "y down"
            yield f"{'world':10} {self.convention} ({up}): {'; '.join(self.reasons)}"
        if any(self.shares.values()):
            shares = (f"{name.replace('_', ' ')} {percent(share)}" for name, share in self.shares.items() if share)
            yield f"{'shares':10} {', '.join(shares)}"
        if self.mesh:
            facts = (f"{key.replace('_', ' ')} {_short(value)}" for key, value in self.mesh.items() if key != "missing")
            yield f"{'mesh':10} {', '.join(facts)}"
        for finding in self.findings:
            yield from ("", f"{finding.level}: {finding.what}", f"  -> {finding.remedy}")
        if self.viewers:
            yield ""
        width = max((len(viewer.name) for viewer in self.viewers), default=0)
        for viewer in self.viewers:
            yield f"{viewer.name:{width}}  {viewer.shows:6}  {viewer.says}"
        if not self.findings:
            yield from ("", "no problems found")


def percent(share: float) -> str:
    """ "12 %", or "0.3 %": a share above 0 never prints as "0 %"."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _short(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(_short, value)) + ")"
    return str(value)
