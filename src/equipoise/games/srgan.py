"""SRGAN (Ledig et al. 2017) and ESRGAN (Wang et al. 2018): super-resolution, first for PSNR, then for the eye."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from equipoise.core.game import Clock, Move, Moves
from equipoise.games.restorer import Aims, Likeness, Restorer
from equipoise.objectives.reconstruction import l1


class SRGAN(Restorer):
    """One move of D and one of G on the same images, after a warm-up without D.

    The generator is first trained for `first`, the pixels alone (SRResNet, RRDB); from there it minimises a perceptual
    distance, the adversarial loss and a little of the pixels' (Ledig et al. 2017, Eq. 3). With a relativistic loss and
    RRDB it is ESRGAN (Wang et al. 2018, Eq. 3); with second-order degradations and a U-Net critic Real-ESRGAN (Wang et
    al. 2021).
    """

    def __init__(self, G: nn.Module, D: nn.Module, aims: Aims, *, first: Likeness = l1):
        super().__init__(G, D, aims)
        self.first = first

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        given, target = next(data)  # [N, C, h, w], [N, C, H, W]
        if now.progress < self.warmup:
            yield Move("G", first=self.first(target, self.answer(given)))
            return
        with torch.set_grad_enabled(now.reuse):
            answer = self.answer(given)
        yield self.critic_move(given, target, answer.detach(), now)
        if not now.reuse:
            answer = self.answer(given)
        yield self.generator_move(given, target, answer)
