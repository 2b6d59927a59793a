"""What each viewer does with a file, from the viewers' own sources.

Sources: gsplat 1.2.9 (loaders/PLYLoader.ts; gradio 6's Model3D is built on it for .ply and .splat, on Babylon for the
rest), @playcanvas/splat-transform 2.7 (readers/), Spark (src/ply.ts, src/SplatLoader.ts), nianticlabs/spz
(load-spz.cc).
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import NamedTuple

from ..mesh import Mesh
from ._header import Header
from ._record import Viewer

GSPLAT = "gsplat.js, gradio Model3D"
PLAYCANVAS = "SuperSplat, PlayCanvas, splat-transform"
SPARK = "Spark, three.js"
SPZ = "spz library"

_SCALARS = {"char", "uchar", "short", "ushort", "int", "uint", "float", "double"}
_KEYWORDS = {"ply", "format", "comment", "element", "property", "end_header"}
_NOISE = "draws noise: it takes the body for little-endian rows of the first element, whatever the header says"
_SPZ_MOST = 10 * 1024 * 1024


class _World(NamedTuple):
    """(shows, says) of a viewer for a file whose numbers are y down, and y up."""

    down: tuple[str, str]
    up: tuple[str, str]


_UPRIGHT = ("yes", "upright")
_OVER = ("turned", "upside down")
_BEHIND = ("turned", "upright; it turns files by 180 degrees about z: you see the side that gsplat.js has behind")
_PLY_WORLDS = {
    GSPLAT: _World(_UPRIGHT, _OVER),
    PLAYCANVAS: _World(_BEHIND, ("turned", "upside down: it turns files by 180 degrees about z")),
    SPARK: _World(
        ("turned", "upside down until you turn it by 180 degrees about x: mesh.quaternion.set(1, 0, 0, 0)"), _UPRIGHT
    ),
    SPZ: _World(("yes", "upright: it takes a .ply for y down, and turns it where told"), _OVER),
}
_SPZ_WORLDS = {
    PLAYCANVAS: _World(
        ("turned", "splat-transform 2.5 to 2.7: upside down; 3.x and SuperSplat take the bytes for y down: upright"),
        ("turned", "splat-transform 2.5 to 2.7: upright; 3.x and SuperSplat take the bytes for y down: upside down"),
    ),
    SPARK: _World(_OVER, _UPRIGHT),
    SPZ: _World(_OVER, _UPRIGHT),
}


def splat_viewers(suffix: str, y_down: bool, sh_degree: int, header: Header | None) -> tuple[Viewer, ...]:
    """The table for a file of Gaussians.

    Args:
        suffix: of its format, with the dot.
        y_down: whether the numbers in it are y down; else they are y up.
        sh_degree: 0 to 3.
        header: of a .ply.
    """
    if suffix == ".spz":
        return (Viewer(GSPLAT, "no", "they read .ply and .splat"), *_turned(_SPZ_WORLDS, y_down, sh_degree, {}))
    if suffix == ".ply":
        found = {name: told for name, find in _REFUSALS.items() if header and (told := find(header))}
        return _turned(_PLY_WORLDS, y_down, sh_degree, found)
    if suffix == ".sog":
        found = {GSPLAT: "they read .ply and .splat", SPZ: "it reads .ply and .spz"}
        return _turned(_PLY_WORLDS, y_down, sh_degree, found)
    if suffix == ".splat":
        found = {SPZ: "it reads .ply and .spz"}
        return _turned(_PLY_WORLDS, y_down, sh_degree, found)
    return (
        Viewer(GSPLAT, "no", "KHR_gaussian_splatting is unknown to them: bare points at most"),
        Viewer(PLAYCANVAS, "no", "splat-transform writes such a .glb, and reads none"),
        Viewer(SPARK, "no", "Spark reads .ply, .splat, .spz and .sog; three.js alone draws bare points"),
        Viewer(SPZ, "no", "it reads .ply and .spz"),
    )


def _turned(
    worlds: dict[str, _World], y_down: bool, sh_degree: int, refusals: dict[str, str]
) -> tuple[Viewer, ...]:
    rows = []
    for name, world in worlds.items():
        shows, says = world.down if y_down else world.up
        if name == GSPLAT and sh_degree:
            says += "; one colour from all sides: it drops f_rest"
        rows.append(Viewer(name, "no", refusals[name]) if name in refusals else Viewer(name, shows, says))
    return tuple(rows)


def _gsplat_refusal(header: Header) -> str:
    if header.newline != "LF":
        return f"refuses it: lines must end in LF, these end in {header.newline}"
    if header.size > 10 * 1024:
        return f"refuses it: the header must end within 10 KB, this takes {header.size:,} bytes"
    if header.types - {"float", "int"}:
        return f"refuses it: columns must be float or int, there are {_listed(header.types - {'float', 'int'})}"
    return _noise(header)


def _playcanvas_refusal(header: Header) -> str:
    if header.newline != "LF":
        return f"refuses it: lines must end in LF, these end in {header.newline}"
    if header.size > 128 * 1024:
        return f"refuses it: the header must end within 128 KB, this takes {header.size:,} bytes"
    if header.types - _SCALARS:
        return f"refuses it: columns of type {_listed(header.types - _SCALARS)} are unknown to it"
    if header.keywords - _KEYWORDS:
        return f"refuses it: it does not know the header's {_listed(header.keywords - _KEYWORDS)}"
    return _NOISE if header.encoding != "binary_little_endian" else ""


def _spark_refusal(header: Header) -> str:
    if header.newline != "LF":
        return f"refuses it: lines must end in LF, these end in {header.newline}"
    if header.size > 64 * 1024:
        return f"refuses it: the header must end within 64 KB, this takes {header.size:,} bytes"
    if header.types - _SCALARS - {"list"}:
        return f"refuses it: columns of type {_listed(header.types - _SCALARS - {'list'})} are unknown to it"
    return "" if header.encoding.startswith("binary") else f"refuses it: the body must be binary, not {header.encoding}"


def _spz_refusal(header: Header) -> str:
    if header.newline != "LF" or header.encoding != "binary_little_endian":
        return f"refuses it: it must be binary_little_endian with LF line ends, not {header.encoding}, {header.newline}"
    if header.types - {"float"} or len(header.elements) > 1:
        found = _listed((header.types - {"float"}) | {name for name, _ in header.elements[1:]})
        return f"refuses it: it must hold float columns of one element alone; there are {found}"
    if header.count > _SPZ_MOST:
        return f"refuses it: it takes {_SPZ_MOST:,} Gaussians at most, these are {header.count:,}"
    return ""


def _noise(header: Header) -> str:
    with_rows = [name for name, _ in header.elements]
    return _NOISE if header.encoding != "binary_little_endian" or with_rows != ["vertex"] else ""


def _listed(names: Set[str]) -> str:
    return ", ".join(sorted(names))


_REFUSALS: dict[str, Callable[[Header], str]] = {
    GSPLAT: _gsplat_refusal, PLAYCANVAS: _playcanvas_refusal, SPARK: _spark_refusal, SPZ: _spz_refusal,
}  # fmt: skip

_LOADERS = {".glb": "GLTFLoader", ".gltf": "GLTFLoader", ".obj": "OBJLoader", ".stl": "STLLoader", ".ply": "PLYLoader"}


_GRADIO = {
    ".stl": "; grey, and mirrored in depth",
    ".obj": "; colours by a texture only, and only where its companions are served (set_static_paths)",
    ".gltf": "; only where its companions are served (set_static_paths)",
}


def mesh_viewers(suffix: str, mesh: Mesh) -> tuple[Viewer, ...]:
    """The table for a file of a mesh."""
    told = "upright, where y is up" + _GRADIO.get(suffix, "")
    gradio = Viewer("gradio Model3D", "yes", told)
    if suffix == ".obj" and mesh.normals is None:
        gradio = Viewer("gradio Model3D", "no", "a black silhouette: the file has no normals")
    lying = "lying on its back until you turn it: .stl is z up" if suffix == ".stl" else "upright, where y is up"
    return (
        gradio,
        Viewer(PLAYCANVAS, "no", "they show splats alone"),
        Viewer("three.js", "yes", f"{_LOADERS.get(suffix, 'a loader')}; {lying}"),
        Viewer(SPZ, "no", "it reads splats alone"),
    )
