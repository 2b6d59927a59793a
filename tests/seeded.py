"""Weights and inputs that anybody can make again: every tensor is a function of its name and shape.

The recorded outputs in ``tests/reference`` were made with these weights, so an implementation with the same parameter
names gets the same numbers without a download.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

REFERENCE = Path(__file__).parent / "reference"


def draw(label: str, shape: Sequence[int]) -> np.ndarray:
    """Standard normal numbers that belong to a label, float32."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(label.encode())))
    return rng.standard_normal(tuple(shape)).astype(np.float32)


def uniform(label: str, shape: Sequence[int]) -> np.ndarray:
    """Numbers in [0, 1) that belong to a label, float32."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(label.encode()))).random(tuple(shape)).astype(np.float32)


def weight(name: str, shape: Sequence[int]) -> np.ndarray:
    """The parameter of that name: small biases, norms around one, everything else scaled by its fan-in."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    z = rng.standard_normal(tuple(shape))
    last = name.rsplit(".", 1)[-1]
    if last.endswith("bias"):
        return (0.02 * z).astype(np.float32)
    if len(shape) <= 1 and last in ("weight", "scale"):
        return (1 + 0.02 * z).astype(np.float32)
    fan_in = math.prod(shape[1:]) if len(shape) > 1 else shape[0]
    return (z / math.sqrt(max(1, fan_in))).astype(np.float32)


def fill(module: torch.nn.Module, prefix: str = "") -> torch.nn.Module:
    """Overwrite every float tensor of a module; ``prefix`` stands before the names that the records were made with."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.dtype.is_floating_point and not name.endswith("position_ids"):
                tensor.copy_(torch.from_numpy(weight(prefix + name, tuple(tensor.shape))))
    return module.eval()


def compare(gold: Mapping[str, np.ndarray], key: str, array: np.ndarray) -> float:
    """The largest error at the recorded places, in standard deviations of the record. Shapes must agree."""
    array = np.asarray(array, np.float32)
    assert array.shape == tuple(gold[f"{key}/shape"]), f"{key}: {array.shape}, recorded {gold[f'{key}/shape']}"
    places = np.unique(np.linspace(0, array.size - 1, min(int(gold[f"{key}/n"]), array.size)).astype(np.int64))
    return float(np.abs(array.ravel()[places] - gold[f"{key}/samples"]).max() / gold[f"{key}/stats"][1])


def names_and_shapes(listing: str) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes of a published or recorded model."""
    rows = (line.split("\t") for line in (REFERENCE / "param_lists" / listing).read_text().splitlines())
    return {name: tuple(int(n) for n in shape.strip("()[]").split(",") if n.strip()) for name, shape, *_ in rows}
