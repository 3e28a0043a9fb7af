"""The rules are those of their papers; clipping, noise and corrected constants are what they say."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
import tiny
import torch
from tiny import Duel, diary, seated
from torch import Tensor, nn

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import RULES, SETTINGS, Optimizer, Rule

GRADIENTS = (4.0, -2.0, 1.0)
RATE = 0.1


def path(settings: Optimizer, start: float = 1.0) -> list[float]:
    """Where one number goes on GRADIENTS, in float64."""
    parameter = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = settings.build([parameter])
    for group in optimizer.param_groups:
        group["lr"] = RATE
    points = []
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        points.append(parameter.item())
    return points


def test_optimistic_sgd_takes_back_half_of_its_last_step():
    # θ − 2η·gₜ + η·gₜ₋₁: 1 − 0.8 = 0.2; 0.2 + 0.4 + 0.4 = 1.0; 1.0 − 0.2 − 0.2 = 0.6.
    assert path(Optimizer(rule="optimistic-sgd")) == pytest.approx([0.2, 1.0, 0.6])


def test_optimistic_sgd_adds_weight_decay_to_the_gradient():
    # g₁ = 4 + 0.5·1 = 4.5: 1 − 0.9 = 0.1; g₂ = −2 + 0.05 = −1.95: 0.1 + 0.39 + 0.45 = 0.94; g₃ = 1.47.
    assert path(Optimizer(rule="optimistic-sgd", weight_decay=0.5)) == pytest.approx([0.1, 0.94, 0.451])


def test_optimistic_adam_is_algorithm_1():
    # betas (0.5, 0.75). t = 1: m̂ = 4, v̂ = 16, so d₁ = 1 and θ = 1 − 0.2.
    # t = 2: m = 0.5·2 − 0.5·2 = 0; d₂ = 0, and θ = 0.8 + 0.1.
    # t = 3: m = 0.5, m̂ = 0.5/0.875; v = (0.75·4 + 0.25·4)·0.75 + 0.25 = 3.25, v̂ = 3.25/(1 − 0.75³).
    direction = (0.5 / 0.875) / math.sqrt(3.25 / (1 - 0.75**3))
    found = path(Optimizer(rule="optimistic-adam", betas=(0.5, 0.75)))
    assert found == pytest.approx([0.8, 0.9, 0.9 - 0.2 * direction], abs=1e-8)


def test_optimistic_adam_moves_along_adams_own_directions():
    """On gradients that do not depend on θ, Adam's steps are η·dₜ: the optimistic path follows from them."""
    gradients = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def play(rule) -> list[Tensor]:
        parameter = nn.Parameter(torch.ones(3, dtype=torch.float64))
        optimizer = Optimizer(rule=rule, betas=(0.5, 0.9)).build([parameter])
        points = [parameter.detach().clone()]
        for group in optimizer.param_groups:
            group["lr"] = RATE
        for gradient in gradients:
            parameter.grad = gradient
            optimizer.step()
            points.append(parameter.detach().clone())
        return points

    adam, optimistic = play("adam"), play("optimistic-adam")
    steps = [torch.zeros(3, dtype=torch.float64), *(b - a for a, b in pairwise(adam))]  # −η·dₜ, the first is 0
    expected = adam[0]
    for before, now, found in zip(steps, steps[1:], optimistic[1:]):
        expected = expected + 2 * now - before
        torch.testing.assert_close(found, expected)


def test_a_parameter_without_gradient_stays_and_keeps_no_moments():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = Optimizer(rule="optimistic-adam").build([used, unused])
    optimizer.step()
    assert not optimizer.state
    used.grad = torch.ones(2)
    optimizer.param_groups[0]["lr"] = RATE
    optimizer.step()
    assert torch.equal(unused, torch.ones(2))
    assert set(optimizer.state) == {used}


@pytest.mark.parametrize(
    ("rule", "moments"),
    [
        ("adam", {"step", "exp_avg", "exp_avg_sq"}),
        ("extra-adam", {"step", "exp_avg", "exp_avg_sq"}),
        ("optimistic-adam", {"step", "exp_avg", "exp_avg_sq", "previous"}),
        ("optimistic-sgd", {"previous"}),
        ("extra-sgd", set()),
    ],
)
def test_the_moments_of_a_rule_are_known(rule, moments):
    assert Optimizer(rule=rule).moments() == moments


def test_only_the_rules_named_extra_extrapolate():
    assert {rule for rule in get_args(Rule) if Optimizer(rule=rule).extrapolates} == {"extra-adam", "extra-sgd"}


@pytest.mark.parametrize("text", [*RULES.items(), *SETTINGS.items()], ids=lambda item: item[0])
def test_every_rule_and_setting_is_documented(text):
    name, lines = text[0], text[1].splitlines()
    assert name in get_args(Rule) or name in Optimizer.__dataclass_fields__
    assert lines[1] == ""
    assert [line.partition(":")[0] for line in lines[-3:]] == ["Default", "Cost", "Source"]
    assert all(len(line) <= 120 for line in lines)


def test_there_is_a_text_for_every_rule():
    assert set(RULES) == set(get_args(Rule))


# ---------------------------------------------------------------- what is done to a gradient


def treated(settings: Optimizer, *gradients: float, progress: float = 0.0) -> list[float]:
    parameters = [nn.Parameter(torch.zeros(())) for _ in gradients]
    for parameter, gradient in zip(parameters, gradients):
        parameter.grad = torch.tensor(gradient)
    norm = torch.tensor(math.hypot(*gradients))
    settings.treat(parameters, norm=norm, progress=progress)
    return [parameter.grad.item() for parameter in parameters]


def test_values_are_clipped_one_by_one_and_the_norm_as_a_whole():
    assert treated(Optimizer(), 30.0, -4.0) == [30.0, -4.0]
    assert treated(Optimizer(clip_value=3.0), 30.0, -4.0, 2.0) == [3.0, -3.0, 2.0]
    assert treated(Optimizer(clip_norm=10.0), 30.0, -40.0) == pytest.approx([6.0, -8.0])
    assert treated(Optimizer(clip_norm=10.0), 3.0, -4.0) == pytest.approx([3.0, -4.0])


def test_the_norm_is_clipped_after_the_values():
    # (30, −4) becomes (3, −4) by value: its norm of 5 is halved, not divided by 12.
    assert treated(Optimizer(clip_value=4.0, clip_norm=2.5), 3.0, -40.0) == pytest.approx([1.5, -2.0], rel=1e-5)


def test_noise_is_normal_with_the_deviation_of_its_schedule_and_comes_after_clipping():
    settings = Optimizer(clip_value=1e-9, gradient_noise=Schedule(start=4.0, end=0.0))
    parameter = nn.Parameter(torch.zeros(100_000))
    parameter.grad = torch.ones(100_000)
    settings.treat([parameter], norm=torch.tensor(1.0), progress=0.5)
    noise = parameter.grad
    assert noise.mean().abs().item() < 0.03  # 2/√100000 is 0.006
    assert noise.std().item() == pytest.approx(2.0, rel=0.01)
    assert (noise.abs() < 2.0).float().mean().item() == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.01)


def test_without_noise_nothing_is_drawn():
    before = torch.get_rng_state()
    assert treated(Optimizer(gradient_noise=Schedule(start=1.0, end=0.0)), 1.0, progress=1.0) == [1.0]
    assert torch.equal(before, torch.get_rng_state())
    treated(Optimizer(gradient_noise=1e-3), 1.0)
    assert not torch.equal(before, torch.get_rng_state())


def test_the_trainer_clips_values_and_the_record_keeps_the_size_of_what_was_given():
    free = seated(Duel, player=Optimizer(rule="sgd", learning_rate=0.1))
    clipped = seated(Duel, player=Optimizer(rule="sgd", learning_rate=0.1, clip_value=1e-3))
    before = {name: p.detach().clone() for name, p in clipped.game.named_parameters()}
    free.fit(until=1)
    clipped.fit(until=1)
    steps = [(p.detach() - before[name]).abs().max().item() for name, p in clipped.game.named_parameters()]
    assert max(steps) == pytest.approx(1e-4, rel=1e-2)
    for player in ("D", "G"):
        name = f"gradient/{player}"
        assert diary(free).records[0][name] > 1e-2
    assert torch.equal(diary(clipped).records[0]["gradient/D"], diary(free).records[0]["gradient/D"])


def test_noise_belongs_to_the_step_and_not_to_history():
    noisy = Optimizer(rule="sgd", learning_rate=0.0, gradient_noise=1.0)

    def gradients(seed: int) -> list[Tensor]:
        trainer, seen = seated(Duel, player=noisy, steps=4), []
        trainer.plan = replace(trainer.plan, seed=seed)
        step = trainer.seats["D"].optimizer.step
        weight = trainer.seats["D"].parameters["D.weight"]
        trainer.seats["D"].optimizer.step = lambda: (seen.append(weight.grad.clone()), step())[1]
        torch.randn(3)
        trainer.fit()
        return seen

    first, again, other = gradients(0), gradients(0), gradients(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not any(torch.equal(a, b) for a, b in zip(first, other))
    assert len({tuple(g.flatten().tolist()) for g in first}) == 4


# ---------------------------------------------------------------- corrected constants


def test_constants_for_separate_penalties_are_corrected_by_the_share_of_plain_updates():
    settings = Optimizer(learning_rate=0.0017, betas=(0.5, 0.99), clip_norm=3.0)
    corrected = settings.for_separate_penalties(16)
    assert corrected.learning_rate == pytest.approx(0.0016)
    assert corrected.betas == pytest.approx((0.5 ** (16 / 17), 0.99 ** (16 / 17)))
    # After 17 updates of the corrected rule as much of a moment is left as after 16 of the plain one.
    assert corrected.betas[1] ** 17 == pytest.approx(0.99**16)
    assert corrected.clip_norm == 3.0
    assert settings == Optimizer(learning_rate=0.0017, betas=(0.5, 0.99), clip_norm=3.0)


def test_a_scheduled_rate_is_corrected_at_both_ends():
    corrected = Optimizer(learning_rate=Schedule(start=0.3, end=0.0, warmup=0.1)).for_separate_penalties(2)
    assert corrected.learning_rate == Schedule(start=pytest.approx(0.2), end=0.0, warmup=0.1)
    assert corrected.betas[0] == 0.0
    with pytest.raises(ValueError, match="every is 0"):
        Optimizer().for_separate_penalties(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_value": 0.0}, r"clip_value is 0\.0: expected a number above 0"),
        ({"clip_norm": -1.0}, r"clip_norm is -1\.0"),
        ({"gradient_noise": -0.1}, r"gradient_noise is -0\.1: expected a finite number of at least 0"),
        ({"gradient_noise": Schedule(start=0.1, end=-0.1)}, r"gradient_noise is -0\.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Optimizer(**settings)


def test_every_rule_trains_a_game():
    for rule in get_args(Rule):
        trainer = seated(Duel, tiny.points(), player=Optimizer(rule=rule, learning_rate=1e-3), steps=3)
        before = {name: p.detach().clone() for name, p in trainer.game.named_parameters()}
        trainer.fit()
        moved = {name for name, p in trainer.game.named_parameters() if not torch.equal(p, before[name])}
        assert moved >= {"D.weight", "G.weight", "G.bias"}, rule
        assert diary(trainer).kinds() == []
