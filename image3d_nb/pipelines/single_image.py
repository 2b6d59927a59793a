"""What the pipelines from one image straight to an object share: their results, their squares, and their progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import ImageError, InputError, WeightsError, raise_if
from ..gaussians import Gaussians
from ..hub.weights import origin_of, resolve
from ..images import Source, load_image
from ..images.caller import warn
from ..images.prepare import cut_out, object_box
from ..mesh import Mesh
from ..meshing import to_gaussians, to_mesh
from .base import FolderPipeline
from .checkpoints import load_checkpoint, pipeline_of
from .mvdream import split_inputs

OnStep: TypeAlias = Callable[[str, int, int], object]


class ObjectOutput:
    """One object, as the model made it and in the other form, which is made when it is first asked for.

    Attributes:
        input: the image that the model saw.
        native: "mesh" or "gaussians": the form that the model made.
    """

    def __init__(self, input: Image.Image, made: Mesh | Gaussians) -> None:  # noqa: A002 -- the attribute's name
        self.input = input
        self.native = "mesh" if isinstance(made, Mesh) else "gaussians"
        self.__dict__[self.native] = made  # the place where cached_property looks first

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.native}={self.__dict__[self.native]!r}, input={self.input.size})"

    @cached_property
    def mesh(self) -> Mesh:
        """The object as a closed mesh with colours; of Gaussians by :func:`image3d_nb.to_mesh`, which takes seconds."""
        return to_mesh(self.gaussians, progress=False)

    @cached_property
    def gaussians(self) -> Gaussians:
        """The object as Gaussians; of a mesh by :func:`image3d_nb.to_gaussians`."""
        return to_gaussians(self.mesh)


class ObjectListOutput(Sequence[ObjectOutput]):
    """Several objects. Each attribute is a list with one entry for each object; an index gives one object.

    Args:
        outputs: the objects.
    """

    def __init__(self, outputs: Iterable[ObjectOutput]) -> None:
        self._outputs = list(outputs)

    def __getitem__(self, index: Any) -> Any:
        return self._outputs[index]

    def __len__(self) -> int:
        return len(self._outputs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._outputs!r})"

    @property
    def input(self) -> list[Image.Image]:
        """The images that the model saw."""
        return [each.input for each in self]

    @property
    def mesh(self) -> list[Mesh]:
        """The objects as meshes."""
        return [each.mesh for each in self]

    @property
    def gaussians(self) -> list[Gaussians]:
        """The objects as Gaussians."""
        return [each.gaussians for each in self]


class Steps:
    """Reports the steps of a call to a bar and to the caller's ``on_step``, and stops the call when asked to.

    Args:
        pipe: whose progress bar is shown.
        on_step: called as f(stage, done, total), or None.
        cancelled: called before each step; True stops the work. None never does.
    """

    def __init__(self, pipe: Any, on_step: OnStep | None, cancelled: Callable[[], bool] | None) -> None:
        for name, function in (("on_step", on_step), ("cancelled", cancelled)):
            if function is not None and not callable(function):
                raise InputError(f"{name} must be callable or None; got {type(function).__name__}")
        self._pipe, self._on_step, self._cancelled = pipe, on_step, cancelled
        self._bar: Any = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` steps of a stage are done.

        Raises:
            Cancelled: the caller wants to stop.
        """
        raise_if(self._cancelled, type(self._pipe).__name__)
        if self._on_step is not None:
            self._on_step(stage, done, total)
        if stage != self._stage:
            self.close()
            self._bar, self._stage = self._pipe.progress_bar(total=total), stage
            self._bar.set_description(stage)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    @contextmanager
    def counting(self, stage: str, layers: Iterable[nn.Module]) -> Iterator[None]:
        """Report each of a network's layers as a step, while the block runs."""
        every = list(layers)
        self(stage, 0, len(every))
        done = 0

        def after(*_: Any) -> None:
            nonlocal done
            done += 1
            self(stage, done, len(every))

        hooks = [layer.register_forward_hook(after) for layer in every]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


class SingleImagePipeline(FolderPipeline):
    """An image straight to an object: what TripoSR, Splatter Image and Shap-E have in common.

    A subclass gives :meth:`make`, and ``config.ratio`` and ``config.ground``.

    Attributes:
        native: "mesh" or "gaussians": what the model makes.
        gains_from_bfloat16: True for a network large enough to be faster in it.
        settings: keyword arguments of a call that :func:`image3d_nb.generate_one` may pass.
    """

    native: ClassVar[str]
    settings: ClassVar[frozenset[str]] = frozenset()
    gains_from_bfloat16: ClassVar[bool] = False
    vae: Any = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Load a pipeline from a folder, a repository of the hub, or a checkpoint.

        Args:
            pretrained_model_name_or_path: as ``name`` of :func:`image3d_nb.load_pipeline`.
            **options: dtype, revision, and others of :meth:`FolderPipeline.from_pretrained` for a folder in diffusers'
                layout.

        Returns:
            The pipeline, on the CPU.

        Raises:
            WeightsError: there is no such model, it is damaged, or it is another pipeline's.
        """
        path = resolve(str(pretrained_model_name_or_path), options.pop("revision", None))
        if not path.is_file():
            return super().from_pretrained(path, **options)
        network = load_checkpoint(path, options.get("dtype"), options.get("offloader"))
        if not issubclass(pipeline_of(network), cls):
            raise WeightsError(f"{path}: it must hold weights of {cls.__name__}; got {type(network).__name__}")
        pipe = pipeline_of(network)(network=network)
        pipe.source, pipe.offloader = {"model": origin_of(path)}, options.get("offloader")
        return cast(Self, pipe)

    def use_fast_type(self, dtype: torch.dtype) -> None:
        """Run what bears it in a narrow type. By default nothing does: the networks stay in float32.

        Args:
            dtype: bfloat16 or float16.
        """

    def prepared(self, image: Source, background: str = "auto") -> tuple[Image.Image, tuple[str, ...]]:
        """Cut the object out and put it on the square that the model was trained on.

        Args:
            image: anything that ``load_image`` takes.
            background: how it is cut out; as ``method`` of :func:`image3d_nb.images.remove_background`.

        Returns:
            The square (RGB), and sentences about what may be wrong with it.

        Raises:
            ImageError: the image cannot be read, or shows no object.
        """
        cut, doubts = cut_out(image, background)
        object_box(cut)  # raises if there is none
        square = object_square(np.asarray(cut), self.config.ratio, self.config.ground)
        return Image.fromarray(square), doubts

    def square(self, image: Source, prepare: bool = True, background: str = "auto") -> Image.Image:
        """The square that the model sees, before it is resized.

        Args:
            image: anything that ``load_image`` takes.
            prepare: cut out and centre; False takes a square image as it is, and puts what is transparent on the
                model's ground.
            background: see :meth:`prepared`.

        Returns:
            Mode RGB.

        Raises:
            ImageError: not an image, or no object in it.
            InputError: not square with ``prepare=False``.
        """
        if prepare:
            square, doubts = self.prepared(image, background)
            for doubt in doubts:
                warn(doubt)
            return square
        loaded = load_image(image).convert("RGBA")
        if loaded.width != loaded.height:
            raise InputError(
                f"an image must be square with prepare=False; got {loaded.width} x {loaded.height} pixels: use"
                " prepare=True"
            )
        pixels = np.asarray(loaded)
        if not pixels[..., 3].any():
            raise ImageError("an image must show something; every pixel of this one is transparent")
        return Image.fromarray(on_ground(pixels, self.config.ground))

    def call(
        self,
        image: Any,
        generator: Any,
        prepare: bool,
        background: str,
        return_dict: bool,
        steps: Steps,
        make: Callable[[Image.Image, torch.Generator | None], Mesh | Gaussians],
    ) -> Any:
        """Do what every call does: sort the inputs, make one object after the other, collect the results.

        Args:
            image: one image, or a list.
            generator: one random generator, a list, or None.
            prepare: see :meth:`square`.
            background: see :meth:`prepared`.
            return_dict: False returns a tuple.
            steps: of this call.
            make: makes an object of a square.
        """
        if isinstance(image, str):
            raise InputError(
                f"these weights need an image; got the str {image!r}: read a file with image3d_nb.load_image; a"
                " sentence needs MVDream's weights"
            )
        _, images, generators, several = split_inputs(None, image, generator)
        shared = {id(each): each for each in images}
        squares = {key: self.square(each, prepare, background) for key, each in shared.items()}  # all fail early
        try:
            outputs = [
                ObjectOutput(squares[id(each)], make(squares[id(each)], random))
                for each, random in zip(images, generators, strict=True)
            ]
        finally:
            steps.close()
        self.maybe_free_model_hooks()
        if not return_dict:
            native, seen = [getattr(each, each.native) for each in outputs], [each.input for each in outputs]
            return (native, seen) if several else (native[0], seen[0])
        return ObjectListOutput(outputs) if several else outputs[0]


def object_square(rgba: np.ndarray, ratio: float, ground: float) -> np.ndarray:
    """Put an object on a square, exactly as the published TripoSR and Splatter Image do.

    Args:
        rgba: [H, W, 4] uint8.
        ratio: longer side of the object over the side of the square, in (0, 1].
        ground: grey of the square, in [0, 1].

    Returns:
        [S, S, 3] uint8.

    Raises:
        ImageError: the object has no pixel, or only one row or column.
    """
    rows, columns = np.nonzero(rgba[..., 3])
    # the published code leaves out the object's last row and column
    box = rgba[rows.min() : rows.max(), columns.min() : columns.max()] if len(rows) else rgba[:0]
    if not box.size:
        raise ImageError("an object must be at least 2 x 2 pixels; this image shows a smaller one")
    tight = _centred(box, max(box.shape[:2]))
    return on_ground(_centred(tight, int(len(tight) / ratio)), ground)


def _centred(pixels: np.ndarray, side: int) -> np.ndarray:
    """[H, W, 4] in the middle of [side, side, 4], transparent around it; the smaller half of the margin comes first."""
    margins = [((side - size) // 2, side - size - (side - size) // 2) for size in pixels.shape[:2]]
    return np.pad(pixels, (*margins, (0, 0)))


def on_ground(rgba: np.ndarray, ground: float) -> np.ndarray:
    """Composite [H, W, 4] uint8 on a grey ground in [0, 1]: [H, W, 3] uint8, truncated, as the published code does."""
    pixels = rgba.astype(np.float32) / 255
    alpha = pixels[..., 3:]
    return ((pixels[..., :3] * alpha + (1 - alpha) * np.float32(ground)) * 255).astype(np.uint8)


def as_tensor(square: Image.Image) -> Tensor:
    """[1, 3, H, W] in [0, 1] of an RGB image."""
    return torch.from_numpy(np.asarray(square, np.float32) / 255).permute(2, 0, 1)[None]
