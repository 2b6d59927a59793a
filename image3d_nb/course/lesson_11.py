"""Checks of lesson 11, train the tiny model."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from ..training.loop import TrainSettings
from ._exercise import Exercise, call, generator, need, number_of, tensor_of


def running_average(answer: Any) -> None:
    """A function (average, weights, decay) that gives the next average."""
    average, weights = torch.randn(2, 6, generator=generator(), dtype=torch.float64)
    kept = average.clone()
    found = {decay: tensor_of(call(answer, average, weights, decay), (6,)) for decay in (0.0, 0.5, 0.9, 1.0)}
    need(torch.equal(average, kept), "The old average must stay as it is; your function changed it in place.")
    if torch.allclose(found[0.9], torch.lerp(average, weights, 0.9)):
        need(False, "The parts are swapped: with a decay of 0.9, nine tenths must come from the old average.")
    need(torch.allclose(found[1.0], average), "With a decay of 1 nothing may change; something did.")
    need(torch.allclose(found[0.0], weights), "With a decay of 0 only the new weights must be left; they are not.")
    between = all(torch.allclose(found[decay], torch.lerp(weights, average, decay)) for decay in (0.5, 0.9))
    need(between, "Between 0 and 1 the shares of both must add up to 1; yours do not.")


def rate(answer: Any) -> None:
    """A function (seen, settings) that gives the learning rate."""
    for settings in (TrainSettings(), TrainSettings(samples=900, batch_size=6, learning_rate=0.3, warmup_samples=90)):
        top, last = settings.learning_rate, settings.samples
        for seen in (0, settings.warmup_samples // 2, settings.warmup_samples, last // 2, last, 2 * last):
            found, wanted = number_of(call(answer, seen, settings)), settings.rate_at(seen)
            where = "in the warm-up" if seen < settings.warmup_samples else "after the warm-up"
            say = f"After {seen} of {last} samples, {where}, the rate must be {wanted:.3g}; yours is {found:.3g}."
            need(abs(found - wanted) < 0.005 * top, say)


def noisy(answer: Any) -> None:
    """A function (views, noise, signal) that mixes views and noise."""
    views, noise = torch.randn(2, 3, 8, 8, generator=generator(), dtype=torch.float64)
    alone = tensor_of(call(answer, views, noise, 1.0), (3, 8, 8))
    need(torch.allclose(alone, views), "With a signal of 1 there is no noise at all; the views must come back.")
    last = tensor_of(call(answer, views, noise, 0.0), (3, 8, 8))
    need(torch.allclose(last, noise), "With a signal of 0 nothing but the noise must be left; something else is.")
    for signal in (0.1, 0.5, 0.9):
        part = tensor_of(call(answer, views, noise, signal), (3, 8, 8))
        if torch.allclose(part, signal * views + (1 - signal) * noise):
            need(False, "Squares of the two factors must add up to 1, so that the spread stays; yours add up plainly.")
        wanted = math.sqrt(signal) * views + math.sqrt(1 - signal) * noise
        off = float((part - wanted).abs().max())
        need(off < 1e-3, f"At a signal of {signal} the mixture is off by {off:.2g}.")


def gain_per_doubling(answer: Any) -> None:
    """A function (samples, decibels) that gives the decibels which a doubling of the samples brings."""
    for samples, gain in (((500.0, 1000.0, 2000.0), 1.5), ((300.0, 400.0, 1600.0, 9000.0), 0.7), ((8.0, 80.0), 0.0)):
        seen = torch.tensor(samples, dtype=torch.float64)
        noise = torch.randn(len(seen), generator=generator(), dtype=torch.float64)  # no exact line
        curve = 12 + gain * torch.log2(seen / seen[0]) + 0.2 * noise
        x = torch.log2(seen) - torch.log2(seen).mean()
        gain = float((x * (curve - curve.mean())).sum() / x.square().sum())
        ends = float((curve[-1] - curve[0]) / torch.log2(seen[-1] / seen[0]))
        found = number_of(call(answer, seen, curve))
        if len(seen) > 3 and abs(found - ends) < 1e-3:
            need(False, "Use all points, not only the first and the last one: the line of least squares.")
        if abs(found - gain / math.log(2)) < 1e-3:
            need(False, "Count in doublings: the logarithm must have the base 2, and yours has another.")
        say = f"A curve of {len(samples)} points with a slope of {gain:.3f} dB a doubling came out as {found:.3f}."
        need(abs(found - gain) < 2e-3, say)


def orthogonal_kernel(answer: Any) -> None:
    """A function that makes the singular values of a kernel, seen as a matrix, about 1."""
    kernel = torch.randn(32, 48, 3, 3, generator=generator())
    mixing = torch.eye(32) + 0.5 * torch.ones(32, 32) / 32**0.5  # rows alike, so that scaling them is not enough
    kernel = torch.einsum("ij,jkhw->ikhw", mixing * torch.logspace(0, -0.5, 32)[:, None], kernel)
    found = tensor_of(call(answer, kernel), tuple(kernel.shape)).flatten(1)
    low, high = (float(value) for value in torch.linalg.svdvals(found).aminmax())
    need(low > 0.5 and high < 1.4, f"Singular values must lie near 1; they lie from {low:.2g} to {high:.2g}.")
    u, _, v = torch.linalg.svd(kernel.double().flatten(1), full_matrices=False)
    alike = float(F.cosine_similarity(found.flatten(), (u @ v).flatten(), dim=0))
    need(alike > 0.95, f"It must be the orthogonal matrix nearest to the kernel; they agree by {alike:.2f} only.")


EXERCISES = (
    Exercise(
        "11.1", running_average,
        ("A decay of 0.998 keeps 998 parts of the old average and takes 2 of the new weights.",
         "return decay * average + (1 - decay) * weights"),
        """\
def next_average(average, weights, decay):
    return decay * average + (1 - decay) * weights""",
        "The averaged weights, not the last ones, are what is judged, stored and shipped.",
    ),
    Exercise(
        "11.2", rate,
        ("Two cases: seen < settings.warmup_samples, a straight line that counts the batch too; then half a cosine.",
         "top * (seen + batch) / (warmup + batch), then top * (0.01 + 0.99 * (1 + cos(pi * done)) / 2), done <= 1."),
        """\
def rate(seen, settings):
    top, batch, warmup = settings.learning_rate, settings.batch_size, settings.warmup_samples
    if seen < warmup:
        return top * (seen + batch) / (warmup + batch)
    done = min(1, seen / settings.samples)
    return top * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)""",
        "A cosine over samples, not seconds, gives the same weights on a slow machine as on a fast one.",
    ),
    Exercise(
        "11.3", noisy,
        ("Signal is the share of the *variance* that the views have; noise has the rest.",
         "return signal**0.5 * views + (1 - signal)**0.5 * noise"),
        """\
def mix(views, noise, signal):
    return signal**0.5 * views + (1 - signal) ** 0.5 * noise""",
        "This is all that add_noise does; the schedule only says how much signal each timestep has.",
    ),
    Exercise(
        "11.4", gain_per_doubling,
        ("Over log2(samples) the curve is a straight line. What is its slope?",
         "x = torch.log2(samples), centred; then (x * (decibels - decibels.mean())).sum() / (x * x).sum()."),
        """\
def gain_per_doubling(samples, decibels):
    x = torch.log2(samples)
    x = x - x.mean()
    return (x * (decibels - decibels.mean())).sum() / x.square().sum()""",
        "This number tells what more training would bring, before anybody pays for it.",
    ),
    Exercise(
        "11.5", orthogonal_kernel,
        ("orthogonalize takes a matrix; a kernel [out, in, h, w] is one of out rows.",
         "return orthogonalize(kernel.flatten(1)).reshape(kernel.shape)"),
        """\
def orthogonal_kernel(kernel):
    return orthogonalize(kernel.flatten(1)).reshape(kernel.shape)""",
        "Most weights of a U-Net are kernels, and torch's own Muon takes none of them.",
    ),
)  # fmt: skip
