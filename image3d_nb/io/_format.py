"""The description of one file format, for the registry in :mod:`.files`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..gaussians import Gaussians
from ..mesh import Mesh

Asset = Gaussians | Mesh
"""What a file can hold."""
Content = bytes | memoryview
"""The bytes of one file to write."""
Sibling = Callable[[str], bytes]
"""Gives the content of a companion: a file of that name beside the one being read (an .obj has a .mtl)."""


def _nothing_lost(obj: Any) -> list[str]:  # noqa: ARG001  (every format gets it)
    return []


@dataclass(frozen=True)
class Format:
    """One entry of the registry in :mod:`.files`.

    Two formats may share a suffix: a .ply holds Gaussians or a mesh. Their ``holds`` and ``sniff`` tell them apart.

    Attributes:
        suffix: with the dot, in small letters.
        name: as a user would search for it.
        holds: the class of what it holds, Gaussians or Mesh.
        sniff: whether a file's bytes are of this format; None where a format has no signature, so that only the
            suffix identifies it. Never raises; looks at a bounded part of the bytes.
        read: (the file's bytes, companions) -> object, in the axes of the file. The object must own its memory: the
            bytes are a memory map. None for formats that we only write. Raises FormatError with place and reason.
        write: (object in the axes of the file, file name) -> {file name: content}; the first is the file itself.
            None for formats that we only read.
        losses: object -> a phrase for each part of it that the format cannot hold ("the view-dependent part of 20
            colours (SH degree 1 to 3)"); save warns of them, or refuses if strict.
        turns: whether the convention "3dgs" rotates Gaussians; False where the specification has our axes, y up
            (.spz, glTF). Meshes are never rotated.
        unit_mm: millimetres that a unit of the file stands for, where ``scale_mm=`` asks for a size: 1000 in glTF,
            which counts in metres, 1 in the formats of printers.
        suffix_tells: whether ``read`` is tried on a file of this suffix that ``sniff`` rejects, so that the error says
            what is wrong: for formats whose signature a damaged file may lack.
    """

    suffix: str
    name: str
    holds: type[Gaussians] | type[Mesh]
    sniff: Callable[[memoryview], bool] | None
    read: Callable[[memoryview, Sibling], Asset] | None
    write: Callable[[Any, str], Mapping[str, Content]] | None
    losses: Callable[[Any], list[str]] = _nothing_lost
    turns: bool = True
    unit_mm: float = 1.0
    suffix_tells: bool = False


@dataclass(frozen=True)
class FormatInfo:
    """One row of :func:`image3d_nb.io.formats`."""

    suffix: str
    name: str
    holds: str
    read: bool
    write: bool


class FormatTable(tuple[FormatInfo, ...]):
    """The known formats; prints as a table."""

    def __repr__(self) -> str:
        lines = [("suffix", "name", "holds", "read", "write")]
        lines += [(i.suffix, i.name, i.holds, _tick(i.read), _tick(i.write)) for i in self]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _tick(able: bool) -> str:
    return "yes" if able else "-"
