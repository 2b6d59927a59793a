"""remove_background and prepare_image: plain backgrounds, masks, doubts, the white square."""

from __future__ import annotations

import re
import socket
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from image3d_nb.errors import DownloadError, ImageError, InputError
from image3d_nb.images import load_image, prepare, prepare_image, remove_background, sample

from .test_images_load import corners, encode

# ---- backgrounds -----------------------------------------------------------------------------------------------------

SIDE = 256
V, U = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE), indexing="ij")
PLAIN = np.ones((SIDE, SIDE, 3))
BACKGROUNDS = {
    "white": PLAIN,
    "grey": PLAIN * 0.5,
    "beige": PLAIN * [0.85, 0.78, 0.65],
    "dark": PLAIN * 0.08,
    "gradient": PLAIN * (0.75 + 0.15 * V + 0.08 * U)[..., None],
    "vignette": PLAIN * 0.95 / (1 + 0.25 * (U**2 + V**2)[..., None]) ** 2,  # a lens: cos^4
}


def shaded(height: np.ndarray, colour: list[float]) -> np.ndarray:
    """Lit from the upper left, darker towards the outline."""
    dy, dx = np.gradient(height)
    normal = np.stack([-dx, -dy, np.full_like(height, 2 / SIDE)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.clip(normal @ [0.4, -0.5, 0.77], 0, 1)
    return np.clip(np.array(colour) * (0.35 + 0.7 * light)[..., None], 0, 1)


def things() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    radius = np.hypot(U, V)
    ball = np.sqrt(np.clip(0.3 - radius**2, 0, 1))
    tube = np.sqrt(np.clip(0.16**2 - (radius - 0.42) ** 2, 0, 1))
    two = np.where((U < 0)[..., None], [0.95, 0.8, 0.2], [0.5, 0.45, 0.1])
    return {
        "red ball": (radius**2 < 0.3, shaded(ball, [0.8, 0.2, 0.15])),
        "white ball": (radius**2 < 0.3, shaded(ball, [0.93] * 3)),
        "blue ring": (np.abs(radius - 0.42) < 0.16, shaded(tube, [0.2, 0.3, 0.8])),
        "yellow box": ((np.abs(U) < 0.4) & (np.abs(V) < 0.55), two),
    }


THINGS = things()


def photo(thing: str, background: str) -> tuple[bytes, np.ndarray]:
    """A noisy JPEG, and the truth [H, W]."""
    mask, colours = THINGS[thing]
    picture = np.where(mask[..., None], colours, BACKGROUNDS[background])
    picture = picture + np.random.default_rng(0).normal(0, 0.01, picture.shape)
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return encode(Image.fromarray(pixels), "JPEG", quality=85), mask


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("thing", THINGS)
def test_plain_backgrounds(thing: str, background: str) -> None:
    content, mask = photo(thing, background)
    cut = remove_background(content, "polynomial")
    assert (cut.mode, cut.size) == ("RGBA", (SIDE, SIDE))
    found = np.asarray(cut)[..., 3] >= 128
    assert (found & mask).sum() / (found | mask).sum() >= 0.95


def test_the_hole_of_a_ring_is_background() -> None:
    content, _ = photo("blue ring", "grey")
    alpha = np.asarray(remove_background(content, "polynomial"))[..., 3]
    assert alpha[SIDE // 2, SIDE // 2] == 0
    ball, _ = photo("white ball", "white")
    assert np.asarray(remove_background(ball, "polynomial"))[SIDE // 2, SIDE // 2, 3] == 255


def test_large_images_keep_their_size() -> None:
    content, mask = photo("red ball", "white")
    large = load_image(content).resize((1500, 1500))
    cut = remove_background(large, "polynomial")
    assert cut.size == (1500, 1500)
    found = np.asarray(cut.resize((SIDE, SIDE)))[..., 3] >= 128
    assert (found & mask).sum() / (found | mask).sum() >= 0.95


def test_alpha_is_kept_where_it_is_used() -> None:
    mask, colours = THINGS["red ball"]
    rgba = np.dstack([colours, mask * 0.9])
    assert remove_background(rgba).tobytes() == load_image(rgba).tobytes()
    opaque = np.dstack([np.where(mask[..., None], colours, 1.0), np.ones(mask.shape)])
    opaque[0, 0, 3] = 0  # a stray pixel is no cut-out
    alpha = np.asarray(remove_background(opaque))[..., 3]
    assert alpha[5, 5] == 0
    assert alpha[SIDE // 2, SIDE // 2] == 255


STRIPES = np.where((np.arange(SIDE) // 16 % 2 == 0)[:, None, None], [0.9, 0.1, 0.1], [0.1, 0.2, 0.9]) * PLAIN


def before(background: np.ndarray, *masks: np.ndarray, colour: Sequence[float] = (0.2, 0.5, 0.3)) -> np.ndarray:
    """[SIDE, SIDE, 3], green shapes in front of a background."""
    return np.where(np.logical_or.reduce(masks)[..., None], colour, background)


DOUBTS: dict[str, tuple[np.ndarray, list[str]]] = {
    "an object on white": (before(PLAIN, np.hypot(U, V) < 0.5), []),
    "stripes": (STRIPES, ["not plain", "border"]),
    "cut off at the left": (before(PLAIN, (U < 0.2) & (np.abs(V) < 0.4)), [r"border \(left\)"]),
    "a table and a wall": (before(PLAIN, V > 0.4, np.hypot(U, V) < 0.5), [r"border \(bottom, left, right\)"]),
    "a close-up": (before(PLAIN, (U > -0.5)), [r"border \(top, bottom", "white"]),
    "two objects": (before(PLAIN, np.hypot(U - 0.5, V) < 0.3, np.hypot(U + 0.5, V) < 0.2), ["2 separate"]),
    "an object and a crumb": (before(PLAIN, np.hypot(U, V) < 0.5, np.hypot(U - 0.8, V) < 0.05), []),
    "a snowman": (before(PLAIN * 0.5, np.hypot(U, V) < 0.5, colour=(1, 1, 1)), ["100% .*white"]),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_prepare_image_says_what_it_is_not_sure_of(case: str) -> None:
    image, wanted = DOUBTS[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_image(image, background="polynomial")
    for message, warning in zip(wanted, caught, strict=True):
        assert re.search(message, str(warning.message))
        assert warning.filename == __file__


def test_a_cut_out_that_fills_its_image_is_no_doubt() -> None:
    disk = np.dstack([PLAIN * 0.5, np.hypot(U, V) <= 1])
    assert np.asarray(remove_background(disk))[128, 128, 3] == 255
    logo = np.dstack([PLAIN, np.hypot(U, V) < 0.5])
    with pytest.warns(UserWarning, match="white"):
        assert np.asarray(prepare_image(logo)).min() > 250


def test_thin_lines_have_a_share_of_white() -> None:
    lines = np.zeros((2000, 2000, 4), np.uint8)
    lines[200:1800:160, 200:1800, 3] = lines[200:1800, 200:1800:160, 3] = 255  # black, one pixel wide
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_image(lines)
    assert not [each for each in caught if "nan" in str(each.message) or each.category is RuntimeWarning]


def test_sizes_of_numpy_are_sizes() -> None:
    ball, _ = photo("red ball", "white")
    assert prepare_image(ball, size=np.int64(48)).size == (48, 48)
    with pytest.raises(InputError, match="with mask="):
        prepare_image(ball, background="keep", mask=DISK)


DISK = np.hypot(U, V) < 0.5
MASKS = {
    "bool": DISK, "0 and 1": DISK.astype(int), "0 and 255": 255 * DISK.astype(int),
    "words": 255 * DISK.astype(np.uint16), "bool tensor": torch.from_numpy(DISK),
    "tensor": 255 * torch.from_numpy(DISK).long(), "bytes": np.uint8(255) * DISK, "floats": DISK.astype(np.float32),
    "image": Image.fromarray(np.uint8(255) * DISK), "1 bit": Image.fromarray(DISK),
    "alpha": Image.fromarray(np.dstack([np.zeros((SIDE, SIDE, 3), np.uint8), np.uint8(255) * DISK])),
    "half size": Image.fromarray(np.uint8(255) * DISK).resize((SIDE // 2, SIDE // 2)),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*MASKS, "file"])
def test_a_mask_says_where_the_object_is(kind: str, tmp_path: Path) -> None:
    Image.fromarray(np.uint8(255) * DISK).save(tmp_path / "mask.png")
    mask = MASKS.get(kind, tmp_path / "mask.png")
    cut = np.asarray(remove_background(STRIPES, mask=mask))
    assert ((cut[..., 3] >= 128) != DISK).mean() < 0.01
    square = np.asarray(prepare_image(STRIPES, mask=mask))
    assert (square[0] == 255).all()
    left, _, right, _ = extent(Image.fromarray(square))
    assert right - left == pytest.approx(0.8 * 256, abs=3)


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.zeros((SIDE, SIDE), bool), "an object"), (np.ones((SIDE, 2 * SIDE)), "aspect ratio"), (3, "got int")],
)
def test_wrong_masks(mask: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        prepare_image(STRIPES, mask=mask)


def test_rembg_cuts_with_its_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real rembg and onnxruntime, with a network of four nodes: dark pixels are object."""
    from onnx import TensorProto, checker, helper, save

    shape = [1, 3, 320, 320]
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Neg", ["mean"], ["dark"]),
        *(helper.make_node("Identity", ["dark"], [name]) for name in ("1959", "1960")),
    ]
    graph = helper.make_graph(
        nodes, "u2net", [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 320, 320]) for name in ("1959", "1960")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    save(model, tmp_path / "u2net.onnx")
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    monkeypatch.setenv("MODEL_CHECKSUM_DISABLED", "1")
    prepare._network.cache_clear()
    content, mask = photo("red ball", "white")
    found = np.asarray(remove_background(content, "rembg"))[..., 3] >= 128
    assert (found & mask).sum() / (found | mask).sum() > 0.9
    red, green, _ = prepare_image(content, background="rembg").getpixel((128, 128))
    assert red > green + 50
    (tmp_path / "u2net.onnx").unlink()
    prepare._network.cache_clear()
    with socket.socket() as closed:  # nothing answers on its port
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(DownloadError, match="u2net"):
            remove_background(content, "rembg")


def test_methods_are_checked() -> None:
    with pytest.raises(InputError, match="method must"):
        remove_background(corners(), "magic")
    with pytest.raises(InputError, match="background must"):
        prepare_image(corners(), background="magic")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content, _ = photo("red ball", "grey")
    for method, package in (("grabcut", "cv2"), ("rembg", "rembg")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf'needs {package}: pip install "image3d-nb\[rembg\]"'):
            remove_background(content, method)


# ---- the white square ------------------------------------------------------------------------------------------------


def extent(image: Image.Image) -> tuple[int, int, int, int]:
    """What is not white: left, top, right, bottom."""
    return Image.fromarray((np.asarray(image).min(2) < 128).astype(np.uint8)).getbbox()  # type: ignore[return-value]


def cutout(width: int = 300, height: int = 200, box: tuple[int, int, int, int] = (20, 30, 120, 80)) -> Image.Image:
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))  # black where it is transparent: fringes would be dark
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), (220, 30, 30, 255))
    return image


@pytest.mark.parametrize(("size", "ratio"), [(256, 0.8), (256, 0.5), (128, 0.8), (320, 1.0), (65, 0.7)])
def test_the_longer_side_has_its_ratio_and_the_object_is_centred(size: int, ratio: float) -> None:
    got = prepare_image(cutout(), size, ratio)
    assert (got.mode, got.size) == ("RGB", (size, size))
    left, top, right, bottom = extent(got)
    assert right - left == pytest.approx(size * ratio, abs=1.5)
    assert bottom - top == pytest.approx(size * ratio / 2, abs=1.5)
    assert (left + right) / 2 == pytest.approx(size / 2, abs=1)
    assert (top + bottom) / 2 == pytest.approx(size / 2, abs=1)


def test_alpha_on_white_without_dark_fringes() -> None:
    got = np.asarray(prepare_image(cutout(), 200, 0.8)).astype(int)
    assert (got[0, 0] == 255).all()
    # every pixel is a mixture of white and (220, 30, 30): red never falls below 220 (but for LANCZOS's overshoot)
    assert got[..., 0].min() >= 208
    half = cutout()
    half.putalpha(half.getchannel("A").point(lambda a: a // 2 + a % 2))
    middle = np.asarray(prepare_image(half, 64))[32, 32]
    np.testing.assert_allclose(middle, 255 - (255 - np.array([220, 30, 30])) * 128 / 255, atol=1.5)


def test_an_object_in_the_corner_is_centred() -> None:
    with pytest.warns(UserWarning, match=r"border \(bottom, right\)"):
        left, top, right, bottom = extent(prepare_image(cutout(box=(200, 100, 300, 200))))
    assert (left, top, right, bottom) == pytest.approx((25.6, 25.6, 230.4, 230.4), abs=1.5)


def test_a_photo_becomes_an_object_on_white() -> None:
    content, _ = photo("red ball", "vignette")
    got = np.asarray(prepare_image(content, background="polynomial"))
    assert (got[:20] == 255).all()
    assert got[128, 128, 0] > 100 > got[128, 128, 1]
    left, _, right, _ = extent(Image.fromarray(got))
    assert right - left == pytest.approx(0.8 * 256, abs=5)


def test_keep_fits_the_whole_image() -> None:
    got = np.asarray(prepare_image(corners(), 48, background="keep"))
    np.testing.assert_array_equal(got[8:40], np.asarray(corners()))
    assert (got[:8] == 255).all()
    assert (got[40:] == 255).all()
    assert (np.asarray(prepare_image(cutout(), 300, background="keep"))[60, 10] == 255).all()  # alpha lies on white


@pytest.mark.parametrize(
    "picture",
    [
        lambda: Image.new("RGB", (64, 64), "white"),
        lambda: Image.new("RGB", (64, 64), (40, 90, 20)),
        lambda: Image.new("RGBA", (64, 64), (9, 9, 9, 0)),
        lambda: BACKGROUNDS["gradient"],
    ],
)
def test_nothing_found(picture: Callable[[], Image.Image]) -> None:
    with pytest.raises(ImageError, match="must show an object"):
        prepare_image(picture())


@pytest.mark.parametrize(
    ("size", "ratio"), [(0, 0.8), (-5, 0.8), (100_000, 0.8), (256, 0), (256, 1.1), (256, float("nan"))]
)
def test_size_and_ratio_are_checked(size: int, ratio: float) -> None:
    with pytest.raises(InputError, match="must be"):
        prepare_image(cutout(), size, ratio)


def test_samples() -> None:
    with pytest.raises(InputError, match="teapot"):
        sample("teapot")
    assert prepare_image(sample()).size == (256, 256)
    coffee = load_image(sample("coffee"))
    assert coffee.size == (600, 400)
    with pytest.warns(UserWarning, match="border"), pytest.warns(UserWarning, match="not plain"):
        prepare_image(coffee)
    cup = np.zeros((400, 600), bool)
    cup[70:330, 120:480] = True
    assert prepare_image(coffee, mask=cup).size == (256, 256)
