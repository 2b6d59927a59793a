"""A finished run: a folder, and what is shown and made of it."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FormatError
from ..generate import image_name
from ..images import load_image
from ..record import Record, read_record

if TYPE_CHECKING:
    from PIL import Image

    from ..gaussians import Gaussians
    from ..mesh import Mesh
    from .worker import Asked, OnStep

NOTE = "studio.json"
"""File beside result.json: how the studio prepared the image before the run."""
_NEEDED = ("seed", "steps", "guidance", "model", "settings", "gaussians")  # entries of a record
_NUMBERED = re.compile(r"(\d{3,9})_.+")


class Run:
    """A folder that a run of the studio filled.

    Attributes:
        folder: holds the record, input.png, views.png, the Gaussians as .ply, and files made from them later.
        record: the record of :func:`image3d_nb.generate_one`.
        note: the chosen image (picture, sha256, width, height), background and ratio; of newer studios also mark
            (the box or the mask, in words) and warnings.

    Raises:
        FormatError: the folder does not exist, or misses one of these files.
    """

    def __init__(self, folder: Path) -> None:
        record, note = read_record(folder) or {}, _note(folder)
        # only the name: a record must not reach out of its folder
        splats = [folder / Path(name).name for name in record.get("files", ()) if name.endswith(".ply")]
        needed = [folder / "input.png", folder / "views.png", *splats]
        complete = bool(splats) and all(key in record for key in _NEEDED)
        if note is None or not complete or not all(path.is_file() for path in needed):
            raise FormatError(f"a run's folder must hold the files that the studio writes; got {folder}")
        self.folder, self.record, self.note, self.splats = folder, record, note, splats[0]
        self._mesh: Mesh | None = None

    def __repr__(self) -> str:
        return f"Run({self.folder.name!r})"

    @property
    def name(self) -> str:
        """The name of its files, without suffix."""
        return self.splats.stem

    @property
    def number(self) -> int:
        """The number of the run, from 1."""
        found = _NUMBERED.fullmatch(self.folder.name)
        return int(found[1]) if found else 0

    @property
    def title(self) -> str:
        """E.g. "Run 3: mug"."""
        return f"Run {self.number}: {self.name}"

    @property
    def settings(self) -> str:
        """The settings in a few words; background and ratio only if they are not the defaults."""
        steps, guidance = self.record["steps"], self.record["guidance"]
        words = [f"seed {self.record['seed']}"]
        if steps is not None:
            words += [f"{steps} step{'s' * (steps != 1)}", f"guidance {guidance:g}"]
        words.append(Path(self.record["model"]["name"]).name)
        if self.note["background"] != "auto":
            words.append(f"background {self.note['background']}")
        if self.note["background"] != "keep" and self.note["ratio"] != 0.8:
            words.append(f"fills {self.note['ratio']:.0%}")
        words += [self.note["mark"]] if isinstance(self.note.get("mark"), str) and self.note["mark"] else []
        return " · ".join(words)

    @functools.cached_property
    def gaussians(self) -> Gaussians:
        """N Gaussians on the CPU, OpenGL world."""
        from ..io import load

        found: Any = load(self.splats, self.record["settings"]["convention"])
        return found

    def mesh(self, on_step: OnStep | None = None, cancelled: Asked | None = None) -> Mesh:
        """The object's surface: the model's own mesh, or that of the Gaussians, which takes some seconds to make."""
        own = self.folder / f"{self.name}.glb"
        if self._mesh is None and self.record.get("native") == "mesh" and own.is_file():
            from ..io import load

            self._mesh = load(own)  # type: ignore[assignment]  # a .glb without splats holds a mesh
        if self._mesh is None:
            from ..meshing import to_mesh

            self._mesh = to_mesh(self.gaussians, on_step=on_step, cancelled=cancelled)
        return self._mesh

    @property
    def has_mesh(self) -> bool:
        """Whether the mesh is made."""
        return self._mesh is not None

    @functools.cached_property
    def seen(self) -> Image.Image:
        """The image as the model saw it."""
        return load_image(self.folder / "input.png")

    @functools.cached_property
    def views(self) -> Image.Image:
        """The four views side by side."""
        return load_image(self.folder / "views.png")

    @property
    def front(self) -> Image.Image:
        """The front view, square."""
        return self.views.crop((0, 0, self.views.height, self.views.height))


def _note(folder: Path) -> Record | None:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing, or not a file of the studio
        return None
    complete = isinstance(note, dict) and isinstance(note.get("ratio"), float) and "background" in note
    return note if complete else None


def runs_in(folder: Path) -> list[Run]:
    """The complete runs in a folder, the oldest first."""
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
    """Make an empty folder for the next run, ``folder/NNN_name``.

    Raises:
        OSError: the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = (_NUMBERED.fullmatch(path.name) for path in folder.iterdir())
    number = max((int(found[1]) for found in taken if found), default=0) + 1
    path = folder / f"{number:03d}_{name}"
    path.mkdir()  # fails if another studio has just made it
    return path


def plain_name(upload: str) -> str:
    """Convert the file name of an upload to one that is valid on any disk, without suffix."""
    return image_name(Path(re.split(r"[\\/]", upload)[-1]))
