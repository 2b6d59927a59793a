"""Live previews made of pythreejs objects: a mesh, splats, cameras. All that this project knows of pythreejs is here.

pythreejs 2.4.2 brings three.js r97. Its traps, and how they are avoided: every texture of a material's ``uniforms``
lands under the last of their names, so a material here has one uniform; a DataTexture is [H, W, 4]; shaders are GLSL
ES 1.00; geometry is a BufferGeometry of numpy arrays; InstancedBufferAttribute forgets its item size, so nothing is
instanced. Our own shaders show colours as they are stored, in sRGB, and need neither lights nor gammaOutput.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from .._optional import require
from ..cameras import LGM_FOVY, Cameras, pixel_rays
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from . import frusta
from ._panel import check_size, object_scene, with_still
from ._three_splats import FRAGMENT_SHADER, splat_table, vertex_numbers, vertex_shader
from .pictures import as_pictures
from .scene import Scene, View, as_colour, frame, make_scene
from .stills import draw

NEAR, FAR = 1 / 150, 100.0  # of the picture's depth, in distances from the camera to what it looks at
GREY = 0.7  # a mesh with neither colours nor a texture, as in image3d_nb/rendering
MANY = 100_000  # Gaussians; 124 bytes each
BYTES = 124
MAX_STILL = 512  # pixels; a notebook stores the PNG, so it stays small


def preview_mesh(
    mesh: Mesh, *, size: int = 512, light: bool = True, wireframe: bool = False,
    background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, fovy: float = LGM_FOVY,
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
        radius: distance from the origin, world units. None: what fits into the view of LGM's cameras is seen as they
            see it, at 1.5; anything else from as far as it takes to see all of it, around its middle.
        fovy: degrees.

    Returns:
        ``pythreejs.Renderer``; its ``scene.children`` and ``camera`` are live. What lies far from the origin is moved
        there, in a ``pythreejs.Group``.

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
    look = _Look(size, background, elevation, azimuth, radius, fovy, light, wireframe)
    return _preview(object_scene(mesh, "preview_mesh"), look, repr(mesh))


def preview_splats(
    gaussians: Gaussians, *, size: int = 512, background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """Gaussians to turn with the mouse: a pythreejs Renderer, which goes into any box of ipywidgets.

    They are real anisotropic splats, drawn from the back to the front in one of 16 orders that were sorted beforehand:
    nearly right from everywhere, and exact from LGM's four views. :func:`image3d_nb.show` sorts for each view and
    sends a quarter of the data; this one mixes with meshes, cameras and widgets.

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
    look = _Look(size, background, elevation, azimuth, radius, fovy)
    return _preview(object_scene(gaussians, "preview_splats"), look, repr(gaussians))


def preview_cameras(
    cameras: Cameras, obj: Gaussians | Mesh | None = None, *, pictures: Any = None,
    rays: int | Sequence[tuple[int, int]] = 0, axes: bool = True,
    size: int = 512, light: bool = True, background: float | Sequence[float] = 1.0,
    elevation: float = 25.0, azimuth: float = 35.0, radius: float | None = None, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """Cameras as pyramids, with what they look at: a pythreejs Renderer, which goes into any box of ipywidgets.

    A pyramid's tip is the camera, its base the picture, and the roof on the base says which edge is up.

    Args:
        cameras: V cameras.
        obj: what they look at: Gaussians, a Mesh, or None.
        pictures: one for each camera, shown on its picture plane; whatever ``show`` takes.
        rays: pixels (column, row): from every camera a ray goes through the centre of each. Or a number: that many
            times as many rays, evenly over each picture.
        axes: the axes of the world and of each camera: x red, y green, z blue.
        size, light, background, elevation, azimuth, radius, fovy: as for :func:`preview_mesh`.

    Returns:
        ``pythreejs.Renderer``.

    Raises:
        InputError: not cameras, nothing to draw in the object, pictures that do not fit the cameras, or pixels
            outside of them.
        ImportError: pythreejs is not there.

    Example:
        >>> from image3d_nb import orbit_cameras
        >>> type(preview_cameras(orbit_cameras(), rays=[(128, 128)])).__name__
        'Renderer'
    """
    if not isinstance(cameras, Cameras):
        raise InputError(f"cameras must be Cameras, e.g. orbit_cameras(); got {type(cameras).__name__}")
    chosen = () if isinstance(rays, int) else rays
    options: dict[str, Any] = {"pictures": pictures, "axes": axes, "rays": rays if isinstance(rays, int) else 0}
    if obj is None:
        scene = make_scene(cameras, "preview_cameras", **options)
    else:
        object_scene(obj, "preview_cameras")
        scene = make_scene(obj, "preview_cameras", cameras=cameras, **options)
    if len(chosen) and scene.lines is not None:
        scene = dataclasses.replace(scene, lines=scene.lines + pixel_lines(cameras, chosen))
    look = _Look(size, background, elevation, azimuth, radius, fovy, light)
    return _preview(scene, look, repr(cameras))


def pixel_lines(cameras: Cameras, pixels: Sequence[tuple[int, int]]) -> frusta.Lines:
    """The rays through the centres of pixels (column, row) of every camera, to the far side of the origin.

    Raises:
        InputError: a pixel that is none, or outside of the picture.
    """
    wide, high = cameras.width, cameras.height
    wanted = np.array(pixels) if all(np.shape(pixel) == (2,) for pixel in pixels) else np.zeros((1, 2))
    if wanted.dtype.kind not in "iu" or ((wanted < 0) | (wanted >= (wide, high))).any():
        raise InputError(f"rays must be pixels (column, row) in a picture of {wide} x {high}; got {pixels!r}")
    columns, rows = wanted.T
    start, along = (field[:, rows, columns].detach().cpu().double().numpy() for field in pixel_rays(cameras))
    length = 2 * float(cameras.positions.norm(dim=-1).median()) or 1.0
    ends = np.stack([start, start + length * along], 2)  # [V, P, 2, 3]
    colors = frusta.frusta(cameras).colors.reshape(len(cameras), -1, 3)[:, :1]  # [V, 1, 3], each camera's
    return frusta.Lines(ends.reshape(-1, 2, 3).astype(np.float32), colors.repeat(len(wanted), 1).reshape(-1, 3))


@dataclasses.dataclass(frozen=True)
class _Look:
    """How a scene is seen; the words of :func:`preview_mesh`."""

    size: int
    background: float | Sequence[float]
    elevation: float
    azimuth: float
    radius: float | None
    fovy: float
    light: bool = True
    wireframe: bool = False


def _preview(scene: Scene, look: _Look, text: str) -> Any:
    """A pythreejs scene with a camera that the mouse turns, and the same picture of our own for a saved notebook."""
    check_size(look.size)
    colour = as_colour(look.background)
    view = _around_origin(frame(scene, look.elevation, look.azimuth, look.radius, look.fovy))
    seen_from = dataclasses.replace(view, target=(0.0, 0.0, 0.0)).cameras(look.size)  # checks the angles
    three, paint = _three(), _paint(colour)
    camera = three.PerspectiveCamera(
        position=seen_from.positions[0].tolist(), quaternion=_turn(look.elevation, look.azimuth),
        fov=look.fovy, aspect=1.0, near=NEAR * view.radius, far=FAR * view.radius,
    )  # fmt: skip
    smooth = scene.gaussians is None or scene.lines is not None  # edges are drawn four times as fine; splats have none
    parts = _parts(scene, look)
    if any(view.target):
        parts = [three.Group(children=parts, position=[-value for value in view.target])]
    renderer = three.Renderer(
        camera=camera, scene=three.Scene(children=[*parts, camera], background=paint),
        controls=[three.OrbitControls(controlling=camera)],
        width=look.size, height=look.size, antialias=smooth, clearColor=paint,
    )  # fmt: skip

    def still() -> Image.Image:
        return as_pictures(draw(scene, view.cameras(min(look.size, MAX_STILL)), colour, look.light))[0]

    return with_still(renderer, still, f"preview of {text}")


def _around_origin(view: View) -> View:
    """The same view about the origin, a little farther away, if it was about a point near it.

    OrbitControls look at the origin until the mouse moves, whatever their ``target``; what is far from there must be
    moved there, and then the numbers in the scene are no longer those of the world.
    """
    distance = math.dist(view.target, (0, 0, 0))
    if distance > 0.3 * view.radius:
        return view
    return dataclasses.replace(view, radius=view.radius + distance, target=(0.0, 0.0, 0.0))


def _parts(scene: Scene, look: _Look) -> list[Any]:
    parts: list[Any] = [] if scene.lines is None else _lines(scene.lines)
    if scene.panes is not None:
        parts.append(_mesh(scene.panes, light=False))
    if scene.mesh is not None:
        parts.append(_mesh(scene.mesh, look.light, look.wireframe))
    if scene.gaussians is not None:
        _warn(scene.gaussians)
        parts.append(_splats(scene.gaussians, look.size))
    return parts


def _warn(gaussians: Gaussians) -> None:
    level = 5  # the line that called the preview
    if gaussians.sh_degree:
        warnings.warn(
            f"the preview shows one colour a Gaussian: the view-dependent part (SH degree 1 to {gaussians.sh_degree}) "
            f"of {len(gaussians)} Gaussians is left out there",
            UserWarning,
            stacklevel=level,
        )
    if len(gaussians) > MANY:
        warnings.warn(
            f"{len(gaussians):,} Gaussians make a preview of {len(gaussians) * BYTES / 1e6:.0f} MB, slow to open and "
            "to turn; prune(min_opacity=...) makes it smaller, show(...) needs a quarter of that",
            UserWarning,
            stacklevel=level,
        )


def _three() -> Any:
    return require("pythreejs", extra="notebook", who="image3d_nb's previews")


def _paint(colour: Any) -> str:
    return "#" + "".join(f"{round(255 * float(value)):02x}" for value in colour)


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


def _lines(lines: frusta.Lines) -> list[Any]:
    """A LineSegments2 a colour: its material takes no colours by vertex."""
    three = _three()
    parts = []
    for colour in np.unique(lines.colors, axis=0):
        chosen = np.ascontiguousarray(lines.ends[(lines.colors == colour).all(1)], np.float32)
        material = three.LineMaterial(linewidth=frusta.LINE_WIDTH, color=_paint(colour))
        parts.append(three.LineSegments2(three.LineSegmentsGeometry(positions=chosen), material))
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
