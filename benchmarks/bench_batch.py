"""What an image of a batch costs as the number grows, what the driver holds, and what Ray adds to two processes.

python benchmarks/bench_batch.py [--counts 100 1000] [--model tiny] [--engines local ray]

Bars: the cost of an image within 10 % and the driver's memory within 50 MB from the first count to the last; Ray at
least 0.8 of the throughput of two local processes. The time to start and to load the model is left out: a run is
measured from its fifth part on. CPU seconds of all processes are printed too: other programs disturb them less.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

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


class Cost(NamedTuple):
    """What the last four fifths of a run cost."""

    wall: float  # seconds an image
    cpu: float  # the same, of all processes together
    first: float  # MB of the driver at the fifth
    last: float  # and at the end


def cpu_seconds() -> float:
    """Of this process and those below it."""
    total = 0.0
    for each in (me := psutil.Process(), *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it has ended
            total += sum(each.cpu_times()[:2])
    return total


def measure(count: int, engine: str, model: str) -> Cost:
    """Run a batch by two workers."""
    marks: dict[int, tuple[float, float, float]] = {}

    def on_step(_stage: str, done: int, _total: int) -> None:
        if done in (count // 5, count):
            marks[done] = time.perf_counter(), cpu_seconds(), psutil.Process().memory_info().rss / 1e6

    with tempfile.TemporaryDirectory() as folder:
        images = draw(Path(folder) / "in", count)
        settings = GenerateSettings(model=model, formats=("ply",))
        result = generate_many(images, Path(folder) / "out", settings, engine=engine, workers=2, on_step=on_step)
        assert (result.total, result.made, result.errors) == (count, count, 0)
    (began, used, small), (ended, used_last, large) = marks[count // 5], marks[count]
    cost = Cost(*(np.array([ended - began, used_last - used]) / (count - count // 5)), small, large)
    print(
        f"{engine:5} {count:6} images: {cost.wall:.3f} s an image, {cost.cpu:.3f} CPU seconds; "
        f"driver {small:.0f} -> {large:.0f} MB", flush=True,
    )  # fmt: skip
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000], help="multiples of 5")
    parser.add_argument("--engines", nargs="+", default=["local"], choices=["local", "ray"])
    parser.add_argument("--model", default="tiny")
    chosen = parser.parse_args()
    few, many = chosen.counts[0], chosen.counts[-1]
    found = {(count, each): measure(count, each, chosen.model) for count in chosen.counts for each in chosen.engines}
    for engine in chosen.engines if few != many else ():
        a, b = found[few, engine], found[many, engine]
        print(
            f"{engine}: cost of an image at {many} over that at {few}: {b.wall / a.wall:.2f}, "
            f"by CPU {b.cpu / a.cpu:.2f}; driver {b.last - a.last:+.1f} MB"
        )
    if len(chosen.engines) > 1:
        local, ray = found[many, "local"], found[many, "ray"]
        print(f"Ray's throughput over that of two processes (bar 0.8): {local.wall / ray.wall:.2f}, "
              f"by CPU {local.cpu / ray.cpu:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
