"""Every variant to compare with trains, the disturbances do what they say, and the table tells it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from image3d_nb.cameras import orbit_cameras, plucker_rays
from image3d_nb.errors import InputError
from image3d_nb.pipelines.lgm import lgm_input
from image3d_nb.training.__main__ import main
from image3d_nb.training.ablations import ABLATIONS, METRICS, settings_of, stored
from image3d_nb.training.data import INPUT_AZIMUTHS, ObjectViews, on_white
from image3d_nb.training.direct import DIRECT_SETTINGS, copied_front, direct_gaussians, train_direct
from image3d_nb.training.disturb import Disturbed, grid_distortion, jittered_rays
from image3d_nb.training.lgm import tiny_lgm
from image3d_nb.training.loop import LOG, averaged, read_log
from image3d_nb.training.objectives import PREDICTIONS, FrameCondition, sample_views, scheduler_of
from image3d_nb.training.views import predict_views, tiny_unet

RAYS = plucker_rays(orbit_cameras(0.0, INPUT_AZIMUTHS, size=64))
TINY = {"batch_size": 2, "eval_objects": 2}


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_variant_trains(name: str, tmp_path: Path) -> None:
    variant = ABLATIONS[name]
    variant.train(tmp_path, settings_of(variant, 2, **TINY))
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [row["samples"] for row in rows] == [2]
    for metric in METRICS[variant.stage]:
        assert -1 < rows[-1][metric] < 40


def test_commands_train_and_make_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablations-table", str(tmp_path)]) == 1
    assert "run ablate first" in capsys.readouterr().err
    assert main(["ablate", "no-such", "-o", str(tmp_path)]) == 1
    assert "lgm-clamp" in capsys.readouterr().err
    for name, worth in (("lgm", 20.0), ("lgm-clamp", 18.5)):  # as a run would leave them
        (tmp_path / name).mkdir()
        row = {
            "samples": 960,
            "seconds": 240.2,
            "novel_true_db": worth,
            "novel_true_ssim": 0.8,
            "novel_whole_db": worth - 1,
        }
        (tmp_path / name / LOG).write_text(json.dumps(row | {"samples": 480}) + "\n" + json.dumps(row) + "\n")
    assert main(["ablations-table", str(tmp_path)]) == 0
    text = (tmp_path / "ablations.md").read_text()
    assert "| lgm | as bundled, on true views | 960 | 240 | 20.00 | 0.800 | 19.00 |" in text
    assert "18.50 (-1.50) | 0.800 (+0.000) | 17.50 (-1.50) |" in text
    assert "views-v" not in text
    assert (tmp_path / "ablations_lgm.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["views", "views-adamw", "lgm", "lgm-clamp"])
def test_stored_logs_tell_what_their_stage_is_judged_by(name: str) -> None:
    rows = stored(name)
    assert all(METRICS[ABLATIONS[name].stage][0] in row for row in rows)
    seen = [row["samples"] for row in rows]
    assert seen == sorted(set(seen))
    assert len(seen) >= 3


def test_a_log_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be one of .*views-adamw.*; got 'no-such'"):
        stored("no-such")
    with pytest.raises(InputError, match="there is none at"):
        read_log(tmp_path / LOG)


def test_budgets_are_samples() -> None:
    settings = settings_of(ABLATIONS["views-adamw"], 1200)
    assert (settings.samples, settings.warmup_samples, settings.eval_samples) == (1200, 100, 300)
    assert (settings.optimizer, settings.learning_rate) == ("adamw", 1e-3)


def test_direct_sees_the_front_only(tmp_path: Path) -> None:
    torch.manual_seed(0)
    views = torch.rand(1, 4, 3, 64, 64)
    other = torch.cat([views[:, :1], torch.rand(1, 3, 3, 64, 64)], 1)
    assert torch.equal(copied_front(views, RAYS), copied_front(other, RAYS))
    assert torch.equal(copied_front(views, RAYS)[0, 0], lgm_input(views, RAYS)[0, 0])
    train_direct(tmp_path, replace(DIRECT_SETTINGS, samples=2, warmup_samples=0, **TINY))
    made = direct_gaussians(averaged(tmp_path, tiny_lgm()), views[0, 0])
    assert len(made) == 4 * tiny_lgm().config.splat_size ** 2
    assert torch.isfinite(made.means).all()


def test_grid_distortion_pulls_smoothly() -> None:
    picture = on_white(ObjectViews("test", 64)[0].images[:3])
    assert torch.allclose(grid_distortion(picture, seeded(), pull=0.0), picture, atol=1e-5)
    pulled = grid_distortion(picture, seeded())
    assert torch.equal(pulled, grid_distortion(picture, seeded()))
    assert 0.001 < float((pulled - picture).square().mean()) < 0.1
    # a ramp shows how far each pixel was pulled: neighbours nearly alike
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    pull = (grid_distortion(ramp, seeded()) - ramp)[..., 8:-8]
    assert 0.005 < float(pull.std()) < 0.06
    assert float(pull.diff(dim=-1).abs().max()) < 0.01


def test_camera_jitter_turns_all_but_the_first() -> None:
    rays = jittered_rays(seeded(), 64)
    assert torch.allclose(rays[0], RAYS[0], atol=1e-6)
    angles = torch.rad2deg(torch.acos((rays[:, 3:] * RAYS[:, 3:]).sum(1).clamp(-1, 1)))[:, 32, 32]  # [4]
    assert (angles[1:] > 0.3).all()
    assert (angles[1:] < 20).all()
    # turned about the origin: as far from it as before, and the middle still looks at it
    assert torch.allclose(rays[:, :3].norm(dim=1), RAYS[:, :3].norm(dim=1), atol=1e-5)


def test_disturbances_depend_on_the_sample_and_spare_the_test() -> None:
    views = on_white(torch.stack([ObjectViews("test", 64)[i].images for i in range(2)]))
    clean = lgm_input(views, RAYS)
    both = Disturbed()
    assert torch.equal(both(views, RAYS, None), clean)
    assert torch.equal(both(views, RAYS, 7)[1], both(views[1:], RAYS, 8)[0])
    changed = torch.cat([both(views, RAYS, 2 * i) for i in range(20)])  # [40, 4, 9, H, W]
    repeated = clean.repeat(20, 1, 1, 1, 1)
    assert torch.equal(changed[:, 0, :3], repeated[:, 0, :3])
    colours = (changed[:, 1:, :3] != repeated[:, 1:, :3]).flatten(1).any(1)
    cameras = ((changed[:, 1:, 3:] - repeated[:, 1:, 3:]).abs() > 1e-4).flatten(1).any(1)
    assert 8 <= int(colours.sum()) <= 32
    assert 8 <= int(cameras.sum()) <= 32
    assert (colours != cameras).any()


def test_the_frame_condition_hides_its_fifth_frame() -> None:
    torch.manual_seed(0)
    network = FrameCondition(tiny_unet(condition="frame", condition_mirror=False).eval())
    front = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        views = predict_views(network, front)
        assert views.shape == (2, 4, 3, 64, 64)
        assert not torch.equal(views[0], predict_views(network, front.flip(-1))[0])  # it is looked at
        assert torch.allclose(views[1:], predict_views(network, front[1:]), atol=1e-5)


class Oracle(torch.nn.Module):
    """Knows the clean views, and answers as a network of that prediction would."""

    def __init__(self, clean: torch.Tensor, prediction: str) -> None:
        super().__init__()
        self.clean, self.prediction = clean, prediction
        self.alphas = scheduler_of(prediction).alphas_cumprod

    def forward(self, x, timesteps, **_):
        alpha = self.alphas[timesteps.long()].view(-1, 1, 1, 1)
        if self.prediction == "sample":
            return self.clean
        noise = (x - alpha.sqrt() * self.clean) / (1 - alpha).sqrt()
        return noise if self.prediction == "epsilon" else alpha.sqrt() * noise - (1 - alpha).sqrt() * self.clean


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_sampler_finds_what_a_perfect_network_knows(prediction: str) -> None:
    clean = torch.rand(4, 3, 8, 8, generator=seeded(1))  # one picture a view, MVDream's order
    views = sample_views(Oracle(2 * clean - 1, prediction), torch.rand(1, 3, 8, 8), scheduler_of(prediction), 5)
    assert torch.allclose(views[0], clean[[1, 2, 3, 0]], atol=1e-3)
