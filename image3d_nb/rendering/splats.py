"""Gaussians to pictures: one signature, several backends."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from . import gsplat_backend, layered, reference
from .projection import project

Background = float | Tensor | Any  # a number, or what torch.as_tensor takes


def _reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    width: int, height: int,
) -> Tensor:  # fmt: skip
    pictures = [
        reference.splat(means, quats, scales, opacities, colors[v], viewmats[v], Ks[v], width, height)
        for v in range(len(viewmats))
    ]
    return torch.stack(pictures)


def _layered(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    width: int, height: int,
) -> Tensor:  # fmt: skip
    splats = project(means, quats, scales, viewmats, Ks, width, height)
    return layered.composite(splats, colors, opacities, width, height)


def _numba(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    width: int, height: int,
) -> Tensor:  # fmt: skip
    from . import numba_projection, numba_splats  # here, because numba takes half a second to import

    fast = not (viewmats.requires_grad or Ks.requires_grad)  # the kernels give no gradients for cameras
    chosen = numba_projection.project if fast else project
    means2d, conics, depths, valid = chosen(means, quats, scales, viewmats, Ks, width, height)
    opacities = opacities.expand(len(viewmats), -1)  # [V, N]
    return numba_splats.composite(means2d, conics, colors, opacities, depths, valid, width, height)


_BACKENDS: dict[str, Callable[..., Tensor]] = {
    "numba": _numba,
    "layered": _layered,
    "reference": _reference,
    "gsplat": gsplat_backend.splat,
}


def choose_backend(backend: str, device: torch.device) -> str:
    """The backend's name for a device: "auto" becomes the fastest that is installed.

    Raises:
        InputError: no such backend, or it does not run on that device.
    """
    if backend == "auto":
        fast = {"cpu": "numba", "cuda": "gsplat"}.get(device.type)
        return fast if fast and importlib.util.find_spec(fast) else "layered"
    if backend not in _BACKENDS:
        raise InputError(f"backend must be one of {', '.join(('auto', *_BACKENDS))}; got {backend!r}")
    needs = {"numba": "cpu", "gsplat": "cuda"}.get(backend, device.type)
    if device.type != needs:
        raise InputError(f"backend {backend!r} needs tensors on {needs}; they are on {device}: use backend='auto'")
    return backend


def check_background(background: Background, like: Tensor, views: int, height: int, width: int) -> Tensor:
    """A background as a tensor that broadcasts against [V, H, W, 3].

    Args:
        background: a number, [3], [V, 3] or [V, H, W, 3], in [0, 1].
        like: a tensor whose device and dtype the background gets.

    Raises:
        InputError: another shape, not numbers.
    """
    try:
        tensor = torch.as_tensor(background, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"background must be a number or an array of numbers; got {background!r}") from error
    shape = tuple(tensor.shape)
    if shape == (views, 3) and views > 0:
        return tensor[:, None, None, :]
    if shape not in ((), (3,), (views, 1, 1, 3), (views, height, width, 3)):
        raise InputError(
            f"background must be a number, [3], [V, 3] or [V, H, W, 3] with V = {views} and {height} x {width} pixels;"
            f" got shape {shape}"
        )
    return tensor


def render_splats(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    rgbs: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    background: Background = 1.0,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw Gaussians given as tensors: no container, no check of their numbers, nothing clamped. For training loops.

    Args:
        means: [N, 3], world units.
        quats: [N, 4], wxyz, normalised here.
        scales: [N, 3], linear, world units, not log.
        opacities: [N], in [0, 1].
        rgbs: [N, 3], or [V, N, 3] where the colour depends on the view.
        viewmats: [V, 4, 4], world to camera, OpenCV axes.
        Ks: [V, 3, 3], pixels.
        width: pixels.
        height: pixels.
        background: a number, [3], [V, 3] or [V, H, W, 3].
        backend: "auto", "numba", "layered", "reference" or "gsplat".

    Returns:
        rgb [V, H, W, 3] over the background, alpha [V, H, W], depth [V, H, W] (world units along the camera's axis,
        averaged by weight; 0 where nothing is). All differentiable. In float32 where the inputs are half precision.

    Raises:
        InputError: unknown backend, or a background of another shape.
    """
    chosen = choose_backend(backend, means.device)
    dtype = means.dtype if means.dtype in (torch.float32, torch.float64) else torch.float32
    means, quats, scales, opacities, rgbs, viewmats, Ks = (
        t.to(dtype) for t in (means, quats, scales, opacities, rgbs, viewmats, Ks)
    )
    views = len(viewmats)
    back = check_background(background, means, views, height, width)
    if views == 0 or len(means) == 0:
        state = torch.cat((means.new_zeros(4), means.new_ones(1))).expand(views, height, width, 5)
        state = state + 0 * sum(t.sum() for t in (means, quats, scales, opacities, rgbs))  # backward() still works
    else:
        colors = rgbs.expand(views, -1, -1)  # [V, N, 3]
        state = _BACKENDS[chosen](means, quats, scales, opacities, colors, viewmats, Ks, width, height)
    transmittance = state[..., 4]
    alpha = 1 - transmittance
    rgb = state[..., :3] + transmittance[..., None] * back
    seen = alpha > 0
    depth = torch.where(seen, state[..., 3] / torch.where(seen, alpha, 1.0), 0.0)
    return rgb, alpha, depth
