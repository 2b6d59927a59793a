"""Base colours of glTF: materials, textures and pictures, and the two meanings of a colour's numbers.

Textures are sRGB, factors and vertex colours linear; a mesh of ours is sRGB throughout.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html, section 3.9
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...errors import FormatError
from .. import _pictures
from .container import Document, Values

_CLAMPED = 33071
"""CLAMP_TO_EDGE: the border's colour goes on; anything else repeats."""
_OTHER_TEXTURES = ("normalTexture", "occlusionTexture", "emissiveTexture")


def linear_of(srgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def srgb_of(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@dataclass
class Surface:
    """What a material says of colour.

    Attributes:
        factor: [3], linear, multiplied with everything.
        picture: [h, w, 3] uint8 sRGB with the factor in it, or None.
        coordinates: which set of texture coordinates, TEXCOORD_n.
        transform: [2, 3] for (u, v, 1), v from the top, or None.
        repeats: whether the picture goes on beyond its border.
    """

    factor: np.ndarray
    picture: np.ndarray | None = None
    coordinates: int = 0
    transform: np.ndarray | None = None
    repeats: bool = True


class Materials:
    """The materials of a document, each read once. ``notes`` gets what a mesh cannot hold."""

    def __init__(self, document: Document, notes: list[str]) -> None:
        self._document = document
        self._notes = notes
        self._surfaces: dict[int, Surface] = {}
        self._pictures: dict[int, np.ndarray] = {}
        self._tinted: dict[tuple[int, tuple[float, ...]], np.ndarray] = {}
        self._room = _pictures.MOST_PIXELS

    def of(self, primitive: Values) -> Surface:
        """The surface of a primitive; white where it names none."""
        if "material" not in primitive:
            return Surface(np.ones(3))
        index = self._document.number(primitive, "material", "materials")
        if index not in self._surfaces:
            self._surfaces[index] = self._surface(self._document.item("materials", index))
        return self._surfaces[index]

    def _surface(self, material: Values) -> Surface:
        other = [name for name in _OTHER_TEXTURES if name in material]
        self._notes += [f"{name} of {material.path}" for name in other]
        if material.text("alphaMode", "OPAQUE") != "OPAQUE":
            self._notes.append(f"the transparency of {material.path}")
        roughness = material.inner("pbrMetallicRoughness")
        factor = np.clip(roughness.numbers("baseColorFactor", [1.0] * 4)[:3], 0, 1)
        if "baseColorTexture" not in roughness:
            return Surface(factor)
        info = roughness.inner("baseColorTexture")
        texture = self._document.follow(info, "index", "textures")
        surface = Surface(factor, self._picture(texture, factor), info.integer("texCoord", 0, high=7))
        if "sampler" in texture:
            sampler = self._document.follow(texture, "sampler", "samplers")
            surface.repeats = sampler.integer("wrapS", 10497) != _CLAMPED
        moved = info.inner("extensions").inner("KHR_texture_transform")
        if moved.data:
            surface.coordinates = moved.integer("texCoord", surface.coordinates, high=7)
            surface.transform = _transform(moved)
        return surface

    def _picture(self, texture: Values, factor: np.ndarray) -> np.ndarray:
        webp = texture.inner("extensions").inner("EXT_texture_webp")
        source = webp if webp.data else texture
        if "source" not in source:
            raise FormatError(f"{texture.path} must have a source, PNG, JPEG or WebP; got {', '.join(texture.data)}")
        index = self._document.number(source, "source", "images")
        key = (index, tuple(factor.tolist()))
        if key not in self._tinted:
            picture = self._decoded(index)
            if not np.all(factor == 1):
                # 256 values a channel: what each byte becomes when its light is multiplied
                light = linear_of(np.arange(256)[:, None] / 255) * factor  # [256, 3]
                table = np.rint(255 * srgb_of(light)).astype(np.uint8)
                picture = np.stack([table[picture[..., c], c] for c in range(3)], axis=-1)
            self._tinted[key] = picture
        return self._tinted[key]

    def _decoded(self, index: int) -> np.ndarray:
        if index not in self._pictures:
            image = self._document.item("images", index)
            if "uri" in image:
                content: bytes | memoryview = self._document.uri(image.text("uri"), image.path)
            else:
                content, _ = self._document.view(self._document.number(image, "bufferView", "bufferViews"))
            self._pictures[index] = _pictures.decode(content, image.path, self._room)
            self._room -= self._pictures[index][..., 0].size
        return self._pictures[index]


def _transform(moved: Values) -> np.ndarray:
    """[2, 3] of KHR_texture_transform: translation * rotation * scale, counter-clockwise with v from the top."""
    (x, y), (sx, sy) = moved.numbers("offset", [0.0, 0.0]), moved.numbers("scale", [1.0, 1.0])
    angle = moved.data.get("rotation", 0.0)
    if isinstance(angle, bool) or not isinstance(angle, (int, float)) or not abs(angle) < 1e6:
        raise FormatError(f"{moved.at('rotation')} must be an angle in radians; got {type(angle).__name__}")
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos * sx, sin * sy, x], [-sin * sx, cos * sy, y]])
