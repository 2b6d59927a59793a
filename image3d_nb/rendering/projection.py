"""Project 3D Gaussians to 2D Gaussians on the image plane: torch, differentiable, any device and float dtype.

Source: Zwicker et al. 2001, "EWA volume splatting", eq. 29 and 31; Kerbl et al. 2023, "3D Gaussian splatting", eq. 5
and 6. Axes and pixel centres: see image3d_nb/cameras.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EPS2D = 0.3  # px^2 added to both variances: no splat gets thinner than a pixel (3DGS)
NEAR = 0.1  # world units; nearer Gaussians are not drawn
FIELD_MARGIN = 1.3  # the Jacobian is taken at most this far from the centre, in half image sizes (3DGS)


class Splats(NamedTuple):
    """V x N projected Gaussians, ready for compositing."""

    means2d: Tensor  # [V, N, 2], pixels, centre of the first pixel at 0.5
    conics: Tensor  # [V, N, 3], inverse covariance as (xx, xy, yy), 1/px^2
    depths: Tensor  # [V, N], z in the camera's frame, world units
    valid: Tensor  # [V, N], bool: beyond the near plane; the other rows hold finite numbers without meaning


def scaled_axes(quats: Tensor, scales: Tensor) -> Tensor:
    """The three semi-axes of each Gaussian, the columns of R S.

    Args:
        quats: [N, 4], wxyz, any length but zero (normalised here).
        scales: [N, 3], linear, world units, not log.

    Returns:
        [N, 3, 3]: ``axes[n, k]`` is the k-th semi-axis as a vector in the world's frame, that is, (R S) transposed.
    """
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    columns = (
        1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
        2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x),
        2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(columns, dim=-1).view(-1, 3, 3) * scales[:, :, None]  # [N, 3, 3]


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    eps2d: float = EPS2D,
    near: float = NEAR,
) -> Splats:
    """Project N Gaussians into V cameras.

    Args:
        means: [N, 3], world units.
        quats: [N, 4], wxyz, normalised here.
        scales: [N, 3], linear, world units, not log.
        viewmats: [V, 4, 4], world to camera, OpenCV axes.
        Ks: [V, 3, 3], pixels.
        width: pixels.
        height: pixels.
        eps2d: px^2, added to both variances.
        near: world units; nearer Gaussians are not valid.

    Returns:
        Splats, differentiable with respect to means, quats, scales and viewmats.

    Source: covariance = J W R S S^T R^T W^T J^T (3DGS eq. 5), J the Jacobian of the projection (EWA eq. 29).
    """
    rotations = viewmats[:, :3, :3].transpose(1, 2)  # [V, 3, 3], for row vectors
    x, y, z = (means @ rotations + viewmats[:, None, :3, 3]).unbind(-1)  # 3 x [V, N]
    valid = z > near
    inverse_z = 1 / torch.where(valid, z, 1.0)  # a division by z <= 0 would put NaN into every gradient
    u, v = x * inverse_z, y * inverse_z
    fx, fy, cx, cy = Ks[:, 0, 0, None], Ks[:, 1, 1, None], Ks[:, 0, 2, None], Ks[:, 1, 2, None]  # 4 x [V, 1]
    means2d = torch.stack((fx * u + cx, fy * v + cy), dim=-1)  # [V, N, 2]

    # J = [[fx/z, 0, -fx u/z], [0, fy/z, -fy v/z]], with u, v clamped near the image: far outside, the linear
    # approximation explodes.
    limit_u, limit_v = FIELD_MARGIN * width / (2 * fx), FIELD_MARGIN * height / (2 * fy)
    u, v = torch.clamp(u, -limit_u, limit_u), torch.clamp(v, -limit_v, limit_v)
    axes = scaled_axes(quats, scales).reshape(-1, 3) @ rotations  # [V, 3N, 3]: W R S; batched 3x3 products cost 10x
    axes = axes.view(len(viewmats), -1, 3, 3)  # [V, N, axis, xyz]
    ax, ay, az = axes.unbind(-1)  # 3 x [V, N, 3]
    row_x = (ax - u[..., None] * az) * (fx * inverse_z)[..., None]  # [V, N, 3]: first row of J W R S
    row_y = (ay - v[..., None] * az) * (fy * inverse_z)[..., None]  # [V, N, 3]: second row
    xx, xy, yy = (row_x * row_x).sum(-1), (row_x * row_y).sum(-1), (row_y * row_y).sum(-1)  # 3 x [V, N]
    # det of (covariance + eps2d I) by Lagrange's identity: xx yy - xy^2 would cancel to noise for thin Gaussians.
    cross = torch.linalg.cross(row_x, row_y)
    det = (cross * cross).sum(-1) + eps2d * (xx + yy) + eps2d * eps2d  # [V, N]
    conics = torch.stack((yy + eps2d, -xy, xx + eps2d), dim=-1) / det[..., None]  # [V, N, 3]
    return Splats(means2d, conics, z, valid)
