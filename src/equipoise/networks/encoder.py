"""From examples to latents: encoders beside the generators, without batch normalisation."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from equipoise.networks.dcgan import num_channels
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import check_size, start_and_doublings


@final
class ConvolutionalEncoder(nn.Module):
    """Images [N, C, size, size] to numbers [N, num_outputs] in float32: 4×4 convolutions of stride 2, leaky ReLU."""

    def __init__(self, channels: int, size: int, num_outputs: int, *, width: int = 64, smallest: int = 4):
        super().__init__()
        check_size(size, "encoder")
        end, halvings = start_and_doublings(size, smallest)
        widths = [num_channels(width, level) for level in range(1, halvings + 1)]
        self.pad = end * 2**halvings - size
        self.downs = nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise([channels, *widths])])
        self.out = nn.Linear(widths[-1] * end**2, num_outputs)
        initialise(self, "kaiming")

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.pad // 2, self.pad - self.pad // 2
        h = nn.functional.pad(x, (before, after, before, after))
        for down in self.downs:
            h = leaky_relu(down(h), 0.2)
        return in_float32(self.out, h.flatten(1))


@final
class DenseEncoder(nn.Module):
    """Examples [N, *shape] to numbers [N, num_outputs] in float32: dense layers with leaky ReLU."""

    def __init__(self, shape: Sequence[int], num_outputs: int, *, width: int = 256, num_layers: int = 3):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise([math.prod(shape), *[width] * num_layers])])
        self.out = nn.Linear(width, num_outputs)
        initialise(self, "kaiming")

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for layer in self.layers:
            h = leaky_relu(layer(h), 0.2)
        return in_float32(self.out, h)


def in_float32(layer: nn.Linear, h: Tensor) -> Tensor:
    """A layer's answer at full precision, also within a narrow format."""
    with torch.autocast(h.device.type, enabled=False):
        return layer(h.to(layer.weight.dtype))
