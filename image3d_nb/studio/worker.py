"""One job at a time in a thread beside the notebook."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from ..errors import InputError

Notify: TypeAlias = Callable[[], object]
OnStep: TypeAlias = Callable[[str, int, int], object]
Asked: TypeAlias = Callable[[], bool]
Job: TypeAlias = Callable[[OnStep, Asked], Any]
"""A function that calls its first argument with its progress, and its second to ask whether to stop."""
EVERY = 0.1  # seconds between two reports of one stage; a stage may have thousands of steps


class Worker:
    """A thread for one job at a time.

    Attributes:
        doing: the running job in words; "" if none runs.
        progress: the last (stage, done, total) that the job reported; None before the first.
        error: the exception that ended the last job, or None.
    """

    def __init__(self, notify: Notify) -> None:
        self.doing = ""
        self.progress: tuple[str, int, int] | None = None
        self.error: Exception | None = None
        self._notify = notify  # called in the job's thread, at reports and at the end
        self._result: Any = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._reported = 0.0

    def start(self, doing: str, job: Job) -> None:
        """Start a job.

        Args:
            doing: the job in words.
            job: its function.

        Raises:
            InputError: another job runs.
        """
        with self._lock:
            if self.doing:
                raise InputError(f"one job must run at a time; {self.doing} is under way: wait for it, or cancel it")
            self.doing, self.progress, self.error, self._result = doing, None, None, None
            self._stop.clear()
            # a daemon thread does not keep a closed notebook waiting
            self._thread = threading.Thread(target=self._work, args=(job,), name="image3d_nb.studio", daemon=True)
            self._thread.start()

    def _work(self, job: Job) -> None:
        try:
            self._result = job(self._report, self._stop.is_set)
        except Exception as error:  # noqa: BLE001 -- a thread has no caller: wait() raises the error, the panel shows it
            self.error = error
        self.doing = ""
        self._notify()

    def _report(self, stage: str, done: int, total: int) -> None:
        before, self.progress = self.progress, (stage, done, total)
        now = time.monotonic()
        if before is None or before[0] != stage or done == total or now - self._reported >= EVERY:
            self._reported = now
            self._notify()

    def cancel(self) -> None:
        """Ask the running job, if any, to stop."""
        self._stop.set()

    @property
    def cancelling(self) -> bool:
        """Whether a job runs that was asked to stop."""
        return bool(self.doing) and self._stop.is_set()

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the last job and return its result. Interrupting the wait stops the job.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            TimeoutError: the job takes longer; it goes on.
            InputError: no job was started.
            Exception: the exception that ended the job.
        """
        if self._thread is None:
            raise InputError("there must be a job to wait for; nothing was started yet")
        try:
            self._thread.join(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        if self._thread.is_alive():
            raise TimeoutError(f"{self.doing} was not done within {timeout} seconds; it goes on")
        if self.error is not None:
            raise self.error
        return self._result
