"""Where bundled data is, and writing files so that nothing is ever half-written."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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

    The sibling keeps the suffix, so that writers which look at it (Pillow, gzip) choose the right format. "~" is
    expanded; a symbolic link stays one, and the file that it leads to is replaced; a replaced file passes on its mode
    and owner.

    Args:
        path: the file to write.

    Raises:
        FileNotFoundError: the folder does not exist.
        PermissionError: the file is read-only.
    """
    target = writable(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(files: Mapping[str | os.PathLike[str], bytes | memoryview]) -> None:
    """Write several files: all contents are on disk beside their targets before the first one is renamed.

    "~", links, modes and owners are as in :func:`atomic_path`.

    Args:
        files: target path -> content. Folders must exist.

    Raises:
        FileNotFoundError: a target's folder does not exist.
        PermissionError: a target is read-only.
        OSError: a file could not be written; no target has been touched.
    """
    targets = [writable(path) for path in files]
    temporaries: list[Path] = []
    try:
        for target, content in zip(targets, files.values(), strict=True):
            handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}-", suffix=target.suffix, dir=target.parent)
            temporaries.append(Path(name))
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
        for temporary, target in zip(temporaries, targets, strict=True):
            replace(temporary, target)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def writable(path: str | os.PathLike[str]) -> Path:
    """The file that writing to ``path`` creates or replaces: "~" is expanded and symbolic links are followed.

    Raises:
        FileNotFoundError: its folder does not exist.
        PermissionError: the file exists and is read-only.
    """
    target = Path(path).expanduser()
    if target.is_symlink():
        target = target.resolve()
    check_parent(target)
    if target.is_file() and not (target.stat().st_mode & 0o222 and os.access(target, os.W_OK)):
        raise PermissionError(errno.EACCES, "the file is read-only: allow writing, or choose another name", str(target))
    return target


def followed(path: str | os.PathLike[str]) -> Path:
    """The file that a symbolic link leads to: its companions stand beside it and bear its name.

    A file of another suffix would name another format; a link to one is returned as it is. "~" is expanded.
    """
    path = Path(path).expanduser()
    real = path.resolve() if path.is_symlink() else path
    return real if real.suffix.lower() == path.suffix.lower() else path


def replace(temporary: Path, target: Path) -> None:
    """Rename a new file to ``target``. A symbolic link stays a link; a replaced file passes on its mode and owner."""
    target = writable(target)
    if target.is_file():
        old, new = target.stat(), temporary.stat()
        if hasattr(os, "chown") and (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            with suppress(PermissionError):  # only an administrator can give a file to another user
                os.chown(temporary, old.st_uid, old.st_gid)
        os.chmod(temporary, stat.S_IMODE(old.st_mode))
    else:
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
    try:
        os.replace(temporary, target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # a link leads to another disk
            raise
        with atomic_path(target) as beside:
            shutil.copyfile(temporary, beside)


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


def _umask() -> int:
    current = os.umask(0)  # the only portable way to read it is to set it
    os.umask(current)
    return current
