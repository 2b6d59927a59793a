"""Where the results of many images lie: a local folder, or an fsspec URL."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from .._files import atomic_path
from ..errors import InputError
from ..record import RECORD, Record

Row: TypeAlias = dict[str, Any]


def file_system(url: str) -> tuple[Any, str, bool]:
    """The file system of a path or URL, the path in it, and whether it is this machine's."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    try:
        fs, path = fsspec.core.url_to_fs(os.path.expanduser(url))  # noqa: PTH111 -- it may be a URL
    except (ValueError, ImportError) as error:  # unknown protocol, or its package is missing
        raise InputError(f"a path must be local or a URL that fsspec knows; {url}: {error}") from error
    return fs, path.rstrip("/") or "/", isinstance(fs, LocalFileSystem)


class Store:
    """The folder of the results: a local path or an fsspec URL, and a local folder for locks."""

    def __init__(self, url: str) -> None:
        self.fs, self.root, self.local = file_system(url)
        shared = Path(tempfile.gettempdir()) / f"image3d-batch-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
        self.state = Path(self.root) / ".batch" if self.local else shared

    def path(self, name: str) -> str:
        """The path of a file or folder of the results."""
        return f"{self.root}/{name}"

    def prepare(self, stack: ExitStack) -> None:
        """Lock the folder for one run at a time, and sweep it before and after."""
        from filelock import FileLock, Timeout

        try:
            for folder in ("objects", "contact", ".batch"):
                self.fs.makedirs(self.path(folder), exist_ok=True)
            for folder in ("locks", "tries"):
                (self.state / folder).mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(self.state / "run.lock", timeout=0))
        except Timeout:
            raise InputError(f"out must not be in use by another run; {self.root} is") from None
        except OSError as error:
            raise InputError(f"out must be a folder that can be written; {self.root}: {error}") from error
        self.sweep()
        stack.callback(self.sweep)

    def sweep(self) -> None:
        """Remove what killed processes left half-made."""
        for left in Path(self.path("objects")).glob(".*-*") if self.local else ():
            shutil.rmtree(left, ignore_errors=True)

    def put(self, name: str, content: bytes) -> None:
        """Write a file: atomically in a local folder; an object store writes whole files anyway."""
        if not self.local:
            self.fs.pipe_file(self.path(name), content)
            return
        with atomic_path(self.path(name)) as temporary:
            temporary.write_bytes(content)

    def upload(self, folder: Path, name: str, record: Record) -> None:
        """Copy a result. The old record goes first and the new one comes last, so none is ever wrong."""
        if self.fs.exists(self.path(f"{name}/{RECORD}")):
            self.fs.rm_file(self.path(f"{name}/{RECORD}"))
        self.fs.makedirs(self.path(name), exist_ok=True)
        for file in (*record["files"], RECORD):
            self.put(f"{name}/{file}", (folder / file).read_bytes())

    def record(self, name: str) -> Record:
        """The record of an uploaded result whose files have the sizes that it gives; else an empty one."""
        try:
            record: Record = json.loads(self.fs.cat_file(self.path(f"{name}/{RECORD}")))
            sizes = {Path(each["name"]).name: each["size"] for each in self.fs.ls(self.path(name), detail=True)}
            complete = all(sizes.get(file) == each["bytes"] for file, each in record["files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing, or a foreign file
            return {}
        return record if complete else {}
