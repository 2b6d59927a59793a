"""Distances between sets of points, against a search through all pairs; and the numbers that judge images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from image3d_nb import metrics
from image3d_nb.errors import InputError
from image3d_nb.mesh import Mesh
from image3d_nb.metrics import chamfer, f_score, sample_surface

# two triangles: areas 0.5 and 2, in the planes z = 0 and z = 1
TWO = Mesh(
    np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 1], [0, 2, 1]]), np.array([[0, 1, 2], [3, 4, 5]])
)


def clouds(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(150, 3)), rng.normal(size=(90, 3))


def test_chamfer_and_f_score_agree_with_all_pairs() -> None:
    a, b = clouds()
    distances = np.linalg.norm(a[:, None] - b[None], axis=-1)  # [N, M]
    there, back = distances.min(1), distances.min(0)
    assert chamfer(a, b) == pytest.approx((there.mean() + back.mean()) / 2, abs=1e-12)
    precision, recall = (there <= 0.5).mean(), (back <= 0.5).mean()
    assert 0 < precision < 1
    assert f_score(a, b, 0.5) == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)


def test_moved_points_are_as_far_off_as_they_were_moved() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), -1).reshape(-1, 3)
    moved = torch.from_numpy(grid) + torch.tensor([0.0, 0.25, 0.0])  # a tensor is as good as an array
    assert chamfer(grid, moved) == pytest.approx(0.25)
    assert chamfer(grid, grid) == 0
    assert f_score(grid, moved, 0.25) == 1
    assert f_score(grid, moved, 0.24) == 0
    # half of the truth is missing: precision 1, recall 1/2
    assert f_score(grid[:32], grid, 0.5) == pytest.approx(2 / 3)
    # not squared, and both ways count alike: (0 + 3 / 4) / 2
    assert chamfer(np.zeros((1, 3)), np.array([[0.0, 0, 0]] * 3 + [[0, 0, 3.0]])) == pytest.approx(0.375)


def test_chamfer_is_symmetric_and_scales_with_the_world() -> None:
    a, b = clouds(1)
    assert chamfer(a, b) == chamfer(b, a)
    assert chamfer(3 * a, 3 * b) == pytest.approx(3 * chamfer(a, b))
    assert f_score(a, b, 0.4) == f_score(b, a, 0.4)


def test_surface_samples_follow_the_area() -> None:
    points = sample_surface(TWO, 20_000)
    large = points[:, 2] > 0.5
    assert large.mean() == pytest.approx(0.8, abs=0.01)
    np.testing.assert_allclose(points[:, 2], large, atol=1e-12)
    assert points[:, :2].min() >= 0
    assert (points[:, 0] + points[:, 1] <= 1 + points[:, 2] + 1e-12).all()
    # even within a triangle: its centre of mass
    np.testing.assert_allclose(points[large].mean(0), [2 / 3, 2 / 3, 1], atol=0.02)


def test_surface_samples_repeat_by_seed() -> None:
    assert np.array_equal(sample_surface(TWO, 50, seed=3), sample_surface(TWO, 50, seed=3))
    assert not np.array_equal(sample_surface(TWO, 50, seed=3), sample_surface(TWO, 50, seed=4))


def test_what_cannot_be_measured_is_refused() -> None:
    a, b = clouds()
    for wrong in (a[:0], a[:, :2], a * np.nan):
        with pytest.raises(InputError, match="points must be finite"):
            chamfer(wrong, b)
    with pytest.raises(InputError, match="threshold must be above 0"):
        f_score(a, b, 0.0)
    with pytest.raises(InputError, match="a mesh with an area"):
        sample_surface(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])))
    with pytest.raises(InputError, match="1 or more points"):
        sample_surface(TWO, 0)


def test_psnr_of_a_known_error() -> None:
    black = torch.zeros(2, 3, 16, 16)
    torch.testing.assert_close(metrics.psnr(black, black + 0.1), torch.full((2,), 20.0))
    assert metrics.psnr(black, black).min() == 100
    pictures = torch.stack([black[0], black[0] + 0.1])
    assert metrics.pooled_psnr(pictures, black) == pytest.approx(20 + 10 * np.log10(2), abs=1e-4)


def test_ssim_is_the_well_known_one() -> None:
    random = torch.Generator().manual_seed(0)
    a = torch.rand(3, 40, 33, generator=random)
    b = (a + 0.2 * torch.randn(3, 40, 33, generator=random)).clamp(0, 1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    oracle = structural_similarity(a.numpy(), b.numpy(), channel_axis=0, data_range=1, **settings)
    assert float(metrics.ssim(a, b)) == pytest.approx(oracle, abs=1e-5)
    assert float(metrics.ssim(a, a)) == pytest.approx(1)


def test_silhouette_iou() -> None:
    a, b = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    a[0, :2], b[0, 1:3] = 1, 1
    assert metrics.silhouette_iou(a, b).tolist() == pytest.approx([1 / 3, 1.0])


def test_metrics_refuse_different_shapes() -> None:
    with pytest.raises(InputError, match="one shape"):
        metrics.psnr(torch.zeros(3, 8, 8), torch.zeros(3, 8, 9))
    with pytest.raises(InputError, match="11 x 11"):
        metrics.ssim(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))
    with pytest.raises(InputError, match="one shape"):
        metrics.silhouette_iou(torch.ones(4, 1, 8, 8), torch.ones(4, 8, 8))


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.pooled_psnr, metrics.silhouette_iou])
def test_metrics_refuse_bytes(metric: Callable[[torch.Tensor, torch.Tensor], object]) -> None:
    byte = torch.zeros(3, 16, 16, dtype=torch.uint8)
    for pair in ((byte, byte), (byte.float(), byte)):
        with pytest.raises(InputError, match="uint8"):
            metric(*pair)
