"""The images of a folder, a pattern or a manifest, listed in a file that the engines read."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import InputError
from .store import Row, Store, file_system

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif")
"""Files that are taken from a folder."""
CHUNK = 256  # rows in memory at a time
GROUP = 4096  # rows written at a time


def listed(images: Any, store: Store) -> Iterator[Row]:
    """Each image's path or URL with the manifest's other columns."""
    if not isinstance(images, (str, os.PathLike)):
        for image in images:
            yield {"source": _absolute(os.fspath(image)), "others": "{}"}
        return
    name = os.fspath(images)
    fs, path, local = file_system(name)
    if fs.isdir(path):
        found: Iterable[str] = _below(fs, path, local, store)
    elif path.lower().endswith((".csv", ".parquet")):
        yield from _manifest(fs, path, name)
        return
    elif fs.exists(path):
        found = [path]
    elif any(letter in path for letter in "*?["):
        found = sorted(each for each in fs.glob(path) if fs.isfile(each))
    else:
        raise InputError(f"images must be a folder, a pattern, a manifest (.csv, .parquet) or a file; got {name!r}")
    for each in found:
        yield {"source": each if local else fs.unstrip_protocol(each), "others": "{}"}


def _absolute(source: str, folder: str = "") -> str:
    """A URL as it is; a path from the root, so that processes elsewhere find it."""
    if "://" in source:
        return source
    return f"{folder}/{source}" if "://" in folder else str(Path(folder, source).expanduser().absolute())


def _below(fs: Any, path: str, local: bool, store: Store) -> Iterator[str]:
    """Images in a folder to any depth, without hidden ones and those of the results."""
    for folder, below, names in os.walk(path) if local else fs.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))  # remote ones are walked all the same
        if "/." in folder.removeprefix(path) or f"{folder}/".startswith(f"{store.root}/"):
            below.clear()
            continue
        for name in sorted(names):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield f"{folder}/{name}"


def _manifest(fs: Any, path: str, name: str) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    folder = name.rpartition("/")[0] if "://" in name else str(Path(path).parent)
    try:
        with fs.open(path, "rb") as stream:
            if path.lower().endswith(".csv"):
                rows: Iterator[Row] = csv.DictReader(io.TextIOWrapper(stream, "utf-8-sig", newline=""))
            else:
                batches = parquet.ParquetFile(stream).iter_batches(CHUNK)
                rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                image = row.pop("image", None)
                if not isinstance(image, str) or not image:
                    raise InputError(f"a manifest must have a path or URL in column image; row {number} has {image!r}")
                others = {str(key): None if value is None else str(value) for key, value in row.items()}
                yield {"source": _absolute(image, folder), "others": json.dumps(others)}
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise InputError(f"a manifest must be readable, .csv in UTF-8 or .parquet; {name}: {error}") from error


def write_index(items: Iterator[Row], store: Store) -> int:
    """List all images in ``.batch/index.parquet``, from which the engines read; return their number."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("row", "int64"), ("source", "string"), ("others", "string")])
    total = 0
    store.fs.makedirs(store.path(".batch"), exist_ok=True)
    with store.fs.open(store.path(".batch/index.parquet"), "wb") as stream, parquet.ParquetWriter(stream, schema) as to:
        while chunk := list(islice(items, GROUP)):
            rows = [item | {"row": total + number} for number, item in enumerate(chunk)]
            to.write_table(pa.Table.from_pylist(rows, schema))
            total += len(rows)
    if not total:
        raise InputError(f"there must be at least one image, named {', '.join(SUFFIXES)}; found none")
    return total


def index(store: Store, first: int = 0, count: int | None = None) -> Iterator[Row]:
    """The items that :func:`write_index` has listed, or so many of them from ``first`` on."""
    from pyarrow import parquet

    with store.fs.open(store.path(".batch/index.parquet"), "rb") as stream:
        file = parquet.ParquetFile(stream)
        groups = range(first // GROUP, file.num_row_groups)
        rows = (row for batch in file.iter_batches(CHUNK, groups) for row in batch.to_pylist())
        yield from islice(rows, first % GROUP, None if count is None else first % GROUP + count)
