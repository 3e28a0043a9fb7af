"""A small classifier whose penultimate layer is a feature space: for images of any size and for vectors."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Features(NamedTuple):
    """What a feature network answers: `features` [N, F], the penultimate layer, and class scores `classes` [N, K]."""

    features: Tensor
    classes: Tensor


class FeatureNet(nn.Module):
    """A classifier of images [N, C, H, W] in [-1, 1] with sides of at least 4, or of vectors [N, D] at any scale.

    Images above 32 pixels are brought down by the stride of the first convolution; smaller ones keep their resolution
    there. Later convolutions halve the side, and a 4 × 4 grid is flattened: the features know positions. `width` is the
    number of channels of the first layer.

    >>> import torch
    >>> features, classes = FeatureNet((1, 8, 8), 10)(torch.zeros(2, 1, 8, 8))
    >>> features.shape, classes.shape
    (torch.Size([2, 64]), torch.Size([2, 10]))
    """

    def __init__(self, shape: Sequence[int], num_classes: int, *, width: int = 32, num_features: int = 64):
        super().__init__()
        if len(shape) not in (1, 3) or min(shape) < 1 or (len(shape) == 3 and min(shape[1:]) < 4):
            raise ValueError(
                f"shape={tuple(shape)} was passed, but (C, H, W) with sides of at least 4, or (D,), is expected. "
                "Pass the shape of one example, without N; enlarge smaller images."
            )
        if min(num_classes, width, num_features) < 1:
            raise ValueError(
                f"num_classes={num_classes}, width={width}, num_features={num_features} were passed, but at least 1 is "
                "expected of each. Leave width and num_features out."
            )
        self.width = width
        self.num_features = num_features
        layers, size = _image_layers(shape, width) if len(shape) == 3 else _vector_layers(shape[0], width)
        self.body = nn.Sequential(*layers, nn.Linear(size, num_features), nn.BatchNorm1d(num_features), nn.ReLU())
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, x: Tensor) -> Features:
        features = self.body(x)
        return Features(features, self.head(features))


def _image_layers(shape: Sequence[int], width: int) -> tuple[list[nn.Module], int]:
    """Layers from an image to a flat vector, and the length of that vector."""
    side, stride, channels = min(shape[1:]), 1, width
    while side / stride > 32:
        stride *= 2
    layers = _convolution(shape[0], width, kernel=2 * stride + 1, stride=stride)
    side = -(-side // stride)
    while side >= 8:
        layers += _convolution(channels, min(2 * channels, 4 * width), kernel=3, stride=2)
        side, channels = -(-side // 2), min(2 * channels, 4 * width)
    layers += [*_convolution(channels, channels, kernel=3, stride=1), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return layers, 16 * channels


def _convolution(num_in: int, num_out: int, *, kernel: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(num_in, num_out, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(num_out), nn.ReLU()]


def _vector_layers(num_in: int, width: int) -> tuple[list[nn.Module], int]:
    # The first normalisation takes vectors of any scale to the same one.
    hidden = 4 * width
    layers = [nn.BatchNorm1d(num_in), nn.Linear(num_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    return layers, hidden
