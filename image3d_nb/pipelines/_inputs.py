"""What goes into a pipeline, checked and made into tensors; and its pictures in the kind that was asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import ImageError, InputError
from ..images import load_image, prepare_image

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
FAITHFUL = (None, "lgm-full")


@dataclass(frozen=True)
class Job:
    """One object to make.

    Attributes:
        prompt: what it is, or "".
        picture: as it came in, or None.
        generator: of all its randomness, or None: torch's global one.
        seed: of the generator, where the pipeline drew it for a candidate.
    """

    prompt: str
    picture: Any
    generator: torch.Generator | None
    seed: int | None = None


def sort_arguments(prompt: Any, image: Any) -> tuple[Any, Any]:
    """(prompt, image): a str is always a prompt; a picture, or a list of them, as the sole argument is the image."""
    if image is None and prompt is not None and not _is_text(prompt):
        prompt, image = None, prompt
    if prompt is not None and not _is_text(prompt):
        raise InputError(f"prompt must be a str, a list of str, or None; got {type(prompt).__name__}")
    for words in (prompt, image):
        # os.path and not Path: a long prompt is no file name, and pathlib says so with an error
        if isinstance(words, str) and os.path.isfile(words):  # noqa: PTH113
            raise InputError(
                f"a str is a prompt, but {words!r} is a file: pass the picture, image3d_nb.load_image({words!r})"
            )
    if isinstance(image, str):
        raise InputError(f"image must be a picture; got the str {image!r}: read it with image3d_nb.load_image first")
    if image is None and not prompt:
        raise InputError("a picture or a prompt is needed; got neither")
    return prompt, list(image) if isinstance(image, tuple) else image


def _is_text(prompt: Any) -> bool:
    return isinstance(prompt, str) or (
        isinstance(prompt, list) and bool(prompt) and all(isinstance(words, str) for words in prompt)
    )


def split_jobs(prompt: Any, image: Any, generator: Any) -> tuple[list[Job], bool]:
    """The objects to make, and whether a list of them was asked for.

    A list of pictures, of prompts or of generators gives a list; where several of these are lists, their lengths agree,
    and what is no list serves all. One generator for several objects is used up by one after the other.
    """
    given = {"pictures": image, "prompts": prompt, "generators": generator}
    lists = {name: value for name, value in given.items() if isinstance(value, (list, tuple))}
    for name, value in lists.items():
        if not len(value):
            raise InputError(f"a list of {name} must hold at least one; got an empty list")
    first = next(iter(lists), None)
    count = 1 if first is None else len(lists[first])
    for name, value in lists.items():
        if len(value) != count:
            raise InputError(f"{name} must be one, or one for each of the {count} {first}; got {len(value)}")
    pictures, words, random = (lists.get(name, [value] * count) for name, value in given.items())
    for each in random:
        if each is not None and not isinstance(each, torch.Generator):
            raise InputError(f"a generator must be a torch.Generator, as image3d_nb.generator makes; got {each!r}")
    jobs = [Job(text or "", picture, each) for text, picture, each in zip(words, pictures, random, strict=True)]
    return jobs, bool(lists)


def as_lists(*values: Any) -> list[list[Any]]:
    """Each value as a list with one item an object; the first list among them says how many there are."""
    lists = [list(value) for value in values if isinstance(value, (list, tuple))]
    count = len(lists[0]) if lists else 1
    return [list(value) if isinstance(value, (list, tuple)) else [value] * count for value in values]


def split_candidates(job: Job, count: int) -> list[Job]:
    """One job as several that differ by their seeds, which come from the job's generator."""
    if count == 1:
        return [job]
    device = "cpu" if job.generator is None else job.generator.device
    seeds = torch.randint(2**63 - 1, (count,), generator=job.generator, device=device).tolist()
    return [Job(job.prompt, job.picture, torch.Generator(device).manual_seed(seed), seed) for seed in seeds]


def check_call(
    pipe: Any,
    prompts: Sequence[str | None],
    pictures: Sequence[Any],
    elevation: float = 0.0,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    negative_prompt: str = "",
    latents: Tensor | None = None,
    callback: Callable[..., dict[str, Any]] | None = None,
    callback_names: Sequence[str] = ("latents",),
) -> None:
    """Raise an InputError, before anything is computed, for what these weights cannot do."""
    steps = pipe.config.default_steps if num_inference_steps is None else num_inference_steps
    if guidance_scale is not None and not _is_finite(guidance_scale):
        raise InputError(f"guidance_scale must be a finite number; got {guidance_scale!r}")
    if not _is_finite(elevation) or abs(elevation) > 90:
        raise InputError(f"elevation must be from -90 to 90 degrees; got {elevation!r}")
    least = not isinstance(steps, int) or isinstance(steps, bool) or steps < 1
    if least or (pipe.config.max_steps is not None and steps > pipe.config.max_steps):
        most = "" if pipe.config.max_steps is None else f" and at most {pipe.config.max_steps} for these weights"
        raise InputError(f"num_inference_steps must be a whole number, at least 1{most}; got {steps!r}")
    needs_picture = bool(pipe.unet.config.ip_dim) or pipe.unet.config.condition == "channels"
    if needs_picture and any(picture is None for picture in pictures):
        raise InputError("these weights need a picture: pass image=...; a prompt alone works with MVDream's")
    if not needs_picture and any(picture is not None for picture in pictures):
        raise InputError("these weights take text only: pass a prompt and no image, or load ImageDream's")
    for name, words in [("negative_prompt", negative_prompt), *(("prompt", words or "") for words in prompts)]:
        if not isinstance(words, str):
            raise InputError(f"{name} must be a str; got {type(words).__name__}")
        if words and pipe.text_encoder is None:
            raise InputError(f"these weights have no text encoder, so {name} must be empty or None; got {words!r}")
    shape = (len(pictures) * pipe.shape_of(pictures)[0], *pipe.shape_of(pictures)[1:])
    if latents is not None and (not isinstance(latents, Tensor) or tuple(latents.shape) != shape):
        raise InputError(f"latents must be a tensor {list(shape)}; got {getattr(latents, 'shape', latents)}")
    if latents is not None and not bool(torch.isfinite(latents).all()):
        raise InputError("latents must be finite; got NaN or infinity")
    if callback is not None and not callable(callback):
        raise InputError(f"callback_on_step_end must be callable; got {type(callback).__name__}")
    unknown = set(callback_names) - set(pipe._callback_tensor_inputs)
    if unknown:
        known = pipe._callback_tensor_inputs
        raise InputError(f"callback_on_step_end_tensor_inputs must be of {known}; got {unknown}")


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_output_type(output_type: str) -> None:
    """Raise an InputError for an unknown ``output_type``."""
    if output_type not in OUTPUT_TYPES:
        raise InputError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}; got {output_type!r}")


def check_candidates(count: Any, faithful: str | None) -> None:
    """Raise an InputError for a number of candidates that is none, or a ``faithful`` that is not known."""
    if faithful not in FAITHFUL:
        raise InputError(f"faithful must be one of {FAITHFUL}; got {faithful!r}")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise InputError(f"num_candidates must be a whole number of 1 or more; got {count!r}")
    if faithful and count > 1:
        raise InputError(f"num_candidates must be 1 with faithful: what it makes stands elsewhere; got {count}")


def check_views(images: Any) -> None:
    """Raise an InputError for what are not four views."""
    if not isinstance(images, Tensor) or images.ndim != 4 or tuple(images.shape[:2]) != (4, 3):
        found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images must be a tensor [4, 3, H, W] in [0, 1], LGM's order; got {found}")
    if not bool(((images > -1e-3) & (images < 1 + 1e-3)).all()):  # but for rounding; false for NaN, too
        raise InputError(f"images must be in [0, 1]; they span {float(images.min()):.4g} to {float(images.max()):.4g}")


def square_pixels(image: Any, prepare: bool, size: int) -> Tensor:
    """A picture as the model takes it.

    Args:
        image: anything that ``load_image`` takes.
        prepare: cut out, recentre, white; False takes a square picture as it is.
        size: of the prepared picture, pixels.

    Returns:
        [1, 3, H, W] in [0, 1], on white.

    Raises:
        InputError: not a picture, nothing to be seen in it, or not square where it must be.
    """
    if prepare:
        image = prepare_image(image, size=size)
    pixels = to_pixels(image)  # [1, 3, h, w]
    if pixels.shape[-1] != pixels.shape[-2]:
        raise InputError(
            f"a picture must be square when prepare=False; got {pixels.shape[-1]} x {pixels.shape[-2]} pixels:"
            " let prepare=True make it so"
        )
    return pixels


def to_pixels(image: Any) -> Tensor:
    """A picture as [1, 3, H, W] float32 in [0, 1], on white. Float arrays keep their precision."""
    picture = load_image(image)  # for its checks, too: finite, in [0, 1], more than a pixel
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype.kind == "f":
        return torch.from_numpy(image.astype(np.float32).clip(0, 1)).permute(2, 0, 1)[None]
    rgba = np.asarray(picture.convert("RGBA"), np.float32) / 255
    if not rgba[..., 3].any():
        raise ImageError("a picture must show something; every pixel of this one is transparent")
    white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    return torch.from_numpy(white).permute(2, 0, 1)[None]


def resize(pixels: Tensor, size: int) -> Tensor:
    """[n, 3, H, W] to [n, 3, size, size]: the mean of what a pixel covers when smaller, between pixels when larger."""
    if pixels.shape[-1] > size:
        return F.interpolate(pixels, (size, size), mode="area")
    return F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)


def to_pil(pixels: Tensor) -> list[Image.Image]:
    """[n, 3, H, W] in [0, 1] to n PIL pictures."""
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in array]


def to_output(views: Tensor, output_type: str) -> Any:
    """Views [n, 3, H, W] in [0, 1], or latents, as the kind that was asked for."""
    if output_type == "pil":
        return to_pil(views)
    return views.permute(0, 2, 3, 1).cpu().numpy() if output_type == "np" else views
