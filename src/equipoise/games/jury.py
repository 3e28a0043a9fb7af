"""Several critics, and critics of the past: how their verdicts on one example become one loss."""

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from equipoise.networks.ensemble import Clusters, Pool
from equipoise.objectives import Adversarial, soft_maximum


class Jury(nn.Module):
    """How critics that answer logits [N, K] learn together and judge together."""

    @abstractmethod
    def real(self, logits: Tensor, x: Tensor) -> Tensor:
        """The logits [N, K] of real examples x that each critic learns from."""

    @abstractmethod
    def of_critics(self, losses: Tensor) -> Tensor:
        """What the critics minimise, from the losses [N, K]."""

    @abstractmethod
    def of_generator(self, losses: Tensor) -> Tensor:
        """What the generator minimises, from the losses [N, K]."""

    @abstractmethod
    def news(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Buffers and their new values after a look at real examples x."""


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

    def real(self, logits: Tensor, x: Tensor) -> Tensor:
        return logits

    def of_critics(self, losses: Tensor) -> Tensor:
        return losses

    def of_generator(self, losses: Tensor) -> Tensor:
        return soft_maximum(losses, self.sharpness)

    def news(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        return []


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

    def real(self, logits: Tensor, x: Tensor) -> Tensor:
        return logits

    def of_critics(self, losses: Tensor) -> Tensor:
        return self.of_those_present(losses)

    def of_generator(self, losses: Tensor) -> Tensor:
        return self.of_those_present(losses)

    def news(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        return []

    def of_those_present(self, losses: Tensor) -> Tensor:
        """The mean over the critics that are drawn, [N]."""
        draws = torch.rand(losses.shape[1], device=losses.device)
        present = ((draws < self.keep) | (draws == draws.min())).to(losses)  # [K]
        return (losses * present).sum(1) / present.sum()


@final
class Specialists(Jury):
    """Several critics, each of which knows the real examples of one cluster and judges every fake.

    Clusters are found online by k-means on coarse pixels. A critic whose cluster the generator has left sees only bad
    fakes and pulls them back: at the optimum of Σ_k D(p_k ‖ p_G) every cluster has its share.
    Default: 4 critics.
    Cost: K critics.
    Source: own formulation, in the line of Mordido et al. 2020, microbatchGAN, and of clustered multi-critic GANs.
    """

    def __init__(self, clusters: Clusters):
        super().__init__()
        self.clusters = clusters

    def real(self, logits: Tensor, x: Tensor) -> Tensor:
        """For each critic a batch of its own: real examples of its cluster, drawn again with replacement."""
        members = self.clusters.assign(x)[:, None] == torch.arange(logits.shape[1], device=x.device)  # [N, K]
        chances = torch.where(members.any(0), members, True).float()  # an empty cluster is served by everybody
        drawn = torch.multinomial(chances.T, len(x), replacement=True).T  # [N, K]
        return logits.gather(0, drawn)

    def of_critics(self, losses: Tensor) -> Tensor:
        return losses

    def of_generator(self, losses: Tensor) -> Tensor:
        return losses

    def news(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        return self.clusters.news(x)


@final
class PastCritics(nn.Module):
    """A pool of earlier critics, whom the generator must fool beside the present one.

    A generator that only answers the present critic can run in circles; earlier critics remember where it was. Every
    `every` steps the critic is copied into the pool, the oldest copy leaves; G's loss is the mean over all.
    Default: 3 critics, one more every 200 steps.
    Cost: `size` further forward and backward passes of D in G's move, and `size` times D's memory.
    Source: Ge et al. 2018, Fictitious GAN; Grnarova et al. 2018, An Online Learning Approach to GANs (Chekhov GAN).
    """

    def __init__(self, critic: nn.Module, size: int = 3, *, every: int = 200):
        super().__init__()
        self.pool, self.every = Pool(critic, size), every
        self.pool.remember(critic)

    def forward(self, critic: nn.Module, x: Tensor, fake: Tensor, y: tuple[Tensor, ...], loss: Adversarial) -> Tensor:
        """The generator's loss before each critic of the pool, [N, size], for examples of classes y."""
        forged = self.pool(critic, fake, *y)  # [N, size]
        return loss.g(self.pool(critic, x, *y) if loss.compares else forged, forged)
