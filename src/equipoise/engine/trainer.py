"""The one loop. It knows players and moves; it does not know games, networks or losses."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from equipoise.core.errors import CheckpointError, DivergedError, Interrupted, RecipeError, nearest
from equipoise.core.game import Clock, Game, Move, Moves
from equipoise.core.schedule import value_at, weight_and_interval
from equipoise.core.seeding import seed_torch, stable_seed
from equipoise.engine.averaging import Averaging
from equipoise.engine.checkpoint import Checkpoints, Snapshot
from equipoise.engine.interruption import Interruption
from equipoise.engine.optimizers import Optimizer, load_state_tensors, state_tensors
from equipoise.engine.precision import Precision, PrecisionWish, choose_precision, format_named, has_native_bf16

Record = dict[str, Tensor | float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and in what way to train; nothing here is about a particular game."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    steps: int = 1000
    batch: int = 64
    """Real examples of one update."""
    seed: int = 0
    threads: int | None = None
    """Processor threads of a run; by default what torch chooses. Another number gives other rounding."""
    accumulate: int = 1
    """Micro-batches per update; `batch` is their sum."""
    precision: PrecisionWish = "auto"
    channels_last: bool = True
    reuse: bool = True
    """One forward pass of the generator serves both moves, where there is a single micro-batch."""
    ema_half_life: float = 20_000
    """Half-life of the averaged weights in examples; 0 switches averaging off."""
    ema_ramp: float = 0.05
    measure_every: int = 50
    """How often the relative size of each update is measured, in steps."""
    save_every: int = 500
    keep: int = 3
    patience: int = 5
    """Bad steps in a row before going back to the newest checkpoint."""
    rollbacks: int = 3
    """Rollbacks before giving up."""

    def __post_init__(self):
        for name in ("steps", "batch", "accumulate", "measure_every", "save_every", "keep", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a whole number of at least 1.")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads is {self.threads}: expected a whole number of at least 1, or leave it out.")
        for name in ("ema_half_life", "ema_ramp", "rollbacks"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number of at least 0.")
        if self.batch % self.accumulate:
            raise ValueError(
                f"batch = {self.batch} cannot be split into {self.accumulate} equal micro-batches: "
                "choose a batch that is a multiple of accumulate."
            )


class Observer(Protocol):
    """Somebody who watches training and changes nothing."""

    def before_update(self, clock: Clock, player: str, parameters: Mapping[str, nn.Parameter]) -> None:
        """The mover's gradients are complete; the update comes next."""

    def after_step(self, clock: Clock, record: Record) -> None:
        """The step is done; `clock.step` counts it. The record lives on the device."""

    def on_event(self, clock: Clock, kind: str, message: str) -> None:
        """Something that a person may want to know: saved, bad_step, rollback, fallback."""


class NonFinite(Exception):
    """A loss or gradient that must not be applied."""


@dataclass
class Seat:
    """A player's place at the table: what it may move, and how."""

    settings: Optimizer
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self):
        self.optimizer = self.settings.build(self.parameters.values())

    def gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters.values() if p.grad is not None]


class Trainer:
    """Plays a game until its plan is fulfilled.

    `data(position, size)` is the batch that starts after `position` examples: a pure function, so resuming is exact.
    """

    def __init__(
        self,
        game: Game,
        data: Callable[[int, int], Any],
        *,
        players: Mapping[str, Optimizer],
        plan: Plan,
        checkpoints: Checkpoints | None = None,
        observers: Sequence[Observer] = (),
        device: torch.device | str = "cpu",
    ):
        self.device = torch.device(device)
        self.game = game.to(self.device).train()
        if plan.channels_last:
            self.game.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.data, self.plan, self.checkpoints, self.observers = data, plan, checkpoints, tuple(observers)
        self.micro_batch = plan.batch // plan.accumulate
        self.clock = Clock(
            total=plan.steps,
            reuse=plan.reuse and plan.accumulate == 1,  # K micro-batches would keep K graphs alive
            lazy={name: weight_and_interval(weight)[1] for name, weight in game.weights.items()},
        )
        self.rollbacks = 0
        self.bad_in_a_row = 0
        self.record: Record = {}
        self.precision: Precision = "fp32"
        self.rehearse()
        self.seats = seat_players(game, players)
        self.averaging = Averaging(game, game.averaged, half_life=plan.ema_half_life, ramp=plan.ema_ramp)
        self.precision = self.choose_precision()

    # ---------------------------------------------------------------- the loop

    def fit(self, *, until: int | None = None) -> None:
        """Train up to step `until`, by default to the end of the plan, saving on the way.

        Raises `Interrupted` after saving on SIGTERM or SIGINT, `DivergedError` when rolling back did not help,
        `DiskError` when saving fails.
        """
        goal = self.plan.steps if until is None else min(until, self.plan.steps)
        self.game.train()
        with torch.random.fork_rng(), Interruption() as interruption:
            self.save()
            while self.clock.step < goal and not interruption.signal_number:
                self.advance()
                self.recover()
                if self.clock.every(self.plan.save_every) or self.clock.step == self.plan.steps:
                    self.save()
            if interruption.signal_number:
                self.save()
                number = interruption.signal_number
                raise Interrupted(
                    f"Stopped by signal {number} after step {self.clock.step}; everything is saved.",
                    signal_number=number,
                )

    def advance(self) -> None:
        """One step. Every micro-batch plays the same move before the player is updated."""
        before = [buffer.clone() for buffer in self.game.buffers()]
        self.record = {}
        # The position decides the randomness, not history; a rollback gets a new stream.
        seed_torch(stable_seed(self.plan.seed, "step", self.clock.step, self.rollbacks), self.device)
        stream, start = self.stream(), self.clock.examples
        games = [self.game.step(stream, self.clock) for _ in range(self.plan.accumulate)]
        try:
            while moves := self.next_moves(games):
                self.update(moves)
        except NonFinite as bad:
            for step in games:
                step.close()
            for buffer, value in zip(self.game.buffers(), before, strict=True):
                buffer.copy_(value)
            self.bad_in_a_row += 1
            self.tell("bad_step", f"{bad} The move was not applied.")
        else:
            self.bad_in_a_row = 0
            self.averaging.update(num_examples=self.clock.examples, batch=self.clock.examples - start)
        self.clock.step += 1
        for observer in self.observers:
            observer.after_step(self.clock, self.record)

    def next_moves(self, games: Sequence[Moves]) -> list[Move]:
        """The next move of every micro-batch, its gradient accumulated on the mover; empty at the end of the step."""
        moves = []
        for step in games:
            with self.autocast():  # entered anew for each move: a cached cast of updated weights would be wrong
                move = next(step, None)
            if move is not None:
                self.backward(move)
                moves.append(move)
        alike = len({(m.player, *m.terms) for m in moves}) <= 1 and len(moves) in (0, len(games))
        assert alike, (
            "The micro-batches of one step played different moves: a step may branch only on the clock and on buffers."
        )
        return moves

    def backward(self, move: Move) -> None:
        """Add the gradient of the weighted terms to the mover's parameters, and to nobody else's."""
        seat = self.seats[move.player]
        losses = [self.weight(f"{move.player}/{name}") * term.float().mean() for name, term in move.terms.items()]
        torch.stack(losses).sum().div(self.plan.accumulate).backward(inputs=list(seat.parameters.values()))

    def update(self, moves: Sequence[Move]) -> None:
        """Apply one move to its player, unless anything about it is not finite."""
        player, seat = moves[0].player, self.seats[moves[0].player]
        terms = {name: torch.cat([m.terms[name].detach().flatten() for m in moves]) for name in moves[0].terms}
        norm = torch.nn.utils.get_total_norm(seat.gradients())
        self.check_finite(player, terms, norm)
        for observer in self.observers:
            observer.before_update(self.clock, player, seat.parameters)
        if seat.settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(seat.parameters.values(), seat.settings.clip_norm, norm)
        rate = value_at(seat.settings.learning_rate, self.clock.progress) * 0.5**self.rollbacks
        for group in seat.optimizer.param_groups:
            group["lr"] = rate
        with self.measured(player, seat):
            seat.optimizer.step()
        seat.optimizer.zero_grad(set_to_none=True)
        for name in moves[0].remember:
            value = torch.stack([m.remember[name].to(self.device) for m in moves]).mean(0)
            self.game.get_buffer(name).copy_(value)
        self.record |= {f"loss/{player}/{name}": term for name, term in terms.items()}
        self.record |= {f"gradient/{player}": norm, f"learning_rate/{player}": rate}
        for name in moves[0].watch:
            self.record[f"watch/{name}"] = torch.cat([m.watch[name].flatten() for m in moves])

    # ---------------------------------------------------------------- what a step is made of

    def stream(self) -> Iterator[Any]:
        """Batches of this step. A step may draw as many as it likes; the next step goes on after them."""
        while True:
            batch = self.data(self.clock.examples, self.micro_batch)
            self.clock.examples += self.micro_batch
            yield self.place(batch)

    def place(self, batch: Any) -> Any:
        """A tensor or a tuple of tensors, on the device, images in the memory layout of the networks."""
        if torch.is_tensor(batch):
            layout = torch.channels_last if self.plan.channels_last and batch.ndim == 4 else torch.preserve_format
            return batch.to(self.device, memory_format=layout)
        return tuple(self.place(part) for part in batch)

    def weight(self, term: str) -> float:
        """What a term counts now; a lazy one counts for all the steps between."""
        weight, interval = weight_and_interval(self.game.weights.get(term, 1.0))
        return value_at(weight, self.clock.progress) * interval

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def check_finite(self, player: str, terms: Mapping[str, Tensor], norm: Tensor) -> None:
        sums = torch.stack([norm.float(), *[term.float().sum() for term in terms.values()]])
        if not torch.isfinite(sums).all():
            for seat in self.seats.values():
                seat.optimizer.zero_grad(set_to_none=True)
            names = [name for name, term in terms.items() if not torch.isfinite(term).all()]
            origin = f"the loss {' and '.join(names)}" if names else "the gradient"
            raise NonFinite(f"Step {self.clock.step}, move of {player}: {origin} is not finite.")

    @contextmanager
    def measured(self, player: str, seat: Seat) -> Iterator[None]:
        """Now and then, record the update's size relative to the weights' size."""
        if not self.clock.every(self.plan.measure_every):
            yield
            return
        weights = list(seat.parameters.values())
        before = [weight.detach().clone() for weight in weights]
        yield
        moved = torch._foreach_sub([weight.detach() for weight in weights], before)
        self.record[f"update/{player}"] = total_norm(moved) / total_norm(before).clamp_min(1e-12)

    def tell(self, kind: str, message: str) -> None:
        for observer in self.observers:
            observer.on_event(self.clock, kind, message)

    # ---------------------------------------------------------------- before the first step

    @contextmanager
    def rehearsal(self, clock: Clock) -> Iterator[Moves]:
        """The moves of one step that is played for nothing: weights, randomness and data position stay as they are."""
        before = {name: tensor.clone() for name, tensor in named_tensors(self.game).items()}
        stay, self.clock = self.clock, clock
        with torch.random.fork_rng():
            torch.manual_seed(stable_seed(self.plan.seed, "rehearsal"))
            try:
                yield self.game.step(self.stream(), clock)
            finally:
                self.clock = stay
                for name, tensor in named_tensors(self.game).items():
                    tensor.copy_(before.get(name, tensor))

    def rehearse(self) -> None:
        """Play a step at the start, in the middle and at the end of training, and compare its terms with the weights.

        Raises `RecipeError` for a weight whose term never appears and for a move of somebody who is not a player.
        """
        seen: dict[str, None] = {}
        players = self.game.players
        for step in (0, self.plan.steps // 2, self.plan.steps - 1):
            clock = replace(self.clock, step=step, lazy={})
            with self.rehearsal(clock) as moves:
                for move in moves:
                    if move.player not in players:
                        hint = nearest(move.player, players)
                        raise RecipeError(f"A move of {move.player!r}, who is not a player. {hint}")
                    seen |= dict.fromkeys(f"{move.player}/{name}" for name in move.terms)
                    for name, term in move.terms.items():
                        if not term.requires_grad:
                            raise RecipeError(f"The term {move.player}/{name} depends on no parameter that can move.")
        for name in self.game.weights:
            if name not in seen:
                raise RecipeError(f"The weight {name!r} matches no term of the game. {nearest(name, seen)}")

    def choose_precision(self) -> Precision:
        """The number format the plan asks for; "auto" measures one rehearsed step in both, where bfloat16 is native."""
        if self.plan.precision != "auto":
            return self.plan.precision
        if not has_native_bf16(self.device):
            return "fp32"
        return choose_precision(self.play_for_nothing) if self.device.type == "cpu" else "bf16"

    def play_for_nothing(self, precision: Precision) -> None:
        """Forward and backward passes of one step in the given format, without any update."""
        former, self.precision = self.precision, precision
        try:
            with self.rehearsal(replace(self.clock, step=1)) as step:
                while self.next_moves([step]):
                    for seat in self.seats.values():
                        seat.optimizer.zero_grad(set_to_none=True)
        finally:
            self.precision = former

    # ---------------------------------------------------------------- saving, resuming, going back

    def snapshot(self) -> Snapshot:
        """Everything that the next step depends on."""
        return Snapshot(
            tensors={
                "game": dict(self.game.state_dict()),
                "averaged": self.averaging.averages,
                **{f"optimizer-{p}": state_tensors(s.optimizer, s.parameters) for p, s in self.seats.items()},
            },
            state={
                "step": self.clock.step,
                "examples": self.clock.examples,
                "rollbacks": self.rollbacks,
                "bad_in_a_row": self.bad_in_a_row,
                "precision": self.precision,
            },
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Stand where the snapshot was taken. Raises `CheckpointError` if it belongs to another game."""
        tensors, state = snapshot.tensors, snapshot.state
        try:
            if missing := self.game.state_dict().keys() - tensors["game"].keys():  # batch norm would make up its count
                raise KeyError(*sorted(missing))
            self.game.load_state_dict(dict(tensors["game"]))
            self.averaging.load(tensors["averaged"])
            for player, seat in self.seats.items():
                saved = tensors[f"optimizer-{player}"]
                load_state_tensors(seat.optimizer, seat.parameters, saved, moments=seat.settings.moments())
            self.clock.step, self.clock.examples = int(state["step"]), int(state["examples"])
            self.rollbacks, self.bad_in_a_row = int(state["rollbacks"]), int(state["bad_in_a_row"])
            self.precision = format_named(state["precision"]) if self.plan.precision == "auto" else self.plan.precision
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"The checkpoint does not fit this game: {error}") from error

    def save(self) -> None:
        """Save now, if there is a place to save to. A state with a non-finite weight is never saved."""
        if self.checkpoints is None:
            return
        snapshot = self.snapshot()
        tensors = [t for part in snapshot.tensors.values() for t in part.values() if t.is_floating_point()]
        if not math.isfinite(total_norm(tensors).item()):
            self.bad_in_a_row = self.plan.patience
            self.recover()
            return
        if not self.checkpoints.sound(self.clock.step):
            self.checkpoints.save(self.clock.step, snapshot)
            self.tell("saved", f"Saved step {self.clock.step}.")

    def resume(self) -> bool:
        """Stand where the newest sound checkpoint was taken; False where there is none."""
        snapshot = self.checkpoints.newest() if self.checkpoints else None
        if snapshot is None:
            return False
        self.restore(snapshot)
        return True

    def recover(self) -> None:
        """After too many bad steps in a row: back to the newest checkpoint, new noise, half the learning rate."""
        if self.bad_in_a_row < self.plan.patience:
            return
        step, rollbacks = self.clock.step, self.rollbacks + 1
        if rollbacks > self.plan.rollbacks or self.checkpoints is None or not self.resume():
            raise DivergedError(
                f"Training diverged: {self.bad_in_a_row} steps in a row before step {step} had non-finite values, "
                f"after {self.rollbacks} rollbacks. Lower the learning rates, add a gradient penalty such as R1, or "
                "train with precision fp32."
            )
        self.rollbacks, self.bad_in_a_row = rollbacks, 0
        self.tell(
            "rollback",
            f"Back from step {step} to step {self.clock.step}: rollback {rollbacks} of {self.plan.rollbacks}, "
            f"with new noise and the learning rates multiplied by {0.5**rollbacks:g}.",
        )


def seat_players(game: Game, players: Mapping[str, Optimizer]) -> dict[str, Seat]:
    """Give every player of the game its trainable parameters and its optimiser."""
    for name in players:
        if name not in game.players:
            hint = nearest(name, game.players)
            raise RecipeError(f"Settings for the player {name!r}, whom the game does not have. {hint}")
    names = {parameter: name for name, parameter in game.named_parameters()}
    seats = {}
    for player, modules in game.players.items():
        mine = {names[p]: p for module in modules for p in module.parameters() if p.requires_grad}
        if not mine:
            raise RecipeError(f"The player {player!r} has no parameter that can move.")
        seats[player] = Seat(players.get(player, Optimizer()), mine)
    return seats


def named_tensors(game: Game) -> dict[str, Tensor]:
    """All parameters and buffers of a game, without gradient."""
    return {name: tensor.detach() for name, tensor in [*game.named_parameters(), *game.named_buffers()]}


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all values together."""
    return torch.nn.utils.get_total_norm(tensors)
