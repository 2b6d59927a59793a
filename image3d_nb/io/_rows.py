"""Copy many narrow rows fast: in blocks, column by column, into few large pieces of memory.

numpy spends a fixed time on each row of a table [N, 3], and the system on each page of fresh memory: often more than
the copy itself takes. Blocks of rows that fit into the processor's cache, copied by columns, avoid both costs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

BLOCK = 4096
"""Rows of a block: 16 columns of float32 take 256 KB."""
_LARGE = 1 << 22
_FOUR = np.dtype("c16")
"""Four float32 side by side: numpy copies such a 16-byte number as fast as a 4-byte one. Nothing computes with it."""


def blocks(count: int) -> Iterator[slice]:
    """Slices that cover ``count`` rows."""
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def room(size: int) -> np.ndarray:
    """[size] uint8 of fresh memory.

    From 4 MB on, numpy asks for pages of 2 MB, each almost as fast as one of 4 KB: so a slightly smaller array is cut
    out of 4 MB. Unused pages cost nothing.
    """
    return np.empty(max(size, _LARGE) if size > _LARGE // 4 else size, np.uint8)[:size]


def tables(count: int, *widths: int) -> list[torch.Tensor]:
    """Tables [count, width] of float32, one for each width, in one piece of memory."""
    block = torch.from_numpy(room(4 * count * sum(widths)).view(np.float32))
    sizes = [count * width for width in widths]
    return [part.view(count, width) for part, width in zip(block.split(sizes), widths, strict=True)]


def copy_columns(source: np.ndarray, target: np.ndarray) -> None:
    """target = source, both [n, C]."""
    for i in range(source.shape[1]):
        target[:, i] = source[:, i]


def copy_fours(source: np.ndarray, target: np.ndarray) -> None:
    """target = source, both [n, 4] float32."""
    if source.strides[1] == target.strides[1] == source.itemsize == 4:
        target.view(_FOUR)[:] = source.view(_FOUR)
    else:
        copy_columns(source, target)


def unit_planes(quats: np.ndarray) -> np.ndarray:
    """Quaternions [n, 4] as unit planes [4, n], contiguous; also if squares overflow float32."""
    planes = np.ascontiguousarray(quats.T)
    with np.errstate(over="ignore", under="ignore"):
        squares = (planes * planes).sum(0)
    if squares.min() < 1e-30 or not squares.max() < 1e30:
        squares = np.square(planes.astype(np.float64)).sum(0)
    planes /= np.sqrt(squares).astype(np.float32)
    return planes


def with_largest(others: np.ndarray, which: np.ndarray) -> np.ndarray:
    """[n, 4] of length 1, of three numbers [n, 3] in their order and the place [n] of the fourth, the largest."""
    largest = np.sqrt(np.maximum(0, 1 - np.square(others).sum(1, keepdims=True)))
    places = np.arange(3) + (np.arange(3) >= which[:, None])  # [n, 3]
    quats = np.empty((len(others), 4), np.float32)
    np.put_along_axis(quats, places, others, axis=1)
    np.put_along_axis(quats, which[:, None].astype(np.intp), largest, axis=1)
    return quats
