"""Codes that a generator discovers (InfoGAN): pictures with a row for each, and how they agree with classes."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from equipoise.core.game import LatentGame
from equipoise.core.seeding import generator
from equipoise.data.source import Source
from equipoise.games.gan import GAN
from equipoise.games.terms import MutualInformation
from equipoise.metrics.codes import counted, matched
from equipoise.runs.evaluation import Row
from equipoise.runs.features import FeatureExtractor
from equipoise.runs.sampling import generated

PER_CODE = 100
"""Fakes of each code that are classified."""
SHOWN = 12
"""And that are shown."""


def num_codes(game: LatentGame) -> int:
    """How many categories a generator was given to use as it likes; 0 for any other game."""
    return game.tools.categories if isinstance(game, GAN) else 0


@torch.no_grad()
def by_code(
    game: LatentGame, num: int, *, seed: int, place: Callable[[Tensor], Tensor] = lambda tensor: tensor
) -> Tensor:
    """Examples float32 [K · num, *shape] on the CPU, `num` of each code in turn: the same other latents for all codes.

    A conditional game shows its classes in turn.
    """
    K = num_codes(game)
    z = torch.randn(num, game.z_dim, generator=generator(seed, "latents")).repeat(K, 1)
    z[:, :K] = torch.eye(K).repeat_interleave(num, 0)
    labels = (torch.arange(num) % game.num_classes).repeat(K) if game.num_classes else None
    return generated(game, z, labels, place, game.generate)


@torch.no_grad()
def agreement(
    game: LatentGame,
    judge: FeatureExtractor,
    held_out: Source,
    *,
    seed: int,
    place: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> Iterator[Row]:
    """How codes agree with the classes of data that has any: of fakes, by a classifier, and of what the codes' reader
    makes of held-out examples. Each code stands for one class, as fits best (`metrics.codes.matched`).
    """
    K, C = num_codes(game), len(judge.class_names)
    if K == 0 or C == 0:
        return
    scores = judge.classes(by_code(game, PER_CODE, seed=seed, place=place))
    assert scores is not None
    codes = torch.arange(K).repeat_interleave(PER_CODE)
    table = counted(codes, scores.argmax(1), num_codes=K, num_classes=C)
    yield Row("codes of samples that fit a class", matched(table).share, judge.accuracy, "higher")
    if (read := reader(game)) is None:
        return
    told, true = [], []
    for indices in torch.arange(len(held_out)).split(256):
        told.append(read(place(held_out.examples(indices))).argmax(1).cpu())
        true.append(held_out.labels(indices).cpu())
    table = counted(torch.cat(told), torch.cat(true), num_codes=K, num_classes=C)
    yield Row("codes of held-out examples that fit", matched(table).share, judge.accuracy, "higher")


def reader(game: LatentGame) -> Callable[[Tensor], Tensor] | None:
    """What says which code an example has: from examples to scores [N, K]."""
    terms = [part for part in game.modules() if isinstance(part, MutualInformation)]
    return (lambda x: terms[0].reader(x).categories) if terms else None
