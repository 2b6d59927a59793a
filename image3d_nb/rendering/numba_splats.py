"""Composite projected Gaussians on a CPU: numba kernels, forward and backward.

One loop goes over the Gaussians of a view, front to back. For each row of pixels, the exact range in x with
alpha >= 1/255 is solved for, so no pixel is visited in vain. Along a row, exp(-q/2) of a quadratic q is a product: the
next value is the last one times a ratio, and the ratio changes by a constant factor exp(-A). So a row needs two
exponentials. The products are float64: after 1,000 pixels, 10 digits are still right.

The rules (alpha cap, skip, stop) are those of reference.py.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._jit import njit
from .projection import Splats
from .reference import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN

# No "nnan"/"ninf": the guards against NaN below must survive the optimiser.
_FAST = {"contract", "reassoc", "arcp", "nsz"}
_jit = njit(nogil=True, fastmath=_FAST, error_model="numpy")
_ALPHA_MAX, _T_MIN = ALPHA_MAX, TRANSMITTANCE_MIN
_LOG_ALPHA_MIN = math.log(ALPHA_MIN)

# state[y, x]: rgb and depth, summed over the Gaussians so far, and the transmittance
_D, _T = 3, 4


@_jit
def _reach(mean_y: float, a: float, b: float, c: float, opacity: float, height: int) -> tuple[float, float, int, int]:
    """(A times the largest q with alpha >= 1/255, determinant, first row, last row + 1).

    The range is empty for a Gaussian that draws nothing, or that contains NaN or infinity.
    """
    q_max = 2.0 * (math.log(max(opacity, 1e-30)) - _LOG_ALPHA_MIN)
    det = a * c - b * b
    if not (q_max >= 0.0 and a > 0.0 and det > 0.0 and abs(mean_y) < 1e9):
        return 0.0, det, 0, 0
    reach = math.sqrt(q_max * a / det)
    first, last = max(np.ceil(mean_y - reach - 0.5), 0.0), min(np.floor(mean_y + reach - 0.5), height - 1.0)
    return q_max * a, det, int(first), int(last) + 1


@_jit
def _row(middle: float, q_max_a: float, det: float, a: float, dy: float, width: int) -> tuple[int, int]:
    """First pixel and last + 1 of a row with A dx^2 + 2 B dx dy + C dy^2 <= q_max, solved for dx."""
    root = q_max_a - det * dy * dy
    if not (root >= 0.0 and abs(middle) < 1e9):
        return 0, 0
    half = math.sqrt(root) / a
    return int(max(np.ceil(middle - half), 0.0)), int(min(np.floor(middle + half), width - 1.0)) + 1


@_jit
def _forward(
    order: Any, means: Any, conics: Any, colors: Any, opacities: Any, depths: Any, state: Any, last: Any
) -> None:
    """One view. Writes state [H, W, 5] and last [H, W], the rank in ``order`` of each pixel's last contributor."""
    height, width = last.shape
    real = state.dtype.type
    alpha_max, t_min = real(_ALPHA_MAX), real(_T_MIN)
    state[:, :, :_T] = 0.0
    state[:, :, _T] = 1.0
    last[:] = -1
    for rank in range(len(order)):
        n = order[rank]
        a, b, c = float(conics[n, 0]), float(conics[n, 1]), float(conics[n, 2])
        mean_x, mean_y, opacity = float(means[n, 0]), float(means[n, 1]), float(opacities[n])
        q_max_a, det, y0, y1 = _reach(mean_y, a, b, c, opacity, height)
        if y1 <= y0:
            continue
        red, green, blue, depth = colors[n, 0], colors[n, 1], colors[n, 2], depths[n]
        shrink, slope = math.exp(-a), b / a
        for y in range(y0, y1):
            dy = y + 0.5 - mean_y
            x0, x1 = _row(mean_x - slope * dy - 0.5, q_max_a, det, a, dy, width)
            if x1 <= x0:
                continue
            dx = x0 + 0.5 - mean_x
            edge = a * dx + b * dy
            value = opacity * math.exp(-0.5 * (edge * dx + dy * (b * dx + c * dy)))
            ratio = math.exp(-edge - 0.5 * a)
            for x in range(x0, x1):
                transmittance = state[y, x, _T]
                if transmittance >= t_min:
                    weight = transmittance * min(real(value), alpha_max)
                    state[y, x, 0] += weight * red
                    state[y, x, 1] += weight * green
                    state[y, x, 2] += weight * blue
                    state[y, x, _D] += weight * depth
                    state[y, x, _T] = transmittance - weight
                    last[y, x] = rank
                value *= ratio
                ratio *= shrink


@_jit
def _backward(
    order: Any, means: Any, conics: Any, colors: Any, opacities: Any, depths: Any, state: Any, last: Any, grad: Any,
    grad_means: Any, grad_conics: Any, grad_colors: Any, grad_opacities: Any, grad_depths: Any,
) -> None:  # fmt: skip
    """One view, back to front. ``grad`` [H, W, 5] is the gradient of ``state``; results must start as zeros."""
    height, width = last.shape
    # scratch[y, x]: the transmittance before the Gaussians done so far, and their sum of weight * d loss / d weight
    scratch = np.empty((height, width, 2))
    for y in range(height):
        for x in range(width):
            scratch[y, x, 0] = state[y, x, _T]
            scratch[y, x, 1] = state[y, x, _T] * grad[y, x, _T]
    for rank in range(len(order) - 1, -1, -1):
        n = order[rank]
        a, b, c = float(conics[n, 0]), float(conics[n, 1]), float(conics[n, 2])
        mean_x, mean_y, opacity = float(means[n, 0]), float(means[n, 1]), float(opacities[n])
        q_max_a, det, y0, y1 = _reach(mean_y, a, b, c, opacity, height)
        if y1 <= y0:
            continue
        red, green, blue, depth = colors[n, 0], colors[n, 1], colors[n, 2], depths[n]
        shrink, slope = math.exp(-a), b / a
        # Sums of s, s dx, s dy, s dx^2, s dx dy, s dy^2, with s = alpha * d loss / d alpha.
        s_1 = s_x = s_y = s_xx = s_xy = s_yy = 0.0
        g_red = g_green = g_blue = g_depth = 0.0
        for y in range(y0, y1):
            dy = y + 0.5 - mean_y
            x0, x1 = _row(mean_x - slope * dy - 0.5, q_max_a, det, a, dy, width)
            if x1 <= x0:
                continue
            dx = x0 + 0.5 - mean_x
            edge = a * dx + b * dy
            value = opacity * math.exp(-0.5 * (edge * dx + dy * (b * dx + c * dy)))
            ratio = math.exp(-edge - 0.5 * a)
            row_1 = row_x = row_xx = 0.0
            for x in range(x0, x1):
                if rank <= last[y, x]:
                    g_0, g_1, g_2, g_d = grad[y, x, 0], grad[y, x, 1], grad[y, x, 2], grad[y, x, _D]
                    alpha = min(value, _ALPHA_MAX)
                    through = 1.0 / (1.0 - alpha)
                    transmittance, behind = scratch[y, x, 0] * through, scratch[y, x, 1]
                    weight = transmittance * alpha
                    g_weight = red * g_0 + green * g_1 + blue * g_2 + depth * g_d
                    g_red += weight * g_0
                    g_green += weight * g_1
                    g_blue += weight * g_2
                    g_depth += weight * g_d
                    if value < _ALPHA_MAX:  # else the cap holds alpha, whatever the Gaussian does
                        s = alpha * (transmittance * g_weight - behind * through)
                        row_1 += s
                        row_x += s * dx
                        row_xx += s * dx * dx
                    scratch[y, x, 0] = transmittance
                    scratch[y, x, 1] = behind + weight * g_weight
                value *= ratio
                ratio *= shrink
                dx += 1.0
            s_1 += row_1
            s_x += row_x
            s_y += row_1 * dy
            s_xx += row_xx
            s_xy += row_x * dy
            s_yy += row_1 * dy * dy
        # alpha = opacity exp(-q/2), q = A dx^2 + 2 B dx dy + C dy^2, dx = pixel - mean
        grad_means[n, 0], grad_means[n, 1] = a * s_x + b * s_y, b * s_x + c * s_y
        grad_conics[n, 0], grad_conics[n, 1], grad_conics[n, 2] = -0.5 * s_xx, -s_xy, -0.5 * s_yy
        grad_colors[n, 0], grad_colors[n, 1], grad_colors[n, 2] = g_red, g_green, g_blue
        grad_opacities[n] = s_1 / opacity
        grad_depths[n] = g_depth


def _front_to_back(depths: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of one view's valid Gaussians, near to far, equal depths by index: a stable argsort, 5x faster."""
    index = np.flatnonzero(valid)
    if depths.dtype != np.float32:
        return index[np.argsort(depths[index], kind="stable")]
    # Positive floats sort as their bits do; with the index in the low half, a plain (vectorised) sort is stable.
    keys = (depths[index].view(np.int32).astype(np.int64) << 32) | index
    keys.sort()
    return keys & 0xFFFFFFFF


def _each_view(task: Any, views: int) -> None:
    """Run task(v) for each view, on as many threads as torch may use.

    The kernels release the GIL and views share nothing. Not prange: numba's own thread pool aborts the process when
    two Python threads (two notebook jobs, two requests) enter it at once.
    """
    threads = min(views, torch.get_num_threads())
    if threads <= 1:
        for v in range(views):
            task(v)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(task, range(views)))


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, depths: Tensor,
                valid: Tensor, width: int, height: int) -> Tensor:  # fmt: skip
        inputs = [t.detach().contiguous() for t in (means2d, conics, colors, opacities, depths)]
        arrays = [t.numpy() for t in inputs]
        views, mask = len(means2d), valid.numpy()
        state = means2d.new_empty(views, height, width, 5)
        last = np.empty((views, height, width), np.int32)
        orders: list[Any] = [None] * views

        def task(v: int) -> None:
            orders[v] = _front_to_back(arrays[4][v], mask[v])
            _forward(orders[v], *(array[v] for array in arrays), state_array[v], last[v])

        state_array = state.numpy()
        _each_view(task, views)
        ctx.save_for_backward(*inputs, state)
        ctx.last, ctx.orders = last, orders
        return state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, state = (t.numpy() for t in ctx.saved_tensors)
        grad_array = grad.contiguous().numpy()
        results = [torch.zeros_like(t) for t in ctx.saved_tensors[:-1]]
        outputs = [t.numpy() for t in results]

        def task(v: int) -> None:
            _backward(ctx.orders[v], *(array[v] for array in inputs), state[v], ctx.last[v], grad_array[v],
                      *(output[v] for output in outputs))  # fmt: skip

        _each_view(task, len(state))
        return *results, None, None, None


def composite(splats: Splats, colors: Tensor, opacities: Tensor, width: int, height: int) -> Tensor:
    """Composite projected Gaussians front to back, differentiably.

    Args:
        splats: V x N projected Gaussians, float32 or float64, on the CPU.
        colors: [V, N, 3].
        opacities: [V, N], in [0, 1].
        width: pixels.
        height: pixels.

    Returns:
        [V, H, W, 5]: colour (without background), depth (sum of weight times depth), transmittance.
    """
    means2d, conics, depths, valid = splats
    state: Tensor = _Composite.apply(means2d, conics, colors, opacities, depths, valid, width, height)
    return state
