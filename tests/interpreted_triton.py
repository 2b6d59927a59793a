"""What the CUDA kernels draw in Triton's interpreter, beside numba: a program, since Triton decides at its import."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import torch
from torch import Tensor

from image3d_nb import orbit_cameras
from image3d_nb.rendering import numba_splats, triton_splats
from image3d_nb.rendering.projection import project
from image3d_nb.training import lgm
from tests.splat_scenes import scene


def drawn(module: ModuleType, fields: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, list[Tensor]]:
    """The state of two views, and the gradients of a random weighted sum of it."""
    cameras = orbit_cameras((20, -10), (30, 200), size=size)
    leaves = [t.float().requires_grad_() for t in fields]
    splats = project(*leaves[:3], cameras.viewmats, cameras.Ks, *size)
    state = module.composite(splats, leaves[4].expand(2, -1, -1), leaves[3].expand(2, -1), *size)
    weights = torch.randn(state.shape, generator=torch.Generator().manual_seed(1))
    return state.detach(), list(torch.autograd.grad((state * weights).sum(), leaves))


def beside_numba(opaque: bool) -> dict[str, float]:
    """Errors of the image and, relative to the largest number, of each field's gradient."""
    fields = scene(14, 0.1)
    if opaque:  # the cap of alpha and the stop are met
        fields[3] = torch.ones(14, dtype=torch.float64)
        fields[2] = fields[2] + 0.2
    (state, found), (wanted, right) = (drawn(module, fields, (13, 9)) for module in (triton_splats, numba_splats))
    errors = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, right, strict=True)]
    return {
        "clearest": float(wanted[..., 4].max()), "darkest": float(wanted[..., 4].min()),
        "image": float((state - wanted).abs().max()), "gradients": max(errors),
    }  # fmt: skip


def together() -> dict[str, float]:
    """Two objects from two cameras each, drawn in one go as the training on a card does, beside one by one."""
    rows = torch.rand(2, 6, 14, generator=torch.Generator().manual_seed(0)) * 0.2
    viewmats = orbit_cameras((0, 10, 20, 30), (0, 50, 100, 150), size=8).viewmats.unflatten(0, (2, 2))
    rgb, alpha = lgm.render_rows(rows, viewmats, 8)
    means, opacities, scales, quats, rgbs = rows.split([3, 1, 3, 4, 3], -1)
    Ks = orbit_cameras(azimuth=0.0, size=8).Ks.expand(2, 3, 3)
    state = lgm._draw_together(means, quats, scales, opacities[..., 0], rgbs, viewmats, Ks, 8)
    found = state[..., :3].permute(0, 1, 4, 2, 3) + state[:, :, None, ..., 4]
    return {"alpha": float(alpha.max()), "image": float((found - rgb).abs().max())}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"some": beside_numba(False), "opaque": beside_numba(True), "together": together()}))
