"""The exercises' checks: right answers, wrong ones, and nonsense; hints, solutions and progress."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import image3d_nb as i3d
from image3d_nb.course import LESSONS, _progress, check, hint, lesson_13, progress, solution, start_again
from image3d_nb.errors import InputError
from tests import course_answers, course_answers_01_03, course_answers_networks
from tests.course_answers import cloud, solved, square

NUMBERS = [exercise.number for lesson in LESSONS for exercise in lesson.EXERCISES]
FUNCTIONS = [number for number in NUMBERS if "def " in solution(number) and number < "13"]
RIGHT = [(number, functools.partial(solved, number)) for number in FUNCTIONS]
RIGHT += course_answers.RIGHT + course_answers_01_03.RIGHT + course_answers_networks.RIGHT
WRONG = course_answers.WRONG + course_answers_01_03.WRONG + course_answers_networks.WRONG


@pytest.fixture(autouse=True)
def _own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("IMAGE3D_PROGRESS", str(tmp_path / "progress" / "course.json"))
    start_again()
    yield
    start_again()


NONSENSE = [42, "a sentence", [], {}, object(), torch.zeros(3), float("nan"), b"", Path("nowhere.splat")]


@pytest.mark.parametrize(("number", "answer"), RIGHT)
def test_right_answers_are_right_and_say_why(number: str, answer: Callable[[], Any]) -> None:
    verdict = check(number, answer())
    assert verdict, verdict
    assert verdict.right
    assert repr(verdict).startswith(f"{number}: right. ")
    assert len(repr(verdict)) > 60


@pytest.mark.parametrize(("number", "answer", "complaint"), WRONG)
def test_wrong_answers_hear_what_is_wrong(number: str, answer: Callable[[], Any], complaint: str) -> None:
    verdict = check(number, answer())
    assert not verdict
    assert repr(verdict).startswith(f"{number}: not yet. ")
    assert complaint in repr(verdict)
    assert f'course.hint("{number}")' in repr(verdict)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: type(answer).__name__)
def test_nonsense_is_wrong_and_raises_nothing(number: str, answer: Any) -> None:
    assert "not yet" in repr(check(number, answer))


@pytest.mark.parametrize("number", NUMBERS)
def test_dots_are_no_answer_and_none_is_a_wrong_one(number: str) -> None:
    assert "no answer yet" in repr(check(number, ...))
    assert "no answer yet" in repr(check(number))
    assert "`return`" in repr(check(number, None))


@pytest.mark.parametrize("number", NUMBERS)
def test_help_comes_when_asked_for(number: str) -> None:
    first, second, third = (hint(number) for _ in range(3))
    assert first.startswith("Hint 1 of 2: ")
    assert second == third != first
    assert "course.solution" in repr(second)
    start_again()
    assert hint(number) == first
    compile(solution(number), number, "exec")
    with pytest.raises(InputError, match=r"99\.1"):
        hint("99.1")


def test_an_empty_function_is_no_answer_yet() -> None:
    def nothing(*arguments: Any) -> None: ...

    def with_words(*arguments: Any) -> None:
        """What it should do."""

    for number in ("00.4", "04.1", "07.1", "07.2", "08.1", "09.1", "11.1", "11.5"):
        assert "no answer yet" in repr(check(number, nothing))
        assert "no answer yet" in repr(check(number, with_words))
        assert "no answer yet" in repr(check(number, lambda *arguments: ...))


def test_progress_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check("00.1", 3)
    check("09.1", lambda logit: 1 / (1 + np.exp(-logit)))
    found = progress()
    assert (found.results["00.1"], found.results["09.1"]) == (False, True)
    assert repr(found).startswith("00  ▨ □ □ □ □   0 of 5\n")
    assert "\n09  ■ □ □ □     1 of 4\n" in repr(found)
    check("00.1", square(128, 76))
    assert progress().results["00.1"]
    _progress.path().write_text("[damaged", "utf-8")
    assert progress().results == {}
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("IMAGE3D_PROGRESS", str(tmp_path / "file" / "course.json"))
    with pytest.warns(UserWarning, match="not stored"):
        assert check("00.1", square(128, 76))


def test_an_error_inside_a_function_comes_through_with_a_note() -> None:
    def broken(rays: torch.Tensor) -> torch.Tensor:
        return rays.moment

    with pytest.raises(AttributeError) as caught:
        check("07.1", broken)
    assert "while check tried it" in caught.value.__notes__[0]


def test_a_file_is_looked_into(tmp_path: Path) -> None:
    made = cloud(0)
    for name in ("a.splat", "a.ply"):
        i3d.save(made, tmp_path / name)
    assert check("00.5", tmp_path / "a.splat")
    assert check("00.5", str(tmp_path / "a.splat"))
    assert "end in .splat" in repr(check("00.5", tmp_path / "a.ply"))
    assert "none: b.splat" in repr(check("00.5", tmp_path / "b.splat"))
    (tmp_path / "c.splat").write_bytes(b"x" * 33)
    assert "must hold Gaussians" in repr(check("00.5", tmp_path / "c.splat"))
    (tmp_path / "d.splat").write_bytes((tmp_path / "a.ply").read_bytes())
    assert "must take" in repr(check("00.5", tmp_path / "d.splat"))


def test_an_unknown_number_hears_what_exists() -> None:
    for number in ("00.9", "99.1", "", "00"):
        with pytest.raises(InputError, match=r"00\.1, .*13\.5; got"):
            check(number, 1)


def test_each_exercise_is_tested_and_in_order() -> None:
    right, wrong = Counter(number for number, _ in RIGHT), {number: set() for number in NUMBERS}  # type: ignore[var-annotated]
    for number, _, complaint in WRONG:
        wrong[number].add(complaint)
    elsewhere = {"00.5", "07.5", *(exercise.number for exercise in lesson_13.EXERCISES)}  # 07.5 is 03.5; others: below
    assert {number for number in NUMBERS if right[number] < 2 or len(wrong[number]) < 3} == elsewhere
    assert sorted(NUMBERS) == NUMBERS
    assert all(exercise.number in progress().numbers for lesson in LESSONS for exercise in lesson.EXERCISES)
