"""One image to a mesh: TripoSR. Read it top to bottom.

The image becomes a triplane (:mod:`image3d_nb.models.triposr`), the triplane a density at points of a grid, the density
a surface, and each vertex of the surface gets the colour there.

Source: Tochilkin et al. 2024, TripoSR (arXiv 2403.02151).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .._numbers import is_finite, is_whole
from ..errors import InputError
from ..mesh import Mesh
from ..meshing.field import closed_surface, sample_field
from .single_image import OnStep, SingleImagePipeline, Steps, as_tensor

TO_OURS = (1, 2, 0)
"""This project's (x, y, z) is TripoSR's (y, z, x): a proper rotation, so faces keep their winding."""


class TripoSRPipeline(SingleImagePipeline):
    """One image to a closed mesh with colours.

    Args:
        network: a TripoSR.
        ratio: longer side of the object over the side of the square that the network sees.
        ground: grey of that square, in [0, 1].
        threshold: density of the surface.

    Example:
        >>> import image3d_nb as i3d
        >>> pipe = i3d.load_pipeline("stabilityai/TripoSR")  # doctest: +SKIP
        >>> i3d.save(pipe(i3d.load_image("chair.jpg")).mesh, "chair.glb")  # doctest: +SKIP
    """

    native = "mesh"
    settings: ClassVar[frozenset[str]] = frozenset()
    gains_from_bfloat16: ClassVar[bool] = True
    model_cpu_offload_seq = "network"
    _required_parts: ClassVar = ("network",)

    def __init__(self, network: Any, ratio: float = 0.85, ground: float = 0.5, threshold: float = 25.0) -> None:
        super().__init__()
        self.register_modules(network=network)
        self.register_to_config(ratio=ratio, ground=ground, threshold=threshold)

    def use_fast_type(self, dtype: torch.dtype) -> None:
        """Run the two transformers in a narrow type. Tokens, density and colours stay in float32.

        Args:
            dtype: bfloat16 or float16.
        """
        self.network.image_tokenizer.to(dtype)
        self.network.backbone.to(dtype)

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        *,
        generator: Any = None,
        prepare: bool = True,
        background: str = "auto",
        resolution: int = 256,
        threshold: float | None = None,
        exact: bool = False,
        on_step: OnStep | None = None,
        cancelled: Callable[[], bool] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Make a mesh.

        Args:
            image: anything that ``load_image`` takes except a path, or a list of these.
            generator: accepted as by other pipelines; the network draws no random numbers. Several give several equal
                objects.
            prepare: cut the object out and put it on grey; False takes a square image as it is.
            background: how it is cut out; as ``method`` of :func:`image3d_nb.images.remove_background`.
            resolution: points of the grid along each axis, 8 to 1024.
            threshold: density of the surface, above 0; None is the weights' default.
            exact: evaluate the density at every point of the grid. False does so only near the surface, which gives the
                same mesh, except for parts smaller than a 64th of the box.
            on_step: called as f(stage, done, total), stage "network" (counts layers), "surface" (points), "colors".
            cancelled: called between steps; True stops the work.
            return_dict: False returns the tuple (mesh, input).

        Returns:
            :class:`~image3d_nb.pipelines.single_image.ObjectOutput` with ``.mesh``, ``.gaussians``, ``.input``;
            the same with lists for a list of images; or the tuple. The mesh is in this project's world, and its vertex
            colours are sRGB.

        Raises:
            InputError: an argument is out of its range or of the wrong kind, or the density reaches the threshold
                nowhere.
            ImageError: the image cannot be read, or shows no object.
            Cancelled: ``cancelled`` returned True.
        """
        level = self.config.threshold if threshold is None else threshold
        if not is_finite(level) or level <= 0:
            raise InputError(f"threshold must be a finite number above 0; got {threshold!r}")
        if not is_whole(resolution) or not 8 <= resolution <= 1024:
            raise InputError(f"resolution must be a whole number from 8 to 1024; got {resolution!r}")
        steps = Steps(self, on_step, cancelled)

        def make(square: Image.Image, _: torch.Generator | None) -> Mesh:
            with self.loaded("network"):
                triplane = self.encode(square, steps)
                return self.extract(triplane, resolution, float(level), exact, steps)

        return self.call(image, generator, prepare, background, return_dict, steps, make)

    def encode(self, square: Image.Image, steps: Steps | None = None) -> Tensor:
        """Turn a square image into a triplane: [3, K, 2P, 2P].

        Args:
            square: RGB, on grey, of :meth:`square`.
            steps: to report to.
        """
        network: Any = self.network
        size = network.config.image_size
        pixels = F.interpolate(as_tensor(square), (size, size), mode="bilinear", align_corners=False, antialias=True)
        layers = [*network.image_tokenizer["model"].encoder["layer"], *network.backbone.transformer_blocks]
        with (steps or Steps(self, None, None)).counting("network", layers):
            triplane: Tensor = network(pixels.to(self._execution_device))[0]
        return triplane.float()

    @torch.no_grad()
    def extract(
        self, triplane: Tensor, resolution: int = 256, threshold: float = 25.0, exact: bool = False,
        steps: Steps | None = None,
    ) -> Mesh:  # fmt: skip
        """Find the surface in a triplane, and colour it.

        Args:
            triplane: [3, K, 2P, 2P].
            resolution: points of the grid along each axis.
            threshold: density of the surface.
            exact: evaluate every point.
            steps: to report to.

        Returns:
            The closed mesh, in this project's world.
        """
        network: Any = self.network
        report = steps or Steps(self, None, None)
        volume = sample_field(
            network.on_grid(triplane, resolution), resolution, threshold, exact=exact,
            on_chunk=lambda done, total: report("surface", done, total),
        )  # fmt: skip
        vertices, faces = closed_surface(volume, threshold, network.config.radius)
        del volume
        report("colors", 0, 1)
        _, colors = network.query(triplane, torch.from_numpy(vertices).to(triplane))
        report("colors", 1, 1)
        return Mesh(
            vertices[:, TO_OURS].astype(np.float32), faces, vertex_colors=colors.clamp(0, 1).float().cpu().numpy()
        )
