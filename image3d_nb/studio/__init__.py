"""The studio: from an image to an object in a panel of the notebook, with a history of runs."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from types import ModuleType
from typing import Any

from .._optional import require
from ..generate import GenerateSettings
from ..view._panel import display_bundle, live_bundle
from .panel import Panel
from .runs import Run
from .session import Session
from .static import still_bundle

__all__ = ["Run", "Studio", "studio"]


class Studio(Session):
    """A session that a notebook shows as a panel. Whatever the panel does can also be called on it.

    Example:
        >>> studio = Studio("out")
        >>> studio.choose_sample("mug")
        >>> studio.run(seed=1)  # doctest: +SKIP
        >>> studio.wait()  # doctest: +SKIP
        Run('001_mug')
        >>> studio.download(".glb")  # doctest: +SKIP
        PosixPath('/home/ada/out/001_mug/mug.glb')
    """

    @cached_property
    def panel(self) -> Any:
        """The widgets, in an ipywidgets box."""
        return Panel(self).box

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002 -- IPython's
        """The panel; and an image and a text for places where no widget runs (GitHub, a saved notebook)."""
        live, _ = live_bundle(self.panel, getattr(self.panel, "_repr_mimebundle_", None))
        return {**live, **still_bundle(self)}


def studio(
    folder: str | os.PathLike[str] = "studio", settings: GenerateSettings | None = None, *, sample: str | None = "mug"
) -> Studio:
    """Open the studio: in a notebook, the last line of a cell shows it.

    Upload an image or take a sample, look at what the model will see, choose seed, steps, guidance and model, and run;
    then look at the views, the splats and the mesh, and download any format. The panel shows errors as sentences. A
    saved notebook keeps an image of the studio as it was when the cell ran.

    Args:
        folder: where each run has its folder; made at the first run. The panel shows older runs in it as well.
        settings: settings that the panel does not ask for (device, elevation, ...), and the initial values of others;
            without ``formats``: files are made on request.
        sample: name of the bundled image to begin with, or None.

    Returns:
        A :class:`Studio`.

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
    display_bundle(opened)
    if sample is not None:
        opened.choose_sample(sample)
    return opened


class _Opens(ModuleType):
    """Once imported, this module replaces the function ``image3d_nb.studio``; calling either opens a studio."""

    __call__ = staticmethod(studio)


sys.modules[__name__].__class__ = _Opens
