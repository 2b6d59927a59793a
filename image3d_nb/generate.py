"""Make the files of one object from one image, and a record of how they were made.

The command line, the studio and batches all call :func:`generate_one`. Importing this module loads none of the large
libraries; an image that is already done needs none of them either.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import platform
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ._files import atomic_write, replace, temporary_folder
from .errors import ImageError, InputError, raise_if
from .hub.table import note_seconds
from .hub.weights import resolve, resolve_lgm
from .record import (
    RECORD,
    SCHEMA_VERSION,
    FileStamps,
    Record,
    description,
    file_stamps,
    is_done,
    model_record,
    peak_memory,
    read_record,
    versions,
)
from .settings import BACKGROUNDS, FORMATS, MEMORY, USUAL_FORMATS, GenerateSettings, sharpened_by_default

if TYPE_CHECKING:
    from PIL import Image

    from .images import Source
    from .mesh import Mesh
    from .pipelines.lgm import LGMFullPipelineOutput
    from .pipelines.single_image import ObjectOutput

__all__ = [
    "BACKGROUNDS", "FORMATS", "MEMORY", "RECORD", "STAGES", "USUAL_FORMATS", "GenerateSettings", "generate_one",
    "image_name", "preload", "read_record", "sharpened_by_default",
]  # fmt: skip
STAGES = ("load", "generate", "files")
_URL = re.compile(r"https?://", re.IGNORECASE)
_MOVING = ".result.json"  # in the folder while files are moved into it: the names of all that are, or were, a result's
_ONE_AT_A_TIME = threading.Lock()  # threads share the pipeline, whose scheduler has state

OnStep: TypeAlias = Callable[[str, int, int], object]
Weights: TypeAlias = tuple[Path, Path | None]
"""The model's folder; LGM's own folder or file, if it is not in the model's folder."""


def generate_one(
    image: Source,
    out_dir: str | os.PathLike[str],
    settings: GenerateSettings | None = None,
    on_step: OnStep | None = None,
    cancelled: Callable[[], bool] | None = None,
    *,
    force: bool = False,
) -> Record:
    """Make an object from one image; write its files and ``result.json`` into ``out_dir``.

    The files are made in a temporary folder beside ``out_dir`` and moved when they are complete, the record last. After
    an error, a cancellation or a crash, ``out_dir`` holds the old result or none, never half a result. Files of the old
    record that the new one does not list are removed; other files in the folder are left alone.

    If ``out_dir`` already holds the unchanged files for the same image, settings, weights and version of this package,
    nothing is done: the existing record is returned, and ``on_step`` is not called.

    Args:
        image: anything that :func:`image3d_nb.load_image` takes.
        out_dir: a folder for this image alone; it is created if needed, with its parents.
        settings: see :class:`GenerateSettings`; None uses the defaults.
        on_step: called as f(stage, done, total), with one of :data:`STAGES`: "load" (the model), "generate" (counts
            denoising steps), "files".
        cancelled: called between steps and between files; the work stops if it returns True.
        force: make the object again even if it exists, and replace files that no earlier run made.

    Returns:
        The record, as in ``result.json``: schema_version, input (name, sha256 of the file or, without a file, of the
        pixels, width, height), model (name, sha256, licence, commit on the hub; also lgm_sha256 and lgm_commit for a
        separate LGM), versions, platform, seed, settings, steps and guidance as used, warnings (about the
        prepared image, the mesh and what a file cannot hold), gaussians (number), native ("gaussians" or "mesh"),
        faces (of a native mesh), views ("renders", if the model makes no views and views.png shows its object
        instead), seconds (per stage, and in total), peak_memory (bytes, of the process so far), files (name: bytes,
        sha256), finished (UTC).

    Raises:
        ImageError: the image cannot be read or shows no object.
        InputError: the settings or the folder cannot be used; a file to write is the image itself, or, without
            ``force``, exists and is not of an earlier run.
        WeightsError: the model does not exist or is damaged.
        Cancelled: ``cancelled`` returned True.

    Warns:
        UserWarning: as :func:`image3d_nb.prepare_image`; the record holds the sentences too.

    Example:
        >>> record = generate_one(sample("mug"), "out/mug")  # doctest: +SKIP
        >>> sorted(record["files"])  # doctest: +SKIP
        ['input.png', 'mug.gif', 'mug.html', 'mug.ply', 'mug.splat', 'views.png']
    """
    settings = GenerateSettings() if settings is None else settings
    folder = Path(out_dir).expanduser()
    stop = functools.partial(raise_if, cancelled, "generate_one")
    stop()
    loaded, source = _read(image)
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
    old = _names_in(folder, before)
    _check_names(folder, old, source["name"], settings, _path(image), force=force)
    report = (lambda *_: None) if on_step is None else on_step
    with _beside(folder) as temporary:
        made = wanted | _make(loaded, source["name"], settings, (weights, lgm), temporary, report, stop)
        stop()
        _move(temporary, folder, made, old)
    return made


def preload(settings: GenerateSettings | None = None) -> None:
    """Load the model of these settings, so that the first :func:`generate_one` need not.

    Args:
        settings: None uses the defaults.

    Raises:
        InputError: the device is not one of this machine.
        WeightsError: the model does not exist or is damaged.
    """
    settings = GenerateSettings() if settings is None else settings
    weights = resolve(settings.model, settings.revision, skip=() if settings.lgm is None else ("lgm",))
    lgm = None if settings.lgm is None else resolve_lgm(settings.lgm)
    stamps = tuple(file_stamps(part) for part in (weights, lgm) if part is not None)
    _pipeline((weights, lgm), settings.device, settings.memory, stamps)


def image_name(image: Source) -> str:
    """The name of an image's results: the last part of its path or URL, without suffix; else "object"."""
    if isinstance(image, str) and _URL.match(image):
        stem = Path(urllib.parse.unquote(urllib.parse.urlsplit(image).path)).stem
    else:
        stem = Path(image).stem if isinstance(image, (str, os.PathLike)) else ""
    # no leading dot (hidden), no character that a file system forbids, and short enough for any suffix
    return re.sub(r"[^\w.() +-]+", "_", stem).strip(". ")[:100] or "object"


def belongs_to_another(folder: Path, image: Source) -> bool:
    """Whether a folder holds the result of another image; False if the image cannot be read."""
    made_from = (read_record(folder) or {}).get("input")
    if not isinstance(made_from, dict):
        return False
    from .images.caller import collected

    try:
        with collected():  # generate_one reads the image again, and warns then
            return bool(_read(image)[1]["sha256"] != made_from.get("sha256"))
    except (ImageError, OSError):  # for generate_one to tell
        return False


def _path(image: Source) -> Path | None:
    """The file that an image is read from; None for a URL or content."""
    if isinstance(image, (str, os.PathLike)) and not _URL.match(os.fspath(image)):
        return Path(image).expanduser()
    return None


def _names_in(folder: Path, record: Record | None) -> set[str]:
    """Names of the files in a folder that belong to its result, or to one whose move was interrupted."""
    files = (record or {}).get("files")
    names = {RECORD, *files} if isinstance(files, dict) else set()
    with suppress(OSError, ValueError):
        names |= set(json.loads((folder / _MOVING).read_text(encoding="utf-8")))
    return {Path(name).name for name in names}  # nothing outside the folder is replaced or deleted


def _check_names(
    folder: Path, old: set[str], name: str, settings: GenerateSettings, image: Path | None, *, force: bool
) -> None:
    """Raise an InputError if a file would be lost that no earlier run made, or the image itself."""
    new = {"input.png", "views.png", *(f"{name}.{kind}" for kind in settings.formats)}
    there = {file for file in (new | old | {RECORD}) if (folder / file).exists()}
    if image is not None and any((folder / file).samefile(image) for file in there):
        raise InputError(f"out_dir must be another folder: a result there would replace the image itself, {image}")
    foreign = sorted(there - old)
    if foreign and not force and not new <= there:  # all of them are a result that lost its record
        raise InputError(
            f"out_dir must have no {foreign[0]} that an earlier run did not make; {folder} has one: move it, choose"
            " another folder, or replace it by --force (force=True)"
        )


def _read(image: Source) -> tuple[Image.Image, Record]:
    """The image, and the record's part about it."""
    from .images import load_image

    loaded = load_image(image)
    path = _path(image)
    if path is not None:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    elif isinstance(image, (bytes, bytearray, memoryview)):
        digest = hashlib.sha256(image).hexdigest()
    else:  # an open file has been read, and a URL may return another image the next time
        pixels = f"{loaded.mode} {loaded.size}".encode() + loaded.tobytes()
        digest = hashlib.sha256(pixels).hexdigest()
    width, height = loaded.size
    return loaded, {"name": image_name(image), "sha256": digest, "width": width, "height": height}


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder``, whose parents are created."""
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(0, "it is a file")
            temporary = stack.enter_context(temporary_folder(folder))
        except OSError as error:
            raise InputError(f"out_dir must be a folder that can be written; {folder}: {error.strerror}") from error
        yield temporary


def _make(
    image: Image.Image,
    name: str,
    settings: GenerateSettings,
    weights: Weights,
    folder: Path,
    report: OnStep,
    stop: Callable[[], None],
) -> Record:
    """Write all files into ``folder``; return the record's part about the run."""
    from .images.caller import collected, warn

    start = time.perf_counter()
    report("load", 0, 1)
    stamps = tuple(file_stamps(part) for part in weights if part is not None)
    pipe = _pipeline(weights, settings.device, settings.memory, stamps)
    report("load", 1, 1)
    stop()
    _check_fit(pipe, settings)
    loaded = time.perf_counter()
    doubts: tuple[str, ...] = ()
    if settings.prepare:
        image, doubts = pipe.prepared(image, settings.background)
    for doubt in doubts:
        warn(doubt)
    result = _generate(pipe, image, settings, report, stop)
    generated = time.perf_counter()
    with collected() as said:
        _write_files(result, folder, name, settings, report, stop)
    for doubt in said:
        warn(doubt)
    end = time.perf_counter()
    spans = {"load": loaded - start, "generate": generated - loaded, "files": end - generated, "total": end - start}
    note_seconds(settings.model, generated - loaded)
    native = getattr(result, "native", "gaussians")
    return {
        "steps": getattr(pipe.config, "default_steps", None) if settings.steps is None else settings.steps,
        "guidance": getattr(pipe.config, "default_guidance", None) if settings.guidance is None else settings.guidance,
        "warnings": list(dict.fromkeys([*doubts, *said])),
        "gaussians": len(result.gaussians),
        "native": native,
        **({"faces": len(result.mesh.faces)} if native == "mesh" else {}),
        **({} if hasattr(result, "images") else {"views": "renders"}),
        "seconds": {stage: round(seconds, 3) for stage, seconds in spans.items()},
        "peak_memory": peak_memory(),
        "versions": versions(),
        "platform": platform.platform(),
        "files": {file.name: description(file) for file in sorted(folder.iterdir())},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _pipeline(weights: Weights, device: str, memory: str, stamps: tuple[FileStamps, ...]) -> Any:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # from torch: the device is unknown, or not in this machine
        raise InputError(f"device must be one that torch can use here; got {device!r}: {error}") from error
    with _ONE_AT_A_TIME:
        return _load_once(weights, device, memory, stamps)


@functools.lru_cache(maxsize=1)  # one: a large model fills the memory
def _load_once(weights: Weights, device: str, memory: str, _stamps: tuple[FileStamps, ...]) -> Any:
    from .pipelines import load_pipeline

    folder, lgm = weights
    pipe = load_pipeline(folder, lgm=lgm, device=device, memory=memory)
    if not hasattr(pipe, "lgm") and not hasattr(pipe, "native"):
        raise InputError(f"model must make Gaussians; {folder} makes views only: it holds no LGM, give lgm")
    pipe.set_progress_bar_config(disable=True)  # on_step reports
    return pipe


def _check_fit(pipe: Any, settings: GenerateSettings) -> None:
    """Raise an InputError for settings that a model from one image straight to an object cannot use."""
    if not hasattr(pipe, "native"):
        return
    usual = GenerateSettings()
    names = {"steps", "guidance", "candidates", "refine", "elevation"} - pipe.settings
    asked = dataclasses.replace(settings, refine=settings.refine or None)  # False asks for nothing either
    unused = sorted(name for name in names if getattr(asked, name) != getattr(usual, name))
    if unused:
        name, kind = unused[0], type(pipe).__name__
        raise InputError(
            f"{name} must be left at its default, {getattr(usual, name)!r}, for {settings.model}: {kind} has no such"
            f" setting; got {getattr(settings, name)!r}"
        )


def _generate(
    pipe: Any, image: Image.Image, settings: GenerateSettings, report: OnStep, stop: Callable[[], None]
) -> LGMFullPipelineOutput | ObjectOutput:
    from .pipelines import generator

    if hasattr(pipe, "native"):
        options: dict[str, Any] = {"refine": bool(settings.refine)} if "refine" in pipe.settings else {}
        if "steps" in pipe.settings:
            options |= {"num_inference_steps": settings.steps, "guidance_scale": settings.guidance}

        def on_step(_stage: str, done: int, total: int) -> None:
            stop()
            if _stage == "network":  # the other stages are short beside it
                report("generate", done, total)

        with _ONE_AT_A_TIME:
            made: ObjectOutput = pipe(
                image, prepare=False, generator=generator(settings.seed), on_step=on_step, **options
            )
        if made.native == "gaussians":
            made.gaussians = made.gaussians.to("cpu")
        return made

    def after_step(pipe: Any, step: int, _t: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        report("generate", step + 1, len(pipe.scheduler.timesteps))
        stop()
        return {}

    with _ONE_AT_A_TIME:
        result = pipe(
            image=image,
            prepare=False,
            elevation=settings.elevation,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            generator=generator(settings.seed),
            num_candidates=settings.candidates,
            callback_on_step_end=after_step,
        )
        if settings.refine:
            square = pipe.square(image, prepare=False)
            result.gaussians = pipe.refine(
                result.gaussians, square, elevation=settings.elevation, on_step=lambda *_: stop()
            )
    assert not isinstance(result, tuple)  # return_dict was not turned off
    result.gaussians = result.gaussians.to("cpu")
    return result


def _write_files(
    result: LGMFullPipelineOutput | ObjectOutput,
    folder: Path,
    name: str,
    settings: GenerateSettings,
    report: OnStep,
    stop: Callable[[], None],
) -> None:
    from .cameras import orbit_cameras
    from .io import save
    from .rendering import render
    from .view import render_turntable, save_html
    from .view.sheets import as_images, png_bytes, sheet

    native = getattr(result, "native", "gaussians")

    @functools.cache
    def mesh() -> Mesh:
        from .meshing import to_mesh

        if native == "mesh":
            return result.mesh
        return to_mesh(result.gaussians, progress=False, on_step=lambda *_: stop())

    def save_stl(path: Path) -> None:
        save(
            dataclasses.replace(mesh(), uvs=None, texture=None, vertex_colors=None), path
        )  # .stl has no colours; without this, save warns

    def save_splats(path: Path) -> None:
        save(result.gaussians, path, settings.convention)

    writers: dict[str, Callable[[Path], object]] = {
        **dict.fromkeys(("ply", "splat", "spz", "sog"), save_splats),
        "glb": lambda path: save(mesh(), path),
        "stl": save_stl,
        "html": lambda path: save_html(getattr(result, native), path, title=name),
        "gif": lambda path: render_turntable(getattr(result, native), path, progress=False),
    }
    report("files", 0, len(settings.formats))
    views = getattr(result, "images", None)
    if views is None:  # the model makes none: look at the object from the four sides
        views = as_images(render(getattr(result, native), orbit_cameras(size=256)).clamp(0, 1))
    images = {"input.png": result.input, "views.png": sheet(views, columns=4)}
    atomic_write({folder / file: png_bytes(image) for file, image in images.items()})
    for done, kind in enumerate(settings.formats, 1):
        stop()
        writers[kind](folder / f"{name}.{kind}")
        report("files", done, len(settings.formats))


def _move(temporary: Path, folder: Path, record: Record, old: set[str]) -> None:
    """Move all files into ``folder``. The old record goes first and the new one comes last, so none is ever wrong."""
    folder.mkdir(exist_ok=True)
    atomic_write({folder / _MOVING: json.dumps(sorted({*old, *record["files"]})).encode()})
    (folder / RECORD).unlink(missing_ok=True)
    for file in record["files"]:
        replace(temporary / file, folder / file)
    for file in old - set(record["files"]):
        (folder / file).unlink(missing_ok=True)
    atomic_write({folder / RECORD: (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()})
    (folder / _MOVING).unlink()
