"""Conventions, held where they are written down."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from image3d_nb.cameras import Cameras, orbit_cameras, pixel_rays, plucker_rays
from image3d_nb.errors import InputError


def project(cameras: Cameras, point: torch.Tensor) -> torch.Tensor:
    """[V, 2], pixels, by nothing but viewmats and Ks."""
    seen = cameras.viewmats @ torch.cat([point, torch.ones(1)])  # [V, 4]
    pixel = torch.einsum("vij,vj->vi", cameras.Ks, seen[:, :3])
    return pixel[:, :2] / pixel[:, 2:]


def test_front_camera_stands_on_z_and_right_is_right() -> None:
    cameras = orbit_cameras(azimuth=0, size=100)
    torch.testing.assert_close(cameras.positions, torch.tensor([[0.0, 0.0, 1.5]]))
    x, y = project(cameras, torch.tensor([0.2, 0.1, 0.0]))[0]
    assert x > 50  # +x is on the right of the picture
    assert y < 50  # +y is above its middle, and pixels count down


def test_azimuth_90_stands_on_x_and_elevation_is_up() -> None:
    torch.testing.assert_close(orbit_cameras(azimuth=90).positions, torch.tensor([[1.5, 0.0, 0.0]]))
    above = orbit_cameras(elevation=30, azimuth=0).positions[0]
    torch.testing.assert_close(above, 1.5 * torch.tensor([0.0, 0.5, math.sqrt(3) / 2]))


def test_poses_are_rotations_and_look_at_the_origin() -> None:
    cameras = orbit_cameras(elevation=(-80, 0, 45, 90), azimuth=(10, 120, 250, 359), size=(64, 32))
    rotations = cameras.c2w[:, :3, :3]
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand(4, 3, 3), atol=1e-6, rtol=0)
    assert torch.linalg.det(rotations).min() > 0.999
    torch.testing.assert_close(project(cameras, torch.zeros(3)), torch.tensor([[32.0, 16.0]]).expand(4, 2))


def test_field_of_view_is_vertical() -> None:
    cameras = orbit_cameras(azimuth=0, fovy=60, size=(200, 100))
    top = torch.tensor([0.0, 1.5 * math.tan(math.radians(30)), 0.0])
    torch.testing.assert_close(project(cameras, top)[0], torch.tensor([100.0, 0.0]), atol=1e-3, rtol=0)


def test_rays_go_through_pixel_centres() -> None:
    cameras = orbit_cameras(elevation=20, azimuth=(0, 70), size=(6, 4))
    origins, directions = pixel_rays(cameras)
    assert origins.shape == directions.shape == (2, 4, 6, 3)
    point = (origins + 2 * directions)[1, 3, 2]
    torch.testing.assert_close(project(cameras, point)[1], torch.tensor([2.5, 3.5]), atol=1e-4, rtol=0)


def test_plucker_moment_is_perpendicular_and_independent_of_the_point() -> None:
    cameras = orbit_cameras(elevation=10, size=8)
    moment, direction = plucker_rays(cameras).split(3, 1)
    origins, _ = pixel_rays(cameras)
    assert (moment * direction).sum(1).abs().max() < 1e-6
    moved = (origins.permute(0, 3, 1, 2) + 0.7 * direction).cross(direction, dim=1)
    torch.testing.assert_close(moved, moment, atol=1e-6, rtol=0)


def test_slices_devices_and_repr() -> None:
    cameras = orbit_cameras(size=16)
    assert len(cameras[1:3]) == 2
    assert len(cameras[0]) == 1
    assert cameras.to(dtype=torch.float64).Ks.dtype == torch.float64
    assert cameras.resize(32, 32).Ks[0, 0, 0] == 2 * cameras.Ks[0, 0, 0]
    assert repr(cameras) == "Cameras(n=4, fovy=49.1, size=16x16, device=cpu)"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"elevation": (0, 1, 2), "azimuth": (0, 1)}, "one length"),
        ({"elevation": (0, 1, 2)}, "one length"),
        ({"elevation": 91}, "-90, 90"),
        ({"radius": 0}, "radius"),
        ({"fovy": 180}, "fovy"),
        ({"size": 0}, "1 pixel"),
        ({"size": 10.7}, "10.7"),
        ({"size": (8, math.nan)}, "nan"),
    ],
)
def test_bad_orbit(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        orbit_cameras(**arguments)


def test_a_size_may_be_numpys() -> None:
    cameras = orbit_cameras(size=np.int64(64))
    assert (cameras.width, cameras.height) == (64, 64)
    assert type(cameras.width) is int


@pytest.mark.parametrize("c2w", [torch.eye(3), torch.full((1, 4, 4), math.nan), torch.zeros(2, 2, 4, 4)])
def test_bad_poses(c2w: torch.Tensor) -> None:
    with pytest.raises(InputError, match="c2w"):
        Cameras.from_c2w(c2w)
