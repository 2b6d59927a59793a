"""The pipelines: an image or a sentence to views, and on to Gaussians; and how to load them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast, overload

import torch

from .._numbers import is_whole
from ..errors import InputError
from ..hub.weights import read_json, resolve

if TYPE_CHECKING:
    from ..models.lgm import LGM
    from .lgm import LGMFullPipeline
    from .memory import WeightOffloader
    from .shap_e import ShapEPipeline
    from .splatter_image import SplatterImagePipeline
    from .triposr import TripoSRPipeline

__all__ = ["generator", "load_pipeline"]
SINGLE_IMAGE = {
    "TripoSRPipeline": ("image3d_nb.pipelines.triposr", "TripoSRPipeline"),
    "SplatterImagePipeline": ("image3d_nb.pipelines.splatter_image", "SplatterImagePipeline"),
    "ShapEPipeline": ("image3d_nb.pipelines.shap_e", "ShapEPipeline"),
    "ShapEImg2ImgPipeline": ("image3d_nb.pipelines.shap_e", "ShapEPipeline"),
}
"""Pipeline in ``model_index.json`` -> module and name of the class here that runs it."""
_WORTH_IT = 1.3  # bfloat16 must be so many times faster than float32
_LARGE = 2**28  # bytes of weights; for smaller models a CPU's bfloat16 is not worth its rounding


class _Options(TypedDict, total=False):
    """Arguments of :func:`load_pipeline` for models that need no LGM."""

    revision: str | None
    device: str | torch.device
    dtype: torch.dtype | None
    memory: str


@overload
def load_pipeline(name: Literal["stabilityai/TripoSR"], **options: Unpack[_Options]) -> TripoSRPipeline: ...
@overload
def load_pipeline(
    name: Literal["szymanowiczs/splatter-image-v1"], **options: Unpack[_Options]
) -> SplatterImagePipeline: ...
@overload
def load_pipeline(name: Literal["openai/shap-e-img2img"], **options: Unpack[_Options]) -> ShapEPipeline: ...
@overload
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
) -> LGMFullPipeline: ...


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
) -> Any:
    """Load a model by name.

    Args:
        name: "tiny" (bundled), a hub repository such as "dylanebert/LGM-full", "stabilityai/TripoSR",
            "szymanowiczs/splatter-image-v1" or "openai/shap-e-img2img" (:func:`image3d_nb.list_models` lists them), a
            folder in diffusers' layout, a folder with TripoSR's ``model.ckpt`` or Splatter Image's
            ``model_latest.pth``, or such a file.
        lgm: the second half, if ``name`` is only the first, or to replace its own: an LGM, a folder, a
            ``.safetensors`` file, a repository ("ashawkey/LGM") or a file in one
            ("ashawkey/LGM/model_fp16.safetensors").
        revision: branch or commit of the repository ``name``; None is its main branch.
        lgm_revision: branch or commit of the repository ``lgm``; None is its main branch.
        rotation: how LGM's weights were trained, if no configuration says it: "normalized", or "identity" for weights
            from before the rotation fix; see :class:`~image3d_nb.models.lgm.LGM`.
        device: where the pipeline runs.
        dtype: type of the networks. None is float16 on a GPU; on a CPU it is float32, or bfloat16 for large models if
            the CPU has it in hardware. TripoSR's transformers run in bfloat16 on a CPU that is measured to be faster
            at it; its density and colours, and all of Splatter Image, are in float32 everywhere.
        memory: "normal", or "low": each network is read from disk when it is needed and dropped afterwards, and its
            weights take two bytes each. This takes less memory and more time.

    Returns:
        The whole pipeline. If ``name`` holds no LGM and ``lgm`` is None, a
        :class:`~image3d_nb.pipelines.mvdream.MVDreamPipeline`, which makes only the views. For the other models
        :class:`~image3d_nb.pipelines.triposr.TripoSRPipeline`,
        :class:`~image3d_nb.pipelines.splatter_image.SplatterImagePipeline` or
        :class:`~image3d_nb.pipelines.shap_e.ShapEPipeline`. ``.source`` says which commits were loaded.

    Raises:
        InputError: unknown ``memory`` or ``rotation``, or one for LGM with a model that has none.
        WeightsError: there is no such model, or its files are damaged, hold code, or cannot be downloaded.

    Warns:
        UserWarning: the repository or a checkpoint's sha256 is unknown to this package, or nothing says which rotation
            LGM's weights use.

    Example:
        >>> pipe = load_pipeline()
        >>> pipe.picture_size
        64
    """
    from .memory import WeightOffloader, number_type

    if memory not in ("normal", "low"):
        raise InputError(f"memory must be 'normal' or 'low'; got {memory!r}")
    path = resolve(str(name), revision, skip=() if lgm is None else ("lgm",))
    index = {} if path.is_file() else read_json(path / "model_index.json")
    single = path.is_file() or index.get("_class_name") in SINGLE_IMAGE
    if single and (lgm, lgm_revision, rotation) != (None, None, None):
        raise InputError(f"lgm, lgm_revision and rotation must be None for {name}, which needs no LGM")
    offloader = WeightOffloader(device, dtype) if memory == "low" else None
    if single:
        pipe = _single_image(path, index, dtype, device, offloader)
        return pipe if offloader is not None else pipe.to(device)
    from .lgm import LGMFullPipeline
    from .mvdream import MVDreamPipeline

    whole = lgm is not None or "lgm" in index
    # Typed as the usual case: for a checker, an MVDreamPipeline is one that lacks LGM.
    kind = LGMFullPipeline if whole else cast(type[LGMFullPipeline], MVDreamPipeline)
    if offloader is not None:
        dtype = offloader.dtype
    elif dtype is None:
        size = sum(file.stat().st_size for file in path.rglob("*.safetensors"))
        dtype = number_type(device, small=size < _LARGE)
    pipe = kind.from_pretrained(
        path, dtype=dtype, lgm=lgm, lgm_revision=lgm_revision, rotation=rotation, offloader=offloader
    )
    if offloader is None:
        return pipe.to(device)
    pipe.enable_vae_slicing()
    return pipe


def _single_image(
    path: Path, index: dict[str, Any], dtype: torch.dtype | None, device: Any, offloader: WeightOffloader | None
) -> Any:
    """Load TripoSR, Splatter Image or Shap-E from their folder or file."""
    from .memory import bfloat16_speedup

    if offloader is not None:
        dtype = offloader.dtype
    module, kind = (
        SINGLE_IMAGE[index["_class_name"]] if index else ("image3d_nb.pipelines.single_image", "SingleImagePipeline")
    )
    pipe = getattr(importlib.import_module(module), kind).from_pretrained(path, dtype=dtype, offloader=offloader)
    if offloader is None and dtype is None:
        on_cpu = torch.device(device).type == "cpu"
        if not on_cpu:
            pipe.use_fast_type(torch.float16)
        elif pipe.gains_from_bfloat16 and bfloat16_speedup() > _WORTH_IT:
            pipe.use_fast_type(torch.bfloat16)
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
    if not is_whole(seed) or not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2^63 - 1; got {seed!r}")
    return torch.Generator(device).manual_seed(int(seed))
