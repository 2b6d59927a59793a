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
from .data import INPUT_AZIMUTHS, Batches, ObjectViews, Sample, on_white
from .loop import Trainer, TrainSettings
from .views import predict_views

LGM_SETTINGS = TrainSettings(batch_size=8)
MakeInput = Callable[[Tensor, Tensor, int | None], Tensor]
"""(views [B, 4, 3, H, W] on white, rays [4, 6, H, W], index of the first sample, None at a test) -> [B, V, 9, H, W]."""
RANDOM_VIEWS = 3
"""Cameras that judge a training sample, beside none to all of the four input ones: see ``_judges``."""


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


def render_sample(rows: Tensor, sample: Sample, chosen: slice) -> tuple[Tensor, Tensor]:
    """Pictures of one object's Gaussians from a sample's cameras.

    Args:
        rows: [N, 14], LGM's layout.
        sample: whose cameras.
        chosen: which of them.

    Returns:
        rgb [V, 3, H, W] on white, alpha [V, H, W].
    """
    cameras = sample.cameras[chosen].to(rows.device)
    means, opacities, scales, quats, rgbs = rows.split([3, 1, 3, 4, 3], -1)
    rgb, alpha, _ = render_splats(
        means, quats, scales, opacities[:, 0], rgbs, cameras.viewmats, cameras.Ks, cameras.width, cameras.height
    )
    return rgb.permute(0, 3, 1, 2), alpha


def train_lgm(
    folder: Path,
    settings: TrainSettings = LGM_SETTINGS,
    views: nn.Module | None = None,
    generated_from: float = 0.75,
    generated_share: float = 0.5,
    network: LGM | None = None,
    make_input: MakeInput | None = None,
    until: float = 1.0,
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
    """
    torch.manual_seed(0)  # a command's own process: fresh weights that can be had again
    network = (network or tiny_lgm()).to(memory_format=torch.channels_last)
    data = ObjectViews("train", size=64, random_views=RANDOM_VIEWS, assemblies=settings.assemblies)
    batches = Batches(data, settings.workers)
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
        samples = batches(first, count)
        truth = torch.stack([sample.images for sample in samples]).to(settings.device)  # [B, V, 4, H, W]
        rows = _gaussians(net, inputs_of(on_white(truth[:, :4]), first))
        loss = rows.new_zeros(())
        for i, sample in enumerate(samples):
            chosen = _judges(first + i)
            rgb, alpha = render_sample(rows[i], sample, chosen)
            wanted = truth[i, chosen]  # [V, 4, H, W]
            loss = loss + picture_loss(rgb, alpha, wanted)
        return loss / count, {}

    def evaluate(net: nn.Module) -> dict[str, float]:
        found: dict[str, float] = {}
        truth = torch.stack([sample.images for sample in held]).to(settings.device)
        sources = {"true": on_white(truth[:, :4])}
        if views is not None:
            sources["whole"] = generated(sources["true"][:, 0])
        for name, pictures in sources.items():
            scores, alike = [], []
            for i, sample in enumerate(held):
                rows = _gaussians(net, make(pictures[i : i + 1], rays, None))[0]
                rgb, _ = render_sample(rows, sample, slice(4, None))
                scores.append(psnr(rgb.clamp(0, 1), on_white(truth[i, 4:])).mean())
                alike.append(ssim(rgb.clamp(0, 1), on_white(truth[i, 4:])).mean())
            found[f"novel_{name}_db"] = float(torch.stack(scores).mean())
            found[f"novel_{name}_ssim"] = float(torch.stack(alike).mean())
        return found

    trainer = Trainer(network, loss_of, evaluate, folder, settings)
    return trainer.run(until)


def picture_loss(rgb: Tensor, alpha: Tensor, wanted: Tensor) -> Tensor:
    """How wrong rendered pictures are: the logarithm of each one's squared error, and a little of other measures.

    The logarithm asks of a good picture to become better still, where the bare squared error looks at bad ones only.

    Args:
        rgb: [V, 3, H, W] on white.
        alpha: [V, H, W].
        wanted: [V, 4, H, W] premultiplied RGBA.

    Source:
        Chen et al. 2021, HINet (arXiv 2105.06086), for PSNR as a loss; Kerbl et al. 2023, 3D Gaussian Splatting,
        section 5.1, for L1 with SSIM.
    """
    truth = on_white(wanted)
    error = rgb - truth
    floor = 3e-4  # squared error, 35 dB: better than that is good enough
    logarithm = (error.square().mean((1, 2, 3)) + floor).log().mean()
    silhouette = (alpha - wanted[:, 3]).square().mean()
    return 0.02 * logarithm + 0.05 * error.abs().mean() + 0.5 * silhouette + 0.05 * (1 - ssim(rgb, truth).mean())


def _gaussians(net: nn.Module, x: Tensor) -> Tensor:
    return cast(LGM, net).gaussians(x)


def _judges(index: int) -> slice:
    """Which cameras judge a sample: the three random ones and, every other time, an input camera too."""
    return slice(4 - index % 2, 4 + RANDOM_VIEWS)
