"""Residual networks in the style of SNGAN and BigGAN (Miyato et al. 2018, App. B.4; Brock et al. 2019, App. B)."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from equipoise.core.game import Verdict
from equipoise.networks.attention import attention_after
from equipoise.networks.layers import (
    ConditionalNorm,
    Conditioning,
    CriticHead,
    LabelPlanes,
    Normalisation,
    Wrap,
    check_dropout,
    check_multiple,
    orthogonal_,
    start_and_doublings,
    wrap_for,
)
from equipoise.networks.minibatch import Minibatch, minibatch_layer


def num_channels(width: int, level: int, size: int) -> int:
    """Channels at 2^level times less than full size: constant up to 32 pixels (SNGAN), doubling above (BigGAN)."""
    return width if size <= 32 else width * min(2**level, 16)


class UpBlock(nn.Module):
    """Normalise, ReLU, double, convolve, twice; beside it a doubled 1×1 convolution."""

    def __init__(self, incoming: int, outgoing: int, num_classes: int):
        super().__init__()
        self.norm1 = ConditionalNorm(incoming, num_classes)
        self.norm2 = ConditionalNorm(outgoing, num_classes)
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, padding=1)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, padding=1)
        self.skip = nn.Conv2d(incoming, outgoing, 1)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        h = self.conv1(interpolate(relu(self.norm1(x, labels)), scale_factor=2))
        h = self.conv2(relu(self.norm2(h, labels)))
        return h + interpolate(self.skip(x), scale_factor=2)  # a 1×1 convolution and doubling commute


class DownBlock(nn.Module):
    """ReLU and convolve, twice, then halve if asked; beside it a 1×1 convolution. The first block sees raw pixels."""

    def __init__(self, incoming: int, outgoing: int, wrap: Wrap, *, halve: bool, first: bool = False):
        super().__init__()
        self.halve, self.first = halve, first
        self.conv1 = wrap(nn.Conv2d(incoming, outgoing, 3, padding=1))
        self.conv2 = wrap(nn.Conv2d(outgoing, outgoing, 3, padding=1))
        self.skip = wrap(nn.Conv2d(incoming, outgoing, 1)) if halve or incoming != outgoing else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.first else relu(x))
        h = self.conv2(relu(h))
        if self.halve:
            return avg_pool2d(h, 2) + self.skip(avg_pool2d(x, 2))  # halving first is cheaper and the same
        return h + self.skip(x)


class ResNetGenerator(nn.Module):
    """Latents z [N, Z] (and labels [N], by conditional batch norm) to images [N, C, size, size] in [-1, 1].

    With `attention`, every place looks at all others where the features have so many pixels per side.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        *,
        width: int = 64,
        num_classes: int = 0,
        attention: int | None = None,
    ):
        super().__init__()
        check_multiple(size, "resnet")
        self.start, doublings = start_and_doublings(size)
        widths = [num_channels(width, level, size) for level in range(doublings, -1, -1)]  # from small to large
        self.project = nn.Linear(z_dim, widths[0] * self.start**2)
        self.blocks = nn.ModuleList([UpBlock(a, b, num_classes) for a, b in pairwise(widths)])
        sizes = [self.start * 2**k for k in range(1, len(widths))]
        self.attention = attention_after(attention, sizes, widths[1:], wrap_for("none"))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.out = nn.Conv2d(widths[-1], channels, 3, padding=1)
        orthogonal_(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.project(z).view(len(z), -1, self.start, self.start)
        for block, attention in zip(self.blocks, self.attention):
            h = attention(block(h, labels))
        return torch.tanh(self.out(relu(self.norm(h))).float())  # [N, C, size, size]


class ResNetCritic(nn.Module):
    """Images [N, C, size, size] (and labels [N]) to a `Verdict`: blocks that halve down to 8..14 pixels, then two more.

    The features are summed over positions (Miyato et al. 2018, Table 3), scaled by 1/√positions to keep their size.
    `dropout` is the share of each block's outputs that training leaves out; `minibatch` adds statistics of the batch to
    the summed features (in groups of `group`, for "deviation"); `attention` is as in the generator.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        width: int = 64,
        normalisation: Normalisation = "spectral",
        num_classes: int = 0,
        conditioning: Conditioning = "none",
        dropout: float = 0.0,
        minibatch: Minibatch = "none",
        group: int = 4,
        attention: int | None = None,
    ):
        super().__init__()
        check_multiple(size, "resnet")
        check_dropout(dropout)
        if normalisation == "batch":
            raise ValueError(
                "The resnet critic has no batch normalisation: expected critic_normalisation 'spectral' or 'none'."
            )
        wrap = wrap_for(normalisation)
        self.planes = LabelPlanes(num_classes, size) if conditioning == "concatenation" else None
        halvings = start_and_doublings(size)[1] - 1
        widths = [num_channels(width, level, size) for level in range(1, halvings + 1)] or [width]
        incoming = channels + (self.planes is not None)
        self.blocks = nn.ModuleList(
            [DownBlock(incoming, widths[0], wrap, halve=halvings > 0, first=True)]
            + [DownBlock(a, b, wrap, halve=True) for a, b in pairwise(widths)]
            + [DownBlock(widths[-1], widths[-1], wrap, halve=False) for _ in range(2)]
        )
        ends = [size // 2**k for k in range(1, halvings + 1)] or [size]
        sizes = [*ends, ends[-1], ends[-1]]
        self.attention = attention_after(attention, sizes, [*widths, widths[-1], widths[-1]], wrap)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.minibatch, num_features = minibatch_layer(minibatch, (widths[-1],), group=group, wrap=wrap)
        self.head = CriticHead(num_features, num_classes, conditioning, wrap)
        self.positions = (size // 2**halvings) ** 2
        orthogonal_(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        h = x if self.planes is None or labels is None else self.planes(x, labels)
        features = []
        for block, attention in zip(self.blocks, self.attention):
            # Dropout before the next ReLU or after it is the same: it only scales by 0 or up.
            h = self.dropout(attention(block(h)))
            features.append(h)
        pooled = relu(h).sum(dim=(2, 3)) / math.sqrt(self.positions)  # [N, F]
        logits, classes = self.head(self.minibatch(pooled), labels)
        return Verdict(logits, tuple(features), classes)
