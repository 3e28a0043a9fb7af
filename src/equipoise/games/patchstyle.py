"""An adversarial game of style (Li & Wand 2016, MGAN): a critic knows the patches of one painting, G makes pictures."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from equipoise import objectives
from equipoise.core.game import Clock, Move, Moves
from equipoise.core.schedule import Scheduled
from equipoise.games.answers import Answerer, Choice, PictureGame, fit_of
from equipoise.games.looks import See
from equipoise.games.restorer import Aims, of_examples


class PatchStyle(PictureGame):
    """D tells patches of the painting from those of stylised pictures; G is to keep what is in a picture.

    The batches of data are (content, style), where style is cut out of the painting. Li & Wand first let D learn from
    photos, and G from results that another method made; here both have a warm-up on the photos as they are: D tells
    them from the painting, and G learns to answer them. After it, G minimises the critic's verdict, the distance of
    what a frozen network sees (their Eq. 4, with pixels for D where they have features of VGG), and a little total
    variation. Of `aims` the loss, the penalties, the weight of the verdict and the length of the warm-up count.
    """

    averaged = ("G",)

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        see: See,
        aims: Aims,
        *,
        content: Scheduled = 1.0,
        smoothness: Scheduled = 0.1,
    ):
        super().__init__()
        self.G, self.D, self.see, self.loss, self.warmup = G, D, see, aims.loss, aims.warmup
        self.penalties = {name: penalty for name, (penalty, _) in aims.penalties.items()}
        self.weights = {f"D/{name}": weight for name, (_, weight) in aims.penalties.items()}
        if self.warmup < 1:
            self.weights |= {"G/adversarial": aims.adversarial, "G/content": content, "G/smoothness": smoothness}

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        x, style = next(data)
        if now.progress < self.warmup:
            yield self.critic_move(style, x, now)
            yield Move("G", first=objectives.l1(x, self.G(x)))
            return
        with torch.set_grad_enabled(now.reuse):
            y = self.G(x)
        yield self.critic_move(style, y.detach(), now)
        if not now.reuse:
            y = self.G(x)
        fake = self.D(y).logits
        real = self.D(style).logits if self.loss.compares else fake
        with torch.no_grad():
            wanted = self.see(x)
        yield Move(
            "G",
            adversarial=self.loss.g(real, fake),
            content=objectives.relative_content(wanted.content, self.see(y).content),
            smoothness=objectives.total_variation(y),
        )

    def critic_move(self, style: Tensor, fake: Tensor, now: Clock) -> Move:
        """D learns to tell patches of the painting from others."""
        real, forged = self.D(style).logits, self.D(fake).logits
        penalties = {
            name: penalty(lambda image: self.D(image).logits, style, fake)
            for name, penalty in self.penalties.items()
            if now.due(f"D/{name}")
        }
        watch = {"real": of_examples(real), "fake": of_examples(forged)}
        return Move("D", penalties, adversarial=self.loss.d(real, forged), watch=watch)

    def answerer(self, choice: Choice) -> Answerer:
        choice.refuse()
        return Answerer(self.stylised, fit_of(self.G))

    def stylised(self, x: Tensor) -> Tensor:
        """The pictures in the style, [N, 3, H, W] in [-1, 1]."""
        return self.G(x).clamp(-1, 1)

    def sample(self, batch: Any) -> dict[str, Tensor]:
        return {"answer": self.stylised(batch[0])}

    def judge(self, batch: Any) -> Tensor:
        return of_examples(self.D(batch[1]).logits)

    def described(self, batch: Any) -> Tensor | None:
        features = self.D(batch[1]).features
        return features[-1].flatten(2).mean(2) if features else None
