"""Planted copies are found at their share; new examples, blur and collapse are not called copies."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, mannwhitneyu, norm
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from equipoise.metrics.memorisation import (
    authenticity,
    data_copying,
    flag_copies,
    mann_whitney_z,
    memorisation,
    nearer_to_train,
    worst_pairs,
)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def three_sets(seed: int, num: int = 2000, dim: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fakes, training and held-out examples of the same distribution: a perfect generator."""
    fake, train, held_out = normal(seed, 3, num, dim)
    return fake, train, held_out


# Flags


@pytest.mark.parametrize("seed", range(3))
def test_five_percent_of_planted_copies_are_flagged_as_five_percent(seed):
    fake, train, held_out = three_sets(seed)
    assert flag_copies(fake, train, held_out).share <= 0.003
    fake[:100] = train[300:400]
    exact = flag_copies(fake, train, held_out)
    assert exact.flagged[:100].all()
    assert 0.05 <= exact.share <= 0.053
    assert exact.probability < 1e-20
    fake[:100] += 0.05 * normal(seed + 10, 100, 16)
    assert 0.04 <= flag_copies(fake, train, held_out).share <= 0.06


def test_blur_is_not_flagged_though_it_is_nearer_to_all():
    fake, train, held_out = three_sets(0)
    assert flag_copies(0.5 * fake, train, held_out).share <= 0.003
    assert data_copying(0.5 * fake, train, held_out).z < -5


def test_the_threshold_is_that_of_the_held_out_examples():
    # Ratios of held-out examples to the training examples 0 and 10: 1/9, 2/8, 3/7 and 4/6.
    train = torch.tensor([[0.0], [10.0]])
    held_out = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    fake = torch.tensor([[0.9], [1.1], [2.5], [9.5]])
    first = flag_copies(fake, train, held_out, allowed=0)
    assert first.ratios.tolist() == pytest.approx([0.9 / 9.1, 1.1 / 8.9, 2.5 / 7.5, 0.5 / 9.5])
    assert first.threshold == pytest.approx(1 / 9)
    assert first.flagged.tolist() == [True, False, False, True]
    assert first.expected_share == 1 / 5
    second = flag_copies(fake, train, held_out, allowed=0.5)
    assert second.threshold == pytest.approx(3 / 7)
    assert second.flagged.tolist() == [True, True, True, True]
    assert second.expected_share == 3 / 5


def test_the_expected_share_is_met_and_the_probability_is_one_on_average():
    # Over many draws of all three sets: fakes and held-out examples are alike.
    shares, probabilities = [], []
    for seed in range(300):
        fake, train, held_out = three_sets(seed, 60, 2)
        flags = flag_copies(fake, train, held_out, allowed=0.05)
        assert flags.expected_share == 4 / 61
        shares.append(flags.share)
        probabilities.append(flags.probability)
    assert np.mean(shares) == pytest.approx(4 / 61, rel=0.1)
    # A probability of at most p has at most the probability p.
    for p in (0.05, 0.3):
        assert binomtest(int((np.array(probabilities) <= p).sum()), 300, p, alternative="greater").pvalue > 0.01


def test_equal_training_examples_do_not_hide_their_copies():
    fake, train, held_out = three_sets(0, 500, 8)
    train[100:200] = train[:100]
    fake[:50] = train[:50]
    assert flag_copies(fake, train, held_out).flagged[:50].all()


def test_mirrored_copies_are_found_where_mirrors_are_searched():
    images = normal(0, 3, 300, 1, 4, 6)
    fake, train, held_out = images
    fake[:15] = train[:15].flip(-1)
    assert flag_copies(fake, train, held_out).share < 0.02
    found = flag_copies(fake, train, held_out, mirrored=train.flip(-1))
    assert found.flagged[:15].all()
    assert found.share < 0.06
    pairs = worst_pairs(fake, train, mirrored=train.flip(-1), num_pairs=15)
    assert sorted((pair.fake, pair.train, pair.ratio) for pair in pairs) == [(i, i, 0.0) for i in range(15)]
    # A symmetric training example and its mirror are one example.
    train[7] = train[7] + train[7].flip(-1)
    fake[7] = train[7]
    assert flag_copies(fake, train, held_out, mirrored=train.flip(-1)).flagged[7]


# The others, by hand and by other implementations


def authenticity_by_hand(fake: np.ndarray, train: np.ndarray) -> float:
    count = 0
    for s in fake:
        to_train = [np.linalg.norm(s - x) for x in train]
        i = int(np.argmin(to_train))
        to_others = [np.linalg.norm(train[i] - x) for j, x in enumerate(train) if j != i]
        count += to_train[i] > min(to_others)
    return count / len(fake)


@pytest.mark.parametrize("seed", range(3))
def test_authenticity_is_its_definition(seed):
    fake, train = normal(seed, 70, 4), normal(seed + 10, 50, 4)
    fake[:10] = train[:10]
    assert authenticity(fake, train) == pytest.approx(authenticity_by_hand(fake.numpy(), train.numpy()))


def test_authenticity_of_copies_is_zero_and_of_outliers_one():
    train = normal(0, 50, 4)
    assert authenticity(train[:10], train) == 0
    assert authenticity(train + 100, train) == 1


@pytest.mark.parametrize(("dim", "share"), [(2, 0.36), (8, 0.57), (128, 0.86)])
def test_perfect_fakes_have_an_authenticity_that_depends_on_the_dimension(dim, share):
    fake, train, held_out = three_sets(0, 1500, dim)
    assert authenticity(fake, train) == pytest.approx(share, abs=0.05)
    assert authenticity(held_out, train) == pytest.approx(share, abs=0.05)
    assert authenticity(0.5 * fake, train) < authenticity(fake, train) + 0.05


def test_nearer_to_train_by_hand_and_by_planting():
    fake, train, held_out = three_sets(0, 400, 8)
    a = [min(np.linalg.norm(f - x) for x in train.numpy()) for f in fake[:60].numpy()]
    b = [min(np.linalg.norm(f - x) for x in held_out.numpy()) for f in fake[:60].numpy()]
    assert nearer_to_train(fake[:60], train, held_out) == pytest.approx(np.mean(np.array(a) < np.array(b)))
    assert nearer_to_train(fake, train, held_out) == pytest.approx(0.5, abs=0.1)
    assert nearer_to_train(train, train, held_out) == 1
    assert nearer_to_train(fake, train, train) == 0.5


def test_nearer_to_train_compares_sets_of_equal_size():
    # A training set of eight times the size would be nearer to nearly all.
    fake, train, held_out = normal(0, 300, 4), normal(1, 800, 4), normal(2, 100, 4)
    assert nearer_to_train(fake, train, held_out) == pytest.approx(0.5, abs=0.12)
    assert nearer_to_train(fake, train, held_out, seed=1) != nearer_to_train(fake, train, held_out)


@pytest.mark.parametrize("rounded", [False, True])
def test_mann_whitney_is_scipys(rounded):
    a, b = normal(0, 40), normal(1, 30) + 0.4
    if rounded:
        a, b = a.round(), b.round()
    reference = mannwhitneyu(a.numpy(), b.numpy(), method="asymptotic", use_continuity=False, alternative="less")
    assert mann_whitney_z(a, b) == pytest.approx(norm.ppf(reference.pvalue), rel=1e-9)
    assert mann_whitney_z(torch.ones(5), torch.ones(4)) == 0


def test_data_copying_is_the_weighted_mean_of_scipys_tests_in_the_cells_of_scikit_learn():
    fake, train, held_out = three_sets(5, 400, 3)
    fake[:150] = train[:150] + 0.01 * fake[:150]
    found = data_copying(fake, train, held_out, num_cells=5, seed=3)
    means = KMeans(5, n_init="auto", random_state=3).fit(train.numpy())
    cells = [means.predict(x.numpy()) for x in (fake, train, held_out)]
    total, weight = 0.0, 0.0
    for number, cell in enumerate(found.cells):
        f, t, h = (x.numpy()[c == number] for x, c in zip((fake, train, held_out), cells))
        distances = [np.sqrt(((x[:, None] - t[None]) ** 2).sum(2)).min(1) for x in (f, h)]
        u = mannwhitneyu(*distances).statistic
        z = (u - len(f) * len(h) / 2) / np.sqrt(len(f) * len(h) * (len(f) + len(h) + 1) / 12)
        assert (cell.share, cell.num_fake) == (len(h) / 400, len(f))
        assert cell.z == pytest.approx(z, rel=1e-6)
        total, weight = total + len(h) / 400 * z, weight + len(h) / 400
    assert found.z == pytest.approx(total / weight)
    assert found.z < -2


def test_data_copying_is_negative_for_copies_positive_for_misses_and_small_in_health():
    fake, train, held_out = three_sets(0, 800, 6)
    assert abs(data_copying(fake, train, held_out).z) < 3
    assert data_copying(train + 0.1 * fake, train, held_out).z < -5
    assert data_copying(fake * 2, train, held_out).z > 5


def test_cells_without_enough_fakes_do_not_count():
    train, held_out = normal(0, 200, 2), normal(1, 200, 2)
    train[:100] += 50
    held_out[:100] += 50
    found = data_copying(normal(2, 100, 2), train, held_out, num_cells=2)
    empty, full = sorted(found.cells, key=lambda cell: cell.num_fake)
    assert (empty.z, empty.num_fake, full.num_fake) == (None, 0, 100)
    assert found.z == full.z


# All together


def test_the_verdict_on_real_digits():
    digits = torch.from_numpy(load_digits().images).double()[:, None] / 8 - 1
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    train, held_out, fake = digits[order[:700]], digits[order[700:1200]], digits[order[1200:1700]]
    healthy = memorisation(fake, train, held_out)
    assert healthy.verdict == "no copies found"
    assert 0.4 < healthy.nearer_to_train < 0.65
    assert abs(healthy.data_copying) < 3
    copied = torch.cat([fake[:475], (train[:25] + 0.05 * normal(0, 25, 1, 8, 8)).clamp(-1, 1)])
    found = memorisation(copied, train, held_out)
    assert found.verdict == "copies"
    assert found.flagged_share == pytest.approx(0.05, abs=0.01)
    assert {pair.fake for pair in found.pairs} <= set(range(475, 500))
    assert all(pair.train == pair.fake - 475 for pair in found.pairs)
    assert "of 500 fakes are flagged as copies, where 0.20% would be by chance." in found.reason
    assert json.loads(json.dumps(found.to_json()))["pairs"][0]["ratio"] == found.pairs[0].ratio


def test_without_held_out_examples_nothing_is_claimed():
    fake, train, _ = three_sets(0, 100, 4)
    found = memorisation(train, train, None)
    assert found.verdict == "unknown"
    assert found.flagged_share is found.expected_share is found.data_copying is found.nearer_to_train is None
    assert found.authenticity == 0
    assert found.pairs[0].ratio == 0
    assert memorisation(fake, train, None).reason == "There are no held-out examples to tell what is near."


def test_held_out_examples_that_were_trained_on_are_named():
    fake, train, held_out = three_sets(0, 300, 4)
    held_out[:30] = train[:30]
    found = memorisation(fake, train, held_out)
    assert found.verdict == "unknown"
    assert "remove duplicates before the data is split" in found.reason


def test_too_few_examples_are_not_enough_for_a_verdict():
    fake, train, held_out = three_sets(0, 300, 4)
    found = memorisation(fake[:5], train, held_out[:4])
    assert found.verdict == "unknown"
    assert found.reason == "5 fakes and 4 held-out examples are too few to tell."
    assert found.data_copying is None


def test_a_collapsed_generator_that_copies_nothing_is_not_accused():
    fake, train, held_out = three_sets(0, 300, 8)
    assert memorisation(fake[:1].repeat(300, 1), train, held_out).verdict == "no copies found"


def test_bad_sets_are_refused():
    fake, train, held_out = three_sets(0, 30, 4)
    broken = held_out.clone()
    broken[3] = torch.nan
    with pytest.raises(ValueError, match="held_out: 1 of 30 examples have features that are not finite"):
        memorisation(fake, train, broken)
    with pytest.raises(ValueError, match="fake has 4 features and train has 3"):
        worst_pairs(fake, train[:, :3])
    with pytest.raises(ValueError, match="train: 1 example was passed, but at least 2"):
        authenticity(fake, train[:1])
    with pytest.raises(ValueError, match="train: all examples are equal"):
        flag_copies(fake, train[:1].repeat(5, 1), held_out)
    with pytest.raises(ValueError, match="mirrored: 29 examples of 4 numbers were passed for 30"):
        flag_copies(fake, train, held_out, mirrored=train[1:])
    with pytest.raises(ValueError, match="allowed=1"):
        flag_copies(fake, train, held_out, allowed=1)
    with pytest.raises(ValueError, match="None of 1 cells holds 20 of 10 fakes"):
        data_copying(fake[:10], train, held_out)
    with pytest.raises(ValueError, match="num_cells=31 was passed for 30 distinct training examples"):
        data_copying(fake, train, held_out, num_cells=31)
    with pytest.raises(ValueError, match=r"fake: features of shape \[0, 4\]"):
        nearer_to_train(fake[:0], train, held_out)
