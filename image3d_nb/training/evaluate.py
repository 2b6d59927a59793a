"""How good a model is on objects that its training never showed it, with seeds fixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..cameras import orbit_cameras
from ..gaussians import Gaussians
from ..metrics import psnr, silhouette_iou, ssim
from ..models.lgm import LGM
from ..pipelines import generator
from ..pipelines.lgm import LGMFullPipeline
from ..rendering import render
from .data import ObjectViews, Sample, on_white
from .direct import direct_gaussians
from .objects import FILL, ProceduralObject, centred, make_object, render_views, zoom

PHOTO = 320
"""Pixels of a side of the square that is rendered for ``prepare_image`` to find in a larger picture."""

FAMILY_ROWS = ("sides", "true views", "whole way")
"""What is reported of each family."""


@dataclass(frozen=True)
class Score:
    """The mean over objects of one measurement, and how it spreads over them.

    Attributes:
        psnr: decibels, mean over pictures.
        spread: standard deviation over objects of their mean decibels.
        pooled: decibels of the mean squared error over all pictures.
        ssim: mean over pictures.
        iou: of silhouettes; NaN where there are only pictures.
        sharpness: energy of the gradients over that of the truth's; blur makes it less than 1.
        each: mean decibels of each object, in order.
    """

    psnr: float
    spread: float
    pooled: float
    ssim: float
    iou: float
    sharpness: float
    each: tuple[float, ...] = field(repr=False)

    @property
    def count(self) -> int:
        """Objects."""
        return len(self.each)

    def __str__(self) -> str:
        iou = "" if np.isnan(self.iou) else f", IoU {self.iou:.3f}"
        return (
            f"{self.psnr:.2f} dB (spread {self.spread:.2f}, pooled {self.pooled:.2f}), SSIM {self.ssim:.3f}{iou},"
            f" sharpness {self.sharpness:.2f}, {self.count} objects"
        )

    def by_family(self, split: str) -> dict[str, float]:
        """Mean decibels of each family of a split, whose objects these are."""
        families = ObjectViews(split).families
        return {name: float(np.mean(self.each[i :: len(families)])) for i, name in enumerate(families[: self.count])}


class Judged(NamedTuple):
    """Of one object: decibels [V], mean squared error, SSIM, sharpness as in :class:`Score`, IoU."""

    psnr: Tensor
    error: float
    ssim: float
    sharpness: float
    iou: float = float("nan")


def evaluate(
    pipe: LGMFullPipeline,
    split: str,
    objects: int = 200,
    novel_views: int = 8,
    direct: LGM | None = None,
    prepared: bool = True,
    flipped: bool = False,
    progress: bool = True,
) -> dict[str, Score]:
    """Measure both halves of a model, and the whole way, on one split.

    Args:
        pipe: of a model such as the bundled one.
        split: one of SPLITS, "test" for known families, "unseen" or "ten" for those that no training saw.
        objects: how many.
        novel_views: random cameras an object, which judge its Gaussians.
        direct: the baseline of :mod:`image3d_nb.training.direct`, or None.
        prepared: measure the rows through ``prepare_image`` too.
        flipped: measure "sides, flipped" and "whole way, flipped" too, see :func:`flip_averaged`.
        progress: show a bar.

    Returns:
        "sides": the side and back views that stage one makes; "true views": Gaussians of true views, from novel views;
        "whole way": of generated views; "copied front": of the front view four times, the baseline to beat; "direct"
        where it was given. "sides, prepared" and "whole way, prepared" begin with a larger picture, the object off its
        middle, which ``prepare_image`` sets right; their truth is the object at the size that it gives.
    """
    found: dict[str, list[Judged]] = {}
    for sample in held_out(pipe, split, objects, novel_views, progress):
        true = on_white(sample.images[:4])  # [4, 3, H, W]
        views, whole = _make(pipe, true[0])
        made = {
            "true views": pipe.reconstruct(true),
            "whole way": whole,
            "copied front": pipe.reconstruct(true[:1].expand(4, -1, -1, -1)),
        }
        if direct is not None:
            made["direct"] = direct_gaussians(direct, true[0])
        if flipped:
            both = flip_averaged(pipe, true[0])
            made["whole way, flipped"] = pipe.reconstruct(both)
            found.setdefault("sides, flipped", []).append(_judge_pictures(both[1:], true[1:]))
        found.setdefault("sides", []).append(_judge_pictures(views[1:], true[1:]))
        for name, gaussians in made.items():
            found.setdefault(name, []).append(judge(gaussians, sample))
    for picture, sample in photographed(pipe, split, objects if prepared else 0, novel_views, progress):
        result = pipe(picture, generator=generator(0), output_type="pt")
        true = on_white(sample.images[1:4])  # [3, 3, H, W]
        found.setdefault("sides, prepared", []).append(_judge_pictures(result.images[1:].cpu(), true))
        found.setdefault("whole way, prepared", []).append(judge(result.gaussians, sample))
    return {name: score(rows) for name, rows in found.items()}


def figures(pipe: LGMFullPipeline, objects: int = 200, direct: LGM | None = None) -> str:
    """The figures of a model's card: two tables in markdown.

    Args:
        pipe: of the model.
        objects: of known families, and of teapots and birds; of all ten unseen families half as many.
        direct: the baseline, or None.
    """
    titles = {"test": "known families", "unseen": "teapots and birds", "ten": "ten families never seen"}
    lines = [
        "| objects of | measured | PSNR dB | spread | pooled PSNR | SSIM | sharpness | silhouette IoU |",
        "|---" * 8 + "|",
    ]
    families: dict[str, dict[str, float]] = {}
    for split, title in titles.items():
        count = max(objects // 2, 1) if split == "ten" else objects
        found = evaluate(pipe, split, count, direct=direct, prepared=split != "ten")
        for name, row in found.items():
            cells = f"{row.psnr:.2f} | {row.spread:.2f} | {row.pooled:.2f} | {row.ssim:.3f} | {row.sharpness:.2f}"
            iou = "" if np.isnan(row.iou) else f"{row.iou:.3f}"
            lines.append(f"| {title} ({count}) | {name} | {cells} | {iou} |")
        if split != "unseen":
            families |= {
                family: {name: found[name].by_family(split)[family] for name in FAMILY_ROWS}
                for family in found["sides"].by_family(split)
            }
    lines += ["", f"| family | {' | '.join(FAMILY_ROWS)} |", "|---" * (1 + len(FAMILY_ROWS)) + "|"]
    lines += [f"| {family} | {' | '.join(f'{row[n]:.2f}' for n in FAMILY_ROWS)} |" for family, row in families.items()]
    return "\n".join(lines) + "\n"


def evaluate_steps(
    pipe: LGMFullPipeline,
    split: str,
    objects: int = 40,
    steps: Sequence[int] = (1, 10),
    seeds: int = 4,
    novel_views: int = 8,
    progress: bool = True,
) -> tuple[dict[str, Score], dict[str, float]]:
    """Compare numbers of denoising steps of the same weights.

    Args:
        pipe, split, objects, novel_views, progress: as for :func:`evaluate`.
        steps: numbers of steps; the model must allow them.
        seeds: 0 to this, for the variety; seed 0 is scored.

    Returns:
        Scores "sides, 1 step", "whole way, 1 step" and so on; and the variety of "1 step" and so on: the standard
        deviation over seeds of each pixel of the side and back views (colours in [0, 1]), its mean over all.
    """
    found: dict[str, list[Judged]] = {}
    varieties: dict[str, list[Tensor]] = {}
    for sample in held_out(pipe, split, objects, novel_views, progress):
        true = on_white(sample.images[:4])  # [4, 3, H, W]
        for count in steps:
            name = f"{count} step{'s' if count > 1 else ''}"
            views = torch.stack([stage_one(pipe, true[0], count, seed) for seed in range(seeds)])  # [seeds, 4, 3, H, W]
            found.setdefault(f"sides, {name}", []).append(_judge_pictures(views[0, 1:], true[1:]))
            found.setdefault(f"whole way, {name}", []).append(judge(pipe.reconstruct(views[0]), sample))
            varieties.setdefault(name, []).append(views[:, 1:].std(0, correction=0).mean())
    scores = {name: score(rows) for name, rows in found.items()}
    return scores, {name: float(torch.stack(values).mean()) for name, values in varieties.items()}


def held_out(
    pipe: LGMFullPipeline, split: str, objects: int, novel_views: int, progress: bool = True
) -> Iterator[Sample]:
    """Objects of a split, seen from LGM's four cameras and some others, each at the size ``prepare_image`` gives."""
    data = ObjectViews(split, size=pipe.picture_size, random_views=novel_views, vary_fill=False)
    pipe.set_progress_bar_config(disable=True)
    for index in tqdm(range(objects), desc=split, unit="object", disable=not progress):
        yield data[index]


def photographed(
    pipe: LGMFullPipeline, split: str, objects: int, novel_views: int, progress: bool = True
) -> Iterator[tuple[Image.Image, Sample]]:
    """The same objects as someone would hand them in, with the truth that ``prepare_image`` aims at.

    Yields:
        an RGBA picture, or every other time an RGB one with a plain background; and the sample.
    """
    data = ObjectViews(split, size=pipe.picture_size, random_views=novel_views, vary_fill=False)
    pipe.set_progress_bar_config(disable=True)
    for index in tqdm(range(objects), desc=f"{split}, prepared", unit="object", disable=not progress):
        sample = data[index]
        thing = filling(make_object(data.first_seed + index, sample.family, vary_fill=False))
        rgba = torch.from_numpy(render_views(thing, sample.cameras)).permute(0, 3, 1, 2)  # [V, 4, H, W]
        yield photograph(thing, index), replace(sample, images=rgba.float() / 255)


def filling(thing: ProceduralObject) -> ProceduralObject:
    """The object so large that its front fills what ``prepare_image`` makes it fill.

    The data make some objects smaller, since another view would cut them off; ``prepare_image`` cannot know of that.
    """
    points = thing.vertices.T.astype(np.float64)  # [3, V]
    for _ in range(5):  # as in objects.frame: each round shrinks the error about tenfold
        points = centred(points * zoom(points, FILL))
    return replace(thing, vertices=np.ascontiguousarray(points.T, np.float32))


def photograph(thing: ProceduralObject, index: int) -> Image.Image:
    """The front of an object somewhere in a larger picture: transparent for an even index, else on plain grey."""
    rng = np.random.default_rng(index)
    cut = cut_out(thing)
    corner = (int(rng.integers(0, PHOTO // 2)), int(rng.integers(0, PHOTO // 4)))
    if index % 2 == 0:
        picture = Image.new("RGBA", (PHOTO * 3 // 2, PHOTO * 5 // 4))
        picture.paste(cut, corner)
        return picture
    grey = int(rng.integers(205, 256))
    picture = Image.new("RGB", (PHOTO * 3 // 2, PHOTO * 5 // 4), (grey, grey, grey))
    picture.paste(cut, corner, mask=cut.getchannel("A"))
    return picture


def cut_out(thing: ProceduralObject, elevation: float = 0.0) -> Image.Image:
    """An object from ahead as a file would hold it: RGBA, colours not multiplied by alpha; elevation in degrees."""
    front = render_views(thing, orbit_cameras(elevation, 0.0, size=PHOTO))[0]  # [H, W, 4] uint8, premultiplied
    alpha = front[..., 3:].astype(np.float32)
    straight = front[..., :3] * (255 / np.maximum(alpha, 1))
    return Image.fromarray(np.concatenate([np.clip(straight, 0, 255), alpha], 2).round().astype(np.uint8))


def judge(gaussians: Gaussians, sample: Sample) -> Judged:
    """Compare Gaussians with a sample's truth from its novel cameras, the fifth and those after it."""
    rgb, alpha = render(gaussians.to("cpu"), sample.cameras[4:], return_alpha=True)
    truth = sample.images[4:]
    iou = float(silhouette_iou(alpha, truth[:, 3]).mean())
    return _judge_pictures(rgb.permute(0, 3, 1, 2), on_white(truth))._replace(iou=iou)


def score(rows: Sequence[Judged]) -> Score:
    """Put what was found of each object together."""
    decibels = torch.stack([row.psnr.mean() for row in rows])  # [objects]; all objects have as many views
    error, alike, sharp, shapes = (float(np.mean([row[i] for row in rows])) for i in (1, 2, 3, 4))
    return Score(
        psnr=float(decibels.mean()),
        spread=float(decibels.std()) if len(rows) > 1 else 0.0,
        pooled=float(-10 * np.log10(error)),
        ssim=alike,
        iou=shapes,
        sharpness=sharp,
        each=tuple(decibels.tolist()),
    )


def _make(pipe: LGMFullPipeline, front: Tensor) -> tuple[Tensor, Gaussians]:
    """The four views [4, 3, H, W] and the object of a front view [3, H, W] that is what ``prepare_image`` gives."""
    result = pipe(None, front.permute(1, 2, 0).numpy(), prepare=False, generator=generator(0), output_type="pt")
    return result.images.cpu(), result.gaussians


def stage_one(pipe: LGMFullPipeline, front: Tensor, steps: int, seed: int) -> Tensor:
    """The four views [4, 3, H, W] of a front [3, H, W] that is what ``prepare_image`` gives, in so many steps."""
    square = pipe.square(front.permute(1, 2, 0).numpy(), prepare=False)
    frames = pipe.denoise(None, square, num_inference_steps=steps, generator=generator(seed))
    return pipe.decode(frames).cpu()


def flip_averaged(pipe: LGMFullPipeline, front: Tensor) -> Tensor:
    """Four views [4, 3, H, W] of a front [3, H, W], each the mean of two: made from it, and from its mirror image."""
    mirrored = stage_one(pipe, front.flip(-1), 1, 0)[[0, 3, 2, 1]].flip(-1)  # its +x is the mirror image of our -x
    return (stage_one(pipe, front, 1, 0) + mirrored) / 2


def _judge_pictures(made: Tensor, true: Tensor) -> Judged:
    error = float((made - true).square().mean())
    sharpness = gradient_energy(made) / gradient_energy(true)
    return Judged(psnr(made, true), error, float(ssim(made, true).mean()), sharpness)


def gradient_energy(images: Tensor) -> float:
    """The mean squared difference of neighbouring pixels of [..., H, W]: a soft edge has less than a hard one."""
    return float(images.diff(dim=-1).square().mean() + images.diff(dim=-2).square().mean())
