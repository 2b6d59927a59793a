"""Inspect a file: what it holds and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FormatError
from ._findings import Finding, Inspection
from ._header import Header, read_header

if TYPE_CHECKING:
    from ..gaussians import Gaussians
    from ..mesh import Mesh
    from ._splats import Measures

_MESH_FACTS = ("watertight", "manifold", "components", "genus", "volume", "size_mm", "printable", "missing")
_LEVELS = ("blocks", "warning", "note")
_OTHERS = {
    ".sog": ("a SOG file of splats, damaged or of version 1", "SuperSplat and splat-transform open version 1"),
    ".ksplat": ("a file of splats for GaussianSplats3D", "splat-transform a.ksplat a.ply makes a .ply of it"),
    ".usdz": ("a USD scene", "Blender and Apple's Quick Look open it; export it as .glb there"),
    ".fbx": ("an FBX scene", "Blender opens it; export it as .glb there"),
    ".dae": ("a COLLADA scene", "Blender opens it; export it as .glb there"),
    ".3mf": ("a 3MF model for printers", "PrusaSlicer and Cura open it; export it as .stl there"),
    ".step": ("a CAD model", "FreeCAD opens it; export it as .stl there"),
}
"""Suffix -> what such a file is, and what opens it."""


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Inspect a file of Gaussians or of a mesh, also a damaged one. The file is not changed.

    Args:
        path: the file.

    Returns:
        The record; it prints as a report. If the file cannot be read, ``error`` says why, and the only finding is
        "unreadable".

    Raises:
        OSError: the file does not exist, is a folder, or may not be read.

    Example:
        >>> inspect("mug.ply")  # doctest: +SKIP
        file       mug.ply, 917,891 bytes
        format     3DGS PLY (LGM's 14 columns, binary_little_endian, float)
        ...
    """
    from ..io import read_stored

    path = Path(path).expanduser()
    size = path.stat().st_size
    header = read_header(path)
    try:
        known, obj = read_stored(path)
    except FormatError as error:
        finding = _unreadable(path, str(error))
        return Inspection(path.name, size, error=finding.what, findings=(finding,))
    about: dict[str, Any] = {"name": path.name, "size": size, "format": known.name}
    if known.suffix == ".ply" and header:
        about["layout"] = str(header)
    if known.holds.__name__ == "Mesh":
        return _mesh(obj, known.suffix, known.unit_mm, about)  # type: ignore[arg-type]  # `holds` says which it is
    return _splats(obj, known.suffix, known.turns, header, about)  # type: ignore[arg-type]


def _unreadable(path: Path, error: str) -> Finding:
    if kind := _OTHERS.get(path.suffix.lower()):
        return Finding("unreadable", "blocks", f"{error}; the name says it is {kind[0]}", kind[1])
    return Finding("unreadable", "blocks", error, "get the file again, or write it again with the program it is from")


def _splats(gaussians: Gaussians, suffix: str, turns: bool, header: Header | None, about: dict[str, Any]) -> Inspection:
    from ._splats import measure, splat_findings
    from ._viewers import splat_viewers

    found = measure(gaussians, is_ply=about["format"] == "3DGS PLY")
    y_down, reasons = _which_way_up(gaussians, found, turns, suffix)
    convention = ("3dgs" if turns else "ydown") if y_down else "opengl"
    viewers = splat_viewers(suffix, y_down, gaussians.sh_degree, header if suffix == ".ply" else None)
    findings = list(splat_findings(found, gaussians.sh_degree))
    if y_down != turns:
        words = {True: "y down", False: "y up"}
        what = f"it seems to be {words[y_down]}; viewers that take a {suffix} for {words[turns]} show it upside down"
        argument = "ydown" if y_down else "opengl"
        remedy = f'look at it; if so, --fix turns it, and load(path, "{argument}") reads it the right way up'
        findings.append(Finding("upside_down", "warning", f"{what}; {reasons[0]}", remedy))
    failing = [viewer for viewer in viewers if viewer.says.startswith(("refuses", "draws noise"))]
    if failing:
        what = "; ".join(f"{viewer.name} {viewer.says}" for viewer in failing)
        findings.append(Finding("layout", "warning", what, "--fix writes float columns, little-endian, LF line ends"))
    return Inspection(
        **about, holds="Gaussians", convention=convention, reasons=tuple(reasons), count=len(gaussians),
        bounds=found.bounds, sh_degree=gaussians.sh_degree, shares=found.shares, viewers=viewers,
        findings=tuple(sorted(findings, key=lambda finding: _LEVELS.index(finding.level))),
    )  # fmt: skip


def _which_way_up(gaussians: Gaussians, found: Measures, usual: bool, suffix: str) -> tuple[bool, Sequence[str]]:
    """True if y is down, and why. ``usual`` is what files of this format usually are."""
    import torch

    from ._splats import reinterpreted
    from ._upright import judge

    rule = f"the usual one of a {suffix}" if usual else f"what the specification of {suffix} prescribes"
    good = gaussians if found.good.all() else gaussians[torch.from_numpy(found.good)]
    guess = judge(reinterpreted(good, found))
    if not guess.up:
        return usual, (rule, "light and shape do not tell which way is up")
    y_down, reason = guess.up < 0, f"a guess from light and shape: {guess}"
    return y_down, (rule, reason) if y_down == usual else (reason,)


def _mesh(mesh: Mesh, suffix: str, unit_mm: float, about: dict[str, Any]) -> Inspection:
    from ..meshing import mesh_report
    from ._viewers import mesh_viewers

    report = mesh_report(mesh, unit_mm)
    findings: tuple[Finding, ...] = ()
    if report.missing:
        what = f"it cannot be printed as it is: {'; '.join(report.missing)}"
        findings = (Finding("mesh", "note", what, "print(mesh_report(load(path))) tells more"),)
    low, high = (tuple(corner) for corner in mesh.bounds.tolist())
    return Inspection(
        **about, holds="Mesh", count=len(mesh.faces), bounds=(low, high), findings=findings,
        mesh={name: getattr(report, name) for name in _MESH_FACTS}, viewers=mesh_viewers(suffix, mesh),
    )  # fmt: skip
