"""Answers to the exercises of lessons 05, 06 and 10, right and wrong, for test_course.py."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import image3d_nb as i3d
from tests.course_answers import solved


@functools.cache
def pipe() -> Any:
    return i3d.load_pipeline()


def score_of(views: torch.Tensor) -> torch.Tensor:
    """Exercise 05.5 in another form: the squared error of the object's renders, as a tensor."""
    cameras = i3d.orbit_cameras(size=views.shape[-1])
    drawn = i3d.render(pipe().reconstruct(views), cameras).permute(0, 3, 1, 2)
    return -(drawn - views).square().mean()


def alike(views: torch.Tensor) -> float:
    return float(i3d.metrics.psnr(views[:-1], views[1:]).mean())


def sharp(views: torch.Tensor) -> float:
    return float(views.diff(dim=-1).square().mean())


def torch_attention(q: Any, k: Any, v: Any, heads: int, scale: float | None = None) -> torch.Tensor:
    q, k, v = (x.unflatten(1, (heads, -1)).transpose(0, 1) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(0, 1).flatten(1)


def wrong_axis(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    q, k, v = (x.unflatten(1, (heads, -1)).transpose(0, 1) for x in (q, k, v))
    return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(1) @ v).transpose(0, 1).flatten(1)


def activated(raw: torch.Tensor, **other: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Exercise 06.3, with other activations to choose."""
    usual: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "position": lambda x: x.clamp(-1, 1),
        "opacity": torch.sigmoid,
        "scale": lambda x: 0.1 * F.softplus(x),
        "quats": lambda q: q / q.norm(dim=1, keepdim=True),
        "color": lambda x: (2 * x).sigmoid(),
    }
    parts = raw.split([3, 1, 3, 4, 3], 1)
    return torch.cat([f(part) for f, part in zip((usual | other).values(), parts, strict=True)], 1)


def placed(depth: torch.Tensor, rays: torch.Tensor, side: float = 1) -> torch.Tensor:
    moment, direction = rays.split([3, 3], 1)
    return side * torch.linalg.cross(direction, moment, dim=1) + depth * direction


def table_by_loops(weights: torch.Tensor) -> torch.Tensor:
    parts = [rows.chunk(4, 2) for rows in weights.chunk(4, 1)]
    return torch.tensor([[float(part.sum(-1).mean()) for part in row] for row in parts])


def masked_by_weights(image: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    error = ((image - truth).numpy() ** 2 * mask.numpy()).sum() / (3 * mask.numpy().sum())
    return float(-10 * np.log10(error))


def distances(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - truth, axis=-1)


def squared_chamfer(points: np.ndarray, truth: np.ndarray) -> float:
    squares = distances(points, truth) ** 2
    return float(squares.min(1).mean() + squares.min(0).mean()) / 2


def hausdorff(points: np.ndarray, truth: np.ndarray) -> float:
    return float(max(distances(points, truth).min(1).max(), distances(points, truth).min(0).max()))


def bootstrap(scores: np.ndarray) -> list[float]:
    random = np.random.default_rng(0)
    means = scores[random.integers(0, len(scores), (500, len(scores)))].mean(1)
    return np.quantile(means, [0.025, 0.975]).tolist()


def by_newton(wins: np.ndarray) -> np.ndarray:
    """Exercise 10.4 by Newton's method, with a tenth of a win for everybody."""
    wins = wins + 0.1 * (1 - np.eye(len(wins)))
    games, s = wins + wins.T, np.zeros(len(wins))
    for _ in range(30):
        chance = 1 / (1 + np.exp(s[None] - s[:, None]))
        slope = (wins - games * chance).sum(1)
        bend = games * chance * (1 - chance)
        s = s + np.linalg.lstsq(np.diag(bend.sum(1)) - bend, slope, rcond=None)[0]
    return s - s.mean()


def log_odds_of_all(wins: np.ndarray) -> np.ndarray:
    rate = wins.sum(1) / (wins + wins.T).sum(1)
    return np.log((rate + 1e-6) / (1 - rate + 1e-6))


def noisy(image: torch.Tensor, strength: float = 0.09) -> torch.Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return (image + strength * noise).clamp(0, 1)


RIGHT: list[tuple[str, Callable[[], Any]]] = [
    ("05.1", lambda: lambda x, noise, a: (x * a.sqrt() + noise * (1 - a).sqrt()).numpy()),
    ("05.2", lambda: lambda x, x0, a, b: b.sqrt() * x0 + ((1 - b) / (1 - a)).sqrt() * (x - a.sqrt() * x0)),
    ("05.3", lambda: lambda without, with_, s: (s * with_ + (1 - s) * without).tolist()),
    ("05.4", lambda: lambda draws: sum(draw.numpy() for draw in draws) / len(draws)),
    ("05.5", lambda: score_of),
    ("06.1", lambda: lambda v, r, c, s: torch.arange(4 * s * s).view(4, s, s)[v, r, c]),
    ("06.2", lambda: torch_attention),
    ("06.3", lambda: lambda raw: activated(raw).tolist()),
    ("06.4", lambda: lambda raw, rays: placed(0.75 * raw.tanh(), rays).numpy()),
    ("06.5", lambda: table_by_loops),
    ("10.1", lambda: masked_by_weights),
    ("10.2", lambda: lambda points, truth: torch.tensor(i3d.metrics.chamfer(points, truth))),
    ("10.3", lambda: bootstrap),
    ("10.4", lambda: lambda wins: torch.from_numpy(by_newton(wins))),
    ("10.5", lambda: noisy),
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
    ("06.1", lambda: lambda v, r, c, s: (v * s + c) * s + r, "swapped"),
    ("06.1", lambda: lambda v, r, c, s: (r * s + c) * 4 + v, "counted last"),
    ("06.1", lambda: lambda v, r, c, s: (v * s + r) * s + c + 1, "starts at 0"),
    ("06.1", lambda: lambda v, r, c, s: r * s + c, "view does not count"),
    ("06.1", lambda: lambda v, r, c, s: 7, "is number"),
    ("06.2", lambda: lambda q, k, v, heads: torch_attention(q, k, v, heads, scale=1.0), "not divided"),
    ("06.2", lambda: lambda q, k, v, heads: torch_attention(q, k, v, 1), "not split"),
    ("06.2", lambda: wrong_axis, "wrong axis"),
    ("06.2", lambda: lambda q, k, v, heads: torch_attention(q, k, v, heads, scale=q.shape[-1] ** -0.5), "all C"),
    ("06.2", lambda: lambda q, k, v, heads: v, "is off by"),
    ("06.3", lambda: lambda raw: activated(raw, scale=torch.exp), "exponential"),
    ("06.3", lambda: lambda raw: activated(raw, scale=F.softplus), "factor 0.1"),
    ("06.3", lambda: lambda raw: activated(raw, opacity=lambda o: o.softmax(0)), "softmax"),
    ("06.3", lambda: lambda raw: activated(raw, quats=lambda q: F.normalize(q, dim=0)), "over all Gaussians"),
    ("06.3", lambda: lambda raw: activated(raw, color=torch.sigmoid), "nearly right"),
    ("06.3", lambda: lambda raw: raw, "positions are off"),
    ("06.4", lambda: lambda raw, rays: placed(0.75 * raw, rays), "tanh is missing"),
    ("06.4", lambda: lambda raw, rays: placed(raw.tanh(), rays), "factor is missing"),
    ("06.4", lambda: lambda raw, rays: placed(0.75 * raw.tanh(), rays, side=-1), "swapped"),
    ("06.4", lambda: lambda raw, rays: placed(0.75 * raw.tanh(), rays, side=0), "not the origin"),
    ("06.4", lambda: lambda raw, rays: placed(-0.75 * raw.tanh(), rays), "away from the camera"),
    ("06.4", lambda: lambda raw, rays: placed(0 * raw, rays) + raw, "misses it"),
    ("06.4", lambda: lambda raw, rays: placed(0 * raw, rays), "wrong depths"),
    ("06.5", lambda: lambda weights: table_by_loops(weights).T, "turned over"),
    ("06.5", lambda: lambda weights: table_by_loops(weights) / 6, "not averaged"),
    ("06.5", lambda: lambda weights: table_by_loops(weights) * 6, "do not add"),
    ("06.5", lambda: lambda weights: torch.ones(4, 4), "add up to [4.0"),
    ("06.5", lambda: lambda weights: weights, "shape must be [4, 4]"),
    ("10.1", lambda: lambda image, truth, mask: i3d.metrics.psnr(image, truth), "whole image"),
    ("10.1", lambda: lambda i, t, m: -10 * torch.log10(((i - t) ** 2 * m).sum() / m.sum()), "three colours"),
    ("10.1", lambda: lambda i, t, m: -10 * torch.log10((i - t).abs()[:, m > 0].mean()), "squared"),
    ("10.1", lambda: lambda image, truth, mask: solved("10.1")(image, truth, mask) + 1, "dB from the truth"),
    ("10.1", lambda: lambda i, t, m: solved("10.1")(i, t, m) + (len(m) > 50), "border"),
    ("10.2", lambda: lambda points, truth: distances(points, truth).min(1).mean(), "one way only. Here"),
    ("10.2", lambda: lambda points, truth: distances(points, truth).min(0).mean(), "from the truth"),
    ("10.2", lambda: lambda points, truth: 2 * i3d.metrics.chamfer(points, truth), "add the two means"),
    ("10.2", lambda: squared_chamfer, "squared"),
    ("10.2", lambda: hausdorff, "largest distance"),
    ("10.2", lambda: lambda points, truth: 0.0, "it must be"),
    ("10.3", lambda: lambda s: (s.mean() - 1.96 * s.std(), s.mean() + 1.96 * s.std()), "single objects spread"),
    ("10.3", lambda: lambda s: (s.mean() - 1.96 * s.std() / len(s), s.mean() + s.std() / len(s)), "not by n"),
    ("10.3", lambda: lambda s: (s.mean() - s.std() / len(s) ** 0.5, s.mean() + s.std() / len(s) ** 0.5), "take 1.96"),
    ("10.3", lambda: lambda s: (s.max(), s.min()), "below high"),
    ("10.3", lambda: lambda s: s, "Two numbers"),
    ("10.3", lambda: lambda s: (s.mean() - 0.9 * s.std(), s.mean() + 0.9 * s.std()), "are wanted"),
    ("10.4", lambda: lambda wins: by_newton(wins.T), "upside down"),
    ("10.4", lambda: lambda wins: wins.sum(1) / (wins + wins.T).sum(1), "shares of games"),
    ("10.4", lambda: log_odds_of_all, "together"),
    ("10.4", lambda: lambda wins: np.exp(by_newton(wins)), "odds; return"),
    ("10.4", lambda: lambda wins: np.zeros(len(wins)), "up to a constant"),
    ("10.4", lambda: lambda wins: np.full(len(wins), np.inf), "finite"),
    ("10.4", lambda: lambda wins: by_newton(wins)[np.argsort(-wins[:, 0])][[3, 0, 1, 2][: len(wins)]], "strengths"),
    ("10.5", lambda: lambda image: image, "truth itself"),
    ("10.5", lambda: lambda image: noisy(image, 0.4), "20 dB or more"),
    ("10.5", lambda: lambda image: image + 0.05, "0.6 or less"),
    ("10.5", lambda: lambda image: image + 2, "stay in [0, 1]"),
]
