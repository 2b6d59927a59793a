"""How long the first page of the app takes, beside that of gradio alone.

python benchmarks/bench_app.py [--repeat 3]

Bar: the app's first page at most 3 s after its start, with weights on disk. Each figure is the best of the repeats; the
ratio to an empty page of gradio says how much of it is ours. CPU seconds are those of the process until then.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import psutil
import requests

EMPTY = """
import gradio as gr, threading
with gr.Blocks(analytics_enabled=False) as page:
    gr.Markdown("empty")
_, address, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
print("The app answers at", address, flush=True)
threading.Event().wait()
"""
COMMANDS = {"gradio alone": ["-c", EMPTY], "the app": ["-m", "image3d_nb", "app"]}


def first_page(arguments: list[str]) -> tuple[float, float]:
    """Seconds and CPU seconds from the start of the process to the whole first page."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = next(line for line in process.stdout if "answers at" in line).split("answers at ")[1].split()[0]
        assert b"gradio" in requests.get(address, timeout=60).content
        return time.perf_counter() - began, sum(psutil.Process(process.pid).cpu_times()[:2])
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    runs = [{name: first_page(command) for name, command in COMMANDS.items()} for _ in range(repeat)]
    best = {name: [min(run[name][k] for run in runs) for k in (0, 1)] for name in COMMANDS}
    for name, (wall, cpu) in best.items():
        print(f"{name}: first page after {wall:.2f} s, {cpu:.2f} CPU seconds")
    (wall, cpu), (wall_alone, cpu_alone) = best["the app"], best["gradio alone"]
    print(f"the app over gradio alone: {wall / wall_alone:.2f}, by CPU {cpu / cpu_alone:.2f} (bar for the app: 3 s)")


if __name__ == "__main__":
    main()
