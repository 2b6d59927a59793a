"""Make the sample pictures of data/images and their index, from formulas alone.

    python tools/sample_pictures.py

Each is of another kind, because each kind has its own way to go wrong when it is read. Five show procedural objects
whose seeds lie beyond those of training and of its tests (3,000,000,000 and up); one is drawn by hand. The same
versions of numpy and Pillow make the same files, byte by byte.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from image3d_nb.cameras import orbit_cameras
from image3d_nb.training.objects import make_object, render_views

FOLDER = Path(__file__).resolve().parent.parent / "data" / "images"
FIRST_SEED = 3_000_000_000  # training counts from 0, its tests from 1,000,000,000 and 2,000,000,000


@dataclass(frozen=True)
class Sample:
    """One row of the index, and how its file is made."""

    file: str
    title: str
    kind: str
    source: str
    make: Callable[[], bytes]


def rendered(family: str, seed: int, size: int) -> np.ndarray:
    """The front view of an object, float [size, size, 4] in [0, 1], premultiplied alpha."""
    thing = make_object(FIRST_SEED + seed, family, vary_fill=False)
    front = orbit_cameras(elevation=0.0, azimuth=(0.0,), size=size)
    return render_views(thing, front, supersample=3 if size < 1000 else 2)[0] / 255


def cut_out(rgba: np.ndarray) -> Image.Image:
    """Premultiplied [H, W, 4] to an RGBA picture, whose colours are not multiplied."""
    alpha = rgba[..., 3:]
    colours = np.divide(rgba[..., :3], alpha, out=np.zeros_like(rgba[..., :3]), where=alpha > 0)
    return Image.fromarray(to_bytes(np.concatenate([colours.clip(0, 1), alpha], -1)))


def in_studio(
    rgba: np.ndarray, size: tuple[int, int], low: tuple[float, float, float], high: tuple[float, float, float]
) -> Image.Image:
    """The object before a wall that gets lighter upwards, from ``low`` to ``high``.

    There is no shadow: that is no part of the object, but a background removal by colour cannot know that.
    """
    width, height = size
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(0, 1, height))  # [H, W]
    light = (1 - down - 0.12 * across**2).clip(0, 1)[..., None]
    wall = np.asarray(low) + light * (np.asarray(high) - np.asarray(low))  # [H, W, 3]
    layer = np.zeros((height, width, 4))
    side = rgba.shape[0]
    top, left = (height - side) // 2, (width - side) // 2
    layer[top : top + side, left : left + side] = rgba
    return Image.fromarray(to_bytes(layer[..., :3] + (1 - layer[..., 3:]) * wall))


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] to uint8, dithered by less than a step, so that a smooth wall shows no bands."""
    noise = np.random.default_rng(0).uniform(-0.49, 0.49, (*values.shape[:2], 1))
    inside = (values > 0) & (values < 1)  # what is empty or full stays so
    return np.rint(values * 255 + noise * inside).clip(0, 255).astype(np.uint8)


def encoded(picture: Image.Image, name: str, **options: Any) -> bytes:
    """The content of a picture's file."""
    buffer = io.BytesIO()
    picture.save(buffer, format=name, **options)
    return buffer.getvalue()


def mug() -> bytes:
    """A PNG with alpha."""
    return encoded(cut_out(rendered("mug", 3, 512)), "PNG", optimize=True)


def duck() -> bytes:
    """A JPEG on a grey studio background."""
    picture = in_studio(rendered("duck", 7, 640), (768, 640), (0.42, 0.43, 0.45), (0.72, 0.73, 0.74))
    return encoded(picture, "JPEG", quality=90)


def car() -> bytes:
    """A JPEG that lies on its side, as a phone stores it: EXIF says how to turn it."""
    picture = in_studio(rendered("car", 2, 720), (720, 900), (0.80, 0.74, 0.66), (0.93, 0.90, 0.85))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    return encoded(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=90, exif=exif)


def robot() -> bytes:
    """A PNG of 64 colours, one of which means "nothing"."""
    picture = cut_out(rendered("robot", 4, 480))
    solid = np.asarray(picture.getchannel("A")) >= 128
    colours = picture.convert("RGB").quantize(63, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    indices = np.where(solid, np.asarray(colours), 63).astype(np.uint8)
    small = Image.fromarray(indices)
    small.putpalette([*(colours.getpalette() or [])[: 63 * 3], 255, 255, 255])
    return encoded(small, "PNG", transparency=63)


def house() -> bytes:
    """A large JPEG: 2400 x 1800."""
    picture = in_studio(rendered("house", 1, 1800), (2400, 1800), (0.66, 0.78, 0.88), (0.82, 0.90, 0.96))
    return encoded(picture, "JPEG", quality=80)


def toadstool() -> bytes:
    """A flat drawing on plain paper."""
    scale = 4  # drawn larger and made smaller: smooth edges
    picture = Image.new("RGB", (600 * scale, 600 * scale), (214, 232, 240))
    pen = ImageDraw.Draw(picture)

    def ellipse(x: float, y: float, wide: float, tall: float, colour: tuple[int, int, int]) -> None:
        pen.ellipse([scale * v for v in (x - wide, y - tall, x + wide, y + tall)], fill=colour)

    def polygon(points: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
        pen.polygon([(scale * x, scale * y) for x, y in points], fill=colour)

    cream, shade, red, dark, white = (246, 231, 203), (222, 199, 160), (205, 43, 38), (163, 28, 32), (255, 250, 240)
    polygon([(258, 300), (342, 300), (368, 500), (232, 500)], cream)  # stalk
    ellipse(300, 500, 68, 26, cream)
    polygon([(318, 300), (342, 300), (368, 500), (330, 515)], shade)
    ellipse(300, 368, 62, 16, shade)  # ring
    ellipse(300, 362, 62, 14, white)
    pen.chord([scale * v for v in (90, 70, 510, 530)], 180, 360, fill=red)  # cap
    ellipse(300, 300, 210, 34, dark)
    ellipse(300, 306, 150, 22, shade)  # gills
    for x, y, wide, tall in (
        (235, 140, 34, 26), (345, 180, 40, 32), (165, 220, 24, 24), (430, 240, 22, 26), (262, 232, 26, 20),
        (372, 112, 20, 14),
    ):  # fmt: skip
        ellipse(x, y, wide, tall, white)
    return encoded(picture.resize((600, 600), Image.Resampling.LANCZOS), "PNG", optimize=True)


def _rendering(family: str, seed: int) -> str:
    return f"rendered by tools/sample_pictures.py: image3d_nb.training.objects, {family}, seed {FIRST_SEED + seed}"


SAMPLES = {
    "mug": Sample("mug.png", "A pink mug", "PNG with alpha", _rendering("mug", 3), mug),
    "duck": Sample("duck.jpg", "A yellow duck", "JPEG, grey studio background", _rendering("duck", 7), duck),
    "car": Sample("car.jpg", "A blue car", "JPEG with an EXIF rotation", _rendering("car", 2), car),
    "robot": Sample("robot.png", "A toy robot", "PNG with a palette, one clear colour", _rendering("robot", 4), robot),
    "house": Sample("house.jpg", "A house with an orange roof", "large JPEG", _rendering("house", 1), house),
    "toadstool": Sample(
        "toadstool.png", "A toadstool", "flat drawing", "drawn by tools/sample_pictures.py", toadstool
    ),
}  # fmt: skip


def row(name: str, sample: Sample, content: bytes) -> dict[str, Any]:
    """A picture's entry in the index; width and height as stored, before EXIF turns it."""
    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
    return {
        "name": name, "file": sample.file, "title": sample.title, "kind": sample.kind, "width": width, "height": height,
        "source": sample.source, "licence": "CC0-1.0", "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip


def main() -> None:
    """Write all pictures and the index."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, sample in SAMPLES.items():
        content = sample.make()
        (FOLDER / sample.file).write_bytes(content)
        rows.append(row(name, sample, content))
        print(f"{sample.file:16} {len(content) / 1e3:6.0f} kB  {sample.kind}")
    (FOLDER / "index.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
