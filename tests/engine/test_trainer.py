"""The trainer plays moves: only the mover moves, weights count once, precision and schedules are where they belong."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import tiny
import torch
from tiny import Duel, dcgan, diary, differences, mlp_gan, seated
from torch import Tensor, nn

from equipoise.core.errors import RecipeError
from equipoise.core.game import Game, Move
from equipoise.core.schedule import Lazy, Schedule
from equipoise.engine import precision as formats
from equipoise.engine import trainer as engine
from equipoise.engine.averaging import Averaging
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.precision import choose_precision
from equipoise.engine.trainer import Plan
from equipoise.objectives import non_saturating, relativistic_pairing

SGD = Optimizer(rule="sgd", learning_rate=0.1)


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(module: nn.Module, before: Mapping[str, Tensor]) -> set[str]:
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


# ---------------------------------------------------------------- moves


@pytest.mark.parametrize("loss", [non_saturating, relativistic_pairing], ids=["non-saturating", "relativistic"])
def test_a_move_touches_only_its_player(loss):
    trainer = seated(lambda: dcgan(loss=loss), tiny.images())
    game, before, seen = trainer.game, values(trainer.game), []

    def look(clock, player, parameters):
        assert all(p.grad is not None for p in parameters.values())
        others = [p for name, p in game.named_parameters() if name not in parameters]
        assert all(p.grad is None for p in others)
        seen.append((player, {name[0] for name in moved(game, before)}))

    diary(trainer).before_update = look
    trainer.fit(until=1)
    assert seen == [("D", set()), ("G", {"D"})]
    assert {name[0] for name in moved(game, before)} == {"D", "G"}
    assert all(p.grad is None for p in game.parameters())


def test_every_critic_step_draws_fresh_data_and_moves_the_critic():
    trainer = seated(lambda: mlp_gan(critic_steps=3))
    trainer.fit(until=2)
    assert diary(trainer).moves == [(step, player) for step in (0, 1) for player in "DDDG"]
    assert trainer.clock.examples == 2 * 3 * 4


def test_clipped_weights_stay_in_their_bounds_and_rehearsing_clips_nothing():
    plain, clipped = seated(mlp_gan), seated(lambda: mlp_gan(clip=0.01))
    assert differences(plain.snapshot(), clipped.snapshot()) == []
    clipped.fit(until=1)
    assert max(p.abs().max().item() for p in clipped.game.D.parameters()) <= 0.01


@pytest.mark.parametrize("wish", ["fp32", "bf16"])
def test_preparing_to_train_changes_nothing_of_the_game(wish):
    torch.manual_seed(0)
    game = dcgan("spectral", clip=0.01)
    before, randomness = copy.deepcopy(game.state_dict()), torch.get_rng_state()
    trainer = engine.Trainer(game, tiny.images(), players={}, plan=Plan(steps=9, batch=4, precision=wish))
    choose_precision(trainer.play_for_nothing, repeats=1)
    assert all(torch.equal(value, before[name]) for name, value in game.state_dict().items())
    assert torch.equal(randomness, torch.get_rng_state())
    assert trainer.clock.examples == trainer.clock.step == 0
    assert trainer.precision == wish
    assert all(p.grad is None for p in game.parameters())


@pytest.mark.parametrize("num", [2, 4])
def test_accumulated_micro_batches_equal_one_bigger_batch(num):
    whole = seated(Duel, player=SGD, batch=8)
    parts = seated(Duel, player=SGD, batch=8, accumulate=num)
    whole.fit()
    parts.fit()
    assert whole.clock.examples == parts.clock.examples == 80
    for a, b in zip(whole.game.state_dict().values(), parts.game.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert whole.game.level != 0


def test_what_a_move_remembers_is_averaged_over_micro_batches_and_written_once():
    class Counting(Duel):
        def __init__(self):
            super().__init__()
            self.seen = []

        def step(self, data, now):
            x = next(data)
            before = self.level.clone()
            yield Move("D", adversarial=self.D(x), remember={"level": self.level + x.mean()})
            self.seen.append((before, x.mean(), self.level.clone()))
            yield Move("G", adversarial=self.D(self.G(x)))

    trainer = seated(Counting, batch=8, accumulate=4)
    trainer.game.seen.clear()
    trainer.fit(until=1)
    before, means, after = (torch.stack(column) for column in zip(*trainer.game.seen))
    assert len(means) == 4
    assert before.abs().max() == 0
    torch.testing.assert_close(after, means.mean().expand(4))
    assert torch.equal(trainer.game.level, after[0])


def test_micro_batches_that_play_different_moves_are_refused():
    class Moody(Duel):
        def step(self, data, now):
            x = next(data)
            if x.sum() > 0:
                yield Move("D", adversarial=self.D(x))
            yield Move("G", adversarial=self.D(self.G(x)))

    trainer = seated(Moody, batch=8, accumulate=8)
    with pytest.raises(AssertionError, match="played different moves"):
        trainer.fit()


# ---------------------------------------------------------------- terms and weights


def with_weights(weights: Mapping[str, Any]) -> Callable[[], Game]:
    def build() -> Game:
        game = Duel()
        game.weights = weights
        return game

    return build


@pytest.mark.parametrize("name", ["D/slop", "D/slopes", "d/slope"])
def test_a_weight_without_a_term_is_refused_with_the_nearest_name(name):
    with pytest.raises(RecipeError, match=f"The weight '{name}' matches no term of the game. Did you mean 'D/slope'"):
        seated(with_weights({name: 1.0}))


def test_a_move_of_a_stranger_is_refused_with_the_nearest_name():
    class Stranger(Duel):
        def step(self, data, now):
            yield Move("GG", adversarial=self.D(next(data)))

    with pytest.raises(RecipeError, match=r"A move of 'GG', who is not a player\. Did you mean 'G'\?"):
        seated(Stranger)


def test_settings_of_a_stranger_are_refused_with_the_nearest_name():
    message = r"Settings for the player 'DD', whom the game does not have\. Did you mean 'D'"
    with pytest.raises(RecipeError, match=message):
        engine.Trainer(Duel(), tiny.points(), players={"DD": SGD}, plan=Plan(batch=4))


def test_a_term_without_gradient_is_refused_by_name():
    class Flat(Duel):
        def step(self, data, now):
            yield Move("D", adversarial=self.D(next(data)), level=self.level)

    with pytest.raises(RecipeError, match="The term D/level depends on no parameter"):
        seated(Flat)


def test_a_player_without_parameters_is_refused():
    class Frozen(Duel):
        def __init__(self):
            super().__init__()
            self.G.requires_grad_(False)

        def step(self, data, now):
            yield Move("D", adversarial=self.D(next(data)))

    with pytest.raises(RecipeError, match="The player 'G' has no parameter that can move"):
        seated(Frozen)


def test_frozen_parameters_do_not_move():
    def build() -> Game:
        game = Duel()
        game.D.bias.requires_grad_(False)
        return game

    trainer = seated(build, player=SGD)
    before = values(trainer.game)
    trainer.fit(until=2)
    assert moved(trainer.game, before) == {"D.weight", "G.weight", "G.bias"}
    assert "D.bias" not in trainer.seats["D"].parameters


def gradient_of(weights: Mapping[str, Any], *, step: int) -> Tensor:
    """The gradient of D's weight at a step of ten."""
    trainer, found = seated(with_weights(weights), player=Optimizer(rule="sgd", learning_rate=0.0)), []

    def look(clock, player, parameters):
        if player == "D" and clock.step == step:
            found.append(parameters["D.weight"].grad.clone())

    diary(trainer).before_update = look
    trainer.fit()
    return found[0]


def test_a_weight_multiplies_its_term_once_and_follows_its_schedule():
    without, half = gradient_of({"D/slope": 0.0}, step=5), gradient_of({"D/slope": 0.5}, step=5)
    slope = 2 * (half - without)
    assert slope.abs().sum() > 0
    scheduled = gradient_of({"D/slope": Schedule(start=0.0, end=6.0)}, step=5)
    torch.testing.assert_close(scheduled, without + 3.0 * slope)


def test_a_lazy_term_is_computed_only_when_due_and_counts_for_all_the_steps_between():
    computed = []

    class Sometimes(Duel):
        weights = {"D/slope": Lazy(0.5, 4)}

        def step(self, data, now):
            x = next(data)
            terms = {"slope": self.D.weight.square().sum()} if now.due("D/slope") else {}
            computed.extend([now.step] * len(terms))
            yield Move("D", adversarial=self.D(x), **terms)
            yield Move("G", adversarial=self.D(self.G(x)))

    trainer, gradients = seated(Sometimes, player=Optimizer(rule="sgd", learning_rate=0.0)), []

    def look(clock, player, parameters):
        if player == "D":
            gradients.append(parameters["D.weight"].grad.clone())

    diary(trainer).before_update = look
    assert computed == [0, 5, 9]  # the rehearsal computes every term
    computed.clear()
    trainer.fit()
    assert computed == [0, 4, 8]
    weight, x = trainer.game.D.weight, tiny.points()(0, 4)
    torch.testing.assert_close(gradients[0], x.mean(0, keepdim=True) + 4 * 0.5 * 2 * weight)
    torch.testing.assert_close(gradients[1], tiny.points()(4, 4).mean(0, keepdim=True))
    assert ["loss/D/slope" in record for record in diary(trainer).records[:5]] == [True, False, False, False, True]


# ---------------------------------------------------------------- updates


def test_a_schedule_sets_the_learning_rate_before_every_update():
    player = Optimizer(rule="sgd", learning_rate=Schedule(start=1.0, end=0.0))
    trainer, rates = seated(Duel, player=player), []
    optimizer = trainer.seats["D"].optimizer
    step = optimizer.step
    optimizer.step = lambda: (rates.append(optimizer.param_groups[0]["lr"]), step())
    trainer.fit()
    assert rates == pytest.approx([1 - k / 10 for k in range(10)])
    assert [r["learning_rate/D"] for r in diary(trainer).records] == pytest.approx(rates)


def test_players_have_their_own_rates():
    trainer = engine.Trainer(
        Duel(), tiny.points(), players={"G": Optimizer(rule="sgd", learning_rate=0.0)}, plan=Plan(steps=2, batch=4)
    )
    before = values(trainer.game)
    trainer.fit()
    assert {name[0] for name in moved(trainer.game, before)} == {"D"}


def test_clip_norm_bounds_the_whole_gradient_and_the_record_keeps_its_size():
    free = seated(Duel, player=SGD)
    clipped = seated(Duel, player=Optimizer(rule="sgd", learning_rate=0.1, clip_norm=0.01))
    before = values(clipped.game.D)
    free.fit(until=1)
    clipped.fit(until=1)
    moves = [(p.detach() - before[name]) / -0.1 for name, p in clipped.game.D.named_parameters()]
    assert engine.total_norm(moves).item() == pytest.approx(0.01, rel=1e-3)
    size = diary(free).records[0]["gradient/D"]
    assert size > 0.01
    assert torch.equal(diary(clipped).records[0]["gradient/D"], size)


def test_the_relative_size_of_updates_is_measured_now_and_then():
    trainer = seated(Duel, player=SGD, measure_every=4)
    before = values(trainer.game.D)
    trainer.fit()
    assert ["update/D" in record for record in diary(trainer).records] == [k % 4 == 0 for k in range(10)]
    norm = math.sqrt(sum(v.square().sum().item() for v in before.values()))
    record = diary(trainer).records[0]
    assert record["update/D"].item() == pytest.approx(0.1 * record["gradient/D"].item() / norm, rel=1e-3)


# ---------------------------------------------------------------- averaging


def test_averages_follow_the_closed_form_with_ramp():
    trainer = seated(mlp_gan, ema_half_life=60, ema_ramp=1.0, steps=25)
    expected = {name: p.double() for name, p in values(trainer.game.G).items()}

    def average(clock, record):
        half_life = min(60, clock.examples * 1.0)
        keep = 0.5 ** (4 / half_life)
        for name, p in trainer.game.G.named_parameters():
            expected[name] = keep * expected[name] + (1 - keep) * p.detach().double()

    diary(trainer).after_step = average
    trainer.fit()
    for name, value in expected.items():
        torch.testing.assert_close(trainer.averaging.averages[f"G.{name}"].double(), value, rtol=1e-5, atol=1e-6)
    assert all(name.startswith("G.") for name in trainer.averaging.averages)


def test_half_of_the_weights_of_a_half_life_ago_is_left():
    net = nn.Module()
    net.G = nn.Linear(1, 1)
    averaging = Averaging(net, ["G"], half_life=100, ramp=0)
    start = averaging.averages["G.weight"].clone()
    with torch.no_grad():
        net.G.weight.zero_()
    for step in range(1, 11):
        averaging.update(num_examples=10 * step, batch=10)
    torch.testing.assert_close(averaging.averages["G.weight"], start / 2)


def test_applied_averages_leave_the_networks_as_they_were():
    trainer = seated(dcgan, tiny.images())
    trainer.fit(until=3)
    before = values(trainer.game)
    with trainer.averaging.applied():
        assert moved(trainer.game, before)
        for name, average in trainer.averaging.averages.items():
            assert torch.equal(trainer.game.state_dict()[name], average)
    assert moved(trainer.game, before) == set()
    with pytest.raises(ZeroDivisionError), trainer.averaging.applied():
        raise ZeroDivisionError
    assert moved(trainer.game, before) == set()


def test_no_half_life_is_no_averaging():
    trainer = seated(mlp_gan, ema_half_life=0)
    trainer.fit(until=2)
    assert trainer.averaging.averages == {}


# ---------------------------------------------------------------- one forward pass for two moves


def spied(trainer: engine.Trainer) -> list[tuple[int, bool, Tensor]]:
    """What each forward pass of the generator gives, with the step and whether it can be learned from."""
    passes: list[tuple[int, bool, Tensor]] = []
    clock = trainer.clock
    trainer.game.G.register_forward_hook(lambda m, i, x: passes.append((clock.step, x.requires_grad, x.detach())))
    return passes


@pytest.mark.parametrize("critic_steps", [1, 2])
def test_reuse_runs_the_generator_once_for_both_moves(critic_steps):
    trainer = seated(lambda: dcgan(critic_steps=critic_steps), tiny.images())
    passes, seen = spied(trainer), []
    trainer.game.D.register_forward_hook(lambda m, i, v: seen.append(i[0].detach().clone()))
    trainer.fit(until=1)
    assert [learns for _, learns, _ in passes] == [False] * (critic_steps - 1) + [True]
    assert torch.equal(seen[-1], passes[-1][2])


@pytest.mark.parametrize("plan", [{"reuse": False}, {"accumulate": 2}])
def test_without_reuse_the_generator_learns_from_new_latents(plan):
    trainer = seated(dcgan, tiny.images(), **plan)
    passes = spied(trainer)
    trainer.fit(until=1)
    num = plan.get("accumulate", 1)
    assert [learns for _, learns, _ in passes] == [False] * num + [True] * num
    fakes = [x for _, _, x in passes]
    assert not any(torch.equal(a, b) for i, a in enumerate(fakes) for b in fakes[:i])


def test_the_generator_learns_through_its_reused_pass():
    trainer = seated(lambda: mlp_gan(loss=relativistic_pairing), player=SGD)
    before = values(trainer.game)
    trainer.fit(until=1)
    assert moved(trainer.game, before) >= {name for name in before if name.startswith("G.")}


# ---------------------------------------------------------------- precision


def test_the_cast_of_a_weight_is_never_older_than_its_update():
    class Twice(Duel):
        """The critic moves twice; its logits on one fixed batch are written down before each move."""

        def __init__(self):
            super().__init__()
            self.logits = []

        def step(self, data, now):
            x = torch.ones(4, 2)
            for _ in range(3):
                real = self.D(x)
                self.logits.append((real.detach(), self.D.weight.detach().clone(), self.D.bias.detach().clone()))
                yield Move("D", adversarial=real)

    trainer = seated(Twice, player=Optimizer(rule="sgd", learning_rate=0.5), precision="bf16")
    trainer.game.logits.clear()
    trainer.fit(until=2)
    assert len(trainer.game.logits) == 6
    for logits, weight, bias in trainer.game.logits:
        assert logits.dtype == torch.bfloat16
        expected = torch.nn.functional.linear(torch.ones(4, 2).bfloat16(), weight.bfloat16(), bias.bfloat16())
        torch.testing.assert_close(logits, expected)
    assert len({logits[0].item() for logits, _, _ in trainer.game.logits}) == 6


def test_under_bfloat16_networks_compute_in_bfloat16_and_penalties_in_float32():
    trainer = seated(dcgan, tiny.images(), precision="bf16")
    formats_of_critic = []
    trainer.game.D.downs[0].register_forward_hook(lambda m, i, h: formats_of_critic.append((i[0].dtype, h.dtype)))
    trainer.fit(until=1)  # real, fake, penalty; then fake for the generator
    half, full = (torch.float32, torch.bfloat16), (torch.float32, torch.float32)
    assert formats_of_critic == [half, half, full, half]
    assert all(p.dtype == torch.float32 for p in trainer.game.parameters())
    assert all(value.dtype == torch.float32 for value in trainer.averaging.averages.values())
    record = diary(trainer).records[0]
    assert record["loss/D/r1"].dtype == record["loss/D/adversarial"].dtype == torch.float32


def test_under_float32_nothing_is_cast():
    trainer = seated(dcgan, tiny.images())
    seen = []
    trainer.game.D.downs[0].register_forward_hook(lambda m, i, h: seen.append(h.dtype))
    trainer.fit(until=1)
    assert set(seen) == {torch.float32}


def seconds(monkeypatch, **speeds: float) -> Callable[[str], None]:
    """A play that takes the given seconds of an injected clock in each format."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def play(precision: str) -> None:
        clock[0] += speeds[precision]

    return play


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen"),
    [(1.0, 0.5, "bf16"), (1.0, 0.85, "bf16"), (1.0, 0.95, "fp32"), (1.0, 1.0, "fp32"), (1, 3, "fp32")],
)
def test_bfloat16_is_chosen_only_where_it_is_clearly_faster(fp32, bf16, chosen, monkeypatch):
    assert choose_precision(seconds(monkeypatch, fp32=fp32, bf16=bf16)) == chosen


def test_the_first_turn_is_a_warm_up_and_one_slow_turn_decides_nothing(monkeypatch):
    clock, turns = [0.0], {"fp32": 0, "bf16": 0}
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def play(precision):
        turns[precision] += 1
        slow = 100.0 if turns[precision] in (1, 3) and precision == "bf16" else 0.0
        clock[0] += slow + {"fp32": 1.0, "bf16": 0.5}[precision]

    assert choose_precision(play, repeats=3) == "bf16"
    assert turns == {"fp32": 4, "bf16": 4}


def test_auto_measures_where_bfloat16_is_native_and_is_float32_elsewhere(monkeypatch):
    measured = []
    monkeypatch.setattr(engine, "choose_precision", lambda play: (play("bf16"), measured.append(1), "bf16")[2])
    monkeypatch.setattr(engine, "has_native_bf16", lambda device: False)
    assert seated(mlp_gan, precision="auto").precision == "fp32"
    assert measured == []
    monkeypatch.setattr(engine, "has_native_bf16", lambda device: True)
    assert seated(mlp_gan, precision="auto").precision == "bf16"
    assert measured == [1]
    assert seated(mlp_gan, precision="fp32").precision == "fp32"
    assert measured == [1]


def test_native_bfloat16_is_asked_of_the_device(monkeypatch):
    assert formats.has_native_bf16(torch.device("meta")) is False
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert formats.has_native_bf16(torch.device("cpu")) is False


# ---------------------------------------------------------------- the plan


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "steps is 0: expected a whole number of at least 1"),
        ({"batch": 0}, "batch is 0: expected a whole number of at least 1"),
        ({"batch": Schedule(start=64, end=0)}, "batch is 0: expected a whole number of at least 1"),
        ({"patience": 0}, "patience is 0"),
        ({"rollbacks": -1}, "rollbacks is -1: expected a number of at least 0"),
        ({"batch": 10, "accumulate": 4}, "cannot be split into 4 equal micro-batches"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        Plan(**setting)


def test_a_scheduled_batch_is_the_nearest_multiple_of_its_micro_batches():
    plan = Plan(batch=Schedule(start=4, end=24), accumulate=4)
    # 4 + 20p: 4, 6 is half-way, 9, 10.8, 24.
    assert [plan.batch_at(p) for p in (0.0, 0.1, 0.25, 0.34, 1.0)] == [4, 8, 8, 12, 24]
    assert Plan(batch=Schedule(start=8, end=8, warmup=0.5)).batch_at(0.0) == 1
    assert Plan(batch=Schedule(start=8, end=8, warmup=0.5), accumulate=2).batch_at(0.0) == 2
    assert [Plan(batch=7).batch_at(p) for p in (0.0, 1.0)] == [7, 7]


@pytest.mark.parametrize("num", [1, 2])
def test_a_growing_batch_draws_every_example_once_and_in_order(num):
    drawn = []

    def data(position: int, size: int) -> Tensor:
        drawn.append((position, size))
        return tiny.points()(position, size)

    trainer = seated(Duel, data, batch=Schedule(start=2, end=12), accumulate=num)
    assert {size for _, size in drawn} == {2 // num, 7 if num == 1 else 4, 11 if num == 1 else 6}  # rehearsed
    drawn.clear()
    trainer.fit()
    # 2 + step, in halves rounded up to even numbers where there are two micro-batches.
    sizes = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11] if num == 1 else [2, 4, 4, 6, 6, 8, 8, 10, 10, 12]
    assert [size for _, size in drawn] == [size // num for size in sizes for _ in range(num)]
    assert [position for position, _ in drawn] == [sum(size for _, size in drawn[:k]) for k in range(len(drawn))]
    assert trainer.clock.examples == sum(sizes)


def test_averages_count_the_examples_of_a_growing_batch():
    trainer = seated(mlp_gan, batch=Schedule(start=2, end=22), ema_half_life=12, ema_ramp=0)
    before = {name: value.clone() for name, value in trainer.averaging.averages.items()}
    trainer.fit(until=1)
    first = {name: value.clone() for name, value in trainer.averaging.averages.items()}
    trainer.fit(until=6)
    middle = {name: value.clone() for name, value in trainer.averaging.averages.items()}
    trainer.fit(until=7)
    assert trainer.clock.examples == sum(range(2, 16, 2))
    name = "G.layers.0.weight"
    weight = trainer.game.get_parameter(name).detach()
    keep = 0.5 ** (14 / 12)  # the seventh step has 14 examples
    torch.testing.assert_close(trainer.averaging.averages[name], keep * middle[name] + (1 - keep) * weight)
    assert not torch.equal(first[name], before[name])


def test_images_and_networks_share_their_memory_layout():
    for wanted in (True, False):
        trainer = seated(dcgan, tiny.images(), channels_last=wanted)
        batch = trainer.place(trainer.data(0, 4))
        assert batch.is_contiguous(memory_format=torch.channels_last) == wanted
        assert trainer.game.D.downs[0].weight.is_contiguous(memory_format=torch.channels_last) == wanted
