"""Compile loops with numba, and keep the machine code in the user's cache folder.

numba's default is ``__pycache__`` beside the source. ``pip uninstall`` does not know these files, so the folder would
stay, and with it an empty package that still imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with a cache on disk; takes its options. The environment's NUMBA_CACHE_DIR comes first.

    Source:
        numba's documentation, "Environment variables", NUMBA_CACHE_DIR; ``numba.config`` holds the same settings.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = before or str(cache_dir())
        try:
            return numba.njit(cache=True, **options)(function)
        finally:
            numba.config.CACHE_DIR = before  # other packages' functions keep their own place

    return compiled


def cache_dir() -> Path:
    """The folder of compiled functions, as the platform's convention has it."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "image3d_nb" / "numba"
