"""The .ply of 3D Gaussian Splatting, with the columns of Inria's code or of LGM's.

Opacity is stored as a logit, scales as natural logarithms, orientation as (w, x, y, z) of any length, and colour as
spherical-harmonic coefficients: f_dc of degree 0, f_rest of degrees 1 to 3, channel by channel.

Specifications: http://paulbourke.net/dataformats/ply/ (the file), https://github.com/graphdeco-inria/gaussian-splatting
(scene/gaussian_model.py, the columns), https://github.com/3DTopia/LGM (core/gs.py, its 14 columns).
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError, InputError
from ..gaussians import SH_C0, Gaussians
from ._format import Format, Sibling
from ._ply_table import Columns, read_table

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

_BLOCK = 2048
"""Rows that fit into the processor's cache: the columns of one row share a cache line, so blocks fetch it once."""


def inria_columns(sh_degree: int) -> tuple[str, ...]:
    """The columns of Inria's code: 62 for SH degree 3 (normals are always 0)."""
    rest = tuple(f"f_rest_{i}" for i in range(3 * ((sh_degree + 1) ** 2 - 1)))
    return (*_POSITION, "nx", "ny", "nz", *_DC, *rest, "opacity", *_SCALE, *_ROT)


def sniff(buffer: memoryview) -> bool:
    """Whether the first line is that of a .ply, of Gaussians or of anything else."""
    return bytes(buffer[:4]) in (b"ply\n", b"ply\r")


def read(buffer: memoryview, sibling: Sibling) -> Gaussians:  # noqa: ARG001  (every format gets it)
    """Gaussians from the bytes of a .ply, in the axes of the file, float32.

    Infinite logits and log scales of minus infinity are read as what they mean: opacity 0 or 1, scale 0.

    Raises:
        FormatError: damaged, no vertices, or columns missing.
    """
    columns = read_table(buffer, _wanted)
    # numpy and not torch, column by column and in place: on a busy machine, waking torch's threads takes longer than
    # all of this, and the fields stay views of one block of memory, as those of Gaussians.from_lgm
    opacities, scales = columns.take(["opacity"])[:, 0], columns.take(_SCALE)
    with np.errstate(over="ignore"):  # exp(inf) = inf is meant: sigmoid(-inf) = 0; scales are checked by the caller
        for start in range(0, len(opacities), _BLOCK):
            rows = slice(start, start + _BLOCK)
            opacities[rows] = 1 / (1 + np.exp(-opacities[rows]))
            # exp of neighbours in memory is several times as fast as of numbers 56 bytes apart
            for column, values in zip(scales[rows].T, np.exp(np.ascontiguousarray(scales[rows].T)), strict=True):
                column[:] = values
    return Gaussians(
        means=torch.from_numpy(columns.take(_POSITION)),
        quats=torch.from_numpy(columns.take(_ROT)),
        scales=torch.from_numpy(scales),
        opacities=torch.from_numpy(opacities),
        sh=torch.from_numpy(_read_sh(columns)),
    )


def _wanted(names: Sequence[str]) -> tuple[str, ...]:
    """The columns to read out of those that are there.

    Raises:
        FormatError: it has not all that Gaussians need.
    """
    missing = [name for name in LGM_COLUMNS if name not in names]
    if missing:
        raise FormatError(
            f"a .ply of Gaussians must have the columns {' '.join(LGM_COLUMNS)}; it lacks {' '.join(missing)} and has "
            f"{' '.join(names)}: it may hold a mesh or a plain point cloud"
        )
    rest = sorted((name for name in names if name.startswith("f_rest_")), key=lambda name: (len(name), name))
    if len(rest) not in (0, 9, 24, 45) or rest != [f"f_rest_{i}" for i in range(len(rest))]:
        raise FormatError(
            f"f_rest must be columns 0 to 8, 23 or 44 (SH degree 1, 2, 3), or absent; got {len(rest)}: {' '.join(rest)}"
        )
    return (*LGM_COLUMNS, *rest)


def _read_sh(columns: Columns) -> np.ndarray:
    """[N, K, 3]."""
    dc = columns.take(_DC)[:, None]  # [N, 1, 3]
    rest = [name for name in columns.names if name.startswith("f_rest_")]
    if not rest:
        return dc
    by_channel = columns.take(rest).reshape(len(dc), 3, -1)  # [N, 3, K - 1]
    return np.concatenate([dc, by_channel.transpose(0, 2, 1)], axis=1)


def write(gaussians: Gaussians, name: str, layout: str = "auto") -> dict[str, bytes]:
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
    sh = gaussians.sh.numpy()  # [N, K, 3]
    rest = sh[:, 1:].transpose(0, 2, 1).reshape(len(sh), -1)  # [N, 3 (K - 1)], channel by channel
    opacities, scales = gaussians.opacities.numpy(), gaussians.scales.numpy()
    with np.errstate(divide="ignore"):  # infinite for 0 and 1, which are limited right away
        logits = np.log(opacities / (1 - opacities)).clip(_CLEAR, _OPAQUE)
        logs = [np.maximum(np.log(column), _POINT) for column in scales.T]
    normals = [] if short else [np.zeros(len(sh))] * 3
    parts = [*gaussians.means.numpy().T, *normals, *sh[:, 0].T, *rest.T, logits, *logs, *gaussians.quats.numpy().T]
    return {name: _encode(parts, names)}


def _encode(columns: Sequence[np.ndarray], names: Sequence[str]) -> bytes:
    """A whole .ply of columns [N], as stored.

    In blocks of rows that fit into the processor's cache. Never a second array of the file's size: fresh memory of
    megabytes costs more than the numbers that go into it.
    """
    count = len(columns[0])
    properties = "".join(f"property float {name}\n" for name in names)
    stream = io.BytesIO()
    stream.write(f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{properties}end_header\n".encode())
    block = np.empty((min(count, _BLOCK), len(names)), "<f4")
    for start in range(0, count, _BLOCK):
        rows = block[: count - start]
        for i, column in enumerate(columns):
            rows[:, i] = column[start : start + _BLOCK]
        stream.write(rows.data)
    return stream.getvalue()


def lgm_table(gaussians: Tensor | np.ndarray, min_opacity: float = 0.005) -> np.ndarray:
    """What LGM's published save_ply stores for its network's output: pruned, and limited as it does.

    Args:
        gaussians: [1, N, 14], LGM's layout (position 3, opacity 1, linear scale 3, rotation 4, rgb 3), activated.
        min_opacity: rows below it are left out; 0.005 is the published one.

    Returns:
        [M, 14] float32 in the order of :data:`LGM_COLUMNS`. Opacities are kept within 1e-6 of 0 and 1, and 1e-8 is
        added to scales, so that nothing is infinite.

    Raises:
        InputError: another shape.

    Source:
        https://github.com/3DTopia/LGM, core/gs.py, save_ply.
    """
    return np.stack(_lgm_columns(gaussians, min_opacity), axis=1)


def lgm_bytes(gaussians: Tensor | np.ndarray, min_opacity: float = 0.005) -> bytes:
    """The whole .ply of :func:`lgm_table`, in the axes of the tensor."""
    return _encode(_lgm_columns(gaussians, min_opacity), LGM_COLUMNS)


def _lgm_columns(gaussians: Tensor | np.ndarray, min_opacity: float) -> list[np.ndarray]:
    if gaussians.ndim != 3 or gaussians.shape[0] != 1 or gaussians.shape[2] != 14:
        raise InputError(f"gaussians must be [1, N, 14], LGM's layout; got shape {tuple(gaussians.shape)}")
    rows = torch.as_tensor(gaussians).detach()[0].to("cpu", torch.float32).numpy()  # [N, 14]
    kept = rows[:, 3] >= min_opacity
    rows = rows if kept.all() else rows[kept]  # [M, 14]
    x, y, z, opacity, *others = rows.T
    opacity = opacity.clip(np.float32(1e-6), np.float32(1 - 1e-6))
    scales = [np.log(scale + np.float32(1e-8)) for scale in others[:3]]
    f_dc = [(channel - np.float32(0.5)) / np.float32(SH_C0) for channel in others[7:]]
    return [x, y, z, *f_dc, np.log(opacity / (1 - opacity)), *scales, *others[3:7]]


FORMAT = Format(
    suffix=".ply",
    name="3DGS PLY",
    holds=Gaussians,
    sniff=sniff,
    read=read,
    write=write,
)
