"""Sheets of pictures for a model's card, and the README's banner: what to look at beside the figures."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .._files import atomic_write
from ..cameras import orbit_cameras
from ..pipelines import generator
from ..pipelines.lgm import LGMFullPipeline
from ..rendering import render
from .data import ObjectViews, on_white
from .evaluate import evaluate, stage_one
from .foreign import foreign_pictures

SHEET_OBJECTS = 40
MANY_STEPS = 10


def write_sheets(pipe: LGMFullPipeline, folder: Path, objects: int = SHEET_OBJECTS, among: int = 200) -> None:
    """Write the card's sheets: objects of known families, the worst of them, unseen families, foreign pictures, steps.

    Args:
        pipe: of the model.
        folder: an existing one; files there are replaced.
        objects: on the first sheet; fewer on each of the others. At least two are shown.
        among: of how many objects the worst are shown.
    """
    pipe.set_progress_bar_config(disable=True)
    few = max(objects // 5, 2)
    store(sheet(pipe, "test", range(max(objects, 2))), folder / "sheet.png")
    store(sheet(pipe, "test", failures(pipe, few, among)), folder / "sheet_failures.png")
    store(sheet(pipe, "unseen", range(few)), folder / "sheet_unseen.png")
    store(sheet(pipe, "ten", range(max(objects // 2, 2))), folder / "sheet_ten.png")
    store(journeys(pipe, list(foreign_pictures().values()), 96), folder / "sheet_foreign.png")
    if pipe.config.max_steps is None or pipe.config.max_steps >= MANY_STEPS:
        store(steps_sheet(pipe, range(few)), folder / "sheet_steps.png")


def row(pictures: list[torch.Tensor]) -> torch.Tensor:
    """Pictures [3, H, W] side by side."""
    return torch.cat(pictures, 2)


def store(picture: torch.Tensor, path: Path, colors: int = 256) -> None:
    """[3, H, W] in [0, 1] as a PNG with a palette, which is a third of the size and looks the same."""
    array = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    stream = BytesIO()
    Image.fromarray(array).quantize(colors, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    atomic_write({path: stream.getvalue()})


def enlarge(picture: torch.Tensor, size: int) -> torch.Tensor:
    """[3, h, w] to [3, size, size]."""
    return torch.nn.functional.interpolate(picture[None], (size, size), mode="bicubic", align_corners=False)[0]


def journeys(pipe: LGMFullPipeline, pictures: Sequence[Image.Image], size: int) -> torch.Tensor:
    """A row a picture: what the model sees of it, the four views, and the object, refined, from three new cameras."""
    rows = []
    for picture in pictures:
        result = pipe(picture, refine=True, generator=generator(0), output_type="pt")
        seen = torch.from_numpy(np.asarray(result.input, np.float32) / 255).permute(2, 0, 1)
        cameras = orbit_cameras([20.0, 20.0, 20.0], [35.0, 155.0, 275.0], size=size)
        new = render(result.gaussians, cameras)
        small = [enlarge(part, size) for part in (seen, *result.images)]
        rows.append(row([*small, *new.permute(0, 3, 1, 2)]))
    return torch.cat(rows, 1)


def sheet(pipe: LGMFullPipeline, split: str, indices: Sequence[int]) -> torch.Tensor:
    """A row an object: true views | generated views | a new camera: truth, from true views, the whole way."""
    data = ObjectViews(split, size=pipe.picture_size, random_views=1, vary_fill=False)
    rows = []
    for index in indices:
        thing = data[index]
        true = on_white(thing.images)  # [5, 3, H, W]
        result = pipe(None, true[0].permute(1, 2, 0).numpy(), prepare=False, generator=generator(0), output_type="pt")
        made = [pipe.reconstruct(true[:4]), result.gaussians]
        new = [render(gaussians, thing.cameras[4:])[0].permute(2, 0, 1) for gaussians in made]
        rows.append(row([*true[:4], *result.images, true[4], *new]))
    half = (len(rows) + 1) // 2
    columns = [torch.cat(part, 1) for part in (rows[:half], rows[half:])]
    columns[1] = torch.nn.functional.pad(columns[1], (0, 0, 0, columns[0].shape[1] - columns[1].shape[1]), value=1.0)
    return torch.cat([columns[0], torch.ones(3, columns[0].shape[1], 16), columns[1]], 2)


def failures(pipe: LGMFullPipeline, count: int = 8, among: int = 200) -> list[int]:
    """The held-out objects of known families with the lowest decibels, the whole way, from two new cameras."""
    scores = evaluate(pipe, "test", among, novel_views=2, prepared=False)["whole way"].each
    return sorted(range(among), key=scores.__getitem__)[:count]


def steps_sheet(pipe: LGMFullPipeline, indices: Sequence[int], steps: int = MANY_STEPS) -> torch.Tensor:
    """A row an object: true views | in one step | in many, with seeds 0, 1 and 2: its side and back views."""
    data = ObjectViews("test", size=pipe.picture_size, vary_fill=False)
    rows = []
    for index in indices:
        true = on_white(data[index].images)  # [4, 3, H, W]
        tries = [stage_one(pipe, true[0], 1, 0), *(stage_one(pipe, true[0], steps, seed) for seed in range(3))]
        rows.append(row([*true, *(view for views in tries for view in views[1:])]))
    return torch.cat(rows, 1)
