"""Import optional packages where they are needed; if one is missing, the error says how to install it."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def require(module: str, extra: str, who: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: the module to import, e.g. ``"gradio"`` or ``"IPython.display"``.
        extra: the extra of this project that installs it, e.g. ``"app"``.
        who: the public name of the caller, e.g. ``"image3d_nb.app"``.

    Returns:
        The module.

    Raises:
        ImportError: the package is not installed; the message gives the pip command that installs it.
    """
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != package:  # a dependency of the package is missing
            raise
        if extra == "notebook" and "google.colab" in sys.modules:
            extra = "colab"  # "notebook" would replace Colab's ipywidgets
        raise ImportError(f'{who} needs {package}: pip install "image3d-nb[{extra}]"') from error
