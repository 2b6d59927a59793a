"""Base colours of glTF: materials and textures, and the two meanings of a colour's numbers.

Textures are sRGB, factors and vertex colours linear; our meshes are sRGB throughout.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html, section 3.9
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...errors import FormatError
from .. import _textures
from .._json import Values
from .container import Document

_WRAPS = {33071: "clamp", 33648: "mirror"}
"""CLAMP_TO_EDGE, the border's colour continues, and MIRRORED_REPEAT; other numbers repeat."""
_UNLIT, _SPECULAR = "KHR_materials_unlit", "KHR_materials_pbrSpecularGlossiness"
_OTHER_TEXTURES = ("normalTexture", "occlusionTexture", "emissiveTexture")


def linear_of(srgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def srgb_of(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@dataclass
class BaseColor:
    """What a material says of colour.

    Attributes:
        factor: [3], linear, multiplied with everything.
        texture: [h, w, 3] uint8 sRGB with the factor in it, or None.
        coordinates: which set of texture coordinates, TEXCOORD_n.
        transform: [2, 3] for (u, v, 1), v from the top, or None.
        wrap: how the texture goes on beyond its border, along u and along v: "repeat", "mirror" or "clamp".
    """

    factor: np.ndarray
    texture: np.ndarray | None = None
    coordinates: int = 0
    transform: np.ndarray | None = None
    wrap: tuple[str, str] = ("repeat", "repeat")


class Materials:
    """The materials of a document, each read once.

    Args:
        document: the glTF.
        notes: gets what a mesh cannot hold.
    """

    def __init__(self, document: Document, notes: list[str]) -> None:
        self._document = document
        self._notes = notes
        self._colors: dict[int, BaseColor] = {}
        self._textures = _textures.Textures(notes)
        self._tinted: dict[tuple[int, tuple[float, ...]], np.ndarray | None] = {}

    def of(self, primitive: Values) -> BaseColor:
        """The base colour of a primitive; white where it names no material."""
        if "material" not in primitive:
            return BaseColor(np.ones(3))
        index = self._document.number(primitive, "material", "materials")
        if index not in self._colors:
            self._colors[index] = self._base_color(self._document.item("materials", index))
        return self._colors[index]

    def _base_color(self, material: Values) -> BaseColor:
        extensions = material.inner("extensions")
        left_out = [name for name in _OTHER_TEXTURES if name in material]
        left_out += [name for name in extensions.data if name not in (_UNLIT, _SPECULAR)]
        if any(material.numbers("emissiveFactor", [0.0, 0, 0])):
            left_out.append("emissiveFactor")
        self._notes += [f"{name[:60]} of {material.path}" for name in left_out]
        if material.text("alphaMode", "OPAQUE") != "OPAQUE":
            self._notes.append(f"the transparency of {material.path}")
        values, kind = material.inner("pbrMetallicRoughness"), "baseColor"
        if _SPECULAR in extensions:  # its diffuse colour is the base colour of what is not metal
            values, kind = extensions.inner(_SPECULAR), "diffuse"
        factor = np.clip(values.numbers(f"{kind}Factor", [1.0] * 4)[:3], 0, 1)
        if f"{kind}Texture" not in values:
            return BaseColor(factor)
        info = values.inner(f"{kind}Texture")
        texture = self._document.follow(info, "index", "textures")
        color = BaseColor(factor, self._texture(texture, factor), info.integer("texCoord", 0, high=7))
        if "sampler" in texture:
            sampler = self._document.follow(texture, "sampler", "samplers")
            along_u, along_v = (_WRAPS.get(sampler.integer(name, 10497), "repeat") for name in ("wrapS", "wrapT"))
            color.wrap = along_u, along_v
        moved = info.inner("extensions").inner("KHR_texture_transform")
        if moved.data:
            color.coordinates = moved.integer("texCoord", color.coordinates, high=7)
            color.transform = _transform(moved)
        return color

    def _texture(self, texture: Values, factor: np.ndarray) -> np.ndarray | None:
        extensions = texture.inner("extensions")
        source = extensions.inner("EXT_texture_webp") if "EXT_texture_webp" in extensions else texture
        if "source" not in source:
            found = ", ".join(extensions.data)[:200] or "none"
            raise FormatError(f"{texture.path} must have a source, PNG, JPEG or WebP; got {found}: save it without")
        index = self._document.number(source, "source", "images")
        key = (index, tuple(factor.tolist()))
        if key not in self._tinted:
            image = self._textures.get(f"images[{index}]", lambda: self._content(self._document.item("images", index)))
            if image is not None and not np.all(factor == 1):
                # 256 values a channel: what each byte becomes when its light is multiplied
                light = linear_of(np.arange(256)[:, None] / 255) * factor  # [256, 3]
                table = np.rint(255 * srgb_of(light)).astype(np.uint8)
                image = np.stack([table[image[..., c], c] for c in range(3)], axis=-1)
            self._tinted[key] = image
        return self._tinted[key]

    def _content(self, image: Values) -> bytes | memoryview:
        if "uri" in image:
            return self._document.uri(image.text("uri"), image.path)
        return self._document.view(self._document.number(image, "bufferView", "bufferViews"))[0]


def _transform(moved: Values) -> np.ndarray:
    """[2, 3] of KHR_texture_transform: translation * rotation * scale, counter-clockwise with v from the top."""
    (x, y), (sx, sy) = moved.numbers("offset", [0.0, 0.0]), moved.numbers("scale", [1.0, 1.0])
    angle = moved.data.get("rotation", 0.0)
    if isinstance(angle, bool) or not isinstance(angle, (int, float)) or not abs(angle) < 1e6:
        raise FormatError(f"{moved.at('rotation')} must be an angle in radians; got {type(angle).__name__}")
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos * sx, sin * sy, x], [-sin * sx, cos * sy, y]])
