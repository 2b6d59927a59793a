"""The studio: a picture to an object in a panel of the notebook, with all runs side by side."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from types import ModuleType
from typing import Any

from .._optional import require
from ..generate import GenerateSettings
from .panel import Panel
from .runs import Run
from .session import Session
from .static import still_bundle

__all__ = ["Run", "Studio", "studio"]


class Studio(Session):
    """A session that a notebook shows as a panel. Works without one, too: every click is a call.

    Example:
        >>> studio = Studio("out")
        >>> studio.choose_sample("mug")
        >>> studio.run(seed=1)  # doctest: +SKIP
        >>> studio.wait()  # doctest: +SKIP
        Run('001_mug')
        >>> studio.download(".glb")  # doctest: +SKIP
        PosixPath('out/001_mug/mug.glb')
    """

    @cached_property
    def panel(self) -> Any:
        """The widgets, in an ipywidgets box."""
        return Panel(self).box

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002 -- IPython's
        # where widgets do not run (GitHub, a saved notebook), the picture and the text stand in
        return {**self.panel._repr_mimebundle_(), **still_bundle(self)}


def studio(
    folder: str | os.PathLike[str] = "studio", settings: GenerateSettings | None = None, *, sample: str | None = "mug"
) -> Studio:
    """Open the studio: in a notebook, the last line of a cell shows it.

    Upload a picture or take a sample, look at what the model will see, choose seed, steps, guidance and model, run;
    then look at the views, the splats and the mesh, and download any format. What goes wrong is told there in a
    sentence. A saved notebook keeps a picture of the studio as it was when the cell ran.

    Args:
        folder: where runs are kept, one folder each; made at the first run. Runs that are there from another day are
            shown as well.
        settings: what the panel does not ask for (device, elevation, ...), and what its fields hold at first.
        sample: the bundled picture to begin with, or None.

    Returns:
        A :class:`Studio`: whatever the panel does can also be called on it.

    Raises:
        ImportError: ipywidgets or anywidget is not installed.
        InputError: there is no such sample.

    Example:
        >>> studio("out")
        Studio(picture='mug', model='tiny', runs=0)
    """
    for package in ("ipywidgets", "anywidget"):
        require(package, extra="notebook", who="image3d_nb.studio")
    opened = Studio(folder, settings)
    if sample is not None:
        opened.choose_sample(sample)
    return opened


class _Opens(ModuleType):
    """``image3d_nb.studio`` is this module once anybody has imported it, and the function before: both open it."""

    __call__ = staticmethod(studio)


sys.modules[__name__].__class__ = _Opens
