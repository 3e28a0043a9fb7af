"""`check_game`: the public conformance suite that any game, ours or yours, should pass."""

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from equipoise.core.game import Game, Move, Moves, together
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan, Trainer

FORBIDDEN_CALLS = {"backward", "step", "zero_grad", "item"}


def check_game(
    game: Callable[[], Game],
    data: Callable[[int, int], Any],
    *,
    batch: int = 4,
    steps: int = 4,
    sample_range: tuple[float, float] | None = None,
) -> None:
    """Play a game in all the ways that the engine will, and raise AssertionError for the first promise it breaks.

    What the trainer itself refuses, such as a weight without a term, is a `RecipeError`.

    `game` builds it anew, `data(position, size)` is a batch of real data. Checked: the source of `step` (no backward,
    no optimiser, no `.item()`, no `yield` inside `with`); the weights match terms; each move changes only its player;
    all terms are finite; a move of a critic that watches anything watches `real` and `fake`; resuming is exact;
    micro-batches work; `sample` is finite, inside `sample_range` and one output an example; `judge` gives finite
    logits and changes nothing in eval mode.
    """
    check_source(game)
    with torch.random.fork_rng():
        trainer = seated(game, data, batch=batch, steps=steps)
        check_moves(trainer)
        check_samples(trainer, batch=batch, sample_range=sample_range)
        check_judge(trainer, batch=batch)
        check_resume(game, data, batch=batch, steps=steps)
        if batch % 2 == 0:
            seated(game, data, batch=batch, steps=steps, accumulate=2).fit()


def seated(game: Callable[[], Game], data: Callable, *, batch: int, steps: int, accumulate: int = 1) -> Trainer:
    """A trainer of a freshly built game that always starts from the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = game()
    plan = Plan(
        steps=steps,
        batch=batch,
        accumulate=accumulate,
        precision="fp32",
        channels_last=False,
        measure_every=1,
        save_every=steps,
    )
    return Trainer(built, data, players=dict.fromkeys(built.players, Optimizer(learning_rate=1e-3)), plan=plan)


def check_source(game: Callable[[], Game]) -> None:
    """The step leaves updates to the trainer."""
    with torch.random.fork_rng():
        step = game().step
    tree = ast.parse(textwrap.dedent(inspect.getsource(step)))
    for problem in source_problems(tree):
        raise AssertionError(f"{step.__qualname__}: {problem}")


def source_problems(tree: ast.AST) -> Iterator[str]:
    """What a game's source does that the engine should do, or that breaks when a step is suspended."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in FORBIDDEN_CALLS:
                yield f"calls .{name}(): updates are the trainer's work, and reading a value waits for the device."
            case ast.With() if any(type(inner) in (ast.Yield, ast.YieldFrom) for inner in ast.walk(node)):
                yield "yields inside `with`: the context would leak into the trainer. Close it before the yield."


def check_moves(trainer: Trainer) -> None:
    """Every move touches only its player, with finite terms."""
    game = trainer.game
    for step in range(trainer.plan.steps):
        clock = replace(trainer.clock, step=step)
        torch.manual_seed(step)
        players = set()
        for move, last in watched_moves(trainer, game.step(trainer.stream(), clock)):
            players.add(move.player)
            for name, term in move.terms.items():
                assert torch.isfinite(term).all(), f"The term {move.player}/{name} is not finite at step {step}."
            assert not move.watch or "real" not in move.watch or "fake" in move.watch, (
                f"The move of {move.player} watches 'real' but not 'fake'."
            )
            trainer.backward(move, keep_graph=not last)
            moved = {p: any(g.abs().sum() > 0 for g in seat.gradients()) for p, seat in trainer.seats.items()}
            assert moved.pop(move.player), f"The move of {move.player} gives its parameters no gradient."
            touched = [player for player, yes in moved.items() if yes]
            assert not touched, f"The move of {move.player} touches the parameters of {touched}."
            mine = trainer.seats[move.player].parameters
            others = [name for name, p in game.named_parameters() if p.grad is not None and name not in mine]
            assert not others, f"The move of {move.player} leaves gradients on {others[:3]}, which it does not own."
            for seat in trainer.seats.values():
                seat.optimizer.zero_grad(set_to_none=True)
        assert players, f"Step {step} makes no move."


def watched_moves(trainer: Trainer, step: Moves) -> Iterator[tuple[Move, bool]]:
    """The moves of a step, each with whether it is the last of those that are made together.

    The step's own code may change, after a move, the mover's parameters, and nobody else's.
    """
    movers = ["nobody"]
    while True:
        before = {name: p.detach().clone() for seat in trainer.seats.values() for name, p in seat.parameters.items()}
        turn = together(next(step, ()))
        for player, seat in trainer.seats.items():
            changed = [name for name, p in seat.parameters.items() if not same(p.detach(), before[name])]
            assert player in movers or not changed, (
                f"The step itself changes {changed[:3]} of {player} after the move of {' and '.join(movers)}: "
                f"yield a move of {player} instead."
            )
        if not turn:
            return
        movers = [move.player for move in turn]
        for move in turn:
            yield move, move is turn[-1]


def check_samples(trainer: Trainer, *, batch: int, sample_range: tuple[float, float] | None) -> None:
    """Samples are finite, in range, and there is one for every example."""
    game = trainer.game.eval()
    real = trainer.place(trainer.data(0, batch))
    with torch.no_grad():
        outputs = game.sample(real)
    assert outputs, "sample() returns no outputs."
    for name, x in outputs.items():
        assert len(x) == batch, f"sample() gives {len(x)} of {name!r} for a batch of {batch}."
        assert torch.isfinite(x).all(), f"sample() gives values of {name!r} that are not finite."
        if sample_range is not None:
            low, high = float(x.min()), float(x.max())
            assert sample_range[0] <= low <= high <= sample_range[1], (
                f"sample() gives values of {name!r} from {low:.3g} to {high:.3g}, outside of {sample_range}."
            )
    game.train()


def check_judge(trainer: Trainer, *, batch: int) -> None:
    """In eval mode the judge changes no buffer and draws no randomness."""
    game = trainer.game.eval()
    real = trainer.place(trainer.data(0, batch))
    before = copy.deepcopy(dict(game.named_buffers()))
    torch.manual_seed(0)
    randomness = torch.get_rng_state()
    with torch.no_grad():
        logits = game.judge(real)
    assert torch.isfinite(logits).all(), "judge() gives logits that are not finite."
    assert len(logits) == batch, f"judge() gives logits of {len(logits)} examples for a batch of {batch}."
    assert torch.equal(randomness, torch.get_rng_state()), "judge() draws random numbers."
    for name, buffer in game.named_buffers():
        assert same(buffer, before[name]), f"judge() changes the buffer {name}."
    game.train()


def check_resume(game: Callable[[], Game], data: Callable, *, batch: int, steps: int) -> None:
    """Half the steps, a save, a load and the other half equal all the steps, bit for bit."""
    straight = seated(game, data, batch=batch, steps=steps)
    straight.fit()
    first = seated(game, data, batch=batch, steps=steps)
    first.fit(until=steps // 2)
    second = seated(game, data, batch=batch, steps=steps)
    second.restore(copy.deepcopy(first.snapshot()))
    second.fit()
    expected, found = straight.game.state_dict(), second.game.state_dict()
    for name, value in expected.items():
        assert same(value, found[name]), (
            f"Resuming is not exact: {name} differs. Whatever survives a step must be a parameter or a buffer."
        )


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
