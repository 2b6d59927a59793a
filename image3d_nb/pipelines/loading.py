"""Read a diffusers folder component by component, from our own table of classes: no code of a repository ever runs.

diffusers' own ``from_pretrained`` looks a component's class up in diffusers, or in Python files of the repository. The
published folders name classes that are in neither (``["lgm", "LGM"]``), so the classes are named here.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError, WeightsError
from ..hub.weights import PICKLES, read_json, refuse_pickle, resolve, resolve_lgm, rotation_of, told
from ..models.lgm import LGM, ROTATIONS
from .saving import write_folder

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
_BUILT = ("LGM", "MultiViewUNetModel", "AutoencoderKL")  # by load_network; the rest by its own from_pretrained
_WHOLE = ("diffusion_pytorch_model.safetensors", "model.safetensors")  # beside which there may be variants
_ATTENTION = re.compile(r"(\.attentions\.\d+\.)(query|key|value|proj_attn)\.")  # of VAEs from before diffusers 0.12
_TODAY = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_AT_ONCE = 32  # tensors, between closing and opening a file
Keep: TypeAlias = "Callable[[torch.nn.Module, Callable[[], torch.nn.Module]], Any]"
"""What to do with an empty network, and with what reads the full one, instead of reading it at once."""


class FromFolderMixin:
    """``from_pretrained`` and ``save_pretrained`` for pipelines whose components are in :data:`CLASSES`."""

    source: Mapping[str, str] = MappingProxyType({})
    """Where "model" and "lgm" were loaded from: "owner/name@commit", or a folder. Empty for one made in memory."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        dtype: torch.dtype | None = None,
        torch_dtype: torch.dtype | None = None,
        revision: str | None = None,
        lgm: Any = None,
        lgm_revision: str | None = None,
        rotation: str | None = None,
        custom_pipeline: str | None = None,
        trust_remote_code: bool | None = None,
        keep: Keep | None = None,
        **components: Any,
    ) -> Self:
        """Load a pipeline from a folder or a repository of the hub.

        Args:
            pretrained_model_name_or_path: a folder in diffusers' layout, "tiny", or a repository's name.
            dtype: of all networks; None is float32.
            torch_dtype: the same, by its old name.
            revision: of a repository, a branch or a commit.
            lgm: an LGM to use instead of what the folder holds, or a name as for
                :func:`image3d_nb.weights.resolve_lgm`: a folder, a file or a repository.
            lgm_revision: of the repository that ``lgm`` names.
            rotation: LGM's setting of that name, where neither its configuration nor its file's name tells it.
            custom_pipeline: ignored, with a warning: the classes of this package are used.
            trust_remote_code: ignored, with a warning: no code from a repository is run.
            keep: leaves the networks on disk; :func:`image3d_nb.load_pipeline` passes it for ``memory="low"``.
            **components: instances (or None) to use instead of what the folder holds, or settings of the pipeline.

        Raises:
            WeightsError: the folder is incomplete or damaged, or names a class that is not in the table.
            InputError: an argument is none of this pipeline's.
        """
        if custom_pipeline is not None or trust_remote_code:
            warnings.warn(
                f"custom_pipeline and trust_remote_code are ignored: {cls.__name__} uses its own classes and runs no"
                " code from a repository, so there is nothing to trust",
                stacklevel=2,
            )
        takes = [name for name in inspect.signature(cls).parameters if name != "lgm"]
        unknown = sorted(set(components) - set(takes))
        has_lgm = "lgm" in inspect.signature(cls).parameters
        if unknown or (lgm is not None and not has_lgm):
            raise InputError(f"{cls.__name__} takes {', '.join(takes)}; got {', '.join(unknown) or 'lgm'}")
        kind = next((given for given in (dtype, torch_dtype) if given is not None), torch.float32)
        name = str(pretrained_model_name_or_path)
        folder = resolve(name, revision, skip=() if has_lgm and lgm is None else ("lgm",))
        index = read_json(folder / "model_index.json")
        found = components | _components(folder, index, [part for part in takes if part not in components], kind, keep)
        origins = {"model": told(folder)}
        if has_lgm:
            found["lgm"], origins["lgm"] = _lgm_of(name, folder, index, lgm, lgm_revision, rotation, kind, keep)
        for part in ("unet", "scheduler"):
            if found.get(part) is None:
                raise WeightsError(f"{folder}: model_index.json must name a {part}; it does not, or says null")
        made = cls(**found)
        made.source = origins
        return made

    def save_pretrained(self, save_directory: str | Path, *, custom_pipeline: bool = False, **options: Any) -> None:
        """Write the folder that :meth:`from_pretrained` reads, with a model card unless one is there.

        Args:
            save_directory: made if need be; the pipeline's files there are replaced, each when all are written.
            custom_pipeline: also write few-line Python files with which diffusers' own ``DiffusionPipeline`` runs the
                folder where this package is installed: ``DiffusionPipeline.from_pretrained(folder,
                custom_pipeline=folder, trust_remote_code=True)``.
            **options: max_shard_size and variant, as in diffusers.

        Raises:
            InputError: weights that this package would not read again were asked for, or an upload.
        """
        if options.pop("push_to_hub", False) or not options.pop("safe_serialization", True):
            raise InputError(
                "save_pretrained writes .safetensors to a folder; got push_to_hub or safe_serialization=False: save"
                " first, then 'hf upload OWNER/NAME FOLDER'"
            )
        write_folder(self, super().save_pretrained, Path(save_directory), custom_pipeline, options)  # type: ignore[misc]


def _components(
    folder: Path, index: Mapping[str, Any], takes: Sequence[str], dtype: torch.dtype, keep: Keep | None
) -> dict[str, Any]:
    """All that ``model_index.json`` names, but LGM."""
    found: dict[str, Any] = {}
    for name, value in index.items():
        if name in takes and isinstance(value, list) and len(value) == 2:
            found[name] = None if value[1] is None else load_component(folder / name, value[1], dtype, keep)
        elif name in takes:
            found[name] = value
    return found


def _lgm_of(
    name: str,
    folder: Path,
    index: Mapping[str, Any],
    lgm: Any,
    revision: str | None,
    rotation: str | None,
    dtype: torch.dtype,
    keep: Keep | None,
) -> tuple[LGM, str]:
    """LGM, with its rotation settled, and where it came from."""
    if rotation is not None and rotation not in ROTATIONS:
        raise InputError(f"rotation must be one of {', '.join(ROTATIONS)}; got {rotation!r}")
    if isinstance(lgm, torch.nn.Module):
        if rotation is not None:
            lgm.register_to_config(rotation=rotation)  # type: ignore[operator]
        return lgm, "memory"  # type: ignore[return-value]
    if lgm is not None:
        name, path = str(lgm), resolve_lgm(str(lgm), revision)
        told_by = rotation_of(name, path)
    else:
        entry = index.get("lgm")
        if not (isinstance(entry, list) and len(entry) == 2 and entry[1] == "LGM"):
            raise WeightsError(
                f"{folder}: model_index.json must name an LGM, which makes Gaussians of the views; got {entry!r}: pass"
                " lgm='ashawkey/LGM', or use MVDreamPipeline, which makes the views alone"
            )
        path = folder / "lgm"
        told_by = rotation_of(name, folder)
    network = load_lgm(path, dtype, keep)
    _settle_rotation(network, rotation or told_by, path)
    return network, told(path)


def _settle_rotation(lgm: Any, rotation: str | None, path: Path) -> None:
    """LGM's published configurations do not say which rotation their weights were trained with."""
    if rotation is not None:
        lgm.register_to_config(rotation=rotation)
        return
    file = path / "config.json" if path.is_dir() else path.with_name("config.json")
    if not file.is_file() or "rotation" not in read_json(file):
        warnings.warn(
            f"{path}: nothing tells which rotation these weights were trained with, and {lgm.config.rotation!r} is used"
            ': right for *_fixrot weights; for those of LGM-full, from before that fix, pass rotation="identity"',
            stacklevel=5,  # load_pipeline's caller
        )


def load_component(folder: Path, class_name: str, dtype: torch.dtype, keep: Keep | None = None) -> Any:
    """One component from its folder.

    Args:
        folder: with the component's configuration and weights.
        class_name: a key of :data:`CLASSES`.
        dtype: of a network's weights.
        keep: what to do with a network instead of reading it at once.

    Raises:
        WeightsError: unknown class, or files that are missing or damaged.
    """
    if not isinstance(class_name, str) or class_name not in CLASSES:
        raise WeightsError(f"{folder}: a component's class must be one of {', '.join(CLASSES)}; got {class_name!r}")
    if not folder.is_dir():
        raise WeightsError(f"{folder}: the component's folder must exist; it is missing: download the model again")
    kind = getattr(importlib.import_module(CLASSES[class_name]), _RENAMED.get(class_name, class_name))
    if class_name in _BUILT:
        return load_network(kind, folder, dtype, keep)
    try:
        if issubclass(kind, torch.nn.Module):
            return _load_clip(kind, folder, dtype) if keep is None else _keep_clip(kind, folder, dtype, keep)
        return kind.from_pretrained(folder, local_files_only=True)
    except WeightsError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{folder}: {class_name} could not be read: {error}") from error


def _load_clip(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A network of transformers', which knows the names of old files and makes its buffers; no weight left random."""
    weight_files(folder)
    network, told_of = kind.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    missing = sorted(told_of["missing_keys"])  # they would keep random numbers
    if missing:
        raise WeightsError(f"{folder}: the weights must fit config.json; {_some('missing', missing)}")
    for name, tensor in network.named_parameters():
        _check_finite(folder, name, tensor)
    return network.eval()


def _keep_clip(kind: Any, folder: Path, dtype: torch.dtype, keep: Keep) -> Any:
    for file in weight_files(folder):
        with _open(file):  # is it whole?
            pass
    with torch.device("meta"):
        empty = kind(kind.config_class.from_pretrained(folder, local_files_only=True))
    return keep(empty.eval(), lambda: _load_clip(kind, folder, dtype))


def load_network(kind: Any, folder: Path, dtype: torch.dtype | None = None, keep: Keep | None = None) -> Any:
    """A network with a ``config.json``, every parameter of it from the file, in evaluation mode.

    Args:
        kind: a class of diffusers' kind.
        folder: of ``config.json`` and the weights.
        dtype: None keeps the file's.
    """
    return _build(kind, read_json(folder / "config.json"), weight_files(folder), dtype, keep)


def load_lgm(path: Path, dtype: torch.dtype | None = None, keep: Keep | None = None) -> LGM:
    """LGM from its folder, or from a bare ``.safetensors`` file.

    A bare file is of the published "big" configuration, unless a ``config.json`` of LGM's lies beside it.
    """
    if path.is_dir():
        return load_network(LGM, path, dtype, keep)
    refuse_pickle(path)
    beside = path.with_name("config.json")
    config = read_json(beside) if beside.is_file() else {}
    return _build(LGM, config if config.get("_class_name") == "LGM" else {}, [path], dtype, keep)


def weight_files(folder: Path) -> list[Path]:
    """The weight file of a component, or the parts that its index names.

    Raises:
        WeightsError: there is none, or it cannot be told which.
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        names = sorted({Path(str(name)).name for name in read_json(index).get("weight_map", {}).values()})
        absent = [name for name in names if not (folder / name).is_file()]
        if absent or not names:
            raise WeightsError(f"{folder}: {index.name} must name files that are there; {_some('missing', absent)}")
        return [folder / name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    whole = [file for file in files if file.name in _WHOLE]
    if len(whole) == 1 or len(files) == 1:
        return whole or files
    for file in sorted(folder.iterdir()) if not files else ():
        if file.suffix in PICKLES:
            refuse_pickle(file)
    raise WeightsError(
        f"{folder}: one .safetensors file is needed, or an index of its parts; there are {len(files)}: download the"
        " model again"
    )


def _build(
    kind: Any, config: Mapping[str, Any], files: Sequence[Path], dtype: torch.dtype | None, keep: Keep | None = None
) -> Any:
    """A network whose tensors are the files': no random start, and no copy but to another type."""
    where = files[0].parent
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    try:
        with torch.device("meta"):  # shapes only
            network = kind.from_config(settings)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(f"{where}: config.json must describe a {kind.__name__}; {error}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    _check_names(files, expected)
    if keep is not None:
        return keep(network.eval(), lambda: _build(kind, config, files, dtype))
    state: dict[str, Tensor] = {}
    for file in files:
        state |= _read(file, dtype)
    network.load_state_dict(state, assign=True)
    return network.eval()


def _check_names(files: Sequence[Path], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Before a gigabyte is read: are these the network's parameters?"""
    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        with _open(file) as weights:
            found |= {_today(name): tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118 -- no dict
    faults = [
        _some("missing", [name for name in expected if name not in found]),
        _some("not of this network", [name for name in found if name not in expected]),
        _some(
            "of another shape",
            [
                f"{name} {list(found[name])} instead of {list(shape)}"
                for name, shape in expected.items()
                if found.get(name, shape) != shape
            ],
        ),
    ]
    if any(faults):
        raise WeightsError(
            f"{files[0]}: the weights must fit the network's configuration; {'; '.join(filter(None, faults))}: is it"
            " the file of another model?"
        )


def _some(what: str, names: Sequence[str]) -> str:
    """ "3 missing: a, b, c"; no hundreds of names."""
    more = ", ..." if len(names) > 3 else ""
    return f"{len(names)} {what}: {', '.join(names[:3])}{more}" if names else ""


def _read(file: Path, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """All tensors of a file, memory-mapped; in memory of their own where they change their type.

    For the latter the file is closed now and then: it gives the pages of the map back, so that there never are two
    whole copies in memory.
    """
    with _open(file) as weights:
        names = list(weights.keys())
    state = {}
    for start in range(0, len(names), _AT_ONCE):
        with _open(file) as weights:
            for name in names[start : start + _AT_ONCE]:
                tensor = weights.get_tensor(name)
                _check_finite(file, name, tensor)
                state[_today(name)] = tensor.to(dtype) if tensor.is_floating_point() else tensor
                del tensor
    return state


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file}: the weights must be a whole safetensors file; {error}: download the model again"
        ) from error


def _today(name: str) -> str:
    return _ATTENTION.sub(lambda found: f"{found[1]}{_TODAY[found[2]]}.", name)


def _check_finite(where: Path, name: str, tensor: Tensor) -> None:
    # a twentieth of isfinite's time, and no memory: NaN is both the least and the greatest
    if tensor.is_floating_point() and tensor.numel() and not all(torch.isfinite(x) for x in torch.aminmax(tensor)):
        raise WeightsError(f"{where}: weights must be finite; {name} is not: download the model again")
