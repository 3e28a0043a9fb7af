"""Parts that several networks share: class conditioning, the critic's head, spectral normalisation, sizes."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

Conditioning = Literal["none", "projection", "auxiliary", "concatenation"]
Normalisation = Literal["none", "batch", "spectral"]
Wrap = Callable[[nn.Module], nn.Module]


def wrap_for(normalisation: Normalisation) -> Wrap:
    """Spectral normalisation of a layer's weight (Miyato et al. 2018, Alg. 1), or nothing."""
    return parametrizations.spectral_norm if normalisation == "spectral" else lambda layer: layer


def start_and_doublings(size: int) -> tuple[int, int]:
    """The resolution (4 to 7) where an image of `size` begins, and how often it is doubled; start · 2ᵏ >= size.

    >>> start_and_doublings(32), start_and_doublings(28), start_and_doublings(100)
    ((4, 3), (7, 2), (7, 4))
    """
    doublings = (-(-size // 7) - 1).bit_length()
    return -(-size // 2**doublings), doublings


def check_size(size: int, network: str) -> None:
    """Raise ValueError unless 8 <= size <= 256."""
    if not 8 <= size <= 256:
        raise ValueError(
            f"The {network} networks cannot make images of {size}×{size} pixels: expected a size from 8 to 256. "
            "Choose one, for example --set data.size=64."
        )


def orthogonal_(network: nn.Module) -> None:
    """Orthogonal initial weights and zero biases of every convolution and linear layer (Brock et al. 2019, App. C)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(dict(layer.named_parameters()).get("parametrizations.weight.original", layer.weight))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation with a gain and a bias per class (de Vries et al. 2017, Eq. 5); plain without classes."""

    def __init__(self, num_features: int, num_classes: int = 0):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_features, affine=num_classes == 0)
        if num_classes:
            self.gain = nn.Embedding(num_classes, num_features)
            self.bias = nn.Embedding(num_classes, num_features)
            nn.init.ones_(self.gain.weight)
            nn.init.zeros_(self.bias.weight)
        self.num_classes = num_classes

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.norm(x)
        if not self.num_classes:
            return x
        return x * self.gain(labels)[:, :, None, None].to(x) + self.bias(labels)[:, :, None, None].to(x)


class LabelPlanes(nn.Module):
    """Concatenation: each class becomes one learned plane beside the image's channels (Mirza & Osindero 2014)."""

    def __init__(self, num_classes: int, size: int):
        super().__init__()
        self.size = size
        self.planes = nn.Embedding(num_classes, size * size)
        nn.init.normal_(self.planes.weight, std=1.0)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        plane = self.planes(labels).view(-1, 1, self.size, self.size)
        return torch.cat([x, plane.to(x)], dim=1)  # [N, C + 1, H, W]


class CriticHead(nn.Module):
    """From features [N, F] to logits [N] in float32, and to what the kind of conditioning asks for.

    "projection" adds the inner product of the features with an embedding of the class (Miyato & Koyama 2018, Eq. 3);
    "auxiliary" scores every class as well (Odena et al. 2017).
    """

    def __init__(self, num_features: int, num_classes: int, by: Conditioning, wrap: Wrap):
        super().__init__()
        self.by = by
        self.logit = wrap(nn.Linear(num_features, 1))
        if by == "projection":
            self.embedding = nn.Embedding(num_classes, num_features)
            nn.init.normal_(self.embedding.weight, std=num_features**-0.5)  # as large as the linear layer's output
            wrap(self.embedding)
        if by == "auxiliary":
            self.classes = wrap(nn.Linear(num_features, num_classes))

    def forward(self, h: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        with torch.autocast(h.device.type, enabled=False):
            h = h.float()
            logits = self.logit(h).squeeze(1)
            if self.by == "projection":
                logits = logits + (self.embedding(labels) * h).sum(1)
            return logits, self.classes(h) if self.by == "auxiliary" else None


def crop_to(x: Tensor, size: int) -> Tensor:
    """The central size×size pixels."""
    top = (x.shape[-1] - size) // 2
    return x if x.shape[-1] == size else x[..., top : top + size, top : top + size]
