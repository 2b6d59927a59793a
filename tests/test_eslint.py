"""ESLint over every script of the project: no name that is not there, none that nobody uses, no text as elements."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READERS = ROOT / "tests" / "readers"
ESLINT = (
    "node", str(READERS / "node_modules" / "eslint" / "bin" / "eslint.js"),
    "--config", str(READERS / "eslint.config.mjs"), "--format", "json",
)  # fmt: skip
FAULTS = {
    "no-undef": "mesage(event);",
    "no-unused-vars": "const unused = 1;",
    "no-var": "export var old = 1;",
    "eqeqeq": "export const equal = 1 == Number(2);",
    "no-console": "console.log(1);",
    "no-debugger": "debugger;",
    "no-eval": "eval('1');",
    "no-new-func": "new Function('1');",
    "no-implied-eval": "setTimeout('1', 1);",
    "no-restricted-syntax": "document.body.innerHTML = document.write(`https://example.org`);",
}


def eslint(*arguments: str, source: str | None = None) -> list[dict]:
    """What ESLint says of each file."""
    command = [*ESLINT, *arguments]
    done = subprocess.run(command, input=source, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_every_script_is_clean() -> None:
    files = eslint("image3d_nb", "tests", "tools", "benchmarks", "--no-error-on-unmatched-pattern")
    complaints = [
        f"{Path(file['filePath']).relative_to(ROOT)}:{each.get('line')}: {each['message']} ({each['ruleId']})"
        for file in files
        for each in file["messages"]
    ]
    assert complaints == []
    ours = {path for kind in ("js", "mjs", "cjs") for path in ROOT.rglob(f"*.{kind}")}
    ours = {path for path in ours if not {"node_modules", ".venv", "build"} & set(path.relative_to(ROOT).parts)}
    assert {Path(file["filePath"]) for file in files} == ours


def test_each_rule_finds_its_fault() -> None:
    source = "\n".join(FAULTS.values())
    (file,) = eslint("--stdin", "--stdin-filename", "image3d_nb/view/js/broken.js", source=source)
    found = {(each["line"], each["ruleId"]) for each in file["messages"]}
    assert set(enumerate(FAULTS, 1)) <= found
    assert [each["ruleId"] for each in file["messages"]].count("no-restricted-syntax") == 3
