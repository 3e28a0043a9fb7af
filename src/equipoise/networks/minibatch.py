"""What shows a critic several examples at once: statistics of the batch beside its features, and packs of examples."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equipoise.networks.layers import Wrap, at_least_float32

Minibatch = Literal["none", "deviation", "discrimination"]


class MinibatchDeviation(nn.Module):
    """Minibatch standard deviation: one more feature says how much the examples of a small group differ.

    s = mean over channels and positions of √(Var_group(h) + 10⁻⁸); every example of the group gets s, as one more
    channel [N, C + 1, H, W] or one more feature [N, F + 1]. Groups are consecutive examples. Where the batch is no
    multiple of the group, the examples left over get the s of the last `group` examples, and a smaller batch is one
    group, so the statistic means the same for every batch size. An example alone gets 0.
    Default: off; group = 4.
    Cost: negligible; the critic's score of an example depends on its neighbours.
    Source: Karras et al. 2018, Progressive Growing of GANs, section 3; groups of 4: Karras et al. 2020 (StyleGAN2).
    """

    def __init__(self, group: int = 4):
        super().__init__()
        if group < 1:
            raise ValueError(f"group is {group}: expected a number of examples of at least 1. 4 is the usual one.")
        self.group = group

    def forward(self, h: Tensor) -> Tensor:
        group = min(self.group, len(h))
        even = len(h) - len(h) % group
        deviation = spread(h[:even].unflatten(0, (-1, group))).repeat_interleave(group)  # [even]
        if even < len(h):
            last = spread(h[-group:].unflatten(0, (1, group)))
            deviation = torch.cat([deviation, last.expand(len(h) - even)])
        channel = deviation.to(h.dtype).view(-1, *[1] * (h.ndim - 1)).expand(-1, 1, *h.shape[2:])
        return torch.cat([h, channel], dim=1)


def spread(groups: Tensor) -> Tensor:
    """The mean standard deviation [G] within groups [G, M, ...]; 0 in groups of one."""
    if groups.shape[1] == 1:
        return groups.new_zeros(len(groups), dtype=torch.float32)
    # The small number keeps the gradient finite where all examples agree.
    return at_least_float32(groups).var(1, correction=0).add(1e-8).sqrt().flatten(1).mean(1)


class MinibatchDiscrimination(nn.Module):
    """Minibatch discrimination: learned features say how close each example is to the rest of its batch.

    With M_i = T f(x_i) of shape [kernels, dims], o(x_i)_b = Σ_{j≠i} exp(-‖M_ib - M_jb‖₁). The o are appended to the
    flattened features: [N, F] or [N, C, H, W] become [N, F + kernels]. An example is not compared with itself: in the
    paper it is, which adds a constant 1.
    Default: off; kernels = 50, dims = 5.
    Cost: O(N² · kernels · dims) time and memory, so small batches only; o grows with the batch: judge with the same N.
    Source: Salimans et al. 2016, Improved Techniques for Training GANs, section 3.2.
    """

    def __init__(self, num_features: int, *, kernels: int = 50, dims: int = 5):
        super().__init__()
        if min(num_features, kernels, dims) < 1:
            raise ValueError(
                f"num_features={num_features}, kernels={kernels}, dims={dims} were passed: expected at least 1 of "
                "each. Leave kernels and dims out."
            )
        self.shape = (kernels, dims)
        self.project = nn.Linear(num_features, kernels * dims, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        h = h.flatten(1)
        with torch.autocast(h.device.type, enabled=False):  # differences of rounded values would be noise
            m = self.project(at_least_float32(h)).unflatten(1, self.shape)  # [N, kernels, dims]
            distances = (m[:, None] - m[None]).abs().sum(-1)  # [N, N, kernels]
            closeness = torch.exp(-distances).sum(1) - 1  # minus the example itself, at distance 0
        return torch.cat([h, closeness.to(h.dtype)], dim=1)


def minibatch_layer(kind: Minibatch, shape: Sequence[int], *, group: int, wrap: Wrap) -> tuple[nn.Module, int]:
    """The layer for a critic's last features of `shape` (without N), and how many features its flattened output has."""
    num_features = math.prod(shape)
    match kind:
        case "none":
            return nn.Identity(), num_features
        case "deviation":
            return MinibatchDeviation(group), num_features + math.prod(shape[1:])
        case "discrimination":
            layer = MinibatchDiscrimination(num_features)
            wrap(layer.project)
            return layer, num_features + layer.shape[0]


def pack(x: Tensor, size: int) -> Tensor:
    """Packing (PacGAN): the critic judges `size` examples of one origin at once, joined along their channels.

    [N, C, H, W] becomes [N/size, size·C, H, W], and [N, D] becomes [N/size, size·D]; example k of pack i is example
    i·size + k. Packs of a collapsed generator look alike inside, which gives the collapse away.
    Default: off; 2 to 4.
    Cost: the critic's first layer only; a step has N/size verdicts.
    Source: Lin et al. 2018, PacGAN: The Power of Two Samples in Generative Adversarial Networks.
    """
    check_pack(size)
    if len(x) % size:
        raise ValueError(
            f"{len(x)} examples cannot be put into packs of {size}: expected a multiple of {size}. "
            f"Choose training.batch as a multiple of {size}."
        )
    return x.reshape(len(x) // size, size * x.shape[1], *x.shape[2:])


def unpack(x: Tensor, size: int) -> Tensor:
    """The inverse of `pack`: single examples again."""
    check_pack(size)
    if x.shape[1] % size:
        raise ValueError(f"{x.shape[1]} channels are no packs of {size}: expected a multiple of {size}.")
    return x.reshape(len(x) * size, x.shape[1] // size, *x.shape[2:])


def check_pack(size: int) -> None:
    """Raise ValueError unless a pack holds at least one example."""
    if size < 1:
        raise ValueError(f"A pack of {size} examples: expected at least 1. 2 to 4 are usual; 1 changes nothing.")
