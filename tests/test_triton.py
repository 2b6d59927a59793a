"""The kernels for CUDA without a card: run by Triton's interpreter, and compiled for three generations of cards.

`make test` installs Triton into a folder beside the environment, which only programs that these tests start see.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str, interpreted: bool) -> dict[str, dict[str, float]]:
    """What tests/interpreted_triton.py or tests/compiled_triton.py prints."""
    path = os.pathsep.join((str(ROOT), str(Path(sys.prefix) / "beside/triton")))
    environment = os.environ | {"PYTHONPATH": path, "TRITON_INTERPRET": "1" if interpreted else "0"}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    return run("tests.interpreted_triton", interpreted=True)


@pytest.mark.parametrize("scene", ["some", "opaque"])
def test_interpreted_kernels_equal_numba(found: dict[str, dict[str, float]], scene: str) -> None:
    result = found[scene]
    assert result["image"] < 2e-5
    assert result["gradients"] < 2e-5
    assert result["darkest"] < (0.001 if scene == "opaque" else 0.9)


def test_objects_are_drawn_together_as_one_by_one(found: dict[str, dict[str, float]]) -> None:
    assert found["together"]["alpha"] > 0.1
    assert found["together"]["image"] < 1e-5


def test_kernels_compile_for_three_generations_of_cards() -> None:
    sizes = run("tests.compiled_triton", interpreted=False)
    assert set(sizes) == {"75", "80", "90"}
    assert all(size > 1000 for kernels in sizes.values() for size in kernels.values())
