"""The container of an .spz of version 4: a header of 32 bytes, extensions, a table of contents, and zstd streams.

The table has two numbers of 64 bits a stream: bytes as they are packed, and as they are. Streams are positions,
opacities, colours, scales, rotations and (from SH degree 1 on) the other coefficients, as in versions 1 to 3.

Specification: https://github.com/nianticlabs/spz (README.md, "File layout (version 4)").
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from .._optional import require
from ..errors import FormatError

HEADER = struct.Struct("<4sIIBBBBI12x")
"""Magic, version, count, SH degree, fractional bits of positions, flags, streams, the byte where the table starts."""
_ENTRY = struct.Struct("<QQ")
_RATIO = 1 << 15
"""A block of zstd makes at most 128 KB of 4 bytes."""


def unpack_streams(buffer: memoryview, table: int, streams: int, wanted: Sequence[int]) -> list[bytes]:
    """The content of the first streams. Nothing is unpacked before all sizes are known to be right.

    Args:
        buffer: the whole file.
        table: the byte where the table of contents starts.
        streams: how many there are; those that are not wanted are passed over.
        wanted: bytes of each stream that is read.

    Raises:
        FormatError: the table or a stream is damaged, or does not hold what the header says.
        ImportError: zstandard is not installed.
    """
    at = table + streams * _ENTRY.size
    if table < HEADER.size or at > len(buffer) or streams < len(wanted):
        raise FormatError(
            f"the table of contents of an .spz must have {len(wanted)} streams or more and lie within bytes "
            f"{HEADER.size} to {len(buffer)}; got {streams} from byte {table} on"
        )
    places = []
    for number, (packed, size) in enumerate(_ENTRY.iter_unpack(buffer[table:at])):
        if packed > len(buffer) - at or (number < len(wanted) and not wanted[number] == size <= _RATIO * packed):
            least = wanted[number] if number < len(wanted) else 0
            raise FormatError(
                f"stream {number} of an .spz must hold {least} bytes, as its header says, within byte {at} to "
                f"{len(buffer)}; its {packed} bytes are said to hold {size}"
            )
        places.append(slice(at, at + packed))
        at += packed
    if bytes(buffer[at:]).strip(b"\0"):
        raise FormatError(f"an .spz must end with its streams; there is more from byte {at} on")
    return [_unpack(buffer, place, size) for place, size in zip(places, wanted, strict=False)]


def _unpack(buffer: memoryview, place: slice, size: int) -> bytes:
    zstandard = require("zstandard", "spz", "an .spz of version 4")
    if not size:
        return b""
    packed = buffer[place]
    try:
        # zstandard makes as much room as the stream asks for, so that is looked at first; -1 is "unknown"
        if zstandard.frame_content_size(packed) not in (-1, size):
            raise FormatError(f"the stream at byte {place.start} must hold {size} bytes; it says that it holds others")
        unpacker = zstandard.ZstdDecompressor()
        content: bytes = unpacker.decompress(packed, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(
            f"the bytes {place.start} to {place.stop} must be a sound zstd stream of {size} bytes: {error}"
        ) from error
    if len(content) != size:
        raise FormatError(f"the stream at byte {place.start} must hold {size} bytes; it holds {len(content)}")
    return content
