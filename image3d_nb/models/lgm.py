"""LGM: four views of an object, with the rays of their pixels, become 3D Gaussians. Read it top to bottom.

Source: Tang et al. 2024, LGM: Large Multi-View Gaussian Model (arXiv 2402.05054), section 4. Parameter names are those
of the published weights, and every default is the published "big" model's, so that its files load unchanged.

Shapes: B batch, V = 4 views, C channels, H W pixels of the input, h w of the output (one Gaussian per pixel and view).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ..cameras import LGM_FOVY, LGM_RADIUS
from ..errors import InputError

IMAGE_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's colours, which is subtracted from the input images."""
IMAGE_STD = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's colours, by which the input images are divided."""
ROTATIONS = ("normalized", "identity", "published")
POSITIONS = ("clamp", "ray")
NORMS = ("group", "channel")


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel. On a CPU it takes a third of GroupNorm's time."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _norm(kind: str, groups: int, channels: int, eps: float) -> nn.Module:
    return nn.GroupNorm(groups, channels, eps=eps) if kind == "group" else ChannelNorm(channels, eps=eps)


class ResnetBlock(nn.Module):
    """Residual block with a skip connection. The sum is scaled to keep its variance."""

    def __init__(self, c_in: int, c_out: int, norm: str, groups: int, eps: float, skip_scale: float) -> None:
        super().__init__()
        self.skip_scale = skip_scale
        self.norm1 = _norm(norm, groups, c_in, eps)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = _norm(norm, groups, c_out, eps)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B*V, c_in, H, W] -> [B*V, c_out, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (h + self.shortcut(x)) * self.skip_scale


class Attention(nn.Module):
    """Multi-head self-attention. Queries, keys and values have no bias."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        b, length, c = x.shape
        qkv = self.qkv(x).view(b, length, 3, self.heads, c // self.heads)  # [B, L, 3, heads, C/heads]
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, L, C/heads]
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, length, c))


class MVAttention(nn.Module):
    """Self-attention over all pixels of all views of an object (LGM, section 4.2)."""

    def __init__(
        self, channels: int, heads: int, views: int, norm: str, groups: int, eps: float, skip_scale: float
    ) -> None:
        super().__init__()
        self.views = views
        self.skip_scale = skip_scale
        self.norm = _norm(norm, groups, channels, eps)
        self.attn = Attention(channels, heads)

    def forward(self, x: Tensor) -> Tensor:
        """[B*V, C, H, W] -> [B*V, C, H, W]."""
        rows, c, h, w = x.shape
        tokens = self.norm(x).reshape(rows // self.views, self.views, c, h * w)  # [B, V, C, HW]
        tokens = self.attn(tokens.transpose(2, 3).reshape(-1, self.views * h * w, c))  # [B, V*HW, C]
        tokens = tokens.view(-1, self.views, h * w, c).transpose(2, 3).reshape(rows, c, h, w)
        return (x + tokens) * self.skip_scale


class DownBlock(nn.Module):
    """Residual blocks, each followed by attention if there is any, then half the size."""

    def __init__(self, nets: list[nn.Module], attns: list[nn.Module] | None, channels: int, downsample: bool) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.attns = nn.ModuleList(attns) if attns else None
        self.downsample = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if downsample else None

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B*V, C, H, W] -> [B*V, C', H/2, W/2], and the output of each step, for the way up."""
        kept = []
        for i, net in enumerate(self.nets):
            x = net(x)
            if self.attns is not None:
                x = self.attns[i](x)
            kept.append(x)
        if self.downsample is not None:
            x = self.downsample(x)
            kept.append(x)
        return x, kept


class MidBlock(nn.Module):
    """Residual, attention, residual at the smallest size."""

    def __init__(self, nets: list[nn.Module], attns: list[nn.Module] | None) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.attns = nn.ModuleList(attns) if attns else None

    def forward(self, x: Tensor) -> Tensor:
        """[B*V, C, H, W] -> [B*V, C, H, W]."""
        x = self.nets[0](x)
        for i, net in enumerate(self.nets[1:]):
            if self.attns is not None:
                x = self.attns[i](x)
            x = net(x)
        return x


class UpBlock(nn.Module):
    """Residual blocks that each take one tensor from the way down, then twice the size."""

    def __init__(self, nets: list[nn.Module], attns: list[nn.Module] | None, channels: int, upsample: bool) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.attns = nn.ModuleList(attns) if attns else None
        self.upsample = nn.Conv2d(channels, channels, 3, padding=1) if upsample else None

    def forward(self, x: Tensor, kept: list[Tensor]) -> Tensor:
        """[B*V, C, H, W] -> [B*V, C', 2H, 2W]. Removes its tensors from the end of ``kept``."""
        for i, net in enumerate(self.nets):
            x = net(torch.cat([x, kept.pop()], 1))
            if self.attns is not None:
                x = self.attns[i](x)
        if self.upsample is not None:
            x = self.upsample(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class AsymmetricUNet(nn.Module):
    """A U-Net whose output is smaller than its input, so that there are fewer Gaussians than pixels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        down_channels: Sequence[int],
        down_attention: Sequence[bool],
        mid_attention: bool,
        up_channels: Sequence[int],
        up_attention: Sequence[bool],
        layers_per_block: int,
        num_heads: int,
        views: int,
        norm: str,
        groups: int,
        eps: float,
        skip_scale: float,
    ) -> None:
        super().__init__()

        def block(c_in: int, c_out: int) -> nn.Module:
            return ResnetBlock(c_in, c_out, norm, groups, eps, skip_scale)

        def attention(channels: int) -> nn.Module:
            return MVAttention(channels, num_heads, views, norm, groups, eps, skip_scale)

        channels = down_channels[0]
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        kept = [channels]  # channels of the tensors that the way down keeps
        down: list[nn.Module] = []
        for i, c_out in enumerate(down_channels):
            nets = [block(channels if j == 0 else c_out, c_out) for j in range(layers_per_block)]
            attns = [attention(c_out) for _ in nets] if down_attention[i] else None
            channels, smaller = c_out, i + 1 < len(down_channels)
            down.append(DownBlock(nets, attns, channels, smaller))
            kept += [channels] * (layers_per_block + smaller)
        self.down_blocks = nn.ModuleList(down)

        self.mid_block = MidBlock(
            [block(channels, channels) for _ in range(2)], [attention(channels)] if mid_attention else None
        )
        up: list[nn.Module] = []
        for i, c_out in enumerate(up_channels):
            nets = [block((channels if j == 0 else c_out) + kept.pop(), c_out) for j in range(layers_per_block + 1)]
            attns = [attention(c_out) for _ in nets] if up_attention[i] else None
            channels = c_out
            up.append(UpBlock(nets, attns, channels, i + 1 < len(up_channels)))
        self.up_blocks = nn.ModuleList(up)
        self.norm_out = _norm(norm, groups, channels, eps)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    def features(self, x: Tensor) -> list[Tensor]:
        """[B*V, in, H, W] -> [B*V, C, H/k, W/k] of each step on the way down."""
        x = self.conv_in(x)
        kept = [x]
        for down in self.down_blocks:
            x, more = down(x)
            kept += more
        return kept

    def forward(self, x: Tensor) -> Tensor:
        """[B*V, in, H, W] -> [B*V, out, h, w]."""
        kept = self.features(x)
        x = self.mid_block(kept[-1])
        for up in self.up_blocks:
            x = up(x, kept)
        return self.conv_out(F.silu(self.norm_out(x)))


class LGM(ModelMixin, ConfigMixin):
    """Four views with their rays to Gaussians.

    Args:
        input_size: height and width of the views, pixels.
        splat_size: height and width of the output; 4 * splat_size^2 Gaussians.
        down_channels: channels of the blocks on the way down.
        down_attention: which of these blocks have attention over all views.
        mid_attention: True if the middle block has attention.
        up_channels: channels of the blocks on the way up.
        up_attention: which of these blocks have attention.
        layers_per_block: residual blocks in a down block; an up block has one more.
        num_heads: attention heads.
        num_views: views per object.
        patch_size: pixel-unshuffle before the first convolution; 1 is none.
        head_patch_size: pixel-shuffle after the last 3x3 convolution, so that a pixel of the U-Net's output gives
            head_patch_size^2 Gaussians; 1 is none.
        norm: "group" (published) or "channel" (faster on a CPU).
        norm_groups: groups of GroupNorm.
        norm_eps: added to the variance.
        skip_scale: factor on each residual sum.
        radius: distance of the cameras from the origin, world units.
        fovy: vertical field of view of the cameras, degrees.
        position: "clamp": the channels are the position, clamped to [-1, 1] (published). "ray": the first channel is a
            depth along the pixel's ray, the others are a small step across it.
        depth_range: for "ray", the largest distance along the ray from its point nearest to the origin, world units.
        offset_range: for "ray", the largest step across the ray, world units.
        rgb_residual: True if the network predicts a change of the pixel's colour.
        scale_factor: Gaussians' sizes are scale_factor * softplus, world units.
        opacity_bias: added to the opacity's logit.
        scale_bias: added before the softplus.
        rotation: "normalized": unit quaternions (the *_fixrot* weights). "identity": no rotation, which the weights
            from before that fix were trained with. "published": normalised over all Gaussians instead of each, as the
            published code does with those weights.

    Source:
        LGM, section 4 and its published configuration "big".
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        input_size: int = 256,
        splat_size: int = 128,
        down_channels: Sequence[int] = (64, 128, 256, 512, 1024, 1024),
        down_attention: Sequence[bool] = (False, False, False, True, True, True),
        mid_attention: bool = True,
        up_channels: Sequence[int] = (1024, 1024, 512, 256, 128),
        up_attention: Sequence[bool] = (True, True, True, False, False),
        layers_per_block: int = 2,
        num_heads: int = 16,
        num_views: int = 4,
        patch_size: int = 1,
        head_patch_size: int = 1,
        norm: str = "group",
        norm_groups: int = 32,
        norm_eps: float = 1e-5,
        skip_scale: float = math.sqrt(0.5),
        radius: float = LGM_RADIUS,
        fovy: float = LGM_FOVY,
        position: str = "clamp",
        depth_range: float = 0.75,
        offset_range: float = 0.05,
        rgb_residual: bool = False,
        scale_factor: float = 0.1,
        opacity_bias: float = 0.0,
        scale_bias: float = 0.0,
        rotation: str = "normalized",
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("rotation", rotation, ROTATIONS),
            ("position", position, POSITIONS),
            ("norm", norm, NORMS),
        ):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
        given = head_patch_size * int(input_size // patch_size * 2 ** (len(up_channels) - len(down_channels)))
        if given != splat_size:
            raise InputError(f"splat_size must be the size that the blocks give, {given}; got {splat_size}")
        self.unet = AsymmetricUNet(
            9 * patch_size**2, 14 * head_patch_size**2, down_channels, down_attention, mid_attention, up_channels,
            up_attention, layers_per_block, num_heads, num_views, norm, norm_groups, norm_eps, skip_scale,
        )  # fmt: skip
        self.conv = nn.Conv2d(14, 14, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Predict the 14 raw channels of each output pixel.

        Args:
            x: [B, V, 9, H, W]: colours minus IMAGE_MEAN, divided by IMAGE_STD, then the rays of ``plucker_rays``.

        Returns:
            [B, V, 14, h, w], before any activation.
        """
        maps = F.pixel_shuffle(self.unet(self._rows(x)), self.config.head_patch_size)  # [B*V, 14, h, w]
        return self.conv(maps).unflatten(0, (-1, self.config.num_views))  # [B, V, 14, h, w]

    def features(self, x: Tensor) -> list[Tensor]:
        """What the network sees in the views: what each step of its way down makes of them.

        Args:
            x: [B, V, 9, H, W], as for :meth:`forward`.

        Returns:
            for each step [B*V, C, h, w], the finest first.
        """
        return self.unet.features(self._rows(x))

    def _rows(self, x: Tensor) -> Tensor:
        """[B, V, 9, H, W] -> [B*V, 9*p*p, H/p, W/p] for patches of p pixels."""
        size, views = self.config.input_size, self.config.num_views
        if x.ndim != 5 or tuple(x.shape[1:]) != (views, 9, size, size):
            raise InputError(f"x must be [B, {views}, 9, {size}, {size}]; got {tuple(x.shape)}")
        rows = x.flatten(0, 1)
        return F.pixel_unshuffle(rows, self.config.patch_size) if self.config.patch_size > 1 else rows

    def gaussians(self, x: Tensor, rotation: str | None = None) -> Tensor:
        """Predict Gaussians in LGM's layout.

        Args:
            x: [B, V, 9, H, W], as for :meth:`forward`.
            rotation: used instead of the configuration's; None is the configuration's.

        Returns:
            [B, N, 14], N = V*h*w: position 3, opacity 1, scale 3, rotation 4 (wxyz), rgb 3, all activated; see
            ``Gaussians.from_lgm``. Always float32: float16 cannot hold small scales.
        """
        raw = self.forward(x).float()
        position, opacity, scale, quats, color = raw.split([3, 1, 3, 4, 3], 2)
        position = position.clamp(-1, 1) if self.config.position == "clamp" else self._along_rays(x, position)
        if self.config.rgb_residual:
            color = color + self._input_logits(x)
        parts = [
            position,
            torch.sigmoid(opacity + self.config.opacity_bias),
            self.config.scale_factor * F.softplus(scale + self.config.scale_bias),
            quats,
            0.5 * torch.tanh(color) + 0.5,
        ]
        rows = torch.cat(parts, 2).permute(0, 1, 3, 4, 2).flatten(1, 3)  # [B, V*h*w, 14]
        position, opacity, scale, quats, color = rows.split([3, 1, 3, 4, 3], -1)
        return torch.cat([position, opacity, scale, self._rotate(quats, rotation or self.config.rotation), color], -1)

    @staticmethod
    def _rotate(quats: Tensor, rotation: str) -> Tensor:
        """[B, N, 4] raw channels to quaternions."""
        if rotation == "identity":
            return torch.tensor([1.0, 0.0, 0.0, 0.0], device=quats.device).expand_as(quats)
        # dim 1 runs over the Gaussians: an error in the published code, kept for comparisons with it
        return F.normalize(quats, dim=-1 if rotation == "normalized" else 1)

    def _shrink(self, maps: Tensor) -> Tensor:
        """[B, V, C, H, W] -> [B, V, C, h, w], the mean of each output pixel's patch."""
        patch = self.config.input_size // self.config.splat_size
        return F.avg_pool2d(maps.flatten(0, 1).float(), patch).unflatten(0, maps.shape[:2])

    def _input_logits(self, x: Tensor) -> Tensor:
        """[B, V, 3, h, w], the input's colours before the activation: 0.5 tanh + 0.5 gives the colours again."""
        mean, std = (torch.tensor(color, device=x.device).view(3, 1, 1) for color in (IMAGE_MEAN, IMAGE_STD))
        rgb = self._shrink(x[:, :, :3]) * std + mean
        return torch.atanh((2 * rgb - 1).clamp(-0.99, 0.99))  # atanh(1) is infinite

    def _along_rays(self, x: Tensor, raw: Tensor) -> Tensor:
        """[B, V, 3, h, w], a point on each pixel's ray, moved a little across it."""
        moment, direction = self._shrink(x[:, :, 3:]).split([3, 3], 2)
        direction = F.normalize(direction, dim=2)
        nearest = torch.linalg.cross(direction, moment, dim=2)  # the ray's point nearest to the origin
        up = torch.zeros_like(direction)
        up[:, :, 1] = 1.0
        right = F.normalize(torch.linalg.cross(direction, up, dim=2), dim=2)
        above = torch.linalg.cross(right, direction, dim=2)
        depth, across, along = torch.tanh(raw).split(1, 2)
        step = across * right + along * above
        return nearest + self.config.depth_range * depth * direction + self.config.offset_range * step
