"""The header of a .ply, and its vertices as columns of numbers.

Binary rows without lists are a view of the file's bytes: one array of float32 where all is little-endian float32, else
a structured one. Lists and text go through plyfile. Other elements, and bytes after the rows, are left out with a
warning.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError

_KINDS = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_COUNT = re.compile("[0-9]{1,19}")
_HEADER_LIMIT = 1 << 20
"""No real header is longer than a megabyte; a damaged file is not searched to its end."""
_USUAL_HEADER = 1 << 13


@dataclass(frozen=True)
class Columns:
    """Named columns of N rows: an array [N, C] of float32, or [N] of records. Both may be views of the file's bytes."""

    names: tuple[str, ...]
    rows: np.ndarray

    def take(self, names: Sequence[str], rows: slice = slice(None)) -> np.ndarray:
        """[n, len(names)] of those rows, float32: a view where it can be one."""
        if self.rows.dtype.names:
            columns = [self.rows[name][rows] for name in names]
            with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite; the caller reports it
                return np.stack([column.astype(np.float32) for column in columns], axis=1)
        at = [self.names.index(name) for name in names]
        if at == list(range(at[0], at[0] + len(at))):
            return self.rows[rows, at[0] : at[0] + len(at)]
        return np.stack([self.rows[rows, column] for column in at], axis=1)


@dataclass
class Element:
    name: str
    count: int
    properties: list[tuple[str, str]]
    """(name, type); a list's type starts with "list "."""

    @property
    def least_bytes(self) -> int:
        """The least bytes of one row in a binary body: a list may be empty, but its length is stored."""
        return sum(_size(kind.split()[1] if kind.startswith("list ") else kind) for _, kind in self.properties)

    @property
    def has_lists(self) -> bool:
        return any(kind.startswith("list ") for _, kind in self.properties)


@dataclass
class Header:
    encoding: str
    elements: list[Element]
    size: int


def _size(kind: str) -> int:
    return int(_KINDS[kind][1])


def is_ply(buffer: memoryview) -> bool:
    """Whether the first line is that of a .ply."""
    return bytes(buffer[:4]) in (b"ply\n", b"ply\r")


def holds_mesh(buffer: memoryview) -> bool:
    """Whether a .ply's header has faces, and no f_dc_0, which only Gaussians have."""
    lines = [line.split() for line in header_bytes(buffer).splitlines()]
    has_faces = any(line[:2] == [b"element", b"face"] and set(b"".join(line[2:])) - set(b"0") for line in lines)
    return has_faces and not any(line[:1] == [b"property"] and line[-1] == b"f_dc_0" for line in lines)


def holds_packed(buffer: memoryview) -> bool:
    """Whether a .ply's header has the packed columns of a compressed.ply."""
    return b" packed_position" in header_bytes(buffer)


def header_bytes(buffer: memoryview) -> bytes:
    """The header with its last line, or b"" if there is none within a megabyte."""
    for limit in (_USUAL_HEADER, _HEADER_LIMIT):
        start = bytes(buffer[:limit])
        end = _line_end(start)
        last = start.find(end + b"end_header" + end)
        if not start.startswith(b"ply" + end):
            return b""
        if last >= 0:
            return start[: last + len(end + b"end_header" + end)]
    return b""


def _line_end(start: bytes) -> bytes:
    return b"\n" if start[3:4] == b"\n" else start[3:5] if start[3:5] == b"\r\n" else b"\r"


def read_table(buffer: memoryview, wanted: Callable[[Sequence[str]], tuple[str, ...]]) -> Columns:
    """The columns of the element "vertex".

    Args:
        buffer: the whole file; the result may be a view of it.
        wanted: names of the scalar columns in the file -> names to read; raises if some are missing.

    Raises:
        FormatError: the header or the body is damaged, or the body lacks rows that the header counts.
    """
    header = parse_header(buffer)
    vertex = next((element for element in header.elements if element.name == "vertex"), None)
    if vertex is None or vertex.count == 0:
        found = "0" if vertex else "no such element"
        raise FormatError(
            f'a .ply must hold at least one Gaussian in its element "vertex"; bytes 0 to {header.size}, its header, '
            f"say {found}"
        )
    names = wanted([name for name, kind in vertex.properties if not kind.startswith("list ")])
    check_size(header, buffer, stacklevel=5)
    others = [element.name for element in header.elements if element.count and element is not vertex]
    if others:
        warnings.warn(f"Gaussians cannot hold all of this .ply; left out: {', '.join(others)}", stacklevel=4)
    before = header.elements[: header.elements.index(vertex)]
    if header.encoding == "ascii" or any(element.has_lists for element in (*before, vertex)):
        return _read_with_plyfile(header, buffer, names)
    start = header.size + sum(element.count * element.least_bytes for element in before)
    kinds = [(name, _KINDS[kind]) for name, kind in vertex.properties]
    if header.encoding == "binary_little_endian" and {kind for _, kind in kinds} == {"f4"}:
        flat = np.frombuffer(buffer, "<f4", vertex.count * len(kinds), start)
        return Columns(tuple(name for name, _ in kinds), flat.reshape(vertex.count, len(kinds)))
    order = "<" if header.encoding == "binary_little_endian" else ">"
    record = np.dtype([(name, order + kind) for name, kind in kinds])
    return Columns(names, np.frombuffer(buffer, record, vertex.count, start))


def read_records(buffer: memoryview) -> dict[str, np.ndarray]:
    """Each element of a little-endian .ply without lists, by name: [count] records, views of the bytes.

    Raises:
        FormatError: the header or the body is damaged, is not little-endian, or has lists.
    """
    header = parse_header(buffer)
    if header.encoding != "binary_little_endian" or any(element.has_lists for element in header.elements):
        end = header.size
        raise FormatError(f"the header, up to byte {end}, must say binary_little_endian, no lists: {header.encoding}")
    check_size(header, buffer, stacklevel=5)
    found, at = {}, header.size
    for element in header.elements:
        record = np.dtype([(name, f"<{_KINDS[kind]}") for name, kind in element.properties])
        found[element.name] = np.frombuffer(buffer, record, element.count, at)
        at += found[element.name].nbytes
    return found


def parse_header(buffer: memoryview) -> Header:
    text = header_bytes(buffer)
    if not text:
        raise FormatError(
            f'a .ply must start with the line "ply" and have a line "end_header"; got {len(buffer)} bytes of which '
            f"byte 0 starts {bytes(buffer[:16])!r}: it is cut off or not a .ply"
        )
    encoding = ""
    elements: list[Element] = []
    # comments may be in any encoding; the first line is "ply", the last is "end_header" and its end
    lines = text.decode("utf-8", errors="replace").split(_line_end(text).decode())[1:-2]
    for number, line in enumerate(lines, 2):
        match line.split():
            case ["comment" | "obj_info", *_] | []:
                continue
            case ["format", ("ascii" | "binary_little_endian" | "binary_big_endian") as encoding, "1.0"]:
                continue
            case ["element", name, count] if _COUNT.fullmatch(count):
                elements.append(Element(name, int(count), []))
            case ["property", "list", length, kind, name] if elements and length in _KINDS and kind in _KINDS:
                elements[-1].properties.append((name, f"list {length} {kind}"))
            case ["property", kind, name] if elements and kind in _KINDS:
                elements[-1].properties.append((name, kind))
            case _:
                raise FormatError(
                    f"a .ply header must hold format, element, property and comment; line {number} is {line[:80]!r}"
                )
    if not encoding:
        raise FormatError(
            f'a .ply header must say its format, "ascii" or "binary_little_endian"; bytes 0 to {len(text)} do not'
        )
    for element in elements:
        if len({name for name, _ in element.properties}) < len(element.properties):
            raise FormatError(f'the columns of the element "{element.name}" must differ; a name is there twice')
    return Header(encoding, elements, len(text))


def check_size(header: Header, buffer: memoryview, stacklevel: int = 4) -> None:
    """Compare the header's counts with the size of the body, before memory for 10^18 vertices is allocated.

    Warns of bytes or lines after the rows; ``stacklevel`` is that of the warning.
    """
    body = len(buffer) - header.size
    text = header.encoding == "ascii"
    if text:
        needed, unit = sum(element.count for element in header.elements), "lines"
        body = sum(1 for line in bytes(buffer[header.size :]).splitlines() if line.strip())
    else:
        needed, unit = sum(element.count * element.least_bytes for element in header.elements), "bytes"
    counts = ", ".join(f"{element.count} {element.name}" for element in header.elements)
    place = f"after the header, which ends at byte {header.size}"
    if body < needed:
        raise FormatError(f"{counts} must take at least {needed} {unit}; got {body} {place}: it is cut off")
    has_lists = any(element.has_lists for element in header.elements)
    rest = b"text" if text else b"" if has_lists else bytes(buffer[header.size + needed :]).strip(b"\0\r\n\t ")
    if body > needed and rest:
        warnings.warn(
            f"{counts} take {needed} {unit}; the {body - needed} {unit} after them are left out", stacklevel=stacklevel
        )


def _read_with_plyfile(header: Header, buffer: memoryview, names: tuple[str, ...]) -> Columns:
    from plyfile import PlyData, PlyParseError  # 0.1 s to import, and rarely needed

    try:
        with np.errstate(over="ignore"):  # as in Columns.take
            vertex = PlyData.read(io.BytesIO(_without_comments(header, buffer)))["vertex"]
            columns = [np.asarray(vertex[name]).astype(np.float32) for name in names]
    except (PlyParseError, ValueError, OverflowError) as error:
        raise FormatError(
            f"a .ply must hold what its header says ({header.encoding}); after byte {header.size}: {error}"
        ) from error
    return Columns(names, np.stack(columns, axis=1))


def _without_comments(header: Header, buffer: memoryview) -> bytes:
    """The file for plyfile, which reads comments in ASCII alone."""
    lines = bytes(buffer[: header.size]).splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith((b"comment", b"obj_info"))]
    return b"".join([*kept, buffer[header.size :]])
