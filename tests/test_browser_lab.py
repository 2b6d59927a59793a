"""show, the widgets and the notebooks in JupyterLab and Notebook 7, in headless Chromium: one server for all."""

from __future__ import annotations

import ast
import base64
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from playwright.sync_api import Browser, ElementHandle, Page

from image3d_nb.cameras import orbit_cameras
from tests import browser as harness
from tests.browser import ROOT, Lab, Watch, covered, decode, drag, picture_of, psnr, wait_until, write_notebook
from tests.viewer_scenes import rendered, ring, still_of, torus

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with harness.jupyter_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


# What Notebook 7.6 says of itself, beside a cell of "1 + 1" too: of shortcuts that it reads before their settings are
# there, and of the file browser of a JupyterLab that was open before.
KNOWN = {
    harness.LAB: set(),
    harness.NOTEBOOK_7: {
        "Cannot read properties of undefined (reading 'schema')", "Command 'filebrowser:open-path' not registered.",
    },
}  # fmt: skip


@pytest.mark.parametrize("front", KNOWN)
def test_show_and_a_widget(lab: Lab, wide_page: Page, front: str) -> None:
    notebook = lab.folder / "show.ipynb"
    torch.save(vars(ring()), lab.folder / "ring.pt")
    write_notebook(notebook, [
        "import torch\nimport image3d_nb as i3d",
        "gaussians = i3d.Gaussians(**torch.load('ring.pt'))\ngaussians",
        "i3d.show(i3d.render(gaussians, i3d.orbit_cameras(size=64)), captions=['front', 'right', 'back', 'left'])",
        "i3d.show(gaussians, title='<b>\"ring\"</b>', size=256)",
        "from tests.viewer_scenes import torus\ni3d.show(torus('textured'), size=256, elevation=20)",
        "i3d.show(i3d.orbit_cameras(elevation=10), axes=True, size=256)",
        "i3d.SplatViewer(gaussians, size=256)",
    ])  # fmt: skip
    seen = harness.watch(wide_page)
    cells = harness.run_in_lab(wide_page, lab, notebook, front)
    assert harness.errors_in(cells) == []
    assert {"image/png", "text/plain", "text/html"} == set(cells[3]["outputs"][0]["data"])
    viewer, mesh, cameras = harness.viewers_in(wide_page)
    picture = picture_of(viewer)
    assert psnr(picture, rendered(ring())) >= 30
    viewer.evaluate("image3dViewer.setCamera(20, 130)")
    assert psnr(picture_of(viewer), rendered(ring(), 20, 130)) >= 30
    assert psnr(picture_of(mesh), still_of(torus("textured"), elevation=20)) >= 30
    assert psnr(picture_of(cameras), still_of(orbit_cameras(elevation=10), axes=True)) >= 30
    # The sandbox: the viewer cannot reach the notebook, whose address holds the token.
    assert viewer.evaluate("() => { try { return parent.document.title } catch (error) { return error.name } }") == (
        "SecurityError"
    )
    widget = Widget(wide_page, wide_page.wait_for_selector(".image3d.live"))
    assert psnr(widget.picture(), rendered(ring())) >= 30
    assert set(seen.errors) <= KNOWN[front]
    assert seen.strangers(lab.url, lab.url.replace("http", "ws")) == []


CELLS = [
    "import torch\nimport image3d_nb as i3d\nfrom tests.viewer_scenes import ring, torus",
    "splats = i3d.SplatViewer(ring(), size=256)\nsplats",
    "mesh = i3d.MeshViewer(torus('coloured'), size=256, elevation=20)\nmesh",
]
_IN_KERNEL = """async (code) => {
  const future = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code });
  let text = '';
  future.onIOPub = ({ header, content }) => {
    if (header.msg_type === 'stream') text += content.text;
    if (header.msg_type === 'error') text += `${content.ename}: ${content.evalue}`;
  };
  await future.done;
  return text;
}"""


def in_kernel(page: Page, code: str) -> Any:
    """Run code in the kernel of the open notebook; what it prints, as a Python value."""
    text = page.evaluate(_IN_KERNEL, code).strip()
    return ast.literal_eval(text) if text else None


def wait_in_kernel(page: Page, expression: str, seconds: float = 30) -> None:
    """Wait for an expression to be true in the kernel, where the browser's messages arrive in their own time."""
    end = time.monotonic() + seconds
    while not in_kernel(page, f"print({expression})"):
        if time.monotonic() > end:
            raise TimeoutError(f"{expression} was not true within {seconds:.0f} s")
        page.wait_for_timeout(100)


class Widget:
    """A viewer's widget in the notebook's own document."""

    def __init__(self, page: Page, root: ElementHandle) -> None:
        self.page, self.root = page, root
        root.scroll_into_view_if_needed()
        root.evaluate("root => root.image3dViewer.ready")

    def ask(self, expression: str) -> Any:
        """The value of an expression about ``viewer``, in the browser."""
        return self.root.evaluate(f"(root) => {{ const viewer = root.image3dViewer; return {expression}; }}")

    def wait(self, expression: str) -> None:
        """Wait for an expression about ``viewer`` to be true."""
        for _ in range(300):
            if self.ask(expression):
                return
            self.page.wait_for_timeout(100)
        raise TimeoutError(expression)

    def picture(self) -> NDArray:
        """What its canvas shows."""
        return decode(base64.b64decode(self.ask("viewer.picture()").partition(",")[2]))

    def drag(self, right: float, down: float) -> None:
        """Drag from near the middle."""
        self.root.scroll_into_view_if_needed()
        box = self.root.bounding_box()
        assert box is not None
        start = (box["x"] + 110, box["y"] + 150)
        drag(self.page, start, (start[0] + right, start[1] + down))


@pytest.fixture(scope="module")
def widgets(lab: Lab, browser: Browser) -> Iterator[tuple[Widget, Widget, Watch]]:
    """A SplatViewer and a MeshViewer in one notebook, and what its page asked for."""
    page = browser.new_context(viewport={"width": 1100, "height": 1200}).new_page()
    notebook = lab.folder / "widgets.ipynb"
    write_notebook(notebook, CELLS)
    seen = harness.watch(page)
    cells = harness.run_in_lab(page, lab, notebook)
    assert harness.errors_in(cells) == []
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= set(cells[1]["outputs"][0]["data"])
    wait_until(page, "document.querySelectorAll('.image3d.live').length === 2")
    splats, mesh = (Widget(page, root) for root in page.query_selector_all(".image3d"))
    yield splats, mesh, seen
    page.context.close()


def test_a_trait_set_in_python_moves_the_picture(widgets: tuple[Widget, Widget, Watch]) -> None:
    splats, mesh, _ = widgets
    in_kernel(splats.page, "splats.azimuth = 90; splats.elevation = 30; splats.radius = 2")
    splats.wait("viewer.camera.azimuth === 90 && viewer.camera.elevation === 30 && viewer.camera.radius === 2")
    assert psnr(splats.picture(), rendered(ring(), 30, 90, 2)) >= 30
    in_kernel(splats.page, "splats.splat_scale = 0.5")
    splats.wait("viewer.look.splatScale === 0.5")
    assert psnr(splats.picture(), rendered(ring(), 30, 90, 2, scale=0.5)) >= 30
    in_kernel(splats.page, "splats.background = 0.25; mesh.light = False")
    splats.wait("viewer.look.background[1] === 0.25")
    assert splats.picture()[0, 0] == pytest.approx(0.25, abs=0.51 / 255)
    mesh.wait("viewer.look.light === false")
    assert psnr(mesh.picture(), still_of(torus("coloured"), elevation=20, light=False)) >= 30
    in_kernel(splats.page, "mesh.light = True; splats.background = 1; splats.splat_scale = 1")
    splats.wait("viewer.look.splatScale === 1")


def test_a_drag_in_the_browser_sets_the_traits(widgets: tuple[Widget, Widget, Watch]) -> None:
    splats, mesh, _ = widgets
    for name, widget in (("splats", splats), ("mesh", mesh)):
        before = widget.ask("viewer.camera")
        widget.drag(64, -32)
        azimuth, elevation = before["azimuth"] - 64 / 256 * 180, before["elevation"] - 32 / 256 * 180
        widget.wait(f"Math.abs(viewer.camera.azimuth - {azimuth}) < 1e-6")
        wait_in_kernel(
            widget.page, f"abs({name}.azimuth - {azimuth}) < 1e-6 and abs({name}.elevation - {elevation}) < 1e-6"
        )
        assert widget.ask("viewer.camera")["azimuth"] == pytest.approx(azimuth)  # and no echo has moved it back


def test_keys_reach_the_viewer_and_not_jupyterlab(widgets: tuple[Widget, Widget, Watch]) -> None:
    _, mesh, _ = widgets
    cells = mesh.page.evaluate("jupyterapp.shell.currentWidget.content.widgets.length")
    mesh.drag(1, 0)  # a click into it
    for key in ("w", "b", "x", "d", "d"):  # the last four would add, cut and delete cells
        mesh.page.keyboard.press(key)
    wait_in_kernel(mesh.page, "mesh.wireframe")
    assert mesh.page.evaluate("jupyterapp.shell.currentWidget.content.widgets.length") == cells
    mesh.page.keyboard.press("w")
    wait_in_kernel(mesh.page, "not mesh.wireframe")


def test_another_object_takes_the_place_of_the_first(widgets: tuple[Widget, Widget, Watch]) -> None:
    splats, mesh, seen = widgets
    in_kernel(splats.page, "splats.azimuth = 40; splats.elevation = 10; splats.radius = 1.5; splats.update(ring(300))")
    splats.wait("viewer.count === 360")
    assert psnr(splats.picture(), rendered(ring(300), 10, 40)) >= 30
    in_kernel(splats.page, "mesh.azimuth = 40; mesh.elevation = 10; mesh.update(torus('textured'))")
    expected = still_of(torus("textured"), elevation=10, azimuth=40)
    mesh.wait("viewer.camera.azimuth === 40")
    assert psnr(mesh.picture(), expected) >= 30
    told = splats.page.evaluate(_IN_KERNEL, "splats.elevation = 100")
    assert told == "InputError: elevation must be a number from -90 to 90; got 100"
    assert seen.strangers("http://127.0.0.1:", "ws://127.0.0.1:") == []
    assert [error for error in seen.errors if "image3d" in error or "anywidget" in error.lower()] == []


LESSONS = ("00_quickstart", "03_cameras_and_rays", "04_gaussians_and_splatting", "07_lgm_end_to_end")


@pytest.mark.parametrize("name", [f"{lesson}.ipynb" for lesson in LESSONS])
def test_notebook_runs_in_jupyterlab(lab: Lab, wide_page: Page, name: str) -> None:
    notebook = Path(shutil.copy(ROOT / "notebooks" / name, lab.folder / name))
    seen = harness.watch(wide_page)
    cells = harness.run_in_lab(wide_page, lab, notebook)
    assert harness.errors_in(cells) == []
    viewers = harness.viewers_in(wide_page)
    assert viewers, "the notebook must show something that turns"
    assert all(covered(picture_of(viewer)) > 0.05 for viewer in viewers)
    assert seen.strangers(lab.url, lab.url.replace("http", "ws")) == []
