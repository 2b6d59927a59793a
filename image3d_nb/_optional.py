"""Optional packages: imported where they are needed, with a sentence that says how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, extra: str, who: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: what to import, e.g. ``"gradio"`` or ``"IPython.display"``.
        extra: the extra of this project that installs it, e.g. ``"app"``.
        who: the caller as a learner knows it, e.g. ``"image3d_nb.app"``.

    Raises:
        ImportError: the package is not there; the message holds the pip line that installs it.
    """
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != package:  # the package is there, but something it needs is not
            raise
        raise ImportError(f'{who} needs {package}: pip install "image3d-nb[{extra}]"') from error
