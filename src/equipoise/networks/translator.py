"""Translation of images by residual blocks between halvings and doublings (Johnson et al. 2016, Zhu et al. 2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equipoise.networks.anysize import PlainNormalisation, before, check_counts, check_sides, norm_for, padded, reach_of
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import at_least_float32


class ResNetTranslator(nn.Module):
    """Images [N, in_channels, H, W] to images [N, out_channels, H, W] in [-1, 1].

    A 7×7 convolution, `num_downs` 3×3 ones of stride 2 that double the width, `num_blocks` residual blocks, as many
    doublings (repeated pixels and 3×3 convolutions, where the papers have transposed ones, which leave chequerboards)
    and a 7×7 convolution with tanh; normalisation and ReLU after all but the last; borders are reflected. Any H and W
    of more than 2^num_downs (4 without halvings): images are reflected to multiples of it and cropped. Raises
    ValueError for smaller ones.

    `features` gives the activations of chosen stages, from which patch-contrastive losses are made. Stage 0 is the
    image, 1 the first convolution, 2 to num_downs + 1 the halvings, then come the blocks, then the doublings.
    Default: width 64, 2 halvings, "instance"; 9 blocks for 256 pixels, 6 for 128. Stages (0, 2, 3, 4, 8) are near those
    that CUT compares.
    Cost: num_blocks · 2 convolutions at 2^num_downs · width channels dominate.
    Source: Johnson et al. 2016, Perceptual Losses for Real-Time Style Transfer and Super-Resolution; Zhu et al. 2017,
    Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (CycleGAN), appendix.

    >>> network = ResNetTranslator(3, 3, width=4, num_blocks=2)
    >>> network(torch.zeros(1, 3, 10, 13)).shape
    torch.Size([1, 3, 10, 13])
    >>> [tuple(h.shape[1:]) for h in network.features(torch.zeros(1, 3, 8, 12), (0, 2, 4))]
    [(3, 8, 12), (8, 4, 6), (16, 2, 3)]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        num_blocks: int = 9,
        num_downs: int = 2,
        normalisation: PlainNormalisation = "instance",
    ):
        super().__init__()
        check_counts("ResNetTranslator", width=width, num_blocks=num_blocks)
        if num_downs < 0:
            raise ValueError(f"ResNetTranslator(num_downs={num_downs}): expected 0 or more halvings. 2 are usual.")
        self.normalisation = normalisation
        self.period = 2**num_downs
        # Reflection needs more pixels than it adds: 3 around the image, 1 around the smallest features.
        self.smallest = self.period + 1 if num_downs else 4
        widths = [width * 2**level for level in range(num_downs + 1)]
        self.stages = nn.ModuleList(
            [
                layer(in_channels, width, normalisation, kernel=7),
                *[layer(w, 2 * w, normalisation, stride=2) for w in widths[:-1]],
                *[ResidualBlock(widths[-1], normalisation) for _ in range(num_blocks)],
                *[
                    nn.Sequential(nn.Upsample(scale_factor=2), layer(2 * w, w, normalisation))
                    for w in reversed(widths[:-1])
                ],
            ]
        )
        self.channels = (in_channels, *widths, *[widths[-1]] * num_blocks, *reversed(widths[:-1]))
        """Of each stage, from the image on."""
        self.out = nn.Conv2d(width, out_channels, 7, padding=3, padding_mode="reflect")
        initialise(self, "kaiming" if normalisation == "none" else "normal")
        if normalisation == "none":  # or each block would double the variance
            with torch.no_grad():
                for block in self.modules():
                    if isinstance(block, ResidualBlock):
                        block.conv.weight.mul_(0.1)

    @property
    def reach(self) -> int | None:
        """How many pixels to each side an output pixel depends on; None with instance normalisation."""
        if self.normalisation == "instance":
            return None
        return reach_of(lambda span: before(span, self), period=self.period)

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        height, width = x.shape[-2:]
        h = padded(x, self.period)
        for stage in self.stages:
            h = stage(h)
        return torch.tanh(at_least_float32(self.out(h)[..., :height, :width]))  # [N, out_channels, H, W]

    def features(self, x: Tensor, layers: Sequence[int]) -> tuple[Tensor, ...]:
        """The activations of the stages `layers`, in that order, of images padded to multiples of 2^num_downs.

        Nothing behind the last of them is computed. Raises ValueError for a stage that there is not.
        """
        self.check(x)
        if not layers or not all(0 <= stage <= len(self.stages) for stage in layers):
            raise ValueError(
                f"ResNetTranslator.features(layers={tuple(layers)}): expected stages from 0 (the image) to "
                f"{len(self.stages)}, at least one."
            )
        reached = [padded(x, self.period)]
        for stage in self.stages[: max(layers)]:
            reached.append(stage(reached[-1]))
        return tuple(reached[stage] for stage in layers)

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless the images are large enough."""
        num_downs = self.period.bit_length() - 1
        remedy = "Choose fewer halvings (num_downs), or enlarge them."
        check_sides(x, self.smallest, f"ResNetTranslator(num_downs={num_downs})", remedy)


class ResidualBlock(nn.Module):
    """x + norm(conv(ReLU(norm(conv(x))))), 3×3 with reflected borders (CycleGAN: no ReLU after the addition)."""

    def __init__(self, channels: int, normalisation: PlainNormalisation):
        super().__init__()
        bias = normalisation == "none"
        self.first = layer(channels, channels, normalisation)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=bias, padding_mode="reflect")
        self.norm = norm_for(normalisation, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(self.first(x)))


def layer(
    incoming: int, outgoing: int, normalisation: PlainNormalisation, *, kernel: int = 3, stride: int = 1
) -> nn.Module:
    """Convolution with reflected borders, normalisation, ReLU."""
    bias = normalisation == "none"
    conv = nn.Conv2d(incoming, outgoing, kernel, stride, kernel // 2, bias=bias, padding_mode="reflect")
    return nn.Sequential(conv, norm_for(normalisation, outgoing), nn.ReLU())
