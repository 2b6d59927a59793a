"""glTF that is damaged or means harm: refused with the place and the reason, in little memory."""

from __future__ import annotations

import base64
import io
import json
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from image3d_nb.errors import FormatError
from image3d_nb.io.gltf import formats as gltf

from .gltf_scenes import PIXELS, SIDES, TETRA, UVS, Json, Scene, missing, uv_scene


def set_at(path: str, value: Any) -> Callable[[Json], None]:
    """``a.0.b`` of a JSON becomes a value."""

    def change(document: Json) -> None:
        at: Any = document
        *way, last = (int(step) if step.isdecimal() else step for step in path.split("."))
        for step in way:
            at = at[step]
        at[last] = value

    return change


HOSTILE: list[tuple[Callable[[Json], None], str]] = [
    (set_at("accessors.0.count", 10**12), "must not expand the scene"),
    (set_at("accessors.0.count", -1), r"accessors\[0\]\.count must be a whole number from 1"),
    (set_at("accessors.0.count", 4.0), "count must be a whole number"),
    (set_at("accessors.0.count", True), "count must be a whole number"),
    (set_at("accessors.0.byteOffset", 10**15), "must lie in bufferViews"),
    (set_at("accessors.0.byteOffset", -4), r"byteOffset must be a whole number from 0 .*; got -4"),
    (set_at("accessors.0.componentType", 5124), "componentType must be one of 5120"),
    (set_at("accessors.0.componentType", "float"), "componentType must be a whole number"),
    (set_at("accessors.0.type", "MAT4"), "must lie in bufferViews"),
    (set_at("accessors.0.type", "VEC2"), "POSITION must be VEC3; got 2"),
    (set_at("accessors.0", {"componentType": 5126, "type": "VEC3", "count": 1_500_000}), "TEXCOORD_0 must have a row"),
    (set_at("accessors.0", []), r"accessors\[0\] must be an object; got a list of 0"),
    (set_at("accessors", {"a": 1}), "accessors must be a list; got an object"),
    (set_at("accessors.1.componentType", 5122), "indices must be unsigned"),
    (set_at("accessors.1.count", 11), "3 indices a triangle; got 11"),
    (set_at("bufferViews.0.byteLength", 10**9), r"bufferViews\[0\] must lie in buffers\[0\], \d+ bytes; got"),
    (set_at("bufferViews.0.byteOffset", 2**53), r"bufferViews\[0\] must lie in buffers"),
    (set_at("bufferViews.0.byteStride", 4), "byteStride must be at least 12"),
    (set_at("bufferViews.0.byteStride", 10**6), "byteStride must be a whole number from 0 to 252"),
    (set_at("bufferViews.0.buffer", 1), r"buffer must be one of the 1 buffers; got 1"),
    (set_at("buffers.0.byteLength", 10**12), r"buffers\[0\] must have 1000000000000 bytes; got"),
    (set_at("buffers.0.uri", "http://example.com/a.bin"), "must be a file beside this one, or data"),
    (set_at("buffers.0.uri", "//example.com/a.bin"), "must be a file beside this one, or data"),
    (set_at("buffers.0.uri", "data:application/octet-stream,abc"), "must be base64"),
    (set_at("buffers.0.uri", "data:;base64,a*b"), "must be base64"),
    (set_at("buffers.0.uri", "../../etc/passwd\0"), "must be a file beside this one"),
    (set_at("buffers.0", {"byteLength": 4}), "must have a uri"),
    (set_at("nodes.0.children", [0]), r"nodes\[0\] must have one parent and not be its own ancestor"),
    (set_at("nodes", [{"children": [1, 1], "mesh": 0}, {}]), r"nodes\[1\] must have one parent"),
    (set_at("nodes", [{"children": [1]}, {"children": [0]}]), r"nodes\[0\] must have one parent"),
    (set_at("nodes.0.children", [7]), "children must be nodes 0 to 0"),
    (set_at("nodes.0.children", 7), "children must be a list; got 7"),
    (set_at("nodes.0.matrix", [1] * 15), "matrix must be 16 finite numbers; got a list of 15"),
    (set_at("nodes.0.scale", [1e300] * 3), "scale must be 3 finite numbers"),
    (set_at("nodes.0.scale", [1, 1, 10**400]), "scale must be 3 finite numbers"),
    (set_at("nodes.0.scale", [1e29, 1, 1]), "NONE"),
    (set_at("nodes.0.rotation", [0, 0, 0, 0]), "quaternion longer than 0"),
    (set_at("nodes.0.mesh", 10**30), "mesh must be one of the 1 meshes; got a number above"),
    (set_at("nodes", [{"mesh": 0}] * 600_000), "must have at most 500,000 values"),
    (set_at("scenes.0.nodes", [-1]), "nodes must be nodes 0 to 0"),
    (set_at("scene", 3), "scene must be one of the 1 scenes; got 3"),
    (set_at("meshes.0.primitives", []), "at least one triangle; got 0"),
    (set_at("meshes.0.primitives.0.mode", 7), "mode must be a whole number from 0 to 6"),
    (set_at("meshes.0.primitives.0.mode", 1), "at least one triangle; got 0"),
    (set_at("meshes.0.primitives.0.attributes", {}), "must have POSITION"),
    (set_at("meshes.0.primitives.0.attributes.POSITION", 99), "POSITION must be one of the 3 accessors; got 99"),
    (set_at("meshes.0.primitives.0.attributes.NORMAL", 1), "NORMAL must have a row a vertex, 4; got 12"),
    (set_at("meshes.0.primitives.0.material", 0.5), "material must be one of the 1 materials; got 0.5"),
    (set_at("materials.0.pbrMetallicRoughness.baseColorFactor", [None] * 4), "baseColorFactor must be 4 finite"),
    (set_at("materials.0.pbrMetallicRoughness.baseColorTexture.index", "0"), "index must be one of the 1 textures"),
    (set_at("textures.0.source", 5), "source must be one of the 1 images; got 5"),
    (set_at("textures.0", {"extensions": {"KHR_texture_basisu": {"source": 0}}}), "must have a source, PNG, JPEG or"),
    (set_at("asset", {"version": "1.0"}), r"asset\.version must be 2\.x; got '1\.0'"),
    (set_at("asset", {}), r"asset\.version must be a text; got None"),
    (set_at("extensionsRequired", ["KHR_draco_mesh_compression"]), "needs KHR_draco_mesh_compression"),
    (set_at("extensionsRequired", ["KHR_texture_basisu", "EXT_meshopt"]), "needs EXT_meshopt, KHR_texture_basisu"),
    (set_at("extensionsRequired", [["x"], 3]), r"needs 3, \['x'\]"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_hostile_json(change: Callable[[Json], None], message: str) -> None:
    document = json.loads(uv_scene(UVS, PIXELS).text())
    change(document)
    content = memoryview(json.dumps(document).encode())
    tracemalloc.start()
    try:
        if message == "NONE":  # large, and yet right
            assert len(gltf.read(content, missing).faces) == 4
        else:
            with pytest.raises(FormatError, match=message):
                gltf.read(content, missing)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_overflow_and_nan_in_the_arrays_are_refused() -> None:
    scene = Scene()
    scene.primitive(TETRA * 1e38, SIDES)
    scene.json["nodes"][0]["scale"] = [100, 1, 1]
    with pytest.raises(FormatError, match="finite"):
        scene.read()
    for value in (np.nan, np.inf):
        scene = Scene()
        scene.primitive(np.where(TETRA == 1, value, TETRA), SIDES)
        with pytest.raises(FormatError, match="finite"):
            scene.read()


def test_zeros_without_bytes_are_bounded() -> None:
    scene = Scene()
    scene.primitive(TETRA)
    scene.json["accessors"][0] = {"componentType": 5126, "type": "VEC3", "count": 1_500_000}
    with pytest.raises(FormatError, match="must have a bufferView for more than 1000000 rows"):
        scene.read()


def test_a_small_file_cannot_become_a_large_mesh() -> None:
    scene = Scene()
    scene.primitive(np.zeros((1000, 3)), np.zeros(3000, int))
    scene.json["nodes"] = [{"mesh": 0}] * 20_000
    scene.json["scenes"] = [{"nodes": list(range(20_000))}]
    with pytest.raises(FormatError, match="must not expand the scene"):
        scene.read()


def test_a_long_chain_of_nodes_is_no_trouble() -> None:
    scene = Scene()
    scene.primitive(TETRA, SIDES)
    scene.json["nodes"] = [{"children": [i + 1], "translation": [1, 0, 0]} for i in range(10_000)] + [{"mesh": 0}]
    np.testing.assert_allclose(scene.read().vertices, TETRA + np.array([10_000, 0, 0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested deeper than Python can follow"),
        ('{"asset":' * 100_000, "nested deeper than Python can follow"),
        ("[" + "0," * 3_000_000 + "0]", "must have at most 500,000 values"),
        ('{"asset": {"version": "2.0"}, "a": NaN}', "NaN is not valid JSON"),
        ('{"asset": {"version": "2.0"}', "must be whole and correct"),
        ('{"asset": "\xff"}', "must be whole and correct"),
        ('{"asset": ' + "9" * 5000 + "}", "must be whole and correct"),
        ("[]", " must be an object; got a list of 0"),
        ('"asset"', "must be an object"),
        ("null", "must be an object"),
    ],
)
def test_json_that_is_none(text: str, message: str) -> None:
    content = text.encode("latin-1")
    for data in (content, glb(content)):
        if data[:4] == b"glTF" or data[:1] == b"{":
            with pytest.raises(FormatError, match=message):
                gltf.read(memoryview(data), missing)


def glb(text: bytes, binary: bytes = b"", version: int = 2) -> bytes:
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    if binary:
        chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<4sII", b"glTF", version, 12 + len(chunks)) + chunks


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (glb(b"{}", version=1), "version 2; at byte 4 it says 1"),
        (glb(b"{}")[:16] + b"XXXX" + glb(b"{}")[20:], r"first chunk of a \.glb must be JSON"),
        (glb(b"{}") + b"", "asset.version must be a text"),
        (glb(b"{}")[:12] + struct.pack("<I", 2**31) + glb(b"{}")[16:], r"chunk at byte 12 must end before byte 24"),
        (glb(b"{}")[:8] + struct.pack("<I", 2**32 - 1) + glb(b"{}")[12:], "must have the 4294967295 bytes"),
        (struct.pack("<4sII", b"glTF", 2, 12) + bytes(8), "must have a JSON chunk"),
    ],
)
def test_containers_that_are_none(content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        gltf.read(memoryview(content), missing)


def test_images_that_unpack_beyond_measure_are_left_out() -> None:
    scene = uv_scene(UVS, np.zeros((2, 2, 3)))
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    document = json.loads(scene.text())
    document["images"] = [{"uri": f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"}]
    tracemalloc.start()
    try:
        with pytest.warns(UserWarning, match=r"images\[0\]"):
            assert gltf.read(memoryview(json.dumps(document).encode()), missing).texture is None
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
