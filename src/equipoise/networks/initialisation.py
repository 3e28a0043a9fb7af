"""Initial weights of any network."""

import math
from typing import Literal

import torch
from torch import nn

from equipoise.networks.layers import original_weight, orthogonal_

Initialisation = Literal["normal", "orthogonal", "kaiming"]


@torch.no_grad()
def initialise(network: nn.Module, how: Initialisation) -> None:
    """Initial weights by one rule: every convolution, transposed convolution and linear layer is drawn anew.

    "normal": w ~ N(0, 0.02²), and gains of batch normalisation ~ N(1, 0.02²). "orthogonal": orthonormal rows or
    columns. "kaiming": w ~ N(0, 2 / ((1 + 0.2²) · fan_in)), which keeps the size of signals through leaky ReLU of slope
    0.2; a transposed convolution of stride s reaches each pixel with 1/s² of its kernel. Biases become 0; embeddings
    stay. With spectral normalisation the weight behind it is drawn, and its norm is estimated anew.
    Default: each network's own: "normal" in DCGAN, "orthogonal" in ResNet, torch's in the MLP.
    Cost: none.
    Source: Radford et al. 2016 (normal); Saxe et al. 2014 and Brock et al. 2019 (orthogonal); He et al. 2015 (Kaiming).
    """
    if how not in ("normal", "orthogonal", "kaiming"):
        raise ValueError(f"Initial weights {how!r}: expected 'normal', 'orthogonal' or 'kaiming'. Choose one of them.")
    if how == "orthogonal":
        orthogonal_(network)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, 0.02) if how == "normal" else nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if how != "orthogonal":
                nn.init.normal_(original_weight(layer), std=0.02 if how == "normal" else kaiming_std(layer))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            estimate_norm(layer)


def kaiming_std(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> float:
    """The standard deviation of weights that keeps the size of signals."""
    fan_in = layer.weight[0].numel()
    if isinstance(layer, nn.ConvTranspose2d):
        fan_in = layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)
    return math.sqrt(2 / ((1 + 0.2**2) * fan_in))


def estimate_norm(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    """Let the power iteration of a spectral norm, one step at each look at the weight, find the new weight's norm."""
    mode = layer.training
    layer.train()
    for _ in range(15):
        layer.weight  # noqa: B018
    layer.train(mode)
