"""Muon: what its steps look like, which parameters it takes, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from image3d_nb.errors import InputError
from image3d_nb.training.loop import TrainSettings, _optimizers
from image3d_nb.training.muon import SMALLEST_SIDE, Muon, orthogonalize, split_parameters


@pytest.mark.parametrize("shape", [(40, 40), (40, 200), (200, 40), (3, 48, 96)])
def test_all_directions_become_about_equal(shape: tuple[int, ...]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalize(matrix)
    assert found.shape == matrix.shape
    lengths = torch.linalg.svdvals(found)
    assert float(lengths.min()) > 0.6
    assert float(lengths.max()) < 1.25
    # the directions are the matrix's own: U V^T, whose product with the matrix is symmetric
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert float((found - u @ v).norm() / (u @ v).norm()) < 0.35


def test_a_step_has_the_length_of_adamws() -> None:
    kernel = nn.Parameter(torch.zeros(64, 32, 3, 3))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    Muon([kernel], lr=0.01, weight_decay=0.0).step()
    assert float(kernel.detach().square().mean().sqrt()) == pytest.approx(
        0.2 * 0.01, rel=0.25
    )  # the five rounds leave 0.7 to 1.2
    assert float((kernel.detach() * kernel.grad).sum()) < 0  # downhill


def test_weights_decay_and_a_kernel_is_a_matrix() -> None:
    values = torch.randn(48, 40, 1, 1, generator=torch.Generator().manual_seed(1))
    kernel, matrix = nn.Parameter(values.clone()), nn.Parameter(values.flatten(1).clone())
    for parameter in (kernel, matrix):
        parameter.grad = parameter.detach().cos()
        Muon([parameter], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(kernel.detach().flatten(1), matrix.detach())
    still = nn.Parameter(values.clone())
    still.grad = torch.zeros_like(values)
    Muon([still], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(still.detach(), values * 0.95)


def test_narrow_layers_and_vectors_are_left_to_adamw() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3), nn.Linear(64, 64), nn.Linear(64, SMALLEST_SIDE - 1)
    )
    wide, others = split_parameters(network)
    assert [tuple(parameter.shape) for parameter in wide] == [(64, 64, 3, 3), (64, 64)]
    assert len(wide) + len(others) == len(list(network.parameters()))
    kinds = [type(optimizer) for optimizer in _optimizers(network, TrainSettings())]
    assert kinds == [Muon, torch.optim.AdamW]
    assert [type(optimizer) for optimizer in _optimizers(network, TrainSettings(optimizer="adamw"))] == [
        torch.optim.AdamW
    ]
    with pytest.raises(InputError, match="optimizer must be one of muon, adamw; got 'sgd'"):
        _optimizers(network, TrainSettings(optimizer="sgd"))


def test_it_learns_a_matrix() -> None:
    random = torch.Generator().manual_seed(2)
    truth, inputs = torch.randn(40, 40, generator=random), torch.randn(256, 40, generator=random)
    weight = nn.Parameter(torch.zeros(40, 40))
    optimizer = Muon([weight], lr=0.2, weight_decay=0.0)
    losses = []
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 150)
        loss = (inputs @ weight.T - inputs @ truth.T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 100
