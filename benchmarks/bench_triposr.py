"""TripoSR and Splatter Image on a CPU: each fast path beside the plain one, in one run, with random full-size weights.

    python benchmarks/bench_triposr.py [triposr] [splatter]

CPU seconds on one thread. The plain path evaluates the density at all 256^3 points by ``TripoSR.query``, 8,192 at once;
it is timed on a sixteenth of the points and multiplied. Random weights make a surface of noise, so the values of the
density are those of a smooth object, while the network is evaluated and paid for at every point. Needs 4 GB of disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from PIL import Image
from scipy.spatial import cKDTree

from image3d_nb import load_image, load_pipeline, sample, save
from image3d_nb.meshing.field import closed_surface, sample_field
from image3d_nb.models.splatter_image import SplatterImage
from image3d_nb.models.triposr import TripoSR
from image3d_nb.pipelines.memory import bfloat16_speedup

GRID, SHARE = 256, 16


def write_checkpoint(kind: Callable[[], Any], file: Path) -> None:
    """Random weights that keep activations finite."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in kind().state_dict().items()}
    state = {}
    for name, shape in shapes.items():
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        norm = len(shape) == 1 and name.endswith("weight")
        draw = torch.randn(shape, generator=generator)
        state[name] = 1 + 0.02 * draw if norm else draw * (fan**-0.5 if len(shape) > 1 else 0.02)
    torch.save(state if kind is TripoSR else {"model_state_dict": state}, file)


def cpu_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def smooth(count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The density of a torus with a bar, parts larger than two cubes of the coarse grid."""
    line = torch.linspace(-0.87, 0.87, count)

    def density(index: torch.Tensor) -> torch.Tensor:
        x, y, z = line[index // count**2], line[index // count % count], line[index % count]
        ring = 0.16 - torch.hypot(torch.hypot(x, y) - 0.42, z)
        bar = 0.08 - torch.hypot(y, z).maximum(x.abs() - 0.42)
        return 25 * torch.exp(20 * torch.maximum(ring, bar))

    return density


@torch.no_grad()
def triposr(folder: Path) -> None:
    file = folder / "model.ckpt"
    write_checkpoint(TripoSR, file)
    for line in children(file, ("convert", "load", "run")):
        print(line)
    network_s, pipe, triplane = run_network(file)
    network = pipe.network
    field, fast = smooth(GRID), network.on_grid(triplane, GRID)
    start = torch.arange(0, GRID**3, SHARE)
    line = torch.linspace(-1, 1, GRID) * network.config.radius
    points = torch.stack([line[start // GRID**2], line[start // GRID % GRID], line[start % GRID]], -1)
    plain_s, _ = cpu_seconds(lambda: network.query(triplane, points, chunk=8192))
    plain_s *= SHARE

    def paid(index: torch.Tensor) -> torch.Tensor:
        fast(index)
        return field(index)

    near_s, near = cpu_seconds(lambda: sample_field(paid, GRID, 25.0))
    full = sample_field(field, GRID, 25.0, exact=True)
    mesh_s, mesh = cpu_seconds(lambda: closed_surface(near, 25.0, network.config.radius))
    truth = closed_surface(full, 25.0, network.config.radius)
    same = all(np.array_equal(one, other) for one, other in zip(mesh, truth, strict=True))
    distance = 0.0
    if not same:
        distance = float(cKDTree(truth[0]).query(mesh[0])[0].max()) / 1.74
    color_s, _ = cpu_seconds(lambda: network.query(triplane, torch.from_numpy(mesh[0]).float()))
    whole, plain = network_s + near_s + mesh_s + color_s, network_s + plain_s + mesh_s + color_s
    print(
        f"network {network_s:.1f} s; grid: all points {plain_s:.1f}, near the surface {near_s:.2f}, mesh {mesh_s:.2f},"
    )
    print(
        f"colours of {len(mesh[0]):,} vertices {color_s:.2f}; bfloat16 is {bfloat16_speedup():.2f} times as fast here"
    )
    print(f"grid {plain_s / near_s:.1f} times as fast (at least 8)")
    print(f"image to mesh {plain / whole:.2f} times as fast: {whole:.1f} of {plain:.1f} s (at least 1.7)")
    print(f"largest distance of the meshes {distance:.1e} of the box (at most 1e-4), equal bits: {same}")


def run_network(file: Path) -> tuple[float, Any, torch.Tensor]:
    pipe = load_quietly(file)
    square = pipe.square(load_image(sample("mug")))
    seconds, triplane = cpu_seconds(lambda: pipe.encode(square))
    return seconds, pipe, triplane


def load_quietly(file: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = load_pipeline(file)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def children(file: Path, modes: tuple[str, ...]) -> list[str]:
    return [
        subprocess.run([sys.executable, __file__, mode, str(file)], capture_output=True, text=True, check=True).stdout
        for mode in modes
    ]  # fmt: skip


def child(mode: str, file: Path) -> None:
    """Peak memory of loading, or of the whole way to a file."""
    before = peak()
    seconds, pipe = cpu_seconds(lambda: load_quietly(file))
    weights = sum(tensor.nbytes for tensor in pipe.network.parameters()) / 2**30
    print(f"{mode}: load {seconds:.1f} s, peak {peak():.2f} GiB, {before:.2f} of it before, weights {weights:.2f} GiB")
    if mode != "run":
        return
    pipe.network.on_grid = lambda _triplane, count: smooth(count)
    result = pipe(load_image(sample("mug")))
    with tempfile.TemporaryDirectory() as folder:
        save(result.mesh, Path(folder) / "mug.glb")
    print(f"whole run: peak {peak():.2f} GiB (at most 2.6)")


def peak() -> float:
    (line,) = [row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM")]
    return int(line.split()[1]) / 2**20


@torch.no_grad()
def splatter(folder: Path) -> None:
    file = folder / "model_latest.pth"
    write_checkpoint(SplatterImage, file)
    pipe = load_quietly(file)
    fast = pipe.network
    plain = SplatterImage().eval()
    plain.load_state_dict({name: tensor.contiguous() for name, tensor in fast.state_dict().items()})
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    times: dict[str, list[float]] = {"fast": [], "plain": []}
    for _ in range(4):
        for name, network in (("fast", fast), ("plain", plain)):
            seconds, out = cpu_seconds(lambda network=network: network(image))
            times[name].append(seconds)
    print(f"difference {float((fast(image) - out).abs().max() / out.std()):.1e} of the std")
    best = {name: min(each) for name, each in times.items()}
    print(f"forward: {best}, {best['plain'] / best['fast']:.2f} times as fast (at least 1.3)")
    picture: Image.Image = load_image(sample("mug"))
    pipe(picture)
    start = time.perf_counter()
    seconds, _ = cpu_seconds(lambda: save(pipe(picture).gaussians, folder / "mug.ply"))
    print(f"picture to .ply: {seconds:.2f} CPU s, {time.perf_counter() - start:.2f} s (at most 3)")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] and sys.argv[1] in ("convert", "load", "run"):
        child(sys.argv[1], Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as name:
            for each in sys.argv[1:] or ["triposr", "splatter"]:
                {"triposr": triposr, "splatter": splatter}[each](Path(name))
