"""Bad files of every format: an error that names the file and the place, soon, in little memory; and nothing else.

Runs over the whole registry: a format that is added is tested here without a line, or with one in :func:`promising`.
"""

from __future__ import annotations

import gzip
import os
import re
import resource
import struct
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trimesh.exchange import gltf, obj, stl  # noqa: F401  (their first import takes seconds, which is not the reader's)
from trimesh.exchange import ply as trimesh_ply  # noqa: F401

from image3d_nb import io as io3d
from image3d_nb.errors import FormatError
from image3d_nb.gaussians import Gaussians
from image3d_nb.io import ply
from image3d_nb.mesh import Mesh

from .test_io_ply import example
from .test_io_sog import rezipped
from .test_io_spz import bomb, header

CORPUS = Path(__file__).parent / "reference" / "hostile"
FORMATS = [(info.suffix, info.holds) for info in io3d.formats() if info.read and info.write]
WHOLE = {".ply", ".spz", ".sog", ".glb"}
"""Say how long they are, so that no part of one is taken for a whole."""
SECONDS, MEGABYTES = 1.0, 200
PLACE = re.compile(r"\b(bytes?|rows?|lines?|offset|index|accessors?\[)\b|\[\d+\]")
"""Every message says where, in words of the format."""

pytestmark = pytest.mark.filterwarnings("ignore:.*left out")  # damaged files load as far as they go

over_formats = pytest.mark.parametrize(("suffix", "holds"), FORMATS, ids=[f"{s}-{h}" for s, h in FORMATS])


def thing(holds: str, seed: int = 0) -> Gaussians | Mesh:
    if holds == "Gaussians":
        return example(20, degree=0, seed=seed)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32) * (1 + seed)
    return Mesh(corners, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))


def good(folder: Path, suffix: str, holds: str) -> bytes:
    io3d.save(thing(holds), folder / f"a{suffix}")
    return (folder / f"a{suffix}").read_bytes()


def outcome(path: Path) -> FormatError | None:
    """None where it loads and is sound. Any other error than a FormatError, much time or much memory fails the test."""
    tracemalloc.start()
    start = time.thread_time()  # of the processor: other programs do not count
    try:
        loaded = io3d.load(path)
    except FormatError as error:
        found = error
    else:
        found = None
        if isinstance(loaded, Gaussians):
            loaded.validate()
    finally:
        seconds, (_, peak) = time.thread_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < MEGABYTES << 20
    assert found is None or str(found).startswith(f"{path.name}: ")
    return found


def refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    error = outcome(path)
    assert error is not None
    assert PLACE.search(str(error)), error


@over_formats
def test_empty(tmp_path: Path, suffix: str, holds: str) -> None:
    refused(tmp_path / f"a{suffix}", b"")


@over_formats
def test_truncated_at_20_places(tmp_path: Path, suffix: str, holds: str) -> None:
    content = good(tmp_path, suffix, holds)
    size = len(content)
    places = {*range(1, 6), *(size * i // 12 for i in range(1, 12)), *range(size - 4, size)}
    assert len(places) >= 19
    loaded = 0
    for place in places:
        (tmp_path / f"a{suffix}").write_bytes(content[:place])
        error = outcome(tmp_path / f"a{suffix}")
        loaded += error is None
        assert error is None or PLACE.search(str(error)), error
    assert loaded == 0 or suffix not in WHOLE
    assert loaded < len(places)


@over_formats
def test_wrong_magic(tmp_path: Path, suffix: str, holds: str) -> None:
    content = good(tmp_path, suffix, holds)
    (tmp_path / f"a{suffix}").write_bytes(b"\xff\xfe\xfd\xfc" + content[4:])
    refusing = suffix not in (".obj", ".stl")  # which begin with a remark
    assert (outcome(tmp_path / f"a{suffix}") is not None) == refusing


def promising(suffix: str, content: bytes, count: int) -> list[bytes]:
    """The same file, but with a header that promises so many of what it holds."""
    if suffix == ".ply":
        return [re.sub(rb"(element \w+) \d+", rb"\1 %d" % count, content), ply_text(count)]
    if suffix == ".spz":
        return [gzip.compress(header(3, count % 2**32) + bytes(400))]
    if suffix == ".sog":
        return [rezipped(content, lambda meta: meta | {"count": count})]
    if suffix == ".stl":
        return [bytes(80) + struct.pack("<I", count % 2**32) + content[84:]]
    if suffix == ".gltf":
        return [re.sub(rb'"(count|byteLength)": *\d+', rb'"\1":%d' % count, content)]
    if suffix == ".glb":
        length = struct.unpack_from("<I", content, 12)[0]
        text = re.sub(rb'"count": *\d+', rb'"count":%d' % count, content[20 : 20 + length])
        text += b" " * (-len(text) % 4)
        rest = content[20 + length :]
        total = 20 + len(text) + len(rest)
        return [struct.pack("<4sIIII", b"glTF", 2, total, len(text), 0x4E4F534A) + text + rest]
    raise AssertionError(f"{suffix} is not in COUNTED")


def ply_text(count: int) -> bytes:
    columns = "".join(f"property float {name}\n" for name in ply.LGM_COLUMNS)
    return f"ply\nformat ascii 1.0\nelement vertex {count}\n{columns}end_header\n{'1 ' * 14}\n".encode()


COUNTED = [row for row in FORMATS if row[0] not in (".splat", ".obj")]
"""Those that say how much they hold."""


@pytest.mark.parametrize(("suffix", "holds"), COUNTED, ids=[f"{s}-{h}" for s, h in COUNTED])
@pytest.mark.parametrize("count", [10**12, 10**30, 2**32 - 1, -1, -(10**12)])
def test_counts_beyond_the_file_and_below_0(tmp_path: Path, suffix: str, holds: str, count: int) -> None:
    for content in promising(suffix, good(tmp_path, suffix, holds), count):
        refused(tmp_path / f"a{suffix}", content)


def test_nan_rows(tmp_path: Path) -> None:
    nan = struct.pack("<f", np.nan)
    half = np.array([np.nan], "<f2").tobytes()
    content = good(tmp_path, ".ply", "Gaussians")
    at = content.index(b"end_header\n") + 11
    refused(tmp_path / "a.ply", content[:at] + nan + content[at + 4 :])
    refused(tmp_path / "a.ply", ply_text(1).replace(b"\n1 1", b"\n1 nan"))
    refused(tmp_path / "a.splat", nan + good(tmp_path, ".splat", "Gaussians")[4:])
    refused(tmp_path / "a.spz", gzip.compress(header(1, 1) + half * 3 + b"\x80" * 10))  # version 1 holds half floats


@pytest.mark.parametrize("count", [1, 1000, 2**32 - 1])
def test_a_bomb(tmp_path: Path, count: int) -> None:
    refused(tmp_path / "a.spz", bomb(512, header(3, count)))


# ---- any bytes -------------------------------------------------------------------------------------------------------

WORDS = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FC00000]
NUMBERS = [b"0", b"-1", b"99999999999", b"1e999", b"nan"]
mutation = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("insert"), st.floats(0, 1), st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("copy"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("number"), st.floats(0, 1), st.sampled_from(NUMBERS)),
    st.tuples(st.just("word"), st.floats(0, 1), st.sampled_from(WORDS)),
)


SMALL = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def mutated(content: bytes, changes: list[tuple[str, float, object]]) -> bytes:
    out = bytearray(content)
    for kind, share, value in changes:
        at = int(share * max(len(out) - 1, 0))
        if kind == "flip" and out:
            out[at] ^= value  # type: ignore[operator]
        elif kind == "cut":
            del out[at : at + value]  # type: ignore[operator]
        elif kind == "insert":
            out[at:at] = value  # type: ignore[assignment]
        elif kind == "copy":
            out[at:at] = out[at : at + value]  # type: ignore[operator]
        elif kind == "number":
            *_, last = [None, *re.finditer(rb"\d+", out[:at])]
            if last:
                out[last.start() : last.end()] = value  # type: ignore[assignment]
        elif kind == "word":
            out[at // 4 * 4 : at // 4 * 4 + 4] = struct.pack("<I", value)
    return bytes(out)


@over_formats
def test_mutations_load_or_are_refused(suffix: str, holds: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = good(Path(folder), suffix, holds)
        path = Path(folder, f"b{suffix}")

        @settings(SMALL)
        @given(st.lists(mutation, min_size=1, max_size=4))
        def run(changes: list[tuple[str, float, object]]) -> None:
            inside = suffix == ".spz"  # what is packed, as well as the gzip
            path.write_bytes(mutated(content, changes))
            outcome(path)
            if inside:
                path.write_bytes(repacked(content, changes))
                outcome(path)

        run()


def repacked(content: bytes, changes: list[tuple[str, float, object]]) -> bytes:
    return gzip.compress(mutated(gzip.decompress(content), changes), 1)


def cases() -> list[Path]:
    return sorted(CORPUS.iterdir())


@pytest.mark.parametrize("path", cases(), ids=[path.name for path in cases()])
def test_the_corpus(path: Path) -> None:
    """Files that once did harm, or nearly so: bad_ must be refused, odd_ must load."""
    assert path.name.startswith(("bad_", "odd_"))
    assert (outcome(path) is None) == path.name.startswith("odd_")


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in cases()) < 40_000


# ---- files that are none ---------------------------------------------------------------------------------------------


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of the superuser, for whom permissions mean nothing."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@over_formats
def test_no_permission(suffix: str, holds: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        io3d.save(thing(holds), path)
        before = snapshot(path.parent)
        path.chmod(0)
        path.parent.chmod(0o555)
        try:
            with nobody(), pytest.raises(PermissionError, match=f"'{path}'$"):
                io3d.load(path)
            with nobody(), pytest.raises(PermissionError, match=f"'{path}'$"):
                io3d.save(thing(holds, 1), path)
        finally:
            path.parent.chmod(0o755)
            path.chmod(0o644)
        assert snapshot(path.parent) == before


@over_formats
def test_a_folder_in_place_of_the_file(tmp_path: Path, suffix: str, holds: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.mkdir()
    attempts: list[Callable[[], object]] = [lambda: io3d.load(path), lambda: io3d.save(thing(holds), path)]
    for attempt in attempts:
        with pytest.raises(IsADirectoryError, match=str(path)):
            attempt()
    assert list(tmp_path.rglob("*")) == [path]


@over_formats
def test_a_pipe_in_place_of_the_file(tmp_path: Path, suffix: str, holds: str) -> None:
    os.mkfifo(tmp_path / f"a{suffix}")
    with pytest.raises(FormatError, match=rf"a\{suffix}: .* device or a pipe"):
        io3d.load(tmp_path / f"a{suffix}")


@over_formats
def test_a_full_disk_leaves_the_old_files(tmp_path: Path, suffix: str, holds: str) -> None:
    path = tmp_path / f"a{suffix}"
    io3d.save(thing(holds), path)
    before = snapshot(tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before[path.name]) // 2, limit[1]))  # no file may grow larger
    try:
        with pytest.raises(OSError, match=f"File too large: '{path}'"):
            io3d.save(thing(holds, 1), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
