"""Writing files: complete or not at all; links, modes and read-only files are respected; "~" is the home folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import image3d_nb as i3d
from image3d_nb._files import atomic_path, atomic_write

from .standing import ball

TRIANGLE = i3d.Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]]))


def by_atomic_write(path: Path) -> None:
    atomic_write({path: b"new"})


def by_atomic_path(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")


def by_save(path: Path) -> None:
    i3d.save(TRIANGLE, path)


def by_convert(path: Path) -> None:
    source = path.with_name("source.splat")
    if not source.exists():
        i3d.save(ball(), source)
    i3d.convert(source, path, force=True)


WRITERS = [by_atomic_write, by_atomic_path, by_save, by_convert]


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return request.param  # type: ignore[no-any-return]


def test_a_symbolic_link_stays_one(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "real.ply").write_bytes(b"old")
    (tmp_path / "link.ply").symlink_to(Path("big") / "real.ply")
    write(tmp_path / "link.ply")
    assert (tmp_path / "link.ply").is_symlink()
    assert (tmp_path / "big" / "real.ply").read_bytes() != b"old"
    assert [path.name for path in (tmp_path / "big").iterdir()] == ["real.ply"]


def test_a_link_to_a_new_file_makes_it(tmp_path: Path) -> None:
    (tmp_path / "link.ply").symlink_to("real.ply")
    by_save(tmp_path / "link.ply")
    assert len(i3d.load(tmp_path / "real.ply").faces) == 1  # type: ignore[union-attr]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_the_mode_of_a_replaced_file_stays(tmp_path: Path, mode: int, write: Callable[[Path], None]) -> None:
    (tmp_path / "a.ply").write_bytes(b"old")
    (tmp_path / "a.ply").chmod(mode)
    write(tmp_path / "a.ply")
    assert (tmp_path / "a.ply").read_bytes() != b"old"
    assert stat.S_IMODE((tmp_path / "a.ply").stat().st_mode) == mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_the_owner_of_a_replaced_file_stays(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "a.ply").write_bytes(b"old")
    os.chown(tmp_path / "a.ply", 1234, 4321)
    write(tmp_path / "a.ply")
    status = (tmp_path / "a.ply").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_a_read_only_file_is_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "a.ply").write_bytes(b"old")
    (tmp_path / "a.ply").chmod(0o444)
    with pytest.raises(PermissionError, match="read-only"):
        write(tmp_path / "a.ply")
    assert (tmp_path / "a.ply").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} <= {"a.ply", "source.splat"}


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    i3d.save(ball(), "~/a.ply")
    torch.testing.assert_close(i3d.load("~/a.ply").means, ball().means)  # type: ignore[union-attr]
    assert i3d.inspect("~/a.ply").healthy
    i3d.convert("~/a.ply", "~/b.splat")
    assert i3d.save_html(TRIANGLE, "~/c.html") == tmp_path / "c.html"
    assert i3d.render_turntable(TRIANGLE, "~/d.gif", frames=2, size=16, progress=False) == tmp_path / "d.gif"
    assert {"a.ply", "b.splat", "c.html", "d.gif"} <= {path.name for path in tmp_path.iterdir()}
