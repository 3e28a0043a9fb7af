"""Balancers: the weights of several terms of one player, found while it trains. `objectives.balance` has them."""

from typing import NamedTuple, Protocol

from torch import Tensor

State = dict[str, Tensor]
"""What a balancer remembers, saved with a checkpoint. "weights" [K] is what each term counts now, beside the table."""


class Measured(NamedTuple):
    """What a move of a player showed of its balanced terms, each already multiplied by its weight in the table."""

    terms: tuple[str, ...]
    losses: Tensor
    """Their means over the batch, [K]."""
    products: Tensor | None
    """Inner products of their gradients, [K, K]; the diagonal holds squared norms. None where nobody measured."""


class Balancer(Protocol):
    """What says how much each of several terms of one player counts. It is settings alone; its state is data.

    The trainer multiplies each balanced term by its weight in `Game.weights` and by that of the state. It measures each
    move, over all of its micro-batches, and once the move is applied asks for the state of the next: a move that is
    refused teaches nothing.
    """

    @property
    def terms(self) -> tuple[str, ...]:
        """Which terms; if empty, all that the player minimises at the end of training."""
        ...

    @property
    def every(self) -> int:
        """Every how many steps their gradients are measured; 0 for a balancer that asks for losses alone."""
        ...

    @property
    def at(self) -> str | None:
        """To which module of the game, by name, such as "G.out"; None is all that the player moves."""
        ...

    def begin(self, terms: tuple[str, ...]) -> State:
        """The state before the first move. Raises ValueError for terms that it cannot balance."""
        ...

    def learn(self, state: State, seen: Measured) -> State:
        """The state after a move, new tensors."""
        ...
