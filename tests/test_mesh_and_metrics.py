"""The mesh container, and the numbers that judge pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from image3d_nb import metrics
from image3d_nb.errors import InputError
from image3d_nb.mesh import Mesh

CUBE = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def test_normals_of_a_cube_point_outwards() -> None:
    mesh = Mesh(CUBE, FACES)
    middles = CUBE[FACES].mean(1) - 0.5
    assert (np.sum(mesh.face_normals() * middles, 1) > 0).all()
    assert (np.sum(mesh.vertex_normals() * (CUBE - 0.5), 1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals(), axis=1), 1)
    np.testing.assert_array_equal(mesh.bounds, [[0, 0, 0], [1, 1, 1]])
    assert repr(mesh) == "Mesh(vertices=8, faces=12, colors=none)"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"faces": FACES + 1}, "index 8 vertices"),
        ({"faces": FACES.astype(float)}, "integers"),
        ({"vertices": CUBE[:, :2]}, "vertices"),
        ({"vertices": CUBE * np.nan}, "finite"),
        ({"vertex_colors": np.zeros((3, 3))}, "row a vertex"),
        ({"texture": np.zeros((4, 4), np.uint8)}, "texture"),
    ],
)
def test_bad_mesh(fields: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Mesh(**{"vertices": CUBE, "faces": FACES, **fields})


def test_psnr_of_a_known_error() -> None:
    black = torch.zeros(2, 3, 16, 16)
    torch.testing.assert_close(metrics.psnr(black, black + 0.1), torch.full((2,), 20.0))
    assert metrics.psnr(black, black).min() == 100
    pictures = torch.stack([black[0], black[0] + 0.1])
    assert metrics.pooled_psnr(pictures, black) == pytest.approx(20 + 10 * np.log10(2), abs=1e-4)


def test_ssim_is_the_well_known_one() -> None:
    random = torch.Generator().manual_seed(0)
    a = torch.rand(3, 40, 40, generator=random)
    b = (a + 0.2 * torch.randn(3, 40, 40, generator=random)).clamp(0, 1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    oracle = structural_similarity(a.numpy(), b.numpy(), channel_axis=0, data_range=1, **settings)
    assert float(metrics.ssim(a, b)) == pytest.approx(oracle, abs=2e-3)
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
