"""The .ply of 3D Gaussian Splatting, with the columns of Inria's code or of LGM's.

Opacity is stored as a logit, scales as natural logarithms, orientation as (w, x, y, z) of any length, and colour as
spherical-harmonic coefficients: f_dc of degree 0, f_rest of degrees 1 to 3, channel by channel.

Specifications: http://paulbourke.net/dataformats/ply/ (the file), https://github.com/graphdeco-inria/gaussian-splatting
(scene/gaussian_model.py, the columns), https://github.com/3DTopia/LGM (core/gs.py, its 14 columns).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError, InputError
from ..gaussians import SH_C0, Gaussians
from ..images.caller import warn
from ._format import Sibling
from ._ply_table import Columns, holds_mesh, holds_packed, is_ply, read_table
from ._rows import BLOCK, blocks, copy_columns, copy_fours, room, tables

_POSITION = ("x", "y", "z")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALE = ("scale_0", "scale_1", "scale_2")
_ROT = ("rot_0", "rot_1", "rot_2", "rot_3")

LGM_COLUMNS = (*_POSITION, *_DC, "opacity", *_SCALE, *_ROT)
"""The 14 columns that LGM's save_ply writes."""

_OPAQUE = 20.0
"""The logit written for opacity 1, whose own is infinite: 1 / (1 + exp(-20)) is 1.0 in float32."""
_CLEAR = -80.0
"""The logit written for opacity 0: it reads back as 2e-35, and exp(80) still fits into a viewer's float32."""
_POINT = float(np.log(np.finfo(np.float32).tiny))
"""The log scale written for scale 0, -87.3: it reads back as 1.2e-38, the smallest normal float32."""


def inria_columns(sh_degree: int) -> tuple[str, ...]:
    """The columns of Inria's code: 62 for SH degree 3 (normals are always 0)."""
    rest = tuple(f"f_rest_{i}" for i in range(3 * ((sh_degree + 1) ** 2 - 1)))
    return (*_POSITION, "nx", "ny", "nz", *_DC, *rest, "opacity", *_SCALE, *_ROT)


def sniff(buffer: memoryview) -> bool:
    """Whether it is a .ply other than a mesh or a compressed one; ``read`` says what is missing in a point cloud."""
    return is_ply(buffer) and not holds_mesh(buffer) and not holds_packed(buffer)


def read(buffer: memoryview, sibling: Sibling) -> Gaussians:  # noqa: ARG001  (every format gets it)
    """Gaussians from the bytes of a .ply, in the axes of the file, float32.

    Infinite logits mean opacity 0 or 1; a log scale of minus infinity means scale 0.

    Raises:
        FormatError: damaged, no vertices, or columns missing.
    """
    columns = read_table(buffer, _wanted)
    count = len(columns.rows)
    if _SCALE[2] not in columns.names:
        warn("this .ply holds flat Gaussians of two scales (2DGS); the third scale is 0")
    if columns.names == LGM_COLUMNS and not columns.rows.dtype.names:
        # one copy of all rows; the fields are views of it: 4x as fast as column by column
        table, activated = tables(count, len(LGM_COLUMNS), 4)
        stored, out = table.numpy(), activated.numpy()
        np.copyto(stored, columns.rows)
        for rows in blocks(count):
            _activate(stored[rows, 6:-4], out[rows])
        means, sh, quats = table[:, :3], table[:, None, 3:6], table[:, -4:]
    else:
        means, quats, sh, activated = tables(count, 3, 4, 3 + len(_rest(columns.names)), 4)
        sh = sh.view(count, -1, 3)  # [N, K, 3]
        arrays = [field.numpy() for field in (means, quats, sh, activated)]
        for rows in blocks(count):
            _read_rows(columns, rows, *(array[rows] for array in arrays))
    return Gaussians(means, quats, activated[:, 1:], activated[:, 0], sh)


def _read_rows(
    columns: Columns, rows: slice, means: np.ndarray, quats: np.ndarray, sh: np.ndarray, activated: np.ndarray
) -> None:
    """Fill the fields of n Gaussians; ``activated`` [n, 4] is opacity and scales."""
    copy_columns(columns.take(_POSITION, rows), means)
    copy_fours(columns.take(_ROT, rows), quats)
    copy_columns(columns.take(_DC, rows), sh[:, 0])
    rest = _rest(columns.names)
    if rest:
        by_channel = columns.take(rest, rows).reshape(len(means), 3, -1)  # [n, 3, K - 1]
        sh[:, 1:] = by_channel.transpose(0, 2, 1)
    scales = [name for name in _SCALE if name in columns.names]
    stored = columns.take(("opacity", *scales), rows)
    if len(scales) == 2:
        stored = np.pad(stored, ((0, 0), (0, 1)), constant_values=-np.inf)
    _activate(stored, activated)


def _activate(stored: np.ndarray, out: np.ndarray) -> None:
    """Convert logits to opacities and logarithms to scales; both arrays [n, 4].

    In numpy: on a busy machine, waking torch's threads takes longer than the whole computation.
    """
    copy_fours(stored, out)
    # numpy 2.4's negative gives wrong results for strided float32 input and output
    np.subtract(0, out[:, 0], out=out[:, 0])
    with np.errstate(over="ignore"):  # exp(inf) = inf is intended: sigmoid(-inf) = 0; the caller checks scales
        np.exp(out, out=out)
    opacity = out[:, 0] + 1  # sigmoid(x) = 1 / (1 + exp(-x))
    np.divide(1, opacity, out=out[:, 0])


def _wanted(names: Sequence[str]) -> tuple[str, ...]:
    """The columns to read, given those in the file.

    Raises:
        FormatError: a column that Gaussians need is missing.
    """
    flat = "scale_0" in names and "scale_1" in names and "scale_2" not in names
    wanted = [name for name in LGM_COLUMNS if not (flat and name == "scale_2")]
    missing = [name for name in wanted if name not in names]
    if missing:
        reason = "it may hold a mesh or a plain point cloud"
        raise FormatError(
            f"a .ply of Gaussians must have the columns {' '.join(LGM_COLUMNS)}; its header, from byte 0 on, lacks "
            f"{' '.join(missing)} and has {' '.join(names)}: {reason}"
        )
    rest = _rest(names)
    if len(rest) not in (0, 9, 24, 45) or rest != [f"f_rest_{i}" for i in range(len(rest))]:
        raise FormatError(
            f"f_rest must be columns 0 to 8, 23 or 44 (SH degree 1, 2, 3), or absent; got {len(rest)}: {' '.join(rest)}"
        )
    return (*wanted, *rest)


def _rest(names: Sequence[str]) -> list[str]:
    """The columns of SH degree 1 to 3, in order."""
    return sorted((name for name in names if name.startswith("f_rest_")), key=lambda name: (len(name), name))


def write(gaussians: Gaussians, name: str, layout: str = "auto") -> dict[str, memoryview]:
    """The file's bytes: little-endian float32, LF line ends, as the strictest readers (gsplat.js, gradio) need it.

    Opacities 0 and 1 and scales 0, whose logit or logarithm is infinite, are written as -80, 20 and -87.3: they
    read back as 2e-35, exactly 1, and 1.2e-38.

    Args:
        gaussians: float32, on the CPU, valid.
        name: the file's name.
        layout: "lgm" (14 columns, SH degree 0 only), "inria" (with normals and f_rest), or "auto": "lgm" for SH
            degree 0, else "inria".

    Raises:
        InputError: unknown layout, or one that cannot hold these colours.
    """
    if layout not in ("auto", "lgm", "inria") or (layout == "lgm" and gaussians.sh_degree):
        found = f"{layout!r} for SH degree {gaussians.sh_degree}"
        raise InputError(f'layout must be "auto", "lgm" (SH degree 0 only) or "inria"; got {found}')
    short = layout == "lgm" or (layout == "auto" and not gaussians.sh_degree)
    names = LGM_COLUMNS if short else inria_columns(gaussians.sh_degree)
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    arrays = [field.numpy() for field in fields]
    return {name: _encode(len(gaussians), names, lambda rows, table: _fill(table, *(a[rows] for a in arrays)))}


def _fill(
    table: np.ndarray, means: np.ndarray, quats: np.ndarray, scales: np.ndarray, opacities: np.ndarray, sh: np.ndarray
) -> None:
    """Write the stored values of n Gaussians into a table [n, 14], or [n, C] with Inria's columns."""
    dc = 3 if table.shape[1] == len(LGM_COLUMNS) else 6
    table[:, 3:dc] = 0  # normals
    copy_columns(means, table[:, :3])
    copy_columns(sh[:, 0], table[:, dc : dc + 3])
    if sh.shape[1] > 1:
        by_channel = sh[:, 1:].transpose(0, 2, 1)  # [n, 3, K - 1]
        table[:, dc + 3 : -8] = by_channel.reshape(len(sh), -1)
    _deactivate(opacities, scales, table[:, -8:-4])
    copy_fours(quats, table[:, -4:])


def _deactivate(opacities: np.ndarray, scales: np.ndarray, out: np.ndarray) -> None:
    """Convert opacities to logits and scales to logarithms, into a table [n, 4]; infinite values are limited."""
    logs = np.empty(out.shape, np.float32)
    copy_columns(scales, logs[:, 1:])
    with np.errstate(divide="ignore"):  # infinite for 0 and 1; limited below
        np.divide(opacities, 1 - opacities, out=logs[:, 0])
        np.log(logs, out=logs)
    np.maximum(logs, _POINT, out=logs)
    logs[:, 0] = logs[:, 0].clip(_CLEAR, _OPAQUE)
    copy_fours(logs, out)


def _encode(count: int, names: Sequence[str], fill: Callable[[slice, np.ndarray], None]) -> memoryview:
    """A whole .ply of ``count`` rows; ``fill(rows, table)`` writes the numbers of a slice of rows into a table.

    It works in blocks of rows that fit into the processor's cache: fresh memory costs more than the copy.
    """
    properties = "".join(f"property float {name}\n" for name in names)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{properties}end_header\n".encode()
    content = room(len(header) + 4 * count * len(names))
    content[: len(header)] = np.frombuffer(header, np.uint8)
    block = np.empty((min(count, BLOCK), len(names)), "<f4")
    for rows in blocks(count):
        table = block[: rows.stop - rows.start]
        fill(rows, table)
        at = len(header) + rows.start * table.strides[0]
        content[at : at + table.nbytes] = table.view(np.uint8).ravel()
    return content.data


def lgm_bytes(gaussians: Tensor | np.ndarray, min_opacity: float = 0.005) -> memoryview:
    """The .ply that LGM's published save_ply writes for its network's output, in the axes of the tensor.

    Args:
        gaussians: [1, N, 14], LGM's layout (position 3, opacity 1, linear scale 3, rotation 4, rgb 3), activated.
        min_opacity: rows below it are left out; 0.005 is the published value.

    Returns:
        The whole file: M rows of :data:`LGM_COLUMNS`, float32. Opacities are limited to [1e-6, 1 - 1e-6], and 1e-8 is
        added to scales, so that nothing is infinite.

    Raises:
        InputError: another shape.

    Source:
        https://github.com/3DTopia/LGM, core/gs.py, save_ply.
    """
    if gaussians.ndim != 3 or gaussians.shape[0] != 1 or gaussians.shape[2] != 14:
        raise InputError(f"gaussians must be [1, N, 14], LGM's layout; got shape {tuple(gaussians.shape)}")
    all_rows = torch.as_tensor(gaussians).detach()[0].to("cpu", torch.float32).numpy()  # [N, 14]
    opaque = all_rows[:, 3] >= min_opacity
    kept = all_rows if opaque.all() else all_rows[opaque]  # [M, 14]

    def fill(rows: slice, table: np.ndarray) -> None:
        for i, column in enumerate(_lgm_columns(kept[rows])):
            table[:, i] = column

    return _encode(len(kept), LGM_COLUMNS, fill)


def _lgm_columns(rows: np.ndarray) -> list[np.ndarray]:
    x, y, z, opacity, *others = rows.T
    opacity = opacity.clip(np.float32(1e-6), np.float32(1 - 1e-6))
    scales = [np.log(scale + np.float32(1e-8)) for scale in others[:3]]
    f_dc = [(channel - np.float32(0.5)) / np.float32(SH_C0) for channel in others[7:]]
    return [x, y, z, *f_dc, np.log(opacity / (1 - opacity)), *scales, *others[3:7]]
