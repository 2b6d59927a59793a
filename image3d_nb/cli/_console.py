"""Shared by all commands: output, errors and progress."""

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
    """Print a result to stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(sentence: str) -> None:
    """Print a problem to stderr."""
    sys.stderr.write(f"image3d: {sentence}\n")
    sys.stderr.flush()


def sentence(error: Exception) -> str:
    """The message of an expected error; an unexpected one also prints its traceback, for a bug report."""
    if isinstance(error, (Image3DError, OSError, ImportError)):
        return str(error)
    traceback.print_exception(error)
    return f"unexpected {type(error).__name__}: {error}"


class Progress:
    """One line on stderr with the progress of a file, shown only in a terminal.

    Args:
        title: name of the file.
        words: stage -> words for it; other stages are shown by their names.
        quiet: True shows nothing.
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
        """Show a step; commands pass the object as ``on_step``."""
        from tqdm import tqdm  # here: importing it takes longer than printing --help

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
