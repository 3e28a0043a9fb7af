"""Every few steps all players go back part of the way, together."""

import math

import pytest
import tiny
import torch
from tiny import Duel, copied, diary, differences, mlp_gan, seated

from equipoise.core.errors import CheckpointError
from equipoise.core.game import Move
from equipoise.engine.lookahead import Lookahead
from equipoise.engine.optimizers import Optimizer

RUN = Optimizer(rule="sgd", learning_rate=1.0)


class Runners(Duel):
    """The bias of D falls by 1 a step, those of G by 2; nothing else matters."""

    def __init__(self):
        super().__init__()
        for parameter in self.parameters():
            torch.nn.init.zeros_(parameter)
        self.D.weight.requires_grad_(False)
        self.G.weight.requires_grad_(False)

    def step(self, data, now):
        next(data)
        yield Move("D", height=self.D.bias.sum())
        yield Move("G", height=2 * self.G.bias.sum())


def test_after_every_k_steps_part_of_the_way_is_kept():
    trainer, heights = seated(Runners, player=RUN, lookahead=Lookahead(every=3, share=0.25), steps=7), []
    diary(trainer).after_step = lambda clock, record: heights.append(
        (trainer.game.D.bias.item(), trainer.game.G.bias[0].item())
    )
    trainer.fit()
    # −1, −2, and at −3 a quarter of the way: −0.75; again from there.
    d = [-1.0, -2.0, -0.75, -1.75, -2.75, -1.5, -2.5]
    assert heights == [(height, 2 * height) for height in d]
    assert trainer.slow.slow["D.bias"].item() == -1.5


def test_a_whole_share_is_no_lookahead():
    plain, whole = seated(mlp_gan), seated(mlp_gan, lookahead=Lookahead(every=2, share=1.0))
    plain.fit()
    whole.fit()
    for name, value in plain.game.state_dict().items():
        torch.testing.assert_close(whole.game.state_dict()[name], value, rtol=0, atol=1e-6)
    assert plain.slow is None
    assert "lookahead" not in plain.snapshot().tensors


def test_the_average_follows_the_weights_after_they_went_back():
    trainer = seated(mlp_gan, lookahead=Lookahead(every=5), ema_half_life=1e-3, ema_ramp=0)  # forgets all but the last
    trainer.fit(until=5)
    for name, average in trainer.averaging.averages.items():
        torch.testing.assert_close(average, trainer.game.get_parameter(name).detach())
        assert torch.equal(trainer.slow.slow[name], trainer.game.get_parameter(name))


def test_slow_weights_are_those_of_all_players_that_can_move():
    trainer = seated(Runners, player=RUN, lookahead=Lookahead())
    assert set(trainer.slow.slow) == {"D.bias", "G.bias"}


def test_a_bad_step_moves_nobody_back():
    class Sick(Runners):
        sick_at = -1

        def step(self, data, now):
            yield Move("D", height=self.D.bias.sum() * (math.nan if now.step == self.sick_at else 1.0))
            yield Move("G", height=2 * self.G.bias.sum())

    trainer = seated(Sick, player=RUN, lookahead=Lookahead(every=3), steps=6)
    trainer.game.sick_at = 2
    trainer.fit(until=2)
    before = copied(trainer.snapshot())
    trainer.fit(until=3)
    assert set(differences(before, trainer.snapshot())) == {"step", "bad_in_a_row"}


def test_a_checkpoint_with_lookahead_needs_a_plan_with_it_and_the_other_way_round(tmp_path):
    with_it = {"lookahead": Lookahead(every=2)}
    for name, first, second in (("with", with_it, {}), ("without", {}, with_it)):
        trainer = seated(mlp_gan, folder=tmp_path / name, **first)
        trainer.fit(until=1)
        with pytest.raises(CheckpointError, match="lookahead"):
            seated(mlp_gan, folder=tmp_path / name, **second).resume()


def test_slow_weights_of_other_players_are_refused():
    trainer = seated(mlp_gan, lookahead=Lookahead())
    snapshot = copied(trainer.snapshot())
    snapshot.tensors["lookahead"].popitem()
    with pytest.raises(CheckpointError, match="the slow weights differ in"):
        trainer.restore(snapshot)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every is 0: expected a whole number of steps of at least 1"),
        ({"share": 0.0}, r"share is 0\.0: expected a number above 0 and at most 1"),
        ({"share": 1.5}, r"share is 1\.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Lookahead(**settings)


def test_lookahead_goes_with_every_rule():
    for rule in ("adam", "optimistic-adam", "extra-adam"):
        player = Optimizer(rule=rule, learning_rate=1e-2)
        trainer = seated(mlp_gan, tiny.points(), player=player, lookahead=Lookahead(every=2))
        trainer.fit(until=4)
        assert torch.equal(trainer.slow.slow["D.layers.0.weight"], trainer.game.D.layers[0].weight), rule
