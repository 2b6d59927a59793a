"""The container: every operation keeps positions, orientations, sizes and colours in step."""

from __future__ import annotations

import math

import pytest
import torch

from image3d_nb.errors import InputError
from image3d_nb.gaussians import SH_C0, Gaussians, sh_basis


def some(n: int = 20, degree: int = 0, seed: int = 0) -> Gaussians:
    """Anisotropic, with general quaternions of any length."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return Gaussians(
        normal(n, 3),
        3 * normal(n, 4),
        normal(n, 3).exp() * 0.1,
        torch.sigmoid(normal(n)),
        normal(n, (degree + 1) ** 2, 3),
    )


def a_rotation(seed: int = 0) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return q * torch.linalg.det(q).sign()


def test_covariance_of_a_quarter_turn() -> None:
    """90 degrees about z swaps the scales of x and y."""
    half = math.sqrt(0.5)
    one = Gaussians(
        torch.zeros(1, 3),
        torch.tensor([[half, 0.0, 0.0, half]]),
        torch.tensor([[1.0, 2.0, 3.0]]),
        torch.ones(1),
        torch.zeros(1, 1, 3),
    )
    torch.testing.assert_close(one.covariances()[0], torch.diag(torch.tensor([4.0, 1.0, 9.0])))


def test_quaternions_need_no_unit_length() -> None:
    gaussians = some()
    longer = Gaussians(gaussians.means, 5 * gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    torch.testing.assert_close(longer.covariances(), gaussians.covariances())


@pytest.mark.parametrize("seed", range(4))
def test_transform_turns_positions_and_orientations(seed: int) -> None:
    gaussians, rotation, move = some(), a_rotation(seed), torch.tensor([0.1, -2.0, 3.0], dtype=torch.float64)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = 1.7 * rotation, move
    moved = gaussians.transform(matrix)
    torch.testing.assert_close(moved.means, 1.7 * gaussians.means @ rotation.T + move)
    torch.testing.assert_close(moved.covariances(), 1.7**2 * rotation @ gaussians.covariances() @ rotation.T)
    back = moved.transform(torch.linalg.inv(matrix))
    torch.testing.assert_close(back.covariances(), gaussians.covariances())
    torch.testing.assert_close(back.means, gaussians.means)


def test_half_turns_hide_in_identity_quaternions_but_not_here() -> None:
    turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    gaussians = some()
    turned = gaussians.transform(turn)
    assert (turned.covariances() - gaussians.covariances()).abs().max() > 1e-3


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_transform_turns_colours_with_the_object(degree: int) -> None:
    gaussians, rotation = some(degree=degree), a_rotation(1)
    directions = torch.nn.functional.normalize(torch.randn(9, 3, dtype=torch.float64), dim=-1)
    before = torch.einsum("dk,nkc->dnc", sh_basis(directions, degree), gaussians.sh)
    after = torch.einsum("dk,nkc->dnc", sh_basis(directions @ rotation.T, degree), gaussians.transform(rotation).sh)
    torch.testing.assert_close(after, before)


def test_spherical_harmonics_are_orthonormal() -> None:
    """By Monte Carlo over the sphere: the matrix of inner products is the identity."""
    random = torch.Generator().manual_seed(0)
    directions = torch.randn(200_000, 3, generator=random, dtype=torch.float64)
    basis = sh_basis(torch.nn.functional.normalize(directions, dim=-1), 3)
    gram = 4 * math.pi * basis.T @ basis / len(basis)
    assert (gram - torch.eye(16, dtype=torch.float64)).abs().max() < 0.03


def test_lgm_layout_round_trip() -> None:
    rows = torch.rand(1, 7, 14)
    gaussians = Gaussians.from_lgm(rows)
    torch.testing.assert_close(gaussians.rgb, rows[0, :, 11:])
    torch.testing.assert_close(gaussians.sh[:, 0], (rows[0, :, 11:] - 0.5) / SH_C0)
    torch.testing.assert_close(gaussians.to_lgm(), rows)
    with pytest.raises(InputError, match="degree 0"):
        some(degree=1).to_lgm()


def test_prune_crop_and_merge() -> None:
    gaussians = some(50)
    kept = gaussians.prune(0.5)
    assert 0 < len(kept) < 50
    assert kept.opacities.min() >= 0.5
    box = gaussians.crop([-1, -1, -1], [1, 1, 1])
    assert 0 < len(box) < 50
    assert box.means.abs().max() <= 1
    both = Gaussians.merge([kept, some(3, degree=2)])
    assert len(both) == len(kept) + 3
    assert both.sh_degree == 2
    torch.testing.assert_close(both.rgb[: len(kept)], kept.rgb)
    assert both.sh[: len(kept), 1:].abs().max() == 0


def test_what_takes_some_out_tells_how_many() -> None:
    gaussians = some(50)
    assert gaussians.removed == {}
    faint, ball = gaussians.prune(0.5), gaussians.crop_sphere([1, 0, 0], 2)
    box = gaussians.crop([-1, -1, -1], [1, 1, 1])
    for left, reason in ((faint, "faint"), (box, "outside the box"), (ball, "outside the sphere")):
        assert left.removed == {reason: 50 - len(left)}
        assert repr(left).endswith(f", removed: {50 - len(left)} {reason})")
    both = faint.crop([-1, -1, -1], [1, 1, 1]).transform(2 * torch.eye(3)).prune(0.9)
    assert sum(both.removed.values()) == 50 - len(both)
    assert list(both.removed) == ["faint", "outside the box"]
    assert repr(gaussians.prune(0.0)).endswith(", removed: nothing)")
    assert ((ball.means - torch.tensor([1.0, 0, 0])).norm(dim=1) <= 2).all()
    unknown = some(3)
    unknown.opacities[0] = math.nan
    assert len(unknown.prune(0.0)) == 2


def test_repr_has_no_address() -> None:
    assert repr(some(5, degree=1)) == "Gaussians(n=5, sh_degree=1, device=cpu)"


def test_empty_is_valid() -> None:
    assert len(some(0).validate().prune()) == 0


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("means", math.nan, "1 of 20 rows"),
        ("scales", -0.1, "linear, not log"),
        ("opacities", 1.5, "not logits"),
        ("quats", 0, "length above 0"),
        ("quats", 1e-14, "length above 0"),
        ("quats", 1e200, "fits into their type"),
    ],
)
def test_numbers_that_make_no_sense(field: str, value: float, words: str) -> None:
    gaussians = some()
    tensor = getattr(gaussians, field)
    if field == "quats":
        tensor[3] = value
    else:
        tensor.view(-1)[3] = value
    with pytest.raises(InputError, match=words):
        gaussians.validate()


@pytest.mark.parametrize("field", ["means", "quats", "scales", "opacities", "sh"])
def test_wrong_shapes(field: str) -> None:
    gaussians = some()
    fields = {name: getattr(gaussians, name) for name in ("means", "quats", "scales", "opacities", "sh")}
    fields[field] = torch.zeros(20, 5)
    with pytest.raises(InputError, match=field):
        Gaussians(**fields)


@pytest.mark.parametrize(
    "matrix", [torch.diag(torch.tensor([1.0, 1.0, -1.0])), torch.diag(torch.tensor([1.0, 2.0, 1.0])), torch.zeros(3, 3)]
)
def test_transform_refuses_mirrors_and_shears(matrix: torch.Tensor) -> None:
    with pytest.raises(InputError, match="mirrors, shears"):
        some().transform(matrix)


def test_transform_refuses_a_transposed_matrix() -> None:
    matrix = torch.eye(4)
    matrix[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="last row"):
        some().transform(matrix.T)
    matrix[3] += 1e-8  # as inverses have it
    torch.testing.assert_close(some().transform(matrix).means, some().means + matrix[:3, 3])


def test_bad_calls() -> None:
    with pytest.raises(InputError, match=r"\[4, 4\] or \[3, 3\]"):
        some().transform(torch.eye(2))
    with pytest.raises(InputError, match="low <= high"):
        some().crop([1, 0, 0], [0, 1, 1])
    with pytest.raises(InputError, match="radius 0 or more"):
        some().crop_sphere([0, 0, 0], -1)
    with pytest.raises(InputError, match="center must be"):
        some().crop_sphere([0, 0], 1)
    with pytest.raises(InputError, match="at least one"):
        Gaussians.merge([])
    with pytest.raises(InputError, match="LGM's layout"):
        Gaussians.from_lgm(torch.zeros(2, 5, 14))
