"""The one loop. It knows players and moves; it does not know games, networks or losses."""

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from equipoise.core.errors import CheckpointError, DivergedError, Interrupted, RecipeError, nearest
from equipoise.core.game import Clock, Game, Move, Moves, TermsOf, together
from equipoise.core.schedule import Schedule, ends, value_at, weight_and_interval
from equipoise.core.seeding import seed_torch, stable_seed
from equipoise.engine.averaging import Averaging, shapes
from equipoise.engine.balancing import Balance, balances
from equipoise.engine.checkpoint import Checkpoints, Snapshot
from equipoise.engine.interruption import Interruption
from equipoise.engine.lookahead import Lookahead, SlowWeights
from equipoise.engine.optimizers import Optimizer, load_state_tensors, state_tensors
from equipoise.engine.precision import Precision, PrecisionWish, choose_precision, format_named, has_native_bf16
from equipoise.engine.tracing import watching
from equipoise.engine.unrolling import unrolled

Record = dict[str, Tensor | float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and in what way to train; nothing here is about a particular game."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    steps: int = 1000
    batch: int | Schedule = 64
    """Real examples of one update; see `batch_at` for a schedule."""
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
    lookahead: Lookahead | bool | None = None
    """Whether, and how often, all players go back part of the way."""
    measure_every: int = 50
    """How often the relative size of each update is measured, in steps."""
    shares_every: int = 512
    """How often each term's share of its player's gradient is measured, in steps: a backward pass a term. A power of
    two, so that lazy terms are due there."""
    save_every: int = 500
    keep: int = 3
    patience: int = 5
    """Bad steps in a row before going back to the newest checkpoint."""
    rollbacks: int = 3
    """Rollbacks before giving up."""

    def __post_init__(self):
        for name in ("steps", "accumulate", "measure_every", "shares_every", "save_every", "keep", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a whole number of at least 1.")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads is {self.threads}: expected a whole number of at least 1, or leave it out.")
        for name in ("ema_half_life", "ema_ramp", "rollbacks"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number of at least 0.")
        smallest, largest = sorted(ends(self.batch))
        if smallest < 1 or largest == math.inf:
            raise ValueError(f"batch is {smallest}: expected a whole number of at least 1.")
        if smallest == largest and smallest % self.accumulate:
            raise ValueError(
                f"batch = {self.batch} cannot be split into {self.accumulate} equal micro-batches: "
                "choose a batch that is a multiple of accumulate."
            )

    def batch_at(self, progress: float) -> int:
        """Real examples of one update at `progress` in [0, 1]: a growing batch calms training as a falling rate does.

        A scheduled batch is the nearest multiple of `accumulate`, and at least that. Where a step starts in the data is
        the number of examples drawn before, so that nothing is skipped or repeated when the size changes.

        Default: off (batch = 64 throughout).
        Cost: time and memory of the largest batch.
        Source: Smith et al. 2018, Don't Decay the Learning Rate, Increase the Batch Size; Brock et al. 2019.
        """
        return max(math.floor(value_at(self.batch, progress) / self.accumulate + 0.5), 1) * self.accumulate


class Observer(Protocol):
    """Somebody who watches training and changes nothing."""

    def before_update(self, clock: Clock, player: str, parameters: Mapping[str, nn.Parameter]) -> None:
        """The mover's gradients are complete; the update comes next."""

    def after_step(self, clock: Clock, record: Record) -> None:
        """The step is done; `clock.step` counts it. The record lives on the device."""

    def on_event(self, clock: Clock, kind: str, message: str) -> None:
        """Something that a person may want to know: saved, bad_step, rollback, fallback."""


class NonFinite(Exception):
    """A loss or gradient of a player that must not be applied."""

    def __init__(self, message: str, *, player: str):
        super().__init__(message)
        self.player = player


@dataclass
class Seat:
    """A player's place at the table: what it may move, and how."""

    settings: Optimizer
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer = field(init=False)
    home: list[Tensor] = field(init=False, default_factory=list)
    """The weights that an extrapolation started from, until the player goes back there; else nothing."""

    def __post_init__(self):
        self.optimizer = self.settings.build(self.parameters.values())

    def gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters.values() if p.grad is not None]

    def leave_home(self) -> None:
        """Remember where the player stands."""
        self.home = [p.detach().clone() for p in self.parameters.values()]

    def go_home(self) -> None:
        """Stand where the extrapolation started, if there was one."""
        if self.home:
            torch._foreach_copy_([p.detach() for p in self.parameters.values()], self.home)
            self.home = []


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
        self.players, self.seats = players, dict[str, Seat]()
        self.clock = Clock(
            total=plan.steps,
            micro_batches=plan.accumulate,
            reuse=plan.reuse and plan.accumulate == 1,  # K micro-batches would keep K graphs alive
            lazy={name: weight_and_interval(weight)[1] for name, weight in game.weights.items()},
            unroll=self.unroll,
        )
        self.rollbacks = 0
        self.bad_in_a_row = 0
        self.record: Record = {}
        self.precision: Precision = "fp32"
        self.balance = dict[str, Balance]()
        moves = self.rehearse()
        self.seats = seat_players(game, players)
        self.balance = balances(game, moves, {player: seat.parameters for player, seat in self.seats.items()})
        self.extrapolating = any(seat.settings.extrapolates for seat in self.seats.values())
        weights = {name: p for seat in self.seats.values() for name, p in seat.parameters.items()}
        settings = Lookahead() if plan.lookahead is True else plan.lookahead
        self.slow = SlowWeights(settings, weights) if settings else None
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
        """One step. Every micro-batch plays the same moves before their players are updated."""
        before = [buffer.clone() for buffer in self.game.buffers()]
        self.record = {}
        # The position decides the randomness, not history; a rollback gets a new stream.
        seed_torch(stable_seed(self.plan.seed, "step", self.clock.step, self.rollbacks), self.device)
        start = self.clock.examples
        try:
            if self.extrapolating:
                self.play_twice(before)
            else:
                self.play(self.update)
        except NonFinite as bad:
            self.reset_buffers(before)
            self.bad_in_a_row += 1
            where = self.origin(start) if self.bad_in_a_row == 1 else ""
            self.record[f"refused/{bad.player}"] = 1.0
            self.tell("bad_step", f"{bad} The move was not applied.{where}")
        else:
            self.bad_in_a_row = 0
            if self.slow:
                self.slow.after_step(self.clock.step + 1)
            self.averaging.update(num_examples=self.clock.examples, batch=self.clock.examples - start)
        self.clock.step += 1
        for observer in self.observers:
            observer.after_step(self.clock, self.record)

    def play(self, apply: Callable[[Sequence[Sequence[Move]]], None], movers: Container[str] | None = None) -> None:
        """All moves of one step, in which only the `movers` have gradients; None is everybody."""
        stream = self.stream()
        games = [self.game.step(stream, self.clock) for _ in range(self.plan.accumulate)]
        try:
            while turn := self.next_moves(games, movers):
                apply(turn)
        finally:
            for step in games:
                step.close()

    def play_twice(self, buffers: Sequence[Tensor]) -> None:
        """One step of players who extrapolate: once to look ahead, once more from where they started.

        The first time leaves nothing but moments, and the weights at which the second time's gradients are taken.
        """
        for seat in self.seats.values():
            seat.leave_home()
        try:
            self.play(self.look_ahead, {p for p, seat in self.seats.items() if seat.settings.extrapolates})
            self.reset_buffers(buffers)
            for seat in self.seats.values():
                if not seat.settings.extrapolates:
                    seat.go_home()  # the step itself may have changed it, as by clipping weights
            self.play(self.update)
        finally:
            for seat in self.seats.values():
                seat.go_home()

    def next_moves(self, games: Sequence[Moves], movers: Container[str] | None = None) -> list[tuple[Move, ...]]:
        """The next moves of all micro-batches, by player, their gradients accumulated; empty at the end of the step.

        There is more than one player where the step yields several moves together.
        """
        turns = []
        for balance in self.balance.values():
            balance.forget()
        for step in games:
            with self.autocast():  # entered anew for each move: a cached cast of updated weights would be wrong
                turn = together(next(step, ()))
            for move in turn:
                if movers is None or move.player in movers:
                    self.backward(move, keep_graph=move is not turn[-1])
            if turn:
                turns.append(turn)
        kinds = {tuple((move.player, *move.terms) for move in turn) for turn in turns}
        alike = len(kinds) <= 1 and len(turns) in (0, len(games))
        assert alike, (
            "The micro-batches of one step played different moves: a step may branch only on the clock and on buffers."
        )
        return list(zip(*turns))

    def backward(self, move: Move, *, keep_graph: bool = False) -> None:
        """Add the gradient of the weighted terms to the mover's parameters, and to nobody else's."""
        seat = self.seats[move.player]
        if len(move.terms) > 1 and self.clock.every(self.plan.shares_every):
            self.record |= self.shares(move, seat)
        balance = self.balance.get(move.player)
        if balance is not None and balance.concerns(move.terms) and balance.due(self.clock.step):
            share = 1 / self.plan.accumulate
            balance.measure({name: share * self.worth(move.player, name, move.terms[name]) for name in balance.terms})
        loss = self.loss(move.player, move.terms).div(self.plan.accumulate)
        loss.backward(inputs=list(seat.parameters.values()), retain_graph=keep_graph)

    def shares(self, move: Move, seat: Seat) -> dict[str, Tensor]:
        """Each term's share in the sum of the norms of a player's gradients."""
        weights = list(seat.parameters.values())
        norms = {}
        for name in move.terms:
            loss = self.loss(move.player, {name: move.terms[name]})
            slopes = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
            interval = weight_and_interval(self.game.weights.get(f"{move.player}/{name}", 1.0))[1]
            norms[name] = total_norm([slope for slope in slopes if slope is not None]) / interval
        total = torch.stack(list(norms.values())).sum().clamp_min(1e-30)
        return {f"share/{move.player}/{name}": norm / total for name, norm in norms.items()}

    def update(self, turn: Sequence[Sequence[Move]]) -> None:
        """Apply the moves of one turn to their players, unless anything about any of them is not finite."""
        checked = [(moves, *self.checked(moves)) for moves in turn]
        for moves, terms, norm in checked:
            player, seat = moves[0].player, self.seats[moves[0].player]
            seat.go_home()
            for observer in self.observers:
                observer.before_update(self.clock, player, seat.parameters)
            with self.measured(player, seat):
                rate = self.move(seat, norm)
            for name in moves[0].remember:
                value = torch.stack([m.remember[name].to(self.device) for m in moves]).mean(0)
                self.game.get_buffer(name).copy_(value)
            self.record |= {f"loss/{player}/{name}": term for name, term in terms.items()}
            balance = self.balance.get(player)
            if balance is not None and balance.concerns(terms):
                self.record |= {f"weight/{player}/{name}": self.weight(player, name) for name in balance.terms}
                balance.learn({name: self.worth(player, name, terms[name]) for name in balance.terms})
            self.record |= {f"gradient/{player}": norm, f"learning_rate/{player}": rate}
            for name in moves[0].watch:
                self.record[f"watch/{name}"] = torch.cat([m.watch[name].flatten() for m in moves])

    def look_ahead(self, turn: Sequence[Sequence[Move]]) -> None:
        """Take the players who extrapolate to the point whose gradient they want to know."""
        seats = [(moves, self.seats[moves[0].player]) for moves in turn]
        checked = [(seat, self.checked(moves)[1]) for moves, seat in seats if seat.settings.extrapolates]
        for seat, norm in checked:
            self.move(seat, norm)

    def move(self, seat: Seat, norm: Tensor) -> float:
        """One update of a player's parameters by their gradient, whose norm is given; the learning rate it took."""
        seat.settings.treat(seat.parameters.values(), norm=norm, progress=self.clock.progress)
        rate = self.rate(seat.settings, self.clock)
        for group in seat.optimizer.param_groups:
            group["lr"] = rate
        seat.optimizer.step()
        seat.optimizer.zero_grad(set_to_none=True)
        return rate

    # ---------------------------------------------------------------- what a step is made of

    def stream(self) -> Iterator[Any]:
        """Batches of this step. A step may draw as many as it likes; the next step goes on after them."""
        size = self.plan.batch_at(self.clock.progress) // self.plan.accumulate
        while True:
            batch = self.data(self.clock.examples, size)
            self.clock.examples += size
            yield self.place(batch)

    def place(self, batch: Any) -> Any:
        """A tensor or a tuple of tensors, on the device, images in the memory layout of the networks."""
        if torch.is_tensor(batch):
            layout = torch.channels_last if self.plan.channels_last and batch.ndim == 4 else torch.preserve_format
            return batch.to(self.device, memory_format=layout)
        return tuple(self.place(part) for part in batch)

    def loss(self, player: str, terms: Mapping[str, Tensor]) -> Tensor:
        """What a player minimises: the sum of the means of its terms, each by its weight."""
        return torch.stack([self.weight(player, name) * t.float().mean() for name, t in terms.items()]).sum()

    def weight(self, player: str, term: str) -> Tensor | float:
        """What a term counts now: by the table, and by the player's balancer."""
        balance = self.balance.get(player)
        return self.tabled(player, term) * (1.0 if balance is None else balance.weight(term))

    def tabled(self, player: str, term: str) -> float:
        """What a term counts by the table; a lazy one counts for all the steps between."""
        weight, interval = weight_and_interval(self.game.weights.get(f"{player}/{term}", 1.0))
        return value_at(weight, self.clock.progress) * interval

    def worth(self, player: str, term: str, values: Tensor) -> Tensor:
        """The loss of a term before it is balanced: its mean, by its weight in the table."""
        return self.tabled(player, term) * values.float().mean()

    def rate(self, settings: Optimizer, clock: Clock) -> float:
        """A player's learning rate; every rollback halves it."""
        return value_at(settings.learning_rate, clock.progress) * 0.5**self.rollbacks

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def checked(self, moves: Sequence[Move]) -> tuple[dict[str, Tensor], Tensor]:
        """The terms of one player's move in all micro-batches, and its gradient's norm. Raises NonFinite."""
        player = moves[0].player
        terms = {name: torch.cat([m.terms[name].detach().flatten() for m in moves]) for name in moves[0].terms}
        norm = total_norm(self.seats[player].gradients())
        sums = torch.stack([norm.float(), *[term.float().sum() for term in terms.values()]])
        if not torch.isfinite(sums).all():
            names = [f"the loss {name}" for name, term in terms.items() if not torch.isfinite(term).all()]
            if not names:
                slopes = {name: p.grad for name, p in self.seats[player].parameters.items() if p.grad is not None}
                names = [f"the gradient of {n}" for n, slope in slopes.items() if not torch.isfinite(slope).all()][-1:]
            for seat in self.seats.values():
                seat.optimizer.zero_grad(set_to_none=True)
            origin = " and ".join(names) or "the gradient's norm"
            raise NonFinite(f"Step {self.clock.step}, move of {player}: {origin} is not finite.", player=player)
        return terms, norm

    def origin(self, start: int) -> str:
        """Where the first value that is not finite appears when the step is played again for nothing, in words."""
        with watching(self.game) as found, self.rehearsal(replace(self.clock, examples=start)) as step:
            seed_torch(stable_seed(self.plan.seed, "step", self.clock.step, self.rollbacks), self.device)
            while not found:
                with self.autocast():
                    if not next(step, ()):
                        break
        return f" It first appeared in {found[0]}." if found else ""

    def reset_buffers(self, before: Sequence[Tensor]) -> None:
        """All buffers of the game as they were."""
        for buffer, value in zip(self.game.buffers(), before, strict=True):
            buffer.copy_(value)

    def unroll(self, clock: Clock, player: str, terms: TermsOf, steps: int) -> dict[str, Tensor]:
        """The answer to `Clock.preview`; while rehearsing, when nobody has moved yet, with moments of 0."""
        if player not in self.game.players:
            hint = nearest(player, self.game.players)
            raise RecipeError(f"A preview of {player!r}, who is not a player. {hint}")
        seat, settings = self.seats.get(player), self.players.get(player, Optimizer())
        parameters = seat.parameters if seat else own_parameters(self.game)[player]
        if not parameters:
            raise RecipeError(f"A preview of {player!r}, who has no parameters yet: let it move first, or build it.")
        state = seat.optimizer.state if seat else {}
        before = {name: buffer.clone() for name, buffer in self.game.named_buffers()}
        try:
            return unrolled(
                lambda now: self.loss(player, terms(now)),
                parameters,
                [state.get(p, {}) for p in parameters.values()],
                settings=settings,
                rate=self.rate(settings, clock),
                steps=steps,
            )
        finally:
            for name, buffer in self.game.named_buffers():
                # Past autograd's eyes: batch norm keeps its statistics for a backward pass that does not read them.
                buffer.data.copy_(before.get(name, buffer))

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

    def rehearse(self) -> dict[str, list[tuple[str, ...]]]:
        """Play a step at the start, in the middle and at the end of training, and compare its terms with the weights.

        Returns the terms of each player's moves, in this order. Raises `RecipeError` for a weight whose term never
        appears and for a move of somebody who is not a player.
        """
        seen: dict[str, None] = {}
        played: dict[str, list[tuple[str, ...]]] = {}
        players = self.game.players
        for step in (0, self.plan.steps // 2, self.plan.steps - 1):
            clock = replace(self.clock, step=step, lazy={})
            with self.rehearsal(clock) as moves:
                for turn in map(together, moves):
                    movers = [move.player for move in turn]
                    if len(set(movers)) < len(movers):
                        raise RecipeError(f"A tuple of moves of {', '.join(movers)}: expected one move a player.")
                    for move in turn:
                        if move.player not in players:
                            hint = nearest(move.player, players)
                            raise RecipeError(f"A move of {move.player!r}, who is not a player. {hint}")
                        seen |= dict.fromkeys(f"{move.player}/{name}" for name in move.terms)
                        played.setdefault(move.player, []).append(tuple(move.terms))
                        for name, term in move.terms.items():
                            if not term.requires_grad:
                                term = f"{move.player}/{name}"
                                raise RecipeError(f"The term {term} depends on no parameter that can move.")
        for name in self.game.weights:
            if name not in seen:
                raise RecipeError(f"The weight {name!r} matches no term of the game. {nearest(name, seen)}")
        return played

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
            for _ in range(2 if self.extrapolating else 1):
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
                **({"lookahead": self.slow.slow} if self.slow else {}),
                **{f"balance-{player}": balance.state for player, balance in self.balance.items()},
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
            if self.slow:
                self.slow.load(tensors["lookahead"])
            elif "lookahead" in tensors:
                raise ValueError("it was trained with lookahead, and the plan has none")
            for player, balance in self.balance.items():
                balance.load(tensors[f"balance-{player}"])
            if strangers := {n for n in tensors if n.startswith("balance-")} - {f"balance-{p}" for p in self.balance}:
                raise ValueError(f"it has a {', '.join(sorted(strangers))}, and the game balances nothing of the kind")
            for player, seat in self.seats.items():
                saved = tensors[f"optimizer-{player}"]
                load_state_tensors(seat.optimizer, seat.parameters, saved, moments=seat.settings.moments())
            self.clock.step, self.clock.examples = int(state["step"]), int(state["examples"])
            self.rollbacks, self.bad_in_a_row = int(state["rollbacks"]), int(state["bad_in_a_row"])
            self.precision = format_named(state["precision"]) if self.plan.precision == "auto" else self.plan.precision
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"The checkpoint does not fit this game: {error}") from error

    def take_over(self, snapshot: Snapshot) -> None:
        """Stand where a game with other settings was: what fits is taken over, and what is new starts as it is.

        Moments of an optimiser with another rule or other parameters are left behind.
        """
        own, tensors = self.game.state_dict(), snapshot.tensors
        self.game.load_state_dict({**own, **fitting(tensors["game"], own)})
        for name, value in self.game.state_dict().items():
            if name in self.averaging.averages:
                self.averaging.averages[name].copy_(value)
        for name, value in fitting(tensors["averaged"], self.averaging.averages).items():
            self.averaging.averages[name].copy_(value)
        for player, seat in self.seats.items():
            saved = tensors.get(f"optimizer-{player}", {})
            try:
                load_state_tensors(seat.optimizer, seat.parameters, saved, moments=seat.settings.moments())
            except ValueError:
                seat.optimizer.state.clear()
        if self.slow:
            self.slow = SlowWeights(self.slow.settings, self.slow.fast)
        for player, balance in self.balance.items():
            saved = tensors.get(f"balance-{player}", {})
            if shapes(saved) == shapes(balance.state):
                balance.load(saved)
        self.clock.step, self.clock.examples = int(snapshot.state["step"]), int(snapshot.state["examples"])
        self.rollbacks, self.bad_in_a_row = int(snapshot.state["rollbacks"]), 0

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
    seats = {}
    for player, mine in own_parameters(game).items():
        if not mine:
            raise RecipeError(f"The player {player!r} has no parameter that can move.")
        seats[player] = Seat(players.get(player, Optimizer()), mine)
    return seats


def own_parameters(game: Game) -> dict[str, dict[str, nn.Parameter]]:
    """The trainable parameters of every player, by their name in the game."""
    names = {parameter: name for name, parameter in game.named_parameters()}
    return {
        player: {names[p]: p for module in modules for p in module.parameters() if p.requires_grad}
        for player, modules in game.players.items()
    }


def named_tensors(game: Game) -> dict[str, Tensor]:
    """All parameters and buffers of a game, without gradient."""
    return {name: tensor.detach() for name, tensor in [*game.named_parameters(), *game.named_buffers()]}


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all values together."""
    return torch.nn.utils.get_total_norm(tensors)


def fitting(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the tensors that have a namesake of their shape."""
    return {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
