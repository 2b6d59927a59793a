"""Progress of a pipeline in the notebook: a bar, and the four views as they denoise."""

from __future__ import annotations

import html
import math
import time
from typing import Any

from PIL import Image

from .._optional import require
from ..errors import InputError
from ._panel import caption, check_size, in_notebook, widgets, with_still
from .sheets import as_images, png_bytes, sheet

AZIMUTHS = (0, 90, 180, 270)  # degrees, of LGM's views
LOOKS = 8  # times a run shows its views, if a network must decode them


def watch(pipe: Any, *, size: int = 128, every: int | None = None) -> Watch:
    """Show a pipeline's progress in the notebook, with its four views as they come out of the noise.

    Args:
        pipe: a pipeline that makes views, from ``load_pipeline``: LGM's, the tiny model or MVDream.
        size: width of a view, pixels.
        every: show the views every so many steps, and at the last. None: at each step; or eight times a run if a
            network must decode them (LGM-full's takes seconds on a CPU).

    Returns:
        A callback for the pipeline's ``callback_on_step_end``. Of several objects it shows the first.

    Raises:
        InputError: not a pipeline, or a number out of its range.
        ImportError: ipywidgets is not installed.

    Example:
        >>> import image3d_nb as i3d
        >>> pipe = i3d.load_pipeline()
        >>> progress = i3d.watch(pipe)
        >>> result = pipe(i3d.load_image(i3d.sample("mug")), num_inference_steps=3, callback_on_step_end=progress)
        >>> progress
        Watch(step 3 of 3)
    """
    from ..pipelines.mvdream import MVDreamPipeline

    if not isinstance(pipe, MVDreamPipeline):
        raise InputError(f"watch must be given a pipeline that makes views, such as LGM's; got {type(pipe).__name__}")
    if every is not None and every < 1:
        raise InputError(f"every must be a number of at least 1; got {every!r}")
    check_size(size)
    watching = Watch(pipe.picture_size, size, every)
    if in_notebook():
        display = require("IPython.display", extra="notebook", who="image3d_nb.watch").display
        data, metadata = watching.widget._repr_mimebundle_()
        watching.handle = display(data, metadata=metadata, raw=True, display_id=True)
    return watching


class Watch:
    """A callback for diffusers' ``callback_on_step_end`` that fills a widget.

    Attributes:
        widget: ``ipywidgets.VBox``, shown where :func:`watch` is called; a cell that ends with it shows it again.
        handle: IPython's display handle, or None outside of a notebook.
    """

    def __init__(self, picture_size: int, size: int, every: int | None) -> None:
        ipywidgets = widgets("watch")
        self.handle: Any = None
        self._every = every
        self._done, self._total = 0, 0
        self._start = time.monotonic()
        self._views = [Image.new("RGB", (picture_size, picture_size), "#eee")] * len(AZIMUTHS)
        self._bar = ipywidgets.IntProgress(min=0, max=1, bar_style="info", layout={"width": f"{2 * size}px"})
        self._text = ipywidgets.HTML()
        blank = png_bytes(self._views[0])
        self._images = [ipywidgets.Image(value=blank, format="png", width=size, height=size) for _ in AZIMUTHS]
        names = [f"{azimuth}°" + " (front)" * (azimuth == 0) for azimuth in AZIMUTHS]
        cells = [
            ipywidgets.VBox([image, caption(name, ipywidgets)], layout={"width": f"{size}px"})
            for image, name in zip(self._images, names, strict=True)
        ]
        row = ipywidgets.HBox(cells, layout={"flex_flow": "row wrap", "grid_gap": "8px"})
        box = ipywidgets.VBox([ipywidgets.HBox([self._bar, self._text]), row])
        self.widget = with_still(box, lambda: sheet(self._views, 4, names, width=512), "views as they denoise")
        self._say("waiting for the pipeline")

    def __repr__(self) -> str:
        return f"Watch(step {self._done} of {self._total})"

    def __call__(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Show a step. The pipeline calls this after each step; it changes nothing.

        Args:
            pipe: the pipeline.
            step: number of the step, from 0.
            timestep: of the scheduler.
            tensors: "latents" is [B*F, C, H, W], in MVDream's order.

        Returns:
            {}: no tensor changes.
        """
        if step == 0:
            self._total = self._bar.max = pipe.num_timesteps
            self._start = time.monotonic()
        self._done = step + 1
        last = self._done == self._total
        every = self._every or (1 if pipe.vae is None else math.ceil(self._total / LOOKS))
        if last or step % every == 0:
            self._show_views(pipe, tensors["latents"])
        self._bar.value = self._done
        self._bar.bar_style = "success" if last else "info"
        spent = time.monotonic() - self._start
        left = "" if last or step == 0 else f", about {spent / step * (self._total - self._done):.0f} s left"
        self._say(f"step {self._done} of {self._total}, t = {float(timestep):.0f}{left}")
        if last and self.handle is not None:
            data, metadata = self.widget._repr_mimebundle_()
            self.handle.update(data, metadata=metadata, raw=True)  # a saved notebook keeps the last views
        return {}

    def _show_views(self, pipe: Any, latents: Any) -> None:
        views = pipe.decode(latents[: len(AZIMUTHS)])  # of the first object: [4, 3, H, W] in [0, 1], LGM's order
        self._views = as_images(views.permute(0, 2, 3, 1))
        for shown, image in zip(self._images, self._views, strict=True):
            shown.value = png_bytes(image)

    def _say(self, text: str) -> None:
        self._text.value = f"<span>{html.escape(text)}</span>"
