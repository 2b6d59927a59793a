"""Render triangle meshes on a CPU: a z-buffer, compiled with numba.

Axes, pixel centres and units are those of `image3d_nb.cameras`. The kernel never divides a vertex by its depth: each
triangle's three edge functions are evaluated in homogeneous coordinates, so barycentric weights come out perspective
correct, and triangles that cross the camera plane need no clipping.

Source: M. Olano and T. Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._jit import njit
from ..errors import InputError
from ..mesh import GREY, Mesh
from .splats import Background, check_background

if TYPE_CHECKING:
    from ..cameras import Cameras

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

NEAR = 0.01  # world units; nothing closer to the camera plane is drawn
# Direction to the light of `shade=True`, in camera axes (x right, y down, z forward): left, above, behind.
_TO_LIGHT = np.array([-0.45, -0.55, -0.70]) / np.linalg.norm([-0.45, -0.55, -0.70])


@njit()
def _set_up_face(a, b, c, focal, centre, edges, near):  # type: ignore[no-untyped-def]
    """Fill `edges` [9] with (d/dx, d/dy, constant) of the corners' weights at a pixel; return the determinant.

    A pixel looks along d = ((x - cx) / fx, (y - cy) / fy, 1). Corner weights are w_a = d . (b x c) and so on, and the
    ray meets the triangle's plane at z = det(a, b, c) / (w_a + w_b + w_c).
    """
    if a[2] < near and b[2] < near and c[2] < near:
        return 0.0
    det = 0.0
    for i in range(3):
        p, q = (b, c) if i == 0 else ((c, a) if i == 1 else (a, b))
        nx = p[1] * q[2] - p[2] * q[1]
        ny = p[2] * q[0] - p[0] * q[2]
        nz = p[0] * q[1] - p[1] * q[0]
        if i == 0:
            det = a[0] * nx + a[1] * ny + a[2] * nz
        edges[3 * i] = nx / focal[0]
        edges[3 * i + 1] = ny / focal[1]
        edges[3 * i + 2] = nz - nx * centre[0] / focal[0] - ny * centre[1] / focal[1]
    if det < 0.0:  # seen from the back: flip the signs, so that inside is positive on both sides
        for i in range(9):
            edges[i] = -edges[i]
        det = -det
    return det


@njit()
def _span(p, q, r, zp, zq, zr, focal, centre, size, near):  # type: ignore[no-untyped-def]
    """First and one-past-last pixel, along one axis, that a triangle may cover."""
    if zp < near or zq < near or zr < near:
        return 0, size  # it crosses the near plane: its projection has no bounding box of the three corners
    u, v, w = p / zp, q / zq, r / zr
    low = min(u, v, w) * focal + centre
    high = max(u, v, w) * focal + centre
    if high < 0.0 or low > size:
        return 0, 0
    return max(0, int(np.ceil(low - 0.5))), min(size, int(np.floor(high - 0.5)) + 1)


@njit()
def _draw(points, faces, focal, centre, near, edges, nearest, owner):  # type: ignore[no-untyped-def]
    """Fill `nearest` (1 / depth, 0 where nothing) and `owner` (face index or -1), both [h, w]; points: camera space."""
    height, width = owner.shape
    nearest[:] = 0.0
    owner[:] = -1
    for f in range(faces.shape[0]):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        x0, x1 = _span(a[0], b[0], c[0], a[2], b[2], c[2], focal[0], centre[0], width, near)
        y0, y1 = _span(a[1], b[1], c[1], a[2], b[2], c[2], focal[1], centre[1], height, near)
        if x0 >= x1 or y0 >= y1:
            continue
        e = edges[f]
        det = _set_up_face(a, b, c, focal, centre, e, near)
        if det < 1e-15:  # no area, or seen exactly edge-on
            continue
        scale, farthest = 1.0 / det, 1.0 / near
        for y in range(y0, y1):
            px, py = x0 + 0.5, y + 0.5
            wa = e[0] * px + e[1] * py + e[2]
            wb = e[3] * px + e[4] * py + e[5]
            wc = e[6] * px + e[7] * py + e[8]
            for x in range(x0, x1):
                if wa >= 0.0 and wb >= 0.0 and wc >= 0.0:
                    inverse = (wa + wb + wc) * scale
                    if inverse > nearest[y, x] and inverse <= farthest:
                        nearest[y, x] = inverse
                        owner[y, x] = f
                wa += e[0]
                wb += e[3]
                wc += e[6]


@njit()
def _texel(texture, u, v, channel):  # type: ignore[no-untyped-def]
    """Bilinear sample of [h, w, 3]; v = 0 is the lowest row; outside, the border's colour continues."""
    h, w = texture.shape[0], texture.shape[1]
    x = min(max(u * w - 0.5, 0.0), w - 1.0)
    y = min(max((1.0 - v) * h - 0.5, 0.0), h - 1.0)
    x0, y0 = int(x), int(y)
    x1, y1, fx, fy = min(x0 + 1, w - 1), min(y0 + 1, h - 1), x - int(x), y - int(y)
    top = texture[y0, x0, channel] * (1 - fx) + texture[y0, x1, channel] * fx
    low = texture[y1, x0, channel] * (1 - fx) + texture[y1, x1, channel] * fx
    return top * (1 - fy) + low * fy


@njit()
def _resolve(faces, colors, texture, light, edges, nearest, owner, samples, rgba, depth):  # type: ignore[no-untyped-def]
    """Average samples x samples points into each pixel of `rgba` [H, W, 4] (premultiplied) and `depth` [H, W]."""
    part = 1.0 / (samples * samples)
    for y in range(rgba.shape[0]):
        for x in range(rgba.shape[1]):
            red, green, blue, z, hits = 0.0, 0.0, 0.0, 0.0, 0
            for sy in range(y * samples, (y + 1) * samples):
                for sx in range(x * samples, (x + 1) * samples):
                    f = owner[sy, sx]
                    if f < 0:
                        continue
                    e, px, py = edges[f], sx + 0.5, sy + 0.5
                    wa = e[0] * px + e[1] * py + e[2]
                    wb = e[3] * px + e[4] * py + e[5]
                    wc = e[6] * px + e[7] * py + e[8]
                    total = wa + wb + wc
                    wa, wb, wc = wa / total, wb / total, wc / total
                    i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                    shade = 1.0
                    if light.shape[0] > 0:
                        shade = wa * light[i] + wb * light[j] + wc * light[k]
                    first = wa * colors[i, 0] + wb * colors[j, 0] + wc * colors[k, 0]
                    second = wa * colors[i, 1] + wb * colors[j, 1] + wc * colors[k, 1]
                    if texture.shape[0] > 0:  # then `colors` holds u and v
                        red += shade * _texel(texture, first, second, 0)
                        green += shade * _texel(texture, first, second, 1)
                        blue += shade * _texel(texture, first, second, 2)
                    else:
                        red += shade * first
                        green += shade * second
                        blue += shade * (wa * colors[i, 2] + wb * colors[j, 2] + wc * colors[k, 2])
                    z += 1.0 / nearest[sy, sx]
                    hits += 1
            rgba[y, x, 0], rgba[y, x, 1], rgba[y, x, 2] = red * part, green * part, blue * part
            rgba[y, x, 3] = hits * part
            depth[y, x] = z / hits if hits > 0 else 0.0


@njit()
def _render_views(points, faces, colors, texture, lights, focals, centres, samples, near, rgba, depth):  # type: ignore[no-untyped-def]
    """Fill rgba [C, H, W, 4] and depth; points [C, V, 3] in camera space, lights [C, V] or [C, 0]."""
    height, width = rgba.shape[1] * samples, rgba.shape[2] * samples
    nearest = np.empty((height, width), np.float32)
    owner = np.empty((height, width), np.int32)
    edges = np.empty((faces.shape[0], 9), np.float64)
    for v in range(points.shape[0]):
        _draw(points[v], faces, focals[v] * samples, centres[v] * samples, near, edges, nearest, owner)
        _resolve(faces, colors, texture, lights[v], edges, nearest, owner, samples, rgba[v], depth[v])


def rasterize_mesh(
    vertices: Floats,
    faces: Ints,
    colors: Floats,
    viewmats: Floats,
    Ks: Floats,
    width: int,
    height: int,
    supersample: int = 2,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Render a mesh with smooth (Gouraud) vertex colours from several cameras; both sides of a triangle are visible.

    Args:
        vertices: [V, 3], world units, world space.
        faces: [F, 3], indices into vertices.
        colors: [V, 3], in [0, 1].
        viewmats: [C, 4, 4], world to camera, OpenCV axes.
        Ks: [C, 3, 3], in pixels, without skew.
        width: pixels.
        height: pixels.
        supersample: each pixel averages supersample x supersample points.

    Returns:
        uint8 [C, H, W, 4], RGB premultiplied by alpha (the last channel), and float32 [C, H, W] depth along the
        camera's axis in world units: the mean over the pixel's covered points, 0 where nothing is.

    Raises:
        InputError: a shape, an index or a value does not fit.

    Example:
        >>> corners = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], np.float32)
        >>> view = np.eye(4)[None]; view[0, 2, 3] = 3  # three units in front of the camera
        >>> K = np.array([[[64, 0, 32], [0, 64, 32], [0, 0, 1]]])
        >>> rgba, depth = rasterize_mesh(corners, np.array([[0, 1, 2]]), np.ones((3, 3)), view, K, 64, 64)
        >>> rgba.shape, round(float(depth.max()), 3)
        ((1, 64, 64, 4), 3.0)
    """
    colors = _checked("colors", colors, (len(vertices), 3))
    if colors.size and (colors.min() < 0 or colors.max() > 1):
        raise InputError(f"colors must be in [0, 1]; got {colors.min():.4g} to {colors.max():.4g}")
    rgba, depth = _rasterize(vertices, faces, colors, None, None, viewmats, Ks, (width, height), supersample)
    return (rgba * 255 + 0.5).astype(np.uint8), depth  # [C, H, W, 4], [C, H, W]


def render_mesh(
    mesh: Mesh,
    cameras: Cameras,
    background: Background = 1.0,
    shade: bool = False,
    supersample: int = 2,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Render a mesh with its texture, else its vertex colours, else grey.

    Args:
        mesh: vertices in world units.
        cameras: C cameras.
        background: in [0, 1]: a number, [3], one colour a view [C, 3], or images [C, H, W, 3].
        shade: multiply by a soft light from each camera's upper left; otherwise colours are shown as stored.
        supersample: each pixel averages supersample x supersample points.

    Returns:
        rgb [C, H, W, 3] in [0, 1] over the background, alpha [C, H, W] in [0, 1], depth [C, H, W] in world units
        (0 where nothing is); all float32.

    Raises:
        InputError: a shape or a value does not fit.
    """
    behind = check_background(background, len(cameras), cameras.height, cameras.width).numpy()
    viewmats = np.asarray(cameras.viewmats.detach().cpu(), np.float64)
    Ks = np.asarray(cameras.Ks.detach().cpu(), np.float64)
    lights = _camera_light(mesh.vertex_normals(), viewmats) if shade else None
    colors, texture = _surface(mesh)
    size = (cameras.width, cameras.height)
    rgba, depth = _rasterize(mesh.vertices, mesh.faces, colors, texture, lights, viewmats, Ks, size, supersample)
    alpha = rgba[..., 3]
    rgb = rgba[..., :3] + (1 - alpha[..., None]) * behind  # [C, H, W, 3]
    return np.clip(rgb, 0, 1), np.ascontiguousarray(alpha), depth


def _surface(mesh: Mesh) -> tuple[Floats, Floats | None]:
    """Vertex colours [V, 3] and None; or (u, v, 0) of each vertex and the texture in [0, 1]."""
    count = len(mesh.vertices)
    if mesh.uvs is not None and mesh.texture is not None:
        uv = np.concatenate([np.asarray(mesh.uvs, np.float64), np.zeros((count, 1))], axis=1)  # [V, 3]
        return uv, np.asarray(mesh.texture, np.float32)[..., :3] / 255
    if mesh.vertex_colors is not None:
        return np.asarray(mesh.vertex_colors, np.float64)[:, :3], None
    return np.full((count, 3), GREY), None


def _camera_light(normals: Floats, viewmats: Floats) -> Floats:
    """Brightness [C, V] in [0.2, 1]: a wrapped Lambert term, so that no side turns black."""
    turned = np.einsum("cij,vj->cvi", viewmats[:, :3, :3], normals)  # [C, V, 3]
    return np.clip(0.62 + 0.42 * (turned @ _TO_LIGHT), 0.2, 1.0)


def _checked(name: str, array: Floats, shape: tuple[int | None, ...]) -> Floats:
    """`array` as contiguous float64 when it has this shape (None: any length) and is finite."""
    result = np.ascontiguousarray(array, np.float64)
    fits = result.ndim == len(shape) and all(w is None or w == g for w, g in zip(shape, result.shape, strict=True))
    if not fits:
        wanted = ", ".join("N" if size is None else str(size) for size in shape)
        raise InputError(f"{name} must have shape [{wanted}]; got {list(result.shape)}")
    if not np.isfinite(result).all():
        raise InputError(f"{name} must be finite; got NaN or infinity")
    return result


def _checked_faces(faces: Ints, count: int) -> Ints:
    result = np.asarray(faces)
    if result.ndim != 2 or result.shape[1] != 3 or not np.issubdtype(result.dtype, np.integer):
        raise InputError(f"faces must be integers of shape [F, 3]; got {result.dtype}, shape {list(result.shape)}")
    if result.size and (result.min() < 0 or result.max() >= count):
        raise InputError(f"faces must index the {count} vertices; got {result.min()} to {result.max()}")
    return np.ascontiguousarray(result, np.int32)


def _rasterize(
    vertices: Floats,
    faces: Ints,
    colors: Floats,
    texture: Floats | None,
    lights: Floats | None,
    viewmats: Floats,
    Ks: Floats,
    size: tuple[int, int],
    supersample: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Validate the arguments, transform the vertices into each camera's space and run the kernel."""
    vertices = _checked("vertices", vertices, (None, 3))
    faces = _checked_faces(faces, len(vertices))
    viewmats = _checked("viewmats", viewmats, (None, 4, 4))
    Ks = _checked("Ks", Ks, (len(viewmats), 3, 3))
    if np.any(Ks[:, 0, 1] != 0) or np.any(Ks[:, [0, 1], [0, 1]] <= 0):
        raise InputError("Ks must have positive focal lengths and no skew")
    if min(*size, supersample) < 1:
        raise InputError(f"width, height and supersample must be at least 1; got {size[0]}, {size[1]}, {supersample}")
    points = vertices @ viewmats[:, :3, :3].transpose(0, 2, 1) + viewmats[:, None, :3, 3]  # [C, V, 3]
    views, (width, height) = len(viewmats), size
    rgba = np.empty((views, height, width, 4), np.float32)
    depth = np.empty((views, height, width), np.float32)
    no_texture = np.empty((0, 0, 3), np.float32)
    shown = no_texture if texture is None else np.ascontiguousarray(texture, np.float32)
    lit = np.empty((views, 0)) if lights is None else np.ascontiguousarray(lights, np.float64)
    focals, centres = np.ascontiguousarray(Ks[:, [0, 1], [0, 1]]), np.ascontiguousarray(Ks[:, :2, 2])
    surface = np.ascontiguousarray(colors, np.float64)
    _render_views(points, faces, surface, shown, lit, focals, centres, supersample, NEAR, rgba, depth)
    return rgba, depth
