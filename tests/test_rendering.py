"""Every backend against the plain reference, gradients against finite differences, the reference against formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from image3d_nb import Cameras, Gaussians, orbit_cameras, render
from image3d_nb.errors import InputError
from image3d_nb.rendering import numba_projection, projection, render_splats
from tests.splat_scenes import BACKENDS, FAST, FIELDS, draw, scene, three_cameras


def gradients(
    fields: list[Tensor], cameras: Cameras, backend: str, outputs: tuple[int, ...] = (0, 1, 2)
) -> list[Tensor]:
    """Of a random weighted sum of rgb, alpha and depth, with respect to all fields."""
    leaves = [t.clone().requires_grad_() for t in fields]
    return list(torch.autograd.grad(weighted(leaves, cameras, backend, outputs), leaves))


def weighted(fields: list[Tensor], cameras: Cameras, backend: str, outputs: tuple[int, ...] = (0, 1, 2)) -> Tensor:
    g = torch.Generator().manual_seed(9)
    drawn = draw(fields, cameras, backend, [0.2, 0.5, 0.9])
    weights = [torch.randn(t.shape, generator=g, dtype=torch.float64).to(t) for t in drawn]
    return torch.stack([(drawn[k] * weights[k]).sum() for k in outputs]).sum()


def worst(found: Tensor, wanted: Tensor) -> float:
    """Largest error, relative to each number, or to 1 % of the largest where a number is nearly 0."""
    return float(((found - wanted).abs() / (wanted.abs() + 0.01 * wanted.abs().max() + 1e-30)).max())


def opaque_stack() -> list[Tensor]:
    """Thirty nearly opaque Gaussians one behind the other: pixels stop, and the cap holds alpha."""
    g = torch.Generator().manual_seed(4)
    fields = scene(30, size=0.15, seed=4)
    fields[0] = torch.randn(30, 3, generator=g, dtype=torch.float64) * torch.tensor([0.05, 0.05, 0.3])
    fields[3] = torch.linspace(0.85, 1.0, 30, dtype=torch.float64)
    return fields


def finite_differences(fields: list[Tensor], loss: Callable[[list[Tensor]], Tensor], step: float) -> list[Tensor]:
    """Central differences for every number of every field."""
    results = []
    for field in fields:
        slope = torch.zeros_like(field)
        flat, out = field.view(-1), slope.view(-1)
        for k in range(len(flat)):
            kept = flat[k].item()
            sides = []
            for sign in (1, -1):
                flat[k] = kept + sign * step
                sides.append(float(loss(fields)))
            flat[k] = kept
            out[k] = (sides[0] - sides[1]) / (2 * step)
        results.append(slope)
    return results


# --- the same picture from every backend ---


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("size", [0.02, 0.08, 0.3])
def test_backend_equals_reference(backend: str, size: float) -> None:
    fields, cameras = scene(200, size), three_cameras()
    for found, wanted in zip(draw(fields, cameras, backend), draw(fields, cameras, "reference"), strict=True):
        assert (found - wanted).abs().max() < 1e-10


@pytest.mark.parametrize("backend", FAST)
def test_float32_equals_float64(backend: str) -> None:
    cameras = three_cameras()
    exact = draw(scene(200), cameras, "reference")
    fields = [t.float() for t in scene(200)]
    for found, wanted in zip(draw(fields, cameras.to(dtype=torch.float32), backend), exact, strict=True):
        assert found.dtype == torch.float32
        assert (found - wanted).abs().max() < 1e-4


@pytest.mark.parametrize("backend", FAST)
def test_gradients_equal_reference(backend: str) -> None:
    fields, cameras = scene(150), three_cameras()
    for name, found, wanted in zip(
        FIELDS, gradients(fields, cameras, backend), gradients(fields, cameras, "reference"), strict=True
    ):
        assert worst(found, wanted) < 1e-8, name


def test_float32_gradients_are_close() -> None:
    fields, cameras = scene(150), three_cameras()
    single = gradients([t.float() for t in fields], cameras.to(dtype=torch.float32), "numba")
    for name, found, wanted in zip(FIELDS, single, gradients(fields, cameras, "reference"), strict=True):
        assert (found - wanted).abs().max() / wanted.abs().max() < 1e-3, name


def watched_camera() -> Cameras:
    return orbit_cameras(elevation=10, azimuth=20, size=(22, 18)).to(dtype=torch.float64)


@pytest.fixture(scope="module", params=["mixed", "opaque stack"])
def measured(request: pytest.FixtureRequest) -> tuple[list[Tensor], list[Tensor]]:
    """Fields, and the slope of the loss at each of their numbers, by finite differences."""
    fields = scene(12, 0.1) if request.param == "mixed" else opaque_stack()
    # all backends draw the same numbers (see above); numba draws them soonest
    return fields, finite_differences(fields, lambda now: weighted(now, watched_camera(), "numba"), 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_equal_finite_differences(backend: str, measured: tuple[list[Tensor], list[Tensor]]) -> None:
    fields, wanted = measured
    for name, found, slope in zip(FIELDS, gradients(fields, watched_camera(), backend), wanted, strict=True):
        assert worst(found, slope) < 1e-4, name


def test_opaque_stack_stops_early() -> None:
    """The case above is worth its name: pixels stop, and what lies behind in all of them has no gradient."""
    fields, camera = opaque_stack(), orbit_cameras(azimuth=0, size=32).to(dtype=torch.float64)
    fields[0][0] = torch.tensor([0.0, 0.0, -2.0], dtype=torch.float64)
    fields[2][0], fields[3][0] = 0.02, 1.0
    assert draw(fields, camera, "reference")[1].max() > 1 - 1e-4
    for backend in BACKENDS:
        for name, gradient in zip(FIELDS, gradients(fields, camera, backend), strict=True):
            assert not gradient[0].any(), (backend, name)


def test_camera_gradients() -> None:
    """The numba kernels do not know them; the torch projection steps in."""
    fields, cameras = scene(40), three_cameras()
    results = []
    for backend in BACKENDS:
        viewmats = cameras.viewmats.clone().requires_grad_()
        rgb, _, _ = render_splats(*fields, viewmats, cameras.Ks, cameras.width, cameras.height, 1.0, backend)
        results.append(torch.autograd.grad(rgb.square().sum(), viewmats)[0])
    assert results[2].abs().max() > 1
    assert worst(results[0], results[2]) < 1e-8
    assert worst(results[1], results[2]) < 1e-8


def test_projection_kernels_equal_torch() -> None:
    fields, cameras = scene(300, size=0.2, seed=2)[:3], three_cameras()
    fields[0] = fields[0] * 4  # many beside the picture, some behind the camera
    slopes, drawn = [], []
    for project in (projection.project, numba_projection.project):
        leaves = [t.clone().requires_grad_() for t in fields]
        splats = project(*leaves, cameras.viewmats, cameras.Ks, cameras.width, cameras.height)
        g = torch.Generator().manual_seed(1)
        weights = [torch.randn(t.shape, generator=g, dtype=t.dtype) for t in splats[:3]]
        assert not splats.valid.all()
        weights = [torch.where(splats.valid.view(*splats.valid.shape, *[1] * (w.ndim - 2)), w, 0.0) for w in weights]
        loss = torch.stack([(w * t).sum() for w, t in zip(weights, splats[:3], strict=True)]).sum()
        slopes.append(torch.autograd.grad(loss, leaves))
        drawn.append(splats)
    assert torch.equal(drawn[0].valid, drawn[1].valid)
    for found, wanted in [*zip(drawn[1][:3], drawn[0][:3], strict=True), *zip(slopes[1], slopes[0], strict=True)]:
        assert worst(found.detach(), wanted.detach()) < 1e-9


# --- laws ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_round_gaussian_is_the_formula(backend: str) -> None:
    """On the axis the projection is exact: variance (focal * s / z)^2 + 0.3 px^2."""
    camera = orbit_cameras(azimuth=0, size=(40, 30)).to(dtype=torch.float64)
    opacity, s, color = 0.7, 0.11, torch.tensor([0.9, 0.4, 0.1], dtype=torch.float64)
    fields = [torch.zeros(1, 3), torch.tensor([[0.3, -1.0, 2.0, 0.5]]), torch.full((1, 3), s), torch.tensor([opacity])]
    fields = [t.to(torch.float64) for t in fields]
    rgb, alpha, depth = draw([*fields, color[None]], camera, backend, [0.0, 0.5, 1.0])
    variance = float(camera.Ks[0, 0, 0] * s / 1.5) ** 2 + 0.3
    y, x = torch.meshgrid(torch.arange(30) + 0.5 - 15, torch.arange(40) + 0.5 - 20, indexing="ij")
    wanted = opacity * torch.exp(-(x**2 + y**2).double() / (2 * float(np.float32(s)) ** 2 / s**2 * variance))
    wanted = torch.where(wanted >= 1 / 255, wanted, 0.0)
    assert (wanted == 0).any()
    assert (alpha[0] - wanted).abs().max() < 1e-5
    back = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert (rgb[0] - (alpha[0, ..., None] * (color - back) + back)).abs().max() < 1e-12
    assert (depth[0][alpha[0] > 0] - 1.5).abs().max() < 1e-6
    assert (depth[0][alpha[0] == 0] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_layers(backend: str) -> None:
    """In the middle of two wide Gaussians: front over back, and depth averaged by what each contributes."""
    camera = orbit_cameras(azimuth=0, size=21).to(dtype=torch.float64)
    means = torch.tensor([[0, 0, -0.5], [0, 0, 0.5]], dtype=torch.float64)  # 2.0 and 1.0 from the camera
    fields = [means, torch.tensor([[1.0, 0, 0, 0]] * 2).double(), torch.full((2, 3), 0.5).double()]
    fields += [torch.tensor([0.8, 0.6]).double(), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).double()]
    rgb, alpha, depth = (t[0, 10, 10] for t in draw(fields, camera, backend, 0.0))
    near, far = 0.6, 0.4 * 0.8
    assert rgb.tolist() == pytest.approx([far, near, 0.0], abs=1e-6)
    assert float(alpha) == pytest.approx(near + far, abs=1e-6)
    assert float(depth) == pytest.approx((1.0 * near + 2.0 * far) / (near + far), abs=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_order_does_not_matter(backend: str) -> None:
    fields, cameras = scene(100), three_cameras()
    turn = torch.randperm(100, generator=torch.Generator().manual_seed(3))
    first, second = draw(fields, cameras, backend), draw([t[turn] for t in fields], cameras, backend)
    for a, b in zip(first, second, strict=True):
        assert (a - b).abs().max() < 1e-12
    for a, b in zip(gradients(fields, cameras, backend), gradients([t[turn] for t in fields], cameras, backend),
                    strict=True):  # fmt: skip
        assert worst(b, a[turn]) < 1e-9


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_of_views_equals_single_views(backend: str) -> None:
    fields, cameras = scene(80), three_cameras()
    together = draw(fields, cameras, backend)
    for v in range(3):
        for a, b in zip(together, draw(fields, cameras[v], backend), strict=True):
            assert (a[v] - b[0]).abs().max() < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
def test_moving_all_together_changes_nothing(backend: str) -> None:
    means, quats, scales, opacities, _ = scene(60)
    sh = 0.3 * torch.randn(60, 9, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    gaussians, cameras = Gaussians(means, quats, scales, opacities, sh), three_cameras()
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = torch.linalg.matrix_exp(torch.tensor([[0, -1.0, 0.4], [1.0, 0, 0.7], [-0.4, -0.7, 0]]).double())
    matrix[:3, 3] = torch.tensor([0.4, -2.0, 1.0])
    moved = Cameras.from_c2w(matrix @ cameras.c2w, cameras.fovy, cameras.width, cameras.height)
    before, after = (
        render(gaussians, cameras, backend=backend),
        render(gaussians.transform(matrix), moved, backend=backend),
    )
    assert (before - after).abs().max() < 1e-8


@pytest.mark.parametrize("backend", BACKENDS)
def test_near_plane_and_behind(backend: str) -> None:
    """What is nearer than 0.1 or behind the camera is not drawn, and its gradients are 0, not NaN."""
    camera = orbit_cameras(azimuth=0, size=32).to(dtype=torch.float64)
    fields = scene(40)
    fields[0][:4, 2] = torch.tensor([1.45, 1.5, 1.7, 9.0])  # the camera stands at z = 1.5
    visible = [t[4:] for t in fields]
    for a, b in zip(draw(fields, camera, backend), draw(visible, camera, backend), strict=True):
        assert torch.equal(a, b)
    for found, wanted in zip(gradients(fields, camera, backend), gradients(visible, camera, backend), strict=True):
        assert not found[:4].any()
        assert worst(found[4:], wanted) < 1e-12


def test_thin_gaussians_stay_finite() -> None:
    """Needles and sheets in float32: the determinant must not cancel to 0 or below."""
    fields, cameras = scene(200, dtype=torch.float32), three_cameras(torch.float32)
    fields[2] = fields[2] * torch.tensor([20.0, 1e-6, 1e-6])
    double = (t.double() for t in (*fields[:3], cameras.viewmats, cameras.Ks))
    exact = projection.project(*double, 61, 43)
    for project in (projection.project, numba_projection.project):
        conics = project(*fields[:3], cameras.viewmats, cameras.Ks, 61, 43).conics
        assert ((conics - exact.conics).abs() / exact.conics[..., [0, 2]].amax(-1, keepdim=True)).max() < 1e-3
    assert all(torch.isfinite(t).all() for t in gradients(fields, cameras, "numba"))


def test_numba_skips_nan() -> None:
    """A training step may produce NaN: the kernels skip it and write nowhere else."""
    fields, cameras = [t.float() for t in scene(50)], three_cameras(torch.float32)
    wanted = draw([t[8:] for t in fields], cameras, "numba")
    for k in range(4):
        fields[0][k] = (float("nan"), float("inf"), -float("inf"), float("nan"))[k]
        fields[1 + k % 3][4 + k] = float("nan")
    for found, clean in zip(draw(fields, cameras, "numba"), wanted, strict=True):
        assert torch.equal(found, clean)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads: int) -> None:
    fields, cameras = [t.float() for t in scene(100)], three_cameras(torch.float32)
    wanted = [*draw(fields, cameras, "numba"), *gradients(fields, cameras, "numba")]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = [*draw(fields, cameras, "numba"), *gradients(fields, cameras, "numba")]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_equal_depths_keep_their_order() -> None:
    """Two at one depth: the first given is in front, in float32 and float64, whatever the backend."""
    camera = orbit_cameras(azimuth=0, size=9)
    fields = [torch.zeros(40, 3), torch.tensor([[1.0, 0, 0, 0]] * 40), torch.full((40, 3), 0.3), torch.full((40,), 0.9)]
    colors = torch.zeros(40, 3)
    colors[0] = 1
    for dtype in (torch.float32, torch.float64):
        for backend in BACKENDS:
            rgb, _, _ = draw([t.to(dtype) for t in (*fields, colors)], camera.to(dtype=dtype), backend, 0.0)
            assert float(rgb[0, 4, 4, 0]) == pytest.approx(0.9, abs=1e-5), backend


def test_supersampling_is_the_average_of_a_finer_image() -> None:
    fields, cameras = scene(50, 0.04), orbit_cameras(size=20)
    gaussians = Gaussians(*(t.float() for t in fields[:4]), fields[4].float()[:, None])
    backgrounds = torch.rand(4, 3)
    options = {"return_alpha": True, "return_depth": True}
    rgb, alpha, depth = render(gaussians, cameras, backgrounds, supersample=3, **options)
    fine = render(gaussians, cameras.resize(60, 60), backgrounds, supersample=1, **options)

    def average(image: Tensor) -> Tensor:
        return image.unflatten(1, (20, 3)).unflatten(3, (20, 3)).mean((2, 4))

    assert torch.allclose(rgb, average(fine[0]), atol=1e-5)
    assert torch.allclose(alpha, average(fine[1]), atol=1e-6)
    assert torch.allclose(depth * alpha, average(fine[1] * fine[2]), atol=1e-5)
    assert torch.equal(render(gaussians, cameras), render(gaussians, cameras, supersample=1))
    near, far = cameras[:1], orbit_cameras(azimuth=0.0, size=20, radius=5.0)
    both = Cameras(torch.cat((near.c2w, far.c2w)), cameras.fovy, 20, 20)
    assert not torch.equal(render(gaussians, far), render(gaussians, far, supersample=1))
    alone = torch.cat([render(gaussians, near), render(gaussians, far)])
    assert torch.allclose(render(gaussians, both), alone, atol=1e-6)
    tiny = Gaussians(gaussians.means, gaussians.quats, gaussians.scales / 20, gaussians.opacities, gaussians.sh)
    assert torch.equal(render(tiny, cameras), render(tiny, cameras, supersample=4))


@pytest.mark.parametrize("times", [0, 17, 2.0, True])
def test_supersample_out_of_range(times: object) -> None:
    with pytest.raises(InputError, match="16"):
        render(Gaussians.from_lgm(torch.rand(3, 14)), orbit_cameras(size=8), supersample=times)  # type: ignore[call-overload]
