"""projection.py as numba kernels, forward and backward: the same numbers, 5 to 10 times faster on a CPU.

Torch runs some 40 small operations each way; for a few thousand Gaussians they cost more than the compositing.
All arithmetic is in float64, whatever the tensors' dtype. Names and equations: projection.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._jit import njit
from .projection import EPS2D, FIELD_MARGIN, NEAR, Splats

_jit = njit(nogil=True, fastmath={"contract", "reassoc", "arcp", "nsz"}, error_model="numpy")
_MARGIN = FIELD_MARGIN


@_jit
def _rotation(quat: Any, out: Any) -> tuple[float, float, float, float, float]:
    """Write R [3, 3] to ``out``; return the unit quaternion (w, x, y, z) and the length before."""
    w, x, y, z = float(quat[0]), float(quat[1]), float(quat[2]), float(quat[3])
    length = max(math.sqrt(w * w + x * x + y * y + z * z), 1e-12)
    w, x, y, z = w / length, x / length, y / length, z / length
    out[0, 0], out[0, 1], out[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    out[1, 0], out[1, 1], out[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    out[2, 0], out[2, 1], out[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    return w, x, y, z, length


@_jit
def _rotation_backward(w: float, x: float, y: float, z: float, length: float, g: Any, out: Any) -> None:
    """Write the gradient of the quaternion, before normalisation, to ``out``; ``g`` [3, 3] is the gradient of R."""
    g_w = 2 * (z * (g[1, 0] - g[0, 1]) + y * (g[0, 2] - g[2, 0]) + x * (g[2, 1] - g[1, 2]))
    g_x = 2 * (y * (g[1, 0] + g[0, 1]) + z * (g[2, 0] + g[0, 2]) + w * (g[2, 1] - g[1, 2]))
    g_y = 2 * (x * (g[1, 0] + g[0, 1]) + z * (g[2, 1] + g[1, 2]) + w * (g[0, 2] - g[2, 0]))
    g_z = 2 * (x * (g[2, 0] + g[0, 2]) + y * (g[2, 1] + g[1, 2]) + w * (g[1, 0] - g[0, 1]))
    g_x -= 4 * x * (g[1, 1] + g[2, 2])
    g_y -= 4 * y * (g[0, 0] + g[2, 2])
    g_z -= 4 * z * (g[0, 0] + g[1, 1])
    along = w * g_w + x * g_x + y * g_y + z * g_z  # the length of a quaternion changes nothing
    out[0], out[1] = (g_w - w * along) / length, (g_x - x * along) / length
    out[2], out[3] = (g_y - y * along) / length, (g_z - z * along) / length


@_jit
def _to_camera(view: Any, x: float, y: float, z: float) -> tuple[float, float, float]:
    return (
        view[0, 0] * x + view[0, 1] * y + view[0, 2] * z,
        view[1, 0] * x + view[1, 1] * y + view[1, 2] * z,
        view[2, 0] * x + view[2, 1] * y + view[2, 2] * z,
    )


@_jit
def _project_axes(R: Any, scale: Any, view: Any, u: float, v: float, zoom_x: float, zoom_y: float, out: Any) -> None:
    """Rows of ``out`` [3, 3]: J W R S's two rows, and the axes' z in the camera's frame."""
    for k in range(3):
        s = float(scale[k])
        bx, by, bz = _to_camera(view, R[0, k] * s, R[1, k] * s, R[2, k] * s)
        out[0, k], out[1, k], out[2, k] = (bx - u * bz) * zoom_x, (by - v * bz) * zoom_y, bz


@_jit
def _forward(
    means: Any, quats: Any, scales: Any, viewmats: Any, Ks: Any, width: int, height: int, eps2d: float, near: float,
    means2d: Any, conics: Any, depths: Any, valid: Any,
) -> None:  # fmt: skip
    R, T = np.empty((3, 3)), np.empty((3, 3))
    for n in range(len(means)):
        _rotation(quats[n], R)
        for i in range(len(viewmats)):
            view = viewmats[i]
            x, y, z = _to_camera(view, means[n, 0], means[n, 1], means[n, 2])
            x, y, z = x + view[0, 3], y + view[1, 3], z + view[2, 3]
            depths[i, n] = z
            valid[i, n] = z > near
            inverse_z = 1 / z if z > near else 1.0
            fx, fy = Ks[i, 0, 0], Ks[i, 1, 1]
            u, v = x * inverse_z, y * inverse_z
            means2d[i, n, 0], means2d[i, n, 1] = fx * u + Ks[i, 0, 2], fy * v + Ks[i, 1, 2]
            limit_u, limit_v = _MARGIN * width / (2 * fx), _MARGIN * height / (2 * fy)
            u, v = min(max(u, -limit_u), limit_u), min(max(v, -limit_v), limit_v)
            _project_axes(R, scales[n], view, u, v, fx * inverse_z, fy * inverse_z, T)
            xx = T[0, 0] ** 2 + T[0, 1] ** 2 + T[0, 2] ** 2
            yy = T[1, 0] ** 2 + T[1, 1] ** 2 + T[1, 2] ** 2
            xy = T[0, 0] * T[1, 0] + T[0, 1] * T[1, 1] + T[0, 2] * T[1, 2]
            cross = (
                (T[0, 1] * T[1, 2] - T[0, 2] * T[1, 1]) ** 2
                + (T[0, 2] * T[1, 0] - T[0, 0] * T[1, 2]) ** 2
                + (T[0, 0] * T[1, 1] - T[0, 1] * T[1, 0]) ** 2
            )
            inverse = 1 / (cross + eps2d * (xx + yy) + eps2d * eps2d)
            conics[i, n, 0] = (yy + eps2d) * inverse
            conics[i, n, 1] = -xy * inverse
            conics[i, n, 2] = (xx + eps2d) * inverse


@_jit
def _backward(
    means: Any, quats: Any, scales: Any, viewmats: Any, Ks: Any, width: int, height: int, near: float, conics: Any,
    grad_means2d: Any, grad_conics: Any, grad_depths: Any, grad_means: Any, grad_quats: Any, grad_scales: Any,
) -> None:  # fmt: skip
    R, T, g_axes = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for n in range(len(means)):
        qw, qx, qy, qz, length = _rotation(quats[n], R)
        g_mx = g_my = g_mz = 0.0
        g_axes[:] = 0.0  # of R S, summed over the views
        for i in range(len(viewmats)):
            view = viewmats[i]
            x, y, z = _to_camera(view, means[n, 0], means[n, 1], means[n, 2])
            x, y, z = x + view[0, 3], y + view[1, 3], z + view[2, 3]
            inverse_z = 1 / z if z > near else 1.0
            fx, fy = Ks[i, 0, 0], Ks[i, 1, 1]
            limit_u, limit_v = _MARGIN * width / (2 * fx), _MARGIN * height / (2 * fy)
            u, v = min(max(x * inverse_z, -limit_u), limit_u), min(max(y * inverse_z, -limit_v), limit_v)
            zoom_x, zoom_y = fx * inverse_z, fy * inverse_z
            _project_axes(R, scales[n], view, u, v, zoom_x, zoom_y, T)

            # Q = S^-1, so dL/dS = -Q (dL/dQ) Q; the two off-diagonals are one number in conics, hence g_xy is doubled.
            a, b, c = float(conics[i, n, 0]), float(conics[i, n, 1]), float(conics[i, n, 2])
            g_a, g_b, g_c = float(grad_conics[i, n, 0]), float(grad_conics[i, n, 1]), float(grad_conics[i, n, 2])
            g_xx = -(a * a * g_a + a * b * g_b + b * b * g_c)
            g_yy = -(b * b * g_a + b * c * g_b + c * c * g_c)
            g_xy = -(2 * a * b * g_a + (b * b + a * c) * g_b + 2 * b * c * g_c)
            g_u = g_v = g_inverse_z = 0.0
            for k in range(3):
                g_tx = 2 * g_xx * T[0, k] + g_xy * T[1, k]
                g_ty = 2 * g_yy * T[1, k] + g_xy * T[0, k]
                g_inverse_z += (g_tx * T[0, k] + g_ty * T[1, k]) / inverse_z
                g_x, g_y = g_tx * zoom_x, g_ty * zoom_y
                g_z = -u * g_x - v * g_y
                g_u -= g_x * T[2, k]
                g_v -= g_y * T[2, k]
                for j in range(3):
                    g_axes[j, k] += view[0, j] * g_x + view[1, j] * g_y + view[2, j] * g_z
            g_u = (g_u if abs(x * inverse_z) <= limit_u else 0.0) + fx * grad_means2d[i, n, 0]
            g_v = (g_v if abs(y * inverse_z) <= limit_v else 0.0) + fy * grad_means2d[i, n, 1]
            g_inverse_z += g_u * x + g_v * y
            g_x, g_y, g_z = g_u * inverse_z, g_v * inverse_z, float(grad_depths[i, n])
            if z > near:
                g_z -= g_inverse_z * inverse_z * inverse_z
            g_mx += view[0, 0] * g_x + view[1, 0] * g_y + view[2, 0] * g_z
            g_my += view[0, 1] * g_x + view[1, 1] * g_y + view[2, 1] * g_z
            g_mz += view[0, 2] * g_x + view[1, 2] * g_y + view[2, 2] * g_z
        grad_means[n, 0], grad_means[n, 1], grad_means[n, 2] = g_mx, g_my, g_mz
        for k in range(3):
            grad_scales[n, k] = g_axes[0, k] * R[0, k] + g_axes[1, k] * R[1, k] + g_axes[2, k] * R[2, k]
            for j in range(3):
                g_axes[j, k] *= scales[n, k]  # now of R
        _rotation_backward(qw, qx, qy, qz, length, g_axes, grad_quats[n])


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, viewmats: Tensor, Ks: Tensor, width: int,
                height: int, eps2d: float, near: float) -> tuple[Tensor, ...]:  # fmt: skip
        inputs = [t.detach().contiguous() for t in (means, quats, scales)]
        # float64 for the few numbers of the cameras: fewer variants to compile, no conversion in the loop
        inputs += [t.detach().to(torch.float64).contiguous() for t in (viewmats, Ks)]
        shape = (len(viewmats), len(means))
        means2d, conics, depths = (means.new_empty(*shape, *tail) for tail in ((2,), (3,), ()))
        valid = torch.empty(shape, dtype=torch.bool)
        outputs = (means2d, conics, depths, valid)
        _forward(*(t.numpy() for t in inputs), width, height, eps2d, near, *(t.numpy() for t in outputs))
        ctx.save_for_backward(*inputs, conics)
        ctx.size = (width, height, near)
        ctx.mark_non_differentiable(valid)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, conics = (t.numpy() for t in ctx.saved_tensors)
        results = [torch.empty_like(t) for t in ctx.saved_tensors[:3]]
        _backward(*inputs, *ctx.size, conics, *(g.contiguous().numpy() for g in grads[:3]),
                  *(t.numpy() for t in results))  # fmt: skip
        return *results, None, None, None, None, None, None


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
    """Compute ``projection.project``, with its arguments and result, for float32 and float64 on the CPU.

    There are no gradients for the cameras.
    """
    means2d, conics, depths, valid = _Project.apply(means, quats, scales, viewmats, Ks, width, height, eps2d, near)
    return Splats(means2d, conics, depths, valid)
