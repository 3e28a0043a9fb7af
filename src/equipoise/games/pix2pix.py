"""pix2pix (Isola et al. 2017) and pix2pixHD (Wang et al. 2018): translation of images, learnt from pairs."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, Move, Moves, Verdict
from equipoise.core.schedule import Scheduled
from equipoise.games.restorer import Aims, Likeness, Restorer
from equipoise.objectives.reconstruction import l1


class Pix2Pix(Restorer):
    """G translates x to y, and D judges pairs: whether an image is real, and whether it belongs to what is given.

    One move of D and one of G on the same pairs. G minimises the verdict on (x, G(x)) and the terms of `aims`: L1 of
    weight 100 (Isola et al. 2017, Eq. 4), or the distance between D's features, of several scales, and a perceptual
    distance (Wang et al. 2018, Eq. 5 and Sec. 3.5). D's loss weighs `critic`, a half as in the paper (Sec. 3.3), so
    that it learns slowly beside G. Noise is G's own: dropout, where the network has it. The papers have no warm-up; in
    one, `first` is minimised without D.
    """

    def __init__(self, G: nn.Module, D: nn.Module, aims: Aims, *, first: Likeness = l1, critic: Scheduled = 0.5):
        super().__init__(G, D, aims)
        self.first = first
        if self.warmup < 1:
            self.weights = {**self.weights, "D/adversarial": critic}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        x, y = next(data)  # [N, C, H, W], [N, C', H, W]
        if now.progress < self.warmup:
            yield Move("G", first=self.first(y, self.answer(x)))
            return
        with torch.set_grad_enabled(now.reuse):
            answer = self.answer(x)
        yield self.critic_move(x, y, answer.detach(), now)
        if not now.reuse:
            answer = self.answer(x)
        yield self.generator_move(x, y, answer)

    def verdict(self, given: Tensor, image: Tensor) -> Verdict:
        """D sees both, joined along their channels."""
        return self.D(torch.cat([given, image], dim=1))
