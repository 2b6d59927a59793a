"""Engines take images and give rows, in any order: processes on this machine, or actors on Ray."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Self

from .._optional import require
from ..errors import Image3DError, InputError
from ..generate import GenerateSettings
from .maker import TRIES, Maker
from .sources import index
from .store import Row

MOST_PARTS = 4000  # into which Ray divides the images
SILENCE = 60.0  # seconds


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
    """Make what the store's index lists by a pool of Ray's actors. Yields the answers of ``maker``.

    Ray gets ranges of the index's rows, at most so many that its bookkeeping stays small, and runs nothing but the
    actors. A lost node's actors must find room on the others, or the images that they had wait forever: all together
    ask for half of the CPUs of the smallest node. GPUs have no such reserve: there they wait for a new node.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", "batch", "image3d_nb.generate_many")
    require("ray.data", "batch", "image3d_nb.generate_many")
    started = not ray.is_initialized()
    try:
        if started:
            _connect(address)
        ray.data.DataContext.get_current().enable_progress_bars = False
        gpus = 1 if maker.settings.device.startswith("cuda") else 0
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        size = workers or (max(1, int(sum(node.get("GPU", 0) for node in nodes))) if gpus else len(nodes))
        cores = [node["CPU"] for node in nodes if node.get("CPU")] or [0]
        cpus = min(1.0, min(cores) / 2 / size)
        told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        threads = int(told) if told.isdigit() else max(1, int(min(*cores, sum(cores) / size)))
        step = -(-total // MOST_PARTS)
        parts = [{"first": first, "count": min(step, total - first)} for first in range(0, total, step)]
        needs = f"parts of {step} images from {size} actors, which need {cpus:.2g} CPUs and {gpus} GPUs each"
        with _Watch(needs) as watch:
            rows = ray.data.from_items(parts, override_num_blocks=len(parts)).flat_map(
                RayMaker, compute=ray.data.ActorPoolStrategy(size=size), num_cpus=cpus, num_gpus=gpus,
                fn_constructor_args=(maker.out, maker.settings, threads),
            )  # fmt: skip
            for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
                watch.last = time.monotonic()
                yield from batch["answer"].to_pylist()
                watch.last = time.monotonic()  # the caller's time is not Ray's
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        raise Image3DError(f"Ray must run to the end; {type(error).__name__}: {error}") from error
    finally:
        if started:
            ray.shutdown()


def _connect(address: str | None) -> None:
    """Start Ray here, or connect to a cluster.

    Ray tries a wrong address for minutes and then ends the program, so it is tried first. Ray's own processes must
    start within 30 s, which a busy machine does not manage each time.
    """
    import ray

    host, _, port = (address or "").rpartition("/")[2].rpartition(":")
    dashboard = None if address else False
    for left in (2, 1, 0):
        try:
            if host and port.isdigit():
                socket.create_connection((host.strip("[]"), int(port)), 10).close()
            ray.init(address or "local", log_to_driver=False, include_dashboard=dashboard)
            break
        except (Exception, SystemExit) as error:
            ray.shutdown()
            if address:
                raise InputError(f"address must be of a running Ray cluster; got {address}: {error}") from error
            if not left:
                raise Image3DError(f"Ray must start on this machine; it failed three times: {error}") from error


class RayMaker:
    """What one of Ray's actors holds."""

    def __init__(self, out: str, settings: GenerateSettings, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)  # Ray allows one
        self._maker = Maker(out, settings)

    def __call__(self, part: Row) -> list[Row]:
        """The answers for some rows of the index."""
        return [self._maker(item) for item in index(self._maker.store, part["first"], part["count"])]


class _Watch(threading.Thread):
    """Warns each minute in which Ray has returned nothing: a cluster may have lost what its actors need."""

    def __init__(self, needs: str) -> None:
        super().__init__(daemon=True)
        self._needs, self.last, self._over = needs, time.monotonic(), threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(10)  # before Ray is shut down

    def run(self) -> None:
        """Look at the cluster while nothing comes from it."""
        import ray

        while not self._over.wait(SILENCE):
            if (silent := time.monotonic() - self.last) < SILENCE:
                continue
            state = "the cluster does not answer"
            with suppress(Exception):
                free, whole = ray.available_resources(), ray.cluster_resources()
                kinds = ", ".join(f"{free.get(kind, 0):g} of {whole.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
                state = f"free on {sum(node['Alive'] for node in ray.nodes())} nodes: {kinds}"
            if self._over.is_set():
                return
            warnings.warn(
                f"Ray has returned nothing for {silent:.0f} s. It waits for {self._needs}; {state}. If a part does "
                "not take so long: add a node, or stop this run and start it again, which continues it",
                stacklevel=1,
            )
