"""Feature spaces in which examples are compared: rows of numbers whose distances mean something."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, leaky_relu

Space = Callable[[Tensor], Tensor]
"""From examples [N, *shape] to rows [N, F]."""
SpaceName = Literal["pixels", "random", "critic", "trained"]
"""The numbers themselves, a network with random weights, what the critic sees now, a small network trained for it."""


def pixels(x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n f"]:
    """The numbers of an example themselves; images above 16×16 pixels are averaged down to that.

    Cost: nothing to speak of.
    """
    if x.ndim == 4 and max(x.shape[2:]) > 16:
        x = adaptive_avg_pool2d(x, 16)
    return x.flatten(1).float()


class RandomNetwork(nn.Module):
    """Features of a network with random weights that is never trained: images [N, C, H, W] to [N, 128].

    Three 3×3 convolutions of stride 2 with Kaiming weights, then the mean and the spread of each of 64 channels: what
    strokes there are, whatever their place. The weights are a function of the seed alone.
    Cost: a small fraction of a critic's pass.
    Source: Naeem et al. 2020, section 3.3 (random embeddings compare distributions where pretrained ones do not fit).
    """

    def __init__(self, num_channels: int, *, seed: int = 0):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        widths = (num_channels, 16, 32, 64)
        self.kernels = nn.ParameterList(
            [
                nn.Parameter(torch.randn(b, a, 3, 3, generator=draw) * (2 / (9 * a)) ** 0.5, requires_grad=False)
                for a, b in pairwise(widths)
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        h = x.float()
        for kernel in self.kernels:
            h = leaky_relu(nn.functional.conv2d(h, kernel, stride=2, padding=1), 0.2)  # [N, 64, H/8, W/8]
        return torch.cat([h.mean((2, 3)), h.std((2, 3), correction=0)], dim=1)


def space_of(name: Literal["pixels", "random"], shape: tuple[int, ...]) -> Space:
    """The space of that name for examples of a shape; vectors are compared as they are."""
    return RandomNetwork(shape[0]) if name == "random" and len(shape) == 3 else pixels
