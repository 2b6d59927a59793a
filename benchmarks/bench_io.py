"""How long splat files take to write and to read, against other people's code, in one run; and what memory they need.

    python benchmarks/bench_io.py [--count 65536] [--repeat 15] [--cpu]

Like is compared with like, and each line says what it does.

.ply, the published way: LGM's save_ply and load_ply, which assemble rows with ``list(map(tuple, rows))`` and read
column by column with plyfile. "As stored" ends with the numbers of the file (load_ply's ``compatible=False``), "with
activations" with opacities and scales (``compatible=True``). Targets at 65,536 Gaussians: write >= 20x, read >= 15x.

.ply, gsply: keeps logits and logarithms, so it is compared with our reading "as stored"; and with its own functions
that activate (``denormalize``) and undo it, with ``load`` and ``save``. Target: within 1.3x.

.splat and .spz, gaussforge: from a .ply's bytes to the other format's and back, since it offers no reading alone. Ours
loads and saves files for that, in place of bytes. Target: no slower.

Memory: 1,000,000 Gaussians of SH degree 3 are loaded in a process of their own; the most that it needs beyond what it
had before, as a share of the file. Target: <= 2.5.

Files are in memory where there is a /dev/shm, so that no disk is measured. Every contender runs in turns and its best
time counts. On a machine that does other work too, ``--cpu`` counts the time
of the processor.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import gaussforge
import gsply
import numpy as np
import torch
from plyfile import PlyData, PlyElement

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import image3d_nb.io as io3d
from image3d_nb._files import atomic_write
from image3d_nb.gaussians import SH_C0, Gaussians
from image3d_nb.io import files, ply
from image3d_nb.io._ply_table import read_table

LARGE = 1_000_000


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


def usual_columns(path: Path) -> torch.Tensor:
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
    table = np.concatenate([position, opacity, part("scale_"), part("rot_"), part("f_dc_")], axis=1)
    return torch.from_numpy(table).float()


def usual_read(path: Path) -> torch.Tensor:
    """The columns, and the activations on top."""
    rows = usual_columns(path)
    rows[:, 3] = torch.sigmoid(rows[:, 3])
    rows[:, 4:7] = torch.exp(rows[:, 4:7])
    rows[:, 11:] = rows[:, 11:] * SH_C0 + 0.5
    return rows[None]


def raw_read(path: Path) -> np.ndarray:
    """[N, 14] as stored: our reader without the activations."""
    return np.array(read_table(files._content(path), tuple).rows)


def lgm_write(tensor: torch.Tensor, path: Path) -> None:
    """What pipeline.save_ply does with a raw tensor."""
    atomic_write({path: ply.lgm_bytes(tensor, min_opacity=0)})


def gsply_write(gaussians: Gaussians, path: Path) -> None:
    """From opacities and scales, as we."""
    fields = (gaussians.means, gaussians.scales, gaussians.quats, gaussians.opacities, gaussians.sh[:, 0])
    means, scales, quats, opacities, sh0 = (field.numpy() for field in fields)
    data = gsply.GSData.from_arrays(means, scales, quats, opacities, sh0, format="linear")
    gsply.plywrite(str(path), data.normalize(inplace=False))


def forge(source: Path, target: Path) -> None:
    """By gaussforge, bytes to bytes."""
    made = gaussforge.GaussForge().convert(source.read_bytes(), source.suffix[1:], target.suffix[1:])
    target.write_bytes(made["data"])


def ours(source: Path, target: Path) -> None:
    """The same by us."""
    io3d.save(io3d.load(source, "opengl"), target, "opengl")


def example(count: int) -> torch.Tensor:
    """[1, N, 14] as a network makes it."""
    tensor = torch.rand(1, count, 14, generator=torch.Generator().manual_seed(0))
    tensor[..., :3] -= 0.5
    tensor[..., 3].clamp_(0.01, 0.99)
    tensor[..., 4:7] = tensor[..., 4:7] * 0.02 + 1e-3
    return tensor


def milliseconds(work: Mapping[str, Callable[[], object]], repeat: int, clock: Callable[[], float]) -> dict[str, float]:
    """The best of several runs, taken in turns, so that a busy moment does not hit one contender alone."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(repeat):
        for name, run in work.items():
            start = clock()
            run()
            best[name] = min(best[name], clock() - start)
    return {name: seconds * 1e3 for name, seconds in best.items()}


def report(title: str, times: dict[str, float]) -> None:
    first = next(iter(times.values()))
    print(f"{title:50s}{'ms':>9s}{'ratio':>9s}")
    for name, value in times.items():
        print(f"  {name:48s}{value:9.2f}{first / value:8.1f}x")


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """gaussforge writes a line for every .spz it reads, past Python."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def plys(folder: Path, tensor: torch.Tensor, repeat: int, clock: Callable[[], float]) -> None:
    gaussians = Gaussians.from_lgm(tensor)
    old, new = folder / "old.ply", folder / "new.ply"
    usual_write(tensor, old)
    io3d.save(gaussians, new, "opengl")
    left, right = usual_read(old), io3d.load(new, "opengl").to_lgm()
    print(f"largest difference between the two files {(left - right).abs().max():.1e}")
    writes = {
        "plyfile, rows as tuples": lambda: usual_write(tensor, old),
        "gsply, with its normalize": lambda: gsply_write(gaussians, old),
        "ours: save_ply of a raw tensor": lambda: lgm_write(tensor, new),
        'ours: save, "opengl"': lambda: io3d.save(gaussians, new, "opengl"),
        'ours: save, "3dgs": turned on the way': lambda: io3d.save(gaussians, new),
    }
    stored = {
        "plyfile, columns": lambda: usual_columns(new),
        "gsply": lambda: gsply.plyread(str(new)),
        "ours": lambda: raw_read(new),
    }
    reads = {
        "plyfile, columns": lambda: usual_read(new),
        "gsply, with its denormalize": lambda: gsply.plyread(str(new)).denormalize(),
        'ours: load, "opengl", checked': lambda: io3d.load(new, "opengl"),
        'ours: load, "3dgs", checked, turned on the way': lambda: io3d.load(new),
    }
    report(".ply, write with activations undone", milliseconds(writes, repeat, clock))
    report(".ply, read as stored", milliseconds(stored, 3 * repeat, clock))
    report(".ply, read with activations", milliseconds(reads, 3 * repeat, clock))


def others(folder: Path, tensor: torch.Tensor, repeat: int, clock: Callable[[], float]) -> None:
    source = folder / "a.ply"
    io3d.save(Gaussians.from_lgm(tensor), source, "opengl")
    for suffix in (".splat", ".spz"):
        target = folder / f"a{suffix}"
        ours(source, target)
        for start, end in ((source, target), (target, folder / f"b{suffix}.ply")):
            work = {
                "gaussforge": lambda start=start, end=end: forge(start, end.with_stem("forged")),
                "ours": lambda start=start, end=end: ours(start, end),
            }
            with silence():
                times = milliseconds(work, repeat, clock)
            report(f"{start.suffix} to {end.suffix}", times)


def memory(folder: Path) -> None:
    path = folder / "large.ply"
    table = np.random.default_rng(0).standard_normal((LARGE, 62), np.float32)
    columns = "".join(f"property float {name}\n" for name in ply.inria_columns(3))
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {LARGE}\n{columns}end_header\n"
    path.write_bytes(header.encode() + table.tobytes())
    size = path.stat().st_size
    del table
    script = r"""
import re, sys, time
import torch, image3d_nb.io as io3d
peak = lambda: int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) * 1024  # of this program alone
torch.eye(3).double() @ torch.eye(3).double()
before, start = peak(), time.process_time()
io3d.load(sys.argv[1])
print(peak() - before, time.process_time() - start)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    grown, seconds = map(float, done.stdout.split())
    print(f"load {LARGE} Gaussians of SH degree 3, {size / 1e6:.0f} MB, turned on the way: {seconds:.2f} CPU seconds")
    print(f"  memory at the most {grown / 1e6:.0f} MB more: {grown / size:.2f} of the file (bar: 2.5)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=65_536)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--cpu", action="store_true", help="time of the processor, of all threads, not of the clock")
    options = parser.parse_args()
    clock = time.process_time if options.cpu else time.perf_counter
    tensor = example(options.count)
    print(f"{options.count} Gaussians, {'processor' if options.cpu else 'clock'} time")
    ram = Path("/dev/shm")  # noqa: S108  (a folder is made in it)
    with tempfile.TemporaryDirectory(dir=ram if ram.is_dir() else None) as name:
        plys(Path(name), tensor, options.repeat, clock)
        others(Path(name), tensor, options.repeat, clock)
        memory(Path(name))


if __name__ == "__main__":
    main()
