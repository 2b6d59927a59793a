"""Previews and panels in JupyterLab in headless Chromium: one notebook with all of them, run once, looked at here."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, ElementHandle, Page

from image3d_nb.cameras import orbit_cameras
from image3d_nb.view import turntable_frames
from tests import browser as harness
from tests.browser import Lab, Watch, covered, decode, drag, psnr, wait_until, write_notebook
from tests.viewer_scenes import still_of, torus

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

Pixels = NDArray[np.float64]
SIZE = 192
HOSTILE = (
    "<script>window.hacked = 1</script>\"' <img src=x onerror=window.hacked=2> $\\href{javascript:window.hacked=3}{x}$"
)
# Nothing else may appear among the console's errors. Nothing does at the moment.
DOCUMENTED: tuple[str, ...] = ()

SETUP = f"""
import ipywidgets
import numpy as np
import image3d_nb as i3d
from PIL import Image
from tests import viewer_scenes

gaussians = viewer_scenes.ring(600)
coloured, textured = viewer_scenes.torus("coloured"), viewer_scenes.torus("textured")
noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
hostile = {HOSTILE!r}
"""
CELLS = {
    "setup": SETUP,
    "coloured": f"turned = i3d.preview_mesh(coloured, size={SIZE}, light=False)\nturned",
    "textured": f"i3d.preview_mesh(textured, size={SIZE}, elevation=20, azimuth=130)",
    "splats": f"splats = i3d.preview_splats(gaussians, size={SIZE}, elevation=15, azimuth=40)\n"
    "ipywidgets.VBox([splats, ipywidgets.Text('below')])",
    "cameras": f"i3d.preview_cameras(i3d.orbit_cameras(), coloured, rays=[(128, 128), (20, 60)], size={SIZE})",
    "afar": "far = i3d.Mesh(coloured.vertices + [5, 0, 3], coloured.faces, vertex_colors=coloured.vertex_colors)\n"
    f"i3d.preview_mesh(far, elevation=30, azimuth=60, size={SIZE})",
    "mixed": "views = i3d.render(gaussians, i3d.orbit_cameras(size=64))\n"
    f"i3d.preview_cameras(i3d.orbit_cameras(), gaussians, pictures=views, size={SIZE})",
    "gallery": "i3d.gallery(noise, [hostile, 'b', 'c'], size=96)",
    "compare": "pair = i3d.compare(noise[0], noise[1], labels=('', ''), size=160)\npair",
    "pairs": "i3d.compare(noise, noise[::-1], labels=(hostile, 'after'), size=120)",
    "turntable": "panel = i3d.turntable(textured, frames=12, size=128, fps=20)\npanel",
    "watch": "pipe = i3d.load_pipeline()\nprogress = i3d.watch(pipe, size=64)\n"
    "settings = dict(prepare=False, num_inference_steps=2, generator=i3d.generator(0))\n"
    "result = pipe(Image.fromarray(noise[0]), callback_on_step_end=progress, **settings)",
}  # fmt: skip


def noise() -> NDArray[np.uint8]:
    """[3, 32, 32, 3], three pictures that nobody takes for one another."""
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@dataclass
class Shown:
    """The notebook as it stands in the browser."""

    page: Page
    lab: Lab
    seen: Watch
    cells: list[dict[str, Any]]
    places: list[str] = field(default_factory=lambda: list(CELLS))

    def output(self, name: str) -> ElementHandle:
        """A cell's output, scrolled to."""
        cell = self.page.query_selector_all(".jp-Notebook .jp-CodeCell")[self.places.index(name)]
        found = cell.wait_for_selector(".jp-Cell-outputArea")
        assert found is not None
        found.scroll_into_view_if_needed()
        return found

    def canvas(self, name: str) -> ElementHandle:
        """The canvas of a cell that has drawn something."""
        canvas = self.output(name).wait_for_selector("canvas")
        assert canvas is not None
        canvas.scroll_into_view_if_needed()
        for _ in range(600):
            if covered(self.image(canvas)) > 0.05:
                return canvas
            self.page.wait_for_timeout(50)
        raise TimeoutError(f"the canvas of {name} stayed blank")

    def image(self, canvas: ElementHandle) -> Pixels:
        return decode(base64.b64decode(canvas.evaluate("canvas => canvas.toDataURL()").partition(",")[2]))

    def changed(self, canvas: ElementHandle, before: Pixels) -> Pixels:
        """Wait for another picture."""
        for _ in range(200):
            after = self.image(canvas)
            if not np.array_equal(before, after):
                return after
            self.page.wait_for_timeout(50)
        raise TimeoutError("the picture stayed as it was")

    def becomes(self, canvas: ElementHandle, right: Callable[[Pixels], bool]) -> bool:
        """Whether the picture becomes right: a drag draws several on its way."""
        for _ in range(100):
            if right(self.image(canvas)):
                return True
            self.page.wait_for_timeout(50)
        return False

    def ask(self, expression: str) -> str:
        """The repr of a Python expression in the notebook's kernel."""
        script = """async (expression) => {
          const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          const reply = await kernel.requestExecute({ code: "", user_expressions: { value: expression } }).done;
          return reply.content.user_expressions.value.data["text/plain"];
        }"""
        return str(self.page.evaluate(script, expression))


@pytest.fixture(scope="module")
def shown(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with harness.jupyter_lab(tmp_path_factory.mktemp("lab")) as lab:
        notebook = lab.folder / "panels.ipynb"
        write_notebook(notebook, list(CELLS.values()))
        page = browser.new_context(viewport={"width": 1200, "height": 1000}).new_page()
        seen = harness.watch(page)
        cells = harness.run_in_lab(page, lab, notebook)
        assert harness.errors_in(cells) == []
        yield Shown(page, lab, seen, cells)
        page.context.close()


def test_meshes_agree_with_our_own_renderer_from_wherever_they_are_turned(shown: Shown) -> None:
    lit = still_of(torus("textured"), SIZE, 20, 130)
    assert psnr(shown.image(shown.canvas("textured")), lit) >= 30
    canvas = shown.canvas("coloured")
    assert psnr(shown.image(canvas), still_of(torus("coloured"), SIZE, light=False)) >= 30
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + SIZE / 2, box["y"] + SIZE / 2
    drag(shown.page, (x, y), (x + 30, y + 10))
    elevation, azimuth = 360 * 10 / SIZE, -360 * 30 / SIZE  # OrbitControls: the height of the canvas is one turn
    wanted = still_of(torus("coloured"), SIZE, elevation, azimuth, light=False)
    assert shown.becomes(canvas, lambda drawn: psnr(drawn, wanted) >= 28)
    place = orbit_cameras(elevation, (azimuth,)).positions[0].tolist()
    kernel = np.array([float(value) for value in shown.ask("turned.camera.position").strip("()").split(",")])
    assert np.allclose(kernel, place, atol=1e-3)  # the kernel hears where the camera went


@pytest.mark.parametrize("name", ["cameras", "mixed", "afar"])
def test_the_saved_image_agrees_with_the_canvas(shown: Shown, name: str) -> None:
    drawn = shown.image(shown.canvas(name))
    output = shown.cells[shown.places.index(name)]["outputs"][0]
    saved = decode(base64.b64decode(output["data"]["image/png"]))
    coarse = [image.reshape(24, 8, 24, 8, 3).mean((1, 3)) for image in (drawn, saved)]
    assert psnr(*coarse) >= 26  # lines of two pixels and dots of a few: half a pixel of difference counts


def test_gallery_shows_its_pictures_and_its_captions_as_text(shown: Shown) -> None:
    pictures = shown.output("gallery").query_selector_all("img")
    sizes = [picture.evaluate("picture => [picture.naturalWidth, picture.clientWidth]") for picture in pictures]
    assert sizes == [[96, 96]] * 3
    assert HOSTILE in shown.output("gallery").inner_text()
    assert HOSTILE in shown.output("pairs").inner_text()
    assert shown.page.evaluate("window.hacked === undefined")


def halves(shown: Shown) -> tuple[float, Pixels]:
    """Where the bar of the comparison is, and what is on the screen."""
    root = shown.output("compare").wait_for_selector(".image3d-compare")
    assert root is not None
    box = root.bounding_box()
    assert box is not None
    corner = {"x": round(box["x"]), "y": round(box["y"])}  # a screenshot of the element would be 161 pixels high
    picture = shown.page.screenshot(clip={**corner, "width": 160, "height": 160})
    return float(root.get_attribute("aria-valuenow") or -1), decode(picture)


def test_the_bar_of_a_comparison_follows_pointer_and_keys(shown: Shown) -> None:
    before, after = (np.repeat(np.repeat(picture, 5, 0), 5, 1) / 255 for picture in noise()[:2])
    position, picture = halves(shown)
    assert position == 50
    assert picture.shape == (160, 160, 3)
    rows = slice(10, 50)  # free of the bar's handle and of round corners
    assert psnr(picture[rows, 10:70], before[rows, 10:70]) >= 40
    assert psnr(picture[rows, 90:150], after[rows, 90:150]) >= 40
    root = shown.output("compare").wait_for_selector(".image3d-compare")
    assert root is not None
    box = root.bounding_box()
    assert box is not None
    drag(shown.page, (box["x"] + 80, box["y"] + 20), (box["x"] + 32, box["y"] + 20))
    position, picture = halves(shown)
    assert position == pytest.approx(20, abs=1)
    assert psnr(picture[rows, 60:150], after[rows, 60:150]) >= 40
    root.focus()
    shown.page.keyboard.press("End")
    position, picture = halves(shown)
    assert (position, shown.ask("pair.position")) == (100, "100.0")
    assert psnr(picture[rows, 10:150], before[rows, 10:150]) >= 40


def test_several_bars_move_together_and_python_moves_them(shown: Shown) -> None:
    roots = shown.output("pairs").query_selector_all(".image3d-compare")
    assert len(roots) == 3
    roots[0].focus()
    shown.page.keyboard.press("ArrowRight")
    assert [root.get_attribute("aria-valuenow") for root in roots] == ["55"] * 3
    shown.ask("setattr(pair, 'position', 75.0)")
    wait_until(shown.page, "Boolean(document.querySelector('.image3d-compare[aria-valuenow=\"75\"]'))", 20)


def test_turntable_follows_slider_drag_and_python(shown: Shown) -> None:
    frames = [np.asarray(frame) / 255 for frame in turntable_frames(torus("textured"), 12, size=128)]

    def shows(number: int) -> Callable[[Pixels], bool]:
        def right(picture: Pixels) -> bool:
            scores = [psnr(picture, frame) for frame in frames]
            return int(np.argmax(scores)) == number and max(scores) >= 27  # they are compressed

        return right

    canvas = shown.canvas("turntable")
    assert shown.becomes(canvas, shows(0))
    handle = shown.output("turntable").wait_for_selector(".noUi-handle")
    assert handle is not None
    handle.focus()
    shown.page.keyboard.press("ArrowRight")
    assert shown.becomes(canvas, shows(1))
    box = canvas.bounding_box()
    assert box is not None
    drag(shown.page, (box["x"] + 90, box["y"] + 60), (box["x"] + 90 - 3 * 128 / 12, box["y"] + 60))
    assert shown.becomes(canvas, shows(4))
    shown.ask("setattr(panel.children[0], 'frame', 9)")
    assert shown.becomes(canvas, shows(9))


def test_the_play_bar_plays_while_the_kernel_is_frozen(shown: Shown) -> None:
    canvas = shown.canvas("turntable")
    kernel = int(shown.ask("__import__('os').getpid()"))
    play, stop = shown.output("turntable").query_selector_all(".widget-play button")[:2]
    before = shown.image(canvas)
    seen = {before.tobytes()}
    os.kill(kernel, signal.SIGSTOP)
    try:
        play.click()
        for _ in range(3):
            before = shown.changed(canvas, before)
            seen.add(before.tobytes())
        stop.click()
    finally:
        os.kill(kernel, signal.SIGCONT)
    assert len(seen) == 4


def test_progress_ends_with_the_views_in_the_page_and_in_the_saved_notebook(shown: Shown) -> None:
    output = shown.output("watch")
    assert "step 2 of 2" in output.inner_text()
    pictures = output.query_selector_all("img")
    assert len(pictures) == 4
    assert all(picture.evaluate("picture => picture.naturalWidth") == 64 for picture in pictures)
    bundles = [entry["data"] for entry in shown.cells[shown.places.index("watch")]["outputs"] if "data" in entry]
    saved = next(data for data in bundles if data["text/plain"] == "views as they denoise")
    assert decode(base64.b64decode(saved["image/png"])).std() > 0.02  # not the blanks that it began with


def test_nothing_complained_and_nobody_was_asked(shown: Shown) -> None:
    """The last one: what all of the above has done counts."""
    assert [error for error in shown.seen.errors if not any(known in error for known in DOCUMENTED)] == []
    assert shown.seen.strangers(shown.lab.url, shown.lab.url.replace("http", "ws")) == []
