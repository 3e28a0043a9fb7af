"""CoGAN (Liu & Tuzel 2016): images of two domains that belong together, learnt without any pair."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from equipoise.core.game import Clock, LatentGame, Move, Moves, Verdict
from equipoise.core.schedule import Lazy, Scheduled
from equipoise.networks.coupled import CoupledCritic, CoupledGenerator, Pair
from equipoise.objectives import Adversarial, Penalty

DOMAINS = ("a", "b")


class CoGAN(LatentGame):
    """One latent becomes an image of each domain; batches are (x_a, x_b), which do not belong together.

    Both domains play the GAN of their own, and each player minimises the sum (Sec. 3). What makes the images belong
    together are the shared weights: the first layers of G, which say what is seen, and the last ones of D.
    """

    averaged = ("G",)

    def __init__(
        self,
        G: CoupledGenerator,
        D: CoupledCritic,
        *,
        z_dim: int,
        loss: Adversarial,
        penalties: Mapping[str, tuple[Penalty, Scheduled | Lazy]] | None = None,
    ):
        super().__init__()
        self.G, self.D, self.z_dim, self.loss = G, D, z_dim, loss
        self.penalties = {name: penalty for name, (penalty, _) in (penalties or {}).items()}
        self.weights = {
            f"D/{name}_{domain}": weight for name, (_, weight) in (penalties or {}).items() for domain in DOMAINS
        }

    @property
    def players(self) -> dict[str, list[torch.nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        x = Pair(*next(data))  # [N, C, H, W] of each domain
        with torch.set_grad_enabled(now.reuse):
            fake = self.made(x)
        shown = Pair(*(image.detach() for image in fake))
        real, forged = self.verdicts(x), self.verdicts(shown)
        yield Move(
            "D",
            self.slopes(x, shown, now),
            a=self.loss.d(real[0].logits, forged[0].logits),
            b=self.loss.d(real[1].logits, forged[1].logits),
            watch={"real": real[1].logits, "fake": forged[1].logits},
        )

        if not now.reuse:
            fake = self.made(x)
        forged = self.verdicts(fake)
        real = self.verdicts(x) if self.loss.compares else forged
        yield Move(
            "G",
            a=self.loss.g(real[0].logits, forged[0].logits),
            b=self.loss.g(real[1].logits, forged[1].logits),
        )

    def made(self, x: Pair) -> Pair:
        """As many pairs as there are images."""
        return self.G(torch.randn(len(x.b), self.z_dim, device=x.b.device))

    def verdicts(self, x: Pair) -> tuple[Verdict, Verdict]:
        """What D says of the images of each domain."""
        return self.D(x.a, 0), self.D(x.b, 1)

    def slopes(self, x: Pair, fake: Pair, now: Clock) -> dict[str, Tensor]:
        """The penalties on D's slope that are due, for each domain."""
        return {
            f"{name}_{DOMAINS[k]}": penalty(lambda image, k=k: self.D(image, k).logits, x[k], fake[k])
            for name, penalty in self.penalties.items()
            for k in range(2)
            if now.due(f"D/{name}_{DOMAINS[k]}")
        }

    # ---------------------------------------------------------------- outputs

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images of the second domain."""
        return self.G(z).b

    def together(self, z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        return tuple(self.G(z))

    def sample(self, batch: Any) -> dict[str, Tensor]:
        x = second(batch)
        made = self.G(torch.randn(len(x), self.z_dim, device=x.device))
        return {"B": made.b, "A": made.a}

    def judge(self, batch: Any) -> Tensor:
        """What D says of images of the second domain."""
        return self.D(second(batch), 1).logits

    def described(self, batch: Any) -> Tensor | None:
        return self.D(second(batch), 1).features[-1].flatten(1)


def second(batch: Any) -> Tensor:
    """Images of the second domain, of a batch of both or alone."""
    return batch[1] if isinstance(batch, tuple | list) else batch
