"""Animals that face +z: duck, quadruped, fish, penguin, turtle, rabbit, and the held-out bird.

See `vessels` for what a family is.
"""

from __future__ import annotations

import numpy as np

from ..palette import BLACK, WHITE, Color, Rng, gradient, jitter, pair, pick, spots, spread, stripes
from ..shapes import Array, Part, Pattern, blob, box, curve, extrude, lathe, outline, rod, tube

Built = tuple[list[Part], str]


def _eyes(x: float, y: float, z: float, size: float) -> list[Part]:
    """Two black eyes with a white glint."""
    parts = []
    for side in (-1, 1):
        parts.append(blob(size, size, size, cuts=4).paint(BLACK).move(side * x, y, z))
        parts.append(
            blob(size * 0.4, size * 0.4, size * 0.4, cuts=2)
            .paint(WHITE)
            .move(side * (x + size * 0.35), y + size * 0.5, z + size * 0.7)
        )
    return parts


def _coat(rng: Rng, first: Color, second: Color) -> tuple[Pattern | Array, str]:
    """A fur or feather pattern for a rounded body, and its words."""
    kind = rng.integers(4)
    if kind == 0:
        count = int(rng.integers(8, 16))
        return spots(
            first.rgb, second.rgb, spread(rng, count), 0.85 / np.sqrt(count)
        ), f"{first.name} and {second.name} spotted"
    if kind == 1:
        return gradient(second.rgb, first.rgb), f"{first.name} and {second.name}"
    return first.rgb, first.name


def duck(rng: Rng) -> Built:
    """A bath duck."""
    first, second = pair(rng)
    if rng.random() < 0.35:
        first = Color("yellow", jitter(rng, (0.96, 0.8, 0.12)))
    beak = Color("orange", jitter(rng, (0.95, 0.5, 0.1)))
    long, wide, tall = rng.uniform(0.5, 0.62), rng.uniform(0.34, 0.42), rng.uniform(0.3, 0.38)
    body = blob(wide, tall, long, 2.2, 12)
    lift = np.clip(-body.vertices[:, 2] / long, 0, 1) ** 2
    body.vertices[:, 1] += lift * rng.uniform(0.12, 0.22)  # the tail turns up
    parts = [body.paint(first.rgb).move(y=tall)]
    head, y, z = rng.uniform(0.24, 0.3), tall * 1.75, long * 0.5
    y += head * 0.75
    parts.append(blob(wide * 0.5, 0.22, wide * 0.5, cuts=6).paint(first.rgb).move(0, y - head * 0.8, z - 0.03))
    crown, wings = (second if rng.random() < 0.4 else first), (second if rng.random() < 0.5 else first)
    parts.append(blob(head, head, head, cuts=9).paint(crown.rgb).move(0, y, z))
    parts.append(blob(0.13, 0.045, 0.19, 2.5, 5).paint(beak.rgb).move(0, y - head * 0.15, z + head * 1.02))
    parts.append(blob(0.11, 0.035, 0.15, 2.5, 5).paint(beak.rgb * 0.85).move(0, y - head * 0.36, z + head * 0.95))
    parts += _eyes(head * 0.55, y + head * 0.28, z + head * 0.74, 0.05)
    shade = 0.85 if wings is first else 1.0  # so that wings of the body's colour still show
    wing = blob(0.075, tall * 0.58, long * 0.55, cuts=7).turn("x", 16).paint(wings.rgb * shade)
    parts += [wing.move(side * wide * 0.95, tall * 1.1, -0.06) for side in (-1, 1)]
    return parts, f"a {first.name} toy duck with a {crown.name} head, {wings.name} wings and an orange beak"


def quadruped(rng: Rng) -> Built:
    """A dog, cat, cow, horse, pig or giraffe."""
    first, second = pair(rng)
    paint, words = _coat(rng, first, second)
    kind = ("dog", "cat", "cow", "horse", "pig", "giraffe")[rng.integers(6)]
    neck = {"horse": 0.42, "giraffe": 0.75, "cow": 0.15}.get(kind, rng.uniform(0.1, 0.22))
    legs = {"pig": 0.22, "cat": 0.32, "dog": 0.36}.get(kind, 0.48) * rng.uniform(0.9, 1.1)
    long, wide = rng.uniform(0.4, 0.52), rng.uniform(0.19, 0.25) * (1.3 if kind in ("pig", "cow") else 1)
    y = legs + wide * 0.75
    parts = [blob(wide, wide * 1.02, long, 2.4, 11).paint(paint).move(y=y)]
    for sx in (-1, 1):
        for sz in (-0.68, 0.68):
            hip, foot = (sx * wide * 0.6, y - wide * 0.3, sz * long), (sx * wide * 0.62, 0.03, sz * long)
            parts.append(rod(foot, hip, 0.065, 0.095, 10).paint(first.rgb))
            parts.append(blob(0.075, 0.05, 0.09, cuts=3).paint(second.rgb * 0.8).move(foot[0], 0.04, foot[2] + 0.02))
    size = rng.uniform(0.17, 0.21)
    head = np.array([0, y + wide * 0.5 + neck, long * 0.95 + neck * 0.35])
    base = (0, y + wide * 0.1, long * 0.7)
    parts.append(
        tube(
            curve([base, head * 0.5 + np.array(base) * 0.5, head], 8), np.linspace(wide * 0.75, size * 0.68, 8), 14
        ).paint(first.rgb)
    )
    parts.append(blob(size, size * 0.95, size * 1.08, cuts=8).paint(first.rgb).move(*head))
    parts += [p.move(*head) for p in _face(kind, size, second.rgb)]
    back = np.array([0, y + wide * 0.5, -long * 0.93])
    droop = 0.28 if kind in ("cat", "dog") else -0.3
    tail = curve([back, back + np.array([0, droop * 0.3, -0.16]), back + np.array([0.03, droop, -0.2])], 9)
    parts.append(tube(tail, np.linspace(0.05, 0.03, 9), 8).paint(second.rgb if kind in ("horse", "cow") else first.rgb))
    return parts, f"a {words} {kind} (quadruped)"


def _face(kind: str, size: float, mark: Array) -> list[Part]:
    """Snout, nose, ears and eyes around the head's middle."""
    reach = {"cat": 0.35, "pig": 0.6}.get(kind, 0.85)
    snout = blob(size * 0.56, size * 0.48, size * reach, 2.5, 6).paint(mark)
    parts = [snout.move(0, -size * 0.28, size * 0.85), *_eyes(size * 0.5, size * 0.3, size * 0.86, 0.04)]
    tip = size * (0.85 + reach)
    parts.append(blob(0.05, 0.04, 0.03, cuts=3).paint(BLACK).move(0, -size * 0.12, tip - 0.01))
    for side in (-1, 1):
        if kind == "dog":
            ear = blob(0.045, 0.14, 0.08, cuts=4).paint(mark).turn("z", side * 14).move(side * size * 0.98, -0.02)
        elif kind == "cow":
            ear = blob(0.12, 0.05, 0.035, cuts=4).paint(mark).move(side * size * 1.2, size * 0.45)
            parts.append(
                rod((side * size * 0.5, size * 0.7, 0), (side * size * 0.9, size * 1.35, 0), 0.045, 0.01).paint(
                    (0.9, 0.86, 0.74)
                )
            )
        else:
            ear = rod((side * size * 0.55, size * 0.55, 0), (side * size * 0.8, size * 1.5, 0), 0.085, 0.012).paint(
                mark
            )
        parts.append(ear)
    return parts


def fish(rng: Rng) -> Built:
    """A fish with fins that stand upright."""
    first, second = pair(rng)
    long, tall, wide = rng.uniform(0.46, 0.6), rng.uniform(0.27, 0.4), rng.uniform(0.17, 0.24)
    profile = [
        (0.0, -long),
        (0.2, -long * 0.93),
        (0.62, -long * 0.4),
        (1.0, long * 0.15),
        (0.8, long * 0.65),
        (0.4, long * 0.93),
        (0, long),
    ]
    body = lathe(profile, 40, 26, smooth=True)
    kind = rng.integers(4)
    if kind == 0:
        body, words = (
            body.paint(stripes(first.rgb, second.rgb, int(rng.integers(3, 6)))),
            f"{first.name} and {second.name} striped",
        )
    elif kind == 1:
        body, words = body.paint(gradient(second.rgb, first.rgb)), f"{first.name} and {second.name}"
    else:
        body, words = body.paint(first.rgb), first.name
    body = body.turn("x", 90).scale(wide, tall, 1.0)
    if kind == 2:
        belly = np.clip(0.5 - body.vertices[:, 1:2] / tall * 1.6, 0, 1)
        body = body.paint(first.rgb + belly * (second.rgb - first.rgb))
    fork = rng.uniform(0.0, 0.16)
    tail = outline([(0.1, 0), (-0.3, -0.3), (-0.27 + fork, 0), (-0.3, 0.3)], 24, smooth=False)
    parts = [body, _fin(tail, second.rgb).move(z=-long * 0.98)]
    top = outline([(0.3, 0), (-0.3, 0), (-0.36, 0.2), (0.0, rng.uniform(0.2, 0.3))], 24, smooth=False)
    parts.append(_fin(top, second.rgb).move(0, tall * 0.86, 0.02))
    parts.append(_fin(top * (0.5, -0.7), second.rgb).move(0, -tall * 0.84, -0.04))
    for side in (-1, 1):
        flap = extrude(outline([(0.08, 0), (-0.2, 0.13), (-0.26, -0.05), (-0.16, -0.16)], 16), 0.02, 2).paint(
            second.rgb * 0.9
        )
        parts.append(flap.turn("y", -90).turn("y", side * 24).move(side * wide * 1.02, -tall * 0.2, long * 0.3))
        parts.append(blob(0.03, 0.075, 0.075, cuts=5).paint(WHITE).move(side * wide * 0.74, tall * 0.28, long * 0.62))
        parts.append(
            blob(0.025, 0.045, 0.045, cuts=4).paint(BLACK).move(side * (wide * 0.74 + 0.02), tall * 0.28, long * 0.64)
        )
    return parts, f"a {words} fish with {second.name} fins"


def _fin(shape: Array, color: Array) -> Part:
    """A thin plate in the y-z plane; shape: (z, y)."""
    return extrude(shape, 0.035, 4).paint(color).turn("y", -90)


def bird(rng: Rng) -> Built:
    """A perching bird."""
    first, second = pair(rng)
    beak, wing = jitter(rng, (0.93, 0.62, 0.12)), pick(rng)
    long, wide, legs = rng.uniform(0.4, 0.48), rng.uniform(0.27, 0.33), rng.uniform(0.22, 0.32)
    tilt = rng.uniform(15, 35)
    paint, words = _coat(rng, first, second)
    y = legs + wide * 0.9
    parts = [blob(wide, wide, long, cuts=11).paint(paint).turn("x", -tilt).move(y=y)]
    head = rng.uniform(0.19, 0.24)
    spot = np.array([0.0, y + long * 0.62, long * 0.55])
    parts.append(blob(head, head, head, cuts=8).paint(second.rgb if rng.random() < 0.5 else first.rgb).move(*spot))
    parts.append(
        rod(spot + np.array([0, 0, head * 0.8]), spot + np.array([0, -0.03, head + 0.2]), 0.07, 0.008).paint(beak)
    )
    parts += [p.move(*spot) for p in _eyes(head * 0.62, head * 0.25, head * 0.66, 0.042)]
    for side in (-1, 1):
        flap = blob(0.06, wide * 0.6, long * 0.72, cuts=6).paint(wing.rgb).turn("x", -tilt - 6)
        parts.append(flap.move(side * wide * 0.93, y + 0.02, -0.1))
        x = side * wide * 0.42
        parts.append(rod((x, 0.03, 0.04), (x, legs + 0.1, 0), 0.025).paint(beak))
        parts.append(blob(0.07, 0.025, 0.1, cuts=3).paint(beak).move(x, 0.025, 0.08))
    tail = blob(wide * 0.42, 0.04, 0.26, 3.0, 5).paint(wing.rgb).turn("x", -tilt * 0.6)
    parts.append(tail.move(0, y - long * 0.42, -long * 1.05))
    return parts, f"a {words} bird with {wing.name} wings"


def penguin(rng: Rng) -> Built:
    """An upright penguin with flippers, sometimes with a scarf."""
    coat = pick(rng) if rng.random() < 0.45 else Color("black", jitter(rng, (0.13, 0.14, 0.18)))
    if coat.rgb.min() > 0.6:  # the pale belly would not show
        coat = Color("navy", jitter(rng, (0.12, 0.17, 0.38)))
    scarf, pale, beak = pick(rng, "bright"), jitter(rng, (0.89, 0.88, 0.84), 0.03), jitter(rng, (0.95, 0.55, 0.10))
    wide, tall, head = rng.uniform(0.3, 0.4), rng.uniform(0.42, 0.56), rng.uniform(0.23, 0.29)
    y = tall * 1.82 + head * 0.5
    parts = [_fronted(blob(wide, tall, wide * 0.92, 2.2, 12), coat.rgb, pale, 0.76, -0.1).move(y=tall + 0.03)]
    parts.append(_fronted(blob(head, head * 0.95, head, cuts=10), coat.rgb, pale, 0.8, -0.45).move(y=y))
    parts.append(rod((0, y - head * 0.12, head * 0.8), (0, y - head * 0.2, head * 1.5), 0.075, 0.012).paint(beak))
    parts += [p.move(y=y) for p in _eyes(head * 0.42, head * 0.22, head * 0.87, 0.042)]
    spread_out = rng.uniform(8, 40)
    for side in (-1, 1):
        flipper = blob(0.045, tall * 0.5, wide * 0.38, cuts=6).paint(coat.rgb).move(y=-tall * 0.42)
        parts.append(flipper.turn("z", side * spread_out).move(side * wide * 0.9, tall * 1.5))
        parts.append(blob(0.13, 0.045, 0.19, 2.5, 5).paint(beak).move(side * wide * 0.48, 0.045, wide * 0.62))
    if rng.random() < 0.5:
        return parts, f"a {coat.name} and white penguin with an orange beak"
    ring = lathe([(head * 0.9, -0.09), (head * 1.18, -0.06), (head * 1.2, 0.03), (head * 0.85, 0.09)], 8, 24)
    parts.append(ring.paint(scarf.rgb).move(y=y - head * 0.78))
    parts.append(
        box(0.1, 0.28, 0.04, (1, 3, 1)).paint(scarf.rgb).turn("x", -8).move(head * 0.4, y - head * 1.3, wide * 0.86)
    )
    return parts, f"a {coat.name} and white penguin with a {scarf.name} scarf"


def _fronted(body: Part, coat: Array, pale: Array, share: float, middle: float) -> Part:
    """The part with a pale oval on its front, `share` of its height, about relative height `middle` in [-1, 1]."""
    unit = body.vertices / np.abs(body.vertices).max(axis=0)
    radius = np.hypot(unit[:, 0] / 0.74, (unit[:, 1] - middle) / share)
    inside = np.clip((1 - radius) * 6 + 0.5, 0, 1) * (unit[:, 2] > 0)
    return body.paint(coat + inside[:, None] * (pale - coat))


def turtle(rng: Rng) -> Built:
    """A turtle with a patterned shell, on four legs."""
    shell, skin = pair(rng)
    if rng.random() < 0.4:
        skin = Color("green", jitter(rng, (0.35, 0.62, 0.24)))
    wide, long, tall = rng.uniform(0.42, 0.5), rng.uniform(0.5, 0.62), rng.uniform(0.3, 0.46)
    legs = rng.uniform(0.12, 0.2)
    dome = lathe([(1.0, 0), (0.97, 0.25), (0.75, 0.68), (0.4, 0.93), (0, 1)], 22, 36, smooth=True)
    dome = dome.scale(wide, tall, long)
    count, mark = int(rng.integers(9, 16)), shell.rgb * rng.uniform(0.5, 0.7)
    kind = rng.integers(3)
    if kind == 0:
        dome, words = dome.paint(spots(mark, shell.rgb, spread(rng, count, -0.8), 1.15 / np.sqrt(count))), "plated"
    elif kind == 1:
        dome, words = dome.paint(stripes(shell.rgb, mark, int(rng.integers(2, 4)))), "ringed"
    else:
        dome, words = dome.paint(gradient(mark, shell.rgb)), "smooth"
    rim = [(0, -0.07), (0.9, -0.07), (1.05, -0.02), (1.05, 0.03), (0.96, 0.05)]
    rim_color = skin.rgb * 0.6 + shell.rgb * 0.4
    parts = [p.move(y=legs + 0.06) for p in (dome, lathe(rim, 10, 36).scale(wide, 1, long).paint(rim_color))]
    for sx in (-1, 1):
        for sz in (-0.62, 0.66):
            hip, foot = (sx * wide * 0.6, legs + 0.05, sz * long), (sx * wide * 0.86, 0.04, sz * long * 1.12)
            parts.append(rod(foot, hip, 0.1, 0.1, 10).paint(skin.rgb))
            parts.append(blob(0.12, 0.05, 0.14, cuts=5).paint(skin.rgb * 0.85).move(*foot))
    head, lift = rng.uniform(0.17, 0.21), rng.uniform(0.02, 0.26)
    spot = (0, legs + 0.12 + lift, long + 0.2)
    neck = curve([(0, legs + 0.06, long * 0.75), (0, legs + 0.08 + lift * 0.5, long + 0.05), spot], 8)
    parts.append(tube(neck, np.linspace(0.13, 0.1, 8), 12).paint(skin.rgb))
    parts.append(blob(head, head * 0.85, head * 1.15, cuts=8).paint(skin.rgb).move(*spot))
    parts += [p.move(*spot) for p in _eyes(head * 0.66, head * 0.28, head * 0.78, 0.042)]
    parts.append(rod((0, legs + 0.05, -long * 0.9), (0, legs - 0.06, -long - 0.2), 0.07, 0.01).paint(skin.rgb))
    return parts, f"a {skin.name} turtle with a {words} {shell.name} shell"


def rabbit(rng: Rng) -> Built:
    """A sitting rabbit with long ears, sometimes hanging."""
    fur, belly = pick(rng, *(("neutral", "wood") if rng.random() < 0.45 else ())), jitter(rng, (0.9, 0.87, 0.82))
    fur = Color(fur.name.replace("wooden", "brown").replace("brown brown", "brown"), fur.rgb)
    inner = jitter(rng, (0.94, 0.62, 0.66))
    wide, tall, long, head = (rng.uniform(*r) for r in ((0.27, 0.34), (0.32, 0.42), (0.32, 0.42), (0.22, 0.27)))
    parts = [_fronted(blob(wide, tall, long, 2.2, 10), fur.rgb, belly, 0.75, -0.1).turn("x", -12).move(y=tall)]
    y, z = tall * 1.75 + head * 0.6, long * 0.45
    parts.append(blob(head, head * 0.92, head, cuts=8).paint(fur.rgb).move(0, y, z))
    parts.append(
        blob(head * 0.5, head * 0.36, head * 0.4, cuts=5).paint(belly).move(0, y - head * 0.35, z + head * 0.72)
    )
    parts.append(blob(0.04, 0.032, 0.03, cuts=3).paint(inner * 0.9).move(0, y - head * 0.16, z + head * 1.1))
    parts += [p.move(0, y, z) for p in _eyes(head * 0.52, head * 0.2, head * 0.78, 0.045)]
    ear, lean = rng.uniform(0.26, 0.4), rng.uniform(4, 22) if rng.random() < 0.75 else rng.uniform(110, 140)
    for side in (-1, 1):
        pieces = [blob(0.085, ear, 0.05, cuts=5).paint(fur.rgb), blob(0.05, ear * 0.8, 0.03, cuts=4).paint(inner)]
        for piece, ahead in zip(pieces, (0.0, 0.032), strict=True):
            turned = piece.move(0, ear * 0.85, ahead).turn("z", -side * lean)
            parts.append(
                turned.move(side * head * (0.42 if lean < 90 else 0.75), y + head * (0.72 if lean < 90 else 0.5), z)
            )
        parts.append(
            blob(wide * 0.42, tall * 0.5, long * 0.55, cuts=5)
            .paint(fur.rgb)
            .move(side * wide * 0.82, tall * 0.5, -0.06)
        )
        parts.append(blob(0.1, 0.06, 0.2, cuts=4).paint(fur.rgb * 0.92).move(side * wide * 0.78, 0.06, long * 0.55))
        parts.append(
            rod((side * 0.1, 0.06, long * 0.98), (side * 0.12, tall * 0.9, long * 0.72), 0.065, 0.09).paint(fur.rgb)
        )
    parts.append(blob(0.12, 0.12, 0.12, cuts=4).paint(WHITE).move(0, tall * 0.6, -long * 1.02))
    return parts, f"a {fur.name} rabbit with {'long upright' if lean < 90 else 'hanging'} ears and a white tail"
