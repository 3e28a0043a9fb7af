"""Small networks that read what an example says about its latent or its code."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu


class Code(NamedTuple):
    """What is read from an example: scores of categories [N, K] and means of continuous codes [N, C]."""

    categories: Tensor
    means: Tensor


class Statistics(nn.Module):
    """The statistics network T(x, z) → [N] of the neural bound on the mutual information of examples and latents.

    E_p(x,z) T - log E_p(x)p(z) exp T ≤ I(x; z), with equality for the best T. Features of the example and the latent
    are joined and pass two hidden layers; examples are images [N, C, H, W] or vectors [N, D].
    Default: off; width = 64.
    Cost: a small network beside D, run twice a step: on pairs that belong together and on shuffled ones.
    Source: Belghazi et al. 2018, Mutual Information Neural Estimation.
    """

    def __init__(self, shape: Sequence[int], z_dim: int, *, width: int = 64):
        super().__init__()
        self.body, num_features = reader(shape, width)
        self.hidden1 = nn.Linear(num_features + z_dim, 4 * width)
        self.hidden2 = nn.Linear(4 * width, 4 * width)
        self.out = nn.Linear(4 * width, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        h = self.body(x)
        h = leaky_relu(self.hidden1(torch.cat([h, z.to(h.dtype)], dim=1)), 0.2)
        h = leaky_relu(self.hidden2(h), 0.2)
        with torch.autocast(h.device.type, enabled=False):  # the bound takes an exponential of it
            return self.out(h.to(self.out.weight.dtype)).squeeze(1)


class CodeReader(nn.Module):
    """Q(c | x): which code an example was made from, in InfoGAN, by a network of its own.

    It answers scores [N, K] of one categorical code and means [N, C] of continuous codes with unit variance. Minimising
    cross-entropy and squared error maximises a lower bound on I(c; G(z, c)).
    Default: off; width = 64. In the paper Q shares all layers but the last with D.
    Cost: a small network beside D.
    Source: Chen et al. 2016, InfoGAN, section 5 and Eq. 5.
    """

    def __init__(self, shape: Sequence[int], num_categories: int, num_continuous: int, *, width: int = 64):
        super().__init__()
        if min(num_categories, num_continuous) < 0 or num_categories + num_continuous < 1:
            raise ValueError(
                f"num_categories={num_categories}, num_continuous={num_continuous}: expected at least one category or "
                "continuous code, such as 10 and 2."
            )
        self.sizes = [num_categories, num_continuous]
        self.body, num_features = reader(shape, width)
        self.hidden = nn.Linear(num_features, 4 * width)
        self.out = nn.Linear(4 * width, sum(self.sizes))

    def forward(self, x: Tensor) -> Code:
        h = leaky_relu(self.hidden(self.body(x)), 0.2)
        with torch.autocast(h.device.type, enabled=False):
            return Code(*self.out(h.to(self.out.weight.dtype)).split(self.sizes, dim=1))


def reader(shape: Sequence[int], width: int) -> tuple[nn.Module, int]:
    """A network from examples to flat features, and how many: images through strided convolutions down to 4 pixels."""
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise ValueError(
            f"shape={tuple(shape)} was passed: expected (C, H, W) or (D,). Pass the shape of one example, without N."
        )
    if len(shape) == 1:
        return nn.Sequential(nn.Linear(shape[0], 4 * width), nn.LeakyReLU(0.2)), 4 * width
    layers, (channels, rows, columns) = [], shape
    while max(rows, columns) > 4:
        outgoing = min(2 * channels, 4 * width) if layers else width
        layers += [nn.Conv2d(channels, outgoing, 3, 2, 1), nn.LeakyReLU(0.2)]
        channels, rows, columns = outgoing, math.ceil(rows / 2), math.ceil(columns / 2)
    return nn.Sequential(*layers, nn.Flatten()), channels * rows * columns
