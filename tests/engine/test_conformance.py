"""`check_game` passes good games and names the promise that a bad one breaks."""

import re

import pytest
import tiny
import torch
from tiny import Duel, conditional, dcgan, mlp_gan
from torch import nn

from equipoise import check_game
from equipoise.core.errors import RecipeError
from equipoise.core.game import Move
from equipoise.games.gan import GAN
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.objectives import hinge, wasserstein


def conditional_mlp() -> GAN:
    return GAN(
        MLPGenerator(2, (2,), width=8, num_classes=3),
        MLPCritic((2,), width=8, num_classes=3, conditioning="concatenation"),
        z_dim=2,
        num_classes=3,
        loss=hinge,
        critic_steps=2,
    )


@pytest.mark.parametrize(
    "game", [mlp_gan, Duel, lambda: mlp_gan(loss=wasserstein, clip=0.1, critic_steps=3)], ids=["gan", "duel", "clipped"]
)
def test_games_of_points_pass(game):
    check_game(game, tiny.points(), batch=4, steps=4)


@pytest.mark.parametrize("game", [dcgan, lambda: dcgan("spectral")], ids=["batch norm", "spectral norm"])
def test_games_of_images_pass(game):
    check_game(game, tiny.images(), batch=4, steps=4, sample_range=(-1, 1))


def test_conditional_games_pass():
    check_game(conditional_mlp, tiny.points(labels=True))
    check_game(conditional, tiny.images(labels=True), sample_range=(-1, 1))
    check_game(lambda: conditional("auxiliary", auxiliary=1.0), tiny.images(labels=True), steps=2)


def test_checking_leaves_global_randomness_alone():
    torch.manual_seed(5)
    expected = torch.randn(2)
    torch.manual_seed(5)
    check_game(Duel, tiny.points(), steps=2)
    assert torch.equal(torch.randn(2), expected)


# ---------------------------------------------------------------- broken games


class SharesWeights(Duel):
    """Both players own one layer."""

    @property
    def players(self):
        return {"D": [self.D, self.G], "G": [self.G]}


class WritesIntoTheOther(Duel):
    """The generator's weights shrink after the critic's move."""

    def step(self, data, now):
        x = next(data)
        yield Move("D", adversarial=self.D(x))
        self.G.weight.data.mul_(0.9)
        yield Move("G", adversarial=self.D(self.G(x)))


class WritesAtTheEnd(Duel):
    """The critic's weights shrink after the generator's move."""

    def step(self, data, now):
        x = next(data)
        yield Move("D", adversarial=self.D(x))
        yield Move("G", adversarial=self.D(self.G(x)))
        self.D.weight.data.mul_(0.9)


class Remembers(Duel):
    """State in a Python attribute, which no checkpoint holds."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def step(self, data, now):
        x = next(data)
        self.count += 1
        yield Move("D", adversarial=self.D(x) * self.count)
        yield Move("G", adversarial=self.D(self.G(x)))


class YieldsInsideWith(Duel):
    """A context leaks into the trainer."""

    def step(self, data, now):
        x = next(data)
        with torch.enable_grad():
            yield Move("D", adversarial=self.D(x))
        yield Move("G", adversarial=self.D(self.G(x)))


class ReadsAValue(Duel):
    """Waits for the device in every step."""

    def step(self, data, now):
        x = next(data)
        loss = self.D(x)
        self.last = loss.mean().item()
        yield Move("D", adversarial=loss)


class UpdatesItself(Duel):
    """Does the trainer's work."""

    def step(self, data, now):
        loss = self.D(next(data))
        loss.mean().backward()
        yield Move("D", adversarial=loss)


class Infinite(Duel):
    """Its loss is the logarithm of nothing."""

    def step(self, data, now):
        x = next(data)
        yield Move("D", adversarial=(self.D(x) * 0).log())


class Unfinished(Duel):
    """A player that learns nothing."""

    def step(self, data, now):
        x = next(data)
        yield Move("D", adversarial=self.G(x))


class Idle(Duel):
    """Nobody moves."""

    def step(self, data, now):
        yield from ()


class WatchesHalf(Duel):
    """Real without fake."""

    def step(self, data, now):
        real = self.D(next(data))
        yield Move("D", adversarial=real, watch={"real": real})


class JudgeCounts(Duel):
    """Asking changes the answer."""

    def judge(self, batch):
        self.level += 1
        return self.D(batch)[:, 0]


class JudgeGambles(Duel):
    """Asking draws randomness."""

    def judge(self, batch):
        return self.D(batch + torch.randn_like(batch))[:, 0]


class Loud(Duel):
    """Samples outside of the range."""

    def sample(self, batch):
        return {"fake": 10 + self.G(batch).abs()}


class Broken(Duel):
    """Samples that are not numbers."""

    def sample(self, batch):
        return {"fake": self.G(batch) / 0}


class Few(Duel):
    """One sample for a whole batch."""

    def sample(self, batch):
        return {"fake": self.G(batch)[:1]}


class Silent(Duel):
    """No samples at all."""

    def sample(self, batch):
        return {}


class Misspelt(Duel):
    """A weight for no term."""

    weights = {"D/adversrial": 2.0}


class Moody(Duel):
    """Micro-batches play different moves."""

    def step(self, data, now):
        x = next(data)
        yield Move("D", adversarial=self.D(x))
        if len(x) == 4 or x.sum() > 0:
            yield Move("G", adversarial=self.D(self.G(x)))


@pytest.mark.parametrize(
    ("game", "error", "message"),
    [
        (SharesWeights, AssertionError, "The move of G touches the parameters of ['D']"),
        (WritesIntoTheOther, AssertionError, "The step itself changes ['G.weight'] of G after the move of D"),
        (WritesAtTheEnd, AssertionError, "The step itself changes ['D.weight'] of D after the move of G"),
        (Remembers, AssertionError, "Resuming is not exact"),
        (YieldsInsideWith, AssertionError, "YieldsInsideWith.step: yields inside `with`"),
        (ReadsAValue, AssertionError, "ReadsAValue.step: calls .item()"),
        (UpdatesItself, AssertionError, "UpdatesItself.step: calls .backward()"),
        (Infinite, AssertionError, "The term D/adversarial is not finite"),
        (Unfinished, AssertionError, "The move of D gives its parameters no gradient"),
        (Idle, AssertionError, "makes no move"),
        (WatchesHalf, AssertionError, "watches 'real' but not 'fake'"),
        (JudgeCounts, AssertionError, "judge() changes the buffer level"),
        (JudgeGambles, AssertionError, "judge() draws random numbers"),
        (Loud, AssertionError, "outside of (-1, 1)"),
        (Broken, AssertionError, "sample() gives values of 'fake' that are not finite"),
        (Few, AssertionError, "sample() gives 1 of 'fake' for a batch of 4"),
        (Silent, AssertionError, "sample() returns no outputs"),
        (Misspelt, RecipeError, "Did you mean 'D/adversarial'?"),
        (Moody, AssertionError, "played different moves"),
    ],
)
def test_a_broken_game_is_told_what_it_breaks(game, error, message):
    sample_range = (-1, 1) if game is Loud else None
    with pytest.raises(error, match=re.escape(message)):
        check_game(game, tiny.points(), batch=4, steps=4, sample_range=sample_range)


def test_a_layer_that_draws_without_need_is_no_fault():
    class Dropping(Duel):
        """Dropout in the critic: random while training, silent while judging."""

        def __init__(self):
            super().__init__()
            self.D = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1))
            self.weights = {}

        def step(self, data, now):
            x = next(data)
            yield Move("D", adversarial=self.D(x))
            yield Move("G", adversarial=self.D(self.G(x)))

    check_game(Dropping, tiny.points(), batch=4, steps=4)
