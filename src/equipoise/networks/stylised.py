"""Networks of style transfer: one style in one pass, any style through the statistics of features, and a picture."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import instance_norm

from equipoise.networks.anysize import check_counts, check_sides, padded
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import at_least_float32
from equipoise.networks.translator import ResidualBlock, layer


class TransformerNet(nn.Module):
    """Images [N, C, H, W] to stylised ones of the same size in [-1, 1], in one pass.

    A 9×9 convolution, two 3×3 ones of stride 2 that double the width, `num_blocks` residual blocks, two doublings
    (repeated pixels and 3×3 convolutions, where the paper has transposed ones, which leave chequerboards) and a 9×9
    convolution with tanh; instance normalisation and ReLU after all but the last; borders are reflected. Any H and W of
    at least 5: images are reflected to multiples of 4 and cropped. Raises ValueError for smaller ones.

    A `direct` one shows its last layer the image too, normalised like the features, so that fine detail need not pass
    the small size in the middle; and it has no tanh, behind which saturated blots get no gradient: values may leave
    [-1, 1]. It learns to keep what is in an image several times sooner.
    Default: width 32, 5 blocks, not direct, as in the paper.
    Cost: num_blocks · 2 convolutions at 4 · width channels and the two of 9×9 dominate.
    Source: Johnson et al. 2016, Perceptual Losses for Real-Time Style Transfer and Super-Resolution, supplement;
    Ulyanov et al. 2016, Instance Normalization: The Missing Ingredient for Fast Stylization.

    >>> TransformerNet(3, width=4, num_blocks=1)(torch.zeros(2, 3, 10, 13)).shape
    torch.Size([2, 3, 10, 13])
    """

    reach = None
    """Every output pixel depends on the whole image, by instance normalisation."""
    period = 4
    smallest = 5

    def __init__(self, channels: int = 3, *, width: int = 32, num_blocks: int = 5, direct: bool = False):
        super().__init__()
        check_counts("TransformerNet", channels=channels, width=width, num_blocks=num_blocks)
        self.direct = direct
        self.layers = nn.Sequential(
            layer(channels, width, "instance", kernel=9),
            layer(width, 2 * width, "instance", stride=2),
            layer(2 * width, 4 * width, "instance", stride=2),
            *[ResidualBlock(4 * width, "instance") for _ in range(num_blocks)],
            nn.Sequential(nn.Upsample(scale_factor=2), layer(4 * width, 2 * width, "instance")),
            nn.Sequential(nn.Upsample(scale_factor=2), layer(2 * width, width, "instance")),
        )
        seen = width + channels if direct else width
        self.out = nn.Conv2d(seen, channels, 9, padding=4, padding_mode="reflect")
        initialise(self, "normal")

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.smallest, "TransformerNet", "Enlarge them.")
        height, width = x.shape[-2:]
        x = padded(x, self.period)
        h = self.layers(x)
        if self.direct:
            h = torch.cat([h, instance_norm(x).to(h.dtype)], dim=1)
        y = at_least_float32(self.out(h)[..., :height, :width])  # [N, C, H, W]
        return y if self.direct else torch.tanh(y)


class StyleDecoder(nn.Module):
    """Features [N, widths[-1], h, w] back to images [N, channels, s·h, s·w], s = 2^(stages - 1): an encoder mirrored.

    For each stage from the last to the first two 3×3 convolutions with ReLU, the second of them to the width of the
    stage before, and a doubling by repeated pixels; at the end one convolution to the image, with nothing after it.
    Borders are reflected. There is no normalisation, which would undo the statistics that were just given to the
    features.
    Default: the widths of the encoder's stages: (32, 64) of the small one, (64, 128, 256, 512) of VGG.
    Cost: about that of the encoder.
    Source: Huang & Belongie 2017, Arbitrary Style Transfer in Real-Time with Adaptive Instance Normalization, Sec. 6.1,
    which mirrors every convolution of VGG-19 up to relu4_1.

    >>> StyleDecoder((4, 8, 16))(torch.zeros(1, 16, 5, 6)).shape
    torch.Size([1, 3, 20, 24])
    """

    def __init__(self, widths: Sequence[int], channels: int = 3):
        super().__init__()
        check_counts("StyleDecoder", stages=len(widths), narrowest=min(widths, default=0), channels=channels)
        stages: list[nn.Module] = []
        for wide, narrow in pairwise(reversed(widths)):
            stages += [convolution(wide, wide), nn.ReLU(), convolution(wide, narrow), nn.ReLU()]
            stages += [nn.Upsample(scale_factor=2)]
        self.stages = nn.Sequential(*stages, convolution(widths[0], widths[0]), nn.ReLU())
        self.out = convolution(widths[0], channels)
        initialise(self, "kaiming")

    def forward(self, features: Tensor) -> Tensor:
        return at_least_float32(self.out(self.stages(features)))


class Canvas(nn.Module):
    """Pictures that are themselves what is learnt: `pixels` [N, C, H, W]. It is given nothing and answers them."""

    def __init__(self, pixels: Tensor):
        super().__init__()
        self.pixels = nn.Parameter(pixels.detach().clone())

    def forward(self) -> Tensor:
        return self.pixels


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Features [N, C, H, W] of a content with the mean and deviation that each channel has in a style [N, C, h, w].

    σ(y) (x - μ(x)) / σ(x) + μ(y), μ and σ = √(variance + 1e-5) over positions, in float32 at least. Of one style for
    all contents N is 1.
    Source: Huang & Belongie 2017, Eq. 8.
    """
    x, y = at_least_float32(content), at_least_float32(style)
    (of_x, mean_x), (of_y, mean_y) = (torch.var_mean(h, (2, 3), correction=0, keepdim=True) for h in (x, y))
    return (x - mean_x) * ((of_y + 1e-5) / (of_x + 1e-5)).sqrt() + mean_y


def convolution(incoming: int, outgoing: int) -> nn.Conv2d:
    """3×3 with reflected borders."""
    return nn.Conv2d(incoming, outgoing, 3, padding=1, padding_mode="reflect")
