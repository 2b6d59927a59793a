"""What the operator of an app decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors import InputError
from ..generate import GenerateSettings

Generate: TypeAlias = Callable[..., dict[str, Any]]
"""Called like :func:`image3d_nb.generate_one`."""


@dataclass(frozen=True)
class AppSettings:
    """What the operator of an app decides.

    Raises:
        InputError: a value is out of its range.
    """

    models: tuple[str, ...] = ("tiny",)  # for visitors to choose from; the first is the default
    device: str = "cpu"  # where the networks run, as in GenerateSettings
    memory: str = "normal"  # "low": one network in memory at a time; slower
    max_upload: int = 20_000_000  # bytes of an image
    max_queue: int = 100  # jobs that wait; further ones are refused
    max_steps: int = 50  # denoising steps that a visitor may ask for
    keep: float = 3600.0  # seconds until files are deleted
    max_disk: int = 5_000_000_000  # bytes of all files; beyond it, new ones are refused

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError(f"models must be one or more names; got {self.models!r}")
        for name in ("max_upload", "max_queue", "max_steps", "keep", "max_disk"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be greater than 0; got {getattr(self, name)!r}")
        for model in self.models:
            GenerateSettings(model=model, device=self.device, memory=self.memory)
