"""tools/notebooks.py: what trimming keeps, what it takes out, and that doing it twice changes nothing."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image, PngImagePlugin

import notebooks as tool


def encoded(size: tuple[int, int], kind: str = "PNG", mode: str = "RGB", comment: bool = False) -> str:
    buffer = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "a plotting library, version 1.2.3")
    options = {"pnginfo": info} if comment else {}
    Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 50).convert(mode).save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def picture(notebook: NotebookNode, cell: int, output: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(notebook.cells[cell].outputs[output].data["image/png"])))


def messy() -> NotebookNode:
    """A notebook as JupyterLab and a hosted service leave it."""
    bundle = {
        "text/plain": "a picture",
        "text/html": "<iframe></iframe>",
        "image/png": encoded((900, 300), comment=True),
        "image/jpeg": encoded((900, 300), "JPEG"),
        "application/vnd.jupyter.widget-view+json": {"model_id": "8a"},
    }
    return new_notebook(
        metadata={
            "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
            "colab": {"provenance": []},
            "language_info": {"name": "python", "version": "3.11.7"},
        },
        cells=[
            new_markdown_cell("# Title", metadata={"id": "Xy12"}),
            new_code_cell(
                "print()",
                execution_count=7,
                metadata={"tags": ["nbval-check-output"], "execution": {"iopub.execute_input": "2026-01-01"}},
                outputs=[
                    new_output("stream", name="stdout", text="\x1b[31mone\x1b[0m\n"),
                    new_output("stream", name="stdout", text="two\n"),
                ],
            ),
            new_code_cell("show()", execution_count=9, outputs=[new_output("display_data", data=bundle)]),
            new_code_cell(
                "jpeg()",
                execution_count=10,
                outputs=[
                    new_output("execute_result", data={"image/jpeg": encoded((40, 20), "JPEG")}, execution_count=10)
                ],
            ),
            new_code_cell(
                "fail()",
                execution_count=11,
                outputs=[new_output("error", ename="ValueError", evalue="no", traceback=["File /home/me/x.py", "..."])],
            ),
            new_code_cell(
                "html()",
                execution_count=12,
                outputs=[new_output("display_data", data={"text/html": "<b>"}), new_output("display_data", data={})],
            ),
            new_code_cell("", execution_count=None),
            new_code_cell("print()", execution_count=13),
        ],
    )


def test_trim_keeps_text_and_small_pngs() -> None:
    trimmed = tool.trim(messy())
    assert [cell.get("execution_count") for cell in trimmed.cells] == [None, 1, 2, 3, 4, 5, None, 6]
    assert trimmed.metadata == tool.METADATA
    assert trimmed.cells[1].metadata == {"tags": ["nbval-check-output"]}
    assert trimmed.cells[0].metadata == {}
    assert [output.text for output in trimmed.cells[1].outputs] == ["one\ntwo\n"]
    assert set(trimmed.cells[2].outputs[0].data) == {"text/plain", "image/png"}
    assert picture(trimmed, 2).size == (860, 287)
    assert picture(trimmed, 2).mode == "P"
    assert picture(trimmed, 2).info == {}
    assert picture(trimmed, 3).size == (40, 20)
    assert trimmed.cells[3].outputs[0].execution_count == 3
    assert trimmed.cells[4].outputs[0].traceback == ["ValueError: no"]
    assert trimmed.cells[5].outputs == []
    nbformat.validate(trimmed)


def test_trimming_twice_changes_nothing(tmp_path: Path) -> None:
    once = tool.text_of(tool.trim(messy()))
    path = tmp_path / "messy.ipynb"
    path.write_text(once, encoding="utf-8")
    assert tool.text_of(tool.trim(tool.read(path))) == once
    assert tool.is_trimmed(path)
    assert tool.main(["trim", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == once


def test_the_same_notebook_gives_the_same_file_and_unique_ids() -> None:
    first, second = tool.trim(messy()), tool.trim(messy())  # nbformat gives new cells random ids
    assert tool.text_of(first) == tool.text_of(second)
    ids = [cell.id for cell in first.cells]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_small_pictures_stay_as_they_are(mode: str) -> None:
    small = encoded((64, 48), mode=mode)
    assert tool._small_png(small) == small


def test_a_transparent_palette_survives_shrinking() -> None:
    image = Image.new("P", (1000, 1000), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (500, 0, 1000, 1000))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=0)
    shrunk = Image.open(io.BytesIO(base64.b64decode(tool._small_png(base64.b64encode(buffer.getvalue()).decode()))))
    assert (shrunk.size, shrunk.mode) == ((860, 860), "P")
    assert shrunk.convert("RGBA").getpixel((10, 10))[3] == 0
    assert shrunk.convert("RGBA").getpixel((800, 10))[:3] == (0, 255, 0)


def test_a_cell_that_was_never_run_is_not_numbered() -> None:
    notebook = new_notebook(cells=[new_markdown_cell("# T"), new_code_cell("print(1)")])
    with pytest.raises(ValueError, match="every code cell must have been run; cell 2 was not"):
        tool.trim(notebook)


def test_what_is_not_a_notebook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.ipynb"
    path.write_text("no notebook", encoding="utf-8")
    with pytest.raises(ValueError, match="must be a notebook"):
        tool.read(path)


def test_a_failing_cell_stops_the_run_and_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "failing.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        tool.main(["run", str(path)])
    assert path.read_bytes() == before
