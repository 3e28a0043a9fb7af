"""The vocabulary of the library: a `Game` between players; one training step of it is a sequence of `Move`s."""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from equipoise.core.balance import Balancer
from equipoise.core.schedule import Lazy, Scheduled


class Verdict(NamedTuple):
    """What every critic answers.

    `logits` [N] (or [N, ...] for a critic of patches) are unbounded scores, higher for real. `features` are the layers
    that feature matching may compare. `classes` [N, K] are class scores, only from a critic with an auxiliary
    classifier.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    classes: Tensor | None = None


class Move:
    """One player's turn: the loss terms it minimises, by name, and what the monitor may look at.

    Terms are given by keyword, or as a mapping where their names are data. They are raw (their weights live in
    `Game.weights`) and may be per example: the trainer takes the mean. `remember` holds new values for buffers of the
    game, by name: the trainer averages them over micro-batches and writes them once, with the update.
    """

    def __init__(
        self,
        player: str,
        more_terms: Mapping[str, Tensor] | None = None,
        /,
        *,
        watch: Mapping[str, Tensor] | None = None,
        remember: Mapping[str, Tensor] | None = None,
        **terms: Tensor,
    ):
        self.player = player
        self.terms = {**terms, **(more_terms or {})}
        self.watch = {name: tensor.detach() for name, tensor in (watch or {}).items()}
        self.remember = {name: tensor.detach() for name, tensor in (remember or {}).items()}


Moves = Generator[Move | tuple[Move, ...], None, None]
"""What a step is: after each yield, the player who moved has been updated.

A tuple of moves is simultaneous: the gradients of all are computed before any of them is updated, in the given order.
"""


def together(turn: Move | tuple[Move, ...]) -> tuple[Move, ...]:
    """The moves of one turn: a single one is a tuple of one."""
    return turn if isinstance(turn, tuple) else (turn,)


TermsOf = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""A player's raw loss terms by name, as in its `Move`, as a function of its parameters by name."""


def no_preview(now: "Clock", player: str, terms: TermsOf, steps: int) -> dict[str, Tensor]:
    """What a clock that no trainer set can say about the future."""
    raise ValueError(
        f"Clock.preview({player!r}): this clock belongs to no trainer, so nobody knows the optimiser of {player}. "
        "Play the step in a Trainer, or set `Clock(unroll=…)`."
    )


@dataclass
class Clock:
    """Where training stands. A step may ask it the time; only the trainer sets it."""

    step: int = 0
    total: int = 1
    examples: int = 0
    """Real examples drawn so far, by all processes."""
    micro_batches: int = 1
    """How many steps are played in lock step, each on its share of a batch."""
    reuse: bool = False
    """Whether one forward pass of a generator may serve two moves (it keeps the graph alive between them)."""
    lazy: Mapping[str, int] = field(default_factory=dict)
    """Terms that are not computed at every step: name -> every how many steps."""
    unroll: "Callable[[Clock, str, TermsOf, int], dict[str, Tensor]]" = no_preview
    """How `preview` is answered."""

    def every(self, num_steps: int) -> bool:
        """True at steps 0, n, 2n, …"""
        return self.step % num_steps == 0

    def due(self, term: str) -> bool:
        """Whether the term, named "player/term" as in `Game.weights`, is computed at this step."""
        return self.every(self.lazy.get(term, 1))

    @property
    def progress(self) -> float:
        """The share of training that is done, in [0, 1]."""
        return self.step / self.total

    def preview(self, player: str, terms: TermsOf, *, steps: int = 5) -> dict[str, Tensor]:
        """Unrolling: another player's parameters after k of its own optimiser steps, as a differentiable function.

        θ⁰ = θ, θⁱ⁺¹ = θⁱ − update(∇ℓ(θⁱ)), and θᵏ is returned: tensors by their name in the game, such as
        "D.layers.0.weight". `terms` gives ℓ: from such a mapping to raw terms by name, by `torch.func.functional_call`;
        they are weighted as in that player's moves. A generator whose loss reads θᵏ instead of θ learns against the
        critic that will answer it; the gradient flows through all k steps. The updates are those of the player's rule
        (adam, adamw, rmsprop, sgd) at its present moments and learning rate, without clipping and noise. Nothing is
        changed: no parameter, no moment, no buffer.

        Default: steps = 5 (5 and 10 in the paper); off unless a game asks for it.
        Cost: k forward passes and k twice differentiable backward passes of the player; memory for k graphs.
        Source: Metz et al. 2017, Unrolled Generative Adversarial Networks.
        """
        return self.unroll(self, player, terms, steps)


class Game(nn.Module):
    """One paper: its networks, who owns them, what a training step is, and how to sample.

    Whatever must survive a restart is a parameter or a buffer of the game.
    """

    weights: Mapping[str, Scheduled | Lazy] = {}
    """"player/term" -> λ, applied once, by the trainer; a term that is not named here weighs 1."""

    balance: Mapping[str, Balancer] = {}
    """Player -> what finds further weights of several of its terms while it trains; its state is the trainer's."""

    averaged: Sequence[str] = ()
    """Names of the submodules whose exponential moving average is kept and used for samples."""

    @property
    @abstractmethod
    def players(self) -> Mapping[str, Sequence[nn.Module]]:
        """Which modules each player updates."""

    @abstractmethod
    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        """The paper's algorithm: yield one `Move` per update. After each yield, that player has been updated.

        Yield a tuple of moves where the players move simultaneously.
        """

    @abstractmethod
    def sample(self, batch: Any) -> dict[str, Tensor]:
        """Outputs to look at and to measure, by name, for one batch of data."""

    @abstractmethod
    def judge(self, batch: Any) -> Tensor:
        """The critic's logits on one batch of real data; draws no randomness and changes no buffer in eval mode."""

    def described(self, batch: Any) -> Tensor | None:
        """The critic's last features of one batch of data, [N, F]; None where a game has none. As quiet as `judge`."""
        return None

    def shown(self, batch: Any, now: Clock) -> Any:
        """A batch as the critic sees it; a game that augments its data answers the augmented batch."""
        return batch


class LatentGame(Game):
    """A game whose generator makes examples from latents alone, or from latents and classes."""

    z_dim: int
    num_classes: int = 0
    """0 where the generator takes no class."""

    @abstractmethod
    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Examples from latents z [N, Z], standard normal, and class numbers [N] int64."""

    def truncating(self, truncation: float) -> Callable[[Tensor, Tensor | None], Tensor] | None:
        """`generate` at a truncation in (0, 1) of the generator's own; None where it has none and latents are cut."""
        return None

    def together(self, z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        """All that the same latents become, to be shown side by side: more than one of a game of several domains."""
        return (self.generate(z, labels),)
