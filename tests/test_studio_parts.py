"""The studio's downloads, every format of a run as a file and as a link; and its worker."""

from __future__ import annotations

import base64
import io
import threading
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import image3d_nb as i3d
from image3d_nb import meshing
from image3d_nb.errors import Cancelled, InputError
from image3d_nb.images.caller import warn
from image3d_nb.studio import Studio, downloads
from image3d_nb.studio.worker import Worker


def test_every_format_that_can_be_written_is_offered() -> None:
    offered = [(choice.suffix, choice.holds) for choice in downloads.choices()]
    written = [(info.suffix, info.holds) for info in i3d.formats() if info.write]
    assert sorted(offered) == sorted([*written, (".html", "Gaussians"), (".gif", "Gaussians")])
    names = [choice.file("mug") for choice in downloads.choices()]
    assert len(set(names)) == len(names)
    assert downloads.choice("PLY").file("mug") == "mug.ply"
    with pytest.raises(InputError, match="exe"):
        downloads.choice("exe")


@pytest.mark.parametrize("what", downloads.choices(), ids=lambda what: what.file("mug"))
def test_every_download_opens(what: downloads.Choice, done: Studio) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what .stl leaves out
        path = done.download(what.suffix, what.holds)
    run = done.runs[0]
    assert run.folder in (path.parent, path.parent.parent)
    assert path.name == what.file("mug")
    if what.suffix == ".html":
        assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    elif what.suffix == ".gif":
        assert Image.open(path).n_frames > 8
    else:
        loaded = i3d.load(path)
        assert type(loaded).__name__ == what.holds
        if what.holds == "Gaussians":
            assert len(loaded) == len(run.gaussians)
            in_any_order = [each.means.sort(0).values for each in (loaded, run.gaussians)]
            assert float((in_any_order[0] - in_any_order[1]).abs().max()) < 1e-3
        else:
            assert np.allclose(loaded.bounds, run.mesh().bounds, atol=1e-4)
    before = path.stat().st_mtime_ns
    assert done.download(what.suffix, what.holds) == path
    assert path.stat().st_mtime_ns == before
    assert not [path for path in run.folder.iterdir() if path.name.startswith(".")]


def test_a_glb_is_the_mesh_and_is_offered_as_a_link(done: Studio) -> None:
    done.start_download(".glb")
    path = done.wait()
    run = done.runs[0]
    assert path == run.folder / "mug.glb"
    assert path.read_bytes()[:4] == b"glTF"
    assert run.has_mesh
    link = downloads.link(run, path)
    assert 'download="mug.glb"' in link
    assert base64.b64decode(link.partition("base64,")[2].partition('"')[0]) == path.read_bytes()


def test_what_a_format_leaves_out_is_told(done: Studio) -> None:
    (done.runs[0].folder / "mug.stl").unlink(missing_ok=True)
    done.start_download(".stl")
    path = done.wait()
    assert done.notice.text.startswith(f"mug.stl is in {path.parent}. mug.stl: STL cannot hold")
    path.unlink()
    with pytest.warns(UserWarning, match="STL cannot hold"):
        assert done.download("stl") == path


def test_doubts_about_the_mesh_are_told(done: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def doubted(*_: object, **__: object) -> i3d.Mesh:
        warn("light leaks through it")
        return i3d.Mesh(np.eye(3), np.array([[0, 1, 2]]))

    monkeypatch.setattr(meshing, "to_mesh", doubted)
    monkeypatch.setattr(done.runs[0], "_mesh", None)
    done.start_mesh()
    done.wait()
    assert done.notice.text.endswith("a mesh of 1 triangles. Light leaks through it.")
    done.runs[0]._mesh = None
    (done.runs[0].folder / "mug.stl").unlink(missing_ok=True)
    done.start_download(".stl")
    path = done.wait()
    path.unlink()
    assert "light leaks through it." in done.notice.text


def test_companions_come_in_one_zip(done: Studio) -> None:
    path = done.download(".obj")
    assert path.parent == done.runs[0].folder / "mug_obj"
    link = downloads.link(done.runs[0], path)
    assert 'download="mug_obj.zip"' in link
    content = base64.b64decode(link.partition("base64,")[2].partition('"')[0])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {each.name for each in path.parent.iterdir()} > {"mug.obj"}


def test_a_large_file_waits_in_the_folder(done: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MAX_LINK", 1000)
    run = done.runs[0]
    words = downloads.link(run, run.splats)
    assert "mug.ply is too large for a link" in words
    assert str(run.folder) in words
    assert "<a" not in words
    hostile = run.folder / "a\"'><b>.bin"  # as a record of somebody else's may name it
    hostile.write_bytes(bytes(10))
    assert '<a class="i3d-link" download="a&quot;&#x27;&gt;&lt;b&gt;.bin" href="data:' in downloads.link(run, hostile)
    hostile.write_bytes(bytes(1001))
    assert downloads.link(run, hostile).startswith("a&quot;&#x27;&gt;&lt;b&gt;.bin is too large")
    hostile.unlink()


def test_a_download_that_fails_leaves_nothing(done: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_obj: object, path: Path, **_options: object) -> None:
        path.write_bytes(b"GIF89a")
        raise OSError(28, "No space left on device", str(path))

    run = done.runs[0]
    (run.folder / "mug.gif").unlink(missing_ok=True)
    monkeypatch.setattr(downloads, "render_turntable", half)
    before = set(run.folder.rglob("*"))
    done.start_download(".gif")
    with pytest.raises(OSError, match="No space left"):
        done.wait()
    assert "No space left on device" in done.notice.text
    assert set(run.folder.rglob("*")) == before


def test_a_worker_reports_stages_and_ends_but_not_every_step() -> None:
    told: list[object] = []
    worker = Worker(lambda: told.append((worker.progress, worker.doing)))

    def job(on_step: Callable[[str, int, int], object], _cancelled: object) -> str:
        for step in range(1, 1001):
            on_step("generate", step, 1000)
        on_step("files", 0, 1)
        return "made"

    worker.start("a thing", job)
    assert worker.wait() == "made"
    assert told[0] == (("generate", 1, 1000), "a thing")
    assert told[-3:] == [(("generate", 1000, 1000), "a thing"), (("files", 0, 1), "a thing"), (("files", 0, 1), "")]
    assert len(told) < 100


def test_stopping_the_cell_that_waits_stops_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(lambda: None)
    asked = threading.Event()

    def job(_on_step: object, cancelled: Callable[[], bool]) -> None:
        while not cancelled():
            asked.wait(0.01)
        raise Cancelled("as asked")

    def interrupted(_thread: threading.Thread, _timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    worker.start("a thing", job)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            worker.wait()
    with pytest.raises(Cancelled):
        worker.wait(60)
    assert not worker.cancelling
