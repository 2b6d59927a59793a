"""Gaussians to pictures: every backend against the plain reference, the reference against formulas."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

from image3d_nb import Cameras, Gaussians, Mesh, orbit_cameras, render
from image3d_nb.errors import InputError
from image3d_nb.gaussians import SH_C0
from image3d_nb.rendering import numba_projection, projection, render_splats
from image3d_nb.rendering.splats import choose_backend

BACKENDS = ["numba", "layered", "reference"]
FAST = ["numba", "layered"]
FIELDS = ("means", "quats", "scales", "opacities", "rgbs")


def scene(n: int, size: float = 0.08, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Gaussians of all shapes and orientations; some are faint, some opaque, some in front of or behind a camera."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=dtype)

    means, quats = 0.35 * normal(n, 3), normal(n, 4) * torch.exp(normal(n, 1))
    opacities = torch.sigmoid(3 * normal(n))
    return [means, quats, size * torch.exp(0.8 * normal(n, 3)), opacities, torch.rand(n, 3, generator=g, dtype=dtype)]


def three_cameras(dtype: torch.dtype = torch.float64) -> Cameras:
    """Not square, no multiple of 16, one from above and one from below."""
    return orbit_cameras(elevation=(0, 40, -25), azimuth=(10, 130, 250), size=(61, 43)).to(dtype=dtype)


def draw(fields: list[Tensor], cameras: Cameras, backend: str, background: object = 1.0) -> tuple[Tensor, ...]:
    size = (cameras.width, cameras.height)
    return render_splats(*fields, cameras.viewmats, cameras.Ks, *size, background, backend)


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


def test_numba_survives_nonsense() -> None:
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


# --- render() ---


@pytest.fixture
def gaussians() -> Gaussians:
    *fields, rgb = scene(60, dtype=torch.float32)
    return Gaussians(*fields, sh=((rgb - 0.5) / SH_C0)[:, None])


def test_backgrounds(gaussians: Gaussians) -> None:
    cameras = three_cameras(torch.float32)
    black, alpha = render(gaussians, cameras, 0.0, return_alpha=True)
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(3, 43, 61, 3, generator=generator)
    views = torch.rand(3, 3, generator=generator)
    for background, behind in (
        (1.0, torch.ones(3)), ([0.1, 0.5, 0.9], torch.tensor([0.1, 0.5, 0.9])), (np.array([0, 1, 0]), torch.eye(3)[1]),
        (views, views[:, None, None]), (picture, picture),
    ):  # fmt: skip
        drawn = render(gaussians, cameras, background)
        assert torch.allclose(drawn, black + (1 - alpha[..., None]) * behind, atol=1e-5)
        assert drawn.min() >= 0
        assert drawn.max() <= 1


def real_harmonics(degree: int, direction: Tensor) -> list[float]:
    """From scipy's complex harmonics, which have the signs of 3DGS (the Condon-Shortley phase)."""
    x, y, z = direction.tolist()
    theta, phi = np.arccos(z), np.arctan2(y, x)
    values = []
    for n in range(degree + 1):
        for m in range(-n, n + 1):
            value = complex(scipy.special.sph_harm_y(n, abs(m), theta, phi))
            values.append(value.real if m == 0 else 2**0.5 * (value.imag if m < 0 else value.real))
    return values


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics(degree: int) -> None:
    """The colour of one opaque ball, seen from three sides, is the sum over scipy's harmonics."""
    sh = 0.15 * torch.randn(1, (degree + 1) ** 2, 3, generator=torch.Generator().manual_seed(degree))
    position = torch.tensor([[0.1, -0.2, 0.05]])
    ball = Gaussians(position, torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.2), torch.tensor([0.9]), sh)
    ball, cameras = ball.to(dtype=torch.float64), three_cameras()
    rgb, alpha = render(ball, cameras, 0.0, return_alpha=True)
    for v in range(3):
        direction = torch.nn.functional.normalize(ball.means[0] - cameras.positions[v], dim=0)
        wanted = 0.5 + torch.tensor(real_harmonics(degree, direction), dtype=torch.float64) @ ball.sh[0]
        pixel = alpha[v].flatten().argmax()
        assert torch.allclose(rgb[v].view(-1, 3)[pixel] / alpha[v].flatten()[pixel], wanted.clamp(min=0), atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_render_is_differentiable_in_all_fields(backend: str) -> None:
    *fields, _ = scene(30)
    sh = 0.2 * torch.randn(30, 4, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    leaves = [t.requires_grad_() for t in (*fields, sh)]
    picture = render(Gaussians(*leaves), three_cameras(), 0.5, backend=backend)
    for gradient in torch.autograd.grad(picture.square().sum(), leaves):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


def test_what_comes_back(gaussians: Gaussians) -> None:
    cameras = three_cameras(torch.float32)
    rgb = render(gaussians, cameras)
    assert rgb.shape == (3, 43, 61, 3)
    assert rgb.dtype == torch.float32
    both = render(gaussians, cameras, return_alpha=True, return_depth=True)
    assert [t.shape for t in both] == [(3, 43, 61, 3), (3, 43, 61), (3, 43, 61)]
    _, depth = render(gaussians, cameras, return_depth=True)
    assert torch.equal(depth, both[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_is_drawn_in_float32(gaussians: Gaussians, backend: str, dtype: torch.dtype) -> None:
    half = gaussians.to(dtype=dtype)
    cameras = three_cameras(torch.float32)
    found = render(half, cameras, backend=backend)
    assert found.dtype == torch.float32
    assert torch.equal(found, render(half.to(dtype=torch.float32), cameras, backend=backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_gaussians_give_the_background(gaussians: Gaussians, backend: str) -> None:
    none, cameras = gaussians[:0], three_cameras(torch.float32)
    none.means.requires_grad_()
    rgb, alpha, depth = render(none, cameras, [0.2, 0.4, 0.6], backend=backend, return_alpha=True, return_depth=True)
    assert torch.allclose(rgb, torch.tensor([0.2, 0.4, 0.6]).expand_as(rgb))
    assert not alpha.any()
    assert not depth.any()
    rgb.sum().backward()
    invisible = render(Gaussians(*(getattr(gaussians, k) for k in FIELDS[:3]), gaussians.opacities * 0, gaussians.sh),
                       cameras, 0.3, backend=backend)  # fmt: skip
    assert torch.allclose(invisible, torch.full_like(invisible, 0.3))


def test_mesh() -> None:
    triangle = Mesh(np.array([[-0.4, -0.4, 0], [0.4, -0.4, 0], [0, 0.4, 0]]), np.array([[0, 1, 2]]),
                    vertex_colors=np.tile([0.2, 0.6, 0.4], (3, 1)))  # fmt: skip
    views = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]])
    rgb, alpha, depth = render(triangle, orbit_cameras(azimuth=(0, 30), size=(48, 32)), views, return_alpha=True,
                               return_depth=True)  # fmt: skip
    assert rgb.shape == (2, 32, 48, 3)
    assert torch.allclose(rgb[:, 16, 24], torch.tensor([0.2, 0.6, 0.4]).expand(2, 3), atol=0.01)
    assert torch.allclose(rgb[:, 0, 0], views)
    assert float(alpha[0, 16, 24]) == pytest.approx(1)
    assert float(depth[0, 16, 24]) == pytest.approx(1.5, abs=1e-3)
    with pytest.raises(InputError, match="'auto' for a Mesh"):
        render(triangle, orbit_cameras(size=8), backend="numba")


# --- bad input ---


@pytest.mark.parametrize(
    ("background", "message"),
    [
        (1.5, r"in \[0, 1\]"), (-0.1, r"in \[0, 1\]"), (float("nan"), r"in \[0, 1\]"), ([1, 1], r"shape \(2,\)"),
        (np.ones((43, 61, 3)), r"shape \(43, 61, 3\)"), (torch.ones(2, 3), r"shape \(2, 3\)"), ("white", "'white'"),
        (None, "None"),
    ],
)  # fmt: skip
def test_bad_background(gaussians: Gaussians, background: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render(gaussians, three_cameras(torch.float32), background)


@pytest.mark.parametrize("field", [*FIELDS[:4], "sh"])
def test_nan_is_refused(gaussians: Gaussians, field: str) -> None:
    getattr(gaussians, field).view(-1)[5] = float("nan")
    with pytest.raises(InputError, match=field):
        render(gaussians, three_cameras(torch.float32))


def test_bad_arguments(gaussians: Gaussians) -> None:
    cameras = three_cameras(torch.float32)
    with pytest.raises(InputError, match="auto, numba, layered, reference, gsplat; got 'opengl'"):
        render(gaussians, cameras, backend="opengl")
    with pytest.raises(InputError, match="Gaussians or a Mesh; got Tensor"):
        render(gaussians.means, cameras)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must be Cameras"):
        render(gaussians, cameras.viewmats)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one device; got cpu and meta"):
        render(gaussians, cameras.to(device="meta"))
    with pytest.raises(InputError, match="needs tensors on cuda"):
        render(gaussians, cameras, backend="gsplat")


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        yield


def test_choice_of_backend() -> None:
    assert choose_backend("auto", torch.device("cpu")) == "numba"
    assert choose_backend("auto", torch.device("mps")) == "layered"
    with pytest.raises(InputError, match="needs tensors on cpu"):
        choose_backend("numba", torch.device("cuda"))


@pytest.mark.usefixtures("nothing_installed")
def test_fallback_without_fast_packages() -> None:
    assert choose_backend("auto", torch.device("cpu")) == "layered"
    assert choose_backend("auto", torch.device("cuda")) == "layered"
