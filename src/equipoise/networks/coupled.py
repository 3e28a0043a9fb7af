"""Networks of two domains that share their layers far from the pixels (Liu & Tuzel 2016, section 3)."""

from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad, relu

from equipoise.core.game import Verdict
from equipoise.networks.dcgan import num_channels
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import CriticHead, Normalisation, check_size, crop_to, start_and_doublings, wrap_for


class Pair(NamedTuple):
    """Images of both domains [N, C, size, size] in [-1, 1] that belong together."""

    a: Tensor
    b: Tensor


@final
class CoupledGenerator(nn.Module):
    """Latents z [N, Z] to a `Pair`: layers as in DCGAN, of which the last `num_apart` are each domain's own."""

    def __init__(self, z_dim: int, channels: int, size: int, *, width: int = 64, num_apart: int = 1, smallest: int = 4):
        super().__init__()
        check_size(size, "coupled")
        self.size = size
        self.start, doublings = start_and_doublings(size, smallest)
        check_apart(num_apart, doublings)
        widths = [num_channels(width, level) for level in range(doublings, 0, -1)]  # from small to large
        stages = list(zip(widths, [*widths[1:], channels]))
        self.project = nn.Linear(z_dim, widths[0] * self.start**2)
        self.shared = nn.ModuleList([Up(*stage) for stage in stages[: doublings - num_apart]])
        self.domains = nn.ModuleList(
            [nn.ModuleList([Up(*stage) for stage in stages[doublings - num_apart :]]) for _ in range(2)]
        )
        initialise(self, "normal")

    def forward(self, z: Tensor) -> Pair:
        h = self.project(z).view(len(z), -1, self.start, self.start)
        for up in self.shared:
            h = up(h)
        return Pair(*[self.image(h, domain) for domain in self.domains])

    def image(self, h: Tensor, domain: nn.Module) -> Tensor:
        """One domain's image from what both share."""
        for up in domain.children():
            h = up(h)
        return torch.tanh(crop_to(h, self.size).float())


@final
class Up(nn.Module):
    """Batch normalisation, ReLU and a transposed convolution that doubles the size."""

    def __init__(self, incoming: int, outgoing: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(incoming)
        self.up = nn.ConvTranspose2d(incoming, outgoing, 4, 2, 1)

    def forward(self, h: Tensor) -> Tensor:
        return self.up(relu(self.norm(h)))


@final
class CoupledCritic(nn.Module):
    """Images [N, C, size, size] of domain 0 or 1 to a `Verdict`: the first `num_apart` layers are the domain's own."""

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        width: int = 64,
        num_apart: int = 1,
        normalisation: Normalisation = "none",
        smallest: int = 4,
    ):
        super().__init__()
        check_size(size, "coupled")
        if normalisation == "batch":
            raise ValueError('The coupled critic sees both domains: it has normalisation "none" or "spectral".')
        wrap = wrap_for(normalisation)
        end, halvings = start_and_doublings(size, smallest)
        check_apart(num_apart, halvings)
        widths = [num_channels(width, level) for level in range(1, halvings + 1)]
        stages = list(zip([channels, *widths], widths))

        def down(stage: tuple[int, int]) -> nn.Module:
            return wrap(nn.Conv2d(*stage, 4, 2, 1))

        self.pad = end * 2**halvings - size
        self.domains = nn.ModuleList([nn.ModuleList([down(s) for s in stages[:num_apart]]) for _ in range(2)])
        self.shared = nn.ModuleList([down(stage) for stage in stages[num_apart:]])
        self.head = CriticHead(widths[-1] * end**2, 0, "none", wrap)

    def forward(self, x: Tensor, domain: int) -> Verdict:
        before, after = self.pad // 2, self.pad - self.pad // 2
        h, features = pad(x, (before, after, before, after)), []
        for down in [*self.domains[domain].children(), *self.shared]:
            h = leaky_relu(down(h), 0.2)
            features.append(h)
        logits, _ = self.head(h.flatten(1), None)
        return Verdict(logits, tuple(features))


def check_apart(num_apart: int, num_layers: int) -> None:
    """Raise ValueError unless there are so many layers, and at least one of them is each domain's own."""
    if not 1 <= num_apart <= num_layers:
        raise ValueError(
            f"num_apart = {num_apart} layers of each domain's own: expected 1 to {num_layers} for images of this size."
        )
