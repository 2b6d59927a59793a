"""How good the bundled model is, beside the bars it must reach; objects held out, seeds fixed, raw renders.

python benchmarks/bench_tiny.py [--objects 200] [--model tiny]
"""

from __future__ import annotations

import argparse
import time

import torch

from image3d_nb import load_pipeline
from image3d_nb.training.evaluate import evaluate

BARS = {  # (split, measurement) -> decibels
    ("test", "true views"): 20.5,
    ("test", "sides"): 21.0,
    ("test", "whole way"): 19.0,
    ("unseen", "whole way"): 16.5,
}
ABOVE_COPIES = 1.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--objects", type=int, default=200, help="of each split")
    parser.add_argument("--model", default="tiny")
    chosen = parser.parse_args()
    pipe = load_pipeline(chosen.model)
    for split in ("test", "unseen"):
        started = time.monotonic()
        scores = evaluate(pipe, split, chosen.objects)
        for name, score in scores.items():
            bar = BARS.get((split, name))
            print(f"{split:7} {name:13} {score}" + (f"  (bar {bar:g}: {score.psnr - bar:+.2f})" if bar else ""))
        gain = scores["whole way"].psnr - scores["copied front"].psnr
        bar = f"  (bar {ABOVE_COPIES:g}: {gain - ABOVE_COPIES:+.2f})" if split == "test" else ""
        print(f"{split:7} above the copied front {gain:+.2f} dB{bar}")
        print(f"{split:7} {time.monotonic() - started:.0f} s on {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
