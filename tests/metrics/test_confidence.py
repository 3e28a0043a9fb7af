"""Intervals hold the truth as often as they say, and are as wide as theory and scipy have them."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from equipoise.metrics.confidence import interval_of_mean, interval_of_metric
from equipoise.metrics.distribution import frechet_distance, precision_recall


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def difference(x: torch.Tensor, y: torch.Tensor) -> float:
    return (y.mean() - x.mean()).item()


def test_the_interval_of_a_mean_is_scipys_bootstrap():
    values = normal(0, 80).exp()
    found = interval_of_mean(values, num_resamples=5000, level=0.9)
    reference = bootstrap(
        (values.numpy(),), np.mean, n_resamples=5000, confidence_level=0.9, method="percentile", rng=0
    ).confidence_interval
    width = reference.high - reference.low
    assert found.low == pytest.approx(reference.low, abs=0.05 * width)
    assert found.high == pytest.approx(reference.high, abs=0.05 * width)
    assert found.level == 0.9


def test_the_width_of_the_interval_of_a_difference_is_that_of_theory():
    # Variance s₁²/n + s₂²/m, and 2 · 1.96 standard deviations.
    x, y = normal(0, 200, 1), 2 * normal(1, 120, 1)
    expected = 2 * 1.96 * (x.var() / 200 + y.var() / 120).sqrt().item()
    low, high, _ = interval_of_metric(difference, x, y, num_resamples=2000)
    assert high - low == pytest.approx(expected, rel=0.1)
    assert (low + high) / 2 == pytest.approx(difference(x, y), abs=0.05 * expected)


@pytest.mark.parametrize("metric", [frechet_distance, lambda x, y: precision_recall(x, y, k=2).recall])
def test_95_percent_of_the_intervals_hold_the_value_that_sets_of_this_size_have_on_average(metric):
    def sets(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        return normal(seed, 60, 2), 0.6 * normal(10_000 + seed, 60, 2) + 0.3

    truth = np.mean([metric(*sets(1000 + seed)) for seed in range(200)])
    held = 0
    for seed in range(40):
        low, high, _ = interval_of_metric(metric, *sets(seed), num_resamples=40, seed=seed)
        held += low <= truth <= high
    # Of 40 intervals of 95 % fewer than 34 hold the truth in one experiment of 300.
    assert held >= 34


def test_a_metric_of_neighbours_is_not_biased_as_repeated_examples_would():
    x, y = normal(0, 100, 3), normal(1, 100, 3)

    def precision(a: torch.Tensor, b: torch.Tensor) -> float:
        return precision_recall(a, b).precision

    low, high, _ = interval_of_metric(precision, x, y, num_resamples=60)
    draw = torch.Generator().manual_seed(0)
    again = [precision(x[torch.randint(100, (100,), generator=draw)], y) for _ in range(20)]
    assert low < precision(x, y) < high
    assert max(again) < precision(x, y)


def test_a_constant_has_an_interval_of_no_width():
    assert interval_of_mean(torch.full((5,), 2.0)) == (2.0, 2.0, 0.95)
    assert interval_of_metric(lambda x, y: 7.0, normal(0, 5, 1), normal(1, 5, 1)) == (7.0, 7.0, 0.95)


def test_the_bias_of_smaller_sets_is_not_in_the_interval():
    # A metric that is nothing but bias, 1 / N: halves give 2 / N.
    assert interval_of_metric(lambda x, y: 1 / len(x), normal(0, 8, 1), normal(1, 8, 1)) == (0.125, 0.125, 0.95)


def test_intervals_are_seeded_and_leave_the_global_random_state_alone():
    x, y = normal(0, 20, 2), normal(1, 30, 2)
    before = torch.get_rng_state()
    first = interval_of_metric(difference, x, y), interval_of_mean(x[:, 0])
    assert torch.equal(torch.get_rng_state(), before)
    assert (interval_of_metric(difference, x, y), interval_of_mean(x[:, 0])) == first
    assert interval_of_metric(difference, x, y, seed=1) != first[0]
    assert interval_of_mean(x[:, 0], seed=1) != first[1]


def test_bad_requests_are_refused():
    x = normal(0, 20, 2)
    with pytest.raises(ValueError, match="level=95 was passed, but a number between 0 and 1"):
        interval_of_mean(x[:, 0], level=95)
    with pytest.raises(ValueError, match="num_resamples=5 was passed, but at least 10"):
        interval_of_metric(difference, x, x, num_resamples=5)
    with pytest.raises(ValueError, match=r"values of shape \[1\]"):
        interval_of_mean(torch.ones(1))
    with pytest.raises(ValueError, match="at least 4 examples"):
        interval_of_metric(difference, x, x[:3])
    with pytest.raises(ValueError, match="a value that is not finite came from half"):
        interval_of_metric(lambda a, b: float("nan"), x, x)
