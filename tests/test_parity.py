"""Our networks and pipeline against recorded outputs of the published code, with weights that need no download."""

from __future__ import annotations

import functools
import json

import numpy as np
import plyfile
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from transformers import CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from image3d_nb.cameras import orbit_cameras, plucker_rays
from image3d_nb.errors import InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.models.lgm import IMAGE_MEAN, IMAGE_STD, LGM
from image3d_nb.models.mv_unet import MultiViewUNetModel, SpatialTransformer, timestep_embedding
from image3d_nb.pipelines.lgm import LGMFullPipeline, _published_turn, lgm_input
from image3d_nb.pipelines.mvdream import VIEWS_OF_LGM, camera_rows

from . import seeded
from .seeded import REFERENCE, compare, fill, names_and_shapes

TOLERANCE = 5e-5
"""Of the record's standard deviation. It catches tanh-GELU (7e-4) and GroupNorm eps 1e-6 (7e-5)."""
CONFIGS = json.loads((REFERENCE / "mini_configs.json").read_text())
MINI = np.load(REFERENCE / "mini.npz")
CAMERA = np.load(REFERENCE / "camera.npz")
RAYS = np.load(REFERENCE / "rays.npz")
DDIM = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def mini_unet(ip_dim: int) -> MultiViewUNetModel:
    return fill(MultiViewUNetModel(**CONFIGS["MINI"], ip_dim=ip_dim))


def mini_lgm() -> LGM:
    return fill(LGM(**CONFIGS["MINI_LGM"], input_size=64, splat_size=32))


def lgm_record_input() -> torch.Tensor:
    mean, std = (np.array(color, np.float32).reshape(3, 1, 1) for color in (IMAGE_MEAN, IMAGE_STD))
    images = (seeded.uniform("mini/lgm/images", (4, 3, 64, 64)) - mean) / std
    return torch.cat([torch.from_numpy(images), hub_rays(64)], 1)[None]  # [1, 4, 9, 64, 64]


def hub_rays(size: int) -> torch.Tensor:
    pipe = LGMFullPipeline.__new__(LGMFullPipeline)
    object.__setattr__(pipe, "lgm", LGM(**CONFIGS["MINI_LGM"], input_size=size, splat_size=size // 2))
    return LGMFullPipeline.rays(pipe, 0.0, "lgm-full")


def synthetic_ball(size: int) -> np.ndarray:
    """The recorded pipeline's picture, uint8 [size, size, 3]: a shaded ball of two colours with a nose, on white."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    u, v = (x + 0.5) / size * 2 - 1, (y + 0.5) / size * 2 - 1
    r2 = (u * u + v * v) / 0.49
    z = np.sqrt(np.clip(1 - r2, 0, 1))
    light = np.clip(0.35 + 0.65 * (-0.5 * u / 0.7 - 0.6 * v / 0.7 + 0.62 * z), 0, 1)
    base = np.where((v < 0)[..., None], [0.85, 0.30, 0.20], [0.20, 0.45, 0.80])
    rgb = np.where((r2 <= 1)[..., None], base * light[..., None], 1.0)
    rgb = np.where((((u - 0.15) ** 2 + (v - 0.05) ** 2) < 0.02)[..., None], [0.95, 0.8, 0.1], rgb)
    return np.floor(rgb * 255 + 0.5).astype(np.uint8)


def test_seeded_weights_are_the_recorded_ones() -> None:
    head = seeded.weight("unet.conv_in.weight", (64, 9, 3, 3)).ravel()[:4]
    np.testing.assert_allclose(head, [-0.04388146, -0.00460121, -0.06603835, 0.00591881], atol=1e-7)


@pytest.mark.parametrize(
    ("make", "listing"),
    [
        (LGM, "lgm_big.txt"),
        (lambda: LGM(up_channels=(1024, 1024, 512, 256), up_attention=(True, True, True, False), splat_size=64), None),
        (MultiViewUNetModel, "unet.txt"),
        (lambda: MultiViewUNetModel(ip_dim=0), "unet_textonly_mvdream.txt"),
    ],
    ids=["lgm-big", "lgm-small", "imagedream", "mvdream"],
)
def test_default_configuration_has_the_published_parameters(make, listing) -> None:
    with torch.device("meta"):
        found = shapes_of(make())
    assert found == names_and_shapes(listing or "lgm_small.txt")


@pytest.mark.parametrize("kind", ["image", "text"])
def test_unet(kind: str) -> None:
    ip, frames = (16, 5) if kind == "image" else (0, 4)
    unet, rows, label = mini_unet(ip), 2 * frames, f"mini/unet/{kind}"
    assert shapes_of(unet) == names_and_shapes(f"mini_unet_{kind}.txt")
    inputs = {
        "x": torch.from_numpy(seeded.draw(f"{label}/x", (rows, 4, 16, 16))),
        "timesteps": torch.full((rows,), 501.0),
        "context": torch.from_numpy(seeded.draw(f"{label}/context", (rows, 77, 64))),
        "camera": camera_rows(0.0, extra_view=bool(ip)).repeat(2, 1),
        "num_frames": frames,
    }
    if ip:
        inputs["ip"] = torch.from_numpy(seeded.draw(f"{label}/ip", (rows, 257, 1280)))
        inputs["ip_img"] = torch.from_numpy(seeded.draw(f"{label}/ip_img", (2, 4, 16, 16)))
    with torch.no_grad():
        out = unet(**inputs).numpy()
    record = MINI[f"unet_{kind}/out"]
    assert np.abs(out - record).max() / record.std() < TOLERANCE


def test_spatial_transformer_norm_has_its_own_epsilon() -> None:
    """The record cannot see it: the error would be 8e-6."""
    found = {m.norm.eps for m in mini_unet(0).modules() if isinstance(m, SpatialTransformer)}
    assert found == {1e-6}


def test_timestep_embedding() -> None:
    found = timestep_embedding(torch.tensor([1.0, 501.0, 981.0]), 320).numpy()
    np.testing.assert_allclose(found, CAMERA["timestep_embedding/1_501_981"], atol=2e-5)  # float32 angles near 981


@pytest.mark.parametrize("elevation", [0, 15])
@pytest.mark.parametrize("extra", [0, 1])
def test_camera_rows(elevation: int, extra: int) -> None:
    found = camera_rows(elevation, bool(extra)).numpy()
    np.testing.assert_allclose(found, CAMERA[f"camera/elev{elevation}/extra{extra}"], atol=1e-6)


@pytest.mark.parametrize("elevation", [0, 15])
def test_rays_of_the_training(elevation: int) -> None:
    """The record's elevation is positive for a camera below; ours is positive above."""
    found = plucker_rays(orbit_cameras(-elevation, size=256)).numpy()
    assert compare(RAYS, f"rays/lgm/elev{elevation}", found) < 1e-4
    np.testing.assert_allclose(orbit_cameras(-elevation).c2w, RAYS[f"pose/lgm/elev{elevation}"], atol=1e-6)


def test_rays_of_the_published_code() -> None:
    assert compare(RAYS, "rays/lgmfull/elev0", hub_rays(256).numpy()) < 1e-4


def test_lgm() -> None:
    lgm, x = mini_lgm(), lgm_record_input()
    assert shapes_of(lgm) == names_and_shapes("mini_lgm.txt")
    assert compare(MINI, "lgm/input_packed", x.numpy()) < 1e-4
    with torch.no_grad():
        assert compare(MINI, "lgm/raw", lgm(x)[0].numpy()) < TOLERANCE
        assert compare(MINI, "lgm/gauss_fixrot", lgm.gaussians(x).numpy()) < TOLERANCE
        published = lgm.gaussians(x, rotation="published")
    assert compare(MINI, "lgm/gauss_prefix", published.numpy()) < TOLERANCE
    assert compare(MINI, "lgm/gauss_lgmfull", _published_turn(published).numpy()) < TOLERANCE


@functools.cache
def mini_pipeline() -> LGMFullPipeline:
    """Every component of the published pipeline, small, with seeded weights."""

    def clip(kind, config, prefix):
        model = kind(config)
        return fill(model, "" if any(name.startswith(prefix) for name in model.state_dict()) else prefix)

    pipe = LGMFullPipeline(
        lgm=fill(LGM(**CONFIGS["MINI_LGM"], input_size=256, splat_size=128)),
        unet=fill(MultiViewUNetModel(**{**CONFIGS["MINI"], "image_size": 32})),
        scheduler=DDIMScheduler(**DDIM),
        vae=fill(AutoencoderKL(**CONFIGS["VAE"])),
        text_encoder=clip(CLIPTextModel, CLIPTextConfig(**CONFIGS["TE"]), "text_model."),
        image_encoder=clip(CLIPVisionModel, CLIPVisionConfig(**CONFIGS["IE"]), "vision_model."),
        feature_extractor=CLIPImageProcessor(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_three_steps_of_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents after each step, all five decoded frames, the embeddings and the final Gaussians."""
    pipe = mini_pipeline()
    empty = torch.zeros(1, 77, dtype=torch.long)
    empty[0, :2] = torch.tensor([49406, 49407])  # "" as SD 2.1's tokenizer writes it, padded with "!" = 0
    monkeypatch.setattr(pipe, "encode_prompt", lambda text: pipe.text_encoder(empty)[0])
    drawn = torch.from_numpy(MINI["pipe/image_latents"])  # the record drew it from the global random state
    monkeypatch.setattr(pipe, "encode_latents", lambda square, generator: drawn)
    after: list[torch.Tensor] = []

    def keep(_pipe, _step, _t, tensors):
        after.append(tensors["latents"])
        return {}

    picture = synthetic_ball(128).astype(np.float32) / 255
    noise = torch.from_numpy(MINI["pipe/init_latents"])
    result = pipe(
        "", picture, faithful="lgm-full", num_inference_steps=3, guidance_scale=5.0, latents=noise,
        callback_on_step_end=keep, output_type="pt",
    )  # fmt: skip
    for step in range(3):
        assert compare(MINI, f"pipe/step{step}/latents_packed", after[step].numpy()) < 2e-3
    with torch.no_grad():
        decoded = pipe.decode_latents(after[-1])
        assert compare(MINI, "pipe/image_embeds", pipe.encode_image(pipe.square(picture, False)).numpy()) < 2e-3
        both = pipe._encode_conditions([""], "", [pipe.square(picture, False)], 0.0, [None]).context  # without and with
        assert compare(MINI, "pipe/prompt_embeds", both.numpy()) < 2e-3
    assert compare(MINI, "pipe/decoded", decoded.permute(0, 2, 3, 1).numpy()) < 2e-3
    torch.testing.assert_close(result.images, decoded[list(VIEWS_OF_LGM)])
    assert compare(MINI, "pipe/gaussians_lgmfull", result.gaussians.to_lgm().numpy()) < 2e-3
    # by default the same first half; then the rays of the training, a rotation for each Gaussian, and no turn
    right = pipe("", picture, prepare=False, num_inference_steps=3, guidance_scale=5.0, latents=noise, output_type="pt")
    torch.testing.assert_close(right.images, result.images, atol=1e-5, rtol=0)
    with torch.no_grad():
        rows = pipe.lgm.gaussians(lgm_input(result.images[None], plucker_rays(orbit_cameras(size=256))))
    torch.testing.assert_close(right.gaussians.means, rows[0, :, :3], atol=1e-5, rtol=0)
    torch.testing.assert_close(right.gaussians.covariances(), Gaussians.from_lgm(rows).covariances(), atol=1e-6, rtol=0)
    assert (right.gaussians.means - result.gaussians.means).abs().max() > 0.1


def test_save_ply_of_a_raw_tensor_writes_no_other_format(tmp_path) -> None:
    with pytest.raises(InputError, match=r"\.ply"):
        LGMFullPipeline.save_ply(torch.from_numpy(MINI["ply/gaussians_in"]), tmp_path / "x.splat")
    assert not list(tmp_path.iterdir())


def test_save_ply_of_a_raw_tensor_is_the_published_table(tmp_path) -> None:
    """With the edge cases: opacity 0.005 kept, 0.00499 dropped, opacity 0 and 1, scale 0."""
    path = tmp_path / "x.ply"
    LGMFullPipeline.save_ply(torch.from_numpy(MINI["ply/gaussians_in"]), path)
    vertex = plyfile.PlyData.read(path)["vertex"]
    assert [p.name for p in vertex.properties] == MINI["ply/names"].tolist()
    found = np.stack([vertex[name] for name in MINI["ply/names"]], 1)
    np.testing.assert_allclose(found, MINI["ply/table"], atol=1e-5 * MINI["ply/table"].std())
