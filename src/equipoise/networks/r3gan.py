"""R3GAN: residual networks without normalisation (Huang et al. 2024, The GAN is dead; long live the GAN!)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from equipoise.core.game import Verdict
from equipoise.networks.initialisation import initialise, kaiming_std
from equipoise.networks.layers import (
    Conditioning,
    CriticHead,
    LabelPlanes,
    at_least_float32,
    check_multiple,
    start_and_doublings,
    wrap_for,
)
from equipoise.networks.minibatch import Minibatch, minibatch_layer
from equipoise.networks.stylegan2 import widths_by_level


class R3GANGenerator(nn.Module):
    """Latents z [N, Z], and a class [N] int64 or a vector [N, E] if there is one, to images [N, C, size, size].

    A learned basis of 4 to 7 pixels, each channel times a number read from the latent; then residual blocks at every
    resolution, with bilinear enlargement between. No normalisation, no noise, no attention. Images are unbounded in
    training and clipped to [-1, 1] in eval mode.
    Source: Huang et al. 2024, section 3 and appendix.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        *,
        width: int = 64,
        max_width: int = 512,
        num_blocks: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        num_classes: int = 0,
        condition_dim: int = 0,
    ):
        super().__init__()
        check_multiple(size, "r3gan")
        if num_classes and condition_dim:
            raise ValueError(
                f"num_classes={num_classes} and condition_dim={condition_dim}: expected classes or vectors as the "
                "condition. Leave one of them at 0; classes can be part of a vector, as one-hot."
            )
        start, doublings = start_and_doublings(size)
        widths = widths_by_level(width, doublings, max_width)
        self.embedding = None
        if num_classes:
            self.embedding = nn.Embedding(num_classes, z_dim)
        if condition_dim:
            self.embedding = nn.Linear(condition_dim, z_dim)
        self.basis = nn.Parameter(torch.randn(widths[0], start, start))
        self.project = nn.Linear(z_dim if self.embedding is None else 2 * z_dim, widths[0])
        self.stages = nn.ModuleList([stage(w, num_blocks, expansion, group_width) for w in widths])
        self.changes = nn.ModuleList([change(a, b) for a, b in pairwise(widths)])
        self.to_image = nn.Conv2d(widths[-1], channels, 1)
        start_small(self, straight=[self.project, self.to_image])

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        z = z if self.embedding is None else torch.cat([z, self.embedding(condition)], dim=1)
        h = self.basis * self.project(z)[:, :, None, None]
        for before, blocks in zip([None, *self.changes], self.stages, strict=True):
            if before is not None:
                h = interpolate(before(h), scale_factor=2, mode="bilinear")  # the two commute
            h = blocks(h)
        x = at_least_float32(self.to_image(h))
        return x if self.training else x.clamp(-1, 1)


class R3GANCritic(nn.Module):
    """Images [N, C, size, size], and a class or a vector if there is one, to a `Verdict`: the generator, backwards.

    Residual blocks at every resolution, averages of 2×2 pixels between, and at the end one learned weight for each
    channel and place.
    Source: Huang et al. 2024, section 3 and appendix.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        width: int = 64,
        max_width: int = 512,
        num_blocks: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        num_classes: int = 0,
        condition_dim: int = 0,
        conditioning: Conditioning = "none",
        minibatch: Minibatch = "none",
        group: int = 4,
    ):
        super().__init__()
        check_multiple(size, "r3gan")
        wrap = wrap_for("none")
        end, halvings = start_and_doublings(size)
        widths = widths_by_level(width, halvings, max_width)[::-1]  # from large to small
        self.planes = LabelPlanes(num_classes, size) if conditioning == "concatenation" else None
        self.from_image = nn.Conv2d(channels + (self.planes is not None), widths[0], 1)
        self.stages = nn.ModuleList([stage(w, num_blocks, expansion, group_width) for w in widths])
        self.changes = nn.ModuleList([change(a, b) for a, b in pairwise(widths)])
        self.basis = nn.Conv2d(widths[-1], widths[-1], end, groups=widths[-1], bias=False)
        self.minibatch, num_features = minibatch_layer(minibatch, (widths[-1],), group=group, wrap=wrap)
        self.head = CriticHead(num_features, num_classes, conditioning, wrap, condition_dim=condition_dim)
        start_small(self, straight=[self.from_image, self.basis, self.head.logit])

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Verdict:
        x = x if self.planes is None or condition is None else self.planes(x, condition)
        h = self.from_image(x)
        features = []
        for blocks, after in zip(self.stages, [*self.changes, None], strict=True):
            h = blocks(h)
            features.append(h)
            if after is not None:
                h = after(avg_pool2d(h, 2))
        pooled = self.basis(h).flatten(1)
        logits, classes = self.head(self.minibatch(pooled), condition)
        return Verdict(logits, (*features, pooled), classes)


class Bottleneck(nn.Module):
    """x + W₃ σ(W₂ σ(W₁ x)): 1×1 to `expansion` times the channels, 3×3 in groups, 1×1 back; σ is leaky ReLU.

    An inverted bottleneck: the wide middle is cheap because it is grouped.
    """

    def __init__(self, width: int, expansion: int, group_width: int):
        super().__init__()
        wide = width * expansion
        if wide > group_width and wide % group_width:
            raise ValueError(
                f"{width} channels, widened {expansion} times, cannot be split into groups of {group_width}: expected "
                f"a multiple. Use network.width = {group_width} or a multiple of it."
            )
        self.widen = nn.Conv2d(width, wide, 1)
        self.mix = nn.Conv2d(wide, wide, 3, padding=1, groups=max(wide // group_width, 1))
        self.narrow = nn.Conv2d(wide, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = leaky_relu(self.widen(x), 0.2)
        return x + self.narrow(leaky_relu(self.mix(h), 0.2))


def stage(width: int, num_blocks: int, expansion: int, group_width: int) -> nn.Sequential:
    """The residual blocks of one resolution."""
    return nn.Sequential(*[Bottleneck(width, expansion, group_width) for _ in range(num_blocks)])


def change(incoming: int, outgoing: int) -> nn.Module:
    """From one number of channels to another; nothing where they agree."""
    return nn.Conv2d(incoming, outgoing, 1, bias=False) if incoming != outgoing else nn.Identity()


@torch.no_grad()
def start_small(network: R3GANGenerator | R3GANCritic, *, straight: list[nn.Module]) -> None:
    """Fix-up initialisation, which stands in for normalisation: residual branches begin at 0, small within.

    The last layer of each branch is 0, the two before are He's times B^-¼ of B branches. Layers that no activation
    follows ("straight", and changes of width) keep the size of signals. Biases become 0.
    Source: Zhang et al. 2019, Fixup Initialization, section 3 (branches of three layers).
    """
    initialise(network, "kaiming")
    branches = [module for module in network.modules() if isinstance(module, Bottleneck)]
    for branch in branches:
        branch.widen.weight.mul_(len(branches) ** -0.25)
        branch.mix.weight.mul_(len(branches) ** -0.25)
        nn.init.zeros_(branch.narrow.weight)
    for layer in [*straight, *network.changes]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.mul_(layer.weight[0].numel() ** -0.5 / kaiming_std(layer))
