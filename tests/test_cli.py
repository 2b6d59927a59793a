"""The command: its output and exit codes; one bad image does not stop the others."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import image3d_nb as i3d
from image3d_nb._files import data_dir
from image3d_nb.cli import generate as command
from image3d_nb.cli import main
from image3d_nb.generate import RECORD, read_record

MUG = str(i3d.sample("mug"))
CAR = str(i3d.sample("car"))


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_importing_the_command_is_light() -> None:
    heavy = "{'torch', 'diffusers', 'numba', 'numpy', 'PIL', 'requests'}"
    done = run("-c", f"import sys, image3d_nb.cli; assert not {heavy} & set(sys.modules), sys.modules.keys()")
    assert done.returncode == 0, done.stderr


def test_a_cold_run_writes_everything(tmp_path: Path) -> None:
    done = run("-m", "image3d_nb", "generate", MUG, "-o", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{MUG} -> out{os.sep}mug{os.sep}: ")
    assert all(f"mug.{kind}" in line for kind in ("ply", "splat", "html", "gif"))
    made = {path.name for path in (tmp_path / "out" / "mug").iterdir()}
    assert made == {"mug.ply", "mug.splat", "mug.html", "mug.gif", "input.png", "views.png", RECORD}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mug"]


def test_a_second_run_skips_and_force_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", MUG, "-o", str(tmp_path), "--formats", "splat"]
    assert main(command) == 0
    assert "mug.splat" in capsys.readouterr().out
    first = (tmp_path / "mug" / RECORD).stat().st_mtime_ns
    assert main(command) == 0
    assert "exists already" in capsys.readouterr().out
    assert (tmp_path / "mug" / RECORD).stat().st_mtime_ns == first
    assert main([*command, "--force", "--quiet"]) == 0
    assert (tmp_path / "mug" / RECORD).stat().st_mtime_ns > first
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("option", "refined"), [((), True), (("--no-refine",), False)], ids=str)
def test_the_tiny_models_objects_are_sharpened_unless_refused(
    tmp_path: Path, option: tuple[str, ...], refined: bool
) -> None:
    assert main(["generate", MUG, "-o", str(tmp_path), "--steps", "1", "--formats", "splat", *option]) == 0
    record = read_record(tmp_path / "mug")
    assert record is not None
    assert record["settings"]["refine"] is refined
    assert (record["gaussians"] != 16_384) is refined  # refine adds discs and removes what they hide


def test_the_options_arrive(tmp_path: Path) -> None:
    options = ["--seed", "7", "--steps", "1", "--guidance", "1.5", "--formats", ".splat,ply", "--convention", "opengl"]
    lgm = str(data_dir() / "models" / "tiny" / "lgm")
    options += ["--elevation", "10", "--device", "cpu", "--lgm", lgm, "--candidates", "2", "--memory", "low"]
    options += ["--background", "polynomial", "--refine"]
    assert main(["generate", CAR, "-o", str(tmp_path), *options]) == 0
    record = read_record(tmp_path / "car")
    assert record is not None
    assert record["settings"] == {
        "model": "tiny", "seed": 7, "steps": 1, "guidance": 1.5, "formats": ["splat", "ply"], "convention": "opengl",
        "prepare": True, "background": "polynomial", "elevation": 10.0, "device": "cpu", "lgm": lgm,
        "revision": None, "candidates": 2, "memory": "low", "refine": True,
    }  # fmt: skip
    assert record["gaussians"] != 16_384  # refine adds discs and removes what they hide
    assert record["input"]["width"] < record["input"]["height"]  # upright, though EXIF had to turn it


def test_a_bad_image_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(Path(MUG).read_bytes()[:2000])
    out = tmp_path / "out"
    images = [MUG, str(bad), str(tmp_path / "none.png"), str(tmp_path), CAR]
    assert main(["generate", *images, "-o", str(out), "--formats", "splat"]) == 1
    printed = capsys.readouterr()
    assert [line.split(" -> ")[0] for line in printed.out.splitlines()] == [MUG, CAR]
    wanted = ("cut off", "no such file", "a folder", "3 of 5 images failed")
    for message, line in zip(wanted, printed.err.splitlines(), strict=True):
        assert line.startswith("image3d: ")
        assert message in line
    assert sorted(path.name for path in out.iterdir()) == ["car", "mug"]


def test_doubts_about_an_image_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", str(i3d.sample("coffee")), "-o", str(tmp_path), "--formats", "splat"]
    assert main(command) == 0
    lines = capsys.readouterr().err.splitlines()
    record = read_record(tmp_path / "coffee") or {}
    assert [line.partition("warning: ")[2] for line in lines] == record["warnings"]
    assert "not plain" in record["warnings"][0]
    assert main([*command, "--force", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_images_with_the_same_name_get_their_own_folders(tmp_path: Path) -> None:
    for folder, picture in (("a", MUG), ("b", CAR)):
        (tmp_path / folder).mkdir()
        shutil.copy(picture, tmp_path / folder / "it.png")
    pictures = [str(tmp_path / folder / "it.png") for folder in ("a", "b", "a")]  # the last is the first again
    assert main(["generate", *pictures, "-o", str(tmp_path / "out"), "--formats", "splat"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["it", "it-2"]
    assert (read_record(tmp_path / "out" / "it-2") or {})["input"]["width"] == 720


def test_an_older_result_of_another_image_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate_one(image: str, folder: Path, *_: object, **__: object) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(Path(image).read_bytes()).hexdigest()
        record = {"input": {"sha256": digest}, "files": {}, "gaussians": 1, "seconds": {"total": 1.0}}
        (folder / RECORD).write_text(json.dumps(record))
        return record

    monkeypatch.setattr(command, "generate_one", generate_one)
    out = tmp_path / "out"
    for folder, picture in (("a", MUG), ("b", CAR)):
        (tmp_path / folder).mkdir()
        shutil.copy(picture, tmp_path / folder / "it.png")

    def made_by(*arguments: str) -> dict[str, str]:
        assert main(["generate", *arguments, "-o", str(out)]) == 0
        return {path.name: (read_record(path) or {})["input"]["sha256"] for path in out.iterdir()}

    a, b = (str(tmp_path / folder / "it.png") for folder in ("a", "b"))
    first = made_by(a)["it"]
    second = made_by(b)
    assert second["it"] == first != second["it-2"]
    assert made_by(b) == made_by(a) == second
    assert made_by(b, "--force")["it"] == second["it-2"]


def test_an_unknown_model_is_reported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", MUG, CAR, "-o", str(tmp_path / "out"), "--model", "huge"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "got 'huge' (1 more" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["paint"], "paint"),
        (["generate"], "required: IMAGE"),
        (["generate", MUG, "--seed", "-3"], "seed must"),
        (["generate", MUG, "--formats", "ply,exe"], "formats must"),
        (["generate", MUG, "--steps", "many"], "invalid int value"),
        (["generate", MUG, "--elevation", "100"], "elevation must"),
        (["doctor", MUG], "unrecognized arguments"),
        (["verify-weights", "tiny"], "required: --image"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


COMMANDS = ("generate", "convert", "inspect", "doctor", "verify-weights")
HELP = [["--help"], *([name, "--help"] for name in COMMANDS), ["--version"]]


@pytest.mark.parametrize("arguments", HELP)
def test_help_and_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert ("usage: image3d" if "--help" in arguments else i3d.__version__) in capsys.readouterr().out


def test_the_help_of_convert_names_what_holds_splats_and_meshes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["convert", "--help"])
    assert ".glb and .gltf also splats" in " ".join(capsys.readouterr().out.split())


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C

    def press_when_it_works() -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if list(tmp_path.glob(".mug-*/*")):  # views are there, files are being written
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.001)

    watcher = threading.Thread(target=press_when_it_works)
    watcher.start()
    try:
        assert main(["generate", MUG, CAR, "-o", str(tmp_path)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    watcher.join()
    assert list(tmp_path.iterdir()) == []
    assert "half-written" in capsys.readouterr().err
