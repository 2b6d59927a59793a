"""Checks of lesson 09, files and viewers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..gaussians import Gaussians
from ._exercise import Exercise, call, file_of, need, number_of, of_type

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
    for colour, alpha, wanted in (
        ((0.0, 0.3, 1.0), 1.0, (0, 76, 255, 255)), ((0.2, 0.4, 0.999), 0.7, (51, 102, 255, 178)),
    ):  # fmt: skip
        found = bytes(of_type(call(answer, colour, alpha), bytes | bytearray, "bytes"))  # type: ignore[arg-type]
        need(len(found) == 4, f"There must be four bytes; there are {len(found)}.")
        if max(abs(a - b) for a, b in zip(found, wanted, strict=True)) == 1:
            need(False, "Round to the nearest byte; cutting decimals off darkens by half a step.")
        say = f"The colour {colour} with opacity {alpha:g} must be {wanted}; it is {tuple(found)}."
        need(tuple(found) == wanted, say)


def over(answer: Any) -> None:
    """A function (colours, opacities) that blends near to far over white."""
    for colours, opacities, wanted in (
        ([[1.0, 0.0, 0.0]], [0.5], [1.0, 0.5, 0.5]),
        ([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [0.6, 0.6], [0.76, 0.16, 0.4]),
        ([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [0.5, 1.0, 1.0], [0.5, 0.5, 0.0]),
    ):
        found = np.asarray(call(answer, np.array(colours), np.array(opacities)), float)
        need(found.shape == (3,), f"One colour, three numbers, must come out; the shape is {found.shape}.")
        if np.allclose(found, _far_first(colours, opacities)) and not np.allclose(found, wanted):
            need(False, "The order is wrong: the first is the nearest, and hides what comes after it.")
        say = f"{len(colours)} colours of opacities {opacities} give {wanted}; yours give {found.round(3).tolist()}."
        need(np.allclose(found, wanted, atol=1e-6), say)


def _far_first(colours: list[list[float]], opacities: list[float]) -> np.ndarray:
    canvas = np.ones(3)
    for colour, alpha in zip(colours, opacities, strict=True):
        canvas = alpha * np.array(colour) + (1 - alpha) * canvas
    return canvas


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
        "A file that stores opacities as they are, read as logits, looks half transparent everywhere.",
    ),
    Exercise(
        "09.2", four_bytes,
        ("255 steps, rounded to the nearest: np.rint.",
         "bytes(np.rint(255 * np.array([*colour, opacity])).astype(np.uint8))"),
        "Whoever truncates instead of rounding makes every colour half a step darker, each time a file is saved.",
    ),
    Exercise(
        "09.3", over,
        ("Keep two things: the colour so far, and how much light is still let through.",
         "total += light * opacity * colour; light *= 1 - opacity; and at the end, total + light."),
        "This is the sum that every viewer of splats computes for every pixel.",
    ),
    Exercise(
        "09.4", small_sphere,
        ("Gaussians have crop and crop_sphere.", "i3d.save(gaussians.crop_sphere((0, 0, 0), 0.49), path)"),
        "An .spz counts positions in steps of 1/4096: what lay at the very border may come back a step outside.",
    ),
)  # fmt: skip
