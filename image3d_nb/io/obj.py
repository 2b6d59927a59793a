"""The .obj of Wavefront, with its .mtl of materials and a .png beside it.

A material and normals are always written: viewers draw black silhouettes without. Vertex colours stand behind the
positions (``v x y z r g b``, sRGB in [0, 1]), an extension that MeshLab, Blender, trimesh and three.js read. Corners at
one place share one ``v`` line, whatever their texture coordinates, so that a closed surface is closed for every reader.

Specification: http://paulbourke.net/dataformats/obj/ and http://paulbourke.net/dataformats/mtl/
"""

from __future__ import annotations

import warnings
from pathlib import PurePath

import numpy as np

from ..mesh import Mesh
from . import _pictures
from ._format import Format, Sibling
from ._mesh_parts import Part, colors_of, first_rows, float32, has_texture, join, losses, unit_normals
from ._obj_text import Material, Scene, parse_materials, parse_scene, sniff

_MATERIAL = "material"
_MOST_NOTES = 6


def read(buffer: memoryview, sibling: Sibling) -> Mesh:
    """All faces as one mesh; polygons become fans of triangles.

    A vertex for each different combination of position, texture coordinate and normal, in the order of the positions;
    positions that no face uses are left out. Materials: ``map_Kd`` is the texture (``Kd`` is not multiplied with it:
    exporters leave any number there), else the colours are those of the vertices, else ``Kd``. See
    :mod:`._mesh_parts` for several. A .mtl, a material or a texture that is not there is a warning. Lines and points
    are left out.

    Raises:
        FormatError: a line that cannot be read (the message has its number), an index that is not there, no faces.
    """
    scene = parse_scene(buffer)
    notes: list[str] = []
    missing: list[str] = []
    materials = _materials(scene, sibling, missing)
    groups = list(scene.by_material())
    if not missing:
        missing += [f"the material {name[:80]!r}" for name, _ in groups if name and name not in materials]
    surfaces: dict[tuple[tuple[float, float, float], str], list[np.ndarray]] = {}
    for name, faces in groups:  # materials that look alike are one
        material = materials.get(name, Material())
        surfaces.setdefault((material.color, material.picture), []).append(faces)
    parts = [(_part(scene, np.concatenate(faces), color), name) for (color, name), faces in surfaces.items()]
    mesh = join(_with_pictures(parts, sibling, missing), notes)
    for trouble, lines in (("has parts that are not there", missing), ("is more than a Mesh can hold", notes)):
        if lines:
            more = f" and {len(lines) - _MOST_NOTES} more" if len(lines) > _MOST_NOTES else ""
            warnings.warn(f"this .obj {trouble}; left out: {', '.join(lines[:_MOST_NOTES])}{more}", stacklevel=3)
    return mesh


def _materials(scene: Scene, sibling: Sibling, missing: list[str]) -> dict[str, Material]:
    materials: dict[str, Material] = {}
    for name in scene.libraries:
        try:
            content = sibling(name)
        except (OSError, ValueError):
            missing.append(f"materials of {name[:80]!r}")
            continue
        materials |= parse_materials(content)
    return materials


def _part(scene: Scene, faces: np.ndarray, color: tuple[float, float, float]) -> Part:
    """The faces [F, 3, 3] (position, texture coordinate, normal; -1: none) of a material, whose colour is given."""
    corners = faces.reshape(-1, 3)
    # sorted by position first: vertices keep their order where none is split
    sizes = np.array([len(scene.positions), len(scene.uvs) + 1, len(scene.normals) + 1])
    keys = (corners[:, 0] * sizes[1] + corners[:, 1] + 1) * sizes[2] + corners[:, 2] + 1
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    at, uv, normal = corners[first].T
    colors = scene.colors[at] if scene.colors is not None else None
    if colors is None and color != (1.0, 1.0, 1.0):
        colors = np.broadcast_to(np.array(color, np.float32), (len(first), 3))
    return Part(
        vertices=scene.positions[at],
        faces=inverse.reshape(-1, 3),
        normals=scene.normals[normal] if len(scene.normals) and (normal >= 0).all() else None,
        uvs=scene.uvs[uv] if len(scene.uvs) and (uv >= 0).all() else None,
        colors=colors,
    )


def _with_pictures(parts: list[tuple[Part, str]], sibling: Sibling, missing: list[str]) -> list[Part]:
    """The parts with their textures, each decoded once."""
    pictures: dict[str, np.ndarray | None] = {"": None}
    room = _pictures.MOST_PIXELS
    for part, name in parts:
        if name not in pictures and part.uvs is not None:
            try:
                content = sibling(name)
            except (OSError, ValueError):
                missing.append(f"the texture {name[:80]!r}")
                pictures[name] = None
                continue
            picture = _pictures.decode(content, f"the texture {name[:80]!r}", room)
            pictures[name] = picture
            room -= picture[..., 0].size
        if part.uvs is not None and pictures[name] is not None:
            part.picture, part.colors = pictures[name], None
    return [part for part, _ in parts]


def write(mesh: Mesh, name: str) -> dict[str, bytes]:
    """The .obj, its .mtl, and a .png where there is a texture. Nine digits: float32 comes back bit by bit.

    Raises:
        InputError: a number beyond float32, a colour outside of [0, 1], a texture that is not uint8.
    """
    stem = PurePath(name).stem
    material = f"newmtl {_MATERIAL}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 1\n"
    files: dict[str, bytes] = {}
    if mesh.texture is not None and has_texture(mesh):
        files[f"{stem}.png"] = _pictures.encode(mesh.texture)
        material += f"map_Kd {stem}.png\n"
    text = f"# image3d_nb\nmtllib {stem}.mtl\n{_geometry(mesh)}"
    return {name: text.encode(), f"{stem}.mtl": material.encode(), **files}


def _geometry(mesh: Mesh) -> str:
    rows, colors = float32(mesh.vertices, "vertices"), colors_of(mesh)
    if colors is not None:
        rows = np.concatenate([rows, float32(colors, "vertex_colors")], axis=1)  # [V, 6]
    first, at = first_rows(rows)
    blocks, columns = [_lines("v", rows[first])], [at]
    if mesh.uvs is not None:
        uvs = float32(mesh.uvs, "uvs")
        first, at = first_rows(uvs)
        blocks.append(_lines("vt", uvs[first]))
        columns.append(at)
    normals = unit_normals(mesh)
    first, at = first_rows(normals)
    blocks.append(_lines("vn", normals[first]))
    columns.append(at)
    corner = "%d/%d/%d" if mesh.uvs is not None else "%d//%d"
    indices = np.stack(columns, axis=1)[mesh.faces] + 1  # [F, 3, 2 or 3], counted from 1
    faces = f"f {corner} {corner} {corner}\n" * len(mesh.faces) % tuple(indices.reshape(-1).tolist())
    return "".join(blocks) + f"usemtl {_MATERIAL}\n{faces}"


def _lines(word: str, rows: np.ndarray) -> str:
    """A line a row; one formatting of all numbers takes a third of the time of one a row."""
    return (f"{word}{' %.9g' * rows.shape[1]}\n" * len(rows)) % tuple(rows.reshape(-1).tolist())


FORMAT = Format(
    suffix=".obj",
    name="Wavefront OBJ",
    holds=Mesh,
    sniff=sniff,
    read=read,
    write=write,
    losses=losses,
    turns=False,
    suffix_tells=True,
)
