"""How large one object is in each format of splats, and how well it is kept: bytes and PSNR beside those of the .ply.

    python benchmarks/splat_sizes.py [FILE] [--views 8] [--size 512]

FILE is any file of splats. Without one, the object is what the bundled model makes of the sample image: 16,384
Gaussians, each split into four, which are the 65,536 that LGM's own network makes.

The PSNR is the mean over views around the object, each of the file's render against the .ply's, on white: over all
pixels, and over those where there is an object.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import torch

import image3d_nb as i3d
from image3d_nb import Gaussians

FORMATS = (".ply", ".splat", ".spz", ".sog")


def object_of_65536() -> Gaussians:
    """The tiny model's object, each Gaussian split into four along its first two axes."""
    gaussians = i3d.load_pipeline("tiny")(i3d.load_image(i3d.sample()), generator=i3d.generator(0)).gaussians
    axes = gaussians.rotations()[:, :, :2] * gaussians.scales[:, None, :2] * 0.5  # [N, 3, 2]
    halves = gaussians.scales * torch.tensor([0.75, 0.75, 1.0])
    parts = [
        dataclasses.replace(gaussians, means=gaussians.means + axes @ torch.tensor([a, b]), scales=halves)
        for a in (-1.0, 1.0)
        for b in (-1.0, 1.0)
    ]
    return Gaussians.merge(parts)


def decibels(image: torch.Tensor, truth: torch.Tensor, alpha: torch.Tensor) -> tuple[float, float]:
    """Over all pixels, and over those that an object covers; a mean over views."""
    squares = (image - truth).square().mean(-1).flatten(1)  # [V, H W]
    covered = (alpha > 0.02).flatten(1).float()
    of_all, of_object = (
        -10 * errors.clamp(min=1e-10).log10()
        for errors in (squares.mean(1), (squares * covered).sum(1) / covered.sum(1))
    )
    return float(of_all.mean()), float(of_object.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="of splats; without one, the bundled model's object")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=512, help="pixels")
    options = parser.parse_args()
    gaussians = i3d.load(options.file) if options.file else object_of_65536()
    turns = [360 * i / options.views for i in range(options.views)]
    cameras = i3d.orbit_cameras(elevation=[15] * options.views, azimuth=turns, size=options.size)
    print(f"{gaussians}, {options.views} views of {options.size} pixels")
    print("format         bytes   each  .ply /    PSNR  object  write s  read s")
    with tempfile.TemporaryDirectory() as folder:
        first = 0
        for suffix in FORMATS:
            path = Path(folder, f"object{suffix}")
            start = time.perf_counter()
            i3d.save(gaussians, path)
            wrote = time.perf_counter()
            back = i3d.load(path)
            read = time.perf_counter()
            image, alpha = i3d.render(back, cameras, return_alpha=True)
            size = path.stat().st_size
            if not first:
                first, truth, covered = size, image, alpha
            of_all, of_object = decibels(image, truth, covered)
            quality = f"{of_all:7.1f} {of_object:7.1f}" if suffix != ".ply" else f"{'-':>7} {'-':>7}"
            each, share = size / len(gaussians), first / size
            print(f"{suffix:8} {size:11,} {each:6.1f} {share:7.1f} {quality} {wrote - start:8.2f} {read - wrote:7.2f}")


if __name__ == "__main__":
    main()
