"""Meshes in glTF 2.0: a scene's triangles as one mesh, and a mesh as a scene of one node.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import FormatError
from ...mesh import Mesh, unit
from .. import _textures
from .._json import Values
from .._mesh_parts import Part, colors_of, float32, has_texture, join, unit_normals
from .accessors import Accessors, Builder
from .container import Document
from .materials import BaseColor, Materials, linear_of, srgb_of
from .scene import Budget, placed_primitives

_KNOWN = frozenset(
    {"KHR_mesh_quantization", "KHR_texture_transform", "KHR_materials_unlit", "EXT_texture_webp",
     "KHR_materials_pbrSpecularGlossiness", "KHR_gaussian_splatting"}
)  # fmt: skip
_NOT_TRIANGLES = {0: "points", 1: "lines", 2: "lines", 3: "lines"}
_HELD_ELSEWHERE = ("animations", "skins", "cameras")
"""Parts of a document that a Mesh cannot hold."""
_READ = {
    "POSITION": (3,), "NORMAL": (3,), "COLOR_0": (3, 4), **{f"TEXCOORD_{k}": (2,) for k in range(8)},
    "JOINTS_0": (4,), "JOINTS_1": (4,), "WEIGHTS_0": (4,), "WEIGHTS_1": (4,),
}  # fmt: skip
"""Attribute -> how many numbers a row may have."""


def read_mesh(document: Document, notes: list[str]) -> Mesh:
    """All triangles of the default scene, in world coordinates, as one mesh.

    Colours: base colour factors and COLOR_0 become sRGB vertex colours, base colour textures one texture (see
    :mod:`.._mesh_parts` for several). Skins are read in the pose of their joints, morph targets at rest. ``notes``
    lists what a mesh cannot hold.

    Raises:
        FormatError: no triangle, compressed, or damaged; the message names the place.
    """
    document.require_extensions(_KNOWN)
    notes += [f"{len(document.items(name))} {name}" for name in _HELD_ELSEWHERE if document.items(name)]
    accessors, materials, budget = Accessors(document), Materials(document, notes), Budget(document)
    parts = []
    for place in placed_primitives(document, accessors):
        path, mode = place.primitive.path, place.primitive.integer("mode", 4, high=6)
        if mode in _NOT_TRIANGLES:
            notes.append(f"{_NOT_TRIANGLES[mode]} of {path}")
            continue
        arrays, indices = _arrays(place.primitive, accessors, budget)
        part = _part(arrays, _triangles(indices, mode, path), materials.of(place.primitive))
        matrix = place.matrix if place.joints is None else _blended(arrays, place.joints, path)
        parts.append(part if matrix is None else _moved(part, matrix, path))
    return join(parts, notes)


def _arrays(primitive: Values, accessors: Accessors, budget: Budget) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The attributes that a mesh is made of, each with a row a vertex; and the indices [n] of the corners."""
    attributes = primitive.inner("attributes")
    compressed = ", ".join(primitive.inner("extensions").data)[:200]
    places = [(attributes, name) for name in attributes.data] + [(primitive, "indices")] * ("indices" in primitive)
    if "POSITION" not in attributes or (compressed and not all(accessors.stored(*place) for place in places)):
        raise FormatError(f"{attributes.path} must have POSITION, not compressed; its extensions are: {compressed}")
    count = accessors.count(attributes, "POSITION")
    budget.take(count, primitive.path)
    for name in attributes.data:
        other = accessors.count(attributes, name)
        if other != count:
            raise FormatError(f"{attributes.at(name)} must have a row a vertex, {count}; got {other}")
    arrays = {name: accessors.floats(attributes, name, _READ[name]) for name in _READ if name in attributes}
    if "indices" not in primitive:
        return arrays, np.arange(count)
    budget.take(accessors.count(primitive, "indices"), primitive.path)
    indices = accessors.integers(primitive, "indices")
    if indices.max() >= count:
        raise FormatError(f"{primitive.at('indices')} must index {count} vertices; got {indices.max()}")
    return arrays, indices


def _part(arrays: dict[str, np.ndarray], faces: np.ndarray, color: BaseColor) -> Part:
    uvs = arrays.get(f"TEXCOORD_{color.coordinates}")
    if uvs is not None:
        if color.transform is not None:
            uvs = uvs @ color.transform[:, :2].T + color.transform[:, 2]
        # glTF counts v from the texture's top
        uvs = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1).astype(np.float32)
    factor = color.factor if color.texture is None else np.ones(3)  # else it is in the texture already
    colors = None
    if "COLOR_0" in arrays:
        light = arrays["COLOR_0"][:, :3] * factor
        colors = srgb_of(light.clip(0, 1)).astype(np.float32)
    elif not np.all(factor == 1):
        colors = np.broadcast_to(srgb_of(factor).astype(np.float32), arrays["POSITION"].shape)
    return Part(arrays["POSITION"], faces, arrays.get("NORMAL"), uvs, colors, color.texture, color.wrap)


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
    faces[1::2, 1:] = faces[1::2, :0:-1]  # every second triangle has the opposite order
    # triangles that repeat an index join strips: they have no area, and no reader draws them
    return faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]


def _blended(attributes: dict[str, np.ndarray], joints: np.ndarray, path: str) -> np.ndarray:
    """[V, 4, 4]: the joints' matrices, mixed by the weights of each vertex (section 3.7.3.3)."""
    count = len(attributes["JOINTS_0"])
    total, sums = np.zeros((count, 4, 4)), np.zeros(count)
    for k in (0, 1):
        if f"JOINTS_{k}" not in attributes or f"WEIGHTS_{k}" not in attributes:
            continue
        indices, weights = attributes[f"JOINTS_{k}"].astype(np.int64), attributes[f"WEIGHTS_{k}"].astype(np.float64)
        used = weights != 0
        if (used & ((indices < 0) | (indices >= len(joints)))).any():
            raise FormatError(f"{path}.attributes.JOINTS_{k} must be 0 to {len(joints) - 1}; got {indices.max()}")
        for place, weight, good in zip(indices.T, weights.T, used.T, strict=True):
            total[good] += weight[good, None, None] * joints[place[good]]
            sums[good] += weight[good]
    total[sums == 0] = np.eye(4)
    total[sums != 0] /= sums[sums != 0, None, None]
    return total


def _moved(part: Part, matrix: np.ndarray, path: str) -> Part:
    """The part in the world, by one matrix [4, 4] or one a vertex [V, 4, 4].

    A matrix that mirrors turns the faces round, so that their outside stays outside.
    """
    linear = matrix[..., :3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        part.vertices = np.einsum("...ij,...j->...i", linear, part.vertices.astype(np.float64)) + matrix[..., :3, 3]
        sign = np.where(np.linalg.det(linear) < 0, -1, 1)
        # the inverse transposed, times the determinant: the matrix of cofactors, which flat objects have, too
        rows = [np.cross(linear[..., (i + 1) % 3, :], linear[..., (i + 2) % 3, :]) for i in range(3)]
    if not np.isfinite(part.vertices).all() or not np.isfinite(rows).all():
        raise FormatError(f"{path} must be finite where its nodes put it; it is not")
    if np.median(sign) < 0:
        part.faces = part.faces[:, ::-1]
    if part.normals is not None:
        normals = np.einsum("...ij,...j->...i", np.stack(rows, axis=-2), part.normals.astype(np.float64))
        part.normals = unit(normals * sign[..., None]).astype(np.float32)
    return part


def write_mesh(mesh: Mesh) -> tuple[dict[str, Any], Builder, bytes | None]:
    """The JSON of a mesh, without its buffers and images; the arrays; and its texture as a PNG, or None.

    Positions are float32, bit by bit those of the mesh; normals are always written; colours are linear; the material is
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
    small = len(mesh.vertices) < 65535  # 65535 is reserved for primitive restart
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
    # linear and clamped, without mipmaps: those would mix neighbours in an atlas
    document["samplers"] = [{"magFilter": 9729, "minFilter": 9729, "wrapS": 33071, "wrapT": 33071}]
    document["textures"] = [{"sampler": 0, "source": 0}]
    return document, builder, _textures.encode(mesh.texture)
