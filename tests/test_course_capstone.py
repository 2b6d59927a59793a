"""The capstone's checks read folders: a right one of each kind, and the likeliest faults."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import image3d_nb as i3d
from image3d_nb.course import check
from image3d_nb.generate import GenerateSettings, generate_one
from image3d_nb.publish import publish_model, publish_page

REPORT = "# Report\n\n- Right: the nose and its colour are right.\n- **Wrong:** the fins are blurred a lot.\n"
REPORT += "- Guessed: the whole back, nobody drew it.\n"
PLY = GenerateSettings(formats=("ply", "html"))


@pytest.fixture(autouse=True)
def _own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE3D_PROGRESS", str(tmp_path / "course.json"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capstone as it should be."""
    folder = tmp_path_factory.mktemp("finished") / "capstone"
    drawing = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(drawing).ellipse((40, 10, 88, 118), fill="orange")
    generate_one(drawing, folder / "object", PLY)
    publish_page([folder / "object"], folder / "page", title="Mine")
    publish_model("tiny", folder / "model")
    (folder / "report.md").write_text(REPORT)
    return folder


@pytest.fixture
def mine(finished: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "capstone"))


def test_the_right_folders_are_right(finished: Path) -> None:
    for number, part in (("13.1", "object"), ("13.2", "page"), ("13.4", "model"), ("13.5", ".")):
        assert check(number, finished / part), check(number, finished / part)
        assert check(number, str(finished / part))


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text("utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), "utf-8")

    return change


def add(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


FAULTS: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("13.1", "object", remove("object/result.json"), "there is none that can be read"),
    ("13.1", "object", remove("object/object.ply"), "it is missing"),
    ("13.1", "object", add("object/object.ply", b"ply\n"), "changed after"),
    ("13.1", "object", add("object/result.json", b"{}"), "lists none"),
    ("13.2", "page", remove("page/index.html"), "there is none"),
    ("13.2", "page", replace("page/index.html", "<title>Mine</title>", "<title></title>"), "title"),
    ("13.2", "page", replace("page/index.html", "<main>", '<script src="https://cdn.example/x.js"></script>'), "host"),
    ("13.2", "page", replace("page/index.html", "<main>", '<img src="//cdn.example/x.png">'), "host"),
    ("13.2", "page", replace("page/index.html", 'src="object/', 'src="/home/me/object/'), "relative"),
    ("13.2", "page", remove("page/object/views.png"), "views.png is not"),
    ("13.2", "page", add("page/large.bin", bytes(16_000_000)), "15,000,000"),
    ("13.2", "page", add("page/object/object.html", b"<p>nothing</p>"), "viewer"),
    ("13.4", "model", remove("model/README.md"), "there is none"),
    ("13.4", "model", replace("model/README.md", "license: cc0-1.0\n", ""), "licence"),
    ("13.4", "model", replace("model/README.md", "pipeline_tag: image-to-3d\n", ""), "pipeline_tag"),
    ("13.4", "model", replace("model/README.md", "library_name: diffusers\n", ""), "library_name"),
    ("13.4", "model", replace("model/README.md", "## Data", "Say here what it was trained on\n## Data"), "Say here"),
    ("13.4", "model", add("model/unet/pytorch_model.bin", b"\x80"), "pytorch_model.bin"),
    ("13.4", "model", remove("model/unet/config.json"), "load"),
    ("13.5", ".", remove("report.md"), "report.md"),
    ("13.5", ".", remove("model"), "model/"),
    ("13.5", ".", add("report.md", b"Right: yes\nWrong: no\n"), "five words"),
    ("13.5", ".", add("object/object.ply", b"ply\n"), "changed after"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "part", "spoil", "complaint"), FAULTS)
def test_faults_are_told(number: str, part: str, spoil: Callable[[Path], object], complaint: str, mine: Path) -> None:
    spoil(mine)
    verdict = check(number, mine / part)
    assert not verdict
    assert complaint in repr(verdict)


def test_a_sample_is_no_image_of_ones_own(tmp_path: Path) -> None:
    path = i3d.sample("mug")
    for name, image in (("file", path), ("image", i3d.load_image(path))):
        generate_one(image, tmp_path / name, GenerateSettings(formats=("ply",)))
        assert "sample" in repr(check("13.1", tmp_path / name))


def test_a_page_of_another_object(mine: Path) -> None:
    (record,) = (mine / "page").rglob("result.json")
    found = json.loads(record.read_text())
    found["input"]["sha256"] = "0" * 64
    record.write_text(json.dumps(found))
    assert "same input" in repr(check("13.5", mine))


def run(image: Image.Image) -> str:
    folder = Path(tempfile.mkdtemp()) / "object"
    generate_one(i3d.load_image(image), folder, GenerateSettings(formats=("splat",)))
    return str(next(folder.glob("*.splat")))


def test_a_right_function_is_right() -> None:
    assert check("13.3", run), check("13.3", run)
    assert check("13.3", lambda image: Path(run(image)))


def test_typical_wrong_functions_hear_why(tmp_path: Path) -> None:
    good = Path(run(Image.open(i3d.sample("mug"))))

    def fixed(image: Image.Image) -> str:
        return shutil.copyfile(good, tmp_path / "output.splat").as_posix()

    def colours_only(image: Image.Image) -> str:
        if image.mode != "RGB":
            raise ValueError("RGB only")
        return run(image)

    def not_written(image: Image.Image) -> str:
        return str(tmp_path / "nowhere.splat")

    def an_image(image: Image.Image) -> Path:
        image.convert("RGB").save(tmp_path / "a.ply", "PNG")
        return tmp_path / "a.ply"

    for wrong, complaint in (
        (fixed, "Two visitors"), (colours_only, "RGBA"), (not_written, "does not exist"), (an_image, "load must read"),
        (lambda image: i3d.load(good), "must return a path"),
    ):  # fmt: skip
        verdict = check("13.3", wrong)
        assert not verdict
        assert complaint in repr(verdict)
