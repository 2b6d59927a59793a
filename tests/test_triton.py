"""The kernels for CUDA without a card: run by Triton's interpreter, and compiled for three generations of cards."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "tests.interpreted_triton"]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("scene", ["some", "opaque"])
def test_interpreted_kernels_equal_numba(found: dict[str, dict[str, float]], scene: str) -> None:
    result = found[scene]
    assert result["image"] < 2e-5
    assert result["gradients"] < 2e-5
    assert result["darkest"] < (0.001 if scene == "opaque" else 0.9)


def test_objects_are_drawn_together_as_one_by_one(found: dict[str, dict[str, float]]) -> None:
    assert found["together"]["alpha"] > 0.1
    assert found["together"]["image"] < 1e-5


@pytest.mark.parametrize("capability", [75, 80, 90])
def test_kernels_compile(capability: int) -> None:
    import triton
    from triton.backends.compiler import GPUTarget

    from image3d_nb.rendering import triton_splats

    tensors = {"rows": "*fp32", "pairs": "*i64", "bounds": "*i64", "state": "*fp32", "last": "*i64"}
    more = {"grad": "*fp32", "places": "*i64", "found": "*fp32"}
    sizes = dict.fromkeys(("width", "height", "across", "down"), "i32")
    for kernel, inputs in ((triton_splats._forward, tensors), (triton_splats._backward, tensors | more)):
        source = triton.compiler.ASTSource(kernel, {**inputs, **sizes, "side": "constexpr"}, {"side": 8})
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        assert len(compiled.asm["cubin"]) > 1000
