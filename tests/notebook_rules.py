"""What a notebook of the course must keep to. Each rule gives the complaints it has; a notebook in order has none."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

import image3d_nb
import notebooks as tool  # tools/notebooks.py

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 1_500_000
MAX_LINES = 15
MAX_WIDTH = 88  # characters of a code line: GitHub cuts off what is longer
TAGS = {"nbval-check-output", "nbval-skip", "raises-exception"}
OPENING = ("What you'll do", "What you'll learn", "What you'll need")
CLOSING = ("Check yourself", "Exercises", "What breaks", "Further reading")
INSTALL = re.compile(r"[!%]\s*(pip|conda|mamba|uv)\b|['\"]-m['\"],\s*['\"]pip['\"]")
FIGURE_FROM_AFAR = re.compile(r"!\[[^\]]*\]\(https?:|<(img|script|iframe|video)[^>]+src=[\"']?(https?:)?//", re.I)
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|(?:src|href)=[\"']([^\"']+)[\"']")
MACHINE_PATH = re.compile(r"(/home/|/root/|/Users/|[A-Z]:\\Users|" + re.escape(str(ROOT)) + ")")
WITHOUT_ALT = re.compile(r"!\[\s*\]\(|<img(?![^>]*\balt=[\"'][^\"'])[^>]*>", re.I)
SCORE = re.compile(
    r"\b([5-9]|\d\d)\.\d+ ?(dB|decibels)|\bSSIM (of )?0\.\d|\b\d[\d,.]* ?million (weights|numbers|parameters)"
)
CHECK = re.compile(r"\bcheck\(\s*[\"'](\d\d)\.(\d+)[\"']")

Rule = Callable[[NotebookNode, Path], Iterator[str]]


def complaints(path: Path, rules: tuple[Rule, ...]) -> list[str]:
    """All complaints of the rules about a stored notebook."""
    notebook = tool.read(path)
    return [f"{path.name}: {complaint}" for rule in rules for complaint in rule(notebook, path)]


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags_of(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def prose(notebook: NotebookNode) -> str:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def name(notebook: NotebookNode, path: Path) -> Iterator[str]:
    if not re.fullmatch(r"\d\d_[a-z0-9]+(_[a-z0-9]+)*\.ipynb", path.name):
        yield "its name must be NN_short_title.ipynb"


def stored_as_run(notebook: NotebookNode, path: Path) -> Iterator[str]:
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        yield f"execution counts must be 1..{len(cells)} without gaps and without empty cells; got {counts}"
    elif not tool.is_trimmed(path):
        yield "it must be stored trimmed: run `make notebooks`"


def small(notebook: NotebookNode, path: Path) -> Iterator[str]:
    if path.stat().st_size >= MAX_BYTES:
        yield f"it must be under {MAX_BYTES} bytes; it has {path.stat().st_size}"
    for k, cell in enumerate(code_cells(notebook), start=1):
        lines = len(cell.source.splitlines())
        if lines > MAX_LINES:
            yield f"a code cell has at most {MAX_LINES} lines; cell [{k}] has {lines}"
        for line in cell.source.splitlines():
            if len(line) > MAX_WIDTH:
                yield f"a code line has at most {MAX_WIDTH} characters; cell [{k}] has {len(line)}: {line.strip()}"


def no_widget_state(notebook: NotebookNode, path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    for kind in ("application/vnd.jupyter.widget", "text/html", "image/jpeg"):
        if kind in text:
            yield f"no output may hold {kind}"
    if "widgets" in notebook.metadata:
        yield "no widget state may be stored"


def tags(notebook: NotebookNode, path: Path) -> Iterator[str]:
    for k, cell in enumerate(code_cells(notebook), start=1):
        unknown = set(tags_of(cell)) - TAGS
        if unknown:
            yield f"cell [{k}] has unknown tags {sorted(unknown)}; known are {sorted(TAGS)}"


def checked_cells_have_output(notebook: NotebookNode, path: Path) -> Iterator[str]:
    for k, cell in enumerate(code_cells(notebook), start=1):
        if "nbval-check-output" in tags_of(cell) and not cell.outputs:
            yield f"cell [{k}] is tagged nbval-check-output and has no output: nbval would compare nothing"


def errors_are_expected(notebook: NotebookNode, path: Path) -> Iterator[str]:
    for k, cell in enumerate(code_cells(notebook), start=1):
        failed = any(output.output_type == "error" for output in cell.outputs)
        expected = "raises-exception" in tags_of(cell)
        if failed != expected:
            yield f"cell [{k}] {'fails' if failed else 'does not fail'}, against its tags"
        if expected and "nbval-check-output" not in tags_of(cell):
            yield f"cell [{k}] needs nbval-check-output too: raises-exception alone passes when nothing is raised"


def asserts_and_checks(notebook: NotebookNode, path: Path) -> Iterator[str]:
    cells = code_cells(notebook)
    checked = sum("nbval-check-output" in tags_of(cell) for cell in cells)
    if checked < 3:
        yield f"at least three cells must be tagged nbval-check-output; got {checked}"
    if not any(re.search(r"^\s*assert\b|\bassert_\w+\(", cell.source, re.M) for cell in cells):
        yield "at least one cell must assert something"


def shows_often(notebook: NotebookNode, path: Path) -> Iterator[str]:
    silent = 0
    for k, cell in enumerate(code_cells(notebook), start=1):
        silent = 0 if cell.outputs else silent + 1
        if silent == 3:
            yield f"at least every third code cell shows something; cells [{k - 2}] to [{k}] show nothing"


def installs_first(notebook: NotebookNode, path: Path) -> Iterator[str]:
    for k, cell in enumerate(code_cells(notebook), start=1):
        installs = INSTALL.search(cell.source) is not None
        if installs != (k == 1):
            yield f"the first code cell installs what is missing, and only that one; cell [{k}] does otherwise"


def public_names(notebook: NotebookNode, path: Path) -> Iterator[str]:
    aliases: set[str] = set()
    for k, cell in enumerate(code_cells(notebook), start=1):
        tree = ast.parse(TransformerManager().transform_cell(cell.source))  # magics become calls
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                aliases |= {a.asname or "image3d_nb" for a in node.names if a.name.split(".")[0] == "image3d_nb"}
        for node in ast.walk(tree):
            for used in _names_used(node, aliases):
                if not _is_public(used):
                    yield f"cell [{k}] uses image3d_nb.{used}, which is not public"


def _names_used(node: ast.AST, aliases: set[str]) -> Iterator[str]:
    """Dotted names below image3d_nb that a node imports or reads."""
    if isinstance(node, ast.Import):
        yield from (a.name.partition(".")[2] for a in node.names if a.name.startswith("image3d_nb."))
    elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "image3d_nb":
        below = (node.module or "").partition(".")[2]
        yield from (f"{below}.{a.name}".lstrip(".") for a in node.names)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
        yield node.attr


def _is_public(dotted: str) -> bool:
    *modules, last = dotted.split(".")
    if any(part.startswith("_") for part in (*modules, last)):
        return False
    if not modules and last in image3d_nb.__all__:
        return True
    home = importlib.import_module(".".join(("image3d_nb", *modules)))
    is_package = hasattr(home, "__path__")  # only a package can be asked for a module below it
    return hasattr(home, last) or (is_package and importlib.util.find_spec(f"{home.__name__}.{last}") is not None)


def head(notebook: NotebookNode, path: Path) -> Iterator[str]:
    if not tool.has_head(path):
        yield "badges, first cell or last line are old: run `python tools/notebooks.py head`"


def texts_for_all(notebook: NotebookNode, path: Path) -> Iterator[str]:
    text = prose(notebook)
    for found in WITHOUT_ALT.finditer(text):
        yield f"a picture in a text needs a description for those who do not see it: {found[0]}"
    for found in SCORE.finditer(text):
        yield f"a number that depends on the model's weights is printed by a cell, not written: {found[0]}"


def headings(notebook: NotebookNode, path: Path) -> Iterator[str]:
    first = notebook.cells[0]
    opening = prose(NotebookNode(cells=[c for c in notebook.cells[:2] if c.cell_type == "markdown"]))
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "it must open with its title"
    for title in OPENING:
        if not _headed(opening, title):
            yield f"it must open with a part headed {title!r}"
    text, place = prose(notebook), -1
    for title in CLOSING:
        found = _headed(text, title)
        if found is None or found.start() < place:
            yield f"it must close with {', '.join(CLOSING)}, in this order; {title!r} is missing or misplaced"
        else:
            place = found.start()


def _headed(text: str, title: str) -> re.Match[str] | None:
    return re.search(rf"^[-*\s>]*(#+ |\*\*){re.escape(title)}\b", text, re.M | re.I)


def answers_are_folded(notebook: NotebookNode, path: Path) -> Iterator[str]:
    part = re.split(r"Check yourself", prose(notebook), maxsplit=1, flags=re.I)[-1]
    part = re.split(r"^#+ Exercises", part, maxsplit=1, flags=re.M | re.I)[0]
    if part.count("<details") < 1:
        yield "the answers of Check yourself must be folded away in <details>"


def exercises(notebook: NotebookNode, path: Path) -> Iterator[str]:
    asked = exercise_numbers(notebook)
    if not 3 <= len(asked) <= 6 or asked != {f"{path.name[:2]}.{k}" for k in range(1, len(asked) + 1)}:
        yield f"it must have three to six exercises, checked as {path.name[:2]}.1, .2, ...; got {sorted(asked)}"
    solution = path.parent / "solutions" / path.name
    if not solution.is_file():
        yield f"its answers must be in solutions/{path.name}"
    elif exercise_numbers(tool.read(solution)) != asked:
        answered = sorted(exercise_numbers(tool.read(solution)))
        yield f"solutions/{path.name} must answer {sorted(asked)}; it answers {answered}"


def exercise_numbers(notebook: NotebookNode) -> set[str]:
    return {f"{lesson}.{k}" for cell in notebook.cells for lesson, k in CHECK.findall(cell.source)}


def links(notebook: NotebookNode, path: Path) -> Iterator[str]:
    text = prose(notebook)
    if FIGURE_FROM_AFAR.search(text):
        yield "figures are made by code in the notebook; one is loaded from the network"
    for target in (a or b for a, b in LINK.findall(text)):
        file = target.partition("#")[0]
        if file and not re.match(r"[a-z]+:", file) and not (path.parent / file).exists():
            yield f"it links to {target}, which does not exist"


def stands_alone(notebook: NotebookNode, path: Path) -> Iterator[str]:
    for k, cell in enumerate(code_cells(notebook), start=1):
        if re.search(r"[\"'](\.\./|data/|notebooks/|tests/)", cell.source):
            yield f"cell [{k}] has a path into the checkout: use image3d_nb.sample(name)"
        if MACHINE_PATH.search(str(cell.outputs)):
            yield f"the output of cell [{k}] holds a path of the machine it ran on"


EVERY: tuple[Rule, ...] = (
    name, stored_as_run, small, no_widget_state, tags, checked_cells_have_output, errors_are_expected, public_names,
    links, stands_alone, head, texts_for_all,
)  # fmt: skip
LESSON: tuple[Rule, ...] = (
    *EVERY, asserts_and_checks, shows_often, installs_first, headings, answers_are_folded, exercises,
)  # fmt: skip
