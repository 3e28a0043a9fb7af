"""Adversarial autoencoder (Makhzani et al. 2016): a critic of latents makes them follow the prior."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, Move, Moves, Verdict
from equipoise.core.schedule import Scheduled
from equipoise.games.autoencoding import Autoencoder
from equipoise.objectives import Adversarial, l2


class AAE(Autoencoder):
    """Three players: the encoder E, the decoder G, and a critic D of latents [N, Z], whose real ones are drawn.

    First E and G reconstruct; then, in the regularisation phase, D learns to tell latents of the prior from those of
    examples, and E to be taken for the prior (Sec. 2). No critic sees an example.
    """

    averaged = ("E", "G")

    def __init__(
        self,
        networks: tuple[nn.Module, nn.Module, nn.Module],
        *,
        z_dim: int,
        loss: Adversarial,
        adversarial: Scheduled = 0.1,
    ):
        super().__init__()
        (self.E, self.G, self.D), self.z_dim, self.loss = networks, z_dim, loss
        self.weights = {"E/adversarial": adversarial}

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"E": [self.E], "G": [self.G], "D": [self.D]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        x = next(data)  # [N, ...]
        reconstruction = l2(x, self.G(self.E(x)))
        yield Move("E", reconstruction=reconstruction), Move("G", reconstruction=reconstruction)

        with torch.no_grad():
            z_hat = self.E(x)  # [N, Z]
        z = torch.randn_like(z_hat)
        real_logits, fake_logits = self.D(z).logits, self.D(z_hat).logits
        yield Move(
            "D",
            adversarial=self.loss.d(real_logits, fake_logits),
            watch={"real": real_logits, "fake": fake_logits},
        )

        fake_logits = self.D(self.E(x)).logits
        real_logits = self.D(z).logits if self.loss.compares else fake_logits
        yield Move("E", adversarial=self.loss.g(real_logits, fake_logits))

    # ---------------------------------------------------------------- outputs

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.G(z)

    def encode(self, x: Tensor) -> Tensor:
        return self.E(x)

    def sample(self, batch: Any) -> dict[str, Tensor]:
        z = torch.randn(len(batch), self.z_dim, device=batch.device)
        return {"fake": self.G(z), "copy": self.reconstruct(batch)}

    def judge(self, batch: Any) -> Tensor:
        """Whether the latents of examples are taken for those of the prior."""
        return self.verdict(batch).logits

    def described(self, batch: Any) -> Tensor | None:
        return self.verdict(batch).features[-1]

    def verdict(self, batch: Any) -> Verdict:
        """What D says of the latents of examples."""
        return self.D(self.E(batch))
