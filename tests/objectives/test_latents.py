"""Losses of encoders against values worked out by hand and against torch's own distributions."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from equipoise.objectives.latents import divergence_from_prior, feature_likelihood


def test_the_divergence_is_that_of_the_distributions():
    mean = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    log_variance = torch.tensor([[0.0, 0.0], [math.log(4.0), -1.0]])
    found = divergence_from_prior(mean, log_variance)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    assert found[0] == 0
    assert torch.allclose(found, expected)


def test_the_likelihood_is_half_the_sum_of_squares():
    real, fake = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]]), torch.tensor([[[0.0, 4.0]], [[0.0, 0.0]]])
    assert feature_likelihood(real, fake).tolist() == [2.5, 0.0]


@pytest.mark.parametrize("loss", [divergence_from_prior, feature_likelihood])
def test_gradients_are_right_on_both_sides_and_shapes_must_fit(loss):
    a, b = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(loss, (a, b))
    assert loss(a.float().bfloat16(), b.float().bfloat16()).dtype == torch.float32
    with pytest.raises(Exception, match=r"expected one shape|fake|log_variance"):
        loss(torch.zeros(2, 3), torch.zeros(2, 4))
