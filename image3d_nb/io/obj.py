"""The .obj of Wavefront, with its .mtl of materials and its texture beside it: mug.obj, mug.mtl, mug_texture.png.

A material and normals are always written: viewers draw black silhouettes without. Vertex colours stand behind the
positions (``v x y z r g b``, sRGB in [0, 1]), an extension that MeshLab, Blender, trimesh and three.js read. Corners at
one place share one ``v`` line, whatever their texture coordinates, so that a closed surface is closed for every reader.

Specification: http://paulbourke.net/dataformats/obj/ and http://paulbourke.net/dataformats/mtl/
"""

from __future__ import annotations

from pathlib import PurePath

import numpy as np

from ..mesh import Mesh, unique_rows
from . import _textures
from ._foreign import colors_from_numbers, warn_left_out
from ._format import Sibling
from ._mesh_parts import Part, colors_of, float32, has_texture, join, unit_normals
from ._obj_text import Material, ObjText, parse, parse_materials

_MATERIAL = "material"


def read(buffer: memoryview, sibling: Sibling) -> Mesh:
    """All faces as one mesh; polygons become triangles.

    A vertex for each different combination of position, texture coordinate and normal; positions that no face uses are
    left out. Materials: ``map_Kd`` is the texture (``Kd`` is not multiplied with it: exporters leave any number there),
    else the colours are those of the vertices, else ``Kd``. See :mod:`._mesh_parts` for several. A warning says what is
    left out: a .mtl or a texture that is not there, faces of two corners, indices that name nothing. A text that is cut
    off gives the faces it has; an .obj does not say how many there should be. Lines and points are left out.

    Raises:
        FormatError: a position or a face that cannot be read (the message has its line), or no faces.
    """
    notes: list[str] = []
    text = parse(bytes(buffer), notes)
    materials, textures = _materials(text, sibling, notes), _textures.Textures(notes)
    parts = []
    for number in np.unique(text.material).tolist():
        material = materials.get(text.materials[number], Material())
        parts.append(_part(text.rows, text.corners[text.material == number], material, textures, sibling, notes))
    mesh = join(parts, notes)
    warn_left_out(notes, ".obj")
    return mesh


def _materials(text: ObjText, sibling: Sibling, notes: list[str]) -> dict[str, Material]:
    materials: dict[str, Material] = {}
    whole = True
    for name in text.libraries:
        try:
            materials |= parse_materials(sibling(name))
        except (OSError, ValueError):
            whole = False
            notes.append(f"materials of {name[:80]!r}, which is not there")
    if whole:
        known = {"", *materials}
        notes += [f"the material {name[:80]!r}, which no .mtl has" for name in text.materials if name not in known]
    return materials


def _part(
    rows: dict[str, np.ndarray], corners: np.ndarray, material: Material, textures: _textures.Textures,
    sibling: Sibling, notes: list[str],
) -> Part:  # fmt: skip
    """The triangles [T, 3, 3] of one material. Corners that are equal are one vertex; vertices keep the file's order.

    Texture coordinates and normals count where all corners have them.
    """
    corners = np.where((corners >= 0).all((0, 1)), corners, -1).reshape(-1, 3)  # [3 T, 3]
    order = np.lexsort(corners.T[::-1])
    new = np.diff(corners[order], axis=0, prepend=-2).any(1)
    faces = np.empty(len(corners), np.int64)
    faces[order] = np.cumsum(new) - 1
    positions, *others = corners[order[new]].T
    uvs, normals = (rows[word][at] if at[0] >= 0 else None for word, at in zip(("vt", "vn"), others, strict=True))
    colors = rows["v"][positions, 3:] if rows["v"].shape[1] == 6 else None
    part = Part(rows["v"][positions, :3], faces.reshape(-1, 3), normals=normals, uvs=uvs)
    if material.texture and uvs is not None:
        part.image = textures.get(material.texture, lambda: sibling(material.texture))
    if part.image is not None:
        return part
    plain = np.broadcast_to(np.array(material.color, np.float32), part.vertices.shape)
    if colors is not None and np.isfinite(colors).any():
        colors = colors_from_numbers(colors, notes)
        part.colors = np.where(np.isfinite(colors).any(1, keepdims=True), colors, plain)
    elif material.color != (1.0, 1.0, 1.0):
        part.colors = plain
    return part


def write(mesh: Mesh, name: str) -> dict[str, bytes]:
    """The .obj, its .mtl, and a _texture.png where there is one. Nine digits: float32 comes back bit by bit.

    Raises:
        InputError: a number beyond float32, a colour outside of [0, 1], a texture without a pixel.
    """
    stem = PurePath(name).stem
    material = f"newmtl {_MATERIAL}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 1\n"
    files: dict[str, bytes] = {}
    if mesh.texture is not None and has_texture(mesh):
        image = _textures.file_name(name)
        files[image] = _textures.encode(mesh.texture)
        # readers, ours too, would take "-s 1_texture.png" for the option -s
        material += f"map_Kd {'./' if image.startswith('-') else ''}{image}\n"
    text = f"# image3d_nb\nmtllib {stem}.mtl\n{_geometry(mesh)}"
    return {name: text.encode(), f"{stem}.mtl": material.encode(), **files}


def _geometry(mesh: Mesh) -> str:
    rows, colors = float32(mesh.vertices, "vertices"), colors_of(mesh)
    if colors is not None:
        rows = np.concatenate([rows, float32(colors, "vertex_colors")], axis=1)  # [V, 6]
    rows, _, at = unique_rows(rows)
    blocks, columns = [_lines("v", rows)], [at]
    if mesh.uvs is not None:
        uvs = float32(mesh.uvs, "uvs")
        uvs, _, at = unique_rows(uvs)
        blocks.append(_lines("vt", uvs))
        columns.append(at)
    normals = unit_normals(mesh)
    normals, _, at = unique_rows(normals)
    blocks.append(_lines("vn", normals))
    columns.append(at)
    corner = "%d/%d/%d" if mesh.uvs is not None else "%d//%d"
    indices = np.stack(columns, axis=1)[mesh.faces] + 1  # [F, 3, 2 or 3], counted from 1
    faces = f"f {corner} {corner} {corner}\n" * len(mesh.faces) % tuple(indices.reshape(-1).tolist())
    return "".join(blocks) + f"usemtl {_MATERIAL}\n{faces}"


def _lines(word: str, rows: np.ndarray) -> str:
    """A line a row; one formatting of all numbers takes a third of the time of one a row."""
    return (f"{word}{' %.9g' * rows.shape[1]}\n" * len(rows)) % tuple(rows.reshape(-1).tolist())
