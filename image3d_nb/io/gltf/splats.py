"""Gaussians in glTF 2.0, by the extension KHR_gaussian_splatting (release candidate).

Points with attributes: orientation (x, y, z, w) of unit length, **linear** scales, opacity in [0, 1], and
spherical-harmonic coefficients as in the files of 3DGS. The world is glTF's, y up.

Specification: https://github.com/KhronosGroup/glTF/tree/main/extensions/2.0/Khronos/KHR_gaussian_splatting
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...errors import FormatError, InputError
from ...gaussians import Gaussians
from .._json import Values
from .accessors import Accessors, Builder
from .container import Document
from .materials import linear_of
from .scene import Budget, placed_primitives

EXTENSION = "KHR_gaussian_splatting"
_COLOR_SPACE = "srgb_rec709_display"
_KNOWN = frozenset({EXTENSION, "KHR_mesh_quantization"})


def read_splats(document: Document, notes: list[str]) -> Gaussians:
    """All Gaussians of the default scene, in world coordinates. ``notes`` lists what is left out.

    Raises:
        FormatError: no Gaussians, damaged, compressed, in another colour space, or under a node that mirrors or
            shears; the message names the place.
    """
    document.require_extensions(_KNOWN)
    accessors, budget = Accessors(document), Budget(document)
    parts, others = [], 0
    for placed in placed_primitives(document, accessors):
        primitive = placed.primitive
        if EXTENSION not in primitive.inner("extensions"):
            others += 1
            continue
        part = _read_primitive(primitive, accessors, budget)
        parts.append(part if placed.matrix is None else _moved(part, placed.matrix, primitive.path))
    if not parts:
        raise FormatError(f"a glTF that names {EXTENSION} must have a primitive of it in its scene; it has none")
    if others:
        notes.append(f"{others} primitives that are not Gaussians")
    return parts[0] if len(parts) == 1 else Gaussians.merge(parts)


def _read_primitive(primitive: Values, accessors: Accessors, budget: Budget) -> Gaussians:
    extension = primitive.inner("extensions").inner(EXTENSION)
    attributes = primitive.inner("attributes")
    _check_kind(primitive, extension)
    coefficients = _coefficient_names(attributes)
    names = ["POSITION", *(f"{EXTENSION}:{name}" for name in ("ROTATION", "SCALE", "OPACITY")), *coefficients]
    counts = [accessors.count(attributes, name) for name in names]
    if len(set(counts)) > 1:
        found = ", ".join(map(str, sorted(set(counts))))
        raise FormatError(f"{attributes.path} must have as many rows each; got {found}")
    budget.take(counts[0], primitive.path)
    means, quats, scales, opacities, *sh = (
        accessors.floats(attributes, name, (width,))
        for name, width in zip(names, (3, 4, 3, 1, *[3] * len(coefficients)), strict=True)
    )
    if (scales < 0).any() or (opacities < 0).any() or (opacities > 1).any():  # the caller reports rows with NaN
        found = f"{np.nanmin(scales):.4g} and opacities {np.nanmin(opacities):.4g} to {np.nanmax(opacities):.4g}"
        raise FormatError(
            f"{attributes.path} must have scales >= 0 (linear; early drafts stored logarithms) and opacities in "
            f"[0, 1]; got scales from {found}"
        )
    return Gaussians(
        means=torch.from_numpy(means),
        quats=torch.from_numpy(np.ascontiguousarray(quats[:, [3, 0, 1, 2]])),  # x y z w to w x y z
        scales=torch.from_numpy(scales),
        opacities=torch.from_numpy(opacities[:, 0]),
        sh=torch.from_numpy(np.stack(sh, axis=1)),  # [N, K, 3]
    )


def _check_kind(primitive: Values, extension: Values) -> None:
    """Refuse another kernel, colour space or compression: it needs other formulas."""
    mode = primitive.integer("mode", 4)
    if mode != 0:
        raise FormatError(f"{primitive.at('mode')} must be 0, points, for Gaussians; got {mode}")
    more = extension.inner("extensions").data
    if more:
        raise FormatError(f"{extension.path} must be plain; it needs {', '.join(map(str, more))}, not supported")
    for name, wanted in (("kernel", "ellipse"), ("colorSpace", _COLOR_SPACE)):
        found = extension.text(name, wanted)
        if found != wanted:
            raise FormatError(f"{extension.at(name)} must be {wanted!r}; got {found[:40]!r}, not supported")


def _coefficient_names(attributes: Values) -> list[str]:
    """The SH attributes in the file, degree by degree; 2 * degree + 1 of each."""
    there = {name for name in attributes.data if name.startswith(f"{EXTENSION}:SH_DEGREE_")}
    names: list[str] = []
    for degree in range(4):
        of_degree = [f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{k}" for k in range(2 * degree + 1)]
        if degree and not there & set(of_degree):
            break
        names += of_degree
    missing, more = [name for name in names if name not in there], sorted(there - set(names))
    if missing or more:
        raise FormatError(
            f"{attributes.path} must have whole degrees of SH, 0 to 3 without a gap; it lacks "
            f"{', '.join(missing) or 'none'} and has {', '.join(more)[:200] or 'none'} in addition"
        )
    return names


def _moved(part: Gaussians, matrix: np.ndarray, path: str) -> Gaussians:
    try:
        if not np.isfinite(matrix).all():
            raise InputError("matrix must be finite")
        return part.transform(torch.from_numpy(matrix))
    except InputError as error:
        raise FormatError(f"{path} must be placed by turns, moves and one scale; {error}") from error


def write_splats(gaussians: Gaussians, builder: Builder) -> dict[str, Any]:
    """The JSON of Gaussians, without its buffers: float32 arrays, and COLOR_0 for viewers that only draw points.

    Quaternions are stored with unit length, as the extension requires.
    """
    quats = torch.nn.functional.normalize(gaussians.quats.double(), dim=-1)[:, [1, 2, 3, 0]]  # x y z w
    own = {"ROTATION": quats.float(), "SCALE": gaussians.scales, "OPACITY": gaussians.opacities}
    degrees = [(degree, k) for degree in range(gaussians.sh_degree + 1) for k in range(2 * degree + 1)]
    own |= {f"SH_DEGREE_{d}_COEF_{k}": gaussians.sh[:, i] for i, (d, k) in enumerate(degrees)}
    attributes = {"POSITION": builder.attribute(_array(gaussians.means), limits=True)}
    attributes |= {f"{EXTENSION}:{name}": builder.attribute(_array(values)) for name, values in own.items()}
    attributes["COLOR_0"] = builder.attribute(_point_colors(gaussians), normalized=True)
    extension = {"kernel": "ellipse", "colorSpace": _COLOR_SPACE}
    primitive = {"mode": 0, "attributes": attributes, "extensions": {EXTENSION: extension}}
    return {
        "asset": {"version": "2.0", "generator": "image3d_nb"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
    }


def _array(values: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.numpy(), "<f4")


def _point_colors(gaussians: Gaussians) -> np.ndarray:
    """[N, 4] uint16: colour, linear, and opacity. 16 bits: 8 would be coarse where linear light is dark."""
    color = linear_of(gaussians.rgb.double().numpy().clip(0, 1))
    rgba = np.concatenate([color, gaussians.opacities.double().numpy()[:, None]], axis=1)
    return np.rint(65535 * rgba).astype("<u2")
