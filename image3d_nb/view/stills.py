"""Images of scenes from our own CPU renderers, for places where no viewer runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cameras import Cameras
from ..gaussians import Gaussians
from ..rendering import render
from ..rendering.mesh_zbuffer import render_mesh
from .frusta import Lines, ribbons
from .scene import Scene, View
from .sheets import as_images

Layer = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""rgb [V, H, W, 3] premultiplied by alpha, alpha [V, H, W], depth [V, H, W] (0 where alpha is 0)."""


def still(scene: Scene, size: int, background: Any = 1.0, view: View | None = None, light: bool = True) -> Image.Image:
    """Draw one view of a scene, ``size`` pixels square; without a view, that of LGM's front camera."""
    return as_images(draw(scene, (view or View()).cameras(size), background, light))[0]


def draw(scene: Scene, cameras: Cameras, background: Any = 1.0, light: bool = True) -> NDArray[np.float32]:
    """Draw a scene from several cameras.

    In each pixel the scene's parts are sorted by one depth for each part, which is exact for opaque parts.

    Returns:
        [V, H, W, 3], sRGB in [0, 1].
    """
    layers: list[Layer] = []
    if scene.gaussians is not None:
        layers.append(_splats(scene.gaussians, cameras))
    for mesh, lit in scene.surfaces(light):
        layers.append(render_mesh(mesh, cameras, 0.0, shade=lit))
    if scene.lines is not None:
        layers.append(_draw_lines(scene.lines, cameras))
    rgb, alpha = _over(layers)
    return np.clip(rgb + (1 - alpha[..., None]) * np.asarray(background, np.float32), 0, 1)


def _splats(gaussians: Gaussians, cameras: Cameras) -> Layer:
    drawn = render(gaussians.detach(), cameras.to(gaussians.device), 0.0, return_alpha=True, return_depth=True)
    rgb, alpha, depth = (tensor.float().cpu().numpy() for tensor in drawn)
    return rgb, alpha, depth


def _draw_lines(lines: Lines, cameras: Cameras) -> Layer:
    focal = float(cameras.Ks[0, 0, 0])
    views = []
    for i, viewmat in enumerate(cameras.viewmats.detach().cpu().double().numpy()):
        views.append(render_mesh(ribbons(lines, viewmat, focal), cameras[i : i + 1], 0.0))
    rgb, alpha, depth = (np.concatenate(parts) for parts in zip(*views, strict=True))
    return rgb, alpha, depth


def _over(layers: list[Layer]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Blend layers, in each pixel from far to near: rgb premultiplied [V, H, W, 3], alpha [V, H, W]."""
    rgb, alpha, depth = (np.stack(parts) for parts in zip(*layers, strict=True))  # [L, V, H, W, ...]
    order = np.argsort(-np.where(alpha > 0, depth, np.inf), axis=0, kind="stable")  # far to near
    rgb = np.take_along_axis(rgb, order[..., None], 0)
    alpha = np.take_along_axis(alpha, order, 0)
    below, covered = np.zeros_like(rgb[0]), np.zeros_like(alpha[0])
    for colour, opacity in zip(rgb, alpha, strict=True):
        below = colour + (1 - opacity[..., None]) * below
        covered = opacity + (1 - opacity) * covered
    return below, covered
