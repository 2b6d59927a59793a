"""How fast a model's folder is loaded, beside plain reading of its bytes, and how much memory it takes at its peak.

python benchmarks/bench_loading.py [--megabytes 400 | --full] [--dtype float16] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from image3d_nb.models.lgm import LGM
from image3d_nb.models.mv_unet import MultiViewUNetModel
from image3d_nb.pipelines import load_pipeline
from image3d_nb.pipelines.lgm import LGMFullPipeline
from image3d_nb.record import peak_memory

BLOCK = 2**24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=400, help="of float16 weights, about (default: 400)")
    parser.add_argument("--full", action="store_true", help="LGM-full's own sizes, 4.8 GB")
    parser.add_argument("--dtype", default="float16", help="to load in; the files are float16 (default: float16)")
    parser.add_argument("--folder", type=Path, help="keep the weights there, or use those that are there")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        measure(chosen.folder, getattr(torch, chosen.dtype))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        if not (folder / "model_index.json").is_file():
            make(folder, chosen.megabytes, chosen.full)
        # a process of its own: making the weights took memory too, and a peak never falls
        words = [__file__, "--measure", "--folder", str(folder), "--dtype", chosen.dtype]
        subprocess.run([sys.executable, *words], check=True)


def make(folder: Path, megabytes: int, full: bool) -> None:
    """A folder of random weights, in float16."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    if full:
        networks = {"lgm": LGM(), "unet": MultiViewUNetModel(), **others()}
    else:  # LGM's share is a quarter; parameters grow with the square of the width
        width = 32 * round((megabytes * 0.68) ** 0.5 / 3)
        channels = (width, 2 * width, 2 * width)
        lgm = LGM(down_channels=channels, down_attention=(False, False, True), up_channels=(2 * width,),
                  up_attention=(True,), splat_size=64)  # fmt: skip
        networks = {"lgm": lgm, "unet": MultiViewUNetModel(model_channels=64 * max(1, round(width / 64)), ip_dim=0)}
    torch.set_default_dtype(torch.float32)
    from diffusers import DDIMScheduler

    LGMFullPipeline(scheduler=DDIMScheduler(), **networks).save_pretrained(folder)


def others() -> dict[str, torch.nn.Module]:
    """The VAE of Stable Diffusion 2.1 and the two CLIPs, at LGM-full's sizes."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    text = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
    vision = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
    return {
        "vae": AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, **blocks),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**text, hidden_act="gelu")),
        "image_encoder": CLIPVisionModel(CLIPVisionConfig(**vision, image_size=224, patch_size=14, hidden_act="gelu")),
    }


def measure(folder: Path, dtype: torch.dtype) -> None:
    files = sorted(folder.rglob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    plain, plain_cpu = min(timed(lambda: read(files)) for _ in range(2))
    load_pipeline("tiny")  # the libraries are in memory now
    before = psutil.Process().memory_info().rss
    loaded = []
    seconds, cpu = timed(lambda: loaded.append(load_pipeline(folder, dtype=dtype)))
    networks = [part for part in loaded[0].components.values() if isinstance(part, torch.nn.Module)]
    held = sum(tensor.nbytes for network in networks for tensor in network.parameters())
    result = {
        "gigabytes": round(size / 1e9, 3),
        "dtype": str(dtype),
        "seconds": round(seconds, 2),
        "CPU seconds": round(cpu, 2),
        "of plain reading": round(seconds / plain, 2),
        "of plain reading's CPU seconds": round(cpu / plain_cpu, 2),
        "plain GB/s": round(size / 1e9 / plain, 2),
        "peak above the libraries / weights in that type": round((peak_memory() - before) / held, 2),
    }
    print(json.dumps(result, indent=1))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of the processors: on a busy machine the former say little."""
    started, cpu = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - started, time.process_time() - cpu


def read(files: list[Path]) -> None:
    """All bytes, once, and nothing done with them."""
    block = bytearray(BLOCK)
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(block):
                pass


if __name__ == "__main__":
    main()
