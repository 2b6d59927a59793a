"""One picture, or a sentence, to four views of the object: the pipeline of MVDream and ImageDream. Top to bottom.

Sources: Shi et al. 2023, MVDream (arXiv 2308.16512); Wang and Shi 2023, ImageDream (arXiv 2312.02201); Ho and Salimans
2022, Classifier-Free Diffusion Guidance, equation 6.

Shapes: B objects, F frames (four views, and in ImageDream the picture as a fifth), C H W of the latent picture, L
tokens; G is 2 with guidance (first all objects without the picture, then all with it), else 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from ..cameras import orbit_cameras
from ._inputs import (
    Job,
    as_lists,
    check_call,
    check_output_type,
    resize,
    sort_arguments,
    split_jobs,
    square_pixels,
    to_output,
    to_pil,
)
from ._memory import OneAtATimePipeline, channels_last
from .loading import FromFolderMixin

VIEWS_OF_LGM = (1, 2, 3, 0)
"""MVDream's view 1 looks at the front: LGM's view k is MVDream's view VIEWS_OF_LGM[k]. Both turn the same way."""


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
    """What the network is told beside the noisy frames.

    Attributes:
        context: [G*B, L, C'], the prompts' tokens.
        ip: [G*B, 257, width], CLIP's penultimate hidden states of the pictures, or None.
        ip_img: [G*B, C, H, W], the pictures as latents, or None.
        camera: [F, 16].
        guided: whether there are rows without the picture, G = 2.
        known: keys and values that the network made of ``context`` and ``ip``, for all steps.
    """

    context: Tensor
    ip: Tensor | None
    ip_img: Tensor | None
    camera: Tensor
    guided: bool
    known: Any = None


class MVDreamPipeline(FromFolderMixin, OneAtATimePipeline):
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
        self._nothing: tuple[Any, Tensor] | None = None  # a text encoder, and what it makes of ""

    @property
    def picture_size(self) -> int:
        """Height and width of the views, pixels."""
        size = self.unet.config.image_size
        return size if self.vae is None else size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def interrupt(self) -> bool:
        """Set ``_interrupt`` in a callback to skip the steps that are left."""
        return self._interrupt

    @property
    def guidance_scale(self) -> float:
        """Of the running call. A callback may set ``_guidance_scale``; at 1 or less, half of the work is saved."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """How many steps the running call takes."""
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
            prompt: a sentence, or a list of them; or, as the only argument, the picture (or a list of pictures).
            image: anything that ``load_image`` takes but a path, or a list of these: all are denoised as one batch.
            prepare: cut out, recentre and put on white by ``prepare_image``; False feeds the square picture as it is.
            elevation: of the picture's camera, degrees, up is positive.
            num_inference_steps: denoising steps; None is the weights' own number.
            guidance_scale: 1 is none; None is the weights' own.
            negative_prompt: what not to show.
            generator: of all randomness; one, or one an object. Several with one picture: as many objects of it.
            latents: [B*F, C, H, W] noise to start from, MVDream's order; None draws it.
            output_type: "pil", "np", "pt" or "latent"; see :class:`MVDreamPipelineOutput`.
            return_dict: False gives the tuple (images, input).
            callback_on_step_end: called as f(pipeline, step, timestep, {"latents": ...}) -> dict, as in diffusers; what
                it returns is used from then on.
            callback_on_step_end_tensor_inputs: which it gets: "latents" [B*F, C, H, W], "prompt_embeds" [G*B, L, C'],
                "image_latents" [G*B, C, H, W].

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
        jobs, several = split_jobs(prompt, image, generator)
        squares, frames = self.make_frames(jobs, prepare, **settings)
        with self.holding("vae", needed=output_type != "latent"):
            views = [made if output_type == "latent" else self.decode(made) for made in frames]
        self.maybe_free_model_hooks()
        images, inputs = [to_output(made, output_type) for made in views], [self.seen(square) for square in squares]
        found = (images, inputs) if several else (images[0], inputs[0])
        return MVDreamPipelineOutput(*found) if return_dict else found

    def make_frames(
        self, jobs: Sequence[Job], prepare: bool, global_image_noise: bool = False, **settings: Any
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """The square picture, and the clean latents [F, C, H, W], of each job; ``settings`` are :meth:`denoise`'s.

        What any of them cannot do is found before anything is computed.
        """
        check_call(self, [job.prompt for job in jobs], [job.picture for job in jobs], **settings)
        made: dict[int, Tensor] = {}  # candidates share a picture: prepare it once
        for job in jobs:
            if job.picture is not None and id(job.picture) not in made:
                made[id(job.picture)] = self.square(job.picture, prepare)
        squares = [made.get(id(job.picture)) for job in jobs]
        rows = self.denoise(
            [job.prompt for job in jobs],
            squares,
            generator=[job.generator for job in jobs],
            global_image_noise=global_image_noise,
            **settings,
        )
        return squares, list(rows.chunk(len(jobs)))

    def square(self, image: Any, prepare: bool = True) -> Tensor:
        """A picture as the model takes it: [1, 3, H, W] in [0, 1], on white; CLIP's and the views' sizes come later.

        Args:
            image: anything that ``load_image`` takes.
            prepare: cut out, recentre, white; False feeds a square picture as it is.

        Raises:
            InputError: not a picture, nothing to be seen in it, or not square where it must be.
        """
        return square_pixels(image, prepare, max(256, self.picture_size)).to(self._execution_device)

    def seen(self, square: Tensor | None) -> Image.Image | None:
        """The square picture at the size of the views, for people to look at."""
        return None if square is None else to_pil(resize(square, self.picture_size))[0]

    @torch.no_grad()
    def denoise(
        self,
        prompt: str | Sequence[str] | None,
        square: Tensor | Sequence[Tensor | None] | None,
        *,
        elevation: float = 0.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        generator: Any = None,
        latents: Tensor | None = None,
        callback: Callable[..., dict[str, Any]] | None = None,
        callback_names: Sequence[str] = ("latents",),
        global_image_noise: bool = False,
    ) -> Tensor:
        """The diffusion loop: noise to clean latents.

        Args:
            prompt, square, generator: one, or a list with one an object; squares are [1, 3, H, W].
            global_image_noise: draw the picture's latent from torch's global state, as the published code does.
            elevation, num_inference_steps, guidance_scale, negative_prompt, latents, callback, callback_names: as for
                :meth:`__call__`.

        Returns:
            [B*F, C, H, W] in float32, one object's frames after the other's, MVDream's order.
        """
        squares, words, random = as_lists(square, prompt, generator)
        count = len(squares)
        check_call(
            self, words, squares, elevation, num_inference_steps, guidance_scale, negative_prompt, latents, callback,
            callback_names,
        )  # fmt: skip
        if isinstance(callback, (PipelineCallback, MultiPipelineCallbacks)):
            callback_names = callback.tensor_inputs
        steps = self.config.default_steps if num_inference_steps is None else num_inference_steps
        self._guidance_scale = self.config.default_guidance if guidance_scale is None else guidance_scale
        self._interrupt = False
        device = self._execution_device
        told = self.conditions(
            words, negative_prompt, squares, elevation, self.guidance_scale > 1, [None] * count if global_image_noise
            else random,
        )  # fmt: skip
        shape = (1, *self.shape_of(squares))  # one object
        if latents is None:
            noise = [randn_tensor(shape, generator=each, device=device, dtype=torch.float32) for each in random]
            latents = torch.cat(noise)  # [B, F, C, H, W]
        self.scheduler.set_timesteps(steps, device=device)
        self._num_timesteps = len(self.scheduler.timesteps)
        latents = latents.to(device, torch.float32).view(count, *shape[1:]) * self.scheduler.init_noise_sigma
        with self.holding("unet"), self.progress_bar(total=self.num_timesteps) as bar:
            told = self._learn(told)
            for i, t in enumerate(self.scheduler.timesteps):
                if self.interrupt:
                    continue
                guess = self._predict(self.scheduler.scale_model_input(latents, t), t, told)  # [B, F, C, H, W]
                latents = self.scheduler.step(guess, t, latents, **self._step_arguments(random)).prev_sample
                if callback is not None:
                    latents, told = self._call_back(callback, callback_names, i, t, latents, told)
                bar.update()
        return latents.flatten(0, 1)

    def shape_of(self, pictures: Sequence[Any]) -> tuple[int, int, int, int]:
        """(F, C, H, W) of one object's latents."""
        config = self.unet.config
        extra = pictures[0] is not None and config.condition == "frame"
        return 4 + extra, config.in_channels, config.image_size, config.image_size

    def conditions(
        self,
        prompts: Sequence[str | None],
        negative_prompt: str,
        squares: Sequence[Any],
        elevation: float,
        guided: bool,
        generators: Sequence[torch.Generator | None],
    ) -> Conditions:
        """Everything that the network is told, made once for all steps."""
        words = [negative_prompt] * (len(prompts) * guided) + [prompt or "" for prompt in prompts]
        with self.holding("text_encoder", needed=self._nothing_said(words) is None):
            texts = {text: self.encode_prompt(text) for text in dict.fromkeys(words)}
        context = torch.cat([texts[text] for text in words])  # [G*B, L, C']
        ip, ip_img = None, None
        pictures = {id(square): square for square in squares if square is not None}
        if pictures and self.unet.config.ip_dim:
            with self.holding("image_encoder"):
                looks = {key: self.encode_image(square) for key, square in pictures.items()}
            ip = torch.cat([looks[id(square)] for square in squares])  # [B, 257, width]
        if pictures:
            with self.holding("vae"):
                drawn = [self.encode_latents(square, each) for square, each in zip(squares, generators, strict=True)]
            ip_img = torch.cat(drawn)  # [B, C, H, W]
        if guided:  # without the picture means: zeros into the Resampler, and for the latent
            ip = None if ip is None else torch.cat([torch.zeros_like(ip), ip])
            ip_img = None if ip_img is None else torch.cat([torch.zeros_like(ip_img), ip_img])
        extra_view = ip_img is not None and self.unet.config.condition == "frame"
        camera = camera_rows(elevation, extra_view).to(self._execution_device)
        return Conditions(context, ip, ip_img, camera, guided)

    def encode_prompt(self, text: str) -> Tensor:
        """[1, L, C'], the text encoder's last hidden states; one token of zeros without a text encoder.

        That of the empty text is kept: nearly every call needs it.
        """
        if self.text_encoder is None:
            return torch.zeros(1, 1, self.unet.config.context_dim, device=self._execution_device)
        kept = self._nothing_said([text])
        if kept is not None:
            return kept
        tokens = self.tokenizer(
            text, padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        found = self.text_encoder(tokens.input_ids.to(self._execution_device))[0]
        if not text:
            self._nothing = (self.text_encoder, found)
        return found

    def _nothing_said(self, words: Sequence[str]) -> Tensor | None:
        """The kept embedding, where the words are all empty and it is this text encoder's."""
        if any(words) or self._nothing is None or self._nothing[0] is not self.text_encoder:
            return None
        found = self._nothing[1]
        same = found.device == self._execution_device and found.dtype == self._type_of(self.text_encoder)
        return found if same else None

    def encode_image(self, square: Tensor) -> Tensor:
        """[1, 257, width], CLIP's penultimate hidden states of [1, 3, H, W] in [0, 1]."""
        pixels = self.feature_extractor(images=to_pil(square), return_tensors="pt").pixel_values
        pixels = pixels.to(self._execution_device, self._type_of(self.image_encoder))
        return self.image_encoder(pixels, output_hidden_states=True).hidden_states[-2]

    def encode_latents(self, square: Tensor, generator: torch.Generator | None) -> Tensor:
        """[1, C, h, w]: the picture [1, 3, H, W] in [0, 1] as a latent; as pixels in [-1, 1] where there is no VAE."""
        pixels = 2 * resize(square, self.picture_size) - 1
        if self.vae is None:
            return pixels
        posterior = self.vae.encode(pixels.to(self._type_of(self.vae))).latent_dist
        return posterior.sample(generator=generator) * self.vae.config.scaling_factor

    def _learn(self, told: Conditions) -> Conditions:
        """The same, with the keys and values of its context and pictures."""
        kind = self._type_of(self.unet)
        ip = None if told.ip is None else told.ip.to(kind)
        return replace(told, known=self.unet.look_at(told.context.to(kind), ip))

    def _predict(self, noisy: Tensor, t: Tensor, told: Conditions) -> Tensor:
        """What the network makes of noisy frames [B, F, C, H, W]: float32 of the same shape, guided."""
        count, frames = noisy.shape[:2]
        groups = 1 + told.guided
        out = self.unet(
            x=noisy.flatten(0, 1).to(self._type_of(self.unet)).repeat(groups, 1, 1, 1),  # [G*B*F, C, H, W]
            # float32: bfloat16 cannot hold most timesteps
            timesteps=t.to(noisy.device, torch.float32).expand(groups * count * frames),
            context=told.known,
            camera=told.camera.repeat(groups * count, 1),
            num_frames=frames,
            ip_img=told.ip_img,
        ).float()
        if told.guided:
            without, with_ = out.chunk(2)
            out = without + self.guidance_scale * (with_ - without)  # Ho and Salimans, equation 6
        return out.view_as(noisy)

    def _step_arguments(self, generators: list[torch.Generator | None]) -> dict[str, Any]:
        """Schedulers that draw noise take generators; those that draw none do not know the word."""
        if "generator" not in inspect.signature(self.scheduler.step).parameters or None in generators:
            return {}
        return {"generator": generators}  # one an object, in the order of the latents' first dimension

    def _call_back(
        self,
        callback: Callable[..., dict[str, Any]],
        names: Sequence[str],
        step: int,
        t: Tensor,
        latents: Tensor,
        told: Conditions,
    ) -> tuple[Tensor, Conditions]:
        """Show the caller where we are, and go on with what comes back."""
        offered = {"latents": latents.flatten(0, 1), "prompt_embeds": told.context, "image_latents": told.ip_img}
        changed: dict[str, Any] = callback(self, step, t, {name: offered[name] for name in names}) or {}
        latents = changed.get("latents", latents).view_as(latents)
        context: Any = changed.get("prompt_embeds", told.context)
        ip_img = changed.get("image_latents", told.ip_img)
        if told.guided and self.guidance_scale <= 1:  # guidance ends: the halves with the picture go on
            context, ip, ip_img = (None if x is None else x[-latents.shape[0] :] for x in (context, told.ip, ip_img))
            told = self._learn(Conditions(context, ip, ip_img, told.camera, guided=False))
        elif context is not told.context or ip_img is not told.ip_img:
            told = self._learn(replace(told, context=context, ip_img=ip_img))
        return latents, told

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
            with self.holding("vae"):
                pixels = self.vae.decode((latents / self.vae.config.scaling_factor).to(self._type_of(self.vae))).sample
        return (pixels.float() / 2 + 0.5).clamp(0, 1)
