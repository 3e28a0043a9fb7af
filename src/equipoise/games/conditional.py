"""Conditional GAN: a generator of chosen classes (Mirza & Osindero 2014; Odena et al. 2017; Miyato & Koyama 2018)."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, LatentGame, Move, Moves
from equipoise.core.schedule import Lazy, Scheduled
from equipoise.objectives import Adversarial, Penalty, classification


class ConditionalGAN(LatentGame):
    """As `GAN`, with the class given to both networks.

    How the critic uses the class is its own affair (projection, concatenation). A critic that answers class scores is
    an auxiliary classifier: then both players also minimise its classification loss (Odena et al. 2017, Eq. 3), D on
    real data, G on generated data, G weighted by `auxiliary`.
    """

    averaged = ("G",)

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        z_dim: int,
        num_classes: int,
        loss: Adversarial,
        penalties: Mapping[str, tuple[Penalty, Scheduled | Lazy]] | None = None,
        critic_steps: int = 1,
        auxiliary: Scheduled | None = None,
    ):
        super().__init__()
        self.G, self.D, self.z_dim, self.num_classes, self.loss = G, D, z_dim, num_classes, loss
        self.penalties = {name: penalty for name, (penalty, _) in (penalties or {}).items()}
        self.weights = {f"D/{name}": weight for name, (_, weight) in (penalties or {}).items()}
        if auxiliary is not None:
            self.weights |= {"G/classes": auxiliary}
        self.critic_steps = critic_steps

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def step(self, data: Iterator[tuple[Tensor, Tensor]], now: Clock) -> Moves:
        for left in reversed(range(self.critic_steps)):
            x, y = next(data)  # [N, C, H, W], [N]
            with torch.set_grad_enabled(now.reuse and left == 0):
                fake = self.G(self.noise(x), y)
            real, forged = self.D(x, y), self.D(fake.detach(), y)
            terms = {"adversarial": self.loss.d(real.logits, forged.logits)}
            if real.classes is not None:
                terms |= {"classes": classification(real.classes, y)}
            terms |= {
                name: penalty(lambda x, y=y: self.D(x, y).logits, x, fake.detach())
                for name, penalty in self.penalties.items()
                if now.due(f"D/{name}")
            }
            yield Move("D", terms, watch={"real": real.logits, "fake": forged.logits})

        if not now.reuse:
            fake = self.G(self.noise(x), y)
        forged = self.D(fake, y)
        real_logits = self.D(x, y).logits if self.loss.compares else forged.logits
        terms = {"adversarial": self.loss.g(real_logits, forged.logits)}
        if forged.classes is not None:
            terms |= {"classes": classification(forged.classes, y)}
        yield Move("G", terms)

    def noise(self, x: Tensor) -> Tensor:
        """Standard normal latents z [N, Z] for a batch of N."""
        return torch.randn(len(x), self.z_dim, device=x.device)

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            raise ValueError(f"A conditional generator needs labels [N] from 0 to {self.num_classes - 1}: none given.")
        return self.G(z, labels)

    def sample(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        return {"fake": self.G(self.noise(x), y)}

    def judge(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return self.D(x, y).logits
