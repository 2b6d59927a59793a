"""render_turntable tells how far it is and can be stopped (test_view.py looks at what it writes)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image3d_nb.errors import Cancelled
from image3d_nb.gaussians import Gaussians
from image3d_nb.mesh import Mesh
from image3d_nb.view import render_turntable, turntable_frames
from tests.viewer_scenes import some, square


@pytest.mark.parametrize("obj", [some(), square()], ids=["splats", "mesh"])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_progress_is_told_up_to_the_last_frame(obj: Gaussians | Mesh, suffix: str, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    path = render_turntable(
        obj, tmp_path / f"turn{suffix}", frames=10, size=32, on_step=lambda *step: told.append(step)
    )
    assert told == [("frames", 4, 10), ("frames", 8, 10), ("frames", 10, 10)]
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) == (1 if suffix == ".png" else 10)


def test_cancelling_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "turn.gif"
    path.write_bytes(b"old")
    answers = iter([False, True])
    with pytest.raises(Cancelled, match="after 4 of 10 frames"):
        render_turntable(some(), path, frames=10, size=32, cancelled=lambda: next(answers))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("wanted", "variable", "shown"), [(True, None, 1), (False, None, 0), (True, "CI", 0)])
def test_a_bar_shows_only_where_somebody_watches(
    wanted: bool, variable: str | None, shown: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CI", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "1")
    turntable_frames(square(), 2, size=16, progress=wanted)
    assert ("turntable" in capsys.readouterr().err) == bool(shown)


def test_light_falls_on_a_mesh_or_not() -> None:
    lit, plain = (np.stack(turntable_frames(square(), 3, size=32, light=light)) for light in (True, False))
    assert (lit != plain).any()
    assert tuple(plain[0, 16, 16]) not in {(255, 255, 255), tuple(lit[0, 16, 16])}
