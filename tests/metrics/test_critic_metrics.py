"""AUC against scikit-learn; the duality gap of games whose equilibrium is known; nothing given is touched."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from equipoise.core.game import Verdict
from equipoise.metrics.critic import Search, auc, duality_gap
from equipoise.objectives import minimax, wasserstein


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# AUC


@pytest.mark.parametrize("decimals", [None, 0])
def test_auc_is_scikit_learns_also_with_ties(decimals):
    train, held_out = normal(0, 70) + 0.5, normal(1, 50)
    if decimals is not None:
        train, held_out = train.round(decimals=decimals), held_out.round(decimals=decimals)
    labels = np.repeat([1, 0], [70, 50])
    expected = roc_auc_score(labels, torch.cat([train, held_out]).numpy())
    assert auc(train, held_out) == pytest.approx(expected, rel=1e-12)
    assert auc(held_out, train) == pytest.approx(1 - expected, rel=1e-12)


def test_auc_is_one_when_training_examples_are_known_by_heart():
    assert auc(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])) == 1
    assert auc(torch.ones(3), torch.ones(7)) == 0.5


def test_auc_refuses_what_is_no_list_of_numbers():
    with pytest.raises(ValueError, match="held_out_logits: 1 of 2 values are not finite"):
        auc(torch.ones(2), torch.tensor([0.0, torch.nan]))
    with pytest.raises(ValueError, match=r"train_logits: values of shape \[2, 1\] were passed, but \[N\]"):
        auc(torch.ones(2, 1), torch.ones(2))
    with pytest.raises(ValueError, match=r"shape \[0\]"):
        auc(torch.ones(0), torch.ones(2))


# Duality gap


class Table(nn.Module):
    """A critic of one-hot examples that has a free logit for each: it can be optimal."""

    def __init__(self, num: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num))

    def forward(self, x: Tensor) -> Verdict:
        return Verdict(x @ self.logits)


class Passing(nn.Module):
    """A generator that gives its latents back, times a number that it may learn."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        return z * self.scale


def one_hot(counts: list[int]) -> Tensor:
    return torch.eye(len(counts)).repeat_interleave(torch.tensor(counts), 0)


@pytest.mark.parametrize("fakes", [[4, 4, 8], [12, 2, 2], [8, 4, 4]])
def test_against_a_blind_critic_the_gap_is_twice_the_jensen_shannon_divergence(fakes):
    # A critic that says 0 gives every generator -log 4; the best critic reaches 2 JSD - log 4 (Goodfellow et al. 2014).
    batch = [(one_hot([8, 4, 4]), one_hot(fakes))]
    found = duality_gap(
        Passing(), Table(3), loss=minimax, searching=batch, judging=batch, search=Search(learning_rate=0.05)
    )
    divergence = jensenshannon(np.array([8, 4, 4]) / 16, np.array(fakes) / 16) ** 2
    assert found.gap == pytest.approx(2 * divergence, abs=2e-4)
    assert found.worst_critic == pytest.approx(2 * divergence - math.log(4), abs=2e-4)
    assert found.worst_generator == pytest.approx(-math.log(4), abs=1e-6)
    assert found.value == pytest.approx(-math.log(4), abs=1e-6)


class Bounded(nn.Module):
    """tanh of a parameter, times the input: a generator or a critic of bounded strength."""

    def __init__(self, start: float):
        super().__init__()
        self.parameter = nn.Parameter(torch.tensor(start))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten() * self.parameter.tanh()


@pytest.mark.parametrize(("generator", "critic"), [(0.3, 0.2), (-0.4, 0.5), (1.0, -0.7)])
def test_of_a_bilinear_game_both_opponents_are_known(generator, critic):
    # Reals are 0.5, fakes t = tanh g, the critic answers s x with s = tanh c, M = s (0.5 - t): the best critic has
    # s = ±1 and wins |0.5 - t|; the best generator has t = ±1 and leaves s / 2 - |s|.
    t, s = math.tanh(generator), math.tanh(critic)
    batch = [(torch.full((8, 1), 0.5), torch.ones(8, 1))]
    found = duality_gap(
        Bounded(generator),
        Bounded(critic),
        loss=wasserstein,
        searching=batch,
        judging=batch,
        search=Search(learning_rate=0.1),
    )
    assert found.value == pytest.approx(s * (0.5 - t), abs=1e-6)
    assert found.worst_critic == pytest.approx(abs(0.5 - t), abs=1e-3)
    assert found.worst_generator == pytest.approx(s / 2 - abs(s), abs=1e-3)
    assert found.gap == pytest.approx(abs(0.5 - t) - s / 2 + abs(s), abs=2e-3)


def test_in_equilibrium_the_gap_is_zero():
    batch = [(torch.full((8, 1), 0.5), torch.ones(8, 1))]
    found = duality_gap(Bounded(math.atanh(0.5)), Bounded(0.0), loss=wasserstein, searching=batch, judging=batch)
    assert found.gap == pytest.approx(0, abs=1e-6)


def test_a_longer_search_finds_a_larger_gap():
    batch = [(one_hot([8, 4, 4]), one_hot([2, 2, 12]))]
    gaps = [
        duality_gap(
            Passing(),
            Table(3),
            loss=minimax,
            searching=batch,
            judging=batch,
            search=Search(num_steps=steps, learning_rate=0.01),
        ).gap
        for steps in (1, 30, 200)
    ]
    assert 0 < gaps[0] < gaps[1] < gaps[2]


def test_the_gap_is_judged_on_other_batches_than_it_is_sought_on():
    searching, judging = [(one_hot([8, 8]), one_hot([14, 2]))], [(one_hot([8, 8]), one_hot([2, 14]))]
    found = duality_gap(
        Passing(), Table(2), loss=minimax, searching=searching, judging=judging, search=Search(learning_rate=0.05)
    )
    assert found.gap < 0


def networks() -> tuple[nn.Module, nn.Module]:
    """With all that is easily changed by using it: batch statistics, dropout, spectral normalisation, frozen parts."""
    g = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    d = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(2, 8)),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(8, 1),
        nn.Flatten(0),
    )
    d[3].bias.requires_grad_(False)
    return g, d.eval()


def test_networks_and_random_states_are_left_as_they_were():
    g, d = networks()
    g.train()
    g(normal(0, 4, 3)).sum().backward()
    before = [{name: x.clone() for name, x in net.state_dict().items()} for net in (g, d)]
    gradients = [p.grad.clone() for p in g.parameters()]
    state = torch.get_rng_state()
    batches = [(normal(i, 16, 2), normal(100 + i, 16, 3)) for i in range(3)]
    with torch.no_grad():
        first = duality_gap(g, d, loss=minimax, searching=batches[:2], judging=batches[2:], search=Search(num_steps=5))
    assert torch.equal(torch.get_rng_state(), state)
    for net, values in zip((g, d), before):
        assert all(torch.equal(x, values[name]) for name, x in net.state_dict().items())
    assert all(torch.equal(p.grad, old) for p, old in zip(g.parameters(), gradients))
    assert all(p.grad is None for p in d.parameters())
    assert [p.requires_grad for p in d.parameters()].count(False) == 1
    assert (g.training, d.training) == (True, False)
    torch.manual_seed(77)
    assert first == duality_gap(
        g, d, loss=minimax, searching=batches[:2], judging=batches[2:], search=Search(num_steps=5)
    )


def test_networks_that_are_frozen_are_searched_all_the_same():
    batch = [(torch.full((8, 1), 0.5), torch.ones(8, 1))]
    gaps = [
        duality_gap(
            Bounded(0.3).requires_grad_(trainable),
            Bounded(0.2).requires_grad_(trainable),
            loss=wasserstein,
            searching=batch,
            judging=batch,
            search=Search(num_steps=10),
        )
        for trainable in (True, False)
    ]
    assert gaps[0] == gaps[1]
    assert gaps[0].worst_generator < gaps[0].value < gaps[0].worst_critic


def test_the_seed_of_the_search_decides_the_dropout():
    g, d = networks()
    d.train()
    batches = [(normal(0, 16, 2), normal(1, 16, 3))]
    gaps = {
        duality_gap(g, d, loss=minimax, searching=batches, judging=batches, search=Search(num_steps=2, seed=seed)).gap
        for seed in (0, 0, 1)
    }
    assert len(gaps) == 2


def test_bad_batches_and_searches_are_refused():
    g, d = networks()
    good = [(normal(0, 4, 2), normal(1, 4, 3))]
    with pytest.raises(ValueError, match=r"judging: batches of \(reals, latents\) with sizes \[\(4, 3\)\]"):
        duality_gap(g, d, loss=minimax, searching=good, judging=[(good[0][0], good[0][1][:3])])
    with pytest.raises(ValueError, match=r"searching: batches of \(reals, latents\) with sizes \[\]"):
        duality_gap(g, d, loss=minimax, searching=[], judging=good)
    with pytest.raises(ValueError, match="num_steps=0"):
        duality_gap(g, d, loss=minimax, searching=good, judging=good, search=Search(num_steps=0))
