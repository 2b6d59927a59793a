"""Files of a run in any format, made on request."""

from __future__ import annotations

import base64
import html
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Cancelled, InputError
from ..images.caller import collected
from ..io import formats, save
from ..view import render_turntable, save_html

if TYPE_CHECKING:
    from .runs import Run
    from .worker import Asked, OnStep

MAX_LINK = 15_000_000
"""Bytes of a file that a link can hold (tried in Chromium); a larger file stays in the run's folder."""
_FIRST = {".ply": "Gaussians"}  # the default of a suffix with two formats; of others it is the mesh
_WORDS = {"Gaussians": "splats", "Mesh": "mesh"}


@dataclass(frozen=True)
class Choice:
    """A format in which a run can be downloaded."""

    suffix: str  # with the dot
    name: str  # of the format
    holds: str  # "Gaussians" or "Mesh"
    extra: str = ""  # end of a file's name if another format has the same suffix

    def file(self, name: str) -> str:
        """The name of a file of this format; ``name`` is that of the run."""
        return f"{name}{self.extra}{self.suffix}"

    @property
    def label(self) -> str:
        """The text of a menu entry."""
        return f"{self.suffix}   {_WORDS[self.holds]}: {self.name}"


def choices() -> tuple[Choice, ...]:
    """Every format that can be written, a page and a turntable; second formats of a suffix stand last."""
    known = [info for info in formats() if info.write]
    found = [_choice(info.suffix, info.name, info.holds, [k.holds for k in known if k.suffix == info.suffix])
             for info in sorted(known, key=lambda info: info.holds)]  # fmt: skip
    found.append(Choice(".html", "a page that turns, to open in any browser", "Gaussians"))
    found.append(Choice(".gif", "a turning picture", "Gaussians"))
    return tuple(sorted(found, key=lambda each: each.extra != ""))


def _choice(suffix: str, name: str, holds: str, held: list[str]) -> Choice:
    first = len(held) == 1 or holds == _FIRST.get(suffix, "Mesh")
    return Choice(suffix, name, holds, "" if first else f"-{_WORDS[holds]}")


def choice(suffix: str, holds: str | None = None) -> Choice:
    """Find the format of a suffix.

    Args:
        suffix: with or without its dot.
        holds: "Gaussians" or "Mesh"; None is the default of the suffix.

    Raises:
        InputError: there is no such format.
    """
    known = choices()
    wanted = f".{suffix.lower().removeprefix('.')}"
    fitting = [each for each in known if each.suffix == wanted and holds in (None, each.holds)]
    if not fitting:
        there_are = ", ".join(dict.fromkeys(each.suffix for each in known))
        of_that = "" if holds is None else f", of {holds}"
        raise InputError(f"a download must be one of {there_are}; got {suffix!r}{of_that}")
    return min(fitting, key=lambda each: each.extra != "")


def make(
    run: Run, what: Choice, on_step: OnStep | None = None, cancelled: Asked | None = None
) -> tuple[Path, list[str]]:
    """Make a run's file in some format, if its folder does not hold the file yet. All or nothing is written.

    Args:
        run: a finished run.
        what: the format.
        on_step: called as f(stage, done, total) while the mesh is made.
        cancelled: called in between; if it returns True, the work stops.

    Returns:
        The file, in its own folder if the format has companions (.obj: .mtl and .png); and one sentence for each
        doubt about the mesh, if it is made now, and for each thing that the format cannot hold.

    Raises:
        Cancelled: ``cancelled`` returned True.
        InputError: nothing can be made, e.g. the Gaussians have no surface.
    """
    target = run.folder / what.file(run.name)
    several = run.folder / target.name.replace(".", "_") / target.name
    for path in (target, several):
        if path.is_file():
            return path, []
    with collected() as doubts:
        obj = run.gaussians if what.holds == "Gaussians" else run.mesh(on_step, cancelled)
    if cancelled is not None and cancelled():
        raise Cancelled("the download was cancelled; nothing was written")
    if on_step is not None:
        on_step("files", 0, 1)
    writers: dict[str, Callable[[Path], object]] = {
        ".html": lambda path: save_html(run.gaussians, path, title=run.name),
        ".gif": lambda path: render_turntable(run.gaussians, path, progress=False),
    }
    write = writers.get(what.suffix, lambda path: save(obj, path, run.record["settings"]["convention"]))
    with tempfile.TemporaryDirectory(prefix=".making-", dir=run.folder) as temporary:
        folder = Path(temporary) / several.parent.name
        folder.mkdir()
        with collected() as lost:
            write(folder / target.name)
        if len(list(folder.iterdir())) == 1:
            os.replace(folder / target.name, target)
            return target, doubts + lost
        os.replace(folder, several.parent)
        return several, doubts + lost


def link(run: Run, path: Path) -> str:
    """HTML: a link that holds a run's file ``path``, so it needs no server. Of a large file only the folder is named.

    A file with companions becomes one .zip.
    """
    content, name = (path.read_bytes(), path.name) if path.parent == run.folder else _zipped(path.parent)
    shown = html.escape(name, quote=True)
    if len(content) > MAX_LINK:
        return f"{shown} is too large for a link ({_size(len(content))}): it is in {html.escape(str(path.parent))}"
    data = base64.b64encode(content).decode("ascii")
    # octet-stream makes the browser save the file, not open it
    href = f"data:application/octet-stream;base64,{data}"
    return f'<a class="i3d-link" download="{shown}" href="{href}">Download {shown}</a> ({_size(len(content))})'


def _zipped(folder: Path) -> tuple[bytes, str]:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return buffer.getvalue(), f"{folder.name}.zip"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"
