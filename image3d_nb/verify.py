"""Which rays and rotations LGM's weights were trained with: make objects in every way, and see which looks right.

The weights in the world differ, their configurations do not say how, and the published code feeds some of them rays of
cameras that look away from the object (see :mod:`image3d_nb.pipelines.lgm`). But an object shows it: seen from the four
cameras of the views that it was made of, it looks most like those views where LGM got what it was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .cameras import orbit_cameras
from .errors import InputError
from .gaussians import Gaussians
from .metrics import view_consistency
from .models.lgm import ROTATIONS
from .pipelines.lgm import LGMFullPipeline, lgm_input

RAYS = ("right", "published")
MARGIN = 0.5
"""Decibels: ways that are nearer than this are equally good, as far as one picture can tell."""


@dataclass(frozen=True)
class Trial:
    """One way to use the weights.

    Attributes:
        rays: "right" (cameras look at the object) or "published" (they look away from it).
        rotation: one of LGM's ``ROTATIONS``.
        yaw: degrees that the object was turned about +y before it was looked at; 0 or 180.
        decibels: how well its renders agree with the four views; see :func:`image3d_nb.metrics.view_consistency`.
    """

    rays: str
    rotation: str
    yaw: int
    decibels: float

    def __str__(self) -> str:
        turned = f", turned by {self.yaw}" if self.yaw else ""
        return f"{self.rays} rays, rotation {self.rotation!r}{turned} ({self.decibels:.2f} dB)"


@dataclass(frozen=True)
class Verdict:
    """All trials, and the one that the model's configuration stands for.

    Attributes:
        trials: the best first.
        configured: the one among them that the pipeline uses by default.
    """

    trials: tuple[Trial, ...]
    configured: Trial

    @property
    def agrees(self) -> bool:
        """Whether the configured way is the best, or as good as that."""
        return self.configured.decibels >= self.trials[0].decibels - MARGIN

    def __str__(self) -> str:
        lines = [f"{'rays':10} {'rotation':10} {'turn':>4} {'PSNR, dB':>9}"]
        for trial in self.trials:
            row = f"{trial.rays:10} {trial.rotation:10} {trial.yaw:4d} {trial.decibels:9.2f}"
            lines.append(row + ("  <- configured" if trial is self.configured else ""))
        return "\n".join([*lines, "", self._in_words()])

    def _in_words(self) -> str:
        best, ours = self.trials[0], self.configured
        if self.agrees:
            return f"These weights suit their configuration: {ours}."
        if best.rays != "right":
            remedy = 'They want the published rays, which only a call with faithful="lgm-full" gives.'
        else:
            remedy = f'Write "rotation": "{best.rotation}" into config.json of the LGM, or load with rotation=.'
        return f"These weights do not suit their configuration: {ours}. Better: {best}. {remedy}"


@torch.no_grad()
def verify_weights(pipe: LGMFullPipeline, image: Any, generator: torch.Generator | None = None) -> Verdict:
    """Try every way to use LGM's weights on one picture.

    Args:
        pipe: with the weights.
        image: a picture of one object, as for a call of ``pipe``; taken level, at elevation 0.
        generator: of all randomness.

    Raises:
        InputError: a pipeline without LGM, or a list of pictures, or not a picture.

    Example:
        >>> import image3d_nb as i3d
        >>> image = i3d.load_image(i3d.sample("mug"))
        >>> verify_weights(i3d.load_pipeline(), image, i3d.generator(0)).agrees
        True
    """
    if not isinstance(pipe, LGMFullPipeline):
        raise InputError(f"pipe must have an LGM to verify; got {type(pipe).__name__}: load it with lgm=")
    if isinstance(image, list):
        raise InputError(f"one picture is needed; got a list of {len(image)}")
    return verify_views(pipe, pipe(None, image, generator=generator, output_type="pt").images)


@torch.no_grad()
def verify_views(pipe: LGMFullPipeline, views: Tensor) -> Verdict:
    """Try every way to use LGM's weights on four views, such as true ones of an object.

    Args:
        pipe: with the weights.
        views: [4, 3, H, W] in [0, 1], on white, at elevation 0, LGM's order.

    Raises:
        InputError: another shape.
    """
    if views.ndim != 4 or tuple(views.shape[:2]) != (4, 3):
        raise InputError(f"views must be [4, 3, H, W] in [0, 1], LGM's order; got {tuple(views.shape)}")
    size = pipe.lgm.config.input_size
    views = F.interpolate(views, (size, size), mode="bilinear", align_corners=False)
    trials = [trial for rays, rotation in product(RAYS, ROTATIONS) for trial in _try(pipe, views, rays, rotation)]
    configured = next(each for each in trials if (each.rays, each.rotation) == ("right", pipe.lgm.config.rotation))
    return Verdict(tuple(sorted(trials, key=lambda trial: -trial.decibels)), configured)


def _try(pipe: LGMFullPipeline, views: Tensor, rays: str, rotation: str) -> list[Trial]:
    """One pass of views [4, 3, H, W] through LGM, looked at as it is; with the published rays also from behind.

    A network that follows the directions of rays that look away answers with an object that is turned about y.
    """
    config = pipe.lgm.config
    directions = pipe.rays(faithful="lgm-full" if rays == "published" else None)  # [4, 6, H, W]
    x = lgm_input(views[None].to(pipe.lgm.device, torch.float32), directions.to(pipe.lgm.device))  # [1, 4, 9, H, W]
    # without the turn that the published code adds: so LGM's own answer, in the space of its cameras
    made = Gaussians.from_lgm(pipe.lgm.gaussians(x.to(pipe.lgm.dtype), rotation=rotation))
    trials = []
    for yaw in (0, 180) if rays == "published" else (0,):
        azimuths = [90.0 * k - yaw for k in range(4)]  # to turn the cameras back is to turn the object
        cameras = orbit_cameras(0.0, azimuths, config.radius, config.fovy, config.input_size)
        trials.append(Trial(rays, rotation, yaw, view_consistency(made, views, cameras)))
    return trials
