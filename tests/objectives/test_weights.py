"""Terms of the weights against values worked out by hand, and their gradients."""

import pytest
import torch
from torch import Tensor

from equipoise.objectives import absolute, historical, orthogonality, squared


def doubles(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()


def test_orthogonality_sums_the_squared_products_of_different_filters():
    weight = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    # products 1, 0 and 3, each counted twice
    assert orthogonality(weight).item() == 20.0
    assert orthogonality(weight.view(3, 1, 1, 2)).item() == 20.0
    assert torch.autograd.gradcheck(orthogonality, (doubles(3, 2, 2),))


def test_orthogonal_filters_of_any_length_pay_nothing():
    rows = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0))).Q
    assert orthogonality(torch.tensor([[0.1], [1.0], [2.0], [5.0]]) * rows).item() == pytest.approx(0, abs=1e-10)


def test_orthogonality_is_of_filters_and_not_of_inputs():
    one_filter = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    assert orthogonality(one_filter).item() == 0.0
    assert orthogonality(one_filter.T).item() > 0.1


def test_orthogonality_refuses_a_bias():
    with pytest.raises(ValueError, match=r"shape \[4\].*matrix"):
        orthogonality(torch.zeros(4))


def test_absolute_and_squared_run_over_all_elements_of_all_parameters():
    parameters = [torch.tensor([[1.0, -2.0]]), torch.tensor([3.0]), torch.tensor(-0.5)]
    assert absolute(parameters).item() == 6.5
    assert squared(parameters).item() == 14.25
    assert squared(parameter for parameter in parameters).item() == 14.25
    for term in (absolute, squared):
        assert torch.autograd.gradcheck(lambda a, b, term=term: term([a, b]), (doubles(2, 2), doubles(3, seed=1)))


def test_historical_is_the_squared_distance_to_the_means():
    parameters, means = (
        [torch.tensor([1.0, 2.0]), torch.tensor([[4.0]])],
        [torch.tensor([0.0, 4.0]), torch.tensor([[1.0]])],
    )
    assert historical(parameters, means).item() == 14.0


def test_historical_moves_the_parameters_and_not_their_means():
    parameter, mean = doubles(3), doubles(3, seed=1)
    assert torch.autograd.gradcheck(lambda p: historical([p], [mean.detach()]), (parameter,))
    historical([parameter], [mean]).backward()
    assert mean.grad is None
    with pytest.raises(ValueError, match="shorter"):
        historical([parameter, parameter], [mean])
