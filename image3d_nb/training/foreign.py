"""Pictures of the kind that the tiny model knows, which its training's generator did not make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from .evaluate import PHOTO, cut_out
from .objects import ProceduralObject, make_object
from .shapes import vertex_normals

_SEED = 4_000_000_000  # beyond those of training, its tests and the samples


def foreign_pictures() -> dict[str, Image.Image]:
    """What is foreign about a picture, and the picture, RGBA or RGB."""
    mug, car, duck = (
        make_object(_SEED + seed, name, vary_fill=False) for seed, name in enumerate(("mug", "car", "duck"))
    )
    return {
        "a drawn mug": drawn_mug(),
        "light from below and the right": cut_out(lit(mug, (0.7, -0.5, 0.5))),
        "a camera 20 degrees above": cut_out(car, 20.0),
        "a camera 15 degrees below": cut_out(mug, -15.0),
        "a grey background": on_grey(cut_out(duck)),
    }


def drawn_mug() -> Image.Image:
    """Flat colours and black outlines, RGBA."""
    big = 2 * PHOTO
    picture = Image.new("RGBA", (big, big))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((380, 220, 580, 440), outline=(20, 20, 20, 255), width=44)
    pen.ellipse((386, 226, 574, 434), outline=(60, 140, 90, 255), width=32)
    pen.rounded_rectangle((120, 130, 440, 540), 40, fill=(70, 160, 105, 255), outline=(20, 20, 20, 255), width=6)
    pen.rectangle((123, 280, 437, 380), fill=(240, 230, 200, 255))
    pen.ellipse((120, 90, 440, 180), fill=(40, 100, 65, 255), outline=(20, 20, 20, 255), width=6)
    return picture.resize((PHOTO, PHOTO), Image.Resampling.LANCZOS)


def lit(thing: ProceduralObject, direction: tuple[float, float, float]) -> ProceduralObject:
    """The object under one hard light from ``direction`` (world axes) and a dim rest."""
    towards = np.asarray(direction) / np.linalg.norm(direction)
    facing = np.maximum(vertex_normals(thing.vertices.astype(np.float64), thing.faces) @ towards, 0)  # [V]
    colors = np.clip(thing.albedo * (0.35 + 0.75 * facing)[:, None], 0, 1)
    return replace(thing, colors=colors.astype(np.float32))


def on_grey(picture: Image.Image) -> Image.Image:
    """Before a plain grey wall with a little noise, RGB."""
    random = np.random.default_rng(0)
    wall = np.clip(150 + random.normal(0, 2, (picture.height, picture.width, 1)), 0, 255).repeat(3, -1)
    behind = Image.fromarray(wall.astype(np.uint8))
    behind.paste(picture, (0, 0), picture)
    return behind
