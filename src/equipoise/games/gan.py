"""GAN: a generator against a critic, without labels (Goodfellow et al. 2014)."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, LatentGame, Move, Moves
from equipoise.core.schedule import Lazy, Scheduled
from equipoise.objectives import Adversarial, Penalty


class GAN(LatentGame):
    """`critic_steps` moves of D on fresh data, then one move of G.

    Where the clock allows reuse, the last fakes that D learned from are the ones that G is updated on, as in the
    widely used DCGAN loops; otherwise G draws new latents, as in Goodfellow et al. 2014, Alg. 1. `clip` bounds D's
    weights after each of its moves (Arjovsky et al. 2017, Alg. 1, line 7).
    """

    averaged = ("G",)

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        z_dim: int,
        loss: Adversarial,
        penalties: Mapping[str, tuple[Penalty, Scheduled | Lazy]] | None = None,
        critic_steps: int = 1,
        clip: float | None = None,
    ):
        super().__init__()
        self.G, self.D, self.z_dim, self.loss = G, D, z_dim, loss
        self.penalties = {name: penalty for name, (penalty, _) in (penalties or {}).items()}
        self.weights = {f"D/{name}": weight for name, (_, weight) in (penalties or {}).items()}
        self.critic_steps, self.clip = critic_steps, clip

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def step(self, data: Iterator[Tensor], now: Clock) -> Moves:
        for left in reversed(range(self.critic_steps)):
            x = next(data)  # [N, ...]
            with torch.set_grad_enabled(now.reuse and left == 0):
                fake = self.G(self.noise(x))
            real_logits, fake_logits = self.D(x).logits, self.D(fake.detach()).logits  # [N]
            penalties = {
                name: penalty(lambda x: self.D(x).logits, x, fake.detach())
                for name, penalty in self.penalties.items()
                if now.due(f"D/{name}")
            }
            yield Move(
                "D",
                penalties,
                adversarial=self.loss.d(real_logits, fake_logits),
                watch={"real": real_logits, "fake": fake_logits},
            )
            if self.clip is not None:
                clip_weights(self.D, self.clip)

        if not now.reuse:
            fake = self.G(self.noise(x))
        fake_logits = self.D(fake).logits
        real_logits = self.D(x).logits if self.loss.compares else fake_logits
        yield Move("G", adversarial=self.loss.g(real_logits, fake_logits))

    def noise(self, x: Tensor) -> Tensor:
        """Standard normal latents z [N, Z] for a batch of N."""
        return torch.randn(len(x), self.z_dim, device=x.device)

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.G(z)

    def sample(self, batch: Tensor) -> dict[str, Tensor]:
        return {"fake": self.G(self.noise(batch))}

    def judge(self, batch: Tensor) -> Tensor:
        return self.D(batch).logits


@torch.no_grad()
def clip_weights(module: nn.Module, bound: float) -> None:
    """Every parameter to [-bound, bound]."""
    for weight in module.parameters():
        weight.clamp_(-bound, bound)
