"""One image to Gaussians in seconds: Splatter Image. Read it top to bottom.

The network (:mod:`image3d_nb.models.splatter_image`) gives one Gaussian for each pixel, in the space of the image's
camera. That camera stands in front of the object, so the last step turns the Gaussians into this project's world.

Source: Szymanowicz et al. 2024, Splatter Image (arXiv 2312.13150).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from ..cameras import orbit_cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..rendering.refine import refine as sharpen
from .memory import channels_last
from .single_image import OnStep, SingleImagePipeline, Steps, as_tensor


class SplatterImagePipeline(SingleImagePipeline):
    """One image to Gaussians, one for each pixel of the network's image.

    Args:
        network: a SplatterImage.
        ratio: longer side of the object over the side of the square that the network sees.
        ground: grey of that square, in [0, 1]; 1 is white.
        distance: of the image's camera from the middle of the object, world units.

    Example:
        >>> import image3d_nb as i3d
        >>> pipe = i3d.load_pipeline("szymanowiczs/splatter-image-v1")  # doctest: +SKIP
        >>> i3d.save(pipe(i3d.load_image("chair.jpg")).gaussians, "chair.ply")  # doctest: +SKIP
    """

    native = "gaussians"
    settings: ClassVar[frozenset[str]] = frozenset({"refine"})
    model_cpu_offload_seq = "network"
    _required_parts: ClassVar = ("network",)

    def __init__(self, network: Any, ratio: float = 0.65, ground: float = 1.0, distance: float = 2.0) -> None:
        super().__init__()
        self.register_modules(network=network)
        self.register_to_config(ratio=ratio, ground=ground, distance=distance)
        channels_last(network)

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        *,
        generator: Any = None,
        prepare: bool = True,
        background: str = "auto",
        refine: bool = False,
        on_step: OnStep | None = None,
        cancelled: Callable[[], bool] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Make Gaussians.

        Args:
            image: anything that ``load_image`` takes except a path, or a list of these.
            generator: accepted as by other pipelines; the network draws no random numbers. Several give several equal
                objects.
            prepare: cut the object out and put it on white; False takes a square image as it is.
            background: how it is cut out; as ``method`` of :func:`image3d_nb.images.remove_background`.
            refine: sharpen the object from the image (:func:`image3d_nb.refine`).
            on_step: called as f(stage, done, total), stage "network" (counts layers), and those of ``refine``.
            cancelled: called between steps; True stops the work.
            return_dict: False returns the tuple (gaussians, input).

        Returns:
            :class:`~image3d_nb.pipelines.single_image.ObjectOutput` with ``.gaussians``, ``.mesh`` and ``.input``;
            the same with lists for a list of images; or the tuple. The Gaussians are in this project's world.

        Raises:
            InputError: an argument is of the wrong kind.
            ImageError: the image cannot be read, or shows no object.
            Cancelled: ``cancelled`` returned True.
        """
        if not isinstance(refine, bool):
            raise InputError(f"refine must be True or False; got {refine!r}")
        steps = Steps(self, on_step, cancelled)

        def make(square: Image.Image, _: torch.Generator | None) -> Gaussians:
            made = self.predict(square, steps)
            return self.refine(made, square, on_step=steps, cancelled=cancelled) if refine else made

        return self.call(image, generator, prepare, background, return_dict, steps, make)

    @torch.no_grad()
    def predict(self, square: Image.Image, steps: Steps | None = None) -> Gaussians:
        """Turn a square image into Gaussians of this project's world.

        Args:
            square: RGB, on white, of :meth:`square`.
            steps: to report to.
        """
        network: Any = self.network
        size = network.config.image_size
        pixels = as_tensor(square.resize((size, size), Image.Resampling.LANCZOS))  # [1, 3, H, W]
        unet = network.network_with_offset["encoder"]
        with self.loaded("network"):
            dtype = self._compute_dtype(network)
            with (steps or Steps(self, None, None)).counting("network", [*unet.enc.values(), *unet.dec.values()]):
                (output,) = network.gaussians(pixels.to(self._execution_device, dtype))
        # the camera's axes are OpenCV's (y down, z forward), and it stands in front of the object, on +z
        pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
        pose[2, 3] = self.config.distance
        return Gaussians(**output._asdict()).transform(pose.to(output.means.device))

    def refine(self, gaussians: Gaussians, square: Image.Image, **options: Any) -> Gaussians:
        """Sharpen Gaussians of this pipeline from the square that they were made of.

        Args:
            gaussians: the object.
            square: RGB, on white, of :meth:`square`.
            **options: of :func:`image3d_nb.refine`: steps, on_step, cancelled, progress.

        Returns:
            The sharpened object.
        """
        side = min(max(square.width, 128), 512)  # a larger one has more detail than the object, and takes longer
        target = np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))
        fovy = self.network.config.fovy
        camera = orbit_cameras(0.0, 0.0, radius=self.config.distance, fovy=fovy, size=side)
        return sharpen(gaussians, target, views=camera, **{"progress": False} | options)
