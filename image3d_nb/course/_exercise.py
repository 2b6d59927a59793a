"""Exercises, and what their checks need to read an answer of any kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError
from ..io import load

T = TypeVar("T")


class Wrong(Exception):  # noqa: N818  (not an error: it carries the sentence for the learner)
    """The answer lacks a property; the message says what was expected and what was found."""


class Unanswered(Exception):  # noqa: N818  (the same)
    """There is no answer yet."""


@dataclass(frozen=True, repr=False)
class Verdict:
    """The result of a check.

    Attributes:
        number: of the exercise.
        right: whether the answer has all the properties asked for.
        text: why the answer matters; or what is wrong, and a hint.
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
        judge: returns if the answer is right and raises :class:`Wrong` if not.
        hints: the first goes with the first wrong answer, the second with all later ones.
        why: what the right answer is good for.
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
    """The answer; :class:`Wrong` if it is of another type."""
    if not isinstance(answer, kind):
        raise Wrong(f"The answer must be {wanted}; it is of type {type(answer).__name__}.")
    return answer


def call(answer: Any, *arguments: Any) -> Any:
    """Call the learner's function. Its errors reach the learner, with a note.

    Raises:
        Unanswered: the function returns None or ``...``.
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
    """The result as a float64 tensor of this shape; :class:`Wrong` if it has another shape or is not finite."""
    tensor = of_type(result, Tensor, f"a tensor of shape {list(shape)}")
    need(tuple(tensor.shape) == shape, f"The shape must be {list(shape)}; it is {list(tensor.shape)}.")
    need(torch.isfinite(tensor).all(), "All numbers must be finite; some are NaN or infinite.")
    return tensor.detach().to(torch.float64)


def number_of(result: Any) -> float:
    """The result as a finite number; :class:`Wrong` if it is none."""
    if isinstance(result, Tensor):
        result = result.detach().cpu().numpy()
    if isinstance(result, bool | str) or np.size(result) != 1 or np.asarray(result).dtype.kind not in "iuf":
        raise Wrong(f"Your function must return one number; it returns a {type(result).__name__}.")
    found = float(np.asarray(result).reshape(()))
    need(math.isfinite(found), f"The number must be finite; it is {found}.")
    return found


def file_of(answer: Any, suffix: str, kind: type[T]) -> tuple[Path, T]:
    """The path of a file with this suffix, and the object in it; :class:`Wrong` if the answer is none."""
    if not isinstance(answer, str | Path):
        raise Wrong(f"The answer must be the path of a file; it is of type {type(answer).__name__}.")
    path = Path(answer)
    need(path.is_file(), f"There must be a file of this name; there is none: {path.name}.")
    need(path.suffix == suffix, f"The file's name must end in {suffix}; it is {path.name}.")
    try:
        held = load(path)
    except FormatError as error:
        raise Wrong(f"The file must hold {kind.__name__}; {error}.") from error
    return path, of_type(held, kind, f"a file that holds {kind.__name__}")


def generator() -> torch.Generator:
    """A seeded generator for the inputs of a check; torch's global one stays untouched."""
    return torch.Generator().manual_seed(7)
