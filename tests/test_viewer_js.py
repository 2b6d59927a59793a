"""The viewer's scripts and style sheets as text: small, readable, joined without a clash."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from image3d_nb import view
from image3d_nb.view.page import MODULES, STARTERS, viewer_script, viewer_style

SOURCES = Path(view.__file__).parent / "js"
FILES = (*MODULES, *STARTERS)
ENTRANCES = {"mountViewer", "depthOrder"}  # depthOrder: the worker is made from its text, and tests call it
BANNED = {
    r"\bvar\b": "var",
    r"[^=!]==[^=]|!=[^=]": "== or != instead of === or !==",
    r"console\.log|debugger": "left over from debugging",
    r"\beval\b|new Function|document\.write|insertAdjacentHTML|outerHTML": "text that becomes code or elements",
    r"https?://": "an address",
    r"\t": "a tab",
}


def source_of(name: str) -> str:
    return (SOURCES / f"{name}.js").read_text("utf-8")


def without_comments(source: str) -> str:
    return re.sub(r"(^|\s)//.*", "", source)


@pytest.mark.parametrize("starter", STARTERS)
def test_joined_script_is_small_and_shares_one_scope_without_a_clash(starter: str) -> None:
    script = viewer_script(starter)
    assert len(script.encode()) <= 60_000
    left = re.findall(r"^[ \t]*(?:import|export)\b.*", script, re.MULTILINE)
    assert left == ([] if starter == "page" else ["export default { render };"])
    assert "</script" not in script
    names = re.findall(r"^(?:(?:const|let) (\w+) =|(?:async )?function (\w+))", script, re.MULTILINE)
    assert len(names) > 50
    assert len(names) == len(set(names))


PARSE = """
const vm = require("node:vm");
for (const [identifier, source] of Object.entries(JSON.parse(require("node:fs").readFileSync(0, "utf8")))) {
  new vm.SourceTextModule(source, { identifier });
}"""


def test_scripts_are_valid_each_alone_and_joined() -> None:
    sources = {name: source_of(name) for name in FILES} | {f"all, {end}": viewer_script(end) for end in STARTERS}
    command = ["node", "--experimental-vm-modules", "--no-warnings", "-e", PARSE]
    parsed = subprocess.run(command, input=json.dumps(sources), capture_output=True, text=True, check=False)
    assert parsed.stderr == ""
    assert parsed.returncode == 0


def test_each_file_imports_what_earlier_ones_export_and_uses_it() -> None:
    exported: dict[str, set[str]] = {}
    wanted: set[str] = set()
    for name in FILES:
        source = source_of(name)
        imports = re.findall(r'^import \{ (.+) \} from "\./(\w+)\.js";$', source, re.MULTILINE)
        assert len(imports) == len(re.findall(r"^import ", source, re.MULTILINE)), name
        body = re.sub(r"^import .*", "", source, flags=re.MULTILINE)
        for names, home in imports:
            assert set(names.split(", ")) <= exported[home], (name, home)
            assert [word for word in names.split(", ") if not re.search(rf"\b{word}\b", body)] == [], name
            wanted |= set(names.split(", "))
        exported[name] = set(re.findall(r"^export (?:async )?(?:function|const) (\w+)", source, re.MULTILINE))
    assert {path.stem for path in SOURCES.glob("*.js")} == set(FILES)
    assert set().union(*exported.values()) == wanted | ENTRANCES


@pytest.mark.parametrize("name", FILES)
def test_every_name_is_used(name: str) -> None:
    source = without_comments(source_of(name))
    declared = re.findall(r"\b(?:const|let|function) (\w+)", source)
    declared += [word for group in re.findall(r"\b(?:const|let) [\[{]([^\]}=]+)[\]}] =", source)
                 for word in re.findall(r"\w+(?=,|\s*$)", group)]  # fmt: skip
    exported = set(re.findall(r"^export (?:async )?(?:function|const) (\w+)", source, re.MULTILINE))
    unused = [word for word in declared if word not in exported and len(re.findall(rf"\b{word}\b", source)) < 2]
    assert unused == []


@pytest.mark.parametrize("name", [f"{name}.js" for name in FILES] + ["page.css", "viewer.css", "page.html"])
def test_style_of_the_sources(name: str) -> None:
    lines = (SOURCES / name).read_text("utf-8").splitlines()
    assert max(len(line) for line in lines) <= 120
    assert len(lines) <= 280
    assert all(line.isascii() for line in lines)  # a frame takes the encoding of the page around it
    if name.endswith(".js"):
        assert lines[0].startswith("// "), "a file begins with what it is for"
        for number, line in enumerate(lines, 1):
            assert line == line.rstrip(), number
            if not line.strip().startswith("//"):
                assert [what for pattern, what in BANNED.items() if re.search(pattern, line)] == [], number


def test_text_becomes_elements_in_one_place_only() -> None:
    found = [line.strip() for name in FILES for line in source_of(name).splitlines() if "innerHTML" in line]
    assert len(found) == 1
    assert re.findall(r"\$\{(.+?)\}", found[0]) == ["ICONS[name]"]  # our own outlines


def test_widget_style_touches_nothing_else_in_a_notebook() -> None:
    style = re.sub(r"/\*.*?\*/", "", viewer_style(page=False), flags=re.DOTALL)
    style = re.sub(r"@\w+ \([^)]*\) \{", "", style)
    selectors = [part.strip() for group in re.findall(r"([^{}]+)\{", style) for part in group.split(",")]
    assert len(selectors) > 30
    assert [selector for selector in selectors if not selector.startswith(".image3d")] == []
