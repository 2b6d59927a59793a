"""show, save_html and render_turntable: what they write, without a browser (test_browser.py has one)."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import image3d_nb as i3d
from image3d_nb import view
from image3d_nb.cameras import orbit_cameras
from image3d_nb.errors import InputError
from image3d_nb.gaussians import Gaussians
from image3d_nb.io import splat
from image3d_nb.rendering import render
from image3d_nb.view import mimebundle, render_turntable, save_html, show, turntable_frames, viewer_page
from tests.viewer_scenes import some, square, unpacked

if TYPE_CHECKING:
    from image3d_nb.pipelines.lgm import LGMFullPipeline

SOURCES = Path(view.__file__).parent / "js"
HOSTILE = '</title></script><script>alert(1)</script>"\' onload="alert(2)" <img src=x onerror=alert(3)> $script ${x}'


class Page(HTMLParser):
    """The elements of a page as a browser's parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = dict(attrs).get("id") or tag

    def handle_data(self, data: str) -> None:
        self.texts[self.inside] = self.texts.get(self.inside, "") + data


def scene_in(page: str) -> dict[str, Any]:
    """What a page hands to the viewer."""
    return json.loads(Page(page).texts["scene"])


def image_in(bundle: dict[str, str]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))


def frame_count(picture: Image.Image) -> int:
    return int(getattr(picture, "n_frames", 1))


# ---- the page


def test_page_holds_the_visible_rows_of_the_splat_format_nearly() -> None:
    gaussians = some()
    gaussians.opacities[5] = 0.003
    rows = np.frombuffer(splat.write(gaussians, "x.splat")["x.splat"], np.uint8).reshape(-1, 32)
    rows = rows[np.isin(np.arange(60), 5, invert=True)] if rows[5, 27] == 1 else rows[rows[:, 27] > 1]
    packed = {name: unpacked(part) for name, part in scene_in(viewer_page(gaussians))["splats"].items()}
    order = np.abs(packed["means"][:, None] - rows[:, :12].copy().view("<f4")).max(-1).argmin(1)  # its own, by place
    assert sorted(order) == list(range(len(rows)))
    rows = rows[order]
    assert np.abs(packed["means"] - rows[:, :12].copy().view("<f4")).max() < 1e-5
    assert np.abs(packed["scales"] / rows[:, 12:24].copy().view("<f4") - 1).max() < 0.01
    assert np.array_equal(packed["colours"], rows[:, 24:28])
    assert np.array_equal(packed["quats"], rows[:, 28:])


def test_far_outliers_cost_no_precision() -> None:
    gaussians = some()
    gaussians.means[0] = 300.0
    means = unpacked(scene_in(viewer_page(gaussians))["splats"]["means"])
    assert np.abs(np.sort(means[:, 0]) - np.sort(gaussians.means[:, 0].numpy())).max() < 1e-4


def test_page_names_no_host() -> None:
    page = viewer_page(some())
    addresses = [value for _, attrs in Page(page).tags for key, value in attrs.items() if key in ("src", "href")]
    assert addresses
    assert all(value and value.startswith("data:") for value in addresses)
    assert "http://" not in page
    assert "https://" not in page


def test_page_allows_only_its_own_script_and_style() -> None:
    page = viewer_page(some())
    policy = next(attrs["content"] for tag, attrs in Page(page).tags if attrs.get("http-equiv")) or ""
    assert policy.startswith("default-src 'none'; ")
    for tag, directive in (("script type=.module.", "script-src"), ("style", "style-src")):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag.split()[0]}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy


def test_hostile_title_stays_text() -> None:
    page = viewer_page(some(), HOSTILE)
    plain = viewer_page(some(), "plain")
    parsed = Page(page)
    assert [tag for tag, _ in parsed.tags] == [tag for tag, _ in Page(plain).tags]
    assert parsed.texts["h1"].strip() == HOSTILE
    assert "alert(1)</script>" not in page
    frame = Page(mimebundle(some(), title=HOSTILE, size=64)["text/html"])
    ((tag, attrs),) = frame.tags
    assert (tag, attrs["sandbox"], attrs["title"]) == ("iframe", "allow-scripts", HOSTILE)
    assert HOSTILE in (Page(attrs["srcdoc"] or "").texts["h1"])


def test_thirty_thousand_gaussians_fit_in_one_and_a_half_megabytes(tmp_path: Path) -> None:
    path = save_html(some(30_000), tmp_path / "many.html")
    assert path.stat().st_size <= 1_500_000


def test_many_gaussians_warn_with_the_size_and_the_data_is_right() -> None:
    n = 200_001
    with pytest.warns(UserWarning, match="200,001") as caught:
        page = viewer_page(some(n), picture=b"")
    assert caught[0].filename == __file__
    assert scene_in(page)["splats"]["means"]["count"] == pytest.approx(n, rel=0.01)  # a few are too faint


def test_view_dependent_colour_warns() -> None:
    with pytest.warns(UserWarning, match="SH degree 1 to 1"):
        viewer_page(some(k=4))


def test_gradients_and_double_precision_do_no_harm() -> None:
    grown = some()
    fields = (grown.means.double().requires_grad_(), grown.quats, grown.scales, grown.opacities, grown.sh)
    assert scene_in(viewer_page(Gaussians(*fields), picture=b"")) == scene_in(viewer_page(grown))


def test_save_html_writes_one_file(tmp_path: Path) -> None:
    path = save_html(some(), str(tmp_path / "a.html"), title="A & B", background=(0, 0.5, 1), turn=True)
    assert path == tmp_path / "a.html"
    assert list(tmp_path.iterdir()) == [path]
    assert "<title>A &amp; B</title>" in path.read_text("utf-8")


@pytest.mark.parametrize("background", [2, -0.1, math.nan, (1, 1), (0, 0, 3), (0, 0, 0, 1)])
def test_background_must_be_a_colour(background: object) -> None:
    with pytest.raises(InputError, match="background"):
        viewer_page(some(), background=background)  # type: ignore[arg-type]  # the point of the test


def test_page_needs_its_suffix_and_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="html"):
        save_html(some(), tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="must exist"):
        save_html(some(), tmp_path / "missing" / "a.html")


# ---- show


def test_gaussians_become_html_png_and_text() -> None:
    bundle = mimebundle(some(), size=128, elevation=20, azimuth=30, background=0.5)
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert bundle["text/plain"] == "Gaussians(n=60, sh_degree=0, device=cpu)"
    camera = orbit_cameras(elevation=20, azimuth=(30,), size=128)
    expected = render(some(), camera, background=0.5)
    assert isinstance(expected, torch.Tensor)
    assert np.abs(np.asarray(image_in(bundle)) / 255 - expected[0].numpy()).max() <= 0.51 / 255
    options = Page(Page(bundle["text/html"]).tags[0][1]["srcdoc"] or "").texts["options"]
    assert '"elevation": 20, "azimuth": 30' in options


def test_stored_png_stays_small() -> None:
    bundle = mimebundle(some(), size=900)
    assert image_in(bundle).size == (640, 640)
    assert 'width="900"' in bundle["text/html"]


@pytest.mark.parametrize(
    ("images", "options", "size"),
    [
        ([Image.new("RGB", (256, 256))] * 4, {}, (860, 209)),  # at most 860 wide
        (Image.new("RGB", (200, 100)), {}, (320, 160)),  # at least 160 high
        (Image.new("RGB", (512, 512)), {}, (512, 512)),
        (np.zeros((8, 8, 3)), {}, (160, 160)),
        (torch.rand(4, 64, 64, 3), {}, (664, 160)),
        (torch.rand(4, 64, 64, 3), {"size": 860}, (860, 209)),  # the size decides
        (torch.rand(4, 64, 64, 3), {"size": 100}, (100, 19)),
        (torch.rand(6, 64, 64, 3), {"size": 200, "columns": 2}, (200, 3 * 104 - 8)),
        ([np.zeros((300, 200), np.uint8), Image.new("RGBA", (20, 30)), Image.new("P", (4, 6))], {}, (616, 300)),
    ],
)
def test_images_become_one_png_of_the_width_asked_for(
    images: object, options: dict[str, int], size: tuple[int, int]
) -> None:
    bundle = mimebundle(images, **options)  # type: ignore[arg-type]  # sizes and columns only
    assert set(bundle) == {"image/png", "text/plain"}
    assert image_in(bundle).size == size


def test_small_images_are_enlarged_with_square_pixels() -> None:
    small = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    shown = np.asarray(image_in(mimebundle(small, size=320)))
    assert np.array_equal(shown, small.repeat(5, 0).repeat(5, 1))
    unequal = np.asarray(image_in(mimebundle(small, size=300)))
    assert {tuple(colour) for colour in unequal.reshape(-1, 3)} <= {tuple(colour) for colour in small.reshape(-1, 3)}


def test_captions_wrap_and_nothing_is_cut() -> None:
    squares = [np.full((128, 128, 3), 0.5)] * 6
    heights = []
    for caption in (None, "a", "several words that do not fit", HOSTILE, "x" * 200):
        captions = caption and [caption] * 6
        shown = image_in(mimebundle(squares, columns=3, captions=captions, size=400))
        heights.append(shown.height)
        assert shown.width == 400
        white = np.asarray(shown.convert("L"))[heights[0] // 2 + 1 :, :128]
        assert caption is None or white[:20].min() < 100  # the words are there
    assert heights == sorted(heights)
    assert len(set(heights)) == 5


def test_a_checkerboard_shows_behind_transparent_pixels_on_request() -> None:
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    clear.paste((255, 0, 0, 255), (0, 0, 32, 64))
    plain, checked = (np.asarray(image_in(mimebundle(clear, size=64, checkerboard=c))) for c in (False, True))
    assert (plain[:, 32:] == 255).all()
    assert np.unique(checked[:, 32:]).tolist() == [205, 255]
    assert np.array_equal(plain[:, :32], checked[:, :32])


def test_text_has_the_true_sizes() -> None:
    assert mimebundle([Image.new("RGB", (256, 256))] * 4)["text/plain"] == "4 pictures, 256 x 256 pixels"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([], "at least one"),
        (None, "got NoneType"),
        ("mug.png", "got str"),
        (object(), "got object"),
        (["mug.png"], "got str"),
        (np.zeros((4, 4, 2)), r"got shape \(4, 4, 2\), float64"),
        (np.zeros((0, 4, 3)), r"got shape \(0, 4, 3\)"),
        (np.full((4, 4, 3), 7.0), "values from 7 to 7"),
        (np.full((4, 4, 3), math.nan), "48 NaN"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.float64(3), r"got shape \(\)"),
    ],
)
def test_what_is_not_an_image_is_refused(bad: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        mimebundle(bad)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"captions": ["one"]}, "captions"), ({"captions": "ab"}, "captions"), ({"columns": 0}, "columns"),
     ({"size": 3}, "size")],
)  # fmt: skip
def test_wrong_options_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        mimebundle([Image.new("RGB", (8, 8))] * 2, **options)


def test_outside_of_a_notebook_a_warning_says_what_to_do() -> None:
    with pytest.warns(UserWarning, match="save_html"):
        show(some(), size=32)
    with pytest.warns(UserWarning, match="image.save"):
        show(Image.new("RGB", (8, 8)))


@pytest.mark.usefixtures("notebook_shell")
def test_show_displays_one_bundle_in_a_notebook() -> None:
    from IPython.utils.capture import capture_output

    with capture_output() as captured:
        show(some(), size=64)
    (output,) = captured.outputs
    assert set(output.data) == {"text/html", "image/png", "text/plain"}


# ---- turntable


def test_gif_loops_with_one_palette(tmp_path: Path) -> None:
    path = render_turntable(some(), tmp_path / "turn.gif", frames=7, size=64, background=(0.2, 0.4, 0.6), fps=10)
    assert list(tmp_path.iterdir()) == [path]
    expected = turntable_frames(some(), 7, size=64, background=(0.2, 0.4, 0.6))
    with Image.open(path) as gif:
        assert (frame_count(gif), gif.size, gif.info["loop"], gif.info["duration"]) == (7, (64, 64), 0, 100)
        frames = []
        for i in range(7):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
    assert all(tuple(frame[0, 0]) == (51, 102, 153) for frame in frames)  # exactly the background
    assert len(np.unique(np.concatenate(frames).reshape(-1, 3), axis=0)) <= 256
    for frame, picture in zip(frames, expected, strict=True):
        assert np.abs(frame - np.asarray(picture)).mean() < 3


def test_first_frame_is_the_first_view() -> None:
    first = turntable_frames(some(), 2, size=32, elevation=10, azimuth=70)[0]
    view = render(some(), orbit_cameras(elevation=10, azimuth=(70,), size=32))
    assert isinstance(view, torch.Tensor)
    assert np.abs(np.asarray(first) / 255 - view[0].numpy()).max() <= 0.51 / 255


def test_webp_and_contact_sheet(tmp_path: Path) -> None:
    with Image.open(render_turntable(some(), tmp_path / "turn.webp", frames=5, size=32)) as webp:
        assert (frame_count(webp), webp.size) == (5, (32, 32))
    with Image.open(render_turntable(some(), tmp_path / "turn.PNG", frames=8, size=32)) as sheet:
        assert sheet.size == (6 * 40 - 8, 2 * 40 - 8)


def test_turntable_of_a_mesh_and_of_nothing_visible(tmp_path: Path) -> None:
    with Image.open(render_turntable(square(), tmp_path / "mesh.gif", frames=3, size=32)) as gif:
        assert frame_count(gif) == 3
    invisible = some()
    invisible.opacities.zero_()
    with Image.open(render_turntable(invisible, tmp_path / "none.gif", frames=3, size=32)) as gif:
        assert np.asarray(gif.convert("RGB")).min() == 255


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("turn.mp4", {}, "mp4"),
        ("turn.gif", {"frames": 0}, "frames"),
        ("turn.gif", {"size": 2}, "size"),
        ("turn.gif", {"fps": 0}, "fps"),
        ("turn.gif", {"background": 3}, "background"),
    ],
)
def test_turntable_refuses(name: str, options: dict[str, Any], word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word):
        render_turntable(some(), tmp_path / name, **options)
    with pytest.raises(InputError, match="got list"):
        render_turntable([1, 2], tmp_path / "turn.gif")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(FileNotFoundError, match="must exist"):
        render_turntable(some(), tmp_path / "missing" / "turn.gif")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "turn.gif"
    path.write_bytes(b"old")

    def half(_self: Image.Image, target: Path, **_options: object) -> None:
        target.write_bytes(b"GIF89a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space left"):
        render_turntable(some(), path, frames=2, size=16)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_notebook_in_use_stays_small(tiny_pipe: LGMFullPipeline) -> None:
    made = tiny_pipe(i3d.load_image(i3d.sample("mug")), generator=i3d.generator(0)).gaussians
    assert len(made) == 16_384
    assert sum(map(len, mimebundle(made).values())) <= 275_000  # 270 kB; the aim is 250
    assert sum(map(len, mimebundle(i3d.to_mesh(made)).values())) <= 900_000
