"""One image to Gaussians: MVDream's four views, then LGM. The pipeline of the Image-to-3D task page. Top to bottom.

Source: Tang et al. 2024, LGM (arXiv 2402.05054), figure 2. Where the code published with ``dylanebert/LGM-full`` and
the training of its weights disagree, the default follows the training. ``faithful="lgm-full"`` follows that code, for
comparing numbers with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import torch
import torch.nn.functional as F
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from .._files import atomic_write
from .._numbers import is_whole
from ..cameras import Cameras, orbit_cameras, plucker_rays
from ..errors import InputError
from ..gaussians import Gaussians
from ..images import Source
from ..io import save
from ..io.ply import lgm_bytes
from ..mesh import Mesh
from ..meshing import to_mesh
from ..metrics import view_consistency
from ..models.lgm import IMAGE_MEAN, IMAGE_STD
from ..rendering.refine import refine as sharpen
from .memory import channels_last
from .mvdream import DenoiseSettings, MVDreamPipeline, check_output_type, split_inputs, to_output

FAITHFUL = (None, "lgm-full")


@dataclass(frozen=True)
class Candidate:
    """One of several objects made from the same image.

    Attributes:
        gaussians: the object.
        images: its four views, of the kind of ``output_type``.
        score: agreement of its renders with its views, decibels; see :func:`image3d_nb.metrics.view_consistency`.
        seed: ``generator=image3d_nb.generator(seed)`` makes this object alone.
    """

    gaussians: Gaussians
    images: Any
    score: float
    seed: int


@dataclass
class LGMFullPipelineOutput(BaseOutput):
    """One object, and what it was made from.

    Attributes:
        gaussians: the object, in this project's world.
        images: the four views in LGM's order, azimuth 0 (the front), 90, 180, 270: a list of PIL images, or what
            ``output_type`` asks for (see :class:`~image3d_nb.pipelines.mvdream.MVDreamPipelineOutput`).
        input: the image that the model saw; None for text alone.
        faithful: the call's ``faithful``. A faithful object has the published code's turn already.
        candidates: with ``num_candidates`` above 1, all candidates, the best first, of which ``gaussians`` and
            ``images`` are the best. Else None.
    """

    gaussians: Gaussians
    images: Any
    input: Image.Image | Any
    faithful: str | None
    candidates: list[Candidate] | None = None

    @cached_property
    def mesh(self) -> Mesh:
        """The object as a closed mesh, by :func:`image3d_nb.to_mesh`; made on first use, in seconds."""
        return to_mesh(self.gaussians, progress=False)


@dataclass
class LGMFullPipelineListOutput(BaseOutput):
    """Several objects: the attributes of :class:`LGMFullPipelineOutput`, each a list with one entry for each object.

    Attributes:
        gaussians: the objects.
        images: their views.
        input: the images that the model saw; None for text alone.
        faithful: the call's ``faithful``.
        candidates: the candidates of each object, or None.
    """

    gaussians: list[Gaussians]
    images: list[Any]
    input: list[Image.Image | Any]
    faithful: str | None
    candidates: list[list[Candidate]] | None = None


class CallSettings(DenoiseSettings, total=False):
    """Keyword arguments that all overloads of :meth:`LGMFullPipeline.__call__` take. Its last definition says more."""

    prepare: bool
    refine: bool
    faithful: str | None
    num_candidates: int
    output_type: str


class LGMFullPipeline(MVDreamPipeline):
    """Text or one image to Gaussians.

    Args:
        lgm: an LGM.
        unet: a MultiViewUNetModel.
        scheduler: a diffusers scheduler, e.g. DDIM.
        vae: an AutoencoderKL, or None for a network that works on pixels.
        tokenizer: the text encoder's, or None.
        text_encoder: a CLIPTextModel, or None: the context is then one token of zeros.
        feature_extractor: a CLIPImageProcessor, or None.
        image_encoder: a CLIPVisionModel, or None.
        default_steps: denoising steps if a call gives none; a property of the weights.
        default_guidance: guidance scale if a call gives none; 1 is no guidance.
        max_steps: the most steps that the weights were trained for, or None.

    Example:
        >>> import image3d_nb as i3d
        >>> result = i3d.load_pipeline()(i3d.load_image(i3d.sample("mug")), generator=i3d.generator(0))
        >>> result.gaussians
        Gaussians(n=16384, sh_degree=0, device=cpu)
    """

    model_cpu_offload_seq = "text_encoder->image_encoder->unet->vae->lgm"

    def __init__(
        self,
        lgm: Any,
        unet: Any,
        scheduler: Any,
        vae: Any = None,
        tokenizer: Any = None,
        text_encoder: Any = None,
        feature_extractor: Any = None,
        image_encoder: Any = None,
        default_steps: int = 30,
        default_guidance: float = 5.0,
        max_steps: int | None = None,
    ) -> None:
        super().__init__(
            unet, scheduler, vae, tokenizer, text_encoder, feature_extractor, image_encoder, default_steps,
            default_guidance, max_steps,
        )  # fmt: skip
        self.register_modules(lgm=lgm)
        channels_last(lgm)

    @overload  # type: ignore[override]  # more precise than MVDream's, whose result is Any
    def __call__(
        self,
        prompt: Source | None = None,
        image: Source | None = None,
        *,
        generator: torch.Generator | None = None,
        return_dict: Literal[True] = True,
        **settings: Unpack[CallSettings],
    ) -> LGMFullPipelineOutput: ...

    @overload
    def __call__(
        self,
        prompt: Source | Sequence[Source] | None = None,
        image: Source | Sequence[Source] | None = None,
        *,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        return_dict: Literal[True] = True,
        **settings: Unpack[CallSettings],
    ) -> LGMFullPipelineListOutput: ...

    @overload
    def __call__(
        self,
        prompt: Source | Sequence[Source] | None = None,
        image: Source | Sequence[Source] | None = None,
        *,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        return_dict: Literal[False],
        **settings: Unpack[CallSettings],
    ) -> tuple[Any, ...]: ...

    @torch.no_grad()
    def __call__(
        self,
        prompt: Any = None,
        image: Any = None,
        *,
        prepare: bool = True,
        refine: bool = False,
        faithful: str | None = None,
        elevation: float = 0.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        num_candidates: int = 1,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Any:
        """Make an object.

        Args:
            prompt: a sentence, or a list of sentences. An image, or a list of images, as the only argument is
                ``image``.
            image: anything that ``load_image`` takes except a path, or a list of these, which are denoised as a batch.
            prepare: cut the object out, centre it and put it on white with ``prepare_image``; False, which
                ``faithful`` implies, uses the square image as it is.
            refine: sharpen the object from the image (:func:`image3d_nb.refine`). ``candidates`` are not refined.
            faithful: "lgm-full" repeats the published code's rays, rotations, turn and global random numbers; None
                does what the weights were trained for.
            elevation: of the image's camera, degrees, up is positive.
            num_inference_steps: denoising steps, at least 1; None is the weights' default.
            guidance_scale: 1 is no guidance; None is the weights' default.
            negative_prompt: what the views should not show.
            generator: random generator, or a list with one for each object; None uses torch's global one. Several
                with one image make several objects of it.
            latents: [B*F, C, H, W], noise to start from, MVDream's order; None draws it.
            num_candidates: objects to make from each image, with seeds drawn from ``generator``. The one whose views
                agree best is the result, and ``candidates`` holds all.
            output_type: "pil", "np", "pt" or "latent", for the views; see :class:`LGMFullPipelineOutput`.
            return_dict: False returns the tuple (gaussians, images, input, faithful), and candidates if there are any.
            callback_on_step_end: called as f(pipeline, step, timestep, {"latents": ...}) -> dict, as in diffusers. The
                tensors that it returns replace the pipeline's.
            callback_on_step_end_tensor_inputs: tensors to pass to it: "latents" [B*F, C, H, W], "prompt_embeds"
                [G*B, L, C'], "image_latents" [G*B, C, H, W].

        Returns:
            :class:`LGMFullPipelineOutput` for one object, :class:`LGMFullPipelineListOutput` if one of ``prompt``,
            ``image`` and ``generator`` is a list, or the tuple.

        Raises:
            InputError: an argument is out of its range or of the wrong kind, or these weights cannot use it.
        """
        _check_faithful(faithful)
        if not is_whole(num_candidates) or num_candidates < 1:
            raise InputError(f"num_candidates must be a whole number of 1 or more; got {num_candidates!r}")
        if faithful and num_candidates > 1:  # its views and its object do not agree, so there is nothing to compare
            raise InputError(f"num_candidates must be 1 with faithful; got {num_candidates}")
        if refine and faithful:
            raise InputError("refine must be False with faithful, which repeats the published numbers; got True")
        check_output_type(output_type)
        prompts, images, generators, several = split_inputs(prompt, image, generator)
        seeds: list[int] = []
        if num_candidates > 1:  # from here on each candidate is an object with a seed of its own
            seeds = [seed for each in generators for seed in _draw_seeds(each, num_candidates)]
            devices = ["cpu" if each is None else each.device for each in generators for _ in range(num_candidates)]
            prompts = [each for each in prompts for _ in range(num_candidates)]
            images = [each for each in images for _ in range(num_candidates)]
            pairs = zip(devices, seeds, strict=True)
            generators = [torch.Generator(device).manual_seed(seed) for device, seed in pairs]

        settings: DenoiseSettings = {
            "elevation": elevation, "num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt, "latents": latents, "callback_on_step_end": callback_on_step_end,
            "callback_on_step_end_tensor_inputs": callback_on_step_end_tensor_inputs,
        }  # fmt: skip
        self._check_inputs(prompts, images, **settings)
        if refine and any(each is None for each in images):
            raise InputError("refine must be False without an image to sharpen from; got True")
        squares = self._squares(images, prepare and faithful is None)
        frames = self.denoise(
            prompts, squares, generator=generators, global_image_noise=faithful is not None, **settings
        ).chunk(len(prompts))  # B [F, C, H, W]
        with self.loaded("vae"):
            views = [self.decode(each) for each in frames]  # B [4, 3, H, W]
        with self.loaded("lgm"):
            made = [self.reconstruct(each, elevation=elevation, faithful=faithful) for each in views]
        self.maybe_free_model_hooks()
        shown = [to_output(each, output_type) for each in (frames if output_type == "latent" else views)]
        seen = [self._seen(square) for square in squares]

        ranked: list[list[Candidate]] | None = None
        if num_candidates > 1:
            config, size = self.lgm.config, views[0].shape[-1]
            cameras = orbit_cameras(elevation, radius=config.radius, fovy=config.fovy, size=size)  # LGM's own
            scores = [view_consistency(*pair, cameras) for pair in zip(made, views, strict=True)]
            candidates = [Candidate(*row) for row in zip(made, shown, scores, seeds, strict=True)]
            starts = range(0, len(candidates), num_candidates)
            groups = [candidates[start : start + num_candidates] for start in starts]
            ranked = [sorted(group, key=lambda candidate: -candidate.score) for group in groups]
            made, shown = [group[0].gaussians for group in ranked], [group[0].images for group in ranked]
            seen, squares = seen[::num_candidates], squares[::num_candidates]
        if refine:
            made = [self.refine(*pair, elevation=elevation) for pair in zip(made, squares, strict=True)]
        if not return_dict:
            columns = [made, shown, seen, faithful, *([] if ranked is None else [ranked])]
            return tuple(each[0] if isinstance(each, list) and not several else each for each in columns)
        if several:
            return LGMFullPipelineListOutput(made, shown, seen, faithful, ranked)
        return LGMFullPipelineOutput(made[0], shown[0], seen[0], faithful, None if ranked is None else ranked[0])

    @torch.no_grad()
    def reconstruct(self, images: Tensor, *, elevation: float = 0.0, faithful: str | None = None) -> Gaussians:
        """Turn four views into Gaussians: the second half of the pipeline on its own.

        Args:
            images: [4, 3, H, W] in [0, 1] on white, LGM's order, as ``output_type="pt"`` gives them.
            elevation: of the cameras that took them, degrees, up is positive.
            faithful: see :meth:`__call__`.

        Returns:
            The object, in this project's world.

        Raises:
            InputError: wrong shape, or numbers out of range.
        """
        _check_faithful(faithful)
        if not isinstance(images, Tensor) or images.ndim != 4 or tuple(images.shape[:2]) != (4, 3):
            found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise InputError(f"images must be a tensor [4, 3, H, W] in [0, 1], LGM's order; got {found}")
        if not bool(((images > -1e-3) & (images < 1 + 1e-3)).all()):  # room for rounding; False for NaN, too
            span = f"{float(images.min()):.4g} to {float(images.max()):.4g}"
            raise InputError(f"images must be in [0, 1]; got {span}")
        size = self.lgm.config.input_size
        if images.shape[-1] != size or images.shape[-2] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
        device, rays = self._execution_device, self.rays(elevation, faithful)
        x = lgm_input(images[None].to(device, torch.float32), rays.to(device)).to(self._compute_dtype(self.lgm))
        with self.loaded("lgm"):
            rows = self.lgm.gaussians(x, rotation="published" if faithful else None)  # [1, N, 14]
        if faithful:
            return Gaussians.from_lgm(_published_turn(rows))
        # LGM answers in the space of its first camera, which stands level on +z: turn that camera to its true place
        return Gaussians.from_lgm(rows).transform(orbit_cameras(elevation, 0.0).c2w[0, :3, :3])

    def refine(
        self, gaussians: Gaussians, square: Tensor | None, *, elevation: float = 0.0, **options: Any
    ) -> Gaussians:
        """Sharpen Gaussians of this pipeline from the image that they were made of.

        Args:
            gaussians: the object.
            square: [1, 3, H, W] in [0, 1], on white, of :meth:`square`.
            elevation: of the image's camera, degrees, up is positive.
            **options: of :func:`image3d_nb.refine`: steps, on_step, cancelled, progress.

        Returns:
            The sharpened object.

        Raises:
            InputError: there is no image.
        """
        if square is None:
            raise InputError("refine needs an image to sharpen from; got None")
        config, size = self.lgm.config, square.shape[-1]
        camera = orbit_cameras(elevation, 0.0, radius=config.radius, fovy=config.fovy, size=size)
        image = square[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy()  # [H, W, 3]
        return sharpen(gaussians, image, views=camera, **{"progress": False} | options)

    def rays(self, elevation: float = 0.0, faithful: str | None = None) -> Tensor:
        """Make the Pluecker rays that LGM was trained with: its first camera stands level on +z.

        Args:
            elevation: of the views' cameras, degrees, up is positive.
            faithful: "lgm-full" gives the published code's rays, of cameras that look away from the object and always
                stand level.

        Returns:
            [4, 6, H, W], moment and direction of each pixel's ray.
        """
        _check_faithful(faithful)
        config = self.lgm.config
        orbit = orbit_cameras(elevation, radius=config.radius, fovy=config.fovy, size=config.input_size)
        if faithful:
            level = orbit_cameras(0.0, radius=config.radius, fovy=config.fovy, size=config.input_size)
            return plucker_rays(_looking_away(level))
        home = orbit_cameras(0.0, 0.0, config.radius).c2w[0]  # [4, 4]
        moved = home @ torch.linalg.inv(orbit.c2w[0]) @ orbit.c2w  # [4, 4, 4], T(0, 0, r) C_0^-1 C_k
        return plucker_rays(Cameras.from_c2w(moved, config.fovy, config.input_size, config.input_size))

    @staticmethod
    def save_ply(
        result: LGMFullPipelineOutput | Gaussians | Tensor,
        path: str | os.PathLike[str],
        convention: str = "3dgs",
        min_opacity: float = 0.005,
    ) -> None:
        """Write a .ply as the task page's last line does, without the Gaussians below ``min_opacity``.

        Args:
            result: a call's result for one object, its Gaussians, or a raw tensor [1, N, 14] in LGM's layout.
            path: file to write.
            convention: the file's world; see :func:`image3d_nb.save`. A raw tensor and a faithful result are written
                without a turn: they already are what the published code writes.
            min_opacity: in [0, 1]; 0 keeps all.

        Raises:
            InputError: nothing to write, numbers that are not finite, a list of objects, or a raw tensor and a path
                that does not end in .ply.
        """
        if isinstance(result, Tensor):
            if Path(path).suffix.lower() != ".ply":
                raise InputError(f"path of a raw tensor must end in .ply; got {os.fspath(path)!r}")
            _prune(Gaussians.from_lgm(result), min_opacity)
            atomic_write({path: lgm_bytes(result, min_opacity)})
            return
        made = result if isinstance(result, Gaussians) else getattr(result, "gaussians", None)
        if not isinstance(made, Gaussians):
            raise InputError(f"result must be one result, Gaussians or a tensor [1, N, 14]; got {type(made).__name__}")
        unturned = getattr(result, "faithful", None) is not None
        save(_prune(made, min_opacity), Path(path), convention="opengl" if unturned else convention)


def _check_faithful(faithful: str | None) -> None:
    if faithful not in FAITHFUL:
        raise InputError(f"faithful must be one of {FAITHFUL}; got {faithful!r}")


def _draw_seeds(generator: torch.Generator | None, count: int) -> list[int]:
    device = "cpu" if generator is None else generator.device
    return [int(seed) for seed in torch.randint(2**63 - 1, (count,), generator=generator, device=device)]


def _prune(made: Gaussians, min_opacity: float) -> Gaussians:
    """Gaussians to write: those that reach ``min_opacity``. Raises an InputError for none, or for infinite ones."""
    kept = made.prune(min_opacity)
    if not len(kept):
        raise InputError(f"nothing to write: none of {len(made)} Gaussians reaches min_opacity={min_opacity}")
    finite = torch.isfinite(kept.means).all(-1) & torch.isfinite(kept.scales).all(-1)
    if not bool(finite.all()):
        raise InputError(f"Gaussians to write must be finite; {int((~finite).sum())} of {len(kept)} are not")
    return kept


def lgm_input(images: Tensor, rays: Tensor) -> Tensor:
    """Join normalised colours and rays to LGM's input.

    Args:
        images: [B, V, 3, H, W] in [0, 1], on white, LGM's order.
        rays: [V, 6, H, W], of ``plucker_rays``.

    Returns:
        [B, V, 9, H, W].
    """
    mean, std = (images.new_tensor(color).view(3, 1, 1) for color in (IMAGE_MEAN, IMAGE_STD))
    return torch.cat([(images - mean) / std, rays.to(images).expand(len(images), -1, -1, -1, -1)], 2)


def _looking_away(cameras: Cameras) -> Cameras:
    """The published code's cameras: at the right places, but turned by 180 degrees, with the object behind them."""
    c2w = cameras.c2w.clone()
    c2w[:, :3, (0, 2)] *= -1  # x and z of the camera change sign
    return Cameras.from_c2w(c2w, cameras.fovy, cameras.width, cameras.height)


def _published_turn(rows: Tensor) -> Tensor:
    """The published code's turn of [1, N, 14]: it turns positions about z, but orientations (wxyz) about y."""
    means, middle, quats, rgb = rows.split([3, 4, 4, 3], -1)
    w, x, y, z = quats.unbind(-1)
    turned = torch.stack([-y, z, w, -x], -1)  # (0, 0, 1, 0) * q
    return torch.cat([means * means.new_tensor([-1.0, -1.0, 1.0]), middle, turned, rgb], -1)
