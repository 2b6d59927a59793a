"""The vertices of a .ply as a table of float32.

The common layout (one element, all of it little-endian float32) is one view of the file's bytes. Everything else goes
through plyfile: text and big-endian bodies, doubles and integers, lists, further elements.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError

_SIZES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "int32", "uint32", "float", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}
_HEADER_LIMIT = 1 << 20
"""Nobody's header is longer than a megabyte; a damaged file should not be searched to its end."""


@dataclass(frozen=True)
class Columns:
    """Named columns of a table [N, C], float32, in memory of its own."""

    names: tuple[str, ...]
    table: np.ndarray

    def take(self, names: Sequence[str]) -> np.ndarray:
        """[N, len(names)]: a view where the columns lie side by side, else a copy."""
        at = [self.names.index(name) for name in names]
        beside = at == list(range(at[0], at[0] + len(at)))
        return self.table[:, at[0] : at[0] + len(at)] if beside else self.table[:, at]


@dataclass
class _Element:
    name: str
    count: int
    properties: list[tuple[str, str]]
    """(name, type); a list's type starts with "list "."""

    @property
    def least_bytes(self) -> int:
        """What one row takes at least, in a binary body: a list may be empty, but its length is there."""
        return sum(_SIZES[kind.split()[1] if kind.startswith("list ") else kind] for _, kind in self.properties)


@dataclass
class _Header:
    encoding: str
    elements: list[_Element]
    size: int

    @property
    def plain(self) -> bool:
        """Whether the body is nothing but one table of little-endian float32."""
        kinds = {kind for element in self.elements for _, kind in element.properties}
        return self.encoding == "binary_little_endian" and len(self.elements) == 1 and kinds <= {"float", "float32"}


def read_table(buffer: memoryview, wanted: Callable[[Sequence[str]], tuple[str, ...]]) -> Columns:
    """The wanted columns of the element "vertex".

    Args:
        buffer: the whole file.
        wanted: gets the names of the scalar columns there are, and gives those to read; raises what it lacks.

    Raises:
        FormatError: the header or the body is damaged, or does not hold what it says.
    """
    header = _parse_header(buffer)
    vertex = next((element for element in header.elements if element.name == "vertex"), None)
    if vertex is None or vertex.count == 0:
        found = "0" if vertex else "no such element"
        raise FormatError(f'a .ply must hold at least one Gaussian in its element "vertex"; got {found}')
    names = wanted([name for name, kind in vertex.properties if not kind.startswith("list ")])
    _check_size(header, buffer)
    if not header.plain:
        return _read_with_plyfile(header, buffer, names)
    width = len(vertex.properties)
    table = np.frombuffer(buffer, "<f4", vertex.count * width, header.size).reshape(vertex.count, width)
    at = {name: i for i, (name, _) in enumerate(vertex.properties)}
    if set(names) == set(at):
        return Columns(tuple(at), np.array(table, np.float32))  # one copy of everything: 4x as fast as by columns
    return Columns(names, np.array(table[:, [at[name] for name in names]], np.float32))


def _parse_header(buffer: memoryview) -> _Header:
    lines, size = _header_lines(buffer)
    encoding = ""
    elements: list[_Element] = []
    for line in lines:
        match line.split():
            case ["comment" | "obj_info", *_] | []:
                continue
            case ["format", ("ascii" | "binary_little_endian" | "binary_big_endian") as encoding, "1.0"]:
                continue
            case ["element", name, count] if count.isdecimal():
                elements.append(_Element(name, int(count), []))
            case ["property", "list", length, kind, name] if elements and length in _SIZES and kind in _SIZES:
                elements[-1].properties.append((name, f"list {length} {kind}"))
            case ["property", kind, name] if elements and kind in _SIZES:
                elements[-1].properties.append((name, kind))
            case _:
                raise FormatError(f"a .ply header must hold format, element, property and comment; got {line[:80]!r}")
    if not encoding:
        raise FormatError('a .ply header must say its format, "ascii" or "binary_little_endian"; it does not')
    for element in elements:
        if len({name for name, _ in element.properties}) < len(element.properties):
            raise FormatError(f'the columns of the element "{element.name}" must differ; a name is there twice')
    return _Header(encoding, elements, size)


def _header_lines(buffer: memoryview) -> tuple[list[str], int]:
    """The lines between the first and the last, and where the body starts."""
    start = bytes(buffer[:_HEADER_LIMIT])
    end = b"\n" if start[3:4] == b"\n" else start[3:5] if start[3:5] == b"\r\n" else b"\r"
    last = start.find(b"end_header" + end)
    if not start.startswith(b"ply" + end) or last < 0:
        raise FormatError(
            f'a .ply must start with the line "ply" and have a line "end_header"; got {len(buffer)} bytes that start '
            f"with {start[:16]!r}: it is cut off or not a .ply"
        )
    text = start[len(end) + 3 : last].decode("utf-8", errors="replace")  # comments may be in any encoding
    return text.split(end.decode()), last + len(b"end_header" + end)


def _check_size(header: _Header, buffer: memoryview) -> None:
    """Compare what the header says with what is there, before anybody makes room for 10^18 vertices."""
    body = len(buffer) - header.size
    text = header.encoding == "ascii"
    if text:
        needed, unit = sum(element.count for element in header.elements), "lines"
        body = sum(1 for line in bytes(buffer[header.size :]).splitlines() if line.strip())
    else:
        needed, unit = sum(element.count * element.least_bytes for element in header.elements), "bytes"
    counts = ", ".join(f"{element.count} {element.name}" for element in header.elements)
    if body < needed:
        raise FormatError(f"{counts} must take at least {needed} {unit}; got {body} after the header: it is cut off")
    has_lists = any(kind.startswith("list ") for element in header.elements for _, kind in element.properties)
    if (
        body > needed
        and (text or not has_lists)
        and (text or bytes(buffer[header.size + needed :]).strip(b"\0\r\n\t "))
    ):
        raise FormatError(f"{counts} must take {needed} {unit}; got {body} after the header: its counts are wrong")


def _read_with_plyfile(header: _Header, buffer: memoryview, names: tuple[str, ...]) -> Columns:
    from plyfile import PlyData, PlyParseError  # 0.1 s to import, and rarely needed

    try:
        vertex = PlyData.read(io.BytesIO(buffer))["vertex"]
        columns = [np.asarray(vertex[name]).astype(np.float32) for name in names]
    except (PlyParseError, ValueError, OverflowError) as error:
        raise FormatError(f"a .ply must hold what its header says ({header.encoding}); {error}") from error
    return Columns(names, np.stack(columns, axis=1))
