"""Render Gaussians with gsplat, on CUDA. Not verified: no test runs on a GPU.

The conventions are ours (wxyz, linear scales, OpenCV world-to-camera matrices, pixel centres at +0.5); its stop rule is
3DGS's (see reference.py). Source: https://docs.gsplat.studio/main/apis/rasterization.html
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._optional import require
from .projection import EPS2D, NEAR


def splat(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    width: int, height: int,
) -> Tensor:  # fmt: skip
    """[V, H, W, 5]: colour (without background), depth (sum of weight times depth), transmittance.

    Args and shapes are those of ``render_splats``, on a CUDA device, with colors [V, N, 3].

    Raises:
        ImportError: gsplat is not installed.
    """
    gsplat = require("gsplat", extra="cuda", who="render(backend='gsplat')")
    drawn, alphas, _ = gsplat.rasterization(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height,
        near_plane=NEAR, eps2d=EPS2D, render_mode="RGB+D", packed=False,
    )  # fmt: skip
    return torch.cat((drawn, 1 - alphas), dim=-1)
