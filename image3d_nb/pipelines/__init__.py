"""The pipelines: a picture or a sentence to views, and on to Gaussians; and how to load them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError
from ..hub.weights import read_json, resolve

if TYPE_CHECKING:
    from ..models.lgm import LGM
    from .lgm import LGMFullPipeline

__all__ = ["generator", "load_pipeline"]
_LARGE = 2**28  # bytes of weights, from which on a CPU's bfloat16 is worth its rounding


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
        lgm: the second half, where ``name`` is only the first, or instead of its own: a folder, a ``.safetensors``
            file, a repository ("ashawkey/LGM") or a file in one ("ashawkey/LGM/model_fp16.safetensors").
        revision: of the repository ``name``, a branch or a commit; None is its main branch.
        lgm_revision: of the repository ``lgm``.
        rotation: how LGM's weights were trained, where nothing tells: "normalized", or "identity" for those from before
            the rotation fix; see :class:`~image3d_nb.models.lgm.LGM`.
        device: where it runs.
        dtype: of the networks; None is float16 on a GPU; on a CPU float32, or bfloat16 for large models where the CPU
            multiplies it itself.
        memory: "normal", or "low": each network is read from disk when its turn comes and forgotten afterwards, held
            in two bytes a number. Less memory, a longer wait.

    Returns:
        The whole pipeline; or a :class:`~image3d_nb.pipelines.mvdream.MVDreamPipeline`, which makes four views and no
        Gaussians, where ``name`` holds no LGM and ``lgm`` is None. ``.source`` tells the commits that were loaded.

    Raises:
        WeightsError: there is no such model, or its files are damaged or cannot be had.

    Warns:
        UserWarning: the repository is none that this package knows, or nothing tells LGM's rotation.

    Example:
        >>> pipe = load_pipeline()
        >>> pipe.picture_size
        64
    """
    from ._memory import Shelf, number_type
    from .lgm import LGMFullPipeline
    from .mvdream import MVDreamPipeline

    if memory not in ("normal", "low"):
        raise InputError(f"memory must be 'normal' or 'low'; got {memory!r}")
    folder = resolve(str(name), revision, skip=() if lgm is None else ("lgm",))
    whole = lgm is not None or "lgm" in read_json(folder / "model_index.json")
    settings = {"lgm": lgm, "lgm_revision": lgm_revision, "rotation": rotation} if whole else {}
    kind: Any = LGMFullPipeline if whole else MVDreamPipeline
    if memory == "low":
        shelf = Shelf(device, dtype)
        made = kind.from_pretrained(folder, dtype=shelf.dtype, keep=shelf.keep, **settings)
        made.shelf = shelf
        made.enable_vae_slicing()
        return made
    if dtype is None:
        dtype = number_type(device, small=_bytes_of(folder) < _LARGE)
    return kind.from_pretrained(folder, dtype=dtype, **settings).to(device)


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


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
