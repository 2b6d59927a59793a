"""Families that no training sees: hammer, bicycle, camera, trophy, dumbbell, octopus, ladder and telescope.

With the teapot and the bird they are the ten families that tell how a model does on what it never saw. Nothing of the
training may call these builders, and they call none of its families'; only the primitives are the same.
"""

from __future__ import annotations

import numpy as np

from ..palette import BLACK, WHITE, Rng, pair, pick, surface
from ..shapes import Part, blob, box, curve, cylinder, lathe, rod, tube

Built = tuple[list[Part], str]


def hammer(rng: Rng) -> Built:
    """A claw hammer on its handle's end, its head across."""
    metal, grip = pick(rng, "metal", "neutral"), pick(rng, "wood", "bright")
    tall, wide = rng.uniform(1.1, 1.5), rng.uniform(0.24, 0.34)
    thick = rng.uniform(0.05, 0.08)
    handle = lathe([(0, 0), (thick * 1.3, 0.02), (thick * 1.2, tall * 0.35), (thick * 0.8, tall * 0.6),
                    (thick * 0.8, tall), (0, tall)], 40, 16)  # fmt: skip
    head = box(0.26, 0.18, 0.17, (6, 5, 5)).paint(metal.rgb).move(y=tall)
    face = cylinder(0.11, 0.14, rows=6, segments=20).turn("z", -90).move(wide * 0.6, tall)
    neck = cylinder(0.075, wide * 0.6, rows=6, segments=18).turn("z", -90).move(0.02, tall)
    parts = [handle.paint(grip.rgb), head, face.paint(metal.rgb * 0.9), neck.paint(metal.rgb)]
    for side in (-1, 1):
        bend = [(-0.1, tall, 0.05 * side), (-wide, tall + 0.02, 0.07 * side), (-wide * 1.5, tall - 0.12, 0.1 * side)]
        parts.append(tube(curve(bend, 12), np.linspace(0.07, 0.02, 12), 10).paint(metal.rgb * 0.9))
    return parts, f"a hammer with a {grip.name} handle and a {metal.name} head"


def bicycle(rng: Rng) -> Built:
    """Two spoked wheels and a frame of tubes; it heads for +z."""
    first, second = pair(rng)
    wheel, base = rng.uniform(0.3, 0.36), rng.uniform(0.44, 0.52)
    tyre = pick(rng, "neutral", "muted")
    angle = np.linspace(-np.pi / 2, 1.5 * np.pi, 9)
    rim = lathe([(wheel + 0.035 * np.cos(a), 0.035 * np.sin(a)) for a in angle], 9, 32).turn("z", 90)
    parts = []
    for z in (-base, base):
        parts.append(rim.move(0, wheel, z).paint(tyre.rgb * 0.6))
        for k in range(4):
            turn = np.pi / 4 * k
            y, reach = wheel * np.cos(turn), wheel * np.sin(turn)
            spoke = rod((0, wheel - y, z - reach), (0, wheel + y, z + reach), 0.012, segments=5)
            parts.append(spoke.paint((0.6, 0.6, 0.62)))
    crank, seat = np.array([0, wheel, -0.05]), np.array([0, wheel + 0.48, -0.22])
    head, hub = np.array([0, wheel + 0.45, base - 0.16]), np.array([0, wheel, -base])
    front = np.array([0, wheel, base])
    pipes = [(hub, crank), (hub, seat), (crank, seat), (crank, head), (seat, head), (head, front)]
    parts += [rod(a, b, 0.03, segments=10).paint(first.rgb) for a, b in pipes]
    stem = head + np.array([0, 0.13, -0.03])
    bar = [(-0.27, stem[1], stem[2] - 0.12), (-0.14, stem[1], stem[2]), (0.14, stem[1], stem[2]),
           (0.27, stem[1], stem[2] - 0.12)]  # fmt: skip
    parts += [rod(head, stem, 0.028).paint(second.rgb), tube(curve(bar, 16), 0.026, 8).paint(second.rgb)]
    parts.append(blob(0.09, 0.04, 0.17, 2.5, 6).paint(second.rgb * 0.7).move(0, seat[1] + 0.04, seat[2] - 0.02))
    parts.append(cylinder(0.08, 0.03, rows=3, segments=18).turn("z", 90).paint(BLACK).move(0.04, wheel, -0.05))
    return parts, f"a {first.name} bicycle with a {second.name} saddle"


def camera(rng: Rng) -> Built:
    """A camera: a box with a lens, a viewfinder and a button."""
    first, second = pair(rng)
    lens = pick(rng, "neutral", "metal")
    wide, tall, deep = rng.uniform(0.9, 1.15), rng.uniform(0.55, 0.72), rng.uniform(0.28, 0.4)
    parts = [blob(wide / 2, tall / 2, deep / 2, 8, 11).paint(first.rgb).move(y=tall / 2)]
    cover = box(wide * 0.97, tall * rng.uniform(0.35, 0.5), deep * 0.96, (8, 4, 4))
    parts.append(cover.paint(second.rgb).move(y=tall * 0.5))
    radius, reach = tall * rng.uniform(0.28, 0.38), rng.uniform(0.15, 0.4)
    x = rng.uniform(-0.08, 0.08)
    profile = [(0, 0), (radius, 0), (radius, reach), (radius, reach), (radius * 0.78, reach),
               (radius * 0.7, reach - 0.06), (radius * 0.7, reach - 0.06), (0, reach - 0.03)]  # fmt: skip
    barrel = lathe(profile, 24, 30)
    glass = np.hypot(barrel.vertices[:, 0], barrel.vertices[:, 2]) < radius * 0.71
    colors = np.where((glass & (barrel.vertices[:, 1] > 0.01))[:, None], (0.12, 0.16, 0.3), lens.rgb)
    parts.append(barrel.paint(colors).turn("x", 90).move(x, tall * 0.48, deep / 2 - 0.02))
    parts.append(box(wide * 0.3, tall * 0.24, deep * 0.7, (4, 3, 3)).paint(first.rgb).move(x, tall * 1.08))
    parts.append(cylinder(0.07, 0.07, rows=3, segments=16).paint(lens.rgb).move(wide * 0.33, tall * 0.98))
    parts.append(box(0.14, 0.08, 0.03, (2, 2, 1)).paint(WHITE).move(-wide * 0.32, tall * 0.82, deep / 2))
    return parts, f"a {first.name} and {second.name} camera with a {lens.name} lens"


def trophy(rng: Rng) -> Built:
    """A cup with two ears on a foot and a plinth."""
    metal, stone = pick(rng, "metal", "bright"), pick(rng, "wood", "neutral", "muted")
    wide, tall = rng.uniform(0.3, 0.44), rng.uniform(0.5, 0.75)
    foot = rng.uniform(0.22, 0.3)
    base, stem = 0.18, rng.uniform(0.14, 0.3)
    low = base + stem + 0.05
    profile = [(0, base), (foot, base), (foot * 0.8, base + 0.06), (0.05, base + stem * 0.5), (0.06, low),
               (wide * 0.75, low + tall * 0.3), (wide, low + tall), (wide, low + tall), (wide - 0.05, low + tall),
               (wide * 0.6, low + tall * 0.35), (0, low + tall * 0.2)]  # fmt: skip
    parts = [lathe(profile, 44, 32).paint(metal.rgb)]
    parts.append(box(foot * 2.1, base, foot * 2.1, (5, 2, 5)).paint(stone.rgb).move(y=base / 2))
    plate = box(foot * 1.2, base * 0.5, 0.02, (2, 1, 1)).paint(metal.rgb).move(0, base / 2, foot * 1.06)
    reach = rng.uniform(0.16, 0.3)
    ear = [(wide * 0.8, low + tall * 0.4, 0), (wide + reach, low + tall * 0.5, 0), (wide + reach, low + tall * 0.9, 0),
           (wide * 0.97, low + tall * 0.88, 0)]  # fmt: skip
    handle = tube(curve(ear, 16), 0.04, 10).paint(metal.rgb)
    return [*parts, plate, handle, handle.mirror()], f"a {metal.name} trophy on a {stone.name} plinth"


def dumbbell(rng: Rng) -> Built:
    """A bar with weights at both ends, lying along x."""
    first, second = pair(rng)
    bar = pick(rng, "metal")
    half, radius = rng.uniform(0.32, 0.5), rng.uniform(0.045, 0.07)
    parts = [rod((-half - 0.35, 0, 0), (half + 0.35, 0, 0), radius, segments=14).paint(bar.rgb)]
    if rng.random() < 0.3:
        size = rng.uniform(0.22, 0.32)
        ball = blob(size, size, size, 2.0, 9).paint(first.rgb)
        parts += [ball.move(-half - 0.15), ball.move(half + 0.15)]
        return parts, f"a {first.name} dumbbell with a {bar.name} bar"
    x = half
    for k in range(int(rng.integers(2, 4))):
        size, thick = rng.uniform(0.3, 0.42) * (1 - 0.22 * k), rng.uniform(0.07, 0.14)
        inner = size * 0.9
        profile = [(0, 0), (inner, 0), (size, 0.02), (size, thick - 0.02), (inner, thick), (0, thick)]
        color = first if k % 2 == 0 else second
        disc = lathe(profile, 16, 28).turn("z", -90).paint(color.rgb).move(x)
        parts += [disc, disc.mirror()]
        x += thick
    return parts, f"a {first.name} and {second.name} dumbbell"


def octopus(rng: Rng) -> Built:
    """A round head with two eyes over eight curling arms."""
    first, second = pair(rng)
    paint, words = surface(rng, first, second)
    wide, tall = rng.uniform(0.3, 0.4), rng.uniform(0.34, 0.55)
    lift = rng.uniform(0.3, 0.42)
    parts = [blob(wide, tall, wide * 0.95, 2.2, 11).paint(paint).move(y=lift + tall * 0.8)]
    for side in (-1, 1):
        eye = blob(0.085, 0.095, 0.06, cuts=5).paint(WHITE).move(side * wide * 0.42, lift + tall * 0.75, wide * 0.86)
        pupil = blob(0.045, 0.055, 0.03, cuts=4).paint(BLACK).move(side * wide * 0.42, lift + tall * 0.74, wide * 0.98)
        parts += [eye, pupil]
    reach, curl = rng.uniform(0.55, 0.8), rng.uniform(0.05, 0.3)
    for k in range(8):
        swing = rng.uniform(-0.12, 0.12)
        points = [(0, lift, wide * 0.5), (0.02, lift * 0.75, wide * 1.1), (swing * 0.5, 0.06, reach * 0.75),
                  (swing, 0.07 + curl, reach)]  # fmt: skip
        arm = tube(curve(points, 16), np.linspace(0.105, 0.025, 16), 10)
        parts.append(arm.turn("y", 45 * k + 22.5).paint(first.rgb if k % 2 else first.rgb * 0.9))
    return parts, f"a {words} octopus"


def ladder(rng: Rng) -> Built:
    """A stepladder: two frames that lean together, rungs on the front one."""
    color = pick(rng, "wood", "metal", "bright")
    other = pick(rng)
    tall, wide, spread = rng.uniform(1.2, 1.5), rng.uniform(0.24, 0.34), rng.uniform(0.25, 0.4)
    parts = [box(wide * 1.9, 0.06, 0.24, (6, 1, 3)).paint(other.rgb).move(y=tall)]
    for side in (-1, 1):
        x = side * wide
        for z in (-spread, spread):
            leg = rod((x * 1.15, 0, z), (x * 0.85, tall, z * 0.15), 0.042, segments=12)
            parts.append(leg.paint(color.rgb if z > 0 else color.rgb * 0.8))
    count = int(rng.integers(4, 7))
    for k in range(1, count):
        share = k / count
        z, x = spread * (1 - 0.85 * share), wide * (1.15 - 0.3 * share)
        rung = box(2 * x, 0.05, 0.13, (10, 2, 3)).paint(other.rgb if count < 6 else color.rgb)
        parts.append(rung.move(0, tall * share, z))
        if k % 2:
            parts.append(rod((-x, tall * share, -z), (x, tall * share, -z), 0.025, segments=10).paint(color.rgb * 0.8))
    return parts, f"a {color.name} ladder with {other.name} steps"


def telescope(rng: Rng) -> Built:
    """A tube in three steps on a tripod, pointing up and ahead."""
    first, second = pair(rng)
    metal = pick(rng, "metal", "wood")
    long, radius = rng.uniform(0.85, 1.15), rng.uniform(0.11, 0.16)
    cuts = (0.0, 0.3, 0.62, 1.0)
    pieces = []
    for k in range(3):
        size, low, high = radius * (0.55 + 0.22 * k), long * (cuts[k] - 0.5), long * (cuts[k + 1] - 0.5)
        piece = lathe([(0, low), (size, low), (size, low), (size, high), (size, high), (0, high)], 14, 24)
        pieces.append(piece.paint(first.rgb if k != 1 else second.rgb))
        pieces.append(cylinder(size * 1.12, 0.05, rows=3, segments=24).paint(metal.rgb).move(y=high - 0.03))
    pieces.append(lathe([(radius * 0.85, 0), (0, 0.001)], 3, 24).paint((0.15, 0.2, 0.35)).move(y=long / 2 + 0.025))
    tall = rng.uniform(0.6, 0.8)
    raised = rng.uniform(15, 45)
    parts = [p.turn("x", 90 - raised).move(y=tall + 0.1) for p in pieces]
    parts.append(blob(0.08, 0.08, 0.08, cuts=5).paint(metal.rgb).move(y=tall))
    for k in range(3):
        angle = np.radians(120 * k + 60)
        foot = (0.42 * np.sin(angle), 0, 0.42 * np.cos(angle))
        parts.append(rod(foot, (0, tall, 0), 0.03, 0.045, 10).paint(metal.rgb))
    return parts, f"a {first.name} and {second.name} telescope on a {metal.name} tripod"
