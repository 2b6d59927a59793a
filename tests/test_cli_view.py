"""``image3d view``: the page is complete or not written, and the browser opens it."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path

import numpy as np
import pytest
import torch

import image3d_nb as i3d
from image3d_nb.cli import main


@pytest.fixture
def splats(tmp_path: Path) -> Path:
    gaussians = i3d.Gaussians.from_lgm(torch.rand(1, 30, 14, generator=torch.Generator().manual_seed(0)))
    i3d.save(gaussians, tmp_path / "a b&c.ply")
    return tmp_path / "a b&c.ply"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Addresses that the browser opened; temporary files go to a folder of the test."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return addresses


def test_the_page_is_the_one_of_save_html_and_is_opened(
    splats: Path, opened: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["view", str(splats), "-o", str(page)]) == 0
    expected = i3d.save_html(i3d.load(splats), tmp_path / "expected.html", title="a b&c.ply")
    assert page.read_bytes() == expected.read_bytes()
    assert opened == [page.as_uri()]
    assert capsys.readouterr() == (f"{page}\n", "")


def test_without_a_name_the_page_is_a_temporary_file_that_stays(
    splats: Path, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(splats), "--no-open", "--convention", "opengl"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page.name == "a b&c.html"
    assert page.parent.parent == Path(tempfile.gettempdir())
    assert "a b&amp;c.ply" in page.read_text("utf-8")
    assert opened == []


def test_a_mesh_has_a_page_too(opened: list[str], tmp_path: Path) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    i3d.save(i3d.Mesh(corners, np.array([[0, 1, 2]])), tmp_path / "mesh.glb")
    assert main(["view", str(tmp_path / "mesh.glb"), "-o", str(tmp_path / "mesh.html")]) == 0
    expected = i3d.save_html(i3d.load(tmp_path / "mesh.glb"), tmp_path / "expected.html", title="mesh.glb")
    assert (tmp_path / "mesh.html").read_bytes() == expected.read_bytes()
    assert len(opened) == 1


def test_without_a_browser_the_page_is_named(
    splats: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _address: False)
    assert main(["view", str(splats), "-o", str(tmp_path / "p.html")]) == 1
    assert f"open {tmp_path / 'p.html'} yourself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "out", "words"),
    [
        ("none.ply", None, None, "none.ply"),
        ("text.ply", b"hello", None, "text.ply"),
        ("picture.png", b"\x89PNG\r\n\x1a\n", None, "picture.png"),
        ("a b&c.ply", None, "page.txt", "page.txt"),
        ("a b&c.ply", None, "missing/page.html", "must exist"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(
    name: str, content: bytes | None, out: str | None, words: str,
    splats: Path, opened: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    command = ["view", str(splats.parent / name), *([] if out is None else ["-o", str(tmp_path / out)])]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("image3d: ")
    assert words in printed.err
    assert len(printed.err.splitlines()) == 1
    assert (printed.out, opened) == ("", [])
    assert sorted(tmp_path.rglob("*")) == before
