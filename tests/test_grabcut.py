"""GrabCut for real: `make test` installs OpenCV beside the environment, where only this test's program sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_grabcut_finds_the_object() -> None:
    path = os.pathsep.join((str(ROOT), str(Path(sys.prefix) / "beside/opencv-python-headless")))
    command = [sys.executable, "-m", "tests.cut_with_opencv"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["cut"]) > 5
    assert min(found["cut"].values()) >= 0.95
    assert found["box"] >= 0.95
    assert found["same"]
