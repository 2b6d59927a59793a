"""The figures of a model: what is measured, on what pictures; and what the bundled model must keep to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from image3d_nb._files import data_dir
from image3d_nb.cameras import orbit_cameras
from image3d_nb.gaussians import TENSORS
from image3d_nb.images import load_image, prepare_image, sample
from image3d_nb.metrics import psnr
from image3d_nb.pipelines import generator, load_pipeline
from image3d_nb.rendering import render
from image3d_nb.training.data import ObjectViews, on_white
from image3d_nb.training.evaluate import (
    Judged,
    evaluate,
    evaluate_steps,
    filling,
    flip_averaged,
    gradient_energy,
    judge,
    photograph,
    photographed,
    score,
)
from image3d_nb.training.export import tiny_pipeline
from image3d_nb.training.foreign import foreign_pictures
from image3d_nb.training.lgm import tiny_lgm
from image3d_nb.training.objects import HELD_OUT, make_object
from image3d_nb.training.views import tiny_unet

ROWS = {"sides", "true views", "whole way", "copied front", "direct", "sides, prepared", "whole way, prepared"}


def test_score_puts_objects_together() -> None:
    rows = [
        Judged(torch.tensor([10.0, 20.0]), 0.1, 0.5, 0.3, 0.25),
        Judged(torch.tensor([30.0, 30.0]), 0.001, 0.7, 0.5, 0.75),
    ]
    found = score(rows)
    assert found.each == (15.0, 30.0)
    assert found.psnr == 22.5
    assert found.spread == pytest.approx(np.std([15, 30], ddof=1))
    assert found.pooled == pytest.approx(-10 * np.log10(0.0505))
    assert (found.ssim, found.iou, found.count) == (pytest.approx(0.6), 0.5, 2)
    assert found.sharpness == pytest.approx(0.4)
    assert found.by_family("unseen") == {"teapot": 15, "bird": 30}
    assert "22.50 dB" in str(found)
    assert "IoU" not in str(score([Judged(torch.zeros(1), 1.0, 0.0, 1.0)] * 2))


def test_families_take_turns_among_the_objects() -> None:
    rows = [Judged(torch.tensor([float(i)]), 0.1, 0.5, 0.3) for i in range(20)]
    each = score(rows).by_family("ten")
    assert list(each) == list(HELD_OUT)
    assert each["teapot"] == 5  # the objects 0 and 10
    assert each["telescope"] == 14
    assert [ObjectViews("ten").family_of(i) for i in (0, 10, 9)] == ["teapot", "teapot", "telescope"]


def test_blur_loses_sharpness() -> None:
    true = on_white(ObjectViews("test", 64)[3].images)
    soft = torch.nn.functional.avg_pool2d(true, 3, 1, 1, count_include_pad=False)
    assert gradient_energy(true.flip(-1)) == pytest.approx(gradient_energy(true))
    assert gradient_energy(soft) < 0.6 * gradient_energy(true)
    assert gradient_energy(torch.ones(3, 8, 8)) == 0


def test_flip_averaging_treats_both_sides_alike() -> None:
    """The views of a mirrored front are the mirrored views, at +x what was at -x: for any weights."""
    pipe = load_pipeline()
    front = on_white(ObjectViews("unseen", 64, vary_fill=False)[0].images)[0]
    views, mirrored = (flip_averaged(pipe, picture) for picture in (front, front.flip(-1)))
    torch.testing.assert_close(mirrored, views[[0, 3, 2, 1]].flip(-1), atol=2e-3, rtol=0)
    assert (views[1] - views[3].flip(-1)).abs().max() > 0.1  # a teapot has a spout on one side


def test_flipped_rows_are_measured_when_asked_for() -> None:
    found = evaluate(load_pipeline(), "ten", 1, novel_views=1, prepared=False, flipped=True, progress=False)
    assert found.keys() == {"sides", "true views", "whole way", "copied front", "sides, flipped", "whole way, flipped"}
    assert found["sides, flipped"].psnr == pytest.approx(found["sides"].psnr, abs=2)
    assert found["sides, flipped"].each != found["sides"].each


def test_prepare_image_gives_the_truth_that_prepared_rows_are_judged_by() -> None:
    pipe = load_pipeline()
    pairs = list(photographed(pipe, "test", 6, 1, progress=False))
    assert [picture.mode for picture, _ in pairs] == ["RGBA", "RGB"] * 3
    for picture, thing in pairs:
        seen = pipe.square(prepare_image(picture), prepare=False)
        small = torch.nn.functional.interpolate(seen, (64, 64), mode="area")[0]
        assert psnr(small, on_white(thing.images[0])) > 28


def test_an_object_that_another_view_would_cut_off_still_fills_the_front() -> None:
    data = ObjectViews("unseen", 64, vary_fill=False)
    small = next(i for i in range(20) if width(data[i].images[0, 3]) < 48)
    thing = filling(make_object(data.first_seed + small, data[small].family, vary_fill=False))
    # 0.8 of the 320 pixels that a photograph renders
    assert abs(width(torch.from_numpy(np.asarray(photograph(thing, 0))[..., 3] / 255.0)) - 256) <= 2


def width(alpha: torch.Tensor) -> int:
    rows, columns = (alpha > 0.5).nonzero(as_tuple=True)
    return int(max(rows.max() - rows.min(), columns.max() - columns.min())) + 1


def test_every_row_is_measured_and_repeats() -> None:
    pipe = load_pipeline()
    torch.manual_seed(0)
    direct = tiny_lgm().eval()
    runs = [evaluate(pipe, "test", 2, novel_views=1, direct=direct, progress=False) for _ in range(2)]
    assert runs[0].keys() == ROWS
    assert all(runs[0][name].each == runs[1][name].each for name in ROWS)
    assert runs[0]["true views"].psnr > runs[0]["direct"].psnr  # which was never trained
    assert np.isnan(runs[0]["sides"].iou)
    assert 0.5 < runs[0]["whole way"].iou <= 1


def test_steps_are_compared_where_weights_allow_them() -> None:
    torch.manual_seed(0)
    pipe = tiny_pipeline(tiny_unet().eval(), tiny_lgm().eval())
    pipe.register_to_config(max_steps=3)
    scores, variety = evaluate_steps(pipe, "test", 1, (1, 3), seeds=2, novel_views=1, progress=False)
    assert scores.keys() == {"sides, 1 step", "whole way, 1 step", "sides, 3 steps", "whole way, 3 steps"}
    assert variety["1 step"] == 0  # the gate shuts the noise out, so every seed gives the same
    assert variety["3 steps"] > 0


def test_judge_looks_from_the_new_cameras() -> None:
    sample_ = ObjectViews("test", 64, random_views=2, vary_fill=False)[0]
    made = load_pipeline().reconstruct(on_white(sample_.images[:4]))
    decibels, error, alike, sharpness, iou = judge(made, sample_)
    assert decibels.shape == (2,)
    assert float(decibels.mean()) > 14
    assert 0 < error < 0.05
    assert 0.4 < alike < 1
    assert 0.1 < sharpness < 1
    assert iou > 0.6


# ---------------------------------------------------------------- the bundled model


def test_the_same_seed_gives_the_same_gaussians_bit_by_bit() -> None:
    made = []
    for _ in range(2):
        pipe = load_pipeline()
        result = pipe(load_image(sample("mug")), generator=generator(5), output_type="pt")
        made.append((result.images, *(getattr(result.gaussians, name) for name in TENSORS)))
    assert len(made[0]) == 6
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


def test_the_bundled_model_stays_small() -> None:
    folder = Path(data_dir()) / "models" / "tiny"
    sizes = {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    assert len(sizes) > 5
    assert sum(sizes.values()) <= 30_000_000
    assert max(sizes.values()) < 16 * 2**20


@pytest.mark.parametrize("name", list(foreign_pictures()))
def test_pictures_that_the_generator_did_not_make_give_sensible_objects(name: str) -> None:
    pipe = load_pipeline()
    result = pipe(foreign_pictures()[name], generator=generator(0), output_type="pt")
    cameras = orbit_cameras(0.0, (0.0, 90.0, 180.0, 270.0), size=64)
    rgb, alpha = render(result.gaussians, cameras, return_alpha=True)
    seen = torch.from_numpy(np.asarray(result.input.resize((64, 64)), np.float32) / 255).permute(2, 0, 1)
    assert psnr(rgb[0].permute(2, 0, 1), seen) > 17
    covered = (alpha > 0.5).float().mean((1, 2))  # of each view
    assert ((covered > 0.4 * covered[0]) & (covered < 2.5 * covered[0])).all(), covered
    assert covered[0] > 0.15
