"""Each measure is what its formula says, and is free of scale."""

import pytest
import torch

from equipoise.monitor import measures
from equipoise.monitor.spaces import RandomNetwork, pixels, space_of


def cloud(num: int = 200, *, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    return scale * torch.randn(num, 3, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_share_above_counts_ties_half():
    assert measures.share_above(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])).item() == 3 / 4
    assert measures.share_above(torch.ones(5), torch.ones(4)).item() == 0.5
    assert measures.share_above(torch.ones(5), torch.zeros(4)).item() == 1


def test_pair_distance_is_the_mean_over_different_pairs():
    x = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 2, 3
    assert measures.pair_distance(x).item() == pytest.approx(2)
    assert measures.median_nearest(x).item() == pytest.approx(1)


def test_the_energy_distance_is_zero_for_equals_and_grows_with_the_distance():
    x = torch.tensor([[0.0], [2.0]])
    y = torch.tensor([[10.0], [12.0]])
    # 2·E|x - y| = 20, E|x - x'| = E|y - y'| = 2
    assert measures.energy_distance(x, y).item() == pytest.approx((20 - 2 - 2) / 2)
    assert abs(measures.energy_distance(cloud(), cloud(seed=1)).item()) < 0.02
    assert measures.energy_distance(cloud(shift=2), cloud(seed=1)).item() > 0.5


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_measures_are_free_of_scale(factor):
    fake, real, other = cloud(shift=0.3), cloud(seed=1), cloud(seed=2)
    for measure in (measures.diversity, measures.nearest_ratio, measures.energy_distance, measures.coverage):
        assert measure(factor * fake, factor * real).item() == pytest.approx(measure(fake, real).item(), rel=1e-3)
    moved = measures.movement(factor * fake, factor * other, factor * real)
    assert moved.item() == pytest.approx(measures.movement(fake, other, real).item(), rel=1e-3)


def test_repetitions_lower_the_nearest_ratio_and_collapse_lowers_the_diversity():
    real = cloud()
    few = cloud(4, seed=3).repeat(50, 1)
    assert measures.nearest_ratio(few, real).item() < 0.05
    assert measures.diversity(few, real).item() > 0.4
    assert measures.diversity(torch.zeros(200, 3), real).item() == 0
    assert measures.coverage(few, real).item() < 0.3 < 0.9 < measures.coverage(cloud(seed=5), real).item()


def test_copies_are_nearer_to_what_was_trained_on():
    train, held_out = cloud(), cloud(seed=1)
    assert measures.nearer_to_train(train + 1e-3, train, held_out).item() > 0.98
    assert measures.nearer_to_train(cloud(seed=2), train, held_out).item() == pytest.approx(0.5, abs=0.1)


def test_swinging_back_turns_by_minus_one():
    a, b = cloud(), cloud(seed=1)
    assert measures.turning(a, b, a).item() == pytest.approx(-1)
    assert measures.turning(a + 2, a + 1, a).item() == pytest.approx(1)


def test_a_checkerboard_has_all_its_energy_there_and_a_flat_slope_none():
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    slope = torch.arange(8.0)[:, None] / 4 + torch.arange(8.0) / 4
    assert measures.checkerboard(board[None, None]).item() == pytest.approx(63 / 64)
    assert measures.checkerboard(slope[None, None]).item() == pytest.approx(0)
    assert measures.saturation(torch.tensor([[[[1.0, -1.0], [0.0, 0.5]]]])).item() == 0.5


def test_examples_of_one_class_are_compared_with_each_other():
    x = torch.tensor([[0.0], [1.0], [10.0], [13.0], [50.0]])
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert measures.within_classes(x, labels).item() == pytest.approx((1 + 1 + 3 + 3) / 4)
    assert measures.within_classes(x, torch.arange(5)).isnan()


def test_spaces_are_rows_and_the_same_for_the_same_seed():
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    assert pixels(images).shape == (4, 3 * 16 * 16)
    assert pixels(images[:, :, :8, :8]).shape == (4, 3 * 8 * 8)
    net = space_of("random", (3, 32, 32))
    assert net(images).shape == (4, 128)
    assert torch.equal(net(images), RandomNetwork(3)(images))
    assert space_of("random", (2,)) is pixels


def test_units_that_answer_the_same_to_every_latent_are_counted():
    from torch import nn

    from equipoise.monitor.probes import Scene, liveness, watching_units

    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 8))
    with watching_units(network) as still:
        network(torch.randn(16, 2))
    assert liveness(Scene(still=tuple(still)))["constant_units"].item() == 0
    nn.init.constant_(network[0].bias, -100.0)  # every ReLU is dead, so the last layer is constant
    with watching_units(network) as still:
        network(torch.randn(16, 2))
    assert [share.item() for share in still] == [0, 1]
    assert liveness(Scene()) == {}
    convolution = nn.Conv2d(1, 2, 3)
    with watching_units(convolution) as still:
        convolution(torch.rand(1, 1, 8, 8).expand(4, 1, 8, 8))  # differs from place to place, not from latent to latent
    assert still[0].item() == 1
