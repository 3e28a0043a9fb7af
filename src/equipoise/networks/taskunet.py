"""Networks of several tasks: a U-Net whose features a task scales and shifts, and a critic that is told the task."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from equipoise.core.game import Verdict
from equipoise.networks.anysize import Span, before, check_counts, check_sides, padded, reach_of, smallest_side
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import at_least_float32
from equipoise.networks.patch import PatchCritic
from equipoise.networks.unet import before_levels


class Answered(NamedTuple):
    """An image [N, C, H, W], and class scores [N, K] from a network that classifies."""

    image: Tensor
    classes: Tensor | None


class TaskUNet(nn.Module):
    """Images [N, in_channels, H, W] and task numbers [N] to images [N, out_channels, H, W], all by the same kernels.

    The U-Net of `networks.unet` without normalisation: a 3×3 convolution, `depth` 4×4 ones of stride 2 to widths
    min(2ᵏ, 8)·width, as many steps back that see the encoder's features of their size. After every convolution but the
    last, each channel c is modulated by the task t: h_c·(1 + γ_tc) + β_tc (FiLM), with γ and β learnt and 0 at first.
    The output is added to the first out_channels channels of the input and begins near them. With `num_classes` the
    mean of the innermost features gives class scores too. Any H and W of more than 2^depth / 2.
    Default: width 32, depth 3.
    Cost: that of a U-Net; a task adds two numbers a channel.
    Source: Perez et al. 2018, FiLM: Visual Reasoning with a General Conditioning Layer; Ronneberger et al. 2015, U-Net.

    >>> network = TaskUNet(4, 3, num_tasks=2, width=4, depth=2)
    >>> network(torch.zeros(2, 4, 17, 6), torch.tensor([0, 1])).image.shape
    torch.Size([2, 3, 17, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_tasks: int,
        num_classes: int = 0,
        width: int = 32,
        depth: int = 3,
    ):
        super().__init__()
        check_counts("TaskUNet", num_tasks=num_tasks, width=width, depth=depth)
        if out_channels > in_channels:
            raise ValueError(
                f"TaskUNet({in_channels}, {out_channels}): expected at most as many output channels as input channels: "
                "the output is added to the input."
            )
        self.out_channels = out_channels
        self.period = 2**depth
        self.smallest = smallest_side(self.period)
        widths = [width * min(2**level, 8) for level in range(depth + 1)]  # from large to small
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.downs = nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths)])
        self.ups = nn.ModuleList(  # from large to small, as the encoder
            [
                nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(b if b_last else 2 * b, a, 3, padding=1))
                for a, b, b_last in ((a, b, level == depth - 1) for level, (a, b) in enumerate(pairwise(widths)))
            ]
        )
        self.out = nn.Conv2d(2 * width, out_channels, 3, padding=1)
        self.classify = nn.Linear(widths[-1], num_classes) if num_classes else None
        initialise(self, "kaiming")
        nn.init.normal_(self.out.weight, std=1e-3)
        self.enter = nn.ModuleList([Film(num_tasks, channels) for channels in widths])
        self.leave = nn.ModuleList([Film(num_tasks, channels) for channels in widths[:-1]])

    @property
    def reach(self) -> int:
        """How many pixels to each side an output pixel depends on."""

        def before_all(span: Span) -> Span:
            return before_levels(before(span, self.out), self.first, self.downs, self.ups)

        return reach_of(before_all, period=self.period)

    def forward(self, x: Tensor, task: Tensor) -> Answered:
        check_sides(x, self.smallest, f"TaskUNet(depth={len(self.downs)})", "Choose a smaller depth, or enlarge them.")
        height, width = x.shape[-2:]
        h = self.enter[0](self.first(padded(x, self.period)), task)
        skips = []
        for down, film in zip(self.downs, self.enter[1:]):
            skips.append(h)
            h = film(down(leaky_relu(h, 0.2)), task)
        classes = None
        if self.classify is not None:
            with torch.autocast(h.device.type, enabled=False):
                classes = self.classify(at_least_float32(relu(h)).mean((2, 3)))  # [N, K]
        for up, film, skip in zip(reversed(self.ups), reversed(self.leave), reversed(skips)):
            h = torch.cat([film(up(relu(h)), task), skip], dim=1)
        y = at_least_float32(self.out(relu(h))[..., :height, :width])  # [N, out_channels, H, W]
        return Answered(at_least_float32(x[:, : self.out_channels]) + y, classes)


class Film(nn.Module):
    """h·(1 + γ_t) + β_t, with γ and β [C] of the task t of each example."""

    def __init__(self, num_tasks: int, channels: int):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(num_tasks, 2 * channels))

    def forward(self, h: Tensor, task: Tensor) -> Tensor:
        scale, shift = self.table[task].to(h.dtype)[:, :, None, None].chunk(2, dim=1)
        return h * (1 + scale) + shift


class TaskCritic(nn.Module):
    """A patch critic of images [N, C, H, W] that is told their task [N]: logits [N, 1, h, w], by projection.

    ⟨e_t, φ(x)⟩ + ψ(φ(x)) at every patch, with φ the last features of `networks.patch.PatchCritic` and e_t learnt, 0 at
    first.
    Default: those of the patch critic.
    Cost: those of the patch critic.
    Source: Miyato & Koyama 2018, cGANs with Projection Discriminator; Isola et al. 2017 (patches).

    >>> critic = TaskCritic(PatchCritic(3, width=4), num_tasks=2)
    >>> critic(torch.zeros(2, 3, 40, 24), torch.tensor([0, 1])).logits.shape
    torch.Size([2, 1, 3, 1])
    """

    def __init__(self, patches: PatchCritic, *, num_tasks: int):
        super().__init__()
        check_counts("TaskCritic", num_tasks=num_tasks)
        self.patches = patches
        self.smallest = patches.smallest
        self.table = nn.Parameter(torch.zeros(num_tasks, patches.num_features))

    def forward(self, x: Tensor, task: Tensor) -> Verdict:
        verdict = self.patches(x)
        with torch.autocast(x.device.type, enabled=False):
            # Where a patch's 4×4 features lie, by their mean: the logits' grid is one smaller than the features'.
            h = nn.functional.avg_pool2d(at_least_float32(verdict.features[-1]), 4, 1, 1)
            told = (h * self.table[task][:, :, None, None]).sum(1, keepdim=True)
        return Verdict(verdict.logits + told, verdict.features)
