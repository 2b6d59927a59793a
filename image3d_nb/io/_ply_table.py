"""The header of a .ply, its elements as records, and the vertices of Gaussians as columns of numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError
from ..images.caller import warn
from ._foreign import parsing

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
_SIGNED = re.compile(r"^list (char|int8|short|int16|int|int32)\b")
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
    check_size(header, buffer)
    others = [element.name for element in header.elements if element.count and element is not vertex]
    if others:
        warn(f"Gaussians cannot hold all of this .ply; left out: {', '.join(others)}")
    rows = records(header, buffer[header.size :])["vertex"]
    kinds = {kind.str for kind, *_ in rows.dtype.fields.values()} if rows.dtype.fields else set()
    if kinds != {"<f4"}:
        return Columns(names, rows)
    all_names = tuple(rows.dtype.names or ())
    return Columns(all_names, rows.view("<f4").reshape(len(rows), len(all_names)))


def records(header: Header, body: bytes | memoryview) -> dict[str, np.ndarray]:
    """The rows of each element, by its name: [count] records.

    Lists of one length are columns [count, length]; others are arrays of objects, which plyfile reads. Binary rows
    without such lists are views of ``body``.

    Raises:
        FormatError: a text that is not numbers, or rows that are cut off.
    """
    found = None if header.encoding == "ascii" else _views(header, body)
    if found is not None:
        return found
    from plyfile import PlyData  # 0.1 s to import, and rarely needed

    with parsing(f"a .ply ({header.encoding}), after byte {header.size},"):
        elements = PlyData.read(io.BytesIO(_plain_header(header) + body)).elements
    return {element.name: element.data for element in elements}


def _views(header: Header, body: bytes | memoryview) -> dict[str, np.ndarray] | None:
    """Binary rows; None if an element has lists of several lengths."""
    order, at = "<" if header.encoding == "binary_little_endian" else ">", 0
    found = {}
    for element in header.elements:
        fields: list[tuple[str, str, int] | tuple[str, str]] = []
        lengths = {}
        size = 0
        for name, kind in element.properties:
            words = kind.split()
            if words[0] == "list":
                counter = order + _KINDS[words[1]].replace("i", "u")  # a negative length is a very large one
                first = bytes(body[at + size :][: int(counter[-1])])
                lengths[name] = int.from_bytes(first, "little" if order == "<" else "big")
                fields += [(f"length of {name}", counter), (name, order + _KINDS[words[2]], lengths[name])]
                size += len(first) + _size(words[2]) * lengths[name]
                if size > len(body):
                    return None
            else:
                fields.append((name, order + _KINDS[kind]))
                size += _size(kind)
        if at + size * element.count > len(body):
            return None
        rows = np.frombuffer(body, np.dtype(fields), element.count, at)
        if any((rows[f"length of {name}"] != length).any() for name, length in lengths.items()):
            return None
        at += rows.nbytes
        found[element.name] = rows[[name for name, _ in element.properties]] if lengths else rows
    return found


def _plain_header(header: Header) -> bytes:
    """A header that plyfile reads right: it fails on comments that are not ASCII, and on lengths of signed types."""
    lines = ["ply", f"format {header.encoding} 1.0"]
    for element in header.elements:
        lines.append(f"element {element.name} {element.count}")
        lines += ["property " + _SIGNED.sub(r"list u\1", kind) + f" {name}" for name, kind in element.properties]
    return "\n".join([*lines, "end_header", ""]).encode()


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


def check_size(header: Header, buffer: memoryview) -> None:
    """Compare the header's counts with the size of the body, before memory for 10^18 vertices is allocated.

    Warns of bytes or lines after the rows.
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
        warn(f"{counts} take {needed} {unit}; the {body - needed} {unit} after them are left out")
