"""The folders of an app's visitors: hard to guess, and swept."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError


class Visitors:
    """All files of an app, in one folder.

    gradio keeps uploads in folders named after their content; results are in ``visitors/VISITOR/RUN``. Neither name can
    be guessed: the first needs the file itself, the second a secret of this process.

    Args:
        folder: the folder; everything in it may be deleted.
        keep: seconds that a file is kept after it was written.
        max_bytes: of all files together; beyond it, new files are refused.
    """

    def __init__(self, folder: Path, keep: float, max_bytes: int) -> None:
        self.folder, self.keep, self.max_bytes = folder, keep, max_bytes
        self.bytes = 0  # at the last sweep
        self._secret = secrets.token_bytes(32)
        self._jobs: list[tuple[str | None, threading.Event]] = []
        self._closed = threading.Event()

    def new_folder(self, session: str | None) -> Path:
        """The path of a folder for one run of a visitor; its parent is created.

        Raises:
            InputError: the app's disk is full.
        """
        if self.bytes > self.max_bytes:
            raise InputError(f"the app's files must have at most {self.max_bytes:,} bytes: try again in some minutes")
        home = self._home(session)
        home.mkdir(parents=True, exist_ok=True)
        return home / secrets.token_hex(16)

    @contextmanager
    def job(self, session: str | None) -> Iterator[threading.Event]:
        """A running job; the event is set if the visitor cancels it or leaves."""
        entry = (session, threading.Event())
        self._jobs.append(entry)
        try:
            yield entry[1]
        finally:
            self._jobs.remove(entry)

    def cancel(self, session: str | None) -> None:
        """Stop the running jobs of a visitor."""
        for owner, stop in tuple(self._jobs):
            if owner == session:
                stop.set()

    def leaves(self, session: str | None) -> None:
        """Stop the jobs of a visitor and delete the results."""
        self.cancel(session)
        shutil.rmtree(self._home(session), ignore_errors=True)

    def sweep(self) -> None:
        """Delete old files and empty folders, and count the rest."""
        oldest, total = time.time() - self.keep, 0
        for here, _, names in os.walk(self.folder, topdown=False):
            is_old = Path(here).stat().st_mtime < oldest if Path(here).is_dir() else False  # before files go
            for name in names:
                with suppress(OSError):  # another thread deleted it
                    path = Path(here, name)
                    status = path.stat()
                    if status.st_mtime < oldest:
                        path.unlink()
                    else:
                        total += status.st_size
            with suppress(OSError):  # not empty
                if is_old and Path(here) != self.folder:
                    Path(here).rmdir()
        self.bytes = total

    def sweep_until_closed(self, every: float) -> None:
        """Start a thread that sweeps."""

        def work() -> None:
            while not self._closed.wait(every):
                self.sweep()

        threading.Thread(target=work, name="image3d_nb.app sweep", daemon=True).start()

    def close(self, patience: float = 0.0) -> None:
        """Stop sweeping and all jobs, and delete the folder.

        Args:
            patience: seconds at most to wait for the jobs, which may be writing into it.
        """
        self._closed.set()
        end = time.monotonic() + patience
        while True:
            for _, stop in tuple(self._jobs):  # also those that have just begun
                stop.set()
            if not self._jobs or time.monotonic() >= end:
                break
            time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _home(self, session: str | None) -> Path:
        name = hashlib.blake2b((session or "").encode(), key=self._secret, digest_size=16).hexdigest()
        return self.folder / "visitors" / name
