"""One picture to files and a record of how they were made: what the command line, the studio and batches all call.

Importing this loads none of the large libraries; a picture that is done already needs none of them either.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import platform
import re
import shutil
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ._files import CONVENTIONS, atomic_write
from .errors import Cancelled, InputError
from .hub.weights import resolve, resolve_lgm
from .record import (
    RECORD,
    SCHEMA_VERSION,
    Files,
    Record,
    description,
    is_done,
    model_record,
    peak_memory,
    read_record,
    versions,
    weight_files,
)

if TYPE_CHECKING:
    from PIL import Image

    from .images import Source
    from .mesh import Mesh
    from .pipelines.lgm import LGMFullPipeline, LGMFullPipelineOutput

USUAL_FORMATS = ("ply", "splat", "html", "gif")
FORMATS = (*USUAL_FORMATS, "spz", "sog", "glb", "stl")
"""What can be written; input.png (the picture as the model saw it) and views.png (the four views) always are."""
MEMORY = ("normal", "low")
STAGES = ("load", "generate", "files")
_DEVICE = re.compile(r"[a-z]+(:\d+)?")
_URL = re.compile(r"https?://", re.IGNORECASE)
_ONE_AT_A_TIME = threading.Lock()  # threads share the loaded pipeline, and its scheduler counts the steps

OnStep: TypeAlias = Callable[[str, int, int], object]
Weights: TypeAlias = tuple[Path, Path | None]
"""A model's folder, and LGM's own folder or file where it is another."""


@dataclass(frozen=True)
class GenerateSettings:
    """Everything but the picture that decides what comes out. Can be pickled and compared.

    Raises:
        InputError: a value is out of its range or unknown.
    """

    model: str = "tiny"  # "tiny", a folder in diffusers' layout, or a hub repository
    lgm: str | None = None  # the second half, where model is only the first: a folder, file or repository
    revision: str | None = None  # of the repository, a branch or a commit; None: its main branch
    seed: int = 0  # 0 or more; the same seed gives the same object on the same machine
    steps: int | None = None  # denoising steps, 1 or more; None: what the weights ask for
    guidance: float | None = None  # 0 or more, 1 is none; None: what the weights ask for
    formats: tuple[str, ...] = USUAL_FORMATS  # any of FORMATS; "glb" and "stl" hold a mesh, which takes some seconds
    convention: str = "3dgs"  # the world of the numbers in .ply, .splat and .sog: "3dgs" (y down) or "opengl" (y up)
    candidates: int = 1  # objects to make with seeds of their own; the one whose views agree best is written
    prepare: bool = True  # cut out, recentre and put on white; False: the picture is such a square already
    elevation: float = 0.0  # degrees, from -90 to 90, up is positive: from where the picture was taken
    device: str = "cpu"  # "cpu", "cuda", "cuda:1", "mps": where the networks run
    memory: str = "normal"  # "low": one network in memory at a time; slower

    def __post_init__(self) -> None:
        _check(isinstance(self.model, str) and bool(self.model), "model must be a name or a folder", self.model)
        for name in ("lgm", "revision"):
            value = getattr(self, name)
            _check(value is None or (isinstance(value, str) and bool(value)), f"{name} must be a text or None", value)
        _check(_is_whole(self.seed) and 0 <= self.seed < 2**63, "seed must be a whole number of 0 or more", self.seed)
        steps_fit = self.steps is None or (_is_whole(self.steps) and self.steps >= 1)
        _check(steps_fit, "steps must be a whole number of 1 or more, or None", self.steps)
        guidance_fits = self.guidance is None or (_is_finite(self.guidance) and self.guidance >= 0)
        _check(guidance_fits, "guidance must be a number of 0 or more, or None", self.guidance)
        several = isinstance(self.formats, (tuple, list)) and bool(self.formats)
        formats_fit = several and all(name in FORMATS for name in self.formats)
        _check(formats_fit, f"formats must be one or more of {', '.join(FORMATS)}", self.formats)
        _check(self.convention in CONVENTIONS, f"convention must be one of {', '.join(CONVENTIONS)}", self.convention)
        candidates_fit = _is_whole(self.candidates) and self.candidates >= 1
        _check(candidates_fit, "candidates must be a whole number of 1 or more", self.candidates)
        _check(isinstance(self.prepare, bool), "prepare must be True or False", self.prepare)
        elevation_fits = _is_finite(self.elevation) and abs(self.elevation) <= 90
        _check(elevation_fits, "elevation must be from -90 to 90 degrees", self.elevation)
        device_fits = isinstance(self.device, str) and bool(_DEVICE.fullmatch(self.device))
        _check(device_fits, 'device must be "cpu", "cuda", "cuda:1", "mps" or the like', self.device)
        _check(self.memory in MEMORY, f"memory must be one of {', '.join(MEMORY)}", self.memory)
        object.__setattr__(self, "formats", tuple(dict.fromkeys(self.formats)))  # frozen: the only way to set


def generate_one(
    image: Source,
    out_dir: str | os.PathLike[str],
    settings: GenerateSettings | None = None,
    on_step: OnStep | None = None,
    cancelled: Callable[[], bool] | None = None,
    *,
    force: bool = False,
) -> Record:
    """Make an object of one picture, and write its files and ``result.json`` into ``out_dir``.

    All is made in a temporary folder beside ``out_dir`` and moved there when it is complete, the record last: after an
    error, a cancellation or a crash there is either the old result or none, and no half-written file. Files that the
    last record lists and the new one does not are removed; others in the folder are left alone.

    Where ``out_dir`` holds the files of the same picture, settings, weights and version of this package, unchanged,
    nothing is done: the record that is there comes back, and ``on_step`` is not called.

    Args:
        image: anything that :func:`image3d_nb.load_image` takes.
        out_dir: a folder for this picture alone; made if need be, with those above it.
        settings: see :class:`GenerateSettings`; None is the defaults.
        on_step: called as f(stage, done, total), stage one of :data:`STAGES`: "load" (the model), "generate" (counts
            denoising steps), "files".
        cancelled: asked between steps and between files; True stops the work.
        force: make it again even if it is there.

    Returns:
        The record, as in ``result.json``: schema_version, input (name, sha256 of the file's bytes, or of the pixels
        where there is no file, width, height), model (name, sha256, licence and the hub's commit, or None; the same of
        lgm where that is another),
        versions, platform, seed, settings, steps and guidance as used, gaussians (how many), seconds (by stage, and in
        all), peak_memory (bytes, of the process so far), files (name: bytes, sha256) and finished (UTC).

    Raises:
        ImageError: the picture cannot be read or shows no object.
        InputError: settings or folder cannot be used.
        WeightsError: there is no such model, or it is damaged.
        Cancelled: ``cancelled`` said so.

    Example:
        >>> record = generate_one(sample("mug"), "out/mug")  # doctest: +SKIP
        >>> sorted(record["files"])  # doctest: +SKIP
        ['input.png', 'mug.gif', 'mug.html', 'mug.ply', 'mug.splat', 'views.png']
    """
    settings = GenerateSettings() if settings is None else settings
    folder = Path(out_dir)
    stop = _raiser(cancelled)
    stop()
    picture, source = _read(image)
    weights = resolve(settings.model, settings.revision, skip=() if settings.lgm is None else ("lgm",))
    lgm = None if settings.lgm is None else resolve_lgm(settings.lgm)
    wanted = {
        "schema_version": SCHEMA_VERSION,
        "input": source,
        "model": model_record(settings.model, weights, lgm),
        "seed": settings.seed,
        "settings": dataclasses.asdict(settings) | {"formats": list(settings.formats)},
    }
    before = read_record(folder)
    if not force and before is not None and is_done(folder, before, wanted):
        return before
    with _beside(folder) as temporary:
        report = _silent if on_step is None else on_step
        made = wanted | _make(picture, source["name"], settings, (weights, lgm), temporary, report, stop)
        stop()
        _move(temporary, folder, made, before)
    return made


def picture_name(image: Source) -> str:
    """What a picture's files are called: a file's or an address's last part without suffix, else "object"."""
    if isinstance(image, str) and _URL.match(image):
        stem = Path(urllib.parse.unquote(urllib.parse.urlsplit(image).path)).stem
    else:
        stem = Path(image).stem if isinstance(image, (str, os.PathLike)) else ""
    # no leading dot (hidden), nothing that some file system forbids, and short enough for any suffix
    return re.sub(r"[^\w.() +-]+", "_", stem).strip(". ")[:100] or "object"


def _check(fits: bool, requirement: str, value: object) -> None:
    if not fits:
        raise InputError(f"{requirement}; got {value!r}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Where nobody wants to know."""


def _raiser(cancelled: Callable[[], bool] | None) -> Callable[[], None]:
    def stop() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled("generate_one was cancelled; nothing has been written")

    return stop


def _read(image: Source) -> tuple[Image.Image, Record]:
    """The picture, and what the record says of it."""
    from .images import load_image

    picture = load_image(image)
    if isinstance(image, (str, os.PathLike)) and not _URL.match(os.fspath(image)):
        with Path(image).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    elif isinstance(image, (bytes, bytearray, memoryview)):
        digest = hashlib.sha256(image).hexdigest()
    else:  # an open file has been read, an address may answer otherwise the next time: what counts is what came
        pixels = f"{picture.mode} {picture.size}".encode() + picture.tobytes()
        digest = hashlib.sha256(pixels).hexdigest()
    width, height = picture.size
    return picture, {"name": picture_name(image), "sha256": digest, "width": width, "height": height}


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A temporary folder on the same disk, so that moving from it is one rename; gone afterwards."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(0, "a file of this name is there")
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"out_dir must be a folder that can be written to; {folder}: {error.strerror}") from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # on success it is empty or has been renamed


def _make(
    picture: Image.Image,
    name: str,
    settings: GenerateSettings,
    weights: Weights,
    folder: Path,
    report: OnStep,
    stop: Callable[[], None],
) -> Record:
    """Do the work into ``folder``; return the part of the record that tells how it went."""
    start = time.perf_counter()
    report("load", 0, 1)
    files = tuple(weight_files(part) for part in weights if part is not None)
    pipe = _pipeline(weights, settings.device, settings.memory, files)
    report("load", 1, 1)
    stop()
    loaded = time.perf_counter()
    result = _generate(pipe, picture, settings, report, stop)
    generated = time.perf_counter()
    _write_files(result, folder, name, settings, report, stop)
    end = time.perf_counter()
    spans = {"load": loaded - start, "generate": generated - loaded, "files": end - generated, "total": end - start}
    return {
        "steps": pipe.config.default_steps if settings.steps is None else settings.steps,
        "guidance": pipe.config.default_guidance if settings.guidance is None else settings.guidance,
        "gaussians": len(result.gaussians),
        "seconds": {stage: round(seconds, 3) for stage, seconds in spans.items()},
        "peak_memory": peak_memory(),
        "versions": versions(),
        "platform": platform.platform(),
        "files": {file.name: description(file) for file in sorted(folder.iterdir())},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _pipeline(weights: Weights, device: str, memory: str, files: tuple[Files, ...]) -> LGMFullPipeline:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's, for a device that it does not know or does not find
        raise InputError(f"device must be one that torch can use here; got {device!r}: {error}") from error
    with _ONE_AT_A_TIME:
        return _load_once(weights, device, memory, files)


@functools.lru_cache(maxsize=1)  # one: a large model fills the memory
def _load_once(weights: Weights, device: str, memory: str, _files: tuple[Files, ...]) -> LGMFullPipeline:
    from .pipelines import load_pipeline

    folder, lgm = weights
    pipe = load_pipeline(folder, lgm=lgm, device=device, memory=memory)
    if not hasattr(pipe, "lgm"):
        raise InputError(f"model must make Gaussians; {folder} makes views only: it holds no LGM, give lgm")
    pipe.set_progress_bar_config(disable=True)  # on_step reports
    return pipe


def _generate(
    pipe: LGMFullPipeline, picture: Image.Image, settings: GenerateSettings, report: OnStep, stop: Callable[[], None]
) -> LGMFullPipelineOutput:
    from .pipelines import generator

    def after_step(pipe: LGMFullPipeline, step: int, _t: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        report("generate", step + 1, len(pipe.scheduler.timesteps))
        stop()
        return {}

    with _ONE_AT_A_TIME:
        result = pipe(
            image=picture,
            prepare=settings.prepare,
            elevation=settings.elevation,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            generator=generator(settings.seed),
            num_candidates=settings.candidates,
            callback_on_step_end=after_step,
        )
    assert not isinstance(result, tuple)  # return_dict was not turned off
    result.gaussians = result.gaussians.to("cpu")
    return result


def _write_files(
    result: LGMFullPipelineOutput,
    folder: Path,
    name: str,
    settings: GenerateSettings,
    report: OnStep,
    stop: Callable[[], None],
) -> None:
    from .io import save
    from .view import render_turntable, save_html
    from .view.pictures import png_bytes, sheet

    @functools.cache
    def mesh() -> Mesh:
        from .meshing import to_mesh

        return to_mesh(result.gaussians, progress=False, on_step=lambda *_: stop())

    def save_stl(path: Path) -> None:
        save(dataclasses.replace(mesh(), uvs=None, texture=None), path)  # without colours, as everybody knows of .stl

    def save_splats(path: Path) -> None:
        save(result.gaussians, path, settings.convention)

    writers: dict[str, Callable[[Path], object]] = {
        **dict.fromkeys(("ply", "splat", "spz", "sog"), save_splats),
        "glb": lambda path: save(mesh(), path),
        "stl": save_stl,
        "html": lambda path: save_html(result.gaussians, path, title=name),
        "gif": lambda path: render_turntable(result.gaussians, path, progress=False),
    }
    report("files", 0, len(settings.formats))
    pictures = {"input.png": result.input, "views.png": sheet(result.images, columns=4)}
    atomic_write({folder / file: png_bytes(picture) for file, picture in pictures.items()})
    for done, kind in enumerate(settings.formats, 1):
        stop()
        writers[kind](folder / f"{name}.{kind}")
        report("files", done, len(settings.formats))


def _move(temporary: Path, folder: Path, record: Record, before: Record | None) -> None:
    """All files to their place; while they are under way there is no record, which would tell of others."""
    folder.mkdir(exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for file in record["files"]:
        os.replace(temporary / file, folder / file)
    old = (before or {}).get("files")
    for file in set(old if isinstance(old, dict) else ()) - set(record["files"]):
        (folder / Path(file).name).unlink(missing_ok=True)  # its name: a record must not reach out of its folder
    atomic_write({folder / RECORD: (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()})
