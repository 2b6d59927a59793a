"""Images: every kind of source and colour mode, damaged files, downloads, backgrounds, the white square."""

from __future__ import annotations

import io
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFile

from image3d_nb.errors import DownloadError, ImageError, InputError
from image3d_nb.images import load_image, prepare_image, remove_background


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def corners(width: int = 48, height: int = 32) -> Image.Image:
    """Red top left, green top right, blue bottom left, yellow bottom right."""
    image = Image.new("RGB", (width, height), "red")
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height // 2 - 1), "#00ff00")
    draw.rectangle((0, height // 2, width // 2 - 1, height), "blue")
    draw.rectangle((width // 2, height // 2, width, height), "yellow")
    return image


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_every_source_gives_the_same_picture(tmp_path: Path) -> None:
    want = corners()
    content = encode(want)
    (tmp_path / "a.png").write_bytes(content)
    array = np.asarray(want)
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), content, bytearray(content), memoryview(content)]
    sources += [
        io.BytesIO(content),
        want,
        array,
        array / 255.0,
        torch.from_numpy(array.copy()),
        array.astype("u2") * 257,
    ]
    sources += [torch.from_numpy(array / 255.0).to(torch.float32).requires_grad_(), array[:, ::-1][:, ::-1]]
    for source in sources:
        got = load_image(source)
        assert got.mode == "RGB"
        assert got.tobytes() == want.tobytes(), type(source)


def test_a_pillow_picture_is_not_changed_or_shared() -> None:
    source = corners()
    load_image(source).paste("black", (0, 0, 48, 32))
    assert source.tobytes() == corners().tobytes()


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4", "f8"])
def test_grey_arrays(shape: tuple[int, ...], dtype: str) -> None:
    top = {"u1": 255, "u2": 65535}.get(dtype, 1)
    got = load_image(np.full(shape, top * 0.5).astype(dtype))
    assert (got.mode, got.size) == ("RGB", (5, 6))
    assert got.getpixel((0, 0))[0] in (127, 128)
    assert load_image(np.full(shape, top, dtype)).getpixel((0, 0)) == (255, 255, 255)


def test_arrays_with_alpha_and_bfloat16() -> None:
    array = np.zeros((6, 5, 4), np.uint8)
    array[..., 3] = 7
    assert load_image(array).getpixel((2, 2)) == (0, 0, 0, 7)
    assert load_image(torch.ones(4, 4, 3, dtype=torch.bfloat16)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 64, 64)), "channels last"),
        (np.zeros((8, 8, 5), np.uint8), "5 channels"),
        (np.zeros((1, 8, 8, 3)), r"\(1, 8, 8, 3\)"),
        (np.zeros(8), r"\(8,\)"),
        (np.zeros((0, 8, 3)), r"\(0, 8, 3\)"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.zeros((8, 8), bool), "bool"),
        (np.full((8, 8, 3), 200.0), "200"),
        (np.full((8, 8, 3), -0.01), "-0.01"),
        (np.full((8, 8, 3), np.nan), "192 NaN"),
        (np.full((8, 8, 3), np.inf), "inf"),
        (torch.zeros(3, 8, 8), "channels last"),
        (torch.zeros(8, 8, 3, dtype=torch.int32), "int32"),
        (np.zeros((1, 9, 3)), "9 x 1"),
    ],
)
def test_arrays_that_are_no_picture(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(array)


@pytest.mark.parametrize("source", [None, 7, [[0, 1]]])
def test_sources_of_another_kind(source: object) -> None:
    with pytest.raises(ImageError, match=type(source).__name__):
        load_image(source)  # type: ignore[arg-type]


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="no such file"):
        load_image("a" * 300)  # too long for a name
    with pytest.raises(ImageError, match="folder"):
        load_image(str(tmp_path))
    (tmp_path / "a.txt").write_text("words")
    with (tmp_path / "a.txt").open() as stream, pytest.raises(ImageError, match="binary mode"):
        load_image(stream)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["FILE:///etc/passwd", "ftp://x/a.png", "data:image/png;base64,AA"])
def test_other_schemes(url: str) -> None:
    with pytest.raises(ImageError, match="http://"):
        load_image(url)


# ---- colours and orientation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    turn = Image.Transpose
    inverse = [None, turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM]
    inverse += [turn.TRANSPOSE, turn.ROTATE_90, turn.TRANSVERSE, turn.ROTATE_270]
    how = inverse[orientation - 1]
    stored = corners().transpose(how) if how is not None else corners()
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = load_image(encode(stored, "JPEG", quality=95, subsampling=0, exif=exif))
    assert got.size == (48, 32)
    for at in ((4, 4), (44, 4), (4, 28), (44, 28)):
        assert np.abs(np.subtract(got.getpixel(at), corners().getpixel(at))).max() < 12, at
    assert load_image(got).tobytes() == got.tobytes()  # turned once, not again


def test_damaged_exif_is_told_and_the_picture_read() -> None:
    content = encode(corners(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0")
    with pytest.warns(UserWarning, match="EXIF"):
        assert load_image(content).size == (48, 32)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG", "PPM", "ICO"])
def test_file_formats(kind: str) -> None:
    got = load_image(encode(corners(), kind))
    assert got.convert("RGB").getpixel((4, 4))[0] > 240
    assert got.mode in ("RGB", "RGBA")


def test_palettes() -> None:
    image = corners().quantize(4)
    assert load_image(encode(image)).getpixel((4, 4)) == (255, 0, 0)
    clear = image.getpixel((4, 4))
    got = load_image(encode(image, transparency=clear))
    assert got.mode == "RGBA"
    assert got.getpixel((4, 4))[3] == 0
    assert got.getpixel((44, 4)) == (0, 255, 0, 255)
    gif = load_image(encode(image, "GIF", transparency=clear))
    assert (gif.getpixel((4, 4))[3], gif.getpixel((44, 4))[3]) == (0, 255)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    values = np.linspace(0, 65535, 64 * 4).reshape(4, 64).astype(np.uint16)
    got = np.asarray(load_image(encode(Image.fromarray(values))))[..., 0]
    np.testing.assert_array_equal(got, np.rint(values / 257).astype(np.uint8))
    assert len(np.unique(got)) > 250
    tiff = np.asarray(load_image(encode(Image.fromarray(values.astype(">u2")), "TIFF")))[..., 0]
    np.testing.assert_array_equal(tiff, got)
    wide = load_image(Image.fromarray(values.astype(np.int32)))  # mode I
    np.testing.assert_array_equal(np.asarray(wide)[..., 0], got)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(chunk(*c) for c in chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def test_16_bit_grey_with_a_transparent_value() -> None:
    rows = b"".join(b"\0" + struct.pack(">2H", 0x1234, 0xFFFF) for _ in range(2))
    got = load_image(png(2, 2, 16, 0, rows, (b"tRNS", struct.pack(">H", 0x1234))))
    assert got.mode == "RGBA"
    assert [got.getpixel((x, 0))[3] for x in (0, 1)] == [0, 255]


def test_rgb_with_a_transparent_colour() -> None:
    got = load_image(encode(corners(), transparency=(255, 0, 0)))
    assert got.getpixel((4, 4)) == (255, 0, 0, 0)
    assert got.getpixel((44, 4)) == (0, 255, 0, 255)


def test_cmyk_la_1_bit_and_float() -> None:
    cmyk = load_image(encode(corners().convert("CMYK"), "TIFF"))
    assert cmyk.mode == "RGB"
    assert cmyk.getpixel((4, 4))[0] > 240 > 20 > cmyk.getpixel((4, 4))[2]
    jpeg = load_image(encode(corners().convert("CMYK"), "JPEG", quality=95))
    assert jpeg.getpixel((4, 4))[0] > 240
    la = Image.new("LA", (8, 8), (200, 100))
    assert load_image(encode(la)).getpixel((0, 0)) == (200, 200, 200, 100)
    one = Image.new("1", (8, 8), 1)
    assert load_image(encode(one)).getpixel((0, 0)) == (255, 255, 255)
    grey = Image.fromarray(np.full((8, 8), 0.5, np.float32))
    assert load_image(encode(grey, "TIFF")).getpixel((0, 0)) == (128, 128, 128)
    for wrong in (np.full((8, 8), 2.0, np.float32), np.full((8, 8), 70000, np.int32), np.full((8, 8), -1, np.int32)):
        with pytest.raises(ImageError, match="values from"):
            load_image(Image.fromarray(wrong))


def test_of_an_animation_the_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    for kind in ("GIF", "PNG", "WEBP"):
        content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = load_image(content).convert("RGB").getpixel((4, 4))
        assert red > 240 > 20 > blue


# ---- damaged pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"hello, world", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"ply\nformat"]
)
def test_not_a_picture(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="first bytes"):
        load_image(content)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match="first bytes"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_truncated(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    content = encode(noise, kind)
    for part in (0.02, 0.3, 0.7, 0.9):
        with pytest.raises(ImageError, match="must be"):
            load_image(content[: int(len(content) * part)])
    opened = Image.open(io.BytesIO(content[: len(content) // 2])) if kind in ("PNG", "JPEG") else None
    if opened is not None:  # Pillow opens these by their header
        with pytest.raises(ImageError, match="damaged"):
            load_image(opened)


def test_bytes_turned_over_never_raise_anything_else() -> None:
    generator = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        content = np.frombuffer(encode(corners(), kind), np.uint8)
        for _ in range(25):
            damaged = content.copy()
            damaged[generator.integers(0, len(damaged), 4)] = generator.integers(0, 255, 4)
            try:
                assert load_image(damaged.tobytes()).mode in ("RGB", "RGBA")
            except ImageError:
                continue


def test_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = png(12_000, 12_000, 8, 2, b"")  # nothing to decode: only the header can tell
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ImageError, match="144,000,000"):
        load_image(bomb)
    with pytest.raises(ImageError, match="Pillow"):
        load_image(png(60_000, 60_000, 8, 2, b""))
    with pytest.raises(ImageError, match="1,536"):
        load_image(encode(corners()), max_pixels=1000)
    with pytest.raises(ImageError, match="1,000"):
        load_image(np.zeros((48, 32)), max_pixels=1000)


def test_one_pixel() -> None:
    with pytest.raises(ImageError, match="2 x 2"):
        load_image(encode(Image.new("RGB", (1, 1))))
    with pytest.raises(ImageError, match="8 x 8"):
        prepare_image(Image.new("RGB", (4, 9)))


def test_pillows_own_settings_stay() -> None:
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    load_image(encode(corners()), max_pixels=10**9)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


# ---- the network -----------------------------------------------------------------------------------------------------

PICTURE = encode(corners())


class Handler(BaseHTTPRequestHandler):
    """A server that misbehaves in every way."""

    def do_GET(self) -> None:
        getattr(self, "do_" + self.path.strip("/").partition("/")[0])()

    def answer(self, content: bytes, kind: str | None = "image/png", length: int | None = None) -> None:
        self.send_response(200)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_ok(self) -> None:
        self.answer(PICTURE)

    def do_bytes(self) -> None:
        self.answer(PICTURE, "application/octet-stream")

    def do_untyped(self) -> None:
        self.answer(PICTURE, None)

    def do_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png; charset=binary")
        self.end_headers()  # no length: it ends when the connection does
        self.wfile.write(PICTURE)

    def do_hop(self) -> None:
        left = int(self.path.rpartition("/")[2])
        self.redirect(f"/hop/{left - 1}" if left else "ok/../../ok")

    def do_loop(self) -> None:
        self.redirect(self.path)

    def do_to_file(self) -> None:
        self.redirect("file:///etc/passwd")

    def do_missing(self) -> None:
        self.send_error(404)

    def do_page(self) -> None:
        self.answer(b"<html></html>", "text/html; charset=utf-8")

    def do_words(self) -> None:
        self.answer(b"these are words", "image/png")

    def do_huge(self) -> None:
        self.answer(PICTURE, length=2_000_000_000)

    def do_short(self) -> None:
        self.answer(PICTURE, length=len(PICTURE) + 100)

    def do_endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        while not self.server.stopped.is_set():  # type: ignore[attr-defined]
            self.wfile.write(bytes(65536))

    def do_hang(self) -> None:
        self.server.stopped.wait(20)  # type: ignore[attr-defined]

    def do_drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        while not self.server.stopped.wait(0.05):  # type: ignore[attr-defined]
            self.wfile.write(b"x")

    def do_drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        while not self.server.stopped.wait(0.05):  # type: ignore[attr-defined]
            self.wfile.write(b"x")

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client hung up, as it should
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.stopped = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.stopped.set()  # type: ignore[attr-defined]
            running.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("path", ["ok", "bytes", "untyped", "chunked", "hop/0", "hop/4"])
def test_url(server: str, path: str) -> None:
    assert load_image(f"{server}/{path}").tobytes() == corners().tobytes()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hop/5", "5 redirects"),
        ("loop", "5 redirects"),
        ("to_file", "file:///etc/passwd"),
        ("missing", "404"),
        ("page", "text/html"),
        ("huge", "2,000,000,000"),
        ("short", r"IncompleteRead|announces"),
    ],
)
def test_url_that_is_no_picture(server: str, path: str, message: str) -> None:
    with pytest.raises(DownloadError, match=message):
        load_image(f"{server}/{path}")


def test_url_with_bytes_that_are_no_picture(server: str) -> None:
    with pytest.raises(ImageError, match="first bytes"):
        load_image(f"{server}/words")


def test_endless_body_stops_at_the_limit(server: str) -> None:
    with pytest.raises(DownloadError, match="300,000"):
        load_image(f"{server}/endless", max_bytes=300_000)


@pytest.mark.parametrize("path", ["hang", "drip", "drip_headers"])
def test_slow_servers_meet_the_deadline(server: str, path: str) -> None:
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"must (answer within 0\.4 s|arrive in time)"):
        load_image(f"{server}/{path}", timeout=0.4)
    assert time.monotonic() - start < 3


def test_no_network() -> None:
    with socket.socket() as closed:  # bound and not listening: nobody answers, and nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError, match="reachable"):
            load_image(f"http://127.0.0.1:{closed.getsockname()[1]}/a.png")
    for url in ("http://nowhere.invalid/a.png", "http://", "http://["):
        with pytest.raises(DownloadError, match="reachable"):
            load_image(url)


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


def overlap(cut: Image.Image, mask: np.ndarray) -> float:
    """Intersection over union of the cut-out's alpha and the truth."""
    found = np.asarray(cut)[..., 3] >= 128
    return float((found & mask).sum() / (found | mask).sum())


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("thing", THINGS)
def test_plain_backgrounds(thing: str, background: str) -> None:
    content, mask = photo(thing, background)
    cut = remove_background(content, "polynomial")
    assert (cut.mode, cut.size) == ("RGBA", (SIDE, SIDE))
    assert overlap(cut, mask) >= 0.95


def test_one_looks_through_a_ring() -> None:
    content, _ = photo("blue ring", "grey")
    alpha = np.asarray(remove_background(content, "polynomial"))[..., 3]
    assert alpha[SIDE // 2, SIDE // 2] == 0
    ball, _ = photo("white ball", "white")
    assert np.asarray(remove_background(ball, "polynomial"))[SIDE // 2, SIDE // 2, 3] == 255


def test_an_object_that_touches_the_border() -> None:
    mask = (np.abs(U) < 0.4) & (V > -0.3)
    picture = np.where(mask[..., None], [0.2, 0.5, 0.3], BACKGROUNDS["gradient"])
    assert overlap(remove_background(picture, "polynomial"), mask) >= 0.95


def test_large_pictures_keep_their_size() -> None:
    content, mask = photo("red ball", "white")
    large = load_image(content).resize((1500, 1500))
    cut = remove_background(large, "polynomial")
    assert cut.size == (1500, 1500)
    assert overlap(cut.resize((SIDE, SIDE)), mask) >= 0.95


def test_alpha_is_kept_where_it_is_used() -> None:
    mask, colours = THINGS["red ball"]
    rgba = np.dstack([colours, mask * 0.9])
    assert remove_background(rgba).tobytes() == load_image(rgba).tobytes()
    opaque = np.dstack([np.where(mask[..., None], colours, 1.0), np.ones(mask.shape)])
    opaque[0, 0, 3] = 0  # a stray pixel is no cut-out
    alpha = np.asarray(remove_background(opaque))[..., 3]
    assert alpha[5, 5] == 0
    assert alpha[SIDE // 2, SIDE // 2] == 255


def test_a_background_that_is_not_plain_is_told() -> None:
    stripes = np.where((np.arange(SIDE) // 16 % 2 == 0)[:, None, None], [0.9, 0.1, 0.1], [0.1, 0.2, 0.9]) * PLAIN
    with pytest.warns(UserWarning, match="rembg"):
        remove_background(stripes, "polynomial")


def test_methods_are_checked() -> None:
    with pytest.raises(InputError, match="magic"):
        remove_background(corners(), "magic")
    with pytest.raises(InputError, match="keep"):
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
def test_the_longer_side_takes_its_part_and_lies_in_the_middle(size: int, ratio: float) -> None:
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


def test_an_object_at_the_pictures_corner_is_centred() -> None:
    left, top, right, bottom = extent(prepare_image(cutout(box=(200, 100, 300, 200))))
    assert (left, top, right, bottom) == pytest.approx((25.6, 25.6, 230.4, 230.4), abs=1.5)


def test_a_photo_becomes_an_object_on_white() -> None:
    content, _ = photo("red ball", "vignette")
    got = np.asarray(prepare_image(content, background="polynomial"))
    assert (got[:20] == 255).all()
    assert got[128, 128, 0] > 100 > got[128, 128, 1]
    left, _, right, _ = extent(Image.fromarray(got))
    assert right - left == pytest.approx(0.8 * 256, abs=5)


def test_keep_fits_the_whole_picture() -> None:
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
    with pytest.raises(ImageError, match="stands out"):
        prepare_image(picture())


@pytest.mark.parametrize(
    ("size", "ratio"), [(0, 0.8), (-5, 0.8), (100_000, 0.8), (256, 0), (256, 1.1), (256, float("nan"))]
)
def test_size_and_ratio_are_checked(size: int, ratio: float) -> None:
    with pytest.raises(InputError, match="must be"):
        prepare_image(cutout(), size, ratio)
