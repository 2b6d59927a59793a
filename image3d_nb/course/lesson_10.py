"""Checks of lesson 10, measuring quality."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import metrics
from ._exercise import Exercise, array_of, call, generator, need, number_of, tensor_of

DRAWS, OBJECTS = 200, 25
"""Hidden sets of scores, and scores in each, of exercise 3."""


def masked_psnr(answer: Any) -> None:
    """A function (image, truth, mask) that measures inside of the mask only."""
    truth = torch.ones(3, 24, 24)
    truth[:, 8:16, 6:18] = torch.rand(3, 8, 12, generator=generator())
    mask = torch.zeros(24, 24)
    mask[8:16, 6:18] = 1.0
    image = truth + 0.2 * mask * (torch.rand(3, 24, 24, generator=generator()) - 0.5)
    errors = (image - truth).square()[:, mask > 0.5]
    wanted = _decibels(errors.mean())
    found = number_of(call(answer, image, truth, mask))
    faults = {
        "This is the PSNR of the whole image: the white around the object counts, too.":
            _decibels((image - truth).square().mean()),
        "You divide by the number of masked pixels alone: each has three colours.": _decibels(3 * errors.mean()),
        "In decibels, the mean error must be squared: 10 log10 of 1 over the mean squared error.":
            _decibels((image - truth).abs()[:, mask > 0.5].mean()),
    }  # fmt: skip
    for complaint, value in faults.items():
        need(abs(found - wanted) < 0.02 or abs(found - value) > 0.02, complaint)
    need(abs(found - wanted) < 0.02, f"The object is {wanted:.2f} dB from the truth here; yours gives {found:.2f}.")
    wide = [F.pad(x, (30, 30, 30, 30), value=v) for x, v in ((image, 1.0), (truth, 1.0), (mask, 0.0))]
    padded = number_of(call(answer, *wide))
    need(abs(padded - wanted) < 0.02, f"With a white border the number must stay {wanted:.2f}; yours is {padded:.2f}.")


def _decibels(error: Tensor) -> float:
    return float(-10 * torch.log10(error))


def chamfer(answer: Any) -> None:
    """A function (points, truth): the mean of the two mean distances to the nearest."""
    random = np.random.default_rng(7)
    truth = random.normal(size=(300, 3))
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    half = truth[truth[:, 0] > 0] + random.normal(scale=0.02, size=(int((truth[:, 0] > 0).sum()), 3))
    blob = np.concatenate([truth, random.normal(scale=0.1, size=(100, 3)) + 2])
    for points, what in ((half, "half of the sphere is missing"), (blob, "there is a blob beside the sphere")):
        found, back = number_of(call(answer, points, truth)), number_of(call(answer, truth, points))
        wanted = metrics.chamfer(points, truth)
        there, home = _nearest(points, truth), _nearest(truth, points)
        if math.isclose(found, wanted, rel_tol=1e-3) and math.isclose(back, wanted, rel_tol=1e-3):
            continue
        faults = {
            f"You look one way only. Here {what}, which one of the two ways does not notice.": there.mean(),
            "You look one way only, from the truth to the points; the other way counts as much.": home.mean(),
            "You add the two means; this course takes their mean, which reads as a distance.":
                there.mean() + home.mean(),
            "The distances are squared; these are not: they stay in units of length.":
                ((there**2).mean() + (home**2).mean()) / 2,
            "This is the largest distance (Hausdorff's): one stray point decides it. Take means.":
                max(there.max(), home.max()),
        }  # fmt: skip
        for complaint, value in faults.items():
            need(not math.isclose(found, value, rel_tol=1e-3), complaint)
        need(False, f"Where {what} it must be {wanted:.4f}; yours is {found:.4f}.")


def _nearest(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - truth, axis=-1).min(1)


def interval(answer: Any) -> None:
    """A function of scores [n] that gives (low, high), where the true mean lies 95 times of 100."""
    random = np.random.default_rng(7)
    hits, widths = 0, []
    for _ in range(DRAWS):
        scores = random.normal(20.0, 3.0, OBJECTS)
        found = array_of(call(answer, scores.copy()))
        need(found.shape == (2,), f"Two numbers, low and high, must come out; the shape is {found.shape}.")
        need(found[0] < found[1], f"Low must be below high; yours are {found[0]:.2f} and {found[1]:.2f}.")
        hits += int(found[0] <= 20.0 <= found[1])
        widths.append((found[1] - found[0]) / (2 * scores.std(ddof=1)))
    width, right = float(np.mean(widths)), 1.96 / math.sqrt(OBJECTS)
    covered = f"it holds the true mean in {hits} of {DRAWS} draws"
    if width > 3 * right:
        need(False, f"Too wide: {covered}. This is how far single objects spread; their mean is known better, "
             "by the root of their number.")  # fmt: skip
    if width < 0.4 * right:
        need(False, f"Far too narrow: {covered}. Divide by the square root of n, not by n.")
    if hits < 0.9 * DRAWS:
        need(False, f"Too narrow: {covered}, and 95 % are wanted: one standard error is not enough, take 1.96.")
    need(hits <= 0.99 * DRAWS, f"Too wide: {covered}, and 95 % are wanted.")


_STRENGTHS = np.array([1.0, 0.2, -0.4, -0.8])
_GAMES = np.array([[0, 400, 900, 100], [400, 0, 200, 800], [900, 200, 0, 300], [100, 800, 300, 0]])


def bradley_terry(answer: Any) -> None:
    """A function of wins [n, n] that gives strengths [n] whose differences are log odds."""
    odds = 1 / (1 + np.exp(_STRENGTHS[None] - _STRENGTHS[:, None]))  # of row against column
    wins = _GAMES * odds
    found, wanted = _strengths(answer, wins), _centred(_STRENGTHS)
    rate = wins.sum(1) / _GAMES.sum(1)
    if np.abs(found - wanted).max() > 0.05:
        raw = tensor_of(call(answer, wins.copy()), (len(wins),)).numpy()
        odds_given = bool((raw > 0).all()) and np.abs(_centred(np.log(np.abs(raw) + 1e-9)) - wanted).max() < 0.05
        need(not odds_given, "These are odds; return their logarithms, so that differences mean something.")
        faults = {
            "The order is upside down: wins[i, j] is how often i beat j.": -_STRENGTHS,
            "These are shares of games won; not everybody played everybody equally often.": rate,
            "These are log odds of all games together; a win against a strong one must count for more.":
                np.log(rate / (1 - rate)),
        }  # fmt: skip
        for complaint, value in faults.items():
            need(np.abs(found - _centred(value)).max() > 0.05, complaint)
        lists = wanted.round(2).tolist(), found.round(2).tolist()
        need(False, f"The strengths must be {lists[0]} up to a constant; yours are {lists[1]}.")
    order = [2, 0, 3, 1]
    other = _strengths(answer, wins[np.ix_(order, order)])
    follows = bool(np.allclose(other, found[order], atol=0.05))
    need(follows, "With the same players in another order the strengths must be in that order, too; they are not.")
    unbeaten = _strengths(answer, np.array([[0.0, 6, 6], [0, 0, 4], [0, 2, 0]]))
    need(bool(unbeaten.argmax() == 0), "A player who never lost must be the strongest; yours is not.")


def _strengths(answer: Any, wins: np.ndarray) -> np.ndarray:
    return _centred(tensor_of(call(answer, wins.copy()), (len(wins),)).numpy())


def _centred(values: np.ndarray) -> np.ndarray:
    centred: np.ndarray = values - values.mean()
    return centred


def fooled(answer: Any) -> None:
    """A function of an image that gives one with at least 20 dB PSNR and at most 0.6 SSIM."""
    side = torch.linspace(0.1, 0.9, 48)
    truth = torch.stack([side.expand(48, 48), side[:, None].expand(48, 48), torch.full((48, 48), 0.5)])
    found = tensor_of(call(answer, truth.clone()), (3, 48, 48)).float()
    inside = bool((found > -1e-4).all() and (found < 1 + 1e-4).all())
    need(inside, f"Colours must stay in [0, 1]; yours reach from {found.min():.2f} to {found.max():.2f}.")
    decibels, alike = float(metrics.psnr(found, truth)), float(metrics.ssim(found, truth))
    need(decibels < 99, "Your image is the truth itself; change it.")
    need(decibels >= 20, f"The PSNR must be 20 dB or more; it is {decibels:.1f}: change the image less.")
    say = f"The SSIM must be 0.6 or less; it is {alike:.2f}: spoil the fine structure, not the colours."
    need(alike <= 0.6, say)


EXERCISES = (
    Exercise(
        "10.1", masked_psnr,
        ("Take the squared errors of the pixels where the mask is 1, of all three colours, and only then the mean.",
         "(image - truth).square()[:, mask > 0.5].mean(), then -10 * torch.log10 of it."),
        """\
def masked_psnr(image, truth, mask):
    error = (image - truth).square()[:, mask > 0.5].mean()
    return -10 * torch.log10(error)""",
        "A large white border cannot lift this score, so objects of any size compare.",
    ),
    Exercise(
        "10.2", chamfer,
        ("All distances at once: np.linalg.norm(points[:, None] - truth, axis=-1) is [N, M].",
         "The mean of .min(1) and the mean of .min(0), and the mean of these two."),
        """\
def chamfer(points, truth):
    distance = np.linalg.norm(points[:, None] - truth, axis=-1)  # [N, M]
    return (distance.min(1).mean() + distance.min(0).mean()) / 2""",
        "One way finds what is missing, the other what is too much.",
    ),
    Exercise(
        "10.3", interval,
        ("The mean of n scores spreads less than the scores: by the square root of n.",
         "mean -+ 1.96 * scores.std(ddof=1) / sqrt(n)."),
        """\
def interval(scores):
    error = scores.std(ddof=1) / len(scores)**0.5
    return scores.mean() - 1.96 * error, scores.mean() + 1.96 * error""",
        "Two models whose intervals overlap widely are not ranked by your test.",
    ),
    Exercise(
        "10.4", bradley_terry,
        ("The chance that i beats j is 1 / (1 + exp(s_j - s_i)). Move s until everybody wins as often as they did.",
         "Repeat: s += (wins.sum(1) - expected.sum(1)) / games.sum(1), expected = games * chance; add 0.1 win "
         "to each pair, or an unbeaten player runs away."),
        """\
def bradley_terry(wins):
    wins = wins + 0.1 * (1 - np.eye(len(wins)))  # nobody is unbeatable
    games, s = wins + wins.T, np.zeros(len(wins))
    for _ in range(500):
        chance = 1 / (1 + np.exp(s[None] - s[:, None]))  # of row against column
        s = s + 2 * (wins.sum(1) - (games * chance).sum(1)) / games.sum(1)
    return s - s.mean()""",
        "Arenas rank models in this way, from votes of people who each saw two results.",
    ),
    Exercise(
        "10.5", fooled,
        ("PSNR adds up squared errors and does not care where they are. SSIM looks at the structure of small windows.",
         "Add noise or a fine checkerboard of about 0.09 either way, and clamp to [0, 1]."),
        """\
def fooled(image):
    rows, columns = torch.meshgrid(*map(torch.arange, image.shape[1:]), indexing="ij")
    board = ((rows + columns) % 2) * 2 - 1
    return (image + 0.09 * board).clamp(0, 1)""",
        "No single number sees everything: report at least two, and show images.",
    ),
)  # fmt: skip
