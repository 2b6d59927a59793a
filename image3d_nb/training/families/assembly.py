"""Random solids: one to nine groups of primitives, stacked, joined, mirrored or repeated around an axis.

They resemble nothing in particular. A network that also learns from them has to look at the picture instead of
recalling a family, which helps with objects of families that it never saw.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..palette import Color, Rng, pair, pick, surface
from ..shapes import Array, Part, blob, box, circle, curve, cylinder, extrude, join, lathe, outline, tube, wavy

Built = tuple[list[Part], str]
Primitive = Callable[[Rng, int], Part]
"""(random generator, vertices wanted) -> a part around the origin, at most about 1 in size."""
VERTICES = 2600
"""Of a whole assembly, about; its pieces share them."""
GROUPS = 9


def assembly(rng: Rng) -> Built:
    """A random solid; its front is no better than its other sides."""
    first, second = pair(rng)
    colors = [first, second, pick(rng)]
    count = int(np.clip(rng.geometric(0.22), 1, GROUPS))
    copies = [1, *(int(rng.choice([1, 1, 2, 2, 3, 4, 6])) for _ in range(count - 1))]
    wanted = int(np.clip(VERTICES / sum(copies), 110, 1600))
    names = list(_PRIMITIVES)
    parts = [_painted(rng, _PRIMITIVES[rng.choice(names, p=_SHARES)](rng, max(wanted, 900)), colors)]
    for number in copies[1:]:
        piece = _PRIMITIVES[rng.choice(names, p=_SHARES)](rng, wanted).scale(rng.uniform(0.25, 0.9))
        piece = _painted(rng, piece, colors)
        parts += stacked(rng, piece, parts) if number == 1 else repeated(rng, piece, parts, number)
    return turned(rng, parts), f"an assembly of {first.name} and {second.name} parts"


def _painted(rng: Rng, piece: Part, colors: list[Color]) -> Part:
    """One colour for most pieces, a pattern of two for others."""
    a, b = rng.permutation(len(colors))[:2]
    if rng.random() < 0.65:
        return piece.paint(colors[a].rgb)
    return piece.paint(surface(rng, colors[a], colors[b])[0])


def stacked(rng: Rng, piece: Part, parts: list[Part]) -> list[Part]:
    """The piece on top of the others, under them, or at a random place of their surface."""
    kind = rng.choice(3, p=[0.35, 0.2, 0.45])
    if kind == 2:
        return [_attached(rng, piece, parts, mirrored=False)]
    whole = join(parts).vertices
    axis = whole.mean(axis=0)
    low, high = whole[:, 1].min(), whole[:, 1].max()
    overlap = rng.uniform(0.0, 0.12)
    y = high - piece.vertices[:, 1].min() - overlap if kind == 0 else low - piece.vertices[:, 1].max() + overlap
    return [piece.move(axis[0], y, axis[2])]


def repeated(rng: Rng, piece: Part, parts: list[Part], number: int) -> list[Part]:
    """Two mirror images, or several copies around the y axis, or in a row."""
    if number == 2:
        placed = _attached(rng, piece, parts, mirrored=True)
        return [placed, placed.mirror()]
    placed = _attached(rng, piece.scale(0.75), parts, mirrored=False)
    if rng.random() < 0.7:
        return [placed.turn("y", 360 / number * k) for k in range(number)]
    step = np.ptp(placed.vertices, axis=0) * rng.uniform(0.7, 1.1)  # most of them touch
    along = np.eye(3)[rng.integers(3)] * step  # [3]
    return [placed.move(*(along * (k - (number - 1) / 2))) for k in range(number)]


def _attached(rng: Rng, piece: Part, parts: list[Part], mirrored: bool) -> Part:
    """The piece at a random vertex of the others, pointing outwards, a little sunk in.

    Args:
        mirrored: on the side of x >= 0, for a mirror image on the other side.
    """
    points = join(parts).vertices
    away = points - points.mean(axis=0)
    place = int(rng.integers(len(points)))
    spot, direction = points[place].copy(), away[place].copy()
    if mirrored and spot[0] < 0:
        spot[0], direction[0] = -spot[0], -direction[0]
    if rng.random() < 0.6:  # along an axis, as most made things are
        k = int(np.abs(direction).argmax())
        direction = np.eye(3)[k] * np.sign(direction[k])
        if k != 1 and rng.random() < 0.7:
            piece = piece.turn("z", -90 * direction[0]) if k == 0 else piece.turn("x", 90 * direction[2])
    direction = direction / max(float(np.linalg.norm(direction)), 1e-6)
    reach = -float((piece.vertices @ direction).min())
    return piece.move(*(spot + direction * reach * rng.uniform(0.5, 0.95)))


def turned(rng: Rng, parts: list[Part]) -> list[Part]:
    """Any side may be the front; a quarter of the assemblies do not stand upright."""
    if rng.random() < 0.25:
        axis, angle = str(rng.choice(["x", "z"])), float(rng.choice([90.0, -90.0, rng.uniform(-60, 60)]))
        parts = [p.turn(axis, angle) for p in parts]
    yaw = float(rng.uniform(0, 360))
    return [p.turn("y", yaw) for p in parts]


def _box(rng: Rng, wanted: int) -> Part:
    cuts = max(round(np.sqrt(wanted / 6)) - 1, 2)
    x, y, z = rng.uniform(0.12, 1.0, 3)
    return box(x, y, z, (cuts, cuts, cuts))


def _blob(rng: Rng, wanted: int) -> Part:
    power = float(rng.choice([1.4, 2.0, 2.0, 2.5, 3.5, 6.0]))
    x, y, z = rng.uniform(0.12, 0.55, 3) if rng.random() < 0.7 else np.full(3, rng.uniform(0.25, 0.5))
    return blob(x, y, z, power, max(round(np.sqrt(wanted / 6)), 4))


def _turning(rng: Rng, wanted: int) -> Part:
    """A random profile turned about the y axis, over a circle, a wavy circle or a polygon."""
    side = max(round(np.sqrt(wanted)), 11)
    heights = np.cumsum(rng.uniform(0.1, 0.4, int(rng.integers(3, 7))))
    radii = rng.uniform(0.06, 0.5, len(heights))
    heights = heights - heights.mean()
    closed = [(0.0, heights[0]), *zip(radii, heights, strict=True), (0.0, heights[-1])]
    kind = rng.choice(3, p=[0.6, 0.2, 0.2])
    lobes = int(rng.integers(3, 8))
    ring = (None, wavy(max(side, 5 * lobes), lobes, rng.uniform(0.15, 0.45)), _polygon(lobes, side))[kind]
    return lathe(closed, side, side, smooth=bool(rng.random() < 0.6), outline=ring)


def _polygon(corners: int, count: int) -> Array:
    """A regular polygon [count, 2] in the unit circle, turned the way that ``circle`` goes round."""
    return outline(circle(corners).tolist(), max(count, 2 * corners), smooth=False)


def _cone(rng: Rng, wanted: int) -> Part:
    side = max(round(np.sqrt(wanted)), 10)
    radius, height = rng.uniform(0.1, 0.5), rng.uniform(0.15, 1.0)
    top = radius * float(rng.choice([1.0, 1.0, 0.0, rng.uniform(0.2, 0.9)]))
    return cylinder(radius, height, top, side, side).move(y=-height / 2)


def _torus(rng: Rng, wanted: int) -> Part:
    """A ring with a round or flat section, lying or standing."""
    side = max(round(np.sqrt(wanted)), 11)
    thick, tall = rng.uniform(0.03, 0.16, 2)
    radius = rng.uniform(thick + 0.08, 0.5)
    angle = np.linspace(-np.pi / 2, 1.5 * np.pi, side)
    section = [(radius + thick * np.cos(a), tall * np.sin(a)) for a in angle]
    ring = lathe(section, side, side + 6)
    return ring.turn("x", 90.0) if rng.random() < 0.5 else ring


def _bar(rng: Rng, wanted: int) -> Part:
    """A thin bar, straight, bent or waved, which may taper."""
    count = max(wanted // 10, 10)
    points = np.cumsum(rng.normal((0, 0.25, 0), 0.22, (4, 3)), axis=0)
    if rng.random() < 0.5:
        points = np.linspace([0, 0, 0], [0, rng.uniform(0.4, 1.1), 0], 4)
    path = curve(list(points - points.mean(axis=0)), count)
    radius = rng.uniform(0.025, 0.09)
    return tube(path, np.linspace(radius, radius * rng.uniform(0.4, 1.2), len(path)), 10)


def _arc(rng: Rng, wanted: int) -> Part:
    """A handle: part of a circle, thick enough to hold."""
    angle = np.linspace(0, np.radians(rng.uniform(120, 330)), max(wanted // 10, 12))
    radius, stretch = rng.uniform(0.15, 0.45), rng.uniform(0.6, 1.5)
    path = np.stack([radius * np.sin(angle), -radius * stretch * np.cos(angle), np.zeros_like(angle)], axis=1)
    return tube(path, rng.uniform(0.03, 0.08), 10)


def _plate(rng: Rng, wanted: int) -> Part:
    """A flat star, polygon or leaf."""
    points = int(rng.integers(3, 8))
    angle = np.arange(2 * points) * np.pi / points
    radii = np.where(np.arange(2 * points) % 2 == 0, rng.uniform(0.3, 0.55), rng.uniform(0.15, 0.5))
    corners = np.stack([radii * np.sin(angle) * rng.uniform(0.5, 1), radii * np.cos(angle)], axis=1)
    rim = outline(corners.tolist(), max(wanted // 8, 4 * points), smooth=bool(rng.random() < 0.5))
    return extrude(rim, rng.uniform(0.05, 0.25), puff=float(rng.choice([0.0, 0.0, 0.08])))


def _bowl(rng: Rng, wanted: int) -> Part:
    """An open vessel, upright or upside down."""
    side = max(round(np.sqrt(wanted)), 12)
    low, high, tall = rng.uniform(0.1, 0.45), rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.8)
    wall = rng.uniform(0.04, 0.08)
    inner_low, inner_high = max(low - wall, 0.02), high - wall
    profile = [(0, 0), (low, 0), (low, 0), (high, tall), (high, tall), (inner_high, tall), (inner_high, tall),
               (inner_low, wall), (0, wall)]  # fmt: skip
    vessel = lathe(profile, side + 6, side).move(y=-tall / 2)
    return vessel.turn("x", 180.0) if rng.random() < 0.3 else vessel


def _frame(rng: Rng, wanted: int) -> Part:
    """A rectangle of four beams around a hole."""
    cuts = max(round(np.sqrt(wanted / 24)) - 1, 1)
    wide, tall, deep, beam = (*rng.uniform(0.35, 1.0, 2), rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.12))
    level = box(wide, beam, deep, (2 * cuts, cuts, cuts))
    upright = box(beam, tall, deep, (cuts, 2 * cuts, cuts))
    return join([level.move(y=-tall / 2), level.move(y=tall / 2), upright.move(-wide / 2), upright.move(wide / 2)])


_PRIMITIVES: dict[str, Primitive] = {
    "box": _box, "blob": _blob, "turning": _turning, "cone": _cone, "torus": _torus, "bar": _bar, "arc": _arc,
    "plate": _plate, "bowl": _bowl, "frame": _frame,
}  # fmt: skip
_SHARES = (0.17, 0.16, 0.15, 0.12, 0.07, 0.1, 0.06, 0.07, 0.05, 0.05)
