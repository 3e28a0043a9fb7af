"""Each balancer against what is computed by hand, for two losses."""

import math

import pytest
import torch

from equipoise.core.balance import Measured
from equipoise.objectives.balance import (
    AdaptiveAdversarial,
    DynamicAverage,
    GradientShares,
    GradNorm,
    Uncertainty,
)

TERMS = ("a", "b")


def seen(losses, slopes=None):
    """Losses of two terms, and their gradients [K, P]."""
    products = None
    if slopes is not None:
        g = torch.tensor(slopes, dtype=torch.float32)
        products = g @ g.T
    return Measured(TERMS, torch.tensor(losses, dtype=torch.float32), products)


def after(balancer, *moves):
    state = balancer.begin(TERMS)
    for move in moves:
        state = balancer.learn(state, move)
    return state["weights"].tolist()


def test_uncertainty_is_a_step_down_its_likelihood():
    # s - η(1 - exp(-s)·ℓ) from s = 0: for ℓ = 0.6 the bracket is 0.4, for ℓ = 5 it is -4, held at -1
    assert after(Uncertainty(rate=0.1), seen([0.6, 5.0])) == pytest.approx([math.exp(0.04), math.exp(-0.1)])
    weights = after(Uncertainty(rate=0.1), *[seen([0.5, 4.0])] * 400)
    assert weights == pytest.approx([2.0, 0.25], rel=1e-3)  # where it rests: 1/ℓ


def test_the_bracket_of_uncertainty_is_the_slope_of_what_is_minimised():
    loss, s = torch.tensor(0.7), torch.tensor(0.2, requires_grad=True)
    (torch.exp(-s) * loss + s).backward()
    state = {"weights": torch.exp(-s.detach()).expand(2)}
    new = Uncertainty(rate=0.1).learn(state, seen([0.7, 0.7]))["weights"]
    assert -torch.log(new[0]) == pytest.approx(0.2 - 0.1 * s.grad.item())


def test_gradnorm_lifts_the_smaller_gradient_and_keeps_the_sum():
    # norms 3 and 1, mean 2, both at pace 1: signs + and -, so w = exp(-η·3/2), exp(+η·1/2), scaled to a sum of 2
    raw = [math.exp(-0.15), math.exp(0.05)]
    expected = [2 * w / sum(raw) for w in raw]
    assert after(GradNorm(rate=0.1), seen([1.0, 4.0], [[3.0, 0.0], [0.0, 1.0]])) == pytest.approx(expected)


def test_gradnorm_rests_where_the_norms_follow_the_paces():
    # a has half of its loss left and b all: paces 2/3 and 4/3, and with alpha = 1 so should be the norms
    start, later = seen([2.0, 3.0], [[1.0], [1.0]]), seen([1.0, 3.0], [[1.0], [1.0]])
    weights = after(GradNorm(rate=0.01, alpha=1.0), start, *[later] * 200)
    assert weights == pytest.approx([2 / 3, 4 / 3], rel=0.02)


def test_a_step_of_gradnorm_is_down_the_papers_objective():
    norms, pace = torch.tensor([3.0, 1.0]), torch.ones(2)
    log_weights = torch.zeros(2, requires_grad=True)
    scaled = torch.exp(log_weights) * norms
    target = (scaled.mean() * pace).detach()
    ((scaled - target).abs().sum() / scaled.mean().detach()).backward()
    raw = torch.exp(-0.1 * log_weights.grad)
    found = after(GradNorm(rate=0.1), seen([1.0, 1.0], [[3.0, 0.0], [0.0, 1.0]]))
    assert found == pytest.approx((2 * raw / raw.sum()).tolist())


def test_dynamic_average_compares_two_windows():
    balancer = DynamicAverage(window=2, temperature=2.0)
    first, second = [seen([1.0, 1.0]), seen([3.0, 1.0])], [seen([1.0, 2.0]), seen([1.0, 0.0])]
    assert after(balancer, *first) == [1.0, 1.0]
    assert after(balancer, *first, second[0]) == [1.0, 1.0]
    ratios = [0.5, 1.0]  # means 2 → 1 and 1 → 1
    parts = [math.exp(r / 2) for r in ratios]
    expected = [2 * part / sum(parts) for part in parts]
    assert after(balancer, *first, *second) == pytest.approx(expected)
    assert after(balancer, *first, *second, seen([9.0, 9.0])) == pytest.approx(expected)  # until the window is full


def test_shares_of_the_gradient_are_what_was_asked_for():
    slopes = [[3.0, 4.0], [0.0, 0.5]]  # norms 5 and 0.5
    weights = after(GradientShares(shares={"a": 1.0, "b": 3.0}), seen([1.0, 1.0], slopes))
    norms = [5 * weights[0], 0.5 * weights[1]]
    assert norms == pytest.approx([5.5 / 4, 5.5 * 3 / 4])
    assert after(GradientShares(), seen([1.0, 1.0], slopes)) == pytest.approx([0.55, 5.5])
    twice = after(GradientShares(decay=0.75), seen([1.0, 1.0], slopes), seen([1.0, 1.0], [[1.0, 0.0], [0.5, 0.0]]))
    assert twice == pytest.approx([4.5 / 2 / 4, 4.5 / 2 / 0.5])  # means 0.75·5 + 0.25·1 = 4 and 0.5


def test_the_adversarial_gradient_is_as_large_as_that_of_all_others_together():
    balancer = AdaptiveAdversarial(term="b", ratio=0.8)
    weights = after(balancer, seen([1.0, -2.0], [[3.0, 4.0], [0.0, 0.5]]))
    assert weights == pytest.approx([1.0, 0.8 * 5 / (0.5 + 1e-6)])
    terms = ("a", "b", "c")
    g = torch.tensor([[3.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])  # a and c pull in opposite directions: 2 together
    three = balancer.learn(balancer.begin(terms), Measured(terms, torch.ones(3), g @ g.T))
    assert three["weights"].tolist() == pytest.approx([1.0, 0.8, 1.0], rel=1e-5)
    assert after(balancer, seen([1.0, 1.0], [[3.0, 4.0], [0.0, 0.0]])) == [1.0, 1e4]


def test_what_was_not_measured_changes_no_weight_by_gradients():
    for balancer in (GradNorm(), GradientShares(), AdaptiveAdversarial(term="b")):
        state = balancer.learn(balancer.begin(TERMS), seen([1.0, 2.0], [[2.0], [1.0]]))
        again = balancer.learn(state, seen([5.0, 1.0]))
        assert all(torch.equal(state[key], again[key]) for key in state)


@pytest.mark.parametrize("balancer", [Uncertainty(), GradNorm(), DynamicAverage(window=1), GradientShares()])
def test_vanishing_losses_and_gradients_leave_weights_finite_and_bounded(balancer):
    moves = [seen([0.0, 1.0], [[0.0], [1.0]]), seen([0.0, 0.0], [[0.0], [0.0]])] * 1000
    assert all(math.isfinite(weight) and 0 <= weight <= 1e4 for weight in after(balancer, *moves))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Uncertainty(rate=0.0), "rate is 0"),
        (lambda: GradNorm(alpha=-1.0), "alpha is -1"),
        (lambda: GradNorm(every=0), "every is 0"),
        (lambda: DynamicAverage(window=0), "window is 0"),
        (lambda: DynamicAverage(temperature=0.0), "temperature is 0"),
        (lambda: GradientShares(shares={"a": 0.0}), "at least one of them above"),
        (lambda: GradientShares(decay=1.0), "decay is 1"),
        (lambda: GradientShares(shares={"a": 1.0}).begin(TERMS), "expected one for each"),
        (lambda: AdaptiveAdversarial().begin(TERMS), "'adversarial', which is none of the balanced terms a, b"),
        (lambda: AdaptiveAdversarial(ratio=-1.0), "ratio is -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
