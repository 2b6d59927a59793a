"""Sharpen Gaussians from the image that they were made of.

A network gives Gaussians that are blurred from every side, though one side is known: the image. Four steps bring it in:

1. Give the Gaussians the blur that the renderer gave them in training, so that they look alike at every size. Render
   the front, and take the depth at which two fifths of the light are stopped: the surface.
2. Cover that surface with small flat discs, one for each pixel of the image, fewer where its colours hardly change.
   They lie in the surface, so a camera a few degrees aside sees the same detail, and no disc is a needle.
3. Remove the Gaussians in front of the discs. Those behind keep their places and colours.
4. Fit the discs' colours, and the opacities of the discs and of the Gaussians at the outline, through the renderer,
   until the front's render equals the image. Positions and shapes are fixed, so the projection is computed once.
   Gaussians at the outline that lie mostly inside it fade little, since other sides show them.

Everything runs on the CPU in float32, whatever the device, so equal inputs give equal results.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from .._numbers import is_whole
from ..cameras import Cameras, orbit_cameras
from ..errors import Cancelled, InputError
from ..gaussians import SH_C0, Gaussians
from ..images import Source, load_image
from . import numba_projection, numba_splats
from .discs import cover, object_pixels, reaching_out, surface_depth
from .projection import Splats
from .reference import ALPHA_MIN
from .splats import colors_from, render_splats

OnStep = Callable[[str, int, int], None]
STAGES = ("surface", "fit")
_RATES = (0.05, 0.25)
"""Adam's step for colours and for logits of opacities."""
_BETAS = (0.8, 0.95)
_BLUR = 0.6  # the blur, as a part of what nine in ten Gaussians are longer than: about a pixel of the training's images
_FADE = 1.0  # the most that the logit of a Gaussian at the outline falls: from other sides it is still needed
_OUTSIDE = 0.1  # the share of a Gaussian's box outside the object, from which its opacity may fall freely
_SHIFT = 0.15  # the most that a disc's colour moves: else those at the outline turn black, against the white behind


def refine(
    gaussians: Gaussians,
    image: Source,
    *,
    views: Cameras | None = None,
    steps: int = 36,
    on_step: OnStep | None = None,
    cancelled: Callable[[], bool] | None = None,
    progress: bool = True,
) -> Gaussians:
    """Sharpen Gaussians so that the front's render equals an image.

    Args:
        gaussians: N Gaussians of any model, on any device; the input is not changed.
        image: whatever :func:`load_image` takes: the object on white (or with alpha) as the front camera sees it, e.g.
            the square of :func:`prepare_image`; 32 to 2048 pixels a side.
        views: the camera of ``image``, one camera of the image's size; None is the front camera of
            :func:`orbit_cameras`, for a square image.
        steps: optimiser steps, 0 to 1000.
        on_step: called as f(stage, done, total), stage "surface", then "fit" (counts steps).
        cancelled: asked before every step; True stops the work.
        progress: show a bar in a notebook or a terminal, unless ``on_step`` is given (never if TQDM_DISABLE is set).

    Returns:
        New Gaussians with the input's device, dtype and sh_degree, and another number of Gaussians.

    Raises:
        InputError: an argument is out of range, or the image shows nothing.
        ImageError: the image cannot be read.
        Cancelled: ``cancelled`` returned True.

    Example:
        >>> import image3d_nb as i3d
        >>> image = i3d.prepare_image(i3d.sample("mug"))
        >>> result = i3d.load_pipeline()(image, generator=i3d.generator(0))  # doctest: +SKIP
        >>> sharp = i3d.refine(result.gaussians, image)  # doctest: +SKIP
    """
    if not isinstance(gaussians, Gaussians):
        raise InputError(f"gaussians must be Gaussians; got {type(gaussians).__name__}")
    if not is_whole(steps) or not 0 <= steps <= 1000:
        raise InputError(f"steps must be a whole number from 0 to 1000; got {steps!r}")
    target, alpha = _read(image)
    camera = _camera(views, target)
    report = _Report(on_step, cancelled, progress, steps)
    try:
        report("surface", 0, 1)
        work = _blurred(gaussians.validate().detach().to("cpu", torch.float32))
        depth, seen = surface_depth(work, camera)
        inside = object_pixels(target, alpha, seen)
        if not inside.any():
            raise InputError("image must show an object on white; got a white image")
        if not (seen > 0.05).any():
            raise InputError("gaussians must be visible from the camera of image; got none")
        discs, in_front = cover(work, camera, target, depth, seen, inside)
        out = reaching_out(work, camera, inside)
        edge = out > 0
        rest, outline = work[~in_front & ~edge], work[edge]
        report("surface", 1, 1)
        merged = Gaussians.merge([outline, _with_degree(discs, gaussians.sh_degree)])
        fade = torch.where(out[edge] < _OUTSIDE, _FADE, torch.inf)
        fitted = Gaussians.merge([rest, _fit(merged, fade, rest, camera, target, steps, report)])
    finally:
        report.close()
    result = fitted.to(gaussians.device, gaussians.dtype)
    return Gaussians(result.means, result.quats, result.scales, result.opacities, result.sh, removed=gaussians.removed)


def _blurred(gaussians: Gaussians) -> Gaussians:
    """The Gaussians as the images of their training showed them: the renderer there added a blur to the thin ones.

    In finer images, which have less blur, they would look torn. A set without thin ones never needed it.
    """
    visible = gaussians.scales[gaussians.opacities > ALPHA_MIN].sort(-1).values  # [N, 3]
    if not len(visible):
        return gaussians
    blur = _BLUR * float(visible[:, 2].kthvalue(1 + len(visible) // 10).values)
    if float(visible[:, 0].median()) >= blur:
        return gaussians
    scales = (gaussians.scales.square() + blur**2).sqrt()
    return Gaussians(gaussians.means, gaussians.quats, scales, gaussians.opacities, gaussians.sh)


def _read(image: Source) -> tuple[Tensor, NDArray[np.floating[Any]] | None]:
    """The image on white [H, W, 3] in [0, 1], and its alpha [H, W] where it has one."""
    pixels = np.asarray(load_image(image), np.float32) / 255  # [H, W, 3 or 4]
    height, width, channels = pixels.shape
    if not (32 <= height <= 2048 and 32 <= width <= 2048):
        raise InputError(f"image must have 32 to 2048 pixels a side; got {width} x {height}")
    alpha = pixels[..., 3] if channels == 4 else None
    rgb = pixels[..., :3] if alpha is None else pixels[..., :3] * alpha[..., None] + 1 - alpha[..., None]
    return torch.from_numpy(np.ascontiguousarray(rgb)), alpha


def _camera(views: Cameras | None, target: Tensor) -> Cameras:
    height, width = target.shape[:2]
    if views is None:
        if width != height:
            raise InputError(f"image must be square, as prepare_image makes it, or views given; got {width} x {height}")
        return orbit_cameras(azimuth=0.0, size=width)
    if not isinstance(views, Cameras) or len(views) != 1:
        raise InputError(f"views must be Cameras with one camera; got {views!r}")
    if (views.width, views.height) != (width, height):
        raise InputError(f"views must have the image's {width} x {height} pixels; got {views.width} x {views.height}")
    return views.to("cpu", torch.float32)


def _with_degree(discs: Gaussians, degree: int) -> Gaussians:
    sh = torch.nn.functional.pad(discs.sh, (0, 0, 0, (degree + 1) ** 2 - 1))  # [M, K, 3]
    return Gaussians(discs.means, discs.quats, discs.scales, discs.opacities, sh)


@torch.enable_grad()  # pipelines call refine without gradients
def _fit(
    merged: Gaussians, fade: Tensor, rest: Gaussians, camera: Cameras, target: Tensor, steps: int, report: _Report
) -> Gaussians:
    """Fit the opacities, and the colours of the discs, by Adam (Kingma and Ba 2015).

    Args:
        merged: the Gaussians at the outline, then the discs.
        fade: [C], the most that the opacity's logit falls of each of the C Gaussians at the outline; inf: no limit.
        rest: the Gaussians behind the discs; they do not change.
        camera: of the image.
        target: the image, [H, W, 3], on white.
        steps: of the optimiser.
        report: called before every step.
    """
    count = len(fade)
    height, width = target.shape[:2]
    behind = _on_white(rest, camera)  # [H, W, 3]
    splats, half = _halves(merged, camera)
    # the colour seen from the front is linear in the first coefficient; the others stay
    rgb = colors_from(merged, camera).view(len(merged), 3)
    shift = torch.zeros_like(rgb).requires_grad_()
    logits = torch.logit(merged.opacities.clamp(1e-4, 1 - 1e-4)).requires_grad_()
    start, leaves = logits.detach().clone(), (shift, logits)
    first, second = [torch.zeros_like(t) for t in leaves], [torch.zeros_like(t) for t in leaves]
    for step in range(steps):
        report("fit", step, steps)
        colors, opacities = (rgb + shift).clamp(min=0), torch.sigmoid(logits)
        state = numba_splats.composite(splats, colors.expand(2, -1, -1), opacities.expand(2, -1), width, half)
        drawn = state.view(-1, width, 5)[:height]
        error = drawn[..., :3] + drawn[..., 4:] * behind - target
        grads = torch.autograd.grad(error.square().sum() + 0.05 * error.abs().sum(), leaves)
        decay = 0.5 * (1 + math.cos(math.pi * step / steps))
        with torch.no_grad():
            grads[0][:count] = 0  # else they turn white beside the outline
            for leaf, grad, m, v, rate in zip(leaves, grads, first, second, _RATES, strict=True):
                m.mul_(_BETAS[0]).add_(grad, alpha=1 - _BETAS[0])
                v.mul_(_BETAS[1]).addcmul_(grad, grad, value=1 - _BETAS[1])
                size = (v / (1 - _BETAS[1] ** (step + 1))).sqrt_().add_(1e-4)
                leaf.addcdiv_(m, size, value=-rate * decay / (1 - _BETAS[0] ** (step + 1)))
            logits[:count] = torch.maximum(logits[:count], start[:count] - fade)
            # colours outside [0, 1] would be lost in files that hold bytes
            shift[count:] = (rgb[count:] + shift[count:].clamp(-_SHIFT, _SHIFT)).clamp(0, 1) - rgb[count:]
    if steps:
        report("fit", steps, steps)
    with torch.no_grad():
        sh = merged.sh.clone()
        sh[:, 0] += shift / SH_C0
        moved = logits != start
        opacities = torch.where(moved, torch.sigmoid(logits), merged.opacities)
        kept = ~moved | (opacities > ALPHA_MIN)  # fainter ones draw nothing
    return Gaussians(merged.means, merged.quats, merged.scales, opacities, sh)[kept].detach()


def _halves(gaussians: Gaussians, camera: Cameras) -> tuple[Splats, int]:
    """Project into the image's two halves, as two views, which the renderer draws in parallel; and their height."""
    means2d, conics, depths, valid = numba_projection.project(
        gaussians.means, gaussians.quats, gaussians.scales, camera.viewmats, camera.Ks, camera.width, camera.height
    )
    half = (camera.height + 1) // 2
    lower = means2d - means2d.new_tensor([0.0, half])
    both = torch.cat((means2d, lower))
    return Splats(both, conics.repeat(2, 1, 1), depths.repeat(2, 1), valid.repeat(2, 1)), half


def _on_white(gaussians: Gaussians, camera: Cameras) -> Tensor:
    """The render [H, W, 3] in [0, 1]."""
    rgb, _, _ = render_splats(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors_from(gaussians, camera),
        camera.viewmats, camera.Ks, camera.width, camera.height,
    )  # fmt: skip
    return rgb[0].clamp(0, 1)


class _Report:
    """Report progress and stop when asked to."""

    def __init__(
        self, on_step: OnStep | None, cancelled: Callable[[], bool] | None, progress: bool, steps: int
    ) -> None:
        self._on_step, self._cancelled = on_step, cancelled
        watched = sys.stderr.isatty() or "ipykernel" in sys.modules
        quiet = not (progress and watched and on_step is None) or any(map(os.environ.get, ("CI", "TQDM_DISABLE")))
        self._bar = tqdm(total=steps, desc="refine", unit="step", file=sys.stderr, leave=False, disable=quiet)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._on_step is not None:
            self._on_step(stage, done, total)
        if stage == "fit":
            self._bar.update(done - self._bar.n)
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("refine was cancelled")

    def close(self) -> None:
        self._bar.close()
