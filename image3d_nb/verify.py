"""Find which rays and rotations LGM's weights were trained with: make objects in every way and compare them.

Published weights differ, their configurations do not say how, and the published code gives some of them rays of cameras
that look away from the object (see :mod:`image3d_nb.pipelines.lgm`). The object shows the difference: rendered from the
four cameras of its views, it agrees best with them if LGM gets the rays and the rotation that it was trained with.
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
"""Decibels: one image cannot tell ways apart that differ by less."""


@dataclass(frozen=True)
class Trial:
    """One way to use the weights.

    Attributes:
        rays: "right" (cameras look at the object) or "published" (they look away from it).
        rotation: one of LGM's ``ROTATIONS``.
        yaw: degrees by which the object is turned about +y before it is rendered; 0 or 180.
        decibels: agreement of its renders with the four views; see :func:`image3d_nb.metrics.view_consistency`.
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
    """The result of all trials.

    Attributes:
        trials: the best first.
        configured: the trial that the model's configuration stands for.
    """

    trials: tuple[Trial, ...]
    configured: Trial

    @property
    def agrees(self) -> bool:
        """True if no way is better than the configured one by more than ``MARGIN``."""
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
            remedy = 'They need the published rays, which only a call with faithful="lgm-full" gives.'
        else:
            remedy = f'Write "rotation": "{best.rotation}" into config.json of the LGM, or load with rotation=.'
        return f"These weights do not suit their configuration: {ours}. Better: {best}. {remedy}"


@torch.no_grad()
def verify_weights(pipe: LGMFullPipeline, image: Any, generator: torch.Generator | None = None) -> Verdict:
    """Try every way to use LGM's weights on one image.

    Args:
        pipe: pipeline with the weights.
        image: image of one object, as for a call of ``pipe``; taken at elevation 0.
        generator: random generator; None uses torch's global one.

    Returns:
        The trials, and which of them the configuration stands for.

    Raises:
        InputError: a pipeline without LGM, a list of images, or not an image.

    Example:
        >>> import image3d_nb as i3d
        >>> image = i3d.load_image(i3d.sample("mug"))
        >>> verify_weights(i3d.load_pipeline(), image, i3d.generator(0)).agrees
        True
    """
    if not isinstance(pipe, LGMFullPipeline):
        raise InputError(f"pipe must have an LGM to verify; got {type(pipe).__name__}: load it with lgm=")
    if isinstance(image, list):
        raise InputError(f"one image is needed; got a list of {len(image)}")
    return verify_views(pipe, pipe(None, image, generator=generator, output_type="pt").images)


@torch.no_grad()
def verify_views(pipe: LGMFullPipeline, views: Tensor) -> Verdict:
    """Try every way to use LGM's weights on four views, e.g. true ones of an object.

    Args:
        pipe: pipeline with the weights.
        views: [4, 3, H, W] in [0, 1], on white, at elevation 0, LGM's order.

    Returns:
        The trials, and which of them the configuration stands for.

    Raises:
        InputError: wrong shape.
    """
    if views.ndim != 4 or tuple(views.shape[:2]) != (4, 3):
        raise InputError(f"views must be [4, 3, H, W] in [0, 1], LGM's order; got {tuple(views.shape)}")
    size = pipe.lgm.config.input_size
    views = F.interpolate(views, (size, size), mode="bilinear", align_corners=False)
    trials = [trial for rays, rotation in product(RAYS, ROTATIONS) for trial in _try(pipe, views, rays, rotation)]
    configured = next(each for each in trials if (each.rays, each.rotation) == ("right", pipe.lgm.config.rotation))
    return Verdict(tuple(sorted(trials, key=lambda trial: -trial.decibels)), configured)


def _try(pipe: LGMFullPipeline, views: Tensor, rays: str, rotation: str) -> list[Trial]:
    """Run LGM on views [4, 3, H, W] and compare its object; with the published rays also turned by 180 degrees.

    A network that follows the directions of rays that look away gives an object that is turned about y.
    """
    config = pipe.lgm.config
    directions = pipe.rays(faithful="lgm-full" if rays == "published" else None)  # [4, 6, H, W]
    x = lgm_input(views[None].to(pipe.lgm.device, torch.float32), directions.to(pipe.lgm.device))  # [1, 4, 9, H, W]
    # without the turn that the published code adds: this is LGM's output, in the space of its cameras
    made = Gaussians.from_lgm(pipe.lgm.gaussians(x.to(pipe.lgm.dtype), rotation=rotation))
    trials = []
    for yaw in (0, 180) if rays == "published" else (0,):
        azimuths = [90.0 * k - yaw for k in range(4)]  # turning the cameras back turns the object
        cameras = orbit_cameras(0.0, azimuths, config.radius, config.fovy, config.input_size)
        trials.append(Trial(rays, rotation, yaw, view_consistency(made, views, cameras)))
    return trials
