"""Objects that the tests of the viewer show, what our own renderers make of them, and what a notebook gets."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from image3d_nb.cameras import orbit_cameras, pixel_rays
from image3d_nb.gaussians import Gaussians
from image3d_nb.mesh import Mesh
from image3d_nb.rendering import render
from image3d_nb.view.scene import frame, make_scene
from image3d_nb.view.stills import still

SIZE = 256
VIEW = "application/vnd.jupyter.widget-view+json"


def some(n: int = 60, k: int = 1) -> Gaussians:
    """Random Gaussians, more of them to the right: no two views are alike."""
    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.rand(n, 3, generator=generator) * torch.tensor([0.5, 0.3, 0.3]),
        quats=torch.randn(n, 4, generator=generator),
        scales=torch.rand(n, 3, generator=generator) * 0.05 + 0.01,
        opacities=torch.rand(n, generator=generator),
        sh=torch.randn(n, k, 3, generator=generator),
    )


def with_nan() -> Gaussians:
    """Gaussians with one NaN in their means."""
    bad = some()
    bad.means[3, 1] = math.nan
    return bad


def square(textured: bool = False) -> Mesh:
    """Two triangles, each corner of another colour."""
    corners = np.array([[-0.4, -0.4, 0], [0.4, -0.4, 0], [0.4, 0.4, 0], [-0.4, 0.4, 0.1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    if not textured:
        return Mesh(corners, faces, vertex_colors=np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0.5]]))
    texture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    return Mesh(corners, faces, uvs=corners[:, :2] + 0.5, texture=texture)


def ring(n: int = 2000) -> Gaussians:
    """A coloured ring of flat, partly transparent Gaussians with a ball above it: no two views are alike."""
    rng = np.random.default_rng(0)
    angle, tube = rng.uniform(0, 2 * math.pi, (2, n))
    out = 0.4 + 0.12 * np.cos(tube)
    means = np.stack((out * np.cos(angle), 0.12 * np.sin(tube), out * np.sin(angle)), 1)
    ball = rng.normal(size=(n // 5, 3))
    ball = 0.12 * ball / np.linalg.norm(ball, axis=1, keepdims=True) + (0.1, 0.3, 0.0)
    means = np.concatenate((means, ball))
    colours = np.concatenate((0.5 + 0.5 * np.stack((np.cos(angle), np.sin(angle), np.cos(tube)), 1), ball * 0 + 0.1))
    return Gaussians(
        means=torch.tensor(means, dtype=torch.float32),
        quats=torch.tensor(rng.normal(size=(len(means), 4)), dtype=torch.float32),
        scales=torch.tensor(rng.uniform(0.004, 0.04, (len(means), 3)), dtype=torch.float32),
        opacities=torch.tensor(rng.uniform(0.05, 1.0, len(means)), dtype=torch.float32),
        sh=torch.tensor((colours[:, None] - 0.5) / 0.28209479, dtype=torch.float32),
    )


def sheets(side: int = 16, swapped: bool = False) -> Gaussians:
    """A red and a blue transparent sheet, close together, their Gaussians taking turns in memory."""
    line = torch.linspace(-0.4, 0.4, side)
    x, y = torch.meshgrid(line, line, indexing="xy")
    depth = torch.tensor([0.06, -0.06]).repeat(side * side)
    colours = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    colours = colours.flip(0) if swapped else colours
    n = 2 * side * side
    return Gaussians(
        means=torch.stack((x.flatten().repeat_interleave(2), y.flatten().repeat_interleave(2), depth), 1),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(n, 4),
        scales=torch.tensor([[0.03, 0.03, 0.01]]).expand(n, 3),
        opacities=torch.full((n,), 0.5),
        sh=(colours.repeat(side * side, 1)[:, None] - 0.5) / 0.28209479,
    )


def rendered(
    gaussians: Gaussians, elevation: float = 0, azimuth: float = 0, radius: float = 1.5, size: int = SIZE,
    scale: float = 1,
) -> np.ndarray:  # fmt: skip
    """[H, W, 3], float in [0, 1], from our own renderer; ``scale`` makes all Gaussians larger or smaller."""
    gaussians = dataclasses.replace(gaussians, scales=scale * gaussians.scales)
    camera = orbit_cameras(elevation=elevation, azimuth=(azimuth,), radius=radius, size=size)
    picture: torch.Tensor = render(gaussians, camera, background=1.0)  # type: ignore[assignment]  # one result asked
    return picture[0].double().numpy()


def torus(kind: str, around: int = 48, across: int = 24) -> Mesh:
    """A ring of 2,304 triangles: "coloured" by vertex, "textured" with coarse stripes, or "grey"."""
    turns = np.meshgrid(np.linspace(0, 1, around + 1), np.linspace(0, 1, across + 1), indexing="ij")
    u, v = (2 * np.pi * turn for turn in turns)
    normals = np.stack((np.cos(v) * np.cos(u), np.sin(v), np.cos(v) * np.sin(u)), -1).reshape(-1, 3)
    middle = 0.42 * np.stack((np.cos(u), 0 * u, np.sin(u)), -1).reshape(-1, 3)
    first = np.arange(around)[:, None] * (across + 1) + np.arange(across)  # corners of the squares
    a, b, c, d = first, first + 1, first + across + 2, first + across + 1
    faces = np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))])
    surface: dict[str, Any] = {}
    if kind == "coloured":
        surface = {"vertex_colors": 0.5 + 0.5 * normals[:, ::-1]}
    if kind == "textured":
        y, x = np.mgrid[0:64, 0:128]
        stripes = np.stack((x // 16 % 2 * 255, y // 16 * 80, 255 - 2 * x), -1).astype(np.uint8)
        surface = {"uvs": np.stack(turns, -1).reshape(-1, 2), "texture": stripes}
    return Mesh(middle + 0.17 * normals, faces, **surface)


def still_of(obj: Any, size: int = SIZE, elevation: float = 0, azimuth: float = 0, **options: Any) -> NDArray:
    """[H, W, 3], float in [0, 1]: the PNG of the first view, which stands where no viewer runs."""
    light, background = options.pop("light", True), options.pop("background", 1.0)
    scene = make_scene(obj, "test", **options)
    return np.asarray(still(scene, size, background, frame(scene, elevation, azimuth), light)) / 255


def look(obj: Any, size: int, elevation: float = 0, azimuth: float = 0, **options: Any) -> NDArray[np.uint8]:
    """The same as :func:`still_of`, uint8."""
    return np.rint(255 * still_of(obj, size, elevation, azimuth, **options)).astype(np.uint8)


def unpacked(packed: dict[str, Any]) -> NDArray[np.float64]:
    """[n, k]: columns that view/packing.py packed, as js/data.js reads them."""
    raw, count, width = packed["deflated"], packed["count"], packed["width"]
    content = zlib.decompress(base64.b64decode(raw) if isinstance(raw, str) else raw)
    planes = np.frombuffer(content, np.uint8).reshape(-1, width, count).astype(np.int64)
    deltas = (planes << (8 * np.arange(width))[:, None]).sum(1)  # [k, n]
    values = packed["low"] + packed["step"] * (deltas.cumsum(1) % 256**width).T
    return np.exp(values) if packed["log"] else values


def bundle_of(widget: Any) -> dict[str, Any]:
    """What a cell that ends with the widget hands to the notebook."""
    shown = widget._repr_mimebundle_()
    return shown[0] if isinstance(shown, tuple) else shown  # anywidget adds metadata


def png_of(widget: Any) -> NDArray[np.uint8]:
    """The PNG of a widget's bundle: [H, W, 3] uint8."""
    content = bundle_of(widget)["image/png"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def point_at(obj: Gaussians | Mesh, x: int, y: int, elevation: float, azimuth: float) -> list[float]:
    """World coordinates of what our own renderer shows at a pixel."""
    camera = orbit_cameras(elevation=elevation, azimuth=(azimuth,), size=SIZE)
    _, depth = render(obj, camera, return_depth=True)
    origins, directions = pixel_rays(camera)
    forward = -camera.c2w[0, :3, 2]
    direction = directions[0, y, x]
    return (origins[0, y, x] + depth[0, y, x] / (direction @ forward) * direction).tolist()
