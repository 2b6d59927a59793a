"""Answers to the exercises of lessons 01 to 03, right and wrong, for test_course.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import image3d_nb as i3d


def scattered(vertices: Any, faces: Any, n: int, *, even: bool = True, root: bool = True, fold: bool = True) -> Any:
    """Exercise 01.1 with the folded parallelogram, and faults to choose."""
    rng = np.random.default_rng(3)
    a, b, c = (np.asarray(vertices)[np.asarray(faces)[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), n, p=areas / areas.sum() if even else None)
    u, v = rng.random((2, n, 1))
    if fold:
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    if not root:  # r without its square root
        r, s = rng.random((2, n, 1))
        u, v = r * (1 - s), r * s
    return a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]


def middles(vertices: Any, faces: Any, n: int) -> Any:
    areas = np.array([0.1, 0.9])
    return vertices[faces[np.random.default_rng(0).choice(2, n, p=areas)]].mean(1)


def lifted(vertices: Any, faces: Any, n: int) -> Any:
    return 1.1 * scattered(vertices, faces, n)


def sizes(**factors: int) -> Callable[[str, int], int]:
    """Exercise 01.3 with other factors than 4 bytes, 4 views, 14 numbers, 3 planes, 32 channels or the power 3."""
    f = {"bytes": 4, "views": 4, "numbers": 14, "planes": 3, "channels": 32, "power": 3} | factors

    def bytes_of(kind: str, r: int) -> int:
        cell = {"triplane": f["planes"] * f["channels"], "gaussians": f["views"] * f["numbers"]}
        return f["bytes"] * (r ** f["power"] if kind == "voxels" else cell[kind] * r**2)

    return bytes_of


def stopped(sigma: Any, step: float) -> Any:
    return 1 - np.exp(-np.asarray(sigma) * step)


def cells(planes: Any, place: Any) -> list[Any]:
    x, y, z = ((place + 1) / 2 * planes.shape[-1]).astype(int)
    return [planes[0][:, y, x], planes[1][:, z, x], planes[2][:, z, y]]


def turned(path: Any, how: Any = Image.Transpose.ROTATE_270) -> Image.Image:
    """The image, turned whatever its note says."""
    return Image.open(path).transpose(how)


def blended(rgba: Any, ground: float = 1.0) -> Any:
    colour, alpha = rgba[..., :3] / 255, rgba[..., 3:] / 255
    return alpha * colour + (1 - alpha) * ground


def counts(mask: Any, truth: Any) -> tuple[float, float, float, float]:
    """Pixels in both masks, in the first, in the second, and in all."""
    return (mask & truth).sum(), mask.sum(), truth.sum(), mask.size


def box(alpha: Any, least: int = 128) -> list[int]:
    rows, columns = np.nonzero(alpha >= least)
    return [int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def frame(box: Any, side: float, x: float = 0.5, y: float = 0.5) -> list[float]:
    """A square of this side, with its middle at these shares of the box."""
    left, top = box[0] + x * (box[2] - box[0]) - side / 2, box[1] + y * (box[3] - box[1]) - side / 2
    return [left, top, left + side, top + side]


def sides(box: Any) -> tuple[float, float]:
    """The shorter and the longer side of a box."""
    shorter, longer = sorted((box[2] - box[0], box[3] - box[1]))
    return shorter, longer


def pixels(points: Any, camera: i3d.Cameras, right: float = 1, down: float = 1, middle: float = 1) -> Any:
    """Exercise 03.1, with faults to choose."""
    seen = points @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
    size = torch.tensor([camera.width, camera.height]) / 2
    return camera.Ks[0, 0, 0] * seen[:, :2] / seen[:, 2:] * torch.tensor([right, down]) + middle * size


def by_pose(points: Any, camera: i3d.Cameras) -> Any:
    """The projection with ``c2w`` in place of its inverse."""
    seen = points @ camera.c2w[0, :3, :3].T + camera.c2w[0, :3, 3]
    return camera.Ks[0, 0, 0] * seen[:, :2] / seen[:, 2:] + torch.tensor([camera.width, camera.height]) / 2


def undivided(points: Any, camera: i3d.Cameras) -> Any:
    seen = points @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
    return camera.Ks[0, 0, 0] * seen[:, :2] + torch.tensor([camera.width, camera.height]) / 2


def ray(pixel: Any, camera: i3d.Cameras, half: float = 0.5, down: float = -1, turn: Any = None) -> Any:
    """Exercise 03.2, with faults to choose."""
    x, y = (np.array(pixel) + half - np.array([camera.width, camera.height]) / 2) / float(camera.Ks[0, 0, 0])
    turn = camera.c2w[0, :3, :3] if turn is None else turn
    return F.normalize(turn @ torch.tensor([x, down * y, -1.0]).float(), dim=0)


def stands(azimuth: float, elevation: float, radius: float) -> Any:
    return radius * np.array([
        np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth),
    ])  # fmt: skip


def in_degrees(azimuth: float, elevation: float, radius: float) -> Any:
    return stands(np.radians(azimuth), np.radians(elevation), radius)


def alike(p: Any, q: Any, *, sign: bool = True, unit: bool = True, part: slice = slice(None)) -> bool:
    """Exercise 03.4, with faults to choose."""
    if unit:
        p, q = p / p[3:].norm(), q / q[3:].norm()
    same = torch.allclose(p[part], q[part], atol=1e-4)
    return same or (sign and torch.allclose(p[part], -q[part], atol=1e-4))


def each_up_to_sign(p: Any, q: Any) -> bool:
    return torch.allclose((p / p[3:].norm()).abs(), (q / q[3:].norm()).abs(), atol=1e-4)


def pose(position: Any, back_sign: float = 1, right_sign: float = 1, up: tuple[float, ...] = (0.0, 1, 0)) -> Any:
    """Exercise 03.5, with faults to choose."""
    back = back_sign * F.normalize(position, dim=0)
    right = right_sign * F.normalize(torch.linalg.cross(torch.tensor(up), back), dim=0)
    rows = torch.stack([right, torch.linalg.cross(back, right), back, position], 1)
    return torch.cat([rows, torch.tensor([[0.0, 0, 0, 1]])])


RIGHT: list[tuple[str, Callable[[], Any]]] = [
    ("01.1", lambda: lambda v, f, n: torch.tensor(scattered(v, f, n)).float()),
    ("01.2", lambda: lambda a, b: torch.where(torch.tensor((a < 0) & (b > 0)), -1.0, 1.0)),
    ("01.3", lambda: lambda kind, r: np.float32(sizes()(kind, r))),
    ("01.4", lambda: lambda s, t: -np.diff(np.exp(-t * np.concatenate([[0], np.cumsum(s)]))).astype(np.float32)),
    ("01.5", lambda: lambda planes, place: torch.tensor(sum(cells(planes, place)))),
    ("02.1", lambda: lambda path: np.asarray(i3d.load_image(path), np.float32) / 255),
    ("02.2", lambda: lambda rgba: torch.tensor(blended(rgba)).float()),
    ("02.2", lambda: lambda rgba: (255 * blended(rgba)).round() / 255),
    ("02.3", lambda: lambda mask, truth: round(float(counts(mask, truth)[0] / (mask | truth).sum()), 2)),
    ("02.4", lambda: lambda a: Image.fromarray(a).point(lambda v: 255 * (v >= 128)).getbbox()),
    ("02.5", lambda: lambda box, ratio: torch.tensor(frame(box, sides(box)[1] / ratio)).round().int()),
    ("03.1", lambda: lambda points, camera: pixels(points, camera).numpy().tolist()),
    ("03.2", lambda: lambda pixel, camera: ray(pixel, camera).numpy().round(4).tolist()),
    ("03.3", lambda: lambda a, e, r: i3d.orbit_cameras(e, a, radius=r).positions[0]),
    ("03.4", lambda: lambda p, q: np.float32(torch.linalg.matrix_rank(torch.stack([p, q]), rtol=1e-4) == 1)),
    ("03.5", lambda: lambda position: pose(position).numpy()),
]

WRONG: list[tuple[str, Callable[[], Any], str]] = [
    ("01.1", lambda: lambda v, f, n: scattered(v, f, n, even=False), "count by area"),
    ("01.1", lambda: lambda v, f, n: scattered(v, f, n, root=False), "crowd"),
    ("01.1", lambda: lambda v, f, n: scattered(v, f, n, fold=False), "inside its face"),
    ("01.1", lambda: middles, "close together"),
    ("01.1", lambda: lifted, "plane of its face"),
    ("01.1", lambda: lambda v, f, n: scattered(v, f, 10), "shape must be"),
    ("01.1", lambda: lambda v, f, n: scattered(v, f[:1], n), "90 %"),
    ("01.2", lambda: np.maximum, "inside out"),
    ("01.2", lambda: np.minimum, "union"),
    ("01.2", lambda: lambda a, b: np.maximum(-a, b), "out of a"),
    ("01.2", lambda: lambda a, b: np.minimum(a, -b), "AND"),
    ("01.2", lambda: lambda a, b: a - b, "nearer"),
    ("01.2", lambda: lambda a, b: a, "differ"),
    ("01.3", lambda: sizes(bytes=1), "four bytes"),
    ("01.3", lambda: sizes(power=2), "three directions"),
    ("01.3", lambda: sizes(channels=1), "32 numbers"),
    ("01.3", lambda: sizes(planes=1), "three planes"),
    ("01.3", lambda: sizes(views=1), "four views"),
    ("01.3", lambda: sizes(numbers=1), "14 numbers"),
    ("01.3", lambda: lambda kind, r: 5, "yours are 5"),
    ("01.4", lambda: lambda s, t: stopped(s, t) * np.cumprod(1 - stopped(s, t)), "hides itself"),
    ("01.4", lambda: stopped, "gets less light"),
    ("01.4", lambda: lambda s, t: s * t, "above 1"),
    ("01.4", lambda: lambda s, t: np.cumprod(1 - stopped(s, t)), "what passes"),
    ("01.4", lambda: lambda s, t: s / s.sum(), "give"),
    ("01.4", lambda: lambda s, t: 1.0, "one a sample"),
    ("01.5", lambda: lambda p, place: np.stack(cells(p, place)), "one number a channel"),
    ("01.5", lambda: lambda p, place: sum(cells(p.swapaxes(-1, -2), place)), "swapped"),
    ("01.5", lambda: lambda p, place: cells(p, place)[0], "plane xy"),
    ("01.5", lambda: lambda p, place: np.mean(cells(p, place), 0), "mean of the three"),
    ("01.5", lambda: lambda p, place: sum(cells(p, place / 2)), "falls into"),
    ("02.1", lambda: Image.open, "as it is stored"),
    ("02.1", lambda: turned, "leave it as it is"),
    ("02.1", lambda: lambda path: turned(path, Image.Transpose.ROTATE_90), "another angle"),
    ("02.1", lambda: lambda path: turned(path, Image.Transpose.TRANSPOSE), "mirrored"),
    ("02.1", lambda: lambda path: Image.new("RGB", (24, 40)), "must be the image"),
    ("02.2", lambda: lambda rgba: rgba[..., :3] / 255, "Alpha is ignored"),
    ("02.2", lambda: lambda rgba: blended(rgba, 0.0), "onto black"),
    ("02.2", lambda: lambda rgba: 255 * blended(rgba), "in [0, 1]"),
    ("02.2", lambda: lambda rgba: rgba[..., :3] / 255 + 1 - rgba[..., 3:] / 255, "multiplied by alpha"),
    ("02.2", lambda: lambda rgba: blended(rgba ^ np.array([0, 0, 0, 255], np.uint8)), "swapped"),
    ("02.2", lambda: lambda rgba: blended(rgba // np.array([255, 255, 255, 1], np.uint8)), "twice"),
    ("02.2", lambda: lambda rgba: blended(rgba, 0.5), "must give"),
    ("02.2", lambda: lambda rgba: blended(rgba * (255 / 256)), "not by 256"),
    ("02.2", lambda: lambda rgba: rgba[..., 3:] / 255 * (rgba[..., :3] / 256) + 1 - rgba[..., 3:] / 255, "not by 256"),
    ("02.2", lambda: lambda rgba: rgba, "shape must be"),
    ("02.3", lambda: lambda mask, truth: (mask == truth).mean(), "counts the ground"),
    ("02.3", lambda: lambda m, t: 2 * counts(m, t)[0] / (counts(m, t)[1] + counts(m, t)[2]), "sum of both"),
    ("02.3", lambda: lambda m, t: counts(m, t)[0] / counts(m, t)[1], "first mask"),
    ("02.3", lambda: lambda m, t: counts(m, t)[0] / counts(m, t)[2], "second mask"),
    ("02.3", lambda: lambda m, t: counts(m, t)[0] / counts(m, t)[3], "all pixels"),
    ("02.3", lambda: lambda m, t: counts(m, t)[0], "how many"),
    ("02.3", lambda: lambda m, t: 0.5, "yours is 0.5"),
    ("02.4", lambda: lambda a: np.subtract(box(a), [0, 0, 1, 1]), "OUTSIDE"),
    ("02.4", lambda: lambda a: box(a.T), "swapped"),
    ("02.4", lambda: lambda a: box(a, 1), "soft edge"),
    ("02.4", lambda: lambda a: np.subtract(box(a), [0, 0, *box(a)[:2]]), "not width"),
    ("02.4", lambda: lambda a: [0, 0, 30, 20], "must be [7, 3, 25, 11]"),
    ("02.4", lambda: lambda a: a, "four numbers"),
    ("02.5", lambda: lambda box, ratio: frame(box, sides(box)[1] * ratio), "divide by"),
    ("02.5", lambda: lambda box, ratio: frame(box, sides(box)[0] / ratio), "shorter side"),
    ("02.5", lambda: lambda box, ratio: frame(box, sides(box)[1]), "not used"),
    ("02.5", lambda: lambda box, ratio: frame(box, sides(box)[1] / ratio, 0.2, 0.2), "middle"),
    ("02.5", lambda: lambda box, ratio: box, "a square"),
    ("02.5", lambda: lambda box, ratio: frame(box, 7.0), "side must be"),
    ("03.1", lambda: lambda points, camera: pixels(points, camera, down=-1), "downwards"),
    ("03.1", lambda: lambda points, camera: pixels(points, camera, right=-1), "Left and right"),
    ("03.1", lambda: lambda points, camera: pixels(points, camera, -1, -1), "Both signs"),
    ("03.1", lambda: lambda points, camera: pixels(points, camera, middle=0), "must be added"),
    ("03.1", lambda: lambda points, camera: pixels(points, camera).flip(1), "(row, column)"),
    ("03.1", lambda: lambda points, camera: pixels(points, camera) + 0.5, "too much"),
    ("03.1", lambda: lambda points, camera: pixels(points, camera) - 0.5, "too little"),
    ("03.1", lambda: undivided, "divide by the depth"),
    ("03.1", lambda: by_pose, "c2w"),
    ("03.1", lambda: lambda points, camera: points[:, :2], "must land on"),
    ("03.2", lambda: lambda pixel, camera: ray(pixel, camera, half=0.0), "add 0.5"),
    ("03.2", lambda: lambda pixel, camera: 2 * ray(pixel, camera), "length must be 1"),
    ("03.2", lambda: lambda pixel, camera: -ray(pixel, camera), "away from the scene"),
    ("03.2", lambda: lambda pixel, camera: ray(pixel, camera, down=1), "downwards"),
    ("03.2", lambda: lambda pixel, camera: ray(pixel, camera, turn=camera.c2w[0, :3, :3].T), "transposed"),
    ("03.2", lambda: lambda pixel, camera: ray(pixel, camera, turn=torch.eye(3)), "camera's axes"),
    ("03.2", lambda: lambda pixel, camera: ray(pixel[::-1], camera), "must have the direction"),
    ("03.3", lambda: stands, "radians"),
    ("03.3", lambda: lambda a, e, r: in_degrees(90 - a, e, r), "swapped"),
    ("03.3", lambda: lambda a, e, r: in_degrees(-a, e, r), "wrong way round"),
    ("03.3", lambda: lambda a, e, r: in_degrees(a, -e, r), "is above"),
    ("03.3", lambda: lambda a, e, r: in_degrees(a, e, r)[[0, 2, 1]], "not z"),
    ("03.3", lambda: lambda a, e, r: in_degrees(a, e, 1.0), "must be the radius"),
    ("03.3", lambda: lambda a, e, r: [0, 0, r], "yours gives"),
    ("03.4", lambda: lambda p, q: alike(p, q, sign=False), "direction of travel"),
    ("03.4", lambda: lambda p, q: alike(p, q, unit=False), "any length"),
    ("03.4", lambda: lambda p, q: alike(p, q, part=slice(3, 6)), "Parallel lines"),
    ("03.4", lambda: each_up_to_sign, "other sign"),
    ("03.4", lambda: lambda p, q: True, "through one point"),
    ("03.4", lambda: lambda p, q: p == q, "One answer"),
    ("03.4", lambda: lambda p, q: False, "same as itself"),
    ("03.5", lambda: lambda position: pose(position, -1), "looks away"),
    ("03.5", lambda: lambda position: pose(position, 1, -1), "on its head"),
    ("03.5", lambda: lambda position: pose(position) * torch.tensor([-1.0, 1, 1, 1]), "mirrored"),
    ("03.5", lambda: lambda position: pose(position, 2), "with length 1"),
    ("03.5", lambda: lambda position: pose(position, 1, 2), "right angles"),
    ("03.5", lambda: lambda position: pose(position, up=(0.3, 1, 0.2)), "tilted"),
    ("03.5", lambda: lambda position: pose(position + 1), "must be the position"),
]
