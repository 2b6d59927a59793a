"""Niantic's .spz: a tenth of a .ply's size, with numbers rounded to a few bits. Reads versions 1 to 4, writes 3.

A gzip of a 16-byte header and one array for each field: positions as 24-bit integers, everything else as bytes.
Version 4 has the same arrays in separate streams (:mod:`._spz_streams`), and may have SH degree 4. A number that is
read back differs by at most half a step:

=================  ===================================================  ==========================================
field              half a step                                          range; other values are limited to it
=================  ===================================================  ==========================================
means              1/8192                                               -2048 to 2048 (beyond: refused)
opacities          1/510                                                0 to 1
f_dc, sh[:, 0]     0.0131 (0.0037 of colour)                            -3.33 to 3.33 (colours -0.44 to 1.44)
scales             1/32 of the logarithm: 3.2 %                         4.5e-5 to 379
quats, of a unit   0.0007 of the three smallest of w, x, y, z           all
sh of degree 1     1/32 (5 bits, as the spz library cuts them)          -1 to 1
sh of degree 2, 3  1/16 (4 bits)                                        -1 to 1
=================  ===================================================  ==========================================

The axes are ours, y up (RUB in the words of the specification), so ``convention="3dgs"`` rotates nothing here.
SuperSplat and splat-transform from 3.0 on read an .spz as y down: ``convention="ydown"`` writes and reads theirs.

Specification: https://github.com/nianticlabs/spz (README.md; src/cc/load-spz.cc for what the numbers mean).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import FormatError, InputError
from ..gaussians import Gaussians
from ..images.caller import warn
from ._format import Sibling
from ._rows import blocks, unit_planes
from ._spz_streams import HEADER as _HEADER_4
from ._spz_streams import unpack_streams

_MAGIC = b"NGSP"
_HEADER = struct.Struct("<4sIIBBBB")
"""Magic, version, count, SH degree, fractional bits of positions, flags, reserved."""
_GZIP = 31
"""zlib's code for a gzip stream of any window size."""
_LEVEL = 4
"""zlib's level: higher ones take twice as long and save less than 1 % for real splats."""
_RATIO = 1032
"""Deflate expands 2 bits to at most 258 bytes: a file cannot hold more than this many times its size."""
_EXTENDED = 2
"""This flag says that records of extensions follow the arrays."""
_EXTENSIONS_LIMIT = 1 << 16
_AXES_EXTENSION, _RUB = 0xADBE0003, 4
"""The extension SPZ_ADOBE_coordinate_system names the axes; 4 stands for y up."""

_BITS = 12
"""Fractional bits of positions, as all programs write: a quarter of a millimetre, if the unit is a metre."""
_COLOR = 0.15
"""The stored range of colours is wider than [0, 1]: higher SH degrees may bring them back into it."""
_REST = {0: 0, 1: 3, 2: 8, 3: 15, 4: 24}
"""Coefficients beyond the first, by SH degree."""


@dataclass(frozen=True)
class _Header:
    version: int
    count: int
    sh_degree: int
    bits: int
    flags: int
    streams: int = 0
    table: int = 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes a Gaussian: position, opacity, colour, scale, rotation, the other SH coefficients."""
        return (6 if self.version == 1 else 9, 1, 3, 3, 4 if self.version >= 3 else 3, 3 * _REST[self.sh_degree])


def sniff(buffer: memoryview) -> bool:
    """Whether it is a gzip with the right first word inside, or version 4, which is not packed as a whole."""
    if bytes(buffer[:4]) == _MAGIC:
        return True
    try:
        return bytes(buffer[:2]) == b"\x1f\x8b" and _start(buffer)[:4] == _MAGIC
    except zlib.error:
        return False


def _start(buffer: memoryview) -> bytes:
    """The first 16 unpacked bytes, or fewer."""
    return zlib.decompressobj(_GZIP).decompress(buffer[:4096], _HEADER.size)


def read(buffer: memoryview, sibling: Sibling) -> Gaussians:  # noqa: ARG001  (every format gets it)
    """Gaussians from the bytes of an .spz, in the axes of the file.

    Unpacks no more than the header's count needs and a file of this size can hold. Extensions and the flag for
    anti-aliased training are ignored.

    Raises:
        FormatError: damaged, of another version, or with other axes.
    """
    header = _read_header(buffer)
    start, fields = _fields_4(buffer, header) if header.version == 4 else _fields(buffer, header)
    opacities, colors, scales, rotations, rest = fields
    dc = (_floats(colors) / 255 - np.float32(0.5)) / np.float32(_COLOR)  # [N, 3]
    sh = dc[:, None]  # [N, 1, 3]
    if header.sh_degree:
        others = _floats(rest).reshape(header.count, -1, 3)[:, : _REST[3]] / 128 - 1  # [N, K - 1, 3]
        sh = np.concatenate([sh, others], axis=1)
    return Gaussians(
        means=torch.from_numpy(_read_positions(*start, header)),
        quats=torch.from_numpy(_read_smallest_three(rotations) if header.version >= 3 else _read_xyz(rotations)),
        scales=torch.from_numpy(np.exp(_floats(scales) / 16 - 10)),
        opacities=torch.from_numpy(_floats(opacities[:, 0]) / 255),
        sh=torch.from_numpy(sh),
    )


def _fields(buffer: memoryview, header: _Header) -> tuple[tuple[bytes, int], list[np.ndarray]]:
    """Where positions start, and [N, bytes] uint8 of each other field."""
    content = _unpack(buffer, header)
    at, fields = _HEADER.size, []
    for size in header.sizes:
        fields.append(np.frombuffer(content, np.uint8, header.count * size, at).reshape(header.count, size))
        at += header.count * size
    _check_extensions(content[at:])
    return (content, _HEADER.size), fields[1:]


def _fields_4(buffer: memoryview, header: _Header) -> tuple[tuple[bytes, int], list[np.ndarray]]:
    """The same of version 4."""
    wanted = [header.count * size for size in header.sizes if size]
    positions, *others = unpack_streams(buffer, header.table, header.streams, wanted)
    if header.flags & _EXTENDED:
        _check_extensions(bytes(buffer[_HEADER_4.size : header.table]))
    if header.sh_degree == 4:
        warn("Gaussians cannot hold the colours of SH degree 4 of this .spz; they are left out")
    fields = [np.frombuffer(field, np.uint8).reshape(header.count, -1) for field in others]
    return (b"\0" + positions, 1), [*fields, *[np.empty((header.count, 0), np.uint8)] * (5 - len(fields))]


def _read_header_4(buffer: memoryview) -> _Header:
    version = int.from_bytes(buffer[4:8], "little")
    if version != 4 or len(buffer) < _HEADER_4.size:
        raise FormatError(
            f"an .spz that starts with {_MAGIC!r} must be of version 4 and 32 bytes or more; byte 4 says {version}; "
            f"there are {len(buffer)} bytes: save it as version 3 or as .ply"
        )
    _, version, count, degree, bits, flags, streams, table = _HEADER_4.unpack_from(buffer)
    if degree not in _REST or bits > 24 or not count:
        raise FormatError(
            "the header of an .spz must say SH degree 0 to 4, at most 24 fractional bits and at least one Gaussian; "
            f"bytes 8 to 13 say {degree}, {bits} and {count}"
        )
    return _Header(version, count, degree, bits, flags, streams, table)


def _read_header(buffer: memoryview) -> _Header:
    if bytes(buffer[:4]) == _MAGIC:
        return _read_header_4(buffer)
    try:
        start = _start(buffer)
    except zlib.error as error:
        raise FormatError(f"an .spz must be a gzip; unpacking fails within bytes 0 to 4096: {error}") from error
    if len(start) < _HEADER.size or start[:4] != _MAGIC:
        raise FormatError(
            f"an .spz must be a gzip of at least 16 bytes that start with {_MAGIC!r}; byte 0 of what is packed starts "
            f"{len(start)} bytes, {start[:8]!r}: it is cut off or not an .spz"
        )
    _, version, count, degree, bits, flags, _ = _HEADER.unpack(start)
    if version not in (1, 2, 3):
        raise FormatError(f"a packed .spz must be of version 1, 2 or 3; byte 4 of what is packed says {version}")
    if degree not in (0, 1, 2, 3) or bits > 24 or not count:
        raise FormatError(
            "the header of an .spz must say SH degree 0 to 3, at most 24 fractional bits and at least one Gaussian; "
            f"bytes 8 to 13 of what is packed say {degree}, {bits} and {count}"
        )
    return _Header(version, count, degree, bits, flags)


def _unpack(buffer: memoryview, header: _Header) -> bytes:
    """Unpack header, arrays and extensions at once, with a limit on the size."""
    least = _HEADER.size + header.count * sum(header.sizes)
    promise = f"{header.count} Gaussians of SH degree {header.sh_degree}, as byte 8 of what is packed says,"
    if least > _RATIO * len(buffer):
        raise FormatError(f"{promise} must take {least} bytes; a gzip of {len(buffer)} bytes cannot hold them")
    most = least + (_EXTENSIONS_LIMIT if header.flags & _EXTENDED else 0)
    unpacker = zlib.decompressobj(_GZIP)
    try:
        content = unpacker.decompress(buffer, most + 1)
    except zlib.error as error:
        raise FormatError(
            f"an .spz must be a sound gzip; unpacking fails within bytes 0 to {len(buffer)}: {error}"
        ) from error
    if len(content) < least:
        found = f"the gzip ends at byte {len(content)} of them"
        raise FormatError(f"{promise} must take {least} bytes; {found}: it is cut off")
    if len(content) > most:
        raise FormatError(f"{promise} must take {least} bytes; there is more from byte {least} on: the count is wrong")
    if not unpacker.eof:
        raise FormatError(f"a gzip must end with its checksum; it is cut off at byte {len(buffer)}")
    if unpacker.unused_data.strip(b"\0"):
        at = len(buffer) - len(unpacker.unused_data)
        raise FormatError(f"an .spz must end with its gzip; there is more from byte {at} on")
    return content


def _check_extensions(records: bytes) -> None:
    """Refuse other axes. Records are type, length and content; unknown ones are skipped."""
    at = 0
    while at + 8 <= len(records):
        kind, length = struct.unpack_from("<II", records, at)
        axes = int.from_bytes(records[at + 8 : at + 8 + min(length, 4)], "little")
        if kind == _AXES_EXTENSION and axes != _RUB:
            raise FormatError(
                f"an .spz must have the axes of its specification (RUB, {_RUB}); the extension "
                f"SPZ_ADOBE_coordinate_system says {axes}, at byte {at} after the arrays: write it without, or as .ply"
            )
        at += 8 + length
    if at != len(records):
        raise FormatError(
            f"the extensions of an .spz must be records of type, length and content; {len(records)} bytes of them end "
            f"within the one at byte {at} after the arrays"
        )


def _read_positions(content: bytes, start: int, header: _Header) -> np.ndarray:
    """[N, 3]. Three bytes are read as the upper ones of a 4-byte integer: dropping the lowest keeps the sign."""
    if header.version == 1:
        return np.frombuffer(content, "<f2", 3 * header.count, start).reshape(-1, 3).astype(np.float32)
    wide = np.ndarray((3 * header.count,), "<i4", content, start - 1, (3,)) >> 8  # [3 N]
    return (wide.astype(np.float32) * np.float32(2.0**-header.bits)).reshape(-1, 3)


def _read_smallest_three(stored: np.ndarray) -> np.ndarray:
    """[N, 4] wxyz: 2 bits say which of x, y, z, w is the largest; 10 bits (sign, size) give each of the others."""
    sizes = np.arange(512) / (511 * 2**0.5)  # 9 bits: 511 means 1 / sqrt(2)
    signed = np.concatenate([sizes, -sizes]).astype(np.float32)
    quats = np.empty((len(stored), 4), np.float32)
    for rows in blocks(len(stored)):
        packed = stored[rows].view("<u4")[:, 0]  # [n]
        a, b, c = (signed.take((packed >> shift) & 1023) for shift in (20, 10, 0))
        largest = np.sqrt(np.maximum(0, 1 - a * a - b * b - c * c))
        which = packed >> 30
        quats[rows, 0] = np.where(which == 3, largest, c)
        quats[rows, 1] = np.where(which == 0, largest, a)
        quats[rows, 2] = np.where(which == 0, a, np.where(which == 1, largest, b))
        quats[rows, 3] = np.where(which < 2, b, np.where(which == 2, largest, c))
    return quats


def _read_xyz(stored: np.ndarray) -> np.ndarray:
    """[N, 4] wxyz of versions 1 and 2: w follows from the others, and is never negative."""
    xyz = _floats(stored) / np.float32(127.5) - 1  # [N, 3]
    w = np.sqrt(np.maximum(0, 1 - (xyz * xyz).sum(1, keepdims=True)))
    return np.concatenate([w, xyz], axis=1)


def write(gaussians: Gaussians, name: str) -> dict[str, bytes]:
    """The file's bytes, version 3; equal Gaussians give equal bytes.

    Raises:
        InputError: a position further from the origin than 24 bits reach.
    """
    header = _HEADER.pack(_MAGIC, 3, len(gaussians), gaussians.sh_degree, _BITS, 0, 0)
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    means, quats, scales, opacities, sh = (field.numpy() for field in fields)
    parts = [
        _write_positions(means),
        _byte(opacities * np.float32(255)),
        _byte(sh[:, 0] * np.float32(_COLOR * 255) + np.float32(127.5)),
        _byte((_log(scales) + 10) * 16),
        _write_smallest_three(quats),
        _write_rest(sh[:, 1:]),
    ]
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP, 9)
    packed = [packer.compress(header), *(packer.compress(part.tobytes()) for part in parts)]
    return {name: b"".join([*packed, packer.flush()])}


def _write_positions(means: np.ndarray) -> np.ndarray:
    """[3 N, 3] bytes."""
    fixed = np.rint(means * np.float32(2**_BITS)).ravel()  # [3 N]
    limit = 1 << 23
    if fixed.min() < -limit or fixed.max() >= limit:
        reach = limit >> _BITS
        raise InputError(
            f"means in an .spz must lie within -{reach} to {reach}; they span {means.min():g} to {means.max():g}: "
            "scale them with Gaussians.transform"
        )
    four = fixed.astype("<i4").view(np.uint8).reshape(-1, 4)
    three = np.empty((len(four), 3), np.uint8)
    for i in range(3):
        three[:, i] = four[:, i]
    return three


def _write_smallest_three(quats: np.ndarray) -> np.ndarray:
    """[N] u32: the largest of x, y, z, w is made positive and left out."""
    packed = np.empty(len(quats), "<u4")
    for rows in blocks(len(quats)):
        w, x, y, z = unit_planes(quats[rows])  # [n] each
        which = np.abs(np.stack([x, y, z, w])).argmax(0)  # [n]
        scale = np.copysign(np.float32(511 * 2**0.5), np.choose(which, [x, y, z, w]))
        word = which.astype("<u4")
        for part in (np.where(which == 0, y, x), np.where(which < 2, z, y), np.where(which == 3, z, w)):
            value = part * scale
            size = np.minimum(np.abs(value) + np.float32(0.5), 511).astype("<u4")
            word = word << 10 | np.signbit(value).astype("<u4") << 9 | size
        packed[rows] = word
    return packed


def _write_rest(rest: np.ndarray) -> np.ndarray:
    """[N, K - 1, 3] bytes, rounded to multiples of 8 (degree 1) and 16, so that they pack well."""
    steps = np.where(np.arange(rest.shape[1]) < 3, 8, 16).astype(np.float32)[:, None]  # [K - 1, 1]
    return _byte(np.floor(rest * (128 / steps) + np.float32(0.5)) * steps + 128)


def losses(gaussians: Gaussians) -> list[str]:
    """Values outside the ranges by more than rounding: see the table above in this module."""
    found = []
    scales, sh = gaussians.scales.numpy(), gaussians.sh.numpy()
    dc, rest = sh[:, 0], sh[:, 1:].reshape(len(sh), -1)
    outside = _outside(dc, -0.5 / _COLOR, 0.5 / _COLOR, 0.5 / 255 / _COLOR)
    if outside:
        found.append(f"the part of {outside} of {len(sh)} colours outside -0.44 to 1.44")
    outside = _outside(scales, np.exp(-10 - 1 / 32), np.exp(255 / 16 - 10 + 1 / 32), 0)
    if outside:
        found.append(f"{outside} of {len(sh)} scales below 4.5e-5 or above 379, which are limited to these")
    outside = _outside(rest, -1, 127 / 128, 1 / 32)
    if outside:
        found.append(f"the part of {outside} of {len(sh)} view-dependent colours (sh) outside -1 to 1")
    return found


def _outside(values: np.ndarray, low: float, high: float, half_step: float) -> int:
    """The number of rows of [N, C] with a value outside the range by more than half a step."""
    if not values.size or (values.min() >= low - half_step and values.max() <= high + half_step):
        return 0
    return int(((values < low - half_step) | (values > high + half_step)).any(1).sum())


def _log(scales: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # the logarithm of 0 is limited to the smallest stored scale
        return np.log(scales)


def _byte(values: np.ndarray) -> np.ndarray:
    """The nearest byte; halves round up, as in the spz library."""
    values = values + np.float32(0.5)
    np.maximum(values, 0, out=values)
    np.minimum(values, 255, out=values)
    return values.astype(np.uint8)


def _floats(stored: np.ndarray) -> np.ndarray:
    return stored.astype(np.float32)
