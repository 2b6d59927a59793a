"""The published pipeline with every component, small: 64-pixel views, 4,096 Gaussians, seeded weights, no download."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from image3d_nb.models.lgm import LGM
from image3d_nb.models.mv_unet import MultiViewUNetModel
from image3d_nb.pipelines.lgm import LGMFullPipeline

from .seeded import fill
from .test_parity import CONFIGS, DDIM

NETWORKS = ("unet", "vae", "text_encoder", "image_encoder", "lgm")


@functools.cache
def small_tokenizer() -> CLIPTokenizer:
    """CLIP's, with letters for words."""
    letters = [letter + end for letter in "abcdefghijklmnopqrstuvwxyz!" for end in ("", "</w>")]
    words = {word: number for number, word in enumerate(letters)} | {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocabulary.write_text(json.dumps(words))
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77, pad_token="!")


@functools.cache
def small_pipeline() -> LGMFullPipeline:
    """One for all tests: whoever changes it changes it back."""
    pipe = LGMFullPipeline(
        lgm=fill(LGM(**CONFIGS["MINI_LGM"], input_size=64, splat_size=32)),
        unet=fill(MultiViewUNetModel(**{**CONFIGS["MINI"], "image_size": 8})),
        scheduler=DDIMScheduler(**DDIM),
        vae=fill(AutoencoderKL(**CONFIGS["VAE"])),
        tokenizer=small_tokenizer(),
        text_encoder=fill(CLIPTextModel(CLIPTextConfig(**CONFIGS["TE"]))),
        image_encoder=fill(CLIPVisionModel(CLIPVisionConfig(**CONFIGS["IE"]))),
        feature_extractor=CLIPImageProcessor(),
        default_steps=2,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


class Calls:
    """How often a module runs, and with how many rows."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.rows: list[int] = []
        self.hook = module.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.rows.append(len(next(iter([*inputs, *named.values()]))))

    def __enter__(self) -> list[int]:
        return self.rows

    def __exit__(self, *_: object) -> None:
        self.hook.remove()
