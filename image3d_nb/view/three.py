"""Live previews made of stock pythreejs objects: a mesh, splats as points, cameras. All our use of pythreejs is here.

pythreejs 2.4.2 wraps three.js r97. Without gamma settings that version shows colours as they are stored, in sRGB. A
DataTexture is [H, W, 4] with the lowest row first, and geometry is a BufferGeometry of numpy arrays.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from .._optional import require
from ..cameras import LGM_FOVY, Cameras, pixel_rays
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import GREY, Mesh
from . import frusta
from ._panel import allow_custom_widgets, check_size, object_scene, with_still
from .scene import Scene, View, as_colour, frame, make_scene
from .sheets import as_images
from .stills import draw

NEAR, FAR = 1 / 150, 100.0  # clipping planes, in distances from the camera to what it looks at
DOT = 0.01  # width of a splat's dot, in distances from the camera to what it looks at
MIN_OPACITY = 0.1  # fainter Gaussians would look solid as dots
MAX_STILL = 640  # pixels; a notebook stores the PNG, so it stays small


def preview_mesh(
    mesh: Mesh, *, size: int = 512, light: bool = True, wireframe: bool = False,
    background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """Show a mesh as a pythreejs Renderer, which goes into any box of ipywidgets and turns with the mouse.

    A cell that ends with it also keeps a PNG of the first view, for places where nothing runs.

    Args:
        mesh: with vertex colours, a texture, or neither; world units.
        size: width and height, pixels.
        light: whether a soft light falls on the mesh; otherwise its colours are shown as stored.
        wireframe: whether only the edges of the triangles are drawn.
        background: one grey or (r, g, b), in [0, 1].
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units. None: 1.5, where LGM's cameras stand, if the mesh fits in their
            view; otherwise as far from its middle as it takes to see all of it.
        fovy: field of view, degrees.

    Returns:
        ``pythreejs.Renderer``; its ``scene.children`` and ``camera`` are live. A mesh far from the origin is moved
        there, in a ``pythreejs.Group``.

    Raises:
        InputError: not a mesh, a mesh without faces, or a number out of its range.
        ImportError: pythreejs is not installed.

    Example:
        >>> import numpy as np
        >>> type(preview_mesh(Mesh(np.eye(3), np.array([[0, 1, 2]])))).__name__
        'Renderer'
    """
    if not isinstance(mesh, Mesh):
        raise InputError(f"preview_mesh must be given a Mesh; got {type(mesh).__name__}")
    view = (elevation, azimuth, radius, fovy)
    return _preview(object_scene(mesh, "preview_mesh"), mesh, size, background, view, light, wireframe)


def preview_splats(
    gaussians: Gaussians, *, size: int = 512, background: float | Sequence[float] = 1.0,
    elevation: float = 0.0, azimuth: float = 0.0, radius: float | None = None, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """Show where Gaussians are, as coloured dots in a pythreejs Renderer, which goes into any box of ipywidgets.

    Each Gaussian of opacity 0.1 or more is one opaque dot at its mean, in its colour without view dependence. This is
    for scenes that mix splats with meshes, cameras and widgets; :func:`image3d_nb.show` draws real splats.

    Args:
        gaussians: N Gaussians, world units.
        size: width and height, pixels.
        background: one grey or (r, g, b), in [0, 1].
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units; None as in :func:`preview_mesh`.
        fovy: field of view, degrees.

    Returns:
        ``pythreejs.Renderer``.

    Raises:
        InputError: not Gaussians, no Gaussian of opacity 0.1 or more, NaN, or a number out of its range.
        ImportError: pythreejs is not installed.

    Example:
        >>> import torch
        >>> type(preview_splats(Gaussians.from_lgm(torch.rand(1, 8, 14)))).__name__
        'Renderer'
    """
    if not isinstance(gaussians, Gaussians):
        raise InputError(f"preview_splats must be given Gaussians; got {type(gaussians).__name__}")
    view = (elevation, azimuth, radius, fovy)
    return _preview(object_scene(gaussians, "preview_splats"), gaussians, size, background, view)


def preview_cameras(
    cameras: Cameras, obj: Gaussians | Mesh | None = None, *, pictures: Any = None,
    rays: int | Sequence[tuple[int, int]] = 0, axes: bool = True,
    size: int = 512, light: bool = True, background: float | Sequence[float] = 1.0,
    elevation: float = 25.0, azimuth: float = 35.0, radius: float | None = None, fovy: float = LGM_FOVY,
) -> Any:  # fmt: skip
    """Show cameras as pyramids, with what they look at: a pythreejs Renderer, which goes into any box of ipywidgets.

    A pyramid's tip is the camera, its base the image plane, and the roof on the base says which edge is up.

    Args:
        cameras: V cameras.
        obj: what they look at: a Mesh, Gaussians (drawn as in :func:`preview_splats`), or None.
        pictures: one image for each camera, shown on its image plane; whatever ``show`` takes.
        rays: pixels (column, row): from every camera a ray goes through the centre of each. Or a number n: n x n rays
            from each camera, evenly over its image.
        axes: whether the axes of the world and of each camera are drawn: x red, y green, z blue.
        size: width and height, pixels.
        light: whether a soft light falls on a mesh.
        background: one grey or (r, g, b), in [0, 1].
        elevation: of the first view, degrees, up is positive.
        azimuth: of the first view, degrees, 0 is the front.
        radius: distance from the origin, world units; None as in :func:`preview_mesh`.
        fovy: field of view of the preview, degrees.

    Returns:
        ``pythreejs.Renderer``.

    Raises:
        InputError: not cameras, nothing to draw in the object, images that do not fit the cameras, or pixels outside
            of the image.
        ImportError: pythreejs is not installed.

    Example:
        >>> from image3d_nb import orbit_cameras
        >>> type(preview_cameras(orbit_cameras(), rays=[(128, 128)])).__name__
        'Renderer'
    """
    if not isinstance(cameras, Cameras):
        raise InputError(f"cameras must be Cameras, e.g. orbit_cameras(); got {type(cameras).__name__}")
    pixels, per_side = ((), rays) if isinstance(rays, (int, np.integer)) else (rays, 0)
    options: dict[str, Any] = {"pictures": pictures, "axes": axes, "rays": per_side}
    if obj is None:
        scene = make_scene(cameras, "preview_cameras", **options)
    else:
        object_scene(obj, "preview_cameras")
        scene = make_scene(obj, "preview_cameras", cameras=cameras, **options)
    if len(pixels) and scene.lines is not None:
        scene = dataclasses.replace(scene, lines=scene.lines + pixel_lines(cameras, pixels))
    return _preview(scene, cameras, size, background, (elevation, azimuth, radius, fovy), light)


def pixel_lines(cameras: Cameras, pixels: Sequence[tuple[int, int]]) -> frusta.Lines:
    """The rays through the centres of some pixels of every camera, as lines to the far side of the origin.

    Args:
        cameras: V cameras.
        pixels: P pairs (column, row).

    Returns:
        V x P lines, in each camera's colour.

    Raises:
        InputError: an entry is not a pixel, or lies outside of the image.
    """
    wide, high = cameras.width, cameras.height
    wanted = np.array(pixels) if all(np.shape(pixel) == (2,) for pixel in pixels) else np.zeros((1, 2))
    if wanted.dtype.kind not in "iu" or ((wanted < 0) | (wanted >= (wide, high))).any():
        raise InputError(f"rays must be pixels (column, row) of an image of {wide} x {high}; got {pixels!r}")
    columns, rows = wanted.T
    start, along = (field[:, rows, columns].detach().cpu().double().numpy() for field in pixel_rays(cameras))
    length = 2 * float(cameras.positions.norm(dim=-1).median()) or 1.0
    ends = np.stack([start, start + length * along], 2)  # [V, P, 2, 3]
    colors = frusta.frusta(cameras).colors.reshape(len(cameras), -1, 3)[:, :1]  # [V, 1, 3]
    return frusta.Lines(ends.reshape(-1, 2, 3).astype(np.float32), colors.repeat(len(wanted), 1).reshape(-1, 3))


def _preview(
    scene: Scene, shown: object, size: int, background: float | Sequence[float],
    first: tuple[float, float, float | None, float], light: bool = True, wireframe: bool = False,
) -> Any:  # fmt: skip
    """A pythreejs scene with a camera that the mouse turns, and our own renderer's PNG of it for a saved notebook."""
    check_size(size)
    colour = as_colour(background)
    view = _around_origin(frame(scene, *first))
    seen_from = dataclasses.replace(view, target=(0.0, 0.0, 0.0)).cameras(size)  # checks the angles
    allow_custom_widgets()
    three, paint = _three(), _hex(colour)
    parts: list[Any] = [] if scene.lines is None else _lines(scene.lines)
    for mesh, lit in scene.surfaces(light):
        parts.append(_mesh(mesh, lit, wireframe and mesh is scene.mesh))
    if scene.gaussians is not None:
        dots = _dots(scene.gaussians, DOT * view.radius)
        parts.append(_points(dots, DOT * view.radius, view.fovy))
        scene = dataclasses.replace(scene, gaussians=dots)
    camera = three.PerspectiveCamera(
        position=seen_from.positions[0].tolist(), quaternion=_quaternion(view.elevation, view.azimuth),
        fov=view.fovy, aspect=1.0, near=NEAR * view.radius, far=FAR * view.radius, children=[_light(view.radius)],
    )  # fmt: skip
    if any(view.target):
        parts = [three.Group(children=parts, position=[-value for value in view.target])]
    renderer = three.Renderer(
        camera=camera, scene=three.Scene(children=[*parts, camera], background=paint),
        controls=[three.OrbitControls(controlling=camera)], width=size, height=size, antialias=True, clearColor=paint,
    )  # fmt: skip

    if wireframe and scene.mesh is not None:  # three.js draws edges alone
        scene = dataclasses.replace(scene, mesh=None, lines=frusta.edges(scene.mesh))

    def still() -> Image.Image:
        return as_images(draw(scene, view.cameras(min(size, MAX_STILL)), colour, light))[0]

    return with_still(renderer, still, f"preview of {shown!r}")


def _around_origin(view: View) -> View:
    """A view of a point near the origin becomes a view of the origin, a little farther away.

    OrbitControls look at the origin until the mouse moves, whatever their ``target`` is. An object far from there must
    be moved, and then the numbers in the scene are no longer those of the world.
    """
    distance = math.dist(view.target, (0, 0, 0))
    if distance > 0.3 * view.radius:
        return view
    return dataclasses.replace(view, radius=view.radius + distance, target=(0.0, 0.0, 0.0))


def _dots(gaussians: Gaussians, width: float) -> Gaussians:
    """Gaussians that our renderer draws nearly as three draws points: round, opaque, all of one size."""
    visible = gaussians[gaussians.opacities >= MIN_OPACITY].detach()
    if not len(visible):
        raise InputError(f"a preview must be given at least one Gaussian of opacity {MIN_OPACITY} or more; got none")
    scales = torch.full_like(visible.scales, 0.36 * width)  # looks about as large as a square of that width
    return dataclasses.replace(visible, scales=scales, opacities=torch.ones_like(visible.opacities))


def _three() -> Any:
    return require("pythreejs", extra="notebook", who="image3d_nb's previews")


def _hex(colour: Any) -> str:
    return "#" + "".join(f"{round(255 * float(value)):02x}" for value in colour)


def _quaternion(elevation: float, azimuth: float) -> tuple[float, float, float, float]:
    """In three's order (x, y, z, w): turn a camera first down, then around, q_y(azimuth) q_x(-elevation)."""
    up, around = math.radians(elevation) / 2, math.radians(azimuth) / 2
    return (
        -math.cos(around) * math.sin(up), math.sin(around) * math.cos(up),
        math.sin(around) * math.sin(up), math.cos(around) * math.cos(up),
    )  # fmt: skip


def _attribute(values: Any, kind: Any = np.float32) -> Any:
    return _three().BufferAttribute(np.ascontiguousarray(values, kind), normalized=False)


def _light(radius: float) -> Any:
    """A light that moves with the camera: brightness 0.62 + 0.42 (normal . to_light), as in rendering/mesh_zbuffer.py.

    A HemisphereLight has no target object and takes its direction from its position in the world; from this far away
    the camera's own position does not count.
    """
    position = [1e4 * radius * value for value in (-0.451, 0.551, 0.702)]
    return _three().HemisphereLight("#ffffff", _hex((0.2 / 1.04,) * 3), 1.04, position=position)


def _points(gaussians: Gaussians, width: float, fovy: float) -> Any:
    three, plain = _three(), gaussians.to("cpu")
    attributes = {"position": _attribute(plain.means.numpy()), "color": _attribute(plain.rgb.clamp(0, 1).numpy())}
    size = width / math.tan(math.radians(fovy) / 2)  # three does not count the field of view in
    material = three.PointsMaterial(size=size, sizeAttenuation=True, vertexColors="VertexColors")
    return three.Points(three.BufferGeometry(attributes=attributes), material, frustumCulled=False)


def _mesh(mesh: Mesh, light: bool, wireframe: bool = False) -> Any:
    three = _three()
    attributes = {
        "position": _attribute(mesh.vertices),
        "normal": _attribute(mesh.vertex_normals()),
        "index": _attribute(mesh.faces.ravel(), np.uint32),
    }
    look: dict[str, Any] = {"side": "DoubleSide", "wireframe": wireframe}
    if mesh.uvs is not None and mesh.texture is not None:
        attributes["uv"] = _attribute(mesh.uvs)
        texture = np.pad(np.flipud(mesh.texture), ((0, 0), (0, 0), (0, 1)), constant_values=255)  # [h, w, 4]
        look["map"] = three.DataTexture(texture, magFilter="LinearFilter", minFilter="LinearFilter")
    elif mesh.vertex_colors is not None:
        attributes["color"] = _attribute(mesh.vertex_colors)
        look["vertexColors"] = "VertexColors"
    else:
        look["color"] = _hex((GREY,) * 3)
    material = (three.MeshLambertMaterial if light else three.MeshBasicMaterial)(**look)
    return three.Mesh(three.BufferGeometry(attributes=attributes), material, frustumCulled=False)


def _lines(lines: frusta.Lines) -> list[Any]:
    """One LineSegments2 for each colour: its material takes no colours by vertex."""
    three = _three()
    parts = []
    for colour in np.unique(lines.colors, axis=0):
        chosen = np.ascontiguousarray(lines.ends[(lines.colors == colour).all(1)], np.float32)
        material = three.LineMaterial(linewidth=frusta.LINE_WIDTH, color=_hex(colour))
        parts.append(three.LineSegments2(three.LineSegmentsGeometry(positions=chosen), material))
    return parts
