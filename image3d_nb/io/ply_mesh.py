"""The .ply of a mesh: vertices with normals, colours and texture coordinates, and faces.

A texture stands beside it (mug_texture.png beside mug.ply), named by the line ``comment TextureFile``, as MeshLab and
trimesh do. The same suffix holds Gaussians (:mod:`.ply`): a mesh has faces, and no f_dc_0.

Specification: http://paulbourke.net/dataformats/ply/
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from ..errors import FormatError
from ..mesh import Mesh, unique_rows
from . import _textures
from ._foreign import colors_from_numbers, triangles_of, warn_left_out
from ._format import Sibling
from ._mesh_parts import Part, colors_of, float32, has_texture, join, unit_normals
from ._ply_table import Header, check_size, holds_mesh, is_ply, parse_header, records

_UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_COLORS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_CORNERS = ("vertex_indices", "vertex_index")

_TEXTURE = re.compile(r"[\r\n]comment TextureFile ([^\r\n]+)")


def sniff(buffer: memoryview) -> bool:
    """Whether it is a .ply with faces, and not of Gaussians."""
    return is_ply(buffer) and holds_mesh(buffer)


def read(buffer: memoryview, sibling: Sibling) -> Mesh:
    """The faces as triangles, little-endian, big-endian or text.

    Texture coordinates of vertices (s t, u v, texture_u texture_v) or of the corners of triangles (texcoord). A warning
    says what is left out: a texture that is not there, faces of two corners, faces that a text which is cut off lacks.

    Raises:
        FormatError: the header or the body is damaged, or lacks positions or faces.
    """
    notes: list[str] = []
    header = parse_header(buffer)
    elements, nothing = _elements(header, buffer, notes), np.empty(0, [])
    vertex, face = elements.get("vertex", nothing), elements.get("face", nothing)
    positions = _columns(vertex, [("x", "y", "z")])
    name = next((name for name in _CORNERS if name in _names(face)), None)
    if positions is None or name is None or not len(positions):
        found = " ".join([*_names(vertex), *_names(face)])[:200]
        raise FormatError(f"a .ply of a mesh must have rows with x y z and faces with vertex_indices; got {found}")
    sizes, corners = _ragged(face[name])
    if corners.dtype.kind not in "iu":
        raise FormatError(f"rows of vertex_indices must be whole numbers; got {corners.dtype}")
    corners = corners.astype(np.int64)
    if len(corners) and (corners.min() < 0 or corners.max() >= len(positions)):
        found = f"{corners.min()}..{corners.max()}"
        raise FormatError(f"faces must index {len(positions)} vertices; got {found}")
    few = int((sizes < 3).sum())
    if few:
        notes.append(f"{few} of {len(sizes)} faces, which have fewer than 3 corners")
    triangles, _ = triangles_of(positions, corners, sizes, notes)
    part = Part(
        vertices=positions,
        faces=corners[triangles],
        normals=_columns(vertex, [("nx", "ny", "nz")]),
        uvs=_columns(vertex, _UVS),
        colors=_colors(vertex, notes),
    )
    if part.uvs is None and "texcoord" in _names(face):
        part = _with_corner_uvs(part, _ragged(face["texcoord"]), sizes, triangles, notes)
    comments = bytes(buffer[: header.size]).decode("utf-8", errors="replace")
    textures = [name.strip() for name in _TEXTURE.findall(comments)]
    notes += [f"the texture {texture[:80]!r}, not the first" for texture in textures[1:4]]
    if textures and part.uvs is not None:
        part.image = _textures.Textures(notes).get(textures[0], lambda: sibling(textures[0]))
    mesh = join([part], notes)
    warn_left_out(notes, ".ply")
    return mesh


def _elements(header: Header, buffer: memoryview, notes: list[str]) -> dict[str, np.ndarray]:
    """Element -> records, as :func:`._ply_table.records`; of a text as many as there are."""
    if header.encoding != "ascii":
        check_size(header, buffer)
        return records(header, buffer[header.size :])
    lines = [line for line in bytes(buffer[header.size :]).splitlines() if line.strip()]
    return records(_present(header, len(lines), notes), b"\n".join([*lines, b""]))


def _present(header: Header, lines: int, notes: list[str]) -> Header:
    """The header with as many faces as a text has: the last line of a text that is cut off may be cut itself."""
    found = []
    for element in header.elements:
        count = min(element.count, lines)
        if element.name == "face" and 1 < count < element.count:
            count -= 1
            notes.append(f"{element.count - count} of {element.count} faces: the text is cut off")
        elif count < element.count:
            raise FormatError(f"{element.count} {element.name} must be lines; got {lines}: the text is cut off")
        lines -= count
        found.append(replace(element, count=count))
    if lines:
        notes.append(f"{lines} lines at the end, which the header does not count")
    return replace(header, elements=found)


def _names(rows: np.ndarray) -> tuple[str, ...]:
    return rows.dtype.names or ()


def _columns(rows: np.ndarray, choices: tuple[tuple[str, ...], ...] | list[tuple[str, ...]]) -> np.ndarray | None:
    """[n, columns] of the first set of columns that is there."""
    for names in choices:
        if all(name in _names(rows) and rows[name].dtype.kind in "iuf" and rows[name].ndim == 1 for name in names):
            return np.stack([rows[name] for name in names], axis=1)
    return None


def _colors(vertex: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """[V, 3] in [0, 1]: bytes and words by their type; other numbers by their size."""
    values = _columns(vertex, _COLORS)
    if values is None:
        return None
    if values.dtype in (np.uint8, np.uint16):
        return (values / np.iinfo(values.dtype).max).astype(np.float32)
    if values.dtype.kind in "iu":
        return (values / (255 if values.max() <= 255 else 65535)).clip(0, 1).astype(np.float32)
    return colors_from_numbers(values, notes).astype(np.float32)


def _ragged(lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n] lengths of lists, and all their values one after the other."""
    if lists.dtype.kind != "O":
        lists = lists.reshape(len(lists), -1)
        return np.full(len(lists), lists.shape[1], np.int64), lists.reshape(-1)
    values = np.concatenate(list(lists)) if len(lists) else np.empty(0, np.int64)
    return np.array(list(map(len, lists)), np.int64), values


def _with_corner_uvs(
    part: Part, texcoord: tuple[np.ndarray, np.ndarray], sizes: np.ndarray, triangles: np.ndarray, notes: list[str]
) -> Part:
    """MeshLab's coordinates of corners, "texcoord": vertices are split where their corners differ."""
    lengths, values = texcoord
    if len(lengths) != len(sizes) or (lengths != 2 * sizes).any():
        notes.append("the texture coordinates, which are not two numbers for each corner of a face")
        return part
    uvs = values.reshape(-1, 2)[triangles].reshape(-1, 2).astype(np.float64)  # [3 T, 2]
    at = part.faces.reshape(-1)
    _, first, inverse = unique_rows(np.concatenate([at[:, None].astype(np.float64), uvs], axis=1))
    kept = at[first]
    return Part(
        vertices=part.vertices[kept],
        faces=inverse.reshape(-1, 3),
        normals=None if part.normals is None else part.normals[kept],
        uvs=uvs[first],
        colors=None if part.colors is None else part.colors[kept],
    )


def write(mesh: Mesh, name: str) -> dict[str, bytes]:
    """Little-endian; float32 but for colours, which become bytes; normals always. A texture stands beside it.

    Raises:
        InputError: a number beyond float32, a colour outside of [0, 1], a texture without a pixel.
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
        image = _textures.file_name(name)
        files[image] = _textures.encode(mesh.texture)
        header.append(f"comment TextureFile {image}")
    header.append(f"element vertex {len(rows)}")
    header += [f"property {'uchar' if kind == 'u1' else 'float'} {column}" for column, kind in fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return {name: "\n".join(header).encode() + rows.tobytes() + faces.tobytes(), **files}
