"""NDB against scipy's test and divergence, and on clusters whose shares are known."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency

from equipoise.metrics.bins import different_bins


def clusters(counts: list[int], seed: int = 0) -> torch.Tensor:
    """So many points near each corner of a simplex, far from each other."""
    corners = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    noise = torch.randn(len(corners), len(counts), generator=torch.Generator().manual_seed(seed))
    return 20 * torch.eye(len(counts))[corners] + 0.1 * noise


def test_known_clusters_give_the_known_test():
    real, fake = [100, 100, 100, 100], [100, 140, 60, 20]
    bins = different_bins(clusters(real), clusters(fake, 1), num_bins=4)
    assert (bins.real_shares * 400 == 100).all()
    by_share = np.argsort(bins.fake_shares.numpy())
    np.testing.assert_allclose(bins.fake_shares.numpy()[by_share], np.array([20, 60, 100, 140]) / 320)
    # Without Yates' correction the chi-squared statistic of the 2 × 2 table is z².
    statistics = [chi2_contingency([[100, 300], [k, 320 - k]], correction=False) for k in (20, 60, 100, 140)]
    np.testing.assert_allclose(bins.z.numpy()[by_share] ** 2, [s.statistic for s in statistics])
    assert np.sign(bins.z.numpy()[by_share]).tolist() == [-1, -1, 1, 1]
    assert bins.num_different == sum(s.pvalue < 0.05 for s in statistics) == 3
    assert bins.share_different == 0.75
    expected = jensenshannon(np.array(real) / 400, np.array(fake) / 320) ** 2
    assert bins.divergence == pytest.approx(expected)


def test_equal_distributions_differ_in_about_five_percent_of_the_bins():
    shares = []
    for seed in range(4):
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(4000, 3, generator=g)
        # Bins are made on the reals, which fit them a little better than new examples do.
        shares.append(different_bins(x[:2000], x[2000:], num_bins=50).share_different)
    assert 0.01 < np.mean(shares) < 0.15


def test_collapse_and_missing_modes_are_seen():
    real = clusters([50] * 8)
    same = different_bins(real, real, num_bins=8)
    assert (same.num_different, same.divergence) == (0, 0)
    half = different_bins(real, clusters([100] * 4 + [0] * 4), num_bins=8)
    assert half.num_different == 8
    one = different_bins(real, clusters([400] + [0] * 7), num_bins=8)
    assert one.divergence > half.divergence
    apart = different_bins(real, real + 1000, num_bins=8)
    assert apart.divergence <= np.log(2)


def test_it_is_seeded_and_leaves_the_global_random_states_alone():
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    np.random.seed(0)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    a, b = (different_bins(x, x + 0.2, num_bins=20, seed=2**40 + 1) for _ in range(2))
    assert torch.equal(a.z, b.z)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpys).all()


def test_bad_settings_are_refused():
    x = torch.randn(30, 2)
    with pytest.raises(ValueError, match="num_bins=100 was passed for 30 distinct reals, but 2 to 30"):
        different_bins(x, x)
    with pytest.raises(ValueError, match="for 1 distinct reals"):
        different_bins(x[:1].repeat(5, 1), x, num_bins=2)
    with pytest.raises(ValueError, match="level=5"):
        different_bins(x, x, num_bins=3, level=5)
    with pytest.raises(ValueError, match="real has 2 features and fake has 1"):
        different_bins(x, x[:, :1], num_bins=3)
