"""Meshes as other programs write them, small, for the tests of damaged files."""

from __future__ import annotations

import numpy as np

from .gltf_scenes import PIXELS, SIDES, TETRA, UVS, skinned_scene, uv_scene

_OBJ = """mtllib a.mtl
o first
v 0 0 0 1 0 0
v 3 0 0 0 1 0
v 3 1 0 0 0 1
v 1 1 0
v 1 3 0
v 0 3 0
vt 0 0
vt 1 0
vn 0 0 1
usemtl wood
f 1/1/1 2/2/1 3/1/1 4/2/1 5/1/1 6/2/1
g part
usemtl stone
f -6 -5 -4 -3
f 1 2
f 1//1 2//1 3//1
"""
_STL = "solid mug of vertex\n" + "".join(
    "facet normal 0 0 0\n outer loop\n"
    + "".join(f"  vertex {x:g} {y:g} {z:g}\n" for x, y, z in TETRA[side])
    + " endloop\nendfacet\n"
    for side in SIDES
)
_PLY_HEADER = """ply
format {} 1.0
comment TextureFile a.png
element vertex 4
property double x
property double y
property double z
property float nx
property float ny
property float nz
property int red
property int green
property int blue
element face 3
property list uchar int vertex_indices
property list uchar float texcoord
end_header
"""
_PLY_ROWS = "0 0 0 0 0 1 255 0 0\n1 0 0 0 0 1 0 9 0\n0 1 0 nan 0 1 0 0 9\n0 0 1 0 0 1 7 7 7\n"
_PLY_FACES = "3 0 1 2 6 0 0 1 0 1 1\n4 0 1 2 3 8 0 0 1 0 1 1 0 1\n2 0 1 4 0 0 1 1\n"


def _binary_ply() -> bytes:
    vertex = np.zeros(4, [("xyz", ">f8", 3), ("normal", ">f4", 3), ("rgb", ">i4", 3)])
    vertex["xyz"] = TETRA
    faces = b""
    for corners in ([0, 1, 2], [0, 1, 2, 3], [1, 2]):
        faces += bytes([len(corners)]) + np.array(corners, ">i4").tobytes()
        faces += bytes([2 * len(corners)]) + np.zeros(2 * len(corners), ">f4").tobytes()
    return _PLY_HEADER.format("binary_big_endian").encode() + vertex.tobytes() + faces


FOREIGN: dict[str, bytes] = {
    "polygons.obj": _OBJ.encode(),
    "text.stl": (_STL + "end solid mug\n").encode(),
    "text.ply": (_PLY_HEADER.format("ascii") + _PLY_ROWS + _PLY_FACES).encode(),
    "mixed.ply": _binary_ply(),
    "textured.gltf": uv_scene(UVS * 3, PIXELS, baseColorFactor=[0.5, 1, 1, 1]).text(),
    "skinned.gltf": skinned_scene(np.eye(4), np.diag([2.0, 2, 2, 1])).text(),
}
"""File name -> content."""
