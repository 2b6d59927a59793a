"""A pool of objects on disk that processes fill while a graphics card trains.

A card takes objects faster than sixteen cores make them. So each object stays in the pool, both stages draw from it at
random, and an object may be drawn more than once. The files are sparse: what is not made yet takes no space.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .data import Batch, ObjectViews

CAPACITY = 2**18
"""Objects; 30 GB with seven views of 64 pixels."""
ENOUGH = 4096
"""Objects with which a training begins."""


class Pool:
    """The pool's files, mapped into memory; each process opens them by itself.

    Args:
        folder: of the files; best in memory (/dev/shm). Made if need be.
        data: whose samples it holds, the first one with index ``first``.
        workers: number of processes that fill it; each has every ``workers``-th sample.
        first: index of the first sample.
        capacity: samples at most.
    """

    def __init__(self, folder: Path, data: ObjectViews, workers: int, first: int = 0, capacity: int = CAPACITY) -> None:
        self.folder, self.data, self.workers, self.first = folder, data, workers, first
        self.capacity = capacity // workers * workers
        views = 4 + data.random_views
        folder.mkdir(parents=True, exist_ok=True)
        self.images = self._map("images", np.uint8, (self.capacity, views, data.size, data.size, 4))
        self.viewmats = self._map("viewmats", np.float32, (self.capacity, views, 4, 4))
        self.made = self._map("made", np.int64, (workers,))
        """Samples that each process has made."""

    def _map(self, name: str, kind: type, shape: tuple[int, ...]) -> NDArray[np.generic]:
        path = self.folder / name
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if not path.exists() or path.stat().st_size != size:
            with path.open("ab") as stream:
                stream.truncate(size)
        return np.memmap(path, kind, "r+", shape=shape)

    def fill(self, worker: int) -> None:
        """Make the samples of one process until the pool is full; goes on with what was made before."""
        torch.set_num_threads(1)
        while self.made[worker] < self.capacity // self.workers:
            place = int(self.made[worker]) * self.workers + worker
            sample = self.data[self.first + place]
            self.images[place] = (sample.images * 255).round().byte().permute(0, 2, 3, 1).numpy()
            self.viewmats[place] = sample.cameras.viewmats.numpy()
            self.made[worker] += 1

    def draw(self, rng: np.random.Generator, count: int, views: int, plain: bool = False) -> Batch:
        """Samples at random, on the CPU.

        Args:
            rng: chooses them.
            count: of samples.
            views: of each, the first ones.
            plain: only those that are of a family and not warped.
        """
        chosen: list[int] = []
        while len(chosen) < count:
            worker = int(rng.integers(self.workers))
            if self.made[worker]:
                place = int(rng.integers(self.made[worker])) * self.workers + worker
                if not plain or self.data.is_plain(self.first + place):
                    chosen.append(place)
        images = torch.from_numpy(np.asarray(self.images)[chosen, :views])  # [B, V, H, W, 4]
        viewmats = torch.from_numpy(np.asarray(self.viewmats)[chosen, :views])
        return Batch(images.permute(0, 1, 4, 2, 3), viewmats)

    @property
    def ready(self) -> int:
        """Samples that can be drawn."""
        return int(self.made.sum())


@contextmanager
def filled(pool: Pool) -> Iterator[Pool]:
    """Fill a pool by processes of its own while the block runs."""
    context = get_context("fork")  # a card's processes are others: nothing here has touched it
    processes = [context.Process(target=_fill, args=(pool, worker), daemon=True) for worker in range(pool.workers)]
    for process in processes:
        process.start()
    try:
        yield pool
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _fill(pool: Pool, worker: int) -> None:
    pool.fill(worker)
