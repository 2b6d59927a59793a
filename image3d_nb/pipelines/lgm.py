"""One picture to Gaussians: MVDream's four views, then LGM. The pipeline of the Image-to-3D task page. Top to bottom.

Source: Tang et al. 2024, LGM (arXiv 2402.05054), figure 2. Where the code published with ``dylanebert/LGM-full`` and
the training of its weights disagree, the default is what the training did; ``faithful="lgm-full"`` is what that code
does, for whoever needs to compare numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.utils import BaseOutput
from torch import Tensor

from .._files import atomic_write
from ..cameras import Cameras, orbit_cameras, plucker_rays
from ..errors import InputError
from ..gaussians import Gaussians
from ..io import save
from ..io.ply import lgm_bytes
from ..metrics import view_consistency
from ..models.lgm import IMAGE_MEAN, IMAGE_STD
from ._inputs import (
    check_candidates,
    check_output_type,
    check_views,
    sort_arguments,
    split_candidates,
    split_jobs,
    to_output,
)
from ._memory import channels_last
from .mvdream import MVDreamPipeline


@dataclass(frozen=True)
class Candidate:
    """One of several objects made of the same picture.

    Attributes:
        gaussians: the object.
        images: its four views, of the kind of ``output_type``.
        score: decibels by which its renders agree with its views; see :func:`image3d_nb.metrics.view_consistency`.
        seed: ``generator=image3d_nb.generator(seed)`` makes this object alone.
    """

    gaussians: Gaussians
    images: Any
    score: float
    seed: int


@dataclass
class LGMFullPipelineOutput(BaseOutput):
    """An object, and what it was made of. Each attribute is a list where a list of pictures came in.

    Attributes:
        gaussians: the object, :class:`~image3d_nb.gaussians.Gaussians` in this project's world.
        images: the four views in LGM's order, azimuth 0 (the front), 90, 180, 270; of the kind of ``output_type``.
        input: the picture that the model saw (PIL), or None without one.
        faithful: what the call was given: a faithful object is already turned as the published code turns it.
        candidates: with ``num_candidates`` above 1, every :class:`Candidate`, best first; ``gaussians`` and ``images``
            are the first one's. Else None.
    """

    gaussians: Any
    images: Any
    input: Any
    faithful: str | None
    candidates: Any = None


class LGMFullPipeline(MVDreamPipeline):
    """Text or one picture to Gaussians.

    Args:
        lgm: an LGM.
        unet, scheduler, vae, tokenizer, text_encoder, feature_extractor, image_encoder, default_steps,
            default_guidance, max_steps: as for :class:`~image3d_nb.pipelines.mvdream.MVDreamPipeline`.

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

    @torch.no_grad()
    def __call__(
        self,
        prompt: Any = None,
        image: Any = None,
        *,
        prepare: bool = True,
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
            prompt, image, elevation, num_inference_steps, guidance_scale, negative_prompt, generator, latents,
                output_type, callback_on_step_end, callback_on_step_end_tensor_inputs: as for
                :meth:`MVDreamPipeline.__call__`.
            prepare: cut out, recentre and put on white; False, which ``faithful`` implies, feeds the square as it is.
            faithful: "lgm-full" repeats the published code's rays, rotations, turn and global random numbers; None
                does what is right.
            num_candidates: objects to make of each picture, with seeds drawn from ``generator``; the one whose views
                agree best is the result, and ``candidates`` holds all.
            return_dict: False gives the tuple (gaussians, images, input, faithful), and candidates where there are any.

        Returns:
            :class:`LGMFullPipelineOutput`, or the tuple.

        Raises:
            InputError: the arguments do not go together, or a picture is not one.
        """
        check_candidates(num_candidates, faithful)
        prompt, image = sort_arguments(prompt, image)
        check_output_type(output_type)
        settings: dict[str, Any] = {
            "elevation": elevation, "num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt, "latents": latents, "callback": callback_on_step_end,
            "callback_names": callback_on_step_end_tensor_inputs, "global_image_noise": faithful is not None,
        }  # fmt: skip
        asked, several = split_jobs(prompt, image, generator)
        jobs = [each for job in asked for each in split_candidates(job, num_candidates)]
        squares, frames = self.make_frames(jobs, prepare and faithful is None, **settings)
        with self.holding("vae"):
            views = [self.decode(each) for each in frames]  # of [4, 3, H, W]
        with self.holding("lgm"):
            made = [self.reconstruct(each, elevation=elevation, faithful=faithful) for each in views]
        self.maybe_free_model_hooks()
        shown = [to_output(each, output_type) for each in (frames if output_type == "latent" else views)]
        columns: list[Any] = [made, shown, [self.seen(square) for square in squares]]
        ranked: list[Any] | None = None
        if num_candidates > 1:
            scores = [self.score(*pair, elevation=elevation) for pair in zip(made, views, strict=True)]
            rows = zip(made, shown, scores, (job.seed for job in jobs), strict=True)
            ranked = _rank([Candidate(*row) for row in rows], num_candidates)  # type: ignore[arg-type]
            best = [rows[0] for rows in ranked]
            columns = [[each.gaussians for each in best], [each.images for each in best], columns[2][::num_candidates]]
        if not several:
            columns, ranked = [column[0] for column in columns], None if ranked is None else ranked[0]
        if return_dict:
            return LGMFullPipelineOutput(*columns, faithful, ranked)
        return (*columns, faithful, *([] if ranked is None else [ranked]))

    def score(self, gaussians: Gaussians, views: Tensor, *, elevation: float = 0.0) -> float:
        """Decibels by which renders from LGM's four cameras agree with the views [4, 3, H, W] that it was given."""
        config, size = self.lgm.config, views.shape[-1]
        cameras = orbit_cameras(elevation, radius=config.radius, fovy=config.fovy, size=size)
        return view_consistency(gaussians, views, cameras)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, *, elevation: float = 0.0, faithful: str | None = None) -> Gaussians:
        """Four views to Gaussians: the second half of the pipeline, on its own.

        Args:
            images: [4, 3, H, W] in [0, 1] on white, LGM's order; ``output_type="pt"`` gives them.
            elevation: of the cameras that took them, degrees, up is positive.
            faithful: see :meth:`__call__`.

        Raises:
            InputError: another shape, or numbers out of range.
        """
        check_views(images)
        size = self.lgm.config.input_size
        if images.shape[-1] != size or images.shape[-2] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
        device, rays = self._execution_device, self.rays(elevation, faithful)
        x = lgm_input(images[None].to(device, torch.float32), rays.to(device)).to(self._type_of(self.lgm))
        with self.holding("lgm"):
            rows = self.lgm.gaussians(x, rotation="published" if faithful else None)  # [1, N, 14]
        if faithful:
            return Gaussians.from_lgm(_published_turn(rows))
        # LGM answers in the space of its first camera, standing level on +z: turn that camera to where it is
        return Gaussians.from_lgm(rows).transform(orbit_cameras(elevation, 0.0).c2w[0, :3, :3])

    def rays(self, elevation: float = 0.0, faithful: str | None = None) -> Tensor:
        """[4, 6, H, W], the Pluecker rays that LGM was trained with: its first camera stands level on +z.

        The published code gives rays of cameras that look away from the object, and knows no elevation.
        """
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
        """Write a .ply as the task page's last line does: Gaussians below ``min_opacity`` are dropped.

        Args:
            result: of a call, or its Gaussians, or a raw tensor [1, N, 14] in LGM's layout.
            path: of the file to write.
            convention: of the file; see :func:`image3d_nb.save`. A raw tensor and a faithful result are written
                without any turn: they already are what the published code would write.
            min_opacity: 0 keeps all.

        Raises:
            InputError: nothing to write, or a list of objects.
        """
        if isinstance(result, Tensor):
            _something_finite(Gaussians.from_lgm(result), min_opacity)
            atomic_write({path: lgm_bytes(result, min_opacity)})
            return
        made = result if isinstance(result, Gaussians) else getattr(result, "gaussians", None)
        if not isinstance(made, Gaussians):
            raise InputError(f"result must be one result, Gaussians or a tensor [1, N, 14]; got {type(made).__name__}")
        unturned = getattr(result, "faithful", None) is not None
        kept = _something_finite(made, min_opacity)
        save(kept, Path(path), convention="opengl" if unturned else convention)


def _rank(candidates: list[Candidate], count: int) -> list[list[Candidate]]:
    """Each picture's ``count`` candidates, the best first."""
    each = [candidates[start : start + count] for start in range(0, len(candidates), count)]
    return [sorted(rows, key=lambda row: -row.score) for rows in each]


def _something_finite(made: Gaussians, min_opacity: float) -> Gaussians:
    """What is opaque enough to write; an InputError where that is nothing, or not all numbers."""
    kept = made.prune(min_opacity)
    if not len(kept):
        raise InputError(f"nothing to write: none of {len(made)} Gaussians reaches min_opacity={min_opacity}")
    finite = torch.isfinite(kept.means).all(-1) & torch.isfinite(kept.scales).all(-1)
    if not bool(finite.all()):
        raise InputError(f"Gaussians to write must be finite; {int((~finite).sum())} of {len(kept)} are not")
    return kept


def lgm_input(images: Tensor, rays: Tensor) -> Tensor:
    """What LGM takes: normalised colours, and rays.

    Args:
        images: [B, V, 3, H, W] in [0, 1], on white, LGM's order.
        rays: [V, 6, H, W], of ``plucker_rays``.

    Returns:
        [B, V, 9, H, W].
    """
    mean, std = (images.new_tensor(color).view(3, 1, 1) for color in (IMAGE_MEAN, IMAGE_STD))
    return torch.cat([(images - mean) / std, rays.to(images).expand(len(images), -1, -1, -1, -1)], 2)


def _looking_away(cameras: Cameras) -> Cameras:
    """The published code's cameras: at the right places, but turned half round, so that the object is behind them."""
    c2w = cameras.c2w.clone()
    c2w[:, :3, (0, 2)] *= -1  # x and z of the camera change sign
    return Cameras.from_c2w(c2w, cameras.fovy, cameras.width, cameras.height)


def _published_turn(rows: Tensor) -> Tensor:
    """The published code's turn of [1, N, 14]: positions about z, but orientations, in wxyz order, about y."""
    means, middle, quats, rgb = rows.split([3, 4, 4, 3], -1)
    w, x, y, z = quats.unbind(-1)
    turned = torch.stack([-y, z, w, -x], -1)  # (0, 0, 1, 0) * q
    return torch.cat([means * means.new_tensor([-1.0, -1.0, 1.0]), middle, turned, rgb], -1)
