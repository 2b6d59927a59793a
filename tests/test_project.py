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

TESTED = ("notebook", "test")  # the extras that make test installs


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


CONDA_NAMES = {"pytorch": "torch"}
"""conda-forge's names that are not PyPI's."""
NOT_ON_CONDA_FORGE = {"manifold3d"}


def test_environment_is_in_step_with_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    *conda, last = environment["dependencies"]
    assert conda[:2] == [f"python{PROJECT['requires-python']}", "pip"]
    *from_pip, checkout = last["pip"]
    assert checkout == "-e ."
    words = [re.split(r"(?=[<>=])", line, maxsplit=1) for line in conda[2:]]
    named = [CONDA_NAMES.get(name, name) + version for name, version in words]
    nbval = [line for line in EXTRAS["test"] if line.startswith("nbval")]
    assert requirements(named, from_pip) == requirements(PROJECT["dependencies"], EXTRAS["notebook"], nbval)
    assert set(requirements(from_pip)) == NOT_ON_CONDA_FORGE
    assert not re.search(r"~=|===|\[", "".join(conda))  # pip's spelling, which conda does not read


def test_extras_are_the_documented_ones() -> None:
    extras = {"app", "batch", "colab", "cuda", "heif", "mcp", "notebook", "rembg", "spz", "test"}
    assert set(EXTRAS) == extras


MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "scikit-image": "skimage", "pyyaml": "yaml"}
"""Distributions whose module has another name."""
LOADED_BY_NAME = {
    "transformers": "named in the table of component classes in pipelines/loading.py",
    "jupyterlab": "a program that the notebook user starts",
    "onnxruntime": "rembg runs its networks with it",
    "pillow_heif": "images/load.py imports it by name",
}


COMES_WITH = {
    "IPython": "jupyterlab and ipywidgets",
    "triton": "torch for CUDA",
    "nbclient": "jupyterlab, for the teacher's command",
    "nbformat": "the same",
    "anyio": "gradio",
    "starlette": "gradio",
}
"""Imported, and brought along by a declared package."""


def imported_modules(folder: Path) -> set[str]:
    """Top-level names of every import in a folder, inside functions too, and those that ``require`` loads."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                found |= {str(arg.value).partition(".")[0] for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return found


def test_what_is_declared_is_imported_and_what_is_imported_is_declared() -> None:
    declared = requirements(PROJECT["dependencies"], *(EXTRAS[name] for name in EXTRAS if name != "test"))
    modules = {MODULES.get(name, name.replace("-", "_")) for name in declared}
    imported = imported_modules(PACKAGE)
    assert modules - imported <= set(LOADED_BY_NAME)
    assert not set(LOADED_BY_NAME) & imported
    third_party = imported - set(sys.stdlib_module_names) - {"image3d_nb"}
    assert third_party - modules == set(COMES_WITH)


def test_no_banned_package_is_required() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    banned = {canonicalize_name(name) for name in ruff["lint"]["flake8-tidy-imports"]["banned-api"]}
    assert "torchvision" in banned
    assert not banned & {*requirements(PROJECT["dependencies"], *EXTRAS.values()), *pins()}


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


def environment_with(wheel: Path, home: Path) -> Path:
    """A bare environment with the wheel and this environment's dependencies. Returns its folder of programs."""
    venv.create(home, with_pip=False, symlinks=True)
    programs = home / "bin"
    subprocess.run([*pip_of(programs), "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    # A plain path: .pth files in that folder, an editable install's among them, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs


def pip_of(programs: Path) -> list[str]:
    return [sys.executable, "-m", "pip", "--python", str(programs / "python")]


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_with(wheel, tmp_path_factory.mktemp("elsewhere"))


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
    twine = [sys.executable, "-m", "twine", "check", "--strict", str(archive), str(wheel)]
    subprocess.run(twine, check=True, capture_output=True)
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


@pytest.mark.wheel
def test_nothing_is_left_after_an_uninstall(wheel: Path, tmp_path: Path) -> None:
    programs = environment_with(wheel, tmp_path / "home")
    compiled = "import image3d_nb.meshing._kernels, image3d_nb.rendering.numba_splats as n; print(n.__file__)"
    package = Path(run_elsewhere(programs, "python", "-c", compiled, cwd=tmp_path).strip()).parent.parent
    draw = "import torch, image3d_nb as i; i.render(i.Gaussians.from_lgm(torch.rand(1, 8, 14)), i.orbit_cameras())"
    run_elsewhere(programs, "python", "-c", draw, cwd=tmp_path)
    assert not list(package.rglob("*.nb[ic]"))  # numba's machine code, which pip does not know
    subprocess.run([*pip_of(programs), "uninstall", "--quiet", "--yes", "image3d-nb"], check=True)
    find = "from importlib.util import find_spec; print(find_spec('image3d_nb'))"
    assert run_elsewhere(programs, "python", "-c", find, cwd=tmp_path).strip() == "None"
