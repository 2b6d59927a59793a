"""PlayCanvas's SOG, version 2: the smallest file for the web. Read by PlayCanvas, SuperSplat and Spark.

A zip of meta.json and of lossless WebP images, in which each pixel is a Gaussian; or the same files in a folder, of
which meta.json is loaded. A number read back is off by at most half a step:

==========  ==========================================================================================
field       step
==========  ==========================================================================================
means       16 bits from the least to the largest sign(x) * log(1 + abs(x)) of each axis
opacities   1/255
f_dc        one of 256 values, chosen for the file
scales      one of 256 logarithms, chosen for the file
quats       1/255 of sqrt(2), the three smallest of w, x, y, z
sh beyond   one of 256 values, chosen for the file; a palette of up to 65,536 Gaussians' coefficients
==========  ==========================================================================================

Gaussians are written along a Morton curve, since neighbours pack well: their order changes. Each gets its own entry in
the palette; that of more than 65,536 has no room, and only their first coefficient is written.

The axes are those of a .ply. (The specification says y up; its authors' programs write and read 3DGS's numbers.)

Specification: https://developer.playcanvas.com/user-manual/gaussian-splatting/formats/sog
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from ..errors import FormatError, InputError
from ..gaussians import Gaussians
from ..images.colour import DAMAGED
from ._format import Sibling
from ._json import Values, parse_json
from ._rows import blocks, tables, unit_planes, with_largest

_META = "meta.json"
_LOOKED_AT = 1 << 16
_META_LIMIT = 1 << 20
_DENSEST = 64
"""Pixels that a byte of the files may stand for; real ones take several bytes for one."""
_EXPANDED = 8
"""How many times its size a zip may hold: its images are packed already."""
_COEFFICIENTS = {1: 3, 2: 8, 3: 15}
"""Beyond the first, by SH degree."""
_ROW = 64
"""Entries in a row of pixels of the palette."""
_PALETTE = 1 << 16
_WIDEST = 16383
"""Of a WebP."""
_MODES = 252
"""The alpha of a rotation whose largest number is w; x, y and z follow."""
_POINT = float(np.log(np.finfo(np.float32).tiny))
"""The log scale written for scale 0, as in a .ply."""
_BROKEN = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What zipfile raises on damaged or encrypted files."""


def sniff(buffer: memoryview) -> bool:
    """Whether it is a zip with a meta.json, or that file itself."""
    if bytes(buffer[:4]) == b"PK\3\4":
        return _META.encode() in bytes(buffer[-_LOOKED_AT:])
    start = bytes(buffer[:_LOOKED_AT])
    return start.lstrip()[:1] == b"{" and all(word in start for word in (b'"means"', b'"codebook"', b'"quats"'))


def read(buffer: memoryview, sibling: Sibling) -> Gaussians:
    """Gaussians from the bytes of a .sog, or of a meta.json with its images beside it, in the axes of the file.

    Raises:
        FormatError: damaged, of another version, or with images that are missing or too large.
    """
    if bytes(buffer[:1]) == b"{" or bytes(buffer[:_LOOKED_AT]).lstrip()[:1] == b"{":
        meta = _Meta(bytes(buffer[:_META_LIMIT]))
        contents = {name: _companion(sibling, name) for name in meta.names}
    else:
        meta, contents = _unzip(buffer)
    size = sum(map(len, contents.values()))
    if meta.count > _DENSEST * size:
        raise FormatError(f"{meta.count} Gaussians, as {_META} says, must take more than {size} bytes of images")

    def pixels(name: str, count: int = meta.count) -> np.ndarray:
        return _pixels(contents[name], name, count, _DENSEST * size)

    means, quats, scales, opacities, sh = tables(meta.count, 3, 4, 3, 1, 3 + 3 * _COEFFICIENTS.get(meta.bands, 0))
    sh = sh.view(meta.count, -1, 3)  # [N, K, 3]
    low, high = (pixels(name) for name in meta.means)
    for axis in range(3):
        places = high[:, axis].astype(np.uint16) << 8 | low[:, axis]
        means.numpy()[:, axis] = meta.positions(axis).take(places)
    del low, high
    _read_quats(pixels(meta.quats), quats.numpy())
    scales.numpy()[:] = _looked_up(np.exp(meta.scale_values), pixels(meta.scales)[:, :3], meta.scales)
    colors = pixels(meta.sh0)
    sh.numpy()[:, 0] = _looked_up(meta.color_values, colors[:, :3], meta.sh0)
    opacities.numpy()[:, 0] = colors[:, 3] / np.float32(255)
    if meta.bands:
        _read_palette(meta, pixels, sh.numpy())
    return Gaussians(means, quats, scales, opacities[:, 0], sh)


class _Meta:
    """What meta.json says, checked."""

    def __init__(self, content: bytes) -> None:
        try:
            root = Values(parse_json(memoryview(content), 0), f"{_META}[0]")
        except FormatError as error:
            raise FormatError(f"{_META}: {error}") from error
        if root.data.get("version") != 2:
            found = f"{root.data.get('version')!r:.40}"
            raise FormatError(f"{root.at('version')} must be 2; got {found}: splat-transform makes one")
        self.count = root.integer("count", low=1, high=1 << 32)
        means, scales, sh0 = (root.inner(name) for name in ("means", "scales", "sh0"))
        self.means = _files(means, 2)
        self.lows, self.highs = (np.array(means.numbers(name, most=3, least=3)) for name in ("mins", "maxs"))
        (self.quats,), (self.scales,), (self.sh0,) = (_files(part, 1) for part in (root.inner("quats"), scales, sh0))
        self.scale_values, self.color_values = (np.array(part.numbers("codebook", most=256)) for part in (scales, sh0))
        self.bands = 0
        self.names = [*self.means, self.quats, self.scales, self.sh0]
        if root.data.get("shN"):
            rest = root.inner("shN")
            self.entries, self.bands = rest.integer("count", low=1, high=_PALETTE), rest.integer("bands", low=1, high=3)
            self.centroids, self.labels = _files(rest, 2)
            self.rest_values = np.array(rest.numbers("codebook", most=256))
            self.names += [self.centroids, self.labels]

    def positions(self, axis: int) -> np.ndarray:
        """[65536] float32: what each 16-bit number of an axis stands for."""
        low, high = self.lows[axis], self.highs[axis]
        with np.errstate(over="ignore", invalid="ignore"):  # numbers that are not finite are told of as such
            logs = low + (high - low) * (np.arange(1 << 16) / 65535)
            return (np.sign(logs) * np.expm1(np.abs(logs))).astype(np.float32)


def _files(part: Values, count: int) -> list[str]:
    files = part.items("files")
    if len(files) != count or not all(isinstance(each, str) for each in files):
        raise FormatError(f"{part.path} must have files[0] to files[{count - 1}]; got {files!r:.80}")
    return files


def _companion(sibling: Sibling, name: str) -> bytes:
    try:
        return sibling(name)
    except (OSError, ValueError) as error:
        raise FormatError(f"the images that {_META}[0] names must lie beside it; {name} does not: {error}") from error


def _unzip(buffer: memoryview) -> tuple[_Meta, dict[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(buffer)) as archive:
            meta = _Meta(_member(archive, _META, _META_LIMIT))
            most = _EXPANDED * len(buffer)
            return meta, {name: _member(archive, name, most) for name in meta.names}
    except _BROKEN as error:
        raise FormatError(
            f"a .sog must be a sound zip with {_META} and the images it names; in bytes 0 to {len(buffer)}: {error}"
        ) from error


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > most:
        raise FormatError(f"{name} at byte {info.header_offset} must have at most {most} bytes; got {info.file_size}")
    return archive.read(info)  # never more than its size, and its checksum must be right


def _pixels(content: bytes, name: str, count: int, most: int) -> np.ndarray:
    """[count, 4] uint8 of an image that has at least so many pixels, and ``most`` at most."""
    try:
        with Image.open(io.BytesIO(content), formats=("WEBP", "PNG")) as image:
            found = image.width * image.height
            if not count <= found <= most:
                size = f"{image.width} x {image.height}"
                raise FormatError(f"{name} must have {count} to {most} pixels, a row of the Gaussians; got {size}")
            return np.asarray(image.convert("RGBA")).reshape(-1, 4)[:count]
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, *DAMAGED) as error:
        raise FormatError(f"{name} must be a whole WebP of at least {len(content)} bytes: {error}") from error


def _looked_up(values: np.ndarray, places: np.ndarray, name: str) -> np.ndarray:
    if places.max() >= len(values):
        row = int(np.argmax((places >= len(values)).reshape(len(places), -1).any(1)))
        raise FormatError(f"{name} must hold numbers below {len(values)}, its codebook's; row {row} does not")
    return values.astype(np.float32).take(places)


def _read_quats(stored: np.ndarray, out: np.ndarray) -> None:
    if stored[:, 3].min() < _MODES:
        raise FormatError(f"rotations must have an alpha from 252 on; row {int(stored[:, 3].argmin())} has not")
    values = ((np.arange(256) / 255 - 0.5) * 2**0.5).astype(np.float32)
    for rows in blocks(len(stored)):
        out[rows] = with_largest(values.take(stored[rows, :3]), stored[rows, 3] - _MODES)


def _read_palette(meta: _Meta, pixels: Callable[..., np.ndarray], sh: np.ndarray) -> None:
    """Fill the coefficients beyond the first of [N, K, 3]."""
    width = _COEFFICIENTS[meta.bands]
    # the last row of entries may be cut short, but the image has whole ones
    stored = pixels(meta.centroids, width * _ROW * -(-meta.entries // _ROW))[:, :3]
    palette = _looked_up(meta.rest_values, stored, meta.centroids).reshape(-1, width, 3)
    labels = pixels(meta.labels)
    for rows in blocks(len(sh)):
        places = labels[rows, 0] | labels[rows, 1].astype(np.uint16) << 8
        if places.max() >= meta.entries:
            raise FormatError(f"{meta.labels} must hold numbers below {meta.entries}; rows {rows.start} on do not")
        sh[rows, 1:] = palette[places]


def write(gaussians: Gaussians, name: str) -> dict[str, bytes]:
    """The file's bytes, the same for the same Gaussians.

    Raises:
        InputError: more Gaussians than a WebP has pixels.
    """
    count = len(gaussians)
    if count > _WIDEST**2:
        raise InputError(f"a .sog holds at most {_WIDEST**2} Gaussians; got {count}")
    means, quats, scales, opacities, sh = (
        getattr(gaussians, field).numpy() for field in ("means", "quats", "scales", "opacities", "sh")
    )
    lows, highs, places = _places(means)
    order = _morton(places)
    places = places[order]
    with np.errstate(divide="ignore"):
        scale_values, scale_labels = _codebook(np.maximum(np.log(scales[order]), _POINT))
    color_values, color_labels = _codebook(sh[order, 0])
    alpha = np.floor(opacities[order, None] * 255 + 0.5).astype(np.uint8)
    files = {
        "means_l.webp": _image((places & 255).astype(np.uint8)),
        "means_u.webp": _image((places >> 8).astype(np.uint8)),
        "quats.webp": _image(_packed_quats(quats[order])),
        "scales.webp": _image(scale_labels),
        "sh0.webp": _image(np.concatenate([color_labels, alpha], axis=1)),
    }
    meta: dict[str, Any] = {
        "version": 2,
        "asset": {"generator": "image3d_nb"},
        "count": count,
        "antialias": False,
        "means": {"mins": lows, "maxs": highs, "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scale_values, "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": color_values, "files": ["sh0.webp"]},
    }
    if _has_palette(gaussians):
        values, stored = _codebook(sh[order, 1:])  # [N, K - 1, 3]
        row = _ROW * stored.shape[1]
        labels = np.arange(count)
        files["shN_centroids.webp"] = _image(stored.reshape(-1, 3), row)
        files["shN_labels.webp"] = _image(np.stack([labels & 255, labels >> 8, 0 * labels], 1).astype(np.uint8))
        names = ["shN_centroids.webp", "shN_labels.webp"]
        meta["shN"] = {"count": count, "bands": gaussians.sh_degree, "codebook": values, "files": names}
    return {name: _zip({**files, _META: json.dumps(meta, separators=(",", ":")).encode()})}


def _places(means: np.ndarray) -> tuple[list[float], list[float], np.ndarray]:
    """The least and the largest logarithm of each axis, and [N, 3] uint16 between them."""
    logs = np.sign(means) * np.log1p(np.abs(means.astype(np.float64)))
    low, high = logs.min(0), logs.max(0)
    share = (logs - low) / np.where(high > low, high - low, 1)
    return low.tolist(), high.tolist(), np.floor(share * 65535 + 0.5).astype(np.uint16)


def _morton(places: np.ndarray) -> np.ndarray:
    """[N], along the curve that takes the bits of x, y and z by turns; equal ones stay as they are."""
    code = np.zeros(len(places), np.uint64)
    for axis in range(3):
        bits = places[:, axis].astype(np.uint64)
        for shift, mask in ((16, 0x0000FF0000FF), (8, 0x00F00F00F00F), (4, 0x0C30C30C30C3), (2, 0x249249249249)):
            bits = (bits | bits << np.uint64(shift)) & np.uint64(mask)
        code |= bits << np.uint64(axis)
    return np.argsort(code, kind="stable")


def _codebook(values: np.ndarray) -> tuple[list[float], np.ndarray]:
    """256 numbers, ascending, that stand for all, and uint8 places in them: Lloyd's algorithm in one dimension.

    They start as dense as the cube root of the density, which is best for many numbers (Panter and Dite 1951).
    """
    ascending = np.sort(values, axis=None).astype(np.float64)
    if len(distinct := np.unique(ascending)) <= 256:
        book = np.pad(distinct, (0, 256 - len(distinct)), mode="edge")
    else:
        counts, edges = np.histogram(ascending, 4096)
        mass = np.concatenate([[0], np.cumsum(np.cbrt(counts))])
        book = np.interp((np.arange(256) + 0.5) / 256 * mass[-1], mass, edges)
        sums = np.concatenate([[0], np.cumsum(ascending)])
        for _ in range(30):
            ends = np.concatenate([[0], np.searchsorted(ascending, (book[1:] + book[:-1]) / 2), [len(ascending)]])
            members = np.diff(ends)
            book = np.where(members, np.diff(sums[ends]) / np.maximum(members, 1), book)
    book = book.astype(np.float32)
    borders = (book[1:] + book[:-1]) / 2
    return book.tolist(), np.searchsorted(borders, values).astype(np.uint8)


def _packed_quats(quats: np.ndarray) -> np.ndarray:
    """[N, 4] uint8: the three smallest of w, x, y, z, and which is the largest."""
    packed = np.empty((len(quats), 4), np.uint8)
    for rows in blocks(len(quats)):
        unit = unit_planes(quats[rows]).T  # [n, 4]
        which = np.abs(unit).argmax(1)[:, None]  # [n, 1]
        others = np.take_along_axis(unit, np.arange(3) + (np.arange(3) >= which), axis=1)
        scale = np.copysign(np.float32(2**-0.5), np.take_along_axis(unit, which, axis=1))
        packed[rows, :3] = np.floor((others * scale + np.float32(0.5)) * 255 + np.float32(0.5)).clip(0, 255)
        packed[rows, 3:] = which + _MODES
    return packed


def _image(rows: np.ndarray, width: int | None = None) -> bytes:
    """A lossless WebP of pixels [n, 3 or 4], filled up with zeros."""
    width = width or math.isqrt(len(rows) - 1) + 1
    full = np.zeros((-(-len(rows) // width) * width, rows.shape[1]), np.uint8)
    full[: len(rows)] = rows
    stream = io.BytesIO()
    # exact: colours of transparent pixels are numbers too. More effort (6, 100) takes 200 times as long for 7 % less
    effort = {"method": 2, "quality": 50}
    Image.fromarray(full.reshape(-1, width, rows.shape[1])).save(stream, "WEBP", lossless=True, exact=True, **effort)
    return stream.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    """Not packed again, and without a date."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3  # Unix, wherever this runs: the same bytes everywhere
            archive.writestr(info, content)
    return stream.getvalue()


def _has_palette(gaussians: Gaussians) -> bool:
    return gaussians.sh_degree > 0 and len(gaussians) <= _PALETTE


def losses(gaussians: Gaussians) -> list[str]:
    """A palette of coefficients has no room for more than 65,536 Gaussians."""
    if not gaussians.sh_degree or _has_palette(gaussians):
        return []
    degrees = f"SH degree 1 to {gaussians.sh_degree}"
    return [f"the view-dependent part of more than {_PALETTE} colours, {len(gaussians)} ({degrees}); .spz and .ply can"]
