"""Render Gaussians by one of several backends with the same signature."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians, sh_basis
from . import gsplat_backend, layered, reference
from .projection import project

Background = float | Tensor | Any  # a number, or what torch.as_tensor takes


_BACKENDS = ("numba", "layered", "reference", "gsplat", "triton")


def _draw(
    backend: str, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
    Ks: Tensor, width: int, height: int,
) -> Tensor:  # fmt: skip
    """[V, H, W, 5]: colour (without background), depth (sum of weight times depth), transmittance."""
    shapes, views, size = (means, quats, scales), (viewmats, Ks), (width, height)
    if backend == "gsplat":
        return gsplat_backend.splat(*shapes, opacities, colors, *views, *size)
    if backend == "reference":
        each = [reference.splat(*shapes, opacities, colors[v], viewmats[v], Ks[v], *size) for v in range(len(viewmats))]
        return torch.stack(each)
    if backend == "triton" and means.dtype == torch.float32:
        from . import triton_splats  # torch brings Triton where it brings CUDA

        splats = project(*shapes, *views, *size)
        return triton_splats.composite(splats, colors, opacities.expand(len(viewmats), -1), *size)
    if backend in ("layered", "triton"):  # the kernels are float32
        return layered.composite(project(*shapes, *views, *size), colors, opacities, *size)
    from . import numba_projection, numba_splats  # here, because numba takes half a second to import

    fast = not (viewmats.requires_grad or Ks.requires_grad)  # the kernels give no gradients for cameras
    splats = (numba_projection.project if fast else project)(*shapes, *views, *size)
    return numba_splats.composite(splats, colors, opacities.expand(len(viewmats), -1), *size)


def choose_backend(backend: str, device: torch.device) -> str:
    """Return the backend for a device: "auto" becomes the fastest that is installed.

    Args:
        backend: "auto", "numba", "layered", "reference", "gsplat" or "triton".
        device: of the Gaussians.

    Raises:
        InputError: unknown backend, or it does not run on that device.
    """
    if backend == "auto":
        fast = {"cpu": ("numba",), "cuda": ("gsplat", "triton")}.get(device.type, ())
        return next((name for name in fast if importlib.util.find_spec(name)), "layered")
    if backend not in _BACKENDS:
        raise InputError(f"backend must be one of {', '.join(('auto', *_BACKENDS))}; got {backend!r}")
    needs = {"numba": "cpu", "gsplat": "cuda", "triton": "cuda"}.get(backend, device.type)
    if device.type != needs:
        raise InputError(f"backend {backend!r} needs tensors on {needs}; they are on {device}: use backend='auto'")
    return backend


def check_background(
    background: Background, views: int, height: int, width: int, like: Tensor | None = None, bounded: bool = True
) -> Tensor:
    """Return a background as a tensor that broadcasts against [V, H, W, 3].

    Args:
        background: a number, [3], [V, 3] or [V, H, W, 3].
        views: V.
        height: H, pixels.
        width: W, pixels.
        like: a tensor with the result's device and dtype; None is float32 on the CPU.
        bounded: whether the numbers must be in [0, 1].

    Raises:
        InputError: another shape, not numbers, or out of range.
    """
    like = torch.zeros(()) if like is None else like
    try:
        tensor = torch.as_tensor(background, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"background must be a number or an array of numbers; got {background!r}") from error
    if bounded and not bool(((tensor >= 0) & (tensor <= 1)).all()):
        raise InputError(f"background must be in [0, 1]; got {float(tensor.min()):.4g} to {float(tensor.max()):.4g}")
    shape = tuple(tensor.shape)
    if shape == (views, 3) and views > 0:
        return tensor[:, None, None, :]
    if shape not in ((), (3,), (views, 1, 1, 3), (views, height, width, 3)):
        raise InputError(
            f"background must be a number, [3], [V, 3] or [V, H, W, 3] with V = {views} and {height} x {width} pixels;"
            f" got shape {shape}"
        )
    return tensor


def colors_from(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """[N, 3], or [V, N, 3] where the colour depends on the viewing direction; clamped to at least 0, as in 3DGS."""
    if gaussians.sh_degree == 0:
        return gaussians.rgb.clamp(min=0)
    positions = cameras.positions.to(gaussians.dtype)
    directions = torch.nn.functional.normalize(gaussians.means - positions[:, None], dim=-1)  # [V, N, 3]
    basis = sh_basis(directions, gaussians.sh_degree)  # [V, N, K]
    return (0.5 + torch.einsum("vnk,nkc->vnc", basis, gaussians.sh)).clamp(min=0)


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
    """Render Gaussians given as tensors, for training loops: their numbers are neither checked nor clamped.

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
        backend: "auto", "numba", "layered", "reference", "gsplat" or "triton".

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
    back = check_background(background, views, height, width, means, bounded=False)
    if views == 0 or len(means) == 0:
        state = torch.cat((means.new_zeros(4), means.new_ones(1))).expand(views, height, width, 5)
        state = state + 0 * sum(t.sum() for t in (means, quats, scales, opacities, rgbs))  # backward() still works
    else:
        colors = rgbs.expand(views, -1, -1)  # [V, N, 3]
        state = _draw(chosen, means, quats, scales, opacities, colors, viewmats, Ks, width, height)
    transmittance = state[..., 4]
    alpha = 1 - transmittance
    rgb = state[..., :3] + transmittance[..., None] * back
    seen = alpha > 0
    depth = torch.where(seen, state[..., 3] / torch.where(seen, alpha, 1.0), 0.0)
    return rgb, alpha, depth
