"""The table of known models: what goes in and comes out, how large it is, how long it takes here, who may use it."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from .weights import KNOWN

_SECONDS: dict[str, float] = {}


@dataclass(frozen=True)
class ModelInfo:
    """A row of :func:`list_models`.

    Attributes:
        name: to give to :func:`image3d_nb.load_pipeline`.
        takes: "image", "text", or "views" for the second half of a pipeline.
        gives: "Gaussians", "mesh", "views" or "half".
        parameters: number of all networks' parameters.
        download: bytes.
        memory: bytes that a run takes on a CPU in float32, estimated.
        seconds: of one object on this computer.
        measured: True if ``seconds`` was measured in this process, False if it is an estimate.
        licence: of the weights.
        forbidden: what they may not be used for; "" if nothing is known.
        sha256: True if this package knows the hashes of its files.
        here: True if the weights are on this computer.
    """

    name: str
    takes: str
    gives: str
    parameters: int
    download: int
    memory: int
    seconds: float
    measured: bool
    licence: str
    forbidden: str
    sha256: bool
    here: bool


class ModelTable(Sequence[ModelInfo]):
    """Rows of :func:`list_models`; it prints as a table."""

    def __init__(self, rows: Sequence[ModelInfo]) -> None:
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> ModelInfo: ...

    @overload
    def __getitem__(self, index: slice) -> ModelTable: ...

    def __getitem__(self, index: int | slice) -> ModelInfo | ModelTable:
        return ModelTable(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        head = ("model", "in", "out", "parameters", "download", "memory", "seconds", "licence; not for")
        rows = [head, *(_cells(row) for row in self)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(head) - 1)]
        lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, [*widths, 0], strict=True)) for row in rows]
        return "\n".join([*lines, "~: estimated from the speed of this computer"])


def _cells(row: ModelInfo) -> tuple[str, ...]:
    download = "bundled" if not row.download else f"{row.download / 1e9:.2f} GB{' (here)' if row.here else ''}"
    words = f"{row.licence}; not for {row.forbidden}" if row.forbidden else row.licence
    seconds = f"{row.seconds:.2g}" if row.seconds < 100 else f"{row.seconds:.0f}"
    return (
        row.name, row.takes, row.gives, f"{row.parameters / 1e6:.0f} M", download, f"{row.memory / 1e9:.1f} GB",
        f"{'' if row.measured else '~'}{seconds}", words,
    )  # fmt: skip


def list_models() -> ModelTable:
    """List the models that this package knows by name.

    Seconds are those of the last object that :func:`image3d_nb.generate_one` made with the model in this process; of
    other models they are estimated from this computer's speed, which is measured in a tenth of a second.

    Returns:
        A table of :class:`ModelInfo`, which prints as one.

    Example:
        >>> [model.name for model in list_models() if model.gives == "mesh"]
        ['stabilityai/TripoSR', 'openai/shap-e-img2img']
    """
    return ModelTable([
        ModelInfo(
            name, known.takes, known.gives, known.parameters, known.download, known.memory,
            _SECONDS.get(name, estimated_seconds(name)), name in _SECONDS, known.licence, known.forbidden,
            bool(known.sha256) or name == "tiny", name == "tiny" or _is_here(name),
        )
        for name, known in KNOWN.items()
    ])  # fmt: skip


def estimated_seconds(name: str, speed: float | None = None) -> float:
    """Estimate the seconds of one object on this computer's CPU.

    Args:
        name: a key of :data:`image3d_nb.hub.weights.KNOWN`.
        speed: billions of multiplications and additions a second; None measures it.
    """
    return KNOWN[name].work / (measured_speed() if speed is None else speed)


@functools.cache
def measured_speed() -> float:
    """Billions of multiplications and additions that this CPU does in a second, in float32: measured once."""
    import torch

    a, times = torch.ones(1024, 1024), []
    for _ in range(4):  # the first one also sets up
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 1024**3 / min(times) / 1e9


def note_seconds(name: str, seconds: float) -> None:
    """Remember how long an object took with a model, for :func:`list_models`."""
    if name in KNOWN:
        _SECONDS[name] = seconds


def _is_here(name: str) -> bool:
    from huggingface_hub import constants

    snapshots = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    weights = (".safetensors", ".ckpt", ".pth")
    return any(file.suffix in weights and file.exists() for file in snapshots.rglob("*.*"))
