"""TripoSR and Splatter Image at a size at which they were recorded, with weights that anybody can make again."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from image3d_nb.models.splatter_image import SplatterImage
from image3d_nb.models.triposr import TripoSR

from . import seeded
from .seeded import REFERENCE

UNUSED = (".pooler.", "ray_dirs", "sh_to_v_transform", "v_to_sh_transform", "resample_filter")
"""Parameters and buffers of the published files that the networks do not need."""


def triposr_factor(name: str, shape: tuple[int, ...]) -> float:
    """The record's scale of a parameter: it keeps activations near 1, and makes epsilons and positions visible."""
    fan = math.prod(shape[1:])
    if name.endswith(("cls_token", "position_embeddings", "tokenizer.embeddings")):
        return 0.03 * math.sqrt(fan)
    if name.endswith("patch_embeddings.projection.weight"):
        return 0.02
    if name.endswith(("query.weight", "key.weight", "to_q.weight", "to_k.weight")):
        return 1.4
    if name == "backbone.proj_in.weight":
        return 0.1
    if name == "backbone.proj_out.weight":
        return 0.3 * (64 / shape[0]) ** 0.25
    if name == "post_processor.upsample.weight":
        return math.sqrt(fan / shape[0])
    if name.startswith("decoder.layers.") and name.endswith("weight"):
        return 1.7 if shape[0] != 4 else -5.0
    return 1.0


def splatter_factor(name: str, _shape: tuple[int, ...]) -> float:
    """The same for Splatter Image."""
    if name.endswith("_conv.weight") and ".enc." in name:
        return 0.05
    return {"qkv.weight": 1.4, "out.weight": 1.5}.get(".".join(name.split(".")[-2:]), 1.0)


def fill(module: torch.nn.Module, factor: Callable[[str, tuple[int, ...]], float]) -> Any:
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            shape = tuple(tensor.shape)
            array = seeded.weight(name, shape).astype(np.float64) * factor(name, shape)
            tensor.copy_(torch.from_numpy(array.astype(np.float32)))
    return module.eval()


def config(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((REFERENCE / f"{name}_mini_config.json").read_text())
    return found


@functools.cache
def mini_triposr() -> TripoSR:
    """One for all tests, which must not change it."""
    given = config("triposr")
    vit, backbone, decoder = given["vit"], given["backbone"], given["decoder"]
    network = TripoSR(
        image_size=given["cond_image_size"], table_size=vit["image_size"] // vit["patch_size"],
        vit_channels=vit["hidden_size"], vit_layers=vit["num_hidden_layers"], vit_heads=vit["num_attention_heads"],
        vit_ff_channels=vit["intermediate_size"], plane_size=given["tokenizer"]["plane_size"],
        plane_channels=given["tokenizer"]["num_channels"], layers=backbone["num_layers"],
        heads=backbone["num_attention_heads"], head_dim=backbone["attention_head_dim"],
        features=given["post_processor"]["out_channels"], field_channels=decoder["n_neurons"],
        field_layers=decoder["n_hidden_layers"],
    )  # fmt: skip
    return fill(network, triposr_factor)


@functools.cache
def mini_splatter() -> SplatterImage:
    """The same."""
    data, model = config("splatter")["data"], config("splatter")["model"]
    network = SplatterImage(
        image_size=data["training_resolution"], base_channels=model["base_dim"], num_blocks=model["num_blocks"],
        attention_resolutions=model["attention_resolutions"],
    )  # fmt: skip
    return fill(network, splatter_factor)
