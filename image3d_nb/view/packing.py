"""A scene as small JSON for a page: columns of whole numbers, delta-coded, cut into byte planes, and deflated.

js/data.js reads it. A notebook stores every page that ``show`` makes, and 32 bytes a Gaussian or 26 a vertex add up.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .sheets import image_bytes

POSITION_ERROR = 0.05  # of a small splat's scale: with 16 bits a position may be off by as much, else it gets 24


def page_json(content: dict[str, Any]) -> str:
    """A payload of ``scene.py`` as JSON for a page. It holds no "<", so it cannot close an HTML element."""
    small: dict[str, Any] = {}
    if "splats" in content:
        small["splats"] = _splats(content["splats"])
    if "surfaces" in content:
        small["surfaces"] = [_surface(surface) for surface in content["surfaces"]]
    if "lines" in content:
        small["lines"] = content["lines"]
    return json.dumps(small, default=lambda value: base64.b64encode(value).decode("ascii"))


def pack(values: NDArray[Any], width: int, log: bool = False) -> dict[str, Any]:
    """Columns [n, k] as k x ``width`` deflated planes of n bytes.

    Args:
        values: whole numbers, kept exactly if they span less than 256^width; or floats, rounded to 256^width steps.
        width: bytes a number.
        log: whether the logarithms of the values are stored.
    """
    values = np.log(np.maximum(values, 1e-12)) if log else values.astype(np.float64)
    low, span = values.min(0), np.ptp(values, axis=0)
    whole = bool((values == np.rint(values)).all()) and span.max() < 256**width
    step = np.ones(len(low)) if whole else np.maximum(span, 1e-12) / (256**width - 1)
    codes = np.rint((values - low) / step).astype(np.int64)
    deltas = np.diff(codes, axis=0, prepend=0) % 256**width  # [n, k]
    planes = deltas.T[:, None] >> (8 * np.arange(width))[:, None] & 255  # [k, width, n]
    deflated = zlib.compress(planes.astype(np.uint8).tobytes(), 9)
    return {"deflated": deflated, "count": len(values), "width": width, "low": low.tolist(), "step": step.tolist(),
            "log": log}  # fmt: skip


def _splats(rows: bytes) -> dict[str, Any]:
    table = np.frombuffer(rows, np.uint8).reshape(-1, 32)
    table = table[_neighbours_first(table[:, :12].view("<f4"))]
    means, scales = (np.ascontiguousarray(table[:, start : start + 12]).view("<f4") for start in (0, 12))
    fine = POSITION_ERROR * float(np.quantile(scales.max(1), 0.1))
    enough = float(np.ptp(means, axis=0).max()) / 2**17 <= fine
    return {
        "means": pack(means, 2 if enough else 3), "scales": pack(scales, 1, log=True),
        "colours": pack(table[:, 24:28], 1), "quats": pack(table[:, 28:], 1),
    }  # fmt: skip


def _neighbours_first(means: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """An order [n] in which neighbours come after each other (Morton 1966), so that differences are small."""
    low, span = means.min(0), np.maximum(np.ptp(means, axis=0), 1e-12)
    cells = ((means - low) / span * 1023).astype(np.int64)  # [n, 3]
    code = np.zeros(len(means), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")


def _surface(surface: dict[str, Any]) -> dict[str, Any]:
    def columns(name: str, kind: str, count: int) -> NDArray[Any]:
        return np.frombuffer(surface[name], kind).reshape(-1, count)

    normals = np.rint(columns("normals", "<i2", 3) / 258)  # -127 to 127
    small: dict[str, Any] = {
        "lit": surface["lit"],
        "vertices": pack(columns("vertices", "<f4", 3), 2),
        "faces": pack(columns("faces", "<u4", 3), 4),
        "normals": pack(normals, 1),
    }
    if "colours" in surface:
        small["colours"] = pack(columns("colours", "u1", 3), 1)
    if "texture" in surface:
        small["uvs"] = pack(columns("uvs", "<f4", 2), 2)
        small["texture"] = image_bytes(Image.open(io.BytesIO(surface["texture"])), "JPEG", quality=92, subsampling=0)
    return small
