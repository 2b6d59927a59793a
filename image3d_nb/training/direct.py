"""The baseline without a first stage: LGM's network straight from one picture to Gaussians.

It is stage two with the front copied to all four views, trained end to end to look right from new cameras. It never
draws the sides: it answers with the mean of what they could be, so it is coherent and blurry.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ..cameras import orbit_cameras, plucker_rays
from ..gaussians import Gaussians
from ..models.lgm import LGM
from ..pipelines.lgm import lgm_input
from .data import INPUT_AZIMUTHS
from .lgm import LGM_SETTINGS, train_lgm
from .loop import TrainSettings

DIRECT_SETTINGS = replace(LGM_SETTINGS, samples=3600)
"""15 minutes of one core."""


def copied_front(views: Tensor, rays: Tensor, first: int | None = None) -> Tensor:  # noqa: ARG001 -- MakeInput's third
    """LGM's input with the front in place of every view.

    Args:
        views: [B, V, 3, H, W] in [0, 1], on white; only the first is looked at.
        rays: [4, 6, H, W].
        first: not used.

    Returns:
        [B, 4, 9, H, W].
    """
    return lgm_input(views[:, :1].expand(-1, len(rays), -1, -1, -1), rays)


def train_direct(folder: Path, settings: TrainSettings = DIRECT_SETTINGS) -> LGM:
    """Train the baseline, or go on with it; returns the averaged network."""
    return cast(LGM, train_lgm(folder, settings, make_input=copied_front))


@torch.no_grad()
def direct_gaussians(network: LGM, front: Tensor) -> Gaussians:
    """One picture to Gaussians.

    Args:
        network: of :func:`train_direct`.
        front: [3, H, W] in [0, 1], on white, of the network's size.
    """
    rays = plucker_rays(orbit_cameras(0.0, INPUT_AZIMUTHS, size=network.config.input_size)).to(front.device)
    return Gaussians.from_lgm(network.gaussians(copied_front(front[None, None], rays)))
