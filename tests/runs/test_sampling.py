"""Sampling: a function of its arguments, truncation that holds, ways that are great circles."""

import math

import pytest
import torch
from torch import Tensor, nn

from equipoise.core.errors import RecipeError
from equipoise.games.gan import GAN
from equipoise.objectives import hinge
from equipoise.runs.sampling import interpolation, samples, truncated


class Echo(nn.Module):
    """A generator that shows its latents, and its labels behind them."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3, affine=False)
        self.calls: list[int] = []

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        assert not self.training
        self.calls.append(len(z))
        return z if labels is None else torch.cat([z, labels[:, None]], dim=1)


def plain() -> GAN:
    return GAN(Echo(), nn.Linear(3, 1), z_dim=3, loss=hinge)


def labelled() -> GAN:
    return GAN(Echo(), nn.Linear(3, 1), z_dim=3, num_classes=4, loss=hinge)


def test_samples_are_decided_by_the_seed_and_not_by_the_global_random_state():
    game = plain()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = samples(game, 5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(a, samples(plain(), 5, seed=3))
    assert not torch.equal(a, samples(plain(), 5, seed=4))


def test_many_samples_are_made_a_few_at_a_time_and_latents_are_standard_normal():
    game = plain()
    z = samples(game, 600, seed=0)
    assert game.G.calls == [256, 256, 88]  # pyright: ignore
    assert abs(z.mean().item()) < 0.1
    assert abs(z.std().item() - 1) < 0.05


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_game_comes_back(training: bool):
    game = plain().train(training)
    samples(game, 2, seed=0)
    assert game.training == training


def test_without_labels_every_class_is_made_in_turn_equally_often():
    assert samples(labelled(), 8, seed=0)[:, 3].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert samples(labelled(), 2, seed=0)[:, 3].tolist() == [0, 2]
    assert samples(labelled(), 3, seed=0, labels=torch.tensor([3, 1, 3]))[:, 3].tolist() == [3, 1, 3]


def test_labels_do_not_change_the_latents():
    assert torch.equal(samples(labelled(), 4, seed=5)[:, :3], samples(plain(), 4, seed=5))


@pytest.mark.parametrize("truncation", [0.3, 0.5, 0.9])
def test_truncation_redraws_only_what_is_too_far_out(truncation: float):
    z = torch.randn(200, 5)
    inside = truncated(z, truncation, seed=0)
    assert inside.abs().max() <= 2 * truncation
    kept = z.abs() <= 2 * truncation
    assert torch.equal(inside[kept], z[kept])
    assert torch.equal(inside, truncated(z, truncation, seed=0))
    assert len(inside[~kept].unique()) == int((~kept).sum())


def test_truncation_of_one_or_more_changes_nothing():
    z = torch.randn(20, 5) * 10
    assert torch.equal(truncated(z, 1.0, seed=0), z)
    assert torch.equal(truncated(z, 3.0, seed=0), z)


@pytest.mark.parametrize("truncation", [0.0, -1.0, math.nan])
def test_truncation_must_be_above_zero(truncation: float):
    with pytest.raises(RecipeError, match="expected a number above 0"):
        truncated(torch.randn(2, 2), truncation, seed=0)


def test_a_way_is_a_part_of_the_great_circle_through_its_two_ends():
    ways = interpolation(plain(), 3, 9, seed=1).view(3, 9, 3).double()
    for way in ways:
        unit = way / way.norm(dim=1, keepdim=True)
        angles = torch.acos((unit[:-1] * unit[1:]).sum(1).clamp(-1, 1))
        between = torch.acos((unit[0] * unit[-1]).sum())
        assert angles.sum().item() == pytest.approx(between.item(), abs=1e-3)  # no detour
        middle = (way[0] + way[-1]) / (2 * math.cos(between.item() / 2))
        torch.testing.assert_close(way[4], middle, atol=1e-4, rtol=1e-4)


def test_the_ends_of_a_way_are_its_latents_whatever_the_number_of_steps():
    short, long = interpolation(plain(), 2, 2, seed=1).view(2, 2, 3), interpolation(plain(), 2, 7, seed=1).view(2, 7, 3)
    torch.testing.assert_close(short[:, 0], long[:, 0])
    torch.testing.assert_close(short[:, -1], long[:, -1])


def test_a_way_stays_in_its_class():
    assert interpolation(labelled(), 2, 3, seed=0)[:, 3].tolist() == [0, 0, 0, 1, 1, 1]
    assert interpolation(labelled(), 2, 3, seed=0, labels=torch.tensor([3, 2]))[:, 3].tolist() == [3, 3, 3, 2, 2, 2]


def test_a_tiny_truncation_answers_at_once_and_a_mild_one_keeps_the_normal_shape():
    z = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    assert truncated(z, 1e-6, seed=0).abs().max() <= 2e-6
    mild = truncated(z, 0.5, seed=0)
    assert mild.abs().max() <= 1
    # The variance of a standard normal cut off at ±1: 1 - 2 φ(1) / (2 Φ(1) - 1).
    assert mild.var().item() == pytest.approx(1 - 2 * 0.24197 / 0.68269, rel=0.03)
