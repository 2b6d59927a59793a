"""load_image: every kind of source, colour mode and orientation, and damaged files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageDraw, ImageFile

from image3d_nb.errors import ImageError
from image3d_nb.images import load_image, prepare_image


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_file_that_pillow_opened_is_an_image_error(kind: str) -> None:
    stream = io.BytesIO()
    Image.effect_noise((200, 200), 50).convert("RGB").save(stream, kind)
    half = Image.open(io.BytesIO(stream.getvalue()[: len(stream.getvalue()) // 2]))
    with pytest.raises(ImageError, match="damaged"):
        load_image(half)


def test_a_name_too_long_for_a_file_is_an_image_error() -> None:
    with pytest.raises(ImageError, match="no such file"):
        load_image("a" * 300)


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


def test_a_file_that_was_just_written_is_read_from_its_start() -> None:
    stream = io.BytesIO()
    corners().save(stream, "PNG")
    assert load_image(stream).tobytes() == corners().tobytes()
    stream.seek(0)
    stream.read()
    assert load_image(stream).tobytes() == corners().tobytes()


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    corners().save(tmp_path / "a.png")
    assert load_image("~/a.png").tobytes() == corners().tobytes()


def test_rounding_errors_of_floats_are_clipped() -> None:
    array = np.asarray(corners()) / 255
    rounded = np.where(array == 1, 1 + 9e-5, np.where(array == 0, -9e-5, array))
    assert load_image(rounded).tobytes() == corners().tobytes()
    with pytest.raises(ImageError, match=r"1\.0002"):
        load_image(array + 2e-4)


def test_a_pillow_image_is_not_changed_or_shared() -> None:
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
        (np.zeros((4, 64, 64)), "64 channels; move the channels last"),
        (np.zeros((8, 8, 2)), "2 channels"),
        (np.zeros((8, 8, 5), np.uint8), "5 channels"),
        (np.zeros((1, 8, 8, 3)), r"got shape \(1, 8, 8, 3\)"),
        (np.zeros(8), r"got shape \(8,\)"),
        (np.zeros((0, 8, 3)), r"got shape \(0, 8, 3\)"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.zeros((8, 8), bool), "bool"),
        (np.zeros((8, 8), complex), "complex128"),
        (np.full((8, 8, 3), 200.0), "values from 200 to 200"),
        (np.full((8, 8, 3), -0.01), "values from -0.01"),
        (np.full((8, 8, 3), 1.001), "to 1.001"),
        (np.full((8, 8, 3), np.nan), "192 NaN"),
        (np.full((8, 8, 3), np.inf), "values from inf"),
        (torch.zeros(3, 8, 8), "move the channels last"),
        (torch.zeros(8, 8, 3, dtype=torch.int32), "int32"),
        (np.zeros((1, 1, 3)), "at least 2 x 2 pixels; got 1 x 1"),
        (np.zeros((1, 9, 3)), "got 9 x 1"),
    ],
)
def test_wrong_arrays(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(array)


@pytest.mark.parametrize("source", [None, 7, [[0, 1]], object(), 1.5])
def test_sources_of_another_kind(source: object) -> None:
    with pytest.raises(ImageError, match=f"got {type(source).__name__}"):
        load_image(source)  # type: ignore[arg-type]


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="a folder"):
        load_image(str(tmp_path))
    (tmp_path / "a.txt").write_text("words")
    with (tmp_path / "a.txt").open() as stream, pytest.raises(ImageError, match="binary mode"):
        load_image(stream)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "FILE:///etc/passwd", "ftp://x/a.png", "s3://a/b", "data:image/png;base64,AA"]
)
def test_other_schemes(url: str) -> None:
    with pytest.raises(ImageError, match="https://"):
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


def test_damaged_exif_is_reported_and_the_image_read() -> None:
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


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_value_at_every_bit_depth(depth: int) -> None:
    key, other = 1, 0
    if depth == 16:
        key, other = 0x1234, 0x1235
    packed = (key << (32 - depth)) | (other << (32 - 2 * depth))
    rows = (b"\0" + struct.pack(">I", packed)[: max(1, depth // 4)]) * 2
    got = load_image(png(2, 2, depth, 0, rows, (b"tRNS", struct.pack(">H", key))))
    assert [got.getpixel((x, y))[3] for y in (0, 1) for x in (0, 1)] == [0, 255, 0, 255]


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_at_every_bit_depth(depth: int) -> None:
    key, other = ((200, 100, 50), (0, 255, 0)) if depth == 8 else ((51400, 25700, 12850), (0, 65535, 0))
    row = struct.pack(">6B" if depth == 8 else ">6H", *key, *other)
    got = load_image(png(2, 2, depth, 2, (b"\0" + row) * 2, (b"tRNS", struct.pack(">3H", *key))))
    assert [got.getpixel((x, 1)) for x in (0, 1)] == [(200, 100, 50, 0), (0, 255, 0, 255)]


P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
D65, D50 = np.array([0.95047, 1.0, 1.08883]), np.array([0.96422, 1.0, 0.82521])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """[3, 3], linear RGB to XYZ at D50, from chromaticities at D65."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    matrix = columns * np.linalg.solve(columns, D65)
    return np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / (BRADFORD @ D65)) @ BRADFORD @ matrix


def icc(gamma: float, primaries: tuple[tuple[float, float], ...] | None = None) -> bytes:
    """A version 2 profile: a matrix and one gamma for RGB; a gamma alone for grey."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50), b"cprt": b"text\0\0\0\0CC0\0"}
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for letter, column in zip("rgb", to_xyz(primaries).T, strict=True):
            tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + fixed(*column)
            tags[f"{letter}TRC".encode()] = curve
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    space = b"GRAY" if primaries is None else b"RGB "
    head = bytes(8) + struct.pack(">I", 0x02400000) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += fixed(*D50) + bytes(48)
    profile = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(profile)) + profile[4:]


def in_srgb(linear: np.ndarray) -> np.ndarray:
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("primaries", "gamma"), [(P3, 2.2), (ADOBE, 2.199), (SRGB, 1.0)])
def test_colour_profiles_are_converted_to_srgb(primaries: tuple[tuple[float, float], ...], gamma: float) -> None:
    colours = np.array([[200, 100, 50], [90, 160, 120], [128, 128, 128], [255, 255, 255]], np.uint8)
    linear = (colours / 255) ** gamma @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T
    image = Image.fromarray(colours.reshape(2, 2, 3))
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        got = load_image(encode(image, kind, icc_profile=icc(gamma, primaries), **options))
        np.testing.assert_allclose(np.asarray(got).reshape(4, 3), in_srgb(linear), atol=3)
    image.putalpha(Image.fromarray(np.array([[9, 255], [0, 100]], np.uint8)))
    got = load_image(encode(image, icc_profile=icc(gamma, primaries)))
    np.testing.assert_allclose(np.asarray(got).reshape(4, 4)[:, :3], in_srgb(linear), atol=3)
    assert np.asarray(got)[..., 3].tolist() == [[9, 255], [0, 100]]
    np.testing.assert_array_equal(np.asarray(load_image(got)), np.asarray(got))  # converted once


def test_grey_profiles() -> None:
    values = np.array([[0, 60], [128, 255]], np.uint8)
    for array in (values, values.astype(np.uint16) * 257):
        got = load_image(encode(Image.fromarray(array), icc_profile=icc(1.0)))
        np.testing.assert_allclose(np.asarray(got)[..., 0], in_srgb(values / 255), atol=2)


def test_an_srgb_profile_changes_nothing_and_a_damaged_one_is_reported() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert load_image(encode(corners(), icc_profile=profile)).tobytes() == corners().tobytes()
    for damaged in (b"no profile", icc(2.2, P3)[:200], icc(2.2)):  # the last is for grey
        with pytest.warns(UserWarning, match="profile"):
            assert load_image(encode(corners(), icc_profile=damaged)).tobytes() == corners().tobytes()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_names_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("image3d_nb.images.load.find_spec", lambda _name: None)
    with pytest.raises(ImageError, match=r"HEIC .*pillow-heif"):
        load_image(HEIC)


def test_heic_is_read_with_pillow_heif() -> None:
    import pillow_heif

    stream = io.BytesIO()
    pillow_heif.from_pillow(corners()).save(stream, quality=95)
    before = set(Image.OPEN)
    got = load_image(stream.getvalue())
    assert set(Image.OPEN) == before  # Pillow is not changed
    for at in ((4, 4), (44, 4), (4, 28), (44, 28)):
        assert np.abs(np.subtract(got.getpixel(at), corners().getpixel(at))).max() < 16, at
    with pytest.raises(ImageError, match=r"HEIC.*damaged"):
        load_image(stream.getvalue()[:200])


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


def test_the_first_frame_of_an_animation() -> None:
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
        with pytest.raises(ImageError, match=r"damaged|first bytes"):
            load_image(content[: int(len(content) * part)])


def test_random_bytes_never_raise_another_error() -> None:
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
    bomb = png(12_000, 12_000, 8, 2, b"")  # only the header says how large it is
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ImageError, match="144,000,000"):
        load_image(bomb)
    with pytest.raises(ImageError, match="larger than Pillow allows"):
        load_image(png(60_000, 60_000, 8, 2, b""))
    with pytest.raises(ImageError, match=r"at most 1,000 pixels; got 48 x 32 = 1,536"):
        load_image(encode(corners()), max_pixels=1000)
    with pytest.raises(ImageError, match="at most 1,000 pixels"):
        load_image(np.zeros((48, 32)), max_pixels=1000)


def test_one_pixel() -> None:
    with pytest.raises(ImageError, match="2 x 2 pixels; got 1 x 1"):
        load_image(encode(Image.new("RGB", (1, 1))))
    with pytest.raises(ImageError, match="8 x 8 pixels; got 4 x 9"):
        prepare_image(Image.new("RGB", (4, 9)))


def test_pillows_own_settings_stay() -> None:
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    load_image(encode(corners()), max_pixels=10**9)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
