"""Balanced terms in training: measured over micro-batches, saved, shown, and refused where they do not fit."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from equipoise.core.errors import CheckpointError, RecipeError
from equipoise.core.game import Clock, Game, Move
from equipoise.core.schedule import Lazy
from equipoise.engine.checkpoint import Snapshot
from equipoise.engine.conformance import check_game
from equipoise.engine.optimizers import Optimizer
from equipoise.objectives.balance import (
    AdaptiveAdversarial,
    DynamicAverage,
    GradientShares,
    GradNorm,
    Uncertainty,
)
from tests.engine.tiny import copied, differences, mlp_gan, seated


class Bowls(Game):
    """Two quadratic losses of one vector: ½a‖w - p‖² and ½b‖w - q‖², and a lazy third."""

    weights = {"W/b": 2.0}

    def __init__(self, balancer=None, **weights):
        super().__init__()
        self.W = nn.Linear(2, 1, bias=False)
        nn.init.zeros_(self.W.weight)
        self.balance = {} if balancer is None else {"W": balancer}
        self.weights = {**Bowls.weights, **weights}

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"W": [self.W]}

    def step(self, data: Iterator[Tensor], now: Clock) -> Iterator[Move]:
        x, w = next(data), self.W.weight[0]
        near = 0.5 * (w - x).square().sum(1)  # [N]
        yield Move("W", a=near, b=0.5 * 3 * (w - 1).square().sum().expand(len(x)), c=w.square().sum())

    def sample(self, batch: Tensor) -> dict[str, Tensor]:
        return {"w": self.W.weight.expand(len(batch), -1)}

    def judge(self, batch: Tensor) -> Tensor:
        return batch[:, 0]


SGD = Optimizer(rule="sgd", learning_rate=0.1)
AB = ("a", "b")


def points(position: int, size: int) -> Tensor:
    return torch.randn(size, 2, generator=torch.Generator().manual_seed(position)) + torch.tensor([3.0, 4.0])


def still(position: int, size: int) -> Tensor:
    return torch.tensor([[3.0, 4.0]]).expand(size, 2)


def bowls(balancer=None, *, data=points, player=SGD, weights=None, **plan):
    return seated(lambda: Bowls(balancer, **(weights or {})), data, player=player, **plan)


def test_the_weights_found_at_one_step_count_from_the_next():
    # At w = 0: gradients -(3, 4) of norm 5, and 2·3·-(1, 1) of norm 6√2; equal shares of their sum.
    trainer = bowls(GradientShares(terms=AB), data=still)
    trainer.advance()
    assert trainer.record["weight/W/a"] == 1.0
    assert trainer.record["weight/W/b"] == 2.0  # by the table
    first = trainer.game.W.weight[0].detach().clone()
    assert torch.allclose(first, 0.1 * torch.tensor([9.0, 10.0]))
    trainer.advance()
    half = (5 + 6 * 2**0.5) / 2
    assert float(trainer.record["weight/W/a"]) == pytest.approx(half / 5)
    assert float(trainer.record["weight/W/b"]) == pytest.approx(2 * half / (6 * 2**0.5))
    a, b = half / 5 * (first - torch.tensor([3.0, 4.0])), half / (6 * 2**0.5) * 6 * (first - 1)
    assert torch.allclose(trainer.game.W.weight[0], first - 0.1 * (a + b + 2 * first), atol=1e-6)


def test_equal_shares_are_equal_shares_of_the_gradient():
    slow = Optimizer(rule="sgd", learning_rate=1e-6)
    trainer = bowls(GradientShares(terms=AB), data=still, player=slow, weights={"W/c": 0.0}, shares_every=1)
    found = []
    for _ in range(2):
        trainer.advance()
        found.append([float(trainer.record[f"share/W/{name}"]) for name in "abc"])
    assert found[0] == pytest.approx([5 / (5 + 6 * 2**0.5), 6 * 2**0.5 / (5 + 6 * 2**0.5), 0])
    assert found[1] == pytest.approx([0.5, 0.5, 0], abs=1e-4)
    assert "weight/W/c" not in trainer.record


@pytest.mark.parametrize(
    "balancer",
    [
        Uncertainty(terms=AB),
        GradNorm(terms=AB),
        DynamicAverage(terms=AB, window=2),
        GradientShares(terms=AB),
        AdaptiveAdversarial(terms=AB, term="b"),
    ],
    ids=lambda balancer: balancer.kind,
)
def test_micro_batches_teach_what_their_batch_teaches(balancer):
    whole, split = bowls(balancer), bowls(balancer, accumulate=2)
    both = lambda position, size: points(position // 4 * 4, 4)[position % 4 : position % 4 + size]  # noqa: E731
    whole.data = split.data = both
    whole.fit()
    split.fit()
    for key, value in whole.balance["W"].state.items():
        assert torch.allclose(value, split.balance["W"].state[key], rtol=1e-4), key
    assert torch.allclose(whole.game.W.weight, split.game.W.weight, atol=1e-4)


def test_the_measured_gradient_is_that_of_the_whole_batch_and_not_a_mean_of_norms():
    def opposite(position, size):  # two halves that pull in opposite directions
        return torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[position % 2 : position % 2 + size]

    trainer = bowls(AdaptiveAdversarial(terms=AB, term="a"), data=opposite, batch=2, accumulate=2)
    trainer.advance()
    own, rest = trainer.balance["W"].state["norms"].tolist()
    assert own == pytest.approx(0.0, abs=1e-6)
    assert rest == pytest.approx(6 * 2**0.5)


def test_gradients_are_measured_as_often_as_asked_for():
    trainer = bowls(GradientShares(terms=AB, every=3))
    states = []
    for _ in range(5):
        trainer.advance()
        states.append(trainer.balance["W"].state["norms"])
    same = [torch.equal(a, b) for a, b in pairwise(states)]
    assert same == [True, True, False, True]


def test_gradients_are_measured_at_a_module_of_the_player():
    def gan(at):
        game = mlp_gan()
        game.balance = {"G": GradientShares(terms=("adversarial", "other"), at=at)}
        step = game.step

        def more(data, now):
            for move in step(data, now):
                if move.player == "G":
                    move = Move("G", move.terms, other=game.G(torch.ones(1, 2)).square().sum())
                yield move

        game.step = more
        return game

    norms = []
    last = next(name for name, module in reversed(list(mlp_gan().G.named_modules())) if isinstance(module, nn.Linear))
    for at in (None, f"G.{last}"):
        trainer = seated(lambda at=at: gan(at))
        trainer.advance()
        norms.append(trainer.balance["G"].state["norms"])
    assert (norms[1] < norms[0]).all()
    assert (norms[1] > 0).all()
    with pytest.raises(RecipeError, match=r"at = 'G\.nothing' is no module"):
        seated(lambda: gan("G.nothing"))


def test_a_move_that_is_refused_teaches_nothing():
    def bad(position, size):
        return points(position, size) * (torch.nan if position == 8 else 1.0)

    trainer = bowls(Uncertainty(terms=AB), data=bad)
    for _ in range(2):
        trainer.advance()
    before = dict(trainer.balance["W"].state)
    trainer.advance()
    assert "refused/W" in trainer.record
    assert trainer.balance["W"].state["weights"] is before["weights"]
    trainer.advance()
    assert not torch.equal(trainer.balance["W"].state["weights"], before["weights"])


def test_a_move_without_some_of_the_terms_is_not_balanced():
    class Staged(Bowls):
        def step(self, data, now):
            for move in Bowls.step(self, data, now):
                kept = {name: term for name, term in move.terms.items() if name != "b" or now.progress >= 0.5}
                yield Move("W", kept)

    trainer = seated(lambda: Staged(Uncertainty(terms=AB)), points, player=SGD)
    for _ in range(5):
        trainer.advance()
        assert trainer.balance["W"].state["weights"].tolist() == [1.0, 1.0]
        assert "weight/W/a" not in trainer.record
    trainer.advance()
    assert trainer.balance["W"].state["weights"].tolist() != [1.0, 1.0]


def test_who_extrapolates_learns_from_the_second_move_alone():
    trainer = bowls(GradientShares(terms=AB, decay=0.5), data=still, player=Optimizer(rule="extra-sgd"))
    trainer.advance()
    assert trainer.balance["W"].state["norms"].tolist()[0] < 5  # at the point that was looked at, not at the start


def test_terms_are_by_default_those_of_the_end():
    trainer = bowls(Uncertainty())
    assert trainer.balance["W"].terms == ("a", "b", "c")


@pytest.mark.parametrize("balancer", [GradNorm(terms=AB), DynamicAverage(terms=AB, window=2)], ids=lambda b: b.kind)
def test_resume_is_exact_and_every_key_of_the_state_is_needed(balancer):
    whole = bowls(balancer)
    whole.fit()
    half = bowls(balancer)
    half.fit(until=5)
    middle = copied(half.snapshot())

    def resumed(snapshot):
        trainer = bowls(balancer)
        trainer.restore(snapshot)
        trainer.fit()
        return trainer.snapshot()

    assert differences(resumed(middle), whole.snapshot()) == []
    start = bowls(balancer).snapshot().tensors["balance-W"]
    for key in middle.tensors["balance-W"]:
        state = {k: v for k, v in middle.tensors["balance-W"].items() if k != key}
        with pytest.raises(CheckpointError, match="balancer differs in"):
            resumed(Snapshot({**middle.tensors, "balance-W": state}, middle.state))
        reset = Snapshot({**middle.tensors, "balance-W": {**state, key: start[key]}}, middle.state)
        assert differences(resumed(reset), whole.snapshot()), key
    without = {group: part for group, part in middle.tensors.items() if group != "balance-W"}
    with pytest.raises(CheckpointError):
        resumed(Snapshot(without, middle.state))
    with pytest.raises(CheckpointError, match="balance-W"):
        bowls().restore(middle)


@pytest.mark.parametrize("balancer", [GradNorm(terms=AB), Uncertainty(terms=AB)], ids=lambda b: b.kind)
def test_it_goes_through_files(balancer, tmp_path):
    trainer = bowls(balancer, folder=tmp_path)
    trainer.fit(until=4)
    again = bowls(balancer, folder=tmp_path)
    assert again.resume()
    assert differences(again.snapshot(), trainer.snapshot()) == []
    other = bowls(Uncertainty(terms=("a", "c")))
    other.take_over(trainer.snapshot())
    assert other.clock.step == 4


def test_a_balanced_game_passes_the_conformance_suite():
    check_game(lambda: Bowls(GradNorm(terms=AB)), points)


@pytest.mark.parametrize(
    ("game", "words"),
    [
        (lambda: Bowls(Uncertainty(terms=("a", "bb"))), r"'bb' is none of its terms. Did you mean 'b'"),
        (lambda: Bowls(Uncertainty(terms=("a",))), "at least two different ones"),
        (lambda: Bowls(Uncertainty(terms=("a", "a"))), "at least two different ones"),
        (lambda: Bowls(Uncertainty(), **{"W/c": Lazy(1.0, 4)}), "'c' is lazy"),
        (lambda: Bowls(AdaptiveAdversarial()), "'adversarial', which is none"),
    ],
)
def test_a_balancer_that_does_not_fit_is_refused(game, words):
    with pytest.raises(RecipeError, match=words):
        seated(game, points)


def test_a_balancer_of_a_stranger_is_refused():
    def game():
        made = Bowls()
        made.balance = {"V": Uncertainty()}
        return made

    with pytest.raises(RecipeError, match="'V', who is not a player"):
        seated(game, points)
