"""Denoising against a critic: noise, compression, blur, and low-dose CT (WGAN-VGG, Yang et al. 2018)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from equipoise.core.game import Clock, Move, Moves
from equipoise.games.restorer import Aims, Likeness, Restorer
from equipoise.objectives.reconstruction import charbonnier


class Denoising(Restorer):
    """`critic_steps` moves of D on fresh images, then one of G, after a warm-up without D that minimises `first`.

    The warm-up keeps the values of a scan right, of which a perceptual term knows nothing. With `warmup = 0` it is
    WGAN-VGG, which plays from the first step: with 4 critic steps, a gradient penalty of weight 10 and a perceptual
    term of weight 0.1 (Yang et al. 2018, Alg. 1).
    """

    def __init__(self, G: nn.Module, D: nn.Module, aims: Aims, *, first: Likeness = charbonnier, critic_steps: int = 1):
        super().__init__(G, D, aims)
        self.first, self.critic_steps = first, critic_steps

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        if now.progress < self.warmup:
            given, target = next(data)
            yield Move("G", first=self.first(target, self.answer(given)))
            return
        for left in reversed(range(self.critic_steps)):
            given, target = next(data)  # [N, C, H, W], both
            with torch.set_grad_enabled(now.reuse and left == 0):
                answer = self.answer(given)
            yield self.critic_move(given, target, answer.detach(), now)
        if not now.reuse:
            answer = self.answer(given)
        yield self.generator_move(given, target, answer)
