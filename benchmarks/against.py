"""Is this tree slower than an older one (git archive COMMIT | tar x -C OLD)? Ratios of the best CPU times.

    python benchmarks/against.py OLD [--rounds 3] [--only to_mesh]

Each round starts a process for each tree, with one thread. The best of all rounds counts; what compiles does not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path


def works(folder: Path) -> Iterator[tuple[str, int, Callable[[], object]]]:
    """What is measured, by the public API alone: its name, how often it runs in a process, and the work."""
    import torch
    from analytic_shapes import SHAPES, gaussians

    import image3d_nb as i3d

    torch.set_num_threads(1)
    splats, _ = gaussians(SHAPES["mug"], 65_536, noisy=True)
    fewer, _ = gaussians(SHAPES["mug"], 4096, noisy=True)
    fewer.means.requires_grad_()
    mesh = i3d.to_mesh(splats, 64)
    cameras = {size: i3d.orbit_cameras(elevation=20, azimuth=30, size=size) for size in (64, 512)}
    yield "render Gaussians", 5, lambda: i3d.render(splats, cameras[512])
    yield "render and gradients", 9, lambda: i3d.render(fewer, cameras[64]).square().mean().backward()
    yield "render a mesh", 5, lambda: i3d.render(mesh, cameras[512])
    for obj, suffix in ((splats, ".ply"), (splats, ".splat"), (splats, ".spz"), (mesh, ".glb"), (mesh, ".obj")):
        path = folder / f"a{suffix}"
        i3d.save(obj, path)
        yield f"save {suffix}", 9, lambda obj=obj, path=path: i3d.save(obj, path)
        yield f"load {suffix}", 9, lambda path=path: i3d.load(path)
    for shape, noisy in (("sphere", False), ("mug", True)):
        cloud, _ = gaussians(SHAPES[shape], 65_536, noisy=noisy)
        yield f"to_mesh, {shape}{', noisy' if noisy else ''}", 1, lambda cloud=cloud: i3d.to_mesh(cloud)


def seconds(run: Callable[[], object], times: int) -> float:
    """The best CPU time; a run before each compiles and fills caches."""
    return min(timeit.repeat(run, setup=run, repeat=times, number=1, timer=time.process_time))


def measure(tree: Path, only: str) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", "--only", only]
    return dict(json.loads(subprocess.check_output(command, env=environment, cwd=tree).splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of this tree and of an older one")
    parser.add_argument("old", type=Path, nargs="?", help="the folder of the older tree")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="works whose names have this in them")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            chosen = (work for work in works(Path(folder)) if options.only in work[0])
            print(json.dumps({name: seconds(run, times) for name, times, run in chosen}))
        return
    if options.old is None:
        parser.error("OLD, the folder of the older tree, must be given")
    trees = (options.old.resolve(), Path(__file__).resolve().parent.parent)
    rounds = [[measure(tree, options.only) for tree in trees] for _ in range(options.rounds)]
    print(f"{'CPU ms':24}{'older':>10}{'this':>10}{'ratio':>8}")
    for name in rounds[0][0]:
        old, new = (1e3 * min(pair[side][name] for pair in rounds) for side in (0, 1))
        print(f"{name:24}{old:10.1f}{new:10.1f}{new / old:8.2f}{'  slower' if new > 1.1 * old else ''}")


if __name__ == "__main__":
    main()
