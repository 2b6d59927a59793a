"""Deprecated alias of :mod:`image3d_nb.hub.weights`, kept for one release."""

from __future__ import annotations

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    from .hub import weights as home

    value = getattr(home, name)
    warnings.warn(f"image3d_nb.weights.{name} is now image3d_nb.hub.weights.{name}", DeprecationWarning, stacklevel=2)
    return value
