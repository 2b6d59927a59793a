"""Number types, memory layouts, and networks that stay on disk until they are needed.

With ``memory="low"`` a pipeline's networks are empty: they have a configuration, and parameters on torch's "meta"
device, which hold no memory. A :class:`WeightOffloader` reads a network when it is needed and drops it afterwards.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def native_bfloat16() -> bool:
    """True if this CPU multiplies bfloat16 in hardware (AMX, AVX512-BF16). Other CPUs emulate it, slower than float32.

    Returns:
        False for a CPU that torch cannot ask.
    """
    asks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # torch has no public function for this
    return any(bool(getattr(torch.cpu, ask, lambda: False)()) for ask in asks)


@functools.cache
def bfloat16_speedup() -> float:
    """How many times faster this CPU multiplies matrices in bfloat16 than in float32: measured once, in 0.1 to 0.3 s.

    Returns:
        Above 1 if bfloat16 is faster, far below 1 on a CPU that emulates it.
    """
    a, b = torch.ones(1024, 768), torch.ones(768, 768)  # a layer of a transformer

    def seconds(dtype: torch.dtype) -> float:
        x, y, times = a.to(dtype), b.to(dtype), []
        for _ in range(4):  # the first one also sets up
            start = time.perf_counter()
            x @ y
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.float32) / seconds(torch.bfloat16)


def number_type(device: str | torch.device, small: bool = False) -> torch.dtype:
    """Choose the fastest type that is exact enough to hold and run networks in.

    Args:
        device: where the networks run.
        small: True for a model that gains nothing from bfloat16 on a CPU: it stays in float32, which gives the same
            numbers on every machine.

    Returns:
        float16 on an accelerator; on a CPU float32, or bfloat16 for a large model on a CPU that has it in hardware.
    """
    if torch.device(device).type != "cpu":
        return torch.float16
    return torch.bfloat16 if native_bfloat16() and not small else torch.float32


class SteadyGroupNorm(nn.GroupNorm):
    """GroupNorm that stays exact in channels_last layout.

    In that layout, on a CPU, torch computes the variance as the mean of squares minus the square of the mean. A group
    whose mean is large beside its spread then loses all digits. Subtracting the mean first avoids this.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        if x.device.type == "cpu" and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            means = x.mean((2, 3), dtype=torch.float32)  # [B, C]
            groups = means.unflatten(1, (self.num_groups, -1)).mean(2, keepdim=True)  # [B, G, 1]
            x = x - groups.expand(-1, -1, x.shape[1] // self.num_groups).flatten(1)[:, :, None, None].to(x.dtype)
        return super().forward(x)


def channels_last(*networks: Any) -> None:
    """Lay out convolution weights with the channels last, which is faster, and keep GroupNorm exact in that layout.

    Args:
        networks: changed in place; anything that is not a ``torch.nn.Module`` (such as None) is ignored.
    """
    for network in networks:
        if isinstance(network, nn.Module):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch stub
            for part in network.modules():
                if type(part) is nn.GroupNorm:  # also those of diffusers' autoencoder
                    part.__class__ = SteadyGroupNorm


class WeightOffloader:
    """Keeps networks on disk and holds one at a time in memory.

    A CPU without bfloat16 in hardware computes in float32: each layer's parameters are upcast during the layer's
    forward, so that the network as a whole takes the memory of the narrow type.

    Args:
        device: where the networks run.
        dtype: type that the weights are held in, and computed in if the device is fast at that. None is bfloat16 on a
            CPU and float16 elsewhere.

    Attributes:
        device: as given.
        dtype: type of the weights in memory.
        compute_dtype: type that the layers compute in.
    """

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> None:
        self.device = torch.device(device)
        on_cpu = self.device.type == "cpu"
        self.dtype = dtype or (torch.bfloat16 if on_cpu else torch.float16)
        fast = not on_cpu or self.dtype == torch.float32 or (self.dtype == torch.bfloat16 and native_bfloat16())
        self.compute_dtype = self.dtype if fast else torch.float32
        self._readers: dict[int, Callable[[], nn.Module]] = {}

    def register(self, empty: nn.Module, read: Callable[[], nn.Module]) -> nn.Module:
        """Remember how to read an empty network's weights.

        Args:
            empty: network on the "meta" device.
            read: returns the same network with its weights, in ``dtype``, on the CPU.

        Returns:
            The empty network.
        """
        self._readers[id(empty)] = read
        return empty

    @contextmanager
    def loaded(self, network: nn.Module) -> Iterator[None]:
        """Hold a network's weights in memory while the block runs.

        Args:
            network: a registered network; any other, and one that is loaded already, stays as it is.
        """
        read = self._readers.get(id(network))
        if read is None or next(network.parameters()).device.type != "meta":
            yield
            return
        for name, full in read().named_modules():  # no copy: the empty network takes over the tensors
            empty = network.get_submodule(name)
            empty._parameters.update(full._parameters)
            empty._buffers.update(full._buffers)
        nn.Module.to(network.requires_grad_(False), self.device)
        channels_last(network)
        hooks = _upcast(network, self.compute_dtype) if self.compute_dtype != self.dtype else []
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            nn.Module.to(network, "meta")
            _release_memory(self.device)


def _release_memory(device: torch.device) -> None:
    """Return free memory to the system: C's allocator would keep up to a gigabyte of tensors below 32 MB."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # only glibc has it
    if trim is not None:
        trim(0)


def _upcast(network: nn.Module, dtype: torch.dtype) -> list[Any]:
    """Make every layer compute in ``dtype`` while its parameters stay as they are. Returns the hooks to remove."""

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
