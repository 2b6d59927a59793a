"""Checks of lesson 07, LGM end to end."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import orbit_cameras, plucker_rays
from ..gaussians import Gaussians
from ..metrics import psnr
from ..rendering import render
from ._exercise import Exercise, call, generator, need, of_type, tensor_of

HALF_TURN = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))  # about z, of exercise 4


def nearest_point(answer: Any) -> None:
    """A function that gives the point of each ray that is nearest to the origin."""
    rays = plucker_rays(orbit_cameras(elevation=20, azimuth=(10, 130), size=(5, 4)))  # [2, 6, 4, 5]
    point = tensor_of(call(answer, rays), (2, 3, 4, 5))
    moment, direction = rays.double().split([3, 3], 1)
    on_ray = torch.linalg.cross(point, direction, dim=1)
    if torch.allclose(on_ray, -moment, atol=1e-4):
        need(False, "The points lie on the other side of the origin: the factors of the product are swapped.")
    off = float((on_ray - moment).abs().max())
    need(off < 1e-4, f"Each point must lie on its ray, that is point x direction = moment; it is off by {off:.2g}.")
    along = float((point * direction).sum(1).abs().max())
    need(along < 1e-4, f"The nearest point is at a right angle to the direction; the dot product is {along:.2g}.")


def raw_scale(answer: Any) -> None:
    """The inverse of size = 0.1 * softplus(raw)."""
    sizes = torch.tensor([1e-5, 1e-3, 0.02, 0.1, 0.5, 2.0], dtype=torch.float64)
    raw = tensor_of(call(answer, sizes), (6,))
    made = 0.1 * F.softplus(raw)
    worst = int(((made - sizes).abs() / sizes).argmax())
    found = f"for a size of {sizes[worst]:g} your number gives {made[worst]:.4g}"
    need(torch.allclose(made, sizes, rtol=1e-3, atol=0), f"The activation must give the size back; {found}.")


def unit_quaternions(answer: Any) -> None:
    """A function that gives each quaternion length 1 and leaves its direction."""
    raw = torch.randn(2, 50, 4, generator=generator()) * 0.1
    unit = tensor_of(call(answer, raw), (2, 50, 4))
    lengths = unit.norm(dim=-1)
    low, high = lengths.aminmax()
    need((lengths - 1).abs().max() < 1e-4, f"Each quaternion must have length 1; they have {low:.3g} to {high:.3g}.")
    turned = F.cosine_similarity(unit, raw.double(), dim=-1).min()
    need(turned > 0.9999, "Only the length must change; the direction of some quaternions did.")


def half_turn(answer: Any) -> None:
    """A function that turns Gaussians by 180 degrees about z: positions and orientations."""
    rows = torch.rand(1, 60, 14, generator=generator())
    rows[..., 7:11] = torch.randn(1, 60, 4, generator=generator())  # general quaternions: others hide the fault
    before = Gaussians.from_lgm(rows)
    after = of_type(call(answer, before), Gaussians, "a function that gives Gaussians")
    need(len(after) == len(before), f"All {len(before)} Gaussians must stay; {len(after)} did.")
    moved = torch.allclose(after.means, before.means @ HALF_TURN, atol=1e-4)
    need(moved, "Positions must turn about z: x and y change their signs, z stays; they do not.")
    wanted = HALF_TURN @ before.covariances() @ HALF_TURN.T
    turned = torch.allclose(after.covariances(), wanted, atol=1e-4)
    need(turned, "Positions are right, but the Gaussians themselves must turn about the same axis; they do not.")
    colour = torch.allclose(after.rgb, before.rgb, atol=1e-5)
    need(colour and torch.equal(after.opacities, before.opacities), "Colours and opacities must stay; they changed.")


def _scene() -> tuple[Gaussians, Tensor]:
    """A cloud of solid Gaussians, and its pictures [4, 3, 32, 32] from LGM's four cameras."""
    rows = torch.rand(1, 80, 14, generator=generator())
    rows[..., :3] = rows[..., :3] - 0.5
    rows[..., 3], rows[..., 4:7] = 0.9, 0.05
    cloud = Gaussians.from_lgm(rows)
    pictures = render(cloud, orbit_cameras(size=32), backend="layered")
    return cloud, of_type(pictures, Tensor, "a tensor").permute(0, 3, 1, 2)  # [4, 3, 32, 32]


def views_psnr(answer: Any) -> None:
    """A function (gaussians, views) that gives four decibels, one a view."""
    cloud, views = _scene()
    perfect = tensor_of(call(answer, cloud, views), (4,))
    lowest = float(perfect.min())
    need(lowest > 45, f"Pictures of the object itself must fit nearly perfectly; yours give {lowest:.1f} dB.")
    damaged = views.clone()
    damaged[2] = 0.5
    found = tensor_of(call(answer, cloud, damaged), (4,))
    need((found[[0, 1, 3]] > 45).all(), "Views are mixed up: a fault in one of them changed the others' numbers.")
    wanted = psnr(views[2], damaged[2])
    need(abs(found[2] - wanted) < 0.5, f"A grey picture gives {wanted:.1f} dB here; yours gives {found[2]:.1f}.")


EXERCISES = (
    Exercise(
        "07.1", nearest_point,
        ("The moment is origin x direction. What is direction x moment, if the direction has length 1?",
         "torch.linalg.cross(direction, moment, dim=1), after rays.split([3, 3], 1)."),
        "The tiny model measures depth along a ray from exactly this point.",
    ),
    Exercise(
        "07.2", raw_scale,
        ("Solve size = 0.1 * log(1 + exp(raw)) for raw.",
         "torch.log(torch.expm1(size / 0.1)); expm1 keeps the digits that exp(x) - 1 loses for small x."),
        "Training code needs this to start from Gaussians of a size that makes sense.",
    ),
    Exercise(
        "07.3", unit_quaternions,
        ("F.normalize divides by the length along one axis. Which is it when you do not say?",
         "F.normalize(raw, dim=-1): the four numbers of one quaternion are the last axis."),
        "This one missing argument is the severe fault of the published code.",
    ),
    Exercise(
        "07.4", half_turn,
        ("Turning x and y of the means by hand leaves every ellipsoid as it lay. What turns both?",
         "gaussians.transform(matrix), where matrix is the diagonal of -1, -1, 1."),
        "Round Gaussians would hide the difference; long and flat ones show it.",
    ),
    Exercise(
        "07.5", views_psnr,
        ("Render from i3d.orbit_cameras at the size of the views; then i3d.metrics.psnr takes [V, 3, H, W].",
         "render gives [V, H, W, 3]: .permute(0, 3, 1, 2) makes [V, 3, H, W] of it."),
        "With real weights this number tells which rays and which rotations are the right ones.",
    ),
)  # fmt: skip
