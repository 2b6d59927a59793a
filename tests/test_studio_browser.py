"""The studio in JupyterLab, in headless Chromium: from an upload to a file on disk, cancelled, and misused."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Frame, Page

import image3d_nb as i3d
from image3d_nb.studio.panel import LARGEST
from tests import browser as harness
from tests.browser import Lab, Watch, covered, picture_of, wait_until, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

HOSTILE = "<img src=x onerror=window.hacked=1>'\".png"
IDLE = "document.querySelector('.i3d-run') && !document.querySelector('.i3d-run').disabled"
SAYS = "document.querySelector('.i3d-studio [role=status]').innerText"

BUTTON = ".i3d-upload button"
CARRY = """(files) => {
  const carried = new DataTransfer();
  for (const [name, base64] of files) {
    carried.items.add(new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], name));
  }
  return carried;
}"""
STICKING_OUT = """() => {
  const studio = document.querySelector('.i3d-studio'), right = studio.getBoundingClientRect().right + 1;
  const parts = [...studio.querySelectorAll('button, img, input, select, iframe')];
  return parts.filter((part) => part.getBoundingClientRect().right > right).map((part) => part.outerHTML.slice(0, 200));
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with harness.jupyter_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="module")
def opened(lab: Lab, browser: Browser) -> Iterator[tuple[Page, Watch]]:
    """A notebook with a studio in it: one for all tests, as a learner goes on with his."""
    context = browser.new_context(viewport={"width": 1000, "height": 1400}, accept_downloads=True)
    page = context.new_page()
    seen = harness.watch(page)
    notebook = lab.folder / "studio.ipynb"
    write_notebook(notebook, ["import image3d_nb as i3d\nstudio = i3d.studio('runs')\nstudio"])
    cells = harness.run_in_lab(page, lab, notebook)
    assert harness.errors_in(cells) == []
    assert {"image/png", "text/plain"} < set(cells[0]["outputs"][0]["data"])
    wait_until(page, IDLE)
    yield page, seen
    context.close()


@pytest.fixture
def page(opened: tuple[Page, Watch], lab: Lab) -> Iterator[Page]:
    """The studio at rest. Whatever a test does, nothing is complained about, and nothing leaves this machine."""
    page, seen = opened
    yield page
    assert seen.errors == []
    assert seen.strangers(lab.url, lab.url.replace("http", "ws")) == []
    assert page.locator(".jp-OutputArea-output.jp-mod-error, [data-mime-type*=stderr]").count() == 0  # no traceback


def choose_file(page: Page, *files: FilePayload, key: str = "") -> None:
    """Choose files with the mouse, or, with ``key``, without it."""
    with page.expect_file_chooser() as chooser:
        if key:
            page.focus(BUTTON)
            page.keyboard.press(key)
        else:
            page.click(BUTTON)
    assert not chooser.value.is_multiple()
    chooser.value.set_files(files)


def drop(page: Page, *files: FilePayload) -> None:
    """Let go of files above the button, in the steps that a browser takes."""
    parts = [(each["name"], base64.b64encode(each["buffer"]).decode()) for each in files]
    carried = page.evaluate_handle(CARRY, parts)
    for step in ("dragover", "drop"):
        page.dispatch_event(BUTTON, step, {"dataTransfer": carried})


def file(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def viewer_of(page: Page, run: str) -> Frame:
    """The viewer of a run's splats, once it is there and has drawn."""
    page.wait_for_selector(f'.i3d-studio iframe[srcdoc][title="{run}"]', timeout=60_000)
    return harness.viewers_in(page)[0]


def runs_of(lab: Lab) -> list[str]:
    folder = lab.folder / "runs"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def field(page: Page, name: str, value: str) -> None:
    box = page.locator(".i3d-studio .widget-text", has_text=name).locator("input")
    box.fill(value)
    box.press("Tab")


def test_an_upload_that_is_no_picture_is_a_sentence(page: Page, lab: Lab) -> None:
    choose_file(page, file(HOSTILE, b"Dear diary"))
    wait_until(page, f"{SAYS}.includes('cannot be used')")
    assert HOSTILE in page.evaluate(SAYS).replace("\\", "")
    assert page.evaluate("window.hacked === undefined")
    assert page.evaluate(IDLE)


def test_a_file_too_large_is_a_sentence_and_the_largest_arrives(page: Page) -> None:
    """Whatever lies behind a picture's end in its file is no part of the picture."""
    picture = i3d.sample("duck").read_bytes()
    choose_file(page, file("big.png", picture.ljust(12_300_000, b"\0")))
    wait_until(page, f"{SAYS}.includes('at most')")
    assert page.locator(".i3d-studio .i3d-error").count() == 1
    choose_file(page, file("largest.png", picture.ljust(LARGEST, b"\0")))
    wait_until(page, f"{SAYS} === 'largest.png: 768 x 640 pixels.'")


def test_the_same_file_twice_by_keys_and_by_a_drop(page: Page) -> None:
    duck = file("duck.png", i3d.sample("duck").read_bytes())
    for key in ("Enter", " "):
        choose_file(page, duck, key=key)
        wait_until(page, f"{SAYS} === 'duck.png: 768 x 640 pixels.'")
        choose_file(page, file("else.png", b"else"), key=key)
        wait_until(page, f"{SAYS}.includes('cannot be used')")
    drop(page, duck)
    wait_until(page, f"{SAYS} === 'duck.png: 768 x 640 pixels.'")
    drop(page, duck, duck)
    wait_until(page, f"{SAYS} .includes('got 2')")
    assert page.get_by_role("button", name="Upload a picture, or drop it here").count() == 1
    assert page.get_attribute(f"{BUTTON} + input", "accept") == "image/*"


def test_a_box_is_drawn_on_the_picture_and_a_mask_uploaded(page: Page) -> None:
    picture = Image.new("RGB", (120, 60), (200, 200, 200))
    picture.paste((200, 30, 30), (15, 15, 45, 45))
    picture.paste((30, 30, 200), (75, 15, 105, 45))
    mask = Image.new("L", (120, 60))
    mask.paste(255, (75, 15, 105, 45))
    two, blue = io.BytesIO(), io.BytesIO()
    picture.save(two, "PNG")
    mask.save(blue, "PNG")
    choose_file(page, file("two.png", two.getvalue()))
    doubts = "document.querySelector('.i3d-studio').innerText.includes('2 separate objects')"
    wait_until(page, doubts)
    at = page.locator(".i3d-picture img").bounding_box()
    assert at is not None
    page.mouse.move(at["x"] + 0.05 * at["width"], at["y"] + 0.1 * at["height"])
    page.mouse.down()
    page.mouse.move(at["x"] + 0.3 * at["width"], at["y"] + 0.5 * at["height"])
    page.mouse.move(at["x"] + 0.45 * at["width"], at["y"] + 0.9 * at["height"])
    page.mouse.up()
    wait_until(page, f"{SAYS}.startsWith('The object in the box') && !{doubts}")
    drawn = page.locator(".i3d-picture .image3d-box").bounding_box()
    assert drawn is not None
    assert drawn["width"] == pytest.approx(0.4 * at["width"], abs=3)
    with page.expect_file_chooser() as chooser:
        page.click(".i3d-mask button")
    chooser.value.set_files(file("blue.png", blue.getvalue()))
    wait_until(page, f"{SAYS} === 'The object in the mask blue.png.' && !{doubts}")
    assert not page.locator(".i3d-picture .image3d-box").is_visible()
    page.click(".i3d-clear")
    wait_until(page, doubts)
    assert page.evaluate(STICKING_OUT) == []


def test_cancel_and_a_second_click_do_what_they_should(page: Page, lab: Lab) -> None:
    before = runs_of(lab)
    field(page, "steps", "50")
    page.evaluate("() => { const run = document.querySelector('.i3d-run'); run.click(); run.click(); run.click(); }")
    wait_until(page, "document.querySelector('.i3d-studio').innerText.includes('Making the object: ')", 300)
    page.click(".i3d-cancel")
    wait_until(page, IDLE, 300)
    assert page.evaluate(SAYS) == "Stopped: nothing was written."
    assert runs_of(lab) == before


def test_from_an_upload_to_a_glb_and_on_to_another_run(page: Page, lab: Lab, tmp_path: Path) -> None:
    choose_file(page, file("my <b>robot.png", i3d.sample("robot").read_bytes()))
    wait_until(page, f"{SAYS}.startsWith('my <b>robot.png: ')")
    field(page, "steps", "")
    page.click(".i3d-run")
    page.click(".i3d-run", force=True)  # greyed by now, or not yet: harmless
    wait_until(page, f"{IDLE} && {SAYS}.includes('Gaussians in')", 300)
    run = runs_of(lab)[-1]
    viewer = viewer_of(page, "Run 1: my _b_robot")
    assert covered(picture_of(viewer)) > 0.05
    views = page.locator(".i3d-views")
    assert views.evaluate("image => image.naturalWidth > image.naturalHeight")

    page.select_option(
        ".i3d-format select", label=page.locator(".i3d-format option", has_text=".glb").first.inner_text()
    )
    page.click(".i3d-make")
    page.wait_for_selector(".i3d-link", timeout=300_000)
    with page.expect_download() as download:
        page.click(".i3d-link")
    download.value.save_as(tmp_path / "file.glb")
    name = download.value.suggested_filename
    assert (tmp_path / "file.glb").read_bytes() == (lab.folder / "runs" / run / name).read_bytes()
    mesh = i3d.load(tmp_path / "file.glb")
    assert isinstance(mesh, i3d.Mesh)
    assert len(mesh.faces) > 100

    first = page.locator(".i3d-views").get_attribute("src")
    page.select_option(".i3d-sample select", "mug")
    wait_until(page, f"{SAYS}.startsWith('mug.png')")
    page.click(".i3d-run")
    wait_until(page, f"{IDLE} && {SAYS}.includes(': mug: ')", 300)
    wait_until(page, "document.querySelector('.i3d-again').innerText === 'Run 2: mug'")
    assert page.locator(".i3d-again").all_inner_texts() == ["Run 2: mug", "Run 1: my _b_robot"]
    assert page.locator(".i3d-views").get_attribute("src") != first
    page.locator(".i3d-again").nth(1).click()
    wait_until(page, f"{SAYS}.startsWith('Run 1:')")
    viewer_of(page, "Run 1: my _b_robot")
    for width in (1000, 620):  # nothing sticks out, at a notebook's width and in a narrow window
        page.set_viewport_size({"width": width, "height": 1400})
        page.wait_for_timeout(200)
        assert page.evaluate(STICKING_OUT) == []
