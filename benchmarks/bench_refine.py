"""Does refine sharpen? Fronts against the image, other views against the truth, needles and seconds.

    python benchmarks/bench_refine.py [--objects 100] [--pictures FOLDER]

The six bundled samples (their fronts alone: nobody knows their other sides), and held-out objects, half of them of
families that the tiny model knows and half of families that it does not. True views are 64 px, like the model's, and
256 px, like the image. `render` draws small Gaussians finer there, without which they would look a pixel larger at 64
px.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import image3d_nb as i3d
from image3d_nb.metrics import psnr, ssim
from image3d_nb.rendering import render
from image3d_nb.rendering.refine import refine
from image3d_nb.training.data import ObjectViews, on_white
from image3d_nb.training.objects import make_object, render_views

FRONT = i3d.orbit_cameras(azimuth=0.0, size=256)
ASIDE = {"15": (-15.0, 15.0), "30": (-30.0, 30.0)}


@dataclass
class Case:
    """One object: its front [256, 256, 3] in [0, 1], and what is known of its other sides."""

    kind: str
    name: str
    front: Tensor
    truth: dict[str, tuple[i3d.Cameras, Tensor]]  # view set -> cameras and images [V, 3, H, W]


def samples() -> Iterator[Case]:
    for name in ("mug", "duck", "car", "robot", "house", "toadstool"):
        pixels = np.asarray(i3d.prepare_image(i3d.sample(name)), np.float32) / 255
        yield Case("samples", name, torch.from_numpy(pixels), {})


def held_out(split: str, kind: str, count: int) -> Iterator[Case]:
    data = ObjectViews(split, size=64, random_views=8, vary_fill=False)
    for index in range(count):
        sample = data[index]
        thing = make_object(data.first_seed + index, sample.family, vary_fill=False)

        def seen(cameras: i3d.Cameras, thing: object = thing) -> Tensor:
            rgba = torch.from_numpy(render_views(thing, cameras)).permute(0, 3, 1, 2).float() / 255  # type: ignore[arg-type]
            return on_white(rgba)  # [V, 3, H, W]

        truth = {"8 new, 64": (sample.cameras[4:], on_white(sample.images[4:]))}
        truth["8 new, 256"] = (sample.cameras[4:].resize(256, 256), seen(sample.cameras[4:].resize(256, 256)))
        for name, azimuths in ASIDE.items():
            for size in (64, 256):
                cameras = i3d.orbit_cameras(azimuth=azimuths, size=size)
                truth[f"{name}, {size}"] = (cameras, seen(cameras))
        yield Case(kind, f"{sample.family} {index}", seen(FRONT)[0].permute(1, 2, 0), truth)


def on_object(drawn: Tensor, front: Tensor) -> float:
    """PSNR in dB over the object's pixels, those of the image that are not white."""
    inside = (front < 1 - 1 / 255).any(-1)  # [H, W]
    return float(-10 * torch.log10((drawn - front)[inside].square().mean()))


def needles(gaussians: i3d.Gaussians) -> float:
    """Share of Gaussians whose longest axis is over 20 times the shortest, in percent."""
    ordered = gaussians.scales.sort(dim=-1).values
    return 100 * float((ordered[:, 2] > 20 * ordered[:, 0]).float().mean())


def measure(gaussians: i3d.Gaussians, case: Case) -> dict[str, float]:
    found = {"front dB": on_object(render(gaussians, FRONT)[0], case.front), "needles %": needles(gaussians)}
    found["Gaussians"] = len(gaussians)
    for name, (cameras, truth) in case.truth.items():
        drawn = render(gaussians, cameras).permute(0, 3, 1, 2)
        found[f"{name} dB"] = float(psnr(drawn, truth).mean())
        found[f"{name} ssim"] = float(ssim(drawn, truth).mean())
    return found


def pictures(before: i3d.Gaussians, after: i3d.Gaussians, case: Case) -> Image.Image:
    """A row: the image, then before and after from ahead, 15 and 35 degrees aside, and above."""
    cameras = i3d.orbit_cameras(elevation=(0.0, 0.0, 0.0, 60.0), azimuth=(0.0, 15.0, 35.0, 0.0), size=256)
    pair = torch.stack((render(before, cameras), render(after, cameras)), 1).flatten(0, 1)  # [8, 256, 256, 3]
    row = torch.cat((case.front[None], pair)).permute(1, 0, 2, 3).reshape(256, -1, 3)
    return Image.fromarray((row.clamp(0, 1) * 255 + 0.5).byte().numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description="refine against the truth")
    parser.add_argument("--objects", type=int, default=100, help="held-out objects beside the six samples")
    parser.add_argument("--steps", type=int, default=None, help="steps of refine; its default without")
    parser.add_argument("--pictures", type=Path, default=None, help="a folder for images of before and after")
    arguments = parser.parse_args()
    options = {} if arguments.steps is None else {"steps": arguments.steps}
    pipe = i3d.load_pipeline()
    pipe.set_progress_bar_config(disable=True)
    known, foreign = arguments.objects - arguments.objects // 2, arguments.objects // 2
    cases = [*samples(), *held_out("test", "known families", known), *held_out("unseen", "foreign families", foreign)]
    rows: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = defaultdict(list)
    for case in cases:
        before = pipe(None, case.front.numpy(), prepare=False, generator=i3d.generator(0)).gaussians
        image = (case.front * 255 + 0.5).byte().numpy()
        start, cpu = time.perf_counter(), time.process_time()
        after = refine(before, image, progress=False, **options)
        seconds = {"seconds": time.perf_counter() - start, "CPU s": time.process_time() - cpu}
        rows[case.kind].append((measure(before, case), measure(after, case) | seconds))
        if arguments.pictures is not None:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            pictures(before, after, case).save(arguments.pictures / f"{case.kind} {case.name}.png")
    for kind, pairs in rows.items():
        print(f"{kind}, {len(pairs)} objects: mean before -> after")
        for name in pairs[0][1]:
            after_mean = statistics.mean(pair[1][name] for pair in pairs)
            if name in pairs[0][0]:
                before_mean = statistics.mean(pair[0][name] for pair in pairs)
                print(f"  {name:16} {before_mean:10.3f} -> {after_mean:10.3f}  ({after_mean - before_mean:+.3f})")
            else:
                print(f"  {name:16} {after_mean:10.3f}")


if __name__ == "__main__":
    main()
