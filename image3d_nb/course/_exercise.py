"""What an exercise is, and what its judge needs to look at an answer of any kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Wrong(Exception):  # noqa: N818  (not an error: it carries the sentence for the learner)
    """The answer lacks a property; the message says which, and what was found."""


class Unanswered(Exception):  # noqa: N818  (the same)
    """There is no answer yet."""


@dataclass(frozen=True, repr=False)
class Verdict:
    """What is said about an answer.

    Attributes:
        number: of the exercise.
        right: whether the answer has all the properties asked for.
        text: a sentence or two: why it matters; or what is wrong, and a hint.
    """

    number: str
    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        number: lesson and exercise, "00.1".
        judge: returns where the answer is right, raises :class:`Wrong` where it is not.
        hints: the first is given with the first wrong answer, the second with the second and all later ones.
        why: what a right answer is good for.
    """

    number: str
    judge: Callable[[Any], None]
    hints: tuple[str, str]
    why: str


def need(condition: bool | Tensor, complaint: str) -> None:
    """Raise :class:`Wrong` with the complaint unless the condition holds."""
    if not bool(condition):
        raise Wrong(complaint)


def of_type(answer: Any, kind: type[T], wanted: str) -> T:
    """The answer, or :class:`Wrong` when it is of another type."""
    if not isinstance(answer, kind):
        raise Wrong(f"The answer must be {wanted}; it is of type {type(answer).__name__}.")
    return answer


def call(answer: Any, *arguments: Any) -> Any:
    """What the learner's function gives; an error inside of it goes through to them, with a note.

    Raises:
        Unanswered: the function is still the empty one, which gives None.
        Wrong: the answer is not a function.
    """
    if not callable(answer):
        raise Wrong(f"The answer must be a function, without calling it; it is of type {type(answer).__name__}.")
    try:
        result = answer(*arguments)
    except Exception as error:
        error.add_note("This came from inside your function, while check tried it.")
        raise
    if result is None or result is ...:
        raise Unanswered
    return result


def tensor_of(result: Any, shape: tuple[int, ...]) -> Tensor:
    """The result as a float tensor of this shape, or :class:`Wrong`."""
    tensor = of_type(result, Tensor, f"a tensor of shape {list(shape)}")
    need(tuple(tensor.shape) == shape, f"The shape must be {list(shape)}; it is {list(tensor.shape)}.")
    need(torch.isfinite(tensor).all(), "All numbers must be finite; some are NaN or infinite.")
    return tensor.detach().to(torch.float64)


def generator() -> torch.Generator:
    """The judges' own random numbers: the same each time, and nobody else's are touched."""
    return torch.Generator().manual_seed(7)
