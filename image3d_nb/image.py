"""Deprecated alias of :mod:`image3d_nb.images`, kept for one release."""

from __future__ import annotations

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    from . import images as home

    value = getattr(home, name)
    warnings.warn(f"image3d_nb.image.{name} is now image3d_nb.images.{name}", DeprecationWarning, stacklevel=2)
    return value
