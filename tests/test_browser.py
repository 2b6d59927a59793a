"""The viewer of Gaussians in headless Chromium, as a page from disk (test_browser_lab.py has JupyterLab)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

from image3d_nb.view import save_html
from tests.browser import covered, decode, drag, open_page, picture_of, psnr, wait_until
from tests.viewer_scenes import SIZE, point_at, rendered, ring, sheets

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_page_from_disk_agrees_with_the_renderer_and_asks_nobody(page: Page, tmp_path: Path) -> None:
    gaussians = ring()
    seen = open_page(page, tmp_path, gaussians)
    for elevation, azimuth, radius in [(0, 0, 1.5), (15, 40, 1.5), (-30, 200, 1.2), (80, 300, 2.0), (0, 90, 0.6)]:
        page.evaluate("view => image3dViewer.setCamera(...view)", [elevation, azimuth, radius])
        picture = picture_of(page)
        assert picture.shape == (SIZE, SIZE, 3)
        assert covered(picture) > 0.05
        assert psnr(picture, rendered(gaussians, elevation, azimuth, radius)) >= 30
    middle = slice(60, 200)  # free of words and buttons
    assert psnr(decode(page.screenshot())[middle], picture[middle]) >= 30  # what is on the screen
    assert seen.errors == []
    assert seen.strangers() == []
    assert [url for url in seen.requests if url.startswith("file:")] == [page.url]


def test_drag_turns_and_reset_restores(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, ring(500))
    before = picture_of(page)
    drag(page, (100, 150), (160, 130))
    turned = picture_of(page)
    assert psnr(before, turned) < 25
    camera = page.evaluate("image3dViewer.camera")
    assert camera["azimuth"] == pytest.approx(-60 / SIZE * 180)
    assert camera["elevation"] == pytest.approx(-20 / SIZE * 180)
    page.click(".reset")
    assert np.array_equal(picture_of(page), before)


@pytest.mark.parametrize("change", ["wheel", "pan", "keyboard", "touch"])
def test_every_control_changes_the_picture(page: Page, tmp_path: Path, change: str) -> None:
    open_page(page, tmp_path, ring(500))
    before = picture_of(page)
    page.mouse.move(100, 150)
    if change == "wheel":
        page.mouse.wheel(0, 300)
        wait_until(page, "image3dViewer.camera.radius > 1.6")
    elif change == "pan":
        page.keyboard.down("Shift")
        page.mouse.down()
        page.mouse.move(150, 150)
        page.mouse.up()
        page.keyboard.up("Shift")
        assert page.evaluate("image3dViewer.camera.azimuth") == 0
    elif change == "keyboard":
        page.focus(".canvas")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowUp")
        assert page.evaluate("image3dViewer.camera")["elevation"] == 5
    else:
        finger = page.context.new_cdp_session(page)
        for kind, points in [("touchStart", [(90, 128), (160, 128)]), ("touchMove", [(60, 128), (200, 128)])]:
            touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert page.evaluate("image3dViewer.camera.radius") < 1.4
    assert psnr(before, picture_of(page)) < 35


def drawn_when_it_rests(page: Page) -> int:
    """How many pictures it has drawn when half a second brings no more."""
    drawn = [-1]
    while len(drawn) < 20 and drawn[-1] != (now := page.evaluate("image3dViewer.drawn")):
        drawn.append(now)
        page.wait_for_timeout(500)
    assert len(drawn) < 20, f"it drew on and on: {drawn}"
    return drawn[-1]


def test_it_rests_when_nothing_changes_and_turns_when_asked(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, ring(500))
    drawn_when_it_rests(page)
    page.click(".turning")
    wait_until(page, "image3dViewer.camera.azimuth > 5")
    page.click(".turning")
    assert page.get_attribute(".turning", "aria-pressed") == "false"


def test_sort_is_right_from_26_directions(page: Page, tmp_path: Path) -> None:
    gaussians, size = sheets(), SIZE // 2
    page.set_viewport_size({"width": size, "height": size})
    open_page(page, tmp_path, gaussians)
    views = [(e, a) for e in (-45, 0, 45) for a in range(0, 360, 45)] + [(90, 0), (-90, 0)]
    assert len(views) == 26
    for elevation, azimuth in views:
        page.evaluate("view => image3dViewer.setCamera(...view, 1.5)", [elevation, azimuth])
        assert psnr(picture_of(page), rendered(gaussians, elevation, azimuth, size=size)) >= 30, (elevation, azimuth)
    # The same sheets in the wrong order would not pass.
    assert psnr(rendered(gaussians), rendered(sheets(swapped=True))) < 20


@pytest.mark.parametrize("forbidden", ["when it is made", "when it starts"])
def test_without_a_worker_the_page_sorts(page: Page, tmp_path: Path, forbidden: str) -> None:
    gaussians = sheets()
    path = save_html(gaussians, tmp_path / "page.html", elevation=20, azimuth=200)
    if forbidden == "when it is made":
        page.add_init_script("window.Worker = class { constructor() { throw new Error('no workers here') } }")
    else:
        path.write_text(path.read_text("utf-8").replace("worker-src blob:", "worker-src 'none'"), "utf-8")
    page.goto(path.as_uri())
    assert psnr(picture_of(page), rendered(gaussians, 20, 200)) >= 30
    page.evaluate("image3dViewer.setCamera(0, 0)")
    assert psnr(picture_of(page), rendered(gaussians)) >= 30


def test_lost_graphics_memory_shows_the_picture_until_it_is_back(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, ring(500))
    before = picture_of(page)
    page.evaluate("""() => {
      const gl = document.querySelector('.canvas').getContext('webgl2');
      window.memory = gl.getExtension('WEBGL_lose_context');
      memory.loseContext();
    }""")
    wait_until(page, "!document.querySelector('.message').hidden")
    assert "graphics memory" in page.inner_text(".message")
    assert not page.is_visible(".canvas")
    page.evaluate("memory.restoreContext()")
    wait_until(page, "document.querySelector('.message').hidden")
    assert np.array_equal(picture_of(page), before)


def test_splat_size_and_points(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, ring())
    before = picture_of(page)
    page.click(".more")
    page.fill(".splatScale", "0.5")
    assert psnr(picture_of(page), rendered(ring(), scale=0.5)) >= 30
    assert psnr(before, rendered(ring(), scale=0.5)) < 25  # that was a change
    page.fill(".splatScale", "1")
    page.check(".points")
    dots = picture_of(page)
    assert 0.05 < covered(dots) < 0.9 * covered(before)
    assert (dots[0] == 1).all()  # the dots are round and sharp: none reaches the border
    page.uncheck(".points")
    assert np.array_equal(picture_of(page), before)


def test_background_colour(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, ring(500), background=(0, 0.2, 0.4))
    page.click(".more")
    assert page.input_value(".background") == "#003366"
    page.fill(".background", "#ff8000")
    assert picture_of(page)[0, 0] == pytest.approx([1, 128 / 255, 0], abs=1e-6)


def test_double_click_turns_around_the_point_below_it(page: Page, tmp_path: Path) -> None:
    gaussians = ring()
    open_page(page, tmp_path, gaussians, elevation=20, azimuth=30)
    page.mouse.dblclick(150, 75)
    before = page.evaluate("image3dViewer.camera")
    picture_of(page)  # arrives there
    camera = page.evaluate("image3dViewer.camera")
    assert camera["target"] == pytest.approx(point_at(gaussians, 150, 75, elevation=20, azimuth=30), abs=0.04)
    assert {**camera, "target": 0} == {**before, "target": 0}
    page.keyboard.press("r")
    assert page.evaluate("image3dViewer.camera.target") == [0, 0, 0]
    page.mouse.dblclick(5, 250)  # nothing is there
    picture_of(page)
    assert page.evaluate("image3dViewer.camera.target") == [0, 0, 0]


def test_keys_do_what_the_panel_says(page: Page, tmp_path: Path) -> None:
    seen = open_page(page, tmp_path, ring(200))
    page.mouse.click(128, 128)
    keys = page.keyboard
    assert not page.is_visible(".panel")
    keys.press("h")
    for word in ("arrows", "pinch", "Shift", "double-click", "space", "full screen"):
        assert word in page.inner_text(".panel")
    assert page.is_visible(".splatScale")
    assert not page.is_visible(".wireframe")  # there is no mesh
    keys.press("Escape")
    assert not page.is_visible(".panel")
    keys.press("]")
    keys.press("p")
    assert page.evaluate("[image3dViewer.look.splatScale, image3dViewer.look.points]") == [1.1, True]
    keys.press("Shift+ArrowRight")
    assert page.evaluate("image3dViewer.camera.target[0]") > 0.03
    keys.press("+")
    assert page.evaluate("image3dViewer.camera.radius") < 1.4
    keys.press("Home")
    assert page.evaluate("image3dViewer.camera") == {"elevation": 0, "azimuth": 0, "radius": 1.5, "target": [0, 0, 0]}
    keys.press("Space")
    wait_until(page, "image3dViewer.camera.azimuth > 1")
    keys.press("Space")
    assert page.get_attribute(".turning", "aria-pressed") == "false"
    keys.press("f")
    wait_until(page, "document.fullscreenElement === document.getElementById('view')")
    keys.press("f")
    wait_until(page, "document.fullscreenElement === null")
    assert seen.errors == []


def test_out_of_sight_it_pauses(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, ring(200), turn=True)
    wait_until(page, "image3dViewer.camera.azimuth > 1")
    page.evaluate("document.getElementById('view').style.top = '2000px'")
    drawn = drawn_when_it_rests(page)
    page.evaluate("document.getElementById('view').style.top = '0'")
    wait_until(page, f"image3dViewer.drawn > {drawn}")


def test_damaged_data_are_a_sentence(page: Page, tmp_path: Path) -> None:
    path = save_html(ring(50), tmp_path / "page.html")
    path.write_text(path.read_text("utf-8").replace('"count": 60', '"count": 61'), "utf-8")
    page.goto(path.as_uri())
    wait_until(page, "!document.querySelector('.message').hidden")
    assert "cannot start: packed data must be" in page.inner_text(".message")
    assert page.is_visible(".still")
