"""A value that is not finite is traced to the loss, the gradient and the layer that it came from."""

import pytest
import torch
from torch import nn

from equipoise.core.game import Move
from equipoise.engine.tracing import watching
from tests.engine.tiny import Duel, diary, seated


class Bursting(nn.Module):
    """Infinite behind large numbers."""

    def forward(self, x):
        return x / 0 if x.abs().max() > 100 else x


def test_the_first_layer_is_named():
    network = nn.Sequential(nn.Linear(2, 2), Bursting(), nn.Linear(2, 1))
    with watching(network) as found:
        network(torch.full((1, 2), 1e9))
    assert found[0] == "what comes out of 1 (Bursting)"
    with watching(network) as found:
        network(torch.full((1, 2), torch.nan))
    assert found[0] == "what goes into 0"
    with watching(network) as found:
        network(torch.zeros(1, 2))
    assert found == []


def test_a_refused_move_says_where_it_began_and_is_counted():
    class Bursts(Duel):
        def __init__(self):
            super().__init__()
            self.D = nn.Sequential(nn.Linear(2, 1), Bursting())

        def step(self, data, now):
            x = next(data)
            yield Move("D", adversarial=self.D(x * (1e6 if now.step == 1 else 1.0)).flatten())
            yield Move("G", adversarial=self.D(self.G(x)).flatten())

    trainer = seated(Bursts)
    trainer.advance()
    assert "refused/D" not in trainer.record
    before = {name: value.clone() for name, value in trainer.game.state_dict().items()}
    trainer.advance()
    [message] = [message for _, kind, message in diary(trainer).events if kind == "bad_step"]
    assert "the loss adversarial is not finite" in message
    assert "It first appeared in what comes out of D.1 (Bursting)." in message
    assert trainer.record["refused/D"] == 1.0
    assert all(torch.equal(before[name], value) for name, value in trainer.game.state_dict().items())


def test_shares_of_the_gradient_are_those_of_the_weighted_terms():
    class Two(Duel):
        weights = {"D/b": 3.0}

        def step(self, data, now):
            x = next(data)
            weight = self.D.weight
            yield Move("D", a=weight[0, 0] + 0 * x.sum(), b=weight[0, 1])
            yield Move("G", adversarial=self.D(self.G(x)))

    trainer = seated(Two)
    trainer.advance()
    assert float(trainer.record["share/D/a"]) == pytest.approx(1 / 4)
    assert float(trainer.record["share/D/b"]) == pytest.approx(3 / 4)
    assert "share/G/adversarial" not in trainer.record
    trainer.advance()
    assert "share/D/a" not in trainer.record
