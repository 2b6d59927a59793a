"""Splatter Image: one image becomes one Gaussian for each of its pixels. Read it top to bottom.

Source: Szymanowicz et al. 2024, Splatter Image (arXiv 2312.13150), section 3. The network is the DDPM++ U-Net of Song
et al. 2021 (arXiv 2011.13456, appendix H) as Karras et al. 2022 configure it (arXiv 2206.00364, table 7), without its
noise level. Parameter names are those of the published file's ``model_state_dict``, and every default is the published
value of the Objaverse model. The file also holds buffers (``ray_dirs``, ``resample_filter``, ...), which this class
computes.

Space: the camera's, OpenCV axes: x right, y down, z forward.

Shapes: B images, C channels, H W pixels, N = H W Gaussians, pixel by pixel, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ..errors import InputError

CHANNELS = (1, 3, 1, 3, 4, 3, 9)
"""Channels of each pixel: depth, offset, opacity, scale, quaternion, colour, view-dependent colour."""


class SplatterOutput(NamedTuple):
    """Gaussians of one image, in the camera's space.

    Attributes:
        means: [N, 3], world units.
        quats: [N, 4], wxyz, unit.
        scales: [N, 3], linear, world units.
        opacities: [N], in [0, 1].
        sh: [N, 4, 3], spherical-harmonic colours of degree 0 and 1.
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor


class UNetBlock(nn.Module):
    """Residual block, optionally at half or twice the size, optionally with attention over all pixels."""

    def __init__(
        self, c_in: int, c_out: int, norm_groups: int, eps: float, skip_scale: float, resample: str = "",
        attention: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()

        def norm(channels: int) -> nn.Module:
            return nn.GroupNorm(min(norm_groups, channels // 4), channels, eps=eps)

        self.resample = resample
        self.skip_scale = skip_scale
        self.norm0 = norm(c_in)
        self.conv0 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm1 = norm(c_out)
        self.conv1 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if resample or c_in != c_out else nn.Identity()
        self.norm2 = norm(c_out) if attention else None
        self.qkv = nn.Conv2d(c_out, 3 * c_out, 1) if attention else None
        self.proj = nn.Conv2d(c_out, c_out, 1) if attention else None

    def _resize(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the mean of each 2 x 2 pixels ("down"), each pixel four times ("up"), or x itself ("")."""
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.resample == "up" else x

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_in, H, W] -> [B, c_out, H', W']."""
        h = self.conv0(self._resize(F.silu(self.norm0(x))))
        h = self.conv1(F.silu(self.norm1(h)))
        x = (h + self.skip(self._resize(x))) * self.skip_scale
        if self.norm2 is None or self.qkv is None or self.proj is None:
            return x
        # channel 3c + {0, 1, 2} is query, key, value of channel c; one head
        q, k, v = self.qkv(self.norm2(x)).flatten(2).unflatten(1, (-1, 3)).transpose(1, 3).unbind(2)  # [B, HW, C]
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return (x + self.proj(attended)) * self.skip_scale


class UNet(nn.Module):
    """A U-Net whose blocks are named by their size in pixels."""

    def __init__(
        self, image_size: int, in_channels: int, out_channels: int, base_channels: int, channel_mult: Sequence[int],
        num_blocks: int, attention_resolutions: Sequence[int], norm_groups: int, eps: float, skip_scale: float,
    ) -> None:  # fmt: skip
        super().__init__()

        def block(c_in: int, c_out: int, resample: str = "", attention: bool = False) -> nn.Module:
            return UNetBlock(c_in, c_out, norm_groups, eps, skip_scale, resample, attention)

        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        channels, kept = base_channels, [base_channels]
        self.enc[f"{image_size}x{image_size}_conv"] = nn.Conv2d(in_channels, base_channels, 3, padding=1)
        for level, mult in enumerate(channel_mult):
            size, c_out = image_size >> level, mult * base_channels
            if level:
                self.enc[f"{size}x{size}_down"] = block(channels, channels, "down")
                kept.append(channels)
            for i in range(num_blocks):
                attention = size in attention_resolutions
                self.enc[f"{size}x{size}_block{i}"] = block(channels, c_out, attention=attention)
                channels = c_out
                kept.append(channels)
        for level, mult in reversed(list(enumerate(channel_mult))):
            size, c_out = image_size >> level, mult * base_channels
            if level + 1 == len(channel_mult):
                self.dec[f"{size}x{size}_in0"] = block(channels, channels, attention=True)
                self.dec[f"{size}x{size}_in1"] = block(channels, channels)
            else:
                self.dec[f"{size}x{size}_up"] = block(channels, channels, "up")
            for i in range(num_blocks + 1):
                attention = i == num_blocks and size in attention_resolutions
                self.dec[f"{size}x{size}_block{i}"] = block(channels + kept.pop(), c_out, attention=attention)
                channels = c_out
        groups = min(norm_groups, channels // 4)
        self.dec[f"{image_size}x{image_size}_aux_norm"] = nn.GroupNorm(groups, channels, eps=eps)
        self.dec[f"{image_size}x{image_size}_aux_conv"] = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H, W]."""
        kept = []
        for layer in self.enc.values():
            x = layer(x)
            kept.append(x)
        for name, layer in self.dec.items():
            if "_block" in name:
                x = torch.cat([x, kept.pop()], 1)
            elif "_aux_conv" in name:
                x = F.silu(x)
            x = layer(x)
        return x


class SplatterImage(ModelMixin, ConfigMixin):
    """One image to Gaussians.

    Args:
        image_size: height and width of the image, pixels.
        fovy: vertical field of view of the camera, degrees.
        znear: smallest depth, world units.
        zfar: largest depth, world units.
        base_channels: channels of the first level.
        channel_mult: channels of the levels, in multiples of ``base_channels``.
        num_blocks: blocks per level on the way down; the way up has one more.
        attention_resolutions: sizes, in pixels, of the levels that have attention.
        norm_groups: most groups of a GroupNorm; a group has at least 4 channels.
        norm_eps: added to the variance.
        skip_scale: factor on each residual sum.

    Source:
        The module's docstring; the published configuration of the Objaverse model.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        image_size: int = 128,
        fovy: float = 49.134342641202636,
        znear: float = 0.8,
        zfar: float = 3.2,
        base_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        num_blocks: int = 4,
        attention_resolutions: Sequence[int] = (16,),
        norm_groups: int = 32,
        norm_eps: float = 1e-6,
        skip_scale: float = math.sqrt(0.5),
    ) -> None:
        super().__init__()
        smallest = 2 ** (len(channel_mult) - 1)
        if image_size % smallest:
            raise InputError(f"image_size must be a multiple of {smallest}; got {image_size}")
        outputs = sum(CHANNELS)
        unet = UNet(
            image_size, 3, outputs, base_channels, channel_mult, num_blocks, attention_resolutions, norm_groups,
            norm_eps, skip_scale,
        )  # fmt: skip
        self.network_with_offset = nn.ModuleDict({"encoder": unet, "out": nn.Conv2d(outputs, outputs, 1)})

    def forward(self, images: Tensor) -> Tensor:
        """Predict the raw channels of each pixel.

        Args:
            images: [B, 3, H, W] in [0, 1], on white, H = W = image_size.

        Returns:
            [B, 24, H, W], before any activation, in the order of :data:`CHANNELS`.

        Raises:
            InputError: wrong shape.
        """
        size = self.config.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise InputError(f"images must be [B, 3, {size}, {size}]; got {tuple(images.shape)}")
        raw: Tensor = self.network_with_offset["out"](self.network_with_offset["encoder"](images))
        return raw

    def gaussians(self, images: Tensor) -> list[SplatterOutput]:
        """Predict Gaussians.

        Args:
            images: [B, 3, H, W] in [0, 1], on white, H = W = image_size.

        Returns:
            The Gaussians of each image, float32, in the camera's space. To turn them into the world:
            ``Gaussians(**output._asdict()).transform(c2w)``, with OpenCV axes.

        Raises:
            InputError: wrong shape.
        """
        size, config = self.config.image_size, self.config
        pixels = self.forward(images).float().flatten(2).transpose(1, 2)  # [B, N, 24]
        depth, offset, opacity, scale, quats, color, color1 = pixels.split(CHANNELS, -1)
        focal = size / 2 / math.tan(math.radians(config.fovy) / 2)  # pixels
        side = (torch.arange(size, device=pixels.device) + 0.5 - size / 2) / focal
        v, u = torch.meshgrid(side, side, indexing="ij")  # [H, W]
        rays = torch.stack([u, v, torch.ones_like(u)], -1).flatten(0, 1)  # [N, 3], at depth 1
        depth = config.znear + (config.zfar - config.znear) * torch.sigmoid(depth)  # along z, not along the ray
        means = rays * depth + offset
        sh = torch.cat([color[:, :, None], color1.unflatten(-1, (3, 3))], 2)  # [B, N, 4, 3]
        columns = (means, F.normalize(quats, dim=-1), torch.exp(scale), torch.sigmoid(opacity)[..., 0], sh)
        return [SplatterOutput(*row) for row in zip(*columns, strict=True)]
