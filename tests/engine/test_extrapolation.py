"""Rules that extrapolate take their gradient further on, and their step from where they were."""

import math

import pytest
import tiny
import torch
from tiny import Duel, dcgan, diary, differences, mlp_gan, seated
from torch import Tensor, nn

from equipoise.core.game import Game, Move
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan, Trainer

EXTRA = Optimizer(rule="extra-sgd", learning_rate=0.1)
EXTRA_ADAM = Optimizer(rule="extra-adam", learning_rate=1e-2, betas=(0.5, 0.9))


class Number(nn.Module):
    def __init__(self, value: float):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))


class Pull(Game):
    """x is pulled towards the data, y towards x; both at once, or `moves` times x alone."""

    def __init__(self, moves: int = 0):
        super().__init__()
        self.x, self.y, self.moves = Number(2.0), Number(-1.0), moves
        self.register_buffer("count", torch.zeros(()))

    @property
    def players(self):
        return {"x": [self.x], "y": [self.y]} if not self.moves else {"x": [self.x]}

    def step(self, data, now):
        target = next(data)  # [N]
        for _ in range(self.moves):
            yield Move("x", distance=0.5 * (self.x.value - target).square())
        if not self.moves:
            yield (
                Move("x", distance=0.5 * (self.x.value - target).square(), remember={"count": self.count + 1}),
                Move("y", distance=0.5 * (self.y.value - self.x.value).square()),
            )

    def sample(self, batch: Tensor):
        return {"x": self.x.value.expand(len(batch))}

    def judge(self, batch: Tensor):
        return batch


def numbers(position: int, size: int) -> Tensor:
    """The targets 0, 1, 2, …"""
    return torch.arange(position, position + size).float()


def pulled(x: Optimizer, y: Optimizer | None = None, *, moves: int = 0, steps: int = 1) -> Trainer:
    players = {"x": x} if y is None else {"x": x, "y": y}
    plan = Plan(steps=steps, batch=1, precision="fp32", ema_half_life=0, measure_every=1)
    return Trainer(Pull(moves), numbers, players=players, plan=plan, observers=[tiny.Diary()])


def test_the_step_goes_from_the_start_with_the_gradient_further_on():
    trainer = pulled(EXTRA, EXTRA)
    trainer.fit()
    # x' = 2 − 0.1·(2 − 0) = 1.8 and y' = −1 − 0.1·(−1 − 2) = −0.7; then, with the next target, 1:
    # x = 2 − 0.1·(1.8 − 1) = 1.92 and y = −1 − 0.1·(−0.7 − 1.8) = −0.75.
    assert trainer.game.x.value.item() == pytest.approx(1.92)
    assert trainer.game.y.value.item() == pytest.approx(-0.75)


def test_players_with_other_rules_wait_the_first_time():
    trainer = pulled(EXTRA, Optimizer(rule="sgd", learning_rate=0.1))
    trainer.fit()
    # y stays at −1 while x looks ahead to 1.8: y = −1 − 0.1·(−1 − 1.8) = −0.72.
    assert trainer.game.x.value.item() == pytest.approx(1.92)
    assert trainer.game.y.value.item() == pytest.approx(-0.72)
    assert trainer.seats["y"].settings.extrapolates is False


def test_extra_adam_is_algorithm_4():
    trainer = pulled(EXTRA_ADAM, Optimizer(rule="sgd", learning_rate=0.0), steps=2)
    trainer.fit()
    x, m, v, t = 2.0, 0.0, 0.0, 0

    def direction(gradient: float) -> float:
        nonlocal m, v, t
        t += 1
        m, v = 0.5 * m + 0.5 * gradient, 0.9 * v + 0.1 * gradient**2
        return m / (1 - 0.5**t) / (math.sqrt(v / (1 - 0.9**t)) + 1e-8)

    for target in (0, 2):  # each step draws two: the second is for the second time
        ahead = x - 0.01 * direction(x - target)
        x = x - 0.01 * direction(ahead - (target + 1))
    assert trainer.game.x.value.item() == pytest.approx(x, rel=1e-6)
    assert trainer.seats["x"].optimizer.state[trainer.game.x.value]["step"].item() == 4


def test_it_counts_as_one_step():
    trainer = pulled(EXTRA, EXTRA, steps=3)
    trainer.fit()
    assert trainer.clock.step == 3
    assert trainer.clock.examples == 6
    assert trainer.game.count.item() == 3
    assert diary(trainer).moves == [(step, player) for step in range(3) for player in "xy"]
    assert len(diary(trainer).records) == 3
    record = diary(trainer).records[0]
    assert record["loss/x/distance"].item() == pytest.approx(0.5 * 0.8**2)  # at x' = 1.8, of target 1
    assert record["update/x"].item() == pytest.approx(0.08 / 2)  # from the start, not from x'


def test_what_a_step_itself_does_to_weights_the_first_time_is_undone():
    seen = []

    class Bounded(Pull):
        def step(self, data, now):
            seen.append((self.x.value.item(), self.y.value.item()))
            yield from super().step(data, now)
            self.y.value.data.clamp_(-0.5, 0.5)

    players = {"x": EXTRA, "y": Optimizer(rule="sgd", learning_rate=0.1)}
    trainer = Trainer(Bounded(), numbers, players=players, plan=Plan(steps=1, batch=1, precision="fp32"))
    seen.clear()
    trainer.fit()
    assert seen == [(2.0, -1.0), (pytest.approx(1.8), -1.0)]
    assert trainer.game.y.value.item() == -0.5


def test_of_several_moves_only_the_first_one_looks_ahead():
    trainer = pulled(EXTRA, moves=2)
    trainer.fit()
    # First time, target 0: 2 → 1.8 → 1.62. Second time, target 1: 2 − 0.1·0.62 = 1.938, then 1.938 − 0.1·0.938.
    assert trainer.game.x.value.item() == pytest.approx(1.8442)


def test_buffers_move_once():
    """Batch statistics of the first time are thrown away."""
    plain, extra = seated(dcgan, tiny.images()), seated(dcgan, tiny.images(), player=EXTRA_ADAM)
    plain.fit(until=2)
    extra.fit(until=2)
    counts = {name: int(b) for name, b in plain.game.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts
    assert counts == {name: int(b) for name, b in extra.game.named_buffers() if name in counts}


def test_the_average_follows_the_point_that_was_reached():
    trainer = seated(mlp_gan, player=EXTRA_ADAM, ema_half_life=8, ema_ramp=0)
    before = {name: p.detach().clone() for name, p in trainer.game.G.named_parameters()}
    trainer.fit(until=1)  # eight examples are one half-life
    for name, p in trainer.game.G.named_parameters():
        torch.testing.assert_close(trainer.averaging.averages[f"G.{name}"], (before[name] + p.detach()) / 2)


def test_accumulated_micro_batches_equal_one_bigger_batch():
    whole, parts = seated(Duel, player=EXTRA, batch=8), seated(Duel, player=EXTRA, batch=8, accumulate=2)
    whole.fit()
    parts.fit()
    assert whole.clock.examples == parts.clock.examples == 160
    for a, b in zip(whole.game.state_dict().values(), parts.game.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_two_runs_are_identical_and_noise_is_fresh_the_second_time():
    first, second = seated(mlp_gan, player=EXTRA_ADAM), seated(mlp_gan, player=EXTRA_ADAM)
    noises = []
    first.game.G.register_forward_pre_hook(lambda module, inputs: noises.append(inputs[0].clone()))
    first.fit()
    second.fit()
    assert differences(first.snapshot(), second.snapshot()) == []
    assert len(noises) == 20
    assert not any(torch.equal(a, b) for i, a in enumerate(noises) for b in noises[:i])


# ---------------------------------------------------------------- what goes wrong leaves nobody away from home


@pytest.mark.parametrize("when", ["the first time", "the second time"])
@pytest.mark.parametrize("player", ["D", "G"])
def test_a_bad_value_leaves_the_bad_mover_where_the_step_began(when, player):
    calls = []

    class Sick(Duel):
        def step(self, data, now):
            x = next(data)
            calls.append(now.step)
            sick = now.step == 3 and calls.count(3) == {"the first time": 1, "the second time": 2}[when]
            bad = {player: math.nan if sick else 1.0}
            yield Move("D", adversarial=self.D(x) * bad.get("D", 1.0), remember={"level": self.level + 1})
            yield Move("G", adversarial=-self.D(self.G(x)) * bad.get("G", 1.0))

    trainer = seated(Sick, player=EXTRA, steps=8)
    calls.clear()
    trainer.fit(until=3)
    before = {name: tensor.clone() for name, tensor in trainer.game.state_dict().items()}
    trainer.fit(until=4)
    changed = {name for name, tensor in trainer.game.state_dict().items() if not torch.equal(tensor, before[name])}
    # As without extrapolation, a valid second move of D stays, where G's comes to nothing.
    assert changed == ({"D.weight", "D.bias"} if when == "the second time" and player == "G" else set())
    assert trainer.bad_in_a_row == 1
    assert all(not seat.home for seat in trainer.seats.values())
    assert all(p.grad is None for p in trainer.game.parameters())
    trainer.fit()
    assert trainer.bad_in_a_row == 0
    assert diary(trainer).kinds() == ["bad_step"]


def test_an_error_in_the_middle_leaves_everybody_where_the_step_began():
    calls = []

    class Fails(Duel):
        def step(self, data, now):
            x = next(data)
            yield Move("D", adversarial=self.D(x))
            calls.append(now.step)
            if calls.count(2) == 2:
                raise ZeroDivisionError
            yield Move("G", adversarial=-self.D(self.G(x)))

    trainer = seated(Fails, player=EXTRA, steps=8)
    calls.clear()
    trainer.fit(until=2)
    before = tiny.copied(trainer.snapshot())
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    moved = set(differences(before, trainer.snapshot()))
    assert moved <= {"game/D.weight", "game/D.bias", "examples"}  # D's second move was made; G is at home


def test_who_moves_the_first_time_only_goes_home():
    class Fickle(Pull):
        def step(self, data, now):
            target = next(data)
            yield Move("x", distance=0.5 * (self.x.value - target).square())
            if now.examples % 2:
                yield Move("y", distance=0.5 * (self.y.value - self.x.value).square())

    plan = Plan(steps=2, batch=1, precision="fp32", ema_half_life=0)
    trainer = Trainer(Fickle(), numbers, players=dict.fromkeys("xy", EXTRA), plan=plan)
    trainer.fit()
    assert trainer.game.y.value.item() == -1.0
    assert trainer.seats["y"].home == []
