"""Two trained networks to a model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from ..pipelines.lgm import LGMFullPipeline

WEIGHTS_LIMIT = 16 * 2**20
"""Bytes: no weight file of the bundled model may reach it."""


def tiny_scheduler() -> DDIMScheduler:
    """The schedule of the tiny model: at its last step nothing of the views is left, and the network predicts them."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def tiny_pipeline(unet: Any, lgm: Any) -> LGMFullPipeline:
    """Both networks as the pipeline that users load: one step unless more are asked for, no guidance."""
    return LGMFullPipeline(
        lgm=lgm, unet=unet, scheduler=tiny_scheduler(), default_steps=1, default_guidance=1.0, max_steps=50
    )


def export(unet: Any, lgm: Any, folder: Path) -> None:
    """Write the folder that ``load_pipeline`` reads, weights in float16.

    Args:
        unet: stage one's network.
        lgm: stage two's.
        folder: made if need be; files there are replaced.
    """
    halves = (torch.nn.Module.to(network, torch.float16) for network in (unet, lgm))
    tiny_pipeline(*halves).save_pretrained(folder, max_shard_size=WEIGHTS_LIMIT)
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors makes files that only their owner can read; these travel in a wheel
