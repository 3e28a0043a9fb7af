"""Diversity terms against values worked out by hand, and their gradients."""

import math

import pytest
import torch
from torch import Tensor

from equipoise.objectives import (
    categorical_code,
    diversity_sensitive,
    gaussian_code,
    information,
    mode_seeking,
    squared_code,
    top_k,
)


def doubles(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()


# Two examples: they differ by 2 and by 0.5 on average; their latents by 1 and by 2
X1, X2 = torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]]]), torch.tensor([[[1.0, -3.0]], [[1.0, 2.0]]])
Z1, Z2 = torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 0.0], [-3.0, 2.0]])


def test_mode_seeking_is_the_distance_of_latents_over_that_of_examples():
    assert mode_seeking(X1, X2, Z1, Z2).tolist() == pytest.approx([0.5, 4.0], rel=1e-4)
    exact = mode_seeking(*(tensor.double() for tensor in (X1, X2, Z1, Z2)))
    assert exact.tolist() == pytest.approx([1 / (2 / 1 + 1e-5), 1 / (0.5 / 2 + 1e-5)], rel=1e-12)


def test_mode_seeking_is_greatest_for_equal_examples_and_finite_for_equal_latents():
    assert mode_seeking(X1, X1, Z1, Z2).tolist() == pytest.approx([1e5, 1e5])
    assert mode_seeking(X1, X2, Z1, Z1).tolist() == [0.0, 0.0]


def test_diversity_sensitivity_is_the_ratio_of_distances_up_to_its_limit():
    assert diversity_sensitive(X1, X2, Z1, Z2).tolist() == pytest.approx([-2.0, -0.25])
    assert diversity_sensitive(X1, X2, Z1, Z2, limit=1.5).tolist() == pytest.approx([-1.5, -0.25])


@pytest.mark.parametrize("term", [mode_seeking, diversity_sensitive])
def test_the_gradients_of_distances_are_those_of_their_values(term):
    points = doubles(3, 2, 2), doubles(3, 2, 2, seed=1), doubles(3, 4, seed=2), doubles(3, 4, seed=3)
    assert torch.autograd.gradcheck(term, points)


def test_beyond_the_limit_there_is_nothing_to_gain():
    x = X1.clone().requires_grad_()
    diversity_sensitive(x, X2, Z1, Z2, limit=1.5).sum().backward()
    assert x.grad is not None
    assert x.grad[0].tolist() == [[0.0, 0.0]]
    assert x.grad[1].abs().sum() > 0


# Top-k


def test_top_k_keeps_the_values_of_the_highest_logits():
    values, logits = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([0.3, -1.0, 2.0, 0.5, -3.0])
    assert sorted(top_k(values, logits, 0.5).tolist()) == [1.0, 3.0, 4.0]  # ⌈2.5⌉ = 3
    assert sorted(top_k(values, logits, 0.2).tolist()) == [3.0]
    assert sorted(top_k(values, logits, 1.0).tolist()) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert top_k(values, logits, 1e-9).tolist() == [3.0]


@pytest.mark.parametrize(("share", "num", "kept"), [(0.07, 100, 7), (0.7, 10, 7), (0.75, 10, 8), (0.501, 1000, 501)])
def test_top_k_rounds_up_but_not_over_round_off(share: float, num: int, kept: int):
    assert len(top_k(torch.zeros(num), torch.arange(float(num)), share)) == kept


def test_top_k_gives_the_others_no_gradient():
    values = doubles(4)
    top_k(values, torch.tensor([0.5, 3.0, -1.0, 2.0]), 0.5).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_top_k_refuses_an_impossible_share(share: float):
    with pytest.raises(ValueError, match=r"expected a share of the batch in \(0, 1\]"):
        top_k(torch.zeros(4), torch.zeros(4), share)


# Information


def test_information_is_the_logistic_loss_of_pairs_against_shuffled_pairs():
    joint, marginal = torch.tensor([0.0, 1.0]), torch.tensor([0.0, -2.0])
    expected = [2 * math.log(2), math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))]
    assert information(joint, marginal).tolist() == pytest.approx(expected, rel=1e-6)
    assert torch.autograd.gradcheck(information, (doubles(4), doubles(4, seed=1)))


def test_information_at_its_best_measures_how_much_latents_and_examples_share():
    # x = z, a fair coin: pairs are (0, 0) or (1, 1); shuffled, all four are as likely. The best T is their log ratio.
    same, different = math.log(0.5 / 0.25), -50.0
    joint = torch.tensor([same, same, same, same], dtype=torch.float64)
    marginal = torch.tensor([same, same, different, different], dtype=torch.float64)
    # With M the mean of both: KL(joint‖M) = log(0.5/0.375), KL(marginal‖M) = (log(0.25/0.375) + log(0.25/0.125))/2
    shared = math.log(0.5 / 0.375) + (math.log(0.25 / 0.375) + math.log(0.25 / 0.125)) / 2
    best = information(joint, marginal).mean().item()
    assert best == pytest.approx(2 * math.log(2) - shared, rel=1e-9)
    for change in (-0.3, 0.3):
        assert information(joint + change, torch.where(marginal > 0, marginal + change, marginal)).mean().item() > best


# Codes


def test_a_gaussian_code_is_scored_by_its_likelihood():
    code, mean = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [1.0]])
    log_variance = torch.tensor([[0.0], [math.log(4)]])
    # ½ (1 + log 2π) and ½ (4/4 + log 4 + log 2π)
    assert gaussian_code(code, mean, log_variance).tolist() == pytest.approx([1.4189385, 2.1120857], rel=1e-6)
    code, mean, log_variance = doubles(3, 2), doubles(3, 2, seed=1), doubles(3, 2, seed=2)
    expected = -torch.distributions.Normal(mean, (log_variance / 2).exp()).log_prob(code).sum(1)
    torch.testing.assert_close(gaussian_code(code, mean, log_variance), expected)
    assert torch.autograd.gradcheck(gaussian_code, (code, mean, log_variance))


def test_a_squared_code_is_half_the_squared_error():
    code, mean = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [1.0, 0.0]])
    assert squared_code(code, mean).tolist() == [2.5, 0.5]
    assert torch.autograd.gradcheck(squared_code, (doubles(3, 2), doubles(3, 2, seed=1)))


def test_a_discrete_code_is_scored_by_its_share():
    scores = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    found = categorical_code(scores, torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx([math.log(4), math.log(4 / 3)], rel=1e-6)
