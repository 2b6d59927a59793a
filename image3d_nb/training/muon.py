"""Muon: an optimizer whose every step turns all directions of a weight matrix by the same amount.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks" (the iteration and its numbers);
Liu et al. 2025, "Muon is scalable for LLM training" (arXiv 2502.16982), equation 4, for the step's length, which lets
it use the rate and the weight decay of AdamW. ``torch.optim.Muon`` takes no convolutions, so this one is ours.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
SMALLEST_SIDE = 32
"""Narrower matrices (first and last layers) are left to AdamW."""


def orthogonalize(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are all about 1 (0.7 to 1.2), by five Newton-Schulz rounds.

    Args:
        matrix: [M, N] or [B, M, N].

    Returns:
        The same shape.
    """
    a, b, c = _QUINTIC
    tall = matrix.shape[-2] > matrix.shape[-1]
    x: Tensor = matrix.mT if tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those that Muon trains (matrices and kernels, wide on both sides) and all others."""
    wide: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in network.parameters():
        sides = (parameter.shape[0], parameter[0].numel()) if parameter.ndim >= 2 else (1, 1)
        (wide if min(sides) >= SMALLEST_SIDE else others).append(parameter)
    return wide, others


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, as the step; a kernel [out, in, h, w] counts as a matrix [out, in*h*w].

    Args:
        parameters: of two dimensions or more.
        lr: the rate; one that suits AdamW suits.
        momentum: of the gradients, with Nesterov's look ahead.
        weight_decay: as AdamW's.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step; gradients must be there."""
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            steps = [self._averaged(parameter, group["momentum"]) for parameter in trained]
            for parameter, step in zip(trained, _orthogonal_by_shape(steps), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                length = 0.2 * max(step.shape) ** 0.5  # makes an entry as large as AdamW makes it
                parameter.add_(step.reshape(parameter.shape), alpha=-group["lr"] * length)

    def _averaged(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """[out, in]: the gradient's running mean, looked at one step ahead."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum"], momentum).flatten(1)


def _orthogonal_by_shape(matrices: list[Tensor]) -> list[Tensor]:
    """Each made orthogonal; those of one shape in one go."""
    found: list[Tensor] = list(matrices)
    for shape in {matrix.shape for matrix in matrices}:
        same = [i for i, matrix in enumerate(matrices) if matrix.shape == shape]
        for i, step in zip(same, orthogonalize(torch.stack([matrices[i] for i in same])), strict=True):
            found[i] = step
    return found
