"""Nothing in the package and the tools needs a POSIX system, except code behind a check of the system."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "crypt", "curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty",
}  # fmt: skip
NAMES = {
    "os": {
        "chown", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getuid",
        "killpg", "lchown", "mkfifo", "nice", "posix_spawn", "sched_getaffinity", "sched_setaffinity", "setsid",
        "statvfs", "sysconf", "uname", "wait3", "wait4",
    },
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGSTOP", "SIGUSR1", "SIGUSR2", "alarm", "pause"},
    "time": {"tzset"},
}  # fmt: skip
GUARDS = ("sys.platform", "os.name", "hasattr(")


def posix_only(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each POSIX-only module or function whose function or ``if`` does not check the system."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            banned = [alias.name for alias in node.names if alias.name in NAMES.get(module, set())]
            names = [module] if module.split(".")[0] in MODULES else [f"{module}.{name}" for name in banned]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [f"{node.value.id}.{node.attr}"] if node.attr in NAMES.get(node.value.id, set()) else []
        if names and not is_guarded(node, parents):
            yield from ((node.lineno, name) for name in names)


def is_guarded(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """True if an ``if`` around the node, or an earlier one in its function, checks the system."""
    inner = node
    while inner in parents:
        outer = parents[inner]
        tests = [outer.test] if isinstance(outer, (ast.If, ast.IfExp)) else []
        if isinstance(outer, ast.FunctionDef):
            tests += [each.test for each in outer.body if isinstance(each, ast.If) and each.lineno < node.lineno]
        if any(guard in ast.unparse(test) for test in tests for guard in GUARDS):
            return True
        inner = outer
    return False


def test_no_code_needs_posix() -> None:
    files = [path for folder in ("image3d_nb", "tools") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = {str(path.relative_to(ROOT)): list(posix_only(path.read_text(encoding="utf-8"))) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_rule_finds_what_it_should() -> None:
    assert list(posix_only("import fcntl")) == [(1, "fcntl")]
    assert list(posix_only("import os\nos.fork()")) == [(2, "os.fork")]
    assert list(posix_only("from signal import SIGKILL")) == [(1, "signal.SIGKILL")]
    assert list(posix_only("import os\nif hasattr(os, 'fork'):\n    os.fork()")) == []
    early = "import sys\ndef f():\n    if sys.platform == 'win32':\n        return 0\n    import resource\n    return 1"
    assert list(posix_only(early)) == []
    assert list(posix_only(early.replace("sys.platform == 'win32'", "sys.argv"))) == [(5, "resource")]
