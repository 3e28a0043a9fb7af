"""U-Nets: one that maps images to images, and a critic that judges every pixel."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from equipoise.core.game import Verdict
from equipoise.networks.anysize import (
    PlainNormalisation,
    Span,
    before,
    check_counts,
    check_sides,
    join,
    norm_for,
    padded,
    reach_of,
    smallest_side,
)
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import at_least_float32, check_dropout, wrap_for


class UNet(nn.Module):
    """Images [N, in_channels, H, W] to images [N, out_channels, H, W], by an encoder and a decoder joined at each size.

    A 3×3 convolution at full size, then `depth` 4×4 convolutions of stride 2 to widths min(2ᵏ, 8)·width, then as many
    steps back, each of which repeats pixels, convolves (3×3) and sees the encoder's features of its size. The paper's
    transposed convolutions are left out, because they leave chequerboards (Odena et al. 2016), and the features at full
    size are added, which restoration needs. The innermost layer is not normalised, so that a batch of one works.
    `dropout` is the share of features that training leaves out in the three innermost decoder steps; with `noise` they
    are left out in use too, as in the paper, whose only noise it is. With `residual` the output is added to the first
    out_channels channels of the input, and begins near them. `final` "tanh" gives [-1, 1], "softmax" planes of classes,
    2p - 1 with shares p that add up to 1. Any H and W of more than 2^depth / 2: images are reflected to multiples of
    2^depth and cropped. Raises ValueError for smaller ones, for a residual behind a tanh or softmax, for a softmax of
    one channel, and for noise without dropout.
    Default: width 64, depth 4; the paper has depth 8 for 256 pixels, "batch" and dropout 0.5.
    Cost: dominated by the two outer levels.
    Source: Ronneberger et al. 2015, U-Net; Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial
    Networks (pix2pix), appendix.

    >>> UNet(3, 1, width=4, depth=2)(torch.zeros(2, 3, 17, 6)).shape
    torch.Size([2, 1, 17, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        depth: int = 4,
        normalisation: PlainNormalisation = "batch",
        dropout: float = 0.0,
        noise: bool = False,
        residual: bool = False,
        final: Literal["tanh", "softmax", "none"] = "tanh",
    ):
        super().__init__()
        check_counts("UNet", width=width, depth=depth)
        check_dropout(dropout)
        if final not in ("tanh", "softmax", "none"):
            raise ValueError(f"UNet(final={final!r}): expected 'tanh', 'softmax' or 'none'. Choose one of them.")
        if final == "softmax" and out_channels < 2:
            raise ValueError("UNet(final='softmax'): expected at least 2 output channels, one for each class.")
        if residual and (final != "none" or out_channels > in_channels):
            raise ValueError(
                f"UNet({in_channels}, {out_channels}, residual=True, final={final!r}): expected final='none' and at "
                "most as many output channels as input channels: the output is added to the input."
            )
        if noise and dropout == 0:
            raise ValueError("UNet(noise=True, dropout=0): expected a dropout above 0: it is the noise. Pass 0.5.")
        self.normalisation, self.residual, self.final, self.out_channels = normalisation, residual, final, out_channels
        self.noise = noise
        self.period = 2**depth
        self.smallest = smallest_side(self.period)
        widths = [width * min(2**level, 8) for level in range(depth + 1)]  # from large to small
        bias = normalisation == "none"
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.downs = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(a, b, 4, 2, 1, bias=bias), norm_for(normalisation, b))
                for a, b in pairwise(widths[:-1])
            ]
            + [nn.Conv2d(widths[-2], widths[-1], 4, 2, 1)]
        )
        self.ups = nn.ModuleList(  # from large to small, as the encoder
            [
                nn.Sequential(
                    nn.Upsample(scale_factor=2),
                    nn.Conv2d(b if level == depth - 1 else 2 * b, a, 3, padding=1, bias=bias),
                    norm_for(normalisation, a),
                    (Noise if noise else nn.Dropout)(dropout if level >= depth - 3 else 0.0),
                )
                for level, (a, b) in enumerate(pairwise(widths))
            ]
        )
        self.out = nn.Conv2d(2 * width, out_channels, 3, padding=1)
        initialise(self, "kaiming" if normalisation == "none" else "normal")
        if residual:
            nn.init.normal_(self.out.weight, std=1e-3)

    @property
    def reach(self) -> int | None:
        """How many pixels to each side an output pixel depends on; None with instance normalisation, and with noise."""
        if self.normalisation == "instance" or self.noise:
            return None

        def before_all(span: Span) -> Span:
            return before_levels(before(span, self.out), self.first, self.downs, self.ups)

        return reach_of(before_all, period=self.period)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.smallest, f"UNet(depth={len(self.downs)})", "Choose a smaller depth, or enlarge them.")
        height, width = x.shape[-2:]
        h = self.first(padded(x, self.period))
        skips = []
        for down in self.downs:
            skips.append(h)
            h = down(leaky_relu(h, 0.2))
        for up, skip in zip(reversed(self.ups), reversed(skips)):
            h = torch.cat([up(relu(h)), skip], dim=1)
        y = at_least_float32(self.out(relu(h))[..., :height, :width])  # [N, out_channels, H, W]
        if self.residual:
            return at_least_float32(x[:, : self.out_channels]) + y
        if self.final == "softmax":
            return 2 * y.softmax(1) - 1
        return torch.tanh(y) if self.final == "tanh" else y


class Noise(nn.Module):
    """Dropout in use too, not only while training: G's noise in pix2pix (Isola et al. 2017, Sec. 3.2)."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.share, training=True)


class UNetCritic(nn.Module):
    """Images [N, C, H, W] to a `Verdict` with one logit a pixel, [N, 1, H, W]: each says how real its surroundings are.

    A 3×3 convolution, three 4×4 ones of stride 2 to 8·width channels, three bilinear doublings with 3×3 convolutions,
    to each of which the encoder's features of its size are added, and three 3×3 convolutions at full size; leaky ReLU
    of slope 0.2. All but the first and the last are spectrally normalised. Features are the activations of all layers,
    at sizes padded to multiples of 8. Any H and W of at least 5; raises ValueError for smaller ones.
    Default: width 64, "spectral".
    Cost: several times a patch critic's: most of it is spent at full size.
    Source: Wang et al. 2021, Real-ESRGAN; Schönfeld et al. 2020, A U-Net Based Discriminator for Generative Adversarial
    Networks.

    >>> UNetCritic(3, width=4)(torch.zeros(2, 3, 9, 16)).logits.shape
    torch.Size([2, 1, 9, 16])
    """

    period = 8
    smallest = smallest_side(8)

    def __init__(self, channels: int, *, width: int = 64, normalisation: Literal["none", "spectral"] = "spectral"):
        super().__init__()
        check_counts("UNetCritic", width=width)
        if normalisation not in ("none", "spectral"):
            raise ValueError(f"UNetCritic(normalisation={normalisation!r}): expected 'none' or 'spectral'. Choose one.")
        wrap, bias = wrap_for(normalisation), normalisation == "none"
        widths = [width, 2 * width, 4 * width, 8 * width]  # from large to small
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.downs = nn.ModuleList([wrap(nn.Conv2d(a, b, 4, 2, 1, bias=bias)) for a, b in pairwise(widths)])
        self.ups = nn.ModuleList(  # from large to small, as the encoder
            [
                nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                    wrap(nn.Conv2d(b, a, 3, padding=1, bias=bias)),
                )
                for a, b in pairwise(widths)
            ]
        )
        self.hidden = nn.ModuleList([wrap(nn.Conv2d(width, width, 3, padding=1, bias=bias)) for _ in range(2)])
        self.out = nn.Conv2d(width, 1, 3, padding=1)
        initialise(self, "kaiming")

    @property
    def reach(self) -> int:
        """How many pixels to each side a logit depends on."""

        def before_all(span: Span) -> Span:
            span = before(span, nn.ModuleList([*self.hidden, self.out]))
            return before_levels(span, self.first, self.downs, self.ups)

        return reach_of(before_all, period=self.period)

    def forward(self, x: Tensor) -> Verdict:
        check_sides(x, self.smallest, "UNetCritic", "Enlarge them.")
        height, width = x.shape[-2:]
        skips = [leaky_relu(self.first(padded(x, self.period)), 0.2)]
        for down in self.downs:
            skips.append(leaky_relu(down(skips[-1]), 0.2))
        features, h = list(skips), skips[-1]
        for up, skip in zip(reversed(self.ups), reversed(skips[:-1])):
            h = leaky_relu(up(h), 0.2) + skip
            features.append(h)
        for hidden in self.hidden:
            h = leaky_relu(hidden(h), 0.2)
            features.append(h)
        with torch.autocast(h.device.type, enabled=False):
            logits = self.out(at_least_float32(h))[..., :height, :width]  # [N, 1, H, W]
        return Verdict(logits, tuple(features))


def before_levels(span: Span, first: nn.Module, downs: nn.ModuleList, ups: nn.ModuleList) -> Span:
    """What the decoder's features `span` at full size depend on: `ups` go from large to small, as `downs` do."""
    spans = []
    for level in range(len(downs) + 1):  # the features of this size, by way of the encoder
        spans.append(before(span, nn.ModuleList([first, *downs[:level]])))
        span = before(span, ups[level]) if level < len(ups) else span
    return join(*spans)
