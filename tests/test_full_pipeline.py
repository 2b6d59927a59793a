"""Every component of the published pipeline, small: batches, solvers, callbacks, candidates, and little memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from diffusers.callbacks import SDCFGCutoffCallback
from PIL import Image
from torch.nn.modules.module import register_module_forward_pre_hook

from image3d_nb import generator
from image3d_nb.cameras import Cameras, orbit_cameras
from image3d_nb.errors import InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.metrics import view_consistency
from image3d_nb.models.mv_unet import MultiViewUNetModel
from image3d_nb.pipelines.lgm import LGMFullPipeline, LGMFullPipelineListOutput, lgm_input
from image3d_nb.pipelines.mvdream import MVDreamPipeline
from image3d_nb.rendering import render

from .seeded import fill
from .small import Calls, small_pipeline
from .test_parity import CONFIGS, synthetic_ball


@pytest.fixture
def pipe() -> Iterator[LGMFullPipeline]:
    made = small_pipeline()
    scheduler = made.scheduler
    yield made
    made.scheduler = scheduler


@pytest.fixture(scope="module")
def upside_down(ball: Image.Image) -> Image.Image:
    return ball.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


SOLVERS = {
    "DDIM": DDIMScheduler,
    "DPM-Solver++": DPMSolverMultistepScheduler,
    "UniPC": UniPCMultistepScheduler,
    "stochastic": lambda: None,
}


def solver(name: str, pipe: LGMFullPipeline) -> Any:
    if name == "stochastic":  # draws noise at every step
        return DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, algorithm_type="sde-dpmsolver++")
    return SOLVERS[name].from_config(pipe.scheduler.config)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_batch_is_what_its_parts_are(pipe: LGMFullPipeline, ball, upside_down, name: str) -> None:
    pipe.scheduler = solver(name, pipe)
    settings = {"num_inference_steps": 3, "output_type": "latent"}
    with Calls(pipe.unet) as rows:
        both = pipe([ball, upside_down], generator=[generator(1), generator(2)], **settings)
    assert rows == [20, 20, 20]  # 2 objects, with and without the picture, 5 frames: in one go
    for k, picture in enumerate((ball, upside_down)):
        one = pipe(picture, generator=generator(k + 1), **settings)
        torch.testing.assert_close(both.images[k], one.images, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(both.gaussians[k].means, one.gaussians.means, atol=2e-4, rtol=1e-3)
    assert (both.images[0] - both.images[1]).abs().max() > 0.1


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "stochastic"])
def test_every_solver_finds_what_is_known(pipe: LGMFullPipeline, ball, monkeypatch, name: str) -> None:
    """Where the network sees no noise at all, the start is the picture itself, scaled."""
    monkeypatch.setattr(pipe.unet.out[2], "forward", lambda h: h[:, :4] * 0)
    pipe.scheduler = solver(name, pipe)
    noise = torch.randn(5, 4, 8, 8, generator=generator(0))
    found = pipe(ball, num_inference_steps=7, latents=noise, output_type="latent").images
    assert len(pipe.scheduler.timesteps) == pipe.num_timesteps == 7
    signal = pipe.scheduler.alphas_cumprod[int(pipe.scheduler.timesteps[0])].sqrt()
    torch.testing.assert_close(found, noise / signal, rtol=2e-3, atol=1e-3)


def test_keys_and_values_once_for_all_steps(pipe: LGMFullPipeline) -> None:
    """A precomputed context per object gives the same as one per row at every step."""
    draw = torch.Generator().manual_seed(0)
    x, context, ip, picture = (
        torch.randn(shape, generator=draw) for shape in ((10, 4, 8, 8), (2, 77, 64), (2, 257, 1280), (2, 4, 8, 8))
    )
    given = {"timesteps": torch.full((10,), 501.0), "camera": torch.randn(10, 16), "num_frames": 5, "ip_img": picture}
    with torch.no_grad():
        every = pipe.unet(x=x, context=context.repeat_interleave(5, 0), ip=ip.repeat_interleave(5, 0), **given)
        once = pipe.unet(x=x, context=pipe.unet.precompute_kv(context, ip), **given)
        with pytest.warns(DeprecationWarning, match="precompute_kv"):
            pipe.unet.look_at(context, ip)
    torch.testing.assert_close(once, every, atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="ip must be given"):
        pipe.unet(x=x, context=context.repeat_interleave(5, 0), **given)


def test_nothing_is_done_twice(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    pipe._empty_prompt = None
    parts = (pipe.unet.image_embed, pipe.text_encoder, pipe.image_encoder, pipe.vae.decoder)
    counters = [Calls(part) for part in parts]
    for _ in range(2):
        pipe(ball, num_inference_steps=3, generator=generator(0))
    resampler, text, picture, decoder = (counter.rows for counter in counters)
    for counter in counters:
        counter.hook.remove()
    assert resampler == [2, 2]  # once a call, not once a step
    assert text == [1]  # the empty prompt, with and without guidance, in both calls
    assert picture == [1, 1]
    assert decoder == [4, 4]  # the fifth frame is not decoded


def test_several_seeds_for_one_image(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    several = pipe(ball, generator=[generator(5), generator(6)], output_type="pt")
    assert isinstance(several, LGMFullPipelineListOutput)
    assert len(several.gaussians) == len(several.images) == len(several.input) == 2
    one = pipe(ball, generator=generator(6), output_type="pt")
    torch.testing.assert_close(several.images[1], one.images, atol=2e-4, rtol=0)


def test_candidates_best_first(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    result = pipe(ball, num_candidates=3, generator=generator(0), output_type="pt")
    scores = [each.score for each in result.candidates]
    assert scores == sorted(scores, reverse=True)
    assert len({each.seed for each in result.candidates}) == 3
    assert result.gaussians is result.candidates[0].gaussians
    assert result.images is result.candidates[0].images
    for each in result.candidates:
        assert each.score == pytest.approx(view_consistency(each.gaussians, each.images), abs=1e-3)
    last = result.candidates[-1]
    alone = pipe(ball, generator=generator(last.seed), output_type="pt")
    torch.testing.assert_close(alone.images, last.images, atol=2e-4, rtol=0)
    again = pipe(ball, num_candidates=3, generator=generator(0))
    assert [each.seed for each in again.candidates] == [each.seed for each in result.candidates]


def test_candidates_of_a_list(pipe: LGMFullPipeline, ball, upside_down) -> None:
    random = [generator(0), generator(1)]
    found = pipe([ball, upside_down], num_candidates=2, generator=random, num_inference_steps=1, return_dict=False)
    gaussians, images, seen, faithful, candidates = found
    assert len(gaussians) == len(images) == len(seen) == 2
    assert faithful is None
    assert [len(each) for each in candidates] == [2, 2]
    assert seen[0].tobytes() != seen[1].tobytes()
    assert pipe(ball, num_inference_steps=1).candidates is None


def test_view_consistency_knows_the_object_again() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.rand(1, 200, 14, generator=draw) * torch.tensor([0.8] * 3 + [1.0] + [0.1] * 3 + [1.0] * 7)
    made = Gaussians.from_lgm(rows - torch.tensor([0.4] * 3 + [0.0] * 11))
    cameras = orbit_cameras(20.0, size=64)
    views = render(made, cameras).permute(0, 3, 1, 2)
    assert view_consistency(made, views, cameras) > 90
    assert view_consistency(made, views.flip(-1), cameras) < view_consistency(made, views, cameras) - 20
    with pytest.raises(InputError, match="one shape"):
        view_consistency(made, views[:3], cameras)


def test_an_object_seen_from_above_stands_upright(pipe: LGMFullPipeline) -> None:
    """Turned back by C_0's rotation, it looks from (e, az_k) as LGM's answer looks from T(0, 0, r) C_0^-1 C_k."""
    views = torch.rand(4, 3, 64, 64, generator=generator(0))
    with torch.no_grad():
        raw = pipe.lgm.gaussians(lgm_input(views[None], pipe.rays(25.0)))
    orbit = orbit_cameras(25.0, size=64)
    home = torch.eye(4)
    home[2, 3] = 1.5
    moved = Cameras.from_c2w(home @ torch.linalg.inv(orbit.c2w[0]) @ orbit.c2w, width=64, height=64)
    made, answer = pipe.reconstruct(views, elevation=25.0), Gaussians.from_lgm(raw)
    for here, there in zip(orbit.viewmats, moved.viewmats, strict=True):  # the same before every camera
        torch.testing.assert_close(made.transform(here).means, answer.transform(there).means, atol=1e-5, rtol=0)
        found, wanted = (x.transform(view).covariances() for x, view in ((made, here), (answer, there)))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_guidance_can_end_early(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    """diffusers' own callback: it sets the scale to 0 and hands back half of the prompt's rows."""
    cut = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=1)
    with Calls(pipe.unet) as rows:
        pipe(ball, num_inference_steps=4, callback_on_step_end=cut, generator=generator(0))
    assert rows == [10, 10, 5, 5]
    assert pipe(ball, num_inference_steps=1).gaussians is not None
    assert pipe.guidance_scale == 5.0  # the next call has its own


def test_callbacks_get_and_change_what_they_ask_for(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    seen: list[dict[str, Any]] = []

    def keep(_pipe, _step, _t, tensors):
        seen.append(tensors)
        return {}

    def forget(_pipe, _step, _t, tensors):
        return {"image_latents": torch.zeros_like(tensors["image_latents"])}

    names = ["latents", "prompt_embeds", "image_latents"]
    call = {"num_inference_steps": 2, "output_type": "latent", "callback_on_step_end_tensor_inputs": names}
    plain = pipe(ball, generator=generator(0), callback_on_step_end=keep, **call).images
    shapes = {name: tuple(tensor.shape) for name, tensor in seen[0].items()}
    assert shapes == {"latents": (5, 4, 8, 8), "prompt_embeds": (2, 77, 64), "image_latents": (2, 4, 8, 8)}
    changed = pipe(ball, generator=generator(0), callback_on_step_end=forget, **call).images
    assert (plain - changed).abs().max() > 1e-3


def test_negative_prompt_and_elevation_change_the_views(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    def views(**words: Any) -> torch.Tensor:
        return pipe(image=ball, generator=generator(0), output_type="latent", **words).images

    plain = views()
    assert (plain - views(negative_prompt="ugly")).abs().max() > 1e-4
    assert (plain - views(prompt="a mug")).abs().max() > 1e-4
    assert (plain - views(elevation=20.0)).abs().max() > 1e-4
    torch.testing.assert_close(plain, views(prompt=""), atol=1e-5, rtol=0)


def test_a_prompt_that_is_too_long_is_cut_with_a_warning(pipe: LGMFullPipeline) -> None:
    most = pipe.tokenizer.model_max_length
    with pytest.warns(UserWarning, match=f"after {most} tokens"):
        long = pipe.encode_prompt("a " * most)
    assert torch.equal(long, pipe.encode_prompt("a " * (most - 2)))  # between the start's token and the end's


def test_prompts_in_a_list(pipe: LGMFullPipeline) -> None:
    unet = fill(MultiViewUNetModel(**{**CONFIGS["MINI"], "image_size": 8}, ip_dim=0))
    text = MVDreamPipeline(unet, pipe.scheduler, pipe.vae, pipe.tokenizer, pipe.text_encoder, default_steps=2)
    text.set_progress_bar_config(disable=True)
    both = text(["a mug", "a hat"], generator=[generator(0), generator(1)], output_type="pt").images
    hat = text("a hat", generator=generator(1), output_type="pt")
    assert hat.images.shape == (4, 3, 64, 64)
    assert hat.input is None
    torch.testing.assert_close(both[1], hat.images, atol=2e-4, rtol=0)
    assert (both[0] - both[1]).abs().max() > 1e-3
    assert not torch.equal(hat.images, text("a hat", generator=generator(1), guidance_scale=1, output_type="pt").images)
    with pytest.raises(InputError, match="text only"):
        text("a hat", Image.new("RGB", (64, 64)))


def test_every_kind_of_picture_is_one_picture(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    array = np.asarray(ball)
    same = [ball, array, array.astype(np.float32) / 255, array / 255.0, ball.convert("RGBA"), ball.quantize(256)]
    grey = np.asarray(ball.convert("L"))
    wide = grey.astype(np.uint16) * 257
    greys = [Image.fromarray(grey), grey, Image.fromarray(wide), wide, np.repeat(grey[..., None], 3, 2)]
    for group in (same, greys):
        squares = torch.cat([pipe.square(picture) for picture in group])
        assert (squares - squares[:1]).abs().mean() < 0.01  # a palette of 256 is not exact
        assert torch.equal(squares[0], squares[1])
    assert pipe(wide, num_inference_steps=1, output_type="np").images.shape == (4, 64, 64, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image": None}, "neither"),
        ({"image": "mug.png"}, "load_image"),
        ({"prompt": __file__}, "load_image"),
        ({"prompt": 3.5}, "prompt"),
        ({"image": []}, "at least one"),
        ({"image": np.zeros((64, 32, 3), np.uint8), "prepare": False}, "square"),
        ({"image": np.full((64, 64, 3), 7.0)}, r"\[0, 1\]"),
        ({"image": np.zeros((64, 64, 5), np.uint8)}, "5"),
        ({"num_inference_steps": 0}, "at least 1"),
        ({"output_type": "jpg"}, "output_type"),
        ({"faithful": "exactly"}, "faithful"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"callback_on_step_end_tensor_inputs": ["x"]}, "'x'"),
        ({"image": Image.new("RGB", (1, 1))}, "at least 2 x 2"),
        ({"image": Image.new("RGBA", (64, 64))}, "background"),
        ({"image": Image.new("RGBA", (64, 64)), "prepare": False}, "transparent"),
        ({"image": [synthetic_ball(64), np.full((64, 64, 3), np.nan)]}, "NaN"),
        ({"image": np.zeros((3, 64, 64), np.uint8)}, "channels last"),
        ({"elevation": 91}, "elevation"),
        ({"elevation": float("nan")}, "elevation"),
        ({"guidance_scale": "5"}, "guidance_scale"),
        ({"num_inference_steps": 2.5}, "num_inference_steps"),
        ({"negative_prompt": None}, "negative_prompt must be a str"),
        ({"generator": 3}, "torch.Generator"),
        ({"generator": []}, "at least one"),
        ({"image": [synthetic_ball(64)] * 2, "generator": [generator(0)] * 3}, "one for each of the 2"),
        ({"latents": torch.zeros(4, 4, 8, 8)}, "latents"),
        ({"latents": torch.full((5, 4, 8, 8), float("nan"))}, "finite"),
        ({"num_candidates": 0}, "num_candidates"),
        ({"num_candidates": 2, "faithful": "lgm-full"}, "num_candidates"),
        ({"callback_on_step_end": 3}, "callable"),
    ],
)
def test_bad_input_is_refused_before_any_network_runs(pipe: LGMFullPipeline, arguments: dict, words: str) -> None:
    def fail(module: torch.nn.Module, _inputs: Any) -> None:
        raise AssertionError(f"{type(module).__name__} ran")

    hook = register_module_forward_pre_hook(fail)
    try:
        with pytest.raises(InputError, match=words):
            pipe(**{"image": synthetic_ball(64), **arguments})
    finally:
        hook.remove()


def test_views_to_reconstruct_are_checked(pipe: LGMFullPipeline) -> None:
    bad = [torch.full((4, 3, 64, 64), value) for value in (2.0, float("nan"))]
    for views in (np.zeros((4, 3, 64, 64)), torch.zeros(3, 3, 64, 64), *bad):
        with pytest.raises(InputError, match=r"\[0, 1\]"):
            pipe.reconstruct(views)


def test_faithful_draws_the_pictures_latent_globally(pipe: LGMFullPipeline, ball: Image.Image) -> None:
    def latents(seed: int, faithful: str | None) -> torch.Tensor:
        torch.manual_seed(seed)
        return pipe(ball, generator=generator(0), faithful=faithful, prepare=False, output_type="latent").images

    assert torch.equal(latents(1, None), latents(2, None))
    assert torch.equal(latents(1, "lgm-full"), latents(1, "lgm-full"))
    assert not torch.equal(latents(1, "lgm-full"), latents(2, "lgm-full"))
