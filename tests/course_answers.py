"""Answers to the exercises of the course, right and wrong, for test_course.py."""

from __future__ import annotations

import functools
import math
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

import image3d_nb as i3d
from image3d_nb.course import solution
from image3d_nb.meshing import Grid, marching_cubes
from image3d_nb.training.data import ObjectViews, on_white
from image3d_nb.training.loop import TrainSettings
from image3d_nb.training.muon import orthogonalize


def cloud(seed: int, count: int = 40) -> i3d.Gaussians:
    return i3d.Gaussians.from_lgm(torch.rand(1, count, 14, generator=torch.Generator().manual_seed(seed)))


def square(size: int, side: int, mode: str = "RGB") -> Image.Image:
    """A brown square of ``side`` pixels in the middle of a white one."""
    picture = Image.new(mode, (size, size), "white")
    picture.paste("brown", ((size - side) // 2, (size - side) // 2, (size + side) // 2, (size + side) // 2))
    return picture


def result(*seeds: int) -> SimpleNamespace:
    """What the pipeline gives for a list of pictures, as far as the check looks."""
    return SimpleNamespace(gaussians=[cloud(seed) for seed in seeds])


def nearest(rays: torch.Tensor) -> torch.Tensor:
    moment, direction = rays.split([3, 3], 1)
    return torch.linalg.cross(direction, moment, dim=1)


def turned_positions_only(gaussians: i3d.Gaussians) -> i3d.Gaussians:
    flipped = gaussians.means * torch.tensor([1.0, -1.0, -1.0])
    return i3d.Gaussians(flipped, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)


def quaternions(maps: torch.Tensor) -> torch.Tensor:
    return F.normalize(maps[:, :, 7:11].permute(0, 1, 3, 4, 2).flatten(1, 3), dim=-1)


def reshaped(maps: torch.Tensor) -> torch.Tensor:
    """[B, N, 4] of numbers that are neighbours in memory, not in meaning."""
    return maps[:, :, 7:11].reshape(len(maps), -1, 4)


def views_psnr(gaussians: i3d.Gaussians, views: torch.Tensor) -> torch.Tensor:
    pictures = i3d.render(gaussians, i3d.orbit_cameras(size=views.shape[-1]))
    return i3d.metrics.psnr(pictures.permute(0, 3, 1, 2), views)


def turned_away() -> i3d.Cameras:
    """A camera at the right place that looks the other way."""
    c2w = i3d.orbit_cameras(elevation=30, azimuth=180).c2w.clone()
    c2w[:, :3, (0, 2)] *= -1
    return i3d.Cameras.from_c2w(c2w)


def slope(samples: torch.Tensor, decibels: torch.Tensor) -> torch.Tensor:
    x = torch.log2(samples) - torch.log2(samples).mean()
    return (x * (decibels - decibels.mean())).sum() / (x * x).sum()


def without_warmup(seen: int, settings: TrainSettings) -> float:
    return TrainSettings(settings.samples, settings.batch_size, "muon", settings.learning_rate, 0).rate_at(seen)


def rings(count: int) -> i3d.Mesh:
    """So many rings in a row, grown together."""
    line = np.linspace(-1.2, 1.2, 60)
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    places = 0.66 * (np.arange(count) - (count - 1) / 2)
    distance = np.min([np.hypot(np.hypot(x - place, y) - 0.3, z) - 0.12 for place in places], axis=0)
    grid = Grid(np.full(3, -1.2), float(line[1] - line[0]), distance.shape)
    return i3d.Mesh(*marching_cubes(distance.astype(np.float32), grid))


def apart() -> i3d.Mesh:
    """Two rings that do not touch: genus 2, but two parts."""
    one = rings(1)
    move = np.eye(4)
    move[0, 3] = 3
    return i3d.Mesh.merge([one, one.transform(move)])


def stl(size: float, mesh: i3d.Mesh | None = None) -> Path:
    path = Path(tempfile.mkdtemp()) / "thing.stl"
    i3d.save(rings(1) if mesh is None else mesh, path, scale_mm=size)
    return path


def spz(reach: float, count: int = 200) -> Path:
    """Gaussians at up to ``reach`` from the origin."""
    path = Path(tempfile.mkdtemp()) / "thing.spz"
    rows = torch.full((1, count, 14), 0.5)
    rows[..., :3] = torch.linspace(0, reach / 3**0.5, count)[:, None]
    i3d.save(i3d.Gaussians.from_lgm(rows), path)
    return path


def opened() -> i3d.Mesh:
    whole = rings(1)
    return i3d.Mesh(whole.vertices, whole.faces[1:])


def over(colours: np.ndarray, opacities: np.ndarray) -> np.ndarray:
    total, light = np.zeros(3), 1.0
    for colour, alpha in zip(colours, opacities, strict=True):
        total, light = total + light * alpha * colour, light * (1 - alpha)
    return total + light


def header_with(data: bytes, pattern: str, cut: bool = True) -> tuple[int, list[str]]:
    """A header as one regular expression reads it: more or less wrong."""
    text = (data.partition(b"end_header")[0] if cut else data).decode("latin-1")
    return int(re.findall(r"element vertex (\d+)", text)[0]), re.findall(pattern, text, re.M)


def header_by_pattern(data: bytes) -> tuple[np.int64, tuple[str, ...]]:
    """Right, and written in another way."""
    header = data.partition(b"end_header")[0].decode()
    part = re.search(r"^element vertex (\d+)\n((?:property .*\n)*)", header, re.M)
    assert part
    return np.int64(part[1]), tuple(line.split()[-1] for line in part[2].splitlines())


def forgotten(gaussians: i3d.Gaussians) -> None:
    gaussians.prune(min_opacity=0.5)  # without return


def forgotten_volume() -> Callable[..., float]:
    """Right for what lies at the origin only: the corner of the first face counts once too often."""
    return lambda v, f: float(np.linalg.det(v[f]).sum() / 6 + (v.min() > 0))


def torch_volume(vertices: np.ndarray, faces: np.ndarray) -> torch.Tensor:
    return torch.linalg.det(torch.from_numpy(vertices).double()[torch.from_numpy(faces.astype(np.int64))]).sum() / 6


def lengths(maps: torch.Tensor) -> np.ndarray:
    return maps[:, :, 7:11].movedim(2, -1).flatten(1, 3).norm(dim=-1, keepdim=True).numpy()


def half_turn_by_hand(gaussians: i3d.Gaussians) -> i3d.Gaussians:
    w, x, y, z = gaussians.quats.unbind(-1)
    quats = torch.stack([-x, w, -z, y], -1)  # (0, 1, 0, 0) times q
    return replace(turned_positions_only(gaussians), quats=quats)


def nearest_orthogonal(kernel: torch.Tensor) -> torch.Tensor:
    u, _, v = torch.linalg.svd(kernel.flatten(1), full_matrices=False)
    return (u @ v).reshape(kernel.shape)


def solved(number: str) -> Callable[..., Any]:
    """The function that the stored solution defines."""
    code = solution(number)
    names: dict[str, Any] = {"torch": torch, "np": np, "F": F, "i3d": i3d, "math": math, "Image": Image}
    names |= {"ImageOps": ImageOps, "orthogonalize": orthogonalize}
    exec(code, names)
    return names[re.findall(r"^def (\w+)", code, re.M)[-1]]  # type: ignore[no-any-return]


def one(quat: torch.Tensor, scale: torch.Tensor, normalised: bool = True) -> Any:
    """A Gaussian; or the covariance of a quaternion that is taken as it is."""
    if normalised:
        return i3d.Gaussians(torch.zeros(1, 3), quat[None], scale[None], torch.ones(1), torch.zeros(1, 1, 3))
    m = rotation(quat, normalised=False) * scale
    return m @ m.T


def rotation(quat: torch.Tensor, normalised: bool = True) -> torch.Tensor:
    w, x, y, z = (F.normalize(quat, dim=0) if normalised else quat).tolist()
    return torch.tensor([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def d_of(pixel: tuple[int, int], mean: np.ndarray) -> np.ndarray:
    return np.array(pixel) + 0.5 - mean


def gauss(d: np.ndarray, cov: np.ndarray) -> float:
    return float(np.exp(-d @ np.linalg.inv(cov) @ d / 2))


@functools.cache
def fitted(count: int, steps: int = 60) -> i3d.Gaussians:
    """Exercise 04.4: Gaussians fitted to the eight views of the lesson."""
    sample = ObjectViews("test", 64, random_views=8)[11]
    views, cameras = on_white(sample.images[4:]).permute(0, 2, 3, 1), sample.cameras[4:]
    generator = torch.Generator().manual_seed(0)
    start = (torch.rand(count, 3, generator=generator) - 0.5) * 0.8, torch.randn(count, 4, generator=generator)
    fields = [*start, torch.full((count, 3), -3.2), torch.zeros(count), torch.full((count, 1, 3), 0.0)]
    rates = (0.01, 0.02, 0.03, 0.1, 0.1)
    optimizer = torch.optim.Adam(
        [{"params": [field.requires_grad_()], "lr": rate} for field, rate in zip(fields, rates, strict=True)]
    )

    def made() -> i3d.Gaussians:
        means, quats, log_scales, logits, sh = fields
        return i3d.Gaussians(means, quats, log_scales.exp(), logits.sigmoid(), sh)

    for _ in range(steps):
        optimizer.zero_grad()
        (i3d.render(made(), cameras) - views).square().mean().backward()
        optimizer.step()
    return made().detach()


SAFE = {".json", ".txt", ".md", ".safetensors"}
RIGHT: list[tuple[str, Callable[[], Any]]] = [
    ("00.1", lambda: i3d.prepare_image(i3d.sample("mug"), size=128, ratio=0.6)),
    ("00.2", lambda: result(0, 1)),
    ("00.3", lambda: i3d.orbit_cameras(elevation=30, azimuth=180)),
    ("08.4", lambda: rings(2)),
    ("08.5", lambda: stl(60.0)),
    ("09.4", lambda: spz(0.4)),
    # the same in other forms: other packages, other types, another order of steps
    ("00.1", lambda: square(128, 76)),
    ("00.2", lambda: SimpleNamespace(gaussians=[cloud(3), cloud(4)])),
    ("00.3", lambda: i3d.orbit_cameras(elevation=30, azimuth=-180, radius=3)),
    ("00.4", lambda: lambda gaussians: gaussians[gaussians.opacities >= 0.5]),
    ("04.1", lambda: lambda quat, scale: one(quat, scale).covariances()[0].numpy()),
    ("04.2", lambda: lambda p, m, c, o: torch.tensor(o * np.exp(-d_of(p, m) @ np.linalg.solve(c, d_of(p, m)) / 2))),
    ("04.3", lambda: over),
    ("04.3", lambda: lambda c, a: over(torch.as_tensor(c).numpy(), a).tolist()),
    ("04.4", lambda: fitted(400)),
    ("04.4", lambda: fitted(300)),
    ("07.1", lambda: lambda rays: nearest(rays).numpy()),
    ("07.2", lambda: lambda gaussians, views: list(views_psnr(gaussians, views))),
    ("07.3", lambda: lambda maps: maps[:, :, 7:11].movedim(2, -1).flatten(1, 3).numpy() / lengths(maps)),
    ("07.4", lambda: half_turn_by_hand),
    ("08.1", lambda: lambda a, b: np.float32(a) / (np.float32(a) - np.float32(b))),
    ("08.2", lambda: torch_volume),
    ("08.3", lambda: lambda faces: torch.tensor(1 - (len(np.unique(faces)) - len(faces) // 2) // 2)),
    ("08.4", lambda: rings(2).transform(2 * np.eye(4) / np.array([1, 1, 1, 2]))),
    ("08.5", lambda: str(stl(60.0, rings(2)))),
    ("09.1", lambda: lambda logit: torch.sigmoid(torch.tensor(logit))),
    ("09.2", lambda: lambda colour, alpha: [int(255 * value + 0.5) for value in (*colour, alpha)]),
    ("09.3", lambda: header_by_pattern),
    ("09.4", lambda: str(spz(0.3, 100))),
    ("11.1", lambda: lambda average, weights, decay: torch.lerp(weights, average, decay).numpy()),
    ("11.2", lambda: lambda seen, settings: np.float32(settings.rate_at(seen))),
    ("11.3", lambda: lambda v, noise, signal: np.sqrt(signal) * v.numpy() + np.sqrt(1 - signal) * noise.numpy()),
    ("11.4", lambda: lambda samples, decibels: np.polyfit(np.log2(samples.numpy()), decibels.numpy(), 1)[0]),
    ("11.5", lambda: nearest_orthogonal),
    ("12.1", lambda: lambda rows: np.array(solved("12.1")(rows))),
    ("12.2", lambda: lambda model, need: np.bool_(solved("12.2")(model, need))),
    ("12.3", lambda: lambda folder: all(p.is_dir() or p.suffix.lower() in SAFE for p in folder.rglob("*"))),
    ("12.4", lambda: lambda table, s: max((q, n) for n, (t, q) in table.items() if t <= s)[1]),
]

WRONG: list[tuple[str, Callable[[], Any], str]] = [
    ("00.1", lambda: square(256, 150), "128 x 128"),
    ("00.1", lambda: square(128, 76, "RGBA"), "mode RGB"),
    ("00.1", lambda: square(128, 102), "80%"),
    ("00.1", lambda: square(128, 0), "all of it is white"),
    ("00.1", lambda: square(128, 128), "up to the border"),
    ("00.2", lambda: [result(0), result(1)], "one call"),
    ("00.2", lambda: SimpleNamespace(gaussians=cloud(0)), "single object"),
    ("00.2", lambda: result(0), "there are 1"),
    ("00.2", lambda: result(0, 0), "must be different"),
    ("00.3", lambda: i3d.orbit_cameras(elevation=30), "there are 4"),
    ("00.3", lambda: i3d.orbit_cameras(elevation=30, azimuth=0), "behind"),
    ("00.3", lambda: i3d.orbit_cameras(elevation=30, azimuth=150), "straight behind"),
    ("00.3", lambda: i3d.orbit_cameras(elevation=-30, azimuth=180), "from -30"),
    ("00.3", turned_away, "looks past it"),
    ("00.4", lambda: lambda gaussians: gaussians, "opacity 0.5 or more"),
    ("00.4", lambda: lambda gaussians: gaussians.prune(min_opacity=0.9), "must stay"),
    ("00.4", lambda: lambda gaussians: gaussians[:0], "must be left"),
    ("00.4", lambda: lambda g: g.prune(min_opacity=0.5).transform(2 * torch.eye(3)), "Nothing but the choice"),
    ("00.4", lambda: lambda gaussians: gaussians.means, "gives Gaussians"),
    ("00.4", lambda: lambda gaussians: gaussians[gaussians.opacities > 0.5], "exactly 0.5"),
    ("00.4", lambda: forgotten, "`return` missing"),
    ("04.1", lambda: lambda quat, scale: rotation(quat) @ torch.diag(scale) @ rotation(quat).T, "squares"),
    ("04.1", lambda: lambda quat, scale: one(quat, scale, normalised=False), "any length"),
    ("04.1", lambda: lambda quat, scale: one(quat[[3, 0, 1, 2]], scale).covariances()[0], "w, x, y, z"),
    ("04.1", lambda: lambda q, scale: one(q * torch.tensor([-1, 1, 1, 1]), scale).covariances()[0], "wrong way"),
    ("04.1", lambda: lambda quat, scale: torch.eye(2), "shape must be [3, 3]"),
    ("04.2", lambda: lambda p, m, c, o: o * np.exp(-0.5 * d_of(p, m) @ c @ d_of(p, m)), "inverse"),
    ("04.2", lambda: lambda p, m, c, o: o * np.exp(-d_of(p, m) @ np.linalg.inv(c) @ d_of(p, m)), "half is missing"),
    ("04.2", lambda: lambda p, m, c, o: o * gauss(np.array(p) - m, c), "column + 0.5"),
    ("04.2", lambda: lambda p, m, c, o: gauss(d_of(p, m), c), "opacity"),
    ("04.2", lambda: lambda p, m, c, o: o, "must have alpha"),
    ("04.3", lambda: lambda c, a: over(c[::-1], a[::-1]), "the nearest"),
    ("04.3", lambda: lambda c, a: over(c, a) - np.prod(1 - a), "falls on white"),
    ("04.3", lambda: lambda c, a: c.mean(0), "give"),
    ("04.4", lambda: fitted(401), "1 to 400"),
    ("04.4", lambda: replace(fitted(300), scales=fitted(300).scales * torch.nan), "finite"),
    ("04.4", lambda: replace(fitted(300), opacities=fitted(300).opacities + 1), "sigmoid"),
    ("04.4", lambda: replace(fitted(300), scales=-fitted(300).scales), "exp"),
    ("04.4", lambda: fitted(300, steps=5), "24 dB"),
    ("07.1", lambda: lambda rays: -nearest(rays), "swapped"),
    ("07.1", lambda: lambda rays: rays[:, :3], "on its ray"),
    ("07.1", lambda: lambda rays: nearest(rays) + rays[:, 3:], "right angle"),
    ("07.1", lambda: lambda rays: rays, "shape must be [2, 3, 4, 5]"),
    ("07.1", lambda: lambda rays: nearest(rays) * torch.nan, "finite"),
    ("07.2", lambda: lambda gaussians, views: torch.full((4,), 30.0), "nearly perfectly"),
    ("07.2", lambda: lambda gaussians, views: torch.full((4,), 60.0), "by grey"),
    ("07.2", lambda: lambda gaussians, views: views_psnr(gaussians, views).min().repeat(4), "other numbers changed"),
    ("07.2", lambda: lambda g, v: (views_psnr(g, v) / -10).exp2() * 0, "-10 log10"),
    ("07.2", lambda: lambda gaussians, views: -views_psnr(gaussians, views), "sign"),
    ("07.2", lambda: lambda gaussians, views: views_psnr(gaussians, views) / 10, "factor 10"),
    ("07.2", lambda: lambda gaussians, views: torch.ones(4), "similarity"),
    ("07.3", lambda: lambda maps: quaternions(maps.transpose(-1, -2)), "order is not"),
    ("07.3", lambda: lambda maps: quaternions(maps.roll(1, 2)), "Channels 6 to 9"),
    ("07.3", lambda: lambda maps: F.normalize(reshaped(maps)), "must have length 1"),
    ("07.3", lambda: lambda maps: F.normalize(maps[:, :, 7:11], dim=2).reshape(len(maps), -1, 4), "tore"),
    ("07.3", lambda: lambda maps: F.normalize(reshaped(maps), dim=-1), "from one pixel"),
    ("07.3", lambda: lambda maps: maps[:, :, 7:11], "shape must be [2, 60, 4]"),
    ("07.4", lambda: turned_positions_only, "themselves must turn"),
    ("07.4", lambda: lambda gaussians: gaussians, "Positions must turn"),
    ("07.4", lambda: lambda gaussians: gaussians.prune(min_opacity=0.5), "must stay"),
    ("11.1", lambda: torch.lerp, "swapped"),
    ("11.1", lambda: lambda average, weights, decay: average, "only the new weights"),
    ("11.1", lambda: lambda average, weights, decay: weights, "nothing may change"),
    ("11.1", lambda: lambda average, weights, decay: decay * average + (decay < 1) * weights, "add up to 1"),
    ("11.1", lambda: lambda average, weights, decay: average.mul_(decay).add_(weights * (1 - decay)), "in place"),
    ("11.2", lambda: lambda seen, settings: settings.learning_rate, "in the warm-up"),
    ("11.2", lambda: without_warmup, "in the warm-up"),
    ("08.1", lambda: lambda a, b: b / (b - a), "far end"),
    ("08.1", lambda: lambda a, b: 0.5, "it must be 0.25"),
    ("08.1", lambda: lambda a, b: "half", "one number"),
    ("08.2", lambda: lambda v, f: np.linalg.det(v[f]).sum(), "six times"),
    ("08.2", lambda: lambda v, f: -np.linalg.det(v[f]).sum() / 6, "sign is wrong"),
    ("08.2", lambda: lambda v, f: np.abs(np.linalg.det(v[f])).sum() / 6, "no absolute value of each"),
    ("08.2", lambda: lambda v, f: 1.0, "inside out"),
    ("08.2", lambda: lambda v, f: abs(np.linalg.det(v[f]).sum()) / 6, "no absolute value"),
    ("08.2", forgotten_volume, "must give"),
    ("08.3", lambda: lambda f: len(np.unique(f)) - len(f) // 2, "what is g"),
    ("08.3", lambda: lambda f: 5, "A tetrahedron has genus 0"),
    ("08.3", lambda: lambda f: 1 - (int(f.max()) + 1 - len(f) // 2) // 2, "not the highest number"),
    ("08.4", lambda: rings(1), "this one has genus 1"),
    ("08.4", apart, "one part; it has 2"),
    ("08.4", opened, "watertight and manifold"),
    ("08.4", lambda: 3, "a Mesh"),
    ("08.5", lambda: stl(50.0), "it is 50"),
    ("08.5", lambda: stl(60.0, opened()), "must be printable"),
    ("08.5", lambda: Path("nowhere.stl"), "there is none"),
    ("08.5", lambda: spz(0.4), "must end in .stl"),
    ("09.1", lambda: lambda logit: 1 / (1 + np.exp(logit)), "look at the sign"),
    ("09.1", lambda: lambda logit: logit, "means"),
    ("09.1", lambda: lambda logit: np.array([logit, logit]), "one number"),
    ("09.2", lambda: lambda colour, alpha: bytes(int(255 * v) for v in (*colour, alpha)), "nearest byte"),
    ("09.2", lambda: lambda colour, alpha: bytes(4), "must be"),
    ("09.2", lambda: lambda colour, alpha: bytes(3), "four bytes"),
    ("09.2", lambda: lambda colour, alpha: (*colour, alpha), "must return bytes"),
    ("09.3", lambda: lambda data: header_with(data, r"^property \S+ (\S+)", cut=False), "follows end_header"),
    ("09.3", lambda: lambda data: header_with(data, r"property \S+ (\S+)"), "no property"),
    ("09.3", lambda: lambda data: header_with(data, r"^property.* (\S+)$"), "another element"),
    ("09.3", lambda: lambda data: header_by_pattern(data)[::-1], "a pair"),
    ("09.3", lambda: lambda data: (header_by_pattern(data)[0], ["x", "y", "z"]), "in this order"),
    ("09.3", lambda: lambda data: (str(header_by_pattern(data)[0]), header_by_pattern(data)[1]), "the text"),
    ("09.3", lambda: lambda data: (1, header_by_pattern(data)[1]), "you count 1"),
    ("09.4", lambda: spz(0.8), "one is 0.8"),
    ("09.4", lambda: spz(0.4, 20), "at least 100"),
    ("09.4", lambda: Path("nowhere.spz"), "there is none"),
    ("09.4", lambda: stl(60.0), "must end in .spz"),
    ("11.2", lambda: lambda seen, settings: settings.rate_at(min(seen, 500)), "after the warm-up"),
    ("11.2", lambda: lambda seen, settings: "fast", "one number"),
    ("11.2", lambda: lambda seen, settings: float("nan"), "finite"),
    ("11.3", lambda: lambda views, noise, signal: signal * views + (1 - signal) * noise, "add up plainly"),
    ("11.3", lambda: lambda views, noise, signal: views + (1 - signal) * noise, "nothing but the noise"),
    ("11.3", lambda: torch.lerp, "no noise at all"),
    ("11.3", lambda: lambda views, noise, signal: torch.lerp(noise, views, signal**2), "off by"),
    ("11.4", lambda: lambda samples, decibels: slope((samples / samples.max()).exp2(), decibels), "came out as"),
    ("11.4", lambda: lambda samples, decibels: slope(samples, decibels) / 0.693147, "base 2"),
    ("11.4", lambda: lambda samples, decibels: decibels.diff().mean(), "came out as"),
    ("11.4", lambda: lambda s, d: (d[-1] - d[0]) / torch.log2(s[-1] / s[0]), "first and the last"),
    ("11.4", lambda: lambda samples, decibels: decibels, "one number"),
    ("11.5", lambda: orthogonalize, "near 1"),
    ("11.5", lambda: lambda kernel: kernel / kernel.norm(), "near 1"),
    ("11.5", lambda: lambda kernel: F.normalize(kernel.flatten(1), dim=1).reshape(kernel.shape), "near 1"),
    ("11.5", lambda: lambda kernel: -orthogonalize(kernel.flatten(1)).reshape(kernel.shape), "nearest"),
    ("11.5", lambda: lambda kernel: orthogonalize(kernel.flatten(1)), "shape must be"),
    ("12.1", lambda: lambda rows: [0, max(range(len(rows)), key=lambda i: rows[i][1])], "between them"),
    ("12.1", lambda: lambda rows: list(range(len(rows))), "must not be in it"),
    ("12.1", lambda: lambda rows: [], "is missing"),
    ("12.2", lambda: lambda model, need: model["memory_gb"] <= need["memory_gb"], "licence"),
    ("12.2", lambda: lambda model, need: model["commercial"] and model["gives"] == need["gives"], "Without commercial"),
    ("12.2", lambda: lambda model, need: model["commercial"] is True or not need["commercial"], "do not fit"),
    ("12.3", lambda: lambda folder: not any(p.suffix == ".bin" for p in folder.glob("*")), "Look into folders"),
    ("12.3", lambda: lambda folder: all(p.suffix != ".json" for p in folder.rglob("*")), "hold no code"),
    ("12.3", lambda: lambda folder: True, "pickle"),
    ("12.4", lambda: lambda table, s: min(table, key=lambda n: table[n][0]), "the best is"),
    ("12.4", lambda: lambda table, s: max(table, key=lambda n: table[n][1]), "takes 60 s"),
    ("12.4", lambda: lambda table, s: 3, "name of a model"),
]
