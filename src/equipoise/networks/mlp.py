"""Multi-layer perceptrons for points in the plane, other vectors and small images."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from equipoise.core.game import Verdict
from equipoise.networks.layers import Conditioning, CriticHead, Normalisation, check_dropout, wrap_for
from equipoise.networks.minibatch import Minibatch, minibatch_layer

Activation = Literal["leaky-relu", "relu"]


class MLPGenerator(nn.Module):
    """Latents z [N, Z] (and labels [N]) to examples [N, *shape]; images end in tanh, vectors are unbounded.

    With "relu" whole regions of latents can have one and the same output, which separates narrow modes sooner; with
    "leaky-relu" no unit can die.
    """

    def __init__(
        self,
        z_dim: int,
        shape: Sequence[int],
        *,
        width: int = 256,
        num_layers: int = 3,
        num_classes: int = 0,
        normalisation: Literal["none", "batch"] = "none",
        activation: Activation = "leaky-relu",
    ):
        super().__init__()
        self.shape = tuple(shape)
        self.slope = 0.2 if activation == "leaky-relu" else 0.0
        self.embedding = nn.Embedding(num_classes, z_dim) if num_classes else None
        widths = [z_dim * (2 if num_classes else 1), *[width] * num_layers]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])
        self.norms = nn.ModuleList(
            [nn.BatchNorm1d(width) if normalisation == "batch" else nn.Identity() for _ in self.layers]
        )
        self.out = nn.Linear(width, math.prod(self.shape))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        h = z if self.embedding is None else torch.cat([z, self.embedding(labels)], dim=1)
        for layer, norm in zip(self.layers, self.norms):
            h = leaky_relu(norm(layer(h)), self.slope)
        x = self.out(h).float().view(len(z), *self.shape)
        return torch.tanh(x) if len(self.shape) == 3 else x


class MLPCritic(nn.Module):
    """Examples [N, *shape] (and labels [N]) to a `Verdict`.

    `dropout` is the share of each layer's outputs that training leaves out; `minibatch` adds statistics of the batch to
    the last features (in groups of `group`, for "deviation").
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        width: int = 256,
        num_layers: int = 3,
        normalisation: Normalisation = "none",
        num_classes: int = 0,
        conditioning: Conditioning = "none",
        dropout: float = 0.0,
        minibatch: Minibatch = "none",
        group: int = 4,
    ):
        super().__init__()
        check_dropout(dropout)
        wrap = wrap_for(normalisation)
        self.embedding = nn.Embedding(num_classes, width) if conditioning == "concatenation" else None
        first = math.prod(shape) + (width if self.embedding is not None else 0)
        widths = [first, *[width] * num_layers]
        self.layers = nn.ModuleList([wrap(nn.Linear(a, b)) for a, b in pairwise(widths)])
        self.norms = nn.ModuleList(
            [nn.BatchNorm1d(width) if normalisation == "batch" and k > 0 else nn.Identity() for k in range(num_layers)]
        )
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.minibatch, num_features = minibatch_layer(minibatch, (width,), group=group, wrap=wrap)
        self.head = CriticHead(num_features, num_classes, conditioning, wrap)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        h = x.flatten(1)
        if self.embedding is not None:
            h = torch.cat([h, self.embedding(labels)], dim=1)
        features = []
        for layer, norm in zip(self.layers, self.norms):
            h = self.dropout(leaky_relu(norm(layer(h)), 0.2))
            features.append(h)
        logits, classes = self.head(self.minibatch(h), labels)
        return Verdict(logits, tuple(features), classes)
