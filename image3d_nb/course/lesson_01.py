"""Checks of lesson 01, what is 3D data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._exercise import Exercise, array_of, call, need, number_of

Floats = NDArray[np.float64]

POINTS = 4000  # of exercise 1: the tolerances below are six standard errors or more
SMALL = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.2], [0.2, 1.0, 0.4]])
BIG = np.array([[9.0, 1.0, 0.0], [12.0, 1.0, 0.6], [9.6, 4.0, 1.2]])  # nine times the area


def _weights(points: Floats, corners: Floats) -> tuple[Floats, Floats]:
    """Barycentric weights [n, 3] of the points dropped onto the triangle's plane, and their distances [n] from it."""
    edges = np.stack([corners[1] - corners[0], corners[2] - corners[0]], 1)  # [3, 2]
    found = np.linalg.lstsq(edges, (points - corners[0]).T, rcond=None)[0]  # [2, n]
    off = np.linalg.norm((points - corners[0]).T - edges @ found, axis=0)
    return np.concatenate([1 - found.sum(0, keepdims=True), found]).T, off


def points_of(answer: Any) -> None:
    """A function (vertices, faces, n) that gives n points, spread evenly over the faces of a mesh."""
    faces = np.array([[2, 0, 1], [3, 5, 4]])
    points = array_of(call(answer, np.concatenate([SMALL, BIG]), faces, POINTS), "an array of points")
    need(points.shape == (POINTS, 3), f"The shape must be [n, 3], here [{POINTS}, 3]; it is {list(points.shape)}.")
    need(bool(np.isfinite(points).all()), "All numbers must be finite; some are NaN or infinite.")
    on_big = points[:, 0] > 5
    parts = [_weights(points[on_big == big], corners) for big, corners in ((False, SMALL), (True, BIG))]
    off = float(np.concatenate([part[1] for part in parts]).max())
    need(off < 1e-4, f"Each point must lie on the plane of its face; one is {off:.2g} away. Do the weights sum to 1?")
    lowest = min(float(part[0].min(initial=1)) for part in parts)
    say = f"Each point must lie inside its face; one has the weight {lowest:.2f} for a corner, which is below 0."
    need(lowest > -1e-4, say)
    share = float(on_big.mean())
    need(abs(share - 0.5) > 0.03, "Both faces get as many points, but one has nine times the area: count by area.")
    need(abs(share - 0.9) < 0.03, f"The larger face must get 90 % of the points, as of the area; it gets {share:.0%}.")
    weights = parts[1][0]
    need(float(weights.var(0).max()) > 0.04, "The points of a face must fill it; yours lie close together.")
    crowd = float(weights.mean(0).max())
    say = f"The points of a face crowd at one corner: its mean weight is {crowd:.2f} in place of 0.33: take a root."
    need(crowd < 0.36, say)


def cut(answer: Any) -> None:
    """A function of two arrays of signed distances that is below 0 where the first is and the second is not."""
    places = np.random.default_rng(7).uniform(-1, 1, (500, 3))
    a = np.linalg.norm(places - [0.2, 0, 0], axis=1) - 0.8
    b = np.linalg.norm(places - [-0.3, -0.1, 0], axis=1) - 0.7
    found = array_of(call(answer, a.copy(), b.copy()), "an array of distances")
    need(found.shape == a.shape, f"There must be a distance for each place, {a.shape}; the shape is {found.shape}.")
    inside = found < 0
    if (inside == ((a < 0) & (b > 0))).all():
        return
    for wrong, complaint in (
        (np.maximum(a, b), "This is what a and b share: turn b inside out first, with a minus."),
        (np.minimum(a, b), "This is the union of both: the smaller distance is inside either of them."),
        (np.maximum(-a, b), "This cuts a out of b; the exercise asks for b out of a."),
        (np.minimum(a, -b), "This is a and all that is outside of b: a point must be in a AND not in b."),
        (a - b, "A difference of distances is no difference of solids: it only says which surface is nearer."),
    ):
        need((inside != (wrong < 0)).any(), complaint)
    many = int((inside != ((a < 0) & (b > 0))).sum())
    need(False, f"The result must be below 0 where a < 0 and b > 0, and only there; {many} of 500 places differ.")


def bytes_of(answer: Any) -> None:
    """A function (kind, r) that gives the bytes of a form of 3D data."""
    for kind, r, numbers in (
        ("voxels", 10, 10**3), ("voxels", 64, 64**3), ("triplane", 64, 3 * 32 * 64**2),
        ("gaussians", 64, 4 * 14 * 64**2), ("gaussians", 128, 4 * 14 * 128**2),
    ):  # fmt: skip
        found = number_of(call(answer, kind, r))
        for wrong, complaint in (
            (-1 if kind == "gaussians" else numbers, "These are the numbers; a float32 takes four bytes."),
            (4 * r**2 if kind == "voxels" else -1, "A grid of r voxels a side has r in all three directions."),
            (4 * 3 * r**2 if kind == "triplane" else -1, "Each cell of a plane holds 32 numbers."),
            (4 * 32 * r**2 if kind == "triplane" else -1, "There are three planes."),
            (4 * 14 * r**2 if kind == "gaussians" else -1, "There are four views, each with a Gaussian a pixel."),
            (4 * 4 * r**2 if kind == "gaussians" else -1, "Each Gaussian has 14 numbers."),
        ):
            need(found != wrong, complaint)
        need(found == 4 * numbers, f"{kind} with r = {r} take {4 * numbers:,} bytes; yours are {found:,.0f}.")


def shares(answer: Any) -> None:
    """A function (sigma, step) that gives how much of a pixel each sample of a ray makes."""
    for sigma, step in (([3.0, 0.0, 6.0, 2.0], 0.1), ([0.5, 40.0, 1.0], 0.05)):
        density = np.array(sigma)
        found = array_of(call(answer, density.copy(), step))
        need(found.shape == density.shape, f"There must be {len(sigma)} shares, one a sample; there are {found.shape}.")
        stopped = 1 - np.exp(-density * step)
        passed = np.cumprod(1 - stopped)
        wanted = stopped * np.concatenate([[1.0], passed[:-1]])
        for wrong, complaint in (
            (stopped * passed, "A sample hides itself: multiply by what has passed the samples BEFORE it."),
            (stopped, "A sample behind others gets less light: multiply by what has passed the samples before it."),
            (density * step, "sigma * step can be above 1; the share that a sample stops is 1 - exp(-sigma * step)."),
            (passed, "This is what passes up to each sample; asked for is what each sample stops."),
        ):
            need(not np.allclose(found, wrong, atol=1e-6), complaint)
        say = f"sigma {sigma} and step {step} give {wanted.round(3).tolist()}; yours are {found.round(3).tolist()}."
        need(np.allclose(found, wanted, atol=1e-5), say)
    fine = array_of(call(answer, np.repeat([3.0, 1.0, 5.0], 2), 0.05))
    coarse = array_of(call(answer, np.array([3.0, 1.0, 5.0]), 0.1))
    halved = np.allclose(fine.reshape(-1, 2).sum(1), coarse, atol=1e-5)
    need(halved, "Twice as many samples with half the step must give the same pixel; they do not.")


def nearest_cell(answer: Any) -> None:
    """A function (planes, place) that gives the sum of the three cells in which a place falls."""
    rng = np.random.default_rng(7)
    planes = rng.normal(size=(3, 5, 8, 8))
    for place in rng.uniform(-0.99, 0.99, (6, 3)):
        found = array_of(call(answer, planes.copy(), place.copy()))
        say = f"There must be one number a channel, [5]; the shape is {list(found.shape)}: add the three planes."
        need(found.shape == (5,), say)
        x, y, z = np.floor((place + 1) / 2 * 8).astype(int)
        cells = np.stack([planes[0, :, y, x], planes[1, :, z, x], planes[2, :, z, y]])
        turned = planes[0, :, x, y] + planes[1, :, x, z] + planes[2, :, y, z]
        for wrong, complaint in (
            (turned, "Rows and columns are swapped: the first letter runs along the last axis."),
            (cells[0], "Only the plane xy counts: the same x and y at another z must give something else."),
            (cells.mean(0), "This is the mean of the three; asked for is their sum."),
        ):
            need(not np.allclose(found, wrong, atol=1e-5), complaint)
        say = f"The place {place.round(2).tolist()} falls into the cells x, y, z = {[int(c) for c in (x, y, z)]}."
        need(np.allclose(found, cells.sum(0), atol=1e-5), say)


EXERCISES = (
    Exercise(
        "01.1", points_of,
        ("Three steps: the area of each face, faces drawn by area, then a random point inside each chosen face.",
         "rng.choice(len(faces), n, p=areas / areas.sum()) draws faces; then weights 1 - r, r (1 - s), r s with the "
         "square root of a random number as r."),
        """\
def points_of(vertices, faces, n):
    rng = np.random.default_rng()
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), n, p=areas / areas.sum())
    r, s = np.sqrt(rng.random((n, 1))), rng.random((n, 1))
    return (1 - r) * a[chosen] + r * (1 - s) * b[chosen] + r * s * c[chosen]""",
        "Even points are what every measure of a shape begins with: uneven ones measure where the triangles are small.",
    ),
    Exercise(
        "01.2", cut,
        ("Which array is below 0 outside of b? And which of two numbers is below 0 only if both are?",
         "-b is b turned inside out, and np.maximum keeps the part that two solids share."),
        """\
def cut(a, b):
    return np.maximum(a, -b)""",
        "Union, intersection and difference of any two solids are a minimum, a maximum and a minus.",
    ),
    Exercise(
        "01.3", bytes_of,
        ("Count the numbers first, then the bytes: a float32 has 32 bits.",
         "voxels: r ** 3; triplane: 3 * 32 * r ** 2; gaussians: 4 * 14 * r ** 2; each times 4."),
        """\
def bytes_of(kind, r):
    numbers = {"voxels": r**3, "triplane": 3 * 32 * r**2, "gaussians": 4 * 14 * r**2}
    return 4 * numbers[kind]""",
        "Only the voxels grow with the third power: that is why networks predict planes and images.",
    ),
    Exercise(
        "01.4", shares,
        ("First what each sample stops, 1 - exp(-sigma * step). Then how much light still arrives there.",
         "np.cumprod(1 - stopped) is what has passed each sample; shift it by one and begin with 1."),
        """\
def shares(sigma, step):
    stopped = 1 - np.exp(-np.asarray(sigma) * step)
    before = np.concatenate([[1.0], np.cumprod(1 - stopped)[:-1]])
    return stopped * before""",
        "Gaussians are blended by the same sum: they, too, get what those in front of them let through.",
    ),
    Exercise(
        "01.5", nearest_cell,
        ("Turn each coordinate into a cell from 0 to R - 1 first: -1 becomes 0, and 1 becomes R.",
         "x, y, z = ((place + 1) / 2 * R).astype(int); plane xy is read at planes[0][:, y, x], and the others alike."),
        """\
def nearest_cell(planes, place):
    x, y, z = ((np.asarray(place) + 1) / 2 * planes.shape[-1]).astype(int)
    return planes[0][:, y, x] + planes[1][:, z, x] + planes[2][:, z, y]""",
        "Three images stand for a volume: what a network for images can make, it can make in 3D.",
    ),
)  # fmt: skip
