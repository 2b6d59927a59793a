"""Checks of lesson 06, inside LGM."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import orbit_cameras, plucker_rays
from ._exercise import Exercise, call, generator, name_fault, need, number_of, tensor_of

DEPTH_RANGE = 0.75  # of exercise 4, world units


def gaussian_of(answer: Any) -> None:
    """A function (view, row, column, size) that gives the index of a pixel's Gaussian."""
    for view, row, column, size in ((0, 20, 32, 64), (3, 5, 60, 64), (2, 7, 1, 16), (0, 0, 0, 128)):
        found = number_of(call(answer, view, row, column, size))
        wanted = (view * size + row) * size + column
        faults = {
            "Row and column are swapped: pixels are counted along a row first.": (view * size + column) * size + row,
            "The views are counted last here; all pixels of view 0 come first.": (row * size + column) * 4 + view,
            "Everything is one too large: counting starts at 0.": wanted + 1,
            "The view does not count in yours: each view has size x size pixels of its own.": row * size + column,
        }
        for complaint, value in faults.items():
            need(found == wanted or found != value, complaint)
        say = (
            f"View {view}, row {row}, column {column} of {size} x {size} pixels is number {wanted}; yours is {found:g}."
        )
        need(found == wanted, say)


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float | None = None, over: int = -1) -> Tensor:
    q, k, v = (x.unflatten(1, (heads, -1)).transpose(0, 1) for x in (q, k, v))  # [heads, L, C/heads]
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    return ((q @ k.mT * scale).softmax(over) @ v).transpose(0, 1).flatten(1)


def attention(answer: Any) -> None:
    """A function (q, k, v, heads) on [L, C] that gives [L, C]."""
    for length, channels, heads in ((6, 8, 1), (10, 24, 4)):
        q, k, v = 2 * torch.randn(3, length, channels, generator=generator())
        found = tensor_of(call(answer, q, k, v, heads), (length, channels))
        if torch.allclose(found, _attention(q, k, v, heads).double(), atol=1e-4):
            continue
        faults = {
            "The scores are not divided by the square root of a head's channels.": _attention(q, k, v, heads, 1.0),
            "The softmax runs over the wrong axis: what one query gives to all keys must add up to 1.":
                _attention(q, k, v, heads, over=-2),
        }  # fmt: skip
        if heads > 1:
            faults |= {
                "The heads are not split: each must compare its own C / heads channels.": _attention(q, k, v, 1),
                "You divide by the root of all C channels; a head has C / heads of them.":
                    _attention(q, k, v, heads, 1 / math.sqrt(channels)),
            }  # fmt: skip
        name_fault(found, faults, atol=1e-4)
        off = float((found - _attention(q, k, v, heads)).abs().max())
        need(False, f"With {heads} head{'s' * (heads > 1)} your result is off by {off:.2g} at worst.")


def activate(answer: Any) -> None:
    """A function that turns raw rows [N, 14] to Gaussians' numbers, as LGM-full does."""
    raw = 2 * torch.randn(50, 14, generator=generator())
    found = tensor_of(call(answer, raw.clone()), (50, 14))
    position, opacity, scale, quats, color = raw.double().split([3, 1, 3, 4, 3], 1)
    parts = dict(zip(("positions", "opacities", "scales", "quaternions", "colours"),
                     found.split([3, 1, 3, 4, 3], 1), strict=True))  # fmt: skip
    wanted = {
        "positions": position.clamp(-1, 1),
        "opacities": opacity.sigmoid(),
        "scales": 0.1 * F.softplus(scale),
        "quaternions": F.normalize(quats, dim=1),
        "colours": 0.5 * torch.tanh(color) + 0.5,
    }
    faults = {
        "positions": {"Positions are cut off at -1 and 1, not bent by tanh.": torch.tanh(position)},
        "opacities": {"A softmax makes all opacities add up to 1; each is on its own: sigmoid.": opacity.softmax(0)},
        "scales": {
            "The exponential is what files use; LGM uses 0.1 times softplus.": scale.exp(),
            "The factor 0.1 of the scales is missing: Gaussians would be ten times too large.": F.softplus(scale),
        },
        "quaternions": {
            "Quaternions are normalised over all Gaussians; each must have length 1: dim=-1.": F.normalize(
                quats, dim=0
            ),
            "The quaternions are raw: divide each by its length.": quats,
        },
        "colours": {
            "Colours reach from -1 to 1: add what brings tanh to [0, 1].": torch.tanh(color),
            "A sigmoid is nearly right: 0.5 tanh(x) + 0.5 is the sigmoid of 2x, not of x.": color.sigmoid(),
        },
    }
    for name, value in wanted.items():
        if torch.allclose(parts[name], value, atol=1e-5):
            continue
        name_fault(parts[name], faults[name])
        off = float((parts[name] - value).abs().max())
        need(False, f"The {name} are off by {off:.2g} at worst.")


def place(answer: Any) -> None:
    """A function (raw, rays) that gives the point of each pixel's Gaussian on its ray."""
    rays = plucker_rays(orbit_cameras(azimuth=(0, 70), elevation=10, size=(5, 4)))  # [2, 6, 4, 5]
    raw = torch.randn(2, 1, 4, 5, generator=generator())
    found = tensor_of(call(answer, raw, rays), (2, 3, 4, 5))
    moment, direction = rays.double().split([3, 3], 1)
    nearest, depth = torch.linalg.cross(direction, moment, dim=1), DEPTH_RANGE * torch.tanh(raw.double())
    if torch.allclose(found, nearest + depth * direction, atol=1e-5):
        return
    faults = {
        "The depth is not limited: tanh is missing.": nearest + DEPTH_RANGE * raw * direction,
        "tanh reaches from -1 to 1; depths reach to 0.75 either way: the factor is missing.":
            nearest + torch.tanh(raw) * direction,
        "The points lie on the other side of the origin: the cross product's factors are swapped.":
            -nearest + depth * direction,
        "A depth of 0 must be the ray's point nearest to the origin, not the origin.": depth * direction,
        "A larger depth must lie farther along the ray, away from the camera.": nearest - depth * direction,
    }  # fmt: skip
    name_fault(found, faults)
    off = float((torch.linalg.cross(found, direction, dim=1) - moment).norm(dim=1).max())
    need(off < 1e-4, f"Each point must lie on its pixel's ray; one misses it by {off:.2g}.")
    need(False, "The points lie on their rays, but at wrong depths.")


def who_looks_at_whom(answer: Any) -> None:
    """A function that turns attention weights [heads, 4 n, 4 n] to a table [4, 4] between views."""
    n = 6
    weights = (3 * torch.randn(3, 4 * n, 4 * n, generator=generator())).softmax(-1)
    found = tensor_of(call(answer, weights.clone()), (4, 4))
    blocks = weights.double().view(3, 4, n, 4, n)
    wanted = blocks.sum(4).mean((0, 2))
    if torch.allclose(found, wanted, atol=1e-4):
        return
    rows = [round(value, 3) for value in found.sum(1).tolist()]
    if torch.allclose(found, wanted.T, atol=1e-4):
        need(False, "Your table is turned over: row i must say where view i looks, so each row adds up to 1.")
    if torch.allclose(found, blocks.mean((0, 2, 4)), atol=1e-4):
        need(False, f"What a query gives to the places of one view must be added, not averaged: rows add up to {rows}.")
    if torch.allclose(found, blocks.sum(4).mean(0).sum(1), atol=1e-4):
        need(False, f"Average over the places that look, do not add them: rows add up to {rows}, not to 1.")
    need(False, f"Row i says where view i looks and adds up to 1; your rows add up to {rows}.")


EXERCISES = (
    Exercise(
        "06.1", gaussian_of,
        ("How many pixels come before view 2? How many before row 7 of it?",
         "view * size * size + row * size + column."),
        """\
def gaussian_of(view, row, column, size):
    return (view * size + row) * size + column""",
        "So you can ask each Gaussian which pixel it came from.",
    ),
    Exercise(
        "06.2", attention,
        ("Split the C channels into heads first: .unflatten(1, (heads, -1)).transpose(0, 1) is [heads, L, C / heads].",
         "(q @ k.mT / d**0.5).softmax(-1) @ v for each head, d = C / heads; then .transpose(0, 1).flatten(1)."),
        """\
def attention(q, k, v, heads):
    q, k, v = (x.unflatten(1, (heads, -1)).transpose(0, 1) for x in (q, k, v))
    weights = (q @ k.mT / q.shape[-1]**0.5).softmax(-1)  # [heads, L, L]
    return (weights @ v).transpose(0, 1).flatten(1)""",
        "Language models, ImageDream and LGM all run on these three lines.",
    ),
    Exercise(
        "06.3", activate,
        ("Split the columns into 3, 1, 3, 4 and 3 first; each part has an activation of its own.",
         "clamp(-1, 1), sigmoid, 0.1 * F.softplus, F.normalize(..., dim=-1), 0.5 * tanh + 0.5; then torch.cat."),
        """\
def activate(raw):
    position, opacity, scale, quats, color = raw.split([3, 1, 3, 4, 3], -1)
    parts = [position.clamp(-1, 1), opacity.sigmoid(), 0.1 * F.softplus(scale),
             F.normalize(quats, dim=-1), 0.5 * torch.tanh(color) + 0.5]
    return torch.cat(parts, -1)""",
        "Whatever the network says, a valid Gaussian comes out.",
    ),
    Exercise(
        "06.4", place,
        ("Which point of the ray is nearest to the origin? direction x moment is that point.",
         "nearest + 0.75 * torch.tanh(raw) * direction, after rays.split([3, 3], 1)."),
        """\
def place(raw, rays):
    moment, direction = rays.split([3, 3], 1)  # [V, 3, H, W] each
    nearest = torch.linalg.cross(direction, moment, dim=1)
    return nearest + 0.75 * torch.tanh(raw) * direction""",
        "The network only has to say how deep each pixel's surface lies.",
    ),
    Exercise(
        "06.5", who_looks_at_whom,
        ("Reshape to [heads, 4, n, 4, n]: view and place that look, view and place that are looked at.",
         "Add over the last axis, then take the mean over heads and over the places that look."),
        """\
def who_looks_at_whom(weights):
    n = weights.shape[-1] // 4
    return weights.view(-1, 4, n, 4, n).sum(-1).mean((0, 2))  # [4, 4]""",
        "The shares off the diagonal are all that one view learns from the others.",
    ),
)  # fmt: skip
