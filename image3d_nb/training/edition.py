"""An edition of the tiny model by one command: both stages side by side, branches, averages, a choice, its figures.

Each step leaves a file in the run's folder and is skipped when that is there, so that the same command goes on after
any kill. With S for the samples of a stage::

    0          0.6 S       0.8 S         S
    |-- rate holds --|-- rate falls, with assemblies --|
                           `-- without assemblies ----|     then: average, choose on "val", export, figures, sheets

LGM's loss and features judge the views of a stage one that has learnt something: from the start of a run with weights,
else while its rate falls. That makes them sharper. LGM takes its generated views from the weights that the run starts
with, and as soon as its rate falls from stage one as it then stands, and again where LGM forks. Random assemblies help
with objects of unseen families and cost known ones a little, which a last fifth without them gives back; averages of
weights from both often beat both. Blur gains decibels too: a candidate that is blurrier than what its stage began with
is refused, and if all are, the stage stays as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import nn

from .._files import atomic_path, atomic_write
from ..errors import InputError
from ..pipelines import load_pipeline
from ..pipelines.lgm import LGMFullPipeline
from .data import ASSEMBLIES, ObjectViews
from .evaluate import evaluate, figures
from .export import export, tiny_pipeline
from .lgm import RANDOM_VIEWS, tiny_lgm, train_lgm
from .loop import CHECKPOINT, LOG, Network, TrainSettings, averaged, plot
from .pool import ENOUGH, Pool, filled
from .sheets import write_sheets
from .views import predict_views, tiny_unet, train_views, views_loss

PLAN = "plan.json"
CHOICE = "choice.json"
FIGURES = "figures.md"
VIEWS_DONE, BF16 = "views.done", "bf16.json"
POOL_ASSEMBLIES = 0.4
"""Share of random solids and chimeras in a pool: with many objects, families do not suffer from them."""
HOLD, BRANCH = 0.6, 0.8
"""Shares of the samples after which the rate falls, and after which a branch goes on without assemblies."""
GENERATED = 0.55
"""Share of the objects whose input views LGM takes from stage one."""
START = "the start"
SHARPNESS_LOSS, SSIM_LOSS = 0.03, 0.002
"""How much less than the start a candidate may have (sharpness as a share of it): the noise of the measurement."""
SSIM_WORTH = 30.0
"""Decibels that an SSIM of 1 is worth when candidates are compared."""


@dataclass(frozen=True)
class Plan:
    """What a run begins with; it is kept in the run's folder.

    Attributes:
        minutes: of each stage's training, its branch included. CPU time on a CPU, wall time on another device.
        device: where the networks run.
        start: "tiny" or a model's folder, whose weights the run begins with; None begins with fresh ones.
        first_sample: index of the first object. A run with a start wants objects that those weights never saw.
        bf16: whether the networks run in bfloat16.
        batch_size: objects a step of stage one; LGM takes half as many.
        workers: processes that fill a :class:`~image3d_nb.training.pool.Pool`, strange objects among its samples, from
            which both stages draw; 0 lets each stage make its own objects, which keeps step with a CPU.
        views_share: of the minutes, which stage one takes. LGM's rate falls when stage one is done, if it is done
            by then.
        eval_samples: between two looks at held-out objects.
        eval_objects: of known families, looked at during the training for its curves.
        val_objects: on which candidates are compared.
        figure_objects: of known families in the final figures; half as many of unseen ones.
    """

    minutes: float
    device: str = "cpu"
    start: str | None = None
    first_sample: int = 0
    bf16: bool = False
    batch_size: int = 16
    workers: int = 0
    views_share: float = 1.0
    eval_samples: int = 1000
    eval_objects: int = 68
    val_objects: int = 68
    figure_objects: int = 200

    def settings(self, minutes: float, rate: float, batch_size: int, assemblies: float = ASSEMBLIES) -> TrainSettings:
        """Of a stage. The branch repeats a fifth of it, so the stage gets five sixths of the minutes."""
        return TrainSettings(
            minutes=minutes / (2 - BRANCH),
            hold=HOLD,
            learning_rate=rate,
            first_sample=self.first_sample,
            batch_size=batch_size,
            device=self.device,
            bf16=self.bf16,
            eval_samples=self.eval_samples,
            eval_objects=self.eval_objects,
            assemblies=assemblies,
            warmup_samples=500 if self.start is None else 32 * batch_size,
            checkpoint_minutes=1.0 if self.workers else 3.0,
        )

    def views_settings(self, assemblies: float = ASSEMBLIES) -> TrainSettings:
        """Of stage one. Few objects from trained weights bear a lower rate than many, or than fresh ones."""
        rate = 8e-3 if self.start is None else 6e-3 if self.workers else 1.5e-3
        return self.settings(self.minutes * self.views_share, rate, self.batch_size, assemblies)

    def lgm_settings(self, assemblies: float = ASSEMBLIES) -> TrainSettings:
        """Of LGM."""
        rate = 6e-3 if self.start is None else 4e-3 if self.workers else 2e-3
        return self.settings(self.minutes, rate, self.batch_size // 2, assemblies)

    def pool(self, folder: Path) -> Pool | None:
        """The pool that the workers fill, in the run's folder (best in memory then); None without workers."""
        if not self.workers:
            return None
        data = ObjectViews("train", random_views=RANDOM_VIEWS, assemblies=POOL_ASSEMBLIES, strange=True)
        return Pool(folder / "pool", data, self.workers, self.first_sample)


def plan_for(minutes: float, device: str = "cpu", start: str | None = None, first_sample: int = 0) -> Plan:
    """A plan with the batches that suit the device: a graphics card wants large ones, and processes that feed it."""
    plan = Plan(minutes, device, start, first_sample)
    if torch.device(device).type == "cpu":
        return plan
    workers = max((os.cpu_count() or 2) - 2, 1)
    return replace(plan, batch_size=64, workers=workers, views_share=0.55, eval_samples=50_000)


def train_edition(folder: Path, plan: Plan) -> Path:
    """Train, choose, export and measure an edition, or go on with it.

    Args:
        folder: of the run; made if need be.
        plan: as at the first call; ``bf16`` is measured then.

    Returns:
        the model's folder, ``load_pipeline`` reads it. Its ``figures.md``, sheets and curves are for the card.

    Raises:
        InputError: the folder is of a run with another plan, or a stage failed.
    """
    plan = _kept(folder, plan)
    if not (folder / CHOICE).is_file():
        _train(folder, plan)
    model = folder / "model"
    if not model.is_dir():
        _choose(folder, plan, model)
    pipe = load_pipeline(model)
    logs = [folder / stage / LOG for stage in ("views", "lgm")]
    for log in logs:
        shutil.copyfile(log, model / f"log_{log.parent.name}.jsonl")
    plot(logs, model / "curves.png")
    if not (model / FIGURES).is_file():
        write_sheets(pipe, model, plan.figure_objects // 5, plan.figure_objects)
        atomic_write({model / FIGURES: figures(pipe, plan.figure_objects).encode()})
    return model


def _train(folder: Path, plan: Plan) -> None:
    """Both stages, side by side; and the processes that make their objects, where the plan has some."""
    stages = {"views": _views_stage, "lgm": _lgm_stage}
    pool = plan.pool(folder)
    if pool is None:
        _side_by_side(stages, folder, plan)
        return
    pool.data[0]  # compiles the renderer, once for all processes
    with filled(pool):
        while pool.ready < ENOUGH:
            time.sleep(0.2)
        _side_by_side(stages, folder, plan)
    shutil.rmtree(pool.folder)


def _kept(folder: Path, plan: Plan) -> Plan:
    """The plan as the run's folder has it; at the first call it is measured there whether bfloat16 is faster."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / PLAN
    if not file.is_file():
        if torch.device(plan.device).type == "cpu":
            plan = replace(plan, bf16=faster_in_bf16(plan.device))
        else:  # the pool's processes are copies of this one, which must not have used the card then
            _side_by_side({"bf16": _bf16_stage}, folder, plan)
            plan = replace(plan, bf16=json.loads((folder / BF16).read_text(encoding="utf-8")))
        atomic_write({file: json.dumps(asdict(plan), indent=1).encode()})
    kept = Plan(**json.loads(file.read_text(encoding="utf-8")))
    if replace(plan, bf16=kept.bf16) != kept:
        raise InputError(f"{folder} must be a new folder or of a run with the same plan; its plan is {kept}")
    return kept


def faster_in_bf16(device: str, batch: int = 4, steps: int = 2) -> bool:
    """Whether a training step of stage one is faster in bfloat16: on a CPU that depends on its instructions."""
    network = tiny_unet().to(device)
    views = torch.rand(batch, 4, 3, 64, 64, device=device)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(steps + 1):  # the first one warms up
        for bf16, times in seconds.items():
            started = time.perf_counter()
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
                made = predict_views(network, views[:, 0])
            views_loss(made, views).backward()
            float(next(p.grad.sum() for p in network.parameters() if p.grad is not None))  # waits for the device
            times.append(time.perf_counter() - started)
    return min(seconds[True][1:]) < min(seconds[False][1:])


def _side_by_side(stages: Mapping[str, Callable[[Path, Plan], None]], folder: Path, plan: Plan) -> None:
    """Run the stages as processes of one thread each: two of those use two cores better than two threads of one."""
    context = get_context("spawn")
    running: dict[str, BaseProcess] = {
        name: context.Process(target=_as_child, args=(stage, folder, plan), name=name) for name, stage in stages.items()
    }
    for process in running.values():
        process.start()
    try:
        while any(process.is_alive() for process in running.values()):
            for process in running.values():
                process.join(0.5)
                if process.exitcode:
                    raise InputError(f"{process.name} must end well; it ended with {process.exitcode}: see above")
    finally:
        for process in running.values():
            process.terminate()
            process.join()
    failed = [name for name, process in running.items() if process.exitcode]
    if failed:
        raise InputError(f"both stages must end well; {', '.join(failed)} did not: see above")


def _as_child(stage: Callable[[Path, Plan], None], folder: Path, plan: Plan) -> None:
    Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    stage(folder, plan)


def _die_with_parent() -> None:
    """Without this, a killed run would go on training, and the command that resumes it would train beside it."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _bf16_stage(folder: Path, plan: Plan) -> None:
    atomic_write({folder / BF16: json.dumps(faster_in_bf16(plan.device, plan.batch_size)).encode()})


def _views_stage(folder: Path, plan: Plan) -> None:
    network, judge, pool = _start(plan, "unet"), _start(plan, "lgm"), plan.pool(folder)
    run, plain = folder / "views", folder / "views_plain"
    train_views(run, plan.views_settings(), network, until=HOLD, pool=pool, judge=judge)
    _fork(run, folder / "views_for_lgm")
    if judge is None and (folder / "lgm" / CHECKPOINT).is_file():
        judge = averaged(folder / "lgm", tiny_lgm())
    train_views(run, plan.views_settings(), network, until=BRANCH, pool=pool, judge=judge)
    _fork(run, plain)
    train_views(run, plan.views_settings(), network, pool=pool, judge=judge)
    train_views(plain, plan.views_settings(assemblies=0.0), network, pool=pool, judge=judge)
    (folder / VIEWS_DONE).touch()


def _lgm_stage(folder: Path, plan: Plan) -> None:
    network, views, pool = _start(plan, "lgm"), _start(plan, "unet"), plan.pool(folder)
    run, plain, source = folder / "lgm", folder / "lgm_plain", folder / "views_for_lgm"
    views = views and views.to(plan.device)
    train_lgm(run, plan.lgm_settings(), views, 0.0, GENERATED, network, until=HOLD, pool=pool)
    while not (source / CHECKPOINT).is_file():
        time.sleep(1)
    views = _views_so_far(folder).to(plan.device)
    train_lgm(run, plan.lgm_settings(), views, 0.0, GENERATED, network, until=BRANCH, pool=pool)
    _fork(run, plain)
    views = _views_so_far(folder).to(plan.device)
    train_lgm(run, plan.lgm_settings(), views, 0.0, GENERATED, network, pool=pool)
    train_lgm(plain, plan.lgm_settings(assemblies=0.0), views, 0.0, GENERATED, network, pool=pool)


def _views_so_far(folder: Path) -> nn.Module:
    """Stage one as it stands: done, or when its rate began to fall."""
    if (folder / VIEWS_DONE).is_file():
        return mean_of(*(averaged(folder / name, tiny_unet()) for name in ("views", "views_plain")))
    return averaged(folder / "views_for_lgm", tiny_unet())


def _start(plan: Plan, component: str) -> Any:
    """A network of the start in float32; None without a start."""
    return None if plan.start is None else getattr(load_pipeline(plan.start).to(torch.float32), component)


def _fork(run: Path, branch: Path) -> None:
    """Let ``branch`` begin with what ``run`` has; one that has begun stays as it is."""
    if (branch / CHECKPOINT).is_file():
        return
    branch.mkdir(exist_ok=True)
    shutil.copyfile(run / LOG, branch / LOG) if (run / LOG).is_file() else None
    with atomic_path(branch / CHECKPOINT) as path:
        shutil.copyfile(run / CHECKPOINT, path)


def mean_of(first: Network, second: nn.Module, share: float = 0.5) -> Network:
    """A network with the mean of two networks' weights, which must be of the same origin: else it is worth nothing.

    Args:
        first: not changed.
        second: of the same configuration.
        share: of the second one in the mean.
    """
    network, other = deepcopy(first), second.state_dict()
    mean = {name: (1 - share) * value + share * other[name] for name, value in first.state_dict().items()}
    network.load_state_dict(mean)
    return network


def candidates(folder: Path, stage: str, network: Network, start: Network | None) -> dict[str, Network]:
    """What a stage of a finished run offers: its end, the end without assemblies, their mean; and means with the start.

    Args:
        folder: of the run.
        stage: "views" or "lgm".
        network: of the stage's configuration; its weights do not matter.
        start: what the stage began with, which is offered too; None is a run from fresh weights.
    """
    end, plain = (averaged(folder / name, deepcopy(network)) for name in (stage, f"{stage}_plain"))
    both = mean_of(end, plain)
    found = {"with assemblies": end, "without assemblies": plain, "both": both}
    if start is None:
        return found
    return {
        START: start,
        **found,
        "both and the start": mean_of(both, start),
        "both, and a third of the start": mean_of(both, start, 1 / 3),
        "without assemblies, and a third of the start": mean_of(plain, start, 1 / 3),
    }


def _choose(folder: Path, plan: Plan, model: Path) -> None:
    """Export the best of stage one's candidates, and of LGM's the best one for its views."""
    start = None if plan.start is None else load_pipeline(plan.start).to(torch.float32)
    views = candidates(folder, "views", tiny_unet(), start and start.unet)
    lgm = candidates(folder, "lgm", tiny_lgm(), start and start.lgm)
    any_lgm = next(iter(lgm.values()))
    sides = {name: measure(tiny_pipeline(unet, any_lgm), plan.val_objects)["sides"] for name, unet in views.items()}
    best_views = best_of(sides)
    unet = views[best_views]
    whole = {name: measure(tiny_pipeline(unet, net), plan.val_objects)["whole way"] for name, net in lgm.items()}
    best_lgm = best_of(whole)
    report = {"views": best_views, "lgm": best_lgm, "sides": sides, "whole way": whole}
    atomic_write({folder / CHOICE: json.dumps(report, indent=1).encode()})
    half_written = model.with_name("model.partial")
    export(unet, lgm[best_lgm], half_written)
    half_written.rename(model)


def measure(pipe: LGMFullPipeline, objects: int) -> dict[str, dict[str, float]]:
    """What candidates are compared by, on "val": decibels, SSIM and sharpness of the sides and of the whole way."""
    found = evaluate(pipe, "val", objects, novel_views=4, prepared=False, progress=False)
    return {
        name: {"psnr": found[name].psnr, "ssim": found[name].ssim, "sharpness": found[name].sharpness}
        for name in ("sides", "whole way")
    }


def best_of(measured: Mapping[str, Mapping[str, float]]) -> str:
    """The best candidate by decibels and SSIM, among those that are not blurrier than the start, if that is one.

    Args:
        measured: candidate -> its "psnr", "ssim" and "sharpness".
    """
    start = measured.get(START)
    sharp = [
        name
        for name, found in measured.items()
        if start is None
        or (
            found["sharpness"] >= (1 - SHARPNESS_LOSS) * start["sharpness"]
            and found["ssim"] >= start["ssim"] - SSIM_LOSS
        )
    ]
    return max(sharp, key=lambda name: measured[name]["psnr"] + SSIM_WORTH * measured[name]["ssim"])
