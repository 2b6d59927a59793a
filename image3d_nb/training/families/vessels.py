"""Things that hold something: mug, bottle, vase, pot, lamp, cupcake, ice cream cone, watering can, and the held-out
teapot.

A family is a function of a random generator that returns painted parts, standing upright with the front on +z, and a
caption. `objects.make_object` lights, turns and sizes them.
"""

from __future__ import annotations

import numpy as np

from ..palette import Rng, jitter, pair, pick, stripes, surface
from ..shapes import Array, Part, Pattern, Profile, blob, curve, cylinder, lathe, rod, tube, wavy

Built = tuple[list[Part], str]


def _shell(
    profile: Profile, wall: float, outside: Pattern | Array, inside: Array, rows: int = 30, smooth: bool = False
) -> list[Part]:
    """An open vessel: the painted outside of this profile, a lip, and a darker inside."""
    body = lathe([(0.0, profile[0][1]), profile[0], *profile], rows, 40, smooth).paint(outside)
    lip, top = profile[-1]
    ring = [(lip, top), (lip - wall / 2, top + wall / 3), (lip - wall, top)]
    hollow = [(max(r - wall, 0.01), y) for r, y in profile[::-1]]
    floor = profile[0][1] + wall
    cavity = lathe([*[(r, max(y, floor)) for r, y in hollow], (0.0, floor)], 10, 40, smooth)
    return [body, lathe(ring, 3, 40).paint(inside), cavity.paint(inside).shadow(0.35, 0.85)]


def _handle(radius_low: float, radius_high: float, low: float, high: float, reach: float, thick: float) -> Part:
    """A grip in the x-y plane, on the +x side."""
    out = max(radius_low, radius_high) + reach
    points = [(radius_low * 0.93, low, 0), (out * 0.93, low, 0), (out, (low + high) / 2, 0), (out * 0.93, high, 0)]
    return tube(curve([*points, (radius_high * 0.93, high, 0)], 16), thick, 10)


def mug(rng: Rng) -> Built:
    """A cup with a handle at its side, sometimes full."""
    first, second = pair(rng)
    paint, words = surface(rng, first, second)
    height, low = rng.uniform(0.8, 1.35), rng.uniform(0.36, 0.52)
    high = low * rng.uniform(0.92, 1.25)
    inside = jitter(rng, (0.9, 0.89, 0.86)) if rng.random() < 0.6 else second.rgb
    profile: Profile = [(low, 0), (high, height)]
    if rng.random() < 0.35:
        profile = [(low * 0.8, 0), (low * 1.08, height * 0.3), (high, height)]
    parts = _shell(profile, 0.06, paint, inside, smooth=len(profile) > 2)
    grip_low, grip_high = height * rng.uniform(0.16, 0.28), height * rng.uniform(0.72, 0.86)
    wall = [np.interp(y, [p[1] for p in profile], [p[0] for p in profile]) for y in (grip_low, grip_high)]
    grip = _handle(wall[0], wall[1], grip_low, grip_high, rng.uniform(0.2, 0.36), rng.uniform(0.05, 0.085))
    held = second if rng.random() < 0.4 else first
    grip = grip.paint(held.rgb).turn("y", 180.0 * rng.integers(2))
    if rng.random() < 0.5:
        drink = lathe([(high - 0.04, 0), (0, 0.001)], 4, 32).paint(jitter(rng, (0.30, 0.17, 0.09)))
        parts.append(drink.move(y=height * 0.87))
    return [*parts, grip], f"a {words} ceramic mug with a {held.name} handle"


def bottle(rng: Rng) -> Built:
    """A bottle with a cap, sometimes with a label."""
    first, second = pair(rng)
    paint, words = surface(rng, first, second)
    body, neck, shoulder = rng.uniform(0.26, 0.42), rng.uniform(0.08, 0.13), rng.uniform(0.7, 1.15)
    top, rise = shoulder + rng.uniform(0.3, 0.6), rng.uniform(0.12, 0.3)
    side = [(body * 0.94, 0.0), (body, 0.06), (body, shoulder)]
    glass = lathe([(0, 0), (body * 0.94, 0), *side], 24, 30).paint(paint)
    slope = [
        (body, shoulder),
        (body * 0.86, shoulder + rise * 0.45),
        (neck * 1.25, shoulder + rise * 0.85),
        (neck, top),
    ]
    parts = [glass, lathe(slope, 16, 30, smooth=True).paint(first.rgb)]
    cap = pick(rng, "bright", "neutral", "metal")
    parts.append(cylinder(neck * 1.2, rng.uniform(0.1, 0.16), rows=4, segments=20).paint(cap.rgb).move(y=top - 0.03))
    if rng.random() < 0.55:
        low, high = shoulder * rng.uniform(0.15, 0.3), shoulder * rng.uniform(0.6, 0.85)
        label = lathe([(body + 0.006, low), (body + 0.006, high)], 12, 30)
        mark = pick(rng, "bright", "neutral")
        parts.append(label.paint(stripes(mark.rgb, jitter(rng, (0.92, 0.9, 0.84)), 1 + int(rng.integers(3)))))
        return parts, f"a {words} bottle with a {cap.name} cap and a {mark.name} label"
    return parts, f"a {words} bottle with a {cap.name} cap"


def vase(rng: Rng) -> Built:
    """An open vase of a random smooth profile, sometimes with flowers."""
    first, second = pair(rng)
    paint, words = surface(rng, first, second)
    heights = np.linspace(0, rng.uniform(1.0, 1.5), 5)
    radii = rng.uniform(0.16, 0.46, 5)
    radii[0], radii[2] = rng.uniform(0.18, 0.3), rng.uniform(0.28, 0.48)
    parts = _shell(list(zip(radii, heights, strict=True)), 0.05, paint, second.rgb, 36, smooth=True)
    if rng.random() < 0.45:
        petal = pick(rng, "bright")
        flowers = _bouquet(rng, petal.rgb, float(radii[-1]), float(heights[-1]))
        return [*parts, *flowers], f"a {words} vase with {petal.name} flowers"
    return parts, f"a {words} vase with a {second.name} rim"


def _bouquet(rng: Rng, petal: Array, opening: float, top: float) -> list[Part]:
    parts = []
    for angle in np.linspace(0, 2 * np.pi, int(rng.integers(4, 8)), endpoint=False):
        lean, height = opening * rng.uniform(0.6, 1.7), top + rng.uniform(0.25, 0.55)
        end = np.array([lean * np.sin(angle), height, lean * np.cos(angle)])
        parts.append(rod([end[0] * 0.2, top - 0.2, end[2] * 0.2], end, 0.018, segments=6).paint((0.16, 0.45, 0.16)))
        size = rng.uniform(0.09, 0.14)
        parts.append(blob(size, size * 0.8, size, cuts=3).paint(jitter(rng, petal, 0.1)).move(*end))
    return parts


def pot(rng: Rng) -> Built:
    """A cooking pot with two grips and a lid with a knob."""
    first, second = pair(rng)
    paint, words = surface(rng, first, second)
    radius, height = rng.uniform(0.45, 0.6), rng.uniform(0.4, 0.75)
    bulge = radius * rng.uniform(1.0, 1.12)
    body = [(0, 0), (radius * 0.85, 0), (radius * 0.85, 0), (bulge, height * 0.45), (radius, height)]
    parts = [lathe(body, 26, 32, smooth=True).paint(paint)]
    rise = rng.uniform(0.1, 0.24)
    dome = lathe(
        [(radius * 1.06, 0), (radius * 1.06, 0.04), (radius * 0.7, rise * 0.75), (0, rise)], 12, 32, smooth=True
    )
    lid = second if rng.random() < 0.6 else first
    parts.append(dome.paint(lid.rgb).move(y=height))
    knob = pick(rng, "neutral", "wood", "metal").rgb
    parts.append(blob(0.09, 0.075, 0.09, cuts=5).paint(knob).move(y=height + rise + 0.06))
    reach = rng.uniform(0.12, 0.2)
    for side in (1, -1):
        loop = [
            (radius * 0.95, 0, -0.16),
            (radius + reach, 0.02, -0.12),
            (radius + reach, 0.02, 0.12),
            (radius * 0.95, 0, 0.16),
        ]
        grip = tube(curve(loop, 12), 0.045, 8).paint(knob).move(y=height * 0.72)
        parts.append(grip if side > 0 else grip.turn("y", 180))
    return parts, f"a {words} cooking pot with a {lid.name} lid"


def lamp(rng: Rng) -> Built:
    """A table lamp: foot, stem or belly, and a shade."""
    first, second = pair(rng)
    paint, words = surface(rng, first, second)
    height, wide = rng.uniform(0.75, 1.2), rng.uniform(0.36, 0.55)
    narrow, drop = wide * rng.uniform(0.3, 0.75), rng.uniform(0.3, 0.5)
    stand = pick(rng, "metal", "wood", "bright") if rng.random() < 0.7 else second
    base = rng.uniform(0.24, 0.36)
    foot = [(0, 0), (base, 0), (base, 0), (base, 0.05), (base * 0.4, 0.1), (0.035, 0.16)]
    parts = [lathe(foot, 12, 28).paint(stand.rgb)]
    if rng.random() < 0.4:
        belly = lathe(
            [(0.05, 0.1), (base * 0.8, height * 0.3), (0.1, height * 0.62), (0.03, height)], 16, 24, smooth=True
        )
        parts.append(belly.paint(stand.rgb))
    parts.append(cylinder(0.035, height, rows=4, segments=10).paint(stand.rgb))
    shade = lathe([(wide, 0), (narrow, drop)], 22, 32).paint(paint)
    inner = lathe([(narrow - 0.02, drop), (wide - 0.02, 0)], 6, 32).paint((0.98, 0.93, 0.75))
    lid = lathe([(narrow, drop), (0, drop + 0.01)], 3, 32).paint(first.rgb)
    parts += [p.move(y=height - drop * 0.55) for p in (shade, inner, lid)]
    return parts, f"a table lamp with a {words} shade and a {stand.name} foot"


def cupcake(rng: Rng) -> Built:
    """A pleated liner under swirls of icing."""
    first, second = pair(rng)
    low, high, tall = rng.uniform(0.3, 0.38), rng.uniform(0.44, 0.52), rng.uniform(0.42, 0.58)
    ring, flutes = wavy(48, 16, 0.06), np.arange(48) // 3 % 2
    liner = lathe([(0, 0), (low, 0), (low, 0), (high, tall)], 10, outline=ring)
    liner = liner.paint(np.where(np.tile(flutes, len(liner.vertices) // 48)[:, None], first.rgb, second.rgb))
    icing, swirls, sprinkles = pick(rng, "bright", "muted"), int(rng.integers(2, 5)), int(rng.choice([0, 0, 5, 7]))
    parts, y, radius = [liner], tall, high * 1.1
    for _ in range(swirls):
        layer = lathe(
            [(0, -0.09), (radius * 0.9, -0.08), (radius, 0), (radius * 0.85, 0.09), (0, 0.13)], 10, 30, smooth=True
        )
        parts.append(layer.paint(icing.rgb).move(y=y + 0.04))
        parts += _sprinkles(rng, radius * 0.95, y + 0.06, sprinkles)
        y, radius = y + rng.uniform(0.12, 0.16), radius * rng.uniform(0.66, 0.78)
    if rng.random() < 0.65:
        parts.append(blob(0.11, 0.11, 0.11, cuts=5).paint(jitter(rng, (0.82, 0.08, 0.12))).move(y=y + 0.07))
        return parts, f"a cupcake with {icing.name} icing and a cherry in a {first.name} liner"
    return parts, f"a cupcake with {icing.name} icing in a {first.name} liner"


def _sprinkles(rng: Rng, radius: float, y: float, count: int) -> list[Part]:
    """`count` coloured grains on the rim of a layer of icing."""
    grain, parts = blob(0.032, 0.032, 0.032, cuts=2), []
    for angle in 2 * np.pi * (np.arange(count) + rng.uniform(0, 1, count)) / max(count, 1):
        color = pick(rng, "bright").rgb
        parts.append(
            grain.paint(color).move(radius * np.sin(angle), y + rng.uniform(-0.02, 0.04), radius * np.cos(angle))
        )
    return parts


def icecream(rng: Rng) -> Built:
    """A waffle cone with one to three scoops."""
    wide, tall = rng.uniform(0.27, 0.36), rng.uniform(0.75, 1.05)
    waffle, dark = jitter(rng, (0.85, 0.62, 0.34)), jitter(rng, (0.62, 0.40, 0.19))
    cone = lathe([(0.02, 0), (wide, tall)], 24, 28)
    cell = np.arange(len(cone.vertices) // 28)[:, None] // 3 + np.arange(28) // 2
    cone = cone.paint(np.where((cell % 2).reshape(-1, 1), waffle, dark))
    parts, y = (
        [cone, lathe([(wide, tall), (wide + 0.05, tall + 0.01), (wide + 0.05, tall + 0.09)], 5, 28).paint(waffle)],
        tall,
    )
    scoops, names = int(rng.integers(1, 4)), []
    for index in range(scoops):
        flavour, size = pick(rng, "bright", "muted"), (wide + 0.07) * 0.92**index
        parts.append(blob(size, size * 0.92, size, cuts=8).paint(flavour.rgb).move(y=y + size * 0.65))
        names.append(flavour.name)
        y += size * 1.15
    if rng.random() < 0.5:
        parts.append(blob(0.09, 0.09, 0.09, cuts=4).paint(jitter(rng, (0.82, 0.08, 0.12))).move(y=y + size * 0.45))
    return parts, f"an ice cream cone (icecream) with {' and '.join(names)} scoops"


def teapot(rng: Rng) -> Built:
    """A round pot with spout, handle and lid."""
    first, second = pair(rng)
    paint, words = surface(rng, first, second)
    wide, tall = rng.uniform(0.48, 0.6), rng.uniform(0.5, 0.8)
    body = [
        (0, 0),
        (wide * 0.6, 0),
        (wide * 0.6, 0),
        (wide, tall * 0.42),
        (wide * 0.78, tall * 0.82),
        (wide * 0.45, tall),
    ]
    parts = [lathe(body, 28, 32, smooth=True).paint(paint)]
    dome = lathe([(wide * 0.48, 0), (wide * 0.42, 0.06), (wide * 0.2, 0.13), (0, 0.15)], 8, 28, smooth=True)
    parts.append(dome.paint(second.rgb).move(y=tall - 0.01))
    parts.append(blob(0.07, 0.07, 0.07, cuts=4).paint(first.rgb).move(y=tall + 0.19))
    spout = curve([(wide * 0.8, tall * 0.28, 0), (wide * 1.25, tall * 0.42, 0), (wide * 1.5, tall * 0.95, 0)], 12)
    parts.append(tube(spout, np.linspace(0.14, 0.065, 12), 12).paint(first.rgb))
    grip = _handle(wide * 0.85, wide * 0.8, tall * 0.25, tall * 0.8, 0.28, 0.06).paint(second.rgb)
    parts.append(grip.turn("y", 180))
    return parts, f"a {words} teapot with a {second.name} lid and handle"


def watering_can(rng: Rng) -> Built:
    """An open can with a long spout and a bow over its top or at its back."""
    first, second = pair(rng)
    paint, words = surface(rng, first, second)
    low, tall = rng.uniform(0.34, 0.44), rng.uniform(0.5, 0.75)
    high = low * rng.uniform(0.72, 1.0)
    parts = _shell([(low, 0), (high, tall)], 0.05, paint, second.rgb, 26)
    tip = np.array([low + rng.uniform(0.5, 0.68), tall * rng.uniform(0.95, 1.2), 0])
    parts.append(rod((low * 0.85, tall * 0.2, 0), tip, 0.1, 0.055, 12).paint(first.rgb))
    slope = float(np.degrees(np.arctan2(tip[1] - tall * 0.2, tip[0] - low * 0.85)))
    rose = cylinder(0.055, 0.13, rng.uniform(0.11, 0.15), rows=8, segments=20).paint(second.rgb)
    parts.append(rose.turn("z", slope - 90).move(*(tip - 0.02)))
    over = rng.random() < 0.5
    rise = rng.uniform(0.26, 0.38)
    bow = [(high * 0.9, tall - 0.04, 0), (high * 0.75, tall + rise * 0.8, 0), (0, tall + rise, 0)]
    if over:
        bow += [(-high * 0.75, tall + rise * 0.8, 0), (-high * 0.9, tall - 0.04, 0)]
    else:
        bow = [(0, tall - 0.04, 0), (-high * 0.5, tall + rise, 0), (-low - 0.3, tall * 0.85, 0), (-low * 0.9, 0.15, 0)]
    if over:  # a stay, as the bow alone would leave the back bare
        parts.append(_handle(low, high, tall * 0.2, tall * 0.7, 0.16, 0.04).paint(second.rgb).turn("y", 180))
    parts.append(tube(curve(bow, 20), 0.045, 10).paint(second.rgb))
    facing = 180.0 * rng.integers(2)
    return [p.turn("y", facing) for p in parts], f"a {words} watering can with a {second.name} handle"
