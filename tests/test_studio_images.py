"""What the studio does with an image: doubts, boxes and masks, and uploads of any name and content."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image3d_nb.errors import ImageError, InputError
from image3d_nb.studio import Studio, downloads, session
from image3d_nb.studio.panel import Panel
from image3d_nb.studio.runs import plain_name

from .test_studio import HOSTILE, as_bytes, html_of, photo


def two_squares() -> Image.Image:
    """A red and a blue square on grey, 120 x 60."""
    picture = Image.new("RGB", (120, 60), (200, 200, 200))
    picture.paste((200, 30, 30), (15, 15, 45, 45))
    picture.paste((30, 30, 200), (75, 15, 105, 45))
    return picture


def reds_and_blues(square: Image.Image) -> tuple[int, int]:
    pixels = np.asarray(square).astype(int)
    return int((pixels[..., 0] > pixels[..., 2] + 90).sum()), int((pixels[..., 2] > pixels[..., 0] + 90).sum())


def test_doubts_about_the_picture_are_shown(studio: Studio) -> None:
    studio.upload(as_bytes(two_squares()), "two.png")
    panel = Panel(studio)
    (doubt,) = studio.doubts()
    assert "2 separate objects" in doubt
    assert "2 separate objects" in panel.fault.value
    assert panel.seen.layout.visibility == "visible"
    studio.choose_sample("mug")
    assert studio.doubts() == ()
    assert panel.fault.value == ""


def test_a_box_on_the_picture_chooses_the_object(studio: Studio) -> None:
    studio.upload(as_bytes(two_squares()), "two.png")
    panel = Panel(studio)
    assert panel.clear.disabled
    panel.picture._handle_custom_msg({"box": [0.05, 0.1, 0.45, 0.9]}, [])
    assert studio.box == (6, 6, 54, 54)
    assert panel.picture.box == pytest.approx([0.05, 0.1, 0.45, 0.9])
    red, blue = reds_and_blues(studio.what_the_model_sees())
    assert red > 0.4 * 256**2 > blue == 0
    assert panel.fault.value == ""
    panel.clear.click()
    assert studio.box is None
    assert panel.picture.box == []
    assert min(reds_and_blues(studio.what_the_model_sees())) > 1000


@pytest.mark.parametrize("box", [(-1, 0, 20, 20), (0, 0, 121, 20), (5, 5, 12, 30), (30, 30, 10, 10)])
def test_a_box_outside_is_refused(studio: Studio, box: tuple[int, int, int, int]) -> None:
    studio.upload(as_bytes(two_squares()), "two.png")
    with pytest.raises(InputError, match="120 x 60"):
        studio.draw_box(box)
    assert studio.box is None


def test_a_box_needs_a_picture_and_an_object(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="upload"):
        session.Session(tmp_path).draw_box((0, 0, 20, 20))
    studio.upload(as_bytes(Image.new("RGB", (64, 64), (90, 90, 90))), "grey.png")
    with pytest.raises(ImageError, match="box"):
        studio.draw_box((10, 10, 40, 40))


def test_a_mask_can_be_uploaded(studio: Studio) -> None:
    studio.upload(as_bytes(two_squares()), "two.png")
    panel = Panel(studio)
    mask = Image.new("L", (240, 120))
    mask.paste(255, (150, 30, 210, 90))
    panel.mask._handle_custom_msg({"name": "blue.png", "size": 1}, [memoryview(as_bytes(mask))])
    red, blue = reds_and_blues(studio.what_the_model_sees())
    assert blue > 0.4 * 256**2 > red == 0
    assert "blue.png" in studio.notice.text
    before = studio.mark
    for content, word in ((b"no picture", "cannot be used"), (as_bytes(Image.new("L", (50, 50))), "aspect")):
        assert not studio.attempt(lambda content=content: studio.upload_mask(content, "bad.png"))  # type: ignore[misc]
        assert word in studio.notice.text
        assert studio.mark == before
    studio.choose_sample("mug")
    assert studio.mark == ""


# ---------------------------------------------------------------- uploads


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (as_bytes(photo())[:60], "cut off"),
        (b"\x00\x00\x00\x24ftypheic\x00\x00\x00\x00mif1heic" + bytes(60), "HEIC"),
    ],
    ids=["empty", "cut off", "HEIC"],
)
def test_a_file_that_is_no_picture_is_a_sentence(content: bytes, words: str, studio: Studio) -> None:
    before = studio.what_the_model_sees()
    with pytest.raises(ImageError, match=re.escape(words)) as caught:
        studio.upload(content, HOSTILE)
    assert not studio.attempt(lambda: studio.upload(content, "bad file.png"))
    assert studio.notice.kind == "error"
    assert "bad file.png" in studio.notice.text
    assert "\n" not in str(caught.value)
    assert studio.what_the_model_sees() is before
    assert studio.name == "mug"


def test_an_object_that_cannot_be_found_can_be_kept(studio: Studio) -> None:
    studio.upload(as_bytes(Image.new("RGB", (64, 64), "white")), "snow.png")
    panel = Panel(studio)
    assert "background" in panel.fault.value
    assert panel.seen.layout.visibility == "hidden"
    panel.run.click()
    assert "background" in panel.notice.value
    assert not studio.worker.doing
    panel.background.value = "keep"
    assert panel.fault.value == ""
    assert panel.seen.layout.visibility == "visible"


@pytest.mark.parametrize(
    ("upload", "name"),
    [
        ("mug.png", "mug"), ("../../etc/passwd", "passwd"), (r"C:\fakepath\mug.tar.png", "mug.tar"),
        ("", "object"), (".png", "png"), ("..", "object"), ("a" * 300 + ".png", "a" * 100), ("nul\x00.png", "nul_"),
        ("Tasse größer.png", "Tasse größer"), (HOSTILE, "script_img src_x onerror_alert(2)_"),
    ],
)  # fmt: skip
def test_names_are_safe_on_any_disk(upload: str, name: str) -> None:
    assert plain_name(upload) == name


def test_hostile_names_are_only_text(studio: Studio) -> None:
    studio.upload(as_bytes(photo()), HOSTILE)
    studio.run()
    run = studio.wait()
    assert run.folder.parent == studio.folder
    studio.attempt(lambda: studio.upload(b"no picture", HOSTILE))
    studio.start_download("splat")
    studio.wait()
    panel = Panel(studio)
    panel.format.value = [choice.suffix for choice in downloads.choices()].index(".splat")
    assert "Download" in panel.link.value
    studio.attempt(lambda: studio.upload(b"no picture", HOSTILE))
    # what stands in srcdoc and in attributes is escaped, so no such element may be found outside of it
    shown = re.sub(r'srcdoc="[^"]*"', "", html_of(panel.box))
    assert "alert(1)" in shown
    assert not re.search(r"<script|<img|onerror=alert", shown.replace("&lt;", "").replace("onerror=alert(2)&gt;", ""))
