"""What gradio and SuperSplat do with a file. The tests compare every rule with the programs themselves.

Sources: gsplat 1.2.9 (loaders/PLYLoader.ts; gradio 6's Model3D uses it for .ply and .splat, and Babylon for meshes),
@playcanvas/splat-transform 2.7 (readers/), which shares its readers with SuperSplat.
"""

from __future__ import annotations

from ..mesh import Mesh
from ._findings import Viewer
from ._header import Header

GSPLAT = "gsplat.js, gradio Model3D"
PLAYCANVAS = "SuperSplat, PlayCanvas, splat-transform"

_SCALARS = {"char", "uchar", "short", "ushort", "int", "uint", "float", "double"}
_KEYWORDS = {"ply", "format", "comment", "element", "property", "end_header"}
_NOISE = "draws noise: it takes the body for little-endian rows of the first element, whatever the header says"
_OLD_AND_NEW = "splat-transform 2.5 to 2.7: {}; 3.x and SuperSplat take the bytes for y down: {}"


def splat_viewers(suffix: str, y_down: bool, sh_degree: int, header: Header | None) -> tuple[Viewer, ...]:
    """The viewers of a file of Gaussians.

    Args:
        suffix: of its format, with the dot.
        y_down: True if the positions in the file are y down, False if they are y up.
        sh_degree: 0 to 3.
        header: of a .ply.
    """
    if suffix == ".spz":
        words = ("upside down", "upright") if y_down else ("upright", "upside down")
        return (
            Viewer(GSPLAT, "no", "they read .ply and .splat"),
            Viewer(PLAYCANVAS, "turned", _OLD_AND_NEW.format(*words)),
        )
    if suffix not in (".ply", ".splat", ".sog"):
        return (
            Viewer(GSPLAT, "no", "KHR_gaussian_splatting is unknown to them: bare points at most"),
            Viewer(PLAYCANVAS, "no", "splat-transform writes such a .glb but does not read it"),
        )
    one_colour = "; one colour from all sides: it drops f_rest" if sh_degree else ""
    behind = "upright; it turns files by 180 degrees about z: you see the side that gsplat.js has behind"
    over = "upside down: it turns files by 180 degrees about z"
    rows = (
        Viewer(GSPLAT, "yes" if y_down else "turned", ("upright" if y_down else "upside down") + one_colour),
        Viewer(PLAYCANVAS, "turned", behind if y_down else over),
    )
    if suffix == ".sog":
        return (Viewer(GSPLAT, "no", "they read .ply and .splat"), rows[1])
    if header is None:
        return rows
    refusals = (_gsplat_refusal(header), _playcanvas_refusal(header))
    return tuple(Viewer(row.name, "no", why) if why else row for row, why in zip(rows, refusals, strict=True))


def _gsplat_refusal(header: Header) -> str:
    if unknown := header.types - {"float", "int"}:
        columns = f"refuses it: columns must be float or int; some are {', '.join(sorted(unknown))}"
    else:
        columns = _NOISE if header.encoding != "binary_little_endian" or header.elements != ("vertex",) else ""
    return _layout_refusal(header, kilobytes=10) or columns


def _playcanvas_refusal(header: Header) -> str:
    columns = _NOISE if header.encoding != "binary_little_endian" else ""
    if unknown := (header.types - _SCALARS) | (header.keywords - _KEYWORDS):
        columns = f"refuses it: its reader does not know the header's {', '.join(sorted(unknown))}"
    return _layout_refusal(header, kilobytes=128) or columns


def _layout_refusal(header: Header, kilobytes: int) -> str:
    if header.newline != "LF":
        return f"refuses it: lines must end in LF; these end in {header.newline}"
    if header.size > kilobytes * 1024:
        return f"refuses it: the header must end within {kilobytes} KB; this one has {header.size:,} bytes"
    return ""


_GRADIO = {
    ".stl": "; grey, and mirrored in depth",
    ".obj": "; colours by a texture only, and only where its companions are served (set_static_paths)",
    ".gltf": "; only where its companions are served (set_static_paths)",
}


def mesh_viewers(suffix: str, mesh: Mesh) -> tuple[Viewer, ...]:
    """The viewers of a file that holds a mesh."""
    if suffix == ".obj" and mesh.normals is None:
        return (Viewer("gradio Model3D", "no", "a black silhouette: the file has no normals"),)
    return (Viewer("gradio Model3D", "yes", "upright, where y is up" + _GRADIO.get(suffix, "")),)
