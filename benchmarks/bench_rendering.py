"""How fast are the CPU renderers? Process CPU time, median of several runs, all in one run; one thread.

    python benchmarks/bench_rendering.py [--quick]

The bars: numba at least 3x as fast as our torch layered tiles forward (16,384 Gaussians, 256 px), and 2.5x forward
and backward (4,096, 64 px). Layered tiles at 65,536 and the dense reference at 1,024 are for comparison.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from image3d_nb import orbit_cameras
from image3d_nb.rendering import numba_projection, projection, render_splats


def shell(n: int, seed: int = 0) -> list[Tensor]:
    """An object as LGM makes it: n small flat opaque discs on an ellipsoid, overlapping their neighbours."""
    g = torch.Generator().manual_seed(seed)
    normals = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1)  # [N, 3]
    means = normals * torch.tensor([0.5, 0.4, 0.3]) + 0.004 * torch.randn(n, 3, generator=g)
    # the half-way quaternion (1 + z.n, z x n) turns +z onto the normal
    quats = torch.stack((1 + normals[:, 2], -normals[:, 1], normals[:, 0], torch.zeros(n)), dim=-1)
    spacing = (4 * torch.pi * 0.16 / n) ** 0.5  # of discs on a sphere of about this size
    scales = spacing * torch.tensor([0.8, 0.8, 0.2]) * torch.exp(0.4 * torch.randn(n, 3, generator=g))
    opacities = 0.5 + 0.5 * torch.rand(n, generator=g)
    return [means, quats, scales, opacities, 0.5 + 0.5 * normals]


def cpu_ms(work: Callable[[], object], runs: int) -> float:
    """Median CPU milliseconds of a run, after one run that compiles and fills caches."""
    work()
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def forward(n: int, size: int, backend: str) -> Callable[[], object]:
    """One picture of n Gaussians, without gradients."""
    fields, camera = shell(n), orbit_cameras(elevation=20, azimuth=30, size=size)

    def work() -> None:
        with torch.no_grad():
            render_splats(*fields, camera.viewmats, camera.Ks, size, size, 1.0, backend)

    return work


def training(n: int, size: int, backend: str) -> Callable[[], object]:
    """One picture and the gradients of a loss on rgb and alpha with respect to all fields."""
    fields, camera = [t.requires_grad_() for t in shell(n)], orbit_cameras(elevation=20, azimuth=30, size=size)

    def work() -> None:
        rgb, alpha, _ = render_splats(*fields, camera.viewmats, camera.Ks, size, size, 1.0, backend)
        torch.autograd.grad((rgb - 0.5).square().mean() + alpha.square().mean(), fields)

    return work


def projecting(project: Callable[..., projection.Splats]) -> Callable[[], object]:
    """The projection of 4,096 Gaussians alone, with its gradients."""
    fields, camera = [t.requires_grad_() for t in shell(4096)], orbit_cameras(elevation=20, azimuth=30, size=64)

    def work() -> None:
        splats = project(*fields[:3], camera.viewmats, camera.Ks, 64, 64)
        torch.autograd.grad(splats.means2d.sum() + splats.conics.sum() + splats.depths.sum(), fields[:3])

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of the renderers")
    parser.add_argument("--quick", action="store_true", help="only the two bars")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print("CPU ms, median          Gaussians   px   numba  layered  ratio")
    cases = [("forward", forward, 16384, 256, 9, 3.0), ("forward + backward", training, 4096, 64, 15, 2.5)]
    if not quick:
        cases += [("forward", forward, 65536, 512, 5, None), ("forward + backward", training, 65536, 512, 3, None)]
    for name, make, n, size, runs, bar in cases:
        fast, slow = cpu_ms(make(n, size, "numba"), 2 * runs), cpu_ms(make(n, size, "layered"), runs)
        verdict = "" if bar is None else f"  (bar {bar}: {'met' if slow >= bar * fast else 'MISSED'})"
        print(f"{name:20} {n:12,} {size:4} {fast:7.1f} {slow:8.1f} {slow / fast:5.1f}x{verdict}")
    fast, slow = (cpu_ms(projecting(module.project), 30) for module in (numba_projection, projection))
    print(f"of which projection, forward + backward, 4,096: kernels {fast:.1f} ms (layered: in torch {slow:.1f} ms)")
    if not quick:
        for name, make in (("forward", forward), ("forward + backward", training)):
            fast, slow = cpu_ms(make(1024, 64, "numba"), 9), cpu_ms(make(1024, 64, "reference"), 5)
            print(f"dense reference, {name}, 1,024 at 64 px: {slow:.0f} ms; numba {fast:.1f} ms, {slow / fast:.0f}x")


if __name__ == "__main__":
    main()
