"""The map, the glossary and the teachers' page of the course; and the tool that writes heads and links."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import notebooks as tool

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
DOCUMENTS = [FOLDER / name for name in ("README.md", "GLOSSARY.md", "TEACHING.md")]
SERIES = [f"{number:02}" for number in range(14)]
TERM = re.compile(r"- \*\*(.+)\*\*: (.+)\. ((?:\[\d\d\](?:, )?)+)")


def test_the_map_is_as_the_tool_writes_it() -> None:
    old = [path.name for path, content in tool.map_files().items() if path.read_bytes() != content]
    assert old == [], "run `python tools/notebooks.py map`"
    kept = {path.stem for path in (FOLDER / "pictures").iterdir()}
    assert kept == {path.stem for path in tool.lessons()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)|(?:src|href)=\"([^\"]+)\"|^\[\d\d\]: (\S+)$", text, re.M)
    assert len(targets) > 5
    for target in (next(filter(None, found)) for found in targets):
        assert "://" in target or (FOLDER / target).exists(), target
    defined = set(re.findall(r"^\[(\d\d)\]: ", text, re.M))
    there = {path.name[:2] for path in tool.lessons()}
    assert defined == there
    assert set(re.findall(r"\[(\d\d)\](?!:)", text)) <= defined | (set(SERIES) - there)


def test_every_lesson_is_on_the_map_and_every_unit_finds_one() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    mapped = text.partition("ML for 3D")[2].partition(tool.LINKS)[0]
    assert set(re.findall(r"\[(\d\d)\]", mapped)) == set(SERIES)
    for unit in ("0, ", "1, ", "2, ", "3, ", "4, ", "5, ", "Conclusion"):
        assert re.search(rf"^\| {unit}.*\[\d\d\]", mapped, re.M), unit
    assert text.count('alt="First picture of lesson') == len(tool.lessons())
    assert "TEACHING.md" in text


def test_the_glossary_has_a_line_a_term() -> None:
    text = (FOLDER / "GLOSSARY.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    found = [TERM.fullmatch(line) for line in lines]
    assert [line for line, match in zip(lines, found, strict=True) if match is None] == []
    terms = [match[1].lower().lstrip(".") for match in found if match]
    assert terms == sorted(terms)
    assert len(set(terms)) == len(terms) >= 80
    assert {"gaussian", "janus problem", "marching cubes", "covariance", "ray"} <= set(terms)


ITALIC = re.compile(r"(?<![\w*])\*(?![\s*])([^*\n]+)(?<!\s)\*(?![\w*])")
NO_TERM = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\*\*", re.S)


def singular(word: str) -> str:
    return re.sub(r"(?<!s)s$", "", re.sub(r"ices$", "ex", word.lower()))


def terms_in(text: str) -> set[str]:
    """The words in italics outside of code and formulas. Those of "You see ..." in What breaks are no terms."""
    return {singular(found) for found in ITALIC.findall(NO_TERM.sub("", text))} - {"you see", "you see it", "italic"}


def test_each_word_in_italics_stands_in_the_glossary() -> None:
    heads = re.findall(r"^- \*\*(.+?)\*\*:", (FOLDER / "GLOSSARY.md").read_text(encoding="utf-8"), re.M)
    known = {singular(form) for head in heads for form in (head, *re.split(r", | \(|\)", head))}
    for path in tool.lessons():
        cells = [cell.source for cell in tool.read(path).cells if cell.cell_type == "markdown"]
        assert set().union(*map(terms_in, cells)) - known == set(), path.name
    assert terms_in("A *new word*, `a*b*c`, $a*b*c$, **bold**, two *vertices*; *You see* it") == {"new word", "vertex"}


def test_teachers_find_both_paths_and_the_command() -> None:
    text = (FOLDER / "TEACHING.md").read_text(encoding="utf-8")
    for words in ("## Two hours", "## Two days", "## Before the day", "image3d_nb.course grade", "REPO_URL"):
        assert words in text


def test_one_setting_decides_first_cells_and_badges(tmp_path: Path) -> None:
    cells = [new_markdown_cell("# A title\n**What**"), new_code_cell("%pip install x"), new_code_cell("1")]
    notebook = new_notebook(cells=cells)
    path = tmp_path / "03_a_title.ipynb"
    first = tool.text_of(tool.write_head(notebook, path, "https://github.com/me/mine"))
    assert first.count("me/mine/blob/main/notebooks/03_a_title.ipynb") == 2
    assert "git+https://github.com/me/mine" in first
    assert tool.text_of(tool.write_head(notebook, path, "https://github.com/me/mine")) == first
    second = tool.text_of(tool.write_head(notebook, path, "https://github.com/you/yours"))
    assert "me/mine" not in second
    assert second.count("you/yours") == 3
    assert notebook.cells[0].source.endswith("**What**")
    assert notebook.cells[2].source == "1"
    notebook.cells[1].source = "import os"
    with pytest.raises(ValueError, match="first code cell"):
        tool.write_head(notebook, path)
    with pytest.raises(ValueError, match="title"):
        tool.write_head(new_notebook(cells=[new_code_cell("%pip install x")]), path)


def test_a_lesson_links_the_next_one_that_exists() -> None:
    paths = tool.lessons()
    for path, after in itertools.pairwise(paths):
        assert f"Next: [{after.name[:2]}, {tool.title_of(after)}]({after.name})" in tool.footer(path)
    assert "Next" not in tool.footer(paths[-1])
    assert all("GLOSSARY.md" in tool.footer(path) for path in paths)
