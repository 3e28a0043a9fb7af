"""Style transfer by optimising one picture (Gatys et al. 2016): its pixels are what the player moves."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from equipoise import objectives
from equipoise.core.game import Clock, Game, Move, Moves
from equipoise.games.looks import See, Seen, Tastes
from equipoise.networks.stylised import Canvas


class Gatys(Game):
    """min over y of α content(x, y) + β style(s, y) (Gatys et al. 2016, Eq. 7) and a little total variation.

    `wanted` is what is seen of the content x, [N, …], and the Gram matrices of the style s; `canvas` holds y, which may
    start from x or from noise. Nothing is drawn from the data.
    """

    def __init__(self, canvas: Canvas, see: See, wanted: Seen, tastes: Tastes):
        super().__init__()
        self.canvas, self.see, self.wanted = canvas, see, wanted
        self.weights = {
            "picture/content": tastes.content,
            "picture/style": tastes.style,
            "picture/smoothness": tastes.smoothness,
        }

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"picture": [self.canvas]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        y = self.canvas()
        seen = self.see(y)
        yield Move(
            "picture",
            content=objectives.relative_content(self.wanted.content, seen.content),
            style=objectives.relative_style(self.wanted.style, seen.style),
            smoothness=objectives.total_variation(y),
        )

    def picture(self) -> Tensor:
        """The pictures as they are now, [N, C, H, W] in [-1, 1]."""
        return self.canvas().detach().clamp(-1, 1)

    def sample(self, batch: Any) -> dict[str, Tensor]:
        return {"answer": self.picture()}

    def judge(self, batch: Any) -> Tensor:
        return self.canvas().new_zeros(len(self.canvas()))  # there is no critic: nothing is told apart
