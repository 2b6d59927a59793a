"""glTF put together by hand, for the tests of its reader."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
from PIL import Image

from image3d_nb.io.gltf import formats as gltf
from image3d_nb.mesh import Mesh

Json = dict[str, Any]


class Scene:
    """Puts a glTF together by hand, with its buffer inside the text."""

    def __init__(self) -> None:
        self.binary = b""
        self.json: Json = {
            "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": []}], "accessors": [], "bufferViews": [],
        }  # fmt: skip

    def view(self, content: bytes, **more: Any) -> int:
        self.json["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content), **more}
        )
        self.binary += content + bytes(-len(content) % 4)
        return len(self.json["bufferViews"]) - 1

    def accessor(self, rows: Any, dtype: str, **more: Any) -> int:
        array = np.array(rows, dtype)
        types = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
        kind = "SCALAR" if array.ndim == 1 else f"VEC{array.shape[1]}"
        own = {"bufferView": self.view(array.tobytes())} if "bufferView" not in more else {}
        entry = {"componentType": types[dtype], "count": len(array), "type": kind, **own, **more}
        self.json["accessors"].append(entry)
        return len(self.json["accessors"]) - 1

    def primitive(self, positions: Any, faces: Any = None, index: str = "u2", mode: int = 4, **more: Any) -> Json:
        entry: Json = {"attributes": {"POSITION": self.accessor(positions, "f4")}, "mode": mode, **more}
        if faces is not None:
            entry["indices"] = self.accessor(np.array(faces).reshape(-1), index)
        self.json["meshes"][0]["primitives"].append(entry)
        return entry

    def picture(self, pixels: Any) -> int:
        """A texture; its index."""
        stream = io.BytesIO()
        Image.fromarray(np.array(pixels, np.uint8)).save(stream, "PNG")
        self.json.setdefault("images", []).append({"mimeType": "image/png", "bufferView": self.view(stream.getvalue())})
        self.json.setdefault("textures", []).append({"source": len(self.json["images"]) - 1})
        return len(self.json["textures"]) - 1

    def material(self, **surface: Any) -> int:
        self.json.setdefault("materials", []).append({"pbrMetallicRoughness": surface})
        return len(self.json["materials"]) - 1

    def text(self) -> bytes:
        uri = f"data:application/octet-stream;base64,{base64.b64encode(self.binary).decode()}"
        return json.dumps({**self.json, "buffers": [{"byteLength": len(self.binary), "uri": uri}]}).encode()

    def read(self) -> Mesh:
        return gltf.read(memoryview(self.text()), missing)


def missing(name: str) -> bytes:
    raise FileNotFoundError(2, "No such file", name)


TETRA = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
SIDES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
PIXELS = np.arange(4 * 6 * 3).reshape(4, 6, 3) * 3
UVS = np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.25]], np.float32)


def uv_scene(uvs: Any, pixels: Any, **surface: Any) -> Scene:
    scene = Scene()
    primitive = scene.primitive(TETRA, SIDES)
    primitive["attributes"]["TEXCOORD_0"] = scene.accessor(uvs, "f4")
    info = {"index": scene.picture(pixels)}
    primitive["material"] = scene.material(baseColorTexture=info, **surface)
    return scene


def skinned_scene(node: np.ndarray, joint: np.ndarray, bound: np.ndarray | None = None) -> Scene:
    """A tetrahedron that hangs on one joint; all matrices [4, 4]: of its node, the joint, where it was bound."""
    scene = Scene()
    attributes = scene.primitive(TETRA, SIDES)["attributes"]
    attributes["JOINTS_0"] = scene.accessor([[0, 0, 0, 0]] * 4, "u1")
    attributes["WEIGHTS_0"] = scene.accessor([[1.0, 0, 0, 0]] * 4, "f4")
    inverse = np.linalg.inv(np.eye(4) if bound is None else bound)
    view = scene.view(inverse.T.astype("<f4").tobytes())
    matrices = scene.accessor([[0.0] * 4], "f4", bufferView=view, type="MAT4")
    scene.json["skins"] = [{"joints": [1], "inverseBindMatrices": matrices}]
    scene.json["nodes"] = [
        {"mesh": 0, "skin": 0, "matrix": node.T.reshape(-1).tolist()}, {"matrix": joint.T.reshape(-1).tolist()}
    ]  # fmt: skip
    scene.json["scenes"] = [{"nodes": [0, 1]}]
    return scene
