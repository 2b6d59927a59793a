"""Engines take images and give rows, in any order: processes on this machine, or actors on Ray."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path

from .._optional import require
from ..errors import Image3DError
from ..generate import GenerateSettings
from .maker import TRIES, Maker
from .store import Row

MOST_BLOCKS = 4000  # of Ray's data, whose bookkeeping grows with them


def in_processes(maker: Maker, items: Iterator[Row], workers: int) -> Generator[str]:
    """Make the items in so many processes; 0 makes them in this one. Yields the answers of ``maker``."""
    if not workers:
        yield from (maker(item)["answer"] for item in items)
        return
    processes = [_Process(maker, workers) for _ in range(workers)]
    idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()

    def ask(item: Row) -> str:
        process = idle.get()
        try:
            return process.ask(item)
        finally:
            idle.put(process)

    for process in processes:
        idle.put(process)
    with ThreadPoolExecutor(workers) as pool:
        try:
            pending: set[Future[str]] = {pool.submit(ask, item) for item in islice(items, 2 * workers)}
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(ask, item) for item in islice(items, len(done))}
                yield from (future.result() for future in done)
        finally:
            for process in processes:
                process.close()


class _Process:
    """A process that makes one object after the other; one that ends is replaced, and its image tried again.

    It is a program with pipes, not one of multiprocessing's: those run the caller's script once more. It ends when this
    process does, because its input ends.
    """

    def __init__(self, maker: Maker, of: int) -> None:
        settings = json.dumps(dataclasses.asdict(maker.settings))
        self._command = [sys.executable, "-m", __package__, maker.out, settings]
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        threads = str(max(1, (os.cpu_count() or 1) // of))
        self._environment = {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": path}
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, item: Row) -> str:
        """The row of one image."""
        for _ in range(4 * TRIES):  # TRIES processes that end make the image an error; others end while they start
            if self._closed:
                break
            if self._running is None:
                self._running = subprocess.Popen(  # noqa: S603 -- this interpreter and this module
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
                )
            to, answers = self._running.stdin, self._running.stdout
            assert to is not None  # a pipe
            assert answers is not None  # the same
            with suppress(OSError):
                to.write(json.dumps(item).encode() + b"\n")
                to.flush()
                if (answer := answers.readline()).endswith(b"\n"):
                    return answer.decode()
            self._running.kill()
            with suppress(OSError):  # what was not written
                self._running.communicate()
            self._running = None
        raise Image3DError(f"a process that makes objects must start and stay; it ended {4 * TRIES} times")

    def close(self) -> None:
        """End the process at once; the next run makes what it was making."""
        self._closed = True
        if self._running is not None:
            self._running.kill()


def serve(out: str, settings: str) -> None:
    """The program of a :class:`_Process`: reads an image a line, writes a row a line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    maker = Maker(out, GenerateSettings(**json.loads(settings)))
    with suppress(BrokenPipeError):  # the parent has ended
        for line in sys.stdin.buffer:
            answers.write(maker(json.loads(line))["answer"].encode() + b"\n")
            answers.flush()


def with_ray(maker: Maker, total: int, workers: int | None, address: str | None) -> Generator[str]:
    """Make what the store's index lists by a pool of Ray's actors. Yields the answers of ``maker``."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", "batch", "image3d_nb.generate_many")
    require("ray.data", "batch", "image3d_nb.generate_many")
    started = not ray.is_initialized()
    if started:
        ray.init(address or "local", log_to_driver=False, **({} if address else {"include_dashboard": False}))
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        on_gpu = maker.settings.device.startswith("cuda")
        size = workers or int(ray.cluster_resources().get("GPU", 1)) if on_gpu else workers or len(ray.nodes())
        blocks = min(max(min(-(-total // 32), MOST_BLOCKS), 4 * size), total)
        listed = ray.data.read_parquet(
            maker.store.path(".batch/index.parquet"), override_num_blocks=blocks, num_cpus=0.1,
            filesystem=None if maker.store.local else maker.store.fs,
        )  # fmt: skip
        # Less than half of the CPUs are reserved: actors of a lost node must find room on the others.
        # A node of one CPU keeps it whole, because Ray lists the files by a task that asks for one.
        alone = max(node["Resources"].get("CPU", 0) for node in ray.nodes()) < 2
        cpus = 0 if alone else min(1.0, 0.45 * ray.cluster_resources().get("CPU", 1) / size)
        rows = listed.map(
            Maker, compute=ray.data.ActorPoolStrategy(size=size), num_cpus=cpus, num_gpus=1 if on_gpu else 0,
            fn_constructor_args=(maker.out, maker.settings), scheduling_strategy="SPREAD",
        )  # fmt: skip
        for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from batch["answer"].to_pylist()
    finally:
        if started:
            ray.shutdown()
