"""Every metric against an independent implementation, hand values, and the properties its paper promises."""

import numpy as np
import pytest
import scipy.linalg
import torch
from jaxtyping import TypeCheckError
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from equipoise.core.seeding import shuffled
from equipoise.metrics.distribution import (
    Moments,
    density_coverage,
    frechet_distance,
    frechet_distance_of_moments,
    kernel_distance,
    moments,
    precision_recall,
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, seed: int, num: int = 50) -> torch.Tensor:
    """Points that have exactly the given mean and unbiased covariance."""
    x = normal(seed, num, len(mean))
    white = torch.linalg.qr(x - x.mean(0)).Q * (num - 1) ** 0.5
    return white @ torch.linalg.cholesky(covariance).T + mean


class Flatten(nn.Module):
    """The feature network of the reference implementation: the features themselves, sent as images [N, D, 1, 1]."""

    num_features = 6

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


REAL = normal(0, 40, 6)
FAKE = normal(1, 30, 6) * 0.7 + 0.4


# Fréchet distance


def test_frechet_matches_scipys_matrix_square_root():
    real, fake = REAL.numpy(), (FAKE @ normal(2, 6, 6)).numpy()
    a, b = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    expected = np.sum((real.mean(0) - fake.mean(0)) ** 2) + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet_distance(torch.from_numpy(real), torch.from_numpy(fake)) == pytest.approx(expected, rel=1e-9)


def test_frechet_matches_torchmetrics():
    reference = FrechetInceptionDistance(feature=Flatten()).set_dtype(torch.float64)
    reference.update(REAL[:, :, None, None], real=True)
    reference.update(FAKE[:, :, None, None], real=False)
    assert frechet_distance(REAL, FAKE) == pytest.approx(reference.compute().item(), rel=1e-6)


def test_frechet_of_commuting_gaussians_is_the_closed_form():
    # For diagonal covariances: |μ₁ - μ₂|² + Σ (σ₁ - σ₂)² = 9 + 16 + (1 - 3)² + (2 - 5)².
    real = with_moments(torch.tensor([0.0, 0.0]).double(), torch.diag(torch.tensor([1.0, 4.0]).double()), 0)
    fake = with_moments(torch.tensor([3.0, 4.0]).double(), torch.diag(torch.tensor([9.0, 25.0]).double()), 1)
    assert frechet_distance(real, fake) == pytest.approx(38.0, rel=1e-12)


def test_frechet_of_general_gaussians_in_the_plane_is_the_closed_form():
    # In two dimensions Tr M^½ = sqrt(Tr M + 2 sqrt(det M)).
    a, b = torch.tensor([[2.0, 0.9], [0.9, 1.0]]).double(), torch.tensor([[1.0, -0.5], [-0.5, 3.0]]).double()
    product = a @ b
    root_trace = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = (a.trace() + b.trace() - 2 * root_trace).item()
    zero = torch.zeros(2).double()
    assert frechet_distance(with_moments(zero, a, 0), with_moments(zero, b, 1)) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance_of_moments(Moments(zero, a), Moments(zero, b)) == pytest.approx(expected, rel=1e-12)


def test_frechet_from_moments_equals_frechet_from_features():
    assert frechet_distance_of_moments(moments(REAL), moments(FAKE)) == pytest.approx(frechet_distance(REAL, FAKE))


def test_moments_match_numpy():
    mean, covariance = moments(REAL.float())
    assert mean.dtype == covariance.dtype == torch.float64
    np.testing.assert_allclose(covariance.numpy(), np.cov(REAL.float().double().numpy(), rowvar=False), rtol=1e-12)


@pytest.mark.parametrize("num", [2, 5, 100])
def test_frechet_of_a_set_with_itself_is_zero_also_with_singular_covariance(num: int):
    x = 1e3 * normal(0, num, 20)
    assert 0 <= frechet_distance(x, x.flip(0)) < 1e-9 * 1e6


def test_frechet_with_fewer_examples_than_features_is_exact():
    # Sets in orthogonal subspaces do not overlap: the traces of the covariances add up.
    real, fake = torch.zeros(4, 50).double(), torch.zeros(4, 50).double()
    real[:, :2], fake[:, 10:13] = normal(0, 4, 2), normal(1, 4, 3)
    real, fake = real - real.mean(0), fake - fake.mean(0)
    expected = moments(real).covariance.trace() + moments(fake).covariance.trace()
    assert frechet_distance(real, fake) == pytest.approx(expected.item(), rel=1e-12)


def test_frechet_of_equal_points_is_their_squared_distance():
    assert frechet_distance(torch.zeros(5, 3), torch.full((4, 3), 2.0)) == pytest.approx(12.0)


def test_frechet_does_not_depend_on_the_side_or_a_rotation():
    rotation = torch.linalg.qr(normal(3, 6, 6)).Q
    assert frechet_distance(FAKE, REAL) == pytest.approx(frechet_distance(REAL, FAKE), rel=1e-10)
    assert frechet_distance(REAL @ rotation, FAKE @ rotation) == pytest.approx(frechet_distance(REAL, FAKE), rel=1e-10)


# Kernel distance


def kernel_by_hand(x: np.ndarray, y: np.ndarray) -> float:
    xx, yy, xy = (polynomial_kernel(a, b, degree=3, coef0=1) for a, b in [(x, x), (y, y), (x, y)])
    m, n = len(x), len(y)
    pairs_x = sum(xx[i, j] for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    pairs_y = sum(yy[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return pairs_x + pairs_y - 2 * xy.mean()


def test_kernel_distance_matches_scikit_learns_kernel():
    x, y = REAL[:30], FAKE
    whole = kernel_distance(x, y, subset_size=30, num_subsets=1)
    assert whole.mean == pytest.approx(kernel_by_hand(x.numpy(), y.numpy()), rel=1e-10)
    assert whole.std == 0


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all")
def test_kernel_distance_matches_torchmetrics():
    reference = KernelInceptionDistance(feature=Flatten(), subsets=1, subset_size=30)
    reference.update(REAL[:30, :, None, None], real=True)
    reference.update(FAKE[:, :, None, None], real=False)
    expected, _ = reference.compute()
    whole = kernel_distance(REAL[:30], FAKE, subset_size=30, num_subsets=3)
    assert whole.mean == pytest.approx(expected.item(), rel=1e-5)


def test_kernel_distance_by_hand():
    # One feature: k(x, y) = (xy + 1)³. x = {0, 1}: 1; y = {2, 3}: 7³ = 343; mixed: (1 + 1 + 27 + 64) / 4 = 23.25.
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    assert kernel_distance(x, y, subset_size=2, num_subsets=1).mean == pytest.approx(1 + 343 - 46.5)


def test_kernel_distance_is_the_mean_and_spread_over_seeded_subsets():
    one = [
        kernel_by_hand(
            REAL[shuffled(40, 7, "kernel_distance/real", i)[:10]].numpy(),
            FAKE[shuffled(30, 7, "kernel_distance/fake", i)[:10]].numpy(),
        )
        for i in range(5)
    ]
    mean, std = kernel_distance(REAL, FAKE, subset_size=10, num_subsets=5, seed=7)
    assert (mean, std) == (pytest.approx(np.mean(one)), pytest.approx(np.std(one)))
    assert kernel_distance(REAL, FAKE, subset_size=10, num_subsets=5, seed=8).mean != mean


def test_kernel_distance_of_equal_distributions_is_zero_on_average():
    pairs = [(normal(i, 20, 4), normal(1000 + i, 20, 4)) for i in range(200)]
    distances = [kernel_distance(x, y, subset_size=20, num_subsets=1).mean for x, y in pairs]
    assert abs(np.mean(distances)) < 3 * np.std(distances) / 200**0.5
    assert min(distances) < 0


def test_kernel_distance_neither_uses_nor_changes_the_global_random_state():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = kernel_distance(REAL, FAKE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert kernel_distance(REAL, FAKE) == first


# Precision, recall, density, coverage


def neighbours_by_hand(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """Precision, recall, density and coverage, one pair of examples at a time."""

    def radius(points: np.ndarray, i: int) -> float:
        return sorted(np.linalg.norm(points[i] - points[j]) for j in range(len(points)) if j != i)[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    fake_radii = [radius(fake, j) for j in range(len(fake))]
    precise = recalled = pairs = covered = 0
    for y in fake:
        inside = [np.linalg.norm(x - y) <= r for x, r in zip(real, real_radii)]
        precise += any(inside)
        pairs += sum(inside)
    for x, r in zip(real, real_radii):
        recalled += any(np.linalg.norm(x - y) <= s for y, s in zip(fake, fake_radii))
        covered += any(np.linalg.norm(x - y) <= r for y in fake)
    return precise / len(fake), recalled / len(real), pairs / (k * len(fake)), covered / len(real)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_neighbour_metrics_match_loops_over_pairs(k: int, seed: int):
    real, fake = normal(seed, 33, 3), 0.8 * normal(seed + 10, 27, 3) + 0.5
    precision, recall, density, coverage = neighbours_by_hand(real.numpy(), fake.numpy(), k)
    assert precision_recall(real, fake, k=k) == pytest.approx((precision, recall))
    assert density_coverage(real, fake, k=k) == pytest.approx((density, coverage))
    assert 0 < recall < 1


def test_neighbour_metrics_match_scikit_learns_neighbours():
    real, fake = normal(0, 400, 8), normal(1, 300, 8) * 0.9 + 0.3
    k = 5
    of_real, of_fake = NearestNeighbors().fit(real.numpy()), NearestNeighbors().fit(fake.numpy())
    real_radii = of_real.kneighbors(real.numpy(), k + 1)[0][:, -1]
    fake_radii = of_fake.kneighbors(fake.numpy(), k + 1)[0][:, -1]
    distances, nearest = of_fake.kneighbors(real.numpy(), len(fake))  # [N, M]
    coverage = (distances[:, 0] <= real_radii).mean()
    density = (distances <= real_radii[:, None]).sum() / (k * len(fake))
    recall = (distances <= fake_radii[nearest]).any(1).mean()
    distances, nearest = of_real.kneighbors(fake.numpy(), len(real))  # [M, N]
    precision = (distances <= real_radii[nearest]).any(1).mean()
    assert density_coverage(real, fake, k=k) == pytest.approx((density, coverage))
    assert precision_recall(real, fake, k=k) == pytest.approx((precision, recall))


@pytest.mark.parametrize("chunk", [1, 7, 40, 10_000])
def test_the_chunk_size_changes_nothing(chunk: int):
    # Coarse values make many distances exactly equal, where rounding would show.
    real, fake = (REAL * 2).round(), (FAKE * 2).round()
    assert precision_recall(real, fake, chunk=chunk) == precision_recall(real, fake)
    assert density_coverage(real, fake, chunk=chunk) == density_coverage(real, fake)


def test_identical_sets_are_perfect_also_with_duplicates():
    for real in (REAL, REAL[:4].repeat(10, 1), 1e4 + REAL.float()):
        assert precision_recall(real, real.flip(0)) == (1.0, 1.0)
        assert density_coverage(real, real.flip(0)).coverage == 1.0


def test_sets_far_apart_share_nothing():
    assert precision_recall(REAL, REAL + 100) == (0.0, 0.0)
    assert density_coverage(REAL, REAL + 100) == (0.0, 0.0)


def test_density_of_equal_distributions_is_one_on_average():
    densities = [density_coverage(normal(i, 200, 4), normal(50 + i, 200, 4)).density for i in range(20)]
    assert np.mean(densities) == pytest.approx(1.0, abs=0.05)


def test_collapse_lowers_recall_and_coverage_but_not_precision():
    collapsed = REAL[:1].repeat(40, 1)
    assert precision_recall(REAL, collapsed) == (1.0, pytest.approx(1 / 40))
    assert density_coverage(REAL, collapsed).coverage < 0.3


def test_dropping_a_mode_costs_its_share_of_coverage():
    real = torch.cat([normal(0, 300, 2), normal(1, 100, 2) + 50])
    assert density_coverage(real, normal(2, 400, 2)).coverage == pytest.approx(0.75, abs=0.02)


def test_an_outlier_among_the_reals_raises_precision_but_hardly_density():
    real = torch.cat([normal(0, 100, 4), torch.full((1, 4), 50.0)])
    fake = normal(1, 100, 4) + 20
    assert precision_recall(real, fake).precision > 0.9
    assert density_coverage(real, fake).density < 0.25


# What is refused


@pytest.mark.parametrize("metric", [frechet_distance, kernel_distance, precision_recall, density_coverage])
def test_bad_features_are_refused_with_what_was_passed_and_expected(metric):
    # Where the annotations are checked while testing, that check speaks first.
    with pytest.raises((ValueError, TypeCheckError), match=r"\[40\] were passed, but \[N, D\] is|Actual value"):
        metric(REAL[:, 0], FAKE)
    with pytest.raises(ValueError, match=r"fake: features of shape \[1, 6\] were passed, but at least"):
        metric(REAL, FAKE[:1])
    with pytest.raises(ValueError, match="at least 1 feature"):
        metric(REAL[:, :0], FAKE[:, :0])
    with pytest.raises((ValueError, TypeCheckError), match=r"real has 6 features and fake has 5|Actual value"):
        metric(REAL, FAKE[:, :5])
    broken = FAKE.clone()
    broken[3, 2], broken[5] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="fake: 2 of 30 examples have features that are not finite"):
        metric(REAL, broken)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="subset_size=31 was passed, but 2 to 30 is expected"):
        kernel_distance(REAL, FAKE, subset_size=31)
    with pytest.raises(ValueError, match="num_subsets=0"):
        kernel_distance(REAL, FAKE, num_subsets=0)
    with pytest.raises(ValueError, match="k=0"):
        precision_recall(REAL, FAKE, k=0)
    with pytest.raises(ValueError, match="at least 31 examples"):
        density_coverage(REAL, FAKE, k=30)
    with pytest.raises(ValueError, match="at least 2 examples"):
        moments(REAL[:1])


def test_bad_moments_are_refused():
    good = moments(REAL)
    with pytest.raises(ValueError, match=r"fake: mean \[6\] and covariance \[5, 5\]"):
        frechet_distance_of_moments(good, Moments(good.mean, good.covariance[:5, :5]))
    with pytest.raises(ValueError, match="real has 6 features and fake has 5"):
        frechet_distance_of_moments(good, moments(FAKE[:, :5]))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance_of_moments(good, Moments(good.mean * torch.nan, good.covariance))


def test_gradients_are_not_kept():
    assert isinstance(frechet_distance(REAL.clone().requires_grad_(), FAKE), float)
    assert not moments(REAL.clone().requires_grad_()).covariance.requires_grad
