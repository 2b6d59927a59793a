"""The .ply of a mesh: vertices with normals, colours and texture coordinates, and faces.

A texture stands in a .png beside it, named by the line ``comment TextureFile``, as MeshLab and trimesh do. The same
suffix holds Gaussians (:mod:`.ply`): a mesh has faces, and no f_dc_0.

Specification: http://paulbourke.net/dataformats/ply/
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import PurePath
from typing import Any

import numpy as np

from ..errors import FormatError
from ..mesh import Mesh
from . import _pictures
from ._format import Format, Sibling
from ._mesh_parts import Part, colors_of, first_rows, float32, has_texture, join, losses, unit_normals
from ._ply_table import _KINDS, _check_size, _Element, _Header, _parse_header, holds_mesh, is_ply

_UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_COLORS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_CORNERS = ("vertex_indices", "vertex_index")

_SIGNED = re.compile(rb"(property[ \t]+list[ \t]+)(char|int8|short|int16|int|int32)\b")
_TEXTURE = re.compile(rb"[\r\n]comment TextureFile ([^\r\n]+)")


def sniff(buffer: memoryview) -> bool:
    """Whether it is a .ply with faces, and not of Gaussians."""
    return is_ply(buffer) and holds_mesh(buffer)


def read(buffer: memoryview, sibling: Sibling) -> Mesh:
    """The faces as triangles (polygons become fans), little-endian, big-endian or text.

    Texture coordinates of vertices (s t, u v, texture_u texture_v) or of the corners of triangles (texcoord). A texture
    that is not there is a warning.

    Raises:
        FormatError: the header or the body is damaged, or lacks positions or faces.
    """
    header = _parse_header(buffer)
    _check_size(header, buffer)
    tables = _tables(header, buffer)
    vertex, face = tables.get("vertex"), tables.get("face")
    if vertex is None or face is None or not len(vertex) or not len(face):
        raise FormatError('a .ply of a mesh must have the elements "vertex" and "face", not empty; it has not')
    positions = _columns(vertex, [("x", "y", "z")])
    if positions is None:
        raise FormatError(f"a .ply must have the columns x y z; it has {_names(vertex)}")
    sizes, corners = _corners(face)
    part = Part(
        vertices=positions,
        faces=_fans(sizes, corners),
        normals=_columns(vertex, [("nx", "ny", "nz")]),
        uvs=_columns(vertex, _UVS),
        colors=_columns(vertex, _COLORS, colors=True),
    )
    notes: list[str] = []
    part = _with_texture(_with_corner_uvs(part, face, sizes), buffer[: header.size], sibling, notes)
    mesh = join([part], notes)
    if notes:
        warnings.warn(
            f"this .ply is not whole, or more than a Mesh can hold; left out: {', '.join(notes)}", stacklevel=3
        )
    return mesh


def _tables(header: _Header, buffer: memoryview) -> dict[str, np.ndarray]:
    """The elements as structured arrays: views of the bytes where all rows have one size, else plyfile's."""
    if header.encoding != "ascii":
        order = "<" if header.encoding == "binary_little_endian" else ">"
        tables: dict[str, np.ndarray] = {}
        start = header.size
        for element in header.elements:
            rows = _even_rows(buffer, start, element, order)
            if rows is None:
                break
            tables[element.name] = rows
            start += rows.nbytes
            if {"vertex", "face"} <= set(tables):
                return tables
    return _read_with_plyfile(header, buffer)


def _even_rows(buffer: memoryview, start: int, element: _Element, order: str) -> np.ndarray | None:
    """[count] rows, if all lists are as long as those of the first row. A list is (its length, its values)."""
    fields: list[tuple[Any, ...]] = []
    lengths: dict[str, int] = {}
    at = start
    for name, kind in element.properties:
        if not kind.startswith("list "):
            fields.append((name, order + _KINDS[kind]))
        else:
            _, count_kind, value_kind = kind.split()
            count_type = np.dtype(order + _KINDS[count_kind])
            if count_type.kind not in "iu" or at + count_type.itemsize > len(buffer):
                return None
            length = int(np.frombuffer(buffer, count_type, 1, at)[0])
            if not 0 <= length <= 255:
                return None
            lengths[name] = length
            fields += [(f"{name}#", count_type), (name, order + _KINDS[value_kind], (length,))]
        at = start + np.dtype(fields).itemsize
    dtype = np.dtype(fields)
    if start + dtype.itemsize * element.count > len(buffer):
        return None
    rows = np.frombuffer(buffer, dtype, element.count, start) if dtype.itemsize else np.empty(element.count, dtype)
    return rows if all((rows[f"{name}#"] == length).all() for name, length in lengths.items()) else None


def _read_with_plyfile(header: _Header, buffer: memoryview) -> dict[str, np.ndarray]:
    from plyfile import PlyData, PlyParseError  # 0.1 s to import, and rarely needed

    # plyfile takes a negative length for "all that is left"; unsigned, it is beyond the end of the file
    text = _SIGNED.sub(rb"\1u\2", bytes(buffer[: header.size]))
    try:
        return {
            element.name: element.data
            for element in PlyData.read(io.BytesIO(b"".join([text, buffer[header.size :]]))).elements
        }
    except (PlyParseError, ValueError, OverflowError, MemoryError) as error:
        raise FormatError(f"a .ply must hold what its header says ({header.encoding}); {error}") from error


def _columns(rows: np.ndarray, choices: Any, colors: bool = False) -> np.ndarray | None:
    """[n, columns] float32 of the first of some sets of columns that is there; colours scaled to [0, 1]."""
    for names in choices:
        if all(name in (rows.dtype.names or ()) and rows.dtype[name].kind in "iuf" for name in names):
            kind = rows.dtype[names[0]]
            with np.errstate(over="ignore"):
                values = np.stack([rows[name] for name in names], axis=1).astype(np.float32)
            if not np.isfinite(values).all():
                raise FormatError(f"the columns {' '.join(names)} must be finite; some rows have NaN or infinity")
            if colors:
                values = (values / (np.iinfo(kind).max if kind.kind in "iu" else 1)).clip(0, 1)
            return values
    return None


def _names(rows: np.ndarray) -> str:
    return " ".join(rows.dtype.names or ())[:200]


def _corners(face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[F] corners a face, and all of their vertices one after the other."""
    name = next((name for name in _CORNERS if name in (face.dtype.names or ())), None)
    if name is None or (face.dtype[name].shape == () and face.dtype[name].kind != "O"):
        raise FormatError(f"the faces of a .ply must have a list vertex_indices; got {_names(face)}")
    lists = face[name]
    if lists.dtype.kind != "O":
        sizes, corners = np.full(len(lists), lists.shape[1], np.int64), lists.reshape(-1)
    else:
        sizes, corners = np.array(list(map(len, lists)), np.int64), np.concatenate(lists)
    if corners.dtype.kind not in "iu" or sizes.min() < 3:
        found = f"{corners.dtype} and {sizes.min()} at a face"
        raise FormatError(f"the faces of a .ply must have at least 3 corners, whole numbers; got {found}")
    return sizes, corners.astype(np.int64)


def _fans(sizes: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """[T, 3] of polygons."""
    triangles = sizes - 2
    first = np.repeat(np.cumsum(sizes) - sizes, triangles)
    step = np.arange(triangles.sum()) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return corners[np.stack([first, first + step + 1, first + step + 2], axis=1)]


def _with_corner_uvs(part: Part, face: np.ndarray, sizes: np.ndarray) -> Part:
    """MeshLab's coordinates of corners, "texcoord": vertices are split where their corners differ."""
    if part.uvs is not None or "texcoord" not in (face.dtype.names or ()) or not (sizes == 3).all():
        return part
    lists = face["texcoord"]
    if lists.dtype.kind == "O":
        if any(len(row) != 6 for row in lists):
            return part
        lists = np.stack(list(lists))
    if lists.ndim != 2 or lists.shape[1] != 6:
        return part
    uvs = lists.astype(np.float32).reshape(-1, 2)  # [3 F, 2]
    if part.faces.min() < 0 or part.faces.max() >= len(part.vertices):
        return part  # join says what is wrong
    at = part.faces.reshape(-1)
    first, inverse = first_rows(np.concatenate([at[:, None].astype(np.float64), uvs], axis=1))
    kept = at[first]
    return Part(
        vertices=part.vertices[kept],
        faces=inverse.reshape(-1, 3),
        normals=None if part.normals is None else part.normals[kept],
        uvs=uvs[first],
        colors=None if part.colors is None else part.colors[kept],
    )


def _with_texture(part: Part, header: memoryview, sibling: Sibling, notes: list[str]) -> Part:
    names = [name.decode("utf-8", errors="replace").strip() for name in _TEXTURE.findall(bytes(header))]
    if not names or part.uvs is None:
        return part
    notes += [f"the texture {name[:80]!r}, not the first" for name in names[1:4]]
    try:
        content = sibling(names[0])
    except (OSError, ValueError):
        notes.append(f"the texture {names[0][:80]!r}, which is not there")
        return part
    part.picture = _pictures.decode(content, f"the texture {names[0][:80]!r}")
    return part


def write(mesh: Mesh, name: str) -> dict[str, bytes]:
    """Little-endian; float32 but for colours, which become bytes; normals always. A texture becomes a .png beside it.

    Raises:
        InputError: a number beyond float32, a colour outside of [0, 1], a texture that is not uint8.
    """
    columns = [("xyz", float32(mesh.vertices, "vertices")), (("nx", "ny", "nz"), unit_normals(mesh))]
    if mesh.uvs is not None:
        columns.append(("st", float32(mesh.uvs, "uvs")))
    fields = [(column, "<f4") for names, _ in columns for column in names]
    colors = colors_of(mesh)
    if colors is not None:
        columns.append((_COLORS[0], np.rint(255 * colors)))
        fields += [(column, "u1") for column in _COLORS[0]]
    rows = np.empty(len(mesh.vertices), fields)
    for names, values in columns:
        for column, numbers in zip(names, values.T, strict=True):
            rows[column] = numbers
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    header = ["ply", "format binary_little_endian 1.0"]
    files = {}
    if mesh.texture is not None and has_texture(mesh):
        picture = f"{PurePath(name).stem}.png"
        files[picture] = _pictures.encode(mesh.texture)
        header.append(f"comment TextureFile {picture}")
    header.append(f"element vertex {len(rows)}")
    header += [f"property {'uchar' if kind == 'u1' else 'float'} {column}" for column, kind in fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return {name: "\n".join(header).encode() + rows.tobytes() + faces.tobytes(), **files}


FORMAT = Format(
    suffix=".ply",
    name="PLY mesh",
    holds=Mesh,
    sniff=sniff,
    read=read,
    write=write,
    losses=losses,
    turns=False,
)
