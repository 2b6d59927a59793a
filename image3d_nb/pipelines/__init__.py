"""The pipelines: an image or a sentence to views, and on to Gaussians; and how to load them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from ..errors import InputError
from ..hub.weights import read_json, resolve

if TYPE_CHECKING:
    from ..models.lgm import LGM
    from .lgm import LGMFullPipeline

__all__ = ["generator", "load_pipeline"]
_LARGE = 2**28  # bytes of weights; for smaller models a CPU's bfloat16 is not worth its rounding


def load_pipeline(
    name: str | Path = "tiny",
    *,
    lgm: LGM | str | Path | None = None,
    revision: str | None = None,
    lgm_revision: str | None = None,
    rotation: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    memory: str = "normal",
) -> LGMFullPipeline:
    """Load a model by name.

    Args:
        name: "tiny" (bundled), a folder in diffusers' layout, or a hub repository such as "dylanebert/LGM-full".
        lgm: the second half, if ``name`` is only the first, or to replace its own: an LGM, a folder, a
            ``.safetensors`` file, a repository ("ashawkey/LGM") or a file in one
            ("ashawkey/LGM/model_fp16.safetensors").
        revision: branch or commit of the repository ``name``; None is its main branch.
        lgm_revision: branch or commit of the repository ``lgm``; None is its main branch.
        rotation: how LGM's weights were trained, if no configuration says it: "normalized", or "identity" for weights
            from before the rotation fix; see :class:`~image3d_nb.models.lgm.LGM`.
        device: where the pipeline runs.
        dtype: type of the networks. None is float16 on a GPU; on a CPU it is float32, or bfloat16 for large models if
            the CPU has it in hardware.
        memory: "normal", or "low": each network is read from disk when it is needed and dropped afterwards, and its
            weights take two bytes each. This takes less memory and more time.

    Returns:
        The whole pipeline. If ``name`` holds no LGM and ``lgm`` is None, a
        :class:`~image3d_nb.pipelines.mvdream.MVDreamPipeline`, which makes only the views. ``.source`` says which
        commits were loaded.

    Raises:
        InputError: unknown ``memory`` or ``rotation``.
        WeightsError: there is no such model, or its files are damaged or cannot be downloaded.

    Warns:
        UserWarning: the repository is unknown to this package, or nothing says which rotation LGM's weights use.

    Example:
        >>> pipe = load_pipeline()
        >>> pipe.picture_size
        64
    """
    from .lgm import LGMFullPipeline
    from .memory import WeightOffloader, number_type
    from .mvdream import MVDreamPipeline

    if memory not in ("normal", "low"):
        raise InputError(f"memory must be 'normal' or 'low'; got {memory!r}")
    folder = resolve(str(name), revision, skip=() if lgm is None else ("lgm",))
    whole = lgm is not None or "lgm" in read_json(folder / "model_index.json")
    # Typed as the usual case: for a checker, an MVDreamPipeline is one that lacks LGM.
    kind = LGMFullPipeline if whole else cast(type[LGMFullPipeline], MVDreamPipeline)
    offloader = WeightOffloader(device, dtype) if memory == "low" else None
    if offloader is not None:
        dtype = offloader.dtype
    elif dtype is None:
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        dtype = number_type(device, small=size < _LARGE)
    pipe = kind.from_pretrained(
        folder, dtype=dtype, lgm=lgm, lgm_revision=lgm_revision, rotation=rotation, offloader=offloader
    )
    if offloader is None:
        return pipe.to(device)
    pipe.enable_vae_slicing()
    return pipe


def generator(seed: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """Make a random generator that gives the same numbers for the same seed.

    Args:
        seed: 0 to 2^63 - 1.
        device: a CPU generator works with every device and gives the same numbers on all.

    Returns:
        The generator.

    Raises:
        InputError: the seed is out of its range.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2^63 - 1; got {seed!r}")
    return torch.Generator(device).manual_seed(seed)
