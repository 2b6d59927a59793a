"""Checks of lesson 13, the capstone: they read the learner's folders."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from .._files import data_dir
from ..errors import FormatError, Image3DError
from ..images import load_image
from ..io import load
from ..pipelines import load_pipeline
from ..record import RECORD, description, read_record
from ._exercise import Exercise, Wrong, call, need

PAGE_BYTES = 15_000_000
FAR = re.compile(r"""(?:src|href|action)\s*=\s*["']?\s*(?:[a-z]+:)?//|@import|url\(\s*["']?https?:""", re.IGNORECASE)
ABSOLUTE = re.compile(r"""(?:src|href)\s*=\s*["']?(/|file:|[a-z]:\\)""", re.IGNORECASE)
TARGETS = re.compile(r"""(?:src|href)\s*=\s*["']([^"'#]+)["']""", re.IGNORECASE)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
SENTENCES = ("Right:", "Wrong:", "Guessed:")


def result_folder(answer: Any) -> None:
    """A folder that generate_one filled, from an image of the learner's own."""
    folder = _folder_of(answer)
    record = read_record(folder)
    need(
        record is not None, f"The folder must hold {RECORD}, which generate_one writes; there is none that can be read."
    )
    files = (record or {}).get("files")
    if record is None or not isinstance(files, dict) or not files:
        raise Wrong(f"{RECORD} must list the files of the result; it lists none.")
    for name, entry in files.items():
        path = folder / Path(name).name
        need(path.is_file(), f"{name} is listed in {RECORD}; it is missing.")
        need(description(path) == entry, f"{name} must be as recorded; it was changed after it was made.")
    source = record.get("input", {}).get("sha256")
    need(source not in _samples(), "The image must be your own; this object was made from a bundled sample.")


@functools.cache
def _samples() -> frozenset[str]:
    """sha256 of the bundled images: of the files, and of their pixels as generate_one hashes them."""
    found = set()
    for path in (data_dir() / "images").glob("*.*g"):
        image = load_image(path)
        found.add(hashlib.sha256(path.read_bytes()).hexdigest())
        found.add(hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest())
    return frozenset(found)


def page_folder(answer: Any) -> None:
    """A folder with index.html that shows an object and needs no network."""
    folder = _folder_of(answer)
    index = folder / "index.html"
    need(index.is_file(), "The folder must hold index.html, which a Static Space shows; there is none.")
    pages = {path: path.read_text("utf-8", errors="replace") for path in sorted(folder.rglob("*.html"))}
    title = re.search(r"<title>\s*(.*?)\s*</title>", pages[index], re.DOTALL | re.IGNORECASE)
    need(title is not None and bool(title[1]), "The page must have a title: <title>...</title> is missing or empty.")
    for path, text in pages.items():
        far, absolute = FAR.search(text), ABSOLUTE.search(text)
        need(far is None, f"The page must need no other host; {path.name} has {far[0] if far else ''!r}.")
        found = absolute[0] if absolute else ""
        need(absolute is None, f"Links must be relative, or they break elsewhere; {path.name} has {found!r}.")
    for target in TARGETS.findall(pages[index]):
        is_there = target.startswith("data:") or (folder / target.partition("?")[0]).exists()
        need(is_there, f"Every file that the page names must be in the folder; {target} is not.")
    need(
        any("image3dViewer" in text for text in pages.values()), "A viewer must show the object: save_html writes one."
    )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    need(size <= PAGE_BYTES, f"The folder must have at most {PAGE_BYTES:,} bytes; it has {size:,}.")


def run_function(answer: Any) -> None:
    """A function from a Pillow image to the path of a 3D file."""
    taken: set[Path] = set()
    for what, image in _visitors():
        try:
            path = call(answer, image)
        except (ValueError, OSError, RuntimeError, TypeError) as error:
            raise Wrong(f"Your function must take {what}; it raised {type(error).__name__}: {error}") from error
        need(isinstance(path, str | Path), f"Your function must return a path; it returns a {type(path).__name__}.")
        path = Path(path)
        need(path.is_file(), f"Your function must write the file that it returns; {path.name} does not exist.")
        try:
            load(path)
        except FormatError as error:
            raise Wrong(f"i3d.load must read the file; {error}") from error
        again = (
            "Two visitors must get two files; your function wrote the same file twice, so one sees the other's object."
        )
        need(path.resolve() not in taken, again)
        taken.add(path.resolve())


def _visitors() -> Iterator[tuple[str, Image.Image]]:
    """Images as visitors send them, and what each is."""
    with Image.open(data_dir() / "images" / "mug.png") as image:
        cut = image.convert("RGBA").resize((128, 128))
    flat = Image.new("RGBA", cut.size, "white")
    flat.alpha_composite(cut)
    upright = flat.convert("RGB").resize((96, 160))
    upright.getexif()[0x0112] = 6  # a photograph from a phone that was turned
    yield "an RGB image", flat.convert("RGB")
    yield "an image with transparency (RGBA)", cut
    yield "a grey image (L)", flat.convert("L")
    yield "a portrait photograph with an EXIF orientation", upright


def model_folder(answer: Any) -> None:
    """A model repository: weights that are safe to load, and a card that says what they are."""
    folder = _folder_of(answer)
    card = folder / "README.md"
    need(card.is_file(), "The folder must hold README.md, the model's card; there is none.")
    text = card.read_text("utf-8", errors="replace")
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    need(front is not None, "The card must begin with its front matter, between two lines of ---.")
    stated = dict(re.findall(r"^(\w+):\s*(\S.*?)\s*$", front[1] if front else "", re.MULTILINE))
    need("license" in stated, "The card must state a licence, license: mit, or nobody may use the model.")
    need(stated.get("pipeline_tag") == "image-to-3d", "The card must state pipeline_tag: image-to-3d, to be found.")
    need("library_name" in stated, "The card must state library_name: diffusers.")
    need("Say here" not in text, 'The card must say what the model was trained on; "Say here ..." still stands there.')
    pickles = [path.name for path in folder.rglob("*") if path.suffix in PICKLES]
    need(not pickles, f"Weights must be .safetensors; {', '.join(pickles)} can run code when it is read.")
    try:
        pipe = load_pipeline(folder)
    except Image3DError as error:
        raise Wrong(f"load_pipeline must load the folder; {error}") from error
    need(hasattr(pipe, "lgm"), "The model must make objects; this one makes views only.")


def capstone(answer: Any) -> None:
    """The whole: object, page and model in their folders, and a report."""
    folder = _folder_of(answer)
    for name, judge in (("object", result_folder), ("page", page_folder), ("model", model_folder)):
        need((folder / name).is_dir(), f"The folder must hold {name}/; it does not.")
        judge(folder / name)
    record = read_record(folder / "object") or {}
    shown = [json.loads(path.read_text("utf-8")) for path in (folder / "page").rglob(RECORD)]
    same = any(each.get("input") == record.get("input") for each in shown)
    need(same, "The page must show the object of object/; no record in page/ has the same input.")
    report = folder / "report.md"
    need(report.is_file(), "The folder must hold report.md, with your three sentences; it does not.")
    text = report.read_text("utf-8", errors="replace")
    for start in SENTENCES:
        found = re.search(rf"^\W*{start}\W*(.+)$", text, re.MULTILINE | re.IGNORECASE)
        long_enough = found is not None and len(found[1].split()) >= 5
        need(long_enough, f'report.md must have a line "{start} ..." of five words or more; it has none.')


def _folder_of(answer: Any) -> Path:
    need(isinstance(answer, str | Path), f"The answer must be a folder's path; it is of type {type(answer).__name__}.")
    folder = Path(answer).expanduser()
    need(folder.is_dir(), f"There must be a folder of this name; there is none: {folder.name}.")
    return folder


EXERCISES = (
    Exercise(
        "13.1",
        result_folder,
        (
            "generate_one writes the folder and its record. Change nothing in it afterwards.",
            'i3d.generate_one("my_photo.jpg", "capstone/object", i3d.GenerateSettings(formats=("ply", "html")))',
        ),
        """\
i3d.generate_one("my_photo.jpg", "capstone/object", i3d.GenerateSettings(formats=("ply", "html")))
answer = "capstone/object\"""",
        "With the record, the image and the weights, anybody can make your object again and compare it byte by byte.",
    ),
    Exercise(
        "13.2",
        page_folder,
        (
            "publish_page copies a result, adds the viewer, and links everything relatively.",
            'i3d.publish_page(["capstone/object"], "capstone/page", title="My object")',
        ),
        """\
answer = i3d.publish_page(["capstone/object"], "capstone/page", title="My object")""",
        "A page without other hosts still works in ten years, and tells nobody who looks at it.",
    ),
    Exercise(
        "13.3",
        run_function,
        (
            "Two visitors can call it at once, so each call needs a new folder. load_image sets any image upright.",
            "folder = tempfile.mkdtemp(), then i3d.generate_one(image, folder, ...) and the path of its .ply",
        ),
        """\
import tempfile
from pathlib import Path

def run(image):
    folder = Path(tempfile.mkdtemp()) / "object"
    i3d.generate_one(i3d.load_image(image), folder, i3d.GenerateSettings(formats=("ply",)))
    return str(next(folder.glob("*.ply")))""",
        "A demo with one fixed file name shows visitors each other's objects.",
    ),
    Exercise(
        "13.4",
        model_folder,
        (
            "publish_model writes the card; licence and data are yours to state.",
            'i3d.publish_model(folder, "capstone/model", licence="mit", data="...")',
        ),
        """\
answer = i3d.publish_model("tiny", "capstone/model")  # or your own folder, with licence= and data=""",
        "Without a licence nobody may use a model, and without its data nobody can judge it.",
    ),
    Exercise(
        "13.5",
        capstone,
        (
            "One folder with object/, page/, model/ and report.md.",
            'report.md has three lines: "Right: ...", "Wrong: ...", "Guessed: ..."',
        ),
        """\
report = "Right: the front looks like my drawing.\\nWrong: a hard edge shows where the front ends.\\n"
report += "Guessed: the back, which the drawing does not show.\\n"
Path("capstone/report.md").write_text(report)
answer = "capstone\"""",
        "You have made, judged and published an object, and anybody can check all of it.",
    ),
)
