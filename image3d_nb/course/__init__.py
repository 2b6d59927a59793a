"""The exercises of the lessons: ``check("00.1", answer)`` says whether an answer is right, or what is wrong with it.

A check tests properties of an answer, not one stored number, because there is more than one right answer. ``hint`` and
``solution`` help when asked, ``progress`` shows the last results, and ``diagrams`` draws the lessons' sketches.
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from typing import Any

from ..errors import InputError
from ._exercise import Exercise, Unanswered, Verdict, Wrong
from ._progress import Progress, keep, kept

__all__ = ["Note", "Progress", "Verdict", "check", "hint", "progress", "solution", "start_again"]

LESSONS = [import_module(f"{__name__}.lesson_{number:02}") for number in range(14)]
_EXERCISES: dict[str, Exercise] = {exercise.number: exercise for lesson in LESSONS for exercise in lesson.EXERCISES}
_hints_given: Counter[str] = Counter()


class Note(str):
    """A text that a notebook shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def check(number: str, answer: Any = ...) -> Verdict:
    """Check an answer, and keep the result for :func:`progress`.

    Args:
        number: lesson and exercise, e.g. "00.1".
        answer: a value, or a function that is tried on several inputs. Numbers may be floats, lists, arrays or
            tensors. The notebook's three dots count as no answer.

    Returns:
        A verdict that prints as a sentence and is true if the answer is right.

    Raises:
        InputError: there is no such exercise; the message lists all.

    Example:
        >>> check("00.1")
        00.1: no answer yet. Put yours in the place of the three dots and run the cell again.
    """
    exercise = _exercise(number)
    try:
        if answer is ...:
            raise Unanswered
        if answer is None:
            raise Wrong("The answer is None: is something missing, for example a `return`?")
        exercise.judge(answer)
    except Unanswered:
        text = f"{number}: no answer yet. Put yours in the place of the three dots and run the cell again."
        return Verdict(number, False, text)
    except Wrong as wrong:
        keep(number, False)
        return Verdict(number, False, f'{number}: not yet. {wrong}\nFor help: i3d.course.hint("{number}")')
    keep(number, True)
    return Verdict(number, True, f"{number}: right. {exercise.why}")


def hint(number: str) -> Note:
    """Help with an exercise: the first call gives the first hint, all later ones the second.

    Args:
        number: lesson and exercise, e.g. "00.1".

    Raises:
        InputError: there is no such exercise.
    """
    hints = _exercise(number).hints
    given = min(_hints_given[number], len(hints) - 1)
    _hints_given[number] += 1
    more = f'i3d.course.hint("{number}") again' if given == 0 else f'i3d.course.solution("{number}")'
    return Note(f"Hint {given + 1} of {len(hints)}: {hints[given]}\nMore help: {more}")


def solution(number: str) -> Note:
    """One right answer to an exercise, as code.

    Args:
        number: lesson and exercise, e.g. "00.1".

    Raises:
        InputError: there is no such exercise.
    """
    return Note(_exercise(number).solution)


def progress() -> Progress:
    """The last result of every exercise, over all lessons: it prints as a table."""
    return Progress(list(_EXERCISES), kept())


def start_again() -> None:
    """Forget the hints given so far; the next one is the first again."""
    _hints_given.clear()


def _exercise(number: str) -> Exercise:
    if number not in _EXERCISES:
        raise InputError(f"an exercise must be one of {', '.join(_EXERCISES)}; got {number!r}")
    return _EXERCISES[number]
