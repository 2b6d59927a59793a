"""The README's banner, and the sheets and curves of the tiny model's card, all made by this project's code.

python tools/model_pictures.py [--runs runs/views runs/lgm]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from image3d_nb import load_image, load_pipeline, sample
from image3d_nb.training.loop import LOG, plot
from image3d_nb.training.sheets import journeys, store, write_sheets

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "data" / "models" / "tiny"
BANNER = ROOT / "data" / "banner.png"
BANNER_SAMPLES = ("mug", "duck", "toadstool")


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of training runs, for the curves")
    chosen = parser.parse_args()
    pipe = load_pipeline()
    write_sheets(pipe, MODEL)
    store(journeys(pipe, [load_image(sample(name)) for name in BANNER_SAMPLES], 160), BANNER)
    if chosen.runs:
        for run in chosen.runs:
            shutil.copyfile(run / LOG, MODEL / f"log_{run.name}.jsonl")
        plot([run / LOG for run in chosen.runs], MODEL / "curves.png")


if __name__ == "__main__":
    main()
