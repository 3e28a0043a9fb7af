"""CycleGAN (Zhu et al. 2017): translation between two domains without pairs, by cycles that come back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from equipoise.core.game import Clock, Move, Moves
from equipoise.core.schedule import Scheduled, scaled
from equipoise.games.answers import Answerer, Choice, PictureGame, fit_of
from equipoise.games.pool import FakePool
from equipoise.games.restorer import of_examples
from equipoise.objectives import Adversarial, l1


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the terms of CycleGAN count."""

    adversarial: Scheduled = 2.0
    """In G's loss; D's counts half as much, "which slows down the rate at which D learns" (Zhu et al. 2017, Sec. 4).
    With least_squares, which has a half of its own (Mao et al. 2017, Eq. 9), 2 is the paper's loss."""
    cycle: Scheduled = 10.0
    identity: Scheduled = 5.0
    """Of the term that keeps what is of the target domain already; 0 leaves it out, where colours must change."""


class CycleGAN(PictureGame):
    """G: X -> Y and F: Y -> X, against D_Y and D_X; the batches of data are (x, y), which do not belong together.

    Both generators are one player and both critics another. The generators minimise the adversarial losses, the
    distance of F(G(x)) from x and of G(F(y)) from y (Eq. 2), and that of G(y) from y and F(x) from x. The critics
    are shown fakes of a pool of former ones.
    """

    averaged = ("G", "F")

    def __init__(
        self,
        generators: tuple[nn.Module, nn.Module],
        critics: tuple[nn.Module, nn.Module],
        pools: tuple[FakePool, FakePool],
        *,
        loss: Adversarial,
        weights: Weights,
    ):
        super().__init__()
        (self.G, self.F), (self.D_X, self.D_Y) = generators, critics
        self.pool_X, self.pool_Y = pools
        self.loss, self.keeps_identity = loss, weights.identity != 0
        self.weights = {
            "G/adversarial": weights.adversarial,
            "G/cycle": weights.cycle,
            "D/adversarial": scaled(weights.adversarial, 0.5),
            **({"G/identity": weights.identity} if self.keeps_identity else {}),
        }

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G, self.F], "D": [self.D_X, self.D_Y]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        x, y = next(data)  # [N, C, H, W] of each domain
        y_hat, x_hat = self.G(x), self.F(y)
        shown_Y, shown_X = self.pool_Y.exchange(y_hat, now), self.pool_X.exchange(x_hat, now)

        fake_Y, fake_X = self.D_Y(y_hat).logits, self.D_X(x_hat).logits
        real_Y, real_X = (self.D_Y(y).logits, self.D_X(x).logits) if self.loss.compares else (fake_Y, fake_X)
        identity = {"identity": l1(y, self.G(y)) + l1(x, self.F(x))} if self.keeps_identity else {}
        yield Move(
            "G",
            identity,
            adversarial=self.loss.g(real_Y, fake_Y) + self.loss.g(real_X, fake_X),  # Eq. 1
            cycle=l1(x, self.F(y_hat)) + l1(y, self.G(x_hat)),  # Eq. 2
        )

        real_Y, real_X = self.D_Y(y).logits, self.D_X(x).logits
        fake_Y, fake_X = self.D_Y(shown_Y.shown).logits, self.D_X(shown_X.shown).logits
        yield Move(
            "D",
            adversarial=self.loss.d(real_Y, fake_Y) + self.loss.d(real_X, fake_X),
            watch={"real": of_examples(real_Y), "fake": of_examples(fake_Y)},
            remember={
                **{f"pool_Y.{name}": value for name, value in shown_Y.news.items()},
                **{f"pool_X.{name}": value for name, value in shown_X.news.items()},
            },
        )

    # ---------------------------------------------------------------- looking at it

    def answerer(self, choice: Choice) -> Answerer:
        choice.refuse("direction")
        match choice.direction:
            case None | "AtoB":
                return Answerer(self.G, fit_of(self.G))
            case "BtoA":
                return Answerer(self.F, fit_of(self.F))
            case other:
                raise ValueError(f'The direction is {other!r}: expected "AtoB", which is the default, or "BtoA".')

    def sample(self, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        y_hat = self.G(x)
        return {"B": y_hat, "A": self.F(y), "cycle": self.F(y_hat)}

    def judge(self, batch: Any) -> Tensor:
        """What D_Y says of the second domain."""
        return of_examples(self.D_Y(batch[1]).logits)

    def described(self, batch: Any) -> Tensor | None:
        return self.D_Y(batch[1]).features[-1].flatten(2).mean(2)
