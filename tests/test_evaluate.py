"""Objects beside the truth: equal ones are perfect, moved ones are off by what they were moved."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import t

import image3d_nb as i3d
from image3d_nb import evaluation
from image3d_nb.cli import main
from image3d_nb.course._exercise import file_of
from image3d_nb.errors import InputError
from image3d_nb.metrics import lpips, spread
from image3d_nb.pipelines.lgm import LGMFullPipeline
from image3d_nb.record import read_record
from image3d_nb.view.sheets import as_images, png_bytes, sheet
from tests.test_arena import blob


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Made and true boxes: one equal, one moved by 0.05 along x; and one of either that the other lacks."""
    made, truth = tmp_path / "made", tmp_path / "truth"
    box = solid()
    for folder in (made, truth):
        folder.mkdir()
        i3d.save(box, folder / "equal.glb")
    i3d.save(dataclasses.replace(box, vertices=box.vertices + np.float32([0.05, 0, 0])), made / "moved.glb")
    i3d.save(box, truth / "moved.glb")
    i3d.save(box, made / "extra.glb")
    i3d.save(box, truth / "lost.glb")
    return made, truth


def solid() -> i3d.Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) * 0.3
    faces = [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]  # fmt: skip
    return i3d.Mesh(corners, np.array(faces, np.int32))


def test_meshes_against_meshes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = i3d.evaluate(*folders, views=3, size=48, threshold=0.03)
    assert list(result.rows) == ["equal", "moved"]
    assert (result.without_truth, result.not_made) == (["extra"], ["lost"])
    equal, moved = result.rows["equal"], result.rows["moved"]
    assert (equal["psnr"], equal["ssim"]) == (100, pytest.approx(1))
    assert equal["f_score"] == 1
    assert equal["chamfer"] < 0.01 < moved["chamfer"] < 0.05
    assert moved["f_score"] < 0.9
    mean, sd, low, high, count = result.summary["chamfer"]
    assert mean == pytest.approx((equal["chamfer"] + moved["chamfer"]) / 2)
    assert low < mean < high
    assert count == 2
    assert sd > 0
    assert "| chamfer, world units |" in str(result)
    assert f"torch {torch.__version__}" in str(result)
    assert "1 of the truth not made: lost" in str(result)
    result.save(tmp_path / "report.csv")
    with (tmp_path / "report.csv").open() as stream:
        assert float(list(csv.DictReader(stream))[1]["chamfer"]) == moved["chamfer"]
    with pytest.raises(InputError, match="docx"):
        result.save(tmp_path / "report.docx")


def test_renders_against_views_and_their_cameras(tmp_path: Path) -> None:
    thing, cameras = blob(3), i3d.orbit_cameras(elevation=20, azimuth=(10, 130), size=(40, 32))
    views = tmp_path / "truth" / "blob"
    views.mkdir(parents=True)
    frames = []
    for number, drawn in enumerate(i3d.render(thing, cameras)):
        Image.fromarray((drawn.numpy() * 255).round().astype(np.uint8)).save(views / f"r_{number}.png")
        frames.append({"file_path": f"./r_{number}", "transform_matrix": cameras.c2w[number].tolist()})
    across = 2 * math.atan(math.tan(math.radians(cameras.fovy) / 2) * 40 / 32)
    (views / "transforms.json").write_text(json.dumps({"camera_angle_x": across, "frames": frames}))
    (tmp_path / "made").mkdir()
    i3d.save(thing, tmp_path / "made" / "blob.ply")
    right = i3d.evaluate(tmp_path / "made", tmp_path / "truth").rows["blob"]
    assert right["psnr"] > 45  # eight bits
    (views / "transforms.json").unlink()  # now two cameras at elevation 0
    assert i3d.evaluate(tmp_path / "made", tmp_path / "truth").rows["blob"]["psnr"] < 30
    (views / "transforms.json").write_text("{}")
    with pytest.raises(InputError, match="camera_angle_x"):
        i3d.evaluate(tmp_path / "made", tmp_path / "truth")


def test_results_have_their_views_consistency(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = i3d.GenerateSettings(formats=("ply",))
    record = i3d.generate_one(i3d.sample("mug"), tmp_path / "made" / "mug", settings)
    truth = tmp_path / "truth" / "mug"
    truth.mkdir(parents=True)
    row = Image.open(tmp_path / "made" / "mug" / "views.png")
    width = row.height
    for k in range(4):
        row.crop((k * (width + 8), 0, k * (width + 8) + width, width)).save(truth / f"{k}.png")
    report = tmp_path / "report.json"
    command = ["evaluate", str(tmp_path / "made"), "--against", str(tmp_path / "truth"), "-o", str(report), "--quiet"]
    assert main(command) == 0
    assert "| view_consistency, dB |" in capsys.readouterr().out
    stored = json.loads(report.read_text())
    scores = stored["rows"]["mug"]
    assert scores["psnr"] == pytest.approx(scores["view_consistency"], abs=1e-4)  # the truth is its own four views
    assert stored["summary"]["psnr"]["low"] is None  # one object has no interval
    assert stored["versions"]["torch"] == record["versions"]["torch"]


def result(folder: Path, thing: i3d.Gaussians, elevation: float = 0.0, **record: object) -> None:
    """A result of Gaussians, with its four views from an elevation; its record as of LGM, changed by ``record``."""
    folder.mkdir(parents=True)
    i3d.save(thing, folder / "blob.ply")
    drawn = i3d.render(thing, i3d.orbit_cameras(elevation, size=64))
    (folder / "views.png").write_bytes(png_bytes(sheet(as_images(drawn), columns=4)))
    settings = {"convention": "3dgs", "elevation": elevation}
    made = {"files": {"blob.ply": {}, "views.png": {}}, "settings": settings, "native": "gaussians", "steps": 1}
    (folder / "result.json").write_text(json.dumps(made | record))


def test_the_views_consistency_is_seen_from_their_elevation_and_of_views_alone(tmp_path: Path) -> None:
    cases: dict[str, dict[str, object]] = {
        "low": {}, "high": {"elevation": 30.0}, "mesh": {"native": "mesh"}, "no_steps": {"steps": None},
        "said": {"views": "renders"},
    }  # fmt: skip
    (tmp_path / "truth").mkdir()
    for name, record in cases.items():
        result(tmp_path / "made" / name, blob(1), **record)  # type: ignore[arg-type]
        i3d.save(blob(1), tmp_path / "truth" / f"{name}.ply")
    found = i3d.evaluate(tmp_path / "made", tmp_path / "truth", views=1, size=32).rows
    assert {name for name in found if "view_consistency" in found[name]} == {"low", "high"}
    assert min(found[name]["view_consistency"] for name in ("low", "high")) > 45  # eight bits


def test_two_objects_of_one_name_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    made, truth = tmp_path / "batch", folders[1]
    for number in ("0123", "4567"):
        result(made / number, blob(1))
    (made / "results.csv").write_text("id,name\n0123,equal\n4567,equal\n")  # a/equal.png and b/equal.png
    with pytest.raises(InputError, match="equal"):
        i3d.evaluate(made, truth)
    with pytest.raises(InputError, match="equal"):
        i3d.blind_test([made, folders[0]], tmp_path / "votes.jsonl")
    (truth / "equal").mkdir()  # a folder of images beside equal.glb
    with pytest.raises(InputError, match="equal"):
        i3d.evaluate(folders[0], truth)


def test_the_home_folder_may_be_in_any_path(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_pipe: LGMFullPipeline
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made, truth = (f"~/{folder.relative_to(tmp_path)}" for folder in folders)
    assert i3d.evaluate(made, truth, views=1, size=16, points=10).rows
    test = i3d.blind_test([made, truth])
    test.vote("left")
    assert test.add("~/votes.jsonl") == 0
    tiny_pipe.save_pretrained("~/model")
    assert (tmp_path / "model" / "model_index.json").is_file()
    assert file_of(f"{truth}/equal.glb", ".glb", i3d.Mesh)
    (tmp_path / "result.json").write_text("{}")
    assert read_record("~") == {}


def test_a_report_that_cannot_be_written_is_refused_first(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(evaluation, "_measure")  # it would be called
    report = str(tmp_path / "nowhere" / "report.json")
    assert main(["evaluate", str(folders[0]), "--against", str(folders[1]), "-o", report]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_folders_that_do_not_fit(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for truth, word in ((tmp_path / "nowhere", "nowhere"), (tmp_path / "empty", "names")):
        with pytest.raises(InputError, match=word):
            i3d.evaluate(folders[0], truth)
    with pytest.raises(InputError, match="threshold"):
        i3d.evaluate(*folders, threshold=0)
    assert main(["evaluate", str(folders[0]), "--against", str(tmp_path / "empty")]) == 1


def test_spread_is_students() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    mean, sd, low, high, count = spread(values)
    assert (mean, count) == (4.0, 4)
    assert sd == pytest.approx(np.std(values, ddof=1))
    assert (low, high) == pytest.approx(t.interval(0.95, 3, loc=4.0, scale=sd / 2))
    with pytest.raises(InputError, match="number"):
        spread([])


# ---------------------------------------------------------------- LPIPS


def alexnet_weights(path: Path) -> Path:
    """Weights in the shape of the package's; random, since it ships without AlexNet's."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)]
    state = {}
    for k, (layer, (out, into, side)) in enumerate(zip((0, 3, 6, 8, 10), shapes, strict=True)):
        name = f"net.slice{k + 1}.{layer}"
        state[f"{name}.weight"] = torch.randn(out, into, side, side, generator=draw) / (into * side * side) ** 0.5
        state[f"{name}.bias"] = torch.randn(out, generator=draw) * 0.1
        state[f"lin{k}.model.1.weight"] = torch.rand(1, out, 1, 1, generator=draw)
    torch.save(state, path)
    return path


def test_lpips_is_zero_for_equal_images_and_grows(tmp_path: Path) -> None:
    weights = alexnet_weights(tmp_path / "alex.pth")
    draw = torch.Generator().manual_seed(1)
    image, noise = torch.rand(2, 3, 64, 64, generator=draw), torch.rand(2, 3, 64, 64, generator=draw)
    near, far = (lpips(image, image.lerp(noise, part), weights) for part in (0.1, 0.5))
    assert lpips(image, image, weights).tolist() == [0, 0]
    assert (near > 0).all()
    assert (near < far).all()
    single, several = lpips(image[:1], noise[:1], weights), lpips(image, noise, weights)
    torch.testing.assert_close(single, several[:1], rtol=1e-5, atol=0)
    torch.save({}, tmp_path / "none.pth")
    with pytest.raises(InputError, match="alex"):
        lpips(image, image, tmp_path / "none.pth")
    with pytest.raises(InputError, match="64"):
        lpips(image[..., :32], image[..., :32], weights)
