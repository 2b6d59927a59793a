"""How long a .ply takes to write and to read, against the usual way with plyfile, in one run.

    python benchmarks/bench_io.py [--count 65536] [--repeat 15]

Like is compared with like. Both sides start from the same tensor [1, N, 14] of a network and end with a file of the
same 14 columns; both sides start from that file and end with such a tensor. The usual way assembles rows with
``list(map(tuple, rows))`` and reads column by column, as the published save_ply and load_ply of LGM do.
Targets at 65,536 Gaussians: write >= 20x, read >= 15x.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import image3d_nb.io as io3d
from image3d_nb._files import atomic_write
from image3d_nb.gaussians import SH_C0, Gaussians
from image3d_nb.io import ply
from image3d_nb.io._ply_table import read_table


def usual_write(tensor: torch.Tensor, path: Path) -> None:
    """Rows as tuples, one by one."""
    rows = tensor[0]
    opacity = rows[:, 3:4].clamp(1e-6, 1 - 1e-6)
    stored = [
        rows[:, :3],
        (rows[:, 11:] - 0.5) / SH_C0,
        torch.log(opacity / (1 - opacity)),
        torch.log(rows[:, 4:7] + 1e-8),
        rows[:, 7:11],
    ]
    table = np.concatenate([part.numpy() for part in stored], axis=1)
    elements = np.empty(len(table), [(name, "f4") for name in ply.LGM_COLUMNS])
    elements[:] = list(map(tuple, table))
    PlyData([PlyElement.describe(elements, "vertex")]).write(str(path))


def usual_columns(path: Path) -> np.ndarray:
    """[N, 14] as stored, column by column; parts of several columns in float64, as np.zeros makes them."""
    vertex = PlyData.read(str(path)).elements[0]

    def part(prefix: str) -> np.ndarray:
        names = [p.name for p in vertex.properties if p.name.startswith(prefix)]
        values = np.zeros((vertex.count, len(names)))
        for i, name in enumerate(names):
            values[:, i] = np.asarray(vertex[name])
        return values

    position = np.stack([np.asarray(vertex[name]) for name in "xyz"], axis=1)
    opacity = np.asarray(vertex["opacity"])[:, None]
    return np.concatenate([position, opacity, part("scale_"), part("rot_"), part("f_dc_")], axis=1)


def usual_read(path: Path) -> torch.Tensor:
    """The columns, and the activations on top."""
    rows = torch.from_numpy(usual_columns(path)).float()
    rows[:, 3] = torch.sigmoid(rows[:, 3])
    rows[:, 4:7] = torch.exp(rows[:, 4:7])
    rows[:, 11:] = rows[:, 11:] * SH_C0 + 0.5
    return rows[None]


def raw_read(path: Path) -> np.ndarray:
    """[N, 14] as stored: our reader without the activations."""
    return read_table(io3d._content(path), tuple).table


def lgm_write(tensor: torch.Tensor, path: Path) -> None:
    """What pipeline.save_ply does with a raw tensor."""
    atomic_write({path: ply.lgm_bytes(tensor, min_opacity=0)})


def milliseconds(work: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """The best of several runs, taken in turns, so that a busy moment does not hit one contender alone."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(repeat):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: seconds * 1e3 for name, seconds in best.items()}


def example(count: int) -> torch.Tensor:
    """[1, N, 14] as a network makes it."""
    tensor = torch.rand(1, count, 14, generator=torch.Generator().manual_seed(0))
    tensor[..., :3] -= 0.5
    tensor[..., 3].clamp_(0.01, 0.99)
    tensor[..., 4:7] = tensor[..., 4:7] * 0.02 + 1e-3
    return tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=65_536)
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    tensor = example(options.count)
    gaussians = Gaussians.from_lgm(tensor)
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder, "old.ply"), Path(folder, "new.ply")
        usual_write(tensor, old)
        io3d.save(gaussians, new, "opengl")
        left, right = usual_read(old), io3d.load(new, "opengl").to_lgm()
        print(f"{options.count} Gaussians; largest difference between the two files {(left - right).abs().max():.1e}")
        writes = {
            "plyfile, rows as tuples": lambda: usual_write(tensor, old),
            "save_ply of a raw tensor": lambda: lgm_write(tensor, new),
            'save, "opengl"': lambda: io3d.save(gaussians, new, "opengl"),
            'save, "3dgs": turned on the way': lambda: io3d.save(gaussians, new),
        }
        stored = {
            "plyfile, columns": lambda: usual_columns(old),
            "numbers as stored": lambda: raw_read(new),
        }
        reads = {
            "plyfile, columns, activations": lambda: usual_read(old),
            'load, "opengl"': lambda: io3d.load(new, "opengl"),
            'load, "3dgs": turned on the way': lambda: io3d.load(new),
        }
        report("write", milliseconds(writes, options.repeat))
        report("read as stored", milliseconds(stored, 3 * options.repeat))
        report("read", milliseconds(reads, 3 * options.repeat))


def report(title: str, times: dict[str, float]) -> None:
    first = next(iter(times.values()))
    print(f"{title:40s}{'ms':>9s}{'ratio':>9s}")
    for name, value in times.items():
        print(f"  {name:38s}{value:9.2f}{first / value:8.1f}x")


if __name__ == "__main__":
    main()
