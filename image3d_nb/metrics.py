"""How good a picture or an object is, in numbers that papers use.

Shapes: ... any leading dimensions, H W pixels, N M points, F faces.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .cameras import Cameras, orbit_cameras
from .errors import InputError
from .gaussians import Gaussians
from .mesh import Mesh
from .rendering import render

Points: TypeAlias = NDArray[np.floating] | Tensor


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture.

    Args:
        image: [..., 3, H, W] in [0, 1].
        truth: the same shape, in [0, 1].

    Returns:
        [...] decibels, higher is better; equal pictures give 100, where float32's resolution ends anyway.

    Raises:
        InputError: the shapes differ, or the tensors are not floating point.

    Example:
        >>> float(psnr(torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.1)))  # doctest: +ELLIPSIS
        20.0...
    """
    error = _pair(image, truth).square().mean((-3, -2, -1))
    return -10 * torch.log10(error.clamp(min=1e-10))


def pooled_psnr(image: Tensor, truth: Tensor) -> float:
    """Decibels of the mean squared error over all pictures together: a few bad pictures weigh more than in the mean."""
    return float(-10 * torch.log10(_pair(image, truth).square().mean().clamp(min=1e-10)))


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each picture, on Gaussian windows of 11 pixels.

    Args:
        image: [..., 3, H, W] in [0, 1], at least 11 pixels high and wide.
        truth: the same shape, in [0, 1].

    Returns:
        [...], 1 for equal pictures; channels and window places are averaged, places beyond the border left out.

    Raises:
        InputError: the shapes differ, the tensors are not floating point, or a picture is smaller than the window.

    Source:
        Wang et al. 2004, Image Quality Assessment, equation 13; sigma 1.5, K1 = 0.01, K2 = 0.03.
    """
    _pair(image, truth)
    if min(image.shape[-2:]) < 11:
        raise InputError(f"ssim needs pictures of at least 11 x 11 pixels; got {tuple(image.shape[-2:])}")
    rows, columns = (_windows(side).to(image.device) for side in image.shape[-2:])

    def blur(x: Tensor) -> Tensor:
        return rows @ x @ columns.T

    x, y = (t.float().reshape(-1, 1, *t.shape[-2:]) for t in (image, truth))  # [n*3, 1, H, W]
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    score = score / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return score.mean((-3, -2, -1)).reshape(image.shape[:-2]).mean(-1)


def _windows(side: int) -> Tensor:
    """[side - 10, side]: the Gaussian window at each of its places. A product with it is faster than a convolution."""
    offsets = torch.arange(11, dtype=torch.float32) - 5
    line = torch.exp(-offsets.square() / (2 * 1.5**2))
    band = torch.zeros(side - 10, side)
    for i, weight in enumerate(line / line.sum()):
        band.diagonal(i).fill_(weight)
    return band


def lpips(image: Tensor, truth: Tensor, weights: str | os.PathLike[str]) -> Tensor:
    """Learned perceptual distance of each image, on AlexNet's features.

    Args:
        image: [..., 3, H, W] in [0, 1], at least 64 pixels high and wide.
        truth: the same shape, in [0, 1].
        weights: a .pth or .safetensors file of the state dict of ``lpips.LPIPS(net="alex")`` (package lpips 0.1), which
            has AlexNet's weights, too: ``net.slice1.0.weight`` to ``lin4.model.1.weight``.

    Returns:
        [...], lower is better; 0 for equal images.

    Raises:
        InputError: the shapes differ, the tensors are not floating point, an image is too small, or the file is not
            such a state dict.

    Source:
        Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (arXiv 1801.03924),
        equation 1.
    """
    _pair(image, truth)
    if min(image.shape[-2:]) < 64:
        raise InputError(f"lpips needs images of at least 64 x 64 pixels; got {tuple(image.shape[-2:])}")
    network = _lpips_weights(os.fspath(weights))
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])  # of [-1, 1]
    x = torch.stack([image, truth]).float().reshape(-1, *image.shape[-3:])  # [2 n, 3, H, W]
    x = (2 * x - 1 - shift[:, None, None].to(x.device)) / scale[:, None, None].to(x.device)
    total = torch.zeros((), device=x.device)
    for k, (layer, stride, padding) in enumerate(_ALEXNET):
        if k in (1, 2):
            x = F.max_pool2d(x, 3, 2)
        kernel, bias = (network[f"net.slice{k + 1}.{layer}.{part}"].to(x.device) for part in ("weight", "bias"))
        x = F.conv2d(x, kernel, bias, stride, padding).relu()  # [2 n, C, h, w]
        unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        a, b = unit.chunk(2)  # [n, C, h, w] each
        total = total + F.conv2d((a - b).square(), network[f"lin{k}.model.1.weight"].to(x.device)).mean((1, 2, 3))
    return total.reshape(image.shape[:-3])


_ALEXNET = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))
"""Number in AlexNet's list of layers, stride and padding of each convolution; pooling stands before the 2nd and 3rd."""


@functools.lru_cache(maxsize=1)
def _lpips_weights(path: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        state = load_file(path) if path.endswith(".safetensors") else torch.load(path, "cpu", weights_only=True)
        wanted = {f"net.slice{k + 1}.{layer}.weight" for k, (layer, *_) in enumerate(_ALEXNET)} | {
            "lin4.model.1.weight"
        }
        missing = sorted(wanted - set(state))
    except Exception as error:
        raise InputError(f"weights must be a .pth or .safetensors file of tensors; {path}: {error}") from error
    if missing:
        raise InputError(f'weights must be the state dict of lpips.LPIPS(net="alex"); {path} has no {missing[0]}')
    return {name: value.float() for name, value in state.items()}


def view_consistency(gaussians: Gaussians, views: Tensor, cameras: Cameras | None = None) -> float:
    """How well an object agrees with the views that it was made of: high where the views agree with each other.

    Args:
        gaussians: the object.
        views: [V, 3, H, W] in [0, 1], on white, on the same device.
        cameras: that took the views; None is LGM's four at elevation 0.

    Returns:
        Decibels, the mean over the views of the PSNR of the object's render against the view; higher is better.

    Raises:
        InputError: the views are not one a camera, or not of the cameras' size.
    """
    if cameras is None:
        cameras = orbit_cameras(size=(views.shape[-1], views.shape[-2]))
    drawn = render(gaussians, cameras.to(gaussians.means.device))
    assert isinstance(drawn, Tensor)  # no alpha or depth was asked for
    return float(psnr(drawn.permute(0, 3, 1, 2), views.to(drawn.device)).mean())


def silhouette_iou(alpha: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of two silhouettes, cut at one half.

    Args:
        alpha: [..., H, W] in [0, 1].
        truth: the same shape.

    Returns:
        [...] in [0, 1]; 1 where both are empty.

    Raises:
        InputError: the shapes differ, or the tensors are not floating point.
    """
    _check_pair(alpha, truth, "H, W")
    a, b = alpha > 0.5, truth > 0.5
    union = (a | b).sum((-2, -1))
    return torch.where(union > 0, (a & b).sum((-2, -1)) / union.clamp(min=1), 1.0)


def sample_surface(mesh: Mesh, count: int = 10_000, seed: int = 0) -> NDArray[np.float64]:
    """Random points on a mesh, as many on each face as its area deserves.

    Args:
        mesh: with at least one face that has an area.
        count: of points, 1 or more.
        seed: of the draw; the same seed gives the same points.

    Returns:
        [count, 3], world units.

    Raises:
        InputError: nothing to draw from, or a count below 1.

    Source:
        Osada et al. 2002, Shape Distributions, section 4.2: (1 - sqrt(r1)) A + sqrt(r1) (1 - r2) B + sqrt(r1) r2 C.
    """
    return mesh.points_at(*mesh.random_places(count, seed))


def chamfer(points: Points, truth: Points) -> float:
    """The mean of two means: the distance from each point to the nearest of the other set, both ways; not squared.

    Papers differ: some add the two means instead (twice this), some square the distances. This is the one that reads as
    "so far off, on average".

    Args:
        points: [N, 3], world units; array or tensor.
        truth: [M, 3], world units.

    Returns:
        World units, 0 for equal sets.

    Raises:
        InputError: an empty set, another shape, or NaN.

    Source:
        Mescheder et al. 2019, Occupancy Networks (arXiv 1812.03828), section 4: Chamfer-L1, the mean of accuracy and
        completeness.

    Example:
        >>> chamfer(np.zeros((1, 3)), np.array([[0.0, 0.0, 0.5]]))
        0.5
    """
    there, back = _nearest(points, truth)
    return float((there.mean() + back.mean()) / 2)


def f_score(points: Points, truth: Points, threshold: float) -> float:
    """The harmonic mean of precision (points near the truth) and recall (truth near the points).

    Args:
        points: [N, 3], world units; array or tensor.
        truth: [M, 3], world units.
        threshold: the largest distance that counts as near, world units, above 0.

    Returns:
        In [0, 1]; 1 where all are near.

    Raises:
        InputError: an empty set, another shape, NaN, or a threshold that is not above 0.

    Source:
        Knapitsch et al. 2017, Tanks and Temples, section 3, equations 3 to 5.
    """
    if not threshold > 0:
        raise InputError(f"threshold must be above 0; got {threshold}")
    precision, recall = ((distance <= threshold).mean() for distance in _nearest(points, truth))
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


class Spread(NamedTuple):
    """How numbers are distributed."""

    mean: float
    sd: float  # standard deviation, n - 1 in the denominator; NaN for one number
    low: float  # 95 % interval of the mean; NaN for one number
    high: float
    objects: int


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation, and 95 % interval of the mean by Student's t.

    Args:
        values: one or more numbers.

    Raises:
        InputError: there is none.

    Example:
        >>> spread([1.0, 2.0, 3.0]).mean
        2.0
    """
    from scipy.stats import t

    if not len(values):
        raise InputError("spread must be given at least one number; got none")
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return Spread(mean, math.nan, math.nan, math.nan, 1)
    sd = float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, count - 1)) * sd / math.sqrt(count)
    return Spread(mean, sd, mean - half, mean + half, count)


def _nearest(points: Points, truth: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances [N] to the nearest of the truth, and [M] from each of the truth to the nearest point."""
    from scipy.spatial import cKDTree

    a, b = (_points(values) for values in (points, truth))
    return cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]


def _points(values: Points) -> NDArray[np.float64]:
    array = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array) or not np.isfinite(array).all():
        raise InputError(f"points must be finite and [n, 3] with n of 1 or more; got {array.shape}")
    return array


def _pair(image: Tensor, truth: Tensor) -> Tensor:
    _check_pair(image, truth, "3, H, W")
    return image.float() - truth.float()


def _check_pair(image: Tensor, truth: Tensor, last: str) -> None:
    """Raise InputError unless both have one shape, with dimensions such as "3, H, W" at its end, and are floats."""
    if image.shape != truth.shape or image.ndim < len(last.split()):
        shapes = f"{tuple(image.shape)} and {tuple(truth.shape)}"
        raise InputError(f"two images of one shape [..., {last}] are needed; got {shapes}")
    if not (image.is_floating_point() and truth.is_floating_point()):
        raise InputError(f"images must be floating point, in [0, 1]; got {image.dtype} and {truth.dtype}")
