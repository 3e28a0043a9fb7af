"""Networks that grow with training, from a few pixels to the full size (Karras et al. 2018)."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu, pad

from equipoise.core.game import Verdict
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import (
    ConditionalNorm,
    Conditioning,
    CriticHead,
    GeneratorNormalisation,
    LabelPlanes,
    Normalisation,
    PixelNorm,
    Wrap,
    check_size,
    crop_to,
    start_and_doublings,
    wrap_for,
)
from equipoise.networks.minibatch import Minibatch, MinibatchDeviation, minibatch_layer

WHOLE = 4096
"""Levels are kept in integer parts of this size, so that averages of the weights leave them alone."""


def level_at(progress: float, num_levels: int, *, fade: float = 0.5) -> float:
    """How many doublings are there when `progress` in [0, 1] of training is done, of `num_levels` in all.

    Each of the num_levels + 1 resolutions gets an equal share of training; the first `fade` of its share fades it in,
    all but the smallest. With fade = 0 it is there at once.

    >>> [level_at(progress, 1) for progress in (0, 0.5, 0.625, 0.75, 1)]
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    if not 0 <= fade <= 1:
        raise ValueError(f"fade is {fade}: expected the share of a resolution's time that fades it in, from 0 to 1.")
    time = min(max(progress, 0.0), 1.0) * (num_levels + 1)
    level = min(int(time), num_levels)
    if level == 0 or fade == 0:
        return float(level)
    return level - 1 + min((time - level) / fade, 1.0)


def grow(network: nn.Module, progress: float, *, fade: float = 0.5) -> None:
    """Bring a progressive network to the level that belongs to `progress` in [0, 1] of training."""
    assert isinstance(network, ProgressiveGenerator | ProgressiveCritic), "only progressive networks can grow"
    set_level(network, level_at(progress, network.num_levels, fade=fade))


def set_level(network: "ProgressiveGenerator | ProgressiveCritic", level: float) -> None:
    """Let `level` doublings be there; the fraction says how far the next one has faded in."""
    network.grown.fill_(round(level * WHOLE))


class ProgressiveGenerator(nn.Module):
    """Progressive growing: training begins with images of 4 to 7 pixels, and doubles them as it goes on.

    Its level in [0, L], in the buffer `grown`, says how many doublings are there; the fraction a is how far the next
    one has faded in: x = tanh((1 - a)·up(rgb_k(h_k)) + a·rgb_{k+1}(h_{k+1})), always enlarged to the full size by
    repeated pixels. Blocks beyond the level are not computed and get no gradient. A block doubles the resolution, then
    convolves (3×3), leaky ReLU and normalises, twice. `grow` moves the level; a network that nobody grows is complete.
    Latents z [N, Z] (and labels [N], by a gain and a bias per class) to images [N, C, size, size] in [-1, 1].
    Default: off; fade = 0.5 of each resolution's equal share of training; pixelwise normalisation.
    Cost: less than a network of fixed size: early steps are small. Large-scale structure settles first.
    Source: Karras et al. 2018, Progressive Growing of GANs, section 2; pixelwise normalisation in section 4.2.
    """

    grown: Tensor

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        *,
        width: int = 64,
        num_classes: int = 0,
        normalisation: GeneratorNormalisation = "pixel",
    ):
        super().__init__()
        check_size(size, "progressive")
        self.size = size
        self.start, self.num_levels = start_and_doublings(size)
        widths = widths_by_level(width, self.num_levels)
        self.latent_norm = PixelNorm() if normalisation == "pixel" else nn.Identity()
        self.project = nn.Linear(z_dim, widths[0] * self.start**2)
        self.blocks = nn.ModuleList(
            [Block(a, b, num_classes, normalisation) for a, b in pairwise([widths[0], *widths])]
        )
        self.to_image = nn.ModuleList([nn.Conv2d(w, channels, 1) for w in widths])
        self.register_buffer("grown", torch.tensor(self.num_levels * WHOLE))
        initialise(self, "kaiming")

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        fraction, whole = math.modf(float(self.grown) / WHOLE)
        top = int(whole) + (fraction > 0)
        h = self.project(self.latent_norm(z)).view(len(z), -1, self.start, self.start)
        before = h
        for level, block in enumerate(self.blocks[: top + 1]):
            before, h = h, block(doubled(h) if level else h, labels)
        x = self.to_image[top](h).float()
        if fraction:
            x = torch.lerp(doubled(self.to_image[top - 1](before).float()), x, fraction)
        x = interpolate(torch.tanh(x), scale_factor=2 ** (self.num_levels - top))
        return crop_to(x, self.size)  # [N, C, size, size]


class ProgressiveCritic(nn.Module):
    """The critic of progressive growing: it sees every image, real or generated, at the resolution of its `level`.

    With level k + a, the image is average-pooled to the resolution of k + 1, there x ← (1 - a)·up(pool(x)) + a·x, and
    h = (1 - a)·rgb_k(pool(x)) + a·pool(block(rgb_{k+1}(x))): detail fades in for real and generated images alike.
    A block convolves twice (3×3, leaky ReLU), then halves. Images [N, C, size, size] (and labels [N]) to a `Verdict`.
    Default: off; with minibatch standard deviation in groups of 4 before the last convolution.
    Cost: less than a network of fixed size: early steps are small.
    Source: Karras et al. 2018, Progressive Growing of GANs, section 2.
    """

    grown: Tensor

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        width: int = 64,
        normalisation: Normalisation = "none",
        num_classes: int = 0,
        conditioning: Conditioning = "none",
        minibatch: Minibatch = "deviation",
        group: int = 4,
    ):
        super().__init__()
        check_size(size, "progressive")
        if normalisation == "batch":
            raise ValueError(
                "The progressive critic has no batch normalisation: expected critic_normalisation 'spectral' or 'none'."
            )
        wrap = wrap_for(normalisation)
        self.planes = LabelPlanes(num_classes, size) if conditioning == "concatenation" else None
        start, self.num_levels = start_and_doublings(size)
        widths = widths_by_level(width, self.num_levels)
        self.pad = start * 2**self.num_levels - size
        incoming = channels + (self.planes is not None)
        self.from_image = nn.ModuleList([wrap(nn.Conv2d(incoming, w, 1)) for w in widths])
        self.blocks = nn.ModuleList([HalvingBlock(b, a, wrap) for a, b in pairwise(widths)])
        deviation = minibatch == "deviation"
        self.deviation = MinibatchDeviation(group) if deviation else nn.Identity()
        self.last = wrap(nn.Conv2d(widths[0] + deviation, widths[0], 3, padding=1))
        after: Minibatch = "none" if deviation else minibatch
        self.minibatch, num_features = minibatch_layer(after, (widths[0], start, start), group=group, wrap=wrap)
        self.head = CriticHead(num_features, num_classes, conditioning, wrap)
        self.register_buffer("grown", torch.tensor(self.num_levels * WHOLE))
        initialise(self, "kaiming")

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        fraction, whole = math.modf(float(self.grown) / WHOLE)
        top = int(whole) + (fraction > 0)
        x = x if self.planes is None or labels is None else self.planes(x, labels)
        before, after = self.pad // 2, self.pad - self.pad // 2
        x = avg_pool2d(pad(x, (before, after, before, after)), 2 ** (self.num_levels - top))
        coarse = None
        if fraction:
            small = avg_pool2d(x, 2)
            x = torch.lerp(doubled(small), x, fraction)
            coarse = leaky_relu(self.from_image[top - 1](small), 0.2)
        h = leaky_relu(self.from_image[top](x), 0.2)
        features = []
        for level in range(top, 0, -1):
            h = self.blocks[level - 1](h)
            if coarse is not None:
                h, coarse = torch.lerp(coarse, h, fraction), None
            features.append(h)
        h = leaky_relu(self.last(self.deviation(h)), 0.2)
        logits, classes = self.head(self.minibatch(h).flatten(1), labels)
        return Verdict(logits, (*features, h), classes)


class Block(nn.Module):
    """3×3 convolution, leaky ReLU and normalisation, twice."""

    def __init__(self, incoming: int, outgoing: int, num_classes: int, normalisation: GeneratorNormalisation):
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, padding=1)
        self.norm1 = ConditionalNorm(outgoing, num_classes, normalisation=normalisation)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, padding=1)
        self.norm2 = ConditionalNorm(outgoing, num_classes, normalisation=normalisation)

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        h = self.norm1(leaky_relu(self.conv1(h), 0.2), labels)
        return self.norm2(leaky_relu(self.conv2(h), 0.2), labels)


class HalvingBlock(nn.Module):
    """3×3 convolution and leaky ReLU, twice, then half the resolution."""

    def __init__(self, incoming: int, outgoing: int, wrap: Wrap):
        super().__init__()
        self.conv1 = wrap(nn.Conv2d(incoming, incoming, 3, padding=1))
        self.conv2 = wrap(nn.Conv2d(incoming, outgoing, 3, padding=1))

    def forward(self, h: Tensor) -> Tensor:
        h = leaky_relu(self.conv1(h), 0.2)
        return avg_pool2d(leaky_relu(self.conv2(h), 0.2), 2)


def widths_by_level(width: int, num_levels: int) -> list[int]:
    """Channels from the smallest resolution to the full one, which has `width`: at most 8 times as many."""
    return [width * min(2 ** (num_levels - level), 8) for level in range(num_levels + 1)]


def doubled(x: Tensor) -> Tensor:
    """Every pixel four times."""
    return interpolate(x, scale_factor=2)
