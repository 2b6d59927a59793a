"""Imports run one way: every module of the package has a room, and imports only from rows above its own."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "image3d_nb"

ROOMS = (  # a module imports only from rows above its own
    ("errors", "_optional", "_files"),
    ("models", "_background", "_download", "_hub", "_atlas", "_surface"),
    ("image", "cameras", "gaussians", "mesh"),
    ("rendering", "io", "weights"),
    ("metrics", "meshing", "_record"),
    ("pipelines",),
    ("view",),
    ("generate", "training", "doctor", "verify", "inspection", "conversion"),
    ("studio", "course"),
    ("cli",),
    ("__main__",),
)
ROW = {room: row for row, rooms in enumerate(ROOMS) for room in rooms}


def room_of(module: str) -> str:
    """``image3d_nb.io.ply`` lives in the room ``io``."""
    return module.partition(".")[2].partition(".")[0]


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a file imports from the package, at its top or inside a function."""
    name = module_name(path, package)
    home = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), home)
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, target) for target in targets if target.split(".")[0] == package.name)


def faults(package: Path) -> list[str]:
    """Every import that breaks the table, and every circle inside a sub-package."""
    files = {module_name(path, package): path for path in sorted(package.rglob("*.py"))}
    del files[package.name]  # it only holds the lazy table of public names
    found = [f"{name} has no room in the table" for name in files if room_of(name) not in ROW]
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        row = ROW.get(room_of(name), len(ROOMS))
        for line, target in imports(path, package):
            if room_of(target) == room_of(name):
                # `from .ply import read` names something in a module, `from . import ply` a module
                graph[name] |= {target if target in files else target.rpartition(".")[0]} - {name}
            elif room_of(target) != "__version__" and ROW.get(room_of(target), len(ROOMS)) >= row:
                found.append(f"{name}, line {line}: may not import {target}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"a circle of imports: {' <- '.join(error.args[1])}")
    return found


def test_imports_run_one_way() -> None:
    assert faults(PACKAGE) == []


def test_newcomers_read_the_same_table() -> None:
    told = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \|([^|]+)\|", told, re.M)
    assert {name.strip("/") for row in rows for name in re.findall(r"`(\w+/?)`", row)} == set(ROW)
    assert {path.stem for path in PACKAGE.iterdir()} >= set(ROW)


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"io/ply.py": "def f():\n    from .. import generate\n"}, "may not import p.generate"),
        ({"io/ply.py": "from ..rendering import x\n"}, "may not import p.rendering.x"),
        ({"cameras.py": "import p.gaussians\n"}, "may not import p.gaussians"),
        ({"cameras.py": "from p import save\n"}, "may not import p.save"),
        ({"helpers.py": ""}, "p.helpers has no room"),
        ({"io/a.py": "from . import b\n", "io/b.py": "def f():\n    from p.io.a import x\n"}, "a circle"),
        ({"io/__init__.py": "from .a import x\n", "io/a.py": "from p.io import y\n"}, "a circle"),
    ],
)
def test_the_table_notices(files: dict[str, str], fault: str, tmp_path: Path) -> None:
    package = tmp_path / "p"
    in_order = {
        "__init__.py": "", "gaussians.py": "", "generate.py": "", "rendering/__init__.py": "", "io/ply2.py": "",
        "io/__init__.py": "def f():\n    from . import good\n",
        "io/good.py": "from ..gaussians import x\nfrom . import ply2\nfrom .. import __version__\n",
    }  # fmt: skip
    for name, text in in_order.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    assert faults(package) == []
    for name, text in files.items():
        (package / name).write_text(text)
    assert fault in "\n".join(faults(package))
