"""Checks of lesson 08, splats to meshes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mesh import Mesh
from ..meshing import Grid, marching_cubes, mesh_report
from ._exercise import Exercise, call, file_of, need, number_of, of_type

LONGEST = 60.0
"""Millimetres, of the thing to print."""


def _chain(rings: int) -> Mesh:
    """That many rings side by side, grown together."""
    line = np.linspace(-1.2, 1.2, 76)
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    places = 0.6 * (np.arange(rings) - (rings - 1) / 2)
    distance = np.min([np.hypot(np.hypot(x - place, y) - 0.3, z) - 0.11 for place in places], axis=0)
    grid = Grid(np.full(3, -1.2), float(line[1] - line[0]), distance.shape)
    return Mesh(*marching_cubes(distance.astype(np.float32), grid))


def _tetrahedron() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of volume 1, away from the origin."""
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]]) + 5
    return corners, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


def share_of_edge(answer: Any) -> None:
    """A function (a, b) that says where between them a straight line is 0."""
    for a, b, wanted in ((-1.0, 1.0, 0.5), (-1.0, 3.0, 0.25), (3.0, -1.0, 0.75), (-0.2, 0.05, 0.8)):
        found = number_of(call(answer, a, b))
        if wanted != 0.5 and math.isclose(found, 1 - wanted, abs_tol=1e-6):
            need(False, f"From {a:g} to {b:g} you count from the far end: the share must be {wanted:g}.")
        say = f"From {a:g} to {b:g} it must be {wanted:g}; it is {found:.3g}."
        need(math.isclose(found, wanted, abs_tol=1e-6), say)


def volume_of(answer: Any) -> None:
    """A function (vertices, faces) that gives the enclosed volume."""
    vertices, faces = _tetrahedron()
    found = number_of(call(answer, vertices, faces))
    if math.isclose(found, float(np.abs(np.linalg.det(vertices[faces])).sum() / 6), rel_tol=1e-6):
        need(False, "Add the determinants with their signs, which cancel what lies outside: no absolute value of each.")
    if math.isclose(found, 6.0, rel_tol=1e-5):
        need(False, "A determinant is six times the tetrahedron's volume.")
    if math.isclose(found, -1.0, rel_tol=1e-5):
        need(False, "The sign is wrong: corners counter-clockwise from outside count as plus.")
    need(math.isclose(found, 1.0, rel_tol=1e-5), f"A tetrahedron of volume 1 must give 1; yours gives {found:.3g}.")
    found = number_of(call(answer, vertices, faces[:, ::-1].copy()))
    need(found < 0, f"A mesh inside out must have a negative volume; yours gives {found:.3g}: take no absolute value.")
    ring = _chain(1)
    wanted = mesh_report(ring).volume
    assert wanted is not None
    found = number_of(call(answer, ring.vertices, ring.faces))
    say = f"A ring of volume {wanted:.4f} must give that; yours gives {found:.4f}."
    need(math.isclose(found, wanted, rel_tol=1e-4), say)


def genus_of(answer: Any) -> None:
    """A function (faces) that gives the genus of a closed mesh of one part."""
    for thing, faces, wanted in (
        ("a tetrahedron", _tetrahedron()[1], 0),
        ("a ring", _chain(1).faces, 1),
        ("a chain of three", _chain(3).faces, 3),
    ):
        found = number_of(call(answer, faces))
        need(found != 2 - 2 * wanted or found == wanted, f"For {thing} that is V - E + F = 2 - 2 g; what is g?")
        need(found == wanted, f"{thing.capitalize()} has genus {wanted}; your function says {found:g}.")
    spare = _chain(1).faces + 7  # numbers 0 to 6 are no vertices of it
    need(number_of(call(answer, spare)) == 1, "Count the vertices that faces use, not the highest number among them.")


def two_holes(answer: Any) -> None:
    """A closed mesh of one part and genus 2."""
    report = mesh_report(of_type(answer, Mesh, "a Mesh"))
    need(report.watertight and report.manifold, "It must be watertight and manifold: mesh_report says what is not.")
    need(report.components == 1, f"It must be one part; it has {report.components}.")
    need(report.genus == 2, f"It must have two holes, genus 2; this one has genus {report.genus}.")


def printable_file(answer: Any) -> None:
    """The path of an .stl, closed, of the right size."""
    _, mesh = file_of(answer, ".stl", Mesh)
    report = mesh_report(mesh)
    longest = max(report.size_mm)
    need(abs(longest - LONGEST) < 0.01, f"The longest side must be {LONGEST:g} mm; it is {longest:.4g}.")
    need(report.printable, f"It must be printable; {' '.join(report.missing)}")


EXERCISES = (
    Exercise(
        "08.1", share_of_edge,
        ("The line is a + share * (b - a). Where is that 0?", "return a / (a - b)"),
        """\
def share(a, b):
    return a / (a - b)""",
        "Marching cubes asks this once for every edge that the surface cuts, and nothing else about places.",
    ),
    Exercise(
        "08.2", volume_of,
        ("vertices[faces] is [F, 3, 3]: the three corners of each triangle, as rows of a matrix.",
         "return np.linalg.det(vertices[faces]).sum() / 6"),
        """\
def volume_of(vertices, faces):
    return np.linalg.det(vertices[faces]).sum() / 6""",
        "The sign tells more than the size: a negative volume means a mesh that is inside out.",
    ),
    Exercise(
        "08.3", genus_of,
        ("V are the numbers that occur in faces, and a closed mesh has E = 3 F / 2 edges.",
         "g = 1 - (V - 3 * F // 2 + F) // 2, with V = len(np.unique(faces)) and F = len(faces)."),
        """\
def genus(faces):
    vertices, edges = len(np.unique(faces)), 3 * len(faces) // 2
    return 1 - (vertices - edges + len(faces)) // 2""",
        "The genus notices a handle that has closed, which no distance to the truth would show.",
    ),
    Exercise(
        "08.4", two_holes,
        ("A ring's signed distance is hypot(hypot(x, y) - R, z) - r; the smaller of two distances joins two things.",
         "np.minimum of two rings whose centres are 2 R apart, marching_cubes on a Grid, and i3d.Mesh of that."),
        """\
line = np.linspace(-0.6, 0.6, 61)
x, y, z = np.meshgrid(line, line, line, indexing="ij")
ring = lambda x: np.hypot(np.hypot(x, y) - 0.2, z) - 0.07
both = np.minimum(ring(x - 0.22), ring(x + 0.22)).astype(np.float32)
answer = i3d.Mesh(*marching_cubes(both, Grid(np.full(3, -0.6), line[1] - line[0], both.shape)))""",
        "Whatever you can write as a signed distance, marching cubes makes a mesh of.",
    ),
    Exercise(
        "08.5", printable_file,
        ("save has an argument for the size, in millimetres.", 'i3d.save(mesh, folder / "thing.stl", scale_mm=60)'),
        """\
answer = "rings.stl"
i3d.save(mesh, answer, scale_mm=60)""",
        "An .stl has no unit: a slicer takes its numbers for millimetres.",
    ),
)  # fmt: skip
