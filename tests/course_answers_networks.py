"""Answers to the exercises of lessons 05, 06 and 10, right and wrong, for test_course.py."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

import image3d_nb as i3d
from image3d_nb.course import solution


def solved(number: str) -> Callable[..., Any]:
    """The function that the stored solution defines."""
    names: dict[str, Any] = {"torch": torch, "F": F, "i3d": i3d}
    before = set(names)
    exec(solution(number), names)
    return next(v for k, v in names.items() if k not in before and callable(v) and hasattr(v, "__code__"))


@functools.cache
def pipe() -> Any:
    return i3d.load_pipeline()


def score_of(views: torch.Tensor) -> torch.Tensor:
    """Exercise 05.5 in another form: the squared error of the object's renders, as a tensor."""
    cameras = i3d.orbit_cameras(size=views.shape[-1])
    drawn = i3d.render(pipe().reconstruct(views), cameras).permute(0, 3, 1, 2)
    return -(drawn - views).square().mean()


def alike(views: torch.Tensor) -> float:
    return float(i3d.metrics.psnr(views, views.roll(1, 0)).mean())


def sharp(views: torch.Tensor) -> float:
    return float(views.diff(dim=-1).square().mean())


RIGHT: list[tuple[str, Callable[[], Any]]] = [
    ("05.1", lambda: solved("05.1")),
    ("05.1", lambda: lambda x, noise, a: (x * a.sqrt() + noise * (1 - a).sqrt()).numpy()),
    ("05.2", lambda: solved("05.2")),
    ("05.2", lambda: lambda x, x0, a, b: b.sqrt() * x0 + ((1 - b) / (1 - a)).sqrt() * (x - a.sqrt() * x0)),
    ("05.3", lambda: solved("05.3")),
    ("05.3", lambda: lambda without, with_, s: (s * with_ + (1 - s) * without).tolist()),
    ("05.4", lambda: solved("05.4")),
    ("05.4", lambda: lambda draws: sum(draw.numpy() for draw in draws) / len(draws)),
    ("05.5", lambda: solved("05.5")),
    ("05.5", lambda: score_of),
]

WRONG: list[tuple[str, Callable[[], Any], str]] = [
    ("05.1", lambda: lambda x, noise, a: a * x + (1 - a) * noise, "square roots"),
    ("05.1", lambda: lambda x, noise, a: (1 - a).sqrt() * x + a.sqrt() * noise, "swapped"),
    ("05.1", lambda: lambda x, noise, a: x + (1 - a).sqrt() * noise, "full strength"),
    ("05.1", lambda: lambda x, noise, a: x, "is off by"),
    ("05.2", lambda: lambda x, x0, a, b: b.sqrt() * x0 + (1 - b).sqrt() * x, "out of x first"),
    ("05.2", lambda: lambda x, x0, a, b: b * x0 + (1 - b) * (x - a * x0) / (1 - a), "square roots"),
    ("05.2", lambda: lambda x, x0, a, b: solved("05.2")(x, x0, b, a), "swapped"),
    ("05.2", lambda: lambda x, x0, a, b: x0, "keeps some noise"),
    ("05.2", lambda: lambda x, x0, a, b: solved("05.2")(x, x0, a, b) if b < 1 else 2 * x0, "x0 itself"),
    ("05.2", lambda: lambda x, x0, a, b: x + x0, "is off by"),
    ("05.3", lambda: lambda without, with_, s: with_ + s * (with_ - without), "too large"),
    ("05.3", lambda: lambda without, with_, s: without + (s - 1) * (with_ - without), "too small"),
    ("05.3", lambda: lambda without, with_, s: with_ + s * (without - with_), "away from the image"),
    ("05.3", lambda: lambda without, with_, s: with_, "is off by"),
    ("05.4", lambda: lambda draws: draws.median(0).values, "median"),
    ("05.4", lambda: lambda draws: draws[2], "one of the draws"),
    ("05.4", lambda: lambda draws: draws.sum(0), "sum of the draws"),
    ("05.4", lambda: lambda draws: draws.mean(), "shape must be [3, 6, 6]"),
    ("05.4", lambda: lambda draws: torch.zeros(3, 6, 6), "mean squared error"),
    ("05.5", lambda: lambda views: 1.0, "the same score"),
    ("05.5", lambda: sharp, "wrong order"),
    ("05.5", lambda: alike, "alike is not"),
    ("05.5", lambda: lambda views: -score_of(views), "wrong way round"),
    ("05.5", lambda: lambda views: views, "one number"),
]
