"""The studio without its widgets: an image, settings, one run at a time, and a history of runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._files import atomic_write
from ..errors import Cancelled, Image3DError, ImageError, InputError
from ..generate import GenerateSettings, generate_one, sharpened_by_default
from ..hub.weights import is_single_image
from ..images import load_image, sample
from ..images.background import mask_in_box
from ..images.caller import collected
from ..images.doubts import doubts_about_white
from ..images.prepare import Prepared, cut_out, prepared
from .downloads import choice, make
from .runs import NOTE, Run, new_folder, plain_name, runs_in
from .worker import Asked, Notify, OnStep, Worker

if TYPE_CHECKING:
    from PIL import Image

    from ..mesh import Mesh

BACKGROUNDS = ("auto", "polynomial", "grabcut", "rembg", "keep")
"""The methods of :func:`image3d_nb.prepare_image`."""
RATIO = 0.8  # the default of prepare_image
LONGEST = 800  # characters of a shown error


@dataclass(frozen=True)
class Notice:
    """A sentence for the user."""

    text: str
    kind: str = "hint"  # "hint", "done" or "error"


class Session:
    """Makes objects from images, one run at a time. Each run has its own folder in ``folder``; older runs in it belong
    to the history.

    Args:
        folder: where runs are kept; made at the first run.
        settings: settings that the panel does not ask for (device, elevation, ...), and the initial values of others;
            without ``formats``: files are made on request.

    Attributes:
        picture: the chosen image, or None.
        name: the name of the next run's files.
        sample: the name of a chosen bundled image, else "".
        runs: all runs, the oldest first.
        shown: the run that the panel shows.
        background: how the object is cut out; one of :data:`BACKGROUNDS`.
        ratio: the object's longer side as a part of the square's, in (0, 1].
        box: left, top, right and bottom of the box around the object, in pixels of the image, or None.
        notice: the sentence that the panel shows.
        error: the last error, or None.
        made: the run and the file of the last :meth:`start_download`.
    """

    def __init__(self, folder: str | os.PathLike[str] = "studio", settings: GenerateSettings | None = None) -> None:
        self.folder = Path(folder).expanduser().absolute()  # of this moment: runs stay together
        self.settings = GenerateSettings() if settings is None else settings
        self.background = self.settings.background if self.settings.prepare else "keep"
        self.ratio = RATIO
        self.picture: Image.Image | None = None
        self.name = self.sample = ""
        self.notice = Notice("Choose a picture, look at what the model will see, and run.")
        self.error: Exception | None = None
        self.made: tuple[Run, Path] | None = None
        self.runs = runs_in(self.folder)
        self.shown = self.runs[-1] if self.runs else None
        self.worker = Worker(self._notify)
        self._source: dict[str, Any] = {}  # of the chosen image, for the note of its runs
        self.box: tuple[int, int, int, int] | None = None
        self.mark = ""  # in words: the box, or the mask's file
        self.marks = 0  # how often the mark changed: two masks may have one name
        self._mask: Image.Image | None = None
        self._seen: dict[tuple[str, float], Prepared] = {}  # the image prepared, by background and ratio
        self._cut: dict[str, Prepared] = {}  # the image cut out, by background
        self._callbacks: list[Notify] = []
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(picture={self.name!r}, model={self.settings.model!r}, runs={len(self.runs)})"

    def on_change(self, callback: Notify) -> None:
        """Register a function to call, without arguments and perhaps in another thread, after each change."""
        self._callbacks.append(callback)

    def _notify(self) -> None:
        for callback in self._callbacks:
            callback()

    def _say(self, text: str, kind: str = "hint", error: Exception | None = None) -> None:
        self.notice, self.error = Notice(text, kind), error

    def _say_error(self, error: Exception) -> None:
        self._say(sentence(error), "hint" if isinstance(error, Cancelled) else "error", error)

    def attempt(self, action: Callable[[], object]) -> bool:
        """Call ``action`` and turn an error into a notice; return whether it succeeded."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 -- a click has no caller: the panel shows the error
            self._say_error(error)
            self._notify()
            return False
        return True

    # ------------------------------------------------------------ the image

    def upload(self, content: bytes | bytearray | memoryview, name: str) -> None:
        """Choose an uploaded image.

        Args:
            content: the bytes of a PNG, JPEG, WebP, ... file.
            name: of the file, any text; characters that disks refuse are replaced.

        Raises:
            ImageError: the file cannot be read. The image chosen before stays.
        """
        content = bytes(content)
        try:
            if not content:
                raise ImageError("an image file must hold something; this file is empty (0 bytes)")
            picture = load_image(content)
        except ImageError as error:
            raise ImageError(f"the file {short_name(name)!r} cannot be used: {error}") from error
        self._take(picture, plain_name(name), content, short_name(name))

    def choose_sample(self, name: str) -> None:
        """Choose a bundled image by its name.

        Raises:
            InputError: there is no such sample.
        """
        path = sample(name)
        self._take(load_image(path), name, path.read_bytes(), path.name, name)

    def _take(self, picture: Image.Image, name: str, content: bytes, file: str, sample: str = "") -> None:
        width, height = picture.size
        digest = hashlib.sha256(content).hexdigest()
        with self._lock:
            self.picture, self.name, self.sample = picture, name, sample
            self._source = {"picture": file, "sha256": digest, "width": width, "height": height}
            self._set_mask()
        self._say(f"{file}: {width} x {height} pixels.")
        self._notify()

    def draw_box(self, box: tuple[int, int, int, int]) -> None:
        """Cut out the object in a box, by GrabCut if OpenCV is installed, whatever ``background`` is.

        Args:
            box: left, top, right, bottom, in pixels of the image; right and bottom are excluded.

        Raises:
            InputError: the box does not lie in the image, or is smaller than 8 x 8 pixels.
            ImageError: no image is chosen, or no object stands out in the box. What was marked before stays.
        """
        mask = mask_in_box(self._chosen().convert("RGB"), box)
        with self._lock:
            self._set_mask(mask, f"box {', '.join(map(str, box))}", box)
        self._say(f"The object in the {self.mark}.")
        self._notify()

    def upload_mask(self, content: bytes | bytearray | memoryview, name: str) -> None:
        """Say where the object is by an image, white on black or transparent around it, whatever ``background`` is.

        Args:
            content: the bytes of a PNG, JPEG, ... file with the aspect ratio of the image.
            name: of the file, any text.

        Raises:
            ImageError: no image is chosen; or the file cannot be read, or does not fit. What was marked before stays.
        """
        try:
            mask = load_image(bytes(content))
            cut_out(self._chosen(), mask=mask)
        except ImageError as error:
            raise ImageError(f"the mask {short_name(name)!r} cannot be used: {error}") from error
        with self._lock:
            self._set_mask(mask, f"mask {short_name(name)}")
        self._say(f"The object in the {self.mark}.")
        self._notify()

    def clear_mark(self) -> None:
        """Forget the box or the mask."""
        with self._lock:
            self._set_mask()
        self._notify()

    def _set_mask(
        self, mask: Image.Image | None = None, words: str = "", box: tuple[int, int, int, int] | None = None
    ) -> None:
        self._mask, self.mark, self.box = mask, words, box
        self.marks += 1
        self._seen, self._cut = {}, {}

    def _chosen(self) -> Image.Image:
        if self.picture is None:
            raise ImageError("there must be an image first: upload one, or choose a sample")
        return self.picture

    def set_up(self, background: str | None = None, ratio: float | None = None) -> None:
        """Choose how the image is prepared.

        Args:
            background: one of :data:`BACKGROUNDS`; None changes nothing.
            ratio: the object's longer side as a part of the square's, in (0, 1]; None changes nothing.

        Raises:
            InputError: unknown or out of range.
        """
        if background is not None and background not in BACKGROUNDS:
            raise InputError(f"background must be one of {', '.join(BACKGROUNDS)}; got {background!r}")
        if ratio is not None and not 0 < ratio <= 1:
            raise InputError(f"ratio must be in (0, 1]; got {ratio}")
        self.background = self.background if background is None else background
        self.ratio = self.ratio if ratio is None else float(ratio)
        self._notify()

    def what_the_model_sees(self) -> Image.Image:
        """The image prepared by :func:`image3d_nb.prepare_image`.

        Raises:
            ImageError: no image is chosen, or nothing in it stands out from the background.
            ImportError: the background method's package is not installed.
        """
        return self._prepared()[0]

    def doubts(self) -> tuple[str, ...]:
        """What may be wrong with the prepared image, and what to do about it: the warnings of
        :func:`image3d_nb.prepare_image`, with its errors.
        """
        return self._prepared()[1]

    def _prepared(self) -> Prepared:
        with self._lock:
            picture = self._chosen()
            key = self.background, self.ratio
            if key not in self._seen:
                self._seen[key] = self._prepare(picture)
            return self._seen[key]

    def _prepare(self, picture: Image.Image) -> Prepared:
        if self.background == "keep" and self._mask is None:
            return prepared(picture, background="keep")
        if self.background not in self._cut:  # cutting out takes seconds, placing does not
            method = "auto" if self.background == "keep" else self.background
            self._cut[self.background] = cut_out(picture, method, self._mask)
        cut, doubts = self._cut[self.background]
        return prepared(cut, ratio=self.ratio)[0], (*doubts, *doubts_about_white(cut))

    # ------------------------------------------------------------ runs

    def run(self, **changes: Any) -> None:
        """Start a run with the chosen image and return at once; :meth:`wait` returns the run.

        Args:
            changes: of ``settings``, e.g. seed=3, steps=20, guidance=4.0, model="tiny"; they stay for the next run.
                The background is chosen by :meth:`set_up`, a format by :meth:`download`.

        Raises:
            InputError: a setting is out of range, unknown or chosen elsewhere, or another job runs.
            ImageError: see :meth:`what_the_model_sees`.
        """
        fields = {field.name for field in dataclasses.fields(GenerateSettings)} - {"background", "formats", "prepare"}
        unknown = sorted(set(changes) - fields)
        if unknown:
            raise InputError(
                "settings of a run must be fields of GenerateSettings, without background and prepare (call set_up) and"
                f" formats (call download); got {', '.join(unknown)}"
            )
        settings = dataclasses.replace(self.settings, **changes)
        with self._lock:
            seen, doubts = self._prepared()
            note = {**self._source, "background": self.background, "ratio": self.ratio}
            note |= {"mark": self.mark, "warnings": list(doubts)}
            name = self.name
            asked = dataclasses.replace(sharpened_by_default(settings), formats=("ply",), prepare=False)
            asked = dataclasses.replace(asked, background="auto" if self.background == "keep" else self.background)
            if is_single_image(settings.model):  # it puts the object on a square of its own
                kept = self.background == "keep" and self._mask is None
                # the image that it gets is cut out already: "auto" keeps its transparency
                asked = dataclasses.replace(asked, formats=("ply", "glb"), prepare=not kept, background="auto")
                seen = seen if kept else self._cut[self.background][0]

        def job(on_step: OnStep, cancelled: Asked) -> Run:
            done = _generate(seen, name, note, asked, self.folder, on_step, cancelled)
            words = f"{done.title}: {done.record['gaussians']:,} Gaussians in {done.record['seconds']['total']:.1f} s."
            self.runs = [*self.runs, done]
            self.shown = done
            self._say(words, "done")
            return done

        self._start("a run", job)
        self.settings = settings
        self._notify()

    def _start(self, doing: str, job: Callable[[OnStep, Asked], Any]) -> None:
        def watched(on_step: OnStep, cancelled: Asked) -> Any:
            try:
                return job(on_step, cancelled)
            except Exception as error:
                self._say_error(error)
                raise  # for wait()

        self.worker.start(doing, watched)
        self._notify()

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the running job and return its result, of :meth:`run` a :class:`Run`. Stopping the cell stops it.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            TimeoutError: the job takes longer; it goes on.
            Cancelled: the job was cancelled.
            Image3DError: the job failed; the message says why.
        """
        return self.worker.wait(timeout)

    def cancel(self) -> None:
        """Stop the running job, if any, at its next step. It leaves no half-made files."""
        if self.worker.doing:
            self.worker.cancel()
            self._say("Stopping ...")
            self._notify()

    def look_at(self, run: Run) -> None:
        """Show this run in the panel."""
        self.shown = run
        self._say(f"{run.title}, {run.settings}; its files are in {run.folder}.")
        self._notify()

    # ------------------------------------------------------------ files of a run

    def download(self, suffix: str, holds: str | None = None, run: Run | None = None) -> Path:
        """Make a run's file in some format, unless it is made already. A mesh takes seconds.

        A warning says what the format cannot hold.

        Args:
            suffix: of :func:`image3d_nb.formats`, or .html or .gif.
            holds: "Gaussians" or "Mesh", if a suffix stands for both; None is its default.
            run: None is the run that the panel shows.

        Returns:
            The file.

        Raises:
            InputError: no such format, or no run yet.
        """
        path, lost = make(self._that(run), choice(suffix, holds))
        for each in lost:
            warnings.warn(each, UserWarning, stacklevel=2)
        return path

    def start_download(self, suffix: str, holds: str | None = None) -> None:
        """Start a :meth:`download` of the run shown and return at once; :meth:`wait` returns the path.

        Args:
            suffix: of :func:`image3d_nb.formats`, or .html or .gif.
            holds: "Gaussians" or "Mesh", if a suffix stands for both; None is its default.
        """
        run, what = self._that(None), choice(suffix, holds)

        def job(on_step: OnStep, cancelled: Asked) -> Path:
            path, lost = make(run, what, on_step, cancelled)
            self.made = run, path
            self._say(" ".join([f"{path.name} is in {path.parent}.", *(f"{each}." for each in lost)]), "done")
            return path

        self._start(f"making {what.file(run.name)}", job)

    def start_mesh(self) -> None:
        """Start to make the mesh of the run shown and return at once; :meth:`wait` returns it."""
        run = self._that(None)

        def job(on_step: OnStep, cancelled: Asked) -> Mesh:
            with collected() as doubts:
                mesh = run.mesh(on_step, cancelled)
            words = f"{run.title}: a mesh of {len(mesh.faces):,} triangles."
            self._say(" ".join([words, *(f"{each[:1].upper()}{each[1:]}." for each in doubts)]), "done")
            return mesh

        self._start("making the mesh", job)

    def _that(self, run: Run | None) -> Run:
        found = self.shown if run is None else run
        if found is None:
            raise InputError("there must be a run first; got none: call run()")
        return found


def _generate(
    seen: Image.Image, name: str, note: dict[str, Any], settings: GenerateSettings, folder: Path, on_step: OnStep,
    cancelled: Asked,
) -> Run:  # fmt: skip
    """Run in a new folder; a failed run leaves nothing."""
    target = new_folder(folder, name)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / f"{name}.png"
            seen.save(path)
            generate_one(path, target, settings, on_step, cancelled)
        atomic_write({target / NOTE: (json.dumps(note, indent=2, ensure_ascii=False) + "\n").encode()})
        return Run(target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def short_name(name: str) -> str:
    """The file name of an upload in one readable line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return line if len(line) <= 60 else f"{line[:40]}...{line[-15:]}"


def sentence(error: Exception) -> str:
    """An error in one line, for people."""
    text = " ".join(str(error).split())
    if isinstance(error, Cancelled):
        return "Stopped: nothing was written."
    if isinstance(error, MemoryError):
        return "This machine has too little memory for that: close other notebooks, or take a smaller model."
    if isinstance(error, OSError) and error.strerror and not isinstance(error, Image3DError):
        return f"Could not write {error.filename or 'a file'}: {error.strerror}."
    if not isinstance(error, (Image3DError, ImportError)):
        text = f"Something unexpected went wrong, {type(error).__name__}: {text} (studio.error holds all of it)"
    if len(text) > LONGEST:  # requirement first, received value last
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text  # but not a file's name
