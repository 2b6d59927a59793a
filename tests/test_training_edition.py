"""An edition by one command: it trains both stages, chooses, exports and measures, and goes on after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from image3d_nb.errors import InputError
from image3d_nb.pipelines import load_pipeline
from image3d_nb.training.__main__ import main
from image3d_nb.training.edition import (
    CHOICE,
    FIGURES,
    PLAN,
    SSIM_WORTH,
    START,
    Plan,
    best_of,
    candidates,
    faster_in_bf16,
    mean_of,
    plan_for,
    train_edition,
)
from image3d_nb.training.lgm import tiny_lgm
from image3d_nb.training.loop import CHECKPOINT, LOG, read_log

SMALL = Plan(
    minutes=0.001, start="tiny", first_sample=50, batch_size=2, eval_objects=1, val_objects=1, figure_objects=2
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edition")
    train_edition(folder, SMALL)
    return folder


def test_an_edition_has_all_that_a_card_needs(run: Path) -> None:
    model = run / "model"
    names = {"log_views.jsonl", "log_lgm.jsonl", "curves.png", FIGURES, "sheet.png", "sheet_ten.png", "sheet_steps.png"}
    assert names <= {file.name for file in model.iterdir()}
    assert load_pipeline(model).picture_size == 64
    figures = (model / FIGURES).read_text()
    for start in ("| known families (2) | sides |", "| ten families never seen (1) | whole way |", "| mug |"):
        assert figures.count(f"\n{start}") == 1


def test_branches_end_where_the_runs_end(run: Path) -> None:
    for stage in ("views", "lgm"):
        ends = [read_log(run / name / LOG)[-1]["samples"] for name in (stage, f"{stage}_plain")]
        assert ends[0] == ends[1] > 0
    for name in ("views", "views_plain", "views_for_lgm", "lgm", "lgm_plain"):
        assert torch.load(run / name / CHECKPOINT, weights_only=True)["seen"] > 0


def test_the_chosen_weights_are_the_exported_ones(run: Path) -> None:
    choice = json.loads((run / CHOICE).read_text())
    offers = {
        START, "with assemblies", "without assemblies", "both", "both and the start", "both, and a third of the start",
        "without assemblies, and a third of the start",
    }  # fmt: skip
    assert choice["sides"].keys() == choice["whole way"].keys() == offers
    assert (choice["views"], choice["lgm"]) == (best_of(choice["sides"]), best_of(choice["whole way"]))
    wanted = candidates(run, "lgm", tiny_lgm(), load_pipeline().to(torch.float32).lgm)[choice["lgm"]].state_dict()
    exported = load_pipeline(run / "model").to(torch.float32).lgm.state_dict()
    for name, value in wanted.items():
        torch.testing.assert_close(exported[name], value.half().float())


def test_a_finished_run_is_left_as_it_is_and_another_plan_refused(run: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*.pt")}
    assert train_edition(run, SMALL) == run / "model"
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*.pt")} == before
    with pytest.raises(InputError, match="same plan"):
        train_edition(run, plan_for(5.0))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="lists child processes by /proc")
def test_a_killed_run_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "image3d_nb.training", "all", str(tmp_path), "--minutes", "60", "--start", "tiny"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / PLAN).is_file() and len(children(running.pid)) >= 3)  # one of them is Python's own
    stages = children(running.pid)
    running.send_signal(signal.SIGKILL)
    running.wait()
    wait_for(lambda: not any(alive(process) for process in stages))
    plan = json.loads((tmp_path / PLAN).read_text())
    assert plan["minutes"] == 60
    assert main(["all", str(tmp_path), "--minutes", "61", "--start", "tiny"]) == 1  # the plan is still there


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


def alive(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.is_file() and "State:\tZ" not in status.read_text()


def wait_for(condition, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_plan_fits_the_device() -> None:
    here, card = plan_for(10.0), plan_for(10.0, "cuda")
    assert (here.workers, here.batch_size) == (0, 16)
    assert card.batch_size > here.batch_size
    assert card.workers >= 1
    minutes = here.views_settings().minutes
    assert minutes + (1 - 0.8) * minutes == pytest.approx(10)  # the branch is a fifth
    assert here.lgm_settings(0.0).assemblies == 0
    assert here.views_settings().learning_rate > plan_for(10.0, start="tiny").views_settings().learning_rate


def test_bf16_is_measured_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    slow_float = iter([0.0, 9.0, 10.0, 11.0] * 10)  # float32 takes 9 seconds, bfloat16 one
    monkeypatch.setattr(time, "perf_counter", lambda: next(slow_float))
    assert faster_in_bf16("cpu", batch=1, steps=1)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert not faster_in_bf16("cpu", batch=1, steps=1)  # as fast is not faster


def test_mean_of_weights() -> None:
    first, second = nn.Linear(2, 3), nn.Linear(2, 3)
    middle = mean_of(first, second)
    torch.testing.assert_close(middle.weight, (first.weight + second.weight) / 2)
    assert middle.weight is not first.weight
    torch.testing.assert_close(mean_of(first, second, 0.25).bias, 0.75 * first.bias + 0.25 * second.bias)


def found(psnr: float, ssim: float, sharpness: float = 0.3) -> dict[str, float]:
    return {"psnr": psnr, "ssim": ssim, "sharpness": sharpness}


def test_what_gains_decibels_by_blur_is_refused() -> None:
    start = found(20.0, 0.80)
    offers = {START: start, "blurred": found(25.0, 0.85, 0.25), "unlike": found(28.0, 0.79)}
    assert best_of(offers) == START
    assert best_of(offers | {"honest": found(20.5, 0.80)}) == "honest"
    assert best_of({"blurred": offers["blurred"], "sharp": found(20.0, 0.8, 0.5)}) == "blurred"  # there is no start


def test_decibels_and_ssim_both_count() -> None:
    offers = {"closer": found(20.5, 0.80), "more alike": found(20.0, 0.80 + 0.6 / SSIM_WORTH)}
    assert best_of(offers) == "more alike"
    assert best_of(offers | {"closer": found(20.7, 0.80)}) == "closer"
