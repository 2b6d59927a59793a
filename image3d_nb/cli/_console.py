"""What all commands share: how they talk, and how they end."""

from __future__ import annotations

import argparse
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..errors import Image3DError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

FAILED, STOPPED = 1, 130


def say(text: str) -> None:
    """What was asked for, to stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(sentence: str) -> None:
    """What went wrong, to stderr."""
    sys.stderr.write(f"image3d: {sentence}\n")
    sys.stderr.flush()


def sentence(error: Exception) -> str:
    """An expected error is a sentence already; one that nobody expected needs its traceback in a report."""
    if isinstance(error, (Image3DError, OSError, ImportError)):
        return str(error)
    traceback.print_exception(error)
    return f"unexpected {type(error).__name__}: {error}"


class Progress:
    """One line on stderr that tells how far a file is; only where somebody can watch it.

    Args:
        title: what is being worked on.
        words: stage -> words; a stage that is not there is told as it is called.
        quiet: tell nothing.
    """

    def __init__(self, title: str, words: dict[str, str], *, quiet: bool) -> None:
        self.called = False
        self._title = title
        self._words = words
        self._quiet = quiet
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        """What works reports, as its ``on_step``."""
        from tqdm import tqdm  # here, because it takes longer to import than --help to print

        self.called = True
        if self._bar is None:
            disable = True if self._quiet else None  # None: unless stderr is a terminal
            self._bar = tqdm(file=sys.stderr, disable=disable, leave=False, bar_format="{desc}")
        self._bar.set_description_str(f"{self._title}: {self._words.get(stage, stage)} {done}/{total}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
