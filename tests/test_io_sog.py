"""SOG 2: against its formulas written out one number at a time, in both layouts, damaged, and as a bomb."""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError
from image3d_nb.gaussians import Gaussians
from image3d_nb.io import sog

from .test_io_ply import example

IMAGES = ["means_l.webp", "means_u.webp", "quats.webp", "scales.webp", "sh0.webp"]


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def rezipped(content: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    files = unzipped(content)
    return zipped(files | {"meta.json": json.dumps(change(json.loads(files["meta.json"]))).encode()})


def webp(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=True, exact=True)
    return stream.getvalue()


def saved(path: Path, degree: int = 0, count: int = 300) -> tuple[Gaussians, bytes]:
    gaussians = example(count, degree)
    io3d.save(gaussians, path, "opengl")
    return gaussians, path.read_bytes()


def in_order(got: Gaussians, want: Gaussians) -> Gaussians:
    nearest = torch.cdist(want.means, got.means).argmin(1)
    assert len(nearest.unique()) == len(want)
    return got[nearest]


def by_hand(content: bytes, i: int) -> list[list[float]]:
    """Mean, quaternion, scales, opacity and colours of a row, by the words of the specification."""
    files = unzipped(content)
    meta = json.loads(files["meta.json"])

    def pixel(name: str, place: int = i) -> list[int]:
        with Image.open(io.BytesIO(files[name])) as image:
            return list(image.convert("RGBA").getpixel((place % image.width, place // image.width)))  # type: ignore[arg-type]

    mean = []
    for axis in range(3):
        q = pixel("means_u.webp")[axis] << 8 | pixel("means_l.webp")[axis]
        low, high = meta["means"]["mins"][axis], meta["means"]["maxs"][axis]
        n = low + (high - low) * q / 65535
        mean.append(math.copysign(math.exp(abs(n)) - 1, n))
    *others, alpha = pixel("quats.webp")
    quat = [(c / 255 - 0.5) * 2 / math.sqrt(2) for c in others]
    quat.insert(alpha - 252, math.sqrt(max(0, 1 - sum(c * c for c in quat))))
    scales = [math.exp(meta["scales"]["codebook"][c]) for c in pixel("scales.webp")[:3]]
    *color, opacity = pixel("sh0.webp")
    colors = [meta["sh0"]["codebook"][c] for c in color]
    if "shN" in meta:
        low, high, *_ = pixel("shN_labels.webp")
        entry, width = low + (high << 8), {1: 3, 2: 8, 3: 15}[meta["shN"]["bands"]]
        for k in range(width):
            place = entry // 64 * 64 * width + entry % 64 * width + k
            colors += [meta["shN"]["codebook"][c] for c in pixel("shN_centroids.webp", place)[:3]]
    return [mean, quat, scales, [opacity / 255], colors]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_numbers_are_those_of_the_formulas(tmp_path: Path, degree: int) -> None:
    _, content = saved(tmp_path / "a.sog", degree)
    back = io3d.load(tmp_path / "a.sog", "opengl")
    assert isinstance(back, Gaussians)
    for i in (0, 7, 63, 64, 299):
        fields = (back.means, back.quats, back.scales, back.opacities[:, None], back.sh.flatten(1))
        for got, want in zip(fields, by_hand(content, i), strict=True):
            np.testing.assert_allclose(got[i].numpy(), want, rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [1, 5000])
def test_a_round_trip_is_within_a_step(tmp_path: Path, degree: int, count: int) -> None:
    gaussians, _ = saved(tmp_path / "a.sog", degree, count)
    back = in_order(io3d.load(tmp_path / "a.sog", "opengl"), gaussians)
    close = {"rtol": 0, "msg": lambda text: f"SH degree {degree}: {text}"}
    torch.testing.assert_close(back.means, gaussians.means, atol=1e-5, **close)
    torch.testing.assert_close(back.opacities, gaussians.opacities, atol=0.5 / 255 + 1e-6, **close)
    torch.testing.assert_close(back.sh, gaussians.sh, atol=0.008, **close)  # 256 values between -0.9 and 0.9
    assert (back.scales.log() - gaussians.scales.log()).abs().mean() < 0.005
    unit = torch.nn.functional.normalize(gaussians.quats, dim=-1)
    largest = unit.abs().argmax(1, keepdim=True)
    unit = unit * torch.sign(unit.gather(1, largest))
    others = torch.ones_like(unit).scatter(1, largest, 0)  # the largest follows from these
    torch.testing.assert_close(back.quats * others, unit * others, atol=0.5 / 255 * math.sqrt(2) + 1e-6, **close)


def test_the_same_gaussians_make_the_same_bytes(tmp_path: Path) -> None:
    _, first = saved(tmp_path / "a.sog", 1)
    _, second = saved(tmp_path / "b.sog", 1)
    assert first == second


def test_few_different_numbers_are_kept_exactly(tmp_path: Path) -> None:
    gaussians = example(500)
    gaussians.sh[:] = (gaussians.sh * 20).round() / 20
    gaussians.scales[:] = 0.01
    gaussians.means[:, 1] = 0.25  # no range at all
    io3d.save(gaussians, tmp_path / "a.sog", "opengl")
    back = in_order(io3d.load(tmp_path / "a.sog", "opengl"), gaussians)
    torch.testing.assert_close(back.sh, gaussians.sh, rtol=0, atol=1e-7)
    torch.testing.assert_close(back.scales, gaussians.scales, rtol=1e-6, atol=0)
    torch.testing.assert_close(back.means[:, 1], gaussians.means[:, 1])


def test_the_ends_of_opacity_and_scale(tmp_path: Path) -> None:
    gaussians = example(4)
    gaussians.opacities[:] = torch.tensor([0.0, 1.0, 0.5, 0.25])
    gaussians.scales[0] = 0
    io3d.save(gaussians, tmp_path / "a.sog", "opengl")
    back = in_order(io3d.load(tmp_path / "a.sog", "opengl"), gaussians)
    assert back.opacities[:2].tolist() == [0, 1]
    torch.testing.assert_close(back.sh, gaussians.sh)  # colours of transparent pixels too
    assert back.scales[0].max() < 1e-37


def test_a_folder_is_read_by_its_meta_json(tmp_path: Path) -> None:
    _, content = saved(tmp_path / "a.sog", 2)
    for name, part in unzipped(content).items():
        (tmp_path / name).write_bytes(part)
    got, want = io3d.load(tmp_path / "meta.json"), io3d.load(tmp_path / "a.sog")
    assert torch.equal(got.sh, want.sh)
    (tmp_path / "sh0.webp").unlink()
    with pytest.raises(FormatError, match=r"meta\.json: .*sh0\.webp does not"):
        io3d.load(tmp_path / "meta.json")


def test_packed_zips_and_other_images_are_read(tmp_path: Path) -> None:
    _, content = saved(tmp_path / "a.sog")
    files = unzipped(content)
    stream = io.BytesIO()
    with Image.open(io.BytesIO(files["quats.webp"])) as image:
        image.save(stream, "PNG")
    (tmp_path / "b.sog").write_bytes(zipped(files | {"quats.webp": stream.getvalue()}, zipfile.ZIP_DEFLATED))
    assert torch.equal(io3d.load(tmp_path / "b.sog").quats, io3d.load(tmp_path / "a.sog").quats)


def test_a_palette_that_gaussians_share(tmp_path: Path) -> None:
    _, content = saved(tmp_path / "a.sog", 1)
    files = unzipped(content)
    meta = json.loads(files["meta.json"])
    meta["shN"] |= {"count": 2, "codebook": [-1.0, 0.0, 0.5, 1.0]}
    palette = np.zeros((1, 64 * 3, 3), np.uint8)
    palette[0, :6] = [[0, 1, 2], [3, 0, 1], [2, 3, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]]
    labels = np.zeros((20, 15, 3), np.uint8)
    labels[3:, :, 0] = 1
    files |= {"shN_centroids.webp": webp(palette), "shN_labels.webp": webp(labels)}
    (tmp_path / "a.sog").write_bytes(zipped(files | {"meta.json": json.dumps(meta).encode()}))
    rest = io3d.load(tmp_path / "a.sog", "opengl").sh[:, 1:]
    assert rest[44].tolist() == [[-1, 0, 0.5], [1, -1, 0], [0.5, 1, -1]]
    assert rest[45].tolist() == [[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]


def test_more_colours_than_the_palette_holds_are_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sog, "_PALETTE", 20)
    with pytest.raises(FormatError, match="SH degree 1 to 2"):
        io3d.save(example(21, 2), tmp_path / "a.sog", strict=True)
    assert not list(tmp_path.iterdir())
    with pytest.warns(UserWarning, match="more than 20 colours, 21"):
        io3d.save(example(21, 2), tmp_path / "a.sog")
    assert io3d.load(tmp_path / "a.sog").sh_degree == 0
    io3d.save(example(20, 2), tmp_path / "b.sog", strict=True)
    assert io3d.load(tmp_path / "b.sog").sh_degree == 2


# ---- bad files -------------------------------------------------------------------------------------------------------


def test_not_this_format(tmp_path: Path) -> None:
    (tmp_path / "a.sog").write_bytes(b"no zip at all")
    with pytest.raises(FormatError, match="zip"):
        io3d.load(tmp_path / "a.sog")
    (tmp_path / "b.zip").write_bytes(zipped({"letter.txt": b"a zip of something else"}))
    with pytest.raises(FormatError, match="must be one of"):
        io3d.load(tmp_path / "b.zip")


def with_part(part: str, **changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda meta: meta | {part: meta[part] | changes}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda meta: meta | {"version": 1}, "version.* must be 2; got 1"),
        (lambda meta: meta | {"count": 301.5}, "count.*301.5"),
        (lambda meta: meta | {"count": 325}, "325 to .* pixels"),
        (lambda meta: meta | {"count": 10**9}, "1000000000 Gaussians"),
        (lambda meta: meta | {"count": True}, "count.*True"),
        (lambda meta: meta | {"quats": []}, "quats.*object"),
        (with_part("means", files=["means_l.webp"]), r"files\[1\]"),
        (with_part("means", mins=[0, 0, "0"]), "mins"),
        (with_part("means", maxs=[0, 0, float("nan")]), "NaN"),
        (with_part("means", maxs=[0, 0, 10**400]), "maxs"),
        (with_part("scales", codebook=[]), "scales.codebook"),
        (with_part("sh0", codebook=[0.5] * 10), "numbers below 10"),
        (with_part("shN", bands=4), "bands"),
        (with_part("shN", count=250), "numbers below 250"),
        (with_part("shN", count=70000), "65536"),
        (with_part("quats", files=["none.webp"]), "none.webp"),
        (with_part("quats", files=["meta.json"]), "meta.json"),
        (with_part("quats", files=["sh0.webp"]), "alpha"),
    ],
)  # fmt: skip
def test_what_meta_json_must_not_say(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    _, content = saved(tmp_path / "a.sog", 1)
    (tmp_path / "a.sog").write_bytes(rezipped(content, change))
    with pytest.raises(FormatError, match=words):
        io3d.load(tmp_path / "a.sog")


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b" " * 100])
def test_meta_json_that_is_none(tmp_path: Path, content: bytes) -> None:
    _, good = saved(tmp_path / "a.sog")
    (tmp_path / "a.sog").write_bytes(zipped(unzipped(good) | {"meta.json": content}))
    with pytest.raises(FormatError, match=r"meta\.json"):
        io3d.load(tmp_path / "a.sog")


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_are_damaged(tmp_path: Path, name: str) -> None:
    _, content = saved(tmp_path / "a.sog")
    files = unzipped(content)
    for broken in (b"", files[name][:40], b"RIFF" + bytes(60)):
        (tmp_path / "a.sog").write_bytes(zipped(files | {name: broken}))
        with pytest.raises(FormatError, match=f"{name} must be a whole WebP"):
            io3d.load(tmp_path / "a.sog")


def test_a_wrong_checksum_and_a_password(tmp_path: Path) -> None:
    _, content = saved(tmp_path / "a.sog")
    bad = bytearray(content)
    bad[100] ^= 1
    locked = bytearray(content)
    at = content.index(b"PK\1\2")
    locked[at + 8] |= 1  # the first file's flag in the central directory
    for damaged in (bad, locked):
        (tmp_path / "a.sog").write_bytes(damaged)
        with pytest.raises(FormatError, match="a sound zip"):
            io3d.load(tmp_path / "a.sog")


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    _, content = saved(tmp_path / "a.sog")
    files = unzipped(content)
    packed = zipped(files | {"quats.webp": bytes(1 << 26)}, zipfile.ZIP_DEFLATED)
    (tmp_path / "a.sog").write_bytes(packed)
    with pytest.raises(FormatError, match="got 67108864"):
        io3d.load(tmp_path / "a.sog")
    wide = webp(np.zeros((4000, 4000, 4), np.uint8))  # 64 MB in some hundred bytes
    (tmp_path / "a.sog").write_bytes(zipped(files | {"quats.webp": wide}))
    with pytest.raises(FormatError, match="4000 x 4000"):
        io3d.load(tmp_path / "a.sog")


def test_positions_beyond_float32_are_bad_rows(tmp_path: Path) -> None:
    _, content = saved(tmp_path / "a.sog")
    (tmp_path / "a.sog").write_bytes(rezipped(content, with_part("means", maxs=[1e3, 1e3, 1e3])))
    with pytest.raises(FormatError, match="of 300 rows are not"):
        io3d.load(tmp_path / "a.sog")


def test_a_zip_says_its_local_names_too(tmp_path: Path) -> None:
    _, content = saved(tmp_path / "a.sog")
    assert struct.unpack_from("<4s", content)[0] == b"PK\3\4"
    assert sorted(unzipped(content)) == sorted([*IMAGES, "meta.json"])
