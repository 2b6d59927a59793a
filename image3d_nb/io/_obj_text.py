"""The text of .obj and .mtl files.

Read here, because trimesh takes an .obj for what most programs write: one form of line for all rows of a kind, indices
above 0, polygons without a dent, one library of materials.

Specification: http://paulbourke.net/dataformats/obj/ and http://paulbourke.net/dataformats/mtl/
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError
from ._foreign import triangles_of

_WORDS = frozenset({"v", "vt", "vn", "vp", "f", "l", "p", "o", "g", "s", "mg", "usemtl", "mtllib", "usemap", "maplib"})
"""Those for curves and surfaces are missing: such files have enough vertices to be recognised."""
_LOOKED_AT = 1 << 16
_LONGEST = 1 << 20
"""Characters of a line: nobody draws polygons of 100,000 corners."""
_AT_ONCE = 1 << 15
_OPTIONS = {"-o": 3, "-s": 3, "-t": 3, "-mm": 2}
"""Options of map_Kd with at most that many numbers; all others have one word."""
_NOT_FINITE = re.compile(r"nan|inf|#|\?", re.IGNORECASE)
"""How programs print NaN and infinity: nan, -nan(ind), 1.#QNAN, 1.#INF, inf, ???."""


@dataclass
class Material:
    """What an .mtl says of a material: sRGB colour in [0, 1], and the file name of its texture, "" for none."""

    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    texture: str = ""


@dataclass
class ObjText:
    """The mesh of an .obj.

    Attributes:
        rows: "v" [V, 3] or, with colours, [V, 6]; "vt" [n, 2]; "vn" [n, 3]; NaN for numbers that are missing.
        corners: [T, 3, 3], of each triangle's corners the places in "v", "vt" and "vn"; -1 for none.
        material: [T], places in ``materials``.
        materials: names, in the order of their first use; "" for faces before the first ``usemtl``.
        libraries: names of .mtl files.
    """

    rows: dict[str, np.ndarray]
    corners: np.ndarray
    material: np.ndarray
    materials: list[str]
    libraries: list[str]


def sniff(buffer: memoryview) -> bool:
    """Whether nearly all of the first lines begin with words of an .obj; it has no mark of its own."""
    start = bytes(buffer[:_LOOKED_AT])
    if b"\0" in start:
        return False
    lines = [line.split() for line in start.removeprefix(b"\xef\xbb\xbf").splitlines()[:1000]]
    words = [line[0].decode("latin-1") for line in lines if line and not line[0].startswith(b"#")]
    return "v" in words and sum(word in _WORDS for word in words) > 0.9 * len(words) - 1


def parse(content: bytes, notes: list[str]) -> ObjText:
    """Read an .obj; polygons become triangles.

    Args:
        content: the file.
        notes: gets what is left out: faces of two corners, indices that name nothing.

    Raises:
        FormatError: not a text, a position or a face that cannot be read; with the line.
    """
    lines = _lines(content)
    at: dict[str, list[int]] = {word: [] for word in ("v", "vt", "vn", "f")}
    materials, libraries = {"": 0}, []
    material, of_face = 0, []
    for number, line in enumerate(lines):
        word, _, rest = line.partition(" ")
        if word in at:
            at[word].append(number)
            if word == "f":
                of_face.append(material)
        elif word == "usemtl":
            material = materials.setdefault(rest.strip(), len(materials))
        elif word == "mtllib" and rest.strip():
            libraries.append(rest.strip())
    rows = {word: _rows(lines, at[word], word) for word in ("v", "vt", "vn")}
    corners, sizes = _corners(lines, at, notes)
    if not (sizes >= 3).any():
        raise FormatError('an .obj must have faces of 3 corners or more, lines "f"; there is none')
    triangles, polygon = triangles_of(rows["v"][:, :3], corners[:, 0], sizes, notes)
    return ObjText(rows, corners[triangles], np.array(of_face)[polygon], list(materials), libraries)


def _lines(content: bytes) -> list[str]:
    if b"\0" in content[:_LOOKED_AT]:
        raise FormatError(f"an .obj must be a text; it has zero bytes and starts with {content[:8]!r}")
    text = content.decode("utf-8", errors="replace").removeprefix("\ufeff").replace("\t", " ")
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
    return [line.lstrip() for line in lines] if "\n " in text or text.startswith(" ") else lines


def _rows(lines: list[str], at: list[int], word: str) -> np.ndarray:
    """The numbers of all lines of a kind, as many in each: 2 of vt, 3 of vn, 3 of v or 6 where one has a colour."""
    least = 2 if word == "vt" else 3
    alike = _alike([lines[number] for number in at])
    if alike is not None and alike.shape[1] >= least:
        return alike[:, : 6 if word == "v" and alike.shape[1] >= 6 else least]
    rows = [lines[number][len(word) + 1 :].partition("#")[0].split() for number in at]
    width = 6 if word == "v" and max(map(len, rows), default=0) >= 6 else least
    for number, row in zip(at, rows, strict=True):
        if len(row) < least and word == "v":
            raise _wrong(lines, number, "3 numbers after 'v'")
        if len(row) != width:
            kept = row[: width if len(row) >= width else least]  # 4 numbers are x y z w
            row[:] = kept + ["nan"] * (width - len(kept))
    try:
        numbers = np.array([text for row in rows for text in row], np.float64)
    except ValueError:  # slowly then, to find the line
        numbers = np.array([_number(lines, line, text) for line, row in zip(at, rows, strict=True) for text in row])
    return numbers.reshape(-1, width)


def _alike(texts: list[str]) -> np.ndarray | None:
    """The numbers of lines that have as many each, read at once: in a third of the time; None for others."""
    spaces = {text.count(" ") for text in texts}
    if len(spaces) != 1:
        return None
    width, words = spaces.pop() + 1, " ".join(texts).split(" ")
    del words[::width]  # v, vt or vn
    try:
        return np.array(words, np.float64).reshape(len(texts), width - 1)
    except ValueError:
        return None


def _number(lines: list[str], line: int, text: str) -> float:
    try:
        return float("nan" if _NOT_FINITE.search(text) else text)
    except ValueError as error:
        raise _wrong(lines, line, "numbers") from error


def _wrong(lines: list[str], line: int, wanted: str) -> FormatError:
    return FormatError(f"line {line + 1} must have {wanted}; got {lines[line][:80]!r}")


def _corners(lines: list[str], at: dict[str, list[int]], notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """[n, 3] position, texture coordinate and normal of all corners, -1 for none; [F] the corners of each face."""
    blocks, counted = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(at["f"]), _AT_ONCE):  # as objects of Python's, all words would fill the memory
        some = at["f"][start : start + _AT_ONCE]
        words = [lines[number][2:].partition("#")[0].split() for number in some]
        sizes = np.array(list(map(len, words)), np.int64)
        blocks.append(_indices(lines, np.repeat(some, sizes), [word for row in words for word in row]))
        counted.append(sizes)
    corners, sizes = np.concatenate(blocks), np.concatenate(counted)
    of_line = np.repeat(np.array(at["f"], np.int64), sizes)  # [n]
    for k, word in enumerate(("v", "vt", "vn")):
        given, total = corners[:, k].copy(), len(at[word])
        # 1, 2, ... from the first; -1, -2, ... back from the last before this line; 0 stands for "not given"
        corners[:, k] = place = np.where(given < 0, given + np.searchsorted(at[word], of_line), given - 1)
        missing = (place >= total) | ((place < 0) & (given != 0))
        if k == 0 and (missing | (given == 0)).any():
            raise _wrong(lines, int(of_line[(missing | (given == 0)).argmax()]), f"numbers of the {total} 'v' lines")
        if missing.any():
            corners[missing, k] = -1
            notes.append(f"the {word!r} of {int(missing.sum())} corners, whose numbers name none of {total} lines")
    few = int((sizes < 3).sum())
    if few:
        notes.append(f"{few} of {len(sizes)} faces, which have fewer than 3 corners")
    return corners, sizes


def _indices(lines: list[str], of_word: np.ndarray, words: list[str]) -> np.ndarray:
    """[n, 3] of ``7``, ``7/8``, ``7//9`` or ``7/8/9``; 0 for what is not given."""
    slashes = {word.count("/") for word in words}
    width = max(slashes, default=0) + 1
    try:
        if width > 3:
            raise ValueError("more than three indices")
        if len(slashes) == 1:
            values = list(map(int, " ".join(words).replace("//", "/0/").replace("/", " ").split()))
            if len(values) == width * len(words):  # fewer where "7/" leaves something out
                return np.pad(np.array(values, np.int64).reshape(-1, width), ((0, 0), (0, 3 - width)))
        parts = [[int(part or 0) for part in f"{word}//".split("/")[:3]] for word in words]
        return np.array(parts, np.int64).reshape(-1, 3)
    except (ValueError, OverflowError) as error:
        bad = next(i for i, word in enumerate(words) if not _is_corner(word))
        raise _wrong(lines, int(of_word[bad]), "corners like 1, 1/2, 1//3 or 1/2/3") from error


def _is_corner(word: str) -> bool:
    try:
        return word.count("/") < 3 and all(abs(int(part or 0)) < 1 << 63 for part in word.split("/"))
    except ValueError:
        return False


def parse_materials(content: bytes) -> dict[str, Material]:
    """The materials of an .mtl by name. Lines that make no sense are skipped: colours are not worth an error."""
    materials: dict[str, Material] = {}
    current = Material()
    for line in content.decode("utf-8", errors="replace").splitlines():
        word, _, rest = line.strip().replace("\t", " ").partition(" ")
        rest = rest.strip()
        match word.lower():
            case "newmtl":
                current = materials.setdefault(rest, Material())
            case "kd":
                current.color = _color(rest.split(), current.color)
            case "map_kd":
                current.texture = _texture_name(rest.split(" "))
    return materials


def _color(words: list[str], default: tuple[float, float, float]) -> tuple[float, float, float]:
    try:
        red, green, blue = (min(max(float(word), 0.0), 1.0) for word in words[:3])
    except ValueError:
        return default
    return red, green, blue


def _texture_name(words: list[str]) -> str:
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
