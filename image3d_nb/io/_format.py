"""What one file format has to tell the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..gaussians import Gaussians

Sibling = Callable[[str], bytes]
"""Gives the content of a companion: a file of that name beside the one being read (an .obj has a .mtl)."""


@dataclass(frozen=True)
class Format:
    """One entry of the registry; each module of this sub-package offers its own as ``FORMAT``.

    Attributes:
        suffix: with the dot, in small letters.
        name: as a learner would look it up.
        holds: the classes of what it can hold.
        sniff: says from the whole file's bytes whether it is of this format; None where a format has no mark at
            all, and only the suffix can tell.
        read: (the file's bytes, companions) -> object, in the axes of the file. The object must own its memory: the
            bytes are a memory map. None where we only write.
        write: (object in the axes of the file, file name) -> {file name: content}; the first is the file itself.
            None where we only read.
        turns: whether ``convention=`` turns it; False where the specification fixes y up (glTF).
    """

    suffix: str
    name: str
    holds: tuple[type, ...]
    sniff: Callable[[memoryview], bool] | None
    read: Callable[[memoryview, Sibling], Gaussians] | None
    write: Callable[[Any, str], dict[str, bytes]] | None
    turns: bool = True


@dataclass(frozen=True)
class FormatInfo:
    """A line of :func:`image3d_nb.io.formats`."""

    suffix: str
    name: str
    holds: tuple[str, ...]
    read: bool
    write: bool


class FormatTable(tuple[FormatInfo, ...]):
    """The known formats; prints as a table."""

    def __repr__(self) -> str:
        lines = [("suffix", "name", "holds", "read", "write")]
        lines += [(i.suffix, i.name, ", ".join(i.holds), _tick(i.read), _tick(i.write)) for i in self]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _tick(able: bool) -> str:
    return "yes" if able else "-"
