"""TripoSR: one image becomes a triplane, and the triplane a density and a colour at any point. Read it top to bottom.

Source: Tochilkin et al. 2024, TripoSR (arXiv 2403.02151); Hong et al. 2023, LRM (arXiv 2311.04400), section 3.
Parameter names are those of the published ``model.ckpt``, and every default is the published value. The file also holds
``image_tokenizer.model.pooler.dense``, which the model does not use and this class does not have.

World: TripoSR's own, right-handed: z up, y to the right of the front view, x towards the viewer. This project's
(x, y, z) is TripoSR's (y, z, x).

Shapes: B images, S pixels of the image, T patches, C channels, P texels of a plane's side, L = 3 P^2 tokens, K features
of a plane, N points.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ..errors import InputError


class ViTLayer(nn.Module):
    """Self-attention and feed-forward, each with a LayerNorm before it and a skip connection."""

    def __init__(self, channels: int, heads: int, ff_channels: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        # ModuleDicts give the parameters the published names
        projections = {name: nn.Linear(channels, channels) for name in ("query", "key", "value")}
        output = {"dense": nn.Linear(channels, channels)}
        self.attention = nn.ModuleDict({"attention": nn.ModuleDict(projections), "output": nn.ModuleDict(output)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(channels, ff_channels)})
        self.output = nn.ModuleDict({"dense": nn.Linear(ff_channels, channels)})
        self.layernorm_before = nn.LayerNorm(channels, eps=eps)
        self.layernorm_after = nn.LayerNorm(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1+T, C] -> [B, 1+T, C]."""
        normed = self.layernorm_before(x)
        q, k, v = (
            layer(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, 1+T, C/heads]
            for layer in self.attention["attention"].children()
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # [B, 1+T, C]
        x = x + self.attention.get_submodule("output.dense")(attended)
        hidden = F.gelu(self.intermediate["dense"](self.layernorm_after(x)))  # [B, 1+T, ff]
        return x + self.output["dense"](hidden)


class Embeddings(nn.Module):
    """Patches of an image as tokens, after a class token, with learned positions."""

    def __init__(self, channels: int, patch_size: int, table_size: int) -> None:
        super().__init__()
        self.table_size = table_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + table_size**2, channels))
        self.patch_embeddings = nn.ModuleDict(
            {"projection": nn.Conv2d(3, channels, kernel_size=patch_size, stride=patch_size)}
        )

    def positions(self, patches: int) -> Tensor:
        """Enlarge the learned table for patches x patches tokens: [1, 1 + patches^2, C], the class token first."""
        if patches == self.table_size:
            return self.position_embeddings
        table = self.position_embeddings[:, 1:].transpose(1, 2).unflatten(-1, (self.table_size, self.table_size))
        # the published code adds 0.1 to the number of patches, and the coordinates follow this factor
        factor = (patches + 0.1) / self.table_size
        table = F.interpolate(table, scale_factor=factor, mode="bicubic", align_corners=False)  # [1, C, n, n]
        return torch.cat([self.position_embeddings[:, :1], table.flatten(2).transpose(1, 2)], 1)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S], normalised -> [B, 1+T, C]."""
        patches = self.patch_embeddings["projection"](images)  # [B, C, n, n]
        tokens = patches.flatten(2).transpose(1, 2)  # [B, T, C]
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1)
        return tokens + self.positions(patches.shape[-1])


class ViT(nn.Module):
    """A vision transformer with DINO's layout (Caron et al. 2021, arXiv 2104.14294)."""

    def __init__(
        self, channels: int, layers: int, heads: int, ff_channels: int, eps: float, patch_size: int, table_size: int
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(channels, patch_size, table_size)
        blocks = [ViTLayer(channels, heads, ff_channels, eps) for _ in range(layers)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(blocks)})
        self.layernorm = nn.LayerNorm(channels, eps=eps)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S], normalised -> [B, 1+T, C], the class token first."""
        x = self.embeddings(images)
        for layer in self.encoder["layer"].children():
            x = layer(x)
        return self.layernorm(x)


class TriplaneTokens(nn.Module):
    """Learned queries: one token for each texel of the three planes, the same for every image."""

    def __init__(self, channels: int, plane_size: int) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.randn(3, channels, plane_size, plane_size) / channels**0.5)

    def forward(self, batch: int) -> Tensor:
        """[B, C, L], plane by plane, row by row."""
        tokens = self.embeddings.transpose(0, 1).flatten(1)  # [C, L]
        return tokens.expand(batch, -1, -1)


class Attention(nn.Module):
    """Multi-head attention to a context. Queries, keys and values have no bias."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context, channels, bias=False)
        self.to_v = nn.Linear(context, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[B, L, C] and [B, L', C'] -> [B, L, C]."""
        q, k, v = (
            rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, L, C/heads]
            for rows in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    """A linear layer gated by a second one (Shazeer 2020, equation 5)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(c_in, 2 * c_out)

    def forward(self, x: Tensor) -> Tensor:
        """[..., c_in] -> [..., c_out]."""
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class Block(nn.Module):
    """Self-attention of the triplane's tokens, attention to the image's tokens, feed-forward."""

    def __init__(self, channels: int, context: int, heads: int, ff_mult: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn1 = Attention(channels, channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.attn2 = Attention(channels, context, heads)
        self.norm3 = nn.LayerNorm(channels, eps=eps)
        wide = ff_mult * channels
        # the Identity takes the place of the published code's dropout of 0, which the parameter names count
        layers = nn.Sequential(GEGLU(channels, wide), nn.Identity(), nn.Linear(wide, channels))
        self.ff = nn.ModuleDict({"net": layers})

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[B, L, C] and [B, 1+T, C'] -> [B, L, C]."""
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff["net"](self.norm3(x))


class Backbone(nn.Module):
    """Transformer blocks with a skip connection around all of them."""

    def __init__(
        self, plane_channels: int, context: int, layers: int, heads: int, head_dim: int, ff_mult: int,
        norm_groups: int, group_norm_eps: float, layer_norm_eps: float,
    ) -> None:  # fmt: skip
        super().__init__()
        channels = heads * head_dim
        self.norm = nn.GroupNorm(norm_groups, plane_channels, eps=group_norm_eps)
        self.proj_in = nn.Linear(plane_channels, channels)
        self.transformer_blocks = nn.ModuleList(
            Block(channels, context, heads, ff_mult, layer_norm_eps) for _ in range(layers)
        )
        self.proj_out = nn.Linear(channels, plane_channels)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """[B, C, L] and the image's tokens [B, 1+T, C'] -> [B, C, L]."""
        narrow = tokens.to(context.dtype)  # the blocks may be in another type than the tokens
        x = self.proj_in(self.norm(narrow).transpose(1, 2))  # [B, L, heads * head_dim]
        for block in self.transformer_blocks:
            x = block(x, context)
        return tokens + self.proj_out(x).transpose(1, 2)


class Upsampler(nn.Module):
    """Tokens to planes of twice the size."""

    def __init__(self, plane_channels: int, features: int, plane_size: int) -> None:
        super().__init__()
        self.plane_size = plane_size
        self.upsample = nn.ConvTranspose2d(plane_channels, features, kernel_size=2, stride=2)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, C, L] -> [B, 3, K, 2P, 2P]."""
        planes = tokens.unflatten(-1, (3, self.plane_size, self.plane_size)).transpose(1, 2)  # [B, 3, C, P, P]
        return self.upsample(planes.flatten(0, 1)).unflatten(0, (-1, 3))


class Decoder(nn.Module):
    """The features of a point to its raw density and colour."""

    def __init__(self, features: int, channels: int, hidden_layers: int) -> None:
        super().__init__()
        widths = [3 * features, *[channels] * hidden_layers]
        layers: list[nn.Module] = []
        for c_in, c_out in itertools.pairwise(widths):
            layers += [nn.Linear(c_in, c_out), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(channels, 4))

    def forward(self, features: Tensor) -> Tensor:
        """[N, 3 K] -> [N, 4], density and red, green, blue before their activations."""
        return self.layers(features)


class TripoSR(ModelMixin, ConfigMixin):
    """One image to a triplane, and points of the triplane to density and colour.

    Args:
        image_size: height and width of the image, pixels.
        image_mean: mean of the image's colours, which is subtracted.
        image_std: standard deviation of the image's colours, by which they are divided.
        patch_size: height and width of a patch, pixels.
        table_size: patches along a side of the learned table of positions.
        vit_channels: channels of the image encoder.
        vit_layers: its layers.
        vit_heads: its attention heads.
        vit_ff_channels: hidden channels of its feed-forward layers.
        vit_norm_eps: added to the variance in its LayerNorms.
        plane_size: texels along a side of a plane of tokens; the triplane has twice as many.
        plane_channels: channels of the tokens.
        layers: transformer blocks of the backbone.
        heads: attention heads of the backbone.
        head_dim: channels of such a head.
        ff_mult: hidden channels of the backbone's feed-forward layers, in multiples of heads * head_dim.
        norm_groups: groups of the backbone's GroupNorm.
        group_norm_eps: added to the variance in that GroupNorm.
        layer_norm_eps: added to the variance in the backbone's LayerNorms.
        features: channels of each plane of the triplane.
        field_channels: hidden channels of the decoder.
        field_layers: hidden layers of the decoder.
        radius: half of the side of the box that the triplane fills, TripoSR's world units.
        density_bias: added to the density's logarithm.

    Source:
        The module's docstring; the published ``config.yaml``.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        image_size: int = 512,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        patch_size: int = 16,
        table_size: int = 14,
        vit_channels: int = 768,
        vit_layers: int = 12,
        vit_heads: int = 12,
        vit_ff_channels: int = 3072,
        vit_norm_eps: float = 1e-12,
        plane_size: int = 32,
        plane_channels: int = 1024,
        layers: int = 16,
        heads: int = 16,
        head_dim: int = 64,
        ff_mult: int = 4,
        norm_groups: int = 32,
        group_norm_eps: float = 1e-6,
        layer_norm_eps: float = 1e-5,
        features: int = 40,
        field_channels: int = 64,
        field_layers: int = 9,
        radius: float = 0.87,
        density_bias: float = -1.0,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise InputError(f"image_size must be a multiple of patch_size = {patch_size}; got {image_size}")
        vit = ViT(vit_channels, vit_layers, vit_heads, vit_ff_channels, vit_norm_eps, patch_size, table_size)
        self.image_tokenizer = nn.ModuleDict({"model": vit})
        self.tokenizer = TriplaneTokens(plane_channels, plane_size)
        self.backbone = Backbone(
            plane_channels, vit_channels, layers, heads, head_dim, ff_mult, norm_groups, group_norm_eps, layer_norm_eps
        )
        self.post_processor = Upsampler(plane_channels, features, plane_size)
        self.decoder = Decoder(features, field_channels, field_layers)

    def encode(self, images: Tensor) -> Tensor:
        """Encode images as tokens.

        Args:
            images: [B, 3, S, S] in [0, 1], on grey, S = image_size.

        Returns:
            [B, 1+T, vit_channels], the class token first.

        Raises:
            InputError: wrong shape.
        """
        size = self.config.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise InputError(f"images must be [B, 3, {size}, {size}]; got {tuple(images.shape)}")
        mean, std = (images.new_tensor(rgb).view(3, 1, 1) for rgb in (self.config.image_mean, self.config.image_std))
        images = ((images - mean) / std).to(self.backbone.proj_in.weight.dtype)
        tokens: Tensor = self.image_tokenizer["model"](images)
        return tokens

    def forward(self, images: Tensor) -> Tensor:
        """Turn images into triplanes.

        Args:
            images: [B, 3, S, S] in [0, 1], on grey, S = image_size.

        Returns:
            [B, 3, K, 2P, 2P], the planes (x, y), (x, z) and (y, z): a pair's first axis runs along the columns.

        Raises:
            InputError: wrong shape.
        """
        tokens = self.backbone(self.tokenizer(len(images)), self.encode(images))  # [B, C, L]
        triplanes: Tensor = self.post_processor(tokens)
        return triplanes

    def sample(self, triplane: Tensor, points: Tensor) -> Tensor:
        """Interpolate the planes at points. Beyond the planes' outermost texels their features fade to 0.

        Args:
            triplane: [3, K, 2P, 2P], of one object.
            points: [N, 3], TripoSR's world.

        Returns:
            [N, 3 K], plane by plane.
        """
        x, y, z = (points / self.config.radius).unbind(-1)
        grids = torch.stack([torch.stack(pair, -1) for pair in ((x, y), (x, z), (y, z))])[:, None]  # [3, 1, N, 2]
        sampled = F.grid_sample(triplane, grids, mode="bilinear", align_corners=False)  # [3, K, 1, N]
        return sampled.flatten(0, 2).T

    def query(self, triplane: Tensor, points: Tensor, chunk: int = 2**16) -> tuple[Tensor, Tensor]:
        """Evaluate density and colour at points.

        Args:
            triplane: [3, K, 2P, 2P], of one object.
            points: [N, 3], TripoSR's world.
            chunk: points that are evaluated at once; more take more memory and give the same result.

        Returns:
            density [N], 0 or more; colour [N, 3] in [0, 1], display values (sRGB).
        """
        parts = [self.decoder(self.sample(triplane, part)) for part in points.split(chunk)]
        raw = torch.cat(parts)  # [N, 4]
        return torch.exp(raw[:, 0] + self.config.density_bias), torch.sigmoid(raw[:, 1:])

    def on_grid(self, triplane: Tensor, count: int) -> Callable[[Tensor], Tensor]:
        """Prepare densities at points of a grid, which takes a half of :meth:`query`'s time for each point.

        The decoder's first layer is linear, so the share of each plane in it is computed once for each point of the
        plane, of which a grid has count^2, not count^3. The result differs from :meth:`query`'s by rounding.

        Args:
            triplane: [3, K, 2P, 2P], of one object.
            count: R, points along each axis, from -radius to radius, both included.

        Returns:
            A function: indices [N] of points, (x R + y) R + z, to densities [N], 0 or more.
        """
        line = torch.linspace(-1, 1, count, device=triplane.device)
        first, second = torch.meshgrid(line, line, indexing="ij")  # [R, R]
        grid = torch.stack([first, second], -1).expand(3, -1, -1, -1)  # [3, R, R, 2]
        sampled = F.grid_sample(triplane, grid, mode="bilinear", align_corners=False)  # [3, K, R, R]
        start, *layers = (layer for layer in self.decoder.layers if isinstance(layer, nn.Linear))
        shares = start.weight.unflatten(1, (3, -1)).transpose(0, 1)  # [3, hidden, K]
        planes = torch.einsum("phk,pkab->pabh", shares, sampled).flatten(1, 2).contiguous()  # [3, R^2, hidden]
        planes[0] += start.bias

        def density(index: Tensor) -> Tensor:
            index = index.to(planes.device)
            xy, z = index // count, index % count
            x, y = xy // count, xy % count
            hidden = planes[0].index_select(0, xy)
            hidden += planes[1].index_select(0, x * count + z)
            hidden += planes[2].index_select(0, y * count + z)
            for layer in layers[:-1]:
                hidden = layer(F.silu(hidden, inplace=True))
            raw = F.linear(F.silu(hidden, inplace=True), layers[-1].weight[:1], layers[-1].bias[:1])[:, 0]
            return torch.exp(raw + self.config.density_bias)

        return density
