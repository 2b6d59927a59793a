"""The multi-view U-Net of MVDream and ImageDream: noisy views of one object become less noisy. Read it top to bottom.

Sources: Shi et al. 2023, MVDream (arXiv 2308.16512), section 3; Wang and Shi 2023, ImageDream (arXiv 2312.02201),
section 3; Rombach et al. 2022, Latent Diffusion, whose U-Net and parameter names these are. Every default is the
published value of ImageDream, so that its files load unchanged; ``ip_dim=0`` is MVDream.

Shapes: B batch, F frames (the views, and in ImageDream the image as one more frame), rows = B*F, C channels,
H W pixels of the latents, L tokens.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from ..errors import InputError
from .lgm import ChannelNorm

CONDITIONS = ("frame", "channels")
KeyValue: TypeAlias = "tuple[Tensor, Tensor]"
"""Keys and values of one attention, each [rows, heads, L, C/heads]."""
KeyValues: TypeAlias = "list[list[KeyValue]]"
"""For each cross-attention, in the order they run: keys and values of the text, then of the image tokens if any."""


def timestep_embedding(timesteps: Tensor, channels: int, max_period: float = 10_000) -> Tensor:
    """Encode a time as sines and cosines of falling frequencies.

    Args:
        timesteps: [rows], in float32: bfloat16 cannot hold them (501 becomes 500).
        channels: even.
        max_period: period of the slowest, in steps.

    Returns:
        [rows, channels] float32, cosines first.

    Source:
        Vaswani et al. 2017, section 3.5, with cosines first as in Dhariwal and Nichol 2021.
    """
    half = channels // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=timesteps.device) / half)
    angles = timesteps.float()[:, None] * frequencies  # [rows, C/2]
    return torch.cat([angles.cos(), angles.sin()], -1)


class ResBlock(nn.Module):
    """Residual block with a skip connection. Time and camera are added between its convolutions."""

    def __init__(self, c_in: int, c_out: int, embed: int, norm: str, groups: int, eps: float) -> None:
        super().__init__()

        def norm_of(channels: int) -> nn.Module:
            return nn.GroupNorm(groups, channels, eps=eps) if norm == "group" else ChannelNorm(channels, eps=eps)

        self.in_layers = nn.Sequential(norm_of(c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed, c_out))
        # the Identity takes the place of the published code's dropout of 0, which the parameter names count
        self.out_layers = nn.Sequential(norm_of(c_out), nn.SiLU(), nn.Identity(), nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip_connection = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """[rows, c_in, H, W] and [rows, E] -> [rows, c_out, H, W]."""
        h = self.in_layers(x) + self.emb_layers(embedding)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class CrossAttention(nn.Module):
    """Attention to a context, or self-attention. Image tokens at the context's end have separate keys and values."""

    def __init__(self, channels: int, context: int, head_dim: int, ip_dim: int = 0, ip_weight: float = 1.0) -> None:
        super().__init__()
        self.heads = channels // head_dim
        self.ip_dim = ip_dim
        self.ip_weight = ip_weight
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context, channels, bias=False)
        self.to_v = nn.Linear(context, channels, bias=False)
        if ip_dim:
            self.to_k_ip = nn.Linear(context, channels, bias=False)
            self.to_v_ip = nn.Linear(context, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [rows, heads, L, C/heads]

    def _attend(self, q: Tensor, kv: KeyValue) -> Tensor:
        return F.scaled_dot_product_attention(q, *kv).transpose(1, 2).flatten(2)  # [rows, L, C]

    def precompute_kv(self, context: Tensor) -> list[KeyValue]:
        """Compute keys and values of a context [rows, L', C']. They are the same for all denoising steps."""
        text = context[:, : context.shape[1] - self.ip_dim]
        kv = [(self._split(self.to_k(text)), self._split(self.to_v(text)))]
        if self.ip_dim:
            image = context[:, -self.ip_dim :]
            kv.append((self._split(self.to_k_ip(image)), self._split(self.to_v_ip(image))))
        return kv

    def forward(self, x: Tensor, kv: list[KeyValue] | None = None) -> Tensor:
        """[rows, L, C] and :meth:`precompute_kv`'s result (None: of x itself) -> [rows, L, C]."""
        kv = self.precompute_kv(x) if kv is None else kv
        q = self._split(self.to_q(x))
        out = self._attend(q, kv[0])
        if self.ip_dim:
            out = out + self.ip_weight * self._attend(q, kv[1])
        return self.to_out(out)


class GEGLU(nn.Module):
    """A linear layer gated by a second one (Shazeer 2020, equation 5)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(c_in, 2 * c_out)

    def forward(self, x: Tensor) -> Tensor:
        """[..., c_in] -> [..., c_out]."""
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Two linear layers, four times wider in between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # the Identity takes the place of the published code's dropout of 0, which the parameter names count
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention over all frames of an object, cross-attention, feed-forward (MVDream, section 3.1)."""

    def __init__(self, channels: int, context: int, head_dim: int, ip_dim: int, ip_weight: float) -> None:
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, head_dim)
        self.ff = FeedForward(channels)
        self.attn2 = CrossAttention(channels, context, head_dim, ip_dim, ip_weight)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, x: Tensor, kv: list[KeyValue], num_frames: int) -> Tensor:
        """[rows, L, C] and the context's keys and values, one per row or one per object -> [rows, L, C]."""
        rows, length, channels = x.shape
        joint = self.norm1(x).view(rows // num_frames, num_frames * length, channels)  # [B, F*L, C]
        x = x + self.attn1(joint).view(rows, length, channels)
        # queries are independent: those of all frames of an object can attend to its one context together
        queries = self.norm2(x).view(kv[0][0].shape[0], -1, channels)  # [rows, L, C] or [B, F*L, C]
        x = x + self.attn2(queries, kv).view(rows, length, channels)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks on pixels as tokens, with a skip connection."""

    def __init__(
        self, channels: int, context: int, head_dim: int, depth: int, groups: int, eps: float, ip_dim: int,
        ip_weight: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=eps)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, context, head_dim, ip_dim, ip_weight) for _ in range(depth)
        )
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, kv: Iterator[list[KeyValue]], num_frames: int) -> Tensor:
        """[rows, C, H, W] -> [rows, C, H, W]. Takes one item of ``kv`` for each block."""
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))  # [rows, HW, C]
        for block in self.transformer_blocks:
            tokens = block(tokens, next(kv), num_frames)
        return x + self.proj_out(tokens).transpose(1, 2).reshape(x.shape)


class Downsample(nn.Module):
    """Half the size by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, C, H, W] -> [rows, C, H/2, W/2]."""
        return self.op(x)


class Upsample(nn.Module):
    """Twice the size by repetition and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, C, H, W] -> [rows, C, 2H, 2W]."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class PerceiverAttention(nn.Module):
    """Attention of learned queries to the image's tokens and to themselves (Alayrac et al. 2022, section 3.1.1)."""

    def __init__(self, channels: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.to_q = nn.Linear(channels, heads * head_dim, bias=False)
        self.to_kv = nn.Linear(channels, 2 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, channels, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """Tokens [rows, L, C] and queries [rows, Q, C] -> [rows, Q, C]."""
        x, latents = self.norm1(x), self.norm2(latents)
        k, v = self.to_kv(torch.cat([x, latents], 1)).chunk(2, -1)  # each [rows, L+Q, heads*head_dim]
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(latents), k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Resampler(nn.Module):
    """CLIP's tokens of an image become a few tokens for the U-Net (IP-Adapter plus, Ye et al. 2023)."""

    def __init__(
        self, channels: int, queries: int, width: int, layers: int, heads: int, head_dim: int, ff_mult: int
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, queries, channels) / channels**0.5)
        self.proj_in = nn.Linear(width, channels)
        self.proj_out = nn.Linear(channels, channels)
        self.norm_out = nn.LayerNorm(channels)
        wide = ff_mult * channels

        def feed_forward() -> nn.Module:
            return nn.Sequential(
                nn.LayerNorm(channels),
                nn.Linear(channels, wide, bias=False),
                nn.GELU(),
                nn.Linear(wide, channels, bias=False),
            )

        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(channels, heads, head_dim), feed_forward()]) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """CLIP's penultimate hidden states [rows, 257, width] -> [rows, queries, C]."""
        latents = self.latents.expand(x.shape[0], -1, -1)
        x = self.proj_in(x)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = latents + attention(x, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))


class MultiViewUNetModel(ModelMixin, ConfigMixin):
    """Predicts the noise of several views of one object at once, or the views: the scheduler says which.

    Args:
        image_size: height and width of the latents, pixels.
        in_channels: channels of the noisy frames.
        out_channels: channels of the prediction.
        model_channels: channels of the first level.
        num_res_blocks: residual blocks per level.
        attention_resolutions: downsampling factors of the levels that have transformers.
        channel_mult: channels of the levels, in multiples of ``model_channels``.
        num_head_channels: channels of an attention head.
        transformer_depth: blocks in a transformer.
        context_dim: channels of the context's tokens.
        camera_dim: numbers per camera; see ``pipelines.mvdream.camera_rows``.
        ip_dim: image tokens; 0 for a model without CLIP's image encoder.
        ip_weight: factor on the attention to the image tokens.
        ip_width: channels of CLIP's hidden states.
        ip_layers: layers of the Resampler.
        ip_heads: attention heads of the Resampler.
        ip_head_dim: channels of an attention head of the Resampler.
        ip_ff_mult: width of the Resampler's feed-forward, in multiples of ``context_dim``.
        max_period: period of the timestep's slowest sine, in steps.
        norm: of the residual blocks: "group" (published) or "channel" (faster on a CPU).
        norm_groups: groups of GroupNorm.
        norm_eps: added to the variance.
        transformer_norm_eps: the same, in the transformers' GroupNorm.
        condition: how ``ip_img`` enters: "frame" (published) as the last frame, "channels" beside each frame.
        condition_mirror: with "channels", adds its mirror image: left and right are swapped in a view from behind.
        residual_frame: with "channels", the frame whose prediction is added to the condition; None for none.
        patch_size: pixel-unshuffle before the first convolution, undone after the last; 1 is none.
        gate_steps: multiplies the noisy frames by 1 - t / (gate_steps - 1), so that the pure noise of the last step
            has no effect; 0 is no gate.

    Source:
        The module's docstring; the published ``unet/config.json``.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        image_size: int = 32,
        in_channels: int = 4,
        out_channels: int = 4,
        model_channels: int = 320,
        num_res_blocks: int = 2,
        attention_resolutions: Sequence[int] = (4, 2, 1),
        channel_mult: Sequence[int] = (1, 2, 4, 4),
        num_head_channels: int = 64,
        transformer_depth: int = 1,
        context_dim: int = 1024,
        camera_dim: int = 16,
        ip_dim: int = 16,
        ip_weight: float = 1.0,
        ip_width: int = 1280,
        ip_layers: int = 4,
        ip_heads: int = 12,
        ip_head_dim: int = 64,
        ip_ff_mult: int = 4,
        max_period: int = 10_000,
        norm: str = "group",
        norm_groups: int = 32,
        norm_eps: float = 1e-5,
        transformer_norm_eps: float = 1e-6,
        condition: str = "frame",
        condition_mirror: bool = False,
        residual_frame: int | None = None,
        patch_size: int = 1,
        gate_steps: int = 0,
    ) -> None:
        super().__init__()
        if condition not in CONDITIONS:
            raise InputError(f"condition must be one of {', '.join(CONDITIONS)}; got {condition!r}")
        embed = 4 * model_channels

        def block(c_in: int, c_out: int) -> nn.Module:
            return ResBlock(c_in, c_out, embed, norm, norm_groups, norm_eps)

        def transformer(channels: int) -> nn.Module:
            return SpatialTransformer(
                channels, context_dim, num_head_channels, transformer_depth, norm_groups, transformer_norm_eps,
                ip_dim, ip_weight,
            )  # fmt: skip

        if ip_dim:
            self.image_embed = Resampler(context_dim, ip_dim, ip_width, ip_layers, ip_heads, ip_head_dim, ip_ff_mult)
        self.time_embed = nn.Sequential(nn.Linear(model_channels, embed), nn.SiLU(), nn.Linear(embed, embed))
        self.camera_embed = nn.Sequential(nn.Linear(camera_dim, embed), nn.SiLU(), nn.Linear(embed, embed))

        images = 1 if condition == "frame" else 3 if condition_mirror else 2
        channels, factor = model_channels, 1
        first = nn.Conv2d(images * in_channels * patch_size**2, channels, 3, padding=1)
        down, kept = [nn.ModuleList([first])], [channels]
        for level, mult in enumerate(channel_mult):
            for _ in range(num_res_blocks):
                layers = [block(channels, mult * model_channels)]
                channels = mult * model_channels
                layers += [transformer(channels)] if factor in attention_resolutions else []
                down.append(nn.ModuleList(layers))
                kept.append(channels)
            if level + 1 < len(channel_mult):
                down.append(nn.ModuleList([Downsample(channels)]))
                kept.append(channels)
                factor *= 2
        self.input_blocks = nn.ModuleList(down)
        self.middle_block = nn.ModuleList([block(channels, channels), transformer(channels), block(channels, channels)])
        up = []
        for level, mult in reversed(list(enumerate(channel_mult))):
            for i in range(num_res_blocks + 1):
                layers = [block(channels + kept.pop(), mult * model_channels)]
                channels = mult * model_channels
                layers += [transformer(channels)] if factor in attention_resolutions else []
                if level and i == num_res_blocks:
                    layers.append(Upsample(channels))
                    factor //= 2
                up.append(nn.ModuleList(layers))
        self.output_blocks = nn.ModuleList(up)
        self.out = nn.Sequential(
            nn.GroupNorm(norm_groups, channels, eps=norm_eps) if norm == "group" else ChannelNorm(channels, norm_eps),
            nn.SiLU(),
            nn.Conv2d(channels, out_channels * patch_size**2, 3, padding=1),
        )

    @apply_forward_hook
    def precompute_kv(self, context: Tensor, ip: Tensor | None = None) -> KeyValues:
        """Run the Resampler and compute all keys and values, which are the same for all denoising steps.

        Args:
            context: [rows, L, context_dim], the prompt's tokens; or [B, ...], one per object instead of one per row.
            ip: [rows or B, 257, ip_width], CLIP's penultimate hidden states, or None.

        Returns:
            Keys and values of every cross-attention: pass them to :meth:`forward` as ``context``.

        Raises:
            InputError: the configuration needs an image that is missing.
        """
        if self.config.ip_dim and ip is None:
            raise InputError("ip must be given: this model was built with image tokens (ip_dim > 0); got None")
        if ip is not None:
            context = torch.cat([context, self.image_embed(ip.to(context.dtype))], 1)  # [rows, L + ip_dim, C']
        order = [*self.input_blocks, self.middle_block, *self.output_blocks]
        places = [layer for layers in order for layer in layers.children() if isinstance(layer, SpatialTransformer)]
        blocks = [block for place in places for block in place.transformer_blocks]
        return [block.attn2.precompute_kv(context) for block in blocks if isinstance(block, TransformerBlock)]

    def look_at(self, context: Tensor, ip: Tensor | None = None) -> KeyValues:
        """Deprecated name of :meth:`precompute_kv`, kept for one release."""
        warnings.warn("MultiViewUNetModel.look_at is now precompute_kv", DeprecationWarning, stacklevel=2)
        return self.precompute_kv(context, ip)

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | KeyValues,
        camera: Tensor,
        num_frames: int,
        ip: Tensor | None = None,
        ip_img: Tensor | None = None,
    ) -> Tensor:
        """Predict from noisy frames.

        Args:
            x: [rows, in_channels, H, W], the noisy frames; rows = B * num_frames, frames of one object together.
            timesteps: [rows], 0 to 999, float32.
            context: [rows, L, context_dim], the prompt's tokens; or the result of :meth:`precompute_kv`.
            camera: [rows, camera_dim].
            num_frames: frames per object; with condition "frame" and an image, the image's frame counts.
            ip: [rows, 257, ip_width], CLIP's penultimate hidden states, or None. Not used if ``context`` is
                precomputed.
            ip_img: [B, in_channels, H, W], the image: it replaces the last frame, or is added beside each frame.

        Returns:
            [rows, out_channels, H, W].

        Raises:
            InputError: the rows do not divide by the frames, or the configuration needs an image that is missing.
        """
        if x.shape[0] % num_frames:
            raise InputError(f"x must have a multiple of num_frames = {num_frames} rows; got {x.shape[0]}")
        kv = iter(self.precompute_kv(context, ip) if isinstance(context, Tensor) else context)
        if self.config.condition == "channels" and ip_img is None:
            raise InputError('ip_img must be given: this model was built with condition="channels"; got None')
        condition = None
        if self.config.gate_steps:
            gate = 1 - timesteps.float() / (self.config.gate_steps - 1)
            x = x * gate.to(x.dtype)[:, None, None, None]
        if ip_img is not None and self.config.condition == "frame":
            x = x.clone()
            x[num_frames - 1 :: num_frames] = ip_img.to(x.dtype)
        elif ip_img is not None:
            condition = ip_img.to(x.dtype).repeat_interleave(num_frames, 0)  # [rows, in, H, W]
            mirror = [condition.flip(-1)] if self.config.condition_mirror else []
            x = torch.cat([x, condition, *mirror], 1)

        times = timestep_embedding(timesteps, self.config.model_channels, self.config.max_period).to(x.dtype)
        embedding = self.time_embed(times) + self.camera_embed(camera.to(x.dtype))  # [rows, 4 * model_channels]
        h = F.pixel_unshuffle(x, self.config.patch_size)
        kept = []
        for layers in self.input_blocks:
            h = self._run(layers.children(), h, embedding, kv, num_frames)
            kept.append(h)
        h = self._run(self.middle_block.children(), h, embedding, kv, num_frames)
        for layers in self.output_blocks:
            h = self._run(layers.children(), torch.cat([h, kept.pop()], 1), embedding, kv, num_frames)
        out = F.pixel_shuffle(self.out(h), self.config.patch_size)  # [rows, out, H, W]
        if condition is None or self.config.residual_frame is None:
            return out
        front = torch.arange(num_frames, device=x.device) == self.config.residual_frame
        return out + condition * front.repeat(x.shape[0] // num_frames)[:, None, None, None]

    @staticmethod
    def _run(
        layers: Iterable[nn.Module], h: Tensor, embedding: Tensor, kv: Iterator[list[KeyValue]], num_frames: int
    ) -> Tensor:
        """Run one level's layers, each with the inputs that it takes."""
        for layer in layers:
            if isinstance(layer, ResBlock):
                h = layer(h, embedding)
            elif isinstance(layer, SpatialTransformer):
                h = layer(h, kv, num_frames)
            else:
                h = layer(h)
        return h
