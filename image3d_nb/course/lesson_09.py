"""Checks of lesson 09, files and viewers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..gaussians import Gaussians
from ._exercise import Exercise, array_of, call, file_of, need, number_of
from .lesson_04 import over

REACH = 0.5
"""World units from the origin."""
STEP = 2.0**-12
"""Of an .spz's positions."""


def opacity(answer: Any) -> None:
    """A function from a logit to an opacity."""
    for logit in (0.0, 2.0, -3.0, 0.5):
        found = number_of(call(answer, logit))
        wanted = 1 / (1 + math.exp(-logit))
        if logit and math.isclose(found, 1 - wanted):
            need(False, "That is one minus the opacity: look at the sign.")
        say = f"A logit of {logit:g} means {wanted:.4f}; not {found:.4f}."
        need(math.isclose(found, wanted, abs_tol=1e-6), say)


def four_bytes(answer: Any) -> None:
    """A function (colour, opacity) that gives four bytes."""
    for colour, alpha, wanted in (  # no ties, so that any rounding to the nearest is right
        ((0.0, 0.31, 1.0), 1.0, (0, 79, 255, 255)), ((0.2, 0.45, 0.999), 0.71, (51, 115, 255, 181)),
    ):  # fmt: skip
        found = _bytes_of(call(answer, colour, alpha))
        need(len(found) == 4, f"There must be four bytes; there are {len(found)}.")
        if max(abs(a - b) for a, b in zip(found, wanted, strict=True)) == 1:
            need(False, "Round to the nearest byte; cutting decimals off darkens by half a step.")
        say = f"The colour {colour} with opacity {alpha:g} must be {wanted}; it is {tuple(found)}."
        need(tuple(found) == wanted, say)


def _bytes_of(result: Any) -> bytes:
    """Bytes, or whole numbers from 0 to 255 in any other form."""
    if isinstance(result, bytes | bytearray):
        return bytes(result)
    values = array_of(result).reshape(-1)
    whole = bool((values == np.rint(values)).all() and (values >= 0).all() and (values <= 255).all())
    need(whole, f"Your function must return bytes, 0 to 255; it returns {values.tolist()}.")
    return bytes(values.astype(np.uint8))


def small_sphere(answer: Any) -> None:
    """The path of an .spz whose Gaussians lie near the origin."""
    _, held = file_of(answer, ".spz", Gaussians)
    need(len(held) >= 100, f"There must be at least 100 Gaussians; there are {len(held)}.")
    furthest = float(held.means.norm(dim=1).max())
    need(furthest <= REACH + STEP, f"All must lie within {REACH:g} of the origin; one is {furthest:.3g} away.")


EXERCISES = (
    Exercise(
        "09.1", opacity,
        ("The logit of p is log(p / (1 - p)). Solve it for p.", "return 1 / (1 + np.exp(-logit))"),
        """\
def opacity(logit):
    return 1 / (1 + np.exp(-logit))""",
        "A file that stores opacities as they are, read as logits, looks half transparent everywhere.",
    ),
    Exercise(
        "09.2", four_bytes,
        ("255 steps, rounded to the nearest: np.rint.",
         "bytes(np.rint(255 * np.array([*colour, opacity])).astype(np.uint8))"),
        """\
def rgba(colour, opacity):
    return bytes(np.rint(255 * np.array([*colour, opacity])).astype(np.uint8))""",
        "Whoever truncates instead of rounding makes every colour half a step darker, each time a file is saved.",
    ),
    Exercise(
        "09.3", over,
        ("Keep two things: the colour so far, and how much light is still let through.",
         "total += light * opacity * colour; light *= 1 - opacity; and at the end, total + light."),
        """\
def blended(colours, opacities):
    total, light = np.zeros(3), 1.0
    for colour, opacity in zip(colours, opacities):
        total = total + light * opacity * np.asarray(colour)
        light = light * (1 - opacity)
    return total + light""",
        "This is the sum that every viewer of splats computes for every pixel.",
    ),
    Exercise(
        "09.4", small_sphere,
        ("Gaussians have crop and crop_sphere.", "i3d.save(gaussians.crop_sphere((0, 0, 0), 0.49), path)"),
        """\
answer = "duck.spz"
i3d.save(duck.crop_sphere((0, 0, 0), 0.49), answer)""",
        "An .spz counts positions in steps of 1/4096: what lay at the very border may come back a step outside.",
    ),
)  # fmt: skip
