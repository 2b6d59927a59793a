"""How long a picture takes with the bundled model, and how much memory, beside what was promised.

    python benchmarks/bench_generate.py [--picture mug] [--model tiny] [--repeat 5]

A cold run is a new process of the command ``image3d generate``. The first one ever also compiles the renderer: it is
run with an empty cache of its own and reported apart. A warm run is one more picture in the same process. All runs are
held to two cores where the system can do so, as promised for.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

CORES = 2
LIMITS = {  # what was promised
    "import image3d_nb, s": 0.15,
    "cold process, picture to files, s": 10.0,
    "warm, generation, s": 2.0,
    "warm, files, s": 2.0,
    "peak memory, GiB": 2.0,
}


def seconds_of(command: Sequence[str], environment: dict[str, str]) -> float:
    """Of a new process, from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def import_seconds(environment: dict[str, str]) -> float:
    """Of ``import image3d_nb``, without the start of Python; fails if torch comes along."""
    code = (
        "import sys, time; start = time.perf_counter(); import image3d_nb; "
        "print(time.perf_counter() - start); assert 'torch' not in sys.modules"
    )
    return float(subprocess.check_output([sys.executable, "-c", code], env=environment))


def warm_runs(picture: str, model: str, repeat: int, folder: Path) -> tuple[float, float]:
    """Median seconds of generation and of files, after one run that loads everything."""
    from image3d_nb import GenerateSettings, generate_one

    settings = [GenerateSettings(model=model, seed=seed) for seed in range(repeat + 1)]
    records = [generate_one(picture, folder / str(each.seed), each) for each in settings]
    generation, files = ([r["seconds"][stage] for r in records[1:]] for stage in ("generate", "files"))
    return statistics.median(generation), statistics.median(files)


def main() -> None:
    parser = argparse.ArgumentParser(description="seconds and memory of generate_one")
    parser.add_argument("--picture", default="mug", help="a bundled picture's name")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median is taken")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # not on macOS and Windows; child processes inherit it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    from image3d_nb import sample

    picture = str(sample(arguments.picture))
    command = [sys.executable, "-m", "image3d_nb", "generate", picture, "--model", arguments.model, "--quiet", "-o"]
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        fresh = os.environ | {"NUMBA_CACHE_DIR": str(Path(folder) / "numba")}
        imports = [import_seconds(fresh) for _ in range(arguments.repeat)]
        found["import image3d_nb, s"] = statistics.median(imports)
        first = seconds_of([*command, f"{folder}/first"], fresh)
        colds = [seconds_of([*command, f"{folder}/cold{i}"], fresh) for i in range(max(1, arguments.repeat // 2))]
        found["cold process, picture to files, s"] = statistics.median(colds)
        (record,) = (Path(folder) / "cold0").rglob("result.json")
        made = json.loads(record.read_text(encoding="utf-8"))
        warm = warm_runs(picture, arguments.model, arguments.repeat, Path(folder) / "warm")
        found["warm, generation, s"], found["warm, files, s"] = warm
    found["peak memory, GiB"] = made["peak_memory"] / 2**30
    print(f"{'':36} measured  promised  ratio")
    for name, limit in LIMITS.items():
        verdict = "met" if found[name] <= limit else "MISSED"
        print(f"{name:36} {found[name]:8.2f} {limit:9.2f} {found[name] / limit:6.2f}  {verdict}")
    print(f"{'first run ever (compiles), s':36} {first:8.2f}")
    print(f"a cold run by stages, s: {made['seconds']}; {made['gaussians']:,} Gaussians")


if __name__ == "__main__":
    main()
