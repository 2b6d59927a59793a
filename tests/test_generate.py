"""generate_one: what it writes, what it skips the second time, and that it never leaves half a result."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import image3d_nb as i3d
from image3d_nb import GenerateSettings, generate, generate_one, meshing
from image3d_nb._files import CONVENTIONS, data_dir
from image3d_nb.errors import Cancelled, ImageError, InputError, WeightsError
from image3d_nb.generate import FORMATS, RECORD, STAGES, USUAL_FORMATS, image_name, read_record
from image3d_nb.hub.weights import model_hash
from image3d_nb.images.caller import warn
from image3d_nb.io import formats
from image3d_nb.pipelines.lgm import LGMFullPipeline

MUG = i3d.sample("mug")
QUICK = GenerateSettings(formats=("splat",))
FILES = {"mug.ply", "mug.splat", "mug.html", "mug.gif", "input.png", "views.png"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files of the mug. Tests must not change it."""
    folder = tmp_path_factory.mktemp("made") / "deep" / "mug"
    generate_one(MUG, folder)
    return folder


def test_numbers_of_numpy_are_numbers() -> None:
    settings = GenerateSettings(seed=np.int64(0), steps=np.int32(2), elevation=np.float32(30))
    assert json.loads(json.dumps(asdict(settings)))["elevation"] == 30
    assert i3d.generator(np.int64(3)).initial_seed() == 3
    with pytest.raises(InputError, match="seed"):
        i3d.generator(np.True_)


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A folder with the mug's .splat, which a test may change."""
    generate_one(MUG, tmp_path / "mug", QUICK)
    return tmp_path / "mug"


def tree(folder: Path) -> dict[str, bytes]:
    """Path and content of all files below a folder, hidden ones included."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Log(list[tuple[str, int, int]]):
    """An ``on_step`` that records its calls."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.append((stage, done, total))


def test_the_files_are_those_of_the_record(made: Path) -> None:
    record = read_record(made)
    assert record is not None
    assert set(record["files"]) == FILES
    assert {path.name for path in made.iterdir()} == FILES | {RECORD}
    assert list(made.parent.iterdir()) == [made]  # no temporary folder is left
    for name, description in record["files"].items():
        content = (made / name).read_bytes()
        assert description == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_record_says_how_the_object_was_made(made: Path) -> None:
    record = json.loads((made / RECORD).read_text(encoding="utf-8"))
    digest = hashlib.sha256(MUG.read_bytes()).hexdigest()
    assert record["schema_version"] == 1
    assert record["input"] == {"name": "mug", "sha256": digest, "width": 512, "height": 512}
    assert set(record["model"]) == {"name", "sha256", "licence", "commit"}
    assert (record["model"]["name"], len(record["model"]["sha256"])) == ("tiny", 64)
    assert set(record["versions"]) == {"python", "image3d_nb", "torch", "diffusers", "numpy"}
    assert record["settings"]["formats"] == list(USUAL_FORMATS)
    assert (record["seed"], record["settings"]["seed"], record["steps"]) == (0, 0, 1)
    assert set(record["seconds"]) == {*STAGES, "total"}
    assert record["seconds"]["total"] == pytest.approx(sum(record["seconds"][s] for s in STAGES), abs=0.01)
    assert 1e8 < record["peak_memory"] < 2 * 2**30
    assert record["platform"]
    assert record["finished"].endswith("+00:00")


def test_the_object_is_that_of_the_pipeline(made: Path, tiny_pipe: LGMFullPipeline) -> None:
    result = tiny_pipe(i3d.load_image(MUG), generator=i3d.generator(0))
    stored = i3d.load(made / "mug.ply")
    assert len(stored) == len(result.gaussians) == (read_record(made) or {})["gaussians"]
    torch.testing.assert_close(stored.means, result.gaussians.means, atol=1e-5, rtol=1e-4)
    assert len(i3d.load(made / "mug.splat")) == len(stored)
    assert Image.open(made / "input.png").tobytes() == result.input.tobytes()
    views = Image.open(made / "views.png")
    assert views.height == result.images[0].height
    assert views.crop((0, 0, *result.images[0].size)).tobytes() == result.images[0].tobytes()
    assert Image.open(made / "mug.gif").n_frames > 8
    assert (made / "mug.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_second_run_does_nothing(quick: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in quick.iterdir()}
    log = Log()
    assert generate_one(MUG, quick, QUICK, on_step=log) == read_record(quick)
    assert log == []
    assert {path: path.stat().st_mtime_ns for path in quick.iterdir()} == times


def test_a_second_run_loads_no_large_library(quick: Path) -> None:
    code = (
        "import sys; from image3d_nb.generate import *; "
        "generate_one(sys.argv[1], sys.argv[2], GenerateSettings(formats=('splat',))); "
        "assert not {'torch', 'diffusers', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, MUG, quick], check=True)


def damage(folder: Path) -> None:
    content = bytearray((folder / "mug.splat").read_bytes())
    content[-1] ^= 1
    (folder / "mug.splat").write_bytes(content)


def of_another_version(folder: Path) -> None:
    record = read_record(folder) or {}
    record["versions"]["image3d_nb"] = "0.0.0"
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        damage,
        of_another_version,
        lambda folder: (folder / "views.png").unlink(),
        lambda folder: (folder / RECORD).unlink(),
        lambda folder: (folder / RECORD).write_text("{"),
        lambda folder: (folder / RECORD).write_text("[]"),
    ],
    ids=["damaged file", "other version", "missing file", "no record", "broken record", "another's record"],
)
def test_an_incomplete_result_is_made_again(quick: Path, change: Callable[[Path], object]) -> None:
    good = (quick / "mug.splat").read_bytes()
    change(quick)
    log = Log()
    generate_one(MUG, quick, QUICK, on_step=log)
    assert log
    assert (quick / "mug.splat").read_bytes() == good
    assert set(tree(quick)) == {"mug.splat", "input.png", "views.png", RECORD}


def test_other_settings_make_it_again_and_leave_no_stale_files(quick: Path) -> None:
    (quick / "notes.txt").write_text("mine")
    record = generate_one(MUG, quick, GenerateSettings(seed=1, formats=("ply",)))
    assert (record["seed"], record["settings"]["formats"]) == (1, ["ply"])
    assert set(tree(quick)) == {"mug.ply", "input.png", "views.png", "notes.txt", RECORD}
    assert read_record(quick) == record


def test_another_image_and_force_make_it_again(quick: Path, tmp_path: Path) -> None:
    first, log = read_record(quick), Log()
    generate_one(MUG, quick, QUICK, on_step=log, force=True)
    assert log
    other = shutil.copy(i3d.sample("robot"), tmp_path / "mug.png")
    record = generate_one(other, quick, QUICK)
    assert first is not None
    assert record["input"]["sha256"] != first["input"]["sha256"]
    assert record["files"]["mug.splat"] != first["files"]["mug.splat"]


@pytest.mark.parametrize(
    ("image", "folder", "kind"), [("mug/input.png", "mug", "ply"), ("duck.gif", ".", "gif"), ("a.png", ".", "ply")]
)
def test_no_file_of_the_user_is_replaced(
    image: str, folder: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mug").mkdir()
    i3d.load_image(MUG).convert("RGB").save(image)
    Path("views.png").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"views.png" if image == "a.png" else "image itself"):
        generate_one(image, folder, GenerateSettings(formats=(kind,)))
    assert tree(tmp_path) == before
    if image == "a.png":
        generate_one(image, folder, QUICK, force=True)
        assert set(tree(tmp_path)) == {"a.png", "a.splat", "input.png", "views.png", RECORD}


def test_a_move_that_was_killed_does_not_stop_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(temporary: Path, target: Path) -> None:
        if target.name == "mug.splat":
            raise KeyboardInterrupt
        temporary.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr(generate, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            generate_one(MUG, tmp_path / "mug", QUICK)
    assert (tmp_path / "mug" / "input.png").exists()
    generate_one(MUG, tmp_path / "mug", GenerateSettings(formats=("ply",)))
    assert set(tree(tmp_path / "mug")) == {"mug.ply", "input.png", "views.png", RECORD}


def test_progress_is_reported_in_order(tmp_path: Path) -> None:
    log = Log()
    generate_one(MUG, tmp_path / "mug", QUICK, on_step=log)
    assert log == [("load", 0, 1), ("load", 1, 1), ("generate", 1, 1), ("files", 0, 1), ("files", 1, 1)]


def test_the_home_folder_may_be_in_the_path(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = read_record(quick)
    shutil.copy(MUG, quick.parent / "mug.png")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(quick.parent))
    assert generate_one("~/mug.png", "~/mug", QUICK) == record  # nothing to do


def test_images_without_a_name_are_called_object(tmp_path: Path) -> None:
    pixels = np.asarray(i3d.load_image(MUG))
    record = generate_one(pixels, tmp_path / "a", QUICK)
    assert "object.splat" in record["files"]
    log = Log()
    assert generate_one(Image.fromarray(pixels), tmp_path / "a", QUICK, on_step=log) == record  # the same pixels
    assert log == []


class After:
    """A ``cancelled`` that returns False ``times`` times, then True."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("times", [0, 1, 2, 3, 4])  # at once, after loading, the step, before the file, at the end
def test_cancelled_leaves_nothing(tmp_path: Path, times: int) -> None:
    with pytest.raises(Cancelled):
        generate_one(MUG, tmp_path / "mug", QUICK, cancelled=After(times))
    assert list(tmp_path.iterdir()) == []


def test_cancelled_keeps_the_result_that_was_there(quick: Path) -> None:
    before = tree(quick.parent)
    with pytest.raises(Cancelled):
        generate_one(MUG, quick, GenerateSettings(seed=1, formats=("splat",)), cancelled=After(4))
    assert tree(quick.parent) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", ""), ("model", None), ("seed", -1), ("seed", 0.5), ("seed", True), ("seed", 2**63), ("steps", 0),
        ("steps", 1.5), ("guidance", -1), ("guidance", float("nan")), ("guidance", "5"), ("formats", ()),
        ("formats", "ply"), ("formats", ("ply", "exe")), ("formats", None), ("convention", "y-up"), ("prepare", 1),
        ("elevation", 91), ("elevation", float("inf")), ("device", "GPU!"), ("device", 0), ("lgm", ""),
        ("revision", 3), ("candidates", 0), ("candidates", 1.5), ("memory", "tiny"), ("background", "keep"),
    ],
)  # fmt: skip
def test_settings_are_checked(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} must"):
        GenerateSettings(**{name: value})


def test_settings_and_function_travel_to_other_processes() -> None:
    settings = GenerateSettings(seed=3, formats=["gif", "ply", "gif"])  # type: ignore[arg-type]
    assert settings.formats == ("gif", "ply")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert hash(settings) == hash(pickle.loads(pickle.dumps(settings)))
    assert pickle.loads(pickle.dumps(generate_one)) is generate_one


@pytest.mark.parametrize(
    ("image", "settings", "error", "message"),
    [
        ("no such file.png", QUICK, ImageError, "no such file"),
        (b"not a picture", QUICK, ImageError, "bytes"),
        (Image.new("RGB", (64, 64), "grey"), QUICK, ImageError, "differs"),
        (MUG, GenerateSettings(prepare=False, elevation=90, device="nonsense"), InputError, "nonsense"),
        (MUG, GenerateSettings(steps=51), InputError, "at most 50"),
        (Image.new("RGB", (64, 32)), GenerateSettings(prepare=False), InputError, "square"),
        (MUG, GenerateSettings(model="huge"), WeightsError, "huge"),
    ],
)
def test_an_error_leaves_nothing(
    tmp_path: Path, image: Any, settings: GenerateSettings, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        generate_one(image, tmp_path / "out", settings)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for folder in (tmp_path / "out", tmp_path / "out" / "mug"):
        with pytest.raises(InputError, match="out_dir"):
            generate_one(MUG, folder, QUICK)
    assert tree(tmp_path) == {"out": b"mine"}


@pytest.mark.parametrize("part", ["lgm/*.safetensors", "unet/*.safetensors", "unet/config.json", "model_index.json"])
def test_damaged_weights(tmp_path: Path, part: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(data_dir() / "models" / "tiny", model)
    (file,) = model.glob(part)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(WeightsError, match=file.parent.name):
        generate_one(MUG, tmp_path / "out", GenerateSettings(model=str(model)))
    assert list(tmp_path.iterdir()) == [model]


def test_new_weights_in_the_same_folder_are_noticed(tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(data_dir() / "models" / "tiny", model)
    settings = GenerateSettings(model=str(model), formats=("splat",))
    first = generate_one(MUG, out, settings)
    (file,) = (model / "lgm").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-2:] = b"\0\0"  # one number of the last tensor
    file.write_bytes(content)
    assert generate_one(MUG, out, settings)["model"]["sha256"] != first["model"]["sha256"]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("a/mug.tar.png", "mug.tar"),
        (Path("Große Tasse (2).jpeg"), "Große Tasse (2)"),
        ("https://example.org/pictures/red%20cup.png?size=9", "red cup"),
        ("https://example.org/", "object"),
        ("...png", "object"),
        ("what:is*this?.png", "what_is_this_"),
        ("x" * 300 + ".png", "x" * 100),
        (b"bytes", "object"),
    ],
)
def test_names(image: Any, name: str) -> None:
    assert image_name(image) == name


def test_the_light_lists_are_those_of_io(tmp_path: Path) -> None:
    """generate.py cannot import io at its top (io imports torch), so it repeats these names."""
    known = {row.suffix.removeprefix(".") for row in formats() if row.write}
    assert set(FORMATS) - {"html", "gif"} <= known
    i3d.save(i3d.Gaussians.from_lgm(torch.rand(1, 4, 14)), tmp_path / "a.ply")
    for convention in CONVENTIONS:
        i3d.load(tmp_path / "a.ply", convention)


def test_a_separate_lgm_candidates_and_low_memory(tmp_path: Path) -> None:
    lgm = data_dir() / "models" / "tiny" / "lgm"
    settings = GenerateSettings(lgm=str(lgm), candidates=2, memory="low", formats=("splat",))
    record = generate_one(MUG, tmp_path / "mug", settings)
    assert record["settings"]["candidates"] == 2
    assert record["model"]["lgm_sha256"] == model_hash(lgm)
    assert "mug.splat" in record["files"]
    assert generate_one(MUG, tmp_path / "mug", settings) == record


def test_the_record_has_the_doubts_about_the_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def doubted(*_: object, **__: object) -> i3d.Mesh:
        warn("light leaks through it")
        return i3d.Mesh(np.eye(3), np.array([[0, 1, 2]]))

    monkeypatch.setattr(meshing, "to_mesh", doubted)
    with pytest.warns(UserWarning, match="light"):
        record = generate_one(MUG, tmp_path / "mug", GenerateSettings(formats=("stl",)))
    assert record["warnings"] == ["light leaks through it"]


def test_a_mesh_on_request(tmp_path: Path) -> None:
    record = generate_one(MUG, tmp_path / "mug", GenerateSettings(formats=("glb", "stl", "spz", "sog")))
    assert {"mug.glb", "mug.stl", "mug.spz", "mug.sog"} <= set(record["files"])
    mesh, grey = i3d.load(tmp_path / "mug" / "mug.glb"), i3d.load(tmp_path / "mug" / "mug.stl")
    assert i3d.mesh_report(mesh).watertight
    assert mesh.texture is not None
    assert len(grey.faces) == len(mesh.faces)
    assert len(i3d.load(tmp_path / "mug" / "mug.spz")) == record["gaussians"]
