"""One image straight to an object: TripoSR, Splatter Image and Shap-E as pipelines, with mini and tiny networks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import HeunDiscreteScheduler, PriorTransformer
from diffusers.pipelines.shap_e import ShapERenderer
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from image3d_nb import generator, load_image, load_pipeline, mesh_report, orbit_cameras, render, sample
from image3d_nb.errors import Cancelled, ImageError, InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.mesh import Mesh
from image3d_nb.meshing.field import closed_surface, sample_field
from image3d_nb.pipelines.shap_e import ShapEPipeline
from image3d_nb.pipelines.single_image import ObjectOutput, SingleImagePipeline, as_tensor, object_square
from image3d_nb.pipelines.splatter_image import SplatterImagePipeline
from image3d_nb.pipelines.triposr import TO_OURS, TripoSRPipeline

from .mini_models import mini_splatter, mini_triposr
from .test_single_image_models import SPLATTER, TRIPOSR, error

RESOLUTION = 32  # of the mini TripoSR's grid, whose surface is noise


@pytest.fixture(scope="module")
def triposr() -> TripoSRPipeline:
    pipe = TripoSRPipeline(mini_triposr())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def splatter() -> SplatterImagePipeline:
    pipe = SplatterImagePipeline(mini_splatter())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def shap_e() -> ShapEPipeline:
    """Every component of Shap-E, tiny and random; the latent gives the weights of a field with a surface."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, image_size=32, projection_dim=16, intermediate_size=24, num_attention_heads=1,
        num_hidden_layers=2, patch_size=16,
    )  # fmt: skip
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, embedding_dim=8, num_embeddings=32, embedding_proj_dim=16,
        time_embed_dim=32, num_layers=1, clip_embed_dim=16, additional_embeddings=0, time_embed_act_fn="gelu",
        norm_in_type="layer", embedding_proj_norm_type="layer", encoder_hid_proj_type=None, added_emb_type=None,
    )  # fmt: skip
    renderer = ShapERenderer(
        param_shapes=((8, 93), (8, 8), (8, 8), (8, 8)), d_latent=8, d_hidden=8, n_output=12, n_hidden_layers=6
    )
    with torch.no_grad():
        renderer.mlp.mlp[-1].bias[0] = 0.1
    pipe = ShapEPipeline(
        prior.eval(), CLIPVisionModel(vision).eval(), CLIPImageProcessor(size=32, crop_size=32),
        HeunDiscreteScheduler(beta_schedule="exp", num_train_timesteps=1024, prediction_type="sample"),
        renderer.eval(), default_steps=2,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def mug() -> Image.Image:
    return load_image(sample("mug"))


def picture() -> np.ndarray:
    """The image of the record: an ellipse with a soft edge, and colours also where alpha is 0; [97, 141, 4] uint8."""
    y, x = np.mgrid[0:97, 0:141].astype(np.float64)
    alpha = np.clip((1.06 - np.hypot((x - 60) / 31, (y - 55) / 37)) / 0.12, 0, 1)
    rgb = [0.5 + 0.5 * np.sin(x / 9), 0.5 + 0.5 * np.cos(y / 7), (x + y) / 238]
    return np.floor(np.stack([*rgb, alpha], -1) * 255 + 0.5).astype(np.uint8)


def is_whole(mesh: Mesh) -> bool:
    """Closed, wound consistently and outward, with colours in range."""
    report = mesh_report(mesh)
    assert mesh.vertex_colors is not None
    assert 0 <= mesh.vertex_colors.min() <= mesh.vertex_colors.max() <= 1
    return report.watertight and report.volume > 0


# ------------------------------------------------------------ preparation


@pytest.mark.parametrize("ratio", [0.85, 0.7])
def test_squares_of_triposr(ratio: float) -> None:
    record = TRIPOSR[f"prep/{ratio}"]
    found = object_square(picture(), ratio, 0.5)
    assert found.shape == record.shape
    assert np.abs(found.astype(int) - record).max() <= 1
    assert (found == record).mean() > 0.98


@pytest.mark.parametrize("ratio", [0.65, 0.9])
def test_squares_of_splatter_image(ratio: float) -> None:
    record = SPLATTER[f"prep/{ratio}"]
    square = Image.fromarray(object_square(picture(), ratio, 1.0))
    found = np.asarray(square.resize((128, 128), Image.Resampling.LANCZOS))
    assert np.abs(found.astype(int) - record).max() <= 1
    assert (found == record).mean() > 0.98


@pytest.mark.parametrize("size", [64, 160])
def test_triposrs_resize(size: int) -> None:
    square = as_tensor(Image.fromarray(TRIPOSR["prep/0.85"]))
    found = torch.nn.functional.interpolate(square, (size, size), mode="bilinear", align_corners=False, antialias=True)
    assert error(found, TRIPOSR[f"resize/{size}"]) < 5e-5


def test_an_image_is_cut_out_and_put_on_the_models_ground(
    triposr: TripoSRPipeline, splatter: SplatterImagePipeline, mug: Image.Image
) -> None:
    for pipe, grey, ratio in ((triposr, 127, 0.85), (splatter, 255, 0.65)):
        seen = np.asarray(pipe.square(mug)).astype(int)
        assert seen[0, 0].tolist() == [grey] * 3
        rows, columns = np.nonzero((np.abs(seen - grey) > 3).any(-1))
        assert abs(max(np.ptp(rows), np.ptp(columns)) / len(seen) - ratio) < 0.03
    half = Image.new("RGBA", (64, 64), (255, 0, 0, 128))
    assert np.asarray(triposr.square(half, prepare=False))[0, 0].tolist() == [191, 63, 63]  # on grey


# ------------------------------------------------------------ the surface


def torus(count: int, tube: float = 0.15) -> Callable[[torch.Tensor], torch.Tensor]:
    line = torch.linspace(-0.87, 0.87, count)

    def density(index: torch.Tensor) -> torch.Tensor:
        x, y, z = line[index // count**2], line[index // count % count], line[index % count]
        return 25 * torch.exp(20 * (tube - torch.hypot(torch.hypot(x, y) - 0.45, z)))

    return density


@pytest.mark.parametrize("count", [96, 129, 200])
def test_near_the_surface_is_all_that_counts(count: int) -> None:
    """The mesh is the full grid's, bit for bit, and few points are evaluated."""
    asked = []

    def counted(index: torch.Tensor) -> torch.Tensor:
        asked.append(len(index))
        return torus(count)(index)

    near = closed_surface(sample_field(counted, count, 25.0, coarse=32), 25.0, 0.87)
    full = closed_surface(sample_field(torus(count), count, 25.0, exact=True), 25.0, 0.87)
    for found, wanted in zip(near, full, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert sum(asked) < 0.25 * count**3
    assert is_whole(Mesh(*near, vertex_colors=np.zeros_like(near[0])))
    volume = np.linalg.det(near[0][near[1]]).sum() / 6
    assert abs(volume / (2 * np.pi**2 * 0.45 * 0.15**2) - 1) < 0.01


def test_a_surface_is_followed_where_the_coarse_grid_does_not_see_it() -> None:
    """A thread thinner than a coarse cube hangs on a ball: the ball is found, and the thread is complete."""
    count, line = 128, torch.linspace(-1, 1, 128)

    def field(index: torch.Tensor) -> torch.Tensor:
        x, y, z = line[index // count**2], line[index // count % count], line[index % count]
        ball = 0.3 - torch.sqrt((x + 0.4) ** 2 + y**2 + z**2)
        thread = torch.minimum(0.02 - torch.hypot(y - 0.03, z - 0.03), 0.8 - x.abs())
        return torch.maximum(ball, thread)

    near = closed_surface(sample_field(field, count, 0.0, coarse=16), 0.0, 1.0)
    full = closed_surface(sample_field(field, count, 0.0, exact=True), 0.0, 1.0)
    assert near[0][:, 0].max() > 0.7
    np.testing.assert_array_equal(near[0], full[0])


def test_triposrs_record_of_a_surface() -> None:
    """Vertices of the published code (as a set), the volume, and the winding."""
    line = np.linspace(-0.87, 0.87, 24)
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    blob = 90 * np.exp(-((x / 0.5) ** 2 + (y / 0.33) ** 2 + (z / 0.22) ** 2))
    blob += 70 * np.exp(-(((x - 0.42) / 0.2) ** 2 + ((y + 0.05) / 0.2) ** 2 + ((z - 0.25) / 0.25) ** 2))
    blob += 60 * np.exp(-(((x + 0.1) / 0.2) ** 2 + ((y - 0.4) / 0.22) ** 2 + ((z + 0.1) / 0.2) ** 2))
    vertices, faces = closed_surface(blob.astype(np.float32), 25.0, 0.87)
    record = TRIPOSR["mesh/vertices"]
    apart = np.linalg.norm(vertices[:, None] - record[None], axis=-1)
    assert max(apart.min(0).max(), apart.min(1).max()) < 1e-4
    volume = np.linalg.det(vertices[faces]).sum() / 6
    assert abs(volume - abs(float(TRIPOSR["mesh/volume"]))) < 1e-3 * volume


def test_a_surface_at_the_border_is_closed_there() -> None:
    everywhere = np.full((9, 9, 9), 30, np.float32)
    vertices, faces = closed_surface(everywhere, 25.0, 0.5)
    assert abs(np.linalg.det(vertices[faces]).sum() / 6 - 1) < 1e-6
    assert is_whole(Mesh(vertices, faces, vertex_colors=np.zeros_like(vertices)))
    with pytest.raises(InputError, match="25"):
        closed_surface(np.zeros((9, 9, 9), np.float32), 25.0, 0.5)
    with pytest.raises(InputError, match="NaN"):
        sample_field(lambda index: index * torch.nan, 9, 0.0)


@torch.no_grad()
def test_densities_on_a_grid_are_those_of_queries() -> None:
    network, count = mini_triposr(), 20
    triplane = torch.from_numpy(TRIPOSR["triplane"])[0]
    line = torch.linspace(-1, 1, count) * network.config.radius
    density, _ = network.query(triplane, torch.cartesian_prod(line, line, line))
    found = network.on_grid(triplane, count)(torch.arange(count**3))
    assert error(found.log(), density.log().numpy()) < 1e-5


# ------------------------------------------------------------ the pipelines


def test_triposr_makes_a_closed_mesh_in_our_axes(triposr: TripoSRPipeline, mug: Image.Image) -> None:
    result = triposr(mug, generator=generator(0), resolution=RESOLUTION, exact=True)
    assert isinstance(result, ObjectOutput)
    assert result.native == "mesh"
    assert is_whole(result.mesh)
    network = triposr.network
    triplane = triposr.encode(result.input)
    _, colors = network.query(triplane, torch.from_numpy(result.mesh.vertices[:, [2, 0, 1]].copy()))  # its x is our z
    np.testing.assert_allclose(result.mesh.vertex_colors, colors.detach(), atol=1e-4)
    assert TO_OURS == (1, 2, 0)
    assert isinstance(result.gaussians, Gaussians)
    assert result.gaussians is result.gaussians


def test_splatter_image_makes_gaussians_in_our_axes(splatter: SplatterImagePipeline, mug: Image.Image) -> None:
    result = splatter(mug)
    size, config = splatter.network.config.image_size, splatter.network.config
    assert result.native == "gaussians"
    assert len(result.gaussians) == size * size
    result.gaussians.validate()
    pixels = as_tensor(result.input.resize((size, size), Image.Resampling.LANCZOS))
    with torch.no_grad():
        (own,) = splatter.network.gaussians(pixels)
    front = orbit_cameras(0.0, 0.0, radius=splatter.config.distance, fovy=config.fovy, size=size)
    seen = result.gaussians.means @ front.viewmats[0, :3, :3].T + front.viewmats[0, :3, 3]
    torch.testing.assert_close(seen, own.means, atol=1e-5, rtol=1e-5)  # the camera's own space
    assert isinstance(result.mesh, Mesh)
    assert result.mesh is result.mesh


def test_refine_sharpens_splatter_images_front(splatter: SplatterImagePipeline, mug: Image.Image) -> None:
    made = splatter(mug, refine=True)
    square = made.input.resize((128, 128), Image.Resampling.LANCZOS)
    wanted = torch.from_numpy(np.asarray(square, np.float32) / 255)
    front = orbit_cameras(0.0, 0.0, radius=splatter.config.distance, fovy=splatter.network.config.fovy, size=128)
    before, after = (render(each, front)[0] for each in (splatter(mug).gaussians, made.gaussians))
    assert (after - wanted).square().mean() < 0.6 * (before - wanted).square().mean()


def test_shap_e_makes_a_closed_mesh(shap_e: ShapEPipeline, mug: Image.Image) -> None:
    one, same, other = (shap_e(mug, generator=generator(seed), resolution=24, exact=True) for seed in (0, 0, 1))
    assert is_whole(one.mesh)
    np.testing.assert_array_equal(one.mesh.vertices, same.mesh.vertices)
    assert not np.array_equal(one.mesh.vertex_colors, other.mesh.vertex_colors)
    assert isinstance(one.gaussians, Gaussians)


def test_shap_es_colours_are_the_renderers_at_the_vertices(shap_e: ShapEPipeline) -> None:
    """diffusers' own renderer, given the same latent, has these colours there; its z is up, and its front is -y."""
    renderer = shap_e.shap_e_renderer
    mesh = shap_e.extract(torch.randn(1, 32, 8, generator=generator(1)), resolution=16, exact=True)
    own = torch.from_numpy(mesh.vertices[:, [0, 2, 1]] * np.float32([1, -1, 1]))  # (x, -z, y)
    with torch.no_grad():
        made = renderer.mlp(position=own[None], direction=None, ts=None, nerf_level="fine", rendering_mode="stf")
    np.testing.assert_allclose(mesh.vertex_colors, made.channels[0].clamp(0, 1), atol=1e-5)
    assert mesh.vertex_colors.std(0).max() > 0.01


@pytest.fixture(params=["triposr", "splatter", "shap_e"])
def pipe(request: pytest.FixtureRequest) -> SingleImagePipeline:
    return request.getfixturevalue(request.param)


def options(pipe: SingleImagePipeline) -> dict[str, Any]:
    return {} if isinstance(pipe, SplatterImagePipeline) else {"resolution": 16, "exact": True}


def same(one: Mesh | Gaussians, other: Mesh | Gaussians) -> bool:
    if isinstance(one, Mesh) and isinstance(other, Mesh):
        return np.array_equal(one.vertices, other.vertices) and np.array_equal(one.faces, other.faces)
    return torch.equal(one.means, other.means)


def test_lists(pipe: SingleImagePipeline, mug: Image.Image) -> None:
    duck = load_image(sample("duck"))
    both = pipe([mug, duck], generator=[generator(0), generator(1)], **options(pipe))
    assert len(both) == len(both.input) == 2
    made = getattr(both, pipe.native)
    for image, seed, each in ((mug, 0, made[0]), (duck, 1, made[1])):
        assert same(each, getattr(pipe(image, generator=generator(seed), **options(pipe)), pipe.native))
    assert both[0].native == pipe.native
    native, seen = pipe(mug, generator=generator(0), return_dict=False, **options(pipe))
    assert same(native, made[0])
    assert seen.size == both.input[0].size


def test_progress_and_cancelling(pipe: SingleImagePipeline, mug: Image.Image) -> None:
    steps: list[tuple[str, int, int]] = []
    pipe(mug, generator=generator(0), on_step=lambda *step: steps.append(step), **options(pipe))
    stages = list(dict.fromkeys(stage for stage, _, _ in steps))
    assert stages == ["network"] + ["surface", "colors"] * (pipe.native == "mesh")
    network = [(done, total) for stage, done, total in steps if stage == "network"]
    assert network == [(done, network[0][1]) for done in range(network[0][1] + 1)]
    calls = threading.Semaphore(3)
    with pytest.raises(Cancelled):
        pipe(mug, cancelled=lambda: not calls.acquire(blocking=False), **options(pipe))
    assert same(*(getattr(pipe(mug, generator=generator(0), **options(pipe)), pipe.native) for _ in range(2)))


@pytest.mark.parametrize(
    ("wrong", "kind", "word"),
    [
        ({"image": "mug.png"}, InputError, "load_image"),
        ({"image": "a red mug"}, InputError, "MVDream"),
        ({"image": __file__}, InputError, "load_image"),
        ({"image": None}, InputError, "image"),
        ({"image": []}, InputError, "empty"),
        ({"image": np.zeros((4, 4, 7))}, ImageError, r"\(4, 4, 7\)"),
        ({"image": Image.new("RGB", (64, 64), "white")}, ImageError, "object"),
        ({"image": Image.new("RGBA", (64, 64))}, ImageError, "object"),
        ({"image": Image.new("RGBA", (64, 64)), "prepare": False}, ImageError, "transparent"),
        ({"image": Image.new("RGB", (64, 32)), "prepare": False}, InputError, "64 x 32"),
        ({"generator": 3}, InputError, "Generator"),
        ({"generator": []}, InputError, "empty"),
        ({"background": "magic"}, InputError, "magic"),
        ({"on_step": 1}, InputError, "on_step"),
        ({"cancelled": True}, InputError, "cancelled"),
    ],
)
def test_bad_input(
    pipe: SingleImagePipeline, mug: Image.Image, wrong: dict[str, Any], kind: type[Exception], word: str
) -> None:
    with pytest.raises(kind, match=word):
        pipe(**{"image": mug} | wrong)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"resolution": 4}, "4"), ({"resolution": 64.0}, "resolution"), ({"threshold": -1.0}, "threshold"),
        ({"threshold": float("nan")}, "nan"), ({"threshold": 1e30, "resolution": 16}, "1e\\+30"),
    ],
)  # fmt: skip
def test_bad_settings_of_triposr(triposr: TripoSRPipeline, mug: Image.Image, wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        triposr(mug, **wrong)


def test_bad_settings_of_others(splatter: SplatterImagePipeline, shap_e: ShapEPipeline, mug: Image.Image) -> None:
    with pytest.raises(InputError, match="refine"):
        splatter(mug, refine="yes")
    with pytest.raises(InputError, match="num_inference_steps"):
        shap_e(mug, num_inference_steps=0)
    with pytest.raises(InputError, match="guidance_scale"):
        shap_e(mug, guidance_scale=float("inf"))


def test_saved_folders_load_again(pipe: SingleImagePipeline, mug: Image.Image, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    again = load_pipeline(tmp_path, dtype=torch.float32)
    again.set_progress_bar_config(disable=True)
    assert type(again) is type(pipe)
    assert again.source == {"model": str(tmp_path)}
    before, after = (getattr(each(mug, generator=generator(0), **options(pipe)), pipe.native) for each in (pipe, again))
    assert same(before, after)
    assert "image-to-3d" in (tmp_path / "README.md").read_text()
    with pytest.raises(InputError, match="lgm"):
        load_pipeline(tmp_path, lgm="tiny")


def test_low_memory_gives_nearly_the_same(pipe: SingleImagePipeline, mug: Image.Image, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    low = load_pipeline(tmp_path, memory="low", dtype=torch.float32)
    low.set_progress_bar_config(disable=True)
    before, after = (getattr(each(mug, generator=generator(0), **options(pipe)), pipe.native) for each in (pipe, low))
    assert same(before, after)


def test_triposrs_transformers_in_bfloat16(mug: Image.Image, tmp_path: Path, triposr: TripoSRPipeline) -> None:
    triposr.save_pretrained(tmp_path)
    narrow = TripoSRPipeline.from_pretrained(tmp_path)
    narrow.set_progress_bar_config(disable=True)
    narrow.use_fast_type(torch.bfloat16)
    square = narrow.square(mug)
    before, after = triposr.encode(square), narrow.encode(square)
    assert after.dtype == torch.float32
    assert 0 < (after - before).abs().max() < 0.1 * before.std() * 10
    assert (after - before).abs().mean() < 0.05 * before.std()
