"""Denoising: a network that predicts the noise and takes it away (Zhang et al. 2017)."""

from typing import Literal

from torch import Tensor, nn

from equipoise.networks.anysize import before, check_sides, norm_for, reach_of
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import at_least_float32


class DnCNN(nn.Module):
    """Noisy images [N, C, H, W] to clean ones of the same shape: y = x - R(x), with `depth` 3×3 convolutions R.

    Between the first and the last convolution each is followed by normalisation and ReLU. The last one begins near
    zero, so that y begins near x. Outputs are unbounded: clamp them to show or to measure them. Any H and W. Raises
    ValueError for a depth below 2.
    Default: width 64, depth 17 (a field of 35×35 pixels); "batch" is the paper's, "none" keeps single images apart.
    Cost: depth - 2 convolutions of width × width at full size.
    Source: Zhang et al. 2017, Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising.

    >>> DnCNN(1).reach
    17
    """

    period = 1
    smallest = 1

    def __init__(
        self, channels: int, *, width: int = 64, depth: int = 17, normalisation: Literal["none", "batch"] = "none"
    ):
        super().__init__()
        if width < 1 or depth < 2:
            raise ValueError(
                f"DnCNN(width={width}, depth={depth}): expected a width of at least 1 and a depth of at least 2 "
                "convolutions. 64 and 17 are the usual ones."
            )
        if normalisation not in ("none", "batch"):
            raise ValueError(f"DnCNN(normalisation={normalisation!r}): expected 'none' or 'batch'. Choose one of them.")
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            conv = nn.Conv2d(width, width, 3, padding=1, bias=normalisation == "none")
            layers += [conv, norm_for(normalisation, width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        initialise(self, "kaiming")
        nn.init.normal_(self.out.weight, std=1e-3)

    @property
    def reach(self) -> int:
        """How many pixels to each side an output pixel depends on: the depth."""
        return reach_of(lambda span: before(span, self))

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.smallest, "DnCNN", "Leave empty images out.")
        return at_least_float32(x) - at_least_float32(self.out(self.body(x)))  # [N, C, H, W]
