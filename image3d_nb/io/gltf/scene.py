"""The node tree of a glTF scene, flattened: the primitives and their places in the world.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html, section 3.5
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...errors import FormatError
from .._json import Values
from .accessors import Accessors
from .container import Document

_IDENTITY = [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
_MOST_REPEATED = 2_000_000
"""Rows that instances may add to those in the buffers: a small file can name one mesh any number of times."""


@dataclass(frozen=True)
class Placed:
    """A primitive of the scene that is shown.

    Attributes:
        primitive: its values.
        matrix: [4, 4] float64 from it to the world; None for the identity, and where joints place it.
        joints: [J, 4, 4] float64 from its rest pose to the world, one for each joint of its skin, or None.
    """

    primitive: Values
    matrix: np.ndarray | None
    joints: np.ndarray | None = None


def placed_primitives(document: Document, accessors: Accessors) -> Iterator[Placed]:
    """Each primitive of the scene that is shown, parents first, in the order of the file.

    Raises:
        FormatError: a node that is its own ancestor or has two parents, an index that is not there.
    """
    if not document.items("nodes"):  # a library of meshes, which is allowed
        for mesh in range(len(document.items("meshes"))):
            yield from (Placed(primitive, None) for primitive in _primitives(document, mesh))
        return
    worlds = dict(_worlds(document))
    for index, world in worlds.items():
        node = document.item("nodes", index)
        if "mesh" not in node:
            continue
        joints = _joints(document, accessors, node, worlds) if "skin" in node else None
        for primitive in _primitives(document, document.number(node, "mesh", "meshes")):
            # section 3.7.3.3: joints alone place a skinned mesh; the transform of its node is ignored
            skinned = joints is not None and "JOINTS_0" in primitive.inner("attributes")
            yield Placed(primitive, None, joints) if skinned else Placed(primitive, world)


def _primitives(document: Document, mesh: int) -> Iterator[Values]:
    for number, primitive in enumerate(document.item("meshes", mesh).items("primitives")):
        yield Values(primitive, f"meshes[{mesh}].primitives[{number}]")


def _joints(document: Document, accessors: Accessors, node: Values, worlds: dict[int, np.ndarray | None]) -> np.ndarray:
    """[J, 4, 4] of a node's skin: where a joint is, times the inverse of where it was bound."""
    skin = document.follow(node, "skin", "skins")
    indices = _indices(skin, "joints", len(document.items("nodes")))
    places = [np.eye(4) if (world := worlds.get(index)) is None else world for index in indices]
    if "inverseBindMatrices" not in skin or not places:
        return np.array(places).reshape(-1, 4, 4)
    bound = accessors.floats(skin, "inverseBindMatrices", (16,)).astype(np.float64)
    if len(bound) < len(places):
        raise FormatError(f"{skin.path} must have a matrix for each of {len(places)} joints; got {len(bound)}")
    with np.errstate(over="ignore", invalid="ignore"):
        joints: np.ndarray = np.array(places) @ bound[: len(places)].reshape(-1, 4, 4).transpose(0, 2, 1)
    return joints


def _worlds(document: Document) -> Iterator[tuple[int, np.ndarray | None]]:
    """(node, matrix to the world) of the scene that is shown, parents first, in the order of the file."""
    count = len(document.items("nodes"))
    stack: list[tuple[int, np.ndarray | None]] = [(node, None) for node in reversed(_roots(document, count))]
    seen = bytearray(count)
    while stack:  # not recursive: a chain of 10,000 nodes is allowed
        index, above = stack.pop()
        if seen[index]:
            raise FormatError(f"nodes[{index}] must have one parent and not be its own ancestor; it is met twice")
        seen[index] = 1
        node = document.item("nodes", index)
        matrix = _product(above, _matrix(node))
        yield index, matrix
        stack += [(child, matrix) for child in reversed(_indices(node, "children", count))]


def _roots(document: Document, count: int) -> list[int]:
    """The root nodes of the default scene, else of the first scene, else all nodes without a parent."""
    scenes = len(document.items("scenes"))
    if scenes:
        number = document.number(document, "scene", "scenes") if "scene" in document else 0
        return _indices(document.item("scenes", number), "nodes", count)
    children = {child for index in range(count) for child in _indices(document.item("nodes", index), "children", count)}
    return [index for index in range(count) if index not in children]


def _indices(where: Values, name: str, count: int) -> list[int]:
    items = where.items(name)
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < count:
            raise FormatError(f"{where.at(name)} must be nodes 0 to {count - 1}; one of its {len(items)} is not")
    return items


def _product(above: np.ndarray | None, own: np.ndarray | None) -> np.ndarray | None:
    if above is None or own is None:
        return own if above is None else above
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks for overflow
        return above @ own


def _matrix(node: Values) -> np.ndarray | None:
    """[4, 4], from the node to its parent; None for the identity."""
    if "matrix" in node:
        matrix = np.array(node.numbers("matrix", _IDENTITY)).reshape(4, 4).T  # column by column
    elif any(name in node for name in ("translation", "rotation", "scale")):
        x, y, z, w = node.numbers("rotation", [0.0, 0, 0, 1])
        length = (x * x + y * y + z * z + w * w) ** 0.5
        if length == 0:
            raise FormatError(f"{node.at('rotation')} must be a quaternion longer than 0; got zeros")
        x, y, z, w = x / length, y / length, z / length, w / length
        matrix = np.eye(4)
        matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        matrix[:3, :3] *= node.numbers("scale", [1.0, 1, 1])
        matrix[:3, 3] = node.numbers("translation", [0.0, 0, 0])
    else:
        return None
    return None if np.array_equal(matrix, np.eye(4)) else matrix


class Budget:
    """Limits how often a scene may repeat the rows of its buffers."""

    def __init__(self, document: Document) -> None:
        self._most = _MOST_REPEATED + document.buffer_bytes() // 3  # a row of a mesh has at least 3 bytes
        self._taken = 0

    def take(self, rows: int, path: str) -> None:
        """Count rows before they are read.

        Raises:
            FormatError: the scene has too many rows.
        """
        self._taken += rows
        if self._taken > self._most:
            raise FormatError(
                f"{path} must not expand the scene beyond {self._most} rows; its {rows} rows make {self._taken}"
            )
