"""Stage one: from one picture to the four views of the object, in one step.

The network predicts the clean views (prediction type "sample") from nothing but the picture: at the last timestep of a
schedule without any signal left, the noisy views say nothing, and the network's gate shuts them out. In the pipeline
this is DDIM with one step, so that the tiny model and ImageDream run the same code.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..metrics import psnr
from ..models.mv_unet import MultiViewUNetModel
from ..pipelines.mvdream import VIEWS_OF_LGM, camera_rows
from .data import ObjectViews, on_white
from .loop import Trainer, TrainSettings

VIEWS_SETTINGS = TrainSettings(batch_size=16, learning_rate=1e-3)
LAST_STEP = 999


def tiny_unet() -> MultiViewUNetModel:
    """The network of the bundled model's first stage, with fresh weights."""
    return MultiViewUNetModel(
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


def predict_views(network: nn.Module, front: Tensor) -> Tensor:
    """The four views in one step.

    Args:
        network: a MultiViewUNetModel with condition "channels".
        front: [B, 3, H, W] in [0, 1], on white.

    Returns:
        [B, 4, 3, H, W], LGM's order, about [0, 1], not clamped.
    """
    batch, device = front.shape[0], front.device
    rows = 4 * batch
    out = network(
        x=front.new_zeros(rows, *front.shape[1:]),  # what the gate makes of the noise of the last step
        timesteps=torch.full((rows,), float(LAST_STEP), device=device),
        context=front.new_zeros(rows, 1, 32),
        camera=camera_rows(0.0, extra_view=False).to(device).repeat(batch, 1),
        num_frames=4,
        ip_img=2 * front - 1,
    )
    views = out.float().unflatten(0, (batch, 4))[:, list(VIEWS_OF_LGM)]  # [B, 4, 3, H, W]
    return (views + 1) / 2


def train_views(folder: Path, settings: TrainSettings = VIEWS_SETTINGS) -> nn.Module:
    """Train stage one, or go on with it; returns the averaged network."""
    torch.manual_seed(0)  # a command's own process: fresh weights that can be had again
    network = tiny_unet().to(memory_format=torch.channels_last)
    data = ObjectViews("train", size=64)
    held = [ObjectViews("test", size=64)[i] for i in range(settings.eval_objects)]
    truth = on_white(torch.stack([sample.images for sample in held])).to(settings.device)  # [n, 4, 3, H, W]

    def loss_of(net: nn.Module, first: int, count: int) -> tuple[Tensor, dict[str, float]]:
        images = torch.stack([data[first + i].images for i in range(count)])  # [B, 4, 4, H, W]
        target = on_white(images).to(settings.device)
        error = predict_views(net, target[:, 0]) - target
        # on the network's scale of [-1, 1]: MSE and a little L1
        return 4 * error.square().mean() + 0.1 * 2 * error.abs().mean(), {}

    def evaluate(net: nn.Module) -> dict[str, float]:
        views = torch.cat([predict_views(net, part[:, 0]) for part in truth.split(16)]).clamp(0, 1)
        return {
            "side_db": float(psnr(views[:, 1:], truth[:, 1:]).mean()),
            "front": float(psnr(views[:, 0], truth[:, 0]).mean()),
        }

    return Trainer(network, loss_of, evaluate, folder, settings).run()
