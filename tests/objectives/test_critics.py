"""The soft maximum over critics against values worked out by hand."""

import math

import pytest
import torch

from equipoise.objectives import soft_maximum

LOSSES = torch.tensor([[1.0, 3.0], [3.0, 5.0]])  # batch means 2 and 4


def test_without_sharpness_the_soft_maximum_is_the_mean():
    assert soft_maximum(LOSSES, 0.0).item() == pytest.approx(3.0)


def test_a_soft_maximum_weighs_critics_by_the_exponential_of_their_loss():
    # e^(2 s) : e^(4 s) = 1 : 3 for s = log 3 / 2
    assert soft_maximum(LOSSES, math.log(3) / 2).item() == pytest.approx(0.25 * 2 + 0.75 * 4)


def test_a_sharp_soft_maximum_is_the_loss_of_the_harshest_critic():
    assert soft_maximum(1000 * LOSSES, 1e4).item() == pytest.approx(4000.0)


def test_the_gradient_is_a_mean_over_examples_and_a_weighted_mean_over_critics():
    losses = LOSSES.clone().requires_grad_()
    soft_maximum(losses, math.log(3) / 2).backward()
    torch.testing.assert_close(losses.grad, torch.tensor([[0.125, 0.375], [0.125, 0.375]]))


def test_no_critic_counts_negatively_however_sharp():
    losses = torch.tensor([[0.0, 5.0, 10.0]], requires_grad=True)
    soft_maximum(losses, 3.0).backward()
    assert losses.grad is not None
    assert losses.grad.min() >= 0
    assert losses.grad.sum().item() == pytest.approx(1.0)


def test_the_gradient_for_equal_weights_is_that_of_the_value():
    losses = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_maximum(x, 0.0), (losses,))
