"""Things seen outdoors: mushroom, tree, house, tower, cactus, snowman, windmill. See `vessels`."""

from __future__ import annotations

import numpy as np

from ..palette import BLACK, Color, Rng, flutes, gradient, jitter, pair, pick, spots, spread, stripes, surface
from ..shapes import Array, Part, Pattern, blob, box, circle, curve, cylinder, extrude, lathe, rod, tube, wavy

Built = tuple[list[Part], str]


def mushroom(rng: Rng) -> Built:
    """A capped mushroom, mostly spotted."""
    first, second = pair(rng)
    wide, tall, stem = rng.uniform(0.45, 0.68), rng.uniform(0.28, 0.5), rng.uniform(0.14, 0.24)
    height = rng.uniform(0.42, 0.75)
    pale = jitter(rng, (0.9, 0.85, 0.74))
    stalk = lathe(
        [(0, 0), (stem * 1.25, 0.0), (stem * 1.2, 0.06), (stem * 0.85, height * 0.6), (stem, height + 0.05)],
        16,
        24,
        smooth=True,
    )
    dome = lathe(
        [(wide, 0), (wide * 0.95, tall * 0.35), (wide * 0.7, tall * 0.75), (wide * 0.35, tall * 0.96), (0, tall)],
        28,
        40,
        smooth=True,
    )
    gills = lathe([(stem * 0.6, 0.06), (wide * 0.9, -0.03), (wide, 0.0)], 6, 40)
    parts = [
        stalk.paint(gradient(pale * 0.85, pale)),
        gills.paint(flutes(pale * 0.95, pale * 0.75, 10)).shadow(0.6, 0.7).move(y=height),
    ]
    if rng.random() < 0.7:
        count = int(rng.integers(9, 18))
        dots = spots(first.rgb, second.rgb, spread(rng, count, -0.75), rng.uniform(0.75, 1.05) / np.sqrt(count))
        words = f"a {first.name} mushroom with {second.name} spots"
        return [*parts, dome.paint(dots).move(y=height)], words
    return [
        *parts,
        dome.paint(gradient(second.rgb, first.rgb)).move(y=height),
    ], f"a {second.name} to {first.name} mushroom with a pale stem"


def tree(rng: Rng) -> Built:
    """A round leafy tree or a fir."""
    leaf = pick(rng, "bright") if rng.random() < 0.35 else Color("green", jitter(rng, (0.27, 0.56, 0.2), 0.12))
    bark, height, thick = jitter(rng, (0.42, 0.27, 0.15)), rng.uniform(0.3, 0.6), rng.uniform(0.07, 0.13)
    trunk = lathe([(0, 0), (thick * 1.4, 0), (thick, height * 0.4), (thick * 0.8, height + 0.25)], 12, 16, smooth=True)
    parts = [trunk.paint(gradient(bark * 0.8, bark))]
    if rng.random() < 0.45:
        return [*parts, *_needles(rng, leaf.rgb, height)], f"a {leaf.name} fir tree"
    size = rng.uniform(0.36, 0.46)
    puffs = [(0.0, height + size * 0.9, 0.0, size)]
    for k in range(int(rng.integers(2, 6))):
        angle, radius = 2.4 * k + rng.uniform(0, 1), size * rng.uniform(0.5, 0.75)
        puffs.append(
            (size * 0.75 * np.sin(angle), height + size * rng.uniform(0.5, 1.4), size * 0.75 * np.cos(angle), radius)
        )
    for x, y, z, radius in puffs:
        ball = blob(radius, radius * rng.uniform(0.8, 1), radius, cuts=8)
        parts.append(ball.paint(gradient(leaf.rgb * 0.75, leaf.rgb * 1.0)).move(x, y, z))
    if rng.random() < 0.45:
        fruit = pick(rng, "bright")
        ball = blob(0.05, 0.05, 0.05, cuts=3).paint(fruit.rgb).move(y=height + size * 0.9)
        parts += [ball.move(*spot) for spot in spread(rng, 10, -0.5) * size * 1.02]
        return parts, f"a round {leaf.name} tree with {fruit.name} fruit"
    return parts, f"a round {leaf.name} tree"


def _needles(rng: Rng, color: Array, height: float) -> list[Part]:
    parts, tiers, y, wide = [], int(rng.integers(3, 6)), height, rng.uniform(0.4, 0.52)
    for k in range(tiers):
        size = wide * (1 - k / (tiers + 0.6))
        cone = lathe([(0.02, 0.05), (size, 0), (size, 0), (0, 0.46)], 12, outline=wavy(30, 10, 0.1))
        parts.append(cone.paint(gradient(color * 0.72, color)).move(y=y))
        y += rng.uniform(0.19, 0.25)
    if rng.random() < 0.35:
        parts.append(blob(0.07, 0.07, 0.07, 1.0, 4).paint((0.95, 0.8, 0.15)).move(y=y + 0.27))
    return parts


def house(rng: Rng) -> Built:
    """A house with a gabled roof, a door and windows on every side."""
    wall, roof = pair(rng)
    wide, deep, tall, rise = (
        rng.uniform(0.65, 0.95),
        rng.uniform(0.65, 0.95),
        rng.uniform(0.42, 0.65),
        rng.uniform(0.28, 0.5),
    )
    second = wall.rgb * 0.85 if rng.random() < 0.4 else wall.rgb
    parts = [box(wide, tall, deep, (14, 14, 14)).paint(stripes(wall.rgb, second, 5)).move(y=tall / 2)]
    gable = extrude([(-wide / 2, 0), (wide / 2, 0), (0, rise)], deep, 3).paint(wall.rgb).move(y=tall)
    slope = np.degrees(np.arctan2(rise, wide / 2))
    long = np.hypot(rise, wide / 2) + 0.14
    for side in (1, -1):
        tiles = box(long, 0.06, deep + 0.16, (14, 1, 10)).move(long / 2 - 0.02, 0.025).paint(roof.rgb)
        tiles = tiles.turn("z", -slope).move(y=tall + rise)
        parts.append(tiles if side > 0 else tiles.mirror())
    parts += [gable, *_openings(rng, wide, deep, tall)]
    if rng.random() < 0.65:
        x = wide * float(rng.choice([-0.25, 0.25]))
        stack = box(0.13, 0.42, 0.13, (3, 8, 3)).paint(jitter(rng, (0.55, 0.25, 0.18)))
        parts.append(stack.move(x, tall + rise * 0.8, -deep * 0.15))
    turned = 90.0 if rng.random() < 0.3 else 0.0  # the eaves to the front
    return [p.turn("y", turned) for p in parts], f"a {wall.name} house with a {roof.name} roof"


def _openings(rng: Rng, wide: float, deep: float, tall: float) -> list[Part]:
    """A door and windows with frames, on the front, the sides and the back."""
    door, frame, glass = (
        pick(rng, "wood", "bright").rgb,
        jitter(rng, (0.93, 0.93, 0.9)),
        jitter(rng, (0.45, 0.66, 0.82)),
    )
    door_x = float(rng.choice([-0.22, 0, 0.22])) * wide
    parts = [box(0.19, tall * 0.62, 0.03, (3, 6, 1)).paint(door).move(door_x, tall * 0.31, deep / 2 + 0.01)]
    places = [(x * wide, deep / 2, 0.0) for x in (-0.3, 0.3) if abs(x * wide - door_x) > 0.2]
    places += [(x * deep, wide / 2, side) for x in (-0.22, 0.22) for side in (90.0, -90.0)]
    places += [(x * wide, deep / 2, 180.0) for x in (-0.25, 0.25)]
    for x, z, angle in places:
        rim = box(0.2, 0.22, 0.02, (2, 2, 1)).paint(frame).move(x, tall * 0.58, z + 0.006)
        pane = box(0.15, 0.17, 0.02, (2, 2, 1)).paint(glass).move(x, tall * 0.58, z + 0.014)
        parts += [rim.turn("y", angle), pane.turn("y", angle)]
    return parts


def tower(rng: Rng) -> Built:
    """A round stone tower with battlements or a pointed roof."""
    stone, roof = pair(rng)
    low, high, tall = rng.uniform(0.26, 0.36), rng.uniform(0.22, 0.32), rng.uniform(0.95, 1.4)
    segments = 32
    body = lathe([(low, 0), (high, tall)], 34, segments).paint(
        _bricks(stone.rgb, stone.rgb * rng.uniform(0.68, 0.88), 9, segments)
    )
    crown = high + 0.07
    parts = [
        body,
        lathe(
            [
                (high, tall - 0.06),
                (crown, tall),
                (crown, tall),
                (crown, tall + 0.12),
                (crown, tall + 0.12),
                (0, tall + 0.12),
            ],
            8,
            segments,
        ).paint(stone.rgb),
    ]
    parts += _windows(rng, low, high, tall)
    if rng.random() < 0.5:
        for angle in np.arange(0, 360, 360 / 8):
            merlon = box(0.13, 0.14, 0.07, (2, 2, 1)).paint(stone.rgb).move(0, tall + 0.18, crown - 0.04)
            parts.append(merlon.turn("y", float(angle)))
        return parts, f"a {stone.name} castle tower with battlements"
    rise = rng.uniform(0.35, 0.6)
    parts.append(
        lathe([(0, 0), (crown + 0.08, 0), (crown + 0.08, 0), (0, rise)], 20, segments)
        .paint(roof.rgb)
        .move(y=tall + 0.11)
    )
    parts.append(rod((0, tall + rise, 0), (0, tall + rise + 0.3, 0), 0.015).paint((0.3, 0.3, 0.3)))
    flag = extrude([(0, -0.07), (0.22, 0), (0, 0.07)], 0.015, 2).paint(pick(rng, "bright").rgb)
    parts.append(flag.move(0.01, tall + rise + 0.22))
    return parts, f"a {stone.name} tower with a pointed {roof.name} roof"


def _bricks(first: Array, second: Array, courses: int, segments: int) -> Pattern:
    def paint(points: Array) -> Array:
        course = (points[:, 1] / points[:, 1].max() * courses - 1e-6).astype(int)
        brick = (np.arange(len(points)) % segments + 2 * (course % 2)) // 4  # every other course is shifted by half
        return np.where((brick % 2)[:, None] == 1, first, second)

    return paint


def _windows(rng: Rng, low: float, high: float, tall: float) -> list[Part]:
    door = extrude(_arch(0.11, 0.3), 0.06, 2).paint(pick(rng, "wood").rgb).move(0, 0, low - 0.01)
    parts = [door]
    for k, angle in enumerate(np.arange(0, 360, 90) + 20.0):
        y = tall * (0.45 + 0.12 * k)
        slit = extrude(_arch(0.055, 0.17), 0.05, 2).paint(BLACK * 2).move(0, y, low + (high - low) * y / tall)
        parts.append(slit.turn("y", float(angle)))
    return parts


def _arch(half: float, tall: float) -> Array:
    """A door's outline, counter-clockwise from its lower left corner."""
    angle = np.linspace(0, np.pi, 9)
    top = np.stack([half * np.cos(angle), tall - half + half * np.sin(angle)], axis=1)
    return np.concatenate([[(-half, 0.0), (half, 0.0)], top])


def cactus(rng: Rng) -> Built:
    """A ribbed cactus in a pot, a ball or a column with arms."""
    pot_color, bloom = pick(rng), pick(rng, "bright")
    light = jitter(rng, (0.27, 0.62, 0.26), 0.09)
    paint, words = surface(rng, pot_color, pick(rng))
    wide = rng.uniform(0.24, 0.34)
    low = [
        (0, 0),
        (wide * 0.75, 0),
        (wide * 0.75, 0),
        (wide, 0.36),
        (wide, 0.36),
        (wide * 1.1, 0.36),
        (wide * 1.1, 0.44),
        (wide * 1.1, 0.44),
    ]
    parts = [lathe([*low, (wide, 0.44), (wide * 0.9, 0.4)], 18, 28).paint(paint)]
    parts.append(lathe([(wide * 0.95, 0.40), (0, 0.41)], 3, 28).paint((0.3, 0.2, 0.13)))
    ribs, tall, thick = int(rng.integers(8, 12)), rng.uniform(0.6, 1.0), rng.uniform(0.17, 0.24)
    if rng.random() < 0.3:
        tall, thick = rng.uniform(0.4, 0.5), rng.uniform(0.28, 0.34)  # a ball
    stem = [
        (thick * 0.75, 0.38),
        (thick, 0.38 + tall * 0.3),
        (thick, 0.38 + tall * 0.7),
        (thick * 0.7, 0.38 + tall * 0.92),
        (0, 0.38 + tall),
    ]
    trunk = lathe(stem, 22, outline=wavy(ribs * 5, ribs, 0.16), smooth=True)
    ridge = np.hypot(*wavy(ribs * 5, ribs, 1.0).T)
    parts.append(trunk.paint(light * (0.72 + 0.36 * np.tile(ridge, len(trunk.vertices) // len(ridge))[:, None])))
    if thick < 0.26:
        for side in [(-1,), (1,), (-1, 1)][rng.integers(3)]:
            y, reach, rise = (
                0.38 + tall * rng.uniform(0.25, 0.5),
                thick + rng.uniform(0.16, 0.24),
                rng.uniform(0.25, 0.42),
            )
            arm = curve(
                [(0, y, 0), (side * reach * 0.85, y, 0), (side * reach, y + 0.12, 0), (side * reach, y + rise, 0)], 14
            )
            parts.append(tube(arm, thick * 0.5, 12).paint(flutes(light, light * 0.75, 6)))
            parts.append(blob(thick * 0.5, thick * 0.5, thick * 0.5, cuts=4).paint(light).move(side * reach, y + rise))
    if rng.random() < 0.55:
        flower = blob(0.11, 0.07, 0.11, 1.3, 4).paint(bloom.rgb)
        parts.append(flower.move(y=0.40 + tall))
        return parts, f"a cactus with a {bloom.name} flower in a {words} pot"
    return parts, f"a cactus in a {words} pot"


def snowman(rng: Rng) -> Built:
    """Three balls of snow with a hat and a scarf."""
    scarf, hat = pair(rng)
    snow = jitter(rng, (0.91, 0.93, 0.96), 0.03)
    sizes = np.array([rng.uniform(0.36, 0.44), rng.uniform(0.26, 0.32), rng.uniform(0.19, 0.24)])
    ys = [sizes[0] * 0.92, sizes[0] * 1.7 + sizes[1] * 0.7, sizes[0] * 1.7 + sizes[1] * 1.45 + sizes[2] * 0.8]
    parts = [blob(r, r * 0.95, r, cuts=9).paint(snow).move(y=y) for r, y in zip(sizes, ys, strict=True)]
    head, top = sizes[2], ys[2]
    parts += [
        blob(0.035, 0.04, 0.03, cuts=3).paint(BLACK).move(s * head * 0.38, top + head * 0.25, head * 0.88)
        for s in (-1, 1)
    ]
    parts.append(rod((0, top, head * 0.9), (0, top - 0.02, head + 0.24), 0.05, 0.008).paint((0.95, 0.45, 0.08)))
    for k in range(3):
        parts.append(
            blob(0.035, 0.035, 0.03, cuts=3)
            .paint(BLACK)
            .move(0, ys[1] + (k - 1) * sizes[1] * 0.5, sizes[1] * (0.98 - 0.1 * abs(k - 1)))
        )
    for side in (-1, 1):
        reach, lift = sizes[1] + rng.uniform(0.25, 0.4), rng.uniform(-0.05, 0.28)
        parts.append(
            rod((side * sizes[1] * 0.8, ys[1] + 0.03, 0), (side * reach, ys[1] + lift, 0.05), 0.03, 0.018).paint(
                (0.35, 0.22, 0.12)
            )
        )
    wrap = tube(curve(np.column_stack([circle(17)[:, 0], np.zeros(17), circle(17)[:, 1]]) * head * 0.85, 24), 0.06, 8)
    parts.append(wrap.paint(scarf.rgb).move(y=ys[1] + sizes[1] * 0.82))
    parts.append(
        box(0.1, 0.26, 0.05, (2, 6, 1))
        .paint(scarf.rgb)
        .turn("x", -14)
        .move(head * 0.4, ys[1] + sizes[1] * 0.55, sizes[1] * 0.92)
    )
    return [
        *parts,
        *_hat(rng, hat.rgb, scarf.rgb, head, top),
    ], f"a snowman with a {hat.name} hat and a {scarf.name} scarf"


def _hat(rng: Rng, color: Array, ribbon: Array, head: float, top: float) -> list[Part]:
    y, tall = top + head * 0.62, rng.uniform(0.2, 0.34)
    if rng.random() < 0.4:  # knitted
        cap = lathe([(head * 0.95, 0), (head * 0.92, 0.1), (head * 0.6, tall * 0.75), (0, tall)], 14, 24, smooth=True)
        return [
            cap.paint(stripes(color, ribbon, 3)).move(y=y - 0.04),
            blob(0.07, 0.07, 0.07, cuts=4).paint(ribbon).move(y=y + tall),
        ]
    brim, crown = cylinder(head * 1.35, 0.04, segments=28), cylinder(head * 0.82, tall, segments=28, rows=12)
    dark = color * 0.45
    mark = lathe([(head * 0.84, 0.03), (head * 0.84, 0.1)], 3, 28).paint(ribbon)
    return [brim.paint(dark).move(y=y), crown.paint(dark).move(y=y), mark.move(y=y)]


def windmill(rng: Rng) -> Built:
    """A tapered mill with a cap and four or more sails in front."""
    wall, roof = pair(rng)
    sail = pick(rng)
    low, high, tall = rng.uniform(0.32, 0.42), rng.uniform(0.2, 0.27), rng.uniform(0.85, 1.1)
    segments = 8 if rng.random() < 0.4 else 32
    body = lathe([(low, 0), (high, tall)], 30, segments) if segments == 32 else lathe([(low, 0), (high, tall)], 30, 16)
    paint = _bricks(wall.rgb, wall.rgb * rng.uniform(0.75, 0.9), 8, segments) if segments == 32 else wall.rgb
    if segments == 32 and rng.random() < 0.4:
        paint = stripes(wall.rgb, roof.rgb, int(rng.integers(2, 4)))
    cap = lathe([(0, 0), (high + 0.06, 0), (high + 0.06, 0), (high, 0.1), (0, rng.uniform(0.24, 0.4))], 14, 28)
    parts = [body.paint(paint), cap.paint(roof.rgb).move(y=tall - 0.01), *_windows(rng, low, high, tall)]
    hub, reach = np.array([0, tall - 0.02, high + 0.15]), rng.uniform(0.58, 0.72)
    parts.append(rod((0, hub[1], 0), hub + np.array([0, 0, 0.05]), 0.05).paint((0.4, 0.26, 0.15)))
    count, wide, start = int(rng.choice([4, 4, 4, 6])), rng.uniform(0.13, 0.2), rng.uniform(0, 90)
    for k in range(count):
        arm = box(0.04, reach, 0.03, (1, 4, 1)).paint((0.4, 0.26, 0.15)).move(0, reach / 2)
        cloth = box(wide, reach * 0.74, 0.025, (2, 6, 1)).paint(sail.rgb).move(wide * 0.42, reach * 0.62, -0.005)
        parts += [p.turn("z", start + 360 / count * k).move(*hub) for p in (arm, cloth)]
    return parts, f"a {wall.name} windmill with a {roof.name} roof and {sail.name} sails"
