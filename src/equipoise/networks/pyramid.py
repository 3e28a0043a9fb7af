"""Laplacian pyramids, and the network that paints one of their bands (Denton et al. 2015, section 2.2 and 3)."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu


def halved(x: Tensor) -> Tensor:
    """d(x): images [N, C, 2h, 2w] of half the size, antialiased."""
    return interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)


def doubled(x: Tensor) -> Tensor:
    """u(x): images [N, C, h, w] of twice the size, smooth."""
    return interpolate(x, scale_factor=2.0, mode="bilinear")


def levels_of(x: Tensor, num_levels: int) -> list[Tensor]:
    """The Gaussian pyramid: images and so many halvings of them. Bands are what `doubled` leaves out between them."""
    levels = [x]
    for _ in range(num_levels):
        levels.append(halved(levels[-1]))
    return levels


def check_levels(size: int, num_levels: int, *, smallest: int = 8) -> None:
    """Raise ValueError unless images can be halved so often and are still large enough."""
    if num_levels < 1 or size % 2**num_levels or size // 2**num_levels < smallest:
        raise ValueError(
            f"{num_levels} bands of images of {size} pixels: expected at least 1, a size that is a multiple of "
            f"{2 ** max(num_levels, 1)}, and at least {smallest} pixels that are left. Use other game.num_levels, or "
            "another data.size."
        )


@final
class BandGenerator(nn.Module):
    """What is missing in smooth images l [N, C, H, W], from them and one plane of noise [N, 1, H, W]: [N, C, H, W]."""

    def __init__(self, channels: int, *, width: int = 64, num_layers: int = 3):
        super().__init__()
        incoming = [channels + 1, *[width] * num_layers]
        self.layers = nn.ModuleList([nn.Conv2d(a, width, 5, padding=2, bias=False) for a in incoming[:-1]])
        self.norms = nn.ModuleList([nn.BatchNorm2d(width) for _ in self.layers])
        self.out = nn.Conv2d(width, channels, 5, padding=2)

    def forward(self, z: Tensor, smooth: Tensor) -> Tensor:
        h = torch.cat([smooth, z], dim=1)
        for layer, norm in zip(self.layers, self.norms):
            h = relu(norm(layer(h)))
        return self.out(h).float()
