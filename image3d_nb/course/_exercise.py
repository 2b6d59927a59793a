"""Exercises, and what their checks need to read an answer of any kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
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
        text: why the answer matters; or what is wrong, and how to get a hint.
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
        hints: :func:`image3d_nb.course.hint` gives the first, then the second.
        solution: code of one right answer.
        why: what the right answer is good for.
    """

    number: str
    judge: Callable[[Any], None]
    hints: tuple[str, str]
    solution: str
    why: str


def need(condition: bool | Tensor, complaint: str) -> None:
    """Raise :class:`Wrong` with the complaint unless the condition holds."""
    if not bool(condition):
        raise Wrong(complaint)


def name_fault(found: Tensor, faults: Mapping[str, Tensor], atol: float = 1e-5) -> None:
    """Raise :class:`Wrong` with the sentence of the fault that gives this result, if one does."""
    for complaint, value in faults.items():
        need(not torch.allclose(found, value.double(), atol=atol), complaint)


def of_type(answer: Any, kind: type[T], wanted: str) -> T:
    """The answer; :class:`Wrong` if it is of another type."""
    if not isinstance(answer, kind):
        raise Wrong(f"The answer must be {wanted}; it is of type {type(answer).__name__}.")
    return answer


def call(answer: Any, *arguments: Any) -> Any:
    """Call the learner's function. Its errors reach the learner, with a note.

    Raises:
        Unanswered: the function is still empty, or returns ``...``.
        Wrong: the answer is not a function, or the function returns None.
    """
    if not callable(answer):
        raise Wrong(f"The answer must be a function, without calling it; it is of type {type(answer).__name__}.")
    try:
        result = answer(*arguments)
    except Exception as error:
        error.add_note("This came from inside your function, while check tried it.")
        raise
    if result is ... or (result is None and _is_empty(answer)):
        raise Unanswered
    if result is None:
        raise Wrong("Your function returned None: is a `return` missing?")
    return result


def _is_empty(function: Any) -> bool:
    """Whether a function does nothing, like the ones that stand in the notebooks."""
    code = getattr(function, "__code__", None)
    return code is not None and len(code.co_code) == len(_empty.__code__.co_code)


def _empty() -> None: ...


def array_of(result: Any, wanted: str = "numbers") -> NDArray[np.float64]:
    """Numbers in any form (number, list, array, tensor) as an array; :class:`Wrong` if they are none."""
    try:
        found = result.detach().cpu().numpy() if isinstance(result, Tensor) else np.asarray(result)
        if found.dtype.kind not in "buif":
            raise TypeError
        return found.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Wrong(f"Your function must return {wanted}; it returns a {type(result).__name__}.") from error


def tensor_of(result: Any, shape: tuple[int, ...]) -> Tensor:
    """The result as a float64 tensor of this shape; :class:`Wrong` if it has another shape or is not finite."""
    found = torch.from_numpy(array_of(result))
    need(tuple(found.shape) == shape, f"The shape must be {list(shape)}; it is {list(found.shape)}.")
    need(found.isfinite().all(), "All numbers must be finite; some are NaN or infinite.")
    return found


def number_of(result: Any) -> float:
    """The result as a finite number; :class:`Wrong` if it is none."""
    found = array_of(result, "one number")
    if found.size != 1 or isinstance(result, bool):
        raise Wrong(f"Your function must return one number; it returns a {type(result).__name__} of {found.size}.")
    need(bool(np.isfinite(found).all()), f"The number must be finite; it is {found.item()}.")
    return float(found.item())


def file_of(answer: Any, suffix: str, kind: type[T]) -> tuple[Path, T]:
    """The path of a file with this suffix, and the object in it; :class:`Wrong` if the answer is none."""
    if not isinstance(answer, str | Path):
        raise Wrong(f"The answer must be the path of a file; it is of type {type(answer).__name__}.")
    path = Path(answer).expanduser()
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
