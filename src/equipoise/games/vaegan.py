"""VAE/GAN (Larsen et al. 2016): an autoencoder whose likeness is that of a critic's features."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, Move, Moves
from equipoise.core.schedule import Lazy, Scheduled
from equipoise.games.autoencoding import Autoencoder
from equipoise.objectives import Adversarial, Penalty
from equipoise.objectives.latents import divergence_from_prior, feature_likelihood


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the terms of VAE/GAN count."""

    prior: Scheduled = 1.0
    """In the encoder's loss, beside the likeness, which counts 1."""
    likeness: Scheduled = 1e-3
    """γ: of the likeness in the decoder's loss, beside its adversarial one."""


class VAEGAN(Autoencoder):
    """Three players: the encoder E, the decoder G and the critic D, who move at once (Alg. 1).

    E(x) are means and log variances [N, 2Z]. L_prior = KL(q(z|x) ‖ N(0, 1)); L_like = ½ |D_l(x) - D_l(x̂)|² in the
    features of layer l of D; L_GAN is D's loss on x against both x̂ = G(z), z ~ q(z|x), and x_p = G(z_p), z_p ~ N(0, 1).
    E minimises L_prior + L_like, G minimises γ L_like and its adversarial loss on x̂ and x_p, D minimises L_GAN.
    """

    averaged = ("E", "G")

    def __init__(
        self,
        networks: tuple[nn.Module, nn.Module, nn.Module],
        *,
        z_dim: int,
        loss: Adversarial,
        weights: Weights,
        layer: int = -1,
        penalties: Mapping[str, tuple[Penalty, Scheduled | Lazy]] | None = None,
    ):
        super().__init__()
        (self.E, self.G, self.D), self.z_dim, self.loss, self.layer = networks, z_dim, loss, layer
        self.penalties = {name: penalty for name, (penalty, _) in (penalties or {}).items()}
        self.weights = {
            "E/prior": weights.prior,
            "G/likeness": weights.likeness,
            **{f"D/{name}": weight for name, (_, weight) in (penalties or {}).items()},
        }

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"E": [self.E], "G": [self.G], "D": [self.D]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        x = next(data)  # [N, ...]
        mean, log_variance = self.E(x).chunk(2, dim=1)  # [N, Z]
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        x_hat, x_p = self.G(z), self.G(torch.randn_like(z))
        real, copied, drawn = self.D(x), self.D(x_hat), self.D(x_p)
        likeness = feature_likelihood(real.features[self.layer], copied.features[self.layer])  # L_like
        slopes = {
            name: penalty(lambda image: self.D(image).logits, x, x_p.detach())
            for name, penalty in self.penalties.items()
            if now.due(f"D/{name}")
        }
        yield (
            Move("E", prior=divergence_from_prior(mean, log_variance), likeness=likeness),
            Move(
                "G",
                likeness=likeness,
                adversarial=self.loss.g(real.logits, copied.logits) + self.loss.g(real.logits, drawn.logits),
            ),
            Move(
                "D",
                slopes,
                adversarial=self.loss.d(real.logits, copied.logits) + self.loss.d(real.logits, drawn.logits),
                watch={"real": real.logits, "fake": drawn.logits},
            ),
        )

    # ---------------------------------------------------------------- outputs

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.G(z)

    def encode(self, x: Tensor) -> Tensor:
        """The means."""
        return self.E(x).chunk(2, dim=1)[0]

    def sample(self, batch: Any) -> dict[str, Tensor]:
        return {
            "fake": self.G(torch.randn(len(batch), self.z_dim, device=batch.device)),
            "copy": self.reconstruct(batch),
        }

    def judge(self, batch: Any) -> Tensor:
        return self.D(batch).logits

    def described(self, batch: Any) -> Tensor | None:
        return self.D(batch).features[-1].flatten(1)
