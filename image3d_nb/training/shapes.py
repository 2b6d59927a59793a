"""Primitives that the procedural objects are put together from.

A `Part` is a painted piece of surface in its own coordinates (+y up, +z to the front, any unit). Faces are wound so
that their normals point outwards. Vertices are not shared across a crease, so that averaging face normals over shared
vertices shades smooth surfaces smoothly and keeps edges sharp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int32]
Pattern = Callable[[Array], Array]  # vertices [V, 3] in the part's coordinates -> colours [V, 3] in [0, 1]
Profile = Sequence[tuple[float, float]]  # (distance from the axis, height) pairs; the same pair twice is a crease


@dataclass(frozen=True)
class Part:
    """One painted piece of surface.

    Args:
        vertices: [V, 3], +y up.
        faces: [F, 3], outward winding.
        colors: [V, 3], albedo in [0, 1].
        openness: [V], in [0, 1], the share of ambient light that reaches a vertex (1 outside, less in a cavity).
    """

    vertices: Array
    faces: Ints
    colors: Array
    openness: Array

    def paint(self, pattern: Pattern | ArrayLike) -> Part:
        """The part in one colour, or in a pattern of its present coordinates."""
        if callable(pattern):
            return replace(self, colors=pattern(self.vertices))
        return replace(self, colors=np.broadcast_to(np.asarray(pattern, np.float64), self.vertices.shape))

    def move(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Part:
        """The part, shifted."""
        return replace(self, vertices=self.vertices + np.array([x, y, z]))

    def scale(self, x: float, y: float | None = None, z: float | None = None) -> Part:
        """Stretch by factors > 0 about the origin (y and z default to x)."""
        return replace(self, vertices=self.vertices * (x, x if y is None else y, x if z is None else z))

    def turn(self, axis: str, degrees: float) -> Part:
        """Turn about "x", "y" or "z" through the origin, counter-clockwise seen from the axis' tip."""
        return replace(self, vertices=self.vertices @ rotation(axis, degrees).T)

    def mirror(self) -> Part:
        """The part's image in the plane x = 0."""
        return replace(self, vertices=self.vertices * (-1.0, 1.0, 1.0), faces=self.faces[:, ::-1])

    def shadow(self, low: float, high: float) -> Part:
        """Ambient light falls from `high` at the part's top to `low` at its bottom."""
        return replace(self, openness=low + (high - low) * unit_height(self.vertices))


def rotation(axis: str, degrees: float) -> Array:
    """Right-handed rotation [3, 3] about "x", "y" or "z"."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def unit_height(points: Array) -> Array:
    """[V] in [0, 1]: 0 at the lowest vertex, 1 at the highest."""
    y = points[:, 1]
    low = y.min()
    return (y - low) / max(float(y.max() - low), 1e-9)


def part(vertices: Array, faces: Ints) -> Part:
    """A grey part of these triangles."""
    return Part(vertices, faces, np.full(vertices.shape, 0.7), np.ones(len(vertices)))


def join(parts: Sequence[Part]) -> Part:
    """Several parts as one."""
    starts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    return Part(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + np.int32(start) for p, start in zip(parts, starts, strict=True)]),
        np.concatenate([p.colors for p in parts]),
        np.concatenate([p.openness for p in parts]),
    )


def vertex_normals(vertices: Array, faces: Ints) -> Array:
    """Unit normals [V, 3], each the area-weighted mean of the faces that share the vertex."""
    corners = vertices[faces]  # [F, 3, 3]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # [F, 3], length 2 * area
    index, count = faces.T.ravel(), len(vertices)  # [3 F]
    total = np.stack([np.bincount(index, np.tile(normals[:, k], 3), count) for k in range(3)], axis=1)  # [V, 3]
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


@lru_cache(maxsize=512)
def _grid_faces(
    rows: int, columns: int, wrap: bool, creases: tuple[int, ...] = (), poles: tuple[int, ...] = ()
) -> Ints:
    """Two triangles a cell of a [rows, columns] grid; no cells between row c and c + 1 for c in creases.

    A row in `poles` is a single point: the cells beside it keep only the triangle that has an area.
    """
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    after = np.roll(index, -1, axis=1) if wrap else index[:, 1:]
    index = index if wrap else index[:, :-1]
    keep = np.setdiff1d(np.arange(rows - 1), creases)
    a, b, c, d = index[keep], after[keep], after[keep + 1], index[keep + 1]
    lower, upper = np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)  # [R, S, 3]; edge a b, edge c d
    wide = [lower[~np.isin(keep, poles)], upper[~np.isin(keep + 1, poles)]]
    return np.concatenate([piece.reshape(-1, 3) for piece in wide])


def sheet(points: Array) -> Part:
    """An open surface through a grid of points [R, S, 3]; column direction x row direction is its outside."""
    rows, columns = points.shape[:2]
    return part(points.reshape(-1, 3), _grid_faces(rows, columns, wrap=False))


def _curve(points: Array, count: int, smooth: bool) -> Array:
    """`count` points along a polyline or, if smooth, a Catmull-Rom curve through the points [P, D]."""
    if len(points) < 3 or not smooth:
        lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        # Keep the corners: cut each piece evenly, in proportion to its length.
        cuts = np.unique(np.concatenate([np.linspace(0, lengths[-1], max(count - len(points) + 2, 2)), lengths]))
        return np.stack([np.interp(cuts, lengths, points[:, k]) for k in range(points.shape[1])], axis=1)
    ends = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])  # [P + 2, D]
    t = np.linspace(0, len(points) - 1, count)
    i = np.minimum(t.astype(int), len(points) - 2)
    f = (t - i)[:, None]
    p0, p1, p2, p3 = ends[i], ends[i + 1], ends[i + 2], ends[i + 3]
    cubic = (3 * (p1 - p2) + p3 - p0) * f + (2 * p0 - 5 * p1 + 4 * p2 - p3)
    return 0.5 * ((cubic * f + (p2 - p0)) * f + 2 * p1)


def curve(points: Sequence[ArrayLike], count: int = 12, smooth: bool = True) -> Array:
    """A path [count, 3] through the points, for `tube`."""
    return _curve(np.asarray(points, np.float64), count, smooth)


def _profile_rows(profile: Profile, count: int, smooth: bool) -> tuple[Array, tuple[int, ...]]:
    """The profile resampled to about `count` rows [R, 2], and the rows that end at a crease."""
    points = np.asarray(profile, np.float64)
    breaks = np.flatnonzero(np.all(points[1:] == points[:-1], axis=1)) + 1
    pieces = np.split(points, breaks)
    lengths = [float(np.linalg.norm(np.diff(piece, axis=0), axis=1).sum()) for piece in pieces]
    wanted = [max(len(p), 2, round(count * length / sum(lengths))) for p, length in zip(pieces, lengths, strict=True)]
    rows = [_curve(piece, n, smooth) for piece, n in zip(pieces, wanted, strict=True)]
    ends = np.cumsum([len(row) for row in rows])[:-1] - 1
    return np.concatenate(rows), tuple(int(end) for end in ends)


@lru_cache(maxsize=64)
def circle(segments: int) -> Array:
    """Unit circle [S, 2], from (0, 1) towards (1, 0)."""
    angle = 2 * np.pi * np.arange(segments) / segments
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def wavy(segments: int, lobes: int, depth: float) -> Array:
    """A unit circle whose radius swings between 1 - depth and 1, `lobes` times."""
    angle = 2 * np.pi * np.arange(segments) / segments
    return circle(segments) * (1 - depth * (0.5 - 0.5 * np.cos(lobes * angle)))[:, None]


def lathe(
    profile: Profile, rows: int = 24, segments: int = 28, smooth: bool = False, outline: Array | None = None
) -> Part:
    """A profile turned about the y axis; listed from the bottom up along the outside. `outline` replaces the circle."""
    points, creases = _profile_rows(profile, rows, smooth)  # [R, 2]
    ring = circle(segments) if outline is None else outline  # [S, 2], (x, z)
    radius = np.maximum(points[:, :1], 0.0)  # a smooth curve may swing past the axis
    poles = tuple(np.flatnonzero(radius < 1e-6).tolist())
    height = np.broadcast_to(points[:, 1:], (len(points), len(ring)))
    vertices = np.stack([radius * ring[:, 0], height, radius * ring[:, 1]], axis=-1)  # [R, S, 3]
    return part(vertices.reshape(-1, 3), _grid_faces(len(points), len(ring), True, creases, poles))


def cylinder(radius: float, height: float, top: float | None = None, rows: int = 6, segments: int = 16) -> Part:
    """A closed cylinder or cone frustum that stands on y = 0."""
    upper = radius if top is None else top
    profile = [(0, 0), (radius, 0), (radius, 0), (upper, height)]
    return lathe(profile + ([(upper, height), (0, height)] if upper > 0 else []), rows, segments)


def extrude(outline: ArrayLike, depth: float, rings: int = 3, puff: float = 0.0) -> Part:
    """A plate of thickness `depth` about z = 0; outline [S, 2] in x and y, either way round, seen whole from its mean.

    puff > 0 raises the middle of both faces by puff (a cushion).
    """
    points = np.asarray(outline, np.float64)
    after = np.roll(points, -1, axis=0)
    if (points[:, 0] * after[:, 1] - points[:, 1] * after[:, 0]).sum() < 0:  # twice the area, negative if clockwise
        points = points[::-1]
    centre, half, crease = points.mean(axis=0), depth / 2, (rings, rings + 2)
    grow = np.linspace(0, 1, rings + 1)
    out = np.concatenate([grow, [1.0, 1.0], grow[::-1]])  # back from its centre, the side, front to its centre
    height = half + puff * (1 - grow**2)
    z = np.concatenate([-height, [-half, half], height[::-1]])
    flat = centre + out[:, None, None] * (points - centre)  # [R, S, 2]
    vertices = np.concatenate([flat, np.broadcast_to(z[:, None, None], (*flat.shape[:2], 1))], axis=-1)
    return part(vertices.reshape(-1, 3), _grid_faces(len(out), len(points), True, crease, (0, len(out) - 1)))


def outline(points: Sequence[Sequence[float]], count: int = 32, smooth: bool = True) -> Array:
    """A closed outline [S, 2] through the points, for `extrude`."""
    closed = np.asarray([*points, points[0]], np.float64)
    return _curve(closed, count + 1, smooth)[:-1]


@lru_cache(maxsize=64)
def _unit_box(nx: int, ny: int, nz: int) -> tuple[Array, Ints]:
    """Vertices and faces of the cube [-0.5, 0.5]^3, each side its own grid."""
    vertices, faces, start = [], [], 0
    sides = [(0, 1, 2, 1), (1, 0, 2, -1), (1, 2, 0, 1), (2, 1, 0, -1), (2, 0, 1, 1), (0, 2, 1, -1)]
    for u, v, w, sign in sides:  # u x v = sign * w
        cuts = (nx, ny, nz)
        a, b = np.meshgrid(np.linspace(-0.5, 0.5, cuts[u] + 1), np.linspace(-0.5, 0.5, cuts[v] + 1))
        points = np.empty((*a.shape, 3))
        points[..., u], points[..., v], points[..., w] = a, b, 0.5 * sign
        vertices.append(points.reshape(-1, 3))
        faces.append(_grid_faces(*a.shape, False) + np.int32(start))
        start += a.size
    return np.concatenate(vertices), np.concatenate(faces)


def box(x: float, y: float, z: float, cuts: tuple[int, int, int] = (1, 1, 1)) -> Part:
    """A box of this size around the origin, its sides cut into cells along each axis."""
    vertices, faces = _unit_box(*cuts)
    return part(vertices * (x, y, z), faces)


@lru_cache(maxsize=16)
def _welded_cube(cuts: int) -> tuple[Array, Ints]:
    """The cube [-1, 1]^3 with vertices shared along its edges, spread so that a sphere made of it is even."""
    vertices, faces = _unit_box(cuts, cuts, cuts)
    _, first, inverse = np.unique(np.round(vertices, 6), axis=0, return_index=True, return_inverse=True)
    return np.tan(vertices[first] * (np.pi / 2)), inverse.reshape(-1)[faces].astype(np.int32)


@lru_cache(maxsize=64)
def _unit_blob(power: float, cuts: int) -> tuple[Array, Ints]:
    cube, faces = _welded_cube(cuts)
    length = (np.abs(cube) ** power).sum(axis=1, keepdims=True) ** (1 / power)
    return cube / length, faces


def blob(x: float, y: float, z: float, power: float = 2.0, cuts: int = 8) -> Part:
    """|x|^p + |y|^p + |z|^p = 1 with these half sizes: 2 an ellipsoid, 4 to 8 a rounded box; 6 cuts^2 + 2 vertices."""
    vertices, faces = _unit_blob(power, cuts)
    return part(vertices * (x, y, z), faces)


def tube(path: Array, radius: float | ArrayLike, segments: int = 10, flat: float = 1.0) -> Part:
    """A closed tube along path [P, 3]; radius is one number or [P]; flat < 1 squeezes it across its bending plane."""
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    reference = np.eye(3)[np.abs(tangents).max(axis=0).argmin()]  # the axis that the path follows least
    side = np.cross(tangents, reference)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    across = np.cross(tangents, side) * flat
    radii = np.broadcast_to(np.asarray(radius, np.float64), (len(path),))[:, None, None]
    ring = circle(segments)[::-1]  # turned the other way round, so that the outside is out
    rings = path[:, None] + radii * (ring[:, :1] * side[:, None] + ring[:, 1:] * across[:, None])  # [P, S, 3]
    first, last = (np.broadcast_to(end, (1, segments, 3)) for end in (path[0], path[-1]))
    closed = np.concatenate([first, rings, last])  # [P + 2, S, 3]
    return part(closed.reshape(-1, 3), _grid_faces(len(closed), segments, True, (), (0, len(closed) - 1)))


def rod(start: ArrayLike, end: ArrayLike, radius: float, tip: float | None = None, segments: int = 8) -> Part:
    """A straight tube from start to end that may taper to radius `tip`."""
    path = np.linspace(np.asarray(start, np.float64), np.asarray(end, np.float64), 4)
    return tube(path, np.linspace(radius, radius if tip is None else tip, 4), segments)
