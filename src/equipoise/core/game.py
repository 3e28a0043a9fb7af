"""The vocabulary of the library: a `Game` between players; one training step of it is a sequence of `Move`s."""

from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

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


Moves = Generator[Move, None, None]
"""What a step is: after each yield, the player who moved has been updated."""


@dataclass
class Clock:
    """Where training stands. A step may ask it the time; only the trainer sets it."""

    step: int = 0
    total: int = 1
    examples: int = 0
    """Real examples drawn so far, by all processes."""
    reuse: bool = False
    """Whether one forward pass of a generator may serve two moves (it keeps the graph alive between them)."""
    lazy: Mapping[str, int] = field(default_factory=dict)
    """Terms that are not computed at every step: name -> every how many steps."""

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


class Game(nn.Module):
    """One paper: its networks, who owns them, what a training step is, and how to sample.

    Whatever must survive a restart is a parameter or a buffer of the game.
    """

    weights: Mapping[str, Scheduled | Lazy] = {}
    """"player/term" -> λ, applied once, by the trainer; a term that is not named here weighs 1."""

    averaged: Sequence[str] = ()
    """Names of the submodules whose exponential moving average is kept and used for samples."""

    @property
    @abstractmethod
    def players(self) -> Mapping[str, Sequence[nn.Module]]:
        """Which modules each player updates."""

    @abstractmethod
    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        """The paper's algorithm: yield one `Move` per update. After each yield, that player has been updated."""

    @abstractmethod
    def sample(self, batch: Any) -> dict[str, Tensor]:
        """Outputs to look at and to measure, by name, for one batch of data."""

    @abstractmethod
    def judge(self, batch: Any) -> Tensor:
        """The critic's logits on one batch of real data; draws no randomness and changes no buffer in eval mode."""


class LatentGame(Game):
    """A game whose generator makes examples from latents alone, or from latents and classes."""

    z_dim: int
    num_classes: int = 0
    """0 where the generator takes no class."""

    @abstractmethod
    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Examples from latents z [N, Z], standard normal, and class numbers [N] int64."""
