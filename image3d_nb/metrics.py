"""How good a picture or an object is, in numbers that papers use.

Shapes: ... any leading dimensions, H W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture.

    Args:
        image: [..., 3, H, W] in [0, 1].
        truth: the same shape, in [0, 1].

    Returns:
        [...] decibels, higher is better; equal pictures give 100, where float32's resolution ends anyway.

    Raises:
        InputError: the shapes differ.

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
        InputError: the shapes differ, or a picture is smaller than the window.

    Source:
        Wang et al. 2004, Image Quality Assessment, equation 13; sigma 1.5, K1 = 0.01, K2 = 0.03.
    """
    _pair(image, truth)
    if min(image.shape[-2:]) < 11:
        raise InputError(f"ssim needs pictures of at least 11 x 11 pixels; got {tuple(image.shape[-2:])}")
    offsets = torch.arange(11, dtype=torch.float32, device=image.device) - 5
    line = torch.exp(-offsets.square() / (2 * 1.5**2))
    window = torch.outer(line, line) / line.sum() ** 2  # [11, 11]

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(x, window[None, None])

    x, y = (t.float().reshape(-1, 1, *t.shape[-2:]) for t in (image, truth))  # [n*3, 1, H, W]
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    score = score / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return score.mean((-3, -2, -1)).reshape(image.shape[:-2]).mean(-1)


def silhouette_iou(alpha: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of two silhouettes, cut at one half.

    Args:
        alpha: [..., H, W] in [0, 1].
        truth: the same shape.

    Returns:
        [...] in [0, 1]; 1 where both are empty.
    """
    a, b = alpha > 0.5, truth > 0.5
    union = (a | b).sum((-2, -1))
    return torch.where(union > 0, (a & b).sum((-2, -1)) / union.clamp(min=1), 1.0)


def _pair(image: Tensor, truth: Tensor) -> Tensor:
    if image.shape != truth.shape or image.ndim < 3:
        raise InputError(
            f"two pictures of one shape [..., 3, H, W] are needed; got {tuple(image.shape)} and {tuple(truth.shape)}"
        )
    return image.float() - truth.float()
