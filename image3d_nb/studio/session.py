"""The studio without its widgets: a picture, settings, one run at a time, and all runs that there were."""

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
from ..generate import GenerateSettings, generate_one
from ..images import load_image, prepare_image, remove_background, sample
from .runs import NOTE, Run, new_folder, plain_name, runs_in
from .worker import Asked, Notify, OnStep, Worker

if TYPE_CHECKING:
    from PIL import Image

    from ..mesh import Mesh

BACKGROUNDS = ("auto", "polynomial", "grabcut", "rembg", "keep")
"""As :func:`image3d_nb.prepare_image` has them."""
RATIO = 0.8  # prepare_image's
LONGEST = 800  # characters of an error that are shown
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")  # ISO/IEC 23008-12, B.4.1: what phones write


@dataclass(frozen=True)
class Notice:
    """A sentence for whoever sits before the studio."""

    text: str
    kind: str = "hint"  # "hint", "done" or "error"


class Session:
    """One picture to one object, again and again; what a panel does is a call here. Each run has a folder of its own in
    ``folder``, and runs that are there from another day belong to the history.

    Args:
        folder: where runs are kept; made at the first run.
        settings: what the panel does not ask for (device, elevation, ...), and what its fields hold at first.

    Attributes:
        runs: all runs, the oldest first.
        shown: the run that is looked at.
        background: how the object is cut out; one of :data:`BACKGROUNDS`.
        ratio: the object's longer side as a part of the square's, in (0, 1].
        notice: what there is to say.
        error: what went wrong last; None where nothing did.
        made: the run and the file of the last download that :meth:`start_download` made.
    """

    def __init__(self, folder: str | os.PathLike[str] = "studio", settings: GenerateSettings | None = None) -> None:
        self.folder = Path(folder)
        self.settings = GenerateSettings() if settings is None else settings
        self.background, self.ratio = "auto", RATIO
        self.picture: Image.Image | None = None
        self.name = ""  # what the next run's files are called
        self.sample = ""  # where the picture is a bundled one, its name
        self.notice = Notice("Choose a picture, look at what the model will see, and run.")
        self.error: Exception | None = None
        self.made: tuple[Run, Path] | None = None
        self.runs = runs_in(self.folder)
        self.shown = self.runs[-1] if self.runs else None
        self.worker = Worker(self._notify)
        self._source: dict[str, Any] = {}  # of the picture, as a run's note has it
        self._seen: dict[tuple[str, float], Image.Image] = {}  # of this picture
        self._cut: dict[str, Image.Image] = {}  # the same
        self._callbacks: list[Notify] = []
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(picture={self.name!r}, model={self.settings.model!r}, runs={len(self.runs)})"

    def on_change(self, callback: Notify) -> None:
        """Have a function called, without arguments and perhaps in another thread, whenever something has changed."""
        self._callbacks.append(callback)

    def _notify(self) -> None:
        for callback in self._callbacks:
            callback()

    def _say(self, text: str, kind: str = "hint", error: Exception | None = None) -> None:
        self.notice, self.error = Notice(text, kind), error

    def _say_error(self, error: Exception) -> None:
        self._say(sentence(error), "hint" if isinstance(error, Cancelled) else "error", error)

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do something, or say in a sentence why it cannot be done. Whether it was done."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 -- a click has no caller: what went wrong belongs in the panel
            self._say_error(error)
            self._notify()
            return False
        return True

    # ------------------------------------------------------------ the picture

    def upload(self, content: bytes | bytearray | memoryview, name: str) -> None:
        """Take a file's bytes as the picture.

        Args:
            content: of a PNG, JPEG, WebP, ... file.
            name: of the file. Any text: what no disk takes is replaced.

        Raises:
            ImageError: it cannot be read. The picture before stays.
        """
        content = bytes(content)
        try:
            if not content:
                raise ImageError("a picture must hold something; this file is empty (0 bytes)")
            picture = load_image(content)
        except ImageError as error:
            hint = ""
            if content[4:8] == b"ftyp" and content[8:12] in _HEIC:
                hint = ". It is a HEIC picture, as phones make them: export it as JPEG or PNG"
            raise ImageError(f"the file {short_name(name)!r} cannot be used: {error}{hint}") from error
        self._take(picture, plain_name(name), content, short_name(name))

    def choose_sample(self, name: str) -> None:
        """Take a bundled picture.

        Raises:
            InputError: there is none of this name.
        """
        path = sample(name)
        self._take(load_image(path), name, path.read_bytes(), path.name, name)

    def _take(self, picture: Image.Image, name: str, content: bytes, file: str, sample: str = "") -> None:
        width, height = picture.size
        digest = hashlib.sha256(content).hexdigest()
        with self._lock:
            self.picture, self.name, self.sample = picture, name, sample
            self._source = {"picture": file, "sha256": digest, "width": width, "height": height}
            self._seen, self._cut = {}, {}
        self._say(f"{file}: {width} x {height} pixels.")
        self._notify()

    def set_up(self, background: str | None = None, ratio: float | None = None) -> None:
        """Choose how the picture is prepared; None leaves it as it is.

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
        """The picture prepared: what :func:`image3d_nb.prepare_image` makes of it.

        Raises:
            ImageError: there is no picture, or nothing in it stands out from the background.
            ImportError: the background method's package is not installed.
        """
        with self._lock:
            if self.picture is None:
                raise ImageError("there must be a picture first: upload one, or choose a sample")
            key = self.background, self.ratio
            if key not in self._seen:
                self._seen[key] = self._prepare(self.picture)
            return self._seen[key]

    def _prepare(self, picture: Image.Image) -> Image.Image:
        if self.background == "keep":
            return prepare_image(picture, background="keep")
        if self.background not in self._cut:  # cutting out takes seconds, placing takes none
            self._cut[self.background] = remove_background(picture, self.background)
        return prepare_image(self._cut[self.background], ratio=self.ratio)

    # ------------------------------------------------------------ runs

    def run(self, **changes: Any) -> None:
        """Start a run with this picture, and return at once; :meth:`wait` gives what comes out.

        Args:
            changes: of ``settings``, e.g. seed=3, steps=20, guidance=4.0, model="tiny"; they stay for the next run.

        Raises:
            InputError: a setting is out of range or unknown, or another run is under way.
            ImageError: see :meth:`what_the_model_sees`.
        """
        unknown = set(changes) - {field.name for field in dataclasses.fields(GenerateSettings)}
        if unknown:
            raise InputError(f"a run's settings must be those of GenerateSettings; got {', '.join(sorted(unknown))}")
        settings = dataclasses.replace(self.settings, **changes)
        with self._lock:
            seen = self.what_the_model_sees()
            note = {**self._source, "background": self.background, "ratio": self.ratio}
            name = self.name
        asked = dataclasses.replace(settings, formats=("ply",), prepare=False)

        def job(on_step: OnStep, cancelled: Asked) -> Run:
            done = _generate(seen, name, note, asked, self.folder, on_step, cancelled)
            words = f"{done.title}: {done.record['gaussians']:,} Gaussians in {done.record['seconds']['total']:.1f} s."
            twin = next((run for run in self.runs if run.digest == done.digest), None)
            if twin is not None:
                words += f" They are those of run {twin.number}"
                words += ": in one step the seed changes nothing." if done.record["steps"] == 1 else "."
            self.runs = [*self.runs, done]
            self.shown = done
            self._say(words, "done")
            return done

        self._start("a run", job)
        self.settings = settings

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
        """What :meth:`run` (a :class:`Run`) or another start came to. Stopping the cell stops the work.

        Raises:
            TimeoutError: it takes longer than ``timeout`` seconds; it goes on.
            Cancelled: it was cancelled.
            Image3DError: it could not be done; the sentence says why.
        """
        return self.worker.wait(timeout)

    def cancel(self) -> None:
        """Stop what is under way, at its next step. Nothing half-made is left. Where nothing is, nothing happens."""
        if self.worker.doing:
            self.worker.cancel()
            self._say("Stopping ...")
            self._notify()

    def look_at(self, run: Run) -> None:
        """Show another run."""
        self.shown = run
        self._say(f"{run.title}, {run.settings}; its files are in {run.folder}.")
        self._notify()

    # ------------------------------------------------------------ what a run is made into

    def download(self, suffix: str, holds: str | None = None, run: Run | None = None) -> Path:
        """The file of a format; made where it is not there yet, which takes seconds for a mesh.

        Args:
            suffix: of :func:`image3d_nb.formats`, or .html or .gif.
            holds: "Gaussians" or "Mesh", where a format can hold either; None: what it is mostly used for.
            run: None is the one shown.

        A warning says what the format cannot hold, when it is made.

        Raises:
            InputError: no such format, or no run yet.
        """
        from .downloads import choice, make

        path, lost = make(self._that(run), choice(suffix, holds))
        for each in lost:
            warnings.warn(each, UserWarning, stacklevel=2)
        return path

    def start_download(self, suffix: str, holds: str | None = None) -> None:
        """As :meth:`download`, of the run shown, and return at once; :meth:`wait` gives the path."""
        from .downloads import choice, make

        run, what = self._that(None), choice(suffix, holds)

        def job(on_step: OnStep, cancelled: Asked) -> Path:
            path, lost = make(run, what, on_step, cancelled)
            self.made = run, path
            self._say(" ".join([f"{path.name} is in {path.parent}.", *(f"{each}." for each in lost)]), "done")
            return path

        self._start(f"making {what.file(run.name)}", job)

    def start_mesh(self) -> None:
        """Make the mesh of the run shown, and return at once; :meth:`wait` gives it."""
        run = self._that(None)

        def job(on_step: OnStep, cancelled: Asked) -> Mesh:
            mesh = run.mesh(on_step, cancelled)
            self._say(f"{run.title}: a mesh of {len(mesh.faces):,} triangles.", "done")
            return mesh

        self._start("making the mesh", job)

    def _that(self, run: Run | None) -> Run:
        found = self.shown if run is None else run
        if found is None:
            raise InputError("there must be a run first; there is none yet: run()")
        return found


def _generate(
    seen: Image.Image, name: str, note: dict[str, Any], settings: GenerateSettings, folder: Path, on_step: OnStep,
    cancelled: Asked,
) -> Run:  # fmt: skip
    """Run, in a folder of its own; where it does not end well, nothing is left."""
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
    """A file's name, as a browser tells it, in one line that can be read."""
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return line if len(line) <= 60 else f"{line[:40]}...{line[-15:]}"


def sentence(error: Exception) -> str:
    """An error for people: what was wrong, in a line, without a traceback."""
    text = " ".join(str(error).split())
    if isinstance(error, Cancelled):
        return "Stopped: nothing has been written."
    if isinstance(error, MemoryError):
        return "This machine has too little memory for that: close other notebooks, or take a smaller model."
    if isinstance(error, OSError) and error.strerror and not isinstance(error, Image3DError):
        return f"The disk did not take it: {error.strerror}: {error.filename or 'no file named'}."
    if not isinstance(error, (Image3DError, ImportError)):
        text = f"Something unexpected went wrong, {type(error).__name__}: {text} (studio.error holds all of it)"
    if len(text) > LONGEST:  # what was required stands first, what came last
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text  # not a file's name
