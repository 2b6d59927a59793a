"""Many damaged files of every format: no exception but ours, nothing slow, little memory.

    python benchmarks/hostile_files.py [--count 10000] [--seed 0]

Each file is one of ours, or one as other programs write them (texts, polygons, skins, sparse rows), with one to three
random changes: bytes flipped, cut, inserted or copied, numbers and words replaced. Limits: 5 s of the processor for
each; 500 MB at the peak for meshes, 200 MB for splats. Prints the worst of each kind; the exit status is 1 where a
limit is broken or another exception than FormatError escapes.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError
from image3d_nb.gaussians import Gaussians
from tests.foreign_files import FOREIGN
from tests.mesh_samples import ball, textured
from tests.test_io_hostile import NUMBERS, WORDS, mutated
from tests.test_io_ply import example

SECONDS = 5.0
MEGABYTES = {"mesh": 500, "splats": 200}


def sources(folder: Path) -> dict[str, bytes]:
    """File name -> content: one of each kind."""
    found = dict(FOREIGN)
    for info in io3d.formats():
        for thing in [example(20, degree=0)] if info.holds == "Gaussians" else [ball(4, 5), textured(ball(4, 5))]:
            name = f"{info.holds}-{len(found)}{info.suffix}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an .stl has no colours
                io3d.save(thing, folder / name)
            found[name] = (folder / name).read_bytes()
    return found


def changes(rng: np.random.Generator) -> list[tuple[str, float, object]]:
    """One to three random changes for :func:`mutated`."""
    found: list[tuple[str, float, object]] = []
    for _ in range(rng.integers(1, 4)):
        kind = str(rng.choice(["flip", "cut", "insert", "copy", "number", "word"]))
        value: object = int(rng.integers(1, 256 if kind == "flip" else 64))
        if kind == "insert":
            value = rng.bytes(int(rng.integers(1, 17)))
        elif kind in ("number", "word"):
            choices: list[object] = [*(NUMBERS if kind == "number" else WORDS)]
            value = choices[rng.integers(len(choices))]
        found.append((kind, float(rng.random()), value))
    return found


def attempt(path: Path) -> tuple[bool, float, float]:
    """Whether it loads, seconds of the processor, megabytes at the peak."""
    tracemalloc.reset_peak()
    start, before = time.thread_time(), tracemalloc.get_traced_memory()[0]
    loaded = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            thing = io3d.load(path)
        if isinstance(thing, Gaussians):
            thing.validate()
    except FormatError:
        loaded = False
    return loaded, time.thread_time() - start, (tracemalloc.get_traced_memory()[1] - before) / 2**20


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    broken = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents = sources(folder)
        names = list(contents)
        worst = {name: [0, 0, 0.0, 0.0] for name in names}
        for name in names:
            (folder / name).write_bytes(contents[name])
            attempt(folder / name)  # imports are not measured
        tracemalloc.start()
        for number in range(args.count):
            name = names[number % len(names)]
            content, todo = contents[name], changes(rng)
            inside = name.endswith(".spz") and rng.random() < 0.5  # what is packed, not the gzip
            out = gzip.compress(mutated(gzip.decompress(content), todo), 1) if inside else mutated(content, todo)
            path = folder / f"b{Path(name).suffix}"
            path.write_bytes(out)
            try:
                loaded, seconds, megabytes = attempt(path)
            except Exception:  # noqa: BLE001  (what this looks for)
                traceback.print_exc()
                print(f"ESCAPED: {name}, {todo}", flush=True)
                broken += 1
                continue
            limit = MEGABYTES["splats" if name.startswith("Gaussians") else "mesh"]
            if seconds > SECONDS or megabytes > limit:
                print(f"BROKEN: {name}, {seconds:.1f} s, {megabytes:.0f} MB, {todo}", flush=True)
                broken += 1
            row = worst[name]
            worst[name] = [row[0] + 1, row[1] + loaded, max(row[2], seconds), max(row[3], megabytes)]
    print(f"{'file':28} {'tried':>6} {'load':>6} {'worst s':>8} {'worst MB':>9}")
    for name, (tried, loads, slowest, largest) in worst.items():
        print(f"{name:28} {tried:6} {loads:6} {slowest:8.2f} {largest:9.1f}")
    print(f"{broken} of {args.count} broke a limit")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
