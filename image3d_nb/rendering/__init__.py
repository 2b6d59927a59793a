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
from .reference import ALPHA_MIN
from .splats import Background, check_background, choose_backend, colors_from, render_splats

__all__ = ["render", "render_splats"]

SMALL, SMALL_SHARE = 0.3, 0.15
"""Gaussians are small where this share of them has a longest standard deviation under so many pixels."""
MAX_SUPERSAMPLE = 16


def _render_gaussians(
    gaussians: Gaussians, cameras: Cameras, background: Tensor, backend: str, supersample: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    if gaussians.dtype not in (torch.float32, torch.float64):
        gaussians = gaussians.to(dtype=torch.float32)
    finer = [supersample] * len(cameras) if supersample else supersampling(gaussians, cameras)
    if set(finer) <= {1}:
        rgb, alpha, depth = _drawn(gaussians, cameras, background, backend)
    else:  # each view alone and over black, as for a mesh
        views = [_drawn_finer(gaussians, cameras[view], times, backend) for view, times in enumerate(finer)]
        rgb, alpha, depth = (torch.cat(field) for field in zip(*views, strict=True))
        rgb = rgb + (1 - alpha)[..., None] * background
    return rgb.clamp(0, 1), alpha, depth


def _drawn(
    gaussians: Gaussians, cameras: Cameras, background: Tensor | float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return render_splats(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors_from(gaussians, cameras),
        cameras.viewmats, cameras.Ks, cameras.width, cameras.height, background, backend,
    )  # fmt: skip


def _drawn_finer(gaussians: Gaussians, camera: Cameras, times: int, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    fine = camera.resize(times * camera.width, times * camera.height)
    rgb, alpha, depth = _drawn(gaussians, fine, 0.0, backend)
    layers = torch.cat((rgb, alpha[..., None], (alpha * depth)[..., None]), -1).permute(0, 3, 1, 2)
    rgb, alpha, weighted = torch.nn.functional.avg_pool2d(layers, times).permute(0, 2, 3, 1).split([3, 1, 1], -1)
    depth = torch.where(alpha > 0, weighted / torch.where(alpha > 0, alpha, 1.0), 0.0)
    return rgb, alpha[..., 0], depth[..., 0]


@torch.no_grad()
def supersampling(gaussians: Gaussians, cameras: Cameras) -> list[int]:
    """How many times finer to draw each view: 1, or 2 or 4 for Gaussians that are much smaller than a pixel.

    Every renderer of 3DGS adds 0.3 square pixels to the variance of a Gaussian. From afar, that makes many small opaque
    ones, such as a refined object's, look about a pixel larger than they are; a finer image's average does not.

    Source:
        Yu et al. 2024, Mip-Splatting (arXiv 2311.16493), section 4, for the fault.
    """
    longest = gaussians.scales[gaussians.opacities > ALPHA_MIN].amax(-1).cpu()
    if not len(longest):
        return [1] * len(cameras)
    small = longest.kthvalue(1 + int(SMALL_SHARE * (len(longest) - 1))).values
    middle = gaussians.means.median(0).values.to(cameras.c2w)
    depths = cameras.viewmats[:, 2, :3] @ middle + cameras.viewmats[:, 2, 3]  # [V]
    pixels = (float(small) * cameras.Ks[:, 0, 0] / depths.clamp(min=1e-6)).tolist()
    return [next((times for times in (1, 2) if times * size >= SMALL), 4) for size in pixels]


def _render_mesh(
    mesh: Mesh, cameras: Cameras, background: Tensor, supersample: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    from .mesh_zbuffer import render_mesh

    # over black, an image is colour times alpha: any background can be added here
    drawn = render_mesh(mesh, cameras, background=0.0, supersample=supersample or 2)
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
    supersample: int | None = None,
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
    supersample: int | None = None,
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
    supersample: int | None = None,
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
    supersample: int | None = None,
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
    supersample: int | None = None,
    return_alpha: bool = False,
    return_depth: bool = False,
) -> Tensor | tuple[Tensor, ...]: ...
def render(
    obj: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = 1.0,
    *,
    backend: str = "auto",
    supersample: int | None = None,
    return_alpha: bool = False,
    return_depth: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """Render Gaussians or a mesh from several cameras.

    Args:
        obj: Gaussians, on the cameras' device; or a Mesh.
        cameras: V cameras. What is very near is not drawn: Gaussians whose centre is less than 0.1 world units before
            the plane of a camera, and what of a mesh is less than 0.01 before it.
        background: in [0, 1]: a number, [3], one colour a view [V, 3], or images [V, H, W, 3].
        backend: for Gaussians: "auto" (on CUDA gsplat or Triton, whichever is installed; numba on a CPU; else layered),
            "numba", "layered", "reference" (slow; memory grows as N x H x W), "gsplat" or "triton". A mesh has one
            renderer: leave "auto".
        supersample: each pixel averages supersample x supersample points, 1 to 16. None chooses: 2 for a mesh; 1 for
            Gaussians, or 2 or 4 where they are much smaller than a pixel (:func:`supersampling`).
        return_alpha: also return alpha [V, H, W], in [0, 1].
        return_depth: also return depth [V, H, W]: world units along the camera's axis, averaged over the Gaussians of
            a pixel by their weights; 0 where nothing is.

    Returns:
        rgb [V, H, W, 3] in [0, 1]; or a tuple of rgb and the requested alpha and depth, in this order. For Gaussians,
        the result is differentiable in all their fields, and float64 if they are, else float32.

    Raises:
        InputError: NaN or numbers out of range in the Gaussians, unknown backend, bad background or supersample,
            devices that differ.

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
    if supersample is not None and (type(supersample) is not int or not 1 <= supersample <= MAX_SUPERSAMPLE):
        raise InputError(f"supersample must be a whole number, 1 to {MAX_SUPERSAMPLE}, or None; got {supersample!r}")
    back = check_background(background, len(cameras), cameras.height, cameras.width, like.float())
    if isinstance(obj, Gaussians):
        choose_backend(backend, like.device)
        drawn = _render_gaussians(obj.validate() if len(obj) else obj, cameras, back, backend, supersample)
    elif backend == "auto":
        drawn = _render_mesh(obj, cameras, back, supersample)
    else:
        raise InputError(f"backend must be 'auto' for a Mesh; got {backend!r}")
    rgb, alpha, depth = drawn
    chosen = (rgb, *([alpha] if return_alpha else []), *([depth] if return_depth else []))
    return chosen if len(chosen) > 1 else rgb
