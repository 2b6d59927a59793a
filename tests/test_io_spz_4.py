"""An .spz of version 4: streams packed here by zstandard, damaged tables, and bombs."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import zstandard

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError
from image3d_nb.gaussians import Gaussians

from .test_io_ply import example
from .test_io_spz import by_hand, record

SIZES = (9, 1, 3, 3, 4)


def fields(gaussians: Gaussians) -> list[bytes]:
    """The arrays of version 3, which are those of version 4."""
    content, at, parts = by_hand(gaussians), 16, []
    sizes = [*SIZES, 3 * (gaussians.sh.shape[1] - 1)]
    for size in sizes[: 6 if gaussians.sh_degree else 5]:
        parts.append(content[at : at + size * len(gaussians)])
        at += size * len(gaussians)
    return parts


def container(
    parts: Sequence[bytes], count: int, degree: int = 0, extensions: bytes = b"", bits: int = 12,
    streams: Sequence[bytes] | None = None, sizes: Sequence[int] | None = None, table: int | None = None,
) -> bytes:  # fmt: skip
    """A file; ``streams``, ``sizes`` and ``table`` say otherwise than the parts do."""
    packed = streams if streams is not None else [zstandard.ZstdCompressor().compress(part) for part in parts]
    sizes = sizes or [len(part) for part in parts]
    start = 32 + len(extensions) if table is None else table
    flags = 2 if extensions else 0
    head = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, count, degree, bits, flags, len(packed), start)
    entries = b"".join(struct.pack("<QQ", len(each), size) for each, size in zip(packed, sizes, strict=True))
    return head + extensions + entries + b"".join(packed)


def load(folder: Path, content: bytes) -> Gaussians:
    (folder / "a.spz").write_bytes(content)
    got = io3d.load(folder / "a.spz")
    assert isinstance(got, Gaussians)
    return got


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [1, 5000])
def test_it_holds_what_version_3_does(tmp_path: Path, degree: int, count: int) -> None:
    gaussians = example(count, degree)
    io3d.save(gaussians, tmp_path / "b.spz")
    got, want = load(tmp_path, container(fields(gaussians), count, degree)), io3d.load(tmp_path / "b.spz")
    torch.testing.assert_close(got.means, want.means, rtol=0, atol=1 / 4096)  # float64 may round another way
    torch.testing.assert_close(got.covariances(), want.covariances(), rtol=0, atol=2e-4)
    torch.testing.assert_close(got.opacities, want.opacities, rtol=0, atol=1.01 / 255)
    assert (got.sh != want.sh).float().mean() < 1e-3


def test_streams_without_a_size_and_streams_that_are_unknown(tmp_path: Path) -> None:
    gaussians = example(30)
    parts = [*fields(gaussians), b"", b"of a later version"]
    silent = zstandard.ZstdCompressor(write_content_size=False)
    got = load(tmp_path, container(parts, 30, streams=[silent.compress(part) for part in parts]))
    torch.testing.assert_close(got.means, gaussians.means, rtol=0, atol=1 / 4096)


def test_degree_4_is_cut_to_3_with_a_warning(tmp_path: Path) -> None:
    gaussians = example(30, 3)
    *others, rest = fields(gaussians)
    rows = [rest[45 * i : 45 * i + 45] + bytes(27) for i in range(30)]
    with pytest.warns(UserWarning, match="SH degree 4") as told:
        got = load(tmp_path, container([*others, b"".join(rows)], 30, 4))
    assert told[0].filename == __file__
    torch.testing.assert_close(got.sh, gaussians.sh, rtol=0, atol=8 / 128 + 1e-6)


def test_extensions(tmp_path: Path) -> None:
    parts = fields(example(5))
    assert len(load(tmp_path, container(parts, 5, extensions=record(0xADBE0002, bytes(12))))) == 5
    with pytest.raises(FormatError, match="coordinate_system says 6"):
        load(tmp_path, container(parts, 5, extensions=record(0xADBE0003, b"\6\0\0\0")))
    with pytest.raises(FormatError, match="records"):
        load(tmp_path, container(parts, 5, extensions=b"abc"))


def test_truncated(tmp_path: Path) -> None:
    content = container(fields(example(40)), 40)
    for size in (8, 31, 32, 60, 111, 112, 200, len(content) - 1):
        with pytest.raises(FormatError, match=r"a\.spz: .* must"):
            load(tmp_path, content[:size])
    with pytest.raises(FormatError, match=f"from byte {len(content)} on"):
        load(tmp_path, content + b"tail")
    assert len(load(tmp_path, content + bytes(512))) == 40


PARTS = fields(example(40))
GOOD = [zstandard.ZstdCompressor().compress(part) for part in PARTS]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (container(PARTS, 0), "at least one Gaussian"),
        (container(PARTS, 40, 5), "SH degree 0 to 4"),
        (container(PARTS, 40, bits=25), "24 fractional bits"),
        (container(PARTS, 40, 1), "6 streams or more"),
        (container(PARTS[:4], 40), "5 streams or more"),
        (container(PARTS, 41), "stream 0 .* 369 bytes"),
        (container(PARTS, 2**32 - 1), "stream 0"),
        (container(PARTS, 40, table=31), "table of contents"),
        (container(PARTS, 40, table=2**32 - 1), "table of contents"),
        (container(PARTS, 40, streams=[*GOOD[:4], bytes(50)]), "sound zstd stream"),
        (container(PARTS, 40, streams=[*GOOD[:4], GOOD[4] + GOOD[4]]), "sound zstd stream"),
        (container(PARTS, 40, streams=[GOOD[1], *GOOD[1:]]), "holds others"),
        (container(PARTS, 40, sizes=[360, 40, 120, 120, 2**63]), "stream 4"),
    ],
)
def test_headers_tables_and_streams(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        load(tmp_path, content)


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    """What a stream says of itself is not believed, and more than the header needs is never made."""
    silent = zstandard.ZstdCompressor(write_content_size=False)
    bomb = silent.compress(bytes(1 << 28))
    with pytest.raises(FormatError, match="sound zstd stream"):
        load(tmp_path, container(PARTS, 40, streams=[bomb, *GOOD[1:]]))
    liar = bytearray(zstandard.ZstdCompressor().compress(bytes(1 << 20)))
    assert zstandard.frame_content_size(bytes(liar)) == 1 << 20
    liar[5:9] = struct.pack("<I", 2**31)  # the size that the frame's header says
    with pytest.raises(FormatError, match="holds others"):
        load(tmp_path, container(PARTS, 40, streams=[bytes(liar), *GOOD[1:]]))


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ImportError, match=r"image3d-nb\[spz\]"):
        load(tmp_path, container(PARTS, 40))
