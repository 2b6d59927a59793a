"""Answers to the exercises of lessons 01 to 03, right and wrong, for test_course.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from image3d_nb.course import solution


def solved(number: str) -> Any:
    """The function that the course's own solution defines."""
    names: dict[str, Any] = {"np": np, "torch": torch}
    before = set(names)
    exec(solution(number), names)
    return next(names[name] for name in reversed(names) if name not in before and name != "__builtins__")


def scattered(vertices: Any, faces: Any, n: int, *, even: bool = True, root: bool = True, fold: bool = True) -> Any:
    """Exercise 01.1 with the folded parallelogram, and faults to choose."""
    rng = np.random.default_rng(3)
    a, b, c = (np.asarray(vertices)[np.asarray(faces)[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), n, p=areas / areas.sum() if even else None)
    u, v = rng.random((2, n, 1))
    if fold:
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    if not root:  # r without its square root
        r, s = rng.random((2, n, 1))
        u, v = r * (1 - s), r * s
    return a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]


def middles(vertices: Any, faces: Any, n: int) -> Any:
    areas = np.array([0.1, 0.9])
    return vertices[faces[np.random.default_rng(0).choice(2, n, p=areas)]].mean(1)


def lifted(vertices: Any, faces: Any, n: int) -> Any:
    return 1.1 * scattered(vertices, faces, n)


def sizes(**factors: int) -> Callable[[str, int], int]:
    """Exercise 01.3 with other factors than 4 bytes, 4 views, 14 numbers, 3 planes, 32 channels or the power 3."""
    f = {"bytes": 4, "views": 4, "numbers": 14, "planes": 3, "channels": 32, "power": 3} | factors

    def bytes_of(kind: str, r: int) -> int:
        cell = {"triplane": f["planes"] * f["channels"], "gaussians": f["views"] * f["numbers"]}
        return f["bytes"] * (r ** f["power"] if kind == "voxels" else cell[kind] * r**2)

    return bytes_of


def stopped(sigma: Any, step: float) -> Any:
    return 1 - np.exp(-np.asarray(sigma) * step)


def cells(planes: Any, place: Any) -> list[Any]:
    x, y, z = ((place + 1) / 2 * planes.shape[-1]).astype(int)
    return [planes[0][:, y, x], planes[1][:, z, x], planes[2][:, z, y]]


RIGHT: list[tuple[str, Callable[[], Any]]] = [
    ("01.1", lambda: solved("01.1")),
    ("01.1", lambda: lambda v, f, n: torch.tensor(scattered(v, f, n)).float()),
    ("01.2", lambda: solved("01.2")),
    ("01.2", lambda: lambda a, b: torch.where(torch.tensor((a < 0) & (b > 0)), -1.0, 1.0)),
    ("01.3", lambda: solved("01.3")),
    ("01.3", lambda: lambda kind, r: np.float32(sizes()(kind, r))),
    ("01.4", lambda: solved("01.4")),
    ("01.4", lambda: lambda s, t: -np.diff(np.exp(-t * np.concatenate([[0], np.cumsum(s)]))).astype(np.float32)),
    ("01.5", lambda: solved("01.5")),
    ("01.5", lambda: lambda planes, place: torch.tensor(sum(cells(planes, place)))),
]

WRONG: list[tuple[str, Callable[[], Any], str]] = [
    ("01.1", lambda: lambda v, f, n: scattered(v, f, n, even=False), "count by area"),
    ("01.1", lambda: lambda v, f, n: scattered(v, f, n, root=False), "crowd"),
    ("01.1", lambda: lambda v, f, n: scattered(v, f, n, fold=False), "inside its face"),
    ("01.1", lambda: middles, "close together"),
    ("01.1", lambda: lifted, "plane of its face"),
    ("01.1", lambda: lambda v, f, n: scattered(v, f, 10), "shape must be"),
    ("01.1", lambda: lambda v, f, n: scattered(v, f[:1], n), "90 %"),
    ("01.2", lambda: np.maximum, "inside out"),
    ("01.2", lambda: np.minimum, "union"),
    ("01.2", lambda: lambda a, b: np.maximum(-a, b), "out of a"),
    ("01.2", lambda: lambda a, b: np.minimum(a, -b), "AND"),
    ("01.2", lambda: lambda a, b: a - b, "nearer"),
    ("01.2", lambda: lambda a, b: a, "differ"),
    ("01.3", lambda: sizes(bytes=1), "four bytes"),
    ("01.3", lambda: sizes(power=2), "three directions"),
    ("01.3", lambda: sizes(channels=1), "32 numbers"),
    ("01.3", lambda: sizes(planes=1), "three planes"),
    ("01.3", lambda: sizes(views=1), "four views"),
    ("01.3", lambda: sizes(numbers=1), "14 numbers"),
    ("01.3", lambda: lambda kind, r: 5, "yours are 5"),
    ("01.4", lambda: lambda s, t: stopped(s, t) * np.cumprod(1 - stopped(s, t)), "hides itself"),
    ("01.4", lambda: stopped, "gets less light"),
    ("01.4", lambda: lambda s, t: s * t, "above 1"),
    ("01.4", lambda: lambda s, t: np.cumprod(1 - stopped(s, t)), "what passes"),
    ("01.4", lambda: lambda s, t: s / s.sum(), "give"),
    ("01.4", lambda: lambda s, t: 1.0, "one a sample"),
    ("01.5", lambda: lambda p, place: np.stack(cells(p, place)), "one number a channel"),
    ("01.5", lambda: lambda p, place: sum(cells(p.swapaxes(-1, -2), place)), "swapped"),
    ("01.5", lambda: lambda p, place: cells(p, place)[0], "plane xy"),
    ("01.5", lambda: lambda p, place: np.mean(cells(p, place), 0), "mean of the three"),
    ("01.5", lambda: lambda p, place: sum(cells(p, place / 2)), "falls into"),
]
