"""Adversarial losses against numbers worked out from the papers' formulas, and their gradients."""

import math

import pytest
import torch
from torch import Tensor

from equipoise import objectives
from equipoise.objectives import Adversarial, classification

LOSSES = {
    "minimax": objectives.minimax,
    "non_saturating": objectives.non_saturating,
    "least_squares": objectives.least_squares,
    "hinge": objectives.hinge,
    "wasserstein": objectives.wasserstein,
    "relativistic_pairing": objectives.relativistic_pairing,
}
PAIRS = [(0.0, 0.0), (2.0, -1.0), (-0.5, 1.5), (0.25, 0.75), (-3.0, -4.0)]
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


# r = D(x), f = D(G(z)); what the critic minimises, what the generator minimises
FORMULAS = {
    "minimax": (lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)), lambda r, f: math.log(1 - sigmoid(f))),
    "non_saturating": (
        lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)),
        lambda r, f: -math.log(sigmoid(f)),
    ),
    "least_squares": (lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2, lambda r, f: 0.5 * (f - 1) ** 2),
    "hinge": (lambda r, f: -min(0.0, -1 + r) - min(0.0, -1 - f), lambda r, f: -f),
    "wasserstein": (lambda r, f: f - r, lambda r, f: -f),
    "relativistic_pairing": (lambda r, f: -math.log(sigmoid(r - f)), lambda r, f: -math.log(sigmoid(f - r))),
}


def logits(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    real, fake = torch.randn(2, *shape, generator=draw, dtype=torch.float64)
    return real.requires_grad_(), fake.requires_grad_()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_the_papers(name: str):
    real, fake = torch.tensor(PAIRS, dtype=torch.float64).T
    for loss, formula in zip((LOSSES[name].d, LOSSES[name].g), FORMULAS[name]):
        assert loss(real, fake).tolist() == pytest.approx([formula(r, f) for r, f in PAIRS], abs=1e-12)


@every_loss
def test_gradients_are_those_of_the_values(loss: Adversarial):
    real, fake = logits(7)
    assert torch.autograd.gradcheck(loss.d, (real, fake))
    assert torch.autograd.gradcheck(loss.g, (real, fake))
    assert torch.autograd.gradgradcheck(loss.d, (real, fake))


@every_loss
def test_extreme_logits_give_finite_losses_and_gradients(loss: Adversarial):
    for r, f in [(1e4, -1e4), (-1e4, 1e4), (1e4, 1e4), (-1e4, -1e4)]:
        real, fake = torch.tensor([r], requires_grad=True), torch.tensor([f], requires_grad=True)
        for side in (loss.d, loss.g):
            value = side(real, fake)
            assert value.isfinite().all()
            for gradient in torch.autograd.grad(value.sum(), (real, fake), allow_unused=True):
                assert gradient is None or gradient.isfinite().all()


@every_loss
def test_there_is_one_value_for_each_logit_of_a_patch_critic(loss: Adversarial):
    real, fake = logits(3, 1, 5, 4)
    for side in (loss.d, loss.g):
        assert side(real, fake).shape == (3, 1, 5, 4)
        torch.testing.assert_close(side(real, fake)[1, 0, 2, 3], side(real[1:2, 0, 2, 3], fake[1:2, 0, 2, 3])[0])


@every_loss
def test_the_value_of_an_example_does_not_depend_on_the_others(loss: Adversarial):
    real, fake = logits(6)
    for side in (loss.d, loss.g):
        torch.testing.assert_close(side(real, fake)[2:4], side(real[2:4], fake[2:4]))


@every_loss
def test_real_and_fake_logits_must_have_one_shape(loss: Adversarial):
    for side in (loss.d, loss.g):
        with pytest.raises(Exception, match="fake"):
            side(torch.zeros(4), torch.zeros(5))
        with pytest.raises(Exception, match="fake"):
            side(torch.zeros(4, 1), torch.zeros(4))


@every_loss
def test_only_a_comparing_loss_gives_the_generator_a_gradient_through_real_logits(loss: Adversarial):
    real, fake = logits(4)
    (gradient,) = torch.autograd.grad(loss.g(real, fake).sum(), real, allow_unused=True)
    assert (gradient is not None and bool((gradient != 0).all())) == loss.compares


@every_loss
def test_a_better_fake_lowers_the_loss_of_the_generator(loss: Adversarial):
    real, fake = torch.zeros(2), torch.tensor([-0.5, 0.5])
    worse, better = loss.g(real, fake)
    assert better < worse


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_an_undecided_critic_pays_two_log_two(name: str):
    assert LOSSES[name].d(torch.zeros(1), torch.zeros(1)).item() == pytest.approx(2 * math.log(2))


def test_the_generator_of_minimax_learns_nothing_from_a_critic_that_wins():
    fake = torch.tensor([-30.0], requires_grad=True)
    (minimax,) = torch.autograd.grad(objectives.minimax.g(fake, fake).sum(), fake)
    (non_saturating,) = torch.autograd.grad(objectives.non_saturating.g(fake, fake).sum(), fake)
    assert abs(minimax.item()) < 1e-12
    assert non_saturating.item() == pytest.approx(-1.0)


# Classification


def test_classification_is_the_negative_log_of_the_share_of_the_class():
    scores = [[1.0, 2.0, 0.5], [0.0, 0.0, 0.0], [-1.0, 3.0, 2.0]]
    labels = [0, 2, 1]
    expected = [-math.log(math.exp(row[k]) / sum(map(math.exp, row))) for row, k in zip(scores, labels)]
    found = classification(torch.tensor(scores, dtype=torch.float64), torch.tensor(labels))
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_classification_is_finite_for_extreme_scores():
    scores = torch.tensor([[1e4, -1e4], [1e4, -1e4]], requires_grad=True)
    loss = classification(scores, torch.tensor([0, 1]))
    assert loss.tolist() == pytest.approx([0.0, 2e4])
    loss.sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_classification_needs_one_label_for_each_row():
    with pytest.raises(Exception, match="labels"):
        classification(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(Exception, match="labels"):
        classification(torch.zeros(3, 2), torch.zeros(3))
