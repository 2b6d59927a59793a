"""Run notebooks from top to bottom and store them trimmed.

    python tools/notebooks.py run [FILE ...]      write the head, execute, trim, write
    python tools/notebooks.py trim [FILE ...]     trim what is stored, without a kernel
    python tools/notebooks.py head [FILE ...]     write first cell, badges and the last line's links, without a kernel
    python tools/notebooks.py map                 write the lessons' table, pictures and links into notebooks/*.md
    python tools/notebooks.py check [FILE ...]    say which are not trimmed or have an old head; exit code 1 if any

Without files: all of notebooks/. What stays in a trimmed notebook: sources, tags, execution counts 1..n, text and PNG
of at most 860 px. What goes: HTML, widgets, JPEG, tracebacks, timestamps, ids of hosted services, kernel versions.
Trimming twice changes nothing.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image, ImageChops

ROOT = Path(__file__).resolve().parent.parent
# Where the project is published: the one setting for all first cells and badges (then: tools/notebooks.py head). As
# long as the address is open, it is one that nobody can register: no account's name may hold an underscore.
REPO_URL = "https://github.com/image3d_nb/image3d_nb"
BRANCH = "main"
MAX_PIXELS = 860  # longest side of a stored image: the width of a notebook's column
FULL_COLOUR = 512  # longest side of an image that keeps all its colours; larger ones over MAX_FILE get a palette
MAX_FILE = 80_000  # bytes
MAP_PICTURE = 320  # longest side of a picture of notebooks/README.md
TABLE = ("<!-- lessons: tools/notebooks.py map -->", "<!-- end of lessons -->")
LINKS = "<!-- links: tools/notebooks.py map -->"
CELL_TIMEOUT = 300  # seconds; a lesson as a whole stays under 60
KEPT_TYPES = ("text/plain", "text/markdown", "text/latex", "image/png")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
QUIET = {  # as `make test` runs them
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "IMAGE3D_MODEL": "tiny",  # lesson 07 would take the full-size weights where they are at hand
}
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def all_notebooks() -> list[Path]:
    """Every notebook of the course, lessons and solutions."""
    return sorted(path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook; older formats become 4.5, the first with cell ids.

    Raises:
        ValueError: the file is not a notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except nbformat.reader.NotJSONError as error:
        raise ValueError(f"{path} must be a notebook (JSON); it is not: {error}") from error


def text_of(notebook: nbformat.NotebookNode) -> str:
    """The one way a notebook is written: sorted keys, an indent of 1, a newline at the end."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def first_cell(repo_url: str = REPO_URL) -> str:
    """The code cell that brings the package where it is missing: at most eight lines, the same in every notebook.

    It installs a wheel that lies beside the notebook, else the checkout around it, else what the repository holds. The
    extra "colab" fits what Colab and Kaggle have; it replaces none of their packages.
    """
    return f"""\
from importlib.util import find_spec
from pathlib import Path
if not find_spec("image3d_nb"):  # on Colab, on Kaggle, or in a fresh environment
    near = [p.as_uri() for p in Path.cwd().glob("image3d_nb-*.whl")] or [
        p.as_uri() for p in Path.cwd().parents if (p / "image3d_nb").is_dir()] or [
        "git+{repo_url}"]
    %pip install -q "image3d-nb[colab] @ {{near[0]}}"
import image3d_nb as i3d"""


def badges(path: Path, repo_url: str = REPO_URL) -> str:
    """The line below a lesson's title: links that open it on Colab and on Kaggle. Text, so that no picture is fetched.

    Args:
        path: of the notebook, in notebooks/ or notebooks/solutions/.
        repo_url: an address on GitHub.
    """
    folder = "notebooks/solutions" if path.parent.name == "solutions" else "notebooks"
    file = f"blob/{BRANCH}/{folder}/{path.name}"
    colab = f"https://colab.research.google.com/github/{repo_url.removeprefix('https://github.com/')}/{file}"
    return f"[Open in Colab]({colab}) · [Open in Kaggle](https://kaggle.com/kernels/welcome?src={repo_url}/{file})"


def lessons() -> list[Path]:
    """The lessons, without their solutions."""
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def title_of(path: Path) -> str:
    """The first line of a notebook, without its mark."""
    return read(path).cells[0].source.partition("\n")[0].removeprefix("# ").strip()


def footer(path: Path) -> str:
    """The last line of a lesson: links to the glossary, to the map, and to the next lesson there is."""
    line = "[Glossary](GLOSSARY.md) · [All lessons](README.md)"
    after = [other for other in lessons() if other.name > path.name]
    return f"{line} · Next: [{after[0].name[:2]}, {title_of(after[0])}]({after[0].name})" if after else line


def write_head(notebook: nbformat.NotebookNode, path: Path, repo_url: str = REPO_URL) -> nbformat.NotebookNode:
    """Write badges, first code cell and, in a lesson, the last line, in place; writing them twice changes nothing.

    Raises:
        ValueError: the notebook does not begin with a title, or its first code cell installs nothing.
    """
    title = notebook.cells[0]
    if title.cell_type != "markdown" or not title.source.startswith("# "):
        raise ValueError(f"{path} must begin with a title, '# ...'")
    first, _, rest = title.source.partition("\n")
    rest = re.sub(r"\A\s*\[Open in Colab\]\([^\n]*\n*", "", rest).lstrip("\n")
    title.source = "\n\n".join(part for part in (first, badges(path, repo_url), rest) if part)
    code = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    if code is None or "pip install" not in code.source:
        raise ValueError(f"the first code cell of {path} must be the one that installs the package")
    code.source = first_cell(repo_url)
    if path.resolve() in lessons():
        last = notebook.cells[-1]
        last.source = re.sub(r"\n*^\[Glossary\]\(GLOSSARY\.md\) · .*\Z", "", last.source, flags=re.M).rstrip()
        last.source += "\n\n" + footer(path)
    return notebook


def first_picture(path: Path) -> bytes:
    """The first picture of a stored notebook, as a PNG of at most MAP_PICTURE pixels a side and 64 colours.

    Raises:
        ValueError: the notebook has none.
    """
    for cell in read(path).cells:
        for output in cell.get("outputs", []):
            encoded = output.get("data", {}).get("image/png")
            if encoded:
                picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
                picture.thumbnail((MAP_PICTURE, MAP_PICTURE), Image.Resampling.LANCZOS)
                buffer = io.BytesIO()
                picture.quantize(64, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
                return buffer.getvalue()
    raise ValueError(f"{path} must have a picture; it has none")


def needs_of(path: Path) -> str:
    """What a lesson says below "What you'll need", on one line."""
    text = read(path).cells[0].source.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    found = re.search(r"What you'll need\W*(.*?)(?:\n\s*\n|\Z)", text, re.S)
    if not found:
        raise ValueError(f"{path} must say what you'll need")
    sentences = re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", found[1]).strip())
    return " ".join(each for each in sentences if "GLOSSARY" not in each and "whole notebook" not in each)


def map_files() -> dict[Path, bytes]:
    """All that ``map`` writes: README.md, GLOSSARY.md and TEACHING.md of notebooks/, and a picture a lesson.

    The table stands between two marks in README.md. A lesson is linked as ``[04]``; the end of each file says where
    that leads.
    """
    folder = ROOT / "notebooks"
    files, rows = {}, ["| | lesson | what you need |", "|---|---|---|"]
    for path in lessons():
        files[folder / "pictures" / f"{path.stem}.png"] = first_picture(path)
        picture = f'<img src="pictures/{path.stem}.png" width="240" alt="First picture of lesson {path.name[:2]}">'
        rows.append(f"| {picture} | [{path.name[:2]}] **{title_of(path)}** | {needs_of(path)} |")
    table = "\n".join([TABLE[0], *rows, TABLE[1]])
    links = "\n".join(f"[{path.name[:2]}]: {path.name}" for path in lessons())
    for name in ("README.md", "GLOSSARY.md", "TEACHING.md"):
        text = (folder / name).read_text(encoding="utf-8")
        before, mark, after = text.partition(TABLE[0])
        if mark:
            text = before + table + after.partition(TABLE[1])[2]
        text = text.partition(LINKS)[0].rstrip() + f"\n\n{LINKS}\n{links}\n"
        files[folder / name] = text.encode()
    return files


def write_map() -> None:
    """Write what :func:`map_files` gives, and remove pictures of lessons that are gone."""
    files = map_files()
    for path, content in files.items():
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
            print(f"{path}: written")
    for path in (ROOT / "notebooks" / "pictures").glob("*.png"):
        if path not in files:
            path.unlink()


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in a fresh kernel of this environment, in the notebook's folder, as nbval does.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell without the tag ``raises-exception`` failed.
    """
    os.environ.update(QUIET)  # the kernel inherits it
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # the kernel warns about its own transport
    )
    client.execute()


def trim(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take out, in place, all that differs from machine to machine, and give the notebook back.

    Raises:
        ValueError: a code cell was never run; numbering it would be a lie.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    count = 0
    ids: dict[str, int] = {}
    for position, cell in enumerate(notebook.cells, start=1):
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {})
        cell.id = _cell_id(cell, ids)
        if cell.cell_type != "code":
            continue
        if not cell.source.strip():
            cell.execution_count, cell.outputs = None, []
            continue
        if cell.execution_count is None:
            raise ValueError(f"every code cell must have been run; cell {position} was not: run the notebook first")
        count += 1
        cell.execution_count = count
        cell.outputs = _trim_outputs(cell.outputs, count)
    return notebook


def _cell_id(cell: nbformat.NotebookNode, used: dict[str, int]) -> str:
    # From the source, not the position: inserting a cell leaves the ids of the others as they are.
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    used[digest] = used.get(digest, 0) + 1
    return digest if used[digest] == 1 else f"{digest}-{used[digest]}"


def _trim_outputs(outputs: Iterable[Any], count: int) -> list[nbformat.NotebookNode]:
    trimmed: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            text = _ANSI.sub("", output.text)
            if trimmed and trimmed[-1].output_type == "stream" and trimmed[-1].name == output.name:
                trimmed[-1].text += text  # how a stream was cut into messages depends on timing
            elif text:
                trimmed.append(nbformat.v4.new_output("stream", name=output.name, text=text))
        elif output.output_type == "error":
            # The traceback holds paths of this machine; name and message say what the lesson is about.
            line = f"{output.ename}: {output.evalue}"
            trimmed.append(nbformat.v4.new_output("error", ename=output.ename, evalue=output.evalue, traceback=[line]))
        else:
            data = _trim_bundle(output.data)
            if data:
                extra = {"execution_count": count} if output.output_type == "execute_result" else {}
                trimmed.append(nbformat.v4.new_output(output.output_type, data=data, **extra))
    return trimmed


def _trim_bundle(data: dict[str, Any]) -> dict[str, str]:
    """One picture or text in several types: keep text and PNG; a JPEG or GIF without a PNG twin becomes a PNG."""
    kept = {kind: "".join(data[kind]) for kind in KEPT_TYPES if kind in data}
    picture = kept.get("image/png") or data.get("image/jpeg") or data.get("image/gif")  # a GIF: its first frame
    if picture:
        kept["image/png"] = _small_png("".join(picture))
    return kept


def _small_png(encoded: str) -> str:
    """A base64 PNG of at most MAX_PIXELS a side, without text chunks, large ones with a palette.

    An image that meets this already comes back unchanged.
    """
    raw = base64.b64decode(encoded)
    with Image.open(io.BytesIO(raw)) as image:
        image.load()
        plain = not image.info.keys() - {"transparency"}  # matplotlib writes its version there
        limit = MAX_PIXELS if image.mode == "P" or len(raw) <= MAX_FILE else FULL_COLOUR
        if image.format == "PNG" and max(image.size) <= limit and plain:
            return base64.b64encode(raw).decode()
        mode = "RGBA" if "transparency" in image.info or image.mode == "RGBA" else "RGB"
        picture = image.convert(mode)
    picture.thumbnail((MAX_PIXELS, MAX_PIXELS), Image.Resampling.LANCZOS)
    if max(picture.size) > FULL_COLOUR:
        if picture.mode == "RGB":  # dithered, since bands would show in soft shades
            chosen = picture.quantize(255)
            chosen.putpalette([*(chosen.getpalette() or [])[:765], 255, 255, 255])
            white = Image.eval(ImageChops.darker(*picture.split()[:2]), lambda value: 255 * (value == 255))
            white = ImageChops.darker(white, picture.split()[2].point(lambda value: 255 * (value == 255)))
            picture = picture.quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG)
            picture.paste(255, mask=white)  # the paper stays white: Pillow looks for near colours only
        else:
            picture = picture.quantize(256, Image.Quantize.FASTOCTREE)
    picture.info = {}
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def has_head(path: Path) -> bool:
    """Whether first cell and badges are those that :func:`write_head` writes."""
    try:
        notebook = read(path)
        before = text_of(notebook)
        return text_of(write_head(notebook, path)) == before
    except ValueError:
        return False


def is_trimmed(path: Path) -> bool:
    """Whether trimming the file would change nothing. A notebook with a cell that was never run is not trimmed."""
    try:
        return text_of(trim(read(path))) == path.read_text(encoding="utf-8")
    except ValueError:
        return False


def run_and_store(path: Path) -> None:
    """Execute a notebook, trim it and write it back; on an error the file stays as it was."""
    notebook = read(path)
    if ROOT / "notebooks" in path.resolve().parents:
        write_head(notebook, path)
    start = time.perf_counter()
    execute(notebook, path.parent)
    path.write_text(text_of(trim(notebook)), encoding="utf-8")
    print(f"{path}: {time.perf_counter() - start:.1f} s, {path.stat().st_size / 1000:.0f} kB")


def trim_and_store(path: Path) -> None:
    """Trim a stored notebook; a file that is trimmed already is not touched."""
    before = path.read_text(encoding="utf-8")
    after = text_of(trim(read(path)))
    if after != before:
        path.write_text(after, encoding="utf-8")
        print(f"{path}: trimmed")


def head_and_store(path: Path) -> None:
    """Write first cell and badges into a stored notebook; one that has them is not touched."""
    if not has_head(path):
        path.write_text(text_of(trim(write_head(read(path), path))), encoding="utf-8")
        print(f"{path}: first cell and badges")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Run notebooks from top to bottom and store them trimmed.")
    parser.add_argument("action", choices=("run", "trim", "head", "map", "check"))
    parser.add_argument("files", nargs="*", type=Path, help="notebooks; all of notebooks/ when none is named")
    chosen = parser.parse_args(arguments)
    files = chosen.files or all_notebooks()
    if chosen.action == "check":
        untrimmed = [path for path in files if not is_trimmed(path)]
        for path in untrimmed:
            print(f"{path}: not as `python tools/notebooks.py run` stores it")
        headless = [path for path in files if ROOT / "notebooks" in path.resolve().parents and not has_head(path)]
        for path in headless:
            print(f"{path}: first cell or badges are not those of `python tools/notebooks.py head`")
        return 1 if untrimmed or headless else 0
    if chosen.action == "map":
        write_map()
        return 0
    do = {"run": run_and_store, "trim": trim_and_store, "head": head_and_store}[chosen.action]
    for path in files:
        do(path)
    if chosen.action == "run" and not chosen.files:
        write_map()
    return 0


if __name__ == "__main__":
    sys.exit(main())
