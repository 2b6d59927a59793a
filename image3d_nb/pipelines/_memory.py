"""Which number type suits a machine, and networks that stay on disk until they are needed.

With ``memory="low"`` a pipeline's networks are empty: their configurations are there, their parameters hold no memory
(torch's "meta" device). :class:`Shelf` reads one when its turn comes and forgets it afterwards.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from ..errors import InputError


def native_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself (AMX, AVX512-BF16); others emulate it, slower than float32."""
    asks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # torch has no public way to ask
    return any(bool(getattr(torch.cpu, ask, lambda: False)()) for ask in asks)


def number_type(device: str | torch.device, small: bool = False) -> torch.dtype:
    """The type to hold and run networks in: the fastest that is exact enough.

    Args:
        device: where they run.
        small: nothing to gain on a CPU: float32 there, the same numbers on every machine.
    """
    if torch.device(device).type != "cpu":
        return torch.float16
    return torch.bfloat16 if native_bfloat16() and not small else torch.float32


class SteadyGroupNorm(nn.GroupNorm):
    """GroupNorm that keeps its digits when the channels lie side by side.

    There, on a CPU, torch computes the variance as the mean of squares less the square of the mean, and a group whose
    mean is large beside its spread loses all digits. Taking the mean away first changes nothing else.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        if x.device.type == "cpu" and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            means = x.mean((2, 3), dtype=torch.float32)  # [B, C]
            groups = means.unflatten(1, (self.num_groups, -1)).mean(2, keepdim=True)  # [B, G, 1]
            x = x - groups.expand(-1, -1, x.shape[1] // self.num_groups).flatten(1)[:, :, None, None].to(x.dtype)
        return super().forward(x)


def channels_last(*networks: Any) -> None:
    """Let convolutions run on pixels whose channels lie side by side: faster, and the numbers stay."""
    for network in networks:
        if isinstance(network, nn.Module):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch stub
            for part in network.modules():
                if type(part) is nn.GroupNorm:  # those of diffusers' autoencoder, too
                    part.__class__ = SteadyGroupNorm


class Shelf:
    """Keeps networks on disk, and holds one at a time in memory.

    A CPU without bfloat16 of its own computes in float32: each layer is widened for the moment in which it works, so
    that the memory is that of the narrow type.

    Args:
        device: where the networks run.
        dtype: they are held in it, and run in it where the device can do so fast; None: bfloat16 on a CPU, float16
            elsewhere.
    """

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> None:
        self.device = torch.device(device)
        on_cpu = self.device.type == "cpu"
        self.dtype = dtype or (torch.bfloat16 if on_cpu else torch.float16)
        fast = not on_cpu or self.dtype == torch.float32 or (self.dtype == torch.bfloat16 and native_bfloat16())
        self.compute = self.dtype if fast else torch.float32
        self._readers: dict[int, Callable[[], nn.Module]] = {}

    def keep(self, empty: nn.Module, read: Callable[[], nn.Module]) -> nn.Module:
        """Remember how an empty network is filled; what :func:`~.loading.load_component` calls."""
        self._readers[id(empty)] = read
        return empty

    @contextmanager
    def hold(self, network: nn.Module) -> Iterator[None]:
        """Fill a network for as long as the block runs; nothing happens to one that is full, or not of this shelf."""
        read = self._readers.get(id(network))
        if read is None or next(network.parameters()).device.type != "meta":
            yield
            return
        _fill(network, read(), self.device)
        hooks = _widen(network, self.compute) if self.compute != self.dtype else []
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            nn.Module.to(network, "meta")
            _give_back(self.device)


def _give_back(device: torch.device) -> None:
    """What is free goes back to the system: C's allocator would keep a gigabyte of tensors below 32 MB for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc has it
    if trim is not None:
        trim(0)


def _fill(empty: nn.Module, full: nn.Module, device: torch.device) -> None:
    """Parameters and tables of the full network to the empty one, without a copy but for device and layout."""
    for name, part in full.named_modules():
        here = empty.get_submodule(name)
        here._parameters.update(part._parameters)
        here._buffers.update(part._buffers)
    nn.Module.to(empty.requires_grad_(False), device)
    channels_last(empty)


def _widen(network: nn.Module, dtype: torch.dtype) -> list[Any]:
    """Let every layer compute in ``dtype`` and hold its parameters as they are; returns the hooks that do so."""

    def before(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        narrow = dict(layer._parameters)
        layer.__dict__["_narrow"] = narrow
        for name, parameter in narrow.items():
            if parameter is not None:
                layer._parameters[name] = nn.Parameter(parameter.to(dtype), requires_grad=False)
        return tuple(x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)

    def after(layer: nn.Module, _inputs: tuple[Any, ...], _output: Any) -> None:
        layer._parameters.update(layer.__dict__.pop("_narrow"))

    layers = [layer for layer in network.modules() if layer._parameters]
    return [
        hook
        for layer in layers
        for hook in (layer.register_forward_pre_hook(before), layer.register_forward_hook(after, always_call=True))
    ]


class OneAtATimePipeline(DiffusionPipeline):
    """For pipelines whose networks may be on a :class:`Shelf`: only the one that works is in memory."""

    shelf: Shelf | None = None
    vae: Any

    @contextmanager
    def holding(self, name: str, needed: bool = True) -> Iterator[None]:
        """See that a component's weights are in memory while the block runs; only on a shelf they are not."""
        network = getattr(self, name)
        if self.shelf is None or network is None or not needed:
            yield
            return
        with self.shelf.hold(network):
            yield

    def _type_of(self, network: Any) -> torch.dtype:
        """In which a network computes."""
        return network.dtype if self.shelf is None else self.shelf.compute

    @property
    def _execution_device(self) -> torch.device:
        return super()._execution_device if self.shelf is None else self.shelf.device

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move to a device or a number type, as in diffusers.

        Raises:
            InputError: the pipeline was loaded with ``memory="low"``, which moves each network itself.
        """
        if self.shelf is not None:
            raise InputError(
                'with memory="low" the pipeline moves its networks: choose with load_pipeline(..., device=, dtype=)'
            )
        return super().to(*args, **kwargs)

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: Any = None) -> None:
        """Keep the networks in the computer's memory and each on the GPU only while it runs, as in diffusers.

        Raises:
            InputError: there is no GPU, or the pipeline was loaded with ``memory="low"``.
            ImportError: accelerate is not installed.
        """
        here = torch.accelerator.is_available() if device is None else torch.device(device).type != "cpu"
        if self.shelf is not None or not here:
            raise InputError(
                "enable_model_cpu_offload needs a GPU, and a pipeline whose networks are in memory; to save memory on"
                ' a CPU, or still more on a GPU: load_pipeline(..., memory="low")'
            )
        super().enable_model_cpu_offload(gpu_id, device)

    def enable_vae_slicing(self) -> None:
        """Decode one view at a time: less memory."""
        if self.vae is not None:
            self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decode the four views together."""
        if self.vae is not None:
            self.vae.disable_slicing()
