"""Stage two: four views become Gaussians, judged by the pictures that they give from other cameras.

After most of its samples have shown it true views, a share of the views comes from stage one's network: those are
blurry and do not quite agree with each other, and LGM has to live with that in use (LGM, section 4.3, disturbs true
views by grid distortion and camera jitter to the same end).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..cameras import orbit_cameras, plucker_rays
from ..metrics import psnr, ssim
from ..models.lgm import LGM
from ..pipelines.lgm import lgm_input
from ..rendering import render_splats
from .data import INPUT_AZIMUTHS, ObjectViews, on_white
from .loop import Trainer, TrainSettings
from .pool import Pool
from .views import next_batch, predict_views, sharp_loss

LGM_SETTINGS = TrainSettings(batch_size=8)
MakeInput = Callable[[Tensor, Tensor, int | None], Tensor]
"""(views [B, 4, 3, H, W] on white, rays [4, 6, H, W], index of the first sample, None at a test) -> [B, V, 9, H, W]."""
RANDOM_VIEWS = 3
"""Cameras that judge a training sample, beside one of the four input ones."""


def tiny_lgm(**changes: Any) -> LGM:
    """The network of the bundled model's second stage, with fresh weights; ``changes`` of its configuration."""
    build = partial(
        LGM,
        input_size=64,
        splat_size=64,
        down_channels=(32, 64, 128),
        down_attention=(False, False, True),
        up_channels=(128, 64, 48),
        up_attention=(True, False, False),
        layers_per_block=1,
        num_heads=4,
        patch_size=2,
        head_patch_size=2,
        norm="channel",
        position="ray",
        rgb_residual=True,
        scale_bias=-1.0,
    )
    return build(**changes)


def render_rows(rows: Tensor, viewmats: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Images of several objects, each from its own LGM cameras.

    Args:
        rows: [B, N, 14], LGM's layout.
        viewmats: [B, V, 4, 4], world to camera, OpenCV axes.
        size: height and width, pixels.

    Returns:
        rgb [B, V, 3, H, W] on white, alpha [B, V, H, W].
    """
    means, opacities, scales, quats, rgbs = rows.split([3, 1, 3, 4, 3], -1)
    K = orbit_cameras(azimuth=0.0, size=size).Ks.to(rows.device)  # [1, 3, 3]
    Ks = K.expand(viewmats.shape[1], 3, 3)
    if rows.is_cuda:
        drawn = _draw_together(means, quats, scales, opacities[..., 0], rgbs, viewmats, Ks, size)
        return drawn[..., :3].permute(0, 1, 4, 2, 3) + drawn[:, :, None, ..., 4], 1 - drawn[..., 4]
    pairs = [
        render_splats(means[i], quats[i], scales[i], opacities[i, :, 0], rgbs[i], viewmats[i], Ks, size, size)[:2]
        for i in range(len(rows))
    ]
    return torch.stack([rgb for rgb, _ in pairs]).permute(0, 1, 4, 2, 3), torch.stack([alpha for _, alpha in pairs])


def _draw_together(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, rgbs: Tensor, viewmats: Tensor, Ks: Tensor,
    size: int,
) -> Tensor:  # fmt: skip
    """[B, V, H, W, 5] in one go, which is what fills a graphics card."""
    from ..rendering import triton_splats
    from ..rendering.projection import Splats, project

    splats = torch.vmap(lambda m, q, s, v: tuple(project(m, q, s, v, Ks, size, size)))(means, quats, scales, viewmats)
    means2d, conics, depths, valid = (field.flatten(0, 1) for field in splats)  # each [B*V, N, ...]
    views = viewmats.shape[1]
    colors, opacity = rgbs.repeat_interleave(views, 0), opacities.repeat_interleave(views, 0)
    drawn = triton_splats.composite(Splats(means2d, conics, depths, valid), colors, opacity, size, size)
    return drawn.unflatten(0, (-1, views))


def train_lgm(
    folder: Path,
    settings: TrainSettings = LGM_SETTINGS,
    views: nn.Module | None = None,
    generated_from: float = 0.75,
    generated_share: float = 0.5,
    network: LGM | None = None,
    make_input: MakeInput | None = None,
    until: float = 1.0,
    pool: Pool | None = None,
) -> nn.Module:
    """Train stage two, or go on with it; returns the averaged network.

    Args:
        folder: for the checkpoint and the log.
        settings: see :class:`~image3d_nb.training.loop.TrainSettings`.
        views: stage one's network; None trains on true views only.
        generated_from: the share of all samples after which generated views begin.
        generated_share: of the objects from then on.
        network: what to train; None is a fresh :func:`tiny_lgm`.
        make_input: of the network; None is ``lgm_input``.
        until: see :meth:`~image3d_nb.training.loop.Trainer.run`.
        pool: to draw the objects from; None makes each when it is needed.
    """
    torch.manual_seed(0)  # a command's own process: fresh weights that can be had again
    network = (network or tiny_lgm()).to(memory_format=torch.channels_last)
    share = settings.assemblies
    data = ObjectViews("train", size=64, random_views=RANDOM_VIEWS, assemblies=share, strange=share > 0)
    held = [ObjectViews("test", size=64, random_views=2)[i] for i in range(settings.eval_objects)]
    rays = plucker_rays(orbit_cameras(0.0, INPUT_AZIMUTHS, size=64)).to(settings.device)  # [4, 6, H, W]

    make = make_input or (lambda images, rays, _: lgm_input(images, rays))

    def generated(fronts: Tensor) -> Tensor:
        if views is None:
            raise ValueError("generated views need stage one's network")
        with torch.no_grad():
            return predict_views(views, fronts).clamp(0, 1)

    def inputs_of(images: Tensor, first: int) -> Tensor:
        seen = first - settings.first_sample
        late = views is not None and seen >= generated_from * trainer.settings.samples
        count = round(generated_share * len(images)) if late else 0
        if count:
            images = torch.cat([generated(images[:count, 0]), images[count:]])
        return make(images, rays, first)

    def loss_of(net: nn.Module, first: int, count: int) -> tuple[Tensor, dict[str, float]]:
        truth, viewmats = next_batch(data, first, count, pool, settings)  # [B, V, 4, H, W], [B, V, 4, 4]
        rows = _gaussians(net, inputs_of(on_white(truth[:, :4]), first))
        chosen = _judges(first, count).to(rows.device)  # [B, 4]
        index = torch.arange(count, device=rows.device)[:, None]
        rgb, alpha = render_rows(rows.float(), viewmats[index, chosen], truth.shape[-1])
        return image_loss(rgb.flatten(0, 1), alpha.flatten(0, 1), truth[index, chosen].flatten(0, 1)), {}

    def evaluate(net: nn.Module) -> dict[str, float]:
        found: dict[str, float] = {}
        truth = torch.stack([sample.images for sample in held]).to(settings.device)
        sources = {"true": on_white(truth[:, :4])}
        if views is not None:
            sources["whole"] = generated(sources["true"][:, 0])
        for name, pictures in sources.items():
            scores, alike = [], []
            for i, sample in enumerate(held):
                rows = _gaussians(net, make(pictures[i : i + 1], rays, None))
                rgb, _ = render_rows(rows, sample.cameras.viewmats[None, 4:].to(rows), truth.shape[-1])
                scores.append(psnr(rgb[0].clamp(0, 1), on_white(truth[i, 4:])).mean())
                alike.append(ssim(rgb[0].clamp(0, 1), on_white(truth[i, 4:])).mean())
            found[f"novel_{name}_db"] = float(torch.stack(scores).mean())
            found[f"novel_{name}_ssim"] = float(torch.stack(alike).mean())
        return found

    trainer = Trainer(network, loss_of, evaluate, folder, settings)
    return trainer.run(until)


def image_loss(rgb: Tensor, alpha: Tensor, wanted: Tensor) -> Tensor:
    """How wrong rendered images are: :func:`~image3d_nb.training.views.sharp_loss`, and the silhouette's error.

    Args:
        rgb: [V, 3, H, W] on white.
        alpha: [V, H, W].
        wanted: [V, 4, H, W] premultiplied RGBA.
    """
    return sharp_loss(rgb, on_white(wanted)) + 0.5 * (alpha - wanted[:, 3]).square().mean()


def _gaussians(net: nn.Module, x: Tensor) -> Tensor:
    return cast(LGM, net).gaussians(x)


def _judges(first: int, count: int) -> Tensor:
    """Which cameras judge each sample, [B, 4]: one of the input cameras in turn, and the random ones."""
    index = torch.arange(first, first + count)[:, None]
    return torch.cat([index % 4, torch.arange(4, 4 + RANDOM_VIEWS).expand(count, -1)], 1)
