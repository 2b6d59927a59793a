"""The .splat format of antimatter15's WebGL viewer: 32 bytes a Gaussian, no header, no view-dependent colour.

Specification: https://github.com/antimatter15/splat (convert.py); bytes are rounded as in
https://github.com/huggingface/gsplat.js.
"""

from __future__ import annotations

import numpy as np
import torch

from ..errors import FormatError
from ..gaussians import SH_C0, Gaussians
from ._format import Format, Sibling

ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
"""32 bytes: position; linear scales; red green blue opacity; (w x y z) * 128 + 128."""

_LIMIT = 1e18
"""Beyond this a square overflows float32, so no renderer could draw it: such bytes are text or pixels, not numbers."""


def read(buffer: memoryview, sibling: Sibling) -> Gaussians:  # noqa: ARG001  (every format gets it)
    """Gaussians of SH degree 0 from the bytes of a .splat, in the axes of the file.

    Raises:
        FormatError: the size is not a multiple of 32, nothing is in it, or the numbers cannot be Gaussians.
    """
    if len(buffer) % ROW.itemsize or not len(buffer):
        whole, rest = divmod(len(buffer), ROW.itemsize)
        found = f"{len(buffer)} bytes: {whole} rows and {rest} bytes more; it is cut off or not a .splat"
        raise FormatError(f"a .splat must be 32 bytes a Gaussian, and hold at least one; got {found}")
    rows = np.frombuffer(buffer, ROW)  # [N]
    _check_plausible(rows)
    rgba = torch.from_numpy(rows["rgba"].astype(np.float32) / 255)  # [N, 4]
    return Gaussians(
        means=torch.from_numpy(rows["mean"].astype(np.float32)),
        quats=torch.from_numpy((rows["rotation"].astype(np.float32) - 128) / 128),
        scales=torch.from_numpy(rows["scale"].astype(np.float32)),
        opacities=rgba[:, 3].contiguous(),
        sh=((rgba[:, None, :3] - 0.5) / SH_C0),  # [N, 1, 3]
    )


def _check_plausible(rows: np.ndarray) -> None:
    numbers = np.concatenate([rows["mean"], rows["scale"]], axis=1)  # [N, 6]
    # NaN passes: the caller counts damaged rows, which is another matter than not being a .splat at all
    wild = (np.abs(numbers) > _LIMIT).any(1) | (rows["scale"] < 0).any(1)  # [N]
    if wild.any():
        raise FormatError(
            f"a .splat must hold positions and sizes (>= 0) that can be drawn; {int(wild.sum())} of {len(rows)} rows "
            "hold others, such as negative sizes: this is not a .splat, or it is damaged"
        )


def write(gaussians: Gaussians, name: str) -> dict[str, bytes]:
    """The rows, largest and most opaque first, so that a viewer which is still loading shows the object early.

    Colours and opacities become bytes, orientations four bytes of a unit quaternion.
    """
    scales = gaussians.scales.numpy()
    quats = torch.nn.functional.normalize(gaussians.quats, dim=-1).numpy()
    opacities = gaussians.opacities.numpy()
    rows = np.empty(len(gaussians), ROW)
    rows["mean"] = gaussians.means.numpy()
    rows["scale"] = scales
    rows["rgba"][:, :3] = _byte(255 * gaussians.rgb.numpy())
    rows["rgba"][:, 3] = _byte(255 * opacities)
    rows["rotation"] = _byte(quats * 128 + 128)
    weight = scales.astype(np.float64).prod(1) * opacities  # [N], exp(sum of log scales) * opacity
    return {name: rows[np.argsort(-weight, kind="stable")].tobytes()}


def losses(gaussians: Gaussians) -> list[str]:
    """One colour a Gaussian is all there is room for."""
    if not gaussians.sh_degree:
        return []
    return [f"the view-dependent part of {len(gaussians)} colours (SH degree 1 to {gaussians.sh_degree}); .ply can"]


def _byte(values: np.ndarray) -> np.ndarray:
    """The nearest byte, as gsplat.js; the original converter cuts decimals off, which darkens by half a step."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


FORMAT = Format(
    suffix=".splat",
    name="antimatter15 splat",
    holds=Gaussians,
    sniff=None,
    read=read,
    write=write,
    losses=losses,
)
