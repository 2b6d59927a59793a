"""What each choice is worth: variants of both stages, trained on the same few samples, and their table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._files import atomic_write, data_dir
from ..errors import InputError
from ..pipelines import load_pipeline
from .disturb import Disturbed
from .lgm import LGM_SETTINGS, tiny_lgm, train_lgm
from .loop import LOG, TrainSettings, plot, read_log
from .objectives import FrameCondition, train_prediction
from .views import VIEWS_SETTINGS, tiny_unet, train_views

SAMPLES_A_MINUTE = {"views": 300, "lgm": 240}
"""Of one idle core, about. A budget is a number of samples, so that it does not depend on the machine."""
METRICS = {"views": ("side_db", "side_ssim"), "lgm": ("novel_true_db", "novel_true_ssim", "novel_whole_db")}
"""Of the logs. A squared error alone rewards a sharp copy of the front on symmetric objects; SSIM less so."""

ADAMW = {"optimizer": "adamw"}


@dataclass(frozen=True)
class Variant:
    """One configuration to compare with the first of its stage.

    Attributes:
        stage: "views" or "lgm".
        says: what is changed.
        train: (folder, settings) -> the trained network.
        settings: changes of :class:`~image3d_nb.training.loop.TrainSettings`.
    """

    stage: str
    says: str
    train: Callable[[Path, TrainSettings], nn.Module]
    settings: dict[str, Any] = field(default_factory=dict)


def _lgm(front_only: bool = False, grid: bool = False, jitter: bool = False, **changes: Any) -> Any:
    def train(folder: Path, settings: TrainSettings) -> nn.Module:
        torch.manual_seed(0)  # fresh weights that can be had again
        disturbed = Disturbed(grid, jitter)
        make = (lambda *given: disturbed(*given)[:, :1]) if front_only else disturbed
        # the bundled first stage only looks on: what each is worth on generated views shows beside the true ones
        views = load_pipeline().unet.to(settings.device)
        return train_lgm(folder, settings, views, generated_share=0.0, network=tiny_lgm(**changes), make_input=make)

    return train


def _views(noisy_share: float = 0.25, **changes: Any) -> Any:
    def train(folder: Path, settings: TrainSettings) -> nn.Module:
        torch.manual_seed(0)  # fresh weights that can be had again
        network: Any = tiny_unet(**changes)
        if changes.get("condition") == "frame":
            network = FrameCondition(network)
        return train_views(folder, settings, network=network, noisy_share=noisy_share)

    return train


def _prediction(prediction: str) -> Any:
    return partial(train_prediction, prediction=prediction)


ABLATIONS: dict[str, Variant] = {
    "views": Variant("views", "as bundled: x0 in one step, a quarter of the objects at random steps", _views()),
    "views-one-step": Variant("views", "x0, all objects at the last step", _views(0.0)),
    "views-x0": Variant("views", "x0, all steps alike, judged after 10", _prediction("sample")),
    "views-epsilon": Variant("views", "epsilon, all steps alike, judged after 10", _prediction("epsilon")),
    "views-v": Variant("views", "v, all steps alike, judged after 10", _prediction("v_prediction")),
    "views-frame": Variant(
        "views", "the picture as a frame, not as channels", _views(condition="frame", condition_mirror=False)
    ),
    "views-no-mirror": Variant("views", "without the mirrored picture", _views(condition_mirror=False)),
    "views-adamw": Variant("views", "AdamW at 0.001 instead of Muon", _views(), ADAMW | {"learning_rate": 1e-3}),
    "lgm": Variant("lgm", "as bundled, on true views", _lgm()),
    "lgm-clamp": Variant("lgm", "free positions, clamped, instead of depths along rays", _lgm(position="clamp")),
    "lgm-no-residual": Variant("lgm", "colours from nothing, not as a change", _lgm(rgb_residual=False)),
    "lgm-one-view": Variant("lgm", "one view in, a quarter of the Gaussians", _lgm(front_only=True, num_views=1)),
    "lgm-grid": Variant("lgm", "grid distortion of the views", _lgm(grid=True)),
    "lgm-jitter": Variant("lgm", "camera jitter", _lgm(jitter=True)),
    "lgm-grid-jitter": Variant("lgm", "grid distortion and camera jitter", _lgm(grid=True, jitter=True)),
    "lgm-head-1": Variant("lgm", "a quarter of the Gaussians", _lgm(head_patch_size=1, splat_size=32)),
    "lgm-adamw": Variant("lgm", "AdamW at 0.002 instead of Muon", _lgm(), ADAMW | {"learning_rate": 2e-3}),
}
"""The first of each stage is what the others change in one place."""


def settings_of(variant: Variant, samples: int, **changes: Any) -> TrainSettings:
    """The settings of a short run: a short warm-up, four looks at the same 26 held-out objects."""
    base = VIEWS_SETTINGS if variant.stage == "views" else LGM_SETTINGS
    short = {"samples": samples, "warmup_samples": samples // 12, "eval_samples": samples // 4, "eval_objects": 26}
    return replace(base, **(short | variant.settings | changes))


def ablate(names: Iterable[str], runs: Path, minutes: float = 4.0, samples: int | None = None, **changes: Any) -> None:
    """Train some variants, each in its own folder of ``runs``; what is done already stays as it is.

    Args:
        names: of ABLATIONS, or "all".
        runs: a folder.
        minutes: of one idle core, each; see SAMPLES_A_MINUTE.
        samples: instead of minutes.
        **changes: of the settings, such as device.

    Raises:
        InputError: an unknown name.
    """
    names = list(ABLATIONS) if list(names) == ["all"] else list(names)
    unknown = [name for name in names if name not in ABLATIONS]
    if unknown:
        raise InputError(f"an ablation must be all or one of {', '.join(ABLATIONS)}; got {', '.join(unknown)}")
    for name in names:
        variant = ABLATIONS[name]
        budget = samples or round(minutes * SAMPLES_A_MINUTE[variant.stage])
        variant.train(runs / name, settings_of(variant, budget, **changes))


def stored(name: str) -> list[dict[str, float]]:
    """The log of a variant that was trained when the bundled model was, as :func:`~image3d_nb.training.loop.read_log`.

    Args:
        name: of ABLATIONS.

    Raises:
        InputError: no log of that name is bundled; the message lists those that are.
    """
    folder = data_dir() / "models" / "tiny" / "ablations"
    known = sorted(file.stem for file in folder.glob("*.jsonl"))
    if name not in known:
        raise InputError(f"a stored ablation must be one of {', '.join(known)}; got {name!r}")
    return read_log(folder / f"{name}.jsonl")


def table(runs: Path) -> str:
    """What the logs under ``runs`` say, as a markdown table.

    Raises:
        InputError: no ablation has been run there.
    """
    lines = []
    for stage, metrics in METRICS.items():
        rows = {name: _last(runs / name) for name, variant in ABLATIONS.items() if variant.stage == stage}
        done = {name: row for name, row in rows.items() if row}
        if not done:
            continue
        base = done.get(stage, {})
        lines.append(f"| {stage} | changed | samples | seconds | {' | '.join(metrics)} |")
        lines.append("|---" * (4 + len(metrics)) + "|")
        for name, row in done.items():
            cells = [_cell(metric, row, base if name != stage else {}) for metric in metrics]
            what = f"| {name} | {ABLATIONS[name].says} | {row['samples']:.0f} | {row['seconds']:.0f} |"
            lines.append(f"{what} {' | '.join(cells)} |")
        lines.append("")
    if not lines:
        raise InputError(f"{runs} must hold the runs of ablations; it does not: run ablate first")
    return "\n".join(lines)


def write_table(runs: Path) -> str:
    """Write ``ablations.md`` and, a stage, ``ablations_<stage>.png`` with the curves into ``runs``; the table."""
    text = table(runs)
    atomic_write({runs / "ablations.md": text.encode()})
    for stage in METRICS:
        names = [name for name, variant in ABLATIONS.items() if variant.stage == stage]
        logs = [runs / name / LOG for name in names if (runs / name / LOG).is_file()]
        if logs:
            plot(logs, runs / f"ablations_{stage}.png")
    return text


def _last(run: Path) -> dict[str, float]:
    log = run / LOG
    return read_log(log)[-1] if log.is_file() else {}


def _cell(metric: str, row: dict[str, float], base: dict[str, float]) -> str:
    digits = 3 if metric.endswith("ssim") else 2
    value = f"{row[metric]:.{digits}f}"
    return f"{value} ({row[metric] - base[metric]:+.{digits}f})" if base else value
