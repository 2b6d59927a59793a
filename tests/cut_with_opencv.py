"""Cut objects out with GrabCut and print, as JSON, how well each mask fits the truth (intersection over union)."""

from __future__ import annotations

import json
import sys

import numpy as np
from PIL import Image

from image3d_nb.images import remove_background
from image3d_nb.images.background import mask_in_box
from tests.test_images_prepare import BACKGROUNDS, THINGS, photo


def alike(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def measured() -> dict[str, object]:
    cut: dict[str, float] = {}
    for thing in THINGS:
        for background in BACKGROUNDS:
            content, truth = photo(thing, background)
            alpha = np.asarray(remove_background(content, "grabcut"))[..., 3]
            cut[f"{thing} on {background}"] = alike(alpha >= 128, truth)

    # a ball on stripes of three colours, which no plain background describes
    y, x = np.mgrid[:240, :320]
    ball = np.hypot(x - 150, y - 110) < 60
    stripes = np.array([[40, 90, 60], [90, 130, 80], [60, 60, 110]], np.uint8)[(x + y) // 15 % 3]
    noise = np.random.default_rng(0).integers(0, 25, (240, 320, 3), dtype=np.uint8)
    image = Image.fromarray(np.where(ball[..., None], np.array([190, 40, 30], np.uint8), stripes) + noise)
    masks = [np.asarray(mask_in_box(image, (80, 40, 225, 185))) for _ in range(2)]
    return {"cut": cut, "box": alike(masks[0] >= 128, ball), "same": bool((masks[0] == masks[1]).all())}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured()))
