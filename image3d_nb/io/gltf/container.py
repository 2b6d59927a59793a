"""The files of glTF 2.0: the .glb container, the .gltf text, and the places of buffers and images.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from typing import Any
from urllib.parse import unquote

from ...errors import FormatError
from .._format import Sibling
from .._json import Values, parse_json

MAGIC = b"glTF"
_JSON, _BIN = 0x4E4F534A, 0x004E4942
"""The types of the two chunks, "JSON" and "BIN\\0", as little-endian numbers."""

_LOOKED_AT = 4 << 20
"""Bytes at either end of a text that are searched for a word."""


class Document(Values):
    """A glTF asset: its JSON, and its buffers, fetched when first used."""

    def __init__(self, data: object, binary: memoryview | None, sibling: Sibling) -> None:
        super().__init__(data, "")
        self._binary = binary
        self._sibling = sibling
        self._buffers: dict[int, memoryview] = {}
        version = self.inner("asset").text("version")
        if not version.startswith("2."):
            raise FormatError(f"asset.version must be 2.x; got {version[:20]!r}")

    def item(self, kind: str, index: int) -> Values:
        """One item of a list of the document: ("accessors", 3) -> that accessor."""
        items = self.items(kind)
        if not 0 <= index < len(items):
            raise FormatError(f"{kind} must have an item {index}; there are {len(items)}")
        return Values(items[index], f"{kind}[{index}]")

    def number(self, where: Values, name: str, kind: str) -> int:
        """The checked index that a member holds, into a list of the document."""
        return where.index(name, len(self.items(kind)), kind)

    def follow(self, where: Values, name: str, kind: str) -> Values:
        """The item of a list of the document whose index a member holds."""
        return self.item(kind, self.number(where, name, kind))

    def require_extensions(self, known: frozenset[str]) -> None:
        """Raise a FormatError that names the required extensions other than ``known``."""
        unknown = sorted({str(name)[:60] for name in self.items("extensionsRequired")} - known)
        if unknown:
            raise FormatError(
                f"a glTF must need no other extensions than {', '.join(sorted(known))}; this one needs "
                f"{', '.join(unknown)}: save it without (no Draco, meshopt or KTX2 compression)"
            )

    def view(self, index: int) -> tuple[memoryview, int]:
        """The bytes of a bufferView, and its byteStride (0 if it is not given)."""
        view = self.item("bufferViews", index)
        number = self.number(view, "buffer", "buffers")
        content = self.buffer(number)
        for name, more in view.inner("extensions").data.items():
            if isinstance(more, dict) and more.get("buffer") == number:
                raise FormatError(f"{view.path} must not be compressed; its bytes are those of {name[:80]}")
        start, length = view.integer("byteOffset", 0), view.integer("byteLength", low=1)
        if start + length > len(content):
            found = f"bytes {start} to {start + length}"
            raise FormatError(f"{view.path} must lie in buffers[{number}], {len(content)} bytes; got {found}")
        return content[start : start + length], view.integer("byteStride", 0, high=252)

    def buffer_bytes(self) -> int:
        """The size of all buffers together, in bytes."""
        return sum(len(self.buffer(number)) for number in range(len(self.items("buffers"))))

    def buffer(self, number: int) -> memoryview:
        """The bytes of a buffer.

        Raises:
            FormatError: it is not there, or shorter than it says.
        """
        if number not in self._buffers:
            buffer = self.item("buffers", number)
            length = buffer.integer("byteLength", low=1)
            if "uri" in buffer:
                content = memoryview(self.uri(buffer.text("uri"), buffer.path))
            elif number == 0 and self._binary is not None:
                content = self._binary
            else:
                found = ", ".join(buffer.inner("extensions").data)[:200] or "no extensions"
                raise FormatError(
                    f"{buffer.path} must have a uri, or be the first of a .glb with a BIN chunk; it has {found}"
                )
            if len(content) < length:
                raise FormatError(f"{buffer.path} must have {length} bytes; got {len(content)}: it is cut off")
            self._buffers[number] = content[:length]
        return self._buffers[number]

    def uri(self, uri: str, path: str) -> bytes:
        """The content of a uri: base64 data, or a file beside this one.

        Raises:
            FormatError: the uri leads to a network, is missing, or is not base64.
        """
        head, comma, body = uri.partition(",")
        if head.startswith("data:") and comma:
            if not head.endswith(";base64"):
                raise FormatError(f"{path}.uri must be base64 where it holds data; got {head[:60]!r}")
            try:
                return base64.b64decode(body, validate=True)
            except (binascii.Error, ValueError) as error:
                raise FormatError(f"{path}.uri must be base64; {error}") from error
        if ":" in uri.partition("/")[0] or uri.startswith("//"):
            raise FormatError(f"{path}.uri must be a file beside this one, or data; got {uri[:80]!r}")
        try:
            return self._sibling(unquote(uri))
        except (OSError, ValueError) as error:
            raise FormatError(f"{path}.uri must be a file beside this one; {uri[:80]!r} is not: {error}") from error


def is_glb(buffer: memoryview) -> bool:
    """Whether the bytes start like a .glb."""
    return bytes(buffer[:4]) == MAGIC


def is_gltf(buffer: memoryview) -> bool:
    """Whether the bytes look like a .gltf: a JSON object with an asset."""
    start = bytes(buffer[:_LOOKED_AT])
    first = start[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return first.startswith(b"{") and b'"asset"' in (start + bytes(buffer[-_LOOKED_AT:]))


def mentions(buffer: memoryview, word: bytes) -> bool:
    """Whether a word occurs in the JSON, near its start or its end."""
    end = len(buffer)
    if is_glb(buffer) and len(buffer) >= 20:
        end = min(end, 20 + int.from_bytes(buffer[12:16], "little"))
    return word in bytes(buffer[: min(end, _LOOKED_AT)]) or word in bytes(buffer[max(end - _LOOKED_AT, 0) : end])


def open_document(buffer: memoryview, sibling: Sibling) -> Document:
    """Read the container and the JSON of a .glb or a .gltf.

    Raises:
        FormatError: damaged, cut off, not glTF 2.0, or the JSON has too many values.
    """
    if not is_glb(buffer):
        return Document(parse_json(buffer, 0), None, sibling)
    text, start, binary = _chunks(buffer)
    return Document(parse_json(text, start), binary, sibling)


def _chunks(buffer: memoryview) -> tuple[memoryview, int, memoryview | None]:
    """The JSON, where it starts, and the binary part of a .glb (section 4.4: 12 bytes, then chunks)."""
    if len(buffer) < 20:
        raise FormatError(f"a .glb must have a header of 20 bytes; got {len(buffer)}: it is cut off")
    _, version, total = struct.unpack_from("<III", buffer, 0)
    if version != 2:
        raise FormatError(f"a .glb must be of version 2; at byte 4 it says {version}")
    if total > len(buffer):
        raise FormatError(f"a .glb must have the {total} bytes that byte 8 says; got {len(buffer)}: it is cut off")
    found: dict[int, memoryview] = {}
    first, start = 20, 12
    while start + 8 <= total:
        length, kind = struct.unpack_from("<II", buffer, start)
        if start + 8 + length > total:
            raise FormatError(f"the chunk at byte {start} must end before byte {total}; it has {length} bytes")
        if start == 12 and kind != _JSON:
            raise FormatError(f"the first chunk of a .glb must be JSON (0x{_JSON:X}); at byte 16 it is 0x{kind:X}")
        found.setdefault(kind, buffer[start + 8 : start + 8 + length])
        start += 8 + length
    if _JSON not in found:
        raise FormatError(f"a .glb must have a JSON chunk; byte 8 says that it ends at {total}")
    return found[_JSON], first, found.get(_BIN)


def write_glb(document: dict[str, Any], binary: bytes) -> bytes:
    """The .glb of a JSON object and its one buffer, whose length is a multiple of 4."""
    text = encode(document)
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), _JSON) + text + struct.pack("<II", len(binary), _BIN)
    return struct.pack("<4sII", MAGIC, 2, 12 + len(chunks) + len(binary)) + chunks + binary


def encode(document: dict[str, Any]) -> bytes:
    """A JSON object as UTF-8."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
