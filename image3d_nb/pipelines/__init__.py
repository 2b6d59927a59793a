"""The pipelines: a picture or a sentence to views, and on to Gaussians; and how to load them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import InputError

if TYPE_CHECKING:
    from .lgm import LGMFullPipeline

__all__ = ["generator", "load_pipeline"]


def load_pipeline(
    name: str | Path = "tiny", *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> LGMFullPipeline:
    """Load a model by name.

    Args:
        name: "tiny" (bundled), a folder in diffusers' layout, or a hub repository such as "dylanebert/LGM-full".
        device: where it runs.
        dtype: of the networks; None is float32 on a CPU and float16 elsewhere.

    Raises:
        WeightsError: there is no such model, or its files are damaged.

    Example:
        >>> pipe = load_pipeline()
        >>> pipe.picture_size
        64
    """
    from .lgm import LGMFullPipeline

    if dtype is None:
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    return LGMFullPipeline.from_pretrained(name, torch_dtype=dtype).to(device)


def generator(seed: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """A source of random numbers that gives the same ones for the same seed.

    Args:
        seed: 0 to 2^63 - 1.
        device: a CPU generator works with every device, and gives the same numbers on all.

    Raises:
        InputError: the seed is not such a number.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2^63 - 1; got {seed!r}")
    return torch.Generator(device).manual_seed(seed)
