"""What belongs to no object goes, and nothing else does."""

from __future__ import annotations

import math

import pytest
import torch

import image3d_nb as i3d
from image3d_nb.errors import InputError
from image3d_nb.gaussians import Gaussians


def ball(count: int = 3000, radius: float = 0.4, center: tuple[float, float, float] = (0, 0, 0)) -> Gaussians:
    """Gaussians evenly on a sphere: a Fibonacci spiral."""
    k = torch.arange(count) + 0.5
    height, turn = 1 - 2 * k / count, k * math.pi * (3 - math.sqrt(5))
    out = torch.stack([(1 - height**2).sqrt() * turn.cos(), height, (1 - height**2).sqrt() * turn.sin()], 1)
    return dots(out * radius + torch.tensor(center))


def dots(means: torch.Tensor, opacity: float = 0.9, scale: float = 0.01) -> Gaussians:
    n = len(means)
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(n, 1)
    return Gaussians(means.float(), quats, torch.full((n, 3), scale), torch.full((n,), opacity), torch.zeros(n, 1, 3))


def at(*places: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(places)


def test_exactly_what_was_planted_goes() -> None:
    faint = dots(ball(40).means * 1.01, opacity=0.01)
    giant = dots(at((0, 0, 0), (0.1, 0, 0.2)), scale=0.3)
    floating = dots(at((0.9, 0, 0), (0, -0.8, 0.1), (0, 0, 2), (0.01, 0, 2)))
    planted = Gaussians.merge([ball(), faint, giant, floating])
    cleaned = i3d.clean(planted)
    assert dict(cleaned.removed) == {"faint": 40, "giant": 2, "floating": 4}
    assert torch.equal(cleaned.means, ball().means)
    assert repr(cleaned).endswith("n=3000, sh_degree=0, device=cpu, removed: 40 faint, 2 giant, 4 floating)")


def test_a_clean_object_stays() -> None:
    cleaned = i3d.clean(ball())
    assert len(cleaned) == 3000
    assert repr(cleaned).endswith("removed: nothing)")


def test_thin_and_separate_parts_stay() -> None:
    antenna = dots(torch.stack([torch.zeros(40), 0.4 + 0.01 * torch.arange(40), torch.zeros(40)], 1))
    beside = ball(500, 0.15, (0.9, 0, 0))  # a part of its own, far from the rest
    whole = Gaussians.merge([ball(), antenna, beside])
    assert len(i3d.clean(whole)) == len(whole)


def test_a_wire_of_a_few_long_ones_is_one_piece() -> None:
    """Their means are far apart, but they touch: all stay. A gap that nothing bridges parts them from the ball."""
    count = 8
    for half, gap in ((0.05, 0.12), (0.2, 0.45)):  # standard deviation, distance of the means
        length = torch.tensor([0.004, half, 0.004])
        for start, kept in ((0.42, 3000 + count), (0.55 + 2 * half, 3000)):
            places = torch.stack([torch.zeros(count), start + gap * torch.arange(count), torch.zeros(count)], 1)
            wire = dots(places)
            turned = Gaussians(wire.means, wire.quats, length.repeat(count, 1), wire.opacities, wire.sh)
            assert len(i3d.clean(Gaussians.merge([ball(), turned]), max_scale=None)) == kept
    length = torch.tensor([0.004, 0.05, 0.004])
    # the same wire, lying along x by its orientations, no longer fills the gaps in y
    quarter = torch.tensor([math.sqrt(0.5), 0, 0, math.sqrt(0.5)]).repeat(count, 1)
    wire = dots(torch.stack([torch.zeros(count), 0.42 + 0.12 * torch.arange(count), torch.zeros(count)], 1))
    across = Gaussians(wire.means, quarter, length.repeat(count, 1), wire.opacities, wire.sh)
    assert i3d.clean(Gaussians.merge([ball(), across])).removed["floating"] == count - 1


def test_rings_that_are_linked_and_a_handle_stay() -> None:
    turn = torch.linspace(0, 2 * math.pi, 1500)
    flat = torch.stack([turn.cos(), turn.sin(), 0 * turn], 1) * 0.3
    upright = flat[:, [0, 2, 1]] + torch.tensor([0.3, 0, 0])
    handle = torch.stack([0.4 + 0.15 * turn[:750].sin(), 0.2 * turn[:750].cos(), 0 * turn[:750]], 1)
    for parts in ([dots(flat), dots(upright)], [ball(), dots(handle[::10])]):
        assert len(i3d.clean(Gaussians.merge(parts))) == sum(map(len, parts))


def test_steps_can_be_left_out() -> None:
    planted = Gaussians.merge([ball(), dots(at((0, 0, 2)), 0.01), dots(at((0, 0, 3)), scale=0.5)])
    assert dict(i3d.clean(planted, min_opacity=None, max_scale=None, floaters=None).removed) == {}
    assert dict(i3d.clean(planted, max_scale=None, floaters=None).removed) == {"faint": 1}
    assert dict(i3d.clean(planted, min_opacity=None, floaters=None).removed) == {"giant": 1}


def test_small_sets() -> None:
    assert len(i3d.clean(dots(at((0, 0, 0))))) == 1
    assert len(i3d.clean(dots(at((0, 0, 0), (1, 1, 1))))) == 2
    assert len(i3d.clean(dots(at((0, 0, 0)), opacity=0.0))) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_opacity": 1.5}, "min_opacity must be in"),
        ({"floaters": -0.1}, "floaters must be in"),
        ({"max_scale": 0.0}, "max_scale must be above 0"),
        ({"max_scale": float("nan")}, "max_scale must be above 0"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        i3d.clean(ball(50), **arguments)


def test_bad_gaussians() -> None:
    with pytest.raises(InputError, match="at least one"):
        i3d.clean(ball(10)[:0])
    with pytest.raises(InputError, match="at least one Gaussian; got int"):
        i3d.clean(3)  # type: ignore[arg-type]
    broken = ball(10)
    broken.means[3] = float("nan")
    with pytest.raises(InputError, match="means must be finite"):
        i3d.clean(broken)


def test_the_tiny_model_s_mug_keeps_its_shape(tiny_pipe: i3d.LGMFullPipeline) -> None:
    mug = tiny_pipe(i3d.load_image(i3d.sample("mug")), generator=i3d.generator(0)).gaussians
    cleaned = i3d.clean(mug)
    assert cleaned.removed["giant"] == 0
    assert cleaned.removed["floating"] < 0.02 * len(mug)
    cameras = i3d.orbit_cameras(elevation=20, azimuth=(30, 150), size=96)
    drawn = [i3d.render(g, cameras).permute(0, 3, 1, 2) for g in (mug, cleaned)]
    assert i3d.metrics.psnr(*drawn).min() > 30
