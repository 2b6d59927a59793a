"""A finished run: a folder, and all that can be shown and made of it."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FormatError
from ..generate import image_name
from ..record import Record, read_record

if TYPE_CHECKING:
    from PIL import Image

    from ..gaussians import Gaussians
    from ..mesh import Mesh
    from .worker import Asked, OnStep

NOTE = "studio.json"
"""Beside result.json: what the studio did to the picture before the run."""
_TOLD = ("seed", "steps", "guidance", "model", "settings", "gaussians")  # of a record, what is shown or used
_NUMBERED = re.compile(r"(\d{3,9})_.+")


class Run:
    """A folder that a run of the studio has filled.

    Attributes:
        folder: holds the record, input.png, views.png, the Gaussians as .ply, and what has been made of them since.
        record: that of :func:`image3d_nb.generate_one`.
        note: picture (name, sha256, width, height: as it was chosen), background and ratio.

    Raises:
        FormatError: there is no such folder, or something of that is missing in it.
    """

    def __init__(self, folder: Path) -> None:
        record, note = read_record(folder) or {}, _note(folder)
        # its name: a record must not reach out of its folder
        splats = [folder / Path(name).name for name in record.get("files", ()) if name.endswith(".ply")]
        needed = [folder / "input.png", folder / "views.png", *splats]
        complete = bool(splats) and all(key in record for key in _TOLD)
        if note is None or not complete or not all(path.is_file() for path in needed):
            raise FormatError(f"a run's folder must hold what the studio wrote; {folder} does not hold all of it")
        self.folder, self.record, self.note, self.splats = folder, record, note, splats[0]
        self._mesh: Mesh | None = None

    def __repr__(self) -> str:
        return f"Run({self.folder.name!r})"

    @property
    def name(self) -> str:
        """What its files are called."""
        return self.splats.stem

    @property
    def digest(self) -> str:
        """The sha256 of its Gaussians' file."""
        return str(self.record["files"][self.splats.name]["sha256"])

    @property
    def number(self) -> int:
        """1 for a folder's first run."""
        found = _NUMBERED.fullmatch(self.folder.name)
        return int(found[1]) if found else 0

    @property
    def title(self) -> str:
        """E.g. "Run 3: mug"."""
        return f"Run {self.number}: {self.name}"

    @property
    def settings(self) -> str:
        """How it was made, in a few words; the picture's own settings only where they are not the usual ones."""
        steps, guidance = self.record["steps"], self.record["guidance"]
        words = [f"seed {self.record['seed']}", f"{steps} step{'s' * (steps != 1)}", f"guidance {guidance:g}"]
        words.append(Path(self.record["model"]["name"]).name)
        if self.note["background"] != "auto":
            words.append(f"background {self.note['background']}")
        if self.note["background"] != "keep" and self.note["ratio"] != 0.8:
            words.append(f"fills {self.note['ratio']:.0%}")
        return " · ".join(words)

    @functools.cached_property
    def gaussians(self) -> Gaussians:
        """N Gaussians on the CPU, OpenGL world."""
        from ..io import load

        found: Any = load(self.splats, self.record["settings"]["convention"])
        return found

    def mesh(self, on_step: OnStep | None = None, cancelled: Asked | None = None) -> Mesh:
        """The surface of the Gaussians; made when it is first asked for, which takes some seconds."""
        if self._mesh is None:
            from ..meshing import to_mesh

            self._mesh = to_mesh(self.gaussians, on_step=on_step, cancelled=cancelled)
        return self._mesh

    @property
    def has_mesh(self) -> bool:
        """Whether its mesh has been made."""
        return self._mesh is not None

    @functools.cached_property
    def seen(self) -> Image.Image:
        """The picture as the model saw it."""
        return _picture(self.folder / "input.png")

    @functools.cached_property
    def views(self) -> Image.Image:
        """The four views side by side."""
        return _picture(self.folder / "views.png")

    @property
    def front(self) -> Image.Image:
        """The first of the views, square."""
        return self.views.crop((0, 0, self.views.height, self.views.height))


def _note(folder: Path) -> Record | None:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or somebody else's file of that name
        return None
    complete = isinstance(note, dict) and isinstance(note.get("ratio"), float) and "background" in note
    return note if complete else None


def _picture(path: Path) -> Image.Image:
    from ..images import load_image

    return load_image(path)


def runs_in(folder: Path) -> list[Run]:
    """The runs that a folder holds, the oldest first. What is not a complete run is left alone."""
    if not folder.is_dir():
        return []
    runs = []
    for path in folder.iterdir():
        if _NUMBERED.fullmatch(path.name) and path.is_dir():
            try:
                runs.append(Run(path))
            except FormatError:
                continue
    return sorted(runs, key=lambda run: run.number)


def new_folder(folder: Path, name: str) -> Path:
    """An empty folder for the next run, in a folder that is made if need be.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = (_NUMBERED.fullmatch(path.name) for path in folder.iterdir())
    number = max((int(found[1]) for found in taken if found), default=0) + 1
    path = folder / f"{number:03d}_{name}"
    path.mkdir()  # fails if another studio was faster
    return path


def plain_name(upload: str) -> str:
    """A file's name, as a browser tells it, to one that is good on any disk, without its suffix."""
    return image_name(Path(re.split(r"[\\/]", upload)[-1]))
