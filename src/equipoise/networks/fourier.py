"""Fast Fourier convolutions, and a network of them that fills large holes (Chi et al. 2020, Suvorov et al. 2022)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from equipoise.networks.anysize import before, check_counts, check_sides, padded, reach_of
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import at_least_float32


class FourierInpainter(nn.Module):
    """Images with holes [N, in_channels, H, W] to whole images [N, out_channels, H, W] in [-1, 1].

    The usual input is the image with its holes set to 0 and, as the fourth channel, the mask (1 in holes). A 7×7
    convolution, `num_downs` halvings that double the width, `num_blocks` residual blocks of two `FourierConv`, as many
    doublings (repeated pixels and 3×3 convolutions, where the paper has transposed ones, which leave chequerboards) and
    a 7×7 convolution with tanh (the paper's range is [0, 1], by a sigmoid); borders are reflected. `ratio` is the share
    of the blocks' channels that see the whole image from the first block on: repeated structures continue into holes,
    also in images larger than those of training. With ratio = 0 the network is an ordinary one. Any H and W of more
    than 2^num_downs: images are reflected to multiples of it and cropped. Raises ValueError for smaller ones and for a
    ratio outside [0, 1). Outside the holes the output is near the input, but not equal: the game puts them together.
    Default: width 64, 3 halvings, 9 blocks, ratio 0.75, as in LaMa-Fourier; 18 blocks for the big one.
    Cost: at ratio 0.75 half the multiplications of ratio 0, plus two Fourier transforms in each convolution.
    Source: Suvorov et al. 2022, Resolution-robust Large Mask Inpainting with Fourier Convolutions (LaMa).

    >>> FourierInpainter(width=4, num_downs=2, num_blocks=1)(torch.zeros(1, 4, 15, 22)).shape
    torch.Size([1, 3, 15, 22])
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        *,
        width: int = 64,
        num_downs: int = 3,
        num_blocks: int = 9,
        ratio: float = 0.75,
    ):
        super().__init__()
        check_counts("FourierInpainter", width=width, num_downs=num_downs, num_blocks=num_blocks)
        self.period = 2**num_downs
        self.smallest = self.period + 1  # so that the smallest features have 2×2 pixels, whose borders can be reflected
        widths = [width * 2**level for level in range(num_downs + 1)]
        self.layers = nn.Sequential(
            normalised(in_channels, width, kernel=7),
            *[normalised(w, 2 * w, stride=2) for w in widths[:-1]],
            *[FourierBlock(widths[-1], ratio=ratio) for _ in range(num_blocks)],
            *[nn.Sequential(nn.Upsample(scale_factor=2), normalised(2 * w, w)) for w in reversed(widths[:-1])],
        )
        self.out = nn.Conv2d(width, out_channels, 7, padding=3, padding_mode="reflect")
        initialise(self, "normal")

    @property
    def reach(self) -> int | None:
        """None: an output pixel depends on the whole image. With ratio = 0: how far it sees, in pixels to each side."""
        if any(isinstance(layer, FourierUnit) for layer in self.modules()):
            return None
        return reach_of(lambda span: before(span, self), period=self.period)

    def forward(self, x: Tensor) -> Tensor:
        remedy = "Choose fewer halvings (num_downs), or enlarge them."
        check_sides(x, self.smallest, f"FourierInpainter(num_downs={self.period.bit_length() - 1})", remedy)
        height, width = x.shape[-2:]
        y = self.out(self.layers(padded(x, self.period)))[..., :height, :width]
        return torch.tanh(at_least_float32(y))  # [N, out_channels, H, W]


def normalised(incoming: int, outgoing: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
    """Convolution with reflected borders, batch normalisation, ReLU."""
    conv = nn.Conv2d(incoming, outgoing, kernel, stride, kernel // 2, bias=False, padding_mode="reflect")
    return nn.Sequential(conv, nn.BatchNorm2d(outgoing), nn.ReLU())


class FourierBlock(nn.Module):
    """A residual block of two Fourier convolutions (Suvorov et al. 2022); features [N, C, H, W] keep their shape."""

    def __init__(self, channels: int, *, ratio: float = 0.75):
        super().__init__()
        self.convs = nn.Sequential(FourierConv(channels, ratio=ratio), FourierConv(channels, ratio=ratio))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x)


class FourierConv(nn.Module):
    """A fast Fourier convolution: some channels see 3×3 pixels, the others the whole image, and each reads both.

    The last ⌊ratio · C⌋ of the channels [N, C, H, W] are global. With l the local and g the global part,
    l' = conv(l) + conv(g) and g' = conv(l) + S(g), with 3×3 convolutions of reflected borders and the
    `SpectralTransform` S; then batch normalisation and ReLU. conv(l) + conv(g) is one convolution of all channels. The
    paper's local Fourier unit, a second S on quarters of the image, is left out, as in LaMa. Sides of at least 2.
    Raises ValueError for a ratio outside [0, 1).
    Default: ratio 0.75.
    Cost: (1 - ratio²) of a 3×3 convolution, S and its Fourier transforms.
    Source: Chi et al. 2020, Fast Fourier Convolution.
    """

    def __init__(self, channels: int, *, ratio: float = 0.75):
        super().__init__()
        if not 0 <= ratio < 1:
            raise ValueError(
                f"ratio is {ratio}: expected the share of channels that see the whole image, from 0 to below 1, "
                "such as 0.75."
            )
        far = int(ratio * channels)
        self.near = channels - far
        self.local = nn.Conv2d(channels, self.near, 3, padding=1, bias=False, padding_mode="reflect")
        self.outwards = nn.Conv2d(self.near, far, 3, padding=1, bias=False, padding_mode="reflect") if far else None
        self.spectral = SpectralTransform(far) if far else None
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.local(x)
        if self.outwards is not None and self.spectral is not None:
            h = torch.cat([h, self.outwards(x[:, : self.near]) + self.spectral(x[:, self.near :])], dim=1)
        return relu(self.norm(h))


class SpectralTransform(nn.Module):
    """1×1 convolution to half the channels, `FourierUnit` with a skip, 1×1 convolution back (Chi et al. 2020)."""

    def __init__(self, channels: int):
        super().__init__()
        half = max(channels // 2, 1)
        self.shrink = nn.Sequential(nn.Conv2d(channels, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU())
        self.unit = FourierUnit(half)
        self.widen = nn.Conv2d(half, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.shrink(x)
        return self.widen(h + self.unit(h))


class FourierUnit(nn.Module):
    """One 1×1 convolution of an image's spectrum, so that each output pixel depends on all pixels.

    Real Fourier transform, real and imaginary parts as channels [N, 2C, H, ⌊W/2⌋ + 1], convolution, batch
    normalisation, ReLU, inverse transform. Both transforms are orthonormal and in float32 (float64 stays), also under
    autocast: half precision has them for powers of two alone, and bfloat16 not at all.
    Source: Chi et al. 2020, Fast Fourier Convolution.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(at_least_float32(x), norm="ortho")
        spectrum = torch.cat([spectrum.real, spectrum.imag], dim=1)  # [N, 2C, H, W/2 + 1]
        real, imaginary = at_least_float32(relu(self.norm(self.conv(spectrum)))).chunk(2, dim=1)
        return torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:], norm="ortho").to(x.dtype)
