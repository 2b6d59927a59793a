"""The header of a .ply as viewers read it: what decides whether they can, and what they make of it.

This looks at the header alone and never refuses: :mod:`image3d_nb.io` says what is wrong with a file, this what is
unusual about it.
"""

from __future__ import annotations

from dataclasses import dataclass

_LIMIT = 1 << 18
"""Twice what the most patient of the viewers searches for the header's end."""
_NEWLINES = {b"\r\n": "CRLF", b"\n": "LF", b"\r": "CR"}


@dataclass(frozen=True)
class Header:
    """What stands in a .ply's header.

    Attributes:
        size: bytes, up to the body.
        newline: "LF", "CRLF" or "CR".
        encoding: "ascii", "binary_little_endian" or "binary_big_endian", or what stands there instead.
        elements: (name, count as it stands there), in order.
        properties: (type, name) of all elements, in order; a list's type is "list".
        keywords: the first words of all lines.
    """

    size: int
    newline: str
    encoding: str
    elements: tuple[tuple[str, str], ...]
    properties: tuple[tuple[str, str], ...]
    keywords: frozenset[str]

    @property
    def types(self) -> set[str]:
        """Of the properties."""
        return {kind for kind, _ in self.properties}

    @property
    def names(self) -> set[str]:
        """Of the properties."""
        return {name for _, name in self.properties}

    @property
    def count(self) -> int:
        """Vertices."""
        counts = [int(count) for name, count in self.elements if name == "vertex" and count.isdecimal()]
        return counts[0] if counts else 0

    def __str__(self) -> str:
        layout = "Inria's columns" if {"nx", "f_dc_0"} <= self.names else f"{len(self.properties)} columns"
        if len(self.properties) == 14 and "f_dc_0" in self.names:
            layout = "LGM's 14 columns"
        kinds = sorted(self.types)
        newline = "" if self.newline == "LF" else f", {self.newline} line ends"
        return f"{layout}, {self.encoding}, {'/'.join(kinds)}{newline}"


def read_header(start: bytes) -> Header | None:
    """The header in the first bytes of a file; None where it is not a .ply, or its header has no end."""
    newline = next((end for end in _NEWLINES if start.startswith(b"ply" + end)), None)
    if newline is None:
        return None
    end = start.find(newline + b"end_header" + newline, 0, _LIMIT)
    if end < 0:
        return None
    lines = [line.split() for line in start[:end].decode("ascii", "replace").split(newline.decode())]
    rows = [line for line in lines if line]
    return Header(
        size=end + len(b"end_header") + 2 * len(newline),
        newline=_NEWLINES[newline],
        encoding=next((row[1] for row in rows if row[0] == "format" and len(row) > 1), "no format"),
        elements=tuple((row[1], row[2]) for row in rows if row[0] == "element" and len(row) == 3),
        properties=tuple((row[1], row[-1]) for row in rows if row[0] == "property" and len(row) > 2),
        keywords=frozenset(row[0] for row in rows),
    )
