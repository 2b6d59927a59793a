"""Compile the CUDA kernels for three generations of cards, without one, and print the bytes of machine code."""

from __future__ import annotations

import json
import sys

import triton
from triton.backends.compiler import GPUTarget

from image3d_nb.rendering import triton_splats

TENSORS = {"rows": "*fp32", "pairs": "*i64", "bounds": "*i64", "state": "*fp32", "last": "*i64"}
MORE = {"grad": "*fp32", "places": "*i64", "found": "*fp32"}
SIZES = dict.fromkeys(("width", "height", "across", "down"), "i32")


def size(kernel: object, inputs: dict[str, str], capability: int) -> int:
    """Bytes of a kernel's machine code."""
    source = triton.compiler.ASTSource(kernel, {**inputs, **SIZES, "side": "constexpr"}, {"side": 8})
    return len(triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"])


if __name__ == "__main__":
    kernels = {"forward": (triton_splats._forward, TENSORS), "backward": (triton_splats._backward, TENSORS | MORE)}
    found = {each: {name: size(*kernel, each) for name, kernel in kernels.items()} for each in (75, 80, 90)}
    sys.stdout.write(json.dumps(found))
