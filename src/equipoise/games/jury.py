"""Several critics, and critics of the past: how their verdicts on one example become one loss."""

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from equipoise.core.schedule import Scheduled
from equipoise.networks.ensemble import Pool
from equipoise.objectives import Adversarial, soft_maximum


class Jury(nn.Module):
    """How critics that answer logits [N, K] learn together and judge together."""

    @abstractmethod
    def of_critics(self, losses: Tensor) -> Tensor:
        """What the critics minimise, from the losses [N, K]."""

    @abstractmethod
    def of_generator(self, losses: Tensor) -> Tensor:
        """What the generator minimises, from the losses [N, K]."""


@final
class MultiAdversarial(Jury):
    """Several critics, all of which the generator must satisfy (GMAN).

    The generator minimises Σ_k w_k L_k, w = softmax(λ·L) over the critics' mean losses: λ = 0 is the average, large λ
    the harshest critic. Each critic minimises its own loss.
    Default: 3 critics, λ = 1.
    Cost: K critics.
    Source: Durugkar, Gemp & Mahadevan 2017, Generative Multi-Adversarial Networks, section 3.
    """

    def __init__(self, sharpness: float = 1.0):
        super().__init__()
        self.sharpness = sharpness

    def of_critics(self, losses: Tensor) -> Tensor:
        return losses

    def of_generator(self, losses: Tensor) -> Tensor:
        return soft_maximum(losses, self.sharpness)


@final
class RandomSubset(Jury):
    """Several critics, of which a random part is left out of every move (dropout of critics).

    Each critic takes part with probability `keep`, at least one always does; losses are averaged over those present.
    The generator cannot adapt to one fixed set of critics.
    Default: 3 critics, keep = 0.5.
    Cost: K critics.
    Source: Mordido, Yang & Meinel 2018, Dropout-GAN.
    """

    def __init__(self, keep: float = 0.5):
        super().__init__()
        if not 0 < keep <= 1:
            raise ValueError(f"keep = {keep}: expected the share of critics that take part, above 0 and up to 1.")
        self.keep = keep

    def of_critics(self, losses: Tensor) -> Tensor:
        return self.of_those_present(losses)

    def of_generator(self, losses: Tensor) -> Tensor:
        return self.of_those_present(losses)

    def of_those_present(self, losses: Tensor) -> Tensor:
        """The mean over the critics that are drawn, [N]."""
        draws = torch.rand(losses.shape[1], device=losses.device)
        present = ((draws < self.keep) | (draws == draws.min())).to(losses)  # [K]
        return (losses * present).sum(1) / present.sum()


@final
class PastCritics(nn.Module):
    """A pool of earlier critics, whom the generator must fool beside the present one.

    A generator that only answers the present critic can run in circles; earlier critics remember where it was. Every
    `every` steps the critic is copied into the pool and the oldest copy leaves. G minimises its loss before the present
    critic plus `weight` times its mean loss before the pool.
    Default: 3 critics, one more every 200 steps, weight 1.
    Cost: `size` further forward and backward passes of D in G's move, and `size` times D's memory.
    Source: Ge et al. 2018, Fictitious GAN; Grnarova et al. 2018, An Online Learning Approach to GANs (Chekhov GAN).
    """

    def __init__(self, critic: nn.Module, size: int = 3, *, every: int = 200, weight: Scheduled = 1.0):
        super().__init__()
        self.weight = weight
        self.pool, self.every = Pool(critic, size), every
        self.pool.remember(critic)

    def forward(self, critic: nn.Module, x: Tensor, fake: Tensor, y: tuple[Tensor, ...], loss: Adversarial) -> Tensor:
        """The generator's loss before each critic of the pool, [N, size], for examples of classes y."""
        forged = self.pool(critic, fake, *y)  # [N, size]
        return loss.g(self.pool(critic, x, *y) if loss.compares else forged, forged)
