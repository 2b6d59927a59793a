"""What both stages share: a rate that falls by samples, averaged weights, a log, checkpoints that resume exactly."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from .._files import atomic_path
from ..errors import InputError
from .data import ASSEMBLIES
from .muon import Muon, split_parameters

Network = TypeVar("Network", bound=nn.Module)

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
ENDLESS = 10**9
"""Samples of a run that has a budget in minutes, while its rate holds."""
OPTIMIZERS = ("muon", "adamw")
CHECKED = 50
"""Steps on a graphics card between two checks of the gradient: each makes the card wait."""


@dataclass(frozen=True)
class TrainSettings:
    """How a stage is trained. The defaults are near those of the bundled weights; their card says how they differ.

    Attributes:
        samples: objects drawn in all; the learning rate follows a cosine over them.
        hold: share of the samples before the cosine begins. While the rate holds, ``samples`` or ``minutes`` may still
            change.
        first_sample: index of the first object; a run that goes on from finished weights wants objects they never saw.
        batch_size: objects a step.
        optimizer: "muon" (wide matrices by :class:`~image3d_nb.training.muon.Muon`, the rest by AdamW) or "adamw".
        learning_rate: at its highest, after the warm-up.
        warmup_samples: over which the rate rises from zero.
        ema_decay: of the averaged weights, a step.
        max_grad_norm: longer gradients are shortened to it.
        weight_decay: of both optimizers.
        device: where the network runs.
        bf16: run the network in bfloat16; only processors that multiply it are faster so.
        checkpoint_minutes: between two checkpoints.
        eval_samples: between two looks at held-out objects.
        eval_objects: how many of them.
        minutes: a budget in place of ``samples``, 0 for none. Once a share ``hold`` of it is used, the speed so far
            decides how many samples there are, and the rate falls by those. CPU time on a CPU, so that a busy machine
            costs nothing; wall time on another device.
        assemblies: share of random solids among the objects, see :mod:`image3d_nb.training.families.assembly`.
    """

    samples: int = 20_000
    hold: float = 0.0
    first_sample: int = 0
    batch_size: int = 16
    optimizer: str = "muon"
    learning_rate: float = 8e-3
    warmup_samples: int = 500
    ema_decay: float = 0.998
    max_grad_norm: float = 1.0
    weight_decay: float = 0.01
    device: str = "cpu"
    bf16: bool = False
    checkpoint_minutes: float = 3.0
    eval_samples: int = 1000
    eval_objects: int = 68
    minutes: float = 0.0
    assemblies: float = ASSEMBLIES

    def rate_at(self, seen: int) -> float:
        """The learning rate after ``seen`` samples: a linear rise, a plateau if ``hold``, a cosine to a hundredth."""
        if seen < self.warmup_samples:
            return self.learning_rate * (seen + self.batch_size) / (self.warmup_samples + self.batch_size)
        done = min(1.0, max(0.0, seen / self.samples - self.hold) / (1 - self.hold))
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Trainer:
    """Runs ``loss_of(network, first_index, count)`` until all samples are seen; stops and resumes anywhere.

    Args:
        network: trained in place.
        loss_of: (network, index of the first sample, number of samples) -> (loss, numbers for the log).
        evaluate: network -> numbers for the log; called with the averaged weights.
        folder: for the checkpoint and the log; made if need be.
        settings: see :class:`TrainSettings`.
    """

    def __init__(
        self,
        network: nn.Module,
        loss_of: Callable[[nn.Module, int, int], tuple[Tensor, dict[str, float]]],
        evaluate: Callable[[nn.Module], dict[str, float]],
        folder: Path,
        settings: TrainSettings,
    ) -> None:
        self.network = network.to(settings.device)
        self.loss_of = loss_of
        self.evaluate = evaluate
        self.folder = folder
        self.settings = settings
        self.ema = AveragedModel(self.network, use_buffers=True)
        if settings.bf16:  # the trained one only: pictures, losses and the averaged network stay in float32
            _forward_in_bf16(self.network, settings.device)
        self.optimizers = _optimizers(self.network, settings)
        self.seen = 0
        self.seconds = 0.0
        if settings.minutes:
            if not settings.hold:
                raise InputError("a budget in minutes needs hold > 0: the speed is measured while the rate holds")
            self.settings = replace(settings, samples=ENDLESS)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).exists():
            self._resume()

    def run(self, until: float = 1.0) -> nn.Module:
        """Train and return the averaged network. Ctrl-C keeps a checkpoint.

        Args:
            until: share of the samples after which to stop; another ``run`` goes on from there.
        """
        clock = time.process_time if torch.device(self.settings.device).type == "cpu" else time.monotonic
        total = None if self.settings.samples == ENDLESS else self.settings.samples
        bar = tqdm(total=total, initial=self.seen, unit="object", smoothing=0.05)
        started, saved, logged = clock() - self.seconds, time.monotonic(), self.seen
        sums: dict[str, Tensor | float] = {}  # tensors: to read a number is to wait for the card
        steps = 0
        try:
            while self.seen < until * self.settings.samples:
                for name, value in self._step().items():
                    sums[name] = sums.get(name, 0.0) + value
                steps += 1
                self.seconds = clock() - started
                self._end_hold()
                bar.update(self.settings.batch_size)
                if self.seen - logged >= self.settings.eval_samples or self.seen >= self.settings.samples:
                    self._log({name: float(total) / steps for name, total in sums.items()})
                    sums, steps, logged = {}, 0, self.seen
                if time.monotonic() - saved > 60 * self.settings.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()
        finally:
            bar.close()
            self.save()
        return self.ema.module

    def _end_hold(self) -> None:
        """Fix the number of samples when the rate of a run with a budget begins to fall."""
        settings = self.settings
        if settings.samples == ENDLESS and self.seconds >= 60 * settings.minutes * settings.hold:
            steps = math.ceil(self.seen / settings.hold / settings.batch_size)
            self.settings = replace(settings, samples=steps * settings.batch_size)

    def _step(self) -> dict[str, Tensor | float]:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.settings.rate_at(self.seen)
        first = self.settings.first_sample + self.seen
        loss, numbers = self.loss_of(self.network, first, self.settings.batch_size)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_grad_norm)
        if (not norm.is_cuda or self.seen % (CHECKED * self.settings.batch_size) == 0) and not torch.isfinite(norm):
            raise InputError(f"the gradient must be finite; at {self.seen} samples it is {float(norm)}: lower the rate")
        for optimizer in self.optimizers:
            optimizer.step()
        # the average begins short, else it would remember the first, random weights for thousands of samples
        steps = self.seen // self.settings.batch_size
        decay = min(self.settings.ema_decay, (1 + steps) / (10 + steps))
        self.ema.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.ema.update_parameters(self.network)
        self.seen += self.settings.batch_size
        return {"loss": loss.detach(), **numbers}

    def _log(self, numbers: dict[str, float]) -> None:
        with torch.no_grad():
            found = self.evaluate(self.ema.module)
        row = {"samples": self.seen, "seconds": round(self.seconds, 1), "rate": self.settings.rate_at(self.seen)}
        row |= {name: round(value, 5) for name, value in (numbers | found).items()}
        with (self.folder / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        tqdm.write("  ".join(f"{name} {value:g}" for name, value in row.items()))

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "seen": self.seen,
            "seconds": self.seconds,
            "settings": asdict(self.settings),
        }
        with atomic_path(self.folder / CHECKPOINT) as path:
            torch.save(state, path)

    def _resume(self) -> None:
        state = torch.load(self.folder / CHECKPOINT, map_location=self.settings.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.seen, self.seconds = state["seen"], state["seconds"]
        if self.settings.minutes:
            self.settings = replace(self.settings, samples=state["settings"]["samples"])


def _forward_in_bf16(network: nn.Module, device: str) -> None:
    """Let a network multiply in bfloat16 and answer in float32."""
    forward = torch.autocast(torch.device(device).type, torch.bfloat16)(network.forward)
    network.forward = lambda *inputs, **named: forward(*inputs, **named).float()


def _optimizers(network: nn.Module, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    if settings.optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {settings.optimizer!r}")
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adamw":
        return [torch.optim.AdamW(network.parameters(), rate, (0.9, 0.95), weight_decay=decay)]
    wide, others = split_parameters(network)
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, rate, (0.9, 0.95), weight_decay=decay)]
    return [Muon(wide, rate, weight_decay=decay), *found] if wide else found


def averaged(folder: Path, network: Network) -> Network:
    """A network with the averaged weights of a run, in evaluation mode.

    Args:
        folder: of the run.
        network: of the same configuration; its weights are replaced.

    Raises:
        InputError: the run has no checkpoint.
    """
    if not (folder / CHECKPOINT).is_file():
        raise InputError(f"{folder} must hold {CHECKPOINT}; it does not: train that stage first")
    state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)["ema"]
    prefix = "module."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return network.eval()


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a log, in order: what each look at held-out objects found, after so many ``samples``.

    Args:
        path: a ``log.jsonl``, or one that is bundled with a model.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(f"a log must be a file with a JSON object a line; there is none at {path}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def plot(logs: list[Path], picture: Path) -> None:
    """Draw the decibel curves of some logs over the samples seen, on an axis of doublings.

    Args:
        logs: ``log.jsonl`` files.
        picture: the PNG to write.

    Raises:
        ImportError: matplotlib is missing.
    """
    from .._optional import require

    require("matplotlib", "notebook", "a training plot")
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="objects seen", ylabel="dB on held-out objects", title="The tiny model learns")
    axes.set_prop_cycle(color=[colormaps["tab20"](i) for i in range(20)])
    for log in logs:
        rows = read_log(log)
        for name in sorted({name for row in rows for name in row if name.endswith("_db")}):
            known = [row for row in rows if name in row]
            label = f"{log.parent.name} {name}"
            axes.plot([row["samples"] for row in known], [row[name] for row in known], label=label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    with atomic_path(picture) as path:
        figure.savefig(path, dpi=110, bbox_inches="tight")
