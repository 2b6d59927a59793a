"""Gaussians for the tests of files: a cloud without an up direction, and objects that stand upright in light."""

from __future__ import annotations

import numpy as np
import torch

from image3d_nb import Gaussians
from image3d_nb.gaussians import SH_C0
from image3d_nb.training.objects import make_object


def ball(count: int = 400, degree: int = 0, seed: int = 0) -> Gaussians:
    """A sound cloud without an up direction: float32, unit quaternions, no near-transparent Gaussians."""
    random = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random)

    def unit(length: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(count, length, generator=random), dim=-1)

    means, quats, scales = 0.5 * unit(3) * uniform(count, 1) ** (1 / 3), unit(4), 0.005 + 0.03 * uniform(count, 3)
    opacities, dc = 0.05 + 0.9 * uniform(count), (uniform(count, 1, 3) - 0.5) / SH_C0
    rest = 0.1 * torch.randn(count, (degree + 1) ** 2 - 1, 3, generator=random)
    return Gaussians(means, quats, scales, opacities, torch.cat([dc, rest], dim=1))


def standing(family: str, seed: int = 0, count: int = 3000) -> Gaussians:
    """A procedural object, lit from above, in our world (y up): flat Gaussians on its surface."""
    thing = make_object(seed, family)
    random = np.random.default_rng(seed)
    corners = thing.vertices[thing.faces]  # [F, 3, 3]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # [F, 3]
    area = np.linalg.norm(across, axis=1)
    chosen = random.choice(len(area), count, p=area / area.sum())
    share = random.dirichlet([1, 1, 1], count)[..., None]  # [N, 3, 1]
    means = (corners[chosen] * share).sum(1)
    rgb = (thing.colors[thing.faces[chosen]] * share).sum(1)
    normals = across[chosen] / area[chosen, None] + 0.3 * random.normal(size=(count, 3))
    return Gaussians(
        means=torch.from_numpy(means).float(),
        quats=torch.from_numpy(_from_z_to(normals)).float(),
        scales=torch.tensor([0.015, 0.015, 0.003]).repeat(count, 1),
        opacities=torch.full((count,), 0.9),
        sh=(torch.from_numpy(rgb).float() - 0.5)[:, None] / SH_C0,
    )


def _from_z_to(normals: np.ndarray) -> np.ndarray:
    """[N, 4] wxyz of the shortest turns from +z to directions [N, 3]: the quaternion (1 + z.n, z x n), normalised."""
    unit = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    quats = np.stack([1 + unit[:, 2], -unit[:, 1], unit[:, 0], np.zeros(len(unit))], axis=1)
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)
