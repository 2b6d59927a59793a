"""Cover the visible surface of Gaussians with small flat discs that carry an image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._jit import njit
from ..cameras import Cameras
from ..gaussians import SH_C0, Gaussians
from . import numba_projection
from .numba_splats import _front_to_back, _reach, _row
from .reference import ALPHA_MAX

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

WHITE = 0.97  # a pixel whose darkest channel is above is white
STOPPED = 0.4  # the surface is where this share of a pixel's light is stopped; half lies 0.03 too deep in a haze
INSET = 1.2  # pixels of a 256-pixel image between the outline and the discs: a disc covers more than its block
SIGMA = 0.55  # a disc's standard deviation, in block sizes
THICKNESS = 0.25  # a disc's thickness, at least, as a part of its width
SLOPE = 1.2  # the largest change of depth from pixel to pixel, in pixel sizes
RECESS = 0.005  # world units by which discs lie behind the surface: from aside, small splats look larger than they are
JUMP = 4.0  # the steepest surface that is covered, depth over width: steeper, it is the gap between two parts
MARGIN = 0.002  # world units; Gaussians less than this behind the surface are replaced as well
FLAT = 0.04  # the largest difference of colours around a block that one disc covers
OPACITY = 0.9  # of a disc before the fit

_ALPHA_MAX = ALPHA_MAX


@njit(nogil=True, error_model="numpy")
def _stops(
    order: Any, means: Any, conics: Any, opacities: Any, depths: Any, share: float, depth: Any, light: Any
) -> None:
    """Write the depth [H, W] of the Gaussian that brings a pixel's transmittance below ``share`` of what is stopped.

    Two passes: the first leaves the final transmittance in ``light`` [H, W].
    """
    height, width = light.shape
    total = np.ones((height, width), np.float32)
    for turn in range(2):
        light[:] = 1.0
        for rank in range(len(order)):
            n = order[rank]
            a, b, c = float(conics[n, 0]), float(conics[n, 1]), float(conics[n, 2])
            mean_x, mean_y, opacity = float(means[n, 0]), float(means[n, 1]), float(opacities[n])
            q_max_a, det, y0, y1 = _reach(mean_y, a, b, c, opacity, height)
            for y in range(y0, y1):
                dy = y + 0.5 - mean_y
                x0, x1 = _row(mean_x - b / a * dy - 0.5, q_max_a, det, a, dy, width)
                for x in range(x0, x1):
                    if light[y, x] < 1e-3:
                        continue
                    dx = x + 0.5 - mean_x
                    alpha = min(opacity * math.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy)), _ALPHA_MAX)
                    before = light[y, x]
                    light[y, x] = before * (1 - alpha)
                    level = 1 - share * (1 - total[y, x])
                    if turn == 1 and before >= level and light[y, x] < level:
                        depth[y, x] = depths[n]
        if turn == 0:
            total[:] = light


def surface_depth(gaussians: Gaussians, camera: Cameras) -> tuple[Floats, Floats]:
    """Depth [H, W] of the surface in world units along the camera's axis, 0 where nothing is, and alpha [H, W]."""
    means2d, conics, depths, valid = numba_projection.project(
        gaussians.means, gaussians.quats, gaussians.scales, camera.viewmats, camera.Ks, camera.width, camera.height
    )
    depth = np.zeros((camera.height, camera.width), np.float32)
    light = np.ones((camera.height, camera.width), np.float32)
    order = _front_to_back(depths[0].numpy(), valid[0].numpy())
    arrays = (means2d[0].numpy(), conics[0].numpy(), gaussians.opacities.numpy(), depths[0].numpy())
    _stops(order, *arrays, STOPPED, depth, light)
    return depth, 1 - light


def object_pixels(target: Tensor, alpha: Floats | None, seen: Floats) -> Mask:
    """[H, W] bool: pixels of the object: by the image's alpha, else all that is not white and what it encloses.

    An enclosed white region belongs to the object where the Gaussians are opaque: a white spot, not a handle's hole.
    """
    if alpha is not None and (alpha < 0.5).mean() > 0.001:
        return np.asarray(alpha >= 0.5)
    from scipy import ndimage

    coloured = target.numpy().min(-1) < WHITE  # [H, W]
    enclosed = ndimage.binary_fill_holes(coloured) & ~coloured
    regions, count = ndimage.label(enclosed)
    if count:
        solid = ndimage.mean(seen, regions, np.arange(1, count + 1)) > 0.8
        coloured |= np.isin(regions, 1 + np.flatnonzero(solid))
    return np.asarray(coloured)


def _complete(depth: Floats, seen: Floats, inside: Mask) -> Floats:
    """Depth at every pixel: smoothed without crossing edges, and continued where the Gaussians show nothing."""
    from scipy import ndimage

    known = (depth > 0) & (seen > 0.5) & inside
    if not known.any():
        known = depth > 0
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    full = depth[tuple(nearest)]
    full = ndimage.median_filter(full, size=max(3, depth.shape[0] // 36 | 1))
    weight = ndimage.gaussian_filter(inside.astype(np.float32), depth.shape[0] / 128)
    return np.asarray(ndimage.gaussian_filter(full * inside, depth.shape[0] / 128) / np.maximum(weight, 1e-6))


def _gradient(depth: Floats, limit: Floats) -> tuple[Floats, Floats]:
    """d depth / d column and / d row, the smaller of both one-sided differences (no bridge across an edge), limited."""
    result = []
    for axis in (1, 0):
        step = np.diff(depth, axis=axis)
        pad = [(0, 0), (0, 0)]
        pad[axis] = (1, 0)
        before = np.pad(step, pad, mode="edge")
        pad[axis] = (0, 1)
        after = np.pad(step, pad, mode="edge")
        smaller = np.where(np.abs(before) < np.abs(after), before, after)
        result.append(np.clip(smaller, -limit, limit))
    return result[0], result[1]


def _blocks(target: Floats, inside: Mask) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """(block size, rows, columns of the upper left pixels): large blocks where colours hardly change."""
    from scipy import ndimage

    height, width = inside.shape
    left = inside.copy()
    found = []
    for size in (4, 2, 1):
        rows, columns = np.arange(0, height - size + 1, size), np.arange(0, width - size + 1, size)
        corner = np.ix_(rows, columns)
        if size > 1:
            window = 2 * size
            spread = ndimage.maximum_filter(target, (window, window, 1)) - ndimage.minimum_filter(
                target, (window, window, 1)
            )
            calm = (spread.max(-1) < FLAT) & ndimage.minimum_filter(inside, (window + 1, window + 1))
            # a filter's window is centred on size // 2 pixels after its corner: look it up in the block's middle
            fits = calm[np.ix_(rows + size // 2, columns + size // 2)] & left[corner]
        else:
            fits = left[corner]
        y, x = np.nonzero(fits)
        y, x = rows[y], columns[x]
        for j in range(size):
            for i in range(size):
                left[y + j, x + i] = False
        found.append((size, y, x))
    return found


def cover(
    gaussians: Gaussians, camera: Cameras, target: Tensor, depth: Floats, seen: Floats, inside: Mask
) -> tuple[Gaussians, Tensor]:
    """Make the discs, and find the Gaussians that they replace.

    Args:
        gaussians: N Gaussians, float32, on the CPU.
        camera: one camera.
        target: [H, W, 3], in [0, 1].
        depth: [H, W], of :func:`surface_depth`.
        seen: [H, W], its alpha.
        inside: [H, W], the object's pixels.

    Returns:
        M discs of degree 0; and [N] bool, the Gaussians in front of the surface.
    """
    from scipy import ndimage

    full = _complete(depth, seen, inside)
    inset = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1] > INSET * camera.height / 256
    spread = ndimage.maximum_filter(full, 5) - ndimage.minimum_filter(full, 5)
    inset &= spread < JUMP * 5 * full / float(camera.Ks[0, 0, 0])
    covered = inset if inset.any() else inside
    full = full + RECESS
    image, share = _unmixed(target.numpy(), inside)
    return _discs(camera, image, share, full, covered), _in_front(gaussians, camera, full, covered)


def _discs(camera: Cameras, image: Floats, share: Floats, depth: Floats, covered: Mask) -> Gaussians:
    """One disc a block, in the surface's tangent plane."""
    from scipy.spatial.transform import Rotation

    focal = float(camera.Ks[0, 0, 0])
    du, dv = _gradient(depth, SLOPE * depth / focal)
    parts = []
    for size, y, x in _blocks(image, covered):
        v, u = y + size // 2, x + size // 2
        z = depth[v, u, None]  # [M, 1]
        ones = np.ones(len(y))
        ray = np.stack(
            ((x + size / 2 - camera.width / 2) / focal, (y + size / 2 - camera.height / 2) / focal, ones), -1
        )
        # the point is z ray; its derivatives by column and row span the tangent plane
        along_x = size * (ray * du[v, u, None] + z * np.array([1 / focal, 0, 0]))
        along_y = size * (ray * dv[v, u, None] + z * np.array([0, 1 / focal, 0]))
        rgb = np.mean([image[y + j, x + i] for j in range(size) for i in range(size)], axis=0)
        parts.append((z * ray, along_x, along_y, rgb, OPACITY * share[v, u]))
    points, along_x, along_y, rgb, opacities = (np.concatenate(part) for part in zip(*parts, strict=True))
    covariances = SIGMA**2 * (along_x[:, :, None] * along_x[:, None] + along_y[:, :, None] * along_y[:, None])
    variances, axes = np.linalg.eigh(covariances)  # [M, 3] ascending, the first is 0; [M, 3, 3]
    scales = np.sqrt(np.maximum(variances, 0))
    scales = np.maximum(scales, THICKNESS * scales[:, 1:2])
    axes[:, :, 0] *= np.linalg.det(axes)[:, None]  # a rotation, no reflection
    to_world = torch.linalg.inv(camera.viewmats[0].double()).numpy()
    quats = Rotation.from_matrix(to_world[:3, :3] @ axes).as_quat()[:, [3, 0, 1, 2]]
    means = points @ to_world[:3, :3].T + to_world[:3, 3]
    fields = (means, quats, scales, opacities, (rgb[:, None] - 0.5) / SH_C0)
    return Gaussians(*(torch.from_numpy(np.asarray(field, np.float32)) for field in fields))


def _unmixed(image: Floats, inside: Mask) -> tuple[Floats, Floats]:
    """The object's colours [H, W, 3] without the white that its edge pixels mix in, and its share [H, W] of each."""
    from scipy import ndimage

    core = ndimage.binary_erosion(inside, iterations=2)
    if not core.any():
        core = inside
    nearest = ndimage.distance_transform_edt(~core, return_distances=False, return_indices=True)
    pure = np.where(inside[..., None] & ~core[..., None], image[tuple(nearest)], image)
    dark, mixed = 1 - pure, 1 - image
    share = (dark * mixed).sum(-1) / np.maximum((dark * dark).sum(-1), 1e-3)
    # an edge pixel that differs otherwise than by white has a colour of its own
    fits = np.abs(mixed - share[..., None] * dark).max(-1) < 0.1
    pure = np.where(fits[..., None], pure, image).astype(np.float32)
    return pure, np.where(fits & ~core, np.clip(share, 0.05, 1), 1).astype(np.float32)


def reaching_out(gaussians: Gaussians, camera: Cameras, inside: Mask) -> Tensor:
    """[N], the share of a box of two standard deviations around the projection that lies outside the object.

    Of the box's part within the image; 0 where there is none.
    """
    height, width = inside.shape
    means2d, conics, _, valid = numba_projection.project(
        gaussians.means, gaussians.quats, gaussians.scales, camera.viewmats, camera.Ks, width, height
    )
    a, b, c = conics[0].unbind(-1)
    det = a * c - b * b
    reach = 2 * torch.sqrt(torch.stack((c, a), -1) / det[:, None])  # [N, 2]
    limit = torch.tensor([width, height])
    low = torch.minimum((means2d[0] - reach).floor().clamp(min=0), limit).long()
    high = torch.minimum((means2d[0] + reach).ceil().clamp(min=0), limit).long()
    table = torch.from_numpy(np.pad((~inside).cumsum(0).cumsum(1), ((1, 0), (1, 0))))
    (x0, y0), (x1, y1) = low.unbind(-1), high.unbind(-1)
    count = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    return torch.where(valid[0], count / ((x1 - x0) * (y1 - y0)).clamp(min=1), 0.0)


def _in_front(gaussians: Gaussians, camera: Cameras, full: Floats, inside: Mask) -> Tensor:
    """[N] bool: the centre lies in front of the surface, inside the object's outline."""
    view = camera.viewmats[0]
    local = gaussians.means @ view[:3, :3].T + view[:3, 3]
    z = local[:, 2].clamp(min=1e-3)
    focal = float(camera.Ks[0, 0, 0])
    u = (local[:, 0] / z * focal + camera.width / 2).floor().long().clamp(0, camera.width - 1)
    v = (local[:, 1] / z * focal + camera.height / 2).floor().long().clamp(0, camera.height - 1)
    surface = torch.from_numpy(np.where(inside, full, 0).astype(np.float32))[v, u]
    return local[:, 2] < surface + MARGIN
