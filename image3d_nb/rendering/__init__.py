"""Render Gaussians and meshes through one function.

``reference.py`` defines the image of a set of Gaussians. ``numba_splats.py`` (CPU), ``layered.py`` (any device),
``triton_splats.py`` and ``gsplat_backend.py`` (CUDA) compute the same numbers faster.
"""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import Mesh
from .splats import Background, check_background, choose_backend, colors_from, render_splats

__all__ = ["render", "render_splats"]


def _render_gaussians(
    gaussians: Gaussians, cameras: Cameras, background: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    if gaussians.dtype not in (torch.float32, torch.float64):
        gaussians = gaussians.to(dtype=torch.float32)
    rgb, alpha, depth = render_splats(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors_from(gaussians, cameras),
        cameras.viewmats, cameras.Ks, cameras.width, cameras.height, background, backend,
    )  # fmt: skip
    return rgb.clamp(0, 1), alpha, depth


def _render_mesh(mesh: Mesh, cameras: Cameras, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from .mesh_zbuffer import render_mesh

    # over black, an image is colour times alpha: any background can be added here
    drawn = render_mesh(mesh, cameras, background=0.0)
    rgb, alpha, depth = (torch.as_tensor(array).to(cameras.c2w) for array in drawn)
    rgb = rgb + (1 - alpha)[..., None] * background
    return rgb.clamp(0, 1), alpha, depth


@overload
def render(
    obj: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = 1.0,
    *,
    backend: str = "auto",
    return_alpha: Literal[False] = False,
    return_depth: Literal[False] = False,
) -> Tensor: ...
@overload
def render(
    obj: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = 1.0,
    *,
    backend: str = "auto",
    return_alpha: Literal[True],
    return_depth: Literal[True],
) -> tuple[Tensor, Tensor, Tensor]: ...
@overload
def render(
    obj: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = 1.0,
    *,
    backend: str = "auto",
    return_alpha: Literal[True],
    return_depth: Literal[False] = False,
) -> tuple[Tensor, Tensor]: ...
@overload
def render(
    obj: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = 1.0,
    *,
    backend: str = "auto",
    return_alpha: Literal[False] = False,
    return_depth: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def render(
    obj: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = 1.0,
    *,
    backend: str = "auto",
    return_alpha: bool = False,
    return_depth: bool = False,
) -> Tensor | tuple[Tensor, ...]: ...
def render(
    obj: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = 1.0,
    *,
    backend: str = "auto",
    return_alpha: bool = False,
    return_depth: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """Render Gaussians or a mesh from several cameras.

    Args:
        obj: Gaussians, on the cameras' device; or a Mesh.
        cameras: V cameras.
        background: in [0, 1]: a number, [3], one colour a view [V, 3], or images [V, H, W, 3].
        backend: for Gaussians: "auto" (on CUDA gsplat or Triton, whichever is installed; numba on a CPU; else layered),
            "numba", "layered", "reference" (slow; memory grows as N x H x W), "gsplat" or "triton". A mesh has one
            renderer: leave "auto".
        return_alpha: also return alpha [V, H, W], in [0, 1].
        return_depth: also return depth [V, H, W]: world units along the camera's axis, averaged over the Gaussians of
            a pixel by their weights; 0 where nothing is.

    Returns:
        rgb [V, H, W, 3] in [0, 1]; or a tuple of rgb and the requested alpha and depth, in this order. For Gaussians,
        the result is differentiable in all their fields, and float64 if they are, else float32.

    Raises:
        InputError: NaN or numbers out of range in the Gaussians, unknown backend, bad background, devices that differ.

    Source: Kerbl et al. 2023, "3D Gaussian splatting for real-time radiance field rendering".

    Example:
        >>> import torch
        >>> from image3d_nb import Gaussians, orbit_cameras, render
        >>> one = Gaussians.from_lgm(torch.tensor([[0, 0, 0, 0.9, 0.1, 0.1, 0.1, 1, 0, 0, 0, 1, 0, 0]]))
        >>> render(one, orbit_cameras(size=64)).shape
        torch.Size([4, 64, 64, 3])
    """
    if not isinstance(obj, (Gaussians, Mesh)):
        raise InputError(f"obj must be Gaussians or a Mesh; got {type(obj).__name__}")
    if not isinstance(cameras, Cameras):
        raise InputError(f"cameras must be Cameras, e.g. orbit_cameras(); got {type(cameras).__name__}")
    like = obj.means if isinstance(obj, Gaussians) else cameras.c2w
    if like.device != cameras.c2w.device:
        raise InputError(f"obj and cameras must be on one device; got {like.device} and {cameras.c2w.device}")
    back = check_background(background, len(cameras), cameras.height, cameras.width, like.float())
    if isinstance(obj, Gaussians):
        choose_backend(backend, like.device)
        drawn = _render_gaussians(obj.validate() if len(obj) else obj, cameras, back, backend)
    elif backend == "auto":
        drawn = _render_mesh(obj, cameras, back)
    else:
        raise InputError(f"backend must be 'auto' for a Mesh; got {backend!r}")
    rgb, alpha, depth = drawn
    chosen = (rgb, *([alpha] if return_alpha else []), *([depth] if return_depth else []))
    return chosen if len(chosen) > 1 else rgb
