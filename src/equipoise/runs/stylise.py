"""A picture in the style of another by optimisation (Gatys et al. 2016), without a recipe or a run."""

from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.precision import PrecisionWish
from equipoise.engine.trainer import Plan, Trainer
from equipoise.games.gatys import Gatys
from equipoise.games.looks import See, Seen, Tastes
from equipoise.networks.stylised import Canvas
from equipoise.objectives import gram


@dataclass(frozen=True, kw_only=True)
class Painting:
    """How a picture is optimised."""

    steps: int = 500
    learning_rate: float = 0.03
    """Of Adam, which falls to a twentieth; pixels are in [-1, 1]. Gatys et al. take L-BFGS."""
    precision: PrecisionWish = "fp32"
    seed: int = 0
    from_noise: bool = False
    """Whether it starts from noise rather than from the content."""


def stylise(
    content: Tensor, style: Tensor, see: See, tastes: Tastes | None = None, *, how: Painting | None = None
) -> Tensor:
    """Pictures [N, 3, H, W] in the style of one [1, 3, h, w], all in [-1, 1]; on the device of the content.

    `see` looks through a network, made by `runs.styling.looking`. The trainer that plays all games plays this one too.
    Its weights `tastes` do not depend on the network: see `objectives.relative_content`. Raises `DivergedError` where
    it does not converge.

    >>> from equipoise.networks.vgg import SmallVGG
    >>> from equipoise.runs.feature_networks import FeatureNetwork
    >>> from equipoise.runs.styling import looking
    >>> network = FeatureNetwork(name="random", weights="", net=SmallVGG(2, width=4).requires_grad_(False))
    >>> photo, painting = torch.rand(1, 3, 24, 32) * 2 - 1, torch.rand(1, 3, 40, 40) * 2 - 1
    >>> stylise(photo, painting, looking(network, [1], scales=1), how=Painting(steps=3)).shape
    torch.Size([1, 3, 24, 32])
    """
    trainer = painter(content, style, see, tastes or Tastes(), how or Painting())
    trainer.fit()
    assert isinstance(trainer.game, Gatys)
    return trainer.game.picture()


def painter(content: Tensor, style: Tensor, see: See, tastes: Tastes, how: Painting) -> Trainer:
    """The trainer of `stylise` before the first step, for those who want to watch it."""
    with torch.no_grad():
        wanted = Seen(content=see(content).content, style=[gram(layer) for layer in see(style).style])
    draw = torch.Generator().manual_seed(how.seed)
    noise = (torch.rand(content.shape, generator=draw) * 2 - 1).to(content)
    rate = Schedule(start=how.learning_rate, end=how.learning_rate / 20, shape="cosine")
    return Trainer(
        Gatys(Canvas(noise if how.from_noise else content), see, wanted, tastes),
        lambda position, size: content,  # it draws nothing
        players={"picture": Optimizer(learning_rate=rate, betas=(0.9, 0.99))},
        plan=Plan(steps=how.steps, batch=1, seed=how.seed, precision=how.precision, channels_last=False),
        device=content.device,
    )
