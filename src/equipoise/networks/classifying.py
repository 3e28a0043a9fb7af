"""Critics that are classifiers: K scores, beside which that of "fake" is 0 (Salimans et al. 2016, section 5)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu
from torch.nn.utils import parametrizations

from equipoise.core.game import Verdict


@final
class ClassifierHead(nn.Module):
    """Features h [N, F] to a `Verdict` in float32: scores l [N, K] of classes, and the logit Z = log Σₖ exp lₖ.

    With a fake class whose score is 0, p(real | x) = e^Z / (e^Z + 1) (Salimans et al. 2016, Sec. 5).
    """

    def __init__(self, num_features: int, num_classes: int):
        super().__init__()
        self.scores = weight_normalised(nn.Linear(num_features, num_classes), gain=1.0)

    def forward(self, h: Tensor) -> Verdict:
        with torch.autocast(h.device.type, enabled=False):
            scores = self.scores(h.to(next(self.parameters()).dtype))
            return Verdict(scores.logsumexp(1), (h,), scores)


@final
class DenseClassifier(nn.Module):
    """Examples [N, *shape] to a `Verdict` by dense layers with noise in front of each: the critic for MNIST.

    `noise` is the standard deviation of what training adds to the examples and, `hidden_noise`, to each hidden layer.
    For images in [-1, 1] it is twice what it is for such in [0, 1]. The features are the last hidden layer.
    """

    def __init__(
        self,
        num_values: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (1000, 500, 250, 250, 250),
        noise: float = 0.6,
        hidden_noise: float = 0.5,
    ):
        super().__init__()
        self.noise, self.hidden_noise = noise, hidden_noise
        self.layers = nn.ModuleList(
            [weight_normalised(nn.Linear(a, b), gain=2**0.5) for a, b in pairwise([num_values, *widths])]
        )
        self.head = ClassifierHead(widths[-1], num_classes)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        h = self.disturbed(x.flatten(1), self.noise)
        for layer in self.layers:
            h = self.disturbed(relu(layer(h)), self.hidden_noise)
        return self.head(h)

    def disturbed(self, h: Tensor, std: float) -> Tensor:
        """With noise, while training."""
        return h + std * torch.randn_like(h) if self.training and std else h


@final
class ConvolutionalClassifier(nn.Module):
    """Images [N, C, H, W] with sides of at least 12 to a `Verdict`: the critic for CIFAR-10 and SVHN.

    Dropout of a fifth of the pixels; three 3×3 convolutions, the last of stride 2; dropout; three twice as wide, the
    last of stride 2; dropout; one without padding and two of 1×1; the mean over positions, which are the features. All
    layers have weight normalisation and leaky ReLU.
    """

    def __init__(self, channels: int, num_classes: int, *, width: int = 96, dropout: float = 0.5):
        super().__init__()
        wide = 2 * width
        incoming = [channels, width, width, width, wide, wide, wide, wide, wide]
        outgoing = [*incoming[1:], wide]
        kernels, strides, paddings = [3] * 7 + [1] * 2, [1, 1, 2, 1, 1, 2, 1, 1, 1], [1] * 6 + [0] * 3
        self.layers = nn.ModuleList(
            [
                weight_normalised(nn.Conv2d(*sizes), gain=2**0.5)
                for sizes in zip(incoming, outgoing, kernels, strides, paddings)
            ]
        )
        self.of_pixels, self.dropout = nn.Dropout(0.4 * dropout), nn.Dropout(dropout)
        self.head = ClassifierHead(wide, num_classes)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        h = self.of_pixels(x)
        for number, layer in enumerate(self.layers):
            h = leaky_relu(layer(h), 0.2)
            if number in (2, 5):
                h = self.dropout(h)
        return self.head(h.mean((2, 3)))


def weight_normalised(layer: nn.Linear | nn.Conv2d, *, gain: float) -> nn.Module:
    """The layer with weight normalisation (Salimans & Kingma 2016, Eq. 2), weights of a norm near `gain`, no bias yet.

    A gain of √2 keeps the size of signals through ReLU.
    """
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return parametrizations.weight_norm(layer)
