"""What decides how an object is made from an image: :class:`GenerateSettings`."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from ._files import CONVENTIONS
from ._numbers import is_finite, is_whole
from .errors import InputError

USUAL_FORMATS = ("ply", "splat", "html", "gif")
FORMATS = (*USUAL_FORMATS, "spz", "sog", "glb", "stl")
"""Formats of the object. Always written: input.png (the image as the model sees it) and views.png (the four views)."""
BACKGROUNDS = ("auto", "polynomial", "grabcut", "rembg")
MEMORY = ("normal", "low")
_DEVICE = re.compile(r"[a-z]+(:\d+)?")


@dataclass(frozen=True)
class GenerateSettings:
    """Everything except the image that affects the result. Settings can be pickled and compared.

    Raises:
        InputError: a value is out of its range or unknown.
    """

    model: str = "tiny"  # a name of list_models(), a hub repository, a folder, or a checkpoint
    lgm: str | None = None  # the second half, if model is only the first: a folder, file or repository
    revision: str | None = None  # branch or commit of the repository; None: its main branch
    seed: int = 0  # 0 or more; the same seed gives the same object on the same machine
    steps: int | None = None  # denoising steps, 1 or more; None: the model's default
    guidance: float | None = None  # guidance scale, 0 or more; 1 is no guidance; None: the model's default
    formats: tuple[str, ...] = USUAL_FORMATS  # any of FORMATS; "glb" and "stl" hold a mesh, which takes some seconds
    convention: str = "3dgs"  # the world of splat files: "3dgs", "opengl" or "ydown"
    candidates: int = 1  # objects to make, each with its own seed; the one whose views agree best is written
    refine: bool | None = None  # sharpen the object from the image; None: not, but see sharpened_by_default
    prepare: bool = True  # cut the object out, centre it, on white; False: the image is such a square already
    background: str = "auto"  # how it is cut out, one of BACKGROUNDS; see remove_background
    elevation: float = 0.0  # elevation of the camera that took the image, -90 to 90 degrees, up is positive
    device: str = "cpu"  # "cpu", "cuda", "cuda:1", "mps": where the networks run
    memory: str = "normal"  # "low": one network in memory at a time; slower

    def __post_init__(self) -> None:
        _check(isinstance(self.model, str) and bool(self.model), "model must be a name or a folder", self.model)
        for name in ("lgm", "revision"):
            value = getattr(self, name)
            _check(value is None or (isinstance(value, str) and bool(value)), f"{name} must be a text or None", value)
        _check(is_whole(self.seed) and 0 <= self.seed < 2**63, "seed must be a whole number of 0 or more", self.seed)
        steps_fit = self.steps is None or (is_whole(self.steps) and self.steps >= 1)
        _check(steps_fit, "steps must be a whole number of 1 or more, or None", self.steps)
        guidance_fits = self.guidance is None or (is_finite(self.guidance) and self.guidance >= 0)
        _check(guidance_fits, "guidance must be a number of 0 or more, or None", self.guidance)
        several = isinstance(self.formats, (tuple, list)) and bool(self.formats)
        formats_fit = several and all(name in FORMATS for name in self.formats)
        _check(formats_fit, f"formats must be one or more of {', '.join(FORMATS)}", self.formats)
        _check(self.convention in CONVENTIONS, f"convention must be one of {', '.join(CONVENTIONS)}", self.convention)
        candidates_fit = is_whole(self.candidates) and self.candidates >= 1
        _check(candidates_fit, "candidates must be a whole number of 1 or more", self.candidates)
        _check(self.refine is None or isinstance(self.refine, bool), "refine must be True, False or None", self.refine)
        _check(isinstance(self.prepare, bool), "prepare must be True or False", self.prepare)
        fits = self.background in BACKGROUNDS
        _check(fits, f"background must be one of {', '.join(BACKGROUNDS)}", self.background)
        elevation_fits = is_finite(self.elevation) and abs(self.elevation) <= 90
        _check(elevation_fits, "elevation must be from -90 to 90 degrees", self.elevation)
        device_fits = isinstance(self.device, str) and bool(_DEVICE.fullmatch(self.device))
        _check(device_fits, 'device must be "cpu", "cuda", "cuda:1", "mps" or the like', self.device)
        _check(self.memory in MEMORY, f"memory must be one of {', '.join(MEMORY)}", self.memory)
        object.__setattr__(self, "formats", tuple(dict.fromkeys(self.formats)))  # frozen: the only way to set
        for name in ("seed", "steps", "guidance", "candidates", "elevation"):
            value = getattr(self, name)
            object.__setattr__(self, name, value.item() if hasattr(value, "item") else value)  # NumPy's: JSON has none


def sharpened_by_default(settings: GenerateSettings) -> GenerateSettings:
    """The settings with ``refine`` decided: None becomes True for the tiny model, as on the command line and in the
    studio. In :func:`generate_one` alone, and so in batches, None is False.
    """
    if settings.refine is not None:
        return settings
    return dataclasses.replace(settings, refine=settings.model == "tiny" and settings.lgm is None)


def _check(fits: bool, requirement: str, value: object) -> None:
    if not fits:
        raise InputError(f"{requirement}; got {value!r}")
