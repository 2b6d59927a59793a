"""Checks of lesson 05, diffusion and multi-view diffusion."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from ..pipelines import generator as seeded
from ..pipelines import load_pipeline
from ..training.data import ObjectViews, on_white
from ._exercise import Exercise, call, generator, name_fault, need, number_of, tensor_of

OBJECTS = (3, 11, 20)
"""Indices of the hidden objects of exercise 5, in the split "test": none looks the same from all sides."""


def noised(answer: Any) -> None:
    """A function (x, noise, a) that mixes an image with noise."""
    x, noise = torch.rand(2, 3, 8, 8, generator=generator()), torch.randn(2, 3, 8, 8, generator=generator())
    for a in (0.64, 0.09, 0.0):
        found = tensor_of(call(answer, x, noise, torch.tensor(a)), (2, 3, 8, 8))
        wanted = math.sqrt(a) * x + math.sqrt(1 - a) * noise
        if torch.allclose(found, wanted.double(), atol=1e-5):
            continue
        faults = {
            "The squares of the two factors add up to 1, not the factors: are the square roots missing?":
                a * x + (1 - a) * noise,
            "The two factors are swapped: at a = 1 there is no noise at all.":
                math.sqrt(1 - a) * x + math.sqrt(a) * noise,
            "The image keeps its full strength; its factor must fall to 0 with a.": x + math.sqrt(1 - a) * noise,
        }  # fmt: skip
        name_fault(found, faults)
        off = float((found - wanted).abs().max())
        need(False, f"With a = {a} your result is off by {off:.2g} at worst.")


def ddim_step(answer: Any) -> None:
    """A function (x, x0, a, a_next) that makes one step of DDIM."""
    x0 = torch.rand(4, 3, 8, 8, generator=generator()) * 2 - 1
    x = 0.4 * x0 + torch.randn(4, 3, 8, 8, generator=generator())
    for a, a_next in ((0.16, 0.49), (0.04, 0.36), (0.49, 1.0)):
        found = tensor_of(call(answer, x, x0, torch.tensor(a), torch.tensor(a_next)), (4, 3, 8, 8))
        wanted = _ddim(x, x0, a, a_next)
        if torch.allclose(found, wanted.double(), atol=1e-4):
            continue
        faults = {
            "You mix x0 with x. Mix it with the noise in x: take the part of x0 out of x first.":
                math.sqrt(a_next) * x0 + math.sqrt(1 - a_next) * x,
            "The square roots are missing: the signal's share of an image is the root of a.":
                a_next * x0 + (1 - a_next) * (x - a * x0) / (1 - a),
            "a and a_next are swapped: a belongs to x, a_next to what you return.":
                _ddim(x, x0, a_next, a) if a_next < 1 else x0,
            "This is the clean guess. A step keeps some noise, as much as a_next says.": x0 if a_next < 1 else x,
        }  # fmt: skip
        name_fault(found, faults)
        if a_next == 1:
            need(False, "With a_next = 1 no noise is left, so the step must return x0 itself; yours does not.")
        off = float((found - wanted).abs().max())
        need(False, f"From a = {a} to {a_next} your step is off by {off:.2g} at worst.")


def _ddim(x: Tensor, x0: Tensor, a: float, a_next: float) -> Tensor:
    noise = (x - math.sqrt(a) * x0) / math.sqrt(1 - a)
    return math.sqrt(a_next) * x0 + math.sqrt(1 - a_next) * noise


def guided(answer: Any) -> None:
    """A function (without, with_, scale) that computes a guided prediction."""
    without, with_ = torch.randn(2, 4, 3, 8, 8, generator=generator())
    for scale in (5.0, 1.0, 0.0):
        found = tensor_of(call(answer, without, with_, scale), (4, 3, 8, 8))
        wanted = without + scale * (with_ - without)
        if torch.allclose(found, wanted.double(), atol=1e-4):
            continue
        faults = {
            "Your scale is one too large: scale 1 must give the prediction with the image, scale 0 the one without.":
                with_ + scale * (with_ - without),
            "Your scale is one too small: scale 1 must give the prediction with the image, scale 0 the one without.":
                without + (scale - 1) * (with_ - without),
            "The two predictions are swapped: you walk away from the image.": with_ + scale * (without - with_),
        }  # fmt: skip
        name_fault(found, faults)
        off = float((found - wanted).abs().max())
        need(False, f"With scale {scale:g} your result is off by {off:.2g} at worst.")


def safest_answer(answer: Any) -> None:
    """A function that gives the one image whose mean squared error to all draws is least."""
    draws = torch.rand(5, 3, 6, 6, generator=generator()) ** 3  # skewed: the median is not the mean
    found = tensor_of(call(answer, draws.clone()), (3, 6, 6))
    mean = draws.double().mean(0)
    if torch.allclose(found, mean, atol=1e-4):
        return
    if torch.allclose(found, draws.median(0).values.double(), atol=1e-4):
        need(False, "The median has the least absolute error. Which number has the least squared error?")
    if any(torch.allclose(found, draw.double(), atol=1e-4) for draw in draws):
        need(False, "This is one of the draws. An image that is none of them can be nearer to all.")
    if torch.allclose(found, draws.double().sum(0), atol=1e-3):
        need(False, "This is the sum of the draws, far brighter than any of them: divide by their number.")
    error, least = (float((draws - each).square().mean()) for each in (found, mean))
    need(False, f"The mean squared error of your image is {error:.4f}; an image with {least:.4f} exists.")


@functools.cache
def _hidden(index: int) -> dict[str, Tensor]:
    """Views [4, 3, 64, 64] of one hidden object: true, made, and two sets that no object can have."""
    pipe = load_pipeline()
    pipe.set_progress_bar_config(disable=True)
    true = on_white(ObjectViews("test", pipe.picture_size)[index].images)
    made = pipe.decode(pipe.denoise(None, true[:1], generator=seeded(0)))
    return {
        "the true views": true,
        "views that the network made": made,
        "views with 90 and 270 degrees swapped": true[[0, 3, 2, 1]],
        "the front, four times": true[:1].expand(4, -1, -1, -1),
    }


def is_consistent(answer: Any) -> None:
    """A function that scores four views [4, 3, H, W]: higher if they can belong to one object."""
    for index in OBJECTS:
        scores = {name: number_of(call(answer, views.clone())) for name, views in _hidden(index).items()}
        true, made, swapped, copied = scores.values()
        need(max(scores.values()) > min(scores.values()), f"All sets of views get the same score, {true:.3g}.")
        order_counts = abs(swapped - true) > 1e-3 * abs(true)
        need(order_counts, "Views in the wrong order get the score of the right order: the places must count, too.")
        if max(true, made) < min(swapped, copied):
            need(False, "Your score is the wrong way round: higher must mean that the views belong to one object.")
        need(copied < min(true, made), "The front four times gets a better score than views of a real object: "
             "alike is not the same as consistent.")  # fmt: skip
        worst, best = min((true, made)), max((swapped, copied))
        say = f"True and made views must be above all others; one has {worst:.3g}, an impossible set {best:.3g}."
        need(worst > best, say)


EXERCISES = (
    Exercise(
        "05.1", noised,
        ("Two factors, one for the image and one for the noise. Their squares add up to 1.",
         "The image's factor is the square root of a, the noise's the square root of 1 - a."),
        """\
def noised(x, noise, a):
    return a**0.5 * x + (1 - a)**0.5 * noise""",
        "Every diffusion model is trained on this one line.",
    ),
    Exercise(
        "05.2", ddim_step,
        ("x is a mixture of x0 and noise. You know x, x0 and the factors: which noise is it?",
         "noise = (x - a**0.5 * x0) / (1 - a)**0.5; then mix x0 with it again, with a_next."),
        """\
def ddim_step(x, x0, a, a_next):
    noise = (x - a**0.5 * x0) / (1 - a)**0.5
    return a_next**0.5 * x0 + (1 - a_next)**0.5 * noise""",
        "Stable Diffusion, ImageDream and the tiny model can all be run with this step.",
    ),
    Exercise(
        "05.3", guided,
        ("Start at the prediction without the image, and walk towards the one with it.",
         "scale 1 arrives at the prediction with the image, scale 5 walks five times as far."),
        """\
def guided(without, with_, scale):
    return without + scale * (with_ - without)""",
        "It costs two predictions a step: this is why guided models take twice the time.",
    ),
    Exercise(
        "05.4", safest_answer,
        ("Think of one pixel: it is 0 in two draws and 1 in one. Which number has the least squared error?",
         "The derivative of the summed squares is zero at the mean: draws.mean(0)."),
        """\
def safest_answer(draws):
    return draws.mean(0)""",
        "A network trained with squared errors gives this image, so its one-step answer is blurred where it guesses.",
    ),
    Exercise(
        "05.5", is_consistent,
        ("Do not compare views with each other. Is there one object that looks like all four?",
         "pipe.reconstruct(views) makes the object; i3d.metrics.view_consistency compares its renders with the views."),
        """\
pipe = i3d.load_pipeline()

def is_consistent(views):
    return i3d.metrics.view_consistency(pipe.reconstruct(views), views)""",
        "The pipeline ranks its own candidates by this score, when you ask it for several.",
    ),
)  # fmt: skip
