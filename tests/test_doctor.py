"""The doctor: its report on a healthy computer, and on each problem in a Python that really has it."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from image3d_nb import doctor
from image3d_nb.cli import main

from .seeded import names_and_shapes

ROOT = Path(__file__).resolve().parent.parent


def consult(*options: str, places: list[Path], bare: bool = False, **environment: str) -> tuple[int, str]:
    """Exit code and output of the command; Python searches ``places`` first for packages."""
    paths = os.pathsep.join(map(str, [*places, ROOT]))
    flags = ["-S"] if bare else []  # without site-packages
    done = subprocess.run(
        [sys.executable, *flags, "-m", "image3d_nb", "doctor", *options],
        env={**os.environ, **environment, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout


def remedies(told: str) -> dict[str, str]:
    """The line of each problem -> the line of its remedy."""
    lines = told.splitlines()
    return {above: line for above, line in itertools.pairwise(lines) if line.startswith("  -> ")}


def pretend(folder: Path, name: str, number: str, *needs: str) -> None:
    """The metadata that pip writes for an installed package."""
    about = folder / f"{name.replace('-', '_')}-{number}.dist-info"
    about.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}", *(f"Requires-Dist: {n}" for n in needs)]
    (about / "METADATA").write_text("\n".join(lines) + "\n")


def test_a_healthy_computer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ready"] is True
    assert not [finding for finding in found["findings"] if finding["level"] == "blocks"]
    assert found["seconds"]["tiny"] > 0
    assert found["choice"]["device"] == found["devices"][0]["name"]
    assert found["choice"]["dtype"] in ("float32", "bfloat16", "float16")
    assert 0 < found["machine"]["free_memory"] <= found["machine"]["memory"]
    assert {row["name"]: row["found"] for row in found["packages"] if row["extra"] is None} == {
        Requirement(line).name: version(Requirement(line).name) for line in core_lines()
    }
    assert doctor.report(found).endswith("ready: the tiny model runs")


def test_broken_torchvision_blocks(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    fault = (
        'raise RuntimeError("operator torchvision::nms does not exist")\n'  # what a CUDA build says beside a CPU torch
    )
    (tmp_path / "torchvision" / "__init__.py").write_text(fault)
    code, told = consult(places=[tmp_path])
    assert code == 1
    (what,) = [line for line in remedies(told) if "torchvision is installed" in line]
    assert what.startswith("blocks: ")
    assert "operator torchvision::nms does not exist" in what
    assert "pip uninstall torchvision" in remedies(told)[what]
    assert any(line.startswith("blocks: the tiny model") for line in remedies(told))


def test_old_packages_a_full_disk_and_no_network_are_warnings(tmp_path: Path) -> None:
    for name, number in (("diffusers", "0.37.1"), ("torch", "2.5.1"), ("gradio", "5.9.0")):
        pretend(tmp_path, name, number)
    full = "/proc/weights"  # this file system has no space
    code, told = consult(places=[tmp_path], HF_HUB_CACHE=full, HF_HUB_OFFLINE="1")
    assert code == 0
    for problem, remedy in (
        ("warning: diffusers 0.37.1 .*CVE-2026-44513", '"diffusers>=0.38"'),
        ("warning: torch 2.5.1 .*CVE-2025-32434", "torch>="),
        (f"of disk; {full} has 0.0 GB", "HF_HOME"),
        ("HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"),
        (r"extra \w+ .*gradio \(5.9.0 is too old\)", "image3d-nb["),
    ):
        found = [line for what, line in remedies(told).items() if re.search(problem, what)]
        assert found
        assert all(remedy in line for line in found)


def test_a_python_without_any_package(tmp_path: Path) -> None:
    pretend(tmp_path, "image3d-nb", "0.1.0", *(requires("image3d-nb") or []))
    code, told = consult(places=[tmp_path], bare=True)
    assert code == 1
    for line in core_lines():
        assert f"blocks: {Requirement(line).name} is missing" in told
    assert "torch MISSING" in told


def test_without_lazy_loader_every_public_name_says_what_to_install() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import image3d_nb; image3d_nb.load"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: image3d_nb.load needs lazy_loader" in done.stderr
    assert "pip install lazy-loader" in done.stderr


def test_a_copy_that_was_never_installed() -> None:
    code, told = consult("--json", places=[], bare=True)
    found = json.loads(told)
    assert code == 1
    assert found["packages"] == []
    (finding,) = [each for each in found["findings"] if "not installed" in each["what"]]
    assert finding["remedy"] == f"pip install -e {ROOT}"


def test_weights_in_the_cache_need_no_space(tmp_path: Path) -> None:
    ask = "import json; from image3d_nb import doctor; print(json.dumps(doctor._cache()))"

    def cache() -> Any:
        environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path)}
        return json.loads(subprocess.check_output([sys.executable, "-c", ask], env=environment, cwd=ROOT))

    snapshot = tmp_path / "models--dylanebert--LGM-full" / "snapshots" / "0123"
    for part in doctor.FULL_PARAMETERS:
        assert cache()["has_full"] is False
        (snapshot / part).mkdir(parents=True)
        (snapshot / part / "model.safetensors").touch()
    found = cache()
    assert found["has_full"] is True
    assert list(doctor._weight_findings({**found, "free": 0, "offline": True}, None)) == []


@pytest.mark.parametrize(
    ("dtype", "free", "memory", "enough"),
    [("float32", 12e9, "normal", True), ("float32", 9e9, "low", True), ("bfloat16", 9e9, "normal", True),
     ("bfloat16", 3e9, "low", False), ("float32", None, "normal", True)],
)  # fmt: skip
def test_memory_mode(dtype: str, free: int | None, memory: str, enough: bool) -> None:
    cpu = {"name": "cpu", "about": "", "free_memory": None}
    choice = doctor._choice({"devices": [cpu], "dtype": dtype}, free)
    assert choice is not None
    assert (choice["device"], choice["dtype"], choice["memory"]) == ("cpu", dtype, memory)
    there = {"folder": "", "free": 0, "has_full": True, "offline": False}
    assert (list(doctor._weight_findings(there, choice)) == []) is enough


# ---------------------------------------------------------------- figures and versions


def core_lines() -> list[str]:
    return [line for line in requires("image3d-nb") or [] if "extra ==" not in line]


def test_every_requirement_is_read_as_packaging_reads_it() -> None:
    lines = requires("image3d-nb") or []
    for line, row in zip(lines, doctor.packages(), strict=True):
        expected = Requirement(line)
        extra = str(expected.marker).split('"')[1] if expected.marker else None
        assert (row["name"], row["extra"]) == (expected.name, extra)
        assert Requirement(row["name"] + row["wants"]).specifier == expected.specifier


@pytest.mark.parametrize("wants", [">=2.6", "<13,>=11", ">=0.61", ">=2.0", ""])
@pytest.mark.parametrize(
    "found", ["2.6", "2.6.0+cpu", "2.10.1", "2.5.9", "11.0.0", "12.3", "13", "13.0.0", "0.61.0", "1"]
)
def test_versions_are_compared_as_packaging_compares_them(found: str, wants: str) -> None:
    assert doctor.fits(found, wants) == Requirement(f"x{wants}").specifier.contains(found)


@pytest.mark.parametrize(("part", "listing"), [("lgm", "lgm.txt"), ("unet", "unet.txt")])
def test_sizes_of_the_full_model(part: str, listing: str) -> None:
    assert doctor.FULL_PARAMETERS[part] == sum(math.prod(shape) for shape in names_and_shapes(listing).values())
    assert pytest.approx(2 * sum(doctor.FULL_PARAMETERS.values()), rel=1e-3) == doctor.FULL_FILES
