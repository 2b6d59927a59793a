"""The exercises of the lessons: ``check("00.1", answer)`` says whether an answer is right, or what is wrong with it.

What is looked at are an answer's properties, never one stored number: there is more than one way to be right.
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
"""Wrong answers to each exercise in this session: they choose the hint."""


def check(number: str, answer: Any = ...) -> Verdict:
    """Look at an answer.

    Args:
        number: lesson and exercise, e.g. "00.1".
        answer: what the exercise asks for: a value, or a function that is tried on several inputs. The three dots
            that stand in the notebook count as no answer yet.

    Returns:
        A verdict that prints as a sentence, and is true where the answer is right. A second wrong answer brings the
        second hint.

    Raises:
        InputError: there is no such exercise; the message lists those there are.

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
    """Forget the wrong answers given so far: the next one gets the first hint again."""
    _wrong_so_far.clear()
