"""DCGAN: strided convolutions for images of any size from 8 to 256 (Radford et al. 2016)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from equipoise.core.game import Verdict
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import (
    ConditionalNorm,
    Conditioning,
    CriticHead,
    GeneratorNormalisation,
    LabelPlanes,
    Normalisation,
    check_dropout,
    check_size,
    crop_to,
    start_and_doublings,
    wrap_for,
)
from equipoise.networks.minibatch import Minibatch, minibatch_layer


def num_channels(width: int, level: int) -> int:
    """Channels where the image is 2^level times smaller than its full size: doubling, at most 8 · width."""
    return width * min(2 ** max(level - 1, 0), 8)


class DCGANGenerator(nn.Module):
    """Latents z [N, Z] (and labels [N]) to images [N, C, size, size] in [-1, 1].

    A linear layer to 4..7 pixels, then 4×4 transposed convolutions of stride 2 with normalisation and ReLU. Sizes that
    are no such multiple are made larger and cropped. Without batch normalisation ("pixel", "none") layers have biases
    and Kaiming weights, which keep signals alive.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        *,
        width: int = 64,
        num_classes: int = 0,
        normalisation: GeneratorNormalisation = "batch",
        smallest: int = 4,
    ):
        super().__init__()
        check_size(size, "dcgan")
        self.size = size
        self.start, doublings = start_and_doublings(size, smallest)
        widths = [num_channels(width, level) for level in range(doublings, 0, -1)]  # from small to large
        bias = normalisation != "batch"
        self.project = nn.Linear(z_dim, widths[0] * self.start**2, bias=bias)
        self.norms = nn.ModuleList([ConditionalNorm(w, num_classes, normalisation=normalisation) for w in widths])
        self.ups = nn.ModuleList(
            [
                nn.ConvTranspose2d(w, nxt, 4, 2, 1, bias=bias or last)
                for w, nxt, last in zip(widths, [*widths[1:], channels], [*[False] * (len(widths) - 1), True])
            ]
        )
        if normalisation == "batch":
            for layer in [self.project, *self.ups]:
                nn.init.normal_(layer.weight, std=0.02)
        else:
            initialise(self, "kaiming")

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.project(z).view(len(z), -1, self.start, self.start)
        for norm, up in zip(self.norms, self.ups):
            h = up(relu(norm(h, labels)))
        return torch.tanh(crop_to(h, self.size).float())  # [N, C, size, size]


class DCGANCritic(nn.Module):
    """Images [N, C, size, size] (and labels [N]) to a `Verdict`: 4×4 convolutions of stride 2 with leaky ReLU.

    `dropout` is the share of each layer's outputs that training leaves out; `minibatch` adds statistics of the batch to
    the last features: of the feature map ("deviation", in groups of `group`) or of all of it ("discrimination").
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        width: int = 64,
        normalisation: Normalisation = "none",
        num_classes: int = 0,
        conditioning: Conditioning = "none",
        dropout: float = 0.0,
        minibatch: Minibatch = "none",
        group: int = 4,
        smallest: int = 4,
    ):
        super().__init__()
        check_size(size, "dcgan")
        check_dropout(dropout)
        wrap = wrap_for(normalisation)
        end, halvings = start_and_doublings(size, smallest)
        widths = [num_channels(width, level) for level in range(1, halvings + 1)]  # from large to small
        self.planes = LabelPlanes(num_classes, size) if conditioning == "concatenation" else None
        incoming = [channels + (self.planes is not None), *widths]
        bias = normalisation != "batch"
        self.pad = end * 2**halvings - size
        self.downs = nn.ModuleList(
            [wrap(nn.Conv2d(a, b, 4, 2, 1, bias=bias or k == 0)) for k, (a, b) in enumerate(zip(incoming, widths))]
        )
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(w) if normalisation == "batch" and k > 0 else nn.Identity() for k, w in enumerate(widths)]
        )
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.minibatch, num_features = minibatch_layer(minibatch, (widths[-1], end, end), group=group, wrap=wrap)
        self.head = CriticHead(num_features, num_classes, conditioning, wrap)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        h = x if self.planes is None or labels is None else self.planes(x, labels)
        if self.pad:
            before, after = self.pad // 2, self.pad - self.pad // 2
            h = nn.functional.pad(h, (before, after, before, after))
        features = []
        for down, norm in zip(self.downs, self.norms):
            h = self.dropout(leaky_relu(norm(down(h)), 0.2))
            features.append(h)
        logits, classes = self.head(self.minibatch(h).flatten(1), labels)
        return Verdict(logits, tuple(features), classes)
