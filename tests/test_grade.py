"""`python -m image3d_nb.course grade`: many learners' notebooks, some of them broken."""

from __future__ import annotations

import csv
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from image3d_nb.course.__main__ import main
from image3d_nb.course.grade import grade
from image3d_nb.errors import InputError

FIRST = "import time\nfrom image3d_nb.course import check"
RIGHT = "import numpy as np\ncheck('09.1', lambda logit: 1 / (1 + np.exp(-logit)))"
WRONG = "check('08.1', lambda a, b: 0.5)"
EMPTY = "check('11.3', ...)"


def hand_in(path: Path, *sources: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [new_markdown_cell("# Mine"), *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": {"name": "another", "display_name": "x"}}), path)


def test_a_class_hands_in(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE3D_PROGRESS", str(tmp_path / "the teacher's own.json"))
    hand_in(tmp_path / "ada" / "a.ipynb", FIRST, RIGHT, WRONG, EMPTY)
    hand_in(tmp_path / "ben.ipynb", FIRST, "1 / 0", "while True:\n    time.sleep(0.1)", RIGHT)
    hand_in(tmp_path / "cem.ipynb", FIRST, RIGHT, "import os; os._exit(1)", "check('08.1', lambda a, b: a / (a - b))")
    hand_in(tmp_path / "dana.ipynb", "print('no exercise')")
    (tmp_path / "eve.ipynb").write_text('{"cells": [', encoding="utf-8")
    (tmp_path / "fay.ipynb").write_bytes(b"\xff\xfe\x00")
    before = (tmp_path / "ada" / "a.ipynb").read_bytes()
    assert main(["grade", str(tmp_path), "--cell-seconds", "20", "--csv", str(tmp_path / "all.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    by_name = {line.split()[0].removesuffix(".ipynb"): line for line in lines}
    assert "1 of 3" in by_name["ada/a"]
    assert "■ ▨ □" in by_name["ada/a"]
    assert "1 of 1" in by_name["ben"]
    assert "more than 20 s" in by_name["ben"]
    assert "1 of 2" in by_name["cem"]
    assert "kernel" in by_name["cem"]
    assert "no exercise" in by_name["dana"]
    assert "not a notebook" in by_name["eve"]
    assert "not a notebook" in by_name["fay"]
    assert (tmp_path / "ada" / "a.ipynb").read_bytes() == before
    assert not (tmp_path / "the teacher's own.json").exists()
    with (tmp_path / "all.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["result"] for row in rows if row["notebook"].startswith("ada")] == ["right", "not yet", "no answer"]
    assert len(rows) == 3 + 1 + 2 + 1 + 1 + 1


def test_a_notebook_is_stopped_in_time(tmp_path: Path) -> None:
    hand_in(tmp_path / "slow.ipynb", FIRST, RIGHT, "time.sleep(1)", "check('08.1', lambda a, b: a / (a - b))")
    (slow,) = grade(tmp_path, seconds=0.5)
    assert "0.5 s" in slow.note
    assert slow.results["08.1"] is None


def test_an_empty_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="notebooks"):
        grade(tmp_path)
    assert main(["grade", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    hand_in(tmp_path / "a.ipynb", "1")
    assert main(["grade", str(tmp_path), "--csv", str(tmp_path / "nowhere" / "marks.csv")]) == 2
    assert "running" not in capsys.readouterr().err
