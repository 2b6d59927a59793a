"""Gaussians seen from all around: for each direction, how far away the nearest surface is, from both sides.

The projection is orthographic (parallel rays), so one sorted list serves two views: front to back it shows the side
that faces the viewer, back to front the side behind.

Shapes: V directions, N Gaussians, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._jit import njit
from .cloud import Cloud, Grid

Floats = NDArray[np.floating[Any]]

OVERSAMPLING = 2.0  # pixels a cell
LEAK = 3.0  # cells that a pinhole's depth lies behind the surface around it, at least
_AROUND, _NEARER = 3, 36  # pixels to each side of a pinhole, and how many of these 48 lie nearer
BLUR = 0.3  # pixels squared, added to each projected covariance, so that none falls between pixels (3DGS does so)
ALPHA_MIN = 1 / 128  # a Gaussian is drawn as far as it hides this share of what is behind
_DEPTH = 8  # the column of a splat that it is sorted by
TILE = 8  # pixels; where a tile needs no more light, Gaussians are passed over
_FAST = {"contract", "reassoc", "arcp", "nsz"}
_jit = njit(nogil=True, fastmath=_FAST, error_model="numpy")


@dataclass(frozen=True)
class DepthView:
    """What parallel rays along one direction meet first, and what rays the other way meet first.

    A point p of the world is at ``rotation @ p`` = (right, down, along), world units; pixel [y, x] is the ray through
    right = corner[0] + (x + 0.5) pixel, down = corner[1] + (y + 0.5) pixel.

    Attributes:
        rotation: [3, 3] float64, world to view; its last row is the direction in which the viewer looks.
        corner: [2] float64, right and down at the picture's upper left corner, world units.
        pixel: width of a pixel, world units.
        front: [H, W] float32, how far along the direction the median of the front surface is; NaN where the ray
            passes by (the Gaussians hide less than half of what is behind).
        back: [H, W] float32, the same for the surface that somebody on the other side sees; at least ``front``.
        leaks: the share of the object's pixels through which light leaked; they are mended in ``front`` and ``back``.
    """

    rotation: Floats
    corner: Floats
    pixel: float
    front: Floats
    back: Floats
    leaks: float = 0.0


def view_directions() -> list[Floats]:
    """Directions in four rounds, each [n, 3], unit length; with their opposites, twice as many views.

    13 of a cube (its faces' middles, corners and edges' middles), then three times 12 that fill the gaps between them.
    What is deep inside something hollow is seen only by who looks almost straight in.
    """
    every = np.array([steps for steps in product(range(-2, 3), repeat=3) if steps > (0, 0, 0)])  # of opposites, one
    every = every[np.gcd.reduce(every, axis=1) == 1]  # (2, 2, 0) looks where (1, 1, 0) does
    lengths = np.sort(np.abs(every), axis=1)
    rounds = [lengths[:, 2] == 1, *((lengths == shape).all(1) for shape in ((0, 1, 2), (1, 1, 2), (1, 2, 2)))]
    return [every[chosen] / np.linalg.norm(every[chosen], axis=1, keepdims=True) for chosen in rounds]


def depth_views(
    cloud: Cloud, grid: Grid, directions: Floats | None = None, oversampling: float = OVERSAMPLING
) -> Iterator[DepthView]:
    """Draw the median depth of the Gaussians along each direction.

    The median is where half the light is gone: a real surface. The mean would lie in the air between the rim of a
    front part and what is behind it.

    Args:
        cloud: N Gaussians.
        grid: what the pictures must cover.
        directions: [V, 3]; None: the first round of :func:`view_directions`.
        oversampling: pixels a cell.

    Yields:
        V views.
    """
    for direction in view_directions()[0] if directions is None else directions:
        rotation, corner, pixel, width, height = _window(grid, direction, oversampling)
        front, back = _draw(cloud, rotation, corner, pixel, width, height)
        leaks = mend(front, back, LEAK * grid.cell)
        yield DepthView(rotation, corner, pixel, front, back, leaks)


def seen(cloud: Cloud, grid: Grid, margin: float) -> NDArray[np.bool_]:
    """Which Gaussians lie at the first surface that somebody sees from one of six sides, or before it: [N].

    Args:
        cloud: N Gaussians.
        grid: around them.
        margin: how far behind the surface still counts, world units.
    """
    found = np.zeros(len(cloud), bool)
    for view in depth_views(cloud, grid, np.eye(3), 1.0):
        place = cloud.means @ view.rotation.T  # [N, 3]: right, down, along
        x, y = ((place[:, :2] - view.corner) / view.pixel).astype(int).T
        # no surface is NaN, and nothing is before it: what hides less than half of the light is not seen
        found |= (place[:, 2] <= view.front[y, x] + margin) | (place[:, 2] >= view.back[y, x] - margin)
    return found


def mend(front: Floats, back: Floats, step: float) -> float:
    """Close the pinholes of a view, in place: pixels where light leaks through a skin that is closed around them.

    A pixel is a pinhole if the surface lies nearer, by ``step`` or more, at three quarters of the 48 pixels around it.
    It takes their mean depth. An edge, a corner or a slit has fewer such pixels and stays; a hole of two cells across
    is too small for a volume to hold.

    Args:
        front: [H, W] float32; NaN where the ray passes by.
        back: [H, W] float32.
        step: world units.

    Returns:
        The share of the object's pixels that were pinholes, on the side that has more.
    """
    covered = int(np.isfinite(front).sum())
    near = np.where(np.isnan(front), np.float32(np.inf), front)
    far = np.where(np.isnan(back), np.float32(np.inf), -back)
    found = max(_mend(near, front, np.float32(1), step), _mend(far, back, np.float32(-1), step))
    front[np.isnan(back)] = np.nan
    back[np.isnan(front)] = np.nan
    np.maximum(front, back, out=back)
    return found / max(covered, 1)


def hidden_light(cloud: Cloud, grid: Grid, direction: Floats) -> Floats:
    """The optical depths, -log of the share of light that passes, of the pixels along a direction where some is hidden.

    Returns:
        [n], from 0.1 to about 20; at least one.
    """
    rotation, corner, pixel, width, height = _window(grid, direction, 1.0)
    splats = np.empty((len(cloud), 11))
    _project(cloud.means, cloud.covariances, cloud.opacities, rotation, corner, pixel, splats)
    left = np.ones((height, width), np.float32)
    _median_depth(splats, 0.0, left, np.empty_like(left))
    depths = -np.log(np.maximum(left, 1e-9))
    return depths[depths > 0.1] if (depths > 0.1).any() else np.array([0.1])


def _window(grid: Grid, direction: Floats, oversampling: float) -> tuple[Floats, Floats, float, int, int]:
    """Rotation, corner, pixel, width and height of a picture along a direction that covers the grid."""
    pixel = grid.cell / oversampling
    corners = grid.origin + grid.cell * np.array(list(product(*((0, n - 1) for n in grid.shape))))  # [8, 3]
    rotation = _looking_along(direction)
    seen = corners @ rotation.T  # [8, 3]
    corner = seen[:, :2].min(0) - pixel
    width, height = (int(n) for n in np.ceil((seen[:, :2].max(0) - corner) / pixel).astype(int) + 1)
    return rotation, corner, pixel, width, height


def _looking_along(direction: Floats) -> Floats:
    """[3, 3], world to view: right, down, along; right-handed."""
    along = direction / np.linalg.norm(direction)
    helper = np.eye(3)[np.argmin(np.abs(along))]
    right = np.cross(helper, along)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(along, right), along])


def _draw(
    cloud: Cloud, rotation: Floats, corner: Floats, pixel: float, width: int, height: int
) -> tuple[Floats, Floats]:
    splats = np.empty((len(cloud), 11))
    _project(cloud.means, cloud.covariances, cloud.opacities, rotation, corner, pixel, splats)
    splats = splats[_near_to_far(splats[:, _DEPTH].astype(np.float32))]
    surfaces = []
    for ordered in (splats, splats[::-1]):
        depth = np.full((height, width), np.nan, np.float32)
        _median_depth(ordered, 0.5, np.ones((height, width), np.float32), depth)
        surfaces.append(depth)
    front, back = surfaces
    front[np.isnan(back)] = np.nan  # rounding: one way just enough may be hidden, the other way not
    back[np.isnan(front)] = np.nan
    return front, np.maximum(front, back)


def _near_to_far(depths: NDArray[np.float32]) -> NDArray[np.int64]:
    """A stable argsort, 5x faster: floats from 1 to 2 sort as their bits do, with the index in the low half."""
    low, high = depths.min(), depths.max()
    keys = ((depths - low) / max(high - low, np.float32(1e-30)) + np.float32(1)).view(np.int32).astype(np.int64) << 32
    keys |= np.arange(len(depths))
    keys.sort()
    return keys & 0xFFFFFFFF


@_jit
def _project(
    means: Any, covariances: Any, opacities: Any, rotation: Any, corner: Any, pixel: float, splats: Any
) -> None:
    """Fill ``splats`` [N, 11]: centre x, y, half width, height (pixels); conic xx, xy, yy; reach; depth and its slopes.

    The reach is the q up to which opacity exp(-q/2) is at least ALPHA_MIN; the slopes are a pixel in x and in y.
    """
    half, turned = np.empty((3, 3)), np.empty((3, 3))
    for n in range(len(means)):
        for i in range(3):
            splats[n, i] = rotation[i, 0] * means[n, 0] + rotation[i, 1] * means[n, 1] + rotation[i, 2] * means[n, 2]
            for j in range(3):
                half[i, j] = 0.0
                for k in range(3):
                    half[i, j] += rotation[i, k] * covariances[n, k, j]
        for i in range(2):
            for j in range(i, 3):
                turned[i, j] = half[i, 0] * rotation[j, 0] + half[i, 1] * rotation[j, 1] + half[i, 2] * rotation[j, 2]
        xx, xy, yy = turned[0, 0] / pixel**2 + BLUR, turned[0, 1] / pixel**2, turned[1, 1] / pixel**2 + BLUR
        det = xx * yy - xy * xy
        a, b, c = yy / det, -xy / det, xx / det
        reach = max(2.0 * math.log(opacities[n] / ALPHA_MIN), 0.0)
        splats[n, 8] = splats[n, 2]
        splats[n, 0], splats[n, 1] = (splats[n, 0] - corner[0]) / pixel, (splats[n, 1] - corner[1]) / pixel
        splats[n, 2], splats[n, 3] = math.sqrt(reach * xx), math.sqrt(reach * yy)
        splats[n, 4], splats[n, 5], splats[n, 6], splats[n, 7] = a, b, c, reach
        # Along a ray dx, dy pixels off the centre a Gaussian is densest where the conditional mean of the depth is:
        # cov(depth, (x, y)) times the inverse of cov((x, y)) times (dx, dy).
        to_x, to_y = turned[0, 2] / pixel, turned[1, 2] / pixel
        splats[n, 9], splats[n, 10] = to_x * a + to_y * b, to_x * b + to_y * c


@_jit
def _median_depth(splats: Any, goal: float, left: Any, depth: Any) -> None:
    """Splat by splat, take light from ``left`` [H, W]; where it falls to ``goal``, write ``depth`` [H, W] and stop."""
    height, width = left.shape
    lit = np.full((height // TILE + 1, width // TILE + 1), TILE * TILE)  # pixels a tile that wait for their surface
    for n in range(len(splats)):
        x_mean, y_mean, wide, tall = splats[n, 0], splats[n, 1], splats[n, 2], splats[n, 3]
        x0, x1 = max(math.ceil(x_mean - wide - 0.5), 0), min(math.floor(x_mean + wide - 0.5), width - 1)
        y0, y1 = max(math.ceil(y_mean - tall - 0.5), 0), min(math.floor(y_mean + tall - 0.5), height - 1)
        hidden = True
        for ty in range(y0 // TILE, y1 // TILE + 1):
            for tx in range(x0 // TILE, x1 // TILE + 1):
                hidden &= lit[ty, tx] <= 0
        if hidden:
            continue
        a, b, c, reach = splats[n, 4], splats[n, 5], splats[n, 6], splats[n, 7]
        det, opacity = a * c - b * b, math.exp(0.5 * reach) * ALPHA_MIN
        for y in range(y0, y1 + 1):
            dy = y + 0.5 - y_mean
            root = reach * a - det * dy * dy  # a dx^2 + 2 b dx dy + c dy^2 = reach, solved for dx
            if not root >= 0.0:
                continue
            half, middle = math.sqrt(root) / a, x_mean - b * dy / a - 0.5
            x0, x1 = max(math.ceil(middle - half), 0), min(math.floor(middle + half), width - 1)
            for x in range(x0, x1 + 1):
                light = left[y, x]
                if light > goal:
                    dx = x + 0.5 - x_mean
                    light *= 1.0 - min(opacity * math.exp(-0.5 * (a * dx * dx + (2.0 * b * dx + c * dy) * dy)), 0.99)
                    left[y, x] = light
                    if light <= goal:
                        depth[y, x] = splats[n, _DEPTH] + splats[n, 9] * dx + splats[n, 10] * dy
                        lit[y // TILE, x // TILE] -= 1


@_jit
def _mend(depth: Any, mended: Any, sign: Any, step: float) -> int:
    """Write ``sign`` times the mean depth around each pinhole of ``depth`` (infinite where a ray passes by)."""
    height, width = depth.shape
    found, most = 0, (2 * _AROUND + 1) ** 2 - 1 - _NEARER
    for y in range(_AROUND, height - _AROUND):
        for x in range(_AROUND, width - _AROUND):
            limit = min(depth[y, x], np.float32(1e30)) - step  # infinity is not nearer than infinity
            total, missed = 0.0, 0
            for v in range(y - _AROUND, y + _AROUND + 1):
                for u in range(x - _AROUND, x + _AROUND + 1):
                    if depth[v, u] <= limit:
                        total += depth[v, u]
                    else:
                        missed += 1  # the pixel itself too
                if missed > most + 1:
                    break
            if missed <= most + 1:
                mended[y, x] = sign * total / ((2 * _AROUND + 1) ** 2 - missed)
                found += 1
    return found
