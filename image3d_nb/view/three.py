"""Live previews made of pythreejs objects: a mesh, splats, cameras. All that this project knows of pythreejs is here.

pythreejs 2.4.2 brings three.js r97. Its traps, and how they are avoided: every texture of a material's ``uniforms``
lands under the last of their names, so a material here has one uniform; a DataTexture is [H, W, 4]; shaders are GLSL
ES 1.00; geometry is a BufferGeometry of numpy arrays; InstancedBufferAttribute forgets its item size, so nothing is
instanced. Our own shaders show colours as they are stored, in sRGB, and need neither lights nor gammaOutput.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from .._optional import require
from ..cameras import LGM_FOVY, LGM_RADIUS, Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from ..rendering import render
from ._panel import Look, check_drawable, with_still
from ._three_lines import WIDTH, Lines, axis_lines, camera_lines, draw_lines, ray_lines
from ._three_splats import FRAGMENT_SHADER, splat_table, vertex_numbers, vertex_shader
from .page import as_colour
from .pictures import as_pictures

NEAR, FAR = 0.01, 1000.0  # world units
GREY = 0.7  # a mesh with neither colours nor a texture, as in image3d_nb/rendering
MANY = 100_000  # Gaussians; 124 bytes each
BYTES = 124


def preview_mesh(
    mesh: Mesh, *, size: int = 512, light: bool = True, wireframe: bool = False,
    background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float = LGM_RADIUS, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """A mesh to turn with the mouse: a pythreejs Renderer, which goes into any box of ipywidgets.

    A cell that ends with it also keeps a PNG of the first view, for places where nothing runs.

    Args:
        mesh: with vertex colours, a texture, or neither; world units.
        size: width and height, pixels.
        light: whether a soft light falls on it; otherwise its colours are shown as stored.
        wireframe: edges of the triangles only.
        background: one grey or (r, g, b), in [0, 1].
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units.
        fovy: degrees.

    Returns:
        ``pythreejs.Renderer``; its ``scene.children`` and ``camera`` are live.

    Raises:
        InputError: not a mesh, one without faces, or a number out of its range.
        ImportError: pythreejs is not there.

    Example:
        >>> import numpy as np
        >>> type(preview_mesh(Mesh(np.eye(3), np.array([[0, 1, 2]])))).__name__
        'Renderer'
    """
    if not isinstance(mesh, Mesh):
        raise InputError(f"preview_mesh must be given a Mesh; got {type(mesh).__name__}")
    check_drawable(mesh, "preview_mesh")
    look = Look(size, background, elevation, azimuth, radius, fovy)
    renderer = _renderer([_mesh(mesh, light, wireframe)], look)
    return with_still(renderer, lambda: look.picture(mesh, light), f"preview of {mesh!r}")


def preview_splats(
    gaussians: Gaussians, *, size: int = 512, background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float = LGM_RADIUS, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """Gaussians to turn with the mouse: a pythreejs Renderer, which goes into any box of ipywidgets.

    They are real anisotropic splats, drawn from the back to the front in one of 16 orders that were sorted beforehand:
    nearly right from everywhere, and exact from LGM's four views. :func:`image3d_nb.show` sorts for each view, is
    faster and sends a quarter of the data; this one mixes with meshes, cameras and widgets.

    Args:
        gaussians: N Gaussians, world units; one colour each, without view dependence.
        size, background, elevation, azimuth, radius, fovy: as for :func:`preview_mesh`.

    Returns:
        ``pythreejs.Renderer``.

    Raises:
        InputError: not Gaussians, none, NaN in them, or more than a texture holds.
        ImportError: pythreejs is not there.

    Example:
        >>> import torch
        >>> type(preview_splats(Gaussians.from_lgm(torch.rand(1, 8, 14)))).__name__
        'Renderer'
    """
    if not isinstance(gaussians, Gaussians):
        raise InputError(f"preview_splats must be given Gaussians; got {type(gaussians).__name__}")
    check_drawable(gaussians, "preview_splats")
    _warn(gaussians)
    look = Look(size, background, elevation, azimuth, radius, fovy)
    renderer = _renderer([_splats(gaussians, size)], look, smooth=False)
    return with_still(renderer, lambda: look.picture(gaussians), f"preview of {gaussians!r}")


def preview_cameras(
    cameras: Cameras, obj: Gaussians | Mesh | None = None, *, rays: Sequence[tuple[int, int]] = (), axes: bool = True,
    size: int = 512, light: bool = True, background: float | Sequence[float] = 1.0,
    elevation: float = 25.0, azimuth: float = 35.0, radius: float | None = None, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """Cameras as pyramids, with what they look at: a pythreejs Renderer, which goes into any box of ipywidgets.

    A pyramid's tip is the camera, its base the picture, and the roof on the base says which edge is up.

    Args:
        cameras: V cameras.
        obj: what they look at: Gaussians, a Mesh, or None.
        rays: pixels (column, row); from every camera a ray goes through the centre of each.
        axes: the world's x, y and z at the origin, in red, green and blue.
        radius: distance of the first view from the origin, world units; None: all cameras are in it.
        size, light, background, elevation, azimuth, fovy: as for :func:`preview_mesh`.

    Returns:
        ``pythreejs.Renderer``.

    Raises:
        InputError: not cameras, nothing to draw in the object, or pixels outside of the pictures.
        ImportError: pythreejs is not there.

    Example:
        >>> from image3d_nb import orbit_cameras
        >>> type(preview_cameras(orbit_cameras(), rays=[(128, 128)])).__name__
        'Renderer'
    """
    if not isinstance(cameras, Cameras):
        raise InputError(f"cameras must be Cameras, e.g. orbit_cameras(); got {type(cameras).__name__}")
    if not len(cameras):
        raise InputError("preview_cameras must be given at least one camera; got none")
    if obj is not None:
        check_drawable(obj, "preview_cameras")
    reach = max(float(cameras.positions.detach().norm(dim=-1).max()), 0.1)  # world units
    look = Look(size, background, elevation, azimuth, 2.5 * reach if radius is None else radius, fovy)
    lines = camera_lines(cameras, 0.25 * reach)
    if axes:
        lines += axis_lines(0.4 * reach)
    if len(rays):
        lines += ray_lines(cameras, rays, 1.6 * reach)
    parts = _lines(lines)
    if isinstance(obj, Mesh):
        parts.append(_mesh(obj, light))
    elif obj is not None:
        _warn(obj)
        parts.append(_splats(obj, size))
    renderer = _renderer(parts, look)
    return with_still(renderer, lambda: _still_of_cameras(lines, obj, look, light), f"preview of {cameras!r}")


def _still_of_cameras(lines: Lines, obj: Gaussians | Mesh | None, look: Look, light: bool) -> Image.Image:
    if obj is None:
        return draw_lines(look.empty(), lines, look.camera)
    camera = look.camera.to(obj.device) if isinstance(obj, Gaussians) else look.camera
    colour = as_colour(look.background)
    picture, alpha, depth = render(obj, camera, colour, return_alpha=True, return_depth=True)
    drawn = look.picture(obj, light) if isinstance(obj, Mesh) else as_pictures(picture)[0]
    hiding = (depth[0] * (alpha[0] > 0.5)).detach().cpu().double().numpy()  # what is mostly seen through hides nothing
    return draw_lines(drawn, lines, look.camera, hiding)


def _warn(gaussians: Gaussians) -> None:
    if gaussians.sh_degree:
        warnings.warn(
            f"the preview shows one colour a Gaussian: the view-dependent part (SH degree 1 to {gaussians.sh_degree}) "
            f"of {len(gaussians)} Gaussians is left out there",
            UserWarning,
            stacklevel=3,
        )
    if len(gaussians) > MANY:
        warnings.warn(
            f"{len(gaussians):,} Gaussians make a preview of {len(gaussians) * BYTES / 1e6:.0f} MB, slow to open and "
            "to turn; prune(min_opacity=...) makes it smaller, show(...) needs a quarter of that",
            UserWarning,
            stacklevel=3,
        )


def _three() -> Any:
    return require("pythreejs", extra="notebook", who="image3d_nb's previews")


def _renderer(parts: list[Any], look: Look, smooth: bool = True) -> Any:
    """A scene with a camera that the mouse turns about the origin."""
    three = _three()
    colour = "#" + "".join(f"{round(255 * value):02x}" for value in as_colour(look.background))
    camera = three.PerspectiveCamera(
        position=[float(value) for value in look.camera.positions[0]],
        quaternion=_turn(look.elevation, look.azimuth),
        fov=look.fovy, aspect=1.0, near=NEAR, far=FAR,
    )  # fmt: skip
    return three.Renderer(
        camera=camera, scene=three.Scene(children=[*parts, camera], background=colour),
        controls=[three.OrbitControls(controlling=camera)], width=look.size, height=look.size,
        antialias=smooth, clearColor=colour,
    )  # fmt: skip


def _turn(elevation: float, azimuth: float) -> tuple[float, float, float, float]:
    """The quaternion, in three's order (x, y, z, w), that turns a camera first down, then around: q_y(azimuth) q_x."""
    up, around = math.radians(elevation) / 2, math.radians(azimuth) / 2
    return (
        -math.cos(around) * math.sin(up), math.sin(around) * math.cos(up),
        math.sin(around) * math.sin(up), math.cos(around) * math.cos(up),
    )  # fmt: skip


def _attribute(values: Any, kind: Any = np.float32) -> Any:
    return _three().BufferAttribute(np.ascontiguousarray(values, kind), normalized=False)


def _splats(gaussians: Gaussians, size: int) -> Any:
    three = _three()
    table = splat_table(gaussians)
    texture = three.DataTexture(table, format="RGBAFormat", type="FloatType")
    material = three.ShaderMaterial(
        vertexShader=vertex_shader(len(gaussians), table, size), fragmentShader=FRAGMENT_SHADER,
        uniforms={"splats": {"value": texture, "type": "t"}},
        transparent=True, depthWrite=False, side="DoubleSide",
        blending="CustomBlending", blendSrc="OneFactor", blendDst="OneMinusSrcAlphaFactor",
    )  # fmt: skip
    geometry = three.BufferGeometry(attributes={"position": _attribute(vertex_numbers(len(gaussians)))})
    return three.Mesh(geometry, material, frustumCulled=False)


def _mesh(mesh: Mesh, light: bool, wireframe: bool = False) -> Any:
    three = _three()
    attributes = {
        "position": _attribute(mesh.vertices),
        "normal": _attribute(mesh.vertex_normals()),
        "index": _attribute(mesh.faces.ravel(), np.uint32),
    }
    uniforms: dict[str, Any] = {}
    textured = mesh.uvs is not None and mesh.texture is not None
    if mesh.texture is not None and textured:
        attributes["uv"] = _attribute(mesh.uvs)
        rows = np.flipud(mesh.texture)  # three's first row is the lowest
        opaque = np.full((*rows.shape[:2], 1), 255, np.uint8)
        picture = np.ascontiguousarray(np.concatenate([rows, opaque], 2))  # [h, w, 4]
        uniforms["picture"] = {
            "value": three.DataTexture(picture, magFilter="LinearFilter", minFilter="LinearFilter"), "type": "t",
        }  # fmt: skip
    elif mesh.vertex_colors is None:
        attributes["tint"] = _attribute(np.full((len(mesh.vertices), 3), GREY))
    else:
        attributes["tint"] = _attribute(mesh.vertex_colors)
    material = three.ShaderMaterial(
        vertexShader=_mesh_shader(light, textured),
        fragmentShader=_PICTURED if textured else _TINTED,
        uniforms=uniforms, side="DoubleSide", wireframe=wireframe,
    )  # fmt: skip
    return three.Mesh(three.BufferGeometry(attributes=attributes), material, frustumCulled=False)


def _lines(lines: Lines) -> list[Any]:
    """A LineSegments2 a colour: its material takes no colours by vertex."""
    three = _three()
    parts = []
    for colour in np.unique(lines.colors, axis=0):
        chosen = (lines.colors == colour).all(1)
        geometry = three.LineSegmentsGeometry(positions=np.ascontiguousarray(lines.ends[chosen], np.float32))
        paint = "#" + "".join(f"{round(255 * value):02x}" for value in colour)
        parts.append(three.LineSegments2(geometry, three.LineMaterial(linewidth=WIDTH, color=paint)))
    return parts


def _mesh_shader(light: bool, textured: bool) -> str:
    declared, surface = ("", "vec3(uv, 0.0)") if textured else ("attribute vec3 tint;", "tint")  # three declares uv
    brightness = "clamp(0.62 + 0.42 * dot(normalMatrix * normal, TO_LIGHT), 0.2, 1.0)" if light else "1.0"
    return Template(_MESH_VERTEX).substitute(declared=declared, surface=surface, brightness=brightness)


# The light is that of image3d_nb/rendering/mesh_zbuffer.py: left, above, behind the camera, wrapped so that no side
# turns black; here in OpenGL's axes.
_MESH_VERTEX = """
precision highp float;
$declared
varying vec3 surface;   // r, g, b; or u, v of the picture
varying float light;
const vec3 TO_LIGHT = vec3(-0.451, 0.551, 0.702);

void main() {
  surface = $surface;
  light = $brightness;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
}
"""

_TINTED = """
precision highp float;
varying vec3 surface;
varying float light;

void main() { gl_FragColor = vec4(surface * light, 1.0); }
"""

_PICTURED = """
precision highp float;
uniform sampler2D picture;
varying vec3 surface;
varying float light;

void main() { gl_FragColor = vec4(texture2D(picture, surface.xy).rgb * light, 1.0); }
"""
