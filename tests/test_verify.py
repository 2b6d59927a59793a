"""``verify-weights`` finds what LGM's weights were trained with: the bundled ones, where the truth is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import image3d_nb as i3d
from image3d_nb.cli import main
from image3d_nb.errors import InputError
from image3d_nb.hub.weights import resolve
from image3d_nb.models.lgm import LGM, ROTATIONS
from image3d_nb.pipelines.lgm import LGMFullPipeline
from image3d_nb.verify import MARGIN, RAYS, verify_views, verify_weights

MUG, CAR = str(i3d.sample("mug")), str(i3d.sample("car"))


def saved_with(rotation: str, folder: Path) -> Path:
    """The tiny model under a configuration that may be wrong."""
    shutil.copytree(resolve("tiny"), folder)
    file = folder / "lgm" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rotation": rotation}))
    return folder


@pytest.mark.parametrize("name", ["mug", "car"])
def test_the_bundled_weights_suit_their_configuration(tiny_pipe: LGMFullPipeline, name: str) -> None:
    verdict = verify_weights(tiny_pipe, i3d.load_image(i3d.sample(name)), i3d.generator(0))
    ours = verdict.configured
    assert (ours.rays, ours.rotation, ours.yaw) == ("right", "normalized", 0)
    assert verdict.agrees
    others = [trial.decibels for trial in verdict.trials if trial.rays == "published"]
    assert max(others) < ours.decibels - 3
    assert [trial.decibels for trial in verdict.trials] == sorted((t.decibels for t in verdict.trials), reverse=True)
    ways = {(trial.rays, trial.rotation, trial.yaw) for trial in verdict.trials}
    assert ways == {(rays, rotation, yaw) for rays in RAYS for rotation in ROTATIONS for yaw in (0, 180)} - {
        ("right", rotation, 180) for rotation in ROTATIONS
    }


def test_the_command_agrees_with_the_bundled_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-weights", "tiny", "--image", MUG]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == ["rays", "rotation", "turn", "PSNR,", "dB"]
    (marked,) = [line for line in told if line.endswith("<- configured")]
    assert marked.split()[:3] == ["right", "normalized", "0"]
    assert len(told) == 1 + 9 + 2
    assert told[-1].startswith("These weights suit their configuration: right rays, rotation 'normalized'")


def test_the_command_judges_what_the_configuration_says(
    tiny_pipe: LGMFullPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny model's Gaussians are so small that a wrong rotation may pass; more than the margin must not."""
    truth = verify_weights(tiny_pipe, i3d.load_image(CAR), i3d.generator(0))
    (other,) = [trial for trial in truth.trials if (trial.rays, trial.rotation) == ("right", "published")]
    harm = truth.trials[0].decibels - other.decibels
    folder = saved_with("published", tmp_path / "wrong")
    assert main(["verify-weights", str(folder), "--image", CAR]) == (1 if harm > MARGIN else 0)
    (marked,) = [line for line in capsys.readouterr().out.splitlines() if line.endswith("<- configured")]
    assert marked.split()[:4] == ["right", "published", "0", f"{other.decibels:.2f}"]


class KnowsOneObject(LGM):
    """Answers whatever it is asked with needles at random angles, whose raw quaternions have random lengths."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        random = torch.Generator().manual_seed(0)
        maps = torch.randn(1, 4, 14, 16, 16, generator=random)
        maps[:, :, :3] *= 0.2  # the position
        maps[:, :, 3] = 4.0  # opaque
        maps[:, :, 4:7] = torch.tensor([1.0, -4.0, -4.0]).view(3, 1, 1)  # 0.13 long, 0.002 thick
        # to norm each channel over all Gaussians ("published") must differ from the norm of each quaternion
        maps[:, :, 7:11] *= torch.tensor([0.3, 1.0, 1.0, 3.0]).view(4, 1, 1)
        return maps


def knows_one_object(tiny_pipe: LGMFullPipeline, rotation: str) -> LGMFullPipeline:
    lgm = KnowsOneObject(
        input_size=64, splat_size=16, rotation=rotation, down_channels=(32, 32, 32), down_attention=(False,) * 3,
        mid_attention=False, up_channels=(32,), up_attention=(False,),
    )  # fmt: skip
    return LGMFullPipeline(lgm, tiny_pipe.unet, tiny_pipe.scheduler)


@pytest.mark.parametrize("truth", ROTATIONS)
def test_the_rotation_of_the_training_is_found(tiny_pipe: LGMFullPipeline, truth: str) -> None:
    made = knows_one_object(tiny_pipe, truth).lgm.gaussians(torch.zeros(1, 4, 9, 64, 64))
    views = i3d.render(i3d.Gaussians.from_lgm(made), i3d.orbit_cameras(size=64)).permute(0, 3, 1, 2)
    for rotation in ROTATIONS:
        verdict = verify_views(knows_one_object(tiny_pipe, rotation), views)
        best = verdict.trials[0]
        assert (best.rays, best.rotation, best.yaw) == ("right", truth, 0)
        assert best.decibels > 90
        assert verdict.agrees is (rotation == truth)
        assert (f'Write "rotation": "{truth}"' in str(verdict)) is (rotation != truth)


class TrainedOnPublishedRays(LGMFullPipeline):
    """With the bundled weights, it stands for weights that want the other rays."""

    def rays(self, elevation: float = 0.0, faithful: str | None = None) -> torch.Tensor:
        return super().rays(elevation, None if faithful else "lgm-full")


def test_weights_that_want_the_published_rays(tiny_pipe: LGMFullPipeline) -> None:
    pipe = TrainedOnPublishedRays.from_pretrained("tiny")
    verdict = verify_weights(pipe, i3d.load_image(MUG), i3d.generator(0))
    best = verdict.trials[0]
    assert (best.rays, best.yaw) == ("published", 0)
    assert not verdict.agrees
    assert 'faithful="lgm-full"' in str(verdict)
    straight = verify_weights(tiny_pipe, i3d.load_image(MUG), i3d.generator(0))
    assert best.decibels == pytest.approx(straight.trials[0].decibels, abs=0.01)


def test_an_object_that_faces_away_is_found_turned(tiny_pipe: LGMFullPipeline) -> None:
    class FacesAway(LGMFullPipeline):
        """Its answer to published rays is turned about y by half, as LGM.md's net that follows directions would."""

        def rays(self, elevation: float = 0.0, faithful: str | None = None) -> torch.Tensor:
            rays = super().rays(elevation)
            return rays * rays.new_tensor([-1, 1, -1, -1, 1, -1]).view(6, 1, 1) if faithful else rays.flip(-1)

    verdict = verify_weights(FacesAway.from_pretrained("tiny"), i3d.load_image(MUG), i3d.generator(0))
    best = verdict.trials[0]
    assert (best.rays, best.yaw) == ("published", 180)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tiny", "--image", "none.png"], "there is no such file"),
        (["huge", "--image", MUG], "a model must be"),
        (["tiny", "--image", MUG, "--seed", "-1"], "seed must be"),
    ],
)
def test_what_cannot_be_verified(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-weights", *options]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert len(told.err.splitlines()) == 1


def test_one_picture_and_an_lgm_are_needed(tiny_pipe: LGMFullPipeline) -> None:
    with pytest.raises(InputError, match="got a list of 2"):
        verify_weights(tiny_pipe, [i3d.load_image(MUG)] * 2)
    with pytest.raises(InputError, match=r"views must be \[4, 3, H, W\]"):
        verify_views(tiny_pipe, torch.zeros(3, 3, 64, 64))
    with pytest.raises(InputError, match="must have an LGM"):
        verify_weights(i3d.MVDreamPipeline(tiny_pipe.unet, tiny_pipe.scheduler), i3d.load_image(MUG))  # type: ignore[arg-type]
