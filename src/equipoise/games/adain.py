"""Any style in one pass (Huang & Belongie 2017): the features of a picture get the statistics of those of a style."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from equipoise import objectives
from equipoise.core.game import Clock, Move, Moves
from equipoise.core.schedule import Scheduled
from equipoise.games.answers import Answerer, Choice, Fit, PictureGame
from equipoise.networks.anysize import padded
from equipoise.networks.stylised import adain


class AdaIN(PictureGame):
    """E is a frozen encoder, whose layers are the style; G learns to decode what AdaIN makes of its last layer.

    The colours themselves are one more layer of the style: small encoders tell them badly. The batches of data are
    (content, style). E answers a tuple of layers, one for each of its stages; it moves with the
    game and is saved with it, but belongs to no player. `missing` says why E could not be had, where that is so: a
    trained game brings its own, and only training asks for it.
    """

    averaged = ("G",)

    def __init__(
        self,
        E: nn.Module,
        G: nn.Module,
        *,
        content: Scheduled = 1.0,
        style: Scheduled = 10.0,
        period: int = 4,
        missing: Exception | None = None,
    ):
        super().__init__()
        self.E, self.G, self.period, self.missing = E.requires_grad_(False), G, period, missing
        self.weights = {"G/content": content, "G/style": style}

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        if self.missing is not None:
            raise self.missing
        c, s = next(data)
        with torch.no_grad():
            style = self.E(s)
            t = adain(self.E(c)[-1], style[-1])  # Eq. 8
        y = self.G(t)
        seen = self.E(y)  # f(g(t)), Eq. 10
        yield Move(
            "G",
            content=objectives.content([t], seen[-1:], norm="l2"),  # Eq. 12
            style=objectives.statistics([s, *style], [y, *seen]),  # Eq. 13, and the colours
        )

    def answerer(self, choice: Choice) -> Answerer:
        choice.refuse("style", "strength")
        strength = 1.0 if choice.strength is None else choice.strength
        if choice.style is None:
            raise ValueError("This game takes its style from a picture, and none was given. Use --style FILE.")
        if not 0 <= strength <= 1:
            raise ValueError(f"strength = {strength}: expected a number from 0 (the picture) to 1 (all of the style).")
        with torch.no_grad():
            style = self.E(choice.style[None].to(next(self.G.parameters())))[-1]
        return Answerer(lambda x: self.stylised(x, style, strength), Fit(None, self.period, self.period + 1))

    def stylised(self, x: Tensor, style: Tensor, strength: float = 1.0) -> Tensor:
        """The pictures with so much of the style (Eq. 14), whose features are given; rounded up to whole features."""
        h = self.E(padded(x, self.period))[-1]
        t = strength * adain(h, style) + (1 - strength) * h
        return self.G(t)[..., : x.shape[2], : x.shape[3]].clamp(-1, 1)

    def sample(self, batch: Any) -> dict[str, Tensor]:
        c, s = batch
        return {"answer": self.stylised(c, self.E(s)[-1])}

    def judge(self, batch: Any) -> Tensor:
        return torch.zeros(len(batch[0]), device=batch[0].device)  # there is no critic: nothing is told apart
