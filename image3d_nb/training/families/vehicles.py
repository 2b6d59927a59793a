"""Things that travel: car, rocket, airplane, boat, bus. They head for +z. See `vessels`."""

from __future__ import annotations

import numpy as np

from ..palette import Rng, band, jitter, pair, pick, stripes, surface
from ..shapes import Array, Part, blob, box, cylinder, extrude, lathe, outline, rod, sheet

Built = tuple[list[Part], str]
GLASS = np.array([0.36, 0.52, 0.64])
TYRE = np.array([0.10, 0.10, 0.11])


def _wheel(radius: float, width: float, rim: Array) -> Part:
    """Tyre and hub in one lathe, its axle along x."""
    half, hub = width / 2, radius * 0.58
    side = [(0, half), (hub, half), (hub, half), (radius * 0.93, half), (radius, half * 0.7)]
    profile = [*[(r, -y) for r, y in side], *side[::-1]]
    wheel = lathe(profile, 10, 18)
    distance = np.hypot(wheel.vertices[:, 0], wheel.vertices[:, 2])
    return wheel.paint(np.where((distance < hub * 1.01)[:, None], rim, TYRE)).turn("z", 90)


def car(rng: Rng) -> Built:
    """A toy car, van or pickup."""
    paint, trim = pair(rng)
    long, wide, low = rng.uniform(1.1, 1.4), rng.uniform(0.6, 0.72), rng.uniform(0.2, 0.28)
    wheel, style = rng.uniform(0.15, 0.2), rng.integers(4)
    ground, cabin, rim = wheel * 0.9, rng.uniform(0.24, 0.32), jitter(rng, (0.72, 0.73, 0.75), 0.02)
    body = blob(wide / 2, low / 2, long / 2, 6, 11).paint(paint.rgb).move(y=ground + low / 2)
    deck = ground + low
    back, front = [(-0.36, 0.24), (-0.46, 0.1), (-0.48, 0.3), (-0.5, 0.02)][style]
    parts = [body, *_cabin(wide * 0.86, deck - 0.03, cabin + 0.03, long * back, long * front, paint.rgb)]
    words = ("car", "car", "van car", "pickup car")[style]
    if style == 2:
        parts.append(blob(wide * 0.46, 0.06, long * 0.36, 6, 6).paint(paint.rgb).move(0, deck + cabin, -long * 0.12))
    if style == 3:
        parts[1:] = _cabin(wide * 0.86, deck - 0.03, cabin + 0.03, -long * 0.08, long * 0.24, paint.rgb)
        parts.append(box(wide * 0.8, 0.12, long * 0.36, (2, 2, 4)).paint(trim.rgb).move(0, deck + 0.03, -long * 0.28))
    for side in (-1, 1):
        tyre = _wheel(wheel, 0.13, rim).move(side * wide * 0.47, wheel)
        parts += [tyre.move(z=z * long) for z in (-0.31, 0.32)]
        parts.append(
            blob(0.07, 0.06, 0.03, cuts=4)
            .paint((0.98, 0.95, 0.72))
            .move(side * wide * 0.33, ground + low * 0.6, long / 2 - 0.01)
        )
        parts.append(
            blob(0.065, 0.045, 0.03, cuts=4)
            .paint((0.8, 0.08, 0.08))
            .move(side * wide * 0.35, ground + low * 0.62, -long / 2 + 0.01)
        )
    for end in (-1, 1):
        bumper = blob(wide * 0.47, 0.04, 0.05, 5, 5).paint((0.5, 0.52, 0.55))
        parts.append(bumper.move(0, ground + 0.04, end * long * 0.495))
    if rng.random() < 0.35:
        stripe = box(wide * 0.22, 0.012, long * 0.2, (2, 1, 3)).paint(trim.rgb)
        parts.append(stripe.move(0, deck + 0.0, long * 0.36))
    return parts, f"a {paint.name} toy {words}"


def _cabin(wide: float, y: float, tall: float, back: float, front: float, paint: Array) -> list[Part]:
    """A tapered cabin from z = back to front: painted roof, windows all round, painted pillars."""
    lower, upper = np.array([back, front]), np.array([back + 0.1 * (front - back), front - 0.27 * (front - back)])
    rows = np.array([0.0, 0.16, 0.2, 0.86, 0.9, 1.0])
    half_low, half_high = wide / 2, wide / 2 * 0.82
    corner = [(-1, 1), (1, 1), (1, 0), (-1, 0)]  # (x sign, end) counter-clockwise seen from above
    parts = []
    for (sx, se), (tx, te) in zip(corner, [*corner[1:], corner[0]], strict=True):
        u = np.array([0, 0.07, 0.1, 0.47, 0.485, 0.515, 0.53, 0.9, 0.93, 1.0])
        start = _edge(sx, se, lower, upper, half_low, half_high, rows, y, tall)
        end = _edge(tx, te, lower, upper, half_low, half_high, rows, y, tall)
        wall = sheet(start[:, None] + u[None, :, None] * (end - start)[:, None])  # [R, S, 3]
        pillar = (u < 0.08) | (u > 0.92) | ((np.abs(u - 0.5) < 0.016) & (sx == tx))
        solid = pillar[None] | ((rows < 0.17) | (rows > 0.88))[:, None]
        parts.append(wall.paint(np.where(solid.reshape(-1, 1), paint, GLASS)))
    x, z = np.meshgrid(np.linspace(-half_high, half_high, 4), np.linspace(upper[1], upper[0], 5))
    parts.append(sheet(np.stack([x, np.full_like(x, y + tall), z], axis=-1)).paint(paint))
    return parts


def _edge(
    sign: int, end: int, lower: Array, upper: Array, low: float, high: float, rows: Array, y: float, tall: float
) -> Array:
    """Points [R, 3] up one corner of the cabin."""
    x, z = sign * (low + rows * (high - low)), lower[end] + rows * (upper[end] - lower[end])
    return np.stack([x, y + rows * tall, z], axis=1)


def rocket(rng: Rng) -> Built:
    """A rocket with three or four fins and portholes."""
    body, trim = pair(rng)
    wide, tall = rng.uniform(0.2, 0.3), rng.uniform(1.0, 1.35)
    paint, words = surface(rng, body, trim)
    hull = lathe(
        [(wide * 0.6, 0.12), (wide * 0.95, tall * 0.25), (wide, tall * 0.5), (wide * 0.8, tall * 0.74)],
        28,
        30,
        smooth=True,
    )
    nose = lathe([(wide * 0.8, tall * 0.74), (wide * 0.5, tall * 0.9), (0, tall)], 12, 30, smooth=True)
    bell = lathe([(0, 0.06), (wide * 0.6, 0.0), (wide * 0.6, 0.0), (wide * 0.38, 0.14)], 6, 24).paint((0.28, 0.28, 0.3))
    parts = [hull.paint(paint), nose.paint(trim.rgb), bell]
    fins, reach = int(rng.integers(3, 5)), rng.uniform(0.16, 0.26)
    shape = [(wide * 0.5, 0.16), (wide + reach, -0.06), (wide + reach * 0.9, 0.16), (wide * 0.9, 0.5)]
    spin = rng.uniform(0, 360)
    fin = extrude(shape, 0.05, 4).paint(trim.rgb)
    parts += [fin.turn("y", spin + 360 * k / fins) for k in range(fins)]
    glass, ring = (
        blob(0.085, 0.085, 0.04, cuts=5).paint((0.45, 0.75, 0.92)),
        cylinder(0.115, 0.07, segments=20).paint(trim.rgb),
    )
    for y in (0.58, 0.4)[: int(rng.integers(1, 3))]:
        parts.append(ring.turn("x", 90).move(0, tall * y, wide * 0.94))
        parts.append(glass.move(0, tall * y, wide * 0.94 + 0.07))
    if rng.random() < 0.4:
        flame = lathe([(0.0, -0.34), (wide * 0.42, -0.06), (wide * 0.3, 0.03)], 14, 20, smooth=True)
        parts.append(flame.paint(stripes(np.array([0.98, 0.75, 0.15]), np.array([0.95, 0.4, 0.08]), 1)))
        return parts, f"a {words} rocket with {trim.name} fins and a flame"
    return parts, f"a {words} rocket with {trim.name} fins"


def airplane(rng: Rng) -> Built:
    """A small airplane with a propeller or two jets."""
    body, trim = pair(rng)
    long, thick = rng.uniform(1.05, 1.3), rng.uniform(0.14, 0.2)
    hull = [
        (0, -long / 2),
        (thick * 0.35, -long * 0.47),
        (thick * 0.8, -long * 0.2),
        (thick, 0.1),
        (thick * 0.95, long * 0.3),
    ]
    paint = band(body.rgb, trim.rgb, 0.62, 0.7) if rng.random() < 0.4 else body.rgb
    parts = [lathe([*hull, (thick * 0.6, long * 0.45), (0, long / 2)], 32, 24, smooth=True).paint(paint).turn("x", 90)]
    span, chord, sweep = rng.uniform(0.6, 0.75), rng.uniform(0.24, 0.34), rng.uniform(0.0, 0.28)
    level = float(rng.choice([-0.4, 0.7])) * thick
    wing = [(0, 0.05), (span, 0.05 - sweep), (span, 0.05 - sweep - chord * 0.6), (0, 0.05 - chord)]
    lift = float(rng.uniform(3, 9))  # degrees; level wings vanish when seen from the side
    parts += [p.move(0, level, 0.12) for p in _wings(wing, 0.055, trim.rgb, lift)]
    tail = [(0, 0), (span * 0.4, -sweep * 0.4), (span * 0.4, -sweep * 0.4 - 0.12), (0, -0.2)]
    parts += [p.move(0, thick * 0.2, -long * 0.33) for p in _wings(tail, 0.045, trim.rgb, lift)]
    fin = extrude([(0, 0), (0.22, 0), (0.0, 0.3), (-0.1, 0.3)], 0.05, 4).paint(trim.rgb).turn("y", 90)
    parts.append(fin.move(0, thick * 0.4, -long * 0.3))
    parts.append(blob(thick * 0.62, thick * 0.6, 0.2, cuts=6).paint(GLASS).move(0, thick * 0.72, long * 0.2))
    if rng.random() < 0.5:
        blade = blob(0.25, 0.035, 0.02, cuts=4).paint((0.2, 0.2, 0.22)).turn("z", rng.uniform(0, 90))
        parts += [blade.move(z=long / 2 + 0.03), blade.turn("z", 90).move(z=long / 2 + 0.03)]
        parts.append(blob(0.06, 0.06, 0.08, cuts=4).paint(trim.rgb).move(z=long / 2 + 0.03))
        words = "propeller airplane"
    else:
        engine = (
            lathe([(0, -0.16), (0.06, -0.15), (0.075, 0.1), (0.07, 0.12), (0, 0.1)], 8, 16)
            .paint(body.rgb * 0.8)
            .turn("x", 90)
        )
        parts += [engine.move(s * span * 0.45, level - 0.09, 0.1 - sweep * 0.4) for s in (-1, 1)]
        words = "jet airplane"
    return parts, f"a {body.name} {words} with {trim.name} wings"


def _wings(half: list[tuple[float, float]], thick: float, color: Array, lift: float) -> list[Part]:
    """Both wings, tips raised by `lift` degrees; half: outline of the right one, (x, z), root first."""
    shape = [(x, -z) for x, z in half]  # laid flat by turning the x-y plate about x
    right = extrude(np.array(shape), thick, 5).turn("x", 90).turn("z", lift).paint(color)
    return [right, right.mirror()]


def boat(rng: Rng) -> Built:
    """A sailing boat or a steamer."""
    hull, trim = pair(rng)
    long, wide, tall = rng.uniform(1.1, 1.4), rng.uniform(0.4, 0.52), rng.uniform(0.2, 0.3)
    parts = _hull(long, wide, tall, hull.rgb, trim.rgb, jitter(rng, (0.66, 0.48, 0.3)))
    if rng.random() < 0.55:
        mast, sail = rng.uniform(0.9, 1.15), pick(rng)
        parts.append(rod((0, tall * 0.5, 0.1), (0, tall + mast, 0.1), 0.028).paint((0.4, 0.26, 0.15)))
        main = extrude([(0, 0), (0.5, 0), (0, mast * 0.9)], 0.02, 9, 0.04)
        main = main.paint(stripes(sail.rgb, trim.rgb, 3) if rng.random() < 0.5 else sail.rgb)
        parts.append(main.turn("y", 90).move(0, tall + 0.07, 0.06))
        jib = extrude([(0, 0), (0, mast * 0.75), (-0.36, 0)], 0.02, 7, 0.03).paint(trim.rgb)
        parts.append(jib.turn("y", 90).move(0, tall + 0.07, 0.15))
        return parts, f"a {hull.name} sailing boat with {sail.name} sails"
    cabin, funnel = pick(rng), pick(rng, "bright")
    parts.append(
        box(wide * 0.6, 0.2, long * 0.42, (6, 4, 8))
        .paint(band(cabin.rgb, GLASS, 0.4, 0.8))
        .move(0, tall + 0.07, -long * 0.06)
    )
    parts.append(
        box(wide * 0.45, 0.17, long * 0.2, (5, 6, 5)).paint(band(cabin.rgb, GLASS, 0.3, 0.75)).move(0, tall + 0.25)
    )
    for k in range(int(rng.integers(1, 3))):
        stack = cylinder(0.07, 0.3, rows=10, segments=16).paint(band(funnel.rgb, np.array([0.1, 0.1, 0.1]), 0.75, 1.1))
        parts.append(stack.move(0, tall + 0.15, -long * (0.14 + 0.1 * k)))
    return parts, f"a {hull.name} steam boat with a {funnel.name} funnel"


def _hull(long: float, wide: float, tall: float, color: Array, rim: Array, deck: Array) -> list[Part]:
    """A hull as a lofted outline: pointed at the bow (+z), blunt at the stern."""
    shape = outline(
        [(0, 0.5), (-0.3, 0.3), (-0.48, 0.0), (-0.42, -0.4), (0, -0.48), (0.42, -0.4), (0.48, 0.0), (0.3, 0.3)], 44
    )
    ring = shape[::-1] * (wide, long)  # from above: +x is on the right of +z's left; the lathe wants it the other way
    sides = lathe([(0, 0), (0.66, 0), (0.86, tall * 0.45), (1.0, tall)], 14, outline=ring, smooth=True)
    lip = lathe(
        [(1.0, tall), (1.05, tall), (1.05, tall + 0.05), (0.97, tall + 0.05), (0.95, tall * 0.85)], 7, outline=ring
    )
    floor = lathe([(0.97, tall * 0.9), (0, tall * 0.9)], 4, outline=ring)
    sheer = [p.paint(c) for p, c in ((sides, band(color, rim, -1, 0.35)), (lip, rim), (floor, deck))]
    for p in sheer:  # bow and stern rise
        p.vertices[:, 1] += 0.22 * tall * (p.vertices[:, 2] / (long / 2)) ** 2 * (p.vertices[:, 1] / tall)
    return sheer


def bus(rng: Rng) -> Built:
    """A bus with one or two rows of windows."""
    paint, trim = pair(rng)
    decks = 1 if rng.random() < 0.6 else 2
    long, wide, tall = rng.uniform(1.25, 1.55), rng.uniform(0.46, 0.56), (0.5, 0.78)[decks - 1] * rng.uniform(0.92, 1.1)
    wheel, panes = rng.uniform(0.11, 0.15), int(rng.integers(4, 7))
    low, rim = wheel * 0.9, jitter(rng, (0.72, 0.73, 0.75), 0.02)
    body = blob(wide / 2, tall / 2, long / 2, 7, 14)
    kind = rng.integers(3)  # plain, a painted roof, a belt
    low_mark, high_mark = ((2.0, 2.0), (0.9, 2.0), (0.12, 0.32))[kind]
    parts = [body.paint(band(paint.rgb, trim.rgb, low_mark, high_mark)).move(y=low + tall / 2)]
    for deck in range(decks):
        y = low + tall * ((0.66,), (0.42, 0.8))[decks - 1][deck]
        high = tall * (0.34, 0.22)[decks - 1]
        pitch = long * 0.86 / panes
        glass = box(wide * 1.01, high, pitch * 0.76, (1, 1, 2)).paint(GLASS)
        parts += [glass.move(0, y, (k - (panes - 1) / 2) * pitch) for k in range(panes)]
        parts.append(box(wide * 0.8, high * 1.08, 0.02, (4, 2, 1)).paint(GLASS * 0.9).move(0, y, long / 2 - 0.004))
        parts.append(box(wide * 0.62, high * 0.8, 0.02, (4, 2, 1)).paint(GLASS * 0.8).move(0, y, -long / 2 + 0.004))
    for side in (-1, 1):
        parts += [_wheel(wheel, 0.11, rim).move(side * wide * 0.45, wheel, z * long) for z in (-0.3, 0.32)]
        lamps = ((0.98, 0.95, 0.72), long / 2), ((0.8, 0.08, 0.08), -long / 2)
        lamp = blob(0.055, 0.045, 0.025, cuts=3).move(side * wide * 0.34, low + tall * 0.16)
        parts += [lamp.paint(color).move(z=z) for color, z in lamps]
    marked = f" with a {trim.name} {'roof' if kind == 1 else 'stripe'}" if kind else " with glass windows"
    return parts, f"a {paint.name} {'double-decker ' if decks == 2 else ''}bus{marked}"
