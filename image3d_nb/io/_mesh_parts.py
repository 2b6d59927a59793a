"""Shared by the mesh formats: checked arrays for writing, and one mesh from the parts of a file.

A file may hold several parts, each with its material; a :class:`~image3d_nb.mesh.Mesh` has one set of vertices and one
texture. :func:`join` combines the parts:

- without images, their colours become vertex colours (a material's plain colour too);
- one image for all parts becomes the texture;
- several images, or an image beside plain colours, are packed into a new texture;
- where some parts have vertex colours and others images, the images are sampled at the vertices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from .._texture_sheet import texture_sheet
from ..errors import FormatError, InputError
from ..mesh import Mesh, vertex_normals
from . import _textures
from ._foreign import finite_or_none, local_float32

_ROUNDING = 1e-6
"""Lengths this close to 1 are 1: what float32 makes of a unit vector."""
_NEAR = 1e-3
"""Texture coordinates this close to [0, 1] count as its border."""
_PERIODS = {"repeat": 1, "mirror": 2, "clamp": 0}
_PADDED: dict[str, Literal["wrap", "symmetric", "edge"]] = {"repeat": "wrap", "mirror": "symmetric", "clamp": "edge"}
"""How numpy's pad continues an image."""
_MOST_SIDE = 8192
"""Of a texture that holds several images, pixels."""
_MOST_LAID_OUT = 4096 * 4096
"""Limit on the pixels of repeating images that are tiled: 50 MB."""


def float32(values: np.ndarray, name: str) -> np.ndarray:
    """The array as little-endian float32, C order.

    Raises:
        InputError: a number is beyond float32.
    """
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(values, "<f4")
    if not np.isfinite(result).all():
        raise InputError(f"{name} must fit into float32 (at most 3.4e38); the largest is {np.abs(values).max():.4g}")
    return result


def unit_normals(mesh: Mesh) -> np.ndarray:
    """[V, 3] float32 of unit length; +z for a vertex without a normal (no face, or faces without an area)."""
    normals = np.asarray(mesh.vertex_normals(), np.float64)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    normals[length[:, 0] == 0] = (0, 0, 1)
    return float32(normals, "normals")


def colors_of(mesh: Mesh) -> np.ndarray | None:
    """[V, 3] sRGB in [0, 1], or None if there are none or a texture is shown instead.

    Raises:
        InputError: outside of [0, 1] by more than rounding.
    """
    if mesh.vertex_colors is None or has_texture(mesh):
        return None
    colors = np.asarray(mesh.vertex_colors, np.float64)
    if colors.size and not (colors.min() >= -1e-3 and colors.max() <= 1 + 1e-3):
        raise InputError(f"vertex_colors must be in [0, 1]; they span {colors.min():.4g} to {colors.max():.4g}")
    return colors.clip(0, 1)


def has_texture(mesh: Mesh) -> bool:
    """Whether there is a texture, and coordinates to put it on."""
    return mesh.texture is not None and mesh.uvs is not None


def losses(mesh: Mesh) -> list[str]:
    """What formats with textures cannot hold."""
    lost = []
    if mesh.texture is not None and mesh.uvs is None:
        lost.append("a texture without uvs, which say where it goes")
    if has_texture(mesh) and mesh.vertex_colors is not None:
        lost.append("vertex colours beside a texture, which viewers would multiply with it")
    return lost


def made(**fields: np.ndarray | None) -> Mesh:
    """A mesh from the fields of a file.

    Raises:
        FormatError: no triangle, an index beyond the vertices, or a number that is not finite.
    """
    try:
        mesh = Mesh(**fields)  # type: ignore[arg-type]  # checked by the class itself
    except InputError as error:
        raise FormatError(str(error)) from error
    if not len(mesh.faces):
        raise FormatError("a mesh must have at least one triangle; got 0")
    return mesh


@dataclass
class Part:
    """A part of a file with its own material.

    Attributes:
        vertices: [V, 3] float32.
        faces: [F, 3] int, indices into this part's vertices.
        normals: [V, 3] or None.
        uvs: [V, 2], (0, 0) at the image's lower left corner, or None.
        colors: [V, 3] sRGB in [0, 1], or None if the file has none.
        image: [h, w, 3] uint8 or None; parts that share one hold the same array.
        wrap: how the image goes on beyond its border, along u and along v: "repeat", "mirror" or "clamp".
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None = None
    uvs: np.ndarray | None = None
    colors: np.ndarray | None = None
    image: np.ndarray | None = None
    wrap: tuple[str, str] = ("repeat", "repeat")


def join(parts: list[Part], notes: list[str]) -> Mesh:
    """Combine parts into one mesh, as described above; ``notes`` lists what is lost.

    Raises:
        FormatError: no triangle, or arrays that do not make a mesh.
    """
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        raise FormatError("a mesh must have at least one triangle; got 0")
    parts = [_checked(part, notes) for part in parts]
    texture = None
    if any(part.image is not None for part in parts):
        parts, texture = _textured(parts, notes)
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return made(
        vertices=local_float32(np.concatenate([part.vertices for part in parts]), notes),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        vertex_colors=_filled(parts, "colors", 1.0),
        uvs=_filled(parts, "uvs", 0.0),
        texture=texture,
        normals=_all("normals", parts),
    )


def _checked(part: Part, notes: list[str]) -> Part:
    """Check indices before they are used; drop attributes that are not finite, and an image without uvs."""
    low, high = int(part.faces.min()), int(part.faces.max())
    if low < 0 or high >= len(part.vertices):
        raise FormatError(f"faces must index {len(part.vertices)} vertices; got {low}..{high}")
    arrays = {name: getattr(part, name) for name in ("vertices", "normals", "uvs", "colors")}
    if not all(array is None or np.isfinite(array).all() for array in arrays.values()):
        used, faces = np.unique(part.faces, return_inverse=True)  # rows that no face uses do not count
        kept: dict[str, Any] = {name: None if array is None else array[used] for name, array in arrays.items()}
        part = replace(part, faces=faces.reshape(-1, 3), **kept)
    normals = _unit(finite_or_none(part.normals, "normals", notes), part, notes)
    uvs = finite_or_none(part.uvs, "texture coordinates", notes)
    image = part.image if uvs is not None else None
    return replace(part, normals=normals, uvs=uvs, colors=_known(part.colors, notes), image=image)


def _unit(normals: np.ndarray | None, part: Part, notes: list[str]) -> np.ndarray | None:
    """The normals of a file as unit vectors, as a mesh has them; those of unit length stay the same bit by bit."""
    if normals is None:
        return None
    normals = normals.astype(np.result_type(normals.dtype, np.float32), copy=False)
    with np.errstate(over="ignore"):
        length = np.linalg.norm(normals.astype(np.float64), axis=1)  # [V]
    none = (length == 0) | np.isinf(length)
    long = ~none & (np.abs(length - 1) > _ROUNDING)
    if long.any():
        normals = (normals / np.where(long, length, 1)[:, None]).astype(normals.dtype)
    if not none.any():
        return normals
    with np.errstate(over="ignore", invalid="ignore"):  # positions are checked later
        computed = vertex_normals(part.vertices.astype(np.float64), part.faces)
    if count := int((none & computed.any(1)).sum()):
        notes.append(f"the normals of {count} of {len(none)} vertices, which have no length: the faces give others")
    return np.where(none[:, None], computed, normals).astype(normals.dtype)


def _known(colors: np.ndarray | None, notes: list[str]) -> np.ndarray | None:
    """The colours with white in place of NaN; None if all are NaN."""
    if colors is None or np.isfinite(colors).all():
        return colors
    known = np.isfinite(colors).all(1)
    notes.append(f"the colours of {int((~known).sum())} of {len(known)} vertices, which are NaN and become white")
    return np.where(known[:, None], colors, np.float32(1)) if known.any() else None


def _all(name: str, parts: list[Part]) -> np.ndarray | None:
    arrays = [getattr(part, name) for part in parts]
    return None if any(array is None for array in arrays) else np.concatenate(arrays)


def _filled(parts: list[Part], name: str, value: float) -> np.ndarray | None:
    """The parts' arrays, with a constant for parts without one; None if no part has one."""
    arrays = [getattr(part, name) for part in parts]
    width = next((array.shape[1] for array in arrays if array is not None), None)
    if width is None:
        return None
    blank = [np.full((len(part.vertices), width), value, np.float32) for part in parts]
    return np.concatenate([array if array is not None else b for array, b in zip(arrays, blank, strict=True)])


def _textured(parts: list[Part], notes: list[str]) -> tuple[list[Part], np.ndarray | None]:
    """The parts with coordinates into one texture, or with vertex colours and no texture."""
    parts = _unrepeated(parts, notes)
    tinted = sum(1 for part in parts if part.image is not None and _varies(part.colors, 1.0))
    if tinted:
        notes.append(f"vertex colours that tint the textures of {tinted} parts")
        parts = [replace(part, colors=None) if part.image is not None else part for part in parts]
    if any(part.image is None and _varies(part.colors) for part in parts):
        notes.append("the textures, except for their colours at the vertices: other parts have vertex colours")
        return [_sampled(part) for part in parts], None
    if len({id(part.image) for part in parts}) == 1:
        return [replace(part, colors=None) for part in parts], parts[0].image
    parts = [part if part.image is not None else _painted(part) for part in parts]
    images = list({id(part.image): part.image for part in parts if part.image is not None}.values())
    texture, places, divisor = texture_sheet(images, margin=2, most_side=_MOST_SIDE)
    if divisor > 1:
        notes.append(f"the full size of {len(images)} textures, reduced to 1/{divisor} to fit into one")
    place_of = {id(image): place for image, place in zip(images, places, strict=True)}
    return [_placed(part, place_of[id(part.image)]) for part in parts], texture


def _varies(colors: np.ndarray | None, value: float | None = None) -> bool:
    """Whether colours differ from each other, or from a given value, by at least half a byte step."""
    if colors is None:
        return False
    return bool((np.abs(colors - (colors[:1] if value is None else value)) > 1 / 512).any())


def _sampled(part: Part) -> Part:
    if part.image is None or part.uvs is None:
        return replace(part, uvs=None)
    clamped = np.array([each == "clamp" for each in part.wrap])
    uvs = np.where(clamped, part.uvs.clip(0, 1), part.uvs)
    return replace(part, colors=_textures.sample(part.image, uvs), image=None, uvs=None)


def _painted(part: Part) -> Part:
    """A part of one plain colour with an image of four pixels."""
    color = np.ones(3) if part.colors is None else part.colors[0]
    image = np.broadcast_to(np.rint(255 * color).astype(np.uint8), (2, 2, 3))
    return replace(part, image=image, uvs=np.full((len(part.vertices), 2), 0.5, np.float32), colors=None)


def _placed(part: Part, place: np.ndarray) -> Part:
    assert part.uvs is not None  # a part with an image has them
    return replace(part, uvs=(part.uvs.clip(0, 1) * place[:2] + place[2:]).astype(np.float32), colors=None)


def _unrepeated(parts: list[Part], notes: list[str]) -> list[Part]:
    """Replace repeating images: shift coordinates by whole numbers, or tile the image.

    All parts that share an image, and how it goes on, are handled together, so that they still share one.
    """
    result, kept, room = list(parts), 0, _MOST_LAID_OUT
    for key in {(id(part.image), part.wrap): None for part in parts if part.image is not None}:
        sharing, wrap = [i for i, part in enumerate(parts) if (id(part.image), part.wrap) == key], key[1]
        image = parts[sharing[0]].image
        assert image is not None  # their key is that of an image
        moved = {i: _moved(parts[i].uvs, wrap) for i in sharing}
        ends = np.max([uvs.max(0) for uvs in moved.values()], axis=0)  # [2]
        tiles = [1 if wrap[k] == "clamp" else max(1, int(np.ceil(ends[k] - _NEAR))) for k in (0, 1)]
        pixels = image.shape[0] * image.shape[1] * tiles[0] * tiles[1]
        if tiles != [1, 1]:
            if pixels > room:
                kept += 1
                continue
            room -= pixels
            height, width = image.shape[:2]
            # v = 0 is the lowest row: the image goes on upwards, and to the right
            image = np.pad(image, ((height * (tiles[1] - 1), 0), (0, 0), (0, 0)), _PADDED[wrap[1]])
            image = np.pad(image, ((0, 0), (0, width * (tiles[0] - 1)), (0, 0)), _PADDED[wrap[0]])
        for i, uvs in moved.items():
            result[i] = replace(parts[i], image=image, uvs=(uvs / tiles).astype(np.float32))
    if kept:
        notes.append(f"the repetition of {kept} textures, too large to be tiled")
    return result


def _moved(uvs: np.ndarray | None, wrap: tuple[str, str]) -> np.ndarray:
    """Coordinates shifted by whole periods, so that they start in the first; those that are clamped stay."""
    assert uvs is not None  # a part with an image has them
    period = np.array([_PERIODS[each] for each in wrap])
    return uvs - period * np.floor((uvs.min(0) + _NEAR) / np.where(period, period, 1))
