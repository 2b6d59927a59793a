"""One piece of work at a time, beside the notebook: started, watched, stopped, waited for."""

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
"""What is to be done: it reports to its first argument, and asks its second whether to stop."""
EVERY = 0.1  # seconds between two reports of one stage: a browser need not hear of each of a thousand steps


class Worker:
    """A thread for one job at a time.

    Attributes:
        doing: what is under way, in words; "" when nothing is.
        progress: (stage, done, total), the last that the job said; None before that.
        error: what ended the last job; None where it went well.
    """

    def __init__(self, notify: Notify) -> None:
        self.doing = ""
        self.progress: tuple[str, int, int] | None = None
        self.error: Exception | None = None
        self._notify = notify  # called in the job's thread, at each step and at the end
        self._result: Any = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._told = 0.0

    def start(self, doing: str, job: Job) -> None:
        """Start a job.

        Raises:
            InputError: another one is under way.
        """
        with self._lock:
            if self.doing:
                raise InputError(f"one thing at a time: {self.doing} is under way; wait for it, or cancel it")
            self.doing, self.progress, self.error, self._result = doing, None, None, None
            self._stop.clear()
            # daemon: who closes the notebook does not want to wait
            self._thread = threading.Thread(target=self._work, args=(job,), name="image3d_nb.studio", daemon=True)
            self._thread.start()

    def _work(self, job: Job) -> None:
        try:
            self._result = job(self._report, self._stop.is_set)
        except Exception as error:  # noqa: BLE001 -- nobody above could catch it: wait() raises it, the panel shows it
            self.error = error
        self.doing = ""
        self._notify()

    def _report(self, stage: str, done: int, total: int) -> None:
        before, self.progress = self.progress, (stage, done, total)
        now = time.monotonic()
        if before is None or before[0] != stage or done == total or now - self._told >= EVERY:
            self._told = now
            self._notify()

    def cancel(self) -> None:
        """Ask the job to stop; where none is under way, nothing happens."""
        self._stop.set()

    @property
    def cancelling(self) -> bool:
        """Whether a job is under way that has been asked to stop."""
        return bool(self.doing) and self._stop.is_set()

    def wait(self, timeout: float | None = None) -> Any:
        """What the last job gave, once it has ended. Interrupting the wait stops the job.

        Raises:
            TimeoutError: it takes longer than ``timeout`` seconds; it goes on.
            InputError: no job was started.
            Exception: what ended the job.
        """
        if self._thread is None:
            raise InputError("there must be something to wait for; nothing has been started yet")
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
