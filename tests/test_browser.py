"""The viewer in headless Chromium: as a page from disk, without WebGL2, and in JupyterLab."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from image3d_nb.cameras import orbit_cameras
from image3d_nb.gaussians import Gaussians
from image3d_nb.rendering import render
from image3d_nb.view import save_html
from tests import browser as harness
from tests.browser import ROOT, Lab, Watch, covered, decode, picture_of, psnr, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SIZE = 256


def ring(n: int = 2000) -> Gaussians:
    """A coloured ring of flat, partly transparent Gaussians with a ball above it: no two views are alike."""
    rng = np.random.default_rng(0)
    angle, tube = rng.uniform(0, 2 * math.pi, (2, n))
    out = 0.4 + 0.12 * np.cos(tube)
    means = np.stack((out * np.cos(angle), 0.12 * np.sin(tube), out * np.sin(angle)), 1)
    ball = rng.normal(size=(n // 5, 3))
    ball = 0.12 * ball / np.linalg.norm(ball, axis=1, keepdims=True) + (0.1, 0.3, 0.0)
    means = np.concatenate((means, ball))
    colours = np.concatenate((0.5 + 0.5 * np.stack((np.cos(angle), np.sin(angle), np.cos(tube)), 1), ball * 0 + 0.1))
    return Gaussians(
        means=torch.tensor(means, dtype=torch.float32),
        quats=torch.tensor(rng.normal(size=(len(means), 4)), dtype=torch.float32),
        scales=torch.tensor(rng.uniform(0.004, 0.04, (len(means), 3)), dtype=torch.float32),
        opacities=torch.tensor(rng.uniform(0.05, 1.0, len(means)), dtype=torch.float32),
        sh=torch.tensor((colours[:, None] - 0.5) / 0.28209479, dtype=torch.float32),
    )


def sheets(side: int = 16, swapped: bool = False) -> Gaussians:
    """A red and a blue transparent sheet, close together, their Gaussians taking turns in memory."""
    line = torch.linspace(-0.4, 0.4, side)
    x, y = torch.meshgrid(line, line, indexing="xy")
    depth = torch.tensor([0.06, -0.06]).repeat(side * side)
    colours = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    colours = colours.flip(0) if swapped else colours
    n = 2 * side * side
    return Gaussians(
        means=torch.stack((x.flatten().repeat_interleave(2), y.flatten().repeat_interleave(2), depth), 1),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(n, 4),
        scales=torch.tensor([[0.03, 0.03, 0.01]]).expand(n, 3),
        opacities=torch.full((n,), 0.5),
        sh=(colours.repeat(side * side, 1)[:, None] - 0.5) / 0.28209479,
    )


def rendered(
    gaussians: Gaussians, elevation: float = 0, azimuth: float = 0, radius: float = 1.5, size: int = SIZE
) -> np.ndarray:
    """[H, W, 3], float in [0, 1], from our own renderer."""
    camera = orbit_cameras(elevation=elevation, azimuth=(azimuth,), radius=radius, size=size)
    picture: torch.Tensor = render(gaussians, camera, background=1.0)  # type: ignore[assignment]  # one result asked
    return picture[0].double().numpy()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    running = harness.launch(playwright)
    yield running
    running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": SIZE, "height": SIZE})
    yield context.new_page()
    context.close()


def open_page(page: Page, folder: Path, gaussians: Gaussians, **options: object) -> Watch:
    seen = harness.watch(page)
    path = save_html(gaussians, folder / "page.html", **options)  # type: ignore[arg-type]  # forwarded by name
    page.goto(path.as_uri())
    page.evaluate("image3dViewer.ready")
    return seen


def test_page_from_disk_agrees_with_the_renderer_and_asks_nobody(page: Page, tmp_path: Path) -> None:
    gaussians = ring()
    seen = open_page(page, tmp_path, gaussians)
    for elevation, azimuth, radius in [(0, 0, 1.5), (15, 40, 1.5), (-30, 200, 1.2), (80, 300, 2.0), (0, 90, 0.6)]:
        page.evaluate("view => image3dViewer.setCamera(...view)", [elevation, azimuth, radius])
        picture = picture_of(page)
        assert picture.shape == (SIZE, SIZE, 3)
        assert covered(picture) > 0.05
        assert psnr(picture, rendered(gaussians, elevation, azimuth, radius)) >= 30
    assert seen.errors == []
    assert seen.strangers() == []
    assert [url for url in seen.requests if url.startswith("file:")] == [page.url]


def test_what_is_on_the_screen_is_the_picture(page: Page, tmp_path: Path) -> None:
    gaussians = ring()
    open_page(page, tmp_path, gaussians)
    middle = slice(60, 200)  # free of words and buttons
    assert psnr(decode(page.screenshot())[middle], rendered(gaussians)[middle]) >= 30


def test_drag_turns_and_reset_restores(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, ring(500))
    before = picture_of(page)
    page.mouse.move(100, 150)
    page.mouse.down()
    page.mouse.move(160, 130, steps=4)
    page.mouse.up()
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


def test_it_rests_when_nothing_changes_and_turns_when_asked(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, ring(500))
    drawn = [-1]
    while len(drawn) < 20 and drawn[-1] != (now := page.evaluate("image3dViewer.drawn")):
        drawn.append(now)
        page.wait_for_timeout(500)
    assert len(drawn) < 20, f"it drew on and on: {drawn}"
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


def test_depth_order_is_exact(page: Page, tmp_path: Path) -> None:
    open_page(page, tmp_path, ring(50))
    source = (ROOT / "image3d_nb" / "view" / "js" / "sort.js").read_text("utf-8")
    function = source[source.index("function depthOrder") : source.index("// onOrder(")]
    script = f"""() => {{
      {function}
      const count = 50000;
      const positions = Float32Array.from({{ length: 3 * count }}, (_, i) => Math.sin(i * i) * (i % 7 ? 1 : 1e-30));
      const order = depthOrder(positions, [0, 0, 1]);
      const depth = (i) => positions[3 * i + 2];
      for (let k = 1; k < count; k++) if (depth(order[k - 1]) < depth(order[k])) return `wrong at ${{k}}`;
      return new Set(order).size;
    }}"""
    assert page.evaluate(script) == 50000


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


def test_hostile_title_is_only_text(page: Page, tmp_path: Path) -> None:
    title = "</title><script>window.hacked = 1</script>\"' onload='window.hacked = 2' $options ${x} "
    title += "<img src=x onerror=window.hacked=3>"
    seen = open_page(page, tmp_path, ring(50), title=title)
    assert page.title() == title
    assert page.inner_text("h1") == title
    assert page.evaluate("window.hacked === undefined")
    assert (seen.errors, seen.strangers()) == ([], [])


def test_without_webgl_the_page_shows_the_picture_and_says_why(playwright: Playwright, tmp_path: Path) -> None:
    gaussians = ring(500)
    path = save_html(gaussians, tmp_path / "page.html")
    plain = harness.launch(playwright, "--disable-3d-apis")
    page = plain.new_page(viewport={"width": 2 * SIZE, "height": 2 * SIZE})
    seen = harness.watch(page)
    page.goto(path.as_uri())
    assert "no WebGL2" in page.inner_text(".message")
    assert not page.is_visible(".canvas")
    assert not page.is_visible(".tools")
    middle = slice(60, 400)  # free of words
    assert psnr(decode(page.screenshot())[middle], rendered(gaussians, size=2 * SIZE)[middle]) >= 40
    assert (seen.errors, seen.strangers()) == ([], [])
    plain.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with harness.jupyter_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def wide_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    yield context.new_page()
    context.close()


def write_notebook(path: Path, sources: list[str]) -> None:
    empty: dict[str, object] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [{**empty, "id": f"cell-{i}", "source": source} for i, source in enumerate(sources)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


def test_show_in_jupyterlab(lab: Lab, wide_page: Page) -> None:
    notebook = lab.folder / "show.ipynb"
    torch.save(vars(ring()), lab.folder / "ring.pt")
    write_notebook(notebook, [
        "import torch\nimport image3d_nb as i3d",
        "gaussians = i3d.Gaussians(**torch.load('ring.pt'))\ngaussians",
        "i3d.show(i3d.render(gaussians, i3d.orbit_cameras(size=64)), captions=['front', 'right', 'back', 'left'])",
        "i3d.show(gaussians, title='<b>\"ring\"</b>', size=256)",
    ])  # fmt: skip
    seen = harness.watch(wide_page)
    cells = harness.run_in_lab(wide_page, lab, notebook)
    assert harness.errors_in(cells) == []
    assert {"image/png", "text/plain", "text/html"} == set(cells[3]["outputs"][0]["data"])
    (viewer,) = harness.viewers_in(wide_page)
    picture = picture_of(viewer)
    assert psnr(picture, rendered(ring())) >= 30
    viewer.evaluate("image3dViewer.setCamera(20, 130)")
    assert psnr(picture_of(viewer), rendered(ring(), 20, 130)) >= 30
    # The sandbox: the viewer cannot reach the notebook, whose address holds the token.
    assert viewer.evaluate("() => { try { return parent.document.title } catch (error) { return error.name } }") == (
        "SecurityError"
    )
    assert seen.strangers(lab.url, lab.url.replace("http", "ws")) == []


@pytest.mark.parametrize("name", ["00_quickstart.ipynb", "07_lgm_end_to_end.ipynb"])
def test_notebook_runs_in_jupyterlab(lab: Lab, wide_page: Page, name: str) -> None:
    notebook = Path(shutil.copy(ROOT / "notebooks" / name, lab.folder / name))
    seen = harness.watch(wide_page)
    cells = harness.run_in_lab(wide_page, lab, notebook)
    assert harness.errors_in(cells) == []
    viewers = harness.viewers_in(wide_page)
    assert viewers, "the notebook must show something that turns"
    assert all(covered(picture_of(viewer)) > 0.05 for viewer in viewers)
    assert seen.strangers(lab.url, lab.url.replace("http", "ws")) == []
