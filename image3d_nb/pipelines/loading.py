"""Read a diffusers folder component by component, from our own table of classes: no code of a repository ever runs.

diffusers' own ``from_pretrained`` looks a component's class up in diffusers, or in Python files of the repository. The
published folders name classes that are in neither (``["lgm", "LGM"]``), so the classes are named here.
"""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import WeightsError
from ..weights import LGM_ROTATION, resolve

CLASSES = {  # class name in model_index.json -> where it is
    "LGM": "image3d_nb.models.lgm",
    "MultiViewUNetModel": "image3d_nb.models.mv_unet",
    "AutoencoderKL": "diffusers",
    "DDIMScheduler": "diffusers",
    "DPMSolverMultistepScheduler": "diffusers",
    "UniPCMultistepScheduler": "diffusers",
    "CLIPTextModel": "transformers",
    "CLIPTokenizer": "transformers",
    "CLIPVisionModel": "transformers",
    "CLIPImageProcessor": "transformers",
    "CLIPImageProcessorPil": "transformers",
    "CLIPFeatureExtractor": "transformers",
}
_RENAMED = {"CLIPFeatureExtractor": "CLIPImageProcessor"}  # transformers 5 dropped the old name
_OURS = ("LGM", "MultiViewUNetModel")


class FromFolderMixin:
    """``from_pretrained`` for pipelines whose components are in :data:`CLASSES`."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        torch_dtype: torch.dtype = torch.float32,
        revision: str | None = None,
        custom_pipeline: str | None = None,
        trust_remote_code: bool | None = None,
        **components: Any,
    ) -> Self:
        """Load a pipeline from a folder or a repository of the hub.

        Args:
            pretrained_model_name_or_path: a folder in diffusers' layout, "tiny", or a repository's name.
            torch_dtype: of all networks.
            revision: of a repository, a branch or a commit.
            custom_pipeline: ignored, with a warning: the classes of this package are used.
            trust_remote_code: ignored, with a warning: no code from a repository is run.
            **components: instances (or None) to use instead of what the folder holds, or settings of the pipeline.

        Raises:
            WeightsError: the folder is incomplete or damaged, or names a class that is not in the table.
        """
        if custom_pipeline is not None or trust_remote_code:
            warnings.warn(
                f"custom_pipeline and trust_remote_code are ignored: {cls.__name__} uses its own classes and runs no"
                " code from a repository, so there is nothing to trust",
                stacklevel=2,
            )
        folder = resolve(str(pretrained_model_name_or_path), revision=revision)
        index = read_json(folder / "model_index.json")
        found: dict[str, Any] = dict(components)
        for name, value in index.items():
            if name.startswith("_") or name in found:
                continue
            if isinstance(value, list) and len(value) == 2:
                found[name] = None if value[1] is None else load_component(folder / name, value[1], torch_dtype)
            else:
                found[name] = value
        _settle_rotation(found.get("lgm"), str(pretrained_model_name_or_path), folder)
        missing = [name for name in ("unet", "scheduler", "lgm") if name in index and found[name] is None]
        if missing:
            raise WeightsError(f"{folder}: model_index.json must name {', '.join(missing)}; it says null")
        try:
            return cls(**found)
        except TypeError as error:
            raise WeightsError(f"{folder}: {cls.__name__} cannot be made of model_index.json: {error}") from error


def _settle_rotation(lgm: Any, name: str, folder: Path) -> None:
    """LGM's published configurations do not say which rotation their weights were trained with."""
    if lgm is None or name not in LGM_ROTATION:
        file = folder / "lgm" / "config.json"
        if lgm is not None and file.is_file() and "rotation" not in read_json(file):
            warnings.warn(
                f"{file} names no rotation, and {lgm.config.rotation!r} is used: right for *_fixrot weights; those of"
                ' LGM-full need "rotation": "identity" written there',
                stacklevel=3,
            )
        return
    lgm.register_to_config(rotation=LGM_ROTATION[name])


def load_component(folder: Path, class_name: str, dtype: torch.dtype) -> Any:
    """One component from its folder.

    Args:
        folder: with the component's configuration and weights.
        class_name: a key of :data:`CLASSES`.
        dtype: of a network's weights.

    Raises:
        WeightsError: unknown class, or files that are missing or damaged.
    """
    if not isinstance(class_name, str) or class_name not in CLASSES:
        raise WeightsError(f"{folder}: a component's class must be one of {', '.join(CLASSES)}; got {class_name!r}")
    if not folder.is_dir():
        raise WeightsError(f"{folder}: the component's folder must exist; it is missing: download the model again")
    kind = getattr(importlib.import_module(CLASSES[class_name]), _RENAMED.get(class_name, class_name))
    if class_name in _OURS:
        # torch's own .to: diffusers' warns of float32 modules, of which these networks have none
        return torch.nn.Module.to(load_network(kind, folder), dtype)
    is_network = issubclass(kind, torch.nn.Module)
    try:
        return kind.from_pretrained(folder, **({"torch_dtype": dtype} if is_network else {}))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{folder}: {class_name} could not be read: {error}") from error


def load_network(kind: Any, folder: Path) -> Any:
    """One of our networks, every parameter of it from the file, in evaluation mode."""
    config = {name: value for name, value in read_json(folder / "config.json").items() if not name.startswith("_")}
    try:
        network = kind.from_config(config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(f"{folder}: config.json must describe a {kind.__name__}; {error}") from error
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"{folder}: a .safetensors file is needed; there is none: download the model again")
    state: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            state |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{file}: the weights must be a whole safetensors file; {error}") from error
    bad = next((name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())), None)
    if bad is not None:
        raise WeightsError(f"{folder}: weights must be finite; {bad} is not: download the model again")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{folder}: the weights must fit config.json; {error}") from error
    return network.eval()


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file, or a WeightsError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{file}: the file is needed; it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise WeightsError(f"{file}: the file must hold JSON; {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file}: the file must hold a JSON object; got {type(content).__name__}")
    return content
