"""Super-resolution: residual networks that add detail to an enlarged image (Ledig et al. 2017, Wang et al. 2018)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from equipoise.networks.anysize import before, check_counts, check_sides, join, reach_of
from equipoise.networks.layers import at_least_float32

FACTORS = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
"""By which steps each scale is reached."""


class SRResNet(nn.Module):
    """Images [N, C, H, W] to images [N, C, scale·H, scale·W]: bicubic enlargement plus a residual.

    y = up(x) + R(x). R is a 3×3 convolution, residual blocks without normalisation, which keeps the range of colours
    (Lim et al. 2017), pixel shuffles, and two more convolutions. The weights of the blocks and of the last two
    convolutions begin at a tenth of He's, so that y begins near up(x). With scale = 1 nothing is enlarged: a network
    for restoration at the same size. Images in [-1, 1] give outputs that may leave that range a little: clamp them to
    show or to measure them, not in a loss. Any H and W. Raises ValueError for another scale than 1, 2, 3, 4 or 8.
    Without `staged`, one convolution at the small size makes all pixels at once, and nothing is computed at the large
    one (Shi et al. 2016, ESPCN): a quarter of the cost at scale 4.
    Default: width 64, 16 blocks, staged, as in the papers.
    Cost: 2·num_blocks + 1 convolutions at the small size; the last two at the large one, if staged.
    Source: Ledig et al. 2017, Photo-Realistic Single Image Super-Resolution Using a GAN (SRResNet); without batch
    normalisation, with a global skip and small initial weights as in Wang et al. 2018, ESRGAN.

    >>> SRResNet(3, scale=2, width=8, num_blocks=2)(torch.zeros(1, 3, 9, 7)).shape
    torch.Size([1, 3, 18, 14])
    """

    period = 1
    smallest = 1

    def __init__(self, channels: int, *, scale: int = 4, width: int = 64, num_blocks: int = 16, staged: bool = True):
        super().__init__()
        check_counts("SRResNet", width=width, num_blocks=num_blocks)
        self.scale, self.enlarge = scale, enlarge_by("SRResNet", scale)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList([ResidualBlock(width) for _ in range(num_blocks)])
        self.ups = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(width, width * factor**2, 3, padding=1), nn.PixelShuffle(factor))
                for factor in (FACTORS[scale] if staged else ())
            ]
        )
        self.hidden = nn.Conv2d(width, width, 3, padding=1)
        last = nn.Conv2d(width, channels * (1 if staged else scale**2), 3, padding=1)
        self.out = last if staged else nn.Sequential(last, nn.PixelShuffle(scale))
        draw(self.modules(), slope=0.1)
        draw([*self.blocks.modules(), self.hidden, last], slope=0.1, gain=0.1)

    @property
    def reach(self) -> int:
        """How many input pixels to each side an output pixel depends on."""
        body = nn.ModuleList([self.first, self.blocks, self.ups, self.hidden, self.out])
        return reach_of(lambda span: join(before(span, body), before(span, self.enlarge)), scale=self.scale)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.smallest, "SRResNet", "Leave empty images out.")
        h = leaky_relu(self.first(x), 0.1)
        for block in self.blocks:
            h = block(h)
        for up in self.ups:
            h = leaky_relu(up(h), 0.1)
        residual = self.out(leaky_relu(self.hidden(h), 0.1))
        return self.enlarge(at_least_float32(x)) + at_least_float32(residual)  # [N, C, scale·H, scale·W]


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x)))."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(relu(self.conv1(x)))


class RRDBNet(nn.Module):
    """Images [N, C, H, W] to images [N, C, scale·H, scale·W]: bicubic enlargement plus the residual of a deep network.

    The body is `num_blocks` residual-in-residual dense blocks of 15 convolutions each; then pixels are repeated and
    convolved, once for each doubling. Scales 2 and 1 have fewer doublings and the whole body at the size of the input;
    a pixel-unshuffled input, as in Real-ESRGAN, would be 4 or 16 times cheaper, on a coarser grid. The global
    skip is not ESRGAN's, which learns the whole image: with it, and with blocks and last convolutions that begin at a
    tenth of He's weights, the output begins near the bicubic one. Outputs are unbounded: clamp them to show or to
    measure them. Any H and W. Raises ValueError for another scale than 1, 2, 3, 4 or 8.
    Default: width 64, 23 blocks, growth 32, as in the paper: 16.7 million parameters.
    Cost: about seven times SRResNet at scale 4.
    Source: Wang et al. 2018, ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks.

    >>> RRDBNet(3, scale=4, width=8, num_blocks=1, growth=4)(torch.zeros(1, 3, 5, 6)).shape
    torch.Size([1, 3, 20, 24])
    """

    period = 1
    smallest = 1

    def __init__(self, channels: int, *, scale: int = 4, width: int = 64, num_blocks: int = 23, growth: int = 32):
        super().__init__()
        check_counts("RRDBNet", width=width, num_blocks=num_blocks, growth=growth)
        self.scale, self.enlarge = scale, enlarge_by("RRDBNet", scale)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.Sequential(*[DenseBlocks(width, growth) for _ in range(num_blocks)])
        self.after = nn.Conv2d(width, width, 3, padding=1)
        self.ups = nn.ModuleList(
            [
                nn.Sequential(nn.Upsample(scale_factor=factor), nn.Conv2d(width, width, 3, padding=1))
                for factor in FACTORS[scale]
            ]
        )
        self.hidden = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        draw(self.modules(), slope=0.2)
        draw([*self.blocks.modules(), self.hidden, self.out], slope=0.2, gain=0.1)

    @property
    def reach(self) -> int:
        """How many input pixels to each side an output pixel depends on."""
        body = nn.ModuleList([self.first, self.blocks, self.after, self.ups, self.hidden, self.out])
        return reach_of(lambda span: join(before(span, body), before(span, self.enlarge)), scale=self.scale)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.smallest, "RRDBNet", "Leave empty images out.")
        h = self.first(x)
        h = h + self.after(self.blocks(h))
        for up in self.ups:
            h = leaky_relu(up(h), 0.2)
        residual = self.out(leaky_relu(self.hidden(h), 0.2))
        return self.enlarge(at_least_float32(x)) + at_least_float32(residual)  # [N, C, scale·H, scale·W]


class DenseBlocks(nn.Module):
    """A residual-in-residual dense block: x + 0.2·(three dense blocks, one after the other)."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.blocks = nn.Sequential(*[DenseBlock(width, growth) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.blocks(x)


class DenseBlock(nn.Module):
    """x + 0.2·(five convolutions, each of which sees x and all that the earlier ones made)."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.grow = nn.ModuleList([nn.Conv2d(width + k * growth, growth, 3, padding=1) for k in range(4)])
        self.merge = nn.Conv2d(width + 4 * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in self.grow:
            seen = torch.cat([seen, leaky_relu(conv(seen), 0.2)], dim=1)
        return x + 0.2 * self.merge(seen)


def enlarge_by(network: str, scale: int) -> nn.Module:
    """Bicubic enlargement; raises ValueError for a scale that the networks cannot reach."""
    if scale not in FACTORS:
        raise ValueError(f"{network}(scale={scale}): expected 1, 2, 3, 4 or 8. Choose the next larger one and shrink.")
    return nn.Upsample(scale_factor=scale, mode="bicubic", align_corners=False) if scale > 1 else nn.Identity()


@torch.no_grad()
def draw(layers: Iterable[nn.Module], *, slope: float, gain: float = 1.0) -> None:
    """He's initial weights for leaky ReLU (He et al. 2015), times a gain, and zero biases, of all convolutions."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=slope).mul_(gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
