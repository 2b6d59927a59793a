"""Things in and around a house: chair, table, sofa, robot, umbrella, guitar. See `vessels`."""

from __future__ import annotations

import numpy as np

from ..palette import BLACK, WHITE, Rng, jitter, pair, pick, stripes
from ..shapes import (
    Array,
    Part,
    Pattern,
    blob,
    box,
    circle,
    curve,
    cylinder,
    extrude,
    lathe,
    outline,
    rod,
    tube,
    wavy,
)

Built = tuple[list[Part], str]


def _legs(rng: Rng, x: float, z: float, height: float, thick: float, color: Array) -> list[Part]:
    """Four legs under y = height, at +-x and +-z, square or round, straight or splayed."""
    splay, round_ = (rng.uniform(0.0, 0.08) if rng.random() < 0.5 else 0.0), rng.random() < 0.5
    parts = []
    for sx, sz in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        if round_ or splay:
            foot, hip = (sx * (x + splay), 0.0, sz * (z + splay)), (sx * x, height, sz * z)
            parts.append(rod(foot, hip, thick * 0.45, thick * 0.6, 10))
        else:
            parts.append(box(thick, height, thick, (1, 4, 1)).move(sx * x, height / 2, sz * z))
    return [p.paint(color).shadow(0.75, 0.9) for p in parts]


def chair(rng: Rng) -> Built:
    """A chair with one of three kinds of back, sometimes with arms."""
    frame = pick(rng, "wood") if rng.random() < 0.6 else pick(rng)
    seat = pick(rng) if rng.random() < 0.5 else frame
    wide, deep, tall = rng.uniform(0.5, 0.65), rng.uniform(0.48, 0.6), rng.uniform(0.42, 0.55)
    back, thick, slab = rng.uniform(0.5, 0.75), rng.uniform(0.075, 0.11), rng.uniform(0.07, 0.12)
    parts = _legs(rng, wide / 2 - thick / 2, deep / 2 - thick / 2, tall, thick, frame.rgb)
    parts.append(box(wide, slab, deep, (8, 2, 8)).paint(seat.rgb).move(y=tall + slab / 2))
    if seat is not frame:
        parts.append(blob(wide * 0.47, 0.06, deep * 0.46, 5.0, 8).paint(seat.rgb).move(y=tall + slab + 0.02))
    parts += [
        p.move(0, tall + slab, -deep / 2 + thick / 2) for p in _chair_back(rng, wide, back, thick, frame.rgb, seat.rgb)
    ]
    if rng.random() < 0.3:
        for side in (-1, 1):
            x, y = side * (wide / 2 - thick * 0.4), tall + slab + back * 0.42
            parts.append(box(thick * 0.8, 0.06, deep * 0.9, (1, 1, 6)).paint(frame.rgb).move(x, y))
            parts.append(
                box(thick * 0.7, back * 0.42, thick * 0.7, (1, 4, 1))
                .paint(frame.rgb)
                .move(x, y - back * 0.21, deep * 0.4)
            )
        return parts, f"a {frame.name} chair with arms and a {seat.name} seat"
    return parts, f"a {frame.name} chair with a {seat.name} seat"


def _chair_back(rng: Rng, wide: float, tall: float, thick: float, frame: Array, seat: Array) -> list[Part]:
    style, inner = rng.integers(3), wide - 2 * thick
    posts = [box(thick, tall, thick, (1, 8, 1)).move(s * (wide - thick) / 2, tall / 2) for s in (-1, 1)]
    if style == 0:  # a ladder
        count = int(rng.integers(2, 5))
        bars = [
            box(inner, tall * 0.5 / count, thick * 0.5, (8, 1, 1)).move(y=tall * (k + 0.9) / count - 0.05)
            for k in range(count)
        ]
    elif style == 1:  # upright bars under a rail
        count = int(rng.integers(3, 6))
        bars = [
            box(thick * 0.5, tall * 0.85, thick * 0.5, (1, 8, 1)).move(x, tall * 0.45)
            for x in np.linspace(-inner, inner, count) * 0.4
        ]
        bars.append(box(inner, tall * 0.2, thick * 0.7, (8, 1, 1)).move(y=tall * 0.88))
    else:  # one panel
        return [p.paint(frame) for p in posts] + [
            box(inner, tall * 0.75, thick * 0.6, (8, 8, 1)).paint(seat).move(y=tall * 0.58)
        ]
    return [p.paint(frame) for p in posts + bars]


def table(rng: Rng) -> Built:
    """A round table on one foot, or a rectangular one on four legs."""
    top, under = (
        (pick(rng, "wood") if rng.random() < 0.5 else pick(rng)),
        (pick(rng, "wood") if rng.random() < 0.5 else pick(rng)),
    )
    height, thick = rng.uniform(0.5, 0.8), rng.uniform(0.06, 0.1)
    if rng.random() < 0.4:
        radius, foot = rng.uniform(0.42, 0.58), rng.uniform(0.2, 0.3)
        leg = [(0, 0), (foot, 0), (foot, 0), (foot, 0.05), (0.07, 0.13), (0.06, height)]
        plate = [(0, 0), (radius, 0), (radius, 0), (radius, thick), (radius, thick), (0, thick)]
        parts = [lathe(leg, 22, 24).paint(under.rgb), lathe(plate, 16, 36).paint(top.rgb).move(y=height)]
        words = f"a round {top.name} table on one {under.name} foot"
    else:
        wide, deep = rng.uniform(0.8, 1.15), rng.uniform(0.55, 0.8)
        parts = _legs(rng, wide / 2 - 0.09, deep / 2 - 0.09, height, rng.uniform(0.08, 0.13), under.rgb)
        plate_box = box(wide, thick, deep, (20, 2, 16)).move(y=height + thick / 2)
        cloth = rng.random() < 0.3
        parts.append(plate_box.paint(_planks(wide, top.rgb, jitter(rng, top.rgb * 0.8)) if cloth else top.rgb))
        parts.append(box(wide - 0.2, 0.1, deep - 0.2, (6, 1, 6)).paint(under.rgb).move(y=height - 0.05))
        words = f"a {top.name} table with four {under.name} legs"
    if rng.random() < 0.5:
        extra = pick(rng, "bright")
        fruit = blob(0.09, 0.09, 0.09, cuts=5).paint(extra.rgb)
        parts.append(fruit.move(rng.uniform(-0.2, 0.2), height + thick + 0.08, rng.uniform(-0.15, 0.15)))
        words += f" and a {extra.name} ball on it"
    return parts, words


def _planks(wide: float, first: Array, second: Array) -> Pattern:
    """Five boards side by side along x."""
    return lambda points: np.where(((points[:, :1] / wide + 0.5) * 5 - 1e-6).astype(int) % 2, first, second)


def sofa(rng: Rng) -> Built:
    """A sofa for two or three."""
    cover, cushion = pair(rng)
    wide, deep, tall = rng.uniform(0.95, 1.3), rng.uniform(0.48, 0.6), rng.uniform(0.5, 0.68)
    arm, seats = rng.uniform(0.13, 0.19), int(rng.integers(2, 4))
    parts = [blob(wide / 2, 0.13, deep / 2, 8, 10).paint(cover.rgb).move(y=0.2)]
    parts.append(blob(wide / 2, tall / 2, 0.11, 6, 10).paint(cover.rgb).move(0, 0.1 + tall / 2, -deep / 2 + 0.08))
    for side in (-1, 1):
        rest = blob(arm / 2, tall * 0.36, deep / 2 + 0.02, 5, 8).paint(cover.rgb)
        parts.append(rest.move(side * (wide - arm) / 2, 0.1 + tall * 0.36, 0.01))
        foot = cylinder(0.04, 0.1, rows=2, segments=8).paint((0.25, 0.16, 0.1)).move(side * wide * 0.42)
        parts += [foot.move(z=front * deep * 0.38) for front in (-1, 1)]
    room = (wide - 2 * arm) / seats
    for k in range(seats):
        x = (k - (seats - 1) / 2) * room
        parts.append(blob(room * 0.48, 0.09, deep * 0.42, 5, 6).paint(cushion.rgb).move(x, 0.36, 0.06))
        parts.append(
            blob(room * 0.47, tall * 0.3, 0.08, 4, 6).paint(cushion.rgb).move(x, 0.2 + tall * 0.52, -deep / 2 + 0.2)
        )
    return parts, f"a {cover.name} sofa with {cushion.name} cushions"


def robot(rng: Rng) -> Built:
    """A toy robot with a panel on its chest."""
    body, trim = pair(rng)
    eye, wide, tall = pick(rng, "bright"), rng.uniform(0.42, 0.6), rng.uniform(0.45, 0.62)
    square, hip = float(rng.choice([3.5, 8.0])), rng.uniform(0.3, 0.45)
    parts = [blob(wide / 2, tall / 2, wide * 0.36, square, 9).paint(body.rgb).move(y=hip + tall / 2)]
    panel = box(wide * 0.5, tall * 0.4, 0.04, (6, 6, 1)).paint(trim.rgb)
    parts.append(panel.move(0, hip + tall * 0.58, wide * 0.355))
    for k in range(int(rng.integers(2, 4))):
        button = blob(0.03, 0.03, 0.025, cuts=3).paint(pick(rng, "bright").rgb)
        parts.append(button.move((k - 1) * wide * 0.16, hip + tall * 0.58, wide * 0.39))
    head, top = rng.uniform(0.17, 0.25), hip + tall + 0.06
    parts.append(cylinder(0.07, 0.12, rows=2, segments=12).paint(trim.rgb).move(y=top - 0.1))
    skull = blob(head * rng.uniform(1, 1.25), head * 0.85, head * 0.9, square, 8)
    parts.append(skull.paint(trim.rgb if rng.random() < 0.5 else body.rgb).move(y=top + head * 0.8))
    for side in (-1, 1):
        ball = blob(0.065, 0.065, 0.04, cuts=4).paint(eye.rgb)
        parts.append(ball.move(side * head * 0.45, top + head * 0.95, head * 0.86))
        shoulder, reach = (side * (wide / 2 + 0.03), hip + tall * 0.82, 0.0), rng.uniform(0.1, 0.24)
        elbow, hand = (
            (side * (wide / 2 + reach), hip + tall * 0.45, 0.02),
            (side * (wide / 2 + reach), hip + tall * 0.12, 0.12),
        )
        parts.append(tube(curve([shoulder, elbow, hand], 9), 0.055, 10).paint(trim.rgb))
        parts.append(blob(0.08, 0.08, 0.08, cuts=4).paint(body.rgb).move(*hand))
        parts.append(cylinder(0.075, hip, rows=4, segments=12).paint(trim.rgb).move(side * wide * 0.26))
        parts.append(blob(0.12, 0.07, 0.17, 4, 4).paint(body.rgb).move(side * wide * 0.27, 0.06, 0.05))
    if rng.random() < 0.7:
        parts.append(rod((0, top + head * 1.5, 0), (0, top + head * 2.2, 0), 0.018).paint(trim.rgb))
        parts.append(blob(0.05, 0.05, 0.05, cuts=3).paint(eye.rgb).move(y=top + head * 2.25))
    return parts, f"a {body.name} toy robot with {trim.name} arms and {eye.name} eyes"


def umbrella(rng: Rng) -> Built:
    """An open umbrella, its panels in two colours."""
    first, second = pair(rng)
    panels, wide, tall = int(rng.choice([6, 8])), rng.uniform(0.55, 0.68), rng.uniform(0.3, 0.45)
    segments = panels * 6
    ring = wavy(segments, panels, 0.0)
    dome = lathe(
        [(wide, 0), (wide * 0.86, tall * 0.5), (wide * 0.5, tall * 0.87), (0.0, tall)], 20, outline=ring, smooth=True
    )
    patches = (np.arange(segments) + 3) // 6 % 2
    if rng.random() < 0.3:
        dome = dome.paint(stripes(first.rgb, second.rgb, 2))
    else:
        dome = dome.paint(np.where(np.tile(patches, len(dome.vertices) // segments)[:, None], first.rgb, second.rgb))
    drop = 0.09 * np.cos(panels * 2 * np.pi * np.arange(segments) / segments)  # points at the ribs
    radius = np.hypot(dome.vertices[:, 0], dome.vertices[:, 2]) / wide
    dome.vertices[:, 1] -= np.tile(drop, len(radius) // segments) * radius**3
    under = Part(
        dome.vertices * (0.985, 1.0, 0.985) - (0, 0.012, 0), dome.faces[:, ::-1], dome.colors * 0.9, dome.openness * 0.7
    )
    handle, length = pick(rng, "wood", "neutral"), rng.uniform(0.75, 0.95)
    hook = [(0, 0, 0), (0, -length, 0), (0.06, -length - 0.1, 0), (0.15, -length - 0.04, 0), (0.16, -length + 0.04, 0)]
    stick = tube(curve([(0, tall + 0.1, 0), *hook], 26), 0.024, 8).paint(handle.rgb)
    return [dome, under, stick], f"an open umbrella in {first.name} and {second.name} with a {handle.name} handle"


def guitar(rng: Rng) -> Built:
    """A guitar that leans a little to one side."""
    body, trim = pick(rng, "wood", "bright"), pick(rng, "wood", "neutral")
    waist, low, high = rng.uniform(0.2, 0.27), rng.uniform(0.36, 0.44), rng.uniform(0.27, 0.34)
    half = [
        (0.0, -0.5),
        (low * 0.75, -0.42),
        (low, -0.15),
        (waist, 0.14),
        (high, 0.36),
        (high * 0.6, 0.52),
        (0.0, 0.54),
    ]
    shape = outline([*half, *[(-x, y) for x, y in half[-2:0:-1]]], 48)
    parts = [extrude(shape, 0.2, 5).paint(body.rgb)]
    parts.append(extrude(shape * 1.03, 0.1, 1).paint(trim.rgb * 0.6))
    parts.append(extrude(circle(24) * 0.13, 0.015, 1).paint(BLACK).move(0, 0.12, 0.105))
    parts.append(box(0.24, 0.05, 0.05, (4, 1, 1)).paint(BLACK).move(0, -0.2, 0.12))
    length = rng.uniform(0.75, 0.95)
    parts.append(box(0.1, length, 0.06, (2, 16, 2)).paint(_frets(trim.rgb)).move(0, 0.42 + length / 2, 0.1))
    parts.append(box(0.17, 0.24, 0.06, (3, 4, 2)).paint(body.rgb).move(0, 0.5 + length, 0.08))
    peg = box(0.06, 0.03, 0.03).paint(WHITE)
    parts += [peg.move((-1) ** k * 0.11, 0.43 + length + 0.07 * (k // 2), 0.08) for k in range(6)]
    lean = float(rng.uniform(-18, 18))
    return [p.turn("z", lean) for p in parts], f"a {body.name} guitar with a {trim.name} neck"


def _frets(neck: Array) -> Pattern:
    """A dark board crossed by bright frets."""
    return lambda points: np.where(
        (np.round((points[:, 1:2] - points[:, 1].min()) * 22) % 3) < 1, np.minimum(neck * 1.3, 1), neck * 0.55
    )
