"""Read a diffusers folder component by component, from a fixed table of classes: no code of a repository ever runs.

diffusers' own ``from_pretrained`` looks up a component's class in diffusers, or in Python files of the repository. The
published folders name classes that are in neither (``["lgm", "LGM"]``), so this table names them.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError, WeightsError
from ..hub.weights import PICKLES, origin_of, read_json, refuse_pickle, resolve_lgm, rotation_of
from ..models.lgm import LGM, ROTATIONS
from .memory import WeightOffloader

CLASSES = {  # class name in model_index.json -> the module that has it
    "LGM": "image3d_nb.models.lgm",
    "MultiViewUNetModel": "image3d_nb.models.mv_unet",
    "TripoSR": "image3d_nb.models.triposr",
    "SplatterImage": "image3d_nb.models.splatter_image",
    "AutoencoderKL": "diffusers",
    "PriorTransformer": "diffusers",
    "ShapERenderer": "diffusers.pipelines.shap_e",
    "HeunDiscreteScheduler": "diffusers",
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
_RENAMED = {"CLIPFeatureExtractor": "CLIPImageProcessor"}  # transformers 5 removed the old name
_BUILT = (  # read by load_network; the others by their from_pretrained
    "LGM", "MultiViewUNetModel", "AutoencoderKL", "TripoSR", "SplatterImage", "PriorTransformer", "ShapERenderer",
)  # fmt: skip
_USUAL_NAMES = ("diffusion_pytorch_model.safetensors", "model.safetensors")  # files beside them are variants
_OLD_ATTENTION = re.compile(r"(\.attentions\.\d+\.)(query|key|value|proj_attn)\.")  # of VAEs before diffusers 0.12
_NEW_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_TENSORS_PER_OPENING = 32


def load_lgm_of(
    name: str,
    folder: Path,
    index: Mapping[str, Any],
    lgm: LGM | str | Path | None,
    revision: str | None,
    rotation: str | None,
    dtype: torch.dtype,
    offloader: WeightOffloader | None = None,
) -> tuple[LGM, str]:
    """Load a pipeline's LGM and settle its rotation.

    Args:
        name: the model's name, which may say the rotation.
        folder: the model's folder.
        index: its ``model_index.json``.
        lgm: network or name to use instead of the folder's own LGM.
        revision: branch or commit of the repository that ``lgm`` names.
        rotation: LGM's ``rotation``; None takes the table's, then the configuration's.
        dtype: type of the weights.
        offloader: leaves the network on disk.

    Returns:
        The network, and where it came from.

    Raises:
        InputError: unknown rotation.
        WeightsError: there is no LGM, or it is damaged.

    Warns:
        UserWarning: nothing says which rotation the weights were trained with.
    """
    if rotation is not None and rotation not in ROTATIONS:
        raise InputError(f"rotation must be one of {', '.join(ROTATIONS)}; got {rotation!r}")
    if isinstance(lgm, torch.nn.Module):
        if rotation is not None:
            lgm.register_to_config(rotation=rotation)
        return lgm, "memory"
    if lgm is not None:
        path = resolve_lgm(str(lgm), revision)
        known_rotation = rotation_of(str(lgm), path)
    elif isinstance(index.get("lgm"), list) and index["lgm"][1:] == ["LGM"]:
        path = folder / "lgm"
        known_rotation = rotation_of(name, folder)
    else:
        raise WeightsError(
            f"{folder}: model_index.json must name an LGM, which turns views into Gaussians; got {index.get('lgm')!r}:"
            " pass lgm='ashawkey/LGM', or use MVDreamPipeline, which makes only the views"
        )
    network, rotation = load_lgm(path, dtype, offloader), rotation or known_rotation
    config = path / "config.json" if path.is_dir() else path.with_name("config.json")
    if rotation is not None:
        network.register_to_config(rotation=rotation)
    elif not config.is_file() or "rotation" not in read_json(config):  # published configurations do not say it
        warnings.warn(
            f"{path}: nothing says which rotation these weights were trained with; {network.config.rotation!r} is used."
            " It is right for *_fixrot weights. For those of LGM-full, which are older, pass"
            ' rotation="identity"',
            stacklevel=4,  # load_pipeline's caller
        )
    return network, origin_of(path)


def load_component(folder: Path, class_name: str, dtype: torch.dtype, offloader: WeightOffloader | None = None) -> Any:
    """Load one component from its folder.

    Args:
        folder: holds the component's configuration and weights.
        class_name: a key of :data:`CLASSES`.
        dtype: type of a network's weights.
        offloader: leaves a network on disk.

    Returns:
        The component; a network in evaluation mode.

    Raises:
        WeightsError: unknown class, or files that are missing or damaged.
    """
    if not isinstance(class_name, str) or class_name not in CLASSES:
        raise WeightsError(f"{folder}: a component's class must be one of {', '.join(CLASSES)}; got {class_name!r}")
    if not folder.is_dir():
        raise WeightsError(f"{folder}: the component's folder must exist; it is missing: download the model again")
    kind = getattr(importlib.import_module(CLASSES[class_name]), _RENAMED.get(class_name, class_name))
    if class_name in _BUILT:
        return load_network(kind, folder, dtype, offloader)
    try:
        if not issubclass(kind, torch.nn.Module):
            return kind.from_pretrained(folder, local_files_only=True)
        for file in component_files(folder):
            with opened(file):  # raises for a truncated file
                pass
        if offloader is None:
            return _load_clip(kind, folder, dtype)
        with torch.device("meta"):
            empty = kind(kind.config_class.from_pretrained(folder, local_files_only=True))
        return offloader.register(empty.eval(), lambda: _load_clip(kind, folder, dtype))
    except WeightsError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{folder}: {class_name} could not be read: {error}") from error


def _load_clip(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Let transformers read its network: it knows the names in old files, and makes the buffers."""
    network, info = kind.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    missing = sorted(info["missing_keys"])  # transformers leaves them random
    if missing:
        raise WeightsError(f"{folder}: the weights must fit config.json; {_examples('missing', missing)}")
    for name, tensor in network.named_parameters():
        _check_finite(folder, name, tensor)
    return network.eval()


def load_network(
    kind: Any, folder: Path, dtype: torch.dtype | None = None, offloader: WeightOffloader | None = None
) -> Any:
    """Load a network of diffusers' kind: every parameter comes from the file.

    Args:
        kind: the class.
        folder: holds ``config.json`` and the weights.
        dtype: type of the weights; None keeps the file's.
        offloader: leaves the network on disk.

    Returns:
        The network, in evaluation mode.

    Raises:
        WeightsError: files that are missing or damaged, or do not fit the configuration.
    """
    return build(kind, read_json(folder / "config.json"), component_files(folder), dtype, offloader)


def load_lgm(path: Path, dtype: torch.dtype | None = None, offloader: WeightOffloader | None = None) -> LGM:
    """Load LGM from its folder, or from a bare ``.safetensors`` file.

    Args:
        path: a bare file is read with the LGM configuration beside it, else with the published "big" one.
        dtype: type of the weights; None keeps the file's.
        offloader: leaves the network on disk.

    Returns:
        The network, in evaluation mode.

    Raises:
        WeightsError: as for :func:`load_network`.
    """
    if path.is_dir():
        return load_network(LGM, path, dtype, offloader)
    refuse_pickle(path)
    beside = path.with_name("config.json")
    config = read_json(beside) if beside.is_file() else {}
    return build(LGM, config if config.get("_class_name") == "LGM" else {}, [path], dtype, offloader)


def component_files(folder: Path) -> list[Path]:
    """Find a component's weight file, or the parts that its index names.

    Args:
        folder: the component's folder.

    Raises:
        WeightsError: there is none, or more than one could be meant.
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        names = sorted({Path(str(name)).name for name in read_json(index).get("weight_map", {}).values()})
        absent = [name for name in names if not (folder / name).is_file()]
        if absent or not names:
            raise WeightsError(f"{folder}: {index.name} must name existing files; {_examples('missing', absent)}")
        return [folder / name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    usual = [file for file in files if file.name in _USUAL_NAMES]
    if len(usual) == 1 or len(files) == 1:
        return usual or files
    for file in sorted(folder.iterdir()) if not files else ():
        if file.suffix in PICKLES:
            refuse_pickle(file)
    raise WeightsError(
        f"{folder}: one .safetensors file is needed, or an index of its parts; there are {len(files)}: download the"
        " model again"
    )


def build(
    kind: Any,
    config: Mapping[str, Any],
    files: Sequence[Path],
    dtype: torch.dtype | None,
    offloader: WeightOffloader | None = None,
    unused: Sequence[str] = (),
) -> Any:
    """Make a network whose tensors are the files': none starts random, none is copied except to another type.

    Args:
        kind: the class.
        config: its configuration.
        files: the weights.
        dtype: type of the weights; None keeps the files'.
        offloader: leaves the network on disk.
        unused: parts of the names of tensors that the files hold and the network does not need.

    Raises:
        WeightsError: as for :func:`load_network`.
    """
    network = empty_network(kind, config, files[0].parent)
    check_names(files[0], _shapes(files), network, unused)
    if offloader is not None:
        return offloader.register(network.eval(), lambda: build(kind, config, files, dtype, None, unused))
    state: dict[str, Tensor] = {}
    for file in files:
        state |= _read(file, dtype, unused)
    network.load_state_dict(state, assign=True)
    for name, buffer in network.named_buffers():
        if buffer.device.type == "meta":  # no file holds it: diffusers' PriorTransformer, mask of later tokens
            assert name == "causal_attention_mask", name
            mask = torch.full(buffer.shape, -10000.0, dtype=dtype).triu_(1)
            network.register_buffer(name, mask, persistent=False)
    return network.eval()


def empty_network(kind: Any, config: Mapping[str, Any], where: Path) -> Any:
    """Make a network that has shapes and no numbers.

    Args:
        kind: the class.
        config: its configuration.
        where: folder of the configuration, for the message of an error.
    """
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    try:
        with torch.device("meta"):
            return kind.from_config(settings)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(f"{where}: config.json must describe a {kind.__name__}; {error}") from error


def _shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        with opened(file) as weights:
            found |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118 -- no dict
    return found


def check_names(
    file: Path, found: Mapping[str, tuple[int, ...]], network: torch.nn.Module, unused: Sequence[str] = ()
) -> None:
    """Compare names and shapes with the network's, before a gigabyte is read.

    Args:
        file: for the message of an error.
        found: name -> shape of each tensor in the file.
        network: what they are for.
        unused: see :func:`build`.

    Raises:
        WeightsError: they differ.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {_new_name(name): shape for name, shape in found.items() if not any(part in name for part in unused)}
    reshaped = [
        f"{name} {list(found[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    faults = [
        _examples("missing", [name for name in expected if name not in found]),
        _examples("not of this network", [name for name in found if name not in expected]),
        _examples("of another shape", reshaped),
    ]
    if any(faults):
        raise WeightsError(
            f"{file}: the weights must fit the network's configuration; {'; '.join(filter(None, faults))}: is it"
            " the file of another model?"
        )


def _examples(what: str, names: Sequence[str]) -> str:
    """ "4 missing: a, b, c, ...": at most three names, "" for none."""
    more = ", ..." if len(names) > 3 else ""
    return f"{len(names)} {what}: {', '.join(names[:3])}{more}" if names else ""


def _read(file: Path, dtype: torch.dtype | None, unused: Sequence[str] = ()) -> dict[str, Tensor]:
    """Read all tensors of a file: memory-mapped, or copied if their type changes.

    The file is reopened now and then, which gives the pages of the map back, so that a copy never needs twice the
    memory.
    """
    with opened(file) as weights:
        names = [name for name in weights.keys() if not any(part in name for part in unused)]  # noqa: SIM118 -- no dict
    state = {}
    for start in range(0, len(names), _TENSORS_PER_OPENING):
        with opened(file) as weights:
            for name in names[start : start + _TENSORS_PER_OPENING]:
                tensor = weights.get_tensor(name)
                _check_finite(file, name, tensor)
                state[_new_name(name)] = tensor.to(dtype) if tensor.is_floating_point() else tensor
                del tensor
    return state


def opened(file: Path) -> Any:
    """A safetensors file, to read its tensors from.

    Args:
        file: the file.

    Raises:
        WeightsError: it is not complete.
    """
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file}: the weights must be a complete safetensors file; {error}: download the model again"
        ) from error


def _new_name(name: str) -> str:
    return _OLD_ATTENTION.sub(lambda found: f"{found[1]}{_NEW_ATTENTION[found[2]]}.", name)


def _check_finite(where: Path, name: str, tensor: Tensor) -> None:
    # aminmax takes a twentieth of isfinite's time and no memory: NaN is both the least and the greatest
    if tensor.is_floating_point() and tensor.numel() and not all(torch.isfinite(x) for x in torch.aminmax(tensor)):
        raise WeightsError(f"{where}: weights must be finite; {name} is not: download the model again")
