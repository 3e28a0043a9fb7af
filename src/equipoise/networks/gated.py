"""Gated convolutions, and a network of them that fills holes of any shape (Yu et al. 2019)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from equipoise.networks.anysize import before, check_counts, check_sides, padded, reach_of, smallest_side
from equipoise.networks.layers import at_least_float32


class GatedInpainter(nn.Module):
    """Images with holes [N, in_channels, H, W] to whole images [N, out_channels, H, W] in [-1, 1].

    The usual input is the image with its holes set to 0 and, as the fourth channel, the mask (1 in holes). Gated
    convolutions throughout: two halvings, dilations of 2, 4, 8 and 16 at a quarter of the size, two doublings (repeated
    pixels and 3×3), a plain 3×3 convolution, tanh. This is the paper's first, coarse stage alone: its second stage,
    with contextual attention, is left out, so that holes wider than the reach get no texture from afar. A critic for it
    is `PatchCritic(channels, normalisation="spectral")`. Any H and W of at least 3: images are reflected to multiples
    of 4 and cropped; raises ValueError for smaller ones. Outside the holes the output is near the input, but not equal:
    the game puts them together.
    Default: width 48.
    Cost: twice that of the same network without gates.
    Source: Yu et al. 2019, Free-Form Image Inpainting with Gated Convolution (DeepFillv2).

    >>> GatedInpainter(width=4)(torch.zeros(1, 4, 15, 22)).shape
    torch.Size([1, 3, 15, 22])
    """

    period = 4
    smallest = smallest_side(4)

    def __init__(self, in_channels: int = 4, out_channels: int = 3, *, width: int = 48):
        super().__init__()
        check_counts("GatedInpainter", width=width)
        self.layers = nn.Sequential(
            GatedConv(in_channels, width, kernel=5),
            GatedConv(width, 2 * width, stride=2),
            GatedConv(2 * width, 2 * width),
            GatedConv(2 * width, 4 * width, stride=2),
            *[GatedConv(4 * width, 4 * width, dilation=dilation) for dilation in (1, 1, 2, 4, 8, 16, 1, 1)],
            nn.Upsample(scale_factor=2),
            GatedConv(4 * width, 2 * width),
            GatedConv(2 * width, 2 * width),
            nn.Upsample(scale_factor=2),
            GatedConv(2 * width, width),
            GatedConv(width, max(width // 2, 1)),
        )
        self.out = nn.Conv2d(max(width // 2, 1), out_channels, 3, padding=1)
        nn.init.kaiming_normal_(self.out.weight, nonlinearity="linear")
        if self.out.bias is not None:
            nn.init.zeros_(self.out.bias)

    @property
    def reach(self) -> int:
        """How many pixels to each side an output pixel depends on."""
        return reach_of(lambda span: before(span, self), period=self.period)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.smallest, "GatedInpainter", "Enlarge them.")
        height, width = x.shape[-2:]
        y = self.out(self.layers(padded(x, self.period)))[..., :height, :width]
        return torch.tanh(at_least_float32(y))  # [N, out_channels, H, W]


class GatedConv(nn.Module):
    """A convolution that learns where its input is valid: ELU(conv(x)) · σ(gate(x)), for each channel and position.

    [N, incoming, H, W] to [N, outgoing, ⌈H/stride⌉, ⌈W/stride⌉], with zeros around the image. Both convolutions are one
    of 2·outgoing channels: features, then gates. There is no normalisation; the initial weights keep the size of
    signals: for standard normal u and v, E[ELU(2.5 u)²]·E[σ(v)²] = 3.42 · 0.293 = 1.
    Source: Yu et al. 2019, Free-Form Image Inpainting with Gated Convolution.
    """

    def __init__(self, incoming: int, outgoing: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(incoming, 2 * outgoing, kernel, stride, dilation * (kernel // 2), dilation)
        with torch.no_grad():
            nn.init.normal_(self.conv.weight, std=1 / math.sqrt(incoming * kernel**2))
            self.conv.weight[:outgoing] *= 2.5
            if self.conv.bias is not None:
                nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        features, gates = self.conv(x).chunk(2, dim=1)
        return elu(features) * torch.sigmoid(gates)
