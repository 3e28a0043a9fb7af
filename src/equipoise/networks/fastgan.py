"""FastGAN: a light pair for few images (Liu et al. 2021, Towards Faster and Stabilized GAN Training …)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, glu, interpolate, leaky_relu

from equipoise.core.game import Verdict
from equipoise.networks.layers import (
    ConditionalNorm,
    Conditioning,
    CriticHead,
    LabelPlanes,
    Normalisation,
    Wrap,
    at_least_float32,
    check_multiple,
    orthogonal_,
    start_and_doublings,
    wrap_for,
)
from equipoise.networks.minibatch import Minibatch, minibatch_layer
from equipoise.networks.stylegan2 import widths_by_level

REACH = 3
"""Doublings between the features that excite and those that are excited."""


class FastGANGenerator(nn.Module):
    """Latents z [N, Z] (and labels [N], by conditional batch norm) to images [N, C, size, size] in [-1, 1].

    One 3×3 convolution at each resolution, with batch norm and a gated linear unit; features excite those eight times
    larger: `SkipExcitation`. In the paper they are sixteen times larger, noise is added, and every other resolution has
    two convolutions.
    Source: Liu et al. 2021, section 3.1.
    """

    def __init__(
        self, z_dim: int, channels: int, size: int, *, width: int = 64, max_width: int = 512, num_classes: int = 0
    ):
        super().__init__()
        check_multiple(size, "fastgan")
        self.start, doublings = start_and_doublings(size)
        widths = widths_by_level(width, doublings, max_width)
        self.project = nn.Linear(z_dim, 2 * widths[0] * self.start**2, bias=False)
        self.convs = nn.ModuleList([nn.Conv2d(a, 2 * b, 3, padding=1, bias=False) for a, b in pairwise(widths)])
        self.norms = nn.ModuleList([ConditionalNorm(2 * w, num_classes) for w in widths])
        self.excitations = nn.ModuleList([SkipExcitation(a, b) for a, b in zip(widths, widths[REACH:])])
        self.out = nn.Conv2d(widths[-1], channels, 3, padding=1)
        orthogonal_(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.project(z).view(len(z), -1, self.start, self.start)
        levels = [glu(self.norms[0](h, labels), dim=1)]
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms[1:]), 1):
            h = glu(norm(conv(interpolate(levels[-1], scale_factor=2)), labels), dim=1)
            levels.append(h if k < REACH else self.excitations[k - REACH](levels[k - REACH], h))
        return torch.tanh(at_least_float32(self.out(levels[-1])))  # [N, C, size, size]


class SkipExcitation(nn.Module):
    """Skip-layer excitation: small features say how much each channel of large ones counts, large · σ(f(small)).

    f averages to 4×4 places, then a 4×4 and a 1×1 convolution with leaky ReLU between: a residual connection over
    several resolutions that costs nearly nothing.
    Source: Liu et al. 2021, Eq. 1.
    """

    def __init__(self, small: int, large: int):
        super().__init__()
        self.gather = nn.Conv2d(small, large, 4)
        self.gate = nn.Conv2d(large, large, 1)

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        return large * torch.sigmoid(self.gate(leaky_relu(self.gather(adaptive_avg_pool2d(small, 4)), 0.1)))


class FastGANCritic(nn.Module):
    """Images [N, C, size, size] (and labels [N]) to a `Verdict`: blocks of two branches that halve.

    The first of its features is the image itself, as the critic sees it; the last is a map [N, F, end, end] that a
    `Decoder` can rebuild the image from.
    Source: Liu et al. 2021, section 3.2; the paper's critic also has batch norm.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        width: int = 64,
        max_width: int = 512,
        normalisation: Normalisation = "spectral",
        num_classes: int = 0,
        conditioning: Conditioning = "none",
        minibatch: Minibatch = "none",
        group: int = 4,
    ):
        super().__init__()
        check_multiple(size, "fastgan")
        if normalisation == "batch":
            raise ValueError(
                "The fastgan critic has no batch normalisation: expected critic_normalisation 'spectral' or 'none'."
            )
        wrap = wrap_for(normalisation)
        self.channels, (self.end, self.num_halvings) = channels, start_and_doublings(size)
        widths = widths_by_level(width, self.num_halvings, max_width)[::-1]  # from large to small
        self.num_features = widths[-1]
        self.planes = LabelPlanes(num_classes, size) if conditioning == "concatenation" else None
        self.from_image = wrap(nn.Conv2d(channels + (self.planes is not None), widths[0], 3, padding=1))
        self.blocks = nn.ModuleList([TwoBranches(a, b, wrap) for a, b in pairwise(widths)])
        self.minibatch, flat = minibatch_layer(minibatch, (widths[-1], self.end, self.end), group=group, wrap=wrap)
        self.head = CriticHead(flat, num_classes, conditioning, wrap)
        orthogonal_(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        h = x if self.planes is None or labels is None else self.planes(x, labels)
        h = leaky_relu(self.from_image(h), 0.2)
        features = [x]
        for block in self.blocks:
            h = block(h)
            features.append(h)
        logits, classes = self.head(self.minibatch(h).flatten(1), labels)
        return Verdict(logits, tuple(features), classes)


class TwoBranches(nn.Module):
    """The mean of two ways to half the resolution: 4×4 with stride 2 then 3×3, and an average then 1×1."""

    def __init__(self, incoming: int, outgoing: int, wrap: Wrap):
        super().__init__()
        self.conv1 = wrap(nn.Conv2d(incoming, outgoing, 4, 2, 1))
        self.conv2 = wrap(nn.Conv2d(outgoing, outgoing, 3, padding=1))
        self.direct = wrap(nn.Conv2d(incoming, outgoing, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = leaky_relu(self.conv2(leaky_relu(self.conv1(x), 0.2)), 0.2)
        return (h + leaky_relu(self.direct(avg_pool2d(x, 2)), 0.2)) / 2


class Decoder(nn.Module):
    """A map of features [N, F, s, s] to an image [N, C, s·2ᵏ, s·2ᵏ] in [-1, 1], k = `doublings`."""

    def __init__(self, num_features: int, channels: int, doublings: int):
        super().__init__()
        widths = [num_features, *[max(num_features // 2**k, 8) for k in range(1, doublings + 1)]]
        self.convs = nn.ModuleList([nn.Conv2d(a, 2 * b, 3, padding=1) for a, b in pairwise(widths)])
        self.out = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        for conv in self.convs:
            h = glu(conv(interpolate(h, scale_factor=2)), dim=1)
        return torch.tanh(at_least_float32(self.out(h)))
