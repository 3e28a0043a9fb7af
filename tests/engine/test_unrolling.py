"""A preview is what the optimiser would do, can be differentiated, and changes nothing."""

from collections.abc import Mapping

import pytest
import torch
from tiny import PLAYER, Duel, copied, diary, differences, points, seated
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from equipoise import check_game
from equipoise.core.errors import RecipeError
from equipoise.core.game import Clock, Move
from equipoise.core.schedule import Lazy, Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.unrolling import UPDATES, unrolled

RULES = {
    "adam": Optimizer(betas=(0.5, 0.9)),
    "adam without first moment": Optimizer(),
    "adam with decay": Optimizer(betas=(0.5, 0.9), weight_decay=0.1),
    "adamw": Optimizer(rule="adamw", betas=(0.5, 0.9), weight_decay=0.1),
    "rmsprop": Optimizer(rule="rmsprop"),
    "rmsprop with momentum": Optimizer(rule="rmsprop", momentum=0.5, weight_decay=0.1),
    "sgd": Optimizer(rule="sgd"),
    "sgd with momentum": Optimizer(rule="sgd", momentum=0.5, weight_decay=0.1),
}
RATE = 0.01


def critic(dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), nn.Softplus(), nn.Linear(5, 1)).to(dtype)


def game_loss(net: nn.Module, real: Tensor, fake: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
    """The critic's loss, per example; on other parameters where some are given."""
    logits = (lambda x: functional_call(net, dict(parameters), x)) if parameters else net
    return softplus(-logits(real)) + softplus(logits(fake))


def moments_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Tensor]]:
    return [optimizer.state.get(p, {}) for group in optimizer.param_groups for p in group["params"]]


@pytest.mark.parametrize("num_before", [0, 3], ids=["fresh", "running"])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", RULES)
def test_a_preview_equals_so_many_real_updates(name, steps, num_before):
    settings, net, data = RULES[name], critic(), points()
    real, fake = data(0, 8), data(8, 8)
    optimizer = settings.build(net.parameters())

    def update(num: int) -> None:
        for _ in range(num):
            optimizer.param_groups[0]["lr"] = RATE
            optimizer.zero_grad()
            game_loss(net, real, fake).mean().backward()
            optimizer.step()

    update(num_before)
    parameters = dict(net.named_parameters())
    found = unrolled(
        lambda p: game_loss(net, real, fake, p),
        parameters,
        moments_of(optimizer),
        settings=settings,
        rate=RATE,
        steps=steps,
    )
    update(steps)
    assert list(found) == list(parameters)
    for key, value in parameters.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_before", [0, 2], ids=["fresh", "running"])
@pytest.mark.parametrize("name", RULES)
def test_the_gradient_through_all_steps_is_that_of_finite_differences(name, num_before):
    settings, net = RULES[name], critic(torch.float64)
    real = points()(0, 3).double()
    optimizer = settings.build(net.parameters())
    for _ in range(num_before):
        optimizer.param_groups[0]["lr"] = RATE
        game_loss(net, real, 2 * real).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    def after(fake: Tensor) -> Tensor:
        """The loss that a generator would have against the critic of three steps later."""
        future = unrolled(
            lambda p: game_loss(net, real, fake, p),
            dict(net.named_parameters()),
            moments_of(optimizer),
            settings=settings,
            rate=0.1,
            steps=3,
        )
        return softplus(-functional_call(net, future, fake)).sum()

    fake = points()(5, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(after, fake, atol=1e-6)
    # Without the future, the gradient is another one: the steps are differentiated, not only their end.
    (through,) = torch.autograd.grad(after(fake), fake)
    (without,) = torch.autograd.grad(after_with_fixed_steps(net, optimizer, settings, real, fake), fake)
    assert (through - without).abs().max() > 1e-4


def after_with_fixed_steps(net, optimizer, settings, real, fake) -> Tensor:
    future = unrolled(
        lambda p: game_loss(net, real, fake.detach(), p),
        dict(net.named_parameters()),
        moments_of(optimizer),
        settings=settings,
        rate=0.1,
        steps=3,
    )
    return softplus(-functional_call(net, future, fake)).sum()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("steps", [1, 3])
def test_parameters_whose_gradient_is_zero_spoil_nothing(name, steps):
    """The root of a second moment of 0 has no finite slope: a dead unit must not make the generator's gradient NaN."""
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        net[0].bias.fill_(-100.0)  # all units are dead
    fake = points()(0, 4).requires_grad_()
    future = unrolled(
        lambda p: (functional_call(net, dict(p), fake) * fake.sum()).square(),
        dict(net.named_parameters()),
        [{}] * 4,
        settings=RULES[name],
        rate=RATE,
        steps=steps,
    )
    (gradient,) = torch.autograd.grad(sum(value.square().sum() for value in future.values()), fake)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0 or steps == 1  # a first step of Adam is but the sign of the gradient


def test_parameters_that_the_loss_does_not_reach_stay():
    net = nn.ModuleDict({"used": nn.Linear(2, 1), "unused": nn.Linear(2, 1)})
    found = unrolled(
        lambda p: p["used.weight"].square().sum(),
        dict(net.named_parameters()),
        [{}] * 4,
        settings=Optimizer(rule="sgd", weight_decay=0.1),
        rate=0.5,
        steps=2,
    )
    assert torch.equal(found["unused.weight"], net["unused"].weight)
    # Twice w − 0.5·(2w + 0.1w) = −0.05·w.
    torch.testing.assert_close(found["used.weight"], 0.0025 * net["used"].weight)


# ---------------------------------------------------------------- in a game


class Unrolled(Duel):
    """G learns against the critic of `steps` steps later; D has batch statistics."""

    averaged = ("G",)

    def __init__(self, steps: int = 2, after_d: bool = True):
        super().__init__()
        self.D = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Softplus(), nn.Linear(5, 1))
        self.steps, self.after_d = steps, after_d
        self.previews: list[tuple[int, dict[str, Tensor]]] = []

    def future(self, now: Clock, x: Tensor, fake: Tensor) -> dict[str, Tensor]:
        def terms(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
            own = {name.removeprefix("D."): value for name, value in parameters.items()}
            return {"adversarial": game_loss(self.D, x, fake, own)}

        future = now.preview("D", terms, steps=self.steps)
        self.previews.append((now.step, {name: value.detach() for name, value in future.items()}))
        return {name.removeprefix("D."): value for name, value in future.items()}

    def step(self, data, now):
        x = next(data)
        fake = self.G(x.flip(1))
        future = None if self.after_d else self.future(now, x, fake)
        yield Move("D", adversarial=game_loss(self.D, x, fake.detach()))
        if future is None:
            future = self.future(now, x, fake)
        yield Move("G", adversarial=softplus(-functional_call(self.D, future, fake)))


@pytest.mark.parametrize("after_d", [True, False], ids=["after D's move", "across D's move"])
def test_a_game_may_look_ahead_and_resumes_exactly(after_d):
    check_game(lambda: Unrolled(after_d=after_d), points(), batch=4, steps=4)


def test_a_preview_weighs_the_terms_as_the_trainer_does():
    """sgd with rate 0.1 on 3 · θ₁ + 0.5 · 4 · θ₂ (every fourth step): θ moves by −0.3 and −0.2."""

    class Weighed(Duel):
        weights = {"D/first": 3.0, "D/second": Lazy(0.5, every=4)}

        def step(self, data, now):
            x = next(data)
            weight = self.D.weight

            def terms(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
                return {"first": parameters["D.weight"][0, 0], "second": parameters["D.weight"][0, 1]}

            self.moved = now.preview("D", terms, steps=1)["D.weight"].detach() - weight.detach()
            yield Move("D", first=weight[0, 0] + 0 * x.sum(), second=weight[0, 1])
            yield Move("G", adversarial=self.D(self.G(x)))

    trainer = seated(Weighed, player=Optimizer(rule="sgd", learning_rate=0.1))
    trainer.advance()
    assert trainer.game.moved[0].tolist() == pytest.approx([-0.3, -0.2])


@pytest.mark.parametrize("normalised", [True, False])
def test_looking_ahead_changes_nothing(normalised):
    class Looks(Duel):
        """A duel whose critic has state of every kind, with or without a look ahead."""

        looks = True

        def __init__(self):
            super().__init__()
            first = nn.Linear(2, 5)
            self.D = nn.Sequential(
                nn.utils.parametrizations.spectral_norm(first) if normalised else first,
                nn.BatchNorm1d(5),
                nn.Linear(5, 1),
            )

        def step(self, data, now):
            x = next(data)
            if self.looks:
                own = dict(self.D.named_parameters())
                future = now.preview(
                    "D", lambda p: {"f": functional_call(self.D, {k[2:]: v for k, v in p.items()}, x)}, steps=3
                )
                assert {name.removeprefix("D.") for name in future} == set(own)
                moved = [name for name in own if not torch.equal(own[name], future[f"D.{name}"])]
                assert len(moved) >= len(own) - 1  # a bias before batch norm does nothing
            yield Move("D", adversarial=self.D(x))
            yield Move("G", adversarial=self.D(self.G(x)))

    class Blind(Looks):
        looks = False

    looking, blind = seated(Looks), seated(Blind)
    looking.fit()
    blind.fit()
    assert differences(looking.snapshot(), blind.snapshot()) == []


def test_in_a_game_moments_weights_and_rate_are_the_players_own():
    player = Optimizer(learning_rate=Schedule(start=1e-2, end=0.0), betas=(0.5, 0.9))
    trainer = seated(lambda: Unrolled(steps=1, after_d=False), player=player, reuse=False)
    trainer.rollbacks = 1
    trainer.fit(until=6)
    game, before, seat = trainer.game, copied(trainer.snapshot()), trainer.seats["D"]
    # The step's own first update of D is the very one that it previews: same batch, same fakes.
    game.previews.clear()
    trainer.fit(until=7)
    ((step, future),) = game.previews
    assert step == 6
    assert diary(trainer).records[-1]["learning_rate/D"] == pytest.approx(1e-2 * 0.4 * 0.5)
    for name, parameter in seat.parameters.items():
        torch.testing.assert_close(future[name], parameter.detach(), rtol=1e-5, atol=1e-6)
        assert not torch.equal(parameter, before.tensors["game"][name])


def test_the_generator_learns_otherwise_than_without_a_look_ahead():
    class Blind(Unrolled):
        def future(self, now, x, fake):
            return dict(self.D.named_parameters())

    looking, blind = seated(lambda: Unrolled(steps=5)), seated(lambda: Blind(steps=5))
    looking.fit(until=1)
    blind.fit(until=1)
    for name, value in looking.game.D.named_parameters():
        assert torch.equal(value, blind.game.D.get_parameter(name))  # D is the same, and only G knows more
    gradients = [diary(trainer).records[0]["gradient/G"].item() for trainer in (looking, blind)]
    assert abs(gradients[0] - gradients[1]) > 1e-3 * gradients[1]


def test_an_update_after_a_preview_does_not_reach_into_it():
    class Alone(Unrolled):
        """D does not move, though G's loss is the same."""

        def step(self, data, now):
            yield from (move for move in super().step(data, now) if move.player == "G")

    both, alone = seated(lambda: Unrolled(after_d=False), reuse=False), seated(lambda: Alone(after_d=False))
    both.fit(until=1)
    alone.fit(until=1)
    assert torch.equal(diary(both).records[0]["gradient/G"], diary(alone).records[0]["gradient/G"])


def test_micro_batches_look_ahead_each_for_itself():
    trainer = seated(Unrolled, batch=8, accumulate=4)
    trainer.game.previews.clear()
    trainer.fit(until=2)
    assert len(trainer.game.previews) == 8
    first = trainer.game.previews[0][1]["D.3.weight"]
    assert not torch.equal(first, trainer.game.previews[1][1]["D.3.weight"])


def test_in_bfloat16_a_look_ahead_is_finite_and_its_parameters_are_float32():
    trainer = seated(Unrolled, precision="bf16")
    trainer.fit()
    assert diary(trainer).kinds() == []
    assert {value.dtype for _, future in trainer.game.previews for value in future.values()} == {torch.float32}


def test_a_part_that_is_built_while_rehearsing_can_look_ahead():
    class Late(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not list(self.children()):
                self.net = critic()
            return self.net(x)

    class Lazily(Unrolled):
        def __init__(self):
            super().__init__()
            self.D = Late()

    trainer = seated(Lazily)
    assert set(trainer.game.previews[0][1]) == {f"D.net.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")}
    trainer.fit(until=2)
    assert diary(trainer).kinds() == []

    class TooEarly(Lazily):
        def __init__(self):
            super().__init__()
            self.after_d = False

    with pytest.raises(RecipeError, match="A preview of 'D', who has no parameters yet"):
        seated(TooEarly)


def test_a_clock_without_a_trainer_says_so():
    with pytest.raises(ValueError, match=r"Clock\.preview\('D'\): this clock belongs to no trainer"):
        Clock().preview("D", lambda p: {"f": torch.zeros(())})


def test_what_cannot_be_unrolled_is_refused_before_training():
    message = "The rule 'extra-adam' cannot be unrolled: expected one of adam, adamw, rmsprop, sgd"
    with pytest.raises(RecipeError, match=message):
        seated(Unrolled, player=Optimizer(rule="extra-adam"))
    assert set(UPDATES) == {"adam", "adamw", "rmsprop", "sgd"}


def test_looking_at_a_stranger_or_past_the_parameters_is_refused():
    class Stranger(Duel):
        def step(self, data, now):
            now.preview("DD", lambda p: {"f": self.D(next(data))})
            yield from ()

    class Past(Duel):
        def step(self, data, now):
            now.preview("D", lambda p: {"f": self.D(next(data))})
            yield from ()

    with pytest.raises(RecipeError, match=r"A preview of 'DD', who is not a player\. Did you mean 'D'"):
        seated(Stranger)
    with pytest.raises(ValueError, match="reads none of the parameters that it is given"):
        seated(Past)
    with pytest.raises(ValueError, match=r"preview\(steps=0\): expected a whole number of at least 1"):
        seated(lambda: Unrolled(steps=0))


def test_running_moments_survive_a_restart_on_the_way_to_a_preview():
    trainer = seated(Unrolled, player=PLAYER)
    trainer.fit(until=4)
    resumed = seated(Unrolled, player=PLAYER, seed=1)
    resumed.restore(copied(trainer.snapshot()))
    for each in (trainer, resumed):
        each.game.previews.clear()
        each.fit(until=5)
    for name, value in trainer.game.previews[0][1].items():
        assert torch.equal(value, resumed.game.previews[0][1][name])
