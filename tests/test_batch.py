"""Many images: each gets one object, whatever is killed on the way."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from image3d_nb import GenerateSettings, load_pipeline
from image3d_nb.batch import engines, generate_many
from image3d_nb.batch.maker import TRIES
from image3d_nb.cli import main
from image3d_nb.errors import InputError, WeightsError
from image3d_nb.models.lgm import LGM
from image3d_nb.models.mv_unet import MultiViewUNetModel
from image3d_nb.record import is_done, read_record

ROOT = Path(__file__).resolve().parent.parent
COUNT = 100  # images of each engine's run with kills
COPIES = 3  # of the first image, under other names


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled pipeline with smaller networks and random weights: an object takes some hundredths of a second."""
    folder = tmp_path_factory.mktemp("model") / "small"
    pipe = load_pipeline()

    def smaller(part: Any, **changes: Any) -> Any:
        torch.manual_seed(0)
        return type(part)(**{k: v for k, v in part.config.items() if not k.startswith("_")} | changes).eval()

    assert isinstance(pipe.lgm, LGM)
    assert isinstance(pipe.unet, MultiViewUNetModel)
    lgm = smaller(
        pipe.lgm, down_channels=[8, 8, 16], up_channels=[16, 8, 8], norm_groups=8, num_heads=1, input_size=32,
        splat_size=32,
    )  # fmt: skip
    unet = smaller(pipe.unet, model_channels=32, norm_groups=8, image_size=32)
    kept = {name: pipe.config[name] for name in ("default_steps", "default_guidance")}
    type(pipe)(**{**pipe.components, "lgm": lgm, "unet": unet}, **kept).save_pretrained(folder)
    return folder


def draw(folder: Path, count: int) -> Path:
    """Images of 64 pixels, each of its own colour, and copies of the first."""
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((64, 64, 3), 255, np.uint8)
        pixels[12:52, 16:48] = np.random.default_rng(number).integers(0, 200, 3)
        Image.fromarray(pixels).save(folder / f"{number:05}.png")
    for copy in range(COPIES):
        shutil.copy(folder / "00000.png", folder / f"copy-{copy}.png")
    return folder


def quick(model: Path) -> GenerateSettings:
    return GenerateSettings(model=str(model), formats=("ply",), prepare=False)


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows = sorted(parquet.read_table(out / "results.parquet").to_pylist(), key=lambda row: row["row"])
    with (out / "results.csv").open(encoding="utf-8", newline="") as stream:
        texts = sorted(csv.DictReader(stream), key=lambda row: int(row["row"]))
    assert [list(row) for row in texts] == [list(row) for row in rows]
    assert [row["id"] for row in texts] == [row["id"] or "" for row in rows]
    return rows


def assert_each_exactly_once(out: Path, count: int) -> None:
    """A row for each image, an object for each content, complete and true to its record; nothing else is left."""
    rows = rows_of(out)
    assert [row["row"] for row in rows] == list(range(count + COPIES))
    assert {row["status"] for row in rows} == {"done"}
    assert len({row["id"] for row in rows}) == count
    assert sorted(path.name for path in (out / "objects").iterdir()) == sorted({row["id"] for row in rows})
    for row in rows:
        folder = out / "objects" / row["id"]
        record = read_record(folder)
        assert record is not None
        assert is_done(folder, record, {})
        assert row["files.object.ply.sha256"] == record["files"]["object.ply"]["sha256"]
        assert {path.name for path in folder.iterdir()} == {*record["files"], "result.json"}
    assert not list((out / ".batch" / "tries").iterdir())


# ---------------------------------------------------------------- what goes in and comes out


def test_rows_errors_repeats_and_resuming(model: Path, tmp_path: Path) -> None:
    images = draw(tmp_path / "in", 2)
    (images / "deep").mkdir()
    (images / "deep" / "bad.png").write_bytes(b"no image")
    (images / ".hidden.png").write_bytes(b"no image")
    (images / "notes.txt").write_text("no image")
    seen: list[tuple[str, int, int]] = []
    done = generate_many(images, images / "out", quick(model), workers=0, on_step=lambda *step: seen.append(step))
    assert done == (6, 2, 1, str(images / "out" / "results.parquet"))
    assert seen == [("images", number, 6) for number in range(1, 7)]
    rows = rows_of(images / "out")
    assert [row["name"] for row in rows] == ["00000", "00001", "copy-0", "copy-1", "copy-2", "bad"]
    assert [row["made"] for row in rows] == [True, True, False, False, False, False]
    assert rows[0]["id"] == rows[2]["id"] != rows[1]["id"]
    assert "ImageError" in rows[5]["error"]
    record = read_record(images / "out" / "objects" / rows[0]["id"])
    assert record is not None
    for key, value in (("gaussians", record["gaussians"]), ("settings.model", str(model)), ("seed", 0)):
        assert rows[0][key] == value
    assert Image.open(images / "out" / "contact" / "001.jpg").width > 900
    again = generate_many(images, images / "out", quick(model), workers=0)
    assert (again.total, again.made, again.errors) == (6, 0, 1)


def test_manifests_patterns_and_lists_name_images(model: Path, tmp_path: Path) -> None:
    images = draw(tmp_path / "in", 2)
    manifest = tmp_path / "list.csv"
    manifest.write_text("image,price\nin/00000.png,3\nin/missing.png,\n", encoding="utf-8-sig")
    generate_many(manifest, tmp_path / "a", quick(model), workers=0)
    first, second = rows_of(tmp_path / "a")
    assert (first["status"], first["manifest.price"], second["status"]) == ("done", "3", "error")
    assert "missing.png" in second["error"]
    table = parquet.read_table(tmp_path / "a" / "results.parquet").select(["source"]).rename_columns(["image"])
    parquet.write_table(table, tmp_path / "list.parquet")
    for number, source in enumerate((tmp_path / "list.parquet", f"{images}/0*.png", [images / "00000.png"])):
        out = tmp_path / f"b{number}"
        assert generate_many(source, out, quick(model), workers=0).total == (2, 2, 1)[number]
        assert rows_of(out)[0]["id"] == first["id"]


def test_results_on_a_remote_file_system(model: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(draw(tmp_path / "in", 2)), "/photos", recursive=True)
    done = generate_many("memory://photos", "memory://results", quick(model), workers=0)
    assert (done.total, done.made, done.errors) == (5, 2, 0)
    folders = memory.ls("/results/objects", detail=False)
    assert len(folders) == 2
    record = json.loads(memory.cat_file(f"{folders[0]}/result.json"))
    assert memory.size(f"{folders[0]}/object.ply") == record["files"]["object.ply"]["bytes"]
    assert memory.exists("/results/results.csv")
    assert generate_many("memory://photos/*.png", "memory://results", quick(model), workers=0).made == 0
    memory.rm_file(f"{folders[0]}/object.ply")  # an upload that is not whole is made again
    assert generate_many("memory://photos", "memory://results", quick(model), workers=0).made == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"images": "nowhere"}, "nowhere"), ({"images": []}, "at least one"), ({"images": "empty.csv"}, "column image"),
        ({"engine": "spark"}, "spark"), ({"workers": -1}, "-1"), ({"address": "auto"}, "address"),
        ({"engine": "ray", "workers": 0}, "workers"), ({"out": "nosuch://place"}, "nosuch"),
        ({"engine": "ray", "workers": 1, "address": "127.0.0.1:1"}, "127.0.0.1:1"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(
    arguments: dict[str, Any], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").write_text("picture\na.png\n")
    Path("in").mkdir()
    Path("in/a.png").write_bytes(b"")
    with pytest.raises(InputError, match=word):
        generate_many(**{"images": "in", "out": "out", "workers": 0} | arguments)


def test_a_missing_model_stops_before_the_first_image(tmp_path: Path) -> None:
    images = draw(tmp_path / "in", 1)
    with pytest.raises(WeightsError):
        generate_many(images, tmp_path / "out", GenerateSettings(model=str(tmp_path)), workers=0)


def test_two_runs_do_not_share_a_folder(model: Path, tmp_path: Path) -> None:
    images = draw(tmp_path / "in", 1)

    def second(*_: object) -> None:
        generate_many(images, tmp_path / "out", quick(model), workers=0)

    with pytest.raises(InputError, match="in use"):
        generate_many(images, tmp_path / "out", quick(model), workers=0, on_step=second)


def test_an_image_that_ends_its_processes_becomes_an_error(model: Path, tmp_path: Path) -> None:
    images = draw(tmp_path / "in", 1)
    generate_many(images, tmp_path / "out", quick(model), workers=0)
    (name,) = {row["id"] for row in rows_of(tmp_path / "out")}
    (tmp_path / "out" / ".batch" / "tries" / name).write_text("." * TRIES)
    assert generate_many(images, tmp_path / "out", quick(model), workers=0).errors == 1
    assert f"{TRIES} processes" in rows_of(tmp_path / "out")[0]["error"]
    assert generate_many(images, tmp_path / "out", quick(model), workers=0).errors == 0


def test_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = draw(tmp_path / "in", 1)
    to = ["-o", str(tmp_path / "out")]
    command = ["batch", str(images), *to, "--model", str(model), "--no-prepare", "--workers", "0"]
    assert main(command) == 0
    assert "4 images: 1 made, 0 errors" in capsys.readouterr().out
    (images / "bad.png").write_bytes(b"")
    assert main(command) == 1
    assert "1 of 5 images failed" in capsys.readouterr().err


# ---------------------------------------------------------------- kills


class Driver:
    """The command in a process of its own, with what it has made so far."""

    def __init__(self, images: Path, out: Path, model: Path, *options: str) -> None:
        self.out = out
        command = [sys.executable, "-m", "image3d_nb", "batch", str(images), "-o", str(out), "--model", str(model)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([*command, "--no-prepare", "--workers", "2", *options], env=environment)

    def made(self) -> int:
        return len(list(self.out.glob("objects/*/result.json")))

    def wait_for(self, count: int, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while self.made() < count:
            assert self.process.poll() is None, "it ended too early"
            assert time.monotonic() < end, f"{self.made()} objects in {seconds} s"
            time.sleep(0.02)

    def workers(self) -> list[psutil.Process]:
        """Processes of the local engine."""
        return [each for each in psutil.Process(self.process.pid).children() if "image3d_nb.batch" in each.cmdline()]


def test_local_kills_of_workers_and_driver(model: Path, tmp_path: Path) -> None:
    images, out = draw(tmp_path / "in", COUNT), tmp_path / "out"
    first = Driver(images, out, model)
    for count in (10, 20):
        first.wait_for(count)
        first.workers()[0].kill()
    first.wait_for(40)
    left = first.workers()
    first.process.kill()
    first.process.wait()
    assert 40 <= first.made() < COUNT
    assert not (out / "results.parquet").exists()
    psutil.wait_procs(left, 60)
    assert not any(each.is_running() for each in left)  # they end without their driver
    again = Driver(images, out, model)
    again.wait_for(60)
    again.workers()[-1].kill()
    assert again.process.wait(300) == 0
    assert_each_exactly_once(out, COUNT)


@contextlib.contextmanager
def ray_cluster() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a cluster of two nodes, and its program, which removes the second at a line of input."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.ray_cluster"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        yield program.stdout.readline().strip(), program
    finally:
        program.stdin.close()
        program.wait(120)


def actors(cluster: int) -> list[psutil.Process]:
    """Actors that hold a pipeline, below the program of a cluster: Ray writes the class into a process's title."""
    found = []
    for each in psutil.Process(cluster).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "Maker" in " ".join(each.cmdline()):
                found.append(each)
    return found


def test_ray_kills_of_actors_a_node_and_the_driver(model: Path, tmp_path: Path) -> None:
    images, out = draw(tmp_path / "in", COUNT), tmp_path / "out"
    with ray_cluster() as (address, program):
        assert address
        assert program.stdin is not None
        assert program.stdout is not None
        first = Driver(images, out, model, "--engine", "ray", "--address", address)
        for count in (10, 15, 20):
            first.wait_for(count)
            actors(program.pid)[0].kill()
        first.wait_for(25)
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.stdout.readline() == "removed\n"
        first.wait_for(30)
        first.process.kill()
        first.process.wait()
        assert first.made() < COUNT
        assert not (out / "results.parquet").exists()
        again = Driver(images, out, model, "--engine", "ray", "--address", address)
        assert again.process.wait(400) == 0
    assert_each_exactly_once(out, COUNT)


def test_ray_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "SILENCE", 0.2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with engines._Watch("2 actors") as watch:
            for _ in range(20):  # images come
                watch.last = time.monotonic()
                watch.join(0.02)
            assert not said
            while not said:
                watch.join(0.02)
        watch.join()  # it ends with its block
    assert "2 actors" in str(said[0].message)
