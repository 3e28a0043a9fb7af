"""Fast style transfer (Johnson et al. 2016, Ulyanov et al. 2016): a network that has learnt one style."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from equipoise import objectives
from equipoise.core.game import Clock, Move, Moves
from equipoise.games.answers import Answerer, Choice, PictureGame, fit_of
from equipoise.games.looks import Matrices, See, Tastes


class OneStyle(PictureGame):
    """G makes in one pass what Gatys et al. optimise for each picture (Johnson et al. 2016, Eq. 5).

    The batches of data are (content, style); the style is always the one of `style`, which is looked at whole.
    """

    averaged = ("G",)

    def __init__(self, G: nn.Module, see: See, style: Matrices, tastes: Tastes):
        super().__init__()
        self.G, self.see, self.style = G, see, style
        self.weights = {
            "G/content": tastes.content,
            "G/style": tastes.style,
            "G/smoothness": tastes.smoothness,
        }

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        x, _ = next(data)
        with torch.no_grad():
            wanted = self.see(x)
        y = self.G(x)
        seen, style = self.see(y), [matrix.to(y.device) for matrix in self.style()]
        yield Move(
            "G",
            content=objectives.relative_content(wanted.content, seen.content),
            style=objectives.relative_style(style, seen.style),
            smoothness=objectives.total_variation(y),
        )

    def answerer(self, choice: Choice) -> Answerer:
        choice.refuse()
        return Answerer(self.stylised, fit_of(self.G))

    def stylised(self, x: Tensor) -> Tensor:
        """The pictures in the style, [N, 3, H, W] in [-1, 1]."""
        return self.G(x).clamp(-1, 1)

    def sample(self, batch: Any) -> dict[str, Tensor]:
        return {"answer": self.stylised(batch[0])}

    def judge(self, batch: Any) -> Tensor:
        return torch.zeros(len(batch[0]), device=batch[0].device)  # there is no critic: nothing is told apart
