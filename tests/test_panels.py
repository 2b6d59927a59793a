"""Gallery, before/after slider, turntable and progress without a browser: what they hold and what they leave."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import image3d_nb as i3d
from image3d_nb import view
from image3d_nb.errors import InputError
from image3d_nb.mesh import Mesh
from image3d_nb.view import compare, gallery, turntable, turntable_frames, watch
from tests.viewer_scenes import VIEW, bundle_of, look, png_of, some, square, with_nan

if TYPE_CHECKING:
    from image3d_nb.pipelines.lgm import LGMFullPipeline

Array = NDArray[Any]
HOSTILE = '</div><script>alert(1)</script>"\' onload="alert(2)" <img src=x onerror=alert(3)> &amp; $x$ ${y}'


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


class Text(HTMLParser):
    """Tags and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


# ---- gallery


def test_gallery_holds_the_pictures_and_their_captions() -> None:
    pictures = [noise(64, 48, seed) for seed in range(5)]
    grid = gallery(pictures, list("abcde"), size=64)
    assert len(grid.children) == 5
    for cell, picture, text in zip(grid.children, pictures, "abcde", strict=True):
        shown, below = cell.children
        assert np.array_equal(np.asarray(opened(shown.value)), np.asarray(picture))
        assert Text(below.value).text == text
    assert grid.layout.grid_template_columns == "repeat(auto-fill, 64px)"
    assert gallery(pictures, columns=2, size=64).layout.grid_template_columns == "repeat(2, 64px)"


@pytest.mark.parametrize(("width", "shown"), [(4, 160), (60, 160), (1000, 160)])
def test_gallery_sends_no_more_pixels_than_it_shows(width: int, shown: int) -> None:
    (cell,) = gallery(noise(width, width)).children
    assert opened(cell.children[0].value).size == (shown, shown)
    assert int(cell.children[0].width) == 160


def test_hostile_captions_stay_text() -> None:
    (cell,) = gallery(noise(8, 8), [HOSTILE]).children
    parsed = Text(cell.children[1].value)
    assert parsed.tags == ["div"]
    assert parsed.text == HOSTILE
    assert type(cell.children[1]) is ipywidgets.HTML  # a Label or HTMLMath would set $x$ as a formula


# ---- compare


def test_compare_holds_both_pictures_as_they_are() -> None:
    before, after = noise(40, 30), noise(80, 60, 1)
    pair = compare(before, after, labels=("a <b>", HOSTILE), size=120)
    assert np.array_equal(np.asarray(opened(pair.before)), np.asarray(before))
    assert np.array_equal(np.asarray(opened(pair.after)), np.asarray(after))
    assert (pair.position, pair.labels, pair.width) == (50, ["a <b>", HOSTILE], 120)
    assert not pair.pixelated
    assert compare(before, before, size=120).pixelated


def test_objects_are_rendered_from_where_the_pictures_were_taken() -> None:
    gaussians = some()
    views = np.stack([look(gaussians, 64, azimuth=turn) for turn in (0, 90, 180, 270)])
    pairs = compare(views, gaussians, size=64).children
    assert len(pairs) == 4
    assert all(pair.before == pair.after for pair in pairs)
    turned = compare(views, gaussians, size=64, azimuth=90).children
    assert [pair.after for pair in turned] == [pairs[k].before for k in (1, 2, 3, 0)]


def test_an_object_beside_an_object() -> None:
    pair = compare(some(), square(), size=48, elevation=10, azimuth=30)
    assert np.array_equal(np.asarray(opened(pair.before)), look(some(), 48, 10, 30))
    assert np.array_equal(np.asarray(opened(pair.after)), look(square(), 48, 10, 30, light=False))
    lit = compare(some(), square(), size=48, light=True)
    assert np.array_equal(np.asarray(opened(lit.after)), look(square(), 48))


def test_saved_comparison_has_white_behind_transparent_images() -> None:
    red = Image.new("RGBA", (512, 256), (255, 0, 0, 255))
    picture = png_of(compare(red, Image.new("RGBA", (512, 256), (255, 0, 0, 0))))
    assert (picture[:, :310] == (255, 0, 0)).all()
    assert (picture[:, 330:] == 255).all()


@pytest.mark.parametrize("position", [0, 25, 100])
def test_saved_comparison_shows_both_sides_of_the_bar(position: float) -> None:
    pair = compare(Image.new("RGB", (512, 256), "red"), Image.new("RGB", (512, 256), "blue"))
    pair.position = position
    picture = png_of(pair)
    assert picture.shape == (320, 640, 3)
    edge = int(640 * position / 100)
    assert (picture[:, : max(0, edge - 4)] == (255, 0, 0)).all()
    assert (picture[:, edge + 4 :] == (0, 0, 255)).all()


# ---- turntable


def test_turntable_holds_every_frame_in_few_bytes() -> None:
    panel = turntable(some(200), frames=24, size=128, fps=10)
    book, bar = panel.children
    expected = turntable_frames(some(200), 24, size=128)
    assert len(book.images) == 24
    for content, frame in zip(book.images, expected, strict=True):
        assert np.abs(np.asarray(opened(content).convert("RGB")).astype(int) - np.asarray(frame)).mean() < 4
    assert sum(map(len, book.images)) < 24 * 128 * 128 / 4  # a quarter of a byte a pixel
    play, slider = bar.children
    assert (play.min, play.max, play.interval, play.repeat) == (0, 23, 100, True)
    assert (slider.min, slider.max) == (0, 23)


def links() -> list[tuple[tuple[Any, str], tuple[Any, str]]]:
    kinds = ipywidgets.widgets.widget._instances.values()
    return [
        (widget.source, widget.target) for widget in kinds if isinstance(widget, ipywidgets.widgets.widget_link.Link)
    ]


def test_the_bar_is_linked_in_the_browser() -> None:
    book, bar = turntable(square(), frames=3, size=16).children
    play, slider = bar.children
    assert ((play, "value"), (book, "frame")) in links()
    assert ((play, "value"), (slider, "value")) in links()
    first, second = compare([noise(8, 8)] * 2, [noise(8, 8)] * 2).children
    assert ((first, "position"), (second, "position")) in links()


def test_saved_turntable_shows_six_sides() -> None:
    shown = png_of(turntable(some(), frames=12, size=160))
    assert shown.shape == (2 * 208 + 8, 3 * 208 + 16, 3)  # 640 pixels at most
    tiles = [shown[216 * y : 216 * y + 208, 216 * x : 216 * x + 208] for y in range(2) for x in range(3)]
    assert len({tile.tobytes() for tile in tiles}) == 6


# ---- progress


def test_watch_shows_each_step_and_ends_with_the_views_of_the_result(tiny_pipe: LGMFullPipeline) -> None:
    progress = watch(tiny_pipe, size=64)
    bar, text = progress.widget.children[0].children
    cells = progress.widget.children[1].children
    seen: list[tuple[int, int, bytes]] = []

    def callback(*arguments: Any) -> dict[str, Any]:
        changed = progress(*arguments)
        seen.append((bar.value, bar.max, cells[1].children[0].value))
        return changed

    image = noise(64, 64)
    settings: Any = {"prepare": False, "num_inference_steps": 3}
    plain = tiny_pipe(image, generator=torch.Generator().manual_seed(1), **settings)
    result = tiny_pipe(image, generator=torch.Generator().manual_seed(1), callback_on_step_end=callback, **settings)
    assert torch.equal(plain.gaussians.means, result.gaussians.means)  # looking on changes nothing
    assert [row[:2] for row in seen] == [(1, 3), (2, 3), (3, 3)]
    assert len({row[2] for row in seen}) == 3
    for cell, picture in zip(cells, result.images, strict=True):
        shown = np.asarray(opened(cell.children[0].value)).astype(int)
        assert np.abs(shown - np.asarray(picture)).max() <= 1
    assert (bar.bar_style, repr(progress)) == ("success", "Watch(step 3 of 3)")
    assert text.value.startswith("<span>step 3 of 3, t = ")


def test_watch_looks_as_often_as_it_is_told(tiny_pipe: LGMFullPipeline) -> None:
    progress = watch(tiny_pipe, every=3)
    looks: list[Any] = []
    latents = torch.zeros(5, 3, 64, 64)

    class Pipe:
        vae, num_timesteps = None, 8

        def decode(self, rows: Any) -> Any:
            looks.append(len(rows))
            return torch.zeros(4, 3, 8, 8)

    done: list[int] = []
    for step in range(8):
        progress(Pipe(), step, torch.tensor(8 - step), {"latents": latents})
        done.append(len(looks))
    assert done == [1, 1, 1, 2, 2, 2, 3, 4]  # steps 0, 3, 6, and the last
    assert set(looks) == {4}  # of all frames only the four views of the first object


@pytest.mark.usefixtures("notebook_shell")
def test_watch_shows_itself_in_a_notebook(tiny_pipe: LGMFullPipeline) -> None:
    from IPython.utils.capture import capture_output

    with capture_output() as captured:
        progress = watch(tiny_pipe, size=32)
    (output,) = captured.outputs
    assert set(output.data) == {"text/plain", "image/png", VIEW}
    assert output.data[VIEW]["model_id"] == progress.widget.model_id
    assert progress.handle is not None


# ---- all of them


@pytest.mark.usefixtures("notebook_shell")
def test_ipywidgets_7_displays_the_same_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its widgets have ``_ipython_display_``, which a notebook prefers to a bundle."""
    from IPython.utils.capture import capture_output

    monkeypatch.setattr(ipywidgets.Widget, "_ipython_display_", lambda _self, **_options: None, raising=False)
    for panel in (gallery(noise(8, 8)), compare(noise(8, 8), noise(8, 8)), i3d.SplatViewer(some(), size=32)):
        with capture_output() as captured:
            panel._ipython_display_()
        (output,) = captured.outputs
        assert set(output.data) >= {VIEW, "image/png"}
        assert output.data[VIEW]["model_id"] == panel.model_id


def test_saved_notebook_keeps_a_picture_and_one_steady_line(tiny_pipe: LGMFullPipeline) -> None:
    views = [noise(64, 64)] * 4
    for panel, text in [
        (gallery(views, [HOSTILE] * 4), "gallery of 4 pictures"),
        (gallery(views[0]), "gallery of 1 picture"),
        (compare(views[0], views[1]), "comparison of 1 pair of pictures"),
        (compare(views, views), "comparison of 4 pairs of pictures"),
        (turntable(square(), frames=2, size=64), "turntable of Mesh(vertices=4, faces=2, colors=vertex)"),
        (watch(tiny_pipe).widget, "views as they denoise"),
    ]:
        bundle = bundle_of(panel)
        assert bundle["text/plain"] == text
        assert bundle[VIEW]["model_id"] == panel.model_id
        picture = opened(base64.b64decode(bundle["image/png"]))
        assert max(picture.size) <= 640
        assert np.asarray(picture).std() > 1 or "denoise" in text


EMPTY = Mesh(np.zeros((3, 3)), np.zeros((0, 3), int))
PICTURE = Image.new("RGB", (8, 8))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gallery([]), "got none"),
        (lambda: gallery("mug.png"), "got str"),
        (lambda: gallery(PICTURE, captions="a"), "captions"),
        (lambda: gallery(PICTURE, captions=["a", "b"]), "captions"),
        (lambda: gallery(PICTURE, columns=0), "columns"),
        (lambda: gallery(PICTURE, size=1), "size"),
        (lambda: compare(PICTURE, "b.png"), "got str"),
        (lambda: compare(PICTURE, [PICTURE] * 2), "1 and 2"),
        (lambda: compare(PICTURE, Image.new("RGB", (8, 16))), "shape"),
        (lambda: compare(PICTURE, PICTURE, labels="ab"), "labels"),
        (lambda: compare(PICTURE, PICTURE, labels=("a",)), "labels"),
        (lambda: compare(PICTURE, some(0)), "got none"),
        (lambda: compare(EMPTY, PICTURE), "at least one face"),
        (lambda: compare(with_nan(), PICTURE), "means"),
        (lambda: turntable(EMPTY), "at least one face"),
        (lambda: turntable(PICTURE), "got Image"),  # type: ignore[arg-type]
        (lambda: turntable(square(), frames=0), "frames"),
        (lambda: turntable(square(), fps=0), "fps"),
        (lambda: watch("tiny"), "got str"),
    ],
)
def test_bad_input_is_a_sentence(call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


def test_watch_refuses_numbers_out_of_range(tiny_pipe: LGMFullPipeline) -> None:
    with pytest.raises(InputError, match="every"):
        watch(tiny_pipe, every=0)
    with pytest.raises(InputError, match="size"):
        watch(tiny_pipe, size=0)


@pytest.mark.parametrize("name", ["flipbook", "compare", "upload"])
def test_styles_touch_nothing_else_and_name_no_host(name: str) -> None:
    style = (Path(view.__file__).parent / "panel_js" / f"{name}.css").read_text("ascii")
    assert "//" not in style
    assert all(line.startswith((".image3d-", " ", "}")) for line in style.splitlines())
