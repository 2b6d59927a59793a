"""How good a model is on objects that its training never showed it, with seeds fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..gaussians import Gaussians
from ..metrics import psnr, silhouette_iou, ssim
from ..pipelines import generator
from ..pipelines.lgm import LGMFullPipeline
from ..rendering import render
from .data import ObjectViews, Sample, on_white


@dataclass(frozen=True)
class Score:
    """The mean over objects of one measurement, and how it spreads over them.

    Attributes:
        psnr: decibels, mean over pictures.
        spread: standard deviation over objects of their mean decibels.
        pooled: decibels of the mean squared error over all pictures.
        ssim: mean over pictures.
        iou: of silhouettes; NaN where there are only pictures.
        count: objects.
    """

    psnr: float
    spread: float
    pooled: float
    ssim: float
    iou: float
    count: int

    def __str__(self) -> str:
        iou = "" if np.isnan(self.iou) else f", IoU {self.iou:.3f}"
        return (
            f"{self.psnr:.2f} dB (spread {self.spread:.2f}, pooled {self.pooled:.2f}), SSIM {self.ssim:.3f}{iou},"
            f" {self.count} objects"
        )


def evaluate(
    pipe: LGMFullPipeline, split: str, objects: int = 200, novel_views: int = 8, progress: bool = True
) -> dict[str, Score]:
    """Measure both halves of a model, and the whole way, on one split.

    Args:
        pipe: of 64-pixel views, such as the bundled one.
        split: "test" (known families) or "unseen".
        objects: how many.
        novel_views: random cameras an object, which judge its Gaussians.
        progress: show a bar.

    Returns:
        "sides": the side and back views that stage one makes; "true views": Gaussians of true views, from novel views;
        "whole way": of generated views; "copied front": of the front view four times, the baseline to beat.
    """
    data = ObjectViews(split, size=pipe.picture_size, random_views=novel_views, vary_fill=False)
    found: dict[str, list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]] = {}
    pipe.set_progress_bar_config(disable=True)
    for index in tqdm(range(objects), desc=split, unit="object", disable=not progress):
        sample = data[index]
        true = on_white(sample.images[:4])  # [4, 3, H, W]
        front = true[0].permute(1, 2, 0).numpy()  # [H, W, 3]
        result = pipe(None, front, prepare=False, generator=generator(0), output_type="pt")
        found.setdefault("sides", []).append((result.images[1:], true[1:], None, None))
        made = {
            "true views": pipe.reconstruct(true),
            "whole way": result.gaussians,
            "copied front": pipe.reconstruct(true[:1].expand(4, -1, -1, -1)),
        }
        for name, gaussians in made.items():
            found.setdefault(name, []).append(_judge(gaussians, sample))
    return {name: _score(rows) for name, rows in found.items()}


def _judge(gaussians: Gaussians, sample: Sample) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rgb, alpha = render(gaussians, sample.cameras[4:], return_alpha=True)
    truth = sample.images[4:]
    return rgb.permute(0, 3, 1, 2), on_white(truth), alpha, truth[:, 3]


def _score(rows: list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]) -> Score:
    decibels = torch.stack([psnr(made, true) for made, true, *_ in rows])  # [objects, views]
    errors = torch.stack([(made - true).square().mean() for made, true, *_ in rows])
    alike = torch.stack([ssim(made, true).mean() for made, true, *_ in rows])
    shapes = [silhouette_iou(a, b).mean() for *_, a, b in rows if a is not None and b is not None]
    return Score(
        psnr=float(decibels.mean()),
        spread=float(decibels.mean(1).std()),
        pooled=float(-10 * errors.mean().log10()),
        ssim=float(alike.mean()),
        iou=float(torch.stack(shapes).mean()) if shapes else float("nan"),
        count=len(rows),
    )
