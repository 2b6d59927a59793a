"""The project holds together: a light package, dependency lists in step, a wheel that works alone."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import image3d_nb
import notebooks as tool

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "image3d_nb"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

TESTED = ("notebook", "app", "uv", "test")  # the extras that make test installs
HEAVY = ("torch", "diffusers", "transformers", "numba", "scipy", "skimage", "IPython", "ipywidgets", "matplotlib")
FORBIDDEN = (  # builds, licences and sizes: see CONTRIBUTING.md
    "torchvision", "xformers", "kiui", "open3d", "diff-gaussian-rasterization", "nvdiffrast", "pymeshlab", "pymeshfix",
    "fast-simplification",
)  # fmt: skip


def test_importing_the_package_loads_nothing_large() -> None:
    code = f"import sys, image3d_nb; image3d_nb.__all__; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    for name in image3d_nb.__all__:
        assert getattr(image3d_nb, name) is not None
    assert set(image3d_nb.__all__) <= set(dir(image3d_nb))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = image3d_nb.no_such_name


def python_files() -> list[Path]:
    folders = ("image3d_nb", "tests", "tools", "benchmarks")
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "node_modules" not in path.parts]


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_the_suite_reaches_no_other_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    with socket.socket() as outward, pytest.raises(RuntimeError, match="only to this machine"):
        outward.connect(("192.0.2.1", 80))  # RFC 5737: an address for documentation
    with pytest.raises(RuntimeError, match="only to this machine"):
        socket.getaddrinfo("example.com", 80)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("no-such-host.invalid", 80)


# ---------------------------------------------------------------- lists of dependencies


def requirements(*groups: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, (line for group in groups for line in group))}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines)


def test_constraints_pin_the_tested_set() -> None:
    pinned = pins()
    assert next(iter(pinned)) == "torch"  # installed first, so that its build can be chosen
    for name, requirement in requirements(PROJECT["dependencies"], *(EXTRAS[name] for name in TESTED)).items():
        assert requirement.specifier.contains(pinned[name]), requirement


def test_environment_is_in_step_with_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, last = environment["dependencies"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert last["pip"][-1] == "-e ."
    listed = requirements(last["pip"][:-1])
    nbval = [line for line in EXTRAS["test"] if line.startswith("nbval")]
    assert listed == requirements(PROJECT["dependencies"], EXTRAS["notebook"], nbval)
    assert {"jupyterlab", "ipywidgets", "torch", "diffusers", "numpy", "pillow"} <= set(listed)
    assert {"requests", "pythreejs", "plyfile", "nbval"} <= set(listed)


def test_extras_are_the_documented_ones() -> None:
    assert set(EXTRAS) == {"notebook", "app", "batch", "cuda", "uv", "rembg", "test"}


def test_every_core_dependency_is_imported() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    for name in requirements(PROJECT["dependencies"]):
        module = {"pillow": "PIL", "scikit-image": "skimage"}.get(name, name)
        # pipelines/loading.py names the modules of its classes in a table
        used = re.search(rf"^\s*(import|from) {module}\b|: \"{module}\",$", source, re.M)
        assert used, f"{name} is required and never imported"


def test_no_forbidden_package_is_named_or_imported() -> None:
    named = {*requirements(PROJECT["dependencies"], *EXTRAS.values()), *pins()}
    assert not named & set(FORBIDDEN)
    pattern = re.compile(rf"^\s*(import|from) ({'|'.join(name.replace('-', '_') for name in FORBIDDEN)})\b", re.M)
    assert [path for path in python_files() if pattern.search(path.read_text(encoding="utf-8"))] == []


def test_one_version_everywhere() -> None:
    assert image3d_nb.__version__ == PROJECT["version"]
    assert f"[{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_files_that_a_newcomer_looks_for_are_there() -> None:
    names = ("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", ".ci/run", "data/README.md")
    assert [name for name in names if not (ROOT / name).is_file()] == []
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


# ---------------------------------------------------------------- the wheel, outside the checkout


def build_wheel(source: Path, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare environment with the wheel in it; the dependencies are those of this one. Gives its folder of programs."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home, with_pip=False, symlinks=True)
    programs = home / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    # A plain path: .pth files in that folder, an editable install's among them, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs


def run_elsewhere(programs: Path, *command: str, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    run = subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=cwd, env=clean, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.wheel
def test_data_travels_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    bundled = {path.relative_to(ROOT).as_posix() for path in (ROOT / "data").rglob("*") if path.is_file()}
    assert len(bundled) > 5
    assert {f"image3d_nb/{name}" for name in bundled} <= names
    code = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    assert {name for name in code if "__pycache__" not in name} <= names
    top = {name.split("/")[0] for name in names}
    assert top == {"image3d_nb", f"image3d_nb-{PROJECT['version']}.dist-info"}


@pytest.mark.wheel
def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    assert set(zipfile.ZipFile(build_wheel(archive, tmp_path)).namelist()) == set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.wheel
def test_the_main_job_runs_from_the_wheel(elsewhere: Path, tmp_path: Path) -> None:
    ask = "import image3d_nb; print(image3d_nb.__file__); print(image3d_nb.sample('mug'))"
    package, mug = run_elsewhere(elsewhere, "python", "-c", ask, cwd=tmp_path).split()
    assert ROOT not in Path(package).parents
    assert Path(package).parent in Path(mug).parents
    run_elsewhere(elsewhere, "image3d", "generate", mug, "-o", "out", cwd=tmp_path)
    made = {path.suffix for path in (tmp_path / "out").rglob("*")}
    assert {".ply", ".splat", ".html", ".gif", ".json"} <= made
    (record,) = (tmp_path / "out").rglob("result.json")
    assert json.loads(record.read_text(encoding="utf-8"))


@pytest.mark.wheel
@pytest.mark.parametrize("path", tool.all_notebooks(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_first_cell_runs_from_the_wheel(path: Path, elsewhere: Path, tmp_path: Path) -> None:
    first = next(cell.source for cell in tool.read(path).cells if cell.cell_type == "code")
    run_cell = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.instance().run_cell(sys.argv[1]).raise_error()\n"
        "import image3d_nb\n"
        f"assert not image3d_nb.__file__.startswith({str(ROOT) + os.sep!r}), image3d_nb.__file__\n"
    )
    run_elsewhere(elsewhere, "python", "-c", run_cell, first, cwd=tmp_path)


def test_relative_links_and_pictures_of_the_documents_exist() -> None:
    documents = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "data/README.md",
        ROOT / "data/models/tiny/README.md",
    ]
    for document in documents:
        text = document.read_text(encoding="utf-8")
        assert not re.search(r"@[A-Z_]+@", text), f"{document}: a figure was never filled in"
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert "://" in target or (document.parent / target).exists(), f"{document}: {target} is not there"
