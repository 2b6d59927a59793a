"""Checks of lesson 04, Gaussians and splatting."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..gaussians import Gaussians
from ..metrics import psnr
from ..rendering import render
from ..training.data import ObjectViews, on_white
from ._exercise import Exercise, array_of, call, generator, need, number_of, of_type, tensor_of

OBJECT = 11
"""Index of the object that exercise 4 fits, in the split "test"."""
MOST, ENOUGH = 400, 24.0
"""Gaussians, and dB, of exercise 4."""


def _covariance(quat: Tensor, scale: Tensor) -> Tensor:
    one = Gaussians(torch.zeros(1, 3), quat[None], scale[None], torch.ones(1), torch.zeros(1, 1, 3))
    return one.covariances()[0].double()


def covariance(answer: Any) -> None:
    """A function (quat, scale) that gives the covariance [3, 3] of a Gaussian."""
    quats = torch.randn(3, 4, generator=generator())
    scales = torch.tensor([(0.3, 0.1, 0.05), (0.02, 0.4, 0.2), (0.5, 0.3, 0.1)])
    for length, (quat, scale) in zip((1.0, 0.5, 3.0), zip(quats, scales, strict=True), strict=True):
        quat = quat / quat.norm() * length
        wanted = _covariance(quat, scale)
        found = tensor_of(call(answer, quat, scale), (3, 3))
        if torch.allclose(found, wanted, atol=1e-5):
            continue
        need(length == 1, f"The quaternion may have any length, here {length:g}: divide by it first.")
        eigenvalues = torch.linalg.eigvalsh((found + found.T) / 2)
        if torch.allclose(eigenvalues, eigenvalues.new_tensor(sorted(scale.tolist())), atol=1e-4):
            need(False, "The eigenvalues are the scales, but they must be their squares: R S S^T R^T.")
        if torch.allclose(found, _covariance(quat[[3, 0, 1, 2]], scale), atol=1e-5):
            need(False, "The numbers of the quaternion are w, x, y, z: the real part comes first.")
        need(torch.allclose(found, found.T, atol=1e-6), "A covariance is symmetric; yours is not.")
        right = torch.allclose(eigenvalues, eigenvalues.new_tensor(sorted((scale * scale).tolist())), atol=1e-4)
        need(right, f"The eigenvalues must be the squared scales; they are {eigenvalues.numpy().round(4).tolist()}.")
        need(False, "Size and shape are right, but it is turned the wrong way: R turns the axes, R^T turns them back.")


def alpha_at(answer: Any) -> None:
    """A function (pixel, mean, cov, opacity) that gives the alpha of a 2D Gaussian at a pixel (column, row)."""
    cov = np.array([[9.0, 3.0], [3.0, 4.0]])
    for pixel, mean, opacity in (((10, 6), (10.5, 6.5), 0.8), ((12, 6), (10.2, 7.1), 0.8), ((7, 9), (10.2, 7.1), 0.5)):
        found = number_of(call(answer, pixel, np.array(mean), cov, opacity))
        d = np.array(pixel) + 0.5 - mean
        q = float(d @ np.linalg.inv(cov) @ d)
        wanted = opacity * math.exp(-q / 2)
        if abs(found - wanted) < 1e-5:
            continue
        corner = d - 0.5
        faults = {
            opacity * math.exp(-float(corner @ np.linalg.inv(cov) @ corner) / 2):
                "The centre of pixel (column, row) is at (column + 0.5, row + 0.5).",
            opacity * math.exp(-q): "The exponent is minus one half of d^T C^-1 d; the half is missing.",
            opacity * math.exp(-float(d @ cov @ d) / 2): "d^T C^-1 d needs the inverse of the covariance.",
            math.exp(-q / 2): "Multiply by the opacity: it is the alpha at the centre.",
        }  # fmt: skip
        for value, complaint in faults.items():
            need(abs(found - value) > 1e-6, complaint)
        need(False, f"Pixel {pixel} with the mean at {mean} must have alpha {wanted:.4f}; yours is {found:.4f}.")


def over(answer: Any) -> None:
    """A function (colours, opacities) that blends near to far over white."""
    for colours, opacities, wanted in (
        ([[1.0, 0.0, 0.0]], [0.5], [1.0, 0.5, 0.5]),
        ([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [0.6, 0.6], [0.76, 0.16, 0.4]),
        ([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [0.5, 1.0, 1.0], [0.5, 0.5, 0.0]),
    ):
        found = array_of(call(answer, np.array(colours), np.array(opacities)))
        need(found.shape == (3,), f"One colour, three numbers, must come out; the shape is {found.shape}.")
        if np.allclose(found, wanted, atol=1e-6):
            continue
        far_first = np.ones(3)
        for colour, alpha in zip(colours, opacities, strict=True):
            far_first = alpha * np.array(colour) + (1 - alpha) * far_first
        if np.allclose(found, far_first, atol=1e-6):
            need(False, "The order is wrong: the first is the nearest, and hides what comes after it.")
        if np.allclose(found + np.prod(1 - np.array(opacities)), wanted, atol=1e-6):
            need(False, "The light that passes all colours falls on white: add what is left of it.")
        say = f"{len(colours)} colours of opacities {opacities} give {wanted}; yours give {found.round(3).tolist()}."
        need(False, say)


@functools.cache
def _views(count: int) -> tuple[Tensor, Cameras]:
    """Images [V, 3, 64, 64] of the object on white from cameras that depend on ``count``."""
    sample = ObjectViews("test", 64, random_views=count)[OBJECT]
    return on_white(sample.images[4:]), sample.cameras[4:]


def _fit_psnr(gaussians: Gaussians, views: tuple[Tensor, Cameras]) -> float:
    images, cameras = views
    drawn = render(gaussians.detach().to(dtype=torch.float32), cameras)
    return float(psnr(of_type(drawn, Tensor, "a tensor").permute(0, 3, 1, 2), images).mean())


def fit(answer: Any) -> None:
    """At most 400 Gaussians that look like the object from cameras that the check chooses."""
    gaussians = of_type(answer, Gaussians, "Gaussians")
    need(0 < len(gaussians) <= MOST, f"There must be 1 to {MOST} Gaussians; there are {len(gaussians)}.")
    for name in ("means", "quats", "scales", "opacities", "sh"):
        finite = getattr(gaussians, name).isfinite().all()
        need(finite, f"All {name} must be finite; some are NaN or infinite: is the learning rate too high?")
    need((gaussians.scales > 0).all(), "All scales must be above 0: store their logarithms and use exp.")
    inside = (gaussians.opacities >= 0) & (gaussians.opacities <= 1)
    need(inside.all(), "All opacities must lie in [0, 1]: store logits and use sigmoid.")
    unseen, seen = _fit_psnr(gaussians, _views(13)), _fit_psnr(gaussians, _views(8))
    if unseen < ENOUGH <= seen:
        need(False, f"The eight given views reach {seen:.1f} dB, unseen ones {unseen:.1f}: it is fitted to few views.")
    need(unseen >= ENOUGH, f"From cameras that the fit has not seen it must reach {ENOUGH:g} dB; it has {unseen:.1f}.")


EXERCISES = (
    Exercise(
        "04.1", covariance,
        ("First a unit quaternion, then its rotation matrix R; S has the scales on its diagonal.",
         "m = R * scale, a matrix whose columns are scaled; the covariance is m @ m.T."),
        """\
def covariance(quat, scale):
    w, x, y, z = quat / quat.norm()
    r = torch.tensor([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])
    return (r * scale) @ (r * scale).T""",
        "Rotation and scales make a valid covariance whatever an optimiser does to them; six free numbers would not.",
    ),
    Exercise(
        "04.2", alpha_at,
        ("d is the vector from the mean to the centre of the pixel, and a centre is half a pixel from the corner.",
         "d = np.array(pixel) + 0.5 - mean, then opacity * np.exp(-0.5 * d @ np.linalg.inv(cov) @ d)."),
        """\
def alpha_at(pixel, mean, cov, opacity):
    d = np.array(pixel) + 0.5 - mean
    return opacity * np.exp(-0.5 * d @ np.linalg.inv(cov) @ d)""",
        "This is all that one splat says to one pixel; where it is below 1/255, it says nothing.",
    ),
    Exercise(
        "04.3", over,
        ("Keep two things: the colour so far, and how much light is still let through.",
         "total += light * opacity * colour; light *= 1 - opacity; and at the end, total + light."),
        """\
def over(colours, opacities):
    total, light = np.zeros(3), 1.0
    for colour, opacity in zip(colours, opacities):
        total = total + light * opacity * np.asarray(colour)
        light = light * (1 - opacity)
    return total + light""",
        "Every viewer of splats computes this sum for every pixel.",
    ),
    Exercise(
        "04.4", fit,
        ("Start from 400 random places, and fit all eight views in each step: one view at a time forgets the others.",
         "Keep logs of scales and logits of opacities, and start with scales of about 0.05. 120 steps are enough."),
        """\
answer = fit(400, steps=150, views=range(8))  # the function of the lesson, with fewer Gaussians""",
        "You have made a 3D object from eight images, and only its renderer has ever been told what it looks like.",
    ),
)  # fmt: skip
