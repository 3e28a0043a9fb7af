"""SGAN (Salimans et al. 2016, section 5): classification learnt from few labels, many other examples and fakes."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, Game, LatentGame, Move, Moves, Verdict
from equipoise.core.schedule import Scheduled, scaled
from equipoise.objectives import Adversarial, classification

Matching = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
"""From the features of real and of generated examples to a loss."""


class SGAN(LatentGame):
    """D scores K classes; the score of a further one, "fake", is 0. Batches are (x_u, x_l, y): unlabelled, labelled.

    With Z = log Σₖ exp lₖ, D minimises L_lab = -l_y + Z on labelled examples and, on unlabelled ones and fakes,
    L_unl = (sp(-Z(x_u)) + sp(Z(G(z)))) / 2, which is -Z/2 + sp(Z)/2 + sp(Z(G(z)))/2: half of the loss of a critic whose
    logit is Z. G matches the mean features of real examples, and nothing else.

    With `num_classes` G is told a class, drawn evenly, and also minimises D's classification loss of what it makes.
    """

    averaged = ("G", "D")

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        z_dim: int,
        loss: Adversarial,
        matching: Matching,
        num_classes: int = 0,
        unlabelled: Scheduled = 1.0,
    ):
        super().__init__()
        self.G, self.D, self.z_dim, self.num_classes = G, D, z_dim, num_classes
        self.loss, self.matching = loss, matching
        self.weights = {"D/unlabelled": scaled(unlabelled, 0.5)}

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        x_u, x_l, y = next(data)  # [N, ...], [N, ...], [N]
        with torch.set_grad_enabled(now.reuse):
            fake, wanted = self.made(x_u)
        labelled, real, forged = self.D(x_l), self.D(x_u), self.D(fake.detach())
        yield Move(
            "D",
            labelled=classification(labelled.classes, y),  # L_lab
            unlabelled=self.loss.d(real.logits, forged.logits),  # 2 L_unl
            watch={"real": real.logits, "fake": forged.logits},
        )

        if not now.reuse:
            fake, wanted = self.made(x_u)
        with torch.no_grad():
            real = self.D(x_u)
        forged = self.D(fake)
        more = {} if wanted is None else {"classes": classification(forged.classes, wanted)}
        yield Move("G", more, features=self.matching(real.features, forged.features))

    def made(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """As many fakes as there are examples, and the classes that they should have, where G is told any."""
        y = torch.randint(self.num_classes, (len(x),), device=x.device) if self.num_classes else None
        return self.generate(torch.randn(len(x), self.z_dim, device=x.device), y), y

    # ---------------------------------------------------------------- outputs

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if (labels is not None) != bool(self.num_classes):
            raise ValueError(
                f"Labels [N] from 0 to {self.num_classes - 1} are needed: none given."
                if self.num_classes
                else "This generator makes no chosen classes: leave the labels out."
            )
        return self.G(z, labels) if self.num_classes else self.G(z)

    def sample(self, batch: Any) -> dict[str, Tensor]:
        return {"fake": self.made(examples_of(batch))[0]}

    def judge(self, batch: Any) -> Tensor:
        return self.verdict(batch).logits

    def described(self, batch: Any) -> Tensor | None:
        return self.verdict(batch).features[-1].flatten(1)

    def classified(self, x: Tensor) -> Tensor:
        """Class scores [N, K] of examples."""
        return scores_of(self.D, x)

    def verdict(self, batch: Any) -> Verdict:
        """What D says of examples."""
        return self.D(examples_of(batch))


class Supervised(Game):
    """What SGAN is measured against: the same network D, which learns from the labelled examples alone."""

    averaged = ("D",)

    def __init__(self, D: nn.Module):
        super().__init__()
        self.D = D

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        _, x_l, y = next(data)
        yield Move("D", labelled=classification(self.D(x_l).classes, y))

    def sample(self, batch: Any) -> dict[str, Tensor]:
        return {"classes": self.classified(examples_of(batch))}

    def judge(self, batch: Any) -> Tensor:
        return self.D(examples_of(batch)).logits

    def classified(self, x: Tensor) -> Tensor:
        """Class scores [N, K] of examples."""
        return scores_of(self.D, x)


def examples_of(batch: Any) -> Tensor:
    """The examples, or the unlabelled ones, of a batch."""
    return batch[0] if isinstance(batch, tuple | list) else batch


def scores_of(D: nn.Module, x: Tensor) -> Tensor:
    """Class scores [N, K] of examples."""
    scores = D(x).classes
    assert scores is not None
    return scores
