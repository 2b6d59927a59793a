"""The header of a .ply as viewers read it.

This module never refuses a file: :mod:`image3d_nb.io` says what is wrong, this module what is unusual.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_LIMIT = 1 << 18
"""Bytes that are searched for the header's end: twice what splat-transform searches."""
_NEWLINES = {b"\r\n": "CRLF", b"\n": "LF", b"\r": "CR"}


@dataclass(frozen=True)
class Header:
    """The header of a .ply.

    Attributes:
        size: bytes before the body.
        newline: "LF", "CRLF" or "CR".
        encoding: "ascii", "binary_little_endian", "binary_big_endian", or whatever the file says instead.
        elements: names of the elements, in order.
        properties: (type, name) of all elements' properties, in order; the type of a list is "list".
        keywords: the first words of all lines.
    """

    size: int
    newline: str
    encoding: str
    elements: tuple[str, ...]
    properties: tuple[tuple[str, str], ...]
    keywords: frozenset[str]

    @property
    def types(self) -> set[str]:
        """Types of the properties."""
        return {kind for kind, _ in self.properties}

    @property
    def names(self) -> set[str]:
        """Names of the properties."""
        return {name for _, name in self.properties}

    def __str__(self) -> str:
        layout = "Inria's columns" if {"nx", "f_dc_0"} <= self.names else f"{len(self.properties)} columns"
        if len(self.properties) == 14 and "f_dc_0" in self.names:
            layout = "LGM's 14 columns"
        newline = "" if self.newline == "LF" else f", {self.newline} line ends"
        return f"{layout}, {self.encoding}, {'/'.join(sorted(self.types))}{newline}"


def read_header(path: Path) -> Header | None:
    """The header of a file; None if the file is not a .ply, or if its header does not end within 256 KB."""
    if not path.is_file():  # reading from a pipe would block
        return None
    with path.open("rb") as stream:
        start = stream.read(_LIMIT)
    newline = next((end for end in _NEWLINES if start.startswith(b"ply" + end)), None)
    if newline is None:
        return None
    end = start.find(newline + b"end_header" + newline)
    if end < 0:
        return None
    lines = [line.split() for line in start[:end].decode("ascii", "replace").split(newline.decode())]
    rows = [line for line in lines if line]
    return Header(
        size=end + len(b"end_header") + 2 * len(newline),
        newline=_NEWLINES[newline],
        encoding=next((row[1] for row in rows if row[0] == "format" and len(row) > 1), "no format"),
        elements=tuple(row[1] for row in rows if row[0] == "element" and len(row) == 3),
        properties=tuple((row[1], row[-1]) for row in rows if row[0] == "property" and len(row) > 2),
        keywords=frozenset(row[0] for row in rows),
    )
