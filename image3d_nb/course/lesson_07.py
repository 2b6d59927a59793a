"""Checks of lesson 07, LGM end to end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import orbit_cameras, plucker_rays
from ..gaussians import Gaussians
from ..metrics import psnr
from ..rendering import render
from . import lesson_03
from ._exercise import Exercise, call, generator, need, of_type, tensor_of

HALF_TURN = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # about x, of exercise 4


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
    drawn = of_type(render(cloud, orbit_cameras(size=32)), Tensor, "a tensor").permute(0, 3, 1, 2)
    wanted = psnr(drawn, views).double()
    need(not torch.allclose(perfect, -wanted, rtol=0.05), "The sign is wrong: a smaller error must give more decibels.")
    bels = torch.allclose(perfect, wanted / 10, rtol=0.05)
    need(not bels, "The factor 10 is missing: decibels are 10 times the logarithm.")
    alike = torch.allclose(perfect, torch.ones(4).double(), atol=0.05)
    need(not alike, "Equal images give about 1 here, so this is a similarity such as SSIM; decibels are asked for.")
    if float(perfect.abs().max()) < 0.1:
        need(False, "Equal images give about 0 here, so this is an error; in decibels it is -10 log10 of that.")
    lowest = float(perfect.min())
    say = f"The object's own views must fit nearly perfectly; one of yours gives {lowest:.1f} dB: cameras? size?"
    need(lowest > 45, say)
    damaged = views.clone()
    damaged[2] = 0.5
    found = tensor_of(call(answer, cloud, damaged), (4,))
    others = bool((found[[0, 1, 3]] > 45).all())
    need(others, "Only view 2 has a fault, but other numbers changed, too: compare each view with its own render.")
    expected = psnr(views[2], damaged[2])
    say = f"View 2 is replaced by grey here and must give {expected:.1f} dB; yours gives {found[2]:.1f}."
    need(abs(found[2] - expected) < 0.5, say)


def quaternions(answer: Any) -> None:
    """A function that gives the unit quaternions [B, N, 4] of LGM's raw maps [B, V, 14, h, w]."""
    maps = torch.randn(2, 4, 14, 3, 5, generator=generator())
    unit = tensor_of(call(answer, maps), (2, 60, 4))
    early = F.normalize(maps[:, :, 7:11].double(), dim=2).reshape(2, -1, 4)
    say = "The lengths were right, but the reshape after them tore the quaternions: bring the channels to the end."
    need(not torch.allclose(unit, early, atol=1e-4), say)
    off = (unit.norm(dim=-1) - 1).abs().max()
    need(off < 1e-4, f"Each quaternion must have length 1; one of them is off by {off:.2g}.")
    raw = maps[:, :, 7:11].double().permute(0, 1, 3, 4, 2).flatten(1, 3)  # [2, 60, 4]
    alike = torch.einsum("bik,bjk->bij", unit, F.normalize(raw, dim=-1))  # [2, 60, 60]
    if float(alike.diagonal(dim1=1, dim2=2).min()) > 0.9999:
        return
    if float(alike.amax(2).min()) > 0.9999:
        need(False, "Each quaternion is right, but their order is not: views first, then rows, then columns.")
    for first in range(11):
        other = F.normalize(maps[:, :, first : first + 4].double().permute(0, 1, 3, 4, 2).flatten(1, 3), dim=-1)
        if torch.allclose(unit, other, atol=1e-4):
            need(False, f"Channels {first} to {first + 3} are not the quaternion: it is in channels 7 to 10.")
    need(False, "The lengths are right, but the four numbers of a quaternion must come from one pixel's four channels.")


def y_down(answer: Any) -> None:
    """A function that turns Gaussians by 180 degrees about x: positions and orientations."""
    rows = torch.rand(1, 60, 14, generator=generator())
    rows[..., 7:11] = torch.randn(1, 60, 4, generator=generator())  # general quaternions: others hide the fault
    before = Gaussians.from_lgm(rows)
    after = of_type(call(answer, before), Gaussians, "a function that gives Gaussians")
    need(len(after) == len(before), f"All {len(before)} Gaussians must stay; {len(after)} did.")
    moved = torch.allclose(after.means, before.means @ HALF_TURN, atol=1e-4)
    need(moved, "Positions must turn about x: y and z change their signs, x stays; they do not.")
    wanted = HALF_TURN @ before.covariances() @ HALF_TURN.T
    turned = torch.allclose(after.covariances(), wanted, atol=1e-4)
    need(turned, "Positions are right, but the Gaussians themselves must turn about the same axis; they do not.")
    colour = torch.allclose(after.rgb, before.rgb, atol=1e-5)
    need(colour and torch.equal(after.opacities, before.opacities), "Colours and opacities must stay; they changed.")


EXERCISES = (
    Exercise(
        "07.1", nearest_point,
        ("The moment is origin x direction. What is direction x moment, if the direction has length 1?",
         "torch.linalg.cross(direction, moment, dim=1), after rays.split([3, 3], 1)."),
        """\
def nearest_point(rays):
    moment, direction = rays.split([3, 3], 1)  # [V, 3, H, W] each
    return torch.linalg.cross(direction, moment, dim=1)""",
        "The tiny model measures depth along a ray from exactly this point.",
    ),
    Exercise(
        "07.2", views_psnr,
        ("Render from i3d.orbit_cameras at the size of the views; then i3d.metrics.psnr takes [V, 3, H, W].",
         "render gives [V, H, W, 3]: .permute(0, 3, 1, 2) makes [V, 3, H, W] of it."),
        """\
def views_psnr(gaussians, views):
    cameras = i3d.orbit_cameras(size=views.shape[-1])
    drawn = i3d.render(gaussians, cameras).permute(0, 3, 1, 2)  # [4, 3, H, W]
    return i3d.metrics.psnr(drawn, views)""",
        "The mean of these four is the score of the lab, i3d.metrics.view_consistency.",
    ),
    Exercise(
        "07.3", quaternions,
        ("Which axis does F.normalize take when you do not say? And which numbers are neighbours in memory?",
         "Bring the channels to the end with .permute(0, 1, 3, 4, 2), then .flatten(1, 3); normalise with dim=-1."),
        """\
def quaternions(maps):
    q = maps[:, :, 7:11].permute(0, 1, 3, 4, 2)  # [B, V, h, w, 4]
    return F.normalize(q.flatten(1, 3), dim=-1)  # [B, N, 4]""",
        "A reshape never fails and never moves a number: right lengths say nothing about right order.",
    ),
    Exercise(
        "07.4", y_down,
        ("One half turn changes the signs of two axes. Which quaternion (w, x, y, z) is half a turn about x?",
         "gaussians.transform(matrix), where matrix is the diagonal of 1, -1, -1, turns all at once and alike."),
        """\
def y_down(gaussians):
    return gaussians.transform(torch.diag(torch.tensor([1.0, -1.0, -1.0])))""",
        'This is what i3d.save does for the convention "3dgs".',
    ),
    replace(lesson_03.EXERCISES[-1], number="07.5"),  # the same exercise
)  # fmt: skip
