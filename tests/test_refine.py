"""refine: the front becomes the image, the rest stays in shape, and the work can be stopped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from image3d_nb import Gaussians, generator, load_image, orbit_cameras, render, sample
from image3d_nb.errors import Cancelled, InputError
from image3d_nb.pipelines.lgm import LGMFullPipeline
from image3d_nb.rendering.discs import object_pixels, reaching_out, surface_depth
from image3d_nb.rendering.refine import refine

SIZE = 96
FRONT = orbit_cameras(azimuth=0.0, size=SIZE)


def ball(n: int = 1500, degree: int = 0) -> Gaussians:
    """A blurred grey ball, radius 0.35."""
    g = torch.Generator().manual_seed(0)
    means = 0.35 * torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1)
    means = means + 0.02 * torch.randn(n, 3, generator=g)
    sh = torch.zeros(n, (degree + 1) ** 2, 3)
    sh[:, 1:] = 0.05 * torch.randn(n, (degree + 1) ** 2 - 1, 3, generator=g)
    return Gaussians(
        means, torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1), torch.full((n, 3), 0.04), torch.full((n,), 0.6), sh
    )


def striped() -> Tensor:
    """The image: a striped disc as large as the ball, [SIZE, SIZE, 3] on white."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2
    radius = 0.36 / np.sqrt(1.5**2 - 0.36**2) * float(FRONT.Ks[0, 0, 0])
    colors = np.where((y // 6 % 2 == 0)[..., None], [0.9, 0.2, 0.1], [0.1, 0.3, 0.8])
    inside = np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)[..., None]
    return torch.from_numpy((inside * colors + 1 - inside).astype(np.float32))


def decibels(gaussians: Gaussians, image: Tensor) -> float:
    """PSNR of the front over the object's pixels."""
    inside = (image < 0.99).any(-1)
    return float(-10 * torch.log10((render(gaussians, FRONT)[0] - image)[inside].square().mean()))


def needle_share(gaussians: Gaussians) -> float:
    ordered = gaussians.scales.sort(-1).values
    return float((ordered[:, 2] > 20 * ordered[:, 0]).float().mean())


@pytest.mark.parametrize("degree", [0, 2])
def test_the_front_becomes_the_image(degree: int) -> None:
    before, image = ball(degree=degree), striped()
    kept = [t.clone() for t in (before.means, before.quats, before.scales, before.opacities, before.sh)]
    after = refine(before, image.numpy())
    assert decibels(after, image) > decibels(before, image) + 10
    assert needle_share(after) <= needle_share(before)
    assert (after.sh_degree, after.dtype) == (degree, torch.float32)
    after.validate()
    now = (before.means, before.quats, before.scales, before.opacities, before.sh)
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))


def test_stripes_are_seen_from_aside_and_not_from_behind() -> None:
    before, image = ball(), striped()
    after = refine(before, image.numpy())
    aside, behind = (render(after, orbit_cameras(azimuth=azimuth, size=SIZE))[0] for azimuth in (15.0, 180.0))
    middle = aside[30:66, 48]  # [36, 3], across six stripes
    assert float((middle[:, 0] - middle[:, 2]).std()) > 0.4
    was = render(before, orbit_cameras(azimuth=180.0, size=SIZE))[0]
    assert float((behind - was)[30:66, 30:66].abs().max()) < 0.02


def test_gaussians_at_the_outline_fade_only_where_they_are_mostly_outside() -> None:
    before, image = ball(), striped()
    inside = object_pixels(image, None, surface_depth(before, FRONT)[1])
    out = reaching_out(before, FRONT, inside)
    assert 0 == float(out.min()) < float(out.max()) <= 1
    after = refine(before, image.numpy())
    rank = {tuple(mean): n for n, mean in enumerate(after.means.tolist())}
    index = [rank.get(tuple(mean), -1) for mean in before.means.tolist()]
    left = torch.tensor([0.0 if n < 0 else float(after.opacities[n]) for n in index])
    fallen = torch.logit(before.opacities) - torch.logit(left)
    assert int(((out > 0) & (out < 0.1)).sum()) > 20
    assert float(fallen[(out > 0) & (out < 0.1)].max()) < 1.001
    assert float(fallen[out > 0.3].max()) > 2


def test_the_share_of_a_box_outside() -> None:
    inside = np.zeros((SIZE, SIZE), bool)
    inside[24:72, 24:72] = True
    corner = 24 / SIZE * 1.5 / float(FRONT.Ks[0, 0, 0]) * SIZE  # world units from the middle to the square's side
    means = torch.tensor([[0.0, 0.0, 0.0], [corner, 0.0, 0.0], [corner, corner, 0.0], [0.0, 0.0, 3.0]])
    n = len(means)
    four = Gaussians(
        means, torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1), torch.full((n, 3), 0.04), torch.full((n,), 0.6),
        torch.zeros(n, 1, 3),
    )  # fmt: skip
    np.testing.assert_allclose(reaching_out(four, FRONT, inside), [0, 0.5, 0.75, 0], atol=0.06)


def test_thin_gaussians_get_the_blur_of_their_training_and_others_stay() -> None:
    round_ones = ball()
    flat = Gaussians(
        round_ones.means, round_ones.quats, round_ones.scales * torch.tensor([1.0, 1.0, 0.01]), round_ones.opacities,
        round_ones.sh,
    )  # fmt: skip
    for before, thinnest in ((round_ones, 0.04), (flat, 0.024)):
        after = refine(before, striped().numpy(), steps=0)
        old = after.scales[torch.isin(after.means[:, 0], before.means[:, 0])]
        assert len(old) > 300
        assert old.amin(-1).median() == pytest.approx(thinnest, rel=0.02)


def test_a_refined_object_is_no_larger_from_afar() -> None:
    after = refine(ball(), striped().numpy())
    small, large = (render(after, orbit_cameras(azimuth=0.0, size=size), return_alpha=True)[1] for size in (24, 96))
    areas = [float(alpha.mean()) for alpha in (small, large)]
    assert areas[0] == pytest.approx(areas[1], rel=0.02)
    fat = render(after, orbit_cameras(azimuth=0.0, size=24), supersample=1, return_alpha=True)[1]
    assert float(fat.mean()) > 1.05 * areas[1]


def test_equal_inputs_give_equal_results() -> None:
    first, second = (refine(ball(), striped().numpy(), steps=3) for _ in range(2))
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_dtype_stays(dtype: torch.dtype) -> None:
    after = refine(ball().to(dtype=dtype), striped().numpy(), steps=2)
    assert after.dtype == dtype
    after.validate()


def test_another_camera() -> None:
    side = orbit_cameras(azimuth=90.0, size=SIZE)
    after = refine(ball(), striped().numpy(), views=side)
    error = (render(after, side)[0] - striped()).square().mean()
    assert float(error) < 0.01 < float((render(ball(), side)[0] - striped()).square().mean())


def test_steps_are_reported_and_can_be_stopped() -> None:
    seen: list[tuple[str, int, int]] = []
    refine(ball(), striped().numpy(), steps=3, on_step=lambda *step: seen.append(step))
    assert seen == [("surface", 0, 1), ("surface", 1, 1), *(("fit", k, 3) for k in range(4))]
    seen.clear()
    with pytest.raises(Cancelled):
        refine(ball(), striped().numpy(), on_step=lambda *step: seen.append(step), cancelled=lambda: len(seen) > 3)
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gaussians": None}, "NoneType"),
        ({"steps": -1}, "1000"),
        ({"steps": True}, "steps"),
        ({"image": np.ones((64, 64, 3), np.float32)}, "white"),
        ({"image": np.zeros((64, 32, 3), np.float32)}, "square"),
        ({"image": np.zeros((16, 16, 3), np.float32)}, "32"),
        ({"views": orbit_cameras(size=SIZE)}, "one camera"),
        ({"views": orbit_cameras(azimuth=0.0, size=64)}, "64 x 64"),
        ({"gaussians": ball(20)[:0]}, "visible"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"gaussians": ball(20), "image": striped().numpy()}
    arguments = good | change
    with pytest.raises(InputError, match=message):
        refine(arguments.pop("gaussians"), arguments.pop("image"), **arguments)  # type: ignore[arg-type]


def test_a_white_spot_belongs_to_the_object_and_a_hole_does_not() -> None:
    from image3d_nb.rendering.discs import object_pixels

    image = torch.full((40, 40, 3), 0.3)
    image[:5] = image[-5:] = 1
    image[:, :5] = image[:, -5:] = 1
    image[10:14, 10:14] = image[20:24, 20:24] = 1
    seen = np.ones((40, 40), np.float32)
    seen[20:24, 20:24] = 0.1
    inside = object_pixels(image, None, seen)
    assert inside[12, 12]
    assert not inside[22, 22]
    assert not inside[2, 2]


def test_a_pipeline_refines_with_the_camera_of_its_image(tiny_pipe: LGMFullPipeline) -> None:
    image = load_image(sample("car"))
    plain = tiny_pipe(image, generator=generator(0), elevation=20.0)
    sharp = tiny_pipe(image, generator=generator(0), elevation=20.0, refine=True)
    square = tiny_pipe.square(image)[0].permute(1, 2, 0)  # [H, W, 3]
    camera = orbit_cameras(20.0, 0.0, size=len(square))
    expected = refine(plain.gaussians, square.clamp(0, 1).numpy(), views=camera)
    assert torch.equal(sharp.gaussians.means, expected.means)
    assert torch.equal(sharp.gaussians.sh, expected.sh)
    new = sharp.gaussians.rgb[~torch.isin(sharp.gaussians.means[:, 0], plain.gaussians.means[:, 0])]
    assert -1e-5 < float(new.min()) <= float(new.max()) < 1 + 1e-5
    with pytest.raises(InputError, match="faithful"):
        tiny_pipe(image, refine=True, faithful="lgm-full")
    with pytest.raises(InputError, match="image"):
        tiny_pipe.refine(plain.gaussians, None)
