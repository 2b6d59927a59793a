"""Still lifes: a piece of fruit, and an arrangement of a small thing on something that holds it.

See `vessels` for what a family is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..palette import Color, Rng, gradient, jitter, pair, pick, spots, spread, stripes
from ..shapes import Array, Part, blob, box, curve, cylinder, join, lathe, rod, tube, wavy
from . import animals, outdoors, vehicles, vessels

Built = tuple[list[Part], str]
LEAF = (0.20, 0.55, 0.18)

_APPLE = ("red", "green", "yellow", "pink", "violet", "sky blue")
_SKIN = {
    "red": (0.82, 0.12, 0.12), "green": (0.45, 0.72, 0.18), "yellow": (0.94, 0.80, 0.20), "pink": (0.94, 0.52, 0.62),
    "orange": (0.95, 0.52, 0.10), "violet": (0.45, 0.22, 0.65), "sky blue": (0.35, 0.65, 0.90),
}  # fmt: skip


def fruit(rng: Rng) -> Built:
    """An apple, a pear, a pineapple, an orange, a strawberry or a pumpkin."""
    kind = ("apple", "pear", "pineapple", "orange", "strawberry", "pumpkin")[rng.integers(6)]
    usual = {"pineapple": ("yellow", "orange"), "orange": ("orange",), "strawberry": ("red", "pink")}
    names = usual.get(kind, _APPLE if kind != "pumpkin" else ("orange", "yellow", "green"))
    name = str(rng.choice(names))
    skin = Color(name, jitter(rng, _SKIN[name]))
    if kind == "pineapple":
        parts, words = _pineapple(rng, skin)
    elif kind == "strawberry":
        parts, words = _strawberry(rng, skin)
    else:
        parts, words = _round_fruit(rng, kind, skin)
    return parts, f"a {skin.name} {kind} (fruit) with {words}"


def _round_fruit(rng: Rng, kind: str, skin: Color) -> Built:
    """A turned body, a stalk and sometimes a leaf."""
    tall = rng.uniform(0.9, 1.1)
    profile = {
        "apple": [(0, 0.06), (0.2, 0), (0.46, 0.28), (0.5, 0.55), (0.3, 0.83), (0.1, 0.82), (0, 0.74)],
        "pear": [(0, 0.03), (0.22, 0), (0.46, 0.3), (0.4, 0.6), (0.22, 0.9), (0.17, 1.08), (0, 1.14)],
        "orange": [(0, 0), (0.25, 0.04), (0.47, 0.3), (0.49, 0.5), (0.35, 0.82), (0.1, 0.94), (0, 0.93)],
        "pumpkin": [(0, 0.05), (0.3, 0), (0.55, 0.14), (0.64, 0.34), (0.56, 0.55), (0.36, 0.68), (0.1, 0.66), (0, 0.6)],
    }[kind]
    lobes = int(rng.integers(8, 12))
    ring = wavy(lobes * 6, lobes, 0.14) if kind == "pumpkin" else None
    body = lathe([(r, y * tall) for r, y in profile], 34, 40, smooth=True, outline=ring)
    other = jitter(rng, _SKIN[("red", "green", "yellow")[rng.integers(3)]])
    shaded = skin.rgb * 0.65 + other * 0.35 if kind in ("apple", "pear") else skin.rgb * 0.85
    top = profile[-1][1] * tall
    lean, rise = rng.uniform(-0.12, 0.12), rng.uniform(0.16, 0.28)
    thick = 0.07 if kind == "pumpkin" else 0.03
    stalk = tube(curve([(0, top - 0.04, 0), (lean * 0.3, top + rise * 0.6, 0), (lean, top + rise, 0)], 8), thick, 10)
    parts = [body.paint(gradient(skin.rgb, shaded)), stalk.paint(jitter(rng, (0.38, 0.30, 0.14)))]
    if kind == "pumpkin" or rng.random() < 0.35:
        return parts, "a brown stalk"
    side = float(rng.uniform(0, 360))
    leaf = blob(0.2, 0.025, 0.1, cuts=6).paint(jitter(rng, LEAF)).turn("z", rng.uniform(10, 35))
    parts.append(leaf.move(0.2, top + rise * 0.55 + 0.05).turn("y", side))
    return parts, "a green leaf"


def _pineapple(rng: Rng, skin: Color) -> Built:
    """An oval with a diamond pattern under a tuft of leaves."""
    wide, tall = rng.uniform(0.3, 0.38), rng.uniform(0.75, 0.95)
    profile = [
        (0, 0),
        (wide * 0.6, 0.02),
        (wide, tall * 0.35),
        (wide * 0.95, tall * 0.7),
        (wide * 0.5, tall),
        (0, tall),
    ]
    body = lathe(profile, 40, 40, smooth=True)
    turns = np.arctan2(body.vertices[:, 0], body.vertices[:, 2]) / (2 * np.pi) * int(rng.integers(6, 9))
    height = body.vertices[:, 1] / tall * 4
    grid = np.minimum(np.abs((turns + height) % 1 - 0.5), np.abs((turns - height) % 1 - 0.5)) < 0.12
    parts = [body.paint(np.where(grid[:, None], skin.rgb * 0.5, skin.rgb))]
    green = jitter(rng, LEAF)
    for ring, (count, lean) in enumerate(((5, 8.0), (6, 26.0), (7, 48.0))):
        long = rng.uniform(0.42, 0.55) * (1 - 0.16 * ring)
        for k in range(count):
            leaf = rod((0, -0.04, 0), (0, long, 0), 0.07, 0.008, 6).scale(1, 1, 0.45).paint(green * (1 - 0.1 * ring))
            parts.append(leaf.turn("x", lean).move(0, tall - 0.02, 0.03 * ring).turn("y", 360 / count * k + 25 * ring))
    return parts, "green leaves"


def _strawberry(rng: Rng, skin: Color) -> Built:
    """A cone with rounded ends, seeds and a collar of leaves."""
    wide, tall, seeds = rng.uniform(0.38, 0.48), rng.uniform(0.85, 1.05), int(rng.integers(34, 50))
    profile = [
        (0, 0),
        (0.14, 0.03),
        (wide * 0.78, tall * 0.45),
        (wide, tall * 0.78),
        (wide * 0.6, tall),
        (0, tall * 0.99),
    ]
    body = lathe(profile, 44, 52, smooth=True)
    pale = jitter(rng, (0.95, 0.82, 0.40))
    parts = [body.paint(spots(skin.rgb, pale, spread(rng, seeds), 0.055))]
    green, count = jitter(rng, LEAF), int(rng.integers(5, 8))
    for k in range(count):
        leaf = blob(0.11, 0.03, wide * 0.48, cuts=5).paint(green).move(z=wide * 0.42).turn("x", 14)
        parts.append(leaf.move(y=tall + 0.02).turn("y", 360 / count * k))
    parts.append(rod((0, tall - 0.03, 0), (0.03, tall + 0.2, 0), 0.035).paint(green * 0.85))
    return parts, "pale seeds and green leaves"


_SMALL: dict[str, Callable[[Rng], Built]] = {
    "mug": vessels.mug, "bottle": vessels.bottle, "vase": vessels.vase, "cactus": outdoors.cactus,
    "cupcake": vessels.cupcake, "mushroom": outdoors.mushroom, "duck": animals.duck, "snowman": outdoors.snowman,
    "rocket": vehicles.rocket, "pot": vessels.pot, "icecream": vessels.icecream, "lamp": vessels.lamp,
    "penguin": animals.penguin, "rabbit": animals.rabbit, "watering_can": vessels.watering_can, "fruit": fruit,
}  # fmt: skip
"""What an arrangement may show. The held-out families must stay out, or they would not be unseen."""


def arrangement(rng: Rng) -> Built:
    """A small thing on a table, a crate, a plinth or a tray."""
    small = list(_SMALL)[rng.integers(len(_SMALL))]
    things, words = _SMALL[small](rng)
    yaw = rng.uniform(-60, 60)
    turned = [p.turn("y", yaw) for p in things]
    whole = join(turned).vertices
    low, high = whole.min(axis=0), whole.max(axis=0)
    size = rng.uniform(0.7, 0.95) / (high - low).max()
    reach = max(size * (high - low)[[0, 2]].max() / 2, 0.22)  # the stand fits the thing, so that neither is tiny
    stand, top, place = (_table, _crate, _plinth, _tray)[rng.integers(4)](rng, reach * rng.uniform(1.1, 1.35))
    x, z = -(low + high)[[0, 2]] / 2
    standing = [p.move(x, -low[1], z).scale(size).move(y=top) for p in turned]
    return [*stand, *standing], f"an arrangement: {words} on {place}"


Stand = tuple[list[Part], float, str]  # parts, height of its top, words; `half` is half of its width


def _table(rng: Rng, half: float) -> Stand:
    top, under = (pick(rng, "wood") if rng.random() < 0.6 else pick(rng) for _ in range(2))
    tall, slab = rng.uniform(0.3, 0.5), rng.uniform(0.06, 0.1)
    if rng.random() < 0.5:
        plate = box(2 * half, slab, 2 * half, (8, 1, 8)).move(y=tall - slab / 2)
        reach = half - 0.08
        legs = [
            rod((sx * reach, 0, sz * reach), (sx * reach, tall - 0.02, sz * reach), 0.05)
            for sx in (-1, 1) for sz in (-1, 1)
        ]  # fmt: skip
        return [plate.paint(top.rgb), *_painted(legs, under.rgb)], tall, f"a {top.name} table"
    plate = cylinder(half, slab, rows=8, segments=32).move(y=tall - slab)
    foot = lathe([(0, 0), (half * 0.6, 0), (half * 0.6, 0.04), (0.07, 0.1), (0.07, tall - slab)], 12, 24)
    return [plate.paint(top.rgb), foot.paint(under.rgb)], tall, f"a round {top.name} table"


def _crate(rng: Rng, half: float) -> Stand:
    wood, tall = pick(rng, "wood", "bright"), rng.uniform(0.25, 0.45)
    boards = int(rng.integers(3, 5))
    parts = [box(2 * half - 0.04, tall - 0.02, 2 * half - 0.04, (4, 4, 4)).paint(wood.rgb * 0.45).move(y=tall / 2)]
    high = tall / boards
    board = box(2 * half, high * 0.82, 2 * half, (6, 1, 6)).paint(wood.rgb)
    parts += [board.move(y=high * (k + 0.59)) for k in range(boards)]  # the last one is the lid
    posts = [box(0.09, tall, 0.09, (1, 4, 1)).move(sx * half, tall / 2, sz * half) for sx in (-1, 1) for sz in (-1, 1)]
    return [*parts, *_painted(posts, wood.rgb * 0.85)], tall, f"a {wood.name} crate"


def _plinth(rng: Rng, half: float) -> Stand:
    stone, other = pair(rng)
    half, tall, foot = half / 1.1, rng.uniform(0.25, 0.5), rng.uniform(0.05, 0.1)
    profile = [(0, 0), (half * 1.2, 0), (half * 1.2, 0), (half * 1.2, foot), (half * 1.2, foot), (half * 0.9, foot),
               (half * 0.9, foot), (half * 0.9, tall - foot), (half * 0.9, tall - foot), (half * 1.1, tall - foot),
               (half * 1.1, tall - foot), (half * 1.1, tall), (half * 1.1, tall), (0, tall)]  # fmt: skip
    column = lathe(profile, 30, 32)
    striped = rng.random() < 0.35
    paint = stripes(stone.rgb, other.rgb, int(rng.integers(2, 4))) if striped else stone.rgb
    words = f"{stone.name} and {other.name} striped" if striped else stone.name
    return [column.paint(paint)], tall, f"a {words} plinth"


def _tray(rng: Rng, half: float) -> Stand:
    color, half = pick(rng), half * 1.2
    profile = [(0, 0), (half * 0.85, 0), (half, 0.12), (half - 0.04, 0.12), (half * 0.85 - 0.03, 0.05), (0, 0.05)]
    return [lathe(profile, 24, 36).paint(color.rgb)], 0.05, f"a round {color.name} tray"


def _painted(parts: list[Part], color: Array) -> list[Part]:
    return [p.paint(color) for p in parts]
