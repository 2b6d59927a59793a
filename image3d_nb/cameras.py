"""Cameras, and the one place where this project's conventions are written down.

World: OpenGL's, right-handed, +x right, +y up, +z towards the viewer. An object's front looks along +z, so the front
camera stands on +z and looks along -z. Angles are degrees. Azimuth 0 is the front camera, 90 stands on +x, 180 behind.
Elevation is positive when the camera is **above** the object. Quaternions are (w, x, y, z). Scales are linear world
units, opacities lie in [0, 1].

Camera to world (``c2w``): OpenGL axes, x right, y up, the camera looks along -z.
World to camera (``viewmats``): OpenCV axes, x right, y down, z forward, the same matrices that gsplat takes.
Pixels: x to the right, y down, the centre of the first pixel is (0.5, 0.5). ``Ks`` are in pixels.

Shapes: V views, H W pixels.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InputError

LGM_RADIUS = 1.5
"""Distance of LGM's four input cameras from the origin, in world units (LGM, section 4.1)."""
LGM_FOVY = 49.1
"""Vertical field of view of LGM's cameras, in degrees (LGM, section 4.1)."""
_OPENGL_TO_OPENCV = (1.0, -1.0, -1.0, 1.0)  # y and z of the camera change sign


@dataclass(frozen=True, repr=False)
class Cameras:
    """Several pinhole cameras that share a picture size and a field of view.

    Attributes:
        c2w: [V, 4, 4], camera to world, OpenGL axes.
        fovy: vertical field of view, degrees.
        width: of the picture, pixels.
        height: of the picture, pixels.

    Example:
        >>> len(orbit_cameras(elevation=15, size=64))
        4
    """

    c2w: Tensor
    fovy: float
    width: int
    height: int

    @classmethod
    def from_c2w(cls, c2w: Tensor, fovy: float = LGM_FOVY, width: int = 256, height: int = 256) -> Cameras:
        """Make cameras from poses.

        Args:
            c2w: [V, 4, 4] or [4, 4], float, camera to world, OpenGL axes (see the module's docstring).
            fovy: vertical field of view, degrees, between 0 and 180.
            width: pixels.
            height: pixels.

        Raises:
            InputError: a shape, a number or an angle is out of range.
        """
        c2w = torch.as_tensor(c2w)
        if c2w.ndim == 2:
            c2w = c2w[None]
        if c2w.ndim != 3 or c2w.shape[1:] != (4, 4):
            raise InputError(f"c2w must be [V, 4, 4] or [4, 4]; got shape {tuple(c2w.shape)}")
        if not c2w.is_floating_point():
            c2w = c2w.to(torch.float32)
        if not bool(torch.isfinite(c2w).all()):
            raise InputError("c2w must be finite; got NaN or infinity")
        if not 0 < fovy < 180:
            raise InputError(f"fovy must be between 0 and 180 degrees; got {fovy}")
        if not (width >= 1 and height >= 1 and width % 1 == height % 1 == 0):
            raise InputError(f"width and height must be whole numbers, at least 1 pixel; got {width} x {height}")
        return cls(c2w, float(fovy), int(width), int(height))

    @property
    def viewmats(self) -> Tensor:
        """[V, 4, 4], world to camera, OpenCV axes (x right, y down, z forward)."""
        flip = torch.diag(torch.tensor(_OPENGL_TO_OPENCV, dtype=self.c2w.dtype, device=self.c2w.device))
        return flip @ torch.linalg.inv(self.c2w)  # [V, 4, 4]

    @property
    def Ks(self) -> Tensor:  # noqa: N802 -- the field's name for intrinsics
        """[V, 3, 3], intrinsics in pixels; square pixels, principal point in the middle."""
        focal = 0.5 * self.height / math.tan(math.radians(self.fovy) / 2)
        matrix = [[focal, 0.0, self.width / 2], [0.0, focal, self.height / 2], [0.0, 0.0, 1.0]]
        return torch.tensor(matrix, dtype=self.c2w.dtype, device=self.c2w.device).repeat(len(self), 1, 1)  # [V, 3, 3]

    @property
    def positions(self) -> Tensor:
        """[V, 3], where the cameras stand, world units."""
        return self.c2w[:, :3, 3]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Cameras:
        """The same cameras on another device or in another float type."""
        return Cameras(self.c2w.to(device=device, dtype=dtype), self.fovy, self.width, self.height)

    def resize(self, width: int, height: int) -> Cameras:
        """The same cameras taking pictures of another size."""
        return Cameras.from_c2w(self.c2w, self.fovy, width, height)

    def __len__(self) -> int:
        return self.c2w.shape[0]

    def __getitem__(self, index: int | slice) -> Cameras:
        chosen = self.c2w[index]
        return Cameras(chosen if chosen.ndim == 3 else chosen[None], self.fovy, self.width, self.height)

    def __repr__(self) -> str:
        return f"Cameras(n={len(self)}, fovy={self.fovy:g}, size={self.width}x{self.height}, device={self.c2w.device})"


def orbit_cameras(
    elevation: float | Sequence[float] = 0.0,
    azimuth: float | Sequence[float] = (0.0, 90.0, 180.0, 270.0),
    radius: float = LGM_RADIUS,
    fovy: float = LGM_FOVY,
    size: int | tuple[int, int] = 256,
) -> Cameras:
    """Cameras on a sphere around the origin, all looking at it, upright.

    Args:
        elevation: degrees, up is positive, -90 to 90; one, or one a view.
        azimuth: degrees, 0 is the front camera on +z, 90 stands on +x; one, or one a view.
        radius: world units, more than 0.
        fovy: vertical field of view, degrees.
        size: pixels, one number for a square or (width, height).

    Returns:
        V cameras, V being the longer of the two sequences.

    Raises:
        InputError: the sequences cannot be paired, or a number is out of range.

    Example:
        >>> orbit_cameras(azimuth=90).positions.round(decimals=3).tolist()
        [[1.5, 0.0, 0.0]]
    """
    elevations = torch.atleast_1d(torch.as_tensor(elevation, dtype=torch.float64))
    azimuths = torch.atleast_1d(torch.as_tensor(azimuth, dtype=torch.float64))
    lengths = {len(elevations), len(azimuths)} - {1}
    if elevations.ndim > 1 or azimuths.ndim > 1 or len(lengths) > 1:
        raise InputError(
            "elevation and azimuth must be one number each, or sequences of one length;"
            f" got shapes {tuple(elevations.shape)} and {tuple(azimuths.shape)}"
        )
    if radius <= 0 or bool((elevations.abs() > 90).any()):
        raise InputError(f"radius must be > 0 and elevation in [-90, 90]; got radius {radius}, elevation {elevation}")
    up, turn = torch.broadcast_tensors(torch.deg2rad(elevations), torch.deg2rad(azimuths))
    width, height = (size, size) if isinstance(size, (int, numbers.Real)) else size  # Real: numpy's too
    zero = torch.zeros_like(turn)
    # columns of the rotation are the camera's axes: right, up, and back (from the origin to the camera)
    right = torch.stack([turn.cos(), zero, -turn.sin()], -1)  # [V, 3]
    back = torch.stack([up.cos() * turn.sin(), up.sin(), up.cos() * turn.cos()], -1)  # [V, 3]
    above = torch.linalg.cross(back, right)  # [V, 3]
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(turn), 1, 1)  # [V, 4, 4]
    c2w[:, :3, :] = torch.stack([right, above, back, radius * back], -1)
    return Cameras.from_c2w(c2w.to(torch.float32), fovy, width, height)


def pixel_rays(cameras: Cameras) -> tuple[Tensor, Tensor]:
    """The ray through each pixel's centre.

    Returns:
        origins [V, H, W, 3], world units, and directions [V, H, W, 3] of unit length, world space.
    """
    focal = 0.5 * cameras.height / math.tan(math.radians(cameras.fovy) / 2)
    x = (torch.arange(cameras.width).to(cameras.c2w) + 0.5 - cameras.width / 2) / focal  # [W]
    y = (torch.arange(cameras.height).to(cameras.c2w) + 0.5 - cameras.height / 2) / focal  # [H]
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")  # [H, W]
    local = torch.stack([grid_x, -grid_y, -torch.ones_like(grid_x)], -1)  # [H, W, 3], OpenGL camera axes
    directions = torch.einsum("vij,hwj->vhwi", cameras.c2w[:, :3, :3], local)  # [V, H, W, 3]
    directions = torch.nn.functional.normalize(directions, dim=-1)
    return cameras.positions[:, None, None, :].expand_as(directions), directions


def plucker_rays(cameras: Cameras) -> Tensor:
    """Pluecker coordinates of each pixel's ray, as LGM takes them.

    Returns:
        [V, 6, H, W]: the moment (origin x direction), then the direction, world space.

    Source:
        LGM (Tang et al. 2024), section 3.2; Sitzmann et al. 2021, Light Field Networks, section 3.
    """
    origins, directions = pixel_rays(cameras)
    moments = torch.linalg.cross(origins, directions)  # [V, H, W, 3]
    return torch.cat([moments, directions], -1).permute(0, 3, 1, 2)  # [V, 6, H, W]
