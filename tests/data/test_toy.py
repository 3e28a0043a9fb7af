"""Mixtures know their modes, their density and how to count what was found."""

import math

import pytest
import torch

from equipoise.data import Mixture, grid, ring


@pytest.mark.parametrize(("mixture", "num_modes"), [(ring(), 8), (grid(), 25), (ring(5, radius=3.0, sigma=0.1), 5)])
def test_perfect_samples_cover_all_modes_at_the_known_quality(mixture: Mixture, num_modes: int):
    found = mixture.coverage(mixture.sample(20_000, seed=0))
    assert found.modes == num_modes
    assert found.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.003)


def test_the_ring_and_the_grid_are_those_of_the_papers():
    assert torch.allclose(ring().centers.norm(dim=1), torch.ones(8))
    assert (ring().sigma, grid().sigma) == (0.01, 0.05)
    assert sorted(grid().centers[:, 0].unique().tolist()) == [-4, -2, 0, 2, 4]


def test_a_collapsed_generator_covers_one_mode():
    found = grid().coverage(grid().centers[:1].expand(100, 2))
    assert found == (1, 1.0)


def test_points_beyond_three_sigma_are_not_of_high_quality():
    mixture = ring()
    inside, outside = mixture.centers[0] * (1 + 0.0299), mixture.centers[1] * (1 + 0.0301)
    assert mixture.coverage(torch.stack([inside, outside])) == (1, 0.5)


def test_points_that_are_not_finite_cover_nothing():
    assert ring().coverage(torch.full((4, 2), math.nan)) == (0, 0.0)


@pytest.mark.parametrize("shape", [(0, 2), (4, 3), (4,)])
def test_coverage_of_something_else_is_refused(shape):
    with pytest.raises(ValueError, match=r"Expected \[N, 2\]"):
        ring().coverage(torch.zeros(shape))


def test_log_density_is_that_of_one_gaussian_where_the_modes_are_far_apart():
    mixture = grid()
    at_center = mixture.log_density(mixture.centers)
    assert torch.allclose(at_center, torch.full((25,), -math.log(25) - math.log(2 * math.pi * 0.05**2)))
    one_sigma_away = mixture.log_density(mixture.centers + torch.tensor([0.05, 0.0]))
    assert torch.allclose(at_center - one_sigma_away, torch.full((25,), 0.5), atol=1e-4)


def test_density_integrates_to_one():
    mixture = ring(3, radius=0.5, sigma=0.2)
    ticks = torch.linspace(-2, 2, 200, dtype=torch.float64)
    mass = mixture.log_density(torch.cartesian_prod(ticks, ticks)).exp().sum() * (ticks[1] - ticks[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-6)


def test_samples_depend_on_the_seed_alone():
    assert torch.equal(ring().sample(50, seed=3), ring().sample(50, seed=3))
    assert not torch.equal(ring().sample(50, seed=3), ring().sample(50, seed=4))


def test_the_source_is_labelled_with_the_mode_of_each_point():
    source = grid().source(500, seed=1)
    every = torch.arange(500)
    nearest = torch.cdist(source.examples(every), grid().centers).argmin(dim=1)
    assert (source.shape, len(source.classes), len(source)) == ((2,), 25, 500)
    assert torch.equal(source.labels(every), nearest)
