"""What mesh_report says, on meshes whose faults are known, and beside trimesh on random ones."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from image3d_nb import mesh_report
from image3d_nb.errors import InputError
from image3d_nb.mesh import Mesh
from image3d_nb.meshing import MeshReport
from image3d_nb.meshing._kernels import count_intersections
from tests.solids import CUBE, ball, cube, doughnut, volume

TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]), np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
)
FAULTS = (
    "open_edges", "non_manifold_edges", "non_manifold_vertices", "inconsistent_edges", "one_sided", "duplicate_faces",
    "intersections",
)  # fmt: skip


def faults(report: MeshReport) -> dict[str, int]:
    """The numbers that should be zero and are not."""
    return {name: getattr(report, name) for name in FAULTS if getattr(report, name)}


def moved(mesh: Mesh, *by: float) -> Mesh:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return mesh.transform(matrix)


@pytest.mark.parametrize(
    ("mesh", "genus", "true_volume", "shells"),
    [
        (CUBE, 0, 1.0, 1),
        (TETRAHEDRON, 0, 1 / 6, 1),
        (ball(24), 0, np.pi / 6, 1),
        (ball(24, texture=np.zeros((4, 4, 3), np.uint8)), 0, np.pi / 6, 1),  # a seam: two rows of vertices, one place
        (doughnut(), 1, 2 * np.pi**2 * 0.35 * 0.12**2, 1),
        (Mesh.merge([doughnut(), moved(CUBE, 5, 0, 0)]), 1, 1 + 2 * np.pi**2 * 0.35 * 0.12**2, 2),
        # linked rings: two parts, neither inside the other
        (Mesh.merge([doughnut(), moved(doughnut(), 0.35, 0, 0).transform(np.eye(3)[[0, 2, 1]])]), 2, 0.199, 2),
    ],
)  # fmt: skip
def test_sound_meshes(mesh: Mesh, genus: int, true_volume: float, shells: int) -> None:
    report = mesh_report(mesh)
    assert faults(report) == {}
    assert report.printable
    assert report.missing == ()
    assert report.watertight
    assert report.manifold
    assert report.consistent
    assert report.outward
    assert (report.genus, report.components, report.inner_shells) == (genus, shells, 0)
    assert report.volume == pytest.approx(volume(mesh))
    assert report.volume == pytest.approx(true_volume, rel=0.02)
    assert report.area == pytest.approx(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).area)
    assert "not printable" not in repr(report)


def test_a_face_missing() -> None:
    report = mesh_report(Mesh(TETRAHEDRON.vertices, TETRAHEDRON.faces[1:]))
    assert faults(report) == {"open_edges": 3}
    assert not report.watertight
    assert report.manifold
    assert (report.genus, report.volume, report.outward) == (None, None, False)
    assert len(report.missing) == 1
    assert report.missing[0].startswith("3 edges at the border of a hole")


def test_two_cubes_that_share_an_edge() -> None:
    report = mesh_report(Mesh.merge([CUBE, moved(CUBE, 1, 1, 0)]))
    assert faults(report) == {"non_manifold_edges": 1}
    assert report.watertight
    assert not report.manifold
    assert (report.components, report.genus, report.volume) == (1, None, pytest.approx(2))
    assert report.missing[0].startswith("1 edge with more than two faces")


def test_two_cubes_that_share_a_vertex() -> None:
    report = mesh_report(Mesh.merge([CUBE, moved(CUBE, 1, 1, 1)]))
    assert faults(report) == {"non_manifold_vertices": 1}
    assert report.watertight
    assert not report.manifold
    assert (report.components, report.genus, report.volume) == (2, 0, pytest.approx(2))
    assert report.missing[0].startswith("1 vertex where parts touch")


def test_a_surface_that_touches_itself_in_a_vertex() -> None:
    mesh = ball(8)
    mesh.vertices[np.abs(mesh.vertices[:, 1]) == 0.5] = 0  # the poles meet in the middle
    report = mesh_report(mesh)
    assert faults(report) == {"non_manifold_vertices": 1}
    assert (report.components, report.genus, report.positions) == (1, 0, len(mesh.vertices) - 1)


def test_a_flipped_face() -> None:
    faces = CUBE.faces.copy()
    faces[5] = faces[5, ::-1]
    report = mesh_report(Mesh(CUBE.vertices, faces))
    assert faults(report) == {"inconsistent_edges": 3}
    assert report.watertight
    assert not report.consistent
    assert (report.genus, report.volume) == (0, None)
    assert "3 edges whose faces are wound against each other" in report.missing[0]


def test_inside_out() -> None:
    report = mesh_report(CUBE.inverted())
    assert faults(report) == {}
    assert report.volume == pytest.approx(-1)
    assert not report.outward
    assert "mesh.inverted()" in report.missing[0]
    one_of_two = mesh_report(Mesh.merge([CUBE.inverted(), moved(CUBE, 3, 0, 0)]))
    assert not one_of_two.outward
    assert "turn those parts" in one_of_two.missing[0]


@pytest.mark.parametrize("hollow", [True, False])
def test_a_ball_in_a_ball(hollow: bool) -> None:
    inner = ball(12, radius=0.2)
    report = mesh_report(Mesh.merge([ball(24), inner.inverted() if hollow else inner]))
    assert faults(report) == {}
    assert [shell.inside for shell in report.shells] == [0, 1]
    assert report.outward
    assert report.volume == pytest.approx(volume(ball(24)) + (-1 if hollow else 1) * volume(inner))
    assert not report.printable
    assert report.missing == ("1 shell inside another: take out what is inside, or a hollow stays in the print.",)


def test_shells_in_shells_and_beside_them() -> None:
    parts = [cube((s, s, s)) for s in (4, 3, 2, 1)]
    parts.append(moved(ball(8, 0.2), 1.75, 1.75, 0))  # between the first two sides: inside the largest alone
    parts.append(moved(CUBE, 9, 0, 0))
    report = mesh_report(Mesh.merge(parts))
    assert sorted((shell.faces, shell.inside) for shell in report.shells) == [
        (12, 0), (12, 0), (12, 1), (12, 2), (12, 3), (ball(8).faces.shape[0], 1)
    ]  # fmt: skip
    # a pit is not the inside: the small cube stands in the hole of the ring
    assert mesh_report(Mesh.merge([doughnut(), cube((0.05, 0.05, 0.05))])).inner_shells == 0


def strip(twists: int, count: int = 30) -> Mesh:
    """A band around y, twisted by half turns."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    half = turn * twists / 2
    middle = np.stack([np.sin(turn), 0 * turn, np.cos(turn)], axis=1)
    across = 0.2 * (np.sin(half)[:, None] * middle + np.cos(half)[:, None] * (0, 1, 0))
    index = np.arange(count)
    after, swap = (index + 1) % count, (index == count - 1) & (twists % 2 == 1)
    low, high = np.where(swap, after + count, after), np.where(swap, after, after + count)
    faces = np.concatenate([np.stack([index, low, high], 1), np.stack([index, high, index + count], 1)])
    return Mesh(np.concatenate([middle + across, middle - across]), faces)


def test_a_moebius_strip_has_one_side() -> None:
    assert faults(mesh_report(strip(2))) == {"open_edges": 60}
    report = mesh_report(strip(1))
    assert report.one_sided == 1
    assert "Moebius" in " ".join(report.missing)


def test_degenerate_and_duplicate_faces() -> None:
    faces = np.concatenate([CUBE.faces, [[0, 0, 1], [2, 2, 2]]])
    report = mesh_report(Mesh(CUBE.vertices, faces))
    assert (report.degenerate_faces, report.faces) == (2, 14)
    assert report.printable  # corners at one place are no face
    doubled = mesh_report(Mesh(CUBE.vertices, np.concatenate([CUBE.faces, CUBE.faces[:1]])))
    assert doubled.duplicate_faces == 1
    assert not doubled.printable
    line = mesh_report(Mesh(np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2.0]]), np.array([[0, 1, 2]])))
    assert line.degenerate_faces == 1
    sheet = mesh_report(Mesh(np.eye(3), np.array([[0, 1, 2], [0, 2, 1]])))
    assert sheet.watertight
    assert any("give it a thickness" in sentence for sentence in sheet.missing)


def test_nothing() -> None:
    for faces in (np.zeros((0, 3), int), np.array([[0, 0, 0]])):
        report = mesh_report(Mesh(CUBE.vertices, faces))
        assert not report.watertight
        assert (report.components, report.genus, report.volume, report.area) == (0, None, None, 0)
        assert report.missing == ("It has no face with an area: there is nothing to print.",)
        assert "not printable" in repr(report)


def test_size_in_millimetres() -> None:
    assert mesh_report(cube((1, 2, 3))).size_mm == pytest.approx((1, 2, 3))
    assert mesh_report(cube((0.1, 0.02, 0.03)), unit_mm=1000).size_mm == pytest.approx((100, 20, 30))
    assert mesh_report(cube((1, 2, 3)).scaled_to_mm(60)).size_mm == pytest.approx((20, 40, 60))
    with pytest.raises(InputError, match="unit_mm"):
        mesh_report(CUBE, unit_mm=0)


def test_the_table() -> None:
    soup = Mesh(CUBE.vertices[CUBE.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3)[1:])
    assert repr(mesh_report(soup, unit_mm=10, intersections=False)).splitlines() == [
        "MeshReport: not printable",
        "  faces       11 (0 degenerate, 0 duplicate)",
        "  vertices    36, at 8 positions (equal ones count as one)",
        "  watertight  no (3 open edges)",
        "  manifold    yes",
        "  wound       consistently",
        "  shells      1 (0 inside others)",
        "  genus       -",
        "  volume      -",
        "  area        5.5 units^2",
        "  size        10 x 10 x 10 mm (1 unit = 10 mm)",
        "  self-cuts   not checked",
        "  - 3 edges at the border of a hole: fill the holes (to_mesh makes closed meshes).",
    ]


def test_beside_trimesh_on_damaged_meshes() -> None:
    rng = np.random.default_rng(0)
    for trial in range(30):
        mesh = Mesh.merge([ball(6), moved(doughnut(6, 8), rng.uniform(-1, 1), 0, 0), moved(CUBE, 4, 0, 0)])
        faces = mesh.faces[rng.random(len(mesh.faces)) > (0, 0.01, 0.3)[trial % 3]]
        turned = rng.random(len(faces)) < (0, 0.05)[trial % 2]
        faces[turned] = faces[turned, ::-1]
        judge = trimesh.Trimesh(mesh.vertices, faces, process=False)
        report = mesh_report(Mesh(mesh.vertices, faces), intersections=False)
        assert report.watertight == judge.is_watertight
        assert report.consistent == judge.is_winding_consistent
        assert report.components == len(
            trimesh.graph.connected_components(judge.face_adjacency, nodes=np.arange(len(faces)))
        )
        assert report.area == pytest.approx(judge.area)
        assert report.genus is None or 2 * report.components - 2 * report.genus == judge.euler_number


def test_cuts_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((120, 3))
    faces = np.stack([rng.permutation(120)[:3] for _ in range(60)])
    found = 0
    for i in range(len(faces)):
        for j in range(i):
            if not set(faces[i]) & set(faces[j]):
                found += _crosses(points[faces[i]], points[faces[j]]) or _crosses(points[faces[j]], points[faces[i]])
    assert found > 50
    assert count_intersections(points, faces) == found


def _crosses(sides: np.ndarray, triangle: np.ndarray) -> bool:
    """start + t (end - start) = a + u (b - a) + v (c - a), with all of t, u, v and 1 - u - v in [0, 1]."""
    a, b, c = triangle
    for k in range(3):
        start, end = sides[k], sides[(k + 1) % 3]
        t, u, v = np.linalg.solve(np.stack([start - end, b - a, c - a], axis=1), start - a)
        if 0 < t < 1 and u > 0 and v > 0 and u + v < 1:
            return True
    return False


def test_parts_that_overlap_are_counted_and_can_be_printed() -> None:
    report = mesh_report(Mesh.merge([ball(6), moved(ball(6), 0.5, 0.1, 0)]))
    assert report.intersections
    assert report.printable
    assert f"{report.intersections} pairs of faces" in repr(report)
