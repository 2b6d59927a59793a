"""Meshes and cameras in the viewer, the page without WebGL2, and nbconvert's HTML, all opened from disk."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from numpy.typing import NDArray
from playwright.sync_api import Page, Playwright

import image3d_nb as i3d
from image3d_nb.cameras import Cameras, orbit_cameras
from image3d_nb.rendering import render
from image3d_nb.view import mimebundle, save_html
from image3d_nb.view.page import viewer_script, viewer_style
from tests import browser as harness
from tests.browser import covered, decode, drag, open_page, picture_of, psnr, wait_until
from tests.viewer_scenes import SIZE, point_at, rendered, ring, still_of, torus

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

HOSTILE = '</title></script><script>window.hacked = 1</script>"\' onload="hacked=2" <img src=x onerror=hacked=3>'
VIEWS = [(25, 30), (-40, 200)]


def psnr_where(drawn: NDArray, a: NDArray, b: NDArray) -> float:
    """Agreement of two pictures where a third one is not white."""
    where = drawn.min(-1) < 0.97
    return psnr(a[where], b[where])


@pytest.mark.parametrize("kind", ["coloured", "textured", "grey"])
def test_mesh_agrees_with_the_renderer(page: Page, tmp_path: Path, kind: str) -> None:
    mesh = torus(kind)
    seen = open_page(page, tmp_path, mesh)
    for elevation, azimuth in VIEWS:
        page.evaluate("view => image3dViewer.setCamera(...view)", [elevation, azimuth])
        expected = still_of(mesh, elevation=elevation, azimuth=azimuth)
        assert covered(expected) > 0.1
        assert psnr_where(expected, picture_of(page), expected) >= 30, (elevation, azimuth)
    assert (seen.errors, seen.strangers()) == ([], [])


def test_light_off_shows_colours_as_stored(page: Page, tmp_path: Path) -> None:
    mesh = torus("coloured")
    open_page(page, tmp_path, mesh, elevation=25)
    lit = picture_of(page)
    camera = orbit_cameras(elevation=25, azimuth=(0,), size=SIZE)
    stored = np.asarray(render(mesh, camera)[0])
    assert psnr_where(stored, lit, stored) < 20
    page.click(".more")
    page.uncheck(".light")
    assert psnr_where(stored, picture_of(page), stored) >= 30
    page.check(".light")
    assert np.array_equal(picture_of(page), lit)


def test_wireframe_shows_every_edge_and_goes_again(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, torus("grey", around=12, across=6), elevation=25)
    before = picture_of(page)
    page.mouse.click(128, 128)
    page.keyboard.press("w")
    edges = picture_of(page)
    dark, pale = edges.max(-1) < 0.4, edges.min(-1) > before.min(-1) + 0.05
    assert 0.02 < dark.mean() < 0.2
    assert pale.mean() > 2 * dark.mean()  # the surface between them stands back
    page.keyboard.press("w")
    assert np.array_equal(picture_of(page), before)


def test_double_click_on_a_mesh(page: Page, tmp_path: Path) -> None:
    mesh = torus("grey")
    open_page(page, tmp_path, mesh, elevation=25, azimuth=30)
    page.mouse.dblclick(100, 160)
    middle = picture_of(page)[SIZE // 2, SIZE // 2]
    target = page.evaluate("image3dViewer.camera.target")
    assert target == pytest.approx(point_at(mesh, 100, 160, elevation=25, azimuth=30), abs=0.01)
    assert middle.max() < 0.97  # and it is in the middle now


def four_cameras() -> Cameras:
    return orbit_cameras(elevation=15, size=64)


@pytest.mark.parametrize("beside", ["nothing", "splats"])
def test_cameras_agree_with_the_renderer(page: Page, tmp_path: Path, beside: str) -> None:
    cameras = four_cameras()
    options: dict[str, Any] = {"pictures": render(torus("coloured"), cameras), "axes": True, "rays": 2}
    obj: Any = cameras
    if beside == "splats":
        obj, options["cameras"] = ring(), cameras
    seen = open_page(page, tmp_path, obj, elevation=25, azimuth=30, **options)
    expected = still_of(obj, elevation=25, azimuth=30, **options)
    drawn = picture_of(page)
    assert psnr(drawn, expected) >= 30
    assert psnr_where(expected, drawn, expected) >= 21  # lines of 1.5 pixels, smoothed in two ways
    turned = still_of(obj, elevation=25, azimuth=31, **options)
    assert psnr_where(expected, turned, expected) < 16  # what a camera would give that is wrong by one degree
    assert (seen.errors, seen.strangers()) == ([], [])


def test_frusta_show_what_their_cameras_see(page: Page, tmp_path: Path) -> None:
    cameras = orbit_cameras(azimuth=(0,), size=128)
    picture = render(torus("textured"), cameras)
    open_page(page, tmp_path, cameras, pictures=picture, radius=1.8)  # a little behind the camera
    depth, behind = 0.25 * 1.5, 0.3
    side = depth / (depth + behind)  # of the window: the same field of view, from farther away
    low, high = round(128 * (1 - side)), round(128 * (1 + side))
    large = np.asarray(render(torus("textured"), cameras.resize(high - low, high - low))[0])
    seen = picture_of(page)[low:high, low:high]
    y, x = np.abs(np.indices(seen.shape[:2]) - (high - low - 1) / 2)
    clear = (np.abs(x - y) > 4) & (np.maximum(x, y) < (high - low) / 2 - 4)  # of the lines of the frustum
    assert psnr(seen[clear], large[clear]) >= 20  # a picture of 128 pixels, enlarged
    assert psnr(seen[:, ::-1][clear], large[clear]) < 15  # not mirrored
    assert psnr(seen[::-1][clear], large[clear]) < 15


def test_without_webgl_the_page_shows_the_picture_and_says_why(playwright: Playwright, tmp_path: Path) -> None:
    obj = torus("coloured")
    path = save_html(obj, tmp_path / "page.html")
    plain = harness.launch(playwright, "--disable-3d-apis")
    page = plain.new_page(viewport={"width": 2 * SIZE, "height": 2 * SIZE})
    seen = harness.watch(page)
    page.goto(path.as_uri())
    assert "no WebGL2" in page.inner_text(".message")
    assert not page.is_visible(".canvas")
    assert page.query_selector(".tools") is None
    middle = slice(60, 400)  # free of words
    assert psnr(decode(page.screenshot())[middle], still_of(obj, size=2 * SIZE)[middle]) >= 40
    assert (seen.errors, seen.strangers()) == ([], [])
    plain.close()


def as_html(bundles: list[dict[str, str]]) -> str:
    """nbconvert's page of a notebook with these outputs. It would fetch require.js and MathJax for itself: not here."""
    outputs = [nbformat.v4.new_output("display_data", data=bundle) for bundle in bundles]
    cells = [nbformat.v4.new_code_cell("i3d.show(...)", outputs=[output]) for output in outputs]
    notebook = nbformat.v4.new_notebook(cells=cells)
    exporter = HTMLExporter(require_js_url="", mathjax_url="", mermaid_js_url="", mermaid_layout_elk_js_url="")
    page, _ = exporter.from_notebook_node(notebook)
    return str(page)


def test_nbconvert_html_from_disk(wide_page: Page, tmp_path: Path) -> None:
    gaussians, mesh = ring(), torus("textured")
    path = tmp_path / "notebook.html"
    shown = [mimebundle(gaussians, size=SIZE, title=HOSTILE), mimebundle(mesh, size=SIZE, elevation=20)]
    path.write_text(as_html(shown), "utf-8")
    seen = harness.watch(wide_page)
    wide_page.goto(path.as_uri())
    splats, triangles = harness.viewers_in(wide_page)
    for frame, expected in ((splats, rendered(gaussians)), (triangles, still_of(mesh, elevation=20))):
        assert psnr(picture_of(frame), expected) >= 30
        assert frame.evaluate("document.fullscreenEnabled")
        assert frame.evaluate("[self.origin, window.hacked === undefined]") == ["null", True]
    before = picture_of(triangles)
    box = wide_page.query_selector_all("iframe")[1].bounding_box()
    assert box is not None
    drag(wide_page, (box["x"] + 90, box["y"] + 150), (box["x"] + 160, box["y"] + 140))
    wait_until(triangles, "image3dViewer.camera.azimuth < -10")
    assert psnr(before, picture_of(triangles)) < 20
    triangles.click(".reset")
    assert np.array_equal(picture_of(triangles), before)
    assert wide_page.evaluate("window.hacked === undefined")
    assert (seen.errors, seen.strangers()) == ([], [])


FAKE_NOTEBOOK = """<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0"><div id="cell"></div>
<script type="module">
SCRIPT
const state = STATE;
const listeners = {};
const model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; },
  save_changes: () => { window.saved = { ...state }; },
  on: (event, callback) => { (listeners[event] ||= new Set()).add(callback); },
  off: (event, callback) => listeners[event].delete(callback),
};
state._still = Uint8Array.from(atob(state._still), (letter) => letter.charCodeAt(0));
window.clean = render({ model, el: document.getElementById("cell") });
window.listening = () => Object.values(listeners).reduce((sum, set) => sum + set.size, 0);
</script>"""


def open_widget(page: Page, folder: Path, viewer: Any) -> harness.Watch:
    """A widget in a page that stands in for a notebook."""
    own = [name for name in viewer.keys if name in ("_scene", "_still") or name[0] != "_"]
    state = {name: getattr(viewer, name) for name in own if name not in ("layout", "tooltip", "tabbable")}
    as_json = json.dumps(state, default=lambda value: base64.b64encode(value).decode("ascii"))
    text = FAKE_NOTEBOOK.replace("STATE", as_json).replace("SCRIPT", viewer_script("widget"))
    (folder / "widget.html").write_text(f"<style>{viewer_style(page=False)}</style>{text}", "utf-8")
    seen = harness.watch(page)
    page.goto((folder / "widget.html").as_uri())
    return seen


def test_a_closed_widget_leaves_nothing_behind(page: Page, tmp_path: Path) -> None:
    seen = open_widget(page, tmp_path, i3d.SplatViewer(ring(50), size=128, turning=True))
    wait_until(page, "document.querySelector('.image3d.live') !== null && (window.saved?.azimuth ?? 0) > 1")
    assert page.evaluate("listening() > 8")
    page.evaluate("clean()")
    assert page.evaluate("listening()") == 0
    page.wait_for_timeout(200)
    saved = page.evaluate("saved.azimuth")
    page.wait_for_timeout(700)  # longer than its pause between two messages
    assert page.evaluate("saved.azimuth") == saved
    assert seen.errors == []


def test_a_widget_without_webgl_shows_its_picture_and_says_why(page: Page, tmp_path: Path) -> None:
    viewer = i3d.MeshViewer(torus("coloured"), size=256)
    viewer._repr_mimebundle_()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    seen = open_widget(page, tmp_path, viewer)
    assert "no WebGL2" in page.inner_text(".message")
    assert not page.is_visible(".canvas")
    wait_until(page, "document.querySelector('.still').naturalWidth === 256")
    box = page.query_selector(".image3d").bounding_box()  # type: ignore[union-attr]  # it is there
    shown = decode(page.query_selector(".image3d").screenshot())  # type: ignore[union-attr]  # the same
    assert (box["width"], box["height"]) == (256, 256)  # type: ignore[index]  # the same
    assert psnr(shown[:160], still_of(torus("coloured"))[:160]) >= 30
    assert (seen.errors, seen.strangers()) == ([], [])
