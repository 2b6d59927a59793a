"""The viewer's scripts and style sheets as text: small, readable, joined without a clash. The rest is ESLint's."""

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


def source_of(name: str) -> str:
    return (SOURCES / f"{name}.js").read_text("utf-8")


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


def test_joined_scripts_are_valid() -> None:
    sources = {starter: viewer_script(starter) for starter in STARTERS}
    command = ["node", "--experimental-vm-modules", "--no-warnings", "-e", PARSE]
    parsed = subprocess.run(command, input=json.dumps(sources), capture_output=True, text=True, check=False)
    assert parsed.stderr == ""
    assert parsed.returncode == 0


ORDER = """
const count = 50000;
const positions = Float32Array.from({ length: 3 * count }, (_, i) => Math.sin(i * i) * (i % 7 ? 1 : 1e-30));
const order = depthOrder(positions, [0, 0, 1]);
const depth = (i) => positions[3 * i + 2];
let wrong = 0;
for (let k = 1; k < count; k++) wrong += depth(order[k - 1]) < depth(order[k]);
console.log(`${wrong} ${new Set(order).size}`);
"""


def test_depth_order_is_exact() -> None:
    source = source_of("sort")
    function = source[source.index("function depthOrder") : source.index("// onOrder(")]
    command = ["node", "-e", function + ORDER]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["0", "50000"]


def test_widget_style_touches_nothing_else_in_a_notebook() -> None:
    style = re.sub(r"/\*.*?\*/", "", viewer_style(page=False), flags=re.DOTALL)
    style = re.sub(r"@\w+ \([^)]*\) \{", "", style)
    selectors = [part.strip() for group in re.findall(r"([^{}]+)\{", style) for part in group.split(",")]
    assert len(selectors) > 30
    assert [selector for selector in selectors if not selector.startswith(".image3d")] == []
