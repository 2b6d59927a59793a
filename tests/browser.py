"""Headless Chromium, JupyterLab and Notebook 7 for the tests: what a browser shows is tested in a browser."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Frame, Page, Playwright

from image3d_nb.view import save_html

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# WebGL in software, the same on every machine; nothing that talks to a network on its own.
FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip
LOCAL = ("file:", "data:", "blob:", "about:")
LAB, NOTEBOOK_7 = "lab/tree", "notebooks"  # where the server shows a notebook in either front end


def chromium_path() -> str:
    """Where Chromium is.

    Raises:
        RuntimeError: nowhere on the PATH. The tests fail then: a viewer that nobody looked at is not tested.
    """
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise RuntimeError(
        f"the browser tests need Chromium ({', '.join(NAMES)}) on the PATH, and there is none: "
        "`make test` installs it, or run: apt-get install chromium"
    )


def launch(playwright: Playwright, *flags: str) -> Browser:
    """A headless Chromium; the caller closes it."""
    return playwright.chromium.launch(executable_path=chromium_path(), args=[*FLAGS, *flags])


@dataclass
class Watch:
    """What a page asked for and complained about."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def strangers(self, *allowed: str) -> list[str]:
        """Requests that went anywhere but to ``allowed``, this page's own data, or a file."""
        return [url for url in self.requests if not url.startswith((*LOCAL, *allowed))]


def watch(page: Page) -> Watch:
    """Start to write down a page's requests, console errors and exceptions."""
    seen = Watch()
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("websocket", lambda connection: seen.requests.append(connection.url))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
    return seen


def wait_until(frame: Page | Frame, expression: str, seconds: float = 60) -> None:
    """Wait for a JavaScript expression to be true. Playwright's own wait polls with eval, which our pages forbid."""
    end = time.monotonic() + seconds
    while not frame.evaluate(expression):
        if time.monotonic() > end:
            raise TimeoutError(f"{expression} was not true within {seconds:.0f} s")
        frame.wait_for_timeout(50)


def open_page(page: Page, folder: Path, obj: Any, **options: Any) -> Watch:
    """Write an object's page, open it from disk, and wait until it has drawn."""
    seen = watch(page)
    page.goto(save_html(obj, folder / "page.html", **options).as_uri())
    page.evaluate("image3dViewer.ready")
    return seen


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Press the left button at one point and let go at another."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def picture_of(frame: Page | Frame) -> np.ndarray:
    """[H, W, 3], float in [0, 1]: what the viewer's canvas shows, once it is sorted for its camera."""
    url = frame.evaluate("image3dViewer.picture()")
    return decode(base64.b64decode(url.partition(",")[2]))


def decode(png: bytes) -> np.ndarray:
    """PNG bytes to [H, W, 3], float in [0, 1]."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.float64) / 255


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two pictures in dB."""
    return float(-10 * np.log10(max(float(np.mean((a - b) ** 2)), 1e-12)))


def covered(picture: np.ndarray) -> float:
    """The part of a picture that is not white."""
    return float((picture.min(-1) < 0.97).mean())


@dataclass
class Lab:
    """A running JupyterLab, which serves Notebook 7 as well."""

    url: str  # ends with "/"
    token: str
    folder: Path  # what it shows


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab on loopback, with a token, settings of its own below ``folder``, and no look at the news."""
    notebooks, settings = folder / "notebooks", folder / "settings"
    notebooks.mkdir()
    (settings / "labconfig").mkdir(parents=True)
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (settings / "labconfig" / "page_config.json").write_text(json.dumps(quiet))
    port, token = _free_port(), secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={notebooks}",
        "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
        f"--LabApp.user_settings_dir={settings / 'user'}",
        f"--LabApp.workspaces_dir={settings / 'workspaces'}", "--LabApp.extension_manager=readonly",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(settings), "JUPYTER_RUNTIME_DIR": str(settings / "runtime"),
        "PYTHONPATH": str(ROOT), "CI": "1",
    }  # fmt: skip
    log = folder / "jupyterlab.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(command, env=environment, cwd=notebooks, stdout=stream, stderr=subprocess.STDOUT)
    try:
        lab = Lab(f"http://127.0.0.1:{port}/", token, notebooks)
        _wait_until_up(lab, server, log)
        yield lab
    finally:
        server.terminate()
        server.wait(30)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_up(lab: Lab, server: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{lab.url}api/status?token={lab.token}", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not answer in {seconds:.0f} s; its log:\n{log.read_text()[-3000:]}")


def write_notebook(path: Path, sources: list[str]) -> None:
    """Write a notebook of code cells that have not run."""
    empty: dict[str, object] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [{**empty, "id": f"cell-{i}", "source": source} for i, source in enumerate(sources)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


# Clicking through the menu is flaky; the application object is what the menu uses.
_READY = "window.jupyterapp?.shell?.currentWidget?.content?.model?.sharedModel !== undefined"
_RUN_ALL = """async () => {
  const panel = jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await jupyterapp.commands.execute('notebook:run-all-cells');
  return panel.content.model.sharedModel.toJSON().cells;
}"""


def run_in_lab(page: Page, lab: Lab, notebook: Path, front: str = LAB) -> list[dict[str, Any]]:
    """Open a notebook of ``lab.folder`` in a front end, run all of its cells, and return them with their outputs."""
    page.goto(f"{lab.url}{front}/{notebook.relative_to(lab.folder)}?reset&token={lab.token}")
    wait_until(page, _READY)
    cells: list[dict[str, Any]] = page.evaluate(_RUN_ALL)
    return cells


def errors_in(cells: list[dict[str, Any]]) -> list[str]:
    """What went wrong in cells that do not say that something will."""
    return [
        f"{output['ename']}: {output['evalue']}"
        for cell in cells
        if "raises-exception" not in cell.get("metadata", {}).get("tags", [])
        for output in cell.get("outputs", [])
        if output["output_type"] == "error"
    ]


def viewers_in(page: Page) -> list[Frame]:
    """The frames that hold a viewer which has drawn, in the order of the notebook."""
    frames = []
    for element in page.query_selector_all("iframe[srcdoc]"):
        element.scroll_into_view_if_needed()
        frame = element.content_frame()
        if frame is not None:
            wait_until(frame, "window.image3dViewer?.drawn > 0")
            frames.append(frame)
    return frames
