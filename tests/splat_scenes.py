"""Gaussians and cameras that the tests of rendering draw."""

from __future__ import annotations

import torch
from torch import Tensor

from image3d_nb import Cameras, orbit_cameras
from image3d_nb.rendering import render_splats

BACKENDS = ["numba", "layered", "reference"]
FAST = ["numba", "layered"]
FIELDS = ("means", "quats", "scales", "opacities", "rgbs")


def scene(n: int, size: float = 0.08, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Gaussians of all shapes and orientations; some are faint, some opaque, some in front of or behind a camera."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=dtype)

    means, quats = 0.35 * normal(n, 3), normal(n, 4) * torch.exp(normal(n, 1))
    opacities = torch.sigmoid(3 * normal(n))
    return [means, quats, size * torch.exp(0.8 * normal(n, 3)), opacities, torch.rand(n, 3, generator=g, dtype=dtype)]


def three_cameras(dtype: torch.dtype = torch.float64) -> Cameras:
    """Not square, no multiple of 16, one from above and one from below."""
    return orbit_cameras(elevation=(0, 40, -25), azimuth=(10, 130, 250), size=(61, 43)).to(dtype=dtype)


def draw(fields: list[Tensor], cameras: Cameras, backend: str, background: object = 1.0) -> tuple[Tensor, ...]:
    size = (cameras.width, cameras.height)
    return render_splats(*fields, cameras.viewmats, cameras.Ks, *size, background, backend)
