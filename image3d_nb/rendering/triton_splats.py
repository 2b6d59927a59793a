"""Composite projected Gaussians on CUDA: Triton kernels, forward and backward. No CUDA compiler is needed.

The image is cut into 8 x 8 tiles, each with the list of the Gaussians that reach it, near to far. One program walks
through one tile's list with the tile's 64 pixels in its registers: near to far for the image, far to near for the
gradients. A Gaussian has one place for its gradients in each of its tiles; they are summed at the end, always in the
same order, so that the same input gives the same gradients.

The rules (alpha cap, skip, stop) are those of reference.py. The tests run the kernels in Triton's interpreter, and
compile them for three generations of cards; no test runs on a card.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from .layered import TILE
from .projection import Splats
from .reference import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN

ROW = 10
"""Numbers of a Gaussian in an image: mean 2, conic 3, opacity 1, rgb 3, depth 1."""
_MAX, _MIN, _STOP = tl.constexpr(ALPHA_MAX), tl.constexpr(ALPHA_MIN), tl.constexpr(TRANSMITTANCE_MIN)


@triton.jit
def _alpha(rows, n, x, y):  # type: ignore[no-untyped-def]
    """Offsets of the pixels [64] from a Gaussian's mean, their alphas without the cap, and the Gaussian's numbers."""
    row = rows + n * 10
    dx, dy = x - tl.load(row), y - tl.load(row + 1)
    a, b, c = tl.load(row + 2), tl.load(row + 3), tl.load(row + 4)
    value = tl.load(row + 5) * tl.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    return dx, dy, value, row


@triton.jit
def _pixels(tile, across, down, side: tl.constexpr):  # type: ignore[no-untyped-def]
    """The image of a tile, and the columns and rows of its pixels, each [side^2]."""
    image, local = tile // (across * down), tile % (across * down)
    inside = tl.arange(0, side * side)
    return image, (local % across) * side + inside % side, (local // across) * side + inside // side


@triton.jit
def _forward(rows, pairs, bounds, state, last, width, height, across, down, side: tl.constexpr):  # type: ignore[no-untyped-def]
    """One tile. Writes state [I, H, W, 5] and last [I, H, W], each pixel's last contributor's place in ``pairs``."""
    tile = tl.program_id(0).to(tl.int64)
    image, column, line = _pixels(tile, across, down, side)
    x, y = column.to(tl.float32) + 0.5, line.to(tl.float32) + 0.5
    through = tl.full([side * side], 1.0, tl.float32)
    red, green, blue, depth = through * 0, through * 0, through * 0, through * 0
    at, end = tl.load(bounds + tile), tl.load(bounds + tile + 1)
    latest = tl.full([side * side], -1, tl.int64)
    brightest = tl.max(through, 0)
    while (at < end) & (brightest >= _STOP):
        _, _, value, row = _alpha(rows, tl.load(pairs + at), x, y)
        drawn = (value >= _MIN) & (through >= _STOP)
        weight = tl.where(drawn, through * tl.minimum(value, _MAX), 0.0)
        red += weight * tl.load(row + 6)
        green += weight * tl.load(row + 7)
        blue += weight * tl.load(row + 8)
        depth += weight * tl.load(row + 9)
        through -= weight
        latest = tl.where(drawn, at, latest)
        brightest = tl.max(through, 0)
        at += 1
    inside = (column < width) & (line < height)
    pixel = (image * height + line) * width + column
    tl.store(last + pixel, latest, inside)
    tl.store(state + pixel * 5, red, inside)
    tl.store(state + pixel * 5 + 1, green, inside)
    tl.store(state + pixel * 5 + 2, blue, inside)
    tl.store(state + pixel * 5 + 3, depth, inside)
    tl.store(state + pixel * 5 + 4, through, inside)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    rows, pairs, bounds, state, last, grad, places, found, width, height, across, down, side: tl.constexpr
):
    """One tile, back to front. ``grad`` is the state's gradient; found[places[p]] becomes that of pair p's row."""
    tile = tl.program_id(0).to(tl.int64)
    image, column, line = _pixels(tile, across, down, side)
    x, y = column.to(tl.float32) + 0.5, line.to(tl.float32) + 0.5
    inside = (column < width) & (line < height)
    pixel = (image * height + line) * width + column
    latest = tl.load(last + pixel, inside, -1)
    through = tl.load(state + pixel * 5 + 4, inside, 1.0)
    g_red, g_green = tl.load(grad + pixel * 5, inside, 0.0), tl.load(grad + pixel * 5 + 1, inside, 0.0)
    g_blue, g_depth = tl.load(grad + pixel * 5 + 2, inside, 0.0), tl.load(grad + pixel * 5 + 3, inside, 0.0)
    behind = through * tl.load(grad + pixel * 5 + 4, inside, 0.0)  # sum of weight * d loss / d weight
    start, at = tl.load(bounds + tile), tl.max(latest, 0)
    while at >= start:
        dx, dy, value, row = _alpha(rows, tl.load(pairs + at), x, y)
        drawn = (value >= _MIN) & (at <= latest)
        alpha = tl.where(drawn, tl.minimum(value, _MAX), 0.0)
        clear = 1 / (1 - alpha)
        through = through * clear  # in front of this Gaussian
        weight = through * alpha
        g_weight = tl.load(row + 6) * g_red + tl.load(row + 7) * g_green + tl.load(row + 8) * g_blue
        g_weight += tl.load(row + 9) * g_depth
        s = tl.where(value < _MAX, alpha * (through * g_weight - behind * clear), 0.0)  # else the cap holds alpha
        behind += weight * g_weight
        a, b, c = tl.load(row + 2), tl.load(row + 3), tl.load(row + 4)
        # alpha = opacity exp(-q/2), q = a dx^2 + 2 b dx dy + c dy^2, dx = pixel - mean
        s_x, s_y = tl.sum(s * dx, 0), tl.sum(s * dy, 0)
        out = found + tl.load(places + at) * 10
        tl.store(out, a * s_x + b * s_y)
        tl.store(out + 1, b * s_x + c * s_y)
        tl.store(out + 2, -0.5 * tl.sum(s * dx * dx, 0))
        tl.store(out + 3, -tl.sum(s * dx * dy, 0))
        tl.store(out + 4, -0.5 * tl.sum(s * dy * dy, 0))
        tl.store(out + 5, tl.sum(s, 0) / tl.load(row + 5))
        tl.store(out + 6, tl.sum(weight * g_red, 0))
        tl.store(out + 7, tl.sum(weight * g_green, 0))
        tl.store(out + 8, tl.sum(weight * g_blue, 0))
        tl.store(out + 9, tl.sum(weight * g_depth, 0))
        at -= 1


def _tile_counts(rows: Tensor, across: int, down: int) -> tuple[Tensor, Tensor]:
    """First tile [M, 2] (x, y) and number of tiles [M, 2] of the box around alpha >= 1/255 of rows [M, 10]."""
    a, c = rows[:, 2], rows[:, 4]
    q_max = 2 * torch.log(rows[:, 5].clamp(min=1e-30) / ALPHA_MIN)  # [M]
    det = a * c - rows[:, 3] ** 2
    reach = torch.sqrt(q_max.clamp(min=0)[:, None] * torch.stack((c, a), dim=-1) / det[:, None])  # [M, 2]
    limit = torch.tensor([across, down], device=rows.device)
    # Clamp as floats: a far away Gaussian does not fit into an integer.
    first = torch.minimum(((rows[:, :2] - reach) / TILE).floor().clamp(min=0), limit)
    past = torch.minimum(((rows[:, :2] + reach) / TILE).floor().clamp(min=-1) + 1, limit)
    count = (past - first).clamp(min=0).nan_to_num(0)  # a Gaussian with NaN draws nothing, as in numba_splats.py
    return first.nan_to_num(0).long(), torch.where((q_max >= 0)[:, None], count, 0.0).long()


def _tile_lists(rows: Tensor, valid: Tensor, across: int, down: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which Gaussians reach which tiles.

    Args:
        rows: [I * N, 10], see ROW.
        valid: [I, N].
        across: tiles in a row of an image.
        down: rows of tiles.

    Returns:
        pairs [P], rows tile by tile, near to far; bounds [tiles + 1], where each tile's list begins; places [P], the
        pairs' numbers in the order of their Gaussians; counts [I * N], tiles of each Gaussian.
    """
    first, size = _tile_counts(rows, across, down)
    counts = torch.where(valid.flatten(), size[:, 0] * size[:, 1], 0)  # [M]
    index = torch.arange(len(rows), device=rows.device)
    gaussians = torch.repeat_interleave(index, counts)  # [P]
    within = torch.arange(len(gaussians), device=rows.device) - (counts.cumsum(0) - counts)[gaussians]
    wide = size[gaussians, 0]
    tile = (first[gaussians, 1] + within // wide) * across + first[gaussians, 0] + within % wide
    tile += gaussians // valid.shape[1] * (across * down)
    # Positive floats sort as their bits do: one stable sort by tile, then depth, then index.
    keys = tile << 32 | rows[gaussians, 9].contiguous().view(torch.int32)
    keys, places = torch.sort(keys, stable=True)
    starts = torch.arange(len(valid) * across * down + 1, device=rows.device) << 32
    return gaussians[places], torch.searchsorted(keys, starts), places, counts


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, valid: Tensor, width: int, height: int) -> Tensor:
        rows = rows.detach().contiguous()
        across, down = math.ceil(width / TILE), math.ceil(height / TILE)
        pairs, bounds, places, counts = _tile_lists(rows, valid, across, down)
        state = rows.new_empty(len(valid), height, width, 5)
        last = torch.empty(state.shape[:3], dtype=torch.int64, device=rows.device)
        ctx.size = width, height, across, down, TILE
        _forward[len(bounds) - 1,](rows, pairs, bounds, state, last, *ctx.size, num_warps=2)
        ctx.save_for_backward(rows, pairs, bounds, state, last, places, counts)
        return state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, pairs, bounds, state, last, places, counts = ctx.saved_tensors
        found = rows.new_zeros(len(pairs), ROW)
        inputs = (rows, pairs, bounds, state, last, grad.contiguous(), places, found)
        _backward[len(bounds) - 1,](*inputs, *ctx.size, num_warps=1)
        return torch.segment_reduce(found, "sum", lengths=counts, axis=0), None, None, None


def composite(splats: Splats, colors: Tensor, opacities: Tensor, width: int, height: int) -> Tensor:
    """Composite projected Gaussians front to back, differentiably.

    Args:
        splats: I x N projected Gaussians, float32, on a CUDA device.
        colors: [I, N, 3].
        opacities: [I, N], in [0, 1].
        width: pixels.
        height: pixels.

    Returns:
        [I, H, W, 5]: colour (without background), depth (sum of weight times depth), transmittance.
    """
    columns = (splats.means2d, splats.conics, opacities[..., None], colors, splats.depths[..., None])
    state: Tensor = _Composite.apply(torch.cat(columns, dim=-1).flatten(0, 1), splats.valid, width, height)
    return state
