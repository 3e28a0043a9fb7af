"""Adversarial losses against numbers worked out from the papers' formulas, and their gradients."""

import inspect
import math

import pytest
import torch
from torch import Tensor

from equipoise import objectives
from equipoise.objectives import Adversarial, classification, with_targets

LOSSES = {
    name: getattr(objectives, name)
    for name in [
        "minimax",
        "non_saturating",
        "least_squares",
        "hinge",
        "wasserstein",
        "relativistic_pairing",
        "relativistic_average",
        "f_kl",
        "f_reverse_kl",
        "f_pearson",
        "f_jensen_shannon",
        "f_squared_hellinger",
        "f_total_variation",
    ]
}
PAIRS = [(0.0, 0.0), (2.0, -1.0), (-0.5, 1.5), (0.25, 0.75), (-3.0, -4.0)]
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def all_but(*left_out: str):
    kept = {name: loss for name, loss in LOSSES.items() if name not in left_out}
    return pytest.mark.parametrize("loss", kept.values(), ids=kept)


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

# f-GAN: output activation g, conjugate f*
DIVERGENCES = {
    "f_kl": (lambda v: v, lambda t: math.exp(t - 1)),
    "f_reverse_kl": (lambda v: -math.exp(-v), lambda t: -1 - math.log(-t)),
    "f_pearson": (lambda v: v, lambda t: t**2 / 4 + t),
    "f_jensen_shannon": (
        lambda v: math.log(2) - math.log(1 + math.exp(-v)),
        lambda t: -math.log(2 - math.exp(t)),
    ),
    "f_squared_hellinger": (lambda v: 1 - math.exp(-v), lambda t: t / (1 - t)),
    "f_total_variation": (lambda v: math.tanh(v) / 2, lambda t: t),
}
FORMULAS |= {
    name: (lambda r, f, g=g, conjugate=conjugate: -g(r) + conjugate(g(f)), lambda r, f, g=g: -g(f))
    for name, (g, conjugate) in DIVERGENCES.items()
}


def logits(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    real, fake = torch.randn(2, *shape, generator=draw, dtype=torch.float64)
    return real.requires_grad_(), fake.requires_grad_()


@pytest.mark.parametrize("name", FORMULAS)
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


@all_but("f_kl", "f_reverse_kl", "f_squared_hellinger")
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
        torch.testing.assert_close(side(real, fake)[:, 0, 2, 3], side(real[:, 0, 2, 3], fake[:, 0, 2, 3]))


@all_but("relativistic_average")
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


# Values worked out by hand: (r, f), the critic's loss, the generator's
BY_HAND = {
    "f_kl": [(2.0, 1.0, -1.0, -1.0), (0.5, 2.0, math.e - 0.5, -2.0)],
    "f_reverse_kl": [(0.0, 3.0, 3.0, math.exp(-3)), (-math.log(2), 0.5, 1.5, math.exp(-0.5))],
    "f_pearson": [(1.0, 2.0, 2.0, -2.0), (-1.0, -4.0, 1.0, 4.0)],
    "f_jensen_shannon": [(0.0, 0.0, 0.0, 0.0), (math.log(3), 0.0, math.log(2 / 3), 0.0)],  # sp(-log 3) = log 4/3
    "f_squared_hellinger": [(0.0, math.log(3), 2.0, -2 / 3), (-math.log(2), 0.0, 1.0, 0.0)],
    "f_total_variation": [(0.0, math.log(3), 0.4, -0.4), (-math.log(2), 0.0, 0.3, 0.0)],  # tanh log 3 = 8/10
}


@pytest.mark.parametrize("name", BY_HAND)
def test_f_gans_have_the_values_worked_out_by_hand(name: str):
    for r, f, critic, generator in BY_HAND[name]:
        real, fake = torch.tensor([[r]], dtype=torch.float64), torch.tensor([[f]], dtype=torch.float64)
        assert LOSSES[name].d(real, fake).item() == pytest.approx(critic, abs=1e-12)
        assert LOSSES[name].g(real, fake).item() == pytest.approx(generator, abs=1e-12)


P, Q = (0.75, 0.25), (0.4, 0.6)
# The optimal logit where the densities are p and q, and the divergence
OPTIMA = {
    "f_kl": (lambda p, q: 1 + math.log(p / q), 0.75 * math.log(0.75 / 0.4) + 0.25 * math.log(0.25 / 0.6)),
    "f_reverse_kl": (lambda p, q: math.log(p / q), 0.4 * math.log(0.4 / 0.75) + 0.6 * math.log(0.6 / 0.25)),
    "f_pearson": (lambda p, q: 2 * (p / q - 1), 0.35**2 / 0.4 + 0.35**2 / 0.6),
    "f_jensen_shannon": (
        lambda p, q: math.log(p / q),
        0.75 * math.log(0.75 / 0.575)
        + 0.25 * math.log(0.25 / 0.425)
        + 0.4 * math.log(0.4 / 0.575)
        + 0.6 * math.log(0.6 / 0.425),
    ),
    "f_squared_hellinger": (
        lambda p, q: math.log(p / q) / 2,
        (math.sqrt(0.75) - math.sqrt(0.4)) ** 2 + (math.sqrt(0.25) - math.sqrt(0.6)) ** 2,
    ),
    "f_total_variation": (lambda p, q: 40.0 if p > q else -40.0, 0.35),
}


@pytest.mark.parametrize("name", OPTIMA)
def test_the_value_of_an_f_gan_at_the_optimal_critic_is_the_divergence(name: str):
    optimal, divergence = OPTIMA[name]
    best = torch.tensor([optimal(p, q) for p, q in zip(P, Q)], dtype=torch.float64, requires_grad=True)
    real, fake = best.repeat_interleave(2), best.repeat(2)  # all pairs of a real and a generated point
    chances = torch.tensor([p * q for p in P for q in Q], dtype=torch.float64)
    value = -(chances * LOSSES[name].d(real, fake)).sum()
    assert value.item() == pytest.approx(divergence, rel=1e-9)
    (gradient,) = torch.autograd.grad(value, best)
    torch.testing.assert_close(gradient, torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)
    for worse in (best.detach() + 0.1, best.detach() * 0.5):
        value_there = -(chances * LOSSES[name].d(worse.repeat_interleave(2), worse.repeat(2))).sum()
        assert value_there.item() <= value.item() + 1e-12


@pytest.mark.parametrize(
    ("name", "r", "f"), [("f_kl", 1e4, 89.0), ("f_reverse_kl", -88.0, 1e4), ("f_squared_hellinger", -88.0, 88.0)]
)
def test_an_exponential_divergence_is_finite_up_to_where_its_text_says(name: str, r: float, f: float):
    real, fake = torch.tensor([r]), torch.tensor([f])
    assert LOSSES[name].d(real, fake).isfinite().all()
    assert LOSSES[name].g(fake, real).isfinite().all()
    assert not LOSSES[name].d(1.02 * real, 1.02 * fake).isfinite().all()


def test_the_jensen_shannon_f_gan_moves_like_the_non_saturating_loss():
    real, fake = logits(6)
    for mine, known in zip(objectives.f_jensen_shannon[:2], objectives.non_saturating[:2]):
        found = torch.autograd.grad(mine(real, fake).sum(), (real, fake), allow_unused=True)
        expected = torch.autograd.grad(known(real, fake).sum(), (real, fake), allow_unused=True)
        for a, b in zip(found, expected):
            assert (a is None and b is None) or torch.equal(a, b)


# Relativistic average


def test_the_relativistic_average_compares_with_the_mean_of_the_other_kind():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, -2.0])  # means 2 and -1

    def sp(t: float) -> float:
        return math.log(1 + math.exp(t))

    d, g = objectives.relativistic_average.d(real, fake), objectives.relativistic_average.g(real, fake)
    assert d.tolist() == pytest.approx([sp(-2) + sp(-2), sp(-4) + sp(-4)], rel=1e-6)
    assert g.tolist() == pytest.approx([sp(2) + sp(2), sp(4) + sp(4)], rel=1e-6)


def test_the_relativistic_average_takes_means_for_each_critic_by_itself():
    real, fake = logits(5, 3)
    for side in (objectives.relativistic_average.d, objectives.relativistic_average.g):
        together = side(real, fake)
        for k in range(3):
            torch.testing.assert_close(together[:, k], side(real[:, k], fake[:, k]))


# Targets


def targets_of(loss: Adversarial, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The targets that a least-squares critic was given: the gradient of its loss is v - t."""
    real, fake = torch.zeros(shape, requires_grad=True), torch.zeros(shape, requires_grad=True)
    real_target, fake_target = torch.autograd.grad(loss.d(real, fake).sum(), (real, fake))
    return -real_target, -fake_target


@pytest.mark.parametrize("loss", [objectives.minimax, objectives.non_saturating])
def test_smoothed_labels_are_targets_of_the_cross_entropy(loss: Adversarial):
    smooth = with_targets(loss, real=0.9, fake=0.1)
    for r, f in PAIRS:
        expected = -0.9 * math.log(sigmoid(r)) - 0.1 * math.log(1 - sigmoid(r))
        expected += -0.1 * math.log(sigmoid(f)) - 0.9 * math.log(1 - sigmoid(f))
        found = smooth.d(torch.tensor([r], dtype=torch.float64), torch.tensor([f], dtype=torch.float64))
        assert found.item() == pytest.approx(expected, rel=1e-7)
        assert found.dtype == torch.float64


def test_smoothed_labels_are_targets_of_the_squared_error():
    smooth = with_targets(objectives.least_squares, real=0.9, fake=0.2)
    found = smooth.d(torch.tensor([1.9, 0.4]), torch.tensor([0.2, 1.2]))
    assert found.tolist() == pytest.approx([0.5, 0.5**2 / 2 + 0.5])


def test_by_default_only_the_label_of_real_examples_is_smoothed_and_nothing_is_drawn():
    before = torch.get_rng_state()
    real, fake = targets_of(with_targets(objectives.least_squares), (6,))
    assert real.tolist() == pytest.approx([0.9] * 6)
    assert fake.tolist() == [0.0] * 6
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["minimax", "non_saturating", "least_squares"])
def test_hard_targets_give_the_loss_itself(name: str):
    real, fake = logits(7)
    hard = with_targets(LOSSES[name], real=1.0)
    torch.testing.assert_close(hard.d(real, fake), LOSSES[name].d(real, fake))
    assert torch.autograd.gradcheck(with_targets(LOSSES[name], real=0.8, fake=0.1).d, (real, fake))


def test_soft_labels_are_spread_evenly_and_stay_probabilities():
    torch.manual_seed(0)
    real, fake = targets_of(with_targets(objectives.least_squares, real=0.7, fake=0.1, spread=0.2), (4000,))
    assert 0.5 <= real.min() < 0.51
    assert 0.89 < real.max() <= 0.9
    assert real.mean().item() == pytest.approx(0.7, abs=0.01)
    assert fake.min() == 0  # a quarter of the interval [-0.1, 0.3] is clipped
    assert (fake == 0).float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert 0.29 < fake.max() <= 0.3


def test_noisy_labels_exchange_a_share_of_the_targets():
    torch.manual_seed(0)
    real, fake = targets_of(with_targets(objectives.least_squares, real=0.9, fake=0.0, flips=0.1), (4000,))
    for targets in (real, fake):
        assert targets.unique().tolist() == pytest.approx([0.0, 0.9])
    assert (real == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)  # four standard deviations
    assert (fake > 0).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert not torch.equal(real == 0, fake > 0)


def test_the_patches_of_an_example_share_its_targets():
    torch.manual_seed(0)
    noisy = with_targets(objectives.least_squares, spread=0.1, flips=0.3)
    for targets in targets_of(noisy, (50, 1, 3, 4)):
        assert torch.equal(targets, targets[:, :, :1, :1].expand_as(targets))
        assert len(targets[:, 0, 0, 0].unique()) > 10


def test_targets_leave_the_side_of_the_generator_alone():
    assert with_targets(objectives.minimax).g is objectives.minimax.g
    assert with_targets(objectives.least_squares).compares is False


@all_but("minimax", "non_saturating", "least_squares")
def test_targets_are_refused_for_losses_without_targets(loss: Adversarial):
    with pytest.raises(ValueError, match="minimax, non-saturating or least-squares"):
        with_targets(loss)


@pytest.mark.parametrize(
    "wrong",
    [{"real": 1.1}, {"fake": -0.1}, {"real": 0.2, "fake": 0.3}, {"spread": -0.1}, {"flips": 0.5}, {"flips": -0.1}],
)
def test_impossible_targets_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="expected 0 <= fake < real <= 1"):
        with_targets(objectives.non_saturating, **wrong)


# Documentation

TECHNIQUES = {
    **{name: loss.about for name, loss in LOSSES.items()},
    **{
        name: inspect.getdoc(getattr(objectives, name)) or ""
        for name in objectives.__all__
        if inspect.isfunction(getattr(objectives, name))
        and name not in ("slope", "slope_of", "squared_norm", "by_difference")
    },
}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_every_technique_says_what_it_is_its_default_its_cost_and_its_source(name: str):
    lines = TECHNIQUES[name].splitlines()
    assert lines[0].endswith(".")
    assert lines[1] == ""
    assert [line.split(":")[0] for line in lines[-3:]] == ["Default", "Cost", "Source"]
    assert 6 <= len(lines) <= 25


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
