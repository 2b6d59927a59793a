"""Define the image of a set of Gaussians, in dense, plain torch. Every faster renderer is tested against it.

Source: Kerbl et al. 2023, "3D Gaussian splatting for real-time radiance field rendering", section 4 to 6;
Zwicker et al. 2001, "EWA volume splatting". Axes and pixel centres: image3d_nb/cameras.py.

Our stop rule differs from 3DGS's: a pixel is finished when the transmittance **in front of** a Gaussian is below 1e-4.
3DGS drops a Gaussian that would bring it below; that loses up to 0.01 of colour at once, so rounding becomes visible.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA_MAX = 0.99  # no Gaussian hides everything behind it
ALPHA_MIN = 1 / 255  # smaller alphas are not drawn: it bounds each Gaussian's extent
TRANSMITTANCE_MIN = 1e-4  # a pixel with less is finished


def splat(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmat: Tensor, K: Tensor,
    width: int, height: int, eps2d: float = 0.3, near: float = 0.1,
) -> Tensor:  # fmt: skip
    """Render N Gaussians from one camera; memory grows as N x H x W.

    Args:
        means: [N, 3], world units.
        quats: [N, 4], wxyz, normalised here.
        scales: [N, 3], linear, world units.
        opacities: [N], in [0, 1].
        colors: [N, 3].
        viewmat: [4, 4], world to camera, OpenCV axes.
        K: [3, 3], pixels.
        width: pixels.
        height: pixels.
        eps2d: px^2 added to both variances.
        near: world units; nearer Gaussians are not drawn.

    Returns:
        [H, W, 5]: colour (without background), depth (sum of weight times depth), transmittance.
    """
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    R = torch.stack((
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ), dim=-1).view(-1, 3, 3)  # fmt: skip
    M = R * scales[:, None, :]
    covariances = M @ M.transpose(1, 2)  # [N, 3, 3]: R S S^T R^T (3DGS eq. 6)

    points = means @ viewmat[:3, :3].T + viewmat[:3, 3]  # [N, 3], in the camera's frame
    keep = torch.nonzero(points[:, 2] > near)[:, 0]
    keep = keep[torch.argsort(points[keep, 2], stable=True)]  # near to far
    (px, py, pz), covariances = points[keep].unbind(-1), covariances[keep]
    colors, opacities = colors[keep], opacities[keep]

    fx, fy, zero = K[0, 0], K[1, 1], torch.zeros_like(pz)
    limit_x, limit_y = 1.3 * width / (2 * fx), 1.3 * height / (2 * fy)
    u, v = (px / pz).clamp(-limit_x, limit_x), (py / pz).clamp(-limit_y, limit_y)
    J = torch.stack((fx / pz, zero, -fx * u / pz, zero, fy / pz, -fy * v / pz), dim=-1).view(-1, 2, 3)  # EWA eq. 29
    JW = J @ viewmat[:3, :3]  # [N, 2, 3]
    covariances2d = JW @ covariances @ JW.transpose(1, 2) + eps2d * torch.eye(2).to(means)  # [N, 2, 2] (3DGS eq. 5)
    means2d = torch.stack((fx * px / pz + K[0, 2], fy * py / pz + K[1, 2]), dim=-1)  # [N, 2], pixels

    rows, columns = torch.arange(height).to(means) + 0.5, torch.arange(width).to(means) + 0.5
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).view(1, -1, 2)  # [1, HW, 2]
    d = pixels - means2d[:, None]  # [N, HW, 2]
    q = ((d @ torch.linalg.inv(covariances2d)) * d).sum(-1)  # [N, HW]
    alphas = opacities[:, None] * torch.exp(-q / 2)
    alphas = torch.where(alphas >= ALPHA_MIN, alphas.clamp(max=ALPHA_MAX), 0.0)
    through = torch.cumprod(1 - alphas, dim=0)  # behind each Gaussian
    before = torch.cat((torch.ones_like(through[:1]), through[:-1]))  # in front of each Gaussian
    alphas = torch.where(before >= TRANSMITTANCE_MIN, alphas, 0.0)
    weights = before * alphas  # [N, HW]
    values = torch.cat((colors, pz[:, None]), dim=-1)  # [N, 4]
    rgbd = weights.T @ values  # [HW, 4]
    transmittance = torch.prod(1 - alphas, dim=0)[:, None]  # [HW, 1]
    return torch.cat((rgbd, transmittance), dim=-1).view(height, width, 5)
