"""The course's notebooks as they are stored, without a kernel; and that nbval, which runs them, can fail."""

from __future__ import annotations

import base64
import copy
import io
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import notebooks as tool
from image3d_nb import course
from tests import notebook_rules as rules

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))


def title(path: Path) -> str:
    return str(path.relative_to(ROOT / "notebooks"))


def test_the_series_has_its_lessons() -> None:
    assert {"00_quickstart.ipynb", "07_lgm_end_to_end.ipynb"} <= {path.name for path in LESSONS}
    numbers = [path.name[:2] for path in LESSONS]
    assert len(numbers) == len(set(numbers))
    assert {path.name for path in SOLUTIONS} == {path.name for path in LESSONS}


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_lesson_keeps_to_the_contract(path: Path) -> None:
    assert rules.complaints(path, rules.LESSON) == []


@pytest.mark.parametrize("path", SOLUTIONS, ids=title)
def test_solution_keeps_to_the_contract(path: Path) -> None:
    assert rules.complaints(path, rules.EVERY) == []


def cell(source: str, *tags: str, text: str = "") -> NotebookNode:
    """A code cell as if it had been run, printing ``text``."""
    outputs = [new_output("stream", name="stdout", text=text)] if text else []
    return new_code_cell(source, outputs=outputs, execution_count=1, metadata={"tags": list(tags)} if tags else {})


def store(path: Path, notebook: NotebookNode) -> None:
    path.write_text(tool.text_of(tool.trim(notebook)), encoding="utf-8")


def lesson(folder: Path) -> tuple[Path, NotebookNode]:
    """A smallest lesson in order, with its solution, in a temporary folder."""
    checks = [cell(f'i3d.course.check("03.{k}", {k})', "nbval-check-output", text="right\n") for k in (1, 2, 3)]
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Cameras\n**What you'll do** a\n\n**What you'll learn** b\n\n**What you'll need** c"),
            cell(tool.first_cell()),
            cell("import image3d_nb as i3d\nassert 1 + 1 == 2\nprint(2)", text="2\n"),
            new_markdown_cell("## Check yourself\n<details>five answers</details>\n## Exercises"),
            *checks,
            new_markdown_cell("## What breaks\n## Further reading\n[the second](03_cameras.ipynb)"),
        ]
    )
    path = folder / "03_cameras.ipynb"
    tool.write_head(notebook, path)
    (folder / "solutions").mkdir(exist_ok=True)
    store(folder / "solutions" / path.name, tool.write_head(copy.deepcopy(notebook), folder / "solutions" / path.name))
    store(path, notebook)
    return path, notebook


def append(*cells: NotebookNode) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells.extend(cells)


def replace(old: str, new: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        for each in notebook.cells:
            each.source = each.source.replace(old, new)

    return change


def clear_outputs(notebook: NotebookNode) -> None:
    for each in rules.code_cells(notebook):
        each.outputs = []


FAILED = new_code_cell("1 / 0", execution_count=1, outputs=[new_output("error", ename="E", evalue="e", traceback=[])])
BROKEN: dict[str, tuple[Callable[[NotebookNode], None], str]] = {
    "headings": (replace("What breaks", "What works"), "must close with"),
    "opening": (replace("What you'll need", "Needed"), "must open with"),
    "folded": (replace("<details>", ""), "folded away"),
    "exercises": (replace("03.3", "03.7"), "exercises"),
    "solution": (replace('check("03.3"', 'print("03.3"'), "exercises"),
    "installs late": (append(cell("!pip install x", text="x")), "only that one"),
    "installs nothing": (replace("%pip install", "%time"), "only that one"),
    "old first cell": (replace("[colab]", "[notebook]"), "badges, first cell"),
    "old badges": (replace("colab.research", "colab.elsewhere"), "badges, first cell"),
    "wide line": (append(cell("x = 1  # " + "x" * 80, text="x")), "at most 88 characters"),
    "no description": (append(new_markdown_cell("![](pictures/a.png)")), "needs a description"),
    "no description in HTML": (append(new_markdown_cell('<img src="a.png">')), "needs a description"),
    "a score": (append(new_markdown_cell("It reaches 21.6 dB.")), "depends on the model's weights"),
    "private": (append(cell("from image3d_nb import _files", text="x")), "not public"),
    "private attribute": (append(cell("i3d._HOME", text="x")), "not public"),
    "unknown name": (append(cell("i3d.no_such_name", text="x")), "not public"),
    "long cell": (append(cell("1\n" * 16, text="x")), "at most 15 lines"),
    "link": (replace("03_cameras.ipynb", "04_nowhere.ipynb"), "does not exist"),
    "hot link": (append(new_markdown_cell("![](https://example.invalid/a.png)")), "from the network"),
    "checkout path": (append(cell('open("../data/x")', text="x")), "path into the checkout"),
    "machine path": (append(cell("1", text="/home/me/x\n")), "path of the machine"),
    "checks nothing": (clear_outputs, "nbval would compare nothing"),
    "shows nothing": (append(cell("1"), cell("2"), cell("3")), "every third"),
    "tag": (append(cell("1", "nbval-check-ouput", text="x")), "unknown tags"),
    "no check": (replace("assert 1 + 1 == 2", "1"), "assert something"),
    "unexpected error": (append(FAILED), "against its tags"),
    "error not raised": (append(cell("1", "raises-exception", text="x")), "against its tags"),
    "lone raises": (append(cell("1", "raises-exception", text="x")), "alone passes"),
    "large": (append(cell("1", text="x" * 1_500_000)), "under 1500000 bytes"),
}


def test_most_pictures_are_large() -> None:
    widths = []
    for path in LESSONS:
        for each in rules.code_cells(tool.read(path)):
            for output in each.outputs:
                png = output.get("data", {}).get("image/png")
                if png:
                    widths.append(Image.open(io.BytesIO(base64.b64decode(png))).width)
    assert statistics.median(widths) >= 560


def test_there_are_exercises_enough() -> None:
    asked = {number for path in LESSONS for number in rules.exercise_numbers(tool.read(path))}
    assert asked == set(course.progress().numbers)
    assert len(asked) >= min(45, 4 * len(LESSONS))


def test_a_lesson_in_order_has_no_complaints(tmp_path: Path) -> None:
    path, _ = lesson(tmp_path)
    assert rules.complaints(path, rules.LESSON) == []


@pytest.mark.parametrize("fault", BROKEN)
def test_each_rule_notices_its_fault(fault: str, tmp_path: Path) -> None:
    path, notebook = lesson(tmp_path)
    change, complaint = BROKEN[fault]
    change(notebook)
    path.write_text(tool.text_of(tool.trim(notebook)), encoding="utf-8")
    assert complaint in "\n".join(rules.complaints(path, rules.LESSON))


def test_untrimmed_and_unrun_notebooks_are_noticed(tmp_path: Path) -> None:
    path, notebook = lesson(tmp_path)
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    path.write_text(tool.text_of(notebook), encoding="utf-8")
    text = "\n".join(rules.complaints(path, rules.EVERY))
    assert "stored trimmed" in text
    assert "no widget state" in text
    rules.code_cells(notebook)[1].execution_count = None
    path.write_text(tool.text_of(notebook), encoding="utf-8")
    assert "without gaps" in "\n".join(rules.complaints(path, rules.EVERY))


def nbval(path: Path) -> subprocess.CompletedProcess[str]:
    """nbval as `make test` calls it, on one notebook outside the checkout (so without this project's settings)."""
    config = ROOT / "tests" / "nbval_sanitize.cfg"
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120", f"--nbval-sanitize-with={config}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, path.name],
        cwd=path.parent, env={**os.environ, **tool.QUIET}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_run_trims_and_nbval_compares(tmp_path: Path) -> None:
    path = tmp_path / "throw_away.ipynb"
    cells = [
        new_code_cell("x = 2"),
        new_code_cell("print(x + 1)", metadata={"tags": ["nbval-check-output"]}),
        new_code_cell("1 / 0", metadata={"tags": ["raises-exception", "nbval-check-output"]}),
        new_code_cell("import time\ntime.time()"),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    assert tool.main(["check", str(path)]) == 1
    assert tool.main(["run", str(path)]) == 0
    assert tool.main(["check", str(path)]) == 0
    stored = tool.read(path)
    assert [c.execution_count for c in stored.cells] == [1, 2, 3, 4]
    assert stored.cells[1].outputs[0].text == "3\n"
    assert stored.cells[2].outputs[0].traceback == ["ZeroDivisionError: division by zero"]
    right = nbval(path)
    assert right.returncode == 0, right.stdout
    assert "4 passed" in right.stdout
    path.write_text(path.read_text().replace('"3\\n"', '"4\\n"'), encoding="utf-8")
    wrong = nbval(path)
    assert wrong.returncode == 1, wrong.stdout
    assert "1 failed, 3 passed" in wrong.stdout


def test_nbval_fails_on_a_corrupted_copy_of_a_lesson(tmp_path: Path) -> None:
    notebook = tool.read(LESSONS[0])
    checked = next(k for k, c in enumerate(notebook.cells) if "nbval-check-output" in rules.tags_of(c))
    notebook.cells = notebook.cells[: checked + 1]  # the cells behind it cost time and say no more
    output = notebook.cells[checked].outputs[0]
    text = output.text if output.output_type == "stream" else output.data["text/plain"]
    corrupted = re.sub(r"\w", "q", text)
    assert corrupted != text
    if output.output_type == "stream":
        output.text = corrupted
    else:
        output.data["text/plain"] = corrupted
    path = tmp_path / LESSONS[0].name
    nbformat.write(notebook, path)
    run = nbval(path)
    assert run.returncode == 1, run.stdout
    assert "1 failed" in run.stdout
