"""Games that answer pictures of any size, which `equipoise apply` writes to files."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from equipoise.core.game import Game
from equipoise.networks.anysize import AnySize


class Fit(NamedTuple):
    """What tiles must be like for a network: see `equipoise.networks.anysize`."""

    reach: int | None
    """Beyond how many input pixels an output pixel depends on nothing; None where it depends on the whole picture."""
    period: int
    """Tiles begin at multiples of it."""
    smallest: int
    """The shortest side that the network takes."""


def fit_of(network: object) -> Fit:
    """How far a network sees; the whole picture where it does not say."""
    if isinstance(network, AnySize):
        return Fit(network.reach, network.period, network.smallest)
    return Fit(None, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a person chooses of a game that can do several things; None where nothing was said."""

    direction: str | None = None
    """Of a translation between two domains, such as "AtoB"."""
    style: Tensor | None = None
    """The picture [3, h, w] in [-1, 1] whose style is taken."""
    strength: float | None = None
    """How much of the style, in [0, 1]."""
    task: str | None = None
    """Of a game of several tasks: one by name."""

    def refuse(self, *known: str) -> None:
        """Raise ValueError for anything chosen but what the game knows."""
        unknown = [name for name, value in vars(self).items() if value is not None and name not in known]
        if unknown:
            offers = f"It lets you choose: {', '.join(known)}." if known else "It does one thing."
            raise ValueError(f"This game lets nobody choose a {unknown[0]}. {offers} Leave it out.")


class Answerer(NamedTuple):
    """One thing that a trained game can do to pictures."""

    answer: Callable[[Tensor], Tensor]
    """From [1, C, h, w] to [1, C', H, W], both in [-1, 1]."""
    fit: Fit
    given: int | None = None
    """How many channels it is given; None is as in training."""
    scale: int | None = None
    """How many times larger the answer is; None is as in training."""


class PictureGame(Game):
    """A game that answers pictures."""

    @abstractmethod
    def answerer(self, choice: Choice) -> Answerer:
        """What answers pictures as chosen. Raises ValueError for a choice that there is not."""
