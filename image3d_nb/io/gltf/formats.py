"""glTF 2.0, as .glb (one binary file) and .gltf (a text, and files beside it): meshes, and Gaussians.

Both hold either. The extension KHR_gaussian_splatting in the JSON is the mark of Gaussians; a scene with both reads as
Gaussians, with a warning. glTF is always y up, in metres: ``convention=`` "3dgs" and "opengl" are the
same here; "ydown" turns Gaussians for programs that ignore the specification.

A .gltf is written as its text, a .bin with the arrays, and a _texture.png. A .glb is one file.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from ...gaussians import Gaussians
from ...mesh import Mesh
from .. import _textures
from .._foreign import warn_left_out
from .._format import Format, Sibling
from .._mesh_parts import losses
from .accessors import Builder
from .container import encode, is_glb, is_gltf, mentions, open_document, write_glb
from .mesh import read_mesh, write_mesh
from .splats import EXTENSION, read_splats, write_splats

_MARK = f'"{EXTENSION}"'.encode()


def read(buffer: memoryview, sibling: Sibling) -> Mesh:
    """The scene's triangles as one mesh; see :func:`.mesh.read_mesh`. A warning lists what a mesh cannot hold.

    Raises:
        FormatError: damaged, no triangles, or with a required extension that is not supported.
    """
    notes: list[str] = []
    mesh = read_mesh(open_document(buffer, sibling), notes)
    warn_left_out(notes, "glTF")
    return mesh


def read_gaussians(buffer: memoryview, sibling: Sibling) -> Gaussians:
    """The scene's Gaussians; see :func:`.splats.read_splats`. A warning lists meshes beside them.

    Raises:
        FormatError: damaged, compressed, or with a required extension that is not supported.
    """
    notes: list[str] = []
    gaussians = read_splats(open_document(buffer, sibling), notes)
    warn_left_out(notes, "glTF", "a set of Gaussians")
    return gaussians


def write(mesh: Mesh, name: str) -> dict[str, bytes]:
    """A .glb or .gltf of a mesh in metres, by the suffix of the name; see :func:`.mesh.write_mesh`.

    Raises:
        InputError: a number beyond float32, a colour outside [0, 1], a texture without a pixel.
    """
    document, builder, texture = write_mesh(mesh)
    return _files(document, builder, texture, name)


def write_gaussians(gaussians: Gaussians, name: str) -> dict[str, bytes]:
    """A .glb or .gltf of Gaussians (float32, on the CPU, y up), by the suffix of the name."""
    builder = Builder()
    return _files(write_splats(gaussians, builder), builder, None, name)


def _files(document: dict[str, Any], builder: Builder, texture: bytes | None, name: str) -> dict[str, bytes]:
    stem, inside = PurePath(name).stem, PurePath(name).suffix.lower() == ".glb"
    files: dict[str, bytes] = {}
    if texture is not None:
        where: dict[str, Any] = {"uri": quote(_textures.file_name(name))}
        if inside:
            where = {"bufferView": builder.view(texture)}
        else:
            files[_textures.file_name(name)] = texture
        document["images"] = [{"mimeType": "image/png", **where}]
    binary = builder.binary()
    document["accessors"], document["bufferViews"] = builder.accessors, builder.views
    document["buffers"] = [{"byteLength": len(binary)}]
    if inside:
        return {name: write_glb(document, binary)}
    document["buffers"][0]["uri"] = quote(f"{stem}.bin")
    return {name: encode(document), f"{stem}.bin": binary, **files}


def _row(suffix: str, holds: type[Mesh] | type[Gaussians], name: str) -> Format:
    starts = is_glb if suffix == ".glb" else is_gltf
    splats = holds is Gaussians

    def sniff(buffer: memoryview) -> bool:
        return starts(buffer) and mentions(buffer, _MARK) == splats

    if splats:
        return Format(suffix, name, holds, sniff, read_gaussians, write_gaussians, turns=False, unit_mm=1000)
    return Format(suffix, name, holds, sniff, read, write, losses, turns=False, unit_mm=1000)


GLB = _row(".glb", Mesh, "binary glTF 2.0")
GLB_GAUSSIANS = _row(".glb", Gaussians, "binary glTF 2.0, splats")
GLTF = _row(".gltf", Mesh, "glTF 2.0")
GLTF_GAUSSIANS = _row(".gltf", Gaussians, "glTF 2.0, splats")
