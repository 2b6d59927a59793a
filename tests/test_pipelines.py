"""The pipelines: what goes in, what comes out, what is refused, and folders that load again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from image3d_nb import generator, load_pipeline
from image3d_nb.errors import InputError, WeightsError
from image3d_nb.gaussians import Gaussians
from image3d_nb.pipelines.lgm import LGMFullPipeline
from image3d_nb.pipelines.mvdream import MVDreamPipeline
from image3d_nb.training.export import tiny_pipeline
from image3d_nb.training.lgm import tiny_lgm
from image3d_nb.training.views import predict_views, tiny_unet


@pytest.fixture(scope="module")
def pipe() -> LGMFullPipeline:
    """The tiny model with fresh weights: real classes, no file."""
    torch.manual_seed(0)
    made = tiny_pipeline(tiny_unet().eval(), tiny_lgm().eval())
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def many_steps(pipe: LGMFullPipeline) -> MVDreamPipeline:
    """The same first stage, allowed more than one step, with noise that enters."""
    made = MVDreamPipeline(pipe.unet, pipe.scheduler, default_steps=4, default_guidance=1.0)
    made.set_progress_bar_config(disable=True)
    return made


def test_one_picture_one_object(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    result = pipe(ball, generator=generator(0))
    assert len(result.gaussians) == 4 * pipe.lgm.config.splat_size**2
    assert [view.size for view in result.images] == [(64, 64)] * 4
    assert result.input.size == (64, 64)
    result.gaussians.validate()


@pytest.mark.parametrize("kind", ["pil", "np", "pt", "latent"])
def test_output_types(pipe: LGMFullPipeline, ball: Image.Image, kind: str) -> None:
    images = pipe(ball, output_type=kind).images
    if kind == "pil":
        assert isinstance(images[0], Image.Image)
    else:
        assert tuple(images.shape) == {"np": (4, 64, 64, 3)}.get(kind, (4, 3, 64, 64))


def test_the_task_pages_call(pipe: LGMFullPipeline, ball: Image.Image, tmp_path) -> None:
    """pipeline("", float32 array), then pipeline.save_ply(result, path): what is faint is dropped."""
    array = np.asarray(ball, np.float32) / 255
    result = pipe("", array)
    pipe.save_ply(result, tmp_path / "x.ply")
    from image3d_nb.io import load

    assert len(load(tmp_path / "x.ply")) == len(result.gaussians.prune(0.005))


def test_pipeline_is_what_training_trained(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    """DDIM in one step returns the network's prediction: one code path for both."""
    square = pipe.square(ball, prepare=False)
    views = pipe(ball, prepare=False, output_type="pt").images
    with torch.no_grad():
        direct = predict_views(pipe.unet, torch.nn.functional.interpolate(square, (64, 64), mode="area"))[0]
    torch.testing.assert_close(views, direct.clamp(0, 1), atol=1e-5, rtol=0)


def test_first_view_is_the_front(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    """The residual network starts from the picture on the front frame, and there alone."""
    torch.nn.init.zeros_(pipe.unet.out[2].weight)
    torch.nn.init.zeros_(pipe.unet.out[2].bias)
    views = pipe(ball, prepare=False, output_type="pt").images
    front = torch.nn.functional.interpolate(pipe.square(ball, prepare=False), (64, 64), mode="area")[0]
    torch.testing.assert_close(views[0], front, atol=1e-5, rtol=0)
    assert (views[1:] - 0.5).abs().max() < 1e-5
    torch.nn.init.normal_(pipe.unet.out[2].weight, std=0.02)


def test_same_seed_same_bits_other_seed_other_noise(many_steps: MVDreamPipeline, ball: Image.Image) -> None:
    torch.manual_seed(1)
    first = many_steps(ball, generator=generator(3), output_type="pt").images
    torch.manual_seed(2)  # the global state must not matter
    assert torch.equal(first, many_steps(ball, generator=generator(3), output_type="pt").images)
    assert not torch.equal(first, many_steps(ball, generator=generator(4), output_type="pt").images)


def test_callback_sees_and_changes_latents(many_steps: MVDreamPipeline, ball: Image.Image) -> None:
    seen = []

    def zero(pipeline, step, timestep, tensors):
        seen.append((pipeline, step, int(timestep), tensors["latents"].shape))
        return {"latents": torch.zeros_like(tensors["latents"])}

    images = many_steps(ball, callback_on_step_end=zero, output_type="pt").images
    assert [step for _, step, _, _ in seen] == [0, 1, 2, 3]
    assert [t for _, _, t, _ in seen] == [999, 749, 499, 249]
    assert seen[0][0] is many_steps
    assert torch.equal(images, torch.full_like(images, 0.5))


def test_interrupt_skips_the_steps_that_are_left(many_steps: MVDreamPipeline, ball: Image.Image) -> None:
    steps = []

    def stop(pipeline, step, timestep, tensors):
        steps.append(step)
        pipeline._interrupt = step == 1
        return {}

    many_steps(ball, callback_on_step_end=stop)
    assert steps == [0, 1]
    many_steps(ball, callback_on_step_end=lambda p, i, t, k: steps.append(i) or {})
    assert steps[2:] == [0, 1, 2, 3]  # the next call starts afresh


def test_lgms_first_camera_stands_level_at_every_elevation(pipe: LGMFullPipeline) -> None:
    torch.testing.assert_close(pipe.rays(30.0)[0], pipe.rays(0.0)[0], atol=1e-5, rtol=0)
    assert (pipe.rays(30.0)[1] - pipe.rays(0.0)[1]).abs().max() > 0.1


def test_faithful_rays_look_away(pipe: LGMFullPipeline) -> None:
    """At elevation 0, ray(x, y) = -ray_trained(x, H-1-y), moment and direction."""
    torch.testing.assert_close(pipe.rays(0.0, "lgm-full"), -pipe.rays(0.0).flip(-2), atol=1e-5, rtol=0)


def test_faithful_is_a_known_name_everywhere(pipe: LGMFullPipeline) -> None:
    for ask in (lambda: pipe.rays(0.0, "lgm"), lambda: pipe.reconstruct(torch.zeros(4, 3, 64, 64), faithful="lgm")):
        with pytest.raises(InputError, match="lgm-full"):
            ask()


def test_faithful_save_is_unturned(pipe: LGMFullPipeline, ball: Image.Image, tmp_path) -> None:
    from image3d_nb.io import load

    result = pipe(ball, faithful="lgm-full")
    pipe.save_ply(result, tmp_path / "a.ply", min_opacity=0)
    pipe.save_ply(result.gaussians.to_lgm(), tmp_path / "b.ply", min_opacity=0)
    ours, raw = (load(tmp_path / f"{name}.ply", convention="opengl") for name in "ab")
    torch.testing.assert_close(ours.means, raw.means)
    torch.testing.assert_close(ours.means, result.gaussians.means)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": "a mug"}, "no text encoder"),
        ({"prompt": "a long prompt is no file name " * 40}, "no text encoder"),
        ({"num_inference_steps": 51}, "at most 50"),
        ({"latents": torch.zeros(4, 3, 8, 8)}, "latents"),
    ],
)
def test_what_these_weights_cannot_use(pipe: LGMFullPipeline, ball: Image.Image, arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        pipe(**{"image": ball, **arguments})
    with pytest.raises(InputError, match="need an image"):
        pipe("a red mug")


def test_nothing_to_save(pipe: LGMFullPipeline, tmp_path) -> None:
    with pytest.raises(InputError, match="one result"):
        pipe.save_ply([1], tmp_path / "x.ply")
    with pytest.raises(InputError, match="nothing to write"):
        pipe.save_ply(Gaussians.from_lgm(torch.zeros(1, 5, 14)), tmp_path / "x.ply")
    raw = torch.rand(1, 5, 14)
    raw[0, 2, 0] = float("nan")
    with pytest.raises(InputError, match="1 of 5"):
        pipe.save_ply(raw, tmp_path / "x.ply", min_opacity=0)
    assert not list(tmp_path.iterdir())


def test_folder_round_trip(pipe: LGMFullPipeline, ball: Image.Image, tmp_path) -> None:
    pipe.save_pretrained(tmp_path / "model")
    again = LGMFullPipeline.from_pretrained(tmp_path / "model")
    again.set_progress_bar_config(disable=True)
    assert again.config.max_steps == pipe.config.max_steps
    assert torch.equal(again(ball).gaussians.means, pipe(ball).gaussians.means)
    half = load_pipeline(tmp_path / "model", dtype=torch.float16)
    assert half.lgm.dtype == torch.float16


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("model_index.json", '"LGM"', '"EvilLGM"'),
        ("model_index.json", '"MultiViewUNetModel"', "null"),
        ("model_index.json", "{", ""),
        ("lgm/config.json", '"layers_per_block": 1', '"layers_per_block": "one"'),
        ("lgm/config.json", "128", "96"),
    ],
)
def test_damaged_descriptions(pipe: LGMFullPipeline, tmp_path, file: str, old: str, new: str) -> None:
    pipe.save_pretrained(tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises((WeightsError, InputError), match=str(tmp_path)):
        load_pipeline(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(WeightsError, match=Path(file).name):
        load_pipeline(tmp_path)


def test_generator_refuses_nonsense() -> None:
    assert torch.rand(1, generator=generator(5)) == torch.rand(1, generator=generator(5))
    for seed in (-1, 1.5, "0", True):
        with pytest.raises(InputError, match="seed"):
            generator(seed)
