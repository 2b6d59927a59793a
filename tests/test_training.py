"""Training: data by index, a loop that resumes as if it had never stopped, and folders that load."""

from __future__ import annotations

import itertools
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from image3d_nb.cameras import orbit_cameras, plucker_rays
from image3d_nb.errors import InputError
from image3d_nb.pipelines import load_pipeline
from image3d_nb.training.__main__ import main
from image3d_nb.training.data import INPUT_AZIMUTHS, SPLITS, ObjectViews, batch_of, on_white
from image3d_nb.training.evaluate import evaluate
from image3d_nb.training.lgm import LGM_SETTINGS, image_loss, train_lgm
from image3d_nb.training.loop import CHECKPOINT, LOG, Trainer, TrainSettings, averaged, plot, read_log
from image3d_nb.training.objects import ASSEMBLY, CHIMERA, FAMILIES, HELD_OUT, make_object
from image3d_nb.training.pool import Pool, filled
from image3d_nb.training.views import VIEWS_SETTINGS, features_loss, sharp_loss, tiny_unet, train_views, views_loss

SHORT = {"samples": 2, "batch_size": 2, "eval_samples": 2, "eval_objects": 2, "warmup_samples": 0}


def test_a_sample_is_a_function_of_its_index() -> None:
    first, again = (ObjectViews("train", 32, random_views=2)[5] for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.cameras.c2w, again.cameras.c2w)
    assert first.caption == again.caption
    assert not torch.equal(first.images, ObjectViews("train", 32, random_views=2)[31].images)
    assert first.images.shape == (6, 4, 32, 32)


@pytest.mark.parametrize("first", [0, 1000, 123_456])
def test_splits_do_not_meet(first: int) -> None:
    firsts = sorted(SPLITS.values())
    assert all(b - a >= 10**8 for a, b in itertools.pairwise(firsts))
    assert {ObjectViews("unseen", 16)[i].family for i in range(4)} == {"teapot", "bird"}
    families = {split: {ObjectViews(split).family_of(first + i) for i in range(410)} for split in SPLITS}
    assert families["ten"] == set(HELD_OUT)
    assert families["test"] == set(FAMILIES)
    assert families["train"] == families["val"] == {*FAMILIES, ASSEMBLY}


def test_assemblies_are_a_share_of_every_batch() -> None:
    data = ObjectViews("train", assemblies=0.3)
    counts = [sum(data.family_of(first + i) == ASSEMBLY for i in range(16)) for first in range(0, 16_000, 16)]
    assert 3 <= min(counts) <= max(counts) <= 7
    assert abs(sum(counts) / 16_000 - 0.3) < 0.002
    assert ASSEMBLY not in {ObjectViews("train", assemblies=0.0).family_of(i) for i in range(100)}


def test_a_pool_holds_the_samples_and_goes_on(tmp_path: Path) -> None:
    data = ObjectViews("train", 16, random_views=1, assemblies=0.5, strange=True)
    for capacity in (4, 12):  # the second one finds what the first has made
        pool = Pool(tmp_path, data, workers=2, first=30, capacity=capacity)
        for worker in range(2):
            pool.fill(worker)
    assert pool.ready == 12
    wanted = batch_of(data, 30, 12)
    images, viewmats = pool.draw(np.random.default_rng(0), 200, 5).to("cpu")
    found = {int((wanted.viewmats - viewmats[i]).abs().amax((1, 2, 3)).argmin()) for i in range(200)}
    assert found == set(range(12))
    nearest = [int((wanted.viewmats - viewmats[i]).abs().amax((1, 2, 3)).argmin()) for i in range(200)]
    assert (images - wanted.images[nearest]).abs().max() < 1 / 500  # uint8
    _, plain = pool.draw(np.random.default_rng(0), 50, 5, plain=True)
    kept = {int((wanted.viewmats - one).abs().amax((1, 2, 3)).argmin()) for one in plain}
    assert kept == {i for i in range(12) if data.is_plain(30 + i)}


def test_processes_fill_a_pool(tmp_path: Path) -> None:
    pool = Pool(tmp_path, ObjectViews("train", 16), workers=2, capacity=4)
    deadline = time.monotonic() + 60
    with filled(pool):
        while pool.ready < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert pool.ready == 4


def test_strange_objects_come_from_known_families_only() -> None:
    data = ObjectViews("train", 16, assemblies=0.4, strange=True)
    families = [data.family_of(i) for i in range(2000)]
    share = {name: families.count(name) / 2000 for name in (ASSEMBLY, CHIMERA)}
    assert all(0.18 < value < 0.22 for value in share.values())
    warped = sum(not data.is_plain(i) for i in range(2000)) / 2000 - sum(share.values())
    assert abs(warped - 0.3 * 0.6) < 0.01
    captions = " ".join(data[families.index(CHIMERA) + 2 * i].caption for i in range(3))
    assert "grown together" in captions
    assert not any(name in captions for name in HELD_OUT)
    usual, strange = (make_object(3, "mug", warped=warped) for warped in (False, True))
    assert len(usual.faces) == len(strange.faces)
    assert np.abs(usual.vertices - strange.vertices).max() > 0.02


def test_on_white_shows_white_where_nothing_is() -> None:
    images = on_white(ObjectViews("test", 32)[0].images)
    assert images.shape == (4, 3, 32, 32)
    assert images[:, :, 0, 0].min() == 1
    assert images.min() >= 0
    assert images.min() < 0.6


def toy(folder: Path, samples: int = 40, until: float = 1.0) -> nn.Module:
    """A line fitted to data that are a function of the index."""

    def loss_of(net: nn.Module, first: int, count: int):
        x = torch.sin(torch.arange(first, first + count).float())[:, None]
        error = (net(x) - 3 * x).square().mean()
        return error, {"error": float(error.detach())}

    torch.manual_seed(0)
    settings = TrainSettings(samples=samples, batch_size=4, learning_rate=0.1, warmup_samples=8, eval_samples=20)
    return Trainer(
        nn.Linear(1, 1), loss_of, lambda net: {"weight_db": float(net.weight.detach())}, folder, settings
    ).run(until)


def test_the_loss_asks_a_good_picture_to_become_better() -> None:
    truth = torch.rand(1, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    losses = {error: float(sharp_loss(truth + error, truth)) for error in (0.0, 0.03, 0.1, 0.3)}
    assert min(losses, key=lambda error: losses[error]) == 0.0
    # from 20 to 10 dB costs about what from 30 to 20 dB does; a squared error would say ten times as much
    assert 0.5 < (losses[0.3] - losses[0.1]) / (losses[0.1] - losses[0.03]) < 2
    # images are judged one by one: a good one and a bad one are better than two middling ones of the same squared error
    pair, both = truth[0, :2], torch.tensor([0.0004, 0.0796]).sqrt().reshape(2, 1, 1, 1)
    assert sharp_loss(pair + both, pair) < sharp_loss(pair + 0.2, pair)


def test_the_loss_prefers_contrast_to_a_blur() -> None:
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    truth = (((x // 4 + y // 4) % 2).float() * 0.6 + 0.2).expand(1, 3, 32, 32)
    blur = torch.full_like(truth, 0.5)  # 0.3 off everywhere
    lighter = truth + 0.3 * (1 - 2 * (x > 15).float())  # as far off, one half too light and one too dark
    assert float((lighter - truth).square().mean()) == pytest.approx(float((blur - truth).square().mean()))
    assert sharp_loss(lighter, truth) < sharp_loss(blur, truth)


def test_features_see_an_edge_where_a_squared_error_does_not() -> None:
    lgm = load_pipeline().to(torch.float32).lgm
    rays = plucker_rays(orbit_cameras(0.0, INPUT_AZIMUTHS, size=64))
    truth = on_white(ObjectViews("test")[0].images)[None]  # [1, 4, 3, H, W]
    blur = torch.nn.functional.avg_pool2d(truth[0], 5, 1, 2)[None]
    lighter = truth + (blur - truth).square().mean().sqrt()
    assert features_loss(truth, truth, rays, lgm) == 0
    assert features_loss(blur, truth, rays, lgm) > 1.5 * features_loss(lighter, truth, rays, lgm)


def test_fresh_weights_learn_by_squared_error(tmp_path: Path) -> None:
    truth = torch.full((1, 4, 3, 8, 8), 0.5)
    assert float(views_loss(truth + 0.1, truth)) == pytest.approx(4 * 0.01 + 0.1 * 0.2)
    budget = {"samples": 160, "batch_size": 8, "eval_samples": 160, "eval_objects": 8}
    settings = TrainSettings(**budget, learning_rate=2e-2, warmup_samples=40)
    train_views(tmp_path, settings, tiny_unet(model_channels=32))
    assert read_log(tmp_path / LOG)[-1]["side_db"] > 12  # it reaches 16; by LGM's loss 8


def test_a_judge_changes_what_stage_one_learns_and_stays_as_it_is(tmp_path: Path) -> None:
    settings = replace(VIEWS_SETTINGS, samples=2, batch_size=2, eval_objects=1, warmup_samples=0)
    judge = load_pipeline().to(torch.float32).lgm
    before = [parameter.clone() for parameter in judge.parameters()]
    ends = [train_views(tmp_path / str(i), settings, judge=who) for i, who in enumerate((None, None, judge))]
    first, again, judged = (next(iter(end.parameters())) for end in ends)
    torch.testing.assert_close(first, again)
    assert not torch.equal(first, judged)
    assert all(torch.equal(a, b) for a, b in zip(before, judge.parameters(), strict=True))


def test_a_wrong_silhouette_costs() -> None:
    wanted = torch.zeros(2, 4, 16, 16)
    wanted[:, 3, 4:12, 4:12] = 1  # a black square
    rgb, alpha = on_white(wanted), wanted[:, 3]
    right = image_loss(rgb, alpha, wanted)
    assert right == pytest.approx(float(sharp_loss(rgb, rgb)))
    assert image_loss(rgb, 1 - alpha, wanted) == pytest.approx(float(right) + 0.5)


def test_loop_learns_logs_and_plots(tmp_path: Path) -> None:
    net = toy(tmp_path / "run", 400)
    assert abs(float(net.weight.detach()) - 3) < 0.2
    rows = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert [row["samples"] for row in rows] == list(range(20, 401, 20))
    assert rows[-1]["error"] < rows[0]["error"] / 20
    plot([tmp_path / "run" / LOG], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = toy(tmp_path / "whole")
    step = Trainer._step
    calls = 0

    def stop_after_five(self):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Trainer, "_step", stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        toy(tmp_path / "parts")
    monkeypatch.setattr(Trainer, "_step", step)
    resumed = toy(tmp_path / "parts")
    assert torch.equal(resumed.weight, whole.weight)
    assert torch.equal(resumed.bias, whole.bias)


def test_a_run_goes_on_from_a_share_of_its_samples(tmp_path: Path) -> None:
    whole = toy(tmp_path / "whole")
    toy(tmp_path / "parts", until=0.45)
    assert torch.load(tmp_path / "parts" / CHECKPOINT, weights_only=True)["seen"] == 20  # of 40, in steps of 4
    assert torch.equal(toy(tmp_path / "parts").weight, whole.weight)


def test_a_budget_of_minutes_becomes_samples_when_the_rate_falls(tmp_path: Path, monkeypatch) -> None:
    clock = itertools.count(0, 3.0)  # a step takes three seconds
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    rates: list[float] = []
    rate_at = TrainSettings.rate_at
    monkeypatch.setattr(TrainSettings, "rate_at", lambda self, seen: rates.append(rate_at(self, seen)) or rates[-1])
    settings = TrainSettings(minutes=1.0, hold=0.6, batch_size=4, warmup_samples=0, learning_rate=0.1)

    def train(until: float) -> Trainer:
        trainer = Trainer(
            nn.Linear(1, 1),
            lambda net, first, count: (net.weight.square().sum(), {}),
            lambda net: {},
            tmp_path,
            settings,
        )
        trainer.run(until)
        return trainer

    held = train(0.6)
    assert (held.seen, held.settings.samples) == (48, 80)  # twelve steps are 36 of 60 seconds
    assert set(rates) == {0.1}
    assert train(1.0).seen == 80
    assert rates[-1] < 0.02


def test_a_budget_needs_a_held_rate(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold"):
        Trainer(nn.Linear(1, 1), lambda *_: (None, {}), lambda _: {}, tmp_path, TrainSettings(minutes=1.0))


def test_rate_rises_then_falls() -> None:
    settings = TrainSettings(samples=1000, batch_size=10, warmup_samples=100, learning_rate=1.0)
    rates = [settings.rate_at(seen) for seen in range(0, 1001, 10)]
    assert rates[0] < 0.2
    assert rates[10] == max(rates) > 0.97
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)


def test_a_held_rate_does_not_know_the_total() -> None:
    short, long = (TrainSettings(samples=samples, hold=0.5, warmup_samples=0) for samples in (1000, 2000))
    assert {short.rate_at(seen) for seen in range(0, 501, 100)} == {long.rate_at(500)} == {short.learning_rate}
    assert short.rate_at(750) == pytest.approx(short.learning_rate * 0.505)
    assert short.rate_at(1000) == pytest.approx(short.learning_rate / 100)


def test_a_later_run_sees_other_objects(tmp_path: Path) -> None:
    asked = []

    def loss_of(net: nn.Module, first: int, count: int):
        asked.append(first)
        return net.weight.square().sum(), {}

    settings = TrainSettings(samples=20, batch_size=10, first_sample=700)
    Trainer(nn.Linear(1, 1), loss_of, lambda net: {}, tmp_path, settings).run()
    assert asked == [700, 710]


def test_bf16_is_of_the_trained_network_alone(tmp_path: Path) -> None:
    with torch.no_grad():
        net = nn.Linear(1, 1, bias=False)
        net.weight.fill_(1 + 2**-10)  # bfloat16 has no such number: it rounds to 1
    answers = []

    def loss_of(net: nn.Module, first: int, count: int):
        one = torch.linspace(0, 1, 2)[1:]  # what a sample is made of, before the network
        answers.append((one.dtype, net(torch.ones(1, 1)).detach(), (one @ one).dtype))
        return net.weight.square().sum(), {}

    settings = TrainSettings(samples=1, batch_size=1, bf16=True)
    averaged = Trainer(net, loss_of, lambda net: {}, tmp_path, settings).run()
    assert answers == [(torch.float32, torch.ones(1, 1), torch.float32)]
    assert answers[0][1].dtype == torch.float32
    assert averaged(torch.ones(1, 1)) == averaged.weight != 1


def test_bf16_draws_and_trains_both_stages(tmp_path: Path) -> None:
    short = SHORT | {"bf16": True}
    train_views(tmp_path / "views", replace(VIEWS_SETTINGS, **short))
    train_lgm(tmp_path / "lgm", replace(LGM_SETTINGS, **short))
    for stage in ("views", "lgm"):
        assert math.isfinite(json.loads((tmp_path / stage / LOG).read_text())["loss"])


def test_divergence_is_an_error(tmp_path: Path) -> None:
    def loss_of(net: nn.Module, first: int, count: int):
        return net.weight.sum() * float("nan"), {}

    with pytest.raises(InputError, match="gradient must be finite"):
        Trainer(nn.Linear(1, 1), loss_of, lambda net: {}, tmp_path, TrainSettings(samples=16)).run()


def test_both_stages_train_export_and_load(tmp_path: Path) -> None:
    views, lgm, model = tmp_path / "views", tmp_path / "lgm", tmp_path / "model"
    train_views(views, replace(VIEWS_SETTINGS, **SHORT))
    train_lgm(lgm, replace(LGM_SETTINGS, **SHORT), averaged(views, tiny_unet()), generated_from=0.0)
    assert {"side_db", "front"} <= json.loads((views / LOG).read_text()).keys()
    assert {"novel_true_db", "novel_whole_db"} <= json.loads((lgm / LOG).read_text()).keys()
    assert main(["export", str(views), str(lgm), "-o", str(model)]) == 0
    sizes = [file.stat().st_size for file in model.rglob("*.safetensors")]
    assert max(sizes) < 16 * 2**20
    scores = evaluate(load_pipeline(model), "test", objects=2, novel_views=1, prepared=False, progress=False)
    assert scores.keys() == {"sides", "true views", "whole way", "copied front"}
    assert all(5 < score.psnr < 40 and score.count == 2 for score in scores.values())


def test_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path), str(tmp_path), "-o", str(tmp_path / "model")]) == 1
    assert CHECKPOINT in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
