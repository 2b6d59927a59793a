"""Meshes in glTF 2.0: a scene's triangles as one mesh, and a mesh as a scene of one node.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import FormatError
from ...mesh import Mesh
from .. import _pictures
from .._mesh_parts import Part, colors_of, float32, has_texture, join, unit_normals
from .accessors import Accessors, Builder
from .container import Document, Values
from .materials import Materials, Surface, linear_of, srgb_of
from .scene import Budget, placed_primitives

_KNOWN = frozenset(
    {"KHR_mesh_quantization", "KHR_texture_transform", "KHR_materials_unlit", "EXT_texture_webp",
     "KHR_gaussian_splatting"}
)  # fmt: skip
_NOT_TRIANGLES = {0: "points", 1: "lines", 2: "lines", 3: "lines"}
_HELD_ELSEWHERE = ("animations", "skins", "cameras")
"""What a scene may have beside meshes, and a mesh of ours has no room for."""


def read_mesh(document: Document, notes: list[str]) -> Mesh:
    """All triangles of the scene that is shown, in its world, as one mesh.

    Colours: base colour factors and COLOR_0 become sRGB vertex colours, base colour textures one texture (see
    :mod:`._mesh_parts` for several). Skins and morph targets are read in their rest pose. ``notes`` gets what a mesh
    cannot hold.

    Raises:
        FormatError: no triangle, or damaged; the message says where.
    """
    document.require_extensions(_KNOWN)
    notes += [f"{len(document.items(name))} {name}" for name in _HELD_ELSEWHERE if document.items(name)]
    reader = _Reader(document, notes)
    parts = [part for place in placed_primitives(document) if (part := reader.part(*place)) is not None]
    notes += [f"{count} primitives of {kind}" for kind, count in reader.left_out.items()]
    return join(parts, notes)


class _Reader:
    def __init__(self, document: Document, notes: list[str]) -> None:
        self.left_out: dict[str, int] = {}
        self._accessors = Accessors(document)
        self._materials = Materials(document, notes)
        self._budget = Budget(document)

    def part(self, primitive: Values, matrix: np.ndarray | None) -> Part | None:
        mode = primitive.integer("mode", 4, high=6)
        if mode in _NOT_TRIANGLES:
            kind = _NOT_TRIANGLES[mode]
            self.left_out[kind] = self.left_out.get(kind, 0) + 1
            return None
        attributes = primitive.inner("attributes")
        if "POSITION" not in attributes:
            compressed = ", ".join(primitive.inner("extensions").data) or "no extension"
            raise FormatError(f"{attributes.at('POSITION')} must be there; the primitive has {compressed}")
        count = self._accessors.count(attributes, "POSITION")
        self._budget.take(count, primitive.path)
        self._check_counts(attributes, count)
        vertices = self._accessors.floats(attributes, "POSITION", (3,))
        normals = self._accessors.floats(attributes, "NORMAL", (3,)) if "NORMAL" in attributes else None
        surface = self._materials.of(primitive)
        part = Part(
            vertices=vertices,
            faces=_triangles(self._indices(primitive, count), mode, primitive.path),
            normals=normals,
            uvs=self._uvs(attributes, surface),
            colors=self._colors(attributes, surface, count),
            picture=surface.picture,
            repeats=surface.repeats,
        )
        return part if matrix is None else _moved(part, matrix, primitive.path)

    def _check_counts(self, attributes: Values, count: int) -> None:
        """Before any of them is read."""
        for name in attributes.data:
            other = self._accessors.count(attributes, name)
            if other != count:
                raise FormatError(f"{attributes.at(name)} must have a row a vertex, {count}; got {other}")

    def _indices(self, primitive: Values, count: int) -> np.ndarray:
        if "indices" not in primitive:
            return np.arange(count)
        self._budget.take(self._accessors.count(primitive, "indices"), primitive.path)
        indices = self._accessors.integers(primitive, "indices")
        if indices.max() >= count:
            raise FormatError(f"{primitive.at('indices')} must index {count} vertices; got {indices.max()}")
        return indices

    def _uvs(self, attributes: Values, surface: Surface) -> np.ndarray | None:
        name = f"TEXCOORD_{surface.coordinates}"
        if name not in attributes:
            return None
        uvs = self._accessors.floats(attributes, name, (2,))
        if surface.transform is not None:
            uvs = uvs @ surface.transform[:, :2].T + surface.transform[:, 2]
        # glTF counts v from the picture's top
        return np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1).astype(np.float32)

    def _colors(self, attributes: Values, surface: Surface, count: int) -> np.ndarray | None:
        """[V, 3] sRGB, or None where nothing but white is said."""
        factor = surface.factor if surface.picture is None else np.ones(3)  # else it is in the picture already
        if "COLOR_0" in attributes:
            light = self._accessors.floats(attributes, "COLOR_0", (3, 4))[:, :3] * factor
            return srgb_of(light.clip(0, 1)).astype(np.float32)
        if np.all(factor == 1):
            return None
        return np.broadcast_to(srgb_of(factor).astype(np.float32), (count, 3))


def _triangles(indices: np.ndarray, mode: int, path: str) -> np.ndarray:
    """[F, 3] of a list (4), a strip (5) or a fan (6); section 3.7.2.1."""
    if mode == 4:
        if len(indices) % 3:
            raise FormatError(f"{path} must have 3 indices a triangle; got {len(indices)}")
        return indices.reshape(-1, 3)
    if len(indices) < 3:
        raise FormatError(f"{path} must have at least 3 indices in a strip or fan; got {len(indices)}")
    first, second, third = indices[:-2], indices[1:-1], indices[2:]
    if mode == 6:
        return np.stack([second, third, np.broadcast_to(indices[0], second.shape)], axis=1)
    faces = np.stack([first, second, third], axis=1)
    faces[1::2, 1:] = faces[1::2, :0:-1]  # every second one turns the other way round
    # strips are sewn together by triangles that repeat an index: they have no area, and no reader draws them
    return faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]


def _moved(part: Part, matrix: np.ndarray, path: str) -> Part:
    """The part in the world; a matrix that mirrors turns the faces round, so that their outside stays outside."""
    linear = matrix[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        vertices = (part.vertices.astype(np.float64) @ linear.T + matrix[:3, 3]).astype(np.float32)
        determinant = np.linalg.det(linear)
    if not np.isfinite(vertices).all() or not np.isfinite(determinant):
        raise FormatError(f"{path} must be finite where its nodes put it; it is not")
    part.vertices = vertices
    if determinant < 0:
        part.faces = part.faces[:, ::-1]
    if part.normals is not None:
        # the inverse transposed, times the determinant: the matrix of cofactors, which flat objects have, too
        cofactors = np.stack([np.cross(linear[(i + 1) % 3], linear[(i + 2) % 3]) for i in range(3)])
        normals = part.normals.astype(np.float64) @ cofactors.T * (1 if determinant >= 0 else -1)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        part.normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0).astype(np.float32)
    return part


def write_mesh(mesh: Mesh) -> tuple[dict[str, Any], Builder, bytes | None]:
    """The JSON of a mesh, without its buffers and images; the arrays; and its texture as a PNG, if it has one.

    Positions are float32, bit by bit those of the mesh; normals are always there; colours are linear; the material is
    not metallic and rather rough.
    """
    builder = Builder()
    attributes = {
        "POSITION": builder.attribute(float32(mesh.vertices, "vertices"), limits=True),
        "NORMAL": builder.attribute(unit_normals(mesh)),
    }
    if mesh.uvs is not None:
        u, v = np.asarray(mesh.uvs, np.float64).T
        attributes["TEXCOORD_0"] = builder.attribute(float32(np.stack([u, 1 - v], axis=1), "uvs"))
    colors = colors_of(mesh)
    if colors is not None:
        attributes["COLOR_0"] = builder.attribute(float32(linear_of(colors), "vertex_colors"))
    small = len(mesh.vertices) < 65535  # 65535 itself means "start anew"
    indices = builder.indices(np.ascontiguousarray(mesh.faces, "<u2" if small else "<u4").reshape(-1))
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.9}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "image3d_nb"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": surface}],
    }
    if mesh.texture is None or not has_texture(mesh):
        return document, builder, None
    surface["baseColorTexture"] = {"index": 0}
    # linear and clamped, without smaller copies: those would mix what lies side by side in an atlas
    document["samplers"] = [{"magFilter": 9729, "minFilter": 9729, "wrapS": 33071, "wrapT": 33071}]
    document["textures"] = [{"sampler": 0, "source": 0}]
    return document, builder, _pictures.encode(mesh.texture)
