"""Composite projected Gaussians in plain torch, in layers of tiles: any device, gradients from autograd.

The image is cut into 8 x 8 tiles, each with the list of the Gaussians that reach it, near to far. One step composites
the next 32 Gaussians of every unfinished tile, as one dense [tiles, 32, 64] product.

The rules (alpha cap, skip, stop) are those of reference.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .projection import Splats
from .reference import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN

TILE = 8  # pixels; 16, as GPU kernels have it, is half as fast here: most of a tile lies outside a small splat
LAYER = 32  # Gaussians of a tile that one step composites


def _tile_boxes(splats: Splats, opacities: Tensor, v: int, tiles_x: int, tiles_y: int) -> tuple[Tensor, Tensor]:
    """First tile and last tile + 1, each [N, 2] (x, y), of the box around alpha >= 1/255; empty where nothing shows."""
    a, b, c = splats.conics[v].unbind(-1)  # 3 x [N]
    q_max = 2 * torch.log(opacities.clamp(min=1e-30) / ALPHA_MIN)  # [N]
    shows = splats.valid[v] & (q_max >= 0)
    det = a * c - b * b
    reach = torch.sqrt(q_max.clamp(min=0)[:, None] * torch.stack((c, a), dim=-1) / det[:, None])  # [N, 2]
    limit = torch.tensor([tiles_x, tiles_y], device=a.device)
    low, high = splats.means2d[v] - reach, splats.means2d[v] + reach  # [N, 2], pixels
    # Clamp as floats: a far away Gaussian does not fit into an integer.
    first = torch.minimum((low / TILE).floor().clamp(min=0), limit).long()
    last = torch.minimum((high / TILE).floor().clamp(min=-1) + 1, limit).long()
    return first, torch.where(shows[:, None], torch.maximum(last, first), first)


@torch.no_grad()
def _tile_lists(splats: Splats, opacities: Tensor, v: int, tiles_x: int, tiles_y: int) -> tuple[Tensor, Tensor]:
    """A view's Gaussians tile by tile, near to far, [pairs], and the start of each tile's list, [tiles + 1]."""
    first, last = _tile_boxes(splats, opacities, v, tiles_x, tiles_y)
    size = last - first  # [N, 2]
    counts = size[:, 0] * size[:, 1]
    order = torch.argsort(splats.depths[v], stable=True)
    order = order[counts[order] > 0]
    gaussians = torch.repeat_interleave(order, counts[order])  # [pairs], near to far
    starts = torch.cumsum(counts[order], 0) - counts[order]
    within = torch.arange(len(gaussians), device=order.device) - torch.repeat_interleave(starts, counts[order])
    width = size[gaussians, 0]
    tile_x = first[gaussians, 0] + within % width
    tile_y = first[gaussians, 1] + torch.div(within, width, rounding_mode="floor")
    tile, by_tile = torch.sort(tile_y * tiles_x + tile_x, stable=True)
    bounds = torch.searchsorted(tile, torch.arange(tiles_x * tiles_y + 1, device=tile.device))
    return gaussians[by_tile], bounds


def _view(splats: Splats, colors: Tensor, opacities: Tensor, v: int, width: int, height: int) -> Tensor:
    """[H, W, 5] of one view."""
    tiles_x, tiles_y = math.ceil(width / TILE), math.ceil(height / TILE)
    pairs, bounds = _tile_lists(splats, opacities, v, tiles_x, tiles_y)
    tiles, like = tiles_x * tiles_y, splats.means2d
    # One row a Gaussian: mean 2, conic 3, opacity 1, rgb 3, depth 1; the last row draws nothing and pads the lists.
    columns = (splats.means2d[v], splats.conics[v], opacities[:, None], colors, splats.depths[v][:, None])
    rows = torch.nn.functional.pad(torch.cat(columns, dim=-1), (0, 0, 0, 1))  # [N + 1, 10]
    inside = torch.arange(TILE * TILE, device=like.device)
    offsets = torch.stack((inside % TILE, torch.div(inside, TILE, rounding_mode="floor")), dim=-1) + 0.5  # [64, 2]
    offsets = offsets.to(like.dtype)
    index = torch.arange(tiles, device=like.device)
    corners = TILE * torch.stack((index % tiles_x, torch.div(index, tiles_x, rounding_mode="floor")), dim=-1)

    transmittance = like.new_ones(tiles, TILE * TILE)
    drawn = like.new_zeros(tiles, TILE * TILE, 4)  # rgb, depth
    lengths = bounds[1:] - bounds[:-1]
    step = torch.arange(LAYER, device=like.device)
    for start in range(0, int(lengths.max()) if tiles else 0, LAYER):
        open_ = (transmittance.detach() >= TRANSMITTANCE_MIN).any(-1)
        active = torch.nonzero(open_ & (lengths > start))[:, 0]  # [A]
        if len(active) == 0:
            break
        place = start + step
        nth = torch.minimum(bounds[active, None] + place, bounds[-1] - 1)  # [A, 32]
        chosen = torch.where(place < lengths[active, None], pairs[nth], len(rows) - 1)
        row = torch.nn.functional.embedding(chosen, rows)  # [A, 32, 10]
        local = row[..., :2] - corners[active, None]  # [A, 32, 2]: means, from the tile's corner
        dx = offsets[:, 0] - local[..., 0, None]  # [A, 32, 64]
        dy = offsets[:, 1] - local[..., 1, None]
        a, b, c = row[..., 2, None], row[..., 3, None], row[..., 4, None]  # 3 x [A, 32, 1]
        alphas = row[..., 5, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)  # [A, 32, 64]
        alphas = torch.where(alphas >= ALPHA_MIN, alphas.clamp(max=ALPHA_MAX), 0.0)
        now = transmittance[active]  # [A, 64]
        through = now[:, None] * torch.cumprod(1 - alphas, dim=1)  # behind each
        before = torch.cat((now[:, None], through[:, :-1]), dim=1)  # in front of each
        drawing = before >= TRANSMITTANCE_MIN
        weights = torch.where(drawing, before * alphas, 0.0)
        drawn = drawn.index_add(0, active, weights.transpose(1, 2) @ row[..., 6:])  # [A, 64, 4]
        # A finished pixel keeps the transmittance behind the last Gaussian drawn: the least of those that count.
        after = torch.where(drawing, through, now[:, None]).amin(1)
        transmittance = transmittance.index_copy(0, active, after)
    state = torch.cat((drawn, transmittance[..., None]), dim=-1)  # [tiles, 64, 5]
    state = state.view(tiles_y, tiles_x, TILE, TILE, 5).transpose(1, 2)
    return state.reshape(tiles_y * TILE, tiles_x * TILE, 5)[:height, :width]


def composite(splats: Splats, colors: Tensor, opacities: Tensor, width: int, height: int) -> Tensor:
    """Composite projected Gaussians front to back, differentiably.

    Args:
        splats: V x N projected Gaussians.
        colors: [V, N, 3].
        opacities: [N], in [0, 1].
        width: pixels.
        height: pixels.

    Returns:
        [V, H, W, 5]: colour (without background), depth (sum of weight times depth), transmittance.
    """
    views = [_view(splats, colors[v], opacities, v, width, height) for v in range(len(splats.depths))]
    return torch.stack(views)
