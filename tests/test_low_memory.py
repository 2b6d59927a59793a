"""Number types, layouts, and networks that stay on disk until their turn comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from image3d_nb import generator, load_pipeline
from image3d_nb.errors import InputError
from image3d_nb.pipelines.lgm import LGMFullPipeline
from image3d_nb.pipelines.memory import channels_last, native_bfloat16, number_type

from .small import NETWORKS, Calls, small_pipeline


def in_memory(pipe: LGMFullPipeline) -> set[str]:
    return {name for name in NETWORKS if next(getattr(pipe, name).parameters()).device.type != "meta"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    small_pipeline().save_pretrained(path)
    return path


def test_low_memory_holds_one_network_at_a_time(folder: Path, ball: Image.Image) -> None:
    low = load_pipeline(folder, memory="low", dtype=torch.float32)
    low.set_progress_bar_config(disable=True)
    assert in_memory(low) == set()
    during: list[set[str]] = []

    def look(running, _step, _t, _tensors):
        during.append(in_memory(running))
        return {}

    found = low(ball, generator=generator(0), output_type="pt", callback_on_step_end=look)
    assert during == [{"unet"}] * 2
    assert in_memory(low) == set()
    normal = small_pipeline()(ball, generator=generator(0), output_type="pt")
    torch.testing.assert_close(found.images, normal.images, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.gaussians.means, normal.gaussians.means, atol=1e-3, rtol=0)


def test_low_memory_holds_two_bytes_a_number(folder: Path, ball: Image.Image) -> None:
    """Where the CPU has no bfloat16 of its own, rounded weights compute in float32."""
    low = load_pipeline(folder, memory="low")
    low.set_progress_bar_config(disable=True)
    with low.loaded("unet"):
        assert {parameter.dtype for parameter in low.unet.parameters()} == {torch.bfloat16}
    found = low(ball, generator=generator(0), output_type="pt").images
    rounded = load_pipeline(folder, dtype=torch.bfloat16)
    rounded.set_progress_bar_config(disable=True)
    if not native_bfloat16():
        for name in NETWORKS:
            torch.nn.Module.to(getattr(rounded, name), torch.float32)
    wanted = rounded(ball, generator=generator(0), output_type="pt").images
    assert (found - wanted).abs().mean() < 0.01  # not equal: CLIP rounds its pixels to its weights' type


def test_low_memory_is_freed_after_an_error(folder: Path, ball: Image.Image) -> None:
    low = load_pipeline(folder, memory="low")
    low.set_progress_bar_config(disable=True)

    def stop(*_: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        low(ball, callback_on_step_end=stop)
    assert in_memory(low) == set()
    for move in (lambda: low.to("cpu"), lambda: low.enable_model_cpu_offload(device="meta")):
        with pytest.raises((InputError, ImportError)):
            move()
    with pytest.raises(InputError, match="memory must be"):
        load_pipeline(folder, memory="little")


def test_vae_slicing_keeps_the_numbers() -> None:
    pipe = small_pipeline()
    latents = torch.randn(5, 4, 8, 8, generator=generator(0))
    whole = pipe.decode(latents)
    pipe.enable_vae_slicing()
    with Calls(pipe.vae.decoder) as rows:
        sliced = pipe.decode(latents)
    pipe.disable_vae_slicing()
    assert rows == [1, 1, 1, 1]
    torch.testing.assert_close(sliced, whole, atol=1e-5, rtol=0)


def test_number_types(monkeypatch: pytest.MonkeyPatch) -> None:
    assert number_type("cuda") == number_type("mps") == torch.float16
    monkeypatch.setattr("image3d_nb.pipelines.memory.native_bfloat16", lambda: True)
    assert number_type("cpu") == torch.bfloat16
    assert number_type("cpu", small=True) == torch.float32
    monkeypatch.setattr("image3d_nb.pipelines.memory.native_bfloat16", lambda: False)
    assert number_type("cpu") == torch.float32


def test_group_norm_keeps_its_digits_in_either_layout() -> None:
    """torch's own loses all of them where a group's mean is large beside its spread."""
    x = 50 + 0.05 * torch.randn(2, 64, 16, 16, generator=generator(0))
    layer = nn.GroupNorm(32, 64)
    exact = nn.GroupNorm(32, 64).double()(x.double()).float()
    channels_last(layer)
    assert list(layer.state_dict()) == ["weight", "bias"]
    for laid_out in (x, x.to(memory_format=torch.channels_last)):
        torch.testing.assert_close(layer(laid_out), exact, atol=1e-3, rtol=0)
