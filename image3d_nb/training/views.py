"""Stage one: from one picture to the four views of the object.

The network predicts the clean views (prediction type "sample"). Most samples stand at the last timestep of a schedule
without any signal left: the noisy views say nothing there, the network's gate shuts them out, and it learns to answer
in one step. The others stand at random timesteps, so that the same weights also denoise in many. In the pipeline both
are DDIM, so that the tiny model and ImageDream run the same code.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cameras import orbit_cameras, plucker_rays
from ..metrics import psnr, ssim
from ..models.lgm import LGM
from ..models.mv_unet import MultiViewUNetModel
from ..pipelines.lgm import lgm_input
from ..pipelines.mvdream import VIEWS_OF_LGM, camera_rows
from .data import INPUT_AZIMUTHS, Batch, ObjectViews, batch_of, on_white
from .export import tiny_scheduler
from .loop import Trainer, TrainSettings
from .pool import Pool

VIEWS_SETTINGS = TrainSettings()
LAST_STEP = 999
FEATURES_WEIGHT = 0.18
"""Of :func:`features_loss`: with it, it pulls at the bundled model's views as hard as :func:`sharp_loss` does."""
LGM_OF_VIEWS = tuple(VIEWS_OF_LGM.index(i) for i in range(4))
"""Which of LGM's views each of MVDream's is."""


def tiny_unet(**changes: Any) -> MultiViewUNetModel:
    """The network of the bundled model's first stage, with fresh weights; ``changes`` of its configuration."""
    build = partial(
        MultiViewUNetModel,
        image_size=64,
        in_channels=3,
        out_channels=3,
        model_channels=64,
        num_res_blocks=1,
        attention_resolutions=(2,),
        channel_mult=(1, 2),
        num_head_channels=32,
        context_dim=32,
        ip_dim=0,
        norm="channel",
        condition="channels",
        condition_mirror=True,
        residual_frame=1,
        patch_size=4,
        gate_steps=1000,
    )
    return build(**changes)


def predict_views(
    network: nn.Module, front: Tensor, noisy: Tensor | None = None, timesteps: Tensor | None = None
) -> Tensor:
    """The four views, from the picture alone or from noisy views too.

    Args:
        network: a MultiViewUNetModel with condition "channels".
        front: [B, 3, H, W] in [0, 1], on white.
        noisy: [B, 4, 3, H, W], LGM's order, noisy views on the scale of [-1, 1]; None is nothing but noise.
        timesteps: [B], how noisy they are, 0 to LAST_STEP; None is LAST_STEP.

    Returns:
        [B, 4, 3, H, W], LGM's order, about [0, 1], not clamped.
    """
    batch, device = front.shape[0], front.device
    if noisy is None:  # zeros are what the gate makes of the noise of the last step
        noisy = front.new_zeros(batch, 4, *front.shape[1:])
    if timesteps is None:
        timesteps = torch.full((batch,), float(LAST_STEP), device=device)
    out = network(
        x=noisy[:, list(LGM_OF_VIEWS)].flatten(0, 1),  # [B*4, 3, H, W], MVDream's order
        timesteps=timesteps.float().repeat_interleave(4),
        context=front.new_zeros(4 * batch, 1, 32),
        camera=camera_rows(0.0, extra_view=False).to(device).repeat(batch, 1),
        num_frames=4,
        ip_img=2 * front - 1,
    )
    views = out.float().unflatten(0, (batch, 4))[:, list(VIEWS_OF_LGM)]  # [B, 4, 3, H, W]
    return (views + 1) / 2


def add_noise(views: Tensor, first: int, share: float) -> tuple[Tensor, Tensor]:
    """Noise for a batch's views: a share of the objects at random timesteps, the others at the last one.

    Args:
        views: [B, 4, 3, H, W] in [0, 1].
        first: index of the batch's first sample, which decides the noise.
        share: of the objects, 0 to 1.

    Returns:
        noisy views [B, 4, 3, H, W] on the scale of [-1, 1] and timesteps [B].
    """
    device = views.device
    random = torch.Generator(device).manual_seed(first)
    count = round(share * len(views))
    # the root draws them towards the noise, where most of the object is decided
    early = (LAST_STEP * torch.rand(count, generator=random, device=device).sqrt()).long()
    timesteps = torch.cat([early, torch.full((len(views) - count,), LAST_STEP, device=device)])
    noise = torch.randn(views.shape, generator=random, device=device)
    return tiny_scheduler().add_noise(2 * views - 1, noise, timesteps), timesteps


def views_loss(made: Tensor, truth: Tensor) -> Tensor:
    """How wrong predicted views are: MSE and a little L1, on the network's scale of [-1, 1]. Fresh weights learn by it.

    Args:
        made: [..., 3, H, W], about [0, 1].
        truth: the same shape, in [0, 1].
    """
    error = 2 * (made - truth)
    return error.square().mean() + 0.1 * error.abs().mean()


def sharp_loss(made: Tensor, truth: Tensor) -> Tensor:
    """How wrong pictures are: the logarithm of each one's squared error, and a little of other measures.

    The logarithm asks of a good picture to become better still, where the bare squared error looks at bad ones only;
    and SSIM asks for contrast, where a squared error is content with a blur. Weights must have learnt something before:
    views of a fresh stage one get lost by it.

    Args:
        made: [..., 3, H, W] on white, about [0, 1].
        truth: the same shape, in [0, 1].

    Source:
        Chen et al. 2021, HINet (arXiv 2105.06086), for PSNR as a loss; Kerbl et al. 2023, 3D Gaussian Splatting,
        section 5.1, for L1 with SSIM.
    """
    error = made - truth
    floor = 3e-4  # squared error, 35 dB: better than that is good enough
    logarithm = (error.square().mean((-3, -2, -1)) + floor).log().mean()
    alike = ssim(made.flatten(0, -4), truth.flatten(0, -4)).mean()
    return 0.02 * logarithm + 0.05 * error.abs().mean() + 0.05 * (1 - alike)


def features_loss(made: Tensor, truth: Tensor, rays: Tensor, lgm: LGM) -> Tensor:
    """How differently LGM sees two sets of views: the squared distance of its features, each pixel's a unit vector.

    It asks for what a squared error does not miss: edges, small parts, one shape from all sides.

    Args:
        made: [B, 4, 3, H, W] on white, about [0, 1].
        truth: the same shape, in [0, 1].
        rays: [4, 6, H, W], the views' Plucker rays.
        lgm: whose features they are.

    Source:
        Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (arXiv 1801.03924),
        equation 1, with the features of a network of our own and without learned weights.
    """
    with torch.no_grad():
        wanted = lgm.features(lgm_input(truth, rays))
    pairs = zip(lgm.features(lgm_input(made, rays)), wanted, strict=True)
    return torch.stack([(F.normalize(a) - F.normalize(b)).square().sum(1).mean() for a, b in pairs]).mean()


def next_batch(data: ObjectViews, first: int, count: int, pool: Pool | None, settings: TrainSettings) -> Batch:
    """The objects of a step on the settings' device: drawn from the pool, or made now."""
    if pool is None:
        return batch_of(data, first, count).to(settings.device)
    views = 4 + data.random_views
    return pool.draw(np.random.default_rng(first), count, views, plain=not settings.assemblies).to(settings.device)


def train_views(
    folder: Path,
    settings: TrainSettings = VIEWS_SETTINGS,
    network: MultiViewUNetModel | None = None,
    noisy_share: float = 0.25,
    until: float = 1.0,
    pool: Pool | None = None,
    judge: LGM | None = None,
) -> nn.Module:
    """Train stage one, or go on with it; returns the averaged network.

    Args:
        folder: for the checkpoint and the log.
        settings: see :class:`~image3d_nb.training.loop.TrainSettings`.
        network: trained in place; None is :func:`tiny_unet`.
        noisy_share: of the objects at random timesteps, so that many steps work; 0 learns one step only.
        until: see :meth:`~image3d_nb.training.loop.Trainer.run`.
        pool: to draw the objects from; None makes each when it is needed.
        judge: stage two, by whose loss and features the views are compared; None, for fresh weights: squared error.
    """
    torch.manual_seed(0)  # a command's own process: fresh weights that can be had again
    network = (network or tiny_unet()).to(memory_format=torch.channels_last)
    data = ObjectViews("train", size=64, assemblies=settings.assemblies, strange=settings.assemblies > 0)
    held = [ObjectViews("test", size=64)[i] for i in range(settings.eval_objects)]
    truth = on_white(torch.stack([sample.images for sample in held])).to(settings.device)  # [n, 4, 3, H, W]
    rays = plucker_rays(orbit_cameras(0.0, INPUT_AZIMUTHS, size=64)).to(settings.device)  # [4, 6, H, W]
    if judge is not None:
        judge = judge.to(settings.device, memory_format=torch.channels_last).requires_grad_(False)

    def loss_of(net: nn.Module, first: int, count: int) -> tuple[Tensor, dict[str, float]]:
        batch = next_batch(data, first, count, pool, settings)
        target = on_white(batch.images[:, :4])  # [B, 4, 3, H, W]
        made = predict_views(net, target[:, 0], *add_noise(target, first, noisy_share))
        if judge is None:
            return views_loss(made, target), {}
        return sharp_loss(made, target) + FEATURES_WEIGHT * features_loss(made, target, rays, judge), {}

    def evaluate(net: nn.Module) -> dict[str, float]:
        views = torch.cat([predict_views(net, part[:, 0]) for part in truth.split(16)]).clamp(0, 1)
        return {
            "side_db": float(psnr(views[:, 1:], truth[:, 1:]).mean()),
            "side_ssim": float(ssim(views[:, 1:], truth[:, 1:]).mean()),
            "front": float(psnr(views[:, 0], truth[:, 0]).mean()),
        }

    return Trainer(network, loss_of, evaluate, folder, settings).run(until)
