"""Write folders that are ready to upload: a gallery page, a ZeroGPU Space, a model repository. Nothing is uploaded.

Facts about Spaces: https://huggingface.co/docs/hub/spaces-config-reference and .../spaces-zerogpu.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.metadata
import itertools
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

from ._files import temporary_folder
from .errors import FormatError, InputError
from .record import RECORD, Record, description, read_record

_TO_FILL = "Say here what it was trained on"  # in the card that save_pretrained writes
_PACKAGE = Path(__file__).resolve().parent

_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 1.5rem }
article { border: 1px solid #ddd; border-radius: 8px; padding: 1rem; overflow: hidden }
iframe { width: 100%; height: 360px; border: 0; background: #fff }
img { height: 96px; max-width: 100%; object-fit: contain; border: 1px solid #eee }
h2 { margin: 0 0 .5rem; overflow-wrap: anywhere }  dl { font-size: 14px }  dt { font-weight: 600 }
</style></head>
<body><h1>$title</h1><p>Drag an object to turn it. Made with image3d_nb, each from one image.</p>
<main>
$objects
</main></body></html>
""")
_OBJECT = Template("""<article><h2>$name</h2>
<iframe src="$folder/$viewer" title="$name, to turn" loading="lazy" sandbox="allow-scripts"></iframe>
<p><img src="$folder/input.png" alt="$name: the image, as the model saw it">
<img src="$folder/views.png" alt="$name: the four views"></p>
<dl><dt>Made by</dt><dd>$model, licence $licence; seed $seed$steps</dd>
<dt>Licence of the object</dt><dd>$own</dd>
<dt>Files</dt><dd>$files</dd></dl></article>""")
_SPACE = Template('''"""A ZeroGPU Space: one image in, one 3D object out."""

import os
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import spaces  # before torch, which it prepares for ZeroGPU

# A Space installs requirements.txt before it has its other files, so the package's wheel is unpacked here.
(wheel,) = Path(__file__).parent.glob("image3d_nb-*.whl")
packages = tempfile.mkdtemp(prefix="packages-")
zipfile.ZipFile(wheel).extractall(packages)
sys.path.insert(0, packages)

from image3d_nb.app import AppSettings, serving
from image3d_nb.generate import GenerateSettings, generate_one, preload

DEVICE = "cuda" if os.environ.get("SPACES_ZERO_GPU") else "cpu"
MODELS = $models
preload(GenerateSettings(model=MODELS[0], device=DEVICE))  # ZeroGPU wants the model on "cuda" before the first call


@spaces.GPU(duration=60)
def on_gpu(image, out_dir, settings):
    return generate_one(image, out_dir, settings)


def generate(image, out_dir, settings, on_step, cancelled):
    """Call the GPU's process, to which neither progress nor cancellation can be handed."""
    on_step("generate", 0, 1)
    return on_gpu(image, out_dir, settings)


with serving(AppSettings(models=MODELS, device=DEVICE), generate=generate) as address:
    print(address, flush=True)
    threading.Event().wait()
''')


def publish_page(
    results: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, title: str = "Objects from images",
    licence: str = "not stated", force: bool = False,
) -> Path:  # fmt: skip
    """Write a gallery of finished objects, for a Static Space or GitHub Pages. It contacts no other host.

    Args:
        results: folders that :func:`generate_one` filled, or folders of such folders. Each needs its Gaussians, its
            mesh or its page: one of the formats ply, splat, spz, glb, html.
        out: the folder to write; it must not exist, or be empty.
        title: of the page, any text.
        licence: of the images and objects, any text; the models' licences come from the records.
        force: replace a folder that is not empty.

    Returns:
        The folder: README.md (the Space's settings), index.html, and a folder of files for each object.

    Raises:
        FormatError: a folder holds no result, or a file has changed since it was recorded.
        InputError: ``out`` is not empty.
    """
    found = [folder for each in results for folder in _results_in(Path(each).expanduser())]
    with _fresh_folder(out, force) as folder:
        taken: set[str] = set()
        articles = [_add_object(source, folder, taken, licence) for source in dict.fromkeys(found)]
        page = _PAGE.substitute(title=html.escape(title), objects="\n".join(articles))
        (folder / "index.html").write_text(page, encoding="utf-8")
        (folder / ".nojekyll").touch()  # GitHub Pages serves the files as they are
        front = {
            "title": title,
            "emoji": "🧊",
            "colorFrom": "blue",
            "colorTo": "green",
            "sdk": "static",
            "pinned": False,
        }
        models = "".join(f"- {name}\n" for name in sorted({str(_record(each)["model"]["name"]) for each in found}))
        (folder / "README.md").write_text(
            _front_matter(front) + f"# {title}\n\n{len(found)} objects. Their licence: {licence}. Models:\n\n{models}",
            encoding="utf-8",
        )
    return Path(out).expanduser()


def publish_space(
    out: str | os.PathLike[str], *, models: Sequence[str] = ("tiny",), title: str = "Image to 3D", force: bool = False
) -> Path:
    """Write a ZeroGPU Space: the demo app with this package in it.

    Args:
        out: the folder to write; it must not exist, or be empty.
        models: that visitors may choose, the default first: "tiny", or repositories of the hub.
        title: of the Space, any text.
        force: replace a folder that is not empty.

    Returns:
        The folder: README.md (the Space's settings), app.py, requirements.txt, and the wheel.

    Raises:
        InputError: a model is neither "tiny" nor a repository, or ``out`` is not empty.
    """
    for model in models or ("",):
        if model != "tiny" and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", model):
            raise InputError(f'models of a Space must be "tiny" or hub repositories, owner/name; got {model!r}')
    with _fresh_folder(out, force) as folder:
        needed = _add_wheel(folder)
        front: dict[str, Any] = {
            "title": title, "emoji": "🧊", "colorFrom": "blue", "colorTo": "green", "sdk": "gradio",
            "sdk_version": importlib.metadata.version("gradio"), "app_file": "app.py", "python_version": "3.12.12",
            "license": "mit", "pinned": False, "suggested_hardware": "zero-a10g",
            "models": [model for model in models if model != "tiny"],
        }  # fmt: skip
        text = f"# {title}\n\nOne image in, one 3D object out: the demo of image3d_nb, whose wheel is here too.\n"
        (folder / "README.md").write_text(_front_matter(front) + text, encoding="utf-8")
        (folder / "app.py").write_text(_SPACE.substitute(models=repr(tuple(models))), encoding="utf-8")
        (folder / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
    return Path(out).expanduser()


def publish_model(
    model: str, out: str | os.PathLike[str], *, licence: str | None = None, data: str | None = None, force: bool = False
) -> Path:
    """Write a model repository that ``load_pipeline`` and diffusers load.

    Args:
        model: "tiny", or a folder that ``save_pretrained`` of a pipeline wrote. For a network that lesson 11 trained:
            ``tiny_pipeline(mine.eval(), pipe.lgm).save_pretrained(folder)``.
        out: the folder to write; it must not exist, or be empty.
        licence: of the weights, the hub's short name ("mit", "cc0-1.0"); None takes it from the model's card.
        data: what the model was trained on, Markdown; None takes it from the model's card.
        force: replace a folder that is not empty.

    Returns:
        The folder: README.md (the model card), model_index.json, and a folder of weights for each network.

    Raises:
        InputError: neither the arguments nor the model's card state the licence and the data; ``out`` is not empty.
        WeightsError: the model does not exist or is damaged.
    """
    from .hub.weights import resolve
    from .pipelines import load_pipeline

    source = resolve(model)
    with _fresh_folder(out, force) as folder:
        load_pipeline(model).save_pretrained(folder, custom_pipeline=True)
        made = (folder / "README.md").read_text("utf-8")
        card = (source / "README.md").read_text("utf-8") if (source / "README.md").is_file() else made
        card = re.sub(r"\[([^\]]*)\]\((?:\.\./)+[^)]*\)", r"\1", card)  # links into the checkout
        if data is not None:
            section = f"## Data, training and licence\n\n{data}\n"
            card = (
                made.partition("## Data, training and licence")[0] + section
                if _TO_FILL in card
                else card + f"\n{section}"
            )
        if licence is not None:
            card = re.sub(r"^license:.*\n", "", card, flags=re.MULTILINE)
            card = card.replace("---\n", f"---\nlicense: {licence}\n", 1)
        if not re.match(r"---\n(?:.*\n)*?license: \S", card):
            raise InputError("a model's licence must be stated; its card has none: give licence, e.g. mit")
        if _TO_FILL in card:
            raise InputError("a model's card must say what it was trained on; it does not: give data")
        (folder / "README.md").write_text(card, encoding="utf-8")
    return Path(out).expanduser()


@contextmanager
def _fresh_folder(out: str | os.PathLike[str], force: bool) -> Iterator[Path]:
    """A temporary folder that becomes ``out`` if the block succeeds."""
    target = Path(out).expanduser()
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not force)):
        raise InputError(
            f"out must be a new or an empty folder; {target} is not: choose another, or replace it (force)"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target) as temporary:
        made = temporary / "made"
        made.mkdir()
        yield made
        if target.exists():
            os.replace(target, temporary / "old")
        os.replace(made, target)


def _front_matter(values: dict[str, Any]) -> str:
    """YAML, of which JSON is a part."""
    return (
        "---\n"
        + "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
        + "---\n"
    )


def _results_in(folder: Path) -> list[Path]:
    if (folder / RECORD).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{RECORD}"))
    if not found:
        raise FormatError(f"a folder to publish must hold {RECORD}, or folders that do; got {folder}")
    return found


def _record(folder: Path) -> Record:
    """The record of a result whose files are as recorded; without paths of this machine."""
    record = read_record(folder)
    files = record.get("files") if record else None
    if record is None or not isinstance(files, dict) or not {"input.png", "views.png"} <= set(files):
        raise FormatError(f"{folder / RECORD} must be a record of generate_one; it is not")
    for name, entry in files.items():
        if Path(name).name != name or not (folder / name).is_file() or description(folder / name) != entry:
            raise FormatError(f"the files of a result must be as recorded; {folder / name} is missing or has changed")
    record["model"]["name"] = (
        Path(record["model"]["name"]).name if Path(record["model"]["name"]).is_absolute() else record["model"]["name"]
    )
    for key in ("model", "lgm"):
        value = record["settings"].get(key)
        record["settings"][key] = Path(value).name if value and Path(value).is_absolute() else value
    return record


def _add_object(source: Path, out: Path, taken: set[str], licence: str) -> str:
    """Copy the files of a result; return its part of the page."""
    record = _record(source)
    name = stem = re.sub(r"[^\w-]+", "_", record["input"]["name"]) or "object"  # no name that a URL would have to quote
    numbers = itertools.count(2)
    while name.casefold() in taken:
        name = f"{stem}-{next(numbers)}"
    taken.add(name.casefold())
    folder = out / name
    folder.mkdir()
    names = {
        file: f"{name}{Path(file).suffix}" if file not in ("input.png", "views.png") else file
        for file in record["files"]
    }
    for file, new in names.items():
        shutil.copyfile(source / file, folder / new)
    if f"{name}.html" not in names.values():
        _add_viewer(folder, name, record)
    record["files"] = {new: record["files"][file] for file, new in names.items()}
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    links = [f'<a href="{name}/{file}" download>{file}</a>' for file in (*sorted(record["files"]), RECORD)]
    return _OBJECT.substitute(
        name=html.escape(record["input"]["name"]), folder=name, viewer=f"{name}.html", files=" ".join(links),
        model=html.escape(str(record["model"]["name"])), licence=html.escape(str(record["model"]["licence"])),
        seed=int(record["seed"]), steps="" if record["steps"] is None else f", {int(record['steps'])} steps",
        own=html.escape(licence),
    )  # fmt: skip


def _add_viewer(folder: Path, name: str, record: Record) -> None:
    from .io import load
    from .view import save_html

    files = [
        folder / f"{name}{suffix}"
        for suffix in (".ply", ".splat", ".spz", ".glb")
        if (folder / f"{name}{suffix}").is_file()
    ]
    if not files:
        raise FormatError(f"an object to publish must have a ply, splat, spz, glb or html file; {name} has none")
    save_html(load(files[0], record["settings"]["convention"]), folder / f"{name}.html", title=record["input"]["name"])


def _add_wheel(folder: Path) -> list[str]:
    """Write this package as a wheel (binary distribution format 1.0); return its requirements, for a Space."""
    metadata = importlib.metadata.distribution("image3d-nb").read_text("METADATA") or ""
    version = importlib.metadata.version("image3d-nb")
    info = f"image3d_nb-{version}.dist-info"
    files = {
        f"image3d_nb/{path.relative_to(_PACKAGE).as_posix()}": path.read_bytes() for path in _files_below(_PACKAGE)
    }
    if not (_PACKAGE / "data").is_dir():  # a checkout
        data = _PACKAGE.parent / "data"
        files |= {
            f"image3d_nb/data/{path.relative_to(data).as_posix()}": path.read_bytes() for path in _files_below(data)
        }
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: image3d_nb\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nimage3d = image3d_nb.cli:main\n"
    rows = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()]
    files[f"{info}/RECORD"] = ("".join(rows) + f"{info}/RECORD,,\n").encode()
    with zipfile.ZipFile(folder / f"image3d_nb-{version}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    needed = [line for line in importlib.metadata.requires("image3d-nb") or () if ";" not in line]
    # ZeroGPU runs torch 2.8 to 2.11; gradio's version is the README's sdk_version
    return ["torch>=2.8,<2.12", *(line for line in needed if not re.match(r"torch\b", line)), "spaces"]


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
