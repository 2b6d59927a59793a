"""What an image of a batch costs as the number grows, what the driver holds, and what Ray adds to two processes.

python benchmarks/bench_batch.py [--counts 100 1000] [--model tiny] [--ray]

Bars: the cost of an image within 10 % and the driver's memory within 50 MB from the first count to the last; Ray at
least 0.8 of the throughput of two local processes. The time to start and to load the model is left out: a run is
measured from its tenth part on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from image3d_nb import GenerateSettings, generate_many


def draw(folder: Path, count: int) -> Path:
    """Images of 64 pixels, each of its own colour."""
    folder.mkdir()
    for number in range(count):
        pixels = np.full((64, 64, 3), 255, np.uint8)
        pixels[12:52, 16:48] = np.random.default_rng(number).integers(0, 200, 3)
        Image.fromarray(pixels).save(folder / f"{number:06}.png")
    return folder


def measure(count: int, engine: str, model: str) -> tuple[float, float]:
    """Seconds an image, and MB of the driver at the end above those at a tenth."""
    marks: dict[int, tuple[float, int]] = {}

    def on_step(_stage: str, done: int, _total: int) -> None:
        if done % 10 == 0:
            marks[done] = time.perf_counter(), psutil.Process().memory_info().rss

    with tempfile.TemporaryDirectory() as folder:
        images = draw(Path(folder) / "in", count)
        settings = GenerateSettings(model=model, formats=("ply",))
        result = generate_many(images, Path(folder) / "out", settings, engine=engine, workers=2, on_step=on_step)
        assert (result.total, result.made, result.errors) == (count, count, 0)
    first = max(10, count // 100 * 10)
    (began, small), (ended, large) = marks[first], marks[count]
    return (ended - began) / (count - first), (large - small) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000], help="multiples of 100")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--ray", action="store_true", help="measure Ray, too, at the first count")
    chosen = parser.parse_args()
    found = {}
    for count in chosen.counts:
        found[count], memory = measure(count, "local", chosen.model)
        print(
            f"local, 2 processes, {count:6} images: {found[count]:.3f} s an image, driver {memory:+.1f} MB", flush=True
        )
    print(f"cost at {chosen.counts[-1]} over cost at {chosen.counts[0]}: {found[count] / found[chosen.counts[0]]:.3f}")
    if chosen.ray:
        count = chosen.counts[0]
        cost, memory = measure(count, "ray", chosen.model)
        print(f"Ray, 2 actors, {count} images: {cost:.3f} s an image, driver {memory:+.1f} MB")
        print(f"throughput over two local processes: {found[count] / cost:.2f} (bar 0.8)")


if __name__ == "__main__":
    main()
