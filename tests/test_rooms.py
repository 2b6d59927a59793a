"""Imports run one way: import-linter holds the layers, and notices a break."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as run; run()"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(LINT, cwd=folder, capture_output=True, text=True, check=False)


def layers() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    return {name.strip() for row in settings["contracts"][0]["layers"] for name in row.split("|")}


def test_imports_run_one_way() -> None:
    run = lint(ROOT)
    assert run.returncode == 0, run.stdout


def test_newcomers_read_the_same_table() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \|([^|]+)\|", text, re.M)
    assert {Path(name).stem for row in rows for name in re.findall(r"`([\w.]+)/?`", row)} == layers()


@pytest.mark.parametrize(
    ("file", "line", "word"),
    [
        ("io/ply.py", "def f():\n    from .. import view\n", "run one way BROKEN"),  # up, inside a function
        ("cameras.py", "from . import gaussians\n", "run one way BROKEN"),
        ("mystery.py", "", "mystery"),  # a module without a layer
        ("io/splat.py", "from . import files\n", "sub-package BROKEN"),
    ],
)
def test_the_linter_notices(file: str, line: str, word: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "image3d_nb", tmp_path / "image3d_nb", ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / "image3d_nb" / file
    target.write_text((target.read_text(encoding="utf-8") if target.exists() else "") + line, encoding="utf-8")
    run = lint(tmp_path)
    assert run.returncode != 0
    assert word in re.sub(r"\x1b\[[0-9;]*m", "", run.stdout) + run.stderr  # without colours
