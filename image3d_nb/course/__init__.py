"""The exercises of the lessons: ``check("00.1", answer)`` says whether an answer is right, or what is wrong with it.

A check tests properties of an answer, not one stored number, because there is more than one right answer.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..errors import InputError
from . import lesson_00, lesson_07, lesson_08, lesson_09, lesson_11
from ._exercise import Exercise, Unanswered, Verdict, Wrong

__all__ = ["Verdict", "check", "start_again"]

_LESSONS = (lesson_00, lesson_07, lesson_08, lesson_09, lesson_11)
_EXERCISES: dict[str, Exercise] = {exercise.number: exercise for lesson in _LESSONS for exercise in lesson.EXERCISES}
_wrong_so_far: Counter[str] = Counter()
"""Wrong answers to each exercise in this session; their number chooses the hint."""


def check(number: str, answer: Any = ...) -> Verdict:
    """Check an answer.

    Args:
        number: lesson and exercise, e.g. "00.1".
        answer: a value, or a function that is tried on several inputs. The notebook's three dots count as no answer.

    Returns:
        A verdict that prints as a sentence and is true if the answer is right. The second wrong answer gets the second
        hint.

    Raises:
        InputError: there is no such exercise; the message lists all.

    Example:
        >>> check("00.1")
        00.1: no answer yet. Put yours in the place of the three dots and run the cell again.
    """
    if number not in _EXERCISES:
        raise InputError(f"an exercise must be one of {', '.join(_EXERCISES)}; got {number!r}")
    exercise = _EXERCISES[number]
    try:
        if answer is ... or answer is None:
            raise Unanswered
        exercise.judge(answer)
    except Unanswered:
        text = f"{number}: no answer yet. Put yours in the place of the three dots and run the cell again."
        return Verdict(number, False, text)
    except Wrong as wrong:
        hint = exercise.hints[min(_wrong_so_far[number], len(exercise.hints) - 1)]
        _wrong_so_far[number] += 1
        return Verdict(number, False, f"{number}: not yet. {wrong}\nHint: {hint}")
    return Verdict(number, True, f"{number}: right. {exercise.why}")


def start_again() -> None:
    """Forget the wrong answers so far; the next one gets the first hint again."""
    _wrong_so_far.clear()
