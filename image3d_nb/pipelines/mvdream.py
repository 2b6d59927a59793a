"""One picture, or a sentence, to four views of the object: the pipeline of MVDream and ImageDream. Top to bottom.

Sources: Shi et al. 2023, MVDream (arXiv 2308.16512); Wang and Shi 2023, ImageDream (arXiv 2312.02201); Ho and Salimans
2022, Classifier-Free Diffusion Guidance, equation 6.

Shapes: F frames (four views, and in ImageDream the picture as a fifth), C H W of the latent picture, L tokens.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from ..cameras import orbit_cameras
from ..errors import InputError
from ..image import load_image, prepare_image
from .loading import FromFolderMixin

VIEWS_OF_LGM = (1, 2, 3, 0)
"""MVDream's view 1 looks at the front: LGM's view k is MVDream's view VIEWS_OF_LGM[k]. Both turn the same way."""
OUTPUT_TYPES = ("pil", "np", "pt", "latent")


def camera_rows(elevation: float = 0.0, extra_view: bool = True) -> Tensor:
    """The cameras of MVDream's four views as the network takes them.

    Args:
        elevation: degrees, up is positive.
        extra_view: add a row of zeros for the frame that holds the picture.

    Returns:
        [4 or 5, 16]: camera to world of a camera at distance 1, in Blender's axes (z up), row by row.
    """
    order = sorted(range(4), key=lambda k: VIEWS_OF_LGM[k])  # LGM's view of each of MVDream's
    poses = orbit_cameras(elevation, [90.0 * k for k in order], radius=1.0).c2w  # [4, 4, 4]
    # Blender's (x, y, z) is our (z, x, y): z is up, and the front, MVDream's view 1, stands on +x
    turn = torch.tensor([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    rows = (turn @ poses).flatten(1)  # [4, 16]
    return torch.cat([rows, rows.new_zeros(1, 16)]) if extra_view else rows


@dataclass
class MVDreamPipelineOutput(BaseOutput):
    """Four views of an object.

    Attributes:
        images: of the kind asked for by ``output_type``: a list of four PIL pictures; an array [4, H, W, 3] or a tensor
            [4, 3, H, W] in [0, 1]; or latents [F, C, H, W] in MVDream's order. Else LGM's order: azimuth 0 (the
            front), 90, 180, 270. A list of these where a list came in.
        input: the picture that the model saw (PIL), or None without one.
    """

    images: Any
    input: Any


@dataclass(frozen=True)
class Conditions:
    """What the network is told beside the noisy frames; two rows where there is guidance, the one without first.

    Attributes:
        context: [G, L, C'], the prompt's tokens; G = 2 with guidance, else 1.
        ip: [G, 257, width], CLIP's penultimate hidden states of the picture, or None.
        ip_img: [G, C, H, W], the picture as a latent, or None.
        camera: [F, 16].
    """

    context: Tensor
    ip: Tensor | None
    ip_img: Tensor | None
    camera: Tensor


class MVDreamPipeline(FromFolderMixin, DiffusionPipeline):
    """Text or one picture to four views.

    Args:
        unet: a MultiViewUNetModel.
        scheduler: a diffusers scheduler, e.g. DDIM.
        vae: AutoencoderKL, or None for a network that works on pixels.
        tokenizer: of the text encoder, or None.
        text_encoder: CLIPTextModel, or None: the context is one token of zeros then.
        feature_extractor: CLIPImageProcessor, or None.
        image_encoder: CLIPVisionModel, or None.
        default_steps: denoising steps where a call names none; belongs to the weights.
        default_guidance: guidance where a call names none; 1 is none.
        max_steps: the most steps the weights were trained for, or None.
    """

    _optional_components: ClassVar = ["vae", "tokenizer", "text_encoder", "feature_extractor", "image_encoder"]
    _callback_tensor_inputs: ClassVar = ["latents"]
    model_cpu_offload_seq = "text_encoder->image_encoder->unet->vae"

    def __init__(
        self,
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
        super().__init__()
        self.register_modules(
            unet=unet, scheduler=scheduler, vae=vae, tokenizer=tokenizer, text_encoder=text_encoder,
            feature_extractor=feature_extractor, image_encoder=image_encoder,
        )  # fmt: skip
        self.register_to_config(default_steps=default_steps, default_guidance=default_guidance, max_steps=max_steps)
        self._interrupt = False

    @property
    def picture_size(self) -> int:
        """Height and width of the views, pixels."""
        size = self.unet.config.image_size
        return size if self.vae is None else size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def interrupt(self) -> bool:
        """Set ``_interrupt`` in a callback to skip the steps that are left."""
        return self._interrupt

    @torch.no_grad()
    def __call__(
        self,
        prompt: Any = None,
        image: Any = None,
        *,
        prepare: bool = True,
        elevation: float = 0.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Any:
        """Make four views.

        Args:
            prompt: a sentence; or, as the only argument, the picture (or a list of pictures).
            image: PIL picture, array [H, W, 3 or 4] (uint8, or float in [0, 1]), or a list of these.
            prepare: cut out, recentre and put on white by ``prepare_image``; False feeds the square picture as it is.
            elevation: of the picture's camera, degrees, up is positive.
            num_inference_steps: denoising steps; None is the weights' own number.
            guidance_scale: 1 is none; None is the weights' own.
            negative_prompt: what not to show.
            generator: of all randomness; one, or one a picture.
            latents: [F, C, H, W] noise to start from, MVDream's order; None draws it.
            output_type: "pil", "np", "pt" or "latent"; see :class:`MVDreamPipelineOutput`.
            return_dict: False gives the tuple (images, input).
            callback_on_step_end: called as f(pipeline, step, timestep, {"latents": ...}) -> dict, as in diffusers.
            callback_on_step_end_tensor_inputs: names of the tensors that it gets.

        Returns:
            :class:`MVDreamPipelineOutput`, or the tuple.

        Raises:
            InputError: the arguments do not go together, or a picture is not one.
        """
        prompt, image = sort_arguments(prompt, image)
        check_output_type(output_type)
        settings: dict[str, Any] = {
            "elevation": elevation, "num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt, "latents": latents, "callback": callback_on_step_end,
            "callback_names": callback_on_step_end_tensor_inputs,
        }  # fmt: skip
        found = []
        for square, frames in self.each_object(prompt, image, prepare, generator, **settings):
            views = frames if output_type == "latent" else self.decode(frames)
            found.append((to_output(views, output_type), self.seen(square)))
        images, inputs = (list(part) for part in zip(*found, strict=True))
        if not isinstance(image, list):
            images, inputs = images[0], inputs[0]
        return MVDreamPipelineOutput(images, inputs) if return_dict else (images, inputs)

    def each_object(
        self, prompt: str | None, image: Any, prepare: bool, generator: Any, **settings: Any
    ) -> Iterator[tuple[Tensor | None, Tensor]]:
        """(the square picture, clean latents) of each picture that came in; ``settings`` are those of :meth:`denoise`.

        What any of them cannot do is found before the first is begun.
        """
        jobs = split_list(prompt, image, generator)
        for words, picture, _ in jobs:
            names = ("num_inference_steps", "guidance_scale", "callback_names")
            self.check_inputs(words, picture, *(settings[name] for name in names))
        for words, picture, random in jobs:
            square = None if picture is None else self.square(picture, prepare)
            yield square, self.denoise(words, square, generator=random, **settings)

    def square(self, image: Any, prepare: bool = True) -> Tensor:
        """A picture as the model takes it.

        Args:
            image: anything that ``load_image`` takes.
            prepare: cut out, recentre, white; False feeds a square picture as it is.

        Returns:
            [1, 3, H, W] in [0, 1], on white; CLIP's and the views' sizes come later.

        Raises:
            InputError: not a picture, or not square where it must be.
        """
        if prepare:
            image = prepare_image(image, size=max(256, self.picture_size))
        pixels = to_pixels(image)  # [1, 3, h, w]
        if pixels.shape[-1] != pixels.shape[-2]:
            raise InputError(
                f"a picture must be square when prepare=False; got {pixels.shape[-1]} x {pixels.shape[-2]} pixels:"
                " let prepare=True make it so"
            )
        return pixels.to(self._execution_device)

    def seen(self, square: Tensor | None) -> Image.Image | None:
        """The square picture at the size of the views, for people to look at."""
        return None if square is None else to_pil(resize(square, self.picture_size))[0]

    @torch.no_grad()
    def denoise(
        self,
        prompt: str | None,
        square: Tensor | None,
        *,
        elevation: float = 0.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        callback: Callable[..., dict[str, Any]] | None = None,
        callback_names: Sequence[str] = ("latents",),
    ) -> Tensor:
        """The diffusion loop of one object: noise to clean latents, [F, C, H, W] in float32, MVDream's order."""
        self.check_inputs(prompt, square, num_inference_steps, guidance_scale, callback_names)
        steps = self.config.default_steps if num_inference_steps is None else num_inference_steps
        guidance = self.config.default_guidance if guidance_scale is None else guidance_scale
        self._interrupt = False
        device = self._execution_device
        given = self.conditions(prompt, negative_prompt, square, elevation, guidance > 1, generator)
        frames, rows = given.camera.shape[0], given.context.shape[0]  # F, G
        shape = (frames, self.unet.config.in_channels, self.unet.config.image_size, self.unet.config.image_size)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        elif not isinstance(latents, Tensor) or tuple(latents.shape) != shape:
            raise InputError(f"latents must be a tensor {list(shape)}; got {getattr(latents, 'shape', latents)}")
        self.scheduler.set_timesteps(steps, device=device)
        latents = latents.to(device, torch.float32) * self.scheduler.init_noise_sigma
        with self.progress_bar(total=len(self.scheduler.timesteps)) as bar:
            for i, t in enumerate(self.scheduler.timesteps):
                if self.interrupt:
                    continue
                noisy = self.scheduler.scale_model_input(latents, t)
                guess = self._predict(noisy.repeat(rows, 1, 1, 1), t, given, frames)  # [G*F, C, H, W]
                if rows == 2:
                    without, with_ = guess.chunk(2)
                    guess = without + guidance * (with_ - without)  # Ho and Salimans, equation 6
                latents = self.scheduler.step(guess, t, latents, **self._step_arguments(generator)).prev_sample
                latents = self._call_back(callback, callback_names, i, t, latents)
                bar.update()
        return latents

    def check_inputs(
        self,
        prompt: str | None,
        picture: Any,
        num_inference_steps: int | None,
        guidance_scale: float | None,
        callback_names: Sequence[str],
    ) -> None:
        """Raise an InputError, before anything is computed, for what these weights cannot do."""
        steps = self.config.default_steps if num_inference_steps is None else num_inference_steps
        if guidance_scale is not None and not math.isfinite(guidance_scale):
            raise InputError(f"guidance_scale must be a finite number; got {guidance_scale}")
        if steps < 1 or (self.config.max_steps is not None and steps > self.config.max_steps):
            most = "" if self.config.max_steps is None else f" and at most {self.config.max_steps} for these weights"
            raise InputError(f"num_inference_steps must be at least 1{most}; got {steps}")
        needs_picture = bool(self.unet.config.ip_dim) or self.unet.config.condition == "channels"
        if needs_picture and picture is None:
            raise InputError("these weights need a picture: pass image=...; a prompt alone works with MVDream's")
        if not needs_picture and picture is not None:
            raise InputError("these weights take text only: pass a prompt and no image, or load ImageDream's")
        if prompt and self.text_encoder is None:
            raise InputError(f"these weights have no text encoder, so prompt must be empty or None; got {prompt!r}")
        unknown = set(callback_names) - set(self._callback_tensor_inputs)
        if unknown:
            known = self._callback_tensor_inputs
            raise InputError(f"callback_on_step_end_tensor_inputs must be of {known}; got {unknown}")

    def conditions(
        self,
        prompt: str | None,
        negative_prompt: str,
        square: Tensor | None,
        elevation: float,
        guided: bool,
        generator: torch.Generator | None,
    ) -> Conditions:
        """Everything that the network is told, made once for all steps."""
        words = [negative_prompt, prompt or ""] if guided else [prompt or ""]
        context = torch.cat([self.encode_prompt(text) for text in words])  # [G, L, C']
        ip, ip_img = None, None
        if square is not None and self.unet.config.ip_dim:
            ip = self.encode_image(square)
        if square is not None:
            ip_img = self.encode_latents(square, generator)
        if guided:  # without the picture means: zeros into the Resampler, and for the latent
            ip = None if ip is None else torch.cat([torch.zeros_like(ip), ip])
            ip_img = None if ip_img is None else torch.cat([torch.zeros_like(ip_img), ip_img])
        extra_view = ip_img is not None and self.unet.config.condition == "frame"
        return Conditions(context, ip, ip_img, camera_rows(elevation, extra_view).to(self._execution_device))

    def encode_prompt(self, text: str) -> Tensor:
        """[1, L, C'], the text encoder's last hidden states; one token of zeros without a text encoder."""
        if self.text_encoder is None:
            return torch.zeros(1, 1, self.unet.config.context_dim, device=self._execution_device)
        tokens = self.tokenizer(
            text, padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        return self.text_encoder(tokens.input_ids.to(self._execution_device))[0]

    def encode_image(self, square: Tensor) -> Tensor:
        """[1, 257, width], CLIP's penultimate hidden states of [1, 3, H, W] in [0, 1]."""
        pixels = self.feature_extractor(images=to_pil(square), return_tensors="pt").pixel_values
        pixels = pixels.to(self._execution_device, self.image_encoder.dtype)
        return self.image_encoder(pixels, output_hidden_states=True).hidden_states[-2]

    def encode_latents(self, square: Tensor, generator: torch.Generator | None) -> Tensor:
        """[1, C, h, w]: the picture [1, 3, H, W] in [0, 1] as a latent; as pixels in [-1, 1] where there is no VAE."""
        pixels = 2 * resize(square, self.picture_size) - 1
        if self.vae is None:
            return pixels
        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        return posterior.sample(generator=generator) * self.vae.config.scaling_factor

    def _predict(self, noisy: Tensor, t: Tensor, given: Conditions, frames: int) -> Tensor:
        """One call of the network, [G*F, C, H, W] -> float32 of the same shape."""
        kind = self.unet.dtype
        groups = noisy.shape[0] // frames
        out = self.unet(
            x=noisy.to(kind),
            # float32: bfloat16 cannot hold most timesteps
            timesteps=t.to(noisy.device, torch.float32).expand(noisy.shape[0]),
            context=given.context.to(kind).repeat_interleave(frames, 0),
            camera=given.camera.repeat(groups, 1),
            num_frames=frames,
            ip=None if given.ip is None else given.ip.to(kind).repeat_interleave(frames, 0),
            ip_img=given.ip_img,
        )
        return out.float()

    def _step_arguments(self, generator: torch.Generator | None) -> dict[str, Any]:
        """Schedulers that draw noise take a generator; those that draw none do not know the word."""
        takes = inspect.signature(self.scheduler.step).parameters
        return {"generator": generator} if "generator" in takes else {}

    def _call_back(
        self,
        callback: Callable[..., dict[str, Any]] | None,
        names: Sequence[str],
        step: int,
        t: Tensor,
        latents: Tensor,
    ) -> Tensor:
        if callback is None:
            return latents
        changed = callback(self, step, t, dict.fromkeys(names, latents))
        return latents if not changed else changed.get("latents", latents)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [F, C, H, W] in MVDream's order to the four views [4, 3, H, W] in [0, 1], in LGM's order.

        The frame that held the picture is not decoded: what the network says of it was never meant to be seen.
        """
        return self.decode_latents(latents[list(VIEWS_OF_LGM)])

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Latents [n, C, h, w] to pictures [n, 3, H, W] in [0, 1], float32."""
        pixels = latents
        if self.vae is not None:
            pixels = self.vae.decode((latents / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
        return (pixels.float() / 2 + 0.5).clamp(0, 1)


def sort_arguments(prompt: Any, image: Any) -> tuple[Any, Any]:
    """(prompt, image): a str is always a prompt; a picture, or a list of them, as the sole argument is the image."""
    if image is None and prompt is not None and not isinstance(prompt, str):
        prompt, image = None, prompt
    if prompt is not None and not isinstance(prompt, str):
        raise InputError(f"prompt must be a str or None; got {type(prompt).__name__}")
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
    return prompt, image


def split_list(prompt: Any, image: Any, generator: Any) -> list[tuple[str | None, Any, torch.Generator | None]]:
    """One (prompt, picture, generator) an object."""
    if not isinstance(image, list):
        if isinstance(generator, (list, tuple)):
            raise InputError(f"one picture takes one generator; got {len(generator)}")
        return [(prompt, image, generator)]
    if not image:
        raise InputError("a list of pictures must hold at least one; got an empty list")
    each = generator if isinstance(generator, (list, tuple)) else [generator] * len(image)
    if len(each) != len(image):
        raise InputError(f"generators must be one, or one a picture ({len(image)}); got {len(each)}")
    return [(prompt, picture, random) for picture, random in zip(image, each, strict=True)]


def check_output_type(output_type: str) -> None:
    """Raise an InputError for an unknown ``output_type``."""
    if output_type not in OUTPUT_TYPES:
        raise InputError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}; got {output_type!r}")


def to_pixels(image: Any) -> Tensor:
    """A picture as [1, 3, H, W] float32 in [0, 1], on white. Float arrays keep their precision."""
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype.kind == "f":
        load_image(image)  # for its checks: finite, in [0, 1]
        return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    rgba = np.asarray(load_image(image).convert("RGBA"), np.float32) / 255
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
