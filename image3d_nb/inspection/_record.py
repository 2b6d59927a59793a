"""What an inspection says: findings, viewers, and the record that prints as a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Finding:
    """One thing to know of a file, or to do about it.

    Attributes:
        name: which one, for programs: "unreadable", "bad_rows", "linear_scales", "probabilities", "upside_down",
            "oversized", "far", "colours", "near_transparent", "quaternions", "layout", "mesh".
        level: "blocks" (no viewer shows what was meant), "warning" (some do not), "note" (worth knowing).
        what: what is the matter, with figures.
        remedy: what to do.
    """

    name: str
    level: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Viewer:
    """What one viewer does with a file.

    Attributes:
        name: the viewers or libraries that share its way of reading.
        shows: "yes" (as it was meant), "turned" (all of it, but not upright or not from its front), "no".
        says: the reason, and what gets lost.
    """

    name: str
    shows: str
    says: str


@dataclass(frozen=True, repr=False)
class Inspection:
    """What a file holds, what is wrong with it, and what viewers will do with it. Prints as a report.

    Attributes:
        name: the file's name.
        size: bytes.
        format: as in ``formats()``, or None where it is of no known format or damaged.
        holds: "Gaussians" or "Mesh", or None.
        layout: columns and encoding of a .ply, else None.
        error: why it cannot be read, or None.
        convention: what to hand to ``load`` for the object to stand upright: "3dgs" or "ydown" (y down), "opengl"
            (y up); what the format prescribes, or the usual one, or a guess. None for files without Gaussians.
        reasons: why that convention.
        count: Gaussians or faces, rows that cannot be drawn included.
        bounds: ((x, y, z), (x, y, z)), lowest and highest position in the axes and units of the file.
        sh_degree: 0 to 3, of Gaussians.
        shares: of the Gaussians, each 0 to 1: "bad" (NaN, infinite, no orientation), and of the others
            "near_transparent" (opacity below 0.005), "non_unit" (quaternions), and of those that are not transparent
            "oversized", "far" (from the rest) and "colours" (out of [0, 1]).
        mesh: what ``mesh_report`` says of a mesh: watertight, manifold, components, genus, volume, size_mm,
            printable, missing; empty for other files.
        findings: the gravest first.
        viewers: what each does with the file; empty where it cannot be read.
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
        """Whether nothing is worse than a note."""
        return all(finding.level == "note" for finding in self.findings)

    def finding(self, name: str) -> Finding | None:
        """The finding of that name, if there is one."""
        return next((finding for finding in self.findings if finding.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
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
            yield f"{'bounds':10} {_corner(self.bounds[0])} to {_corner(self.bounds[1])}"
        if self.convention:
            up = "y up" if self.convention == "opengl" else "y down"
            yield f"{'world':10} {self.convention} ({up}): {'; '.join(self.reasons)}"
        told = [f"{name.replace('_', ' ')} {percent(share)}" for name, share in self.shares.items() if share]
        if told:
            yield f"{'shares':10} {', '.join(told)}"
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
            yield from ("", "nothing to complain of")


def percent(share: float) -> str:
    """ "12 %", "0.3 %", and never "0 %" for something that is there."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _corner(point: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{number:.4g}" for number in point) + ")"


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
