"""Two-dimensional mixtures with known modes: the data on which mode collapse can be counted."""

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from equipoise.core.seeding import generator
from equipoise.data.source import ArraySource, tensor_source


class Coverage(NamedTuple):
    """How much of a mixture was found."""

    modes: int
    """Modes with at least one high-quality point."""
    high_quality: float
    """The share of the points that lie within three standard deviations of a center."""


@final
@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussians of equal weight and width σ around known centers."""

    name: str
    centers: Tensor
    """[K, 2]"""
    sigma: float

    def modes(self, num: int, *, seed: int) -> Tensor:
        """The mode numbers of the points that `sample` draws with the same seed, int64 [N]."""
        return torch.randint(len(self.centers), (num,), generator=generator(seed, "mixture", "modes"))

    def sample(self, num: int, *, seed: int) -> Tensor:
        """Points of the mixture, float32 [N, 2]."""
        noise = torch.randn(num, 2, generator=generator(seed, "mixture", "noise"))
        return self.centers[self.modes(num, seed=seed)] + self.sigma * noise

    def log_density(self, points: Tensor) -> Tensor:
        """log p(x) = log 1/K Σ_k N(x; c_k, σ²I), of points [N, 2]: [N]."""
        squared = (points[:, None] - self.centers.to(points)).square().sum(-1)  # [N, K]
        scale = math.log(len(self.centers)) + math.log(2 * math.pi * self.sigma**2)
        return torch.logsumexp(-squared / (2 * self.sigma**2), dim=1) - scale

    def coverage(self, points: Tensor) -> Coverage:
        """Counts modes as PacGAN does (Lin et al. 2018, section 4.1), for points [N, 2].

        A point is of high quality within 3σ of its nearest center; a mode counts with one such point. Of perfect
        samples the share 1 - exp(-4.5) ≈ 98.9 % is of high quality.
        """
        if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
            raise ValueError(f"coverage: points of shape {list(points.shape)}. Expected [N, 2] with N >= 1.")
        offsets = points.double()[:, None] - self.centers.to(points.device, torch.float64)
        distance, mode = offsets.square().sum(-1).sqrt().min(dim=1)  # [N]
        good = distance <= 3 * self.sigma
        return Coverage(modes=len(mode[good].unique()), high_quality=good.double().mean().item())

    def source(self, num: int, *, seed: int = 0) -> ArraySource:
        """A data set of `num` fixed samples, labelled with their mode numbers."""
        classes = tuple(str(number) for number in range(len(self.centers)))
        return tensor_source(self.name, self.sample(num, seed=seed), self.modes(num, seed=seed), classes=classes)


def ring(num_modes: int = 8, *, radius: float = 1.0, sigma: float = 0.01) -> Mixture:
    """Modes at equal angles on a circle; the defaults are the 2D-ring of VEEGAN and PacGAN.

    >>> ring().coverage(ring().sample(1000, seed=0)).modes
    8
    """
    angles = torch.arange(num_modes) * (2 * math.pi / num_modes)
    return Mixture("ring", radius * torch.stack([angles.cos(), angles.sin()], dim=1), sigma)


def grid(side: int = 5, *, spacing: float = 2.0, sigma: float = 0.05) -> Mixture:
    """Modes on a square grid around the origin; the defaults are the 2D-grid of VEEGAN and PacGAN.

    >>> grid().centers[0]
    tensor([-4., -4.])
    """
    ticks = (torch.arange(side) - (side - 1) / 2) * spacing
    return Mixture("grid", torch.cartesian_prod(ticks, ticks), sigma)
