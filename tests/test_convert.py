"""convert: equal to load and save; nothing is overwritten; one bad file among many does not stop the others."""

from __future__ import annotations

import importlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import image3d_nb as i3d
from image3d_nb import Gaussians, convert, io
from image3d_nb.cli import main
from image3d_nb.cli._paths import READABLE, expand, plan
from image3d_nb.errors import Cancelled, FormatError, InputError

from .standing import ball

SPLATS = [".ply", ".splat"]  # test_convert_whole.py has the others
NAMES = ("means", "quats", "scales", "opacities", "sh")


def put(path: Path, degree: int = 0, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    i3d.save(ball(degree=degree, seed=seed), path)
    return path


def tree(folder: Path) -> list[str]:
    """All files in and below a folder, hidden ones included."""
    found = [path for path in folder.rglob("*") if path.is_file() or path.name.startswith(".")]
    return sorted(path.relative_to(folder).as_posix() for path in found)


# ---------------------------------------------------------------- one file


@pytest.mark.parametrize("to", SPLATS)
@pytest.mark.parametrize("of", SPLATS)
def test_splats_to_splats_is_load_and_save(tmp_path: Path, of: str, to: str) -> None:
    source = put(tmp_path / f"a{of}")
    before = source.read_bytes()
    report = convert(source, tmp_path / f"b{to}")
    i3d.save(io.load(source), tmp_path / f"want{to}")
    assert (tmp_path / f"b{to}").read_bytes() == (tmp_path / f"want{to}").read_bytes()
    assert (report.source, report.files, report.read, report.wrote) == (f"a{of}", (f"b{to}",), "Gaussians", "Gaussians")
    assert (report.count, report.lost) == (400, ())
    assert str(report) == f"a{of} -> b{to}: 400 Gaussians"
    assert source.read_bytes() == before
    assert tree(tmp_path) == sorted([f"a{of}", f"b{to}", f"want{to}"])


def test_conventions_of_both_sides(tmp_path: Path) -> None:
    i3d.save(ball(), tmp_path / "a.ply", "opengl")
    convert(tmp_path / "a.ply", tmp_path / "b.ply", from_convention="opengl")
    convert(tmp_path / "b.ply", tmp_path / "c.ply", to_convention="opengl")
    for name, convention in (("b.ply", "3dgs"), ("c.ply", "opengl")):
        got = io.load(tmp_path / name, convention)
        assert isinstance(got, Gaussians)
        torch.testing.assert_close(got.means, ball().means)
        torch.testing.assert_close(got.covariances(), ball().covariances(), rtol=1e-4, atol=1e-9)


def test_what_is_lost_is_reported_or_refused(tmp_path: Path) -> None:
    source = put(tmp_path / "a.ply", degree=2)
    with pytest.raises(FormatError, match="view-dependent"):
        convert(source, tmp_path / "b.splat", strict=True)
    assert tree(tmp_path) == ["a.ply"]
    report = convert(source, tmp_path / "b.splat")
    (lost,) = report.lost
    assert "the view-dependent part of 400 colours" in lost
    assert str(report).splitlines()[1:] == [f"  lost: {lost}"]


def test_rows_that_cannot_be_drawn(tmp_path: Path) -> None:
    source = put(tmp_path / "a.ply")
    content = bytearray(source.read_bytes())
    content[-56:-52] = b"\xff\xff\xff\xff"  # NaN
    source.write_bytes(content)
    with pytest.raises(FormatError, match=r"a.ply: .*1 of 400 rows"):
        convert(source, tmp_path / "b.splat")
    assert tree(tmp_path) == ["a.ply"]
    assert convert(source, tmp_path / "b.splat", drop_bad_rows=True).count == 399


def test_nothing_is_replaced_unless_asked(tmp_path: Path) -> None:
    source = put(tmp_path / "a.ply")
    (tmp_path / "b.ply").write_text("mine")
    with pytest.raises(FileExistsError, match=r"--force \(force=True\)"):
        convert(source, tmp_path / "b.ply")
    assert (tmp_path / "b.ply").read_text() == "mine"
    convert(source, tmp_path / "b.ply", force=True)
    assert len(io.load(tmp_path / "b.ply")) == 400  # type: ignore[arg-type]
    before = source.read_bytes()
    os.link(source, tmp_path / "same.ply")
    for target in (source, tmp_path / "same.ply"):
        with pytest.raises(FileExistsError, match="another"):
            convert(source, target, to_convention="opengl", force=True)
    (tmp_path / "d.ply").mkdir()
    with pytest.raises(FileExistsError, match="a folder"):
        convert(source, tmp_path / "d.ply", force=True)
    assert source.read_bytes() == before
    assert tree(tmp_path) == ["a.ply", "b.ply", "same.ply"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "voxels"}, "voxels"),
        ({"kind": "mesh"}, "kind='mesh'"),
        ({"from_convention": "up"}, "from_convention must"),
        ({"to_convention": None}, "to_convention must"),
        ({"texture": "oil"}, "oil"),
        ({"scale_mm": 0}, "above 0"),
        ({"scale_mm": float("nan")}, "above 0"),
        ({"scale_mm": 80}, "got Gaussians"),
        ({"resolution": 0}, "resolution must"),
        ({"faces": 2.5}, "faces must"),
        ({"splats": -1}, "splats must"),
    ],
)
def test_wrong_arguments(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(put(tmp_path / "a.ply"), tmp_path / "b.splat", **options)  # type: ignore[arg-type]
    assert tree(tmp_path) == ["a.ply"]


@pytest.mark.parametrize(
    ("source", "target", "error", "message"),
    [
        ("a.ply", "b.xyz", FormatError, "suffix"), ("none.ply", "b.splat", FileNotFoundError, "none.ply"),
        ("a.ply", "none/b.splat", FileNotFoundError, "folder"), ("bad.ply", "b.splat", FormatError, "cut off"),
    ],
)  # fmt: skip
def test_wrong_files(tmp_path: Path, source: str, target: str, error: type[Exception], message: str) -> None:
    (tmp_path / "bad.ply").write_bytes(put(tmp_path / "a.ply").read_bytes()[:-7])
    with pytest.raises(error, match=message):
        convert(tmp_path / source, tmp_path / target)
    assert tree(tmp_path) == ["a.ply", "bad.ply"]


def test_progress_and_cancelling(tmp_path: Path) -> None:
    source = put(tmp_path / "a.ply")
    steps: list[tuple[str, int, int]] = []
    convert(source, tmp_path / "b.splat", on_step=lambda *step: steps.append(step))
    assert steps == [("read", 0, 1), ("read", 1, 1), ("write", 0, 1), ("write", 1, 1)]
    for allowed in range(3):
        left = iter([False] * allowed + [True])
        with pytest.raises(Cancelled, match="convert"):
            convert(source, tmp_path / "c.splat", cancelled=lambda left=left: next(left))  # type: ignore[misc]
    assert tree(tmp_path) == ["a.ply", "b.splat"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(tmp_path / "a.ply")
    old = put(tmp_path / "b.splat", seed=1).read_bytes()
    replace, calls = os.replace, []

    def full(*names: str) -> None:
        calls.append(names)
        if len(calls) > 1:  # the first call is from save, in the temporary folder
            raise OSError(28, "No space left on device")
        replace(*names)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / 'b.splat'}'"):
        convert(source, tmp_path / "b.splat", force=True)
    assert (tmp_path / "b.splat").read_bytes() == old
    assert len(calls) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ply", "b.splat"]


# ---------------------------------------------------------------- patterns and folders


def targets(sources: list[Path | str], target: Path | str, suffix: str | None = None) -> list[tuple[str, str]]:
    return [(str(job.source), str(job.target)) for job in plan(list(map(str, sources)), str(target), suffix)]


def test_a_file_to_a_file(tmp_path: Path) -> None:
    assert targets(["a.ply"], tmp_path / "b.glb") == [("a.ply", str(tmp_path / "b.glb"))]
    assert targets(["a.ply"], tmp_path / "b", ".glb") == [("a.ply", str(tmp_path / "b" / "a.glb"))]


def test_patterns_that_no_shell_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.ply", "a.ply", "c.splat", "a[1].ply", "deep/d.ply"):
        put(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert expand(["*.ply"]) == ["a.ply", "a[1].ply", "b.ply"]
    assert expand(["a[1].ply"]) == ["a[1].ply"]  # it exists
    assert expand(["b.ply", "*.ply", "none*.ply"]) == ["b.ply", "a.ply", "a[1].ply", "none*.ply"]
    assert expand(["**/*.ply"]) == ["a.ply", "a[1].ply", "b.ply", os.path.join("deep", "d.ply")]  # noqa: PTH118
    assert targets(["*.splat"], "x.ply") == [("c.splat", "x.ply")]  # one match: as if it were named


def test_a_folder_keeps_its_shape(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    others = ("d.mtl", "d.png", "notes.txt", ".hidden.ply", ".git/e.ply")
    for name in ("b.PLY", "a.splat", "deep/er/c.spz", "d.obj", *others):
        (scans / name).parent.mkdir(parents=True, exist_ok=True)
        (scans / name).touch()
    out = tmp_path / "out"
    want = [("a.splat", "a.glb"), ("b.PLY", "b.glb"), ("d.obj", "d.glb"), ("deep/er/c.spz", "deep/er/c.glb")]
    assert targets([scans], out, ".glb") == [(str(scans / of), str(out / to)) for of, to in want]


def test_the_target_folder_is_not_read(tmp_path: Path) -> None:
    for name in ("a.ply", "out/a.splat", "other/b.ply"):
        put(tmp_path / name)
    assert [of for of, _ in targets([tmp_path], tmp_path / "out", ".splat")] == [
        str(tmp_path / name) for name in ("a.ply", "other/b.ply")
    ]


@pytest.mark.parametrize(
    ("sources", "target", "suffix", "message"),
    [
        (["a.ply", "b.ply"], "out", None, "2 sources"),
        (["."], "out", None, "a folder"),
        (["a.ply"], "out/", None, "a file in a folder"),
        (["a.ply"], ".", None, "a file in a folder"),
        (["b.ply", "c.ply"], "a.ply", ".splat", "a.ply is a file"),
    ],
)
def test_wrong_calls_have_exit_code_2(
    sources: list[str], target: str, suffix: str | None, message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a.ply")
    with pytest.raises(InputError, match=message):
        plan(sources, target, suffix)
    with pytest.raises(SystemExit) as stop:
        main(["convert", *sources, target, *(["--to", suffix] if suffix else [])])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


# ---------------------------------------------------------------- on a shell


def test_one_file_on_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = put(tmp_path / "a.ply", degree=1), tmp_path / "new" / "b.splat"
    assert main(["convert", str(source), str(target)]) == 0
    printed = capsys.readouterr()
    first, lost = printed.out.splitlines()
    assert first.startswith(f"{source} -> {target}: 400 Gaussians, ")
    assert lost.startswith("  lost: b.splat: ")
    assert printed.err == ""
    assert main(["convert", str(source), str(tmp_path / "c.splat"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_options_arrive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    i3d.save(ball(degree=1), tmp_path / "a.ply", "opengl")
    worlds = ["--from-convention", "opengl", "--to-convention", "opengl"]
    assert main(["convert", str(tmp_path / "a.ply"), str(tmp_path / "out"), "--to", "PLY", *worlds]) == 0
    got = io.load(tmp_path / "out" / "a.ply", "opengl")
    assert isinstance(got, Gaussians)
    torch.testing.assert_close(got.means, ball().means)
    wrong = {"cannot hold": ["--strict"], "kind='mesh'": ["--as", "mesh"], "scale_mm": ["--scale-mm", "80"]}
    for message, options in wrong.items():
        assert main(["convert", str(tmp_path / "a.ply"), str(tmp_path / "b.splat"), *options]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"image3d: {tmp_path / 'a.ply'}: ")
        assert message in error
    assert not (tmp_path / "b.splat").exists()


def test_a_bad_file_does_not_stop_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.ply", "c.ply", "c.splat"):
        put(tmp_path / "in" / name)
    (tmp_path / "in" / "b.ply").write_bytes((tmp_path / "in" / "a.ply").read_bytes()[:-1])
    (tmp_path / "empty").mkdir()
    sources = [str(tmp_path / "in"), str(tmp_path / "none.ply"), str(tmp_path / "empty")]
    assert main(["convert", *sources, str(tmp_path / "out"), "--to", ".splat"]) == 1
    printed = capsys.readouterr()
    assert [line.split(": ")[0] for line in printed.out.splitlines()] == [
        f"[{number}/6] {tmp_path / 'in' / name}.ply -> {tmp_path / 'out' / name}.splat"
        for number, name in ((1, "a"), (3, "c"))
    ]
    wanted = ("b.ply: .*cut off", "c.splat: .*already the target", "none.ply", "empty: no file", "4 of 6")
    for message, line in zip(wanted, printed.err.splitlines(), strict=True):
        assert re.search(message, line)
    assert tree(tmp_path / "out") == ["a.splat", "c.splat"]


def test_a_second_run_refuses_skips_or_replaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.ply", "b.ply"):
        put(tmp_path / "in" / name)
    command = ["convert", str(tmp_path / "in" / "*.ply"), str(tmp_path / "out"), "--to", ".splat"]
    assert main(command) == 0
    (tmp_path / "out" / "a.splat").write_text("mine")
    (tmp_path / "out" / "b.splat").unlink()
    assert main(command) == 1
    assert "--force" in capsys.readouterr().err
    assert tree(tmp_path / "out") == ["a.splat", "b.splat"]
    assert main([*command, "--skip"]) == 0
    assert capsys.readouterr().out.count("exists already") == 2
    assert (tmp_path / "out" / "a.splat").read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert (tmp_path / "out" / "a.splat").stat().st_size == 400 * 32
    with pytest.raises(SystemExit):
        main([*command, "--force", "--skip"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "a.ply"], "required: B"),
        (["convert", "a.ply", "b.glb", "--as", "voxels"], "voxels"),
        (["convert", "a.ply", "b.glb", "--faces", "0"], "got '0'"),
        (["convert", "a.ply", "b.glb", "--scale-mm", "-1"], "got '-1'"),
        (["convert", "a.ply", "b.glb", "--scale-mm", "wide"], "got 'wide'"),
        (["convert", "a.ply", "b", "--to", "a/b"], "got 'a/b'"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_ctrl_c_leaves_nothing_half_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = put(tmp_path / "one.ply").read_bytes()
    (tmp_path / "in").mkdir()
    for number in range(200):
        (tmp_path / "in" / f"{number:03}.ply").write_bytes(content)
    out = tmp_path / "out"

    module = importlib.import_module("image3d_nb.cli.convert")
    real = module.convert

    def press_after_the_third(source: Path, target: Path, **options: Any) -> Any:
        report = real(source, target, **options)
        if Path(target).name == "002.splat":
            os.kill(os.getpid(), signal.SIGINT)
        return report

    monkeypatch.setattr(module, "convert", press_after_the_third)
    command = ["convert", str(tmp_path / "in"), str(out), "--to", ".splat"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores SIGINT
    try:
        assert main(command) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert "--skip" in capsys.readouterr().err
    made = tree(out)
    assert 3 <= len(made) < 200
    assert made == [f"{number:03}.splat" for number in range(len(made))]
    assert {(out / name).stat().st_size for name in made} == {400 * 32}
    assert main([*command, "--skip", "--quiet"]) == 0
    assert len(tree(out)) == 200


def test_every_format_is_looked_for_in_folders() -> None:
    assert {info.suffix for info in io.formats() if info.read} <= set(READABLE)
