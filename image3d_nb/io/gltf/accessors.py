"""Typed arrays of glTF: reading accessors out of buffers, and collecting arrays into one buffer.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html, section 3.6
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import FormatError
from .._json import Values
from .container import Document

_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_MOST_ZEROS = 1_000_000
"""Rows of an accessor without a bufferView: a file of 200 bytes could ask for any number of zeros."""


class Accessors:
    """The arrays of a document. Each is read once and owns its memory."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._read: dict[tuple[int, bool], np.ndarray] = {}

    def floats(self, where: Values, name: str, widths: tuple[int, ...]) -> np.ndarray:
        """[N, width] float32: normalised integers become [0, 1] or [-1, 1]."""
        index = self._document.number(where, name, "accessors")
        values = self._values(index)
        _check_width(values, widths, where.at(name))
        if values.dtype.kind == "f":
            return values
        key = (index, True)
        if key not in self._read:
            accessor = self._document.item("accessors", index)
            self._read[key] = _scaled(values, accessor.data.get("normalized") is True)
        return self._read[key]

    def integers(self, where: Values, name: str) -> np.ndarray:
        """[N] int64."""
        values = self._values(self._document.number(where, name, "accessors"))
        _check_width(values, (1,), where.at(name))
        if values.dtype.kind != "u":
            raise FormatError(f"{where.at(name)} must be unsigned integers; got {values.dtype}")
        return values[:, 0].astype(np.int64)

    def stored(self, where: Values, name: str) -> bool:
        """Whether an accessor's numbers stand in a buffer."""
        accessor = self._document.follow(where, name, "accessors")
        return "bufferView" in accessor or "sparse" in accessor

    def count(self, where: Values, name: str) -> int:
        """The number of rows that an accessor claims, without reading them."""
        return self._document.follow(where, name, "accessors").integer("count", low=1)

    def _values(self, index: int) -> np.ndarray:
        key = (index, False)
        if key not in self._read:
            accessor = self._document.item("accessors", index)
            kind = accessor.text("type")
            if kind not in _WIDTHS:
                raise FormatError(f"{accessor.path}.type must be one of {', '.join(_WIDTHS)}; got {kind[:20]!r}")
            count = accessor.integer("count", low=1)
            values = self._rows(accessor, _component(accessor), _WIDTHS[kind], count)
            self._read[key] = self._filled_in(accessor, values) if "sparse" in accessor else values
        return self._read[key]

    def _rows(self, where: Values, dtype: np.dtype, width: int, count: int) -> np.ndarray:
        """[count, width], copied from the bufferView of an accessor, or of one part of a sparse accessor."""
        if "bufferView" not in where:
            if count > _MOST_ZEROS:
                raise FormatError(f"{where.path} must have a bufferView for more than {_MOST_ZEROS} rows; got {count}")
            return np.zeros((count, width), dtype)
        number = self._document.number(where, "bufferView", "bufferViews")
        content, stride = self._document.view(number)
        size = dtype.itemsize * width
        start, stride = where.integer("byteOffset", 0), stride or size
        if stride < size:
            raise FormatError(f"bufferViews[{number}].byteStride must be at least {size}, a row's bytes; got {stride}")
        end = start + stride * (count - 1) + size
        if end > len(content):
            found = f"{count} rows from byte {start} end at {end}"
            raise FormatError(f"{where.path} must lie in bufferViews[{number}], {len(content)} bytes; {found}")
        rows = np.ndarray((count, width), dtype, content, start, (stride, dtype.itemsize))
        return np.array(rows)  # a copy, C order

    def _filled_in(self, accessor: Values, values: np.ndarray) -> np.ndarray:
        """Replace the rows that a sparse accessor stores elsewhere (section 3.6.2.3)."""
        sparse = accessor.inner("sparse")
        count = sparse.integer("count", low=1, high=len(values))
        indices, replaced = sparse.inner("indices"), sparse.inner("values")
        at = self._rows(indices, _component(indices), 1, count)[:, 0].astype(np.int64)
        if at.min() < 0 or at.max() >= len(values):
            raise FormatError(f"{indices.path} must be rows 0 to {len(values) - 1}; got {at.min()} to {at.max()}")
        values[at] = self._rows(replaced, values.dtype, values.shape[1], count)
        return values


def _component(where: Values) -> np.dtype:
    kind = where.integer("componentType")
    if kind not in _COMPONENTS:
        raise FormatError(f"{where.path}.componentType must be one of {', '.join(map(str, _COMPONENTS))}; got {kind}")
    return np.dtype(_COMPONENTS[kind])


def _check_width(values: np.ndarray, widths: tuple[int, ...], path: str) -> None:
    if values.shape[1] not in widths:
        wanted = " or ".join(name for name, width in _WIDTHS.items() if width in widths)
        raise FormatError(f"{path} must be {wanted}; got {values.shape[1]} numbers a row")


def _scaled(values: np.ndarray, normalized: bool) -> np.ndarray:
    if not normalized or values.dtype.itemsize > 2:
        return values.astype(np.float32)
    # section 3.6.2.2: f = c / 255, f = max(c / 127, -1), and so on
    return np.maximum(values.astype(np.float32) / np.iinfo(values.dtype).max, np.float32(-1))


class Builder:
    """Collects arrays and images into one buffer, with the JSON that describes them."""

    def __init__(self) -> None:
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self._parts: list[bytes] = []
        self._size = 0

    def view(self, content: bytes, **more: Any) -> int:
        """Add a bufferView of these bytes; returns its index."""
        self.views.append({"buffer": 0, "byteOffset": self._size, "byteLength": len(content), **more})
        padding = -len(content) % 4  # section 3.6.2.4: every accessor starts at a multiple of 4
        self._parts += [content, bytes(padding)]
        self._size += len(content) + padding
        return len(self.views) - 1

    def attribute(self, values: np.ndarray, limits: bool = False, **more: Any) -> int:
        """Add an accessor of vertices, [V] or [V, width], of a type that glTF has; returns its index."""
        kind = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}[1 if values.ndim == 1 else values.shape[1]]
        return self._accessor(values, kind, 34962, limits, more)  # 34962: ARRAY_BUFFER

    def indices(self, values: np.ndarray) -> int:
        """Add an accessor of indices [N]; returns its index."""
        return self._accessor(values, "SCALAR", 34963, False, {})  # 34963: ELEMENT_ARRAY_BUFFER

    def _accessor(self, values: np.ndarray, kind: str, target: int, limits: bool, more: dict[str, Any]) -> int:
        component = {np.dtype(name): number for number, name in _COMPONENTS.items()}[values.dtype]
        accessor = {
            "bufferView": self.view(values.tobytes(), target=target),
            "componentType": component,
            "count": len(values),
            "type": kind,
            **more,
        }
        if limits:  # required for POSITION
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def binary(self) -> bytes:
        """The buffer; its length is a multiple of 4."""
        return b"".join(self._parts)
