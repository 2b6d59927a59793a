"""Checks of lesson 00, quickstart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from ..cameras import Cameras
from ..gaussians import Gaussians
from ._exercise import Exercise, call, file_of, generator, need, of_type

SIZE, RATIO = 128, 0.6  # of exercise 1
ROW = 32  # bytes of a Gaussian in a .splat


def small_square(answer: Any) -> None:
    """A 128-pixel white square in which the object takes 60 %."""
    image = of_type(answer, Image.Image, "an image (PIL)")
    need(image.size == (SIZE, SIZE), f"It must be {SIZE} x {SIZE} pixels; it is {image.width} x {image.height}.")
    need(image.mode == "RGB", f"It must be in mode RGB, on white; it is in mode {image.mode}.")
    drawn = np.asarray(image).min(-1) < 240  # [H, W], whatever is clearly not white
    border = np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
    need(bool(drawn.any()), "There must be an object in it; all of it is white.")
    need(not border.any(), "The ground must be white up to the border; something touches it.")
    extent = [int(np.ptp(np.nonzero(drawn.any(axis))[0])) + 1 for axis in (0, 1)]
    share = max(extent) / SIZE
    wanted = f"The object's longer side must take about {RATIO:.0%} of the square"
    need(abs(share - RATIO) < 0.05, f"{wanted}; it takes {share:.0%}.")


def two_objects(answer: Any) -> None:
    """One call's result for a list of two pictures."""
    kind = type(answer).__name__
    need(hasattr(answer, "gaussians"), f"The answer must be what one call of the pipeline gives; it is a {kind}.")
    made = answer.gaussians
    need(isinstance(made, list), "Its .gaussians must be a list, one for each picture; it is a single object.")
    need(len(made) == 2, f"There must be 2 objects, from 2 pictures; there are {len(made)}.")
    same = torch.equal(made[0].means, made[1].means) and torch.equal(made[0].sh, made[1].sh)
    need(not same, "The pictures must be different; both objects are equal to the last digit.")


def one_camera_behind(answer: Any) -> None:
    """One camera behind the object, 30 degrees above it, looking at it."""
    cameras = of_type(answer, Cameras, "cameras, made by i3d.orbit_cameras")
    need(len(cameras) == 1, f"There must be one camera; there are {len(cameras)}.")
    place = cameras.positions[0].double()
    x, _, z = place.tolist()
    need(z < 0, f"It must stand behind the object, where z is negative; it stands at z = {z:.2f}.")
    need(abs(x) < 0.05 * abs(z), f"It must stand straight behind, at x = 0; it stands at x = {x:.2f}.")
    above = float(torch.rad2deg(torch.asin(place[1] / place.norm())))
    need(abs(above - 30) < 1, f"It must look from 30 degrees above; it does from {above:.0f}.")
    ahead = -cameras.c2w[0, :3, 2].double()
    need(ahead @ -place > 0.999 * place.norm(), "It must look at the origin; it looks past it.")


def solid_part(answer: Any) -> None:
    """A function that keeps exactly the Gaussians of opacity 0.5 or more."""
    rows = torch.rand(1, 200, 14, generator=generator())
    rows[0, 7, 3] = 0.5  # exactly: it stays
    before = Gaussians.from_lgm(rows)
    wanted = before[before.opacities >= 0.5]
    after = of_type(call(answer, before), Gaussians, "a function that gives Gaussians")
    need(len(after) > 0, "Some Gaussians must be left; none is.")
    faintest = float(after.opacities.min())
    need(faintest >= 0.5, f"All that is left must have opacity 0.5 or more; one has {faintest:.2f}.")
    if len(after) == len(wanted) - 1:
        need(False, "A Gaussian of opacity exactly 0.5 must stay, too: compare with >=, not with >.")
    need(len(after) >= len(wanted), f"All such Gaussians must stay, {len(wanted)} here; {len(after)} did.")
    same = len(after) == len(wanted) and torch.equal(after.means, wanted.means)
    need(same, "Nothing but the choice must change; positions or their order did.")


def small_file(answer: Any) -> None:
    """The path of a file with 32 bytes a Gaussian that reads back."""
    path, held = file_of(answer, ".splat", Gaussians)
    size = path.stat().st_size
    count = len(held)
    need(size == ROW * count, f"{count} Gaussians must take {ROW * count} bytes; the file has {size}.")


EXERCISES = (
    Exercise(
        "00.1", small_square,
        ("prepare_image takes more than the picture: look at help(i3d.prepare_image).",
         "i3d.prepare_image(image, size=..., ratio=...)."),
        "answer = i3d.prepare_image(image, size=128, ratio=0.6)",
        "A wrong size or place of the object is the most frequent reason for a bad result.",
    ),
    Exercise(
        "00.2", two_objects,
        ("The pipeline takes one image or a list of them.",
         "pipe([first, second]), where each of the two comes from i3d.load_image(i3d.sample(...))."),
        """\
images = [i3d.load_image(i3d.sample(name)) for name in ("mug", "duck")]
answer = pipe(images, generator=i3d.generator(0))""",
        "A list of pictures gives lists of everything, in the same order.",
    ),
    Exercise(
        "00.3", one_camera_behind,
        ("Azimuth 0 is the front and 90 the side; elevation counts degrees upwards.",
         "i3d.orbit_cameras(elevation=..., azimuth=...) with half a turn as the azimuth."),
        "answer = i3d.orbit_cameras(elevation=30, azimuth=180)",
        "Views from behind and above show what a model had to make up: look there first.",
    ),
    Exercise(
        "00.4", solid_part,
        ("Gaussians have a method that takes away the faint ones.",
         "return gaussians.prune(min_opacity=...)."),
        """\
def solid(gaussians):
    return gaussians.prune(min_opacity=0.5)""",
        "Faint Gaussians are most of the haze around an object, and a good part of a file.",
    ),
    Exercise(
        "00.5", small_file,
        ("i3d.save chooses the format by the end of the file's name.",
         'i3d.save(result.gaussians, path) with a path that ends in ".splat".'),
        """\
answer = "mug.splat"
i3d.save(result.gaussians, answer)""",
        "A .splat takes 32 bytes a Gaussian, a .ply 56: viewers on the web like the small one.",
    ),
)  # fmt: skip
