"""Published checkpoints of single networks, in PyTorch's own format (``model.ckpt``, ``model_latest.pth``).

Such a file is a pickle, which may hold code. It is read once, by ``torch.load(weights_only=True)``, which refuses all
but tensors and plain values, and kept as safetensors beside it. From then on only that file is read.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from .._files import atomic_path
from ..errors import WeightsError
from ..hub.weights import CHECKPOINTS, KNOWN, read_json, refuse_pickle
from ..images.caller import warn
from .loading import build, check_names, empty_network, opened
from .memory import WeightOffloader


@dataclass(frozen=True)
class Published:
    """A network that is published as a checkpoint.

    Attributes:
        module: of the network's class, whose name is the key in :data:`PUBLISHED`.
        pipeline: module and name of the pipeline's class.
        mark: a parameter that no other network has.
        unused: parts of the names of parameters and buffers that the class does not have.
        configs: stem of a file's name -> its configuration where it differs from the class's defaults; None for files
            that need code which this package does not have.
    """

    module: str
    pipeline: tuple[str, str]
    mark: str
    unused: tuple[str, ...]
    configs: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)


_CARS = {"fovy": 51.98948897809546}
PUBLISHED = {
    "TripoSR": Published(
        "image3d_nb.models.triposr", ("image3d_nb.pipelines.triposr", "TripoSRPipeline"),
        "image_tokenizer.model.embeddings.cls_token", (".pooler.",),
    ),
    "SplatterImage": Published(
        "image3d_nb.models.splatter_image", ("image3d_nb.pipelines.splatter_image", "SplatterImagePipeline"),
        "network_with_offset.out.weight", ("ray_dirs", "sh_to_v_transform", "v_to_sh_transform", "resample_filter"),
        {
            "model_cars": {**_CARS, "znear": 0.8, "zfar": 1.8},
            "model_chairs": {**_CARS, "znear": 1.25, "zfar": 2.75},
            "model_nmr": {"fovy": 30.0, "znear": 1.2, "zfar": 4.0, "image_size": 64, "attention_resolutions": (8,)},
            "model_hydrants": None, "model_teddybears": None,
        },
    ),
}  # fmt: skip
_STATES = ("model_state_dict", "state_dict")  # training code stores the weights beside the optimiser's state
_FORBIDDEN = re.compile(r"GLOBAL (\S+)")
_NUMPY_SCALARS: list[Any] = [  # a loss that training code stored beside the weights; none of these runs code
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType,
]  # fmt: skip


def load_checkpoint(file: Path, dtype: torch.dtype | None = None, offloader: WeightOffloader | None = None) -> Any:
    """Load a network that is published as one file.

    Args:
        file: a checkpoint, or a ``.safetensors`` file with the same names. A ``config.json`` of the network's class
            beside it is its configuration; without one it has the published one.
        dtype: type of the weights; None keeps the file's.
        offloader: leaves the network on disk.

    Returns:
        The network, in evaluation mode. Its weights are memory-mapped unless their type changes.

    Raises:
        WeightsError: the file is damaged, holds code or another network, or its copy cannot be written.

    Warns:
        UserWarning: this package does not know the file's sha256.
    """
    tensors = file if file.suffix == ".safetensors" else _as_safetensors(file)
    with opened(tensors) as weights:
        kind, digest = _kind_of(file, weights.keys()), (weights.metadata() or {}).get("sha256")
    if digest is not None and not any(digest in model.sha256.values() for model in KNOWN.values()):
        warn(
            f"{file}: its sha256, {digest}, is not in this package's table, so nothing says that it is the published"
            " file: use it if you trust where it is from"
        )
    return build(_class(kind), _config(file, kind), [tensors], dtype, offloader, PUBLISHED[kind].unused)


def pipeline_of(network: Any) -> Any:
    """The class of the pipeline that runs a network of :func:`load_checkpoint`."""
    module, name = PUBLISHED[type(network).__name__].pipeline
    return getattr(importlib.import_module(module), name)


def _class(kind: str) -> Any:
    return getattr(importlib.import_module(PUBLISHED[kind].module), kind)


def _kind_of(file: Path, names: Any) -> str:
    """A key of :data:`PUBLISHED`, by the names of a file's tensors."""
    names = list(names)
    for kind, published in PUBLISHED.items():
        if published.mark in names:
            return kind
    marks = " and ".join(published.mark for published in PUBLISHED.values())
    first = f"the first unexpected one is {names[0]}" if names else "it holds none"
    raise WeightsError(
        f"{file}: a model's only file must hold the parameters of {' or '.join(PUBLISHED)}; {marks} are missing, and"
        f" {first}. LGM's file is passed as lgm=, with the first half by name, e.g."
        " 'ashawkey/imagedream-ipmv-diffusers'"
    )


def _config(file: Path, kind: str) -> dict[str, Any]:
    beside = file.with_name("config.json")
    if beside.is_file():
        config = read_json(beside)
        if config.get("_class_name", kind) != kind:
            raise WeightsError(f"{beside}: it must be the configuration of {kind}; got {config['_class_name']}")
        return config
    config_of_file = PUBLISHED[kind].configs.get(file.name.partition(".")[0], {})
    if config_of_file is None:
        raise WeightsError(
            f"{file}: this package has no code for the CO3D models of Splatter Image, whose cameras differ from image"
            " to image: use model_latest.pth"
        )
    return config_of_file


def _as_safetensors(file: Path) -> Path:
    """The safetensors file beside a checkpoint; it is written if it is missing or older than the checkpoint."""
    target, status = file.with_name(f"{file.name}.safetensors"), file.stat()
    stamp = f"{status.st_size} {status.st_mtime_ns}"
    if target.is_file():
        with opened(target) as weights:
            if (weights.metadata() or {}).get("source") == stamp:
                return target
    state = _read(file)
    kind = _kind_of(file, state)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    unused = PUBLISHED[kind].unused
    check_names(file, shapes, empty_network(_class(kind), _config(file, kind), file.parent), unused)  # fails early
    kept = {name: tensor for name, tensor in state.items() if not any(part in name for part in unused)}
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    metadata = {"format": "pt", "source": stamp, "sha256": digest, "network": kind}
    try:
        with atomic_path(target) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in kept.items()}, temporary, metadata)
    except Exception as error:
        if isinstance(error, OSError) or "I/O" in str(error) or "os error" in str(error).lower():
            size = sum(tensor.nbytes for tensor in kept.values())
            full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)
            why = "the disk is full" if full else str(error)
            raise WeightsError(
                f"{target}: {size / 1e9:.1f} GB must be written once, so that the checkpoint need not be unpickled"
                f" again; {why}: make room, or copy {file.name} to a folder that can be written"
            ) from error
        raise
    return target


def _read(file: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint, memory-mapped."""
    if file.suffix not in CHECKPOINTS:
        refuse_pickle(file)
        raise WeightsError(f"{file}: a model's file must end in .safetensors, {' or '.join(CHECKPOINTS)}")
    try:
        content = _unpickle(file, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):  # a file of before torch 1.6 cannot be mapped
            raise WeightsError(
                f"{file}: a checkpoint must be a complete pickle of PyTorch; {_line(error)}: download it again"
            ) from error
        content = _unpickle(file, mmap=False)
    for name in _STATES:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise WeightsError(
            f"{file}: a checkpoint must hold names and tensors, alone or as {' or '.join(_STATES)}; it holds"
            f" {type(content).__name__}"
        )
    return content


def _unpickle(file: Path, mmap: bool) -> Any:
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        code = _FORBIDDEN.search(str(error))
        if code:
            raise WeightsError(
                f"{file}: a checkpoint must hold tensors only; this pickle names {code[1]}, which would run code: it"
                " is not read. Do not use files of this origin, or ask for a .safetensors"
            ) from error
        raise WeightsError(
            f"{file}: a checkpoint must be a complete pickle of PyTorch; {_line(error)}: download it again"
        ) from error
    except (EOFError, UnicodeDecodeError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise WeightsError(f"{file}: a checkpoint must be a complete pickle of PyTorch; {_line(error)}") from error


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
