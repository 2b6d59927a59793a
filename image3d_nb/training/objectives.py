"""Other ways to train stage one, for comparison: what the network predicts, and how the picture reaches it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from torch import Tensor, nn

from ..metrics import psnr, ssim
from ..models.mv_unet import MultiViewUNetModel
from .data import ObjectViews, on_white
from .export import tiny_scheduler
from .loop import Trainer, TrainSettings
from .views import LAST_STEP, predict_views, tiny_unet

PREDICTIONS = ("sample", "epsilon", "v_prediction")
"""DDIMScheduler's words: the clean views (x0), the noise, or the velocity between them."""


class FrameCondition(nn.Module):
    """The picture as a fifth, clean frame, as in ImageDream, behind the interface of condition "channels".

    Args:
        network: with condition "frame".

    Source:
        Wang and Shi 2023, ImageDream (arXiv 2312.02201), section 3.2, pixel controller.
    """

    def __init__(self, network: MultiViewUNetModel) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor, camera: Tensor, num_frames: int, ip_img: Tensor
    ) -> Tensor:
        """Rows of four frames in and out; the fifth, with zeros for a camera, exists inside only."""

        def with_fifth(rows: Tensor) -> Tensor:
            """[B*F, ...] -> [B*(F+1), ...]; the network itself puts the picture there."""
            frames = rows.unflatten(0, (-1, num_frames))
            return torch.cat([frames, torch.zeros_like(frames[:, :1])], 1).flatten(0, 1)

        times = timesteps.unflatten(0, (-1, num_frames))  # one for all frames of an object
        times = torch.cat([times, times[:, :1]], 1).flatten()
        frames = num_frames + 1
        out = self.network(with_fifth(x), times, with_fifth(context), with_fifth(camera), frames, ip_img=ip_img)
        return out.unflatten(0, (-1, frames))[:, :num_frames].flatten(0, 1)


def scheduler_of(prediction: str) -> DDIMScheduler:
    """The tiny model's schedule for another prediction. Pure noise says nothing of x0, so epsilon keeps a little signal
    at the last step, as the published models do."""
    return cast(
        DDIMScheduler,
        DDIMScheduler.from_config(
            tiny_scheduler().config, prediction_type=prediction, rescale_betas_zero_snr=prediction != "epsilon"
        ),
    )


def answer(network: nn.Module, front: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """What the network says, [B, 4, 3, H, W] on its own scale, LGM's order; arguments as for ``predict_views``."""
    return 2 * predict_views(network, front, noisy, timesteps) - 1


@torch.no_grad()
def sample_views(network: nn.Module, front: Tensor, scheduler: DDIMScheduler, steps: int, seed: int = 0) -> Tensor:
    """Denoise the views of several objects together.

    Args:
        network: of stage one.
        front: [B, 3, H, W] in [0, 1], on white.
        scheduler: of the network's prediction.
        steps: of DDIM.
        seed: of the noise.

    Returns:
        [B, 4, 3, H, W] in [0, 1], LGM's order.
    """
    shape = (len(front), 4, *front.shape[1:])
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(front.device)
    scheduler.set_timesteps(steps, device=front.device)
    for t in scheduler.timesteps:
        x = scheduler.step(answer(network, front, x, t.expand(len(front))), t, x).prev_sample
    return (x / 2 + 0.5).clamp(0, 1)


def train_prediction(folder: Path, settings: TrainSettings, prediction: str, steps: int = 10) -> nn.Module:
    """Train stage one as diffusion models are, every timestep as often as any other; returns the averaged network.

    Args:
        folder: for the checkpoint and the log.
        settings: see :class:`~image3d_nb.training.loop.TrainSettings`.
        prediction: one of PREDICTIONS.
        steps: of the sampler that is judged.
    """
    torch.manual_seed(0)
    scheduler = scheduler_of(prediction)
    # no gate and no residual: noise must come in whole where it is to be told, and is not a change of the picture
    network = tiny_unet(gate_steps=0, residual_frame=None).to(memory_format=torch.channels_last)
    data = ObjectViews("train", size=64, assemblies=settings.assemblies)
    held = [ObjectViews("test", size=64)[i] for i in range(settings.eval_objects)]
    truth = on_white(torch.stack([sample.images for sample in held])).to(settings.device)  # [n, 4, 3, H, W]

    def loss_of(net: nn.Module, first: int, count: int) -> tuple[Tensor, dict[str, float]]:
        images = on_white(torch.stack([data[first + i].images for i in range(count)])).to(settings.device)
        clean = 2 * images - 1  # [B, 4, 3, H, W]
        random = torch.Generator().manual_seed(first)
        noise = torch.randn(clean.shape, generator=random).to(clean)
        t = torch.randint(LAST_STEP + 1, (count,), generator=random).to(clean.device)
        wanted = {"sample": clean, "epsilon": noise, "v_prediction": scheduler.get_velocity(clean, noise, t)}
        found = answer(net, images[:, 0], scheduler.add_noise(clean, noise, t), t)
        target = wanted[prediction]
        return F.mse_loss(found, target) + 0.1 * F.l1_loss(found, target), {}

    def evaluate(net: nn.Module) -> dict[str, float]:
        views = torch.cat([sample_views(net, part[:, 0], scheduler, steps) for part in truth.split(16)])
        sides, true = views[:, 1:], truth[:, 1:]
        return {"side_db": float(psnr(sides, true).mean()), "side_ssim": float(ssim(sides, true).mean())}

    return Trainer(network, loss_of, evaluate, folder, settings).run()
