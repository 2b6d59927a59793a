"""What both pipelines share beside the way of the image: reading and writing folders, and where the networks are."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from diffusers import DiffusionPipeline

from ..errors import InputError, WeightsError
from ..hub.weights import origin_of, read_json, resolve
from ..models.lgm import LGM
from .loading import load_component, load_lgm_of
from .memory import WeightOffloader
from .saving import write_folder


class FolderPipeline(DiffusionPipeline):
    """A diffusers pipeline that is read from a folder without running the folder's code.

    Attributes:
        source: where "model" and "lgm" were loaded from, "owner/name@commit" or a folder. Empty for a pipeline made in
            memory.
        offloader: with ``memory="low"``, what reads each network when it is needed; else None.
    """

    source: Mapping[str, str] = MappingProxyType({})
    offloader: WeightOffloader | None = None
    vae: Any
    _required_parts: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        dtype: torch.dtype | None = None,
        torch_dtype: torch.dtype | None = None,
        revision: str | None = None,
        lgm: LGM | str | Path | None = None,
        lgm_revision: str | None = None,
        rotation: str | None = None,
        custom_pipeline: str | None = None,
        trust_remote_code: bool | None = None,
        offloader: WeightOffloader | None = None,
        **components: Any,
    ) -> Self:
        """Load a pipeline from a folder or from a repository of the hub.

        Args:
            pretrained_model_name_or_path: a folder in diffusers' layout, "tiny", or a repository "owner/name".
            dtype: type of all networks' weights; None is float32.
            torch_dtype: the older name of ``dtype``, which takes precedence.
            revision: branch or commit of the repository; None is the main branch.
            lgm: an LGM to use instead of the folder's own, or its name: a folder, a file or a repository, as for
                :func:`image3d_nb.hub.weights.resolve_lgm`.
            lgm_revision: branch or commit of the repository that ``lgm`` names.
            rotation: LGM's ``rotation`` setting, where neither its configuration nor its file's name says it.
            custom_pipeline: ignored, with a warning: the classes of this package are used.
            trust_remote_code: ignored, with a warning: no code from a repository is run.
            offloader: leaves the networks on disk until they are needed. :func:`image3d_nb.load_pipeline` passes it
                for ``memory="low"``.
            **components: components (or None) to use instead of the folder's, and settings of the pipeline.

        Returns:
            The pipeline, on the CPU; ``.source`` says which commits were loaded.

        Raises:
            WeightsError: the folder is incomplete or damaged, or names an unknown class.
            InputError: an argument is unknown to this pipeline.
        """
        if custom_pipeline is not None or trust_remote_code:
            warnings.warn(
                f"custom_pipeline and trust_remote_code are ignored: {cls.__name__} uses its own classes and runs no"
                " code from a repository",
                stacklevel=2,
            )
        accepted = [name for name in inspect.signature(cls).parameters if name != "lgm"]
        unknown = sorted(set(components) - set(accepted))
        has_lgm = "lgm" in inspect.signature(cls).parameters
        if unknown or (lgm is not None and not has_lgm):
            raise InputError(f"{cls.__name__} takes {', '.join(accepted)}; got {', '.join(unknown) or 'lgm'}")
        name = str(pretrained_model_name_or_path)
        dtype = dtype or torch_dtype or torch.float32
        folder = resolve(name, revision, skip=() if has_lgm and lgm is None else ("lgm",))
        index = read_json(folder / "model_index.json")
        source = {"model": origin_of(folder)}
        found = dict(components)
        for part, value in index.items():
            if part not in accepted or part in components:
                continue
            if isinstance(value, list) and len(value) == 2:  # [library, class name]; else a setting
                value = None if value[1] is None else load_component(folder / part, value[1], dtype, offloader)
            found[part] = value
        if has_lgm:
            found["lgm"], source["lgm"] = load_lgm_of(
                name, folder, index, lgm, lgm_revision, rotation, dtype, offloader
            )
        for part in cls._required_parts:
            if found.get(part) is None:
                raise WeightsError(f"{folder}: model_index.json must name a {part}; it does not, or it says null")
        pipe = cls(**found)
        pipe.source, pipe.offloader = source, offloader
        return pipe

    def save_pretrained(self, save_directory: str | Path, *, custom_pipeline: bool = False, **options: Any) -> None:
        """Write the folder that :meth:`from_pretrained` reads, with a model card unless one is there.

        Args:
            save_directory: folder to write, created if needed. The pipeline's files in it are replaced after all new
                files are complete.
            custom_pipeline: True also writes small Python files with which diffusers' own ``DiffusionPipeline`` runs
                the folder if this package is installed: ``DiffusionPipeline.from_pretrained(folder,
                custom_pipeline=folder, trust_remote_code=True)``.
            **options: ``max_shard_size`` and ``variant``, as in diffusers.

        Raises:
            InputError: an upload is asked for, or weights in a format that this package does not read; or the pipeline
                was loaded with ``memory="low"``, which holds no weights.
        """
        if self.offloader is not None:
            raise InputError(
                'a pipeline must hold its weights to save them; with memory="low" it does not: load it with'
                ' memory="normal"'
            )
        if options.pop("push_to_hub", False) or not options.pop("safe_serialization", True):
            raise InputError(
                "save_pretrained writes .safetensors to a folder; got push_to_hub or safe_serialization=False: save"
                " first, then 'hf upload OWNER/NAME FOLDER'"
            )
        write_folder(self, super().save_pretrained, Path(save_directory).expanduser(), custom_pipeline, options)

    @contextmanager
    def loaded(self, name: str, needed: bool = True) -> Iterator[None]:
        """Hold a component's weights in memory while the block runs. Without an offloader they always are.

        Args:
            name: the component's, e.g. "unet".
            needed: False does nothing.
        """
        network = getattr(self, name)
        if self.offloader is None or network is None or not needed:
            yield
            return
        with self.offloader.loaded(network):
            yield

    def _compute_dtype(self, network: Any) -> torch.dtype:
        return network.dtype if self.offloader is None else self.offloader.compute_dtype

    @property
    def _execution_device(self) -> torch.device:
        return super()._execution_device if self.offloader is None else self.offloader.device

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move all networks to a device or a number type, as in diffusers.

        Args:
            *args: a device, a dtype, or both.
            **kwargs: as in diffusers.

        Returns:
            This pipeline.

        Raises:
            InputError: the pipeline was loaded with ``memory="low"``, which moves each network itself.
        """
        if self.offloader is not None:
            raise InputError(
                'with memory="low" the pipeline moves its networks: choose with load_pipeline(..., device=, dtype=)'
            )
        return super().to(*args, **kwargs)

    def enable_vae_slicing(self) -> None:
        """Decode one view at a time, which takes less memory."""
        if self.vae is not None:
            self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decode the four views together."""
        if self.vae is not None:
            self.vae.disable_slicing()
