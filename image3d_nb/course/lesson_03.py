"""Checks of lesson 03, cameras and rays."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import Cameras, orbit_cameras, pixel_rays
from ._exercise import Exercise, array_of, call, generator, need, tensor_of

POSITIONS = ((0.0, 0.0, 1.5), (1.2, 0.5, -0.4), (-0.3, -0.8, 0.9))  # cameras of exercise 5
CAMERAS = ((0.0, 0.0, (64, 64)), (25.0, 70.0, (96, 48)), (-35.0, 200.0, (40, 80)))
"""Elevation, azimuth and size (width, height) of the cameras of exercises 1 and 2."""


def _cameras() -> list[Cameras]:
    return [orbit_cameras(elevation, azimuth, size=size) for elevation, azimuth, size in CAMERAS]


def project(answer: Any) -> None:
    """A function (points, camera) that gives the pixels [N, 2] of points [N, 3]."""
    points = 0.8 * (torch.rand(7, 3, generator=generator()) - 0.5)
    for camera in _cameras():
        found = tensor_of(call(answer, points.clone(), camera), (7, 2))
        seen = points.double() @ camera.viewmats[0, :3, :3].double().T + camera.viewmats[0, :3, 3].double()
        focal, middle = camera.Ks[0, 0, 0].double(), torch.tensor([camera.width / 2, camera.height / 2]).double()
        offset = focal * seen[:, :2] / seen[:, 2:]
        wanted = offset + middle
        back = points.double() @ camera.c2w[0, :3, :3].double().T + camera.c2w[0, :3, 3].double()
        for wrong, complaint in (
            (offset * torch.tensor([1.0, -1.0]) + middle, "Rows are counted downwards: y has the wrong sign."),
            (offset * torch.tensor([-1.0, 1.0]) + middle, "Left and right are swapped: depth is positive in front."),
            (middle - offset, "Both signs are wrong: divide by the depth in front of the camera, not by minus it."),
            (offset, "The middle of the image must be added: the corner, not the middle, is (0, 0)."),
            (wanted.flip(1), "This is (row, column); asked for is (column, row)."),
            (wanted + 0.5, "Half a pixel too much: the middle of the image is width / 2, without 0.5."),
            (wanted - 0.5, "Half a pixel too little: the middle of the image is width / 2, without 0.5."),
            (focal * seen[:, :2] + middle, "Far things must get smaller: divide by the depth."),
            (focal * back[:, :2] / back[:, 2:] + middle, "This uses c2w; viewmats, its inverse, leads to the camera."),
        ):
            need(not torch.allclose(found, wrong, atol=1e-3), complaint)
        worst = int((found - wanted).abs().sum(1).argmax())
        expected, came = wanted[worst].numpy().round(2).tolist(), found[worst].numpy().round(2).tolist()
        need(torch.allclose(found, wanted, atol=0.02), f"A point must land on {expected}; yours lands on {came}.")


def ray_of(answer: Any) -> None:
    """A function (pixel, camera) that gives the unit direction [3] of the ray through a pixel's centre."""
    for camera in _cameras():
        for column, row in ((3, 7), (30, 20)):
            found = tensor_of(call(answer, (column, row), camera), (3,))
            wanted = pixel_rays(camera)[1][0, row, column].double()
            corner = _direction(camera, column, row)
            along = float(found.norm())
            unit = F.normalize(found, dim=0)
            for wrong, complaint in (
                (-wanted, "The ray leads away from the scene: a camera looks along minus its third axis."),
                (corner, "This ray goes through the pixel's corner: add 0.5 to column and row."),
                (_direction(camera, column + 0.5, row + 0.5, up=-1), "Rows are counted downwards: y must change sign."),
                (_direction(camera, column + 0.5, row + 0.5, transposed=True), "c2w is transposed, or viewmats used."),
                (_direction(camera, column + 0.5, row + 0.5, local=True), "This is in the camera's axes: turn by c2w."),
            ):
                clear = float((wrong - wanted).norm()) > 5e-3  # the front camera's axes are the world's
                need(not clear or not torch.allclose(unit, wrong, atol=1e-3), complaint)
            right = torch.allclose(unit, wanted, atol=1e-3)
            expected, came = wanted.numpy().round(3).tolist(), unit.numpy().round(3).tolist()
            need(right, f"The ray of pixel {(column, row)} must have the direction {expected}; yours has {came}.")
            need(abs(along - 1) < 1e-3, f"The direction is right, but its length must be 1; it is {along:.3f}.")


def _direction(
    camera: Cameras, x: float, y: float, up: float = 1, transposed: bool = False, local: bool = False
) -> Tensor:
    """The direction [3] of a ray, with faults to choose."""
    focal = float(camera.Ks[0, 0, 0])
    ray = torch.tensor([(x - camera.width / 2) / focal, -up * (y - camera.height / 2) / focal, -1.0]).double()
    turn = camera.c2w[0, :3, :3].double()
    return F.normalize(ray if local else (turn.T if transposed else turn) @ ray, dim=0)


def place(answer: Any) -> None:
    """A function (azimuth, elevation, radius) that gives a camera's position [3]."""
    for azimuth, elevation, radius in ((0.0, 0.0, 1.5), (40.0, 25.0, 1.5), (90.0, 0.0, 2.0), (215.0, -50.0, 3.0)):
        found = tensor_of(call(answer, azimuth, elevation, radius), (3,))
        turn, up = math.radians(azimuth), math.radians(elevation)

        def at(turn: float, up: float, radius: float = radius) -> Tensor:
            parts = [math.cos(up) * math.sin(turn), math.sin(up), math.cos(up) * math.cos(turn)]
            return radius * torch.tensor(parts).double()

        wanted = at(turn, up)
        for wrong, complaint in (
            (at(azimuth, elevation), "Angles are in degrees, but sin and cos want radians."),
            (at(math.pi / 2 - turn, up), "sin and cos are swapped: azimuth 0 stands on +z, 90 on +x."),
            (at(-turn, up), "The camera walks the wrong way round: azimuth 90 stands on +x."),
            (at(turn, -up), "A positive elevation is above: y must be positive."),
            (wanted[[0, 2, 1]], "y points up here, not z."),
            (wanted / radius, "The distance from the origin must be the radius; it is 1."),
        ):
            need(torch.allclose(wrong, wanted, atol=1e-3) or not torch.allclose(found, wrong, atol=1e-3), complaint)
        expected, came = (values.numpy().round(3).tolist() for values in (wanted, found))
        say = f"Azimuth {azimuth:g}, elevation {elevation:g} and radius {radius:g} give {expected}; yours gives {came}."
        need(torch.allclose(found, wanted, atol=2e-3), say)


def same_line(answer: Any) -> None:
    """A function (p, q) that says whether two rows of Pluecker coordinates are one line."""
    origin, d, other = torch.randn(3, 3, generator=generator()).unbind(0)
    d, other = F.normalize(d, dim=0), F.normalize(other, dim=0)

    def row(start: Tensor, direction: Tensor) -> Tensor:
        return torch.cat([torch.linalg.cross(start, direction), direction])

    beside = torch.linalg.cross(d, other)
    line = row(origin, d)
    for q, wanted, complaint in (
        (row(origin, d), True, "A line is the same as itself; yours says no."),
        (row(origin + 2 * d, d), True, "Another origin on the same ray gives the same line; yours says no."),
        (row(origin, -d), True, "A line has no direction of travel: all six numbers with a minus are the same line."),
        (row(origin, 3 * d), True, "The direction may have any length: three times all six is the same line."),
        (row(origin, other), False, "Two lines through one point are not the same: their directions differ."),
        (row(origin + beside, d), False, "Parallel lines are not the same: compare the moments, too."),
        (row(-origin, d), False, "The moment has the other sign here, the direction has not: that is another line."),
    ):
        for a, b in ((line, q), (q, line)):
            found = array_of(call(answer, a.clone(), b.clone()), "True or False")
            need(found.size == 1, f"One answer, True or False, must come out; there are {found.size}.")
            need(bool(found.item()) == wanted, complaint)


def look_at(answer: Any) -> None:
    """A function that gives the pose [4, 4] of an upright camera at a position that looks at the origin."""
    for position in torch.tensor(POSITIONS):
        pose = tensor_of(call(answer, position.clone()), (4, 4))
        right, above, back, where = pose[:3].unbind(1)
        need(torch.allclose(where, position.double(), atol=1e-4), "The last column must be the position; it is not.")
        last = torch.allclose(pose[3], pose.new_tensor([0, 0, 0, 1]))
        need(last, "The last row must be 0, 0, 0, 1; it is not.")
        along = float(back @ F.normalize(where, dim=0))
        need(along > -0.9, "The camera looks away from the origin: it looks along minus its third axis.")
        need(abs(along - 1) < 1e-3, "The third axis must lie on the line from the origin to the camera, with length 1.")
        need(above[1] > 0, "The camera stands on its head: its second axis points down.")
        axes = pose[:3, :3]
        square = torch.allclose(axes.T @ axes, torch.eye(3).double(), atol=1e-3)
        need(square, "The three axes must have length 1 and be at right angles to each other; they are not.")
        need(torch.linalg.det(axes) > 0, "The image is mirrored: right x up must be back.")
        need(abs(right[1]) < 1e-3, "The camera is tilted: upright means that its first axis is level.")


EXERCISES = (
    Exercise(
        "03.1", project,
        ("Three steps: viewmats leads to the camera's axes, a division by the depth, and Ks counts in pixels.",
         "seen = points @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]; then focal length times "
         "seen[:, :2] / seen[:, 2:], plus the middle of the image."),
        """\
def project(points, camera):
    turn, shift = camera.viewmats[0, :3, :3], camera.viewmats[0, :3, 3]
    seen = (points @ turn.T + shift) @ camera.Ks[0].T  # [N, 3]
    return seen[:, :2] / seen[:, 2:]""",
        "Every renderer begins with this function, for points, triangles and Gaussians alike.",
    ),
    Exercise(
        "03.2", ray_of,
        ("Undo the projection: from the pixel's centre subtract the middle and divide by the focal length.",
         "In the camera's axes the ray is (x, -y, -1); turn it by camera.c2w[0, :3, :3] and divide by its length."),
        """\
def ray_of(pixel, camera):
    focal = camera.Ks[0, 0, 0]
    x = (pixel[0] + 0.5 - camera.width / 2) / focal
    y = (pixel[1] + 0.5 - camera.height / 2) / focal
    ray = camera.c2w[0, :3, :3] @ torch.stack([x, -y, -torch.ones_like(x)])
    return ray / ray.norm()""",
        "LGM reads this direction in every pixel, and a NeRF walks along it.",
    ),
    Exercise(
        "03.3", place,
        ("Which point is it for azimuth 0 and 90? That tells you which of x and z has the sine.",
         "y is radius * sin(elevation); the rest of the radius, times cos(elevation), is shared by x and z."),
        """\
def place(azimuth, elevation, radius):
    turn, up = np.radians(azimuth), np.radians(elevation)
    x, z = np.cos(up) * np.sin(turn), np.cos(up) * np.cos(turn)
    return radius * np.array([x, np.sin(up), z])""",
        "Other programs begin at another axis or turn the other way: two known cameras tell you which.",
    ),
    Exercise(
        "03.4", same_line,
        ("Divide both rows by the length of their directions. Then they may still differ by one sign.",
         "After that, compare p with q and p with -q, all six numbers at once."),
        """\
def same_line(p, q):
    p, q = p / p[3:].norm(), q / q[3:].norm()
    off = min((p - q).abs().max(), (p + q).abs().max())
    return bool(off < 1e-4)""",
        "Six numbers describe a line up to one factor, so a network must be told which one: LGM takes length 1.",
    ),
    Exercise(
        "03.5", look_at,
        ("Print look_at(torch.tensor([0, 0, 1.5])). Its first three columns should be the x, y and z axes.",
         "back = F.normalize(position, dim=0), and right = up x back: the order of a cross product is its sign."),
        """\
def look_at(position):
    back = F.normalize(position, dim=0)
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), back)
    right = F.normalize(right, dim=0)
    above = torch.linalg.cross(back, right)
    c2w = torch.eye(4)
    c2w[:3] = torch.stack([right, above, back, position], 1)
    return c2w""",
        "Two wrong signs can hide each other in one image: test with a camera for which you know all axes.",
    ),
)  # fmt: skip
