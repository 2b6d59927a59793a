"""A full turn around an object, as an animation or a contact sheet."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from .._files import atomic_path
from ..cameras import LGM_FOVY, LGM_RADIUS, orbit_cameras
from ..errors import Cancelled, InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from ._panel import object_scene
from .scene import as_colour
from .sheets import as_images, sheet
from .stills import draw

SUFFIXES = (".gif", ".webp", ".png")
CHUNK = 4  # views rendered together: a progress bar that moves, and memory that does not grow with `frames`
SHEET_COLUMNS = 6
PALETTE_SAMPLE = 20_000  # pixels that the palette is chosen from: 500,000 take 8 s and gain 0.2 dB
OnStep = Callable[[str, int, int], object]


def render_turntable(
    obj: Gaussians | Mesh, path: str | os.PathLike[str], *, frames: int = 24, size: int = 256,
    elevation: float = 15.0, azimuth: float = 0.0, radius: float = LGM_RADIUS, fovy: float = LGM_FOVY,
    background: float | Sequence[float] = 1.0, fps: float = 12.0, light: bool = True, progress: bool = True,
    on_step: OnStep | None = None, cancelled: Callable[[], bool] | None = None,
) -> Path:  # fmt: skip
    """Write a full turn: a looping .gif or .webp, or all frames on one .png sheet.

    Args:
        obj: Gaussians or a Mesh.
        path: .gif, .webp or .png.
        frames: images in the turn, 1 to 1000.
        size: width and height of each image, pixels.
        elevation: of the camera, degrees, up is positive.
        azimuth: of the first frame, degrees, 0 is the front.
        radius: distance from the origin, world units.
        fovy: degrees.
        background: one grey or (r, g, b), in [0, 1].
        fps: frames a second; a .gif rounds the time of a frame to 0.01 s.
        light: whether light falls on a mesh; otherwise its colours are shown as stored.
        progress: whether a bar on stderr shows the progress (never if CI or TQDM_DISABLE is set in the environment).
        on_step: called as f("frames", done, total) after each few frames.
        cancelled: called before each few frames; if it returns True, the work stops.

    Returns:
        The path of the file, which is written in full or not at all.

    Raises:
        InputError: another type of object, an unknown suffix, or a number out of its range.
        FileNotFoundError: the folder does not exist.
        Cancelled: ``cancelled`` returned True; an older file of that name is untouched.
    """
    target = _target(path)
    _check_range("fps", fps, 0.1, 100)
    images = turntable_frames(
        obj, frames, size=size, elevation=elevation, azimuth=azimuth, radius=radius, fovy=fovy,
        background=background, light=light, progress=progress, on_step=on_step, cancelled=cancelled,
    )  # fmt: skip
    with atomic_path(target) as temporary:
        _write(temporary, images, as_colour(background), fps)
    return target


def turntable_frames(
    obj: Gaussians | Mesh, frames: int = 24, *, size: int = 256,
    elevation: float = 15.0, azimuth: float = 0.0, radius: float = LGM_RADIUS, fovy: float = LGM_FOVY,
    background: float | Sequence[float] = 1.0, light: bool = True, progress: bool = True,
    on_step: OnStep | None = None, cancelled: Callable[[], bool] | None = None,
) -> list[Image.Image]:  # fmt: skip
    """Draw the images of a full turn. All arguments are those of :func:`render_turntable`.

    Returns:
        ``frames`` RGB images of ``size`` x ``size`` pixels.

    Raises:
        InputError: another type of object, or a number out of its range.
        Cancelled: ``cancelled`` returned True.
    """
    scene = object_scene(obj, "a turntable")
    _check_range("frames", frames, 1, 1000)
    _check_range("size", size, 8, 4096)
    colour = as_colour(background)
    angles = [azimuth + 360 * i / frames for i in range(frames)]
    cameras = orbit_cameras(elevation=elevation, azimuth=angles, radius=radius, fovy=fovy, size=size)
    images: list[Image.Image] = []
    quiet = not progress or any(os.environ.get(name) for name in ("CI", "TQDM_DISABLE"))
    with tqdm(total=frames, desc="turntable", unit="frame", file=sys.stderr, disable=quiet) as bar:
        for start in range(0, frames, CHUNK):
            if cancelled is not None and cancelled():
                raise Cancelled(f"the turntable was cancelled after {start} of {frames} frames; nothing was written")
            views = draw(scene, cameras[start : start + CHUNK], colour, light)
            images += as_images(views)
            bar.update(len(views))
            if on_step is not None:
                on_step("frames", len(images), frames)
    return images


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} must be from {low} to {high}; got {value!r}")


def _target(path: str | os.PathLike[str]) -> Path:
    target = Path(path).expanduser()
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(f"the name of a turntable must end in {', '.join(SUFFIXES)}; got {target.name!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder of a turntable must exist; got {target.parent}: create it first")
    return target


def _write(path: Path, images: list[Image.Image], background: list[float], fps: float) -> None:
    if path.suffix.lower() == ".png":
        sheet(images, SHEET_COLUMNS).save(path, optimize=True)
        return
    milliseconds = round(1000 / fps)
    if path.suffix.lower() == ".webp":
        first, rest = images[0], images[1:]
        first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0, quality=85, method=4)
        return
    first, *rest = _with_one_palette(images, background)
    first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0, disposal=1, optimize=False)


def _with_one_palette(images: list[Image.Image], background: list[float]) -> list[Image.Image]:
    """Reduce all frames to the same 256 colours, without dithering: anything else would flicker.

    The background has its own palette entry and does not take part in choosing the others.
    """
    ground = np.array([round(255 * value) for value in background], np.uint8)
    frames = np.stack([np.asarray(image.convert("RGB")) for image in images])  # [T, H, W, 3]
    empty = (frames == ground).all(-1)  # [T, H, W]
    pixels = frames[~empty] if not empty.all() else ground[None]  # [n, 3]
    pixels = pixels[:: -(-len(pixels) // PALETTE_SAMPLE)]
    chosen = Image.fromarray(pixels[None]).quantize(255, Image.Quantize.MEDIANCUT, kmeans=1).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((ground.tolist() + chosen)[: 3 * 256])
    reduced = []
    for frame, hole in zip(frames, empty, strict=True):
        indices = np.array(Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE))
        indices[hole] = 0  # Pillow searches in coarse boxes: it may prefer a near colour to an equal one
        image = Image.fromarray(indices)
        image.putpalette(palette.getpalette() or [])
        reduced.append(image)
    return reduced
