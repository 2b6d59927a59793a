"""Scenes to pictures with our own renderers, on a CPU: what stands where no viewer runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cameras import Cameras
from ..gaussians import Gaussians
from ..mesh import Mesh
from ..rendering import render
from ..rendering.mesh_zbuffer import render_mesh
from .frusta import Lines, ribbons
from .sheets import as_images
from .scene import Scene, View

Layer = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""rgb [V, H, W, 3] premultiplied, alpha [V, H, W], depth [V, H, W] (0 where nothing is)."""


def still(scene: Scene, size: int, background: Any = 1.0, view: View | None = None, light: bool = True) -> Image.Image:
    """One view as a square picture of ``size`` pixels; ``light`` falls on meshes."""
    return as_images(draw(scene, (view or View()).cameras(size), background, light))[0]


def draw(scene: Scene, cameras: Cameras, background: Any = 1.0, light: bool = True) -> NDArray[np.float32]:
    """[V, H, W, 3], in [0, 1]: the scene from each camera.

    Parts hide each other by the depth that each has in a pixel, one depth a part: that is exact for what is opaque.
    """
    layers: list[Layer] = []
    if scene.gaussians is not None:
        layers.append(_splats(scene.gaussians, cameras))
    if scene.mesh is not None:
        layers.append(_mesh(scene.mesh, cameras, light))
    if scene.panes is not None:
        layers.append(_mesh(scene.panes, cameras, False))
    if scene.lines is not None:
        layers.append(_strokes(scene.lines, cameras))
    rgb, alpha = _over(layers)
    return np.clip(rgb + (1 - alpha[..., None]) * np.asarray(background, np.float32), 0, 1)


def _splats(gaussians: Gaussians, cameras: Cameras) -> Layer:
    drawn = render(gaussians.detach(), cameras.to(gaussians.device), 0.0, return_alpha=True, return_depth=True)
    rgb, alpha, depth = (tensor.float().cpu().numpy() for tensor in drawn)
    return rgb, alpha, depth


def _mesh(mesh: Mesh, cameras: Cameras, light: bool) -> Layer:
    return render_mesh(mesh, cameras, 0.0, shade=light)


def _strokes(lines: Lines, cameras: Cameras) -> Layer:
    focal = float(cameras.Ks[0, 0, 0])
    views = []
    for i, viewmat in enumerate(cameras.viewmats.detach().cpu().double().numpy()):
        views.append(render_mesh(ribbons(lines, viewmat, focal), cameras[i : i + 1], 0.0))
    rgb, alpha, depth = (np.concatenate(parts) for parts in zip(*views, strict=True))
    return rgb, alpha, depth


def _over(layers: list[Layer]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """All layers in one, premultiplied: in each pixel the nearest last."""
    rgb, alpha, depth = (np.stack(parts) for parts in zip(*layers, strict=True))  # [L, V, H, W, ...]
    order = np.argsort(-np.where(alpha > 0, depth, np.inf), axis=0, kind="stable")  # far to near
    rgb = np.take_along_axis(rgb, order[..., None], 0)
    alpha = np.take_along_axis(alpha, order, 0)
    below, covered = np.zeros_like(rgb[0]), np.zeros_like(alpha[0])
    for colour, opacity in zip(rgb, alpha, strict=True):
        below = colour + (1 - opacity[..., None]) * below
        covered = opacity + (1 - opacity) * covered
    return below, covered
