"""The exercises' checks: right answers, wrong ones, and nonsense."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import image3d_nb as i3d
from image3d_nb.course import check, lesson_00, lesson_07, lesson_08, lesson_09, lesson_11, start_again
from image3d_nb.errors import InputError
from image3d_nb.meshing import Grid, marching_cubes
from image3d_nb.training.loop import TrainSettings
from image3d_nb.training.muon import orthogonalize

LESSONS = (lesson_00, lesson_07, lesson_08, lesson_09, lesson_11)
NUMBERS = [exercise.number for lesson in LESSONS for exercise in lesson.EXERCISES]


@pytest.fixture(autouse=True)
def _first_hints() -> Iterator[None]:
    start_again()
    yield
    start_again()


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


def pose(
    position: torch.Tensor, back_sign: float = 1, right_sign: float = 1, up: tuple[float, ...] = (0, 1, 0)
) -> torch.Tensor:
    """The look-at of exercise 07.5, with faults to choose."""
    back = back_sign * F.normalize(position, dim=0)
    right = right_sign * F.normalize(torch.linalg.cross(torch.tensor(up, dtype=torch.float32), back), dim=0)
    rows = torch.stack([right, torch.linalg.cross(back, right), back, position], 1)
    return torch.cat([rows, torch.tensor([[0.0, 0, 0, 1]])])


def mirrored(position: torch.Tensor) -> torch.Tensor:
    return pose(position) * torch.tensor([-1.0, 1, 1, 1])


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


RIGHT: dict[str, Callable[[], Any]] = {
    "00.1": lambda: i3d.prepare_image(i3d.sample("mug"), size=128, ratio=0.6),
    "00.2": lambda: result(0, 1),
    "00.3": lambda: i3d.orbit_cameras(elevation=30, azimuth=180),
    "00.4": lambda: lambda gaussians: gaussians.prune(min_opacity=0.5),
    "07.1": lambda: nearest,
    "07.2": lambda: views_psnr,
    "07.3": lambda: quaternions,
    "07.4": lambda: lambda gaussians: gaussians.transform(torch.diag(torch.tensor([1.0, -1.0, -1.0]))),
    "07.5": lambda: pose,
    "08.1": lambda: lambda a, b: a / (a - b),
    "08.2": lambda: lambda vertices, faces: np.linalg.det(vertices[faces]).sum() / 6,
    "08.3": lambda: lambda faces: 1 - (len(np.unique(faces)) - len(faces) // 2) // 2,
    "08.4": lambda: rings(2),
    "08.5": lambda: stl(60.0),
    "09.1": lambda: lambda logit: 1 / (1 + np.exp(-logit)),
    "09.2": lambda: lambda colour, alpha: bytes(np.rint(255 * np.array([*colour, alpha])).astype(np.uint8)),
    "09.3": lambda: over,
    "09.4": lambda: spz(0.4),
    "11.1": lambda: lambda average, weights, decay: decay * average + (1 - decay) * weights,
    "11.2": lambda: lambda seen, settings: settings.rate_at(seen),
    "11.3": lambda: lambda views, noise, signal: signal**0.5 * views + (1 - signal) ** 0.5 * noise,
    "11.4": lambda: slope,
    "11.5": lambda: lambda kernel: orthogonalize(kernel.flatten(1)).reshape(kernel.shape),
}
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
    ("07.1", lambda: lambda rays: -nearest(rays), "swapped"),
    ("07.1", lambda: lambda rays: rays[:, :3], "on its ray"),
    ("07.1", lambda: lambda rays: nearest(rays) + rays[:, 3:], "right angle"),
    ("07.1", lambda: lambda rays: rays, "shape must be [2, 3, 4, 5]"),
    ("07.1", lambda: lambda rays: nearest(rays) * torch.nan, "finite"),
    ("07.2", lambda: lambda gaussians, views: torch.full((4,), 30.0), "nearly perfectly"),
    ("07.2", lambda: lambda gaussians, views: torch.full((4,), 60.0), "grey picture"),
    ("07.2", lambda: lambda gaussians, views: views_psnr(gaussians, views).min().repeat(4), "mixed up"),
    ("07.3", lambda: lambda maps: F.normalize(reshaped(maps)), "must have length 1"),
    ("07.3", lambda: lambda maps: F.normalize(reshaped(maps), dim=-1), "from one pixel"),
    ("07.3", lambda: lambda maps: maps[:, :, 7:11], "shape must be [2, 60, 4]"),
    ("07.4", lambda: turned_positions_only, "themselves must turn"),
    ("07.4", lambda: lambda gaussians: gaussians, "Positions must turn"),
    ("07.4", lambda: lambda gaussians: gaussians.prune(min_opacity=0.5), "must stay"),
    ("07.5", lambda: lambda position: pose(position, -1), "looks away"),
    ("07.5", lambda: lambda position: pose(position, 1, -1), "on its head"),
    ("07.5", lambda: mirrored, "mirrored"),
    ("07.5", lambda: lambda position: pose(position, 2), "with length 1"),
    ("07.5", lambda: lambda position: pose(position, 1, 2), "right angles"),
    ("07.5", lambda: lambda position: pose(position, up=(0.3, 1, 0.2)), "tilted"),
    ("07.5", lambda: lambda position: pose(position + 1), "must be the position"),
    ("07.5", lambda: lambda position: pose(position).T, "must be the position"),
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
    ("08.2", lambda: lambda v, f: np.abs(np.linalg.det(v[f])).sum() / 6, "away from the origin"),
    ("08.2", lambda: lambda v, f: 1.0, "A ring of volume"),
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
    ("09.2", lambda: lambda colour, alpha: (0, 0, 0, 0), "must be bytes"),
    ("09.3", lambda: lambda c, a: over(c[::-1], a[::-1]), "the nearest"),
    ("09.3", lambda: lambda c, a: over(c, a) - np.prod(1 - a), "give"),
    ("09.3", lambda: lambda c, a: c, "One colour"),
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
    ("11.4", lambda: lambda samples, decibels: decibels, "one number"),
    ("11.5", lambda: orthogonalize, "near 1"),
    ("11.5", lambda: lambda kernel: kernel / kernel.norm(), "near 1"),
    ("11.5", lambda: lambda kernel: -orthogonalize(kernel.flatten(1)).reshape(kernel.shape), "nearest"),
    ("11.5", lambda: lambda kernel: orthogonalize(kernel.flatten(1)), "shape must be"),
]
NONSENSE = [42, "a sentence", [], {}, object(), torch.zeros(3), float("nan"), b"", Path("nowhere.splat")]


@pytest.mark.parametrize("number", RIGHT)
def test_right_answers_are_right_and_say_why(number: str) -> None:
    verdict = check(number, RIGHT[number]())
    assert verdict, verdict
    assert verdict.right
    assert repr(verdict).startswith(f"{number}: right. ")
    assert len(repr(verdict)) > 60


@pytest.mark.parametrize(("number", "answer", "complaint"), WRONG)
def test_wrong_answers_hear_what_is_wrong(number: str, answer: Callable[[], Any], complaint: str) -> None:
    verdict = check(number, answer())
    assert not verdict
    assert repr(verdict).startswith(f"{number}: not yet. ")
    assert complaint in repr(verdict)
    assert "\nHint: " in repr(verdict)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: type(answer).__name__)
def test_nonsense_is_wrong_and_raises_nothing(number: str, answer: Any) -> None:
    assert "not yet" in repr(check(number, answer))


@pytest.mark.parametrize("number", NUMBERS)
def test_dots_are_no_answer_and_cost_no_hint(number: str) -> None:
    for answer in (..., None):
        assert "no answer yet" in repr(check(number, answer))
    assert "no answer yet" in repr(check(number))
    assert "not yet" in repr(check(number, 42))


@pytest.mark.parametrize("number", NUMBERS)
def test_the_second_wrong_answer_gets_the_second_hint(number: str) -> None:
    first, second, third = (repr(check(number, 42)).partition("Hint: ")[2] for _ in range(3))
    assert first != second == third
    start_again()
    assert repr(check(number, 42)).endswith(first)


def test_an_empty_function_is_no_answer_yet() -> None:
    def nothing(*arguments: Any) -> None: ...

    for number in ("00.4", "07.1", "07.2", "07.3", "07.4", "07.5", "11.1", "11.2", "11.3", "11.4", "11.5"):
        assert "no answer yet" in repr(check(number, nothing))


def test_an_error_inside_a_function_comes_through_with_a_note() -> None:
    def broken(rays: torch.Tensor) -> torch.Tensor:
        return rays.moment

    with pytest.raises(AttributeError) as caught:
        check("07.1", broken)
    assert "while check tried it" in caught.value.__notes__[0]


def test_a_file_is_looked_into(tmp_path: Path) -> None:
    made = cloud(0)
    for name in ("a.splat", "a.ply"):
        i3d.save(made, tmp_path / name)
    assert check("00.5", tmp_path / "a.splat")
    assert check("00.5", str(tmp_path / "a.splat"))
    assert "end in .splat" in repr(check("00.5", tmp_path / "a.ply"))
    assert "none: b.splat" in repr(check("00.5", tmp_path / "b.splat"))
    (tmp_path / "c.splat").write_bytes(b"x" * 33)
    assert "must hold Gaussians" in repr(check("00.5", tmp_path / "c.splat"))
    (tmp_path / "d.splat").write_bytes((tmp_path / "a.ply").read_bytes())
    assert "must take" in repr(check("00.5", tmp_path / "d.splat"))


def test_an_unknown_number_hears_what_exists() -> None:
    for number in ("00.9", "99.1", "", "00"):
        with pytest.raises(InputError, match=r"00\.1, .*11\.5; got"):
            check(number, 1)


def test_each_exercise_is_tested_and_in_order() -> None:
    assert {*RIGHT, "00.5"} == set(NUMBERS)
    assert {number for number, _, _ in WRONG} | {"00.5"} == set(NUMBERS)
    for lesson, digits in ((lesson_00, "00"), (lesson_07, "07"), (lesson_11, "11")):
        numbers = [exercise.number for exercise in lesson.EXERCISES]
        assert numbers == [f"{digits}.{k}" for k in range(1, len(numbers) + 1)]
