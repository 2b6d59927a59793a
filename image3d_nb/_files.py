"""Where bundled data is, and writing files so that nothing is ever half-written."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CONVENTIONS = ("3dgs", "opengl", "ydown")
"""The axes that a file of Gaussians may use: see :mod:`image3d_nb.io.files`. Importing this loads nothing else."""
_PACKAGE = Path(__file__).resolve().parent


def data_dir() -> Path:
    """The folder of bundled images and models: in a wheel inside the package, in a checkout beside it.

    Raises:
        FileNotFoundError: neither is there, so the installation is broken.
    """
    for folder in (_PACKAGE / "data", _PACKAGE.parent / "data"):
        if (folder / "README.md").is_file():
            return folder
    raise FileNotFoundError(f"bundled data must be in {_PACKAGE / 'data'}; it is missing: install image3d-nb again")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling of ``path`` to write to; it takes the name ``path`` only when the block succeeds.

    The sibling keeps the suffix, so that writers which look at it (Pillow, gzip) choose the right format. ``~`` is the
    user's folder; a link stays one, and what it leads to is replaced; a file that is replaced passes on its mode.

    Args:
        path: the file to write.

    Raises:
        FileNotFoundError: the folder does not exist.
        PermissionError: the file is read-only.
    """
    target = _target(path)
    mode = _mode(target)
    temporary = _temporary(target)
    try:
        yield temporary
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(files: Mapping[str | os.PathLike[str], bytes | memoryview]) -> None:
    """Write several files: all contents are on disk beside their targets before the first one is renamed.

    Links, modes and ``~`` are as in :func:`atomic_path`.

    Args:
        files: target path -> content. Folders must exist.

    Raises:
        FileNotFoundError: a target's folder does not exist.
        OSError: a file could not be written; no target has been touched.
    """
    targets = {target: (_mode(target), content) for path, content in files.items() for target in [_target(path)]}
    temporaries: list[Path] = []
    try:
        for target, (mode, content) in targets.items():
            temporaries.append(_temporary(target))
            temporaries[-1].write_bytes(content)
            os.chmod(temporaries[-1], mode)
        for temporary, target in zip(temporaries, targets, strict=True):
            os.replace(temporary, target)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Make a hidden folder beside ``target``, on the same disk, so that moving from it is one rename. It is removed."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}-", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_free(target: Path, source: Path, *, force: bool) -> None:
    """Refuse to write where the source is, and, without ``force``, where anything is.

    Raises:
        FileExistsError: something is there.
    """
    if not target.exists():
        return
    if target.samefile(source):
        raise FileExistsError(f"the file to write must be another than the one that is read; got {target} for both")
    if target.is_dir():
        raise FileExistsError(f"the file to write must not be a folder; {target} is one")
    if not force:
        raise FileExistsError(f"{target} exists already; --force (force=True) replaces it")


def check_parent(target: Path) -> None:
    """Raise FileNotFoundError if the folder of a file to write does not exist."""
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder of a file to write must exist; {target.parent} does not: create it first")


def _target(path: str | os.PathLike[str]) -> Path:
    """The file that a path leads to, through ``~`` and links; its folder exists."""
    target = Path(path).expanduser()
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    check_parent(target)
    return target


def _temporary(target: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    return Path(name)


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced, or those of a new one: mkstemp's is for its owner alone."""
    try:
        mode = target.stat().st_mode & 0o777
    except FileNotFoundError:
        current = os.umask(0)  # the only portable way to read it is to set it
        os.umask(current)
        return 0o666 & ~current
    if not mode & 0o222:
        raise PermissionError(errno.EACCES, "Could not write, the file is read-only", str(target))
    return mode
