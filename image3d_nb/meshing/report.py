"""Whether a mesh can be printed, and what is wrong with it if not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..mesh import Mesh, unique_rows
from ._topology import Topology

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

THIN = 1e-7  # a face whose height is less than this share of its longest side has no area to speak of


@dataclass(frozen=True)
class Shell:
    """One connected piece of a surface. Pieces that touch in a vertex are two, in an edge one.

    Attributes:
        faces: how many.
        closed: no edge is left open.
        genus: its handles, 0 for a ball, 1 for a ring; None where the piece is not closed, manifold and two-sided.
        area: world units squared.
        volume: world units cubed, negative where it is inside out; None where it is open or not wound consistently.
        inside: how many other closed shells it lies in.
    """

    faces: int
    closed: bool
    genus: int | None
    area: float
    volume: float | None
    inside: int


@dataclass(frozen=True, repr=False)
class MeshReport:
    """What :func:`mesh_report` found. Prints as a table.

    Attributes:
        vertices: as stored.
        positions: that differ; vertices at one position count as one in all that follows.
        faces: as stored.
        size_mm: of the bounds along x, y and z, millimetres.
        unit_mm: millimetres that a world unit was taken for.
        shells: the connected pieces, the one with the largest area first.
        open_edges: with an odd number of faces: borders of holes.
        non_manifold_edges: with more than two faces.
        non_manifold_vertices: where pieces of surface touch in one point.
        inconsistent_edges: edges whose faces are wound against each other.
        one_sided: shells that no winding makes consistent.
        degenerate_faces: without an area. Those whose corners coincide are left out of all other numbers but `faces`.
        duplicate_faces: that have the corners of another face.
        intersections: pairs of faces that cut through each other, which slicers cope with; None where not checked.
    """

    vertices: int
    positions: int
    faces: int
    size_mm: tuple[float, float, float]
    unit_mm: float
    shells: tuple[Shell, ...]
    open_edges: int
    non_manifold_edges: int
    non_manifold_vertices: int
    inconsistent_edges: int
    one_sided: int
    degenerate_faces: int
    duplicate_faces: int
    intersections: int | None

    @property
    def watertight(self) -> bool:
        """The surface has no holes: no edge is open."""
        return bool(self.shells) and not self.open_edges

    @property
    def manifold(self) -> bool:
        """Around each edge and each vertex, the surface is one sheet."""
        return not self.non_manifold_edges and not self.non_manifold_vertices

    @property
    def consistent(self) -> bool:
        """Neighbouring faces are wound the same way."""
        return not self.inconsistent_edges

    @property
    def outward(self) -> bool:
        """The shells that lie in no other look outwards."""
        outer = [shell.volume for shell in self.shells if not shell.inside]
        return bool(outer) and all(volume is not None and volume > 0 for volume in outer)

    @property
    def components(self) -> int:
        """How many shells there are."""
        return len(self.shells)

    @property
    def inner_shells(self) -> int:
        """How many shells lie in another."""
        return sum(shell.inside > 0 for shell in self.shells)

    @property
    def genus(self) -> int | None:
        """The handles of all shells together; None where one has no genus."""
        found = [shell.genus for shell in self.shells if shell.genus is not None]
        return sum(found) if len(found) == len(self.shells) > 0 else None

    @property
    def area(self) -> float:
        """World units squared."""
        return sum(shell.area for shell in self.shells)

    @property
    def volume(self) -> float | None:
        """World units cubed, cavities taken off; None where a shell has none."""
        found = [shell.volume for shell in self.shells if shell.volume is not None]
        return sum(found) if len(found) == len(self.shells) > 0 else None

    @property
    def printable(self) -> bool:
        """Closed, manifold, wound consistently and outwards, of outer shells only: nothing is `missing`."""
        return not self.missing

    @property
    def missing(self) -> tuple[str, ...]:
        """A sentence for each thing that keeps it from being printed: what it is, and what to do."""
        return tuple(_missing(self))

    def __repr__(self) -> str:
        lines = _lines(self)
        width = max(len(name) for name, _ in lines)
        verdict = "printable" if self.printable else "not printable"
        table = "\n".join(f"  {name.ljust(width)}  {text}" for name, text in lines)
        return "\n".join([f"MeshReport: {verdict}", table, *(f"  - {sentence}" for sentence in self.missing)])


def mesh_report(mesh: Mesh, unit_mm: float = 1.0, *, intersections: bool = True) -> MeshReport:
    """Whether a mesh is closed, manifold and wound outwards, how large it is, and what is missing to print it.

    Vertices at one position, to the last bit, count as one: files repeat them along seams of the texture and creases.

    Args:
        mesh: any.
        unit_mm: millimetres that a world unit stands for: 1 as printers take .stl and .obj, 1000 for metres (.glb).
        intersections: also look for faces that cut through each other: most of the time that large meshes take.

    Raises:
        InputError: unit_mm is not above 0.

    Example:
        >>> tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
        >>> report = mesh_report(Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]), tetrahedron))
        >>> report.printable, report.genus, round(report.volume, 3)
        (True, 0, 0.167)
    """
    from . import _kernels  # here, because numba takes half a second to import

    if not (np.isfinite(unit_mm) and unit_mm > 0):
        raise InputError(f"unit_mm must be above 0; got {unit_mm}")
    points, _, inverse = unique_rows(mesh.vertices.astype(np.float64))
    faces = inverse[mesh.faces]  # [F, 3]
    collapsed = (faces == np.roll(faces, 1, axis=1)).any(1)
    thin = _thin(points[faces])
    topology = Topology.of(faces[~collapsed])
    used = points[np.unique(topology.faces)]
    return MeshReport(
        vertices=len(mesh.vertices),
        positions=len(points),
        faces=len(mesh.faces),
        size_mm=_size(used, unit_mm),
        unit_mm=unit_mm,
        shells=_shells(points, topology),
        open_edges=int((topology.counts % 2 == 1).sum()),
        non_manifold_edges=int((topology.counts > 2).sum()),
        non_manifold_vertices=_pinch_points(topology),
        inconsistent_edges=int((~topology.balanced & (topology.counts % 2 == 0)).sum()),
        one_sided=len(np.unique(topology.shell[~topology.two_sided])),
        degenerate_faces=int((collapsed | thin).sum()),
        duplicate_faces=len(topology.faces) - len(np.unique(np.sort(topology.faces, axis=1), axis=0)),
        intersections=_kernels.count_intersections(points, topology.faces) if intersections else None,
    )


def _size(points: Floats, unit_mm: float) -> tuple[float, float, float]:
    x, y, z = (np.ptp(points, axis=0) * unit_mm).tolist() if len(points) else (0.0, 0.0, 0.0)
    return x, y, z


def _thin(corners: Floats) -> NDArray[np.bool_]:
    """[F], of corners [F, 3, 3]: twice the area over the square of the longest side is height over longest side."""
    sides = np.roll(corners, -1, axis=1) - corners
    longest = np.einsum("fck,fck->fc", sides, sides).max(1, initial=0)
    doubled = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    return doubled <= THIN * longest


def _pinch_points(topology: Topology) -> int:
    """Vertices with more than one fan of faces."""
    corner_of_fan = np.unique(topology.fan, return_index=True)[1]
    vertex_of_fan = topology.faces.reshape(-1)[corner_of_fan]
    return int((np.bincount(vertex_of_fan) > 1).sum()) if len(vertex_of_fan) else 0


def _shells(points: Floats, topology: Topology) -> tuple[Shell, ...]:
    shell, faces = topology.shell, topology.faces
    if not len(faces):
        return ()
    total = int(shell.max()) + 1
    cross = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    middle = points[faces[:, 0]] - points.mean(0)  # near the origin, so that digits are not lost
    count = np.bincount(shell, minlength=total)
    area = np.bincount(shell, np.linalg.norm(cross, axis=1) / 2, total)
    volume = np.bincount(shell, np.einsum("fk,fk->f", middle, cross) / 6, total)  # divergence theorem
    of_edge = np.empty(len(topology.counts), np.int64)
    of_edge[topology.edge] = np.repeat(shell, 3)
    edges = np.bincount(of_edge, minlength=total)
    tests = (topology.counts % 2, topology.counts > 2, ~topology.balanced)
    open_, overfull, unbalanced = (np.bincount(of_edge, test, total) for test in tests)
    fans = np.bincount(shell[np.unique(topology.fan, return_index=True)[1] // 3], minlength=total)
    one_sided = np.bincount(shell, ~topology.two_sided, total)
    closed = open_ == 0
    sound = closed & (overfull == 0) & (one_sided == 0)
    genus = 1 - (fans - edges + count) // 2  # Euler: V - E + F = 2 - 2 g
    inside = _inside(points, topology, unbalanced == 0)
    found = [
        Shell(
            faces=int(count[k]),
            closed=bool(closed[k]),
            genus=int(genus[k]) if sound[k] else None,
            area=float(area[k]),
            volume=float(volume[k]) if unbalanced[k] == 0 else None,
            inside=int(inside[k]),
        )
        for k in range(total)
    ]
    return tuple(sorted(found, key=lambda one: -one.area))


def _inside(points: Floats, topology: Topology, closed: NDArray[np.bool_]) -> Ints:
    """[shells], in how many closed ones each lies, by the winding number around one of its points."""
    from . import _kernels

    shell, faces = topology.shell, topology.faces
    total = len(closed)
    depth = np.zeros(total, np.int64)
    order = np.argsort(shell, kind="stable")
    pieces = np.split(order, np.cumsum(np.bincount(shell, minlength=total))[:-1])  # faces of each shell
    corners = points[faces]  # [F, 3, 3]
    low = np.stack([corners[piece].reshape(-1, 3).min(0) for piece in pieces])
    high = np.stack([corners[piece].reshape(-1, 3).max(0) for piece in pieces])
    probes = np.stack([corners[piece[0]].mean(0) for piece in pieces])  # [shells, 3]
    for k in np.flatnonzero(closed):
        candidates = np.flatnonzero(((low[k] < low) & (high < high[k])).all(1))
        if len(candidates):
            # 1 inside, 0 outside; a point on the surface itself, where shells touch, has about 0.5
            depth[candidates] += np.abs(_kernels.winding(probes[candidates], corners[pieces[k]])) > 0.75
    return depth


def _missing(report: MeshReport) -> list[str]:
    if not report.shells:
        return ["It has no face with an area: there is nothing to print."]
    flat = sum(shell.volume is not None and abs(shell.volume) <= 1e-9 * shell.area**1.5 for shell in report.shells)
    inverted = sum(shell.volume is not None and shell.volume < 0 and not shell.inside for shell in report.shells)
    turn = "mesh.inverted() turns them" if inverted == report.components else "turn those parts"
    found = [
        (report.open_edges, "{} at the border of a hole: fill the holes (to_mesh makes closed meshes)", "edge"),
        (report.non_manifold_edges, "{} with more than two faces: take inner walls out, or move parts apart", "edge"),
        (report.non_manifold_vertices, "{} where parts touch in one point: move them apart, or unite them", "vertex"),
        (report.inconsistent_edges, "{} whose faces are wound against each other: wind all the same way round", "edge"),
        (report.one_sided, "{} without an inside, like a Moebius strip: build it anew as a solid", "shell"),
        (flat, "{} without a volume: give it a thickness", "closed shell"),
        (inverted if not flat else 0, "{} inside out: " + turn + " the right way round", "shell"),
        (report.inner_shells, "{} inside another: take out what is inside, or a hollow stays in the print", "shell"),
        (report.duplicate_faces, "{} twice in the same place: leave one of them", "face"),
    ]
    return [f"{sentence.format(_count(number, noun))}." for number, sentence, noun in found if number]


def _count(number: int, noun: str) -> str:
    plurals = {"vertex": "vertices", "pair of faces": "pairs of faces"}
    return f"{number:,} {noun if number == 1 else plurals.get(noun, noun + 's')}"


def _lines(report: MeshReport) -> list[tuple[str, str]]:
    size = " x ".join(f"{side:.4g}" for side in report.size_mm)
    wound = "consistently" if report.volume is None else "outwards" if report.outward else "inwards"
    genus = "-" if report.genus is None else f"{report.genus}"
    cut = "not checked" if report.intersections is None else _count(report.intersections, "pair of faces")
    return [
        ("faces", f"{report.faces:,} ({report.degenerate_faces:,} degenerate, {report.duplicate_faces:,} duplicate)"),
        ("vertices", f"{report.vertices:,}, at {report.positions:,} positions (equal ones count as one)"),
        ("watertight", "yes" if report.watertight else f"no ({_count(report.open_edges, 'open edge')})"),
        ("manifold", "yes" if report.manifold else "no"),
        ("wound", wound if report.consistent else "against each other"),
        ("shells", f"{report.components:,} ({report.inner_shells:,} inside others)"),
        ("genus", genus),
        ("volume", "-" if report.volume is None else f"{report.volume:.4g} units^3"),
        ("area", f"{report.area:.4g} units^2"),
        ("size", f"{size} mm (1 unit = {report.unit_mm:g} mm)"),
        ("self-cuts", cut),
    ]
