"""What many images came to: a table, and sheets to look at."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..errors import Image3DError
from .sources import CHUNK
from .store import Row, Store

PAGE = 60  # images on one contact sheet
WIDTH, HEIGHT = 66 + 4 * 66, 64  # pixels of one


class BatchResult(NamedTuple):
    """What :func:`generate_many` did."""

    total: int  # images listed, repeated ones included
    made: int  # objects that this run made; the others existed or failed
    errors: int  # images without an object
    table: str  # path of results.parquet; results.csv is beside it


def collect(
    answers: Iterator[str], store: Store, total: int, on_step: Callable[[str, int, int], object] | None
) -> BatchResult:
    """Take the answers as they come, write sheets on the way and the tables at the end."""
    made = errors = done = 0
    cells: list[tuple[str, str | None]] = []  # (name, id or None) of the images on the next contact sheet
    log = store.state / "rows.jsonl"
    with log.open("w", encoding="utf-8") as stream:
        for done, answer in enumerate(answers, 1):
            row = json.loads(answer)
            stream.write(answer.rstrip("\n") + "\n")
            made += row["made"]
            errors += row["status"] == "error"
            cells.append((row["name"], row["id"] if row["status"] == "done" else None))
            if len(cells) == PAGE or done == total:
                store.put(f"contact/{-(-done // PAGE):03}.jpg", _contact_sheet(store, cells))
                cells.clear()
            if on_step is not None:
                on_step("images", done, total)
    if done != total:
        raise Image3DError(f"each of {total} images must have a row; there are {done}: run the same call again")
    return BatchResult(total, made, errors, _write_tables(log, store))


def _contact_sheet(store: Store, cells: list[tuple[str, str | None]]) -> bytes:
    """Each image as the model saw it, and its four views, three in a row; a red stripe for an error.

    Only Pillow: the sheets of ``view`` come with 270 MB of libraries, which the driver does not need.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(14)
    canvas = Image.new("RGB", (3 * (WIDTH + 8), -(-len(cells) // 3) * (HEIGHT + 30)), "white")
    for number, (name, found) in enumerate(cells):
        cell = Image.new("RGB", (WIDTH, HEIGHT + 22), "white")
        if found is None:
            cell.paste("lightcoral", (0, 0, WIDTH, HEIGHT))
        for file, left, width in (("input.png", 0, 64), ("views.png", 66, 4 * 66)) if found else ():
            content = store.fs.cat_file(store.path(f"objects/{found}/{file}"))
            with Image.open(io.BytesIO(content)) as opened:
                cell.paste(opened.convert("RGB").resize((width, HEIGHT)), (left, 0))
        ImageDraw.Draw(cell).text((2, HEIGHT + 2), name if found else f"{name}: error", "black", font)
        canvas.paste(cell, (number % 3 * (WIDTH + 8) + 4, number // 3 * (HEIGHT + 30) + 4))
    stream = io.BytesIO()
    canvas.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _write_tables(log: Path, store: Store) -> str:
    """Write results.parquet and results.csv from the rows, in two passes: the columns are known after the first."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    def rows() -> Iterator[Row]:
        with log.open(encoding="utf-8") as stream:
            yield from map(json.loads, stream)

    kinds: dict[str, set[type]] = {}
    for row in rows():
        for name, value in row.items():
            kinds.setdefault(name, set()).update([type(value)] if value is not None else [])
    schema = pa.schema([(name, _arrow_type(found)) for name, found in kinds.items()])
    every = rows()
    with tempfile.TemporaryDirectory(dir=store.state) as folder:
        made = Path(folder) / "results.csv", Path(folder) / "results.parquet"
        with arrow_csv.CSVWriter(made[0], schema) as text, parquet.ParquetWriter(made[1], schema) as table:
            while chunk := list(islice(every, CHUNK)):
                part = pa.Table.from_pylist(chunk, schema)
                text.write_table(part)
                table.write_table(part)
        for file in made:
            if store.local:
                os.replace(file, store.path(file.name))
            else:
                store.fs.put_file(str(file), store.path(file.name))
    return store.path("results.parquet")


def _arrow_type(kinds: set[type]) -> str:
    if kinds == {bool} or kinds == {int}:
        return "bool" if kinds == {bool} else "int64"
    return "float64" if kinds and kinds <= {int, float} else "string"
