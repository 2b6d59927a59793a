"""The sample images: in step with their index, each of another kind, and each fit for use."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import image3d_nb as i3d
from image3d_nb._files import data_dir
from image3d_nb.errors import InputError

FOLDER = data_dir() / "images"
ROWS: list[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
FIELDS = {"name", "file", "title", "kind", "width", "height", "source", "licence", "sha256"}


def test_the_index_lists_what_is_there() -> None:
    assert {row["file"] for row in ROWS} | {"index.json"} == {path.name for path in FOLDER.iterdir()}
    assert len({row["name"] for row in ROWS}) == len(ROWS) >= 6
    assert len({row["kind"] for row in ROWS}) == len(ROWS)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_500_000


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_each_picture_is_what_its_row_says(row: dict[str, Any]) -> None:
    assert set(row) == FIELDS
    path: Path = i3d.sample(row["name"])
    assert path == FOLDER / row["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
    assert row["licence"] == "CC0-1.0"
    with Image.open(path) as picture:
        assert picture.size == (row["width"], row["height"])


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_each_picture_prepares(row: dict[str, Any]) -> None:
    """The object in the middle, its longer side 80 % of the square, white around it."""
    square = np.asarray(i3d.prepare_image(i3d.sample(row["name"])))  # [256, 256, 3]
    rows, columns = np.nonzero((square < 235).any(-1))
    assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(0.8 * 256, abs=5)
    middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    assert middle == pytest.approx((127.5, 127.5), abs=5)


def test_the_kinds_are_what_they_are_called() -> None:
    by_name = {row["name"]: Image.open(FOLDER / row["file"]) for row in ROWS}
    assert by_name["mug"].mode == "RGBA"
    assert by_name["duck"].mode == "RGB"
    assert by_name["car"].getexif()[0x0112] == 6
    assert by_name["robot"].mode == "P"
    assert by_name["robot"].has_transparency_data
    assert max(by_name["house"].size) == 2400
    width, height = by_name["car"].size
    assert i3d.load_image(i3d.sample("car")).size == (height, width)


def test_an_unknown_name_says_what_exists() -> None:
    with pytest.raises(InputError, match="mug"):
        i3d.sample("zebra")
