"""A tuple of moves is made together: every gradient is taken before anybody is updated."""

import math

import pytest
import tiny
import torch
from tiny import PLAYER, Duel, diary, differences, seated

from equipoise import check_game
from equipoise.core.errors import RecipeError
from equipoise.core.game import Move
from equipoise.engine.optimizers import Optimizer

SGD = Optimizer(rule="sgd", learning_rate=0.1)


class Together(Duel):
    """Both players of the duel at once, on one graph."""

    weights = {"D/slope": 0.5, "G/size": 2.0}

    def step(self, data, now):
        x = next(data)  # [N, 2]
        fake = self.G(x.flip(1))
        real_logits, fake_logits = self.D(x), self.D(fake)
        yield (
            Move(
                "D",
                adversarial=fake_logits - real_logits,
                slope=self.D.weight.square().sum(),
                remember={"level": real_logits.mean()},
                watch={"real": real_logits, "fake": fake_logits},
            ),
            Move("G", adversarial=-fake_logits, size=self.G.weight.square().sum(), watch={"size": fake.norm(dim=1)}),
        )


def values(trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.game.named_parameters()}


def test_every_gradient_is_taken_before_anybody_moves():
    trainer = seated(Together, player=SGD)
    game, x, before = trainer.game, tiny.points()(0, 4), values(trainer)
    # With linear players and the mean ⟨·⟩: D's weight w, G's A and b, x̃ = flipped x.
    w, a, b = before["D.weight"], before["G.weight"], before["G.bias"]
    mean, flipped = x.mean(0), x.flip(1).mean(0)
    trainer.fit(until=1)
    torch.testing.assert_close(game.D.weight, w - 0.1 * (a @ flipped + b - mean + 0.5 * 2 * w))
    torch.testing.assert_close(game.G.weight, a - 0.1 * (-torch.outer(w[0], flipped) + 2 * 2 * a))
    torch.testing.assert_close(game.G.bias, b + 0.1 * w[0])
    torch.testing.assert_close(game.level, (x @ w[0]).mean() + before["D.bias"][0])


def test_observers_see_all_gradients_before_the_first_update():
    trainer, seen = seated(Together), []
    before = values(trainer)

    def look(clock, player, parameters):
        moved = {name[0] for name, p in trainer.game.named_parameters() if not torch.equal(p, before[name])}
        waiting = {name[0] for name, p in trainer.game.named_parameters() if p.grad is not None}
        seen.append((player, moved, waiting))

    diary(trainer).before_update = look
    trainer.fit(until=1)
    assert seen == [("D", set(), {"D", "G"}), ("G", {"D"}, {"G"})]
    assert all(p.grad is None for p in trainer.game.parameters())
    record = diary(trainer).records[0]
    assert {key for key in record if key.startswith(("loss/", "gradient/", "watch/", "update/"))} == {
        *("loss/D/adversarial", "loss/D/slope", "loss/G/adversarial", "loss/G/size"),
        *("gradient/D", "gradient/G", "update/D", "update/G", "watch/real", "watch/fake", "watch/size"),
    }


def test_a_tuple_of_one_move_is_that_move():
    class Alone(Duel):
        def step(self, data, now):
            for move in super().step(data, now):
                yield (move,)

    plain, alone = seated(Duel), seated(Alone)
    plain.fit()
    alone.fit()
    assert differences(plain.snapshot(), alone.snapshot()) == []


@pytest.mark.parametrize("num", [2, 4])
def test_accumulated_micro_batches_equal_one_bigger_batch(num):
    whole, parts = seated(Together, player=SGD, batch=8), seated(Together, player=SGD, batch=8, accumulate=num)
    whole.fit()
    parts.fit()
    for a, b in zip(whole.game.state_dict().values(), parts.game.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert whole.game.level != 0


def test_where_one_of_the_moves_is_bad_none_is_made():
    class Sick(Together):
        sick_at = -1

        def step(self, data, now):
            for d, g in super().step(data, now):
                sick = math.nan if now.step == self.sick_at else 1.0
                yield d, Move("G", adversarial=g.terms["adversarial"] * sick, size=g.terms["size"])

    trainer = seated(Sick, player=PLAYER, steps=4)
    trainer.game.sick_at = 2
    trainer.fit(until=2)
    before = tiny.copied(trainer.snapshot())
    trainer.fit(until=3)
    assert set(differences(before, trainer.snapshot())) == {"step", "examples", "bad_in_a_row"}
    assert [message for _, kind, message in diary(trainer).events if kind == "bad_step"] == [
        "Step 2, move of G: the loss adversarial is not finite. The move was not applied."
    ]
    assert all(p.grad is None for p in trainer.game.parameters())
    trainer.fit(until=4)
    assert trainer.bad_in_a_row == 0


def test_two_moves_of_one_player_at_once_are_refused():
    class Twice(Duel):
        def step(self, data, now):
            x = next(data)
            yield Move("D", adversarial=self.D(x)), Move("D", slope=self.D.weight.square().sum())

    with pytest.raises(RecipeError, match="A tuple of moves of D, D: expected one move a player"):
        seated(Twice)


def test_the_rehearsal_reads_the_terms_of_all_moves():
    class Misspelt(Together):
        weights = {"G/sice": 1.0}

    class Stranger(Duel):
        def step(self, data, now):
            x = next(data)
            yield Move("D", adversarial=self.D(x)), Move("GG", adversarial=self.D(self.G(x)))

    with pytest.raises(RecipeError, match="Did you mean 'G/size'"):
        seated(Misspelt)
    with pytest.raises(RecipeError, match="A move of 'GG', who is not a player"):
        seated(Stranger)


def test_micro_batches_that_move_together_and_apart_are_refused():
    class Moody(Together):
        def step(self, data, now):
            x = next(data)
            moves = Move("D", adversarial=self.D(x)), Move("G", adversarial=self.D(self.G(x)))
            yield moves if x.sum() > 0 else moves[:1]

    Moody.weights = {}
    trainer = seated(Moody, batch=8, accumulate=8)
    with pytest.raises(AssertionError, match="played different moves"):
        trainer.fit()


def test_simultaneous_games_pass_the_suite_and_players_who_share_weights_do_not():
    class Shares(Together):
        @property
        def players(self):
            return {"D": [self.D, self.G], "G": [self.G]}

    check_game(Together, tiny.points(), batch=4, steps=4)
    with pytest.raises(AssertionError, match=r"The move of D touches the parameters of \['G'\]"):
        check_game(Shares, tiny.points(), batch=4, steps=4)
