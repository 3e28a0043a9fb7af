"""Consistency terms against values worked out by hand, and their gradients."""

import math

import pytest
import torch
from torch import Tensor, nn

from equipoise.objectives import adversarial_examples, consistency, latent_consistency, lecam, rejection


def doubles(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_consistency_is_the_squared_difference_of_each_logit():
    a, b = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[0.0, 1.0], [0.5, 5.0]])
    assert consistency(a, b).tolist() == [[1.0, 9.0], [0.0, 4.0]]
    assert torch.autograd.gradcheck(consistency, (doubles(4), doubles(4, seed=1)))


def test_latent_consistency_rewards_the_mean_squared_difference_of_an_example():
    a, b = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]]), torch.tensor([[[1.0, 4.0]], [[3.0, 1.0]]])
    assert latent_consistency(a, b).tolist() == [-2.0, -5.0]
    assert torch.autograd.gradcheck(latent_consistency, (doubles(3, 2, 2), doubles(3, 2, 2, seed=1)))


# LeCam


def test_lecam_punishes_logits_beyond_the_mean_of_the_other_kind():
    real, fake = torch.tensor([1.0, -1.0]), torch.tensor([0.5, -2.0])
    found = lecam(real, fake, torch.tensor(0.8), torch.tensor(-0.5), torch.tensor(2.0))
    # (1 + 0.5)² + (0.8 - 0.5)² = 2.34; -1 lies below the mean of fakes, (0.8 + 2)² = 7.84; both divided by 4
    assert found.tolist() == pytest.approx([0.585, 1.96])


def test_lecam_does_not_depend_on_the_unit_of_the_logits():
    real, fake = doubles(6), doubles(6, seed=1)
    running = [scalar(0.3), scalar(-0.4), scalar(1.1)]
    once = lecam(real, fake, *running)
    torch.testing.assert_close(lecam(50 * real, 50 * fake, *[50 * value for value in running]), once)
    assert once.max() > 0.1


def test_lecam_moves_the_logits_but_not_the_running_values():
    real, fake = doubles(6), doubles(6, seed=1)
    running = [scalar(value).requires_grad_() for value in (0.3, -0.4, 1.1)]
    assert torch.autograd.gradcheck(lambda r, f: lecam(r, f, *running), (real, fake))
    lecam(real, fake, *running).sum().backward()
    assert [value.grad for value in running] == [None] * 3


# Adversarial examples


def test_an_adversarial_example_is_one_step_along_the_sign_of_the_slope():
    w = torch.tensor([[2.0, -0.1], [0.0, -3.0]])
    fake = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.5], [0.2, -0.5]]])
    found = adversarial_examples(lambda x: (x * w).sum((1, 2)), fake, 0.25)
    expected = torch.tensor([[[1.25, 0.75], [1.0, 0.75]], [[0.25, 0.25], [0.2, -0.75]]])
    torch.testing.assert_close(found, expected)


def test_adversarial_examples_please_the_critic_and_carry_no_gradient():
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
    fake = torch.randn(8, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        moved = adversarial_examples(critic, fake, 0.01)
    assert moved.dtype == torch.float32
    assert not moved.requires_grad
    assert (critic(moved) > critic(fake)).all()
    assert (moved - fake).abs().max() <= 0.0101
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert torch.equal(moved, adversarial_examples(critic, fake.detach(), 0.01))


def test_rejection_is_the_generated_side_of_the_logistic_loss():
    expected = [-math.log(1 - 1 / (1 + math.exp(-t))) for t in (0.0, 1.5, -2.0)]
    assert rejection(torch.tensor([0.0, 1.5, -2.0])).tolist() == pytest.approx(expected, rel=1e-6)
    assert rejection(torch.tensor([1e4])).item() == 1e4
    assert torch.autograd.gradcheck(rejection, (doubles(4),))
