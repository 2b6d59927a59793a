"""The studio's widgets: they pass every click to the session and show its state."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .._files import data_dir
from .._optional import require
from ..errors import ImageError, InputError
from ..generate import sharpened_by_default
from ..hub.weights import KNOWN
from ..view import mimebundle
from ..view._live import box_class, upload_class
from ..view.sheets import png_bytes
from .downloads import Choice, choices, link
from .session import BACKGROUNDS, Session, sentence, short_name

if TYPE_CHECKING:
    from PIL import Image

    from .runs import Run

VIEWER = 330  # pixels at most; two stand side by side in a notebook
SQUARE = 150  # pixels of the chosen image, and of what the model sees
CARD = 128  # pixels of an image in the history
MOST_CARDS = 24  # runs in the history; older ones stay in the folder
MOST_SEED = 2**53 - 1  # the largest whole number of a browser
MB = 1_000_000
LARGEST = 9 * MB  # bytes of an upload; Jupyter's server drops messages over 10 MiB, header included
MODELS = tuple(name for name, known in KNOWN.items() if known.takes == "image" and known.gives in ("Gaussians", "mesh"))
_STAGES = {
    "load": "Loading the model (the first time takes longest)",
    "generate": "Making the object",
    "files": "Writing files",
    "views": "The mesh: looking from all around",
    "volume": "The mesh: filling the volume",
    "surface": "The mesh: its surface",
    "simplify": "The mesh: fewer triangles",
    "texture": "The mesh: its texture",
}  # of generate_one and of to_mesh
_STYLE = """<style>
.i3d-studio { max-width: 720px; }
.i3d-studio .i3d-head { font-weight: 600; }
.i3d-studio .i3d-cell { border: 1px solid var(--jp-border-color2, #ccc); border-radius: 6px; padding: 5px; }
.i3d-studio .i3d-shown { border-color: #2f6fb3; box-shadow: 0 0 0 1px #2f6fb3; }
.i3d-studio .i3d-say { padding: 3px 9px; border-radius: 6px; overflow-wrap: anywhere; line-height: 1.4; }
.i3d-studio .i3d-hint { background: var(--jp-layout-color2, #eee); }
.i3d-studio .i3d-done { background: #d9efdc; color: #14451d; }
.i3d-studio .i3d-error { background: #fbe0dd; color: #6b1510; }
.i3d-studio .i3d-small { font-size: 11px; line-height: 1.35; overflow-wrap: anywhere; }
.i3d-studio .i3d-link { font-weight: 600; text-decoration: underline; }
.i3d-studio iframe { display: block; width: 100%; height: auto; aspect-ratio: 1; }
</style>"""


def _text(words: str, kind: str) -> str:
    return f'<div class="{kind}">{html.escape(words)}</div>'


class Panel:
    """The widgets of one session. ``box`` holds all of them, and can be shown in several places.

    Raises:
        ImportError: ipywidgets or anywidget is not installed.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._w: Any = require("ipywidgets", extra="notebook", who="image3d_nb.studio")
        self._lock = threading.RLock()  # a click and the end of a run may coincide
        self._drawn: dict[str, object] = {}  # what each part shows: only changes are sent
        self._cards: dict[Run, Any] = {}
        self._choices: tuple[Choice, ...] = choices()
        self.box = self._box(
            [
                self._w.HTML(_STYLE, layout={"display": "none"}),
                *self._picture_part(), *self._settings_part(), *self._run_part(), *self._result_part(),
                *self._history_part(),
            ],
            "column",
        )  # fmt: skip
        self.box.add_class("i3d-studio")
        session.on_change(self.refresh)
        self.refresh()

    # ------------------------------------------------------------ building

    def _box(self, children: Sequence[Any], flow: str = "row wrap", **layout: str) -> Any:
        return self._w.Box(children, layout={"display": "flex", "flex_flow": flow, "grid_gap": "6px", **layout})

    def _head(self, words: str) -> Any:
        return self._w.HTML(_text(words, "i3d-head"))

    def _button(self, kind: str, words: str, action: Callable[[], object], **options: Any) -> Any:
        button = self._w.Button(description=words, layout={"width": "auto"}, **options)
        button.add_class(f"i3d-{kind}")
        button.on_click(lambda _button: self.session.attempt(action))
        return button

    def _field(self, kind: str, words: str, width: str, **options: Any) -> Any:
        style = {"description_width": "initial"}
        return getattr(self._w, kind)(
            description=words, style=style, layout={"width": width, "max_width": "98%"}, **options
        )

    def _cell(self, caption: str, content: Any, width: int) -> Any:
        cell = self._box([content, self._w.HTML(_text(caption, "i3d-small"))], "column", max_width=f"{width + 14}px")
        cell.add_class("i3d-cell")
        return cell

    def _image(self, width: str) -> Any:
        return self._w.Image(format="png", layout={"width": width, "max_width": "100%", "object_fit": "contain"})

    def _picture_part(self) -> list[Any]:
        names = [entry["name"] for entry in json.loads((data_dir() / "images" / "index.json").read_text("utf-8"))]
        self.upload = upload_class()(
            accept="image/*", limit=LARGEST, label="Upload a picture, or drop it here",
            hint=f"a PNG, JPEG, WebP, ... of at most {LARGEST // MB} MB", layout={"width": "auto"},
        )  # fmt: skip
        self.upload.add_class("i3d-upload")
        self.upload.on_msg(self._on_upload)
        self.mask = upload_class()(
            accept="image/*", limit=LARGEST, label="Upload a mask", layout={"width": "auto"},
            hint="an image with the object in white on black, or transparent around it",
        )  # fmt: skip
        self.mask.add_class("i3d-mask")
        self.mask.on_msg(self._on_mask)
        self.clear = self._button("clear", "No box, no mask", self.session.clear_mark)
        self.sample = self._field("Dropdown", "or a sample", "190px", options=[("-", ""), *((n, n) for n in names)])
        self.sample.add_class("i3d-sample")
        self.sample.observe(self._on_sample, "value")
        self.background = self._field("Dropdown", "background", "200px", options=BACKGROUNDS)
        self.background.observe(lambda change: self._set_up(background=change["new"]), "value")
        self.ratio = self._field(
            "FloatSlider", "object fills", "280px", min=0.3, max=1.0, step=0.05, readout_format=".0%",
            continuous_update=False,
        )  # fmt: skip
        self.ratio.observe(lambda change: self._set_up(ratio=change["new"]), "value")
        self.picture = box_class()(label="the picture", hint="draw a box around the object")
        self.picture.add_class("i3d-picture")
        self.picture.on_msg(self._on_box)
        self.seen, self.fault = self._image("auto"), self._w.HTML()
        self.seen.layout.height = f"{SQUARE}px"
        controls = [
            self._box([self.upload, self.sample]), self.background, self.ratio, self._box([self.mask, self.clear]),
            self.fault,
        ]  # fmt: skip
        return [
            self._head("1. Picture"),
            self._box([
                self._cell("the picture; draw a box around an object that is cut out badly", self.picture, 2 * SQUARE),
                self._cell("what the model will see", self.seen, SQUARE),
                self._box(controls, "column", flex="1 1 290px"),
            ]),
        ]  # fmt: skip

    def _settings_part(self) -> list[Any]:
        usual = "default"
        self.seed = self._field("BoundedIntText", "seed", "110px", min=0, max=MOST_SEED)
        self.steps = self._field("Text", "steps", "125px", placeholder=usual)
        self.guidance = self._field("Text", "guidance", "150px", placeholder=usual)
        self.model = self._field(
            "Combobox", "model", "220px", options=MODELS, ensure_option=False, placeholder="a name or a folder",
        )  # fmt: skip
        self.refine = self._w.Checkbox(
            description="sharpen the front from the picture", indent=False, layout={"width": "auto"},
        )  # fmt: skip
        self.refine.add_class("i3d-refine")
        self.model.observe(self._on_model, "value")
        row = [self.seed, self.steps, self.guidance, self.model, self.refine]
        return [self._head("2. Settings"), self._box(row)]

    def _run_part(self) -> list[Any]:
        self.run = self._button("run", "Run", self._run, button_style="primary", icon="play")
        self.cancel = self._button("cancel", "Cancel", self.session.cancel, icon="stop")
        self.progress = self._w.IntProgress(layout={"width": "180px"})
        self.stage, self.notice = self._w.HTML(), self._w.HTML(layout={"width": "100%"})
        return [self._head("3. Run"), self._box([self.run, self.cancel, self.progress, self.stage]), self.notice]

    def _result_part(self) -> list[Any]:
        self.title, self.views = self._w.HTML(), self._image("100%")
        self.views.add_class("i3d-views")
        share = {"flex": "1 1 240px", "max_width": f"{VIEWER + 14}px"}
        self.splats, self.mesh = self._box([], "column", **share), self._box([], "column", **share)
        self.make_mesh = self._button("mesh", "Make the mesh", self.session.start_mesh, icon="cube")
        self.format = self._field(
            "Dropdown", "download", "350px", options=[(each.label, i) for i, each in enumerate(self._choices)]
        )
        self.format.add_class("i3d-format")
        self.format.observe(lambda _change: self.refresh(), "value")
        self.make = self._button("make", "Make the file", self._download, icon="download")
        self.link = self._w.HTML()
        self.result = self._box(
            [
                self.title, self._cell("the four views: front, right, back, left", self.views, 4 * SQUARE),
                self._box([self.splats, self.mesh]), self._box([self.format, self.make, self.link]),
            ],
            "column",
        )  # fmt: skip
        return [self.result]

    def _history_part(self) -> list[Any]:
        self.history_head, self.history = self._w.HTML(), self._box([])
        return [self.history_head, self.history]

    # ------------------------------------------------------------ clicks

    def _on_upload(self, _widget: Any, content: dict[str, Any], buffers: list[memoryview]) -> None:
        self.session.attempt(lambda: self.session.upload(_only_file(content, buffers), content["name"]))

    def _on_mask(self, _widget: Any, content: dict[str, Any], buffers: list[memoryview]) -> None:
        self.session.attempt(lambda: self.session.upload_mask(_only_file(content, buffers), content["name"]))

    def _on_box(self, _widget: Any, content: dict[str, Any], _buffers: list[memoryview]) -> None:
        picture = self.session.picture
        if picture is not None:
            sides = (picture.width, picture.height) * 2
            left, top, right, bottom = (round(part * side) for part, side in zip(content["box"], sides, strict=True))
            self.session.attempt(lambda: self.session.draw_box((left, top, right, bottom)))

    def _on_sample(self, change: Any) -> None:
        if change["new"] and change["new"] != self.session.sample:
            self.session.attempt(lambda: self.session.choose_sample(change["new"]))

    def _on_model(self, change: Any) -> None:
        """Tick or clear the box as is usual for the new model: some cannot be asked to sharpen."""
        with suppress(InputError):  # no model, for now
            usual = dataclasses.replace(self.session.settings, model=change["new"].strip(), refine=None)
            self.refine.value = sharpened_by_default(usual).refine

    def _set_up(self, **choice: Any) -> None:
        self.session.attempt(lambda: self.session.set_up(**choice))

    def _run(self) -> None:
        if self.session.worker.doing:  # a second click, before the button is disabled
            return
        self.session.run(
            seed=self.seed.value, model=self.model.value.strip(),
            steps=_number(self.steps.value, int, "steps must be a whole number"),
            guidance=_number(self.guidance.value, float, "guidance must be a number"), refine=self.refine.value,
        )  # fmt: skip

    def _download(self) -> None:
        what = self._choices[self.format.value]
        self.session.start_download(what.suffix, what.holds)

    # ------------------------------------------------------------ showing

    def refresh(self) -> None:
        """Update every widget that no longer shows the session's state."""
        with self._lock:
            self._refresh_settings()
            self._refresh_run()
            self._refresh_picture()
            self._refresh_result()
            self._refresh_history()

    def _changed(self, part: str, state: object) -> bool:
        if part in self._drawn and self._drawn[part] == state:
            return False
        self._drawn[part] = state
        return True

    def _refresh_settings(self) -> None:
        """Show the settings of the next run where they changed; what is typed but not run yet stays otherwise."""
        settings = self.session.settings
        if not self._changed("settings", settings):
            return
        self.seed.max = max(self.seed.max, settings.seed)
        self.seed.value, self.model.value = settings.seed, settings.model
        self.steps.value, self.guidance.value = _shown(settings.steps), _shown(settings.guidance)
        self.refine.value = sharpened_by_default(settings).refine

    def _refresh_run(self) -> None:
        worker = self.session.worker
        busy = bool(worker.doing)
        notice = self.session.notice  # read after `busy`, sent first: a page that sees the end has it
        self.notice.value = f'<div role="status">{_text(notice.text, f"i3d-say i3d-{notice.kind}")}</div>'
        for button in (self.run, self.make_mesh, self.make):
            button.disabled = busy
        self.cancel.disabled = not busy or worker.cancelling
        stage, done, total = worker.progress or ("", 0, 1)
        with self.progress.hold_sync():
            self.progress.max, self.progress.value = max(total, 1), done
            self.progress.layout.display = "flex" if busy else "none"
        words = _STAGES.get(stage, stage) + (f": {done} of {total}" if total > 1 else "")
        self.stage.value = _text(words if busy else "", "i3d-small")

    def _refresh_picture(self) -> None:
        session = self.session
        if not self._changed("picture", (session.picture, session.background, session.ratio, session.marks)):
            return
        self.ratio.min = min(self.ratio.min, session.ratio)  # a slider would change a value beyond its end
        self.background.value, self.ratio.value, self.sample.value = session.background, session.ratio, session.sample
        self.ratio.disabled = session.background == "keep" and not session.mark
        if session.picture is None:
            return
        self.clear.disabled = not session.mark
        self.picture.value = _small(session.picture, 2 * SQUARE)
        sides = (session.picture.width, session.picture.height) * 2
        self.picture.box = [edge / side for edge, side in zip(session.box or (), sides, strict=False)]
        try:
            self.seen.value, doubts = _small(session.what_the_model_sees(), 2 * SQUARE), session.doubts()
            fault = "".join(_text(doubt[:1].upper() + doubt[1:] + ".", "i3d-say i3d-hint") for doubt in doubts)
            lost = False
        except Exception as error:  # noqa: BLE001 -- as in Session.attempt
            fault, lost = _text(sentence(error), "i3d-say i3d-error"), True
        self.seen.layout.visibility = "hidden" if lost else "visible"
        self.fault.value = fault

    def _refresh_result(self) -> None:
        run, session = self.session.shown, self.session
        self.result.layout.display = "none" if run is None else "flex"
        if run is None:
            return
        if self._changed("run", run):
            self.title.value = _text(f"{run.title}, {run.settings}", "i3d-head")
            self.views.value = (run.folder / "views.png").read_bytes()
            self.splats.children = [self._viewer(lambda: run.gaussians, run, "the splats: drag to turn")]
        if self._changed("mesh", (run, run.has_mesh)):
            mesh = self._viewer(run.mesh, run, "the mesh") if run.has_mesh else self.make_mesh
            self.mesh.children = [mesh]
        made = session.made if session.made and session.made[0] is run else None
        fits = made is not None and made[1].name == self._choices[self.format.value].file(run.name)
        if self._changed("link", made if fits else None):
            self.link.value = link(*made) if made and fits else ""

    def _viewer(self, give: Callable[[], Any], run: Run, caption: str) -> Any:
        try:
            shown = mimebundle(give(), title=run.title, size=VIEWER)
        except Exception as error:  # noqa: BLE001 -- as in Session.attempt
            return self._w.HTML(_text(sentence(error), "i3d-say i3d-error"))
        if "text/html" in shown:
            return self._cell(caption, self._w.HTML(shown["text/html"]), VIEWER)
        image = self._image(f"{VIEWER}px")
        image.value = base64.b64decode(shown["image/png"])
        return self._cell(caption, image, VIEWER)

    def _refresh_history(self) -> None:
        session = self.session
        if not self._changed("history", (tuple(session.runs), session.shown)):
            return
        runs = session.runs[-MOST_CARDS:][::-1]
        for run in runs:
            if run not in self._cards:
                self._cards[run] = self._card(run)
            (self._cards[run].add_class if run is session.shown else self._cards[run].remove_class)("i3d-shown")
        older = f" ({len(session.runs) - len(runs)} older ones in the folder)" if len(session.runs) > len(runs) else ""
        words = f"Runs, the newest first; their files are in {session.folder}{older}"
        self.history_head.value = _text(words, "i3d-head") if runs else ""
        self.history.children = [self._cards[run] for run in runs]

    def _card(self, run: Run) -> Any:
        image = self._image(f"{CARD}px")
        image.value = _small(run.front, CARD)
        button = self._button("again", run.title, lambda: self.session.look_at(run), tooltip="Show this run again")
        button.layout.width = f"{CARD}px"
        return self._cell(run.settings, self._box([image, button], "column", grid_gap="2px"), CARD)


def _only_file(content: dict[str, Any], buffers: list[memoryview]) -> memoryview:
    """The bytes in a message of the upload button; ImageError if it holds none."""
    if "count" in content:
        raise ImageError(f"one file must be uploaded at a time; got {content['count']}")
    name = short_name(content["name"])
    if "fault" in content:
        raise ImageError(f"the browser must be able to read the file; it says of {name}: {content['fault']}")
    if not buffers:
        size = math.ceil(content["size"] / MB * 10) / 10  # rounded up: one byte too many is 9.1 MB
        raise ImageError(
            f"the image must be at most {LARGEST // MB} MB to reach the studio; {name} has {size:,} MB: "
            "make it smaller, or call studio.upload(bytes, name)"
        )
    return buffers[0]


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"


def _number(text: str, kind: Callable[[str], Any], requirement: str) -> Any:
    text = text.strip()
    if not text:
        return None
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"{requirement}, or empty for the model's default; got {text!r}") from error


def _small(picture: Image.Image, side: int) -> bytes:
    picture = picture.copy()
    picture.thumbnail((side, side))
    return png_bytes(picture)
