"""Examples from a generator: seeded, of chosen classes, truncated, or on the way between two latents."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from equipoise.core.errors import RecipeError
from equipoise.core.game import LatentGame
from equipoise.core.seeding import generator
from equipoise.networks.layers import recalibrate

RECALIBRATION = (16, 64)
"""Batches, and latents in each, from which the batch normalisation of averaged weights takes its statistics."""


@torch.no_grad()
def samples(
    game: LatentGame,
    num: int,
    *,
    seed: int,
    labels: Tensor | None = None,
    truncation: float = 1.0,
    place: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> Tensor:
    """Examples float32 [num, *shape] on the CPU; a function of its arguments alone.

    A conditional game without `labels` [num] gets every class in turn, equally often. `truncation` below 1 is less
    variety, more typical: styles move towards their mean (Karras et al. 2019, App. B) where the generator has styles;
    else latents beyond ±2 · truncation are redrawn (Brock et al. 2019, Sec. 3.1).
    """
    if num < 1:
        raise RecipeError(f"{num} samples: expected a number of at least 1.")
    z = torch.randn(num, game.z_dim, generator=generator(seed, "latents"))
    own = game.truncating(truncation) if 0 < truncation < 1 else None
    z = z if own else truncated(z, truncation, seed=seed)
    if labels is None and game.num_classes:
        labels = torch.arange(num) * game.num_classes // num
    return generated(game, z, labels, place, own or game.generate)


@torch.no_grad()
def samples_together(
    game: LatentGame, num: int, *, seed: int, place: Callable[[Tensor], Tensor] = lambda tensor: tensor
) -> tuple[Tensor, ...]:
    """All that `num` latents become, by `LatentGame.together`: float32 [num, *shape] each, on the CPU."""
    if num < 1:
        raise RecipeError(f"{num} samples: expected a number of at least 1.")
    z, training = torch.randn(num, game.z_dim, generator=generator(seed, "latents")), game.training
    game.eval()
    parts = [game.together(place(part)) for part in z.split(256)]
    game.train(training)
    return tuple(torch.cat([x.float().cpu() for x in several]) for several in zip(*parts))


@torch.no_grad()
def interpolation(
    game: LatentGame,
    num_ways: int,
    num_steps: int,
    *,
    seed: int,
    labels: Tensor | None = None,
    place: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> Tensor:
    """Examples on great circles between pairs of latents, [num_ways · num_steps, *shape]: one way after the other."""
    ends = torch.randn(2, num_ways, 1, game.z_dim, generator=generator(seed, "latents"))
    share = torch.linspace(0, 1, num_steps)[None, :, None]  # [1, S, 1]
    cosine = torch.nn.functional.cosine_similarity(ends[0], ends[1], dim=-1).clamp(-1 + 1e-6, 1 - 1e-6)[..., None]
    angle = torch.acos(cosine)
    z = (torch.sin((1 - share) * angle) * ends[0] + torch.sin(share * angle) * ends[1]) / torch.sin(angle)
    if labels is None and game.num_classes:
        labels = torch.arange(num_ways) % game.num_classes
    if labels is not None:
        labels = labels[:num_ways].repeat_interleave(num_steps)
    return generated(game, z.flatten(0, 1), labels, place, game.generate)


def generated(
    game: LatentGame,
    z: Tensor,
    labels: Tensor | None,
    place: Callable[[Tensor], Tensor],
    generate: Callable[[Tensor, Tensor | None], Tensor],
) -> Tensor:
    """Examples from latents, 256 at a time, in eval mode; the game's mode is as before afterwards."""
    training = game.training
    game.eval()
    x = [
        generate(place(z[i : i + 256]), None if labels is None else place(labels[i : i + 256])).float().cpu()
        for i in range(0, len(z), 256)
    ]
    game.train(training)
    return torch.cat(x)


def truncated(z: Tensor, truncation: float, *, seed: int) -> Tensor:
    """Latents with every coordinate beyond ±2 · truncation redrawn from within; unchanged at 1 or more."""
    if not truncation > 0:
        raise RecipeError(f"truncation {truncation}: expected a number above 0; 1 changes nothing, 0.5 is strong.")
    if truncation >= 1:
        return z
    uniform = torch.rand(z.shape, generator=generator(seed, "truncation"), dtype=torch.float64) * 2 - 1
    within = math.erf(
        2 * truncation / math.sqrt(2)
    )  # the mass between the bounds; inverse of the distribution function
    redrawn = torch.erfinv(uniform * within) * math.sqrt(2)
    return torch.where(z.abs() > 2 * truncation, redrawn.to(z), z)


class Generating(nn.Module):
    """The averaged networks of a game, run by its `generate`."""

    def __init__(self, game: LatentGame):
        super().__init__()
        self.networks = nn.ModuleList([game.get_submodule(name) for name in game.averaged])
        self.games = (game,)  # in a tuple: only the averaged networks are this module's own

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.games[0].generate(z, labels)


def settle(game: LatentGame, *, place: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> None:
    """Give the batch normalisation of averaged networks the statistics of their weights as they are now.

    Averages of weights have other statistics than the weights that were averaged, often badly so.
    """
    num, size = RECALIBRATION
    latents = torch.randn(num, size, game.z_dim, generator=generator(0, "recalibration"))
    labels = torch.arange(size) % game.num_classes if game.num_classes else None
    recalibrate(Generating(game), ((place(z), *([] if labels is None else [place(labels)])) for z in latents))


@contextmanager
def settled(game: LatentGame, *, place: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> Iterator[None]:
    """Inside, as after `settle`; afterwards, every buffer as before."""
    before = [buffer.clone() for buffer in game.buffers()]
    settle(game, place=place)
    try:
        yield
    finally:
        for buffer, value in zip(game.buffers(), before, strict=True):
            buffer.copy_(value)
