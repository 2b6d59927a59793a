"""glTF 2.0, as .glb (one binary file) and .gltf (a text, and files beside it): meshes, and Gaussians.

Both hold either. The extension KHR_gaussian_splatting in the JSON is the mark of Gaussians; a scene with both reads as
Gaussians, with a warning. glTF is always y up, in metres: ``convention=`` "3dgs" and "opengl" are the
same here, and "ydown", which turns Gaussians all the same, is for programs that get it wrong.

A .gltf is written as its text, a .bin with the arrays, and a .png with the texture. Who needs one file takes .glb, or
``write(mesh, name, embed=True)``: the same text with all data inside, a third larger.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import base64
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from ...gaussians import Gaussians
from ...mesh import Mesh
from .._foreign import warn_left_out
from .._format import Format, Sibling
from .._mesh_parts import losses
from .accessors import Builder
from .container import encode, is_glb, is_gltf, mentions, open_document, write_glb
from .mesh import read_mesh, write_mesh
from .splats import EXTENSION, read_splats, write_splats

_MARK = f'"{EXTENSION}"'.encode()


def read(buffer: memoryview, sibling: Sibling) -> Mesh:
    """The scene's triangles as one mesh; see :func:`.gltf_mesh.read_mesh`. Warns of what a mesh has no room for.

    Raises:
        FormatError: damaged, no triangles, or with an extension that must be known and is not.
    """
    notes: list[str] = []
    mesh = read_mesh(open_document(buffer, sibling), notes)
    warn_left_out(notes, "glTF")
    return mesh


def read_gaussians(buffer: memoryview, sibling: Sibling) -> Gaussians:
    """The scene's Gaussians; see :func:`.gltf_splats.read_splats`. Warns of meshes beside them.

    Raises:
        FormatError: damaged, compressed, or with an extension that must be known and is not.
    """
    notes: list[str] = []
    gaussians = read_splats(open_document(buffer, sibling), notes)
    warn_left_out(notes, "glTF", "a set of Gaussians")
    return gaussians


def write(mesh: Mesh, name: str, embed: bool = False) -> dict[str, bytes]:
    """A .glb or .gltf of a mesh; see :func:`.gltf_mesh.write_mesh`.

    Args:
        mesh: vertices in metres.
        name: the file's name; its suffix says which of the two.
        embed: a .gltf with all data inside, instead of files beside it.

    Raises:
        InputError: a number beyond float32, a colour outside of [0, 1], a texture that is not uint8.
    """
    document, builder, picture = write_mesh(mesh)
    return _files(document, builder, picture, name, embed)


def write_gaussians(gaussians: Gaussians, name: str, embed: bool = False) -> dict[str, bytes]:
    """A .glb or .gltf of Gaussians; see :func:`.gltf_splats.write_splats` and, for the arguments, :func:`write`."""
    builder = Builder()
    document = write_splats(gaussians, builder)
    return _files(document, builder, None, name, embed)


def _files(
    document: dict[str, Any], builder: Builder, picture: bytes | None, name: str, embed: bool
) -> dict[str, bytes]:
    stem, suffix = PurePath(name).stem, PurePath(name).suffix.lower()
    inside = suffix == ".glb"
    files: dict[str, bytes] = {}

    def place(content: bytes, kind: str, ending: str) -> str:
        """The uri of a companion."""
        if embed:
            return f"data:{kind};base64,{base64.b64encode(content).decode()}"
        files[stem + ending] = content
        return quote(stem + ending)

    if picture is not None:
        where = {"bufferView": builder.view(picture)} if inside else {"uri": place(picture, "image/png", ".png")}
        document["images"] = [{"mimeType": "image/png", **where}]
    binary = builder.binary()
    document["accessors"], document["bufferViews"] = builder.accessors, builder.views
    document["buffers"] = [{"byteLength": len(binary)}]
    if inside:
        return {name: write_glb(document, binary)}
    document["buffers"][0]["uri"] = place(binary, "application/octet-stream", ".bin")
    return {name: encode(document), **files}


def _sniff_glb(buffer: memoryview) -> bool:
    return is_glb(buffer) and not mentions(buffer, _MARK)


def _sniff_glb_gaussians(buffer: memoryview) -> bool:
    return is_glb(buffer) and mentions(buffer, _MARK)


def _sniff_gltf(buffer: memoryview) -> bool:
    return is_gltf(buffer) and not mentions(buffer, _MARK)


def _sniff_gltf_gaussians(buffer: memoryview) -> bool:
    return is_gltf(buffer) and mentions(buffer, _MARK)


def _row(suffix: str, holds: type[Mesh] | type[Gaussians], **more: Any) -> Format:
    return Format(suffix=suffix, holds=holds, turns=False, unit_mm=1000, **more)


GLB = _row(".glb", Mesh, name="binary glTF 2.0", sniff=_sniff_glb, read=read, write=write, losses=losses)
GLB_GAUSSIANS = _row(
    ".glb", Gaussians, name="binary glTF 2.0, splats", sniff=_sniff_glb_gaussians, read=read_gaussians,
    write=write_gaussians,
)  # fmt: skip
GLTF = _row(".gltf", Mesh, name="glTF 2.0", sniff=_sniff_gltf, read=read, write=write, losses=losses)
GLTF_GAUSSIANS = _row(
    ".gltf", Gaussians, name="glTF 2.0, splats", sniff=_sniff_gltf_gaussians, read=read_gaussians,
    write=write_gaussians,
)  # fmt: skip
