"""The .splat format of antimatter15's WebGL viewer: 32 bytes a Gaussian, no header, no view-dependent colour.

Specification: https://github.com/antimatter15/splat (convert.py); bytes are rounded as in
https://github.com/huggingface/gsplat.js.
"""

from __future__ import annotations

import numpy as np
import torch

from ..errors import FormatError
from ..gaussians import SH_C0, Gaussians
from ._format import Sibling
from ._rows import blocks, room, tables, unit_planes

ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
"""32 bytes: position; linear scales; red green blue opacity; (w x y z) * 128 + 128."""

_LIMIT = 1e18
"""Beyond this a square overflows float32 and no renderer can draw it: such bytes are text or pixels."""


def read(buffer: memoryview, sibling: Sibling) -> Gaussians:  # noqa: ARG001  (every format gets it)
    """Gaussians of SH degree 0 from the bytes of a .splat, in the axes of the file.

    Raises:
        FormatError: the size is not a multiple of 32, nothing is in it, or the numbers cannot be Gaussians.
    """
    if len(buffer) % ROW.itemsize or not len(buffer):
        whole, rest = divmod(len(buffer), ROW.itemsize)
        found = f"{len(buffer)} bytes: {whole} rows and {rest} bytes more; it is cut off or not a .splat"
        raise FormatError(f"a .splat must be 32 bytes a Gaussian, and hold at least one; got {found}")
    count = len(buffer) // ROW.itemsize
    table, quats, colors, opacities = tables(count, 8, 4, 4, 1)
    arrays = [field.numpy() for field in (table, quats, colors, opacities)]
    np.copyto(arrays[0], np.frombuffer(buffer, "<f4").reshape(count, 8))  # the last two columns are bytes
    for rows in blocks(count):
        _read_bytes(*(array[rows] for array in arrays))
    _check_plausible(table.numpy())
    return Gaussians(table[:, :3], quats, table[:, 3:6], opacities[:, 0], colors[:, None, :3])


def _read_bytes(table: np.ndarray, quats: np.ndarray, colors: np.ndarray, opacities: np.ndarray) -> None:
    """Fill the fields that are stored as bytes, for n Gaussians; the two columns of bytes become zeros."""
    rgba, rotation = (table[:, i].copy().view(np.uint8).reshape(-1, 4) for i in (6, 7))  # [n, 4]
    table[:, 6] = table[:, 7] = 0
    quats[:] = rotation
    quats -= 128
    quats /= 128
    colors[:] = rgba
    colors /= 255
    opacities[:, 0] = colors[:, 3]
    colors -= 0.5
    colors /= SH_C0  # [n, 4]; the last column is not a colour


def _check_plausible(table: np.ndarray) -> None:
    """Raise if the bytes cannot be a .splat. NaN passes: the caller counts damaged rows."""
    columns = table.T[:6]
    with np.errstate(over="ignore", invalid="ignore"):
        # one sum of squares shows that no number of a column is too large
        if all(np.dot(c, c) < _LIMIT**2 for c in columns) and min(c.min() for c in columns[3:]) >= 0:
            return
    wild = (np.abs(columns) > _LIMIT).any(0) | (columns[3:] < 0).any(0)  # [N]
    if wild.any():
        raise FormatError(
            f"a .splat must hold positions and sizes (>= 0) that can be drawn; {int(wild.sum())} of {len(table)} rows "
            f"hold others, such as negative sizes (the first is row {int(wild.argmax())}, byte "
            f"{int(wild.argmax()) * ROW.itemsize}): this is not a .splat, or it is damaged"
        )


def write(gaussians: Gaussians, name: str) -> dict[str, memoryview]:
    """The rows, largest and most opaque first, so that a viewer which is still loading shows the object early.

    Colours and opacities are rounded to the nearest byte (the original converter truncates, which darkens by half a
    step); orientations become four bytes of a unit quaternion.
    """
    rgba = torch.cat([gaussians.sh[:, 0] * SH_C0 + 0.5, gaussians.opacities[:, None]], 1)  # [N, 4]
    wxyz = torch.from_numpy(unit_planes(gaussians.quats.numpy()))  # [4, N]
    as_floats = [_nearest_bytes(rgba.mul_(255)), _nearest_bytes(wxyz.mul_(128).add_(128)).T.contiguous()]
    table = torch.cat([gaussians.means, gaussians.scales, *(four.view(torch.float32) for four in as_floats)], 1).numpy()
    ordered = room(table.nbytes).view("<f4").reshape(table.shape)
    order = _order(gaussians.scales.numpy(), gaussians.opacities.numpy())
    np.take(table, order, axis=0, out=ordered, mode="clip")  # clip avoids an intermediate copy
    return {name: ordered.data.cast("B")}


def _nearest_bytes(values: torch.Tensor) -> torch.Tensor:
    """``values`` as uint8, computed in place; halves round to even, as in JavaScript's clamped arrays."""
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _order(scales: np.ndarray, opacities: np.ndarray) -> np.ndarray:
    """[N] order by descending exp(sum of log scales) * opacity; equal rows keep their order.

    Bits of positive float32 sort like the numbers; numpy sorts 16-bit numbers by counting, so sorting by the lower and
    then by the upper half takes a quarter of the time.
    """
    volumes = scales[:, 0].astype(np.float64) * scales[:, 1] * scales[:, 2]
    bits = ~(volumes * opacities).astype(np.float32).view(np.uint32)
    by_lower = np.argsort(bits.astype(np.uint16), kind="stable")
    return by_lower[np.argsort((bits >> np.uint32(16)).astype(np.uint16)[by_lower], kind="stable")]


def losses(gaussians: Gaussians) -> list[str]:
    """The format holds one colour for each Gaussian, limited to [0, 1]."""
    found = []
    most = (0.5 + 0.5 / 255) / SH_C0  # up to half a step beyond 1 is rounding
    channels = gaussians.sh[:, 0].numpy().T  # [3, N]
    if max(np.abs(channel).max() for channel in channels) > most:
        outside = int((np.abs(channels) > most).any(0).sum())
        found.append(f"the part of {outside} of {len(gaussians)} colours outside 0 to 1")
    if gaussians.sh_degree:
        degrees = f"SH degree 1 to {gaussians.sh_degree}"
        found.append(f"the view-dependent part of {len(gaussians)} colours ({degrees}); .ply can")
    return found
