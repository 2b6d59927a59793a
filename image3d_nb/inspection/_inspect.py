"""A file to a record of what it holds and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FormatError
from ._header import Header, read_header
from ._record import Finding, Inspection, Viewer

if TYPE_CHECKING:
    from ..gaussians import Gaussians
    from ..mesh import Mesh
    from ._splats import Measures

_HEADER = 1 << 18
_MESH_FACTS = ("watertight", "manifold", "components", "genus", "volume", "size_mm", "printable", "missing")
_PROGRAMS = {
    ".usdz": "a .usdz is a scene for Apple's devices: Blender opens it, and exports it as .glb",
    ".ksplat": "a .ksplat is for GaussianSplats3D: splat-transform reads it, and writes .ply",
    ".sog": "a .sog is for PlayCanvas: SuperSplat and splat-transform open it, unless it is damaged",
    ".fbx": "a .fbx is Autodesk's scene: Blender opens it, and exports it as .glb",
}
"""What the files of other formats are, and what opens them."""
_LEVELS = ("blocks", "warning", "note")


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Look at a file of Gaussians or of a mesh, damaged ones included. Nothing is changed.

    Args:
        path: the file.

    Returns:
        The record; it prints as a report. Where the file cannot be read, ``error`` says why, and the only finding is
        "unreadable".

    Raises:
        OSError: there is no such file, it is a folder, or it may not be read.

    Example:
        >>> inspect("mug.ply")  # doctest: +SKIP
        file       mug.ply, 917,891 bytes
        format     3DGS PLY (LGM's 14 columns, binary_little_endian, float)
        ...
    """
    from ..io import read_stored

    path = Path(path)
    size = path.stat().st_size
    try:
        known, obj = read_stored(path)
    except FormatError as error:
        finding = _unreadable(str(error), path.suffix.lower())
        return Inspection(path.name, size, error=finding.what, findings=(finding,))
    header = _header(path)
    about: dict[str, Any] = {"name": path.name, "size": size, "format": known.name}
    if known.suffix == ".ply" and header:
        about["layout"] = str(header)
    if known.holds.__name__ == "Mesh":
        return _of_mesh(obj, known.suffix, known.unit_mm, about)  # type: ignore[arg-type]  # what it holds says so
    return _of_splats(obj, known.suffix, known.turns, header, about)  # type: ignore[arg-type]


def _header(path: Path) -> Header | None:
    if not path.is_file():  # a pipe would never end
        return None
    with path.open("rb") as stream:
        return read_header(stream.read(_HEADER))


def _unreadable(error: str, suffix: str) -> Finding:
    return Finding("unreadable", "blocks", error, _PROGRAMS.get(suffix, "get the file again, or write it anew"))


def _of_splats(
    gaussians: Gaussians, suffix: str, turns: bool, header: Header | None, about: dict[str, Any]
) -> Inspection:
    from ._splats import measure, splat_findings
    from ._viewers import splat_viewers

    found = measure(gaussians, is_ply=suffix == ".ply")
    y_down, reasons, suspicion = _which_way_up(gaussians, found, turns, suffix)
    convention = ("3dgs" if turns else "ydown") if y_down else "opengl"
    viewers = splat_viewers(suffix, y_down, gaussians.sh_degree, header if suffix == ".ply" else None)
    findings = [*splat_findings(found, gaussians.sh_degree), *suspicion, *_layout(viewers)]
    return Inspection(
        **about, holds="Gaussians", convention=convention, reasons=reasons, count=len(gaussians), bounds=found.bounds,
        sh_degree=gaussians.sh_degree, shares=found.shares or {}, viewers=viewers,
        findings=tuple(sorted(findings, key=lambda finding: _LEVELS.index(finding.level))),
    )  # fmt: skip


def _which_way_up(
    gaussians: Gaussians, found: Measures, usual: bool, suffix: str
) -> tuple[bool, tuple[str, ...], list[Finding]]:
    """Whether y is down, why, and a finding where that is not the usual way of the format."""
    import torch

    from ._splats import restored
    from ._upright import judge

    rule = f"the usual one of a {suffix}" if usual else f"what the specification of {suffix} prescribes"
    good = gaussians if found.good.all() else gaussians[torch.from_numpy(found.good)]
    seen = judge(restored(good, found))
    if not seen.up:
        return usual, (rule, "light and shape do not tell which way is up"), []
    y_down, reason = seen.up < 0, f"a guess from light and shape: {seen}"
    if y_down == usual:
        return usual, (rule, reason), []
    words = {True: "y down", False: "y up"}
    what = f"it seems to be {words[y_down]}; viewers that take a {suffix} for {words[usual]} show it upside down"
    argument = "ydown" if y_down else "opengl"
    remedy = f'look at it; if so: --fix turns it, load(path, "{argument}") reads it right'
    return y_down, (reason,), [Finding("upside_down", "warning", f"{what}; {reason}", remedy)]


def _layout(viewers: tuple[Viewer, ...]) -> Iterator[Finding]:
    """A .ply that is fine by itself, but not for viewers that read little of what a .ply may be."""
    failing = [viewer for viewer in viewers if viewer.says.startswith(("refuses", "draws noise"))]
    if failing:
        what = "; ".join(f"{viewer.name} {viewer.says}" for viewer in failing)
        yield Finding("layout", "warning", what, "--fix writes float columns, little-endian, with LF line ends")


def _of_mesh(mesh: Mesh, suffix: str, unit_mm: float, about: dict[str, Any]) -> Inspection:
    from ..meshing import mesh_report
    from ._viewers import mesh_viewers

    report = mesh_report(mesh, unit_mm)
    facts = {name: getattr(report, name) for name in _MESH_FACTS}
    findings = []
    if report.missing:
        what = f"it cannot be printed as it is: {'; '.join(report.missing)}"
        findings.append(Finding("mesh", "note", what, "print(mesh_report(load(path))) tells more"))
    low, high = (tuple(corner) for corner in mesh.bounds.tolist())
    return Inspection(
        **about, holds="Mesh", count=len(mesh.faces), bounds=(low, high), mesh=facts, findings=tuple(findings),
        viewers=mesh_viewers(suffix, mesh),
    )  # fmt: skip
