"""What autoencoders make of held-out examples, and how near it is to them."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from equipoise.core.game import LatentGame
from equipoise.data.source import Source
from equipoise.games.autoencoding import Autoencoder
from equipoise.runs.evaluation import Row

MOST = 2000
"""Held-out examples that are reconstructed."""
SHOWN = 12
"""And that are shown."""


@torch.no_grad()
def reconstructions(game: Autoencoder, x: Tensor, place: Callable[[Tensor], Tensor]) -> Tensor:
    """What comes back of examples [N, *shape], in eval mode, on the CPU; the game's mode is as before afterwards."""
    training = game.training
    game.eval()
    found = torch.cat([game.reconstruct(place(part)).float().cpu() for part in x.split(256)])
    game.train(training)
    return found


def reconstruction_row(game: LatentGame, held_out: Source, place: Callable[[Tensor], Tensor]) -> Iterator[Row]:
    """The root of the mean square error, of reconstructions and of the mean example in their place."""
    if not isinstance(game, Autoencoder):
        return
    x = held_out.examples(torch.arange(min(len(held_out), MOST))).cpu()
    error = (reconstructions(game, x, place) - x).double().square().mean().sqrt().item()
    of_mean = (x.mean(0) - x).double().square().mean().sqrt().item()
    yield Row("reconstruction error, beside that of the mean", error, of_mean, "lower")
