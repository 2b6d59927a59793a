"""The studio without a browser: what a session does, what a panel shows, and that nothing hostile gets through."""

from __future__ import annotations

import base64
import html
import importlib
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from PIL import Image

import image3d_nb as i3d
from image3d_nb.errors import Cancelled, FormatError, InputError, WeightsError
from image3d_nb.studio import Studio, session
from image3d_nb.studio.panel import LARGEST, Panel
from image3d_nb.studio.runs import Run, runs_in

MUG = i3d.sample("mug")
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>.png"


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Runs that go on until they are cancelled, or the event is set; then they fail."""
    go_on = threading.Event()

    def generate(_image: object, _folder: Path, _settings: object, on_step: Any, cancelled: Callable[[], bool]) -> None:
        on_step("generate", 1, 50)
        while not go_on.wait(0.01):
            if cancelled():
                raise Cancelled("generate_one was cancelled; nothing was written")
        raise RuntimeError("let go")

    monkeypatch.setattr(session, "generate_one", generate)
    yield go_on
    go_on.set()


def photo(size: int = 64) -> Image.Image:
    """A red square on grey."""
    picture = Image.new("RGB", (size, size), (200, 200, 200))
    picture.paste((200, 30, 30), (size // 4, size // 4, size * 3 // 4, size * 3 // 4))
    return picture


def as_bytes(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def send(panel: Panel, *buffers: bytes, **content: Any) -> None:
    """As the upload button's script sends it."""
    panel.upload._handle_custom_msg(content, list(map(memoryview, buffers)))


def html_of(widget: Any) -> str:
    """All HTML that a panel hands to the browser, below a widget."""
    own = widget.value if type(widget).__name__ == "HTML" else ""
    return own + "".join(map(html_of, getattr(widget, "children", ())))


# ---------------------------------------------------------------- a run


def test_a_run_is_what_generate_one_makes(done: Studio, tmp_path: Path) -> None:
    (run,) = done.runs
    assert done.shown is run
    settings = i3d.GenerateSettings(seed=3, formats=("ply",), refine=True)
    record = i3d.generate_one(MUG, tmp_path / "mug", settings)
    for name in ("mug.ply", "views.png", "input.png"):
        assert (run.folder / name).read_bytes() == (tmp_path / "mug" / name).read_bytes()
    assert run.record["gaussians"] == record["gaussians"] == len(run.gaussians)
    assert run.note == {
        "picture": "mug.png", "sha256": record["input"]["sha256"], "width": 512, "height": 512,
        "background": "auto", "ratio": 0.8, "mark": "", "warnings": [],
    }  # fmt: skip
    assert (run.title, run.settings) == ("Run 1: mug", "seed 3 · 1 step · guidance 1 · tiny")
    assert run.views.size[0] > run.front.size[0] == run.front.size[1]
    assert done.notice.kind == "done"
    assert repr(done) == "Studio(picture='mug', model='tiny', runs=1)"


@pytest.mark.parametrize("background", ["auto", "polynomial", "keep"])
def test_the_preview_is_what_prepare_image_makes(background: str, studio: Studio) -> None:
    content = as_bytes(photo(), "JPEG")
    studio.upload(memoryview(content), "it.jpeg")
    assert (studio.name, studio.sample) == ("it", "")
    for ratio in (0.8, 0.45, 1.0):
        studio.set_up(background=background, ratio=ratio)
        wanted = i3d.prepare_image(content, ratio=ratio, background=background)
        assert studio.what_the_model_sees().tobytes() == wanted.tobytes()


def test_what_was_chosen_reaches_the_model(studio: Studio) -> None:
    studio.upload(as_bytes(photo()), "square.png")
    studio.set_up(background="keep", ratio=0.5)
    seen = studio.what_the_model_sees()
    studio.run(seed=5, steps=2, guidance=1.5)
    run = studio.wait()
    small = np.asarray(seen.resize(run.seen.size, Image.Resampling.BICUBIC)).astype(float)
    assert np.abs(small - np.asarray(run.seen)).mean() < 1  # of 255; the model makes it smaller in its own way
    assert run.settings == "seed 5 · 2 steps · guidance 1.5 · tiny · background keep"
    assert studio.settings.seed == 5
    with pytest.raises(InputError, match="steps"):
        studio.run(steps=0)
    with pytest.raises(InputError, match="stepps"):
        studio.run(stepps=3)
    assert (studio.settings.steps, len(studio.runs)) == (2, 1)


def test_each_model_gets_the_image_that_it_takes(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def generate(path: Path, _folder: Path, settings: i3d.GenerateSettings, *_: object) -> None:
        with Image.open(path) as image:
            asked.append((image.mode, image.size, settings.prepare, settings.refine, settings.formats))
        raise InputError("seen")

    monkeypatch.setattr(session, "generate_one", generate)
    panel = Panel(studio)
    square, cut = ("RGB", (256, 256), False), ("RGBA", (64, 64), True)
    many, both = ("ply",), ("ply", "glb")
    mask = as_bytes(Image.new("L", (64, 64), 255))
    for model, background, marked, wanted in [
        ("tiny", "auto", False, (*square, True, many)),
        ("dylanebert/LGM-full", "auto", False, (*square, False, many)),
        ("stabilityai/TripoSR", "auto", False, (*cut, False, both)),
        ("stabilityai/TripoSR", "keep", False, (*square, False, both)),
        ("stabilityai/TripoSR", "keep", True, (*cut, False, both)),
        ("tiny", "keep", True, (*square, True, many)),
    ]:
        studio.upload(as_bytes(photo()), "square.png")
        studio.set_up(background=background)
        if marked:
            studio.upload_mask(mask, "mask.png")
        panel.model.value = model
        for run in (panel.run.click, lambda model=model: studio.run(model=model, refine=None)):
            run()
            with pytest.raises(InputError, match="seen"):
                studio.wait(60)
            assert asked.pop() == wanted
        assert studio.settings.refine is None  # the next model decides anew


def test_a_second_run_while_one_is_under_way_changes_nothing(studio: Studio, stuck: threading.Event) -> None:
    studio.run(seed=1)
    with pytest.raises(InputError, match="a run is under way"):
        studio.run(seed=2)
    assert studio.settings.seed == 1
    with pytest.raises(TimeoutError, match="it goes on"):
        studio.wait(0.05)
    studio.cancel()
    with pytest.raises(Cancelled):
        studio.wait(60)
    assert list(studio.folder.iterdir()) == []


def test_cancel_stops_a_real_run_between_steps(studio: Studio) -> None:
    steps: list[tuple[str, int, int] | None] = []

    def watch() -> None:
        steps.append(studio.worker.progress)
        if studio.worker.progress == ("generate", 1, 50) and not studio.worker.cancelling:
            studio.cancel()

    studio.on_change(watch)
    studio.run(steps=50)
    with pytest.raises(Cancelled):
        studio.wait(300)
    assert ("generate", 1, 50) in steps
    assert not any(step and step[0] == "generate" and step[1] > 2 for step in steps)
    assert not any(step and step[0] == "files" for step in steps)
    assert list(studio.folder.iterdir()) == []
    assert (studio.notice.text, studio.notice.kind) == ("Stopped: nothing was written.", "hint")
    assert not studio.worker.doing
    studio.cancel()  # nothing is under way: nothing happens
    assert studio.notice.text.startswith("Stopped")


def test_errors_of_a_run_are_sentences(
    studio: Studio, tmp_path: Path, stuck: threading.Event, capfd: pytest.CaptureFixture[str]
) -> None:
    stuck.set()
    studio.run()
    with pytest.raises(RuntimeError, match="let go"):
        studio.wait()
    assert "RuntimeError: let go" in studio.notice.text
    assert isinstance(studio.error, RuntimeError)
    assert list(studio.folder.iterdir()) == []
    blocked = Studio(tmp_path / "file" / "runs")
    (tmp_path / "file").write_text("no folder")
    blocked.choose_sample("mug")
    blocked.run()
    with pytest.raises(OSError, match="file"):
        blocked.wait()
    assert blocked.notice.text.startswith("Could not write ")
    assert capfd.readouterr() == ("", "")


def test_a_model_that_is_not_there(studio: Studio, tmp_path: Path) -> None:
    studio.run(model=str(tmp_path / "nowhere"))
    with pytest.raises((WeightsError, InputError)):
        studio.wait()
    assert "nowhere" in studio.notice.text
    assert studio.notice.kind == "error"


def test_nothing_to_run_download_or_wait_for(tmp_path: Path) -> None:
    empty = i3d.studio(tmp_path / "runs", sample=None)
    for action, words in [
        (empty.run, "there must be an image first"), (empty.start_mesh, "there must be a run first"),
        (lambda: empty.download(".ply"), "there must be a run first"), (empty.wait, "a job to wait for"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            action()
        assert not empty.attempt(action)
        assert words in empty.notice.text.lower()
    assert not empty.folder.exists()
    with pytest.raises(InputError, match="background"):
        empty.set_up(background="magic")
    with pytest.raises(InputError, match="ratio"):
        empty.set_up(ratio=float("nan"))
    with pytest.raises(InputError, match="sample"):
        empty.choose_sample("cat")


def test_the_folder_stays_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert Studio("~/runs").folder == tmp_path / "runs"
    monkeypatch.chdir(tmp_path)
    opened = Studio("runs")
    monkeypatch.chdir(tmp_path.parent)
    assert opened.folder == tmp_path / "runs"


def test_settings_are_used_or_refused(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Studio(studio.folder, i3d.GenerateSettings(prepare=False)).background == "keep"
    polynomial = Studio(studio.folder, i3d.GenerateSettings(background="polynomial", seed=2))
    assert polynomial.background == "polynomial"
    for change in ({"formats": ("glb",)}, {"background": "grabcut"}, {"prepare": False}):
        with pytest.raises(InputError, match=next(iter(change))):
            studio.run(seed=7, **change)
    assert studio.settings.seed == 0
    asked: list[str] = []

    def generate(_path: Path, _folder: Path, settings: i3d.GenerateSettings, *_: object) -> None:
        asked.append(settings.background)
        raise InputError("seen")

    monkeypatch.setattr(session, "generate_one", generate)
    polynomial.choose_sample("mug")
    panel = Panel(polynomial)
    for background, model in (("polynomial", "tiny"), ("auto", "tiny"), ("polynomial", "stabilityai/TripoSR")):
        polynomial.set_up(background=background)
        polynomial.run(model=model, seed=7, steps=1_000_000)
        with pytest.raises(InputError, match="seen"):
            polynomial.wait(60)
    assert asked == ["polynomial", "auto", "auto"]  # TripoSR gets an image that is cut out
    shown = [getattr(panel, name).value for name in ("seed", "model", "steps", "refine")]
    assert shown == [7, "stabilityai/TripoSR", "1000000", False]


# ---------------------------------------------------------------- history


def test_runs_of_another_day_are_there(done: Studio) -> None:
    again = i3d.studio(done.folder)
    assert [run.folder for run in again.runs] == [run.folder for run in done.runs]
    assert again.shown is again.runs[-1]
    assert again.runs[0].views.tobytes() == done.runs[0].views.tobytes()
    assert html_of(Panel(again).box).count("seed 3 · 1 step") == 2  # above the views, and in the history


def test_runs_are_numbered_and_none_is_lost(studio: Studio) -> None:
    (studio.folder / "007_old").mkdir(parents=True)
    for steps in (1, 2):
        studio.run(steps=steps)
        studio.wait()
    assert [run.folder.name for run in studio.runs] == ["008_mug", "009_mug"]
    first, second = studio.runs
    panel = Panel(studio)
    assert [len(panel.history.children), panel.title.value.count("Run 9")] == [2, 1]
    views = panel.views.value
    buttons = [child.children[0].children[1] for child in panel.history.children]
    assert [button.description for button in buttons] == ["Run 9: mug", "Run 8: mug"]
    buttons[1].click()
    assert studio.shown is first
    assert panel.views.value == first.folder.joinpath("views.png").read_bytes() != views
    assert ["i3d-shown" in card._dom_classes for card in panel.history.children] == [False, True]
    assert second.seen.tobytes() == first.seen.tobytes()


@pytest.mark.parametrize("missing", ["result.json", "studio.json", "views.png", "mug.ply", "damaged"])
def test_what_is_no_complete_run_is_left_alone(missing: str, done: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "001_mug"
    folder.mkdir(parents=True)
    for path in done.runs[0].folder.iterdir():
        if path.is_file() and path.name != missing:
            (folder / path.name).write_bytes(path.read_bytes())
    if missing == "damaged":
        assert len(runs_in(tmp_path / "runs")) == 1
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        (folder / "result.json").write_text(json.dumps(record | {"files": {"../../x.ply": {"sha256": ""}}}))
        (tmp_path / "x.ply").write_text("somebody else's")
    with pytest.raises(FormatError, match="001_mug"):
        Run(folder)
    assert i3d.studio(tmp_path / "runs").runs == []


# ---------------------------------------------------------------- the panel, and what a notebook keeps


def test_the_panel_runs_and_shows(done: Studio) -> None:
    panel = Panel(done)
    run = done.runs[0]
    assert panel.result.layout.display == "flex"
    assert panel.views.value == (run.folder / "views.png").read_bytes()
    assert "<iframe srcdoc=" in html_of(panel.splats)
    assert (panel.run.disabled, panel.cancel.disabled) == (False, True)
    assert panel.sample.value == "mug"
    assert Panel(i3d.studio(done.folder / "empty")).result.layout.display == "none"


def test_the_panel_asks_for_what_is_right(studio: Studio, stuck: threading.Event) -> None:
    panel = Panel(studio)
    for field, value, words in [
        ("steps", "x", "Steps must"), ("steps", "0", "Steps must"), ("guidance", "nan", "Guidance must"),
        ("guidance", "<b>", "got &#x27;&lt;b&gt;&#x27;"), ("model", " ", "Model must"),
    ]:  # fmt: skip
        widget = getattr(panel, field)
        before, widget.value = widget.value, value
        panel.run.click()
        assert words in panel.notice.value
        assert "i3d-error" in panel.notice.value
        assert not studio.worker.doing
        widget.value = before
    panel.seed.value, panel.steps.value, panel.guidance.value = 8, "12", "2.5"
    panel.run.click()
    panel.run.click()  # harmless
    assert (studio.settings.seed, studio.settings.steps, studio.settings.guidance) == (8, 12, 2.5)
    assert (panel.run.disabled, panel.cancel.disabled, panel.make.disabled) == (True, False, True)
    panel.cancel.click()
    with pytest.raises(Cancelled):
        studio.wait(60)
    assert "Stopped: nothing was written." in panel.notice.value
    assert (panel.run.disabled, panel.cancel.disabled) == (False, True)


def test_the_panel_follows_the_session_and_leads_it(studio: Studio) -> None:
    panel = Panel(studio)
    studio.set_up(background="keep", ratio=0.1)
    assert (panel.background.value, panel.ratio.value, panel.ratio.disabled) == ("keep", 0.1, True)
    panel.background.value, panel.ratio.value = "auto", 0.6
    assert (studio.background, studio.ratio) == ("auto", 0.6)
    panel.sample.value = "robot"
    assert studio.name == "robot"
    send(panel, as_bytes(photo()), name="red.png", size=1)
    assert (studio.name, panel.sample.value) == ("red", "")
    assert Image.open(io.BytesIO(panel.seen.value)).size == (256, 256)
    send(panel, b"text", name="a.txt", size=4)
    assert "a.txt" in panel.notice.value
    assert studio.name == "red"
    big = i3d.studio(studio.folder, i3d.GenerateSettings(seed=2**60, steps=3, guidance=1.25))
    assert [getattr(Panel(big), name).value for name in ("seed", "steps", "guidance")] == [2**60, "3", "1.25"]


def test_the_panel_shows_a_corrected_mask_of_the_same_name(studio: Studio) -> None:
    panel = Panel(studio)
    seen = []
    for left in (0, 256):
        mask = Image.new("L", (512, 512))
        mask.paste(255, (left, 128, left + 256, 384))
        studio.upload_mask(as_bytes(mask), "mask.png")
        seen.append(panel.seen.value)
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"name": "big.png", "size": LARGEST + 1}, "big.png has 9.1 MB"),
        ({"name": HOSTILE, "size": 10**13}, "has 10,000,000.0 MB"),
        ({"name": "folder", "size": 4096, "fault": "no <b>"}, "no <b>"),
        ({"count": 3}, "got 3"),
    ],
)  # fmt: skip
def test_a_file_that_did_not_come_is_a_sentence(content: dict[str, Any], words: str, studio: Studio) -> None:
    panel = Panel(studio)
    send(panel, **content)
    assert words in html.unescape(panel.notice.value)
    assert "<b>" not in panel.notice.value
    assert "<script>" not in panel.notice.value
    assert "i3d-error" in panel.notice.value
    assert studio.name == "mug"


def test_a_saved_notebook_keeps_a_picture_and_a_text(done: Studio, tmp_path: Path) -> None:
    bundle = done._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"] == f"{done!r}\nRun 1: mug, seed 3 · 1 step · guidance 1 · tiny"
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert 400 < picture.width <= 512
    assert np.asarray(picture.convert("L")).min() < 200
    assert done._repr_mimebundle_()["image/png"] == bundle["image/png"]
    cell = nbformat.v4.new_code_cell("studio", outputs=[nbformat.v4.new_output("display_data", data=bundle)])
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert bundle["image/png"][:200] in page  # the widgets' state is not there: the picture is shown in their place
    fresh = i3d.studio(tmp_path / "runs")
    assert "image/png" in fresh._repr_mimebundle_()
    fresh.upload(as_bytes(Image.new("RGB", (64, 64), "white")), "snow.png")  # cannot be prepared
    assert "image/png" in fresh._repr_mimebundle_()
    assert "image/png" not in i3d.studio(tmp_path / "runs", sample=None)._repr_mimebundle_()


def test_the_name_opens_the_studio_whoever_imported_it(tmp_path: Path) -> None:
    module = importlib.import_module("image3d_nb.studio")
    for name in (module, module.studio, i3d.studio):
        assert repr(name(tmp_path / "runs")) == "Studio(picture='mug', model='tiny', runs=0)"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("package", ["ipywidgets", "anywidget"])
def test_without_widgets_a_sentence_says_how_to_get_them(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"needs {package}"):
        i3d.studio(tmp_path)
    headless = Studio(tmp_path)
    headless.choose_sample("mug")
    assert headless.what_the_model_sees().size == (256, 256)
