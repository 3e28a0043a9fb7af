"""Critics of patches: one logit for each part of an image, at one scale or at several (Isola et al. 2017)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from equipoise.core.game import Verdict
from equipoise.networks.anysize import Span, before, check_counts, check_sides, norm_for
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import at_least_float32, wrap_for


class PatchCritic(nn.Module):
    """Images [N, C, H, W] to a `Verdict` of overlapping patches: logits [N, 1, h, w], h = ⌊H / 2^num_layers⌋ - 2.

    `num_layers` 4×4 convolutions of stride 2, then two of stride 1; widths min(2ᵏ, 8)·width, leaky ReLU of slope 0.2.
    "batch" and "instance" normalise all but the first and the last layer, "spectral" normalises all weights (with it
    the critic serves as the SN-PatchGAN of Yu et al. 2019, with 4×4 instead of 5×5 convolutions). Features are the
    activations of each layer before the logits. A critic of pairs sees both images joined along their channels. Any H
    and W of at least 3·2^num_layers; raises ValueError for smaller ones: the patches would not fit.
    Default: width 64, 3 layers: patches of 70×70 pixels from images of at least 24; 2 layers 34×34 from 12, 1 layer
    16×16 from 6.
    Cost: about a DCGAN critic's.
    Source: Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks (pix2pix), appendix.

    >>> PatchCritic(3, width=4)(torch.zeros(2, 3, 40, 24)).logits.shape
    torch.Size([2, 1, 3, 1])
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 64,
        num_layers: int = 3,
        normalisation: Literal["none", "batch", "instance", "spectral"] = "instance",
    ):
        super().__init__()
        check_counts("PatchCritic", width=width, num_layers=num_layers)
        if normalisation not in ("none", "batch", "instance", "spectral"):
            raise ValueError(
                f"PatchCritic(normalisation={normalisation!r}): expected 'none', 'batch', 'instance' or 'spectral'. "
                "Choose one of them."
            )
        self.normalisation, self.num_layers = normalisation, num_layers
        self.smallest = 3 * 2**num_layers
        weights = "spectral" if normalisation == "spectral" else "none"
        activations = "none" if normalisation == "spectral" else normalisation
        wrap, bias = wrap_for(weights), activations == "none"
        widths = [width * min(2**level, 8) for level in range(num_layers + 1)]
        self.layers = nn.ModuleList(
            [nn.Sequential(wrap(nn.Conv2d(channels, width, 4, 2, 1)), nn.LeakyReLU(0.2))]
            + [
                nn.Sequential(
                    wrap(nn.Conv2d(a, b, 4, 2 if level < num_layers else 1, 1, bias=bias)),
                    norm_for(activations, b),
                    nn.LeakyReLU(0.2),
                )
                for level, (a, b) in enumerate(pairwise(widths), start=1)
            ]
        )
        self.num_features = widths[-1]
        """Channels of the last features."""
        self.out = wrap(nn.Conv2d(widths[-1], 1, 4, 1, 1))
        initialise(self, "kaiming" if normalisation == "none" else "normal")

    @property
    def reach(self) -> int | None:
        """Half a patch: how many pixels around its middle a logit depends on; None with instance normalisation."""
        return None if self.normalisation == "instance" else (self.patch + 1) // 2

    @property
    def patch(self) -> int:
        """The side of a patch: the pixels that a logit's convolutions see."""
        span = before(Span(0, 0), self)
        return span.last - span.first + 1

    def forward(self, x: Tensor) -> Verdict:
        check_sides(
            x, self.smallest, f"PatchCritic(num_layers={self.num_layers})", "Choose fewer layers, or enlarge them."
        )
        h, features = x, []
        for layer in self.layers:
            h = layer(h)
            features.append(h)
        with torch.autocast(h.device.type, enabled=False):
            logits = self.out(at_least_float32(h))  # [N, 1, h, w]
        return Verdict(logits, tuple(features))


class MultiScaleCritic(nn.Module):
    """Patch critics of one image at several sizes, that answer as one: logits [N, K, h, w], one plane for each scale.

    Member k sees the image after k halvings (3×3 average pooling of stride 2). A loss is not linear in the logits, so
    the logits of different scales are neither averaged nor weighted: the coarser planes repeat each of their logits
    until they are as large as the finest one. So the plain mean of any loss of single logits is the mean over the
    scales of each scale's own mean loss, 1/K of the sum in the paper, as with the columns [N, K] of `Critics`; averaged
    over h and w such losses fit a jury. Where a plane's sides are no multiple of a coarser one's, some of the coarser
    patches are repeated once more than others; `each` gives the verdicts one by one, for losses that want them even.
    Features are those of all members, from fine to coarse. Raises ValueError where the image is too small for a member,
    whose shortest side is doubled by each halving.
    Default: 3 critics of 3 layers, for images of at least 93 pixels; 2 of 1 or 2 layers for small ones.
    Cost: K = 3: about 4/3 of one critic.
    Source: Wang et al. 2018, High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs
    (pix2pixHD).

    >>> critic = MultiScaleCritic([PatchCritic(3, width=4, num_layers=1) for _ in range(2)])
    >>> verdict = critic(torch.zeros(2, 3, 16, 16))
    >>> verdict.logits.shape, [one.logits.shape[2:] for one in critic.each(torch.zeros(2, 3, 16, 16))]
    (torch.Size([2, 2, 6, 6]), [torch.Size([6, 6]), torch.Size([2, 2])])
    """

    def __init__(self, members: Sequence[PatchCritic]):
        super().__init__()
        if not members:
            raise ValueError("MultiScaleCritic([]): expected at least one critic. Pass patch critics, fine to coarse.")
        self.members = nn.ModuleList(members)
        # A side n is ⌈n / 2ᵏ⌉ after k halvings.
        self.smallest = max((member.smallest - 1) * 2**k + 1 for k, member in enumerate(members))
        # Pixel j of a halved image sees 2j - 1 to 2j + 1, and p of them see 2p + 1.
        widest = max((member.patch + 1) * 2**k - 1 for k, member in enumerate(members))
        self.reach = None if any(member.reach is None for member in members) else (widest + 1) // 2
        """Half the widest patch of all scales, in pixels of the full image; None with instance normalisation."""

    def forward(self, x: Tensor) -> Verdict:
        verdicts = self.each(x)
        grid = verdicts[0].logits.shape[2:]
        planes = [interpolate(verdict.logits, grid, mode="nearest-exact") for verdict in verdicts]
        return Verdict(
            torch.cat(planes, dim=1),  # [N, K, h, w]
            tuple(feature for verdict in verdicts for feature in verdict.features),
        )

    def each(self, x: Tensor) -> tuple[Verdict, ...]:
        """The members' own verdicts, from fine to coarse."""
        num = len(self.members)
        check_sides(x, self.smallest, f"MultiScaleCritic of {num} scales", "Choose fewer scales, or fewer layers.")
        verdicts = []
        for k, member in enumerate(self.members):
            if k:
                x = avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            verdicts.append(member(x))
        return tuple(verdicts)
