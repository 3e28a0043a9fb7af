"""Sliced Wasserstein distances against scipy's one-dimensional ones, and the pyramid against scipy's filters."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from benchmarks.evaluation import laplacian_swd_by_scipy
from equipoise.core.seeding import generator
from equipoise.metrics.projections import laplacian_swd, sliced_wasserstein


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directions(dim: int, count: int, *draw) -> np.ndarray:
    x = torch.randn(dim, count, generator=generator(*draw, "directions"), dtype=torch.float64).numpy()
    return x / np.linalg.norm(x, axis=0)


@pytest.mark.parametrize("sizes", [(40, 40), (40, 23)])
def test_of_order_1_it_is_the_mean_of_scipys(sizes):
    x, y = normal(0, sizes[0], 5), 0.7 * normal(1, sizes[1], 5) + 0.3
    lines = directions(5, 50, 3, "sliced_wasserstein").T
    expected = np.mean([wasserstein_distance(x.numpy() @ line, y.numpy() @ line) for line in lines])
    assert sliced_wasserstein(x, y, num_directions=50, seed=3) == pytest.approx(expected, rel=1e-9)


def test_of_order_2_it_is_that_of_sets_repeated_to_equal_size():
    # Repeating every point of each set does not change its distribution.
    x, y = normal(0, 12, 3), normal(1, 8, 3) * 2
    lines = directions(3, 20, 0, "sliced_wasserstein")
    a, b = np.sort(x.numpy().repeat(2, 0) @ lines, 0), np.sort(y.numpy().repeat(3, 0) @ lines, 0)
    assert sliced_wasserstein(x, y, order=2, num_directions=20) == pytest.approx(((a - b) ** 2).mean() ** 0.5, rel=1e-9)


def test_the_distance_of_points_moved_apart_is_known():
    # Moving all by v: SW₂² is the mean of (θ·v)², which is |v|² / D for directions of the sphere.
    x = normal(0, 30, 4)
    v = torch.tensor([3.0, 0, 0, 4.0])
    assert sliced_wasserstein(x, x + v, order=2, num_directions=20_000) == pytest.approx(5 / 2, rel=0.01)


def test_one_dimension_is_exact_with_any_direction():
    x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[5.0], [6.0], [8.0]])
    assert sliced_wasserstein(x, y, num_directions=1) == pytest.approx(5)
    # Quantiles of {0, 1} and {0}: they differ by 1 on half of the mass.
    assert sliced_wasserstein(x[:2], x[:1], num_directions=3) == pytest.approx(0.5)
    assert sliced_wasserstein(x[:2], x[:1], order=2, num_directions=3) == pytest.approx(0.5**0.5)


def test_it_is_seeded_and_leaves_the_global_random_state_alone():
    x, y = normal(0, 30, 6), normal(1, 30, 6)
    before = torch.get_rng_state()
    first = sliced_wasserstein(x, y, num_directions=10)
    assert torch.equal(torch.get_rng_state(), before)
    assert sliced_wasserstein(x, y, num_directions=10) == first
    assert sliced_wasserstein(x, y, num_directions=10, seed=1) != first
    assert sliced_wasserstein(x, x.flip(0)) == pytest.approx(0, abs=1e-14)


def test_bad_sets_are_refused():
    x = normal(0, 5, 2)
    with pytest.raises(ValueError, match="order=3"):
        sliced_wasserstein(x, x, order=3)
    with pytest.raises(ValueError, match="num_directions=0"):
        sliced_wasserstein(x, x, num_directions=0)
    with pytest.raises(ValueError, match="fake: 1 of 5 examples have features that are not finite"):
        sliced_wasserstein(x, torch.where(x == x[2, 0], torch.nan, x))


# The Laplacian pyramid


def images(seed: int) -> torch.Tensor:
    """Smooth colours and some noise, [6, 3, 64, 64]."""
    coarse = torch.nn.functional.interpolate(normal(seed, 6, 3, 4, 4), size=64, mode="bilinear")
    return (0.3 * coarse + 0.1 * normal(seed + 50, 6, 3, 64, 64)).clamp(-1, 1)


def test_the_pyramid_and_its_distances_are_those_of_scipy_and_numpy():
    a, b = images(0), images(1)
    found = laplacian_swd(a, b, patches_per_image=10, num_directions=20, seed=5)
    assert list(found) == [64, 32, 16]
    expected = laplacian_swd_by_scipy(a.numpy(), b.numpy(), num_patches=10, num_directions=20, seed=5)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_lost_fine_level_shows_at_its_side_most():
    a = images(0)
    checkers = 0.2 * (torch.arange(64)[:, None] + torch.arange(64) & 1).double() - 0.1
    found = laplacian_swd(a, (a + checkers).clamp(-1, 1), num_directions=64)
    assert found[64] > 5 * found[32]
    assert found[64] > 5 * found[16]


def test_equal_sets_are_at_distance_zero_at_every_level():
    assert laplacian_swd(images(0), images(0), patches_per_image=4) == {64: 0, 32: 0, 16: 0}


def test_constant_images_give_numbers():
    flat = torch.zeros(2, 1, 16, 16)
    assert laplacian_swd(flat, flat + 0.5, patches_per_image=2) == {16: 0}


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 1, 24, 24), (2, 1, 32, 16), (3, 1, 16, 16)])
def test_images_without_such_a_pyramid_or_of_unequal_number_are_refused(shape):
    with pytest.raises(ValueError, match="sides that are a power of 2 of at least 16"):
        laplacian_swd(torch.zeros(2, *shape[1:]), torch.zeros(shape))
