"""Make an environment with the versions that Colab has, for tests/test_colab.py: `make test` calls this.

    python tools/colab.py FOLDER

tests/colab_pins.txt names the versions. The folder also gets all dependencies of the package and of its extra "colab",
installed beside those versions (pip fails if one would have to move), but not the package itself. torch is the one of
the environment that runs this, linked: a second copy would say no more. `python-3.13.json` in the folder is pip's
report of what it would install on Colab's own Python, without installing it.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tests" / "colab_pins.txt"
LINKED = ("torch", "torchgen", "functorch", "torch-*.dist-info")
BUILD = "hatchling"  # so that the package builds without a network
OTHER_PYTHON = ("--python-version", "3.13", "--only-binary", ":all:", "--implementation", "cp")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def pins() -> list[str]:
    """Requirements, one a package, of what Colab has."""
    return [line for line in PINS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def requirements() -> list[str]:
    """What the package and its extra "colab" require."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["colab"]]


def make(home: Path) -> None:
    """Make the environment, anew if it is there."""
    venv.create(home, with_pip=True, clear=True, symlinks=True)
    python = home / "bin" / "python"
    here = Path(sysconfig.get_path("purelib"))
    there = here.relative_to(sys.prefix)
    for pattern in LINKED:
        for found in here.glob(pattern):
            (home / there / found.name).symlink_to(found)
    _pip(python, "install", *_constrained(home, "pins.txt", pins()), *pins(), *requirements(), BUILD)
    ask_for_python_3_13(home)


def ask_for_python_3_13(home: Path) -> None:
    """Let pip resolve everything but torch, which Colab has, for Colab's own Python, in the versions that are here."""
    python = home / "bin" / "python"
    frozen = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    fixed = [line for line in frozen.splitlines() if "==" in line and not line.startswith("torch==")]
    _pip(
        python, "install", "--dry-run", "--report", str(home / "python-3.13.json"), "--target", str(home / "nowhere"),
        *OTHER_PYTHON, *(f"--platform={name}" for name in PLATFORMS),
        *_constrained(home, "frozen.txt", fixed), *pins(),
        *(line for line in requirements() if not line.startswith("torch")),
    )  # fmt: skip


def _constrained(home: Path, name: str, lines: list[str]) -> tuple[str, str]:
    (home / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "-c", str(home / name)


def _pip(python: Path, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "-qq", *arguments], check=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
