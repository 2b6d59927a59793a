"""What true views suffer so that LGM learns to live with generated ones, which agree neither with each other nor quite
with their cameras.

Source: Tang et al. 2024, LGM (arXiv 2402.05054), section 4.3: the first view stays, the other three are distorted by a
random grid, and their cameras turned a little about the centre of the scene. The amounts here are ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import orbit_cameras, plucker_rays
from ..pipelines.lgm import lgm_input
from .data import INPUT_AZIMUTHS

GRID = 4
"""Places on a side at which a picture is pulled; between them the pull is smooth."""
PULL = 0.03
"""Standard deviation of the pull, in sides of the picture."""
TURN = 4.0
"""Standard deviation of a camera's azimuth and elevation, degrees."""
SHARE = 0.5
"""Of the objects that are disturbed, for each of the two kinds."""


def grid_distortion(views: Tensor, random: torch.Generator, pull: float = PULL) -> Tensor:
    """Pull each picture about, smoothly.

    Args:
        views: [n, C, H, W].
        random: of the pulls, on the CPU.
        pull: standard deviation, in sides of the picture.

    Returns:
        [n, C, H, W]; what comes from outside repeats the border.
    """
    size = views.shape[-2:]
    coarse = 2 * pull * torch.randn(len(views), 2, GRID, GRID, generator=random)  # grid_sample's side is 2 long
    shift = F.interpolate(coarse, size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)  # [n, H, W, 2]
    still = F.affine_grid(torch.eye(2, 3)[None], [1, 1, *size], align_corners=False)  # [1, H, W, 2]
    places = (still + shift).to(views)
    return F.grid_sample(views, places, mode="bilinear", padding_mode="border", align_corners=False)


def jittered_rays(random: torch.Generator, size: int, turn: float = TURN) -> Tensor:
    """Rays of LGM's four cameras, all but the first turned a little about the origin.

    Args:
        random: of the turns, on the CPU.
        size: height and width, pixels.
        turn: standard deviation of azimuth and elevation, degrees.

    Returns:
        [4, 6, H, W], see ``plucker_rays``.
    """
    turns = turn * torch.randn(2, len(INPUT_AZIMUTHS), generator=random)
    turns[:, 0] = 0
    azimuths = torch.tensor(INPUT_AZIMUTHS) + turns[1]
    return plucker_rays(orbit_cameras(turns[0].tolist(), azimuths.tolist(), size=size))


class Disturbed:
    """LGM's input with some objects' views distorted and some objects' cameras jittered; at a test with none.

    Args:
        grid: whether views are distorted.
        jitter: whether cameras are.
    """

    def __init__(self, grid: bool = True, jitter: bool = True) -> None:
        self.grid = grid
        self.jitter = jitter

    def __call__(self, views: Tensor, rays: Tensor, first: int | None) -> Tensor:
        """As ``MakeInput`` of :mod:`image3d_nb.training.lgm` says."""
        if first is None:
            return lgm_input(views, rays)
        return torch.cat([self._one(views[i], rays, first + i) for i in range(len(views))])

    def _one(self, views: Tensor, rays: Tensor, index: int) -> Tensor:
        """[4, 3, H, W] -> [1, 4, 9, H, W], by the sample's index alone."""
        random = torch.Generator().manual_seed(index)
        grid, jitter = (torch.rand(2, generator=random) < SHARE).tolist()
        if self.grid and grid:
            views = torch.cat([views[:1], grid_distortion(views[1:], random)])
        if self.jitter and jitter:
            rays = jittered_rays(random, views.shape[-1]).to(rays)
        return lgm_input(views[None], rays)
