"""A mesh as Gaussians: they lie on it, face as it does, and look like it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from image3d_nb import metrics, orbit_cameras, render, to_gaussians
from image3d_nb.errors import InputError
from image3d_nb.mesh import Mesh
from image3d_nb.meshing.sampling import FLATNESS, SPREAD, quaternions_to
from tests.solids import CUBE, ball, cube, doughnut

CAMERAS = orbit_cameras(elevation=[0, -40], azimuth=[20, 180], radius=1.3, size=512)


def waves(rows: int) -> Mesh:
    """A ball with a smooth texture."""
    x, y = np.meshgrid(*[np.sin(np.linspace(0, 2 * np.pi, 64))] * 2)
    texture = np.stack([128 + 60 * (x + y), 128 + 100 * x, 128 - 120 * y], axis=-1)
    return ball(rows, texture=np.rint(texture).astype(np.uint8))


def box() -> Mesh:
    """A cube with a colour at each corner."""
    return Mesh(CUBE.vertices * 0.7, CUBE.faces, vertex_colors=CUBE.vertices + 0.5)


THICK = doughnut(outer=0.32, inner=0.18)


@pytest.mark.parametrize("mesh", [waves(48), box(), THICK], ids=["textured", "coloured", "plain"])
def test_they_look_like_the_mesh(mesh: Mesh) -> None:
    wanted, alpha = render(mesh, CAMERAS, return_alpha=True)
    drawn, covered = render(to_gaussians(mesh), CAMERAS, return_alpha=True)
    assert metrics.silhouette_iou(covered, alpha).min() > 0.97
    # at the outline, splats bleed over by about a pixel; within, the pictures are all but equal
    assert metrics.psnr(drawn.permute(0, 3, 1, 2), wanted.permute(0, 3, 1, 2)).min() > 22
    for k in range(len(CAMERAS)):
        inside = torch.from_numpy(binary_erosion(alpha[k].numpy() > 0.99, iterations=4))
        assert (drawn[k] - wanted[k])[inside].square().mean() < 10**-3.3  # 33 dB
        assert (covered[k][inside] > 0.5).float().mean() > 0.9999  # no pinholes: it is closed
        assert (covered[k][inside] > 0.9).float().mean() > 0.995


@pytest.mark.parametrize("mesh", [waves(8), box(), doughnut(8, 12)], ids=["textured", "coloured", "plain"])
def test_they_lie_flat_on_the_surface(mesh: Mesh) -> None:
    gaussians = to_gaussians(mesh, n=2_000).validate()
    assert len(gaussians) == 2_000
    spots, normal = gaussians.means.double().numpy(), gaussians.rotations()[:, :, 2].numpy()
    least = np.full(len(spots), np.inf)  # distance to the nearest face that looks the way the Gaussian does
    for f, (a, b, c) in enumerate(mesh.vertices[mesh.faces]):
        u, v, height = np.linalg.solve(np.stack([b - a, c - a, mesh.face_normals()[f]], axis=1), (spots - a).T)
        above = (u > -1e-4) & (v > -1e-4) & (u + v < 1 + 1e-4) & (normal @ mesh.face_normals()[f] > np.cos(0.003))
        least[above] = np.minimum(least[above], np.abs(height[above]))
    assert least.max() < 1e-6
    width = SPREAD * np.sqrt(mesh.face_areas().sum() / 2_000)
    np.testing.assert_allclose(gaussians.scales[:, 1:], np.tile([width, FLATNESS * width], (2_000, 1)), rtol=1e-5)
    assert 0.19 * width < gaussians.scales[:, 0].min() <= gaussians.scales[:, 0].max() < 1.01 * width


def test_edges_stay_sharp() -> None:
    """Discs beside an edge are narrower across it and only there: hardly one reaches beyond by a fifth of a gap."""
    spacing = np.sqrt(6 * 0.7**2 / 5_000)
    gaussians = to_gaussians(box(), n=5_000)
    axes = gaussians.rotations() * gaussians.scales[:, None]  # [n, 3, 3], columns are the axes
    reach = gaussians.means.abs() + 1.18 * axes.square().sum(-1).sqrt()  # to where a disc is half transparent
    assert (reach.max(1).values - 0.35).quantile(0.95) < 0.2 * spacing
    second = gaussians.means.abs().sort(dim=1).values[:, 1]  # towards the nearest edge
    full = gaussians.scales[:, 0] > 0.99 * SPREAD * spacing
    assert full[second < 0.35 - 1.2 * spacing].float().mean() > 0.98
    assert not full[second > 0.35 - 0.7 * spacing].any()
    assert (to_gaussians(waves(48), n=5_000).scales[:, 0] > 0.99 * SPREAD * np.sqrt(np.pi / 5_000)).all()


def test_colours_are_those_of_the_places() -> None:
    gaussians = to_gaussians(box(), n=500)
    np.testing.assert_allclose(gaussians.rgb, gaussians.means / 0.7 + 0.5, atol=1e-5)
    np.testing.assert_allclose(to_gaussians(CUBE, n=10).rgb, 0.7, atol=1e-6)


def test_they_are_spread_evenly() -> None:
    """As many on each side of a box as its area deserves, and none crowded."""
    mesh = cube((1, 2, 3))
    gaussians = to_gaussians(mesh, n=2_200)
    side = np.abs(gaussians.rotations()[:, :, 2].numpy()).argmax(1)
    np.testing.assert_allclose(np.bincount(side), [1_200, 600, 400], rtol=0.05)  # 2 (6, 3, 2) of 22
    even, random = (
        cKDTree(points).query(points, k=2)[0][:, 1] for points in (gaussians.means, metrics.sample_surface(mesh, 2_200))
    )
    assert even.mean() > 1.2 * random.mean()
    assert np.quantile(even, 0.05) > 2 * np.quantile(random, 0.05)


def test_both_sides_of_a_thin_wall_get_theirs() -> None:
    plate = cube((1, 1, 0.002))
    colors = np.where(plate.vertices[:, 2:] > 0, (1.0, 0, 0), (0, 0, 1.0))
    mesh = Mesh(plate.vertices, plate.faces, vertex_colors=colors)
    gaussians = to_gaussians(mesh, n=1_000)
    front = gaussians.rotations()[:, 2, 2] > 0.5
    assert 450 < int(front.sum()) < 550
    assert gaussians.rgb[front][:, 0].min() > 0.99


def test_the_seed_decides() -> None:
    first, again, other = (to_gaussians(waves(8), n=500, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.means, again.means)
    assert torch.equal(first.sh, again.sh)
    assert not torch.equal(first.means, other.means)
    assert first.means.dtype == torch.float32
    assert len(to_gaussians(CUBE, n=1)) == 1


def test_a_count_is_a_whole_number() -> None:
    assert len(to_gaussians(box(), n=np.int64(50))) == 50
    with pytest.raises(InputError, match="whole number"):
        to_gaussians(box(), n=1e3)  # type: ignore[arg-type]


def test_quaternions_bring_z_to_the_normal() -> None:
    random = np.random.default_rng(0).normal(size=(500, 3))
    special = np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0], [0, -1, 0], [1e-9, 0, -1], [0, 1e-9, 1]])
    normals = np.concatenate([random, special])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    w, x, y, z = quaternions_to(normals).T
    np.testing.assert_allclose(w * w + x * x + y * y + z * z, 1)
    third = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1)
    np.testing.assert_allclose(third, normals, atol=1e-12)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="got 0"):
        to_gaussians(CUBE, n=0)
    with pytest.raises(InputError, match="an area"):
        to_gaussians(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])))
