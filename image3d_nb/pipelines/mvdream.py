"""One image, or a sentence, to four views of the object: the pipeline of MVDream and ImageDream. Read it top to bottom.

Sources: Shi et al. 2023, MVDream (arXiv 2308.16512); Wang and Shi 2023, ImageDream (arXiv 2312.02201); Ho and Salimans
2022, Classifier-Free Diffusion Guidance, equation 6.

Shapes: B objects, F frames (four views, and in ImageDream the image as a fifth), C H W of the latents, L tokens; G is 2
with guidance (first all objects without their images, then all with them), else 1.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypedDict, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from .._numbers import is_finite, is_whole
from ..cameras import orbit_cameras
from ..errors import ImageError, InputError
from ..images import Source, load_image, prepare_image
from ..images.caller import warn
from ..images.prepare import prepared
from ..models.mv_unet import KeyValues
from .base import FolderPipeline
from .memory import channels_last

VIEWS_OF_LGM = (1, 2, 3, 0)
"""MVDream's view 1 looks at the front: LGM's view k is MVDream's view VIEWS_OF_LGM[k]. Both turn the same way."""
OUTPUT_TYPES = ("pil", "np", "pt", "latent")


def camera_rows(elevation: float = 0.0, extra_view: bool = True) -> Tensor:
    """Make the cameras of MVDream's four views as the network takes them.

    Args:
        elevation: degrees, up is positive.
        extra_view: True adds a row of zeros for the frame that holds the image.

    Returns:
        [4 or 5, 16], camera to world of cameras at distance 1, in Blender's axes (z up), row by row.
    """
    order = sorted(range(4), key=lambda k: VIEWS_OF_LGM[k])  # LGM's view of each of MVDream's
    poses = orbit_cameras(elevation, [90.0 * k for k in order], radius=1.0).c2w  # [4, 4, 4]
    # Blender's (x, y, z) is our (z, x, y): z is up, and the front, MVDream's view 1, stands on +x
    turn = torch.tensor([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    rows = (turn @ poses).flatten(1)  # [4, 16]
    return torch.cat([rows, rows.new_zeros(1, 16)]) if extra_view else rows


class DenoiseSettings(TypedDict, total=False):
    """Optional keyword arguments of :meth:`MVDreamPipeline.denoise`. :meth:`MVDreamPipeline.__call__` says more."""

    elevation: float  # of the image's camera, degrees, -90 to 90, up is positive
    num_inference_steps: int | None  # at least 1; None is the weights' default
    guidance_scale: float | None  # 1 is no guidance; None is the weights' default
    negative_prompt: str  # what the views should not show
    latents: Tensor | None  # [B*F, C, H, W], noise to start from, MVDream's order; None draws it
    callback_on_step_end: Callable[..., dict[str, Any]] | None
    callback_on_step_end_tensor_inputs: Sequence[str]


@dataclass
class MVDreamPipelineOutput(BaseOutput):
    """Four views of an object. Each attribute is a list of these if the call was given a list.

    Attributes:
        images: for ``output_type`` "pil" a list of four PIL images, for "np" an array [4, H, W, 3] in [0, 1], for "pt"
            a tensor [4, 3, H, W] in [0, 1], all in LGM's order: azimuth 0 (the front), 90, 180, 270. For "latent" the
            latents [F, C, H, W] in MVDream's order.
        input: the image that the model saw (PIL), or None.
    """

    images: Any
    input: Any


@dataclass(frozen=True)
class Conditions:
    """What the network is given beside the noisy frames.

    Attributes:
        context: [G*B, L, C'], the prompts' tokens.
        ip: [G*B, 257, width], CLIP's penultimate hidden states of the images, or None.
        ip_img: [G*B, C, H, W], the images as latents, or None.
        camera: [F, 16].
        guided: True if there are rows without the image, G = 2.
        kv: keys and values that the network computed from ``context`` and ``ip``, for all steps.
    """

    context: Tensor
    ip: Tensor | None
    ip_img: Tensor | None
    camera: Tensor
    guided: bool
    kv: KeyValues | None = None


class MVDreamPipeline(FolderPipeline):
    """Text or one image to four views.

    Args:
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
    """

    _optional_components: ClassVar = ["vae", "tokenizer", "text_encoder", "feature_extractor", "image_encoder"]
    _required_parts: ClassVar = ("unet", "scheduler")
    _callback_tensor_inputs: ClassVar = ["latents", "prompt_embeds", "image_latents"]
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
        channels_last(unet, vae)
        self._interrupt = False
        self._guidance_scale = 1.0
        self._num_timesteps = 0
        self._empty_prompt: tuple[Any, Tensor] | None = None  # a text encoder, and its output for ""

    @property
    def picture_size(self) -> int:
        """Height and width of the views, pixels."""
        size = int(self.unet.config.image_size)
        return size if self.vae is None else size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def interrupt(self) -> bool:
        """A callback sets ``_interrupt`` to skip the remaining steps."""
        return self._interrupt

    @property
    def guidance_scale(self) -> float:
        """Guidance of the running call. A callback may set ``_guidance_scale``; 1 or less saves half of the work."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """Denoising steps of the running call."""
        return self._num_timesteps

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
            prompt: a sentence, or a list of sentences. An image, or a list of images, as the only argument is
                ``image``.
            image: anything that ``load_image`` takes except a path, or a list of these, which are denoised as a batch.
            prepare: cut the object out, centre it and put it on white with ``prepare_image``; False uses the square
                image as it is.
            elevation: of the image's camera, degrees, up is positive.
            num_inference_steps: denoising steps, at least 1; None is the weights' default.
            guidance_scale: 1 is no guidance; None is the weights' default.
            negative_prompt: what the views should not show.
            generator: random generator, or a list with one for each object; None uses torch's global one. Several
                with one image make several objects of it.
            latents: [B*F, C, H, W], noise to start from, MVDream's order; None draws it.
            output_type: "pil", "np", "pt" or "latent"; see :class:`MVDreamPipelineOutput`.
            return_dict: False returns the tuple (images, input).
            callback_on_step_end: called as f(pipeline, step, timestep, {"latents": ...}) -> dict, as in diffusers. The
                tensors that it returns replace the pipeline's.
            callback_on_step_end_tensor_inputs: tensors to pass to it: "latents" [B*F, C, H, W], "prompt_embeds"
                [G*B, L, C'], "image_latents" [G*B, C, H, W].

        Returns:
            :class:`MVDreamPipelineOutput`, with lists for a list of inputs; or the tuple.

        Raises:
            InputError: an argument is out of its range or of the wrong kind, or these weights cannot use it.
        """
        prompts, images, generators, several = split_inputs(prompt, image, generator)
        check_output_type(output_type)
        settings: DenoiseSettings = {
            "elevation": elevation, "num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt, "latents": latents, "callback_on_step_end": callback_on_step_end,
            "callback_on_step_end_tensor_inputs": callback_on_step_end_tensor_inputs,
        }  # fmt: skip
        self._check_inputs(prompts, images, **settings)
        squares = self._squares(images, prepare)
        frames = self.denoise(prompts, squares, generator=generators, **settings).chunk(len(prompts))  # B [F, C, H, W]
        with self.loaded("vae", needed=output_type != "latent"):
            views = [each if output_type == "latent" else self.decode(each) for each in frames]  # B [4, 3, H, W]
        self.maybe_free_model_hooks()
        shown: Any = [to_output(each, output_type) for each in views]
        seen: Any = [self._seen(square) for square in squares]
        if not several:
            shown, seen = shown[0], seen[0]
        return MVDreamPipelineOutput(shown, seen) if return_dict else (shown, seen)

    def _check_inputs(
        self,
        prompts: Sequence[str | None],
        images: Sequence[Any],
        elevation: float = 0.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        latents: Tensor | None = None,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> None:
        """Raise an InputError, before anything is computed, for arguments that these weights cannot use."""
        steps = self.config.default_steps if num_inference_steps is None else num_inference_steps
        if guidance_scale is not None and not is_finite(guidance_scale):
            raise InputError(f"guidance_scale must be a finite number; got {guidance_scale!r}")
        if not is_finite(elevation) or abs(elevation) > 90:
            raise InputError(f"elevation must be from -90 to 90 degrees; got {elevation!r}")
        limit = self.config.max_steps
        if not is_whole(steps) or steps < 1 or (limit is not None and steps > limit):
            most = "" if limit is None else f" and at most {limit} for these weights"
            raise InputError(f"num_inference_steps must be a whole number, at least 1{most}; got {steps!r}")
        needs_image = bool(self.unet.config.ip_dim) or self.unet.config.condition == "channels"
        if needs_image and any(image is None for image in images):
            raise InputError("these weights need an image: pass image=...; a prompt alone works with MVDream's")
        if not needs_image and any(image is not None for image in images):
            raise InputError("these weights take text only: pass a prompt and no image, or load ImageDream's")
        for name, text in [("negative_prompt", negative_prompt), *(("prompt", text or "") for text in prompts)]:
            if not isinstance(text, str):
                raise InputError(f"{name} must be a str; got {type(text).__name__}")
            if text and self.text_encoder is None:
                raise InputError(f"these weights have no text encoder, so {name} must be empty or None; got {text!r}")
        frames, *rest = self._latent_shape(images)
        shape = (len(images) * frames, *rest)
        if latents is not None and (not isinstance(latents, Tensor) or tuple(latents.shape) != shape):
            raise InputError(f"latents must be a tensor {list(shape)}; got {getattr(latents, 'shape', latents)}")
        if latents is not None and not bool(torch.isfinite(latents).all()):
            raise InputError("latents must be finite; got NaN or infinity")
        if callback_on_step_end is not None and not callable(callback_on_step_end):
            raise InputError(f"callback_on_step_end must be callable; got {type(callback_on_step_end).__name__}")
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            known = self._callback_tensor_inputs
            raise InputError(f"callback_on_step_end_tensor_inputs must be of {known}; got {unknown}")

    def _latent_shape(self, images: Sequence[Any]) -> tuple[int, int, int, int]:
        """(F, C, H, W) of one object."""
        config = self.unet.config
        extra_view = images[0] is not None and config.condition == "frame"
        return 4 + extra_view, config.in_channels, config.image_size, config.image_size

    def _squares(self, images: Sequence[Any], prepare: bool) -> list[Tensor | None]:
        """Prepare the image of each object, once if several objects share it: [1, 3, H, W] in [0, 1], or None."""
        shared = {id(image): image for image in images if image is not None}
        prepared = {key: self.square(image, prepare) for key, image in shared.items()}
        return [prepared.get(id(image)) for image in images]

    def square(self, image: Source, prepare: bool = True) -> Tensor:
        """Prepare an image for the model. The encoders resize it later.

        Args:
            image: anything that ``load_image`` takes. Float arrays keep their precision.
            prepare: cut out, centre, put on white; False takes a square image as it is.

        Returns:
            [1, 3, H, W] in [0, 1], on white.

        Raises:
            InputError: not an image, no object in it, or not square with ``prepare=False``.
        """
        if prepare:
            image = prepare_image(image, size=max(256, self.picture_size))
        loaded = load_image(image)  # checks it, too: finite, in [0, 1], at least 2 x 2 pixels
        if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype.kind == "f":
            rgb: np.ndarray = image.astype(np.float32).clip(0, 1)  # [H, W, 3]
        else:
            rgba = np.asarray(loaded.convert("RGBA"), np.float32) / 255  # [H, W, 4]
            if not rgba[..., 3].any():
                raise ImageError("an image must show something; every pixel of this one is transparent")
            rgb = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
        height, width = rgb.shape[:2]
        if height != width:
            raise InputError(
                f"an image must be square with prepare=False; got {width} x {height} pixels: use prepare=True"
            )
        return torch.from_numpy(rgb).permute(2, 0, 1)[None].to(self._execution_device)

    def prepared(self, image: Source, background: str = "auto") -> tuple[Image.Image, tuple[str, ...]]:
        """Cut the object out and put it on the square that the model was trained on.

        Args:
            image: anything that ``load_image`` takes.
            background: how it is cut out; as ``method`` of :func:`image3d_nb.images.remove_background`.

        Returns:
            The square (RGB), and sentences about what may be wrong with it.

        Raises:
            ImageError: the image cannot be read, or shows no object.
        """
        return prepared(image, size=max(256, self.picture_size), background=background)

    def _seen(self, square: Tensor | None) -> Image.Image | None:
        """Convert :meth:`square`'s [1, 3, H, W] in [0, 1], or None, to an image of the size of the views."""
        return None if square is None else to_pil(_resize(square, self.picture_size))[0]

    @torch.no_grad()
    def denoise(
        self,
        prompt: str | Sequence[str] | None,
        square: Tensor | Sequence[Tensor | None] | None,
        *,
        generator: torch.Generator | Sequence[torch.Generator | None] | None = None,
        global_image_noise: bool = False,
        **settings: Unpack[DenoiseSettings],
    ) -> Tensor:
        """Turn noise into clean latents: the diffusion on its own.

        Args:
            prompt: a sentence, or one for each object; None is "".
            square: [1, 3, H, W] in [0, 1], of :meth:`square`, or one for each object, or None.
            generator: random generator, or one for each object; None uses torch's global one.
            global_image_noise: True draws the VAE's noise for the image from torch's global generator, as the
                published code does.
            **settings: see :class:`DenoiseSettings`.

        Returns:
            [B*F, C, H, W], float32, MVDream's order, the frames of one object together.

        Raises:
            InputError: these weights cannot use an argument.
        """
        given: list[Any] = [prompt, square, generator]
        count = next((len(value) for value in given if isinstance(value, (list, tuple))), 1)
        prompts, squares, generators = (
            list(value) if isinstance(value, (list, tuple)) else [value] * count for value in given
        )
        self._check_inputs(prompts, squares, **settings)
        steps, guidance = settings.get("num_inference_steps"), settings.get("guidance_scale")
        callback = settings.get("callback_on_step_end")
        tensor_names = settings.get("callback_on_step_end_tensor_inputs", ("latents",))
        if isinstance(callback, (PipelineCallback, MultiPipelineCallbacks)):
            tensor_names = callback.tensor_inputs
        self._guidance_scale = self.config.default_guidance if guidance is None else guidance
        self._interrupt = False
        conditions = self._encode_conditions(
            prompts, settings.get("negative_prompt", ""), squares, settings.get("elevation", 0.0),
            [None] * count if global_image_noise else generators,
        )  # fmt: skip

        frames, *rest = self._latent_shape(squares)
        device, latents = self._execution_device, settings.get("latents")
        if latents is None:
            noise = [randn_tensor((1, frames, *rest), each, device, torch.float32) for each in generators]
            latents = torch.cat(noise)  # [B, F, C, H, W]
        self.scheduler.set_timesteps(self.config.default_steps if steps is None else steps, device=device)
        self._num_timesteps = len(self.scheduler.timesteps)
        latents = latents.to(device, torch.float32).view(count, frames, *rest) * self.scheduler.init_noise_sigma
        step_options = {}
        if None not in generators and "generator" in inspect.signature(self.scheduler.step).parameters:
            step_options["generator"] = generators  # the schedulers that draw noise use one for each object
        with self.loaded("unet"), self.progress_bar(total=self.num_timesteps) as bar:
            conditions = self._precompute_kv(conditions)
            for i, t in enumerate(self.scheduler.timesteps):
                if self.interrupt:
                    continue
                prediction = self._predict(self.scheduler.scale_model_input(latents, t), t, conditions)
                latents = self.scheduler.step(prediction, t, latents, **step_options).prev_sample  # [B, F, C, H, W]
                if callback is not None:
                    latents, conditions = self._call_back(callback, tensor_names, i, t, latents, conditions)
                bar.update()
        return latents.flatten(0, 1)

    def _encode_conditions(
        self,
        prompts: Sequence[str | None],
        negative_prompt: str,
        squares: Sequence[Tensor | None],
        elevation: float,
        generators: Sequence[torch.Generator | None],
    ) -> Conditions:
        """Encode prompts, images and cameras, once for all steps. Generators are for the VAE's noise."""
        guided = self.guidance_scale > 1
        texts = [negative_prompt] * (len(prompts) * guided) + [prompt or "" for prompt in prompts]
        with self.loaded("text_encoder", needed=any(texts) or self._cached_empty_prompt() is None):
            encoded = {text: self.encode_prompt(text) for text in dict.fromkeys(texts)}
        context = torch.cat([encoded[text] for text in texts])  # [G*B, L, C']
        ip, ip_img = None, None
        shared = {id(square): square for square in squares if square is not None}
        if shared and self.unet.config.ip_dim:
            with self.loaded("image_encoder"):
                embeds = {key: self.encode_image(square) for key, square in shared.items()}
            ip = torch.cat([embeds[id(square)] for square in squares])  # [B, 257, width]
        if shared:
            with self.loaded("vae"):
                pairs = zip(squares, generators, strict=True)
                drawn = [self.encode_latents(square, each) for square, each in pairs if square is not None]
            ip_img = torch.cat(drawn)  # [B, C, H, W]
        if guided:  # without the image means zeros, for the Resampler and for the latents
            ip = None if ip is None else torch.cat([torch.zeros_like(ip), ip])
            ip_img = None if ip_img is None else torch.cat([torch.zeros_like(ip_img), ip_img])
        extra_view = ip_img is not None and self.unet.config.condition == "frame"
        camera = camera_rows(elevation, extra_view).to(self._execution_device)
        return Conditions(context, ip, ip_img, camera, guided)

    def encode_prompt(self, text: str) -> Tensor:
        """Encode a sentence: [1, L, C'], the text encoder's last hidden states; without one a token of zeros.

        The encoding of "" is cached, because nearly every call needs it.
        """
        if self.text_encoder is None:
            return torch.zeros(1, 1, self.unet.config.context_dim, device=self._execution_device)
        cached = None if text else self._cached_empty_prompt()
        if cached is not None:
            return cached
        if len(self.tokenizer(text).input_ids) > self.tokenizer.model_max_length:
            warn(f"the prompt is cut off after {self.tokenizer.model_max_length} tokens, which is all that is encoded")
        tokens = self.tokenizer(
            text, padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        hidden: Tensor = self.text_encoder(tokens.input_ids.to(self._execution_device))[0]
        if not text:
            self._empty_prompt = (self.text_encoder, hidden)
        return hidden

    def _cached_empty_prompt(self) -> Tensor | None:
        """The cached encoding of "", if it is this text encoder's, on this device and of this type."""
        encoder, hidden = self._empty_prompt or (None, None)
        if hidden is None or encoder is not self.text_encoder:
            return None
        same = hidden.device == self._execution_device and hidden.dtype == self._compute_dtype(encoder)
        return hidden if same else None

    def encode_image(self, square: Tensor) -> Tensor:
        """Encode [1, 3, H, W] in [0, 1] with CLIP: [1, 257, width], the penultimate hidden states."""
        pixels = self.feature_extractor(images=to_pil(square), return_tensors="pt").pixel_values
        pixels = pixels.to(self._execution_device, self._compute_dtype(self.image_encoder))
        hidden: Tensor = self.image_encoder(pixels, output_hidden_states=True).hidden_states[-2]
        return hidden

    def encode_latents(self, square: Tensor, generator: torch.Generator | None) -> Tensor:
        """Encode [1, 3, H, W] in [0, 1] as latents [1, C, h, w]; without a VAE as pixels in [-1, 1].

        The generator is for the VAE's noise; None uses torch's global one.
        """
        pixels = 2 * _resize(square, self.picture_size) - 1
        if self.vae is None:
            return pixels
        posterior = self.vae.encode(pixels.to(self._compute_dtype(self.vae))).latent_dist
        latent: Tensor = posterior.sample(generator=generator) * self.vae.config.scaling_factor
        return latent

    def _precompute_kv(self, conditions: Conditions) -> Conditions:
        """Add the keys and values of the context and of the images."""
        dtype = self._compute_dtype(self.unet)
        ip = None if conditions.ip is None else conditions.ip.to(dtype)
        return replace(conditions, kv=self.unet.precompute_kv(conditions.context.to(dtype), ip))

    def _predict(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Run the network on noisy frames [B, F, C, H, W]. Returns the guided prediction: float32, the same shape."""
        count, frames = noisy.shape[:2]
        groups = 1 + conditions.guided
        out = self.unet(
            x=noisy.flatten(0, 1).to(self._compute_dtype(self.unet)).repeat(groups, 1, 1, 1),  # [G*B*F, C, H, W]
            # float32: bfloat16 cannot hold most timesteps
            timesteps=t.to(noisy.device, torch.float32).expand(groups * count * frames),
            context=conditions.kv,
            camera=conditions.camera.repeat(groups * count, 1),
            num_frames=frames,
            ip_img=conditions.ip_img,
        ).float()
        if conditions.guided:
            without, with_ = out.chunk(2)
            out = without + self.guidance_scale * (with_ - without)  # Ho and Salimans, equation 6
        prediction: Tensor = out.view_as(noisy)
        return prediction

    def _call_back(
        self,
        callback: Callable[..., dict[str, Any]],
        names: Sequence[str],
        step: int,
        t: Tensor,
        latents: Tensor,
        conditions: Conditions,
    ) -> tuple[Tensor, Conditions]:
        """Call the caller's function, and take over the tensors that it returns."""
        old: dict[str, Any] = {
            "latents": latents.flatten(0, 1), "prompt_embeds": conditions.context, "image_latents": conditions.ip_img
        }  # fmt: skip
        new = old | (callback(self, step, t, {name: old[name] for name in names}) or {})
        latents, context, ip_img = new["latents"].view_as(latents), new["prompt_embeds"], new["image_latents"]
        if conditions.guided and self.guidance_scale <= 1:  # guidance ends: keep the halves with the image
            kept = slice(-latents.shape[0], None)
            ip, ip_img = (None if x is None else x[kept] for x in (conditions.ip, ip_img))
            conditions = Conditions(context[kept], ip, ip_img, conditions.camera, guided=False)
            conditions = self._precompute_kv(conditions)
        elif context is not conditions.context or ip_img is not conditions.ip_img:
            conditions = self._precompute_kv(replace(conditions, context=context, ip_img=ip_img))
        return latents, conditions

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode the four views of one object. The frame that holds the image is not decoded.

        Args:
            latents: [F, C, H, W], MVDream's order.

        Returns:
            [4, 3, H, W] in [0, 1], LGM's order.
        """
        return self.decode_latents(latents[list(VIEWS_OF_LGM)])

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode latents [n, C, h, w] to [n, 3, H, W] in [0, 1], float32."""
        pixels = latents
        if self.vae is not None:
            with self.loaded("vae"):
                latents = (latents / self.vae.config.scaling_factor).to(self._compute_dtype(self.vae))
                pixels = self.vae.decode(latents).sample
        return (pixels.float() / 2 + 0.5).clamp(0, 1)


def split_inputs(
    prompt: Any, image: Any, generator: Any
) -> tuple[list[str], list[Any], list[torch.Generator | None], bool]:
    """Sort a call's arguments into lists with one entry for each object.

    Args:
        prompt: a str is always a prompt. An image, or a list of images, as the only argument is the image.
        image: an image, a list of images, or None.
        generator: a generator, a list of generators, or None. One generator for several objects is used in turn.

    Returns:
        prompts, images, generators, and True if one of them was a list. What is not a list serves all objects.

    Raises:
        InputError: neither an image nor a prompt, a path in place of an image, or lists of different lengths.
    """

    def is_text(value: Any) -> bool:
        texts = value if isinstance(value, list) else [value]
        return bool(texts) and all(isinstance(text, str) for text in texts)

    if image is None and prompt is not None and not is_text(prompt):
        prompt, image = None, prompt
    if prompt is not None and not is_text(prompt):
        raise InputError(f"prompt must be a str, a list of str, or None; got {type(prompt).__name__}")
    for text in (prompt, image):
        # os.path and not Path: a long prompt is not a file name, for which pathlib raises an error
        if isinstance(text, str) and os.path.isfile(text):  # noqa: PTH113
            raise InputError(f"a str is a prompt; got the file {text!r}: pass image3d_nb.load_image({text!r})")
    if isinstance(image, str):
        raise InputError(f"image must be an image; got the str {image!r}: read it with image3d_nb.load_image first")
    if image is None and not prompt:
        raise InputError("an image or a prompt is needed; got neither")
    given = {"images": image, "prompts": prompt, "generators": generator}
    lists = {name: list(value) for name, value in given.items() if isinstance(value, (list, tuple))}
    first = next(iter(lists), "")
    count = len(lists[first]) if lists else 1
    for name, values in lists.items():
        if not values:
            raise InputError(f"a list of {name} must hold at least one; got an empty list")
        if len(values) != count:
            raise InputError(f"{name} must be one, or one for each of the {count} {first}; got {len(values)}")
    images, prompts, generators = (lists.get(name, [value] * count) for name, value in given.items())
    for each in generators:
        if each is not None and not isinstance(each, torch.Generator):
            raise InputError(f"a generator must be a torch.Generator, as image3d_nb.generator makes; got {each!r}")
    return [text or "" for text in prompts], images, generators, bool(lists)


def check_output_type(output_type: str) -> None:
    """Raise an InputError for an unknown ``output_type``."""
    if output_type not in OUTPUT_TYPES:
        raise InputError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}; got {output_type!r}")


def _resize(pixels: Tensor, size: int) -> Tensor:
    """[n, 3, H, W] to [n, 3, size, size]: averages to shrink, interpolates to enlarge."""
    if pixels.shape[-1] > size:
        return F.interpolate(pixels, (size, size), mode="area")
    return F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)


def to_pil(pixels: Tensor) -> list[Image.Image]:
    """Convert [n, 3, H, W] in [0, 1] to n PIL images."""
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(each) for each in array]


def to_output(views: Tensor, output_type: str) -> Any:
    """Convert views [n, 3, H, W] in [0, 1], or latents, to an ``output_type``."""
    if output_type == "pil":
        return to_pil(views)
    return views.permute(0, 2, 3, 1).cpu().numpy() if output_type == "np" else views
