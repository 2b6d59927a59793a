"""``python -m image3d_nb.training``: a whole edition, or its steps one by one, and baselines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import Image3DError
from .loop import LOG, TrainSettings, averaged, plot


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        chosen.run(chosen)
    except Image3DError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the checkpoint is kept: the same command goes on", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m image3d_nb.training", description="Train the tiny model.")
    parser.add_argument("--threads", type=int, default=1, help="one a training; two trainings use two cores best")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    whole = commands.add_parser("all", help="an edition: both stages, averages, export, figures and sheets")
    whole.add_argument("folder", type=Path, metavar="RUN", help="of the run; the same command goes on with it")
    whole.add_argument("--minutes", type=float, required=True, help="of training, both stages side by side")
    whole.add_argument("--device", default="cpu")
    whole.add_argument("--start", metavar="MODEL", help="begin with its weights: tiny, or a folder")
    whole.add_argument("--first-sample", type=int, default=0, help="beyond the objects that the start has seen")
    whole.set_defaults(run=_all)

    views = commands.add_parser("views", help="stage one: a picture to four views")
    views.set_defaults(run=_views)
    lgm = commands.add_parser("lgm", help="stage two: four views to Gaussians")
    lgm.add_argument(
        "--views", type=Path, help="stage one's run folder or model: the last quarter also learns from its views"
    )
    lgm.add_argument("--generated-from", type=float, default=0.75)
    lgm.add_argument("--generated-share", type=float, default=0.5)
    for stage in (views, lgm):
        stage.add_argument("--start", metavar="MODEL", help="go on from its weights: tiny, or a folder")
    lgm.set_defaults(run=_lgm)
    direct = commands.add_parser("direct", help="the baseline: a picture straight to Gaussians")
    direct.set_defaults(run=_direct)
    for stage in (views, lgm, direct):
        stage.add_argument("folder", type=Path, help="of the checkpoint and the log; an earlier run goes on")
        for field in fields(TrainSettings):
            kind = {"int": int, "float": float, "str": str}.get(str(field.type))
            option = f"--{field.name.replace('_', '-')}"
            if kind is None:
                stage.add_argument(option, action="store_true", default=None)
            else:
                stage.add_argument(option, type=kind, metavar=str(field.type).upper())

    curves = commands.add_parser("plot", help="draw the curves of some runs")
    curves.add_argument("folders", type=Path, nargs="+")
    curves.add_argument("-o", "--output", type=Path, required=True, help="the PNG")
    curves.set_defaults(run=lambda chosen: plot([folder / LOG for folder in chosen.folders], chosen.output))

    export = commands.add_parser("export", help="two runs to a model's folder, as load_pipeline reads it")
    export.add_argument("views", type=Path)
    export.add_argument("lgm", type=Path)
    export.add_argument("-o", "--output", type=Path, required=True)
    export.set_defaults(run=_export)

    measure = commands.add_parser("evaluate", help="the figures of a model on held-out objects, as markdown")
    measure.add_argument("model", nargs="?", default="tiny")
    measure.add_argument("--objects", type=int, default=200)
    measure.add_argument("--direct", type=Path, help="the baseline's run folder: measure it too")
    measure.set_defaults(run=_evaluate)

    ablate = commands.add_parser("ablate", help="train variants at a small budget, the same for all")
    ablate.add_argument("names", nargs="+", metavar="NAME", help="all, or some of ABLATIONS in ablations.py")
    ablate.add_argument("-o", "--output", type=Path, required=True, metavar="RUNS", help="a run folder each goes there")
    ablate.add_argument("--minutes", type=float, default=4.0, help="each, of one idle core, counted in samples")
    ablate.add_argument("--samples", type=int, help="instead of minutes")
    ablate.add_argument("--device", default="cpu")
    ablate.set_defaults(run=_ablate)

    table = commands.add_parser("ablations-table", help="what the variants came to: markdown, and a PNG of the curves")
    table.add_argument("runs", type=Path, metavar="RUNS")
    table.set_defaults(run=_table)
    return parser


def _all(chosen: argparse.Namespace) -> None:
    from .edition import plan_for, train_edition

    plan = plan_for(chosen.minutes, chosen.device, chosen.start, chosen.first_sample)
    print(train_edition(chosen.folder, plan))


def _settings(chosen: argparse.Namespace, default: TrainSettings) -> TrainSettings:
    given = {field.name: getattr(chosen, field.name) for field in fields(TrainSettings)}
    return replace(default, **{name: value for name, value in given.items() if value is not None})


def _views(chosen: argparse.Namespace) -> None:
    from .views import VIEWS_SETTINGS, train_views

    start = _start(chosen).unet if chosen.start else None
    train_views(chosen.folder, _settings(chosen, VIEWS_SETTINGS), start)


def _lgm(chosen: argparse.Namespace) -> None:
    from .lgm import LGM_SETTINGS, train_lgm
    from .views import tiny_unet

    settings = _settings(chosen, LGM_SETTINGS)
    first = averaged(chosen.views, tiny_unet()).to(settings.device) if chosen.views else None
    train_lgm(chosen.folder, settings, first, network=_start(chosen).lgm if chosen.start else None)


def _start(chosen: argparse.Namespace) -> Any:
    from ..pipelines import load_pipeline

    return load_pipeline(chosen.start).to(torch.float32)


def _direct(chosen: argparse.Namespace) -> None:
    from .direct import DIRECT_SETTINGS, train_direct

    train_direct(chosen.folder, _settings(chosen, DIRECT_SETTINGS))


def _ablate(chosen: argparse.Namespace) -> None:
    from .ablations import ablate

    ablate(chosen.names, chosen.output, chosen.minutes, chosen.samples, device=chosen.device)


def _table(chosen: argparse.Namespace) -> None:
    from .ablations import write_table

    print(write_table(chosen.runs))


def _export(chosen: argparse.Namespace) -> None:
    from .export import export
    from .lgm import tiny_lgm
    from .views import tiny_unet

    export(averaged(chosen.views, tiny_unet()), averaged(chosen.lgm, tiny_lgm()), chosen.output)


def _evaluate(chosen: argparse.Namespace) -> None:
    from ..pipelines import load_pipeline
    from .evaluate import figures
    from .lgm import tiny_lgm

    direct = averaged(chosen.direct, tiny_lgm()) if chosen.direct else None
    print(figures(load_pipeline(chosen.model), chosen.objects, direct))


if __name__ == "__main__":
    sys.exit(main())
