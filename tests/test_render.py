"""The public render(): results, backgrounds, colours by direction, meshes and bad input."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

from image3d_nb import Gaussians, Mesh, orbit_cameras, render
from image3d_nb.errors import InputError
from image3d_nb.gaussians import SH_C0
from image3d_nb.rendering.splats import choose_backend
from tests.splat_scenes import BACKENDS, FIELDS, scene, three_cameras


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


def test_results(gaussians: Gaussians) -> None:
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
    with pytest.raises(InputError, match="Mesh"):
        render(triangle, orbit_cameras(size=8), backend="numba")


@pytest.mark.parametrize(("near", "shape"), [(0.1, "gaussians"), (0.01, "mesh")])
def test_the_docstring_says_what_is_too_near_to_be_drawn(near: float, shape: str) -> None:
    assert f"less than {near}" in str(render.__doc__)
    row = torch.tensor([[0, 0, 0, 1, 0.02, 0.02, 0.02, 1, 0, 0, 0, 1, 1, 1]])
    triangle = Mesh(np.array([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    thing = Gaussians.from_lgm(row) if shape == "gaussians" else triangle
    seen = [
        float(render(thing, orbit_cameras(azimuth=0, radius=away * near, size=8), return_alpha=True)[1].max())
        for away in (0.9, 1.1)
    ]
    assert seen[0] == 0 < seen[1]


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
    with pytest.raises(InputError, match="opengl"):
        render(gaussians, cameras, backend="opengl")
    with pytest.raises(InputError, match="Tensor"):
        render(gaussians.means, cameras)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Cameras"):
        render(gaussians, cameras.viewmats)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="meta"):
        render(gaussians, cameras.to(device="meta"))
    with pytest.raises(InputError, match="cuda"):
        render(gaussians, cameras, backend="gsplat")


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        yield


def test_choice_of_backend() -> None:
    assert choose_backend("auto", torch.device("cpu")) == "numba"
    assert choose_backend("auto", torch.device("mps")) == "layered"
    with pytest.raises(InputError, match="cpu"):
        choose_backend("numba", torch.device("cuda"))


@pytest.mark.usefixtures("nothing_installed")
def test_fallback_without_fast_packages() -> None:
    assert choose_backend("auto", torch.device("cpu")) == "layered"
    assert choose_backend("auto", torch.device("cuda")) == "layered"
