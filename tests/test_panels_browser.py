"""Previews and panels in JupyterLab in headless Chromium: one notebook with all of them, run once, looked at here."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from playwright.sync_api import ElementHandle, Page, sync_playwright

from image3d_nb.cameras import orbit_cameras
from image3d_nb.mesh import Mesh
from tests import browser as harness
from tests.browser import Lab, Watch, covered, decode, psnr, wait_until

from .test_browser import ring, sheets, write_notebook
from .test_three import look

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

Picture = NDArray[np.float64]
SIZE = 192
HOSTILE = (
    "<script>window.hacked = 1</script>\"' <img src=x onerror=window.hacked=2> $\\href{javascript:window.hacked=3}{x}$"
)
# Nothing else may appear among the console's errors. Nothing does at the moment.
DOCUMENTED: tuple[str, ...] = ()

SETUP = f"""
import sys
import torch
import ipywidgets
import numpy as np
import image3d_nb as i3d
from PIL import Image

gaussians = i3d.Gaussians(**torch.load("ring.pt"))
sheets = i3d.Gaussians(**torch.load("sheets.pt"))
with np.load("balls.npz") as arrays:
    coloured = i3d.Mesh(arrays["vertices"], arrays["faces"], vertex_colors=arrays["colors"])
    textured = i3d.Mesh(arrays["vertices"], arrays["faces"], uvs=arrays["uvs"], texture=arrays["texture"])
    noise = arrays["noise"]
hostile = {HOSTILE!r}
"""
CELLS = {
    "setup": SETUP,
    "coloured": f"i3d.preview_mesh(coloured, size={SIZE}, light=False)",
    "textured": f"i3d.preview_mesh(textured, size={SIZE}, elevation=20, azimuth=130)",
    "splats": f"splats = i3d.preview_splats(gaussians, size={SIZE}, elevation=15, azimuth=40)\n"
    "ipywidgets.VBox([splats, ipywidgets.Text('below')])",
    "sheets": f"turned = i3d.preview_splats(sheets, size={SIZE})\nturned",
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


def ball(side: int = 16) -> dict[str, NDArray[Any]]:
    """A ball of radius 0.5 with colours, and with a texture that differs in every direction."""
    u, v = np.meshgrid(np.linspace(0, 1, 2 * side + 1), np.linspace(0, 1, side + 1))
    turn, up = 2 * math.pi * u, math.pi * (v - 0.5)
    vertices = 0.5 * np.stack([np.cos(up) * np.sin(turn), np.sin(up), np.cos(up) * np.cos(turn)], -1).reshape(-1, 3)
    corner = (np.arange(side)[:, None] * (2 * side + 1) + np.arange(2 * side)).ravel()
    above = corner + 2 * side + 1
    faces = np.concatenate([np.stack([corner, corner + 1, above + 1], 1), np.stack([corner, above + 1, above], 1)])
    y, x = np.mgrid[:64, :128]
    return {
        "vertices": vertices, "faces": faces, "colors": vertices + 0.5, "uvs": np.stack([u, v], -1).reshape(-1, 2),
        "texture": np.stack([2 * x, 4 * y, 255 * ((x // 8 + y // 8) % 2)], -1).astype(np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8),
    }  # fmt: skip


def coloured() -> Mesh:
    arrays = ball()
    return Mesh(arrays["vertices"], arrays["faces"], vertex_colors=arrays["colors"])


def textured() -> Mesh:
    arrays = ball()
    return Mesh(arrays["vertices"], arrays["faces"], uvs=arrays["uvs"], texture=arrays["texture"])


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
            if covered(self.picture(canvas)) > 0.05:
                return canvas
            self.page.wait_for_timeout(50)
        raise TimeoutError(f"the canvas of {name} stayed blank")

    def picture(self, canvas: ElementHandle) -> Picture:
        return decode(base64.b64decode(canvas.evaluate("canvas => canvas.toDataURL()").partition(",")[2]))

    def changed(self, canvas: ElementHandle, before: Picture) -> Picture:
        """Wait for another picture."""
        for _ in range(200):
            after = self.picture(canvas)
            if not np.array_equal(before, after):
                return after
            self.page.wait_for_timeout(50)
        raise TimeoutError("the picture stayed as it was")

    def ask(self, expression: str) -> str:
        """The repr of a Python expression in the notebook's kernel."""
        script = """async (expression) => {
          const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          const reply = await kernel.requestExecute({ code: "", user_expressions: { value: expression } }).done;
          return reply.content.user_expressions.value.data["text/plain"];
        }"""
        return str(self.page.evaluate(script, expression))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with harness.jupyter_lab(tmp_path_factory.mktemp("lab")) as lab, sync_playwright() as playwright:
        torch.save(vars(ring(600)), lab.folder / "ring.pt")
        torch.save(vars(sheets()), lab.folder / "sheets.pt")
        np.savez(lab.folder / "balls.npz", **ball())
        notebook = lab.folder / "panels.ipynb"
        write_notebook(notebook, list(CELLS.values()))
        running = harness.launch(playwright)
        page = running.new_page(viewport={"width": 1200, "height": 1000})
        seen = harness.watch(page)
        cells = harness.run_in_lab(page, lab, notebook)
        assert harness.errors_in(cells) == []
        yield Shown(page, lab, seen, cells)
        running.close()


def test_previews_agree_with_our_own_renderer(shown: Shown) -> None:
    expected = {
        "coloured": (look(coloured(), SIZE, light=False), 30),
        "textured": (look(textured(), SIZE, 20, 130), 30),
        "splats": (look(ring(600), SIZE, 15, 40), 38),
        "sheets": (look(sheets(), SIZE), 40),
    }
    for name, (picture, bar) in expected.items():
        drawn = shown.picture(shown.canvas(name))
        assert drawn.shape == (SIZE, SIZE, 3)
        assert psnr(drawn, picture / 255) >= bar, name


@pytest.mark.parametrize("name", ["cameras", "mixed", "afar"])
def test_cameras_are_where_the_saved_picture_has_them(shown: Shown, name: str) -> None:
    drawn = shown.picture(shown.canvas(name))
    output = shown.cells[shown.places.index(name)]["outputs"][0]
    saved = decode(base64.b64decode(output["data"]["image/png"]))
    assert psnr(drawn, saved) >= 22  # lines two pixels wide: half a pixel of difference counts
    coarse = [picture.reshape(24, 8, 24, 8, 3).mean((1, 3)) for picture in (drawn, saved)]
    assert psnr(*coarse) >= 32


def test_a_drag_turns_the_sheets_and_the_sort_stays_right(shown: Shown) -> None:
    canvas = shown.canvas("sheets")
    assert psnr(look(sheets(), SIZE) / 255, look(sheets(swapped=True), SIZE) / 255) < 20
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + SIZE / 2, box["y"] + SIZE / 2
    elevation, azimuth = 0.0, 0.0
    for across, down in [(30, 10), (40, 20), (24, -45), (40, -20), (40, 5), (10, 40)]:
        before = shown.picture(canvas)
        shown.page.mouse.move(x, y)
        shown.page.mouse.down()
        shown.page.mouse.move(x + across, y + down)
        shown.page.mouse.up()
        shown.changed(canvas, before)
        azimuth -= 360 * across / SIZE  # OrbitControls: the height of the canvas is one turn
        elevation += 360 * down / SIZE
        expected = look(sheets(), SIZE, elevation, azimuth) / 255
        assert psnr(shown.picture(canvas), expected) >= 30, (elevation, azimuth)
    place = orbit_cameras(elevation, (azimuth,)).positions[0].tolist()
    kernel = np.array([float(value) for value in shown.ask("turned.camera.position").strip("()").split(",")])
    assert np.allclose(kernel, place, atol=1e-3)  # the kernel hears where the camera went


def test_gallery_shows_its_pictures_and_its_captions_as_text(shown: Shown) -> None:
    pictures = shown.output("gallery").query_selector_all("img")
    sizes = [picture.evaluate("picture => [picture.naturalWidth, picture.clientWidth]") for picture in pictures]
    assert sizes == [[96, 96]] * 3
    assert HOSTILE in shown.output("gallery").inner_text()
    assert HOSTILE in shown.output("pairs").inner_text()
    assert shown.page.evaluate("window.hacked === undefined")


def halves(shown: Shown) -> tuple[float, Picture]:
    """Where the bar of the comparison is, and what is on the screen."""
    root = shown.output("compare").wait_for_selector(".image3d-compare")
    assert root is not None
    box = root.bounding_box()
    assert box is not None
    corner = {"x": round(box["x"]), "y": round(box["y"])}  # a screenshot of the element would be 161 pixels high
    picture = shown.page.screenshot(clip={**corner, "width": 160, "height": 160})
    return float(root.get_attribute("aria-valuenow") or -1), decode(picture)


def test_the_bar_of_a_comparison_follows_pointer_and_keys(shown: Shown) -> None:
    before, after = (np.repeat(np.repeat(picture, 5, 0), 5, 1) / 255 for picture in ball()["noise"][:2])
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
    shown.page.mouse.move(box["x"] + 80, box["y"] + 20)
    shown.page.mouse.down()
    shown.page.mouse.move(box["x"] + 32, box["y"] + 20, steps=3)
    shown.page.mouse.up()
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


def frames() -> list[Picture]:
    from image3d_nb.view import turntable_frames

    return [np.asarray(frame) / 255 for frame in turntable_frames(textured(), 12, size=128)]


def nearest(picture: Picture) -> int:
    """Which frame a picture is; it has to look like it."""
    scores = [psnr(picture, frame) for frame in frames()]
    assert max(scores) >= 27  # they are compressed
    return int(np.argmax(scores))


def test_turntable_follows_slider_drag_and_python(shown: Shown) -> None:
    canvas = shown.canvas("turntable")
    assert nearest(shown.picture(canvas)) == 0
    handle = shown.output("turntable").wait_for_selector(".noUi-handle")
    assert handle is not None
    before = shown.picture(canvas)
    handle.focus()
    shown.page.keyboard.press("ArrowRight")
    before = shown.changed(canvas, before)
    assert nearest(before) == 1
    box = canvas.bounding_box()
    assert box is not None
    shown.page.mouse.move(box["x"] + 90, box["y"] + 60)
    shown.page.mouse.down()
    shown.page.mouse.move(box["x"] + 90 - 3 * 128 / 12, box["y"] + 60)
    shown.page.mouse.up()
    before = shown.changed(canvas, before)
    assert nearest(before) == 4
    shown.ask("setattr(panel.children[0], 'frame', 9)")
    assert nearest(shown.changed(canvas, before)) == 9


def test_the_play_bar_plays_while_the_kernel_is_busy(shown: Shown) -> None:
    canvas = shown.canvas("turntable")
    kernel = "jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    shown.page.evaluate(f"() => {{ {kernel}.requestExecute({{ code: 'import time; time.sleep(60)' }}) }}")
    wait_until(shown.page, f"{kernel}.status === 'busy'", 20)
    before = shown.picture(canvas)
    play, stop = shown.output("turntable").query_selector_all(".widget-play button")[:2]
    play.click()
    seen = {before.tobytes()}
    for _ in range(3):
        before = shown.changed(canvas, before)
        seen.add(before.tobytes())
    assert shown.page.evaluate(f"{kernel}.status") == "busy"
    stop.click()
    shown.page.evaluate(f"{kernel}.interrupt()")
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


def test_every_cell_leaves_a_picture(shown: Shown) -> None:
    for name, cell in zip(shown.places, shown.cells, strict=True):
        if name not in ("setup", "splats"):  # a box of one's own is not ours
            assert any("image/png" in output.get("data", {}) for output in cell["outputs"]), name


def test_nothing_complained_and_nobody_was_asked(shown: Shown) -> None:
    """The last one: what all of the above has done counts."""
    assert [error for error in shown.seen.errors if not any(known in error for known in DOCUMENTED)] == []
    assert shown.seen.strangers(shown.lab.url, shown.lab.url.replace("http", "ws")) == []
