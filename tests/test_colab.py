"""The course on Colab: an environment with its versions (tools/colab.py makes it), the first cell, lessons, widgets."""

from __future__ import annotations

import base64
import functools
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import colab
import notebooks as tool
from tests.test_project import build_wheel

ROOT = Path(__file__).resolve().parent.parent
COLAB = Path(sys.prefix) / "colab"  # made by `make test`
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
VIEW = "application/vnd.jupyter.widget-view+json"
LIMIT = 1_200_000  # bytes of the quickstart after a run


def versions(home: Path) -> dict[str, str]:
    """Name and version of all that is installed in an environment's own folder."""
    (site,) = home.glob("lib/python*/site-packages")
    found = importlib.metadata.distributions(path=[str(site)])
    return {canonicalize_name(one.name): one.version for one in found}


def beside_colab(home: Path) -> Path:
    """An empty environment that sees what is in Colab's. Returns its Python."""
    venv.create(home, with_pip=False, symlinks=True)
    (site,), (theirs,) = home.glob("lib/python*/site-packages"), COLAB.glob("lib/python*/site-packages")
    (site / "colab.pth").write_text(f"{theirs}\n", encoding="utf-8")
    return home / "bin" / "python"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def kernels(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The kernels "colab", with the wheel installed beside Colab's versions, and "here"."""
    home = tmp_path_factory.mktemp("kernels")
    python = beside_colab(home / "colab")
    install = [python, "-m", "pip", "install", "-qq", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True)
    for name, program in (("colab", str(python)), ("here", sys.executable)):
        folder = home / "kernels" / name
        folder.mkdir(parents=True)
        started = [program, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        spec = {"argv": started, "display_name": name, "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(home))
        patch.setenv("IMAGE3D_PROGRESS", str(home / "progress.json"))
        for name, value in tool.QUIET.items():
            patch.setenv(name, value)
        yield


def run(notebook: NotebookNode, kernel: str, folder: Path) -> NotebookNode:
    """Execute a notebook in place, outside the checkout, and give it back. A cell that fails is an error."""
    resources = {"metadata": {"path": str(folder)}}
    with pytest.MonkeyPatch.context() as patch:
        if kernel == "colab":
            patch.delenv("PYTHONPATH", raising=False)
        NotebookClient(notebook, timeout=300, kernel_name=kernel, resources=resources, record_timing=False).execute()
    return notebook


def pictures(notebook: NotebookNode) -> list[bool]:
    """For each code cell, whether it left a PNG, or a GIF, which is stored as a PNG."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kinds = {"image/png", "image/gif"}
    return [any(kinds & set(output.get("data", {})) for output in cell.outputs) for cell in cells]


# ---------------------------------------------------------------- the environment


def test_the_extra_moves_nothing_that_colab_has() -> None:
    installed = versions(COLAB)
    for pin in map(Requirement, colab.pins()):
        assert pin.specifier.contains(installed[canonicalize_name(pin.name)]), pin
    assert not {"jupyterlab", "image3d-nb"} & set(installed)
    checked = [COLAB / "bin" / "python", "-m", "pip", "check"]
    verdict = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert verdict.returncode == 0, verdict.stdout


def test_there_are_wheels_for_python_3_13() -> None:
    report = json.loads((COLAB / "python-3.13.json").read_text(encoding="utf-8"))
    found = {canonicalize_name(one["metadata"]["name"]): one for one in report["install"]}
    needed = {canonicalize_name(Requirement(line).name) for line in colab.requirements()}
    assert needed - {"torch"} <= set(found)
    for pin in map(Requirement, colab.pins()):
        assert pin.specifier.contains(found[canonicalize_name(pin.name)]["metadata"]["version"]), pin
    files = [one["download_info"]["url"].rpartition("/")[2] for one in found.values()]
    assert all(file.endswith(".whl") for file in files), files
    compiled = [file for file in files if re.match(r"(numpy|pillow|numba|scipy|scikit_image)-", file)]
    assert len(compiled) == 5
    assert all("cp313" in file for file in compiled), compiled


# ---------------------------------------------------------------- the first cell


RUN_CELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance().run_cell(sys.argv[1]).raise_error()
import image3d_nb
print("found", image3d_nb.__file__)
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of this repository's last commit on a web server of this machine."""
    folder = tmp_path_factory.mktemp("published")
    subprocess.run(["git", "clone", "-q", "--bare", str(ROOT), str(folder / "repository.git")], check=True)
    subprocess.run(["git", "update-server-info"], cwd=folder / "repository.git", check=True)
    files = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/repository.git"
        server.shutdown()


@pytest.mark.parametrize("source", ["wheel", "checkout", "repository"])
def test_the_first_cell_installs(source: str, wheel: Path, published: str, tmp_path: Path) -> None:
    python, folder, cell = beside_colab(tmp_path / "home"), tmp_path, tool.first_cell()
    if source == "wheel":
        (folder / wheel.name).write_bytes(wheel.read_bytes())
    elif source == "checkout":
        folder = ROOT / "notebooks"
    else:
        cell = tool.first_cell(published)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_"))}
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # "0" switches isolation off: pip reads it backwards
    done = subprocess.run(
        [python, "-c", RUN_CELL, cell], cwd=folder, env={**clean, **offline},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"found {tmp_path / 'home'}" in done.stdout
    assert set(versions(tmp_path / "home")) == {"image3d-nb"}  # and no package of Colab's was replaced


def test_the_first_cell_is_short_and_installs_nothing_twice(wheel: Path, tmp_path: Path) -> None:
    cell = tool.first_cell()
    assert len(cell.splitlines()) <= 8
    assert max(map(len, cell.splitlines())) <= 88
    assert f"git+{tool.REPO_URL}" in cell
    done = subprocess.run(  # where the package is there, an index that does not exist is never asked
        [sys.executable, "-c", RUN_CELL, cell], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PIP_INDEX_URL": "http://index.invalid"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# ---------------------------------------------------------------- lessons


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_on_colab(path: Path, kernels: None, tmp_path: Path) -> None:
    stored = tool.read(path)
    shown = pictures(stored)
    after = run(tool.read(path), "colab", tmp_path)
    assert pictures(after) == shown
    if path.name.startswith("00"):
        assert len(nbformat.writes(after).encode()) <= LIMIT


# ---------------------------------------------------------------- widgets

SETUP = """
import numpy as np, torch
import image3d_nb as i3d
import ipywidgets, IPython, traitlets
g = i3d.Gaussians.from_lgm(torch.rand(1, 200, 14, generator=i3d.generator(0)))
mesh = i3d.Mesh(np.eye(3), np.array([[0, 1, 2]]))
pipe = i3d.load_pipeline()
pipe.set_progress_bar_config(disable=True)
print(ipywidgets.__version__, IPython.__version__, traitlets.__version__)
"""
WATCH = """
progress = i3d.watch(pipe, size=64)
_ = pipe(i3d.load_image(i3d.sample("mug")), num_inference_steps=2, callback_on_step_end=progress)
"""
WIDGETS = {
    "SplatViewer": "i3d.SplatViewer(g, size=64)",
    "MeshViewer": "i3d.MeshViewer(mesh, size=64, wireframe=True)",
    "gallery": "i3d.gallery([np.zeros((8, 8))] * 3, ['a', 'b', 'c'])",
    "compare": "i3d.compare(g, g, size=64)",
    "turntable": "i3d.turntable(g, frames=3, size=48)",
    "preview_mesh": "i3d.preview_mesh(mesh, size=64)",
    "preview_splats": "i3d.preview_splats(g, size=64)",
    "preview_cameras": "i3d.preview_cameras(i3d.orbit_cameras(size=32), size=64)",
    "watch": WATCH.strip(),
    "a box": "import ipywidgets as w; w.HBox([i3d.SplatViewer(g, size=64), i3d.turntable(g, frames=2, size=48)])",
    "studio": "i3d.studio('runs')",
}
WITHOUT_PICTURE = {"a box"}  # a box of ipywidgets itself leaves none: show its parts one by one


@pytest.mark.parametrize(("kernel", "version"), [("colab", "7.7.1"), ("here", "8.")])
def test_widgets_leave_a_picture_beside_them(kernel: str, version: str, kernels: None, tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_code_cell(SETUP), *map(new_code_cell, WIDGETS.values())])
    run(notebook, kernel, tmp_path)
    assert notebook.cells[0].outputs[-1].text.startswith(version)
    for name, cell in zip(WIDGETS, notebook.cells[1:], strict=True):
        shown = [output.data for output in cell.outputs if "data" in output]
        assert len(shown) == 1, (name, cell.outputs)
        assert VIEW in shown[0], name
        assert ("image/png" in shown[0]) == (name not in WITHOUT_PICTURE), name
    watched = notebook.cells[1 + list(WIDGETS).index("watch")].outputs[0].data["image/png"]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(watched))).convert("RGB"))
    assert image[:40].std() > 20  # the views, not the grey squares before the first step
    notebook.metadata.pop("widgets", None)  # as JupyterLab and Colab save it
    page, _ = HTMLExporter().from_notebook_node(notebook)
    images = re.findall(r"<img[^>]+data:image/png", page)
    assert len(images) == len(WIDGETS) - len(WITHOUT_PICTURE)
