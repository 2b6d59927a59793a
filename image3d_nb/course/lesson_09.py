"""Checks of lesson 09, files and viewers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..gaussians import Gaussians
from ._exercise import Exercise, Wrong, array_of, call, file_of, need, number_of

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


_NAMES = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "rot_0"]
_HEAD = "ply\nformat binary_little_endian 1.0\n"
_FACES = "element face 5\nproperty list uchar int vertex_indices\nproperty uchar flags\n"


def ply_header(answer: Any) -> None:
    """A function from the bytes of a .ply to the number of its vertices and the names of their properties."""
    columns = "".join(f"property float {name}\n" for name in _NAMES)
    for head, body, wanted in (
        (f"{_HEAD}element vertex 12\n{columns}", bytes(range(256)), 12),
        (f"{_HEAD}comment property float mood\nelement vertex 7\n{columns}", b"", 7),
        (f"{_HEAD}element vertex 7\n{columns}{_FACES}", b"\nproperty float body\n", 7),
        (f"{_HEAD}{_FACES}element vertex 3\n{columns}", b"", 3),
    ):
        found = call(answer, f"{head}end_header\n".encode() + body)
        pair = isinstance(found, tuple | list) and len(found) == 2
        if not pair or not isinstance(found[1], tuple | list | np.ndarray):
            raise Wrong("Your function must return a pair: the number of vertices, and the names of their properties.")
        names = list(found[1])
        need("body" not in names, "What follows end_header is data, even if it looks like a line of the header.")
        need("mood" not in names, "A line that begins with `comment` is for people: it declares no property.")
        strangers = [name for name in names if name not in _NAMES]
        need(not strangers, f"Only properties of the vertices count; {strangers} belong to another element.")
        need(names == _NAMES, f"The names must be {_NAMES}, in this order; yours are {names}.")
        need(not isinstance(found[0], str), f"The number of vertices must be a number; it is the text {found[0]!r}.")
        count = number_of(found[0])
        need(count == wanted, f"A header with `element vertex {wanted}` has {wanted} vertices; you count {count:g}.")


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
        "09.3", ply_header,
        ("The header is text up to end_header. Walk through its lines, and remember the element you are in.",
         "data.partition(b'end_header')[0].decode().splitlines(), then line.split()[0] says what the line is."),
        """\
def header_of(data):
    count, names, element = 0, [], ""
    for line in data.partition(b"end_header")[0].decode("ascii").splitlines():
        words = line.split()
        if words[:1] == ["element"]:
            element = words[1]
            count = int(words[2]) if element == "vertex" else count
        elif words[:1] == ["property"] and element == "vertex":
            names.append(words[-1])
    return count, names""",
        "The header alone says what a file can hold: without rot_0, for example, no orientations.",
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
