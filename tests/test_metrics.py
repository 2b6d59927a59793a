"""Distances between sets of points, against a search through all pairs and against what can be said beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

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
