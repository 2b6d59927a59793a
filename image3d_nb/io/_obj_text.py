"""The text of .obj and .mtl files, as arrays.

Lines are sorted by their first word, and all numbers of a kind are read at once.

Specification: http://paulbourke.net/dataformats/obj/ and http://paulbourke.net/dataformats/mtl/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..errors import FormatError

_WORDS = frozenset({"v", "vt", "vn", "vp", "f", "l", "p", "o", "g", "s", "mg", "usemtl", "mtllib", "usemap", "maplib"})
"""Those for curves and surfaces are missing: such files have vertices enough to be known by."""
_READ = ("v", "vt", "vn", "f")
_LOOKED_AT = 1 << 16
_LONGEST = 1 << 20
"""Characters of a line: nobody draws polygons of 100,000 corners."""
_AT_ONCE = 1 << 15
_OPTIONS = {"-o": 3, "-s": 3, "-t": 3, "-mm": 2}
"""Options of map_Kd with that many numbers at most; all others have one word."""


@dataclass
class Material:
    """What an .mtl says of a material: sRGB colour in [0, 1], and the name of its picture, "" for none."""

    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    picture: str = ""


@dataclass
class Scene:
    """What an .obj holds.

    Attributes:
        positions, colors, uvs, normals: [n, 3], [n, 3] or None, [n, 2], [n, 3], float32.
        faces: [F, 3, 3] int64, corners with position, texture coordinate, normal; -1 where none is given.
        starts: [F] the number of each face's line, ``switches`` the lines at which another material begins.
        switches: (line, name), in order.
        libraries: names of .mtl files.
    """

    positions: np.ndarray
    colors: np.ndarray | None
    uvs: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    starts: np.ndarray
    switches: list[tuple[int, str]] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)

    def by_material(self) -> Iterator[tuple[str, np.ndarray]]:
        """(material, its faces) in the order of their first use; "" for faces before the first ``usemtl``."""
        names = ["", *(name for _, name in self.switches)]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
        kinds = np.array([numbers[name] for name in names])
        lines = np.array([line for line, _ in self.switches], np.int64)
        of_face = kinds[np.searchsorted(lines, self.starts)]  # [F]
        order = np.argsort(of_face, kind="stable")
        ends = np.flatnonzero(np.diff(of_face[order], append=-1)) + 1
        groups = [order[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        by_number = list(numbers)
        for group in sorted(groups, key=lambda group: int(group[0])):
            yield by_number[of_face[group[0]]], self.faces[group]


def sniff(buffer: memoryview) -> bool:
    """Whether nearly all of the first lines begin with words of an .obj; it has no mark of its own."""
    start = bytes(buffer[:_LOOKED_AT])
    if b"\0" in start:
        return False
    lines = [line.split() for line in start.splitlines()[:1000]]
    words = [line[0].decode("latin-1") for line in lines if line and not line[0].startswith(b"#")]
    return "v" in words and sum(word in _WORDS for word in words) > 0.9 * len(words) - 1


def parse_scene(buffer: memoryview) -> Scene:
    """Read the lines of an .obj.

    Raises:
        FormatError: not a text, a number that is none, an index that is not there; with the line.
    """
    lines = _lines(bytes(buffer))
    heads = np.array([line[:2] for line in lines])
    at = {word: np.flatnonzero((heads == word) | (heads == f"{word} ") | (heads == f"{word}\t")) for word in _READ}
    positions = _numbers(lines, at["v"], "v", 3)
    width = positions.shape[1]
    counts = [np.searchsorted(at[word], at["f"]) for word in ("v", "vt", "vn")]  # of each kind before each face
    totals = [len(at[word]) for word in ("v", "vt", "vn")]
    faces, of_line = _faces(lines, at["f"], counts, totals)
    named = [(i, *_named(lines[i])) for i in np.flatnonzero((heads == "us") | (heads == "mt")).tolist()]
    return Scene(
        positions=np.ascontiguousarray(positions[:, :3]),
        colors=_colors(positions[:, 3:6]) if width >= 6 else None,  # 4 numbers are x y z w
        uvs=np.ascontiguousarray(_numbers(lines, at["vt"], "vt", 2)[:, :2]),
        normals=np.ascontiguousarray(_numbers(lines, at["vn"], "vn", 3)[:, :3]),
        faces=faces,
        starts=at["f"][of_line],
        switches=[(i, rest) for i, word, rest in named if word == "usemtl"],
        libraries=[rest for _, word, rest in named if word == "mtllib" and rest],
    )


def _colors(values: np.ndarray) -> np.ndarray:
    """[V, 3] in [0, 1]; some exporters write bytes."""
    return (values / (255 if values.size and values.max() > 1 else 1)).clip(0, 1).astype(np.float32)


def _lines(content: bytes) -> list[str]:
    if b"\0" in content[:_LOOKED_AT]:
        raise FormatError(f"an .obj must be a text; it has zero bytes and starts with {content[:8]!r}")
    text = content.decode("utf-8", errors="replace").removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    # a line may go on after a backslash; an empty line more keeps the numbers of those that follow right
    head, *others = text.split("\\\n")
    if others:
        joined = [head]
        for other in others:
            line, end, rest = other.partition("\n")
            joined.append(f" {line}\n{end}{rest}" if end else f" {line}")
        text = "".join(joined)
    lines = text.split("\n")
    longest = max(map(len, lines))
    if longest > _LONGEST:
        raise FormatError(f"the lines of an .obj must have at most {_LONGEST:,} characters; one has {longest:,}")
    return [line.lstrip() for line in lines] if "\n " in text or "\n\t" in text else lines


def _named(line: str) -> tuple[str, str]:
    """A word and the rest of the line: names may have spaces."""
    word, _, rest = line.replace("\t", " ", 1).partition(" ")
    return word, rest.strip()


def _blocks(lines: list[str], at: np.ndarray) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """The words of some lines without the first of each, how many a line has, and the lines, so many at a time.

    As objects of Python's, the words of all lines of a large file would fill the memory.
    """
    for start in range(0, len(at), _AT_ONCE):
        some = at[start : start + _AT_ONCE]
        words, sizes = _split([lines[i] for i in some.tolist()])
        yield words, sizes, some


def _split(chosen: list[str]) -> tuple[list[str], np.ndarray]:
    text = "\n".join(chosen)
    words = text.split()
    width = len(words) // len(chosen)
    # the first words stand at every width-th place: then all lines have as many, and the quick way is right
    if "#" not in text and words[::width].count(words[0]) == len(chosen) == len(words) / width:
        del words[::width]
        return words, np.full(len(chosen), width - 1)
    rows = [line.partition("#")[0].split()[1:] for line in chosen]
    return [word for row in rows for word in row], np.array(list(map(len, rows)), np.int64)


def _numbers(lines: list[str], at: np.ndarray, word: str, least: int) -> np.ndarray:
    """[n, columns] float32 of the lines that begin with a word; as many columns as the shortest has."""
    if not len(at):
        return np.empty((0, least), np.float32)
    blocks, widths = [], []
    for words, sizes, some in _blocks(lines, at):
        if sizes.min() < least:
            raise _wrong(lines, some[sizes.argmin()], f"{least} numbers after {word!r}")
        try:
            with np.errstate(over="ignore"):
                values = np.array(list(map(float, words)), np.float32)
        except ValueError as error:
            bad = next(i for i, text in enumerate(words) if not _is_number(text))
            raise _wrong(lines, np.repeat(some, sizes)[bad], f"numbers after {word!r}") from error
        if not np.isfinite(values).all():
            raise _wrong(lines, np.repeat(some, sizes)[~np.isfinite(values)][0], "finite numbers")
        blocks.append(values)
        widths.append(sizes)
    values, sizes = np.concatenate(blocks), np.concatenate(widths)
    width = int(sizes.min())
    first = (np.cumsum(sizes) - sizes)[:, None]
    return values[first + np.arange(width)] if (sizes > width).any() else values.reshape(-1, width)


def _wrong(lines: list[str], line: int, wanted: str) -> FormatError:
    return FormatError(f"line {line + 1} must have {wanted}; got {lines[line][:80]!r}")


def _faces(
    lines: list[str], at: np.ndarray, counts: list[np.ndarray], totals: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """[F, 3, 3] corners, and [F] which of the face lines ``at`` each triangle came from."""
    if not len(at):
        raise FormatError('an .obj must have faces, lines "f"; there is none')
    blocks, counted = [], []
    for words, sizes, some in _blocks(lines, at):
        if sizes.min() < 3:
            raise _wrong(lines, some[sizes.argmin()], "at least 3 corners")
        blocks.append(_corners(lines, some, words, sizes))
        counted.append(sizes)
    corners, sizes = np.concatenate(blocks), np.concatenate(counted)  # [n, 3], [lines]
    of_corner = np.repeat(np.arange(len(sizes)), sizes)
    for k, (count, total) in enumerate(zip(counts, totals, strict=True)):
        given = corners[:, k].copy()
        # 1, 2, ... from the first; -1, -2, ... back from the last before this line; 0 stands for "not given"
        corners[:, k] = column = np.where(given < 0, given + count[of_corner], given - 1)
        bad = (column >= total) | ((column < 0) & ((given != 0) | (k == 0)))
        if bad.any():
            raise _wrong(lines, at[of_corner[bad.argmax()]], f"numbers of the {total} {_READ[k]!r} lines")
    triangles = sizes - 2
    of_line = np.repeat(np.arange(len(sizes)), triangles)
    first = (np.cumsum(sizes) - sizes)[of_line]
    step = np.arange(len(of_line)) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return corners[np.stack([first, first + step + 1, first + step + 2], axis=1)], of_line


def _corners(lines: list[str], at: np.ndarray, tokens: list[str], sizes: np.ndarray) -> np.ndarray:
    """[n, 3] of ``7``, ``7/8``, ``7//9`` or ``7/8/9``; 0 for what is not given."""
    slashes = {token.count("/") for token in tokens}
    width = max(slashes) + 1
    try:
        if width > 3:
            raise ValueError("more than three indices")
        if len(slashes) == 1:
            text = " ".join(tokens).replace("//", "/0/").replace("/", " ")
            values = list(map(int, text.split()))
            if len(values) == width * len(tokens):  # fewer where "7/" leaves something out
                return np.pad(np.array(values, np.int64).reshape(-1, width), ((0, 0), (0, 3 - width)))
        parts = [[int(part or 0) for part in f"{token}//".split("/")[:3]] for token in tokens]
        return np.array(parts, np.int64).reshape(-1, 3)
    except (ValueError, OverflowError) as error:
        bad = next(i for i, token in enumerate(tokens) if not _is_corner(token))
        raise _wrong(lines, np.repeat(at, sizes)[bad], "corners like 1, 1/2, 1//3 or 1/2/3") from error


def _is_corner(token: str) -> bool:
    try:
        return token.count("/") < 3 and all(abs(int(part or 0)) < 1 << 63 for part in token.split("/"))
    except ValueError:
        return False


def parse_materials(content: bytes) -> dict[str, Material]:
    """The materials of an .mtl by name. Lines that make no sense are skipped: colours are not worth an error."""
    materials: dict[str, Material] = {}
    current = Material()
    for line in content.decode("utf-8", errors="replace").splitlines():
        word, rest = _named(line.strip())
        match word.lower():
            case "newmtl":
                current = materials.setdefault(rest, Material())
            case "kd":
                current.color = _color(rest.split(), current.color)
            case "map_kd":
                current.picture = _picture_name(rest.split(" "))
    return materials


def _color(words: list[str], default: tuple[float, float, float]) -> tuple[float, float, float]:
    try:
        red, green, blue = (min(max(float(word), 0.0), 1.0) for word in words[:3])
    except ValueError:
        return default
    return red, green, blue


def _picture_name(words: list[str]) -> str:
    """The rest of the line, after options such as ``-s 1 1 1``; names may have spaces."""
    while words and words[0] in ("-blendu", "-blendv", "-bm", "-boost", "-cc", "-clamp", "-imfchan", "-o", "-s", "-t",
                                 "-texres", "-mm"):  # fmt: skip
        numbers = _OPTIONS.get(words[0], 0)
        words = words[1:] if numbers else words[2:]
        while numbers and words and _is_number(words[0]):
            words, numbers = words[1:], numbers - 1
    return " ".join(words).strip().replace("\\", "/")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
