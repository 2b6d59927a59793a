"""The .spz format: against its formulas written out one number at a time, in all versions, damaged, and as a bomb."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError, InputError
from image3d_nb.gaussians import Gaussians

from .test_io_ply import example


def nearest_byte(value: float) -> int:
    return min(255, max(0, math.floor(value + 0.5)))


def header(version: int, count: int, degree: int = 0, bits: int = 12, flags: int = 0) -> bytes:
    return struct.pack("<4sIIBBBB", b"NGSP", version, count, degree, bits, flags, 0)


def smallest_three(quat: list[float]) -> bytes:
    """The README's words: the three smallest of x, y, z, w, as sign and 9 bits; which is left out, in 2 bits."""
    length = math.sqrt(sum(q * q for q in quat))
    xyzw = [q / length for q in (*quat[1:], quat[0])]
    largest = max(range(4), key=lambda i: abs(xyzw[i]))
    packed = largest
    for i in range(4):
        if i != largest:
            value = math.copysign(1, xyzw[largest]) * xyzw[i]
            packed = packed << 10 | (value < 0) << 9 | int(abs(value) * math.sqrt(2) * 511 + 0.5)
    return packed.to_bytes(4, "little")


def first_three(quat: list[float]) -> bytes:
    length = math.sqrt(sum(q * q for q in quat)) * math.copysign(1, quat[0])
    return bytes(nearest_byte(q / length * 127.5 + 127.5) for q in quat[1:])


def by_hand(gaussians: Gaussians, version: int = 3) -> bytes:
    """What is packed."""
    rows = range(len(gaussians))
    parts = [header(version, len(gaussians), gaussians.sh_degree)]
    for i in rows:
        position = gaussians.means[i].tolist()
        if version == 1:
            parts.append(struct.pack("<3e", *position))
        else:
            parts += [round(x * 4096).to_bytes(3, "little", signed=True) for x in position]
    parts += [bytes([nearest_byte(o * 255)]) for o in gaussians.opacities.tolist()]
    parts += [bytes(nearest_byte(c * 0.15 * 255 + 127.5) for c in gaussians.sh[i, 0].tolist()) for i in rows]
    parts += [bytes(nearest_byte((math.log(s) + 10) * 16) for s in gaussians.scales[i].tolist()) for i in rows]
    pack = smallest_three if version >= 3 else first_three
    parts += [pack(gaussians.quats[i].tolist()) for i in rows]
    for i in rows:
        for k, coefficient in enumerate(gaussians.sh[i, 1:].tolist()):
            step = 8 if k < 3 else 16
            levels = [math.floor(c * 128 / step + 0.5) * step + 128 for c in coefficient]
            parts.append(bytes(min(255, max(0, level)) for level in levels))
    return b"".join(parts)


def save_packed(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content))
    return path


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_bytes_are_those_of_the_formulas(tmp_path: Path, degree: int) -> None:
    gaussians = example(300, degree)
    io3d.save(gaussians, tmp_path / "a.spz")
    written, wanted = gzip.decompress((tmp_path / "a.spz").read_bytes()), by_hand(gaussians)
    assert written[:16] == wanted[:16]
    assert len(written) == len(wanted) == 16 + 300 * (20 + 3 * ((degree + 1) ** 2 - 1))
    differ = np.flatnonzero(np.frombuffer(written, np.uint8) != np.frombuffer(wanted, np.uint8))
    assert len(differ) <= 3  # float32 and float64 may round a number on the border apart


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [1, 5000])
def test_a_round_trip_is_within_half_a_step(tmp_path: Path, degree: int, count: int) -> None:
    gaussians = example(count, degree)
    io3d.save(gaussians, tmp_path / "a.spz")
    back = io3d.load(tmp_path / "a.spz")
    assert isinstance(back, Gaussians)
    close = {"rtol": 0, "msg": lambda text: f"SH degree {degree}: {text}"}
    torch.testing.assert_close(back.means, gaussians.means, atol=0.5 / 4096 + 1e-7, **close)
    torch.testing.assert_close(back.opacities, gaussians.opacities, atol=0.5 / 255 + 1e-6, **close)
    torch.testing.assert_close(back.scales.log(), gaussians.scales.log(), atol=0.5 / 16 + 1e-5, **close)
    torch.testing.assert_close(back.sh[:, 0], gaussians.sh[:, 0], atol=0.5 / 255 / 0.15 + 1e-5, **close)
    torch.testing.assert_close(back.sh[:, 1:4], gaussians.sh[:, 1:4], atol=4 / 128 + 1e-6, **close)
    torch.testing.assert_close(back.sh[:, 4:], gaussians.sh[:, 4:], atol=8 / 128 + 1e-6, **close)
    unit = torch.nn.functional.normalize(gaussians.quats, dim=-1)
    largest = unit.abs().argmax(1, keepdim=True)
    unit = unit * torch.sign(unit.gather(1, largest))
    torch.testing.assert_close(back.quats.norm(dim=1), torch.ones(count), rtol=0, atol=1e-6)
    others = torch.ones_like(unit).scatter(1, largest, 0)  # the largest follows from these
    torch.testing.assert_close(back.quats * others, unit * others, atol=0.5 / 511 / math.sqrt(2) + 1e-6, **close)


def test_a_second_round_trip_changes_nothing(tmp_path: Path) -> None:
    io3d.save(example(100, 3), tmp_path / "a.spz")
    io3d.save(io3d.load(tmp_path / "a.spz"), tmp_path / "b.spz")
    assert (tmp_path / "a.spz").read_bytes() == (tmp_path / "b.spz").read_bytes()


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("degree", [0, 3])
def test_all_versions_are_read(tmp_path: Path, version: int, degree: int) -> None:
    gaussians = example(60, degree)
    back = io3d.load(save_packed(tmp_path / "a.spz", by_hand(gaussians, version)))
    assert isinstance(back, Gaussians)
    torch.testing.assert_close(back.means, gaussians.means, rtol=0, atol=0.5 / 2048)  # half floats, in version 1
    torch.testing.assert_close(back.covariances(), gaussians.covariances(), rtol=0, atol=3e-4)
    torch.testing.assert_close(back.sh, gaussians.sh, rtol=0, atol=8 / 128 + 1e-6)


def test_other_resolutions_of_positions(tmp_path: Path) -> None:
    gaussians = example(40)
    content = by_hand(gaussians)
    for bits in (0, 8, 24):
        packed = content[:13] + bytes([bits]) + content[14:]
        back = io3d.load(save_packed(tmp_path / "a.spz", packed))
        torch.testing.assert_close(back.means * 2.0 ** (bits - 12), gaussians.means, rtol=0, atol=0.5 / 4096 + 1e-6)


def test_y_up_is_the_default_and_y_down_can_be_had(tmp_path: Path) -> None:
    gaussians = example(20)
    first = {}
    for convention in io3d.CONVENTIONS:
        io3d.save(gaussians, tmp_path / "a.spz", convention)
        content = gzip.decompress((tmp_path / "a.spz").read_bytes())
        first[convention] = [int.from_bytes(content[16 + 3 * i : 19 + 3 * i], "little", signed=True) for i in range(3)]
    x, y, z = (round(v * 4096) for v in gaussians.means[0].tolist())
    assert first == {"3dgs": [x, y, z], "opengl": [x, y, z], "ydown": [x, -y, -z]}


# ---- what does not fit -----------------------------------------------------------------------------------------------


def changed(name: str, value: float) -> Gaussians:
    gaussians = example(8, degree=1)
    getattr(gaussians, name)[3].fill_(value)
    return gaussians


@pytest.mark.parametrize(
    ("gaussians", "words"),
    [
        (changed("scales", 400.0), "1 of 8 scales .*above 379"),
        (changed("scales", 0.0), "1 of 8 scales below 4.5e-5"),
        (changed("sh", 1.1), "1 of 8 view-dependent colours .*outside -1"),
        (changed("sh", -4.0), "1 of 8 colours outside -0.44 to 1.44; .* 1 of 8 view-dependent"),
    ],
)
def test_what_lies_beyond_the_ranges_is_told(tmp_path: Path, gaussians: Gaussians, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        io3d.save(gaussians, tmp_path / "a.spz", strict=True)
    assert not list(tmp_path.iterdir())
    with pytest.warns(UserWarning, match="Niantic SPZ cannot hold") as told:
        io3d.save(gaussians, tmp_path / "a.spz")
    assert re.search(words, "; ".join(re.sub("; that is left out|.*cannot hold ", "", str(w.message)) for w in told))
    assert len(io3d.load(tmp_path / "a.spz")) == 8


@pytest.mark.parametrize(("name", "value"), [("scales", 379.0), ("scales", 4.6e-5), ("sh", 1.0), ("sh", -1.0)])
def test_what_lies_within_is_not(tmp_path: Path, name: str, value: float) -> None:
    io3d.save(changed(name, value), tmp_path / "a.spz", strict=True)


def test_positions_too_far_away_are_refused(tmp_path: Path) -> None:
    io3d.save(changed("means", -2048.0), tmp_path / "a.spz")
    with pytest.raises(InputError, match=r"within -2048 to 2048; they span .* to 2048: scale"):
        io3d.save(changed("means", 2048.0), tmp_path / "b.spz")
    assert not (tmp_path / "b.spz").exists()


# ---- bad files -------------------------------------------------------------------------------------------------------


def test_other_versions_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.spz").write_bytes(struct.pack("<4sI", b"NGSP", 5) + bytes(100))
    with pytest.raises(FormatError, match=r"a\.spz: .*byte 4 says 5"):
        io3d.load(tmp_path / "a.spz")
    for version in (0, 4, 7):
        with pytest.raises(FormatError, match=f"version 1, 2 or 3; byte 4 of what is packed says {version}"):
            io3d.load(save_packed(tmp_path / "a.spz", header(version, 1) + bytes(20)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header(3, 2, 4) + bytes(400), "SH degree 0 to 3"),
        (header(3, 2, 0, 25) + bytes(40), "at most 24 fractional bits"),
        (header(3, 0), "at least one Gaussian"),
        (header(3, 2) + bytes(39), "2 Gaussians .* must take 56 bytes; the gzip ends at byte 55"),
        (header(3, 2) + bytes(41), "there is more from byte 56 on: the count is wrong"),
        (header(3, 10**6) + bytes(40), "1000000 Gaussians .* must take 20000016 bytes; a gzip of .* cannot hold them"),
        (b"NGSP\3\0\0", "at least 16 bytes"),
    ],
)
def test_headers_and_sizes(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=rf"a\.spz: .*{words}"):
        io3d.load(save_packed(tmp_path / "a.spz", content))


def test_damaged_gzips(tmp_path: Path) -> None:
    io3d.save(example(30), tmp_path / "a.spz")
    good = (tmp_path / "a.spz").read_bytes()
    checksum = bytearray(good)
    checksum[-6] ^= 1
    middle = bytearray(good)
    middle[len(good) // 2 :] = bytes(len(good) - len(good) // 2)
    cases = {
        "incorrect data check": bytes(checksum),
        "unpacking fails|the gzip ends|the count is wrong": bytes(middle),
        f"cut off at byte {len(good) - 1}": good[:-1],
        f"more from byte {len(good)} on": good + b"tail",
        "must be one of": gzip.compress(b"something else entirely, but packed"),
    }
    for words, content in cases.items():
        (tmp_path / "a.spz").write_bytes(content)
        with pytest.raises(FormatError, match=words):
            io3d.load(tmp_path / "a.spz")
    (tmp_path / "a.spz").write_bytes(good + bytes(512))  # what tapes and disks add
    assert len(io3d.load(tmp_path / "a.spz")) == 30


def bomb(megabytes: int, start: bytes) -> bytes:
    """A gzip of ``start`` and of so many zeros after it, a thousandth as large; its checksum is left out."""

    def deflated(content: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)

    return b"\x1f\x8b\x08" + bytes(7) + deflated(start) + deflated(bytes(1 << 20)) * megabytes + bytes(8)


# ---- extensions ------------------------------------------------------------------------------------------------------


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content


def with_extensions(records: bytes) -> bytes:
    content = by_hand(example(5))
    return content[:14] + bytes([2]) + content[15:] + records


def test_extensions_that_do_not_concern_us_are_passed_over(tmp_path: Path) -> None:
    orbit = record(0xADBE0002, struct.pack("<3f", 0, 1, 2))
    for records in (b"", orbit, orbit + record(0x12340001, b"") + record(0xADBE0003, b"\4\0\0\0")):
        back = io3d.load(save_packed(tmp_path / "a.spz", with_extensions(records)))
        assert len(back) == 5


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (record(0xADBE0003, b"\6\0\0\0"), "SPZ_ADOBE_coordinate_system says 6, at byte 0"),
        (record(1 << 16, b"abc")[:-1], "end within the one at byte 11"),
        (record(1 << 16, bytes(1 << 16)), "the count is wrong"),
    ],
)
def test_extensions_that_do(tmp_path: Path, records: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        io3d.load(save_packed(tmp_path / "a.spz", with_extensions(records)))
