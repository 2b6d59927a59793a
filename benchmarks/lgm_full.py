"""LGM-full at full size, with random weights: speed of each part beside the plain path, and memory.

    python benchmarks/lgm_full.py                        all parts that this machine can run, one after the other
    python benchmarks/lgm_full.py lgm [--repeat 2]       LGM forward, 415 million parameters
    python benchmarks/lgm_full.py step                   one guided denoising step, 942 million parameters, 10 rows
    python benchmarks/lgm_full.py decode                 the views' decoding, 84 million parameters
    python benchmarks/lgm_full.py memory [--steps 1]     a whole run with memory="low": its peak
    python benchmarks/lgm_full.py cuda                   seconds an object in float16, with and without torch.compile

The plain path is float32, attention written out, no channels_last, nothing kept from one step to the next, and five
views decoded. Each part is a process of its own, so that memory is measured, and bounded, part by part.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GIB = 2**30
STEPS = 30
CLIP_VISION = {  # ViT-H/14
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
    "image_size": 224, "patch_size": 14, "hidden_act": "gelu", "projection_dim": 1024,
}  # fmt: skip
CLIP_TEXT = {  # Stable Diffusion 2.1's
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
    "max_position_embeddings": 77, "vocab_size": 49408, "hidden_act": "gelu", "projection_dim": 512,
}  # fmt: skip
VAE = {
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4, "norm_num_groups": 32,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "sample_size": 768,
    "scaling_factor": 0.18215,
}  # fmt: skip
DDIM = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False,
    "clip_sample": False,
}  # fmt: skip


def networks() -> dict[str, Callable[[], nn.Module]]:
    """Each network of the published sizes, by its component's name."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

    from image3d_nb.models.lgm import LGM
    from image3d_nb.models.mv_unet import MultiViewUNetModel

    return {
        "lgm": lambda: LGM(rotation="identity"),
        "unet": MultiViewUNetModel,
        "vae": lambda: AutoencoderKL(**VAE),
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**CLIP_TEXT)),
        "image_encoder": lambda: CLIPVisionModel(CLIPVisionConfig(**CLIP_VISION)),
    }


def build(name: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
    """A network with random weights that keep the variance of what runs through it."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with no_init():
            network = networks()[name]().eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(previous)
    block = (2 * torch.rand(2**20, generator=torch.Generator().manual_seed(0)) - 1).to(dtype)
    for parameter_name, parameter in network.named_parameters():
        if parameter.ndim > 1:  # the same random numbers again and again: a billion new ones take minutes
            bound = math.sqrt(3 / math.prod(parameter.shape[1:]))
            for part in parameter.view(-1).split(len(block)):
                torch.mul(block[: len(part)], bound, out=part)
        else:
            parameter.fill_(float(parameter_name.endswith("weight")))
    return nn.Module.to(network, device)


@contextmanager
def no_init() -> Iterator[None]:
    """Layers leave their parameters as they find them: the random start of a billion numbers takes minutes."""
    kinds = (nn.Linear, nn.Conv2d, nn.Embedding)
    kept = [kind.reset_parameters for kind in kinds]
    for kind in kinds:
        kind.reset_parameters = nn.Identity.extra_repr  # type: ignore[assignment, method-assign] -- does nothing
    try:
        yield
    finally:
        for kind, method in zip(kinds, kept, strict=True):
            kind.reset_parameters = method  # type: ignore[method-assign]


def plain_attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
    """softmax(q k' / sqrt(d)) v, written out."""
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v


@contextmanager
def plainly() -> Iterator[None]:
    fused = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = plain_attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused


def seconds(run: Callable[[], Any], repeat: int) -> float:
    """The median of some runs."""
    spans = []
    for _ in range(repeat):
        start = time.perf_counter()
        with torch.no_grad():
            run()
        spans.append(time.perf_counter() - start)
    return statistics.median(spans)


def compare(
    name: str, plain: Callable[[], Any], ready: Callable[[torch.dtype], Callable[[], Any]], repeat: int
) -> dict:
    """Seconds of the plain path, of ours in float32, and in bfloat16 where the CPU has it."""
    from image3d_nb.pipelines.memory import native_bfloat16

    with plainly():
        found = {"plain": seconds(plain, repeat)}
    for dtype in (torch.float32, torch.bfloat16) if native_bfloat16() else (torch.float32,):
        with torch.no_grad():
            run = ready(dtype)  # what is made once, at loading or for all steps, is not timed
        found[str(dtype).removeprefix("torch.")] = seconds(run, repeat)
    for kind in found:
        print(f"{name:24} {kind:9} {found[kind]:8.2f} s   {found['plain'] / found[kind]:5.2f}x", flush=True)
    return found


def bench_lgm(repeat: int) -> dict:
    """One forward pass."""
    network, x = build("lgm"), torch.randn(1, 4, 9, 256, 256)

    def ready(dtype: torch.dtype) -> Callable[[], Any]:
        from image3d_nb.pipelines.memory import channels_last

        channels_last(nn.Module.to(network, dtype))
        return lambda: network(x.to(dtype))

    return compare("LGM forward", lambda: network(x), ready, repeat)


def bench_step(repeat: int) -> dict:
    """One guided step: two conditions, five frames each."""
    network = build("unet")
    rows, tokens, looks = torch.randn(10, 4, 32, 32), torch.randn(2, 77, 1024), torch.randn(2, 257, 1280)
    picture = torch.randn(2, 4, 32, 32)
    given = {"timesteps": torch.full((10,), 501.0), "camera": torch.randn(10, 16), "num_frames": 5}
    every = {"context": tokens.repeat_interleave(5, 0), "ip": looks.repeat_interleave(5, 0)}

    def ready(dtype: torch.dtype) -> Callable[[], Any]:
        from image3d_nb.pipelines.memory import channels_last

        channels_last(nn.Module.to(network, dtype))
        kv = network.precompute_kv(tokens.to(dtype), looks.to(dtype))
        return lambda: network(x=rows.to(dtype), context=kv, ip_img=picture, **given)

    return compare("guided step", lambda: network(x=rows, ip_img=picture, **given, **every), ready, repeat)


def bench_decode(repeat: int) -> dict:
    """Latents to views: five for the plain path, the four that are used for ours."""
    network, latents = build("vae"), torch.randn(5, 4, 32, 32)

    def ready(dtype: torch.dtype) -> Callable[[], Any]:
        from image3d_nb.pipelines.memory import channels_last

        channels_last(nn.Module.to(network, dtype))
        return lambda: network.decode(latents[:4].to(dtype))

    return compare("decoding", lambda: network.decode(latents), ready, repeat)


def write_component(folder: Path, name: str) -> None:
    """One component of a folder like the published one, float16."""
    network = build(name, torch.float16)
    network.save_pretrained(folder / name)


def write_folder(folder: Path) -> None:
    """A folder like the published one: 4.8 GB. Each network is made in a process of its own."""
    from diffusers import DDIMScheduler
    from transformers import CLIPImageProcessor

    for name in networks():
        subprocess.run([sys.executable, __file__, "--write", name, "--folder", str(folder)], check=True)
    DDIMScheduler(**DDIM).save_pretrained(folder / "scheduler")
    CLIPImageProcessor().save_pretrained(folder / "feature_extractor")
    small_tokenizer(folder / "tokenizer")
    ours = {"lgm": ["lgm", "LGM"], "unet": ["mv_unet", "MultiViewUNetModel"], "vae": ["diffusers", "AutoencoderKL"]}
    names = {"text_encoder": "CLIPTextModel", "image_encoder": "CLIPVisionModel", "tokenizer": "CLIPTokenizer"}
    theirs = {name: ["transformers", kind] for name, kind in names.items()}
    rest = {"feature_extractor": ["transformers", "CLIPImageProcessor"], "scheduler": ["diffusers", "DDIMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps(ours | theirs | rest))


def small_tokenizer(folder: Path) -> None:
    """CLIP's tokenizer with the marks of beginning and end only: enough for the empty prompt."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True)
    words = {"!": 0, "!</w>": 1, "<|startoftext|>": 49406, "<|endoftext|>": 49407}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    made = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token="!")  # noqa: S106
    made.save_pretrained(folder)


def bench_memory(folder: Path, steps: int) -> dict:
    """A whole run with one network in memory at a time, in this process."""
    from image3d_nb import generator, load_image, load_pipeline, sample

    start = time.perf_counter()
    pipe = load_pipeline(folder, memory="low", rotation="identity")
    loaded = time.perf_counter()
    marks: list[float] = []
    starts: list[float] = []
    pipe.unet.register_forward_pre_hook(lambda *_: starts.append(time.perf_counter()))

    def mark(*_: Any) -> dict:
        marks.append(time.perf_counter())
        print(f"  step {len(marks)} done, peak so far {peak():.2f} GiB", flush=True)
        return {}

    pipe(load_image(sample("mug")), num_inference_steps=steps, generator=generator(0), callback_on_step_end=mark)
    end = time.perf_counter()
    spans = {"load": loaded - start, "run": end - loaded, "step": marks[-1] - starts[-1]}
    return spans | {"peak": peak(), "type": str(pipe.offloader.compute_dtype).removeprefix("torch.")}


def peak() -> float:
    """GiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / GIB


def bench_cuda(repeat: int) -> None:
    """Seconds an object, and peak memory, in float16."""
    from diffusers import DDIMScheduler
    from transformers import CLIPImageProcessor, CLIPTokenizer

    from image3d_nb import generator, load_image, sample
    from image3d_nb.pipelines.lgm import LGMFullPipeline

    with tempfile.TemporaryDirectory() as folder:
        small_tokenizer(Path(folder) / "tokenizer")
        tokenizer = CLIPTokenizer.from_pretrained(Path(folder) / "tokenizer")
    parts = {name: build(name, torch.float16, "cuda") for name in networks()}
    pipe = LGMFullPipeline(
        scheduler=DDIMScheduler(**DDIM), tokenizer=tokenizer, feature_extractor=CLIPImageProcessor(), **parts
    )
    pipe.set_progress_bar_config(disable=True)
    picture = load_image(sample("mug"))

    def run() -> None:
        pipe(picture, num_inference_steps=STEPS, generator=generator(0))
        torch.cuda.synchronize()

    print(f"{torch.cuda.get_device_name()}, float16, {STEPS} steps")
    for name in ("eager", "torch.compile"):
        if name != "eager":
            for network in (pipe.unet, pipe.lgm):
                network.compile(mode="max-autotune-no-cudagraphs")
        start = time.perf_counter()
        run()
        first = time.perf_counter() - start
        torch.cuda.reset_peak_memory_stats()
        span = seconds(run, repeat)
        print(
            f"{name:14} {span:6.2f} s an object, first {first:.1f} s, {torch.cuda.max_memory_allocated() / GIB:.1f} GiB"
        )


PARTS = {"lgm": bench_lgm, "step": bench_step, "decode": bench_decode}


def child(*words: str) -> dict:
    """A part in a process of its own; what it found is the last line that it prints."""
    command = [sys.executable, __file__, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for last in process.stdout:
            if not last.startswith("{"):
                print(last, end="", flush=True)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed")
    return json.loads(last)


def report_memory(found: dict, steps: int) -> None:
    print(f'memory="low", {steps} step(s), computing in {found["type"]}: peak {found["peak"]:.2f} GiB,'
          f" {found['load'] + found['run']:.0f} s")  # fmt: skip
    total = found["load"] + found["run"] + (STEPS - steps) * found["step"]
    print(f"  one step {found['step']:.0f} s, {STEPS} steps extrapolated: {total:.0f} s an object")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", nargs="?", default="all", choices=["all", *PARTS, "memory", "cuda"])
    parser.add_argument("--repeat", type=int, default=2, help="runs of which the median is taken")
    parser.add_argument("--steps", type=int, default=1, help='denoising steps of the run with memory="low"')
    parser.add_argument("--threads", type=int, default=2, help="cores")
    parser.add_argument("--folder", type=Path, help="where the 4.8 GB of random weights are, or go, instead of away")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.write:
        write_component(given.folder, given.write)
    elif given.child:
        found = bench_memory(given.folder, given.steps) if given.part == "memory" else PARTS[given.part](given.repeat)
        print(json.dumps(found))
    elif given.part == "cuda" or (given.part == "all" and torch.cuda.is_available()):
        bench_cuda(given.repeat)
    else:
        run_parts(given)


def run_parts(given: argparse.Namespace) -> None:
    common = ["--child", "--repeat", str(given.repeat), "--threads", str(given.threads)]
    chosen = [*PARTS, "memory"] if given.part == "all" else [given.part]
    found = {name: child(name, *common) for name in chosen if name in PARTS}
    if len(found) == len(PARTS):
        for kind in found["step"]:
            total = STEPS * found["step"][kind] + found["decode"][kind] + found["lgm"][kind]
            print(f"{STEPS} steps, decoding and LGM {kind:9} {total:8.0f} s an object")
    if "memory" in chosen:
        with tempfile.TemporaryDirectory() as away:
            folder = given.folder or Path(away) / "model"
            if not (folder / "model_index.json").is_file():
                write_folder(folder)
            result = child("memory", *common, "--folder", str(folder), "--steps", str(given.steps))
        report_memory(result, given.steps)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
