"""One image to a mesh by diffusion: Shap-E. A thin layer over diffusers' ``ShapEImg2ImgPipeline``.

diffusers makes the latent of an object. Its renderer turns the latent into a function of space, a signed distance and a
colour. Here that function is evaluated near the surface only, and the surface gets one closed mesh in this project's
world.

Source: Jun and Nichol 2023, Shap-E (arXiv 2305.02463).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import ShapEImg2ImgPipeline
from diffusers.pipelines.shap_e.renderer import BoundingBoxVolume
from PIL import Image
from torch import Tensor

from .._numbers import is_finite, is_whole
from ..errors import InputError
from ..images.prepare import prepared
from ..mesh import Mesh
from ..meshing.field import closed_surface, sample_field
from .single_image import OnStep, SingleImagePipeline, Steps

SIDE = 256
"""Pixels of the square; CLIP's processor resizes it."""
CHUNK = 4096
TO_OURS = ((1, 0, 0), (0, 0, 1), (0, -1, 0))
"""Shap-E's z is up and its first camera stands on -y: this project's (x, y, z) is its (x, z, -y)."""


class ShapEPipeline(SingleImagePipeline, ShapEImg2ImgPipeline):
    """One image to a closed mesh with colours.

    Args:
        prior: a diffusers PriorTransformer, which denoises latents.
        image_encoder: a CLIPVisionModel.
        image_processor: a CLIPImageProcessor.
        scheduler: a diffusers HeunDiscreteScheduler.
        shap_e_renderer: a diffusers ShapERenderer.
        ratio: longer side of the object over the side of the square.
        ground: grey of that square, in [0, 1]; 1 is white.
        default_steps: denoising steps if a call gives none.
        default_guidance: guidance scale if a call gives none; 1 is no guidance.
    """

    native = "mesh"
    settings: ClassVar[frozenset[str]] = frozenset({"steps", "guidance", "seed"})
    _required_parts: ClassVar = ("prior", "image_encoder", "image_processor", "scheduler", "shap_e_renderer")

    def __init__(
        self,
        prior: Any,
        image_encoder: Any,
        image_processor: Any,
        scheduler: Any,
        shap_e_renderer: Any,
        ratio: float = 0.8,
        ground: float = 1.0,
        default_steps: int = 64,
        default_guidance: float = 3.0,
    ) -> None:
        ShapEImg2ImgPipeline.__init__(self, prior, image_encoder, image_processor, scheduler, shap_e_renderer)
        self.register_to_config(
            ratio=ratio, ground=ground, default_steps=default_steps, default_guidance=default_guidance
        )
        if shap_e_renderer.volume.bbox_min.device.type == "meta":  # no parameter, so no file holds it
            shap_e_renderer.volume = BoundingBoxVolume(bbox_max=[1.0, 1.0, 1.0], bbox_min=[-1.0, -1.0, -1.0])
        self._report: Steps | None = None

    def prepared(self, image: Any, background: str = "auto") -> tuple[Image.Image, tuple[str, ...]]:
        """As :func:`image3d_nb.prepare_image`: the object on a white square, and sentences about what may be wrong.

        Args:
            image: anything that ``load_image`` takes.
            background: how it is cut out; as ``method`` of :func:`image3d_nb.images.remove_background`.
        """
        return prepared(image, SIDE, self.config.ratio, background)

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        *,
        generator: Any = None,
        prepare: bool = True,
        background: str = "auto",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        resolution: int = 128,
        exact: bool = False,
        on_step: OnStep | None = None,
        cancelled: Callable[[], bool] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Make a mesh.

        Args:
            image: anything that ``load_image`` takes except a path, or a list of these.
            generator: random generator, or a list with one for each object; None uses torch's global one.
            prepare: cut the object out and put it on white; False takes a square image as it is.
            background: how it is cut out; as ``method`` of :func:`image3d_nb.images.remove_background`.
            num_inference_steps: denoising steps, at least 1; None is the default.
            guidance_scale: 1 is no guidance; None is the default.
            resolution: points of the grid along each axis, 8 to 1024.
            exact: evaluate the distance at every point of the grid, not only near the surface.
            on_step: called as f(stage, done, total), stage "network" (counts steps), "surface" (points), "colors".
            cancelled: called between steps; True stops the work.
            return_dict: False returns the tuple (mesh, input).

        Returns:
            :class:`~image3d_nb.pipelines.single_image.ObjectOutput`, or one for a list, or the tuple.

        Raises:
            InputError: an argument is out of its range or of the wrong kind, or there is no surface.
            ImageError: the image cannot be read, or shows no object.
            Cancelled: ``cancelled`` returned True.
        """
        count = self.config.default_steps if num_inference_steps is None else num_inference_steps
        scale = self.config.default_guidance if guidance_scale is None else guidance_scale
        if not is_whole(count) or count < 1:
            raise InputError(f"num_inference_steps must be a whole number, at least 1; got {count!r}")
        if not is_finite(scale):
            raise InputError(f"guidance_scale must be a finite number; got {scale!r}")
        steps = Steps(self, on_step, cancelled)

        def make(square: Image.Image, random: torch.Generator | None) -> Mesh:
            self._report = steps
            try:
                with self.loaded("image_encoder"), self.loaded("prior"):
                    latents = ShapEImg2ImgPipeline.__call__(
                        self, square, generator=random, num_inference_steps=count, guidance_scale=float(scale),
                        output_type="latent",
                    ).images  # fmt: skip
            finally:
                self._report = None
            with self.loaded("shap_e_renderer"):
                return self.extract(latents, resolution, exact, steps)

        return self.call(image, generator, prepare, background, return_dict, steps, make)

    def progress_bar(self, iterable: Any = None, total: int | None = None) -> Any:
        """Diffusers' progress bar; around the steps of a call it reports them, and lets the caller stop it.

        Args:
            iterable: steps, or None.
            total: their number, or None.
        """
        if iterable is None or self._report is None:
            return super().progress_bar(iterable, total)
        return self._reported(list(iterable), self._report)

    @staticmethod
    def _reported(every: list[Any], report: Steps) -> Iterator[Any]:
        for done, each in enumerate(every):
            report("network", done, len(every))
            yield each
        report("network", len(every), len(every))

    @torch.no_grad()
    def extract(self, latents: Tensor, resolution: int = 128, exact: bool = False, steps: Steps | None = None) -> Mesh:
        """Turn a latent into a mesh of this project's world.

        Args:
            latents: [1, E, C].
            resolution: points of the grid along each axis.
            exact: evaluate every point.
            steps: to report to.
        """
        renderer: Any = self.shap_e_renderer
        report = steps or Steps(self, None, None)
        dtype = self._compute_dtype(renderer)
        for name, weights in renderer.params_proj(latents.to(dtype)).items():  # the latent is the network's weights
            renderer.mlp.get_parameter(name.removeprefix("nerstf.")).copy_(weights[0])
        line = torch.linspace(-1, 1, resolution, device=latents.device, dtype=dtype)

        def field_at(points: Tensor) -> Any:
            parts = [
                renderer.mlp(position=part[None], direction=None, ts=None, nerf_level="fine", rendering_mode="stf")
                for part in points.split(CHUNK)
            ]
            return [torch.cat([getattr(part, name)[0] for part in parts]) for name in ("signed_distance", "channels")]

        def distance(index: Tensor) -> Tensor:  # positive inside
            index = index.to(line.device)
            grid = (index // resolution**2, index // resolution % resolution, index % resolution)
            return field_at(torch.stack([line[each] for each in grid], -1))[0][:, 0]

        volume = sample_field(
            distance, resolution, 0.0, exact=exact, on_chunk=lambda done, total: report("surface", done, total)
        )
        vertices, faces = closed_surface(volume, 0.0, 1.0)
        report("colors", 0, 1)
        _, channels = field_at(torch.from_numpy(vertices).to(latents.device, dtype))
        report("colors", 1, 1)
        colors = channels.clamp(0, 1).float().cpu().numpy()  # sRGB
        return Mesh((vertices @ np.array(TO_OURS).T).astype(np.float32), faces, vertex_colors=colors)
