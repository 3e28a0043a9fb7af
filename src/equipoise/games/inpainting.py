"""Inpainting: holes are filled, by Fourier convolutions (Suvorov et al. 2022) or gated ones (Yu et al. 2019)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, Move, Moves, Verdict
from equipoise.core.schedule import Scheduled
from equipoise.games.restorer import Aims, Restorer
from equipoise.objectives.reconstruction import l1


class Inpainting(Restorer):
    """Given is [N, C + 1, H, W]: an image that is 0 in its holes, and the mask, 1 there. What is known stays.

    Reconstruction counts the pixels in holes by `hole` and the known ones by `known`, of what G makes before the known
    pixels are put back: LaMa counts the known ones alone, DeepFillv2 both alike. The critic judges patches of the
    completed image and is shown the mask (SN-PatchGAN, Yu et al. 2019, Sec. 3.3).
    """

    def __init__(self, G: nn.Module, D: nn.Module, aims: Aims, *, hole: Scheduled = 1.0, known: Scheduled = 1.0):
        super().__init__(G, D, aims)
        self.weights = {**self.weights, "G/hole": hole, "G/known": known}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        given, target = next(data)
        if now.progress < self.warmup:
            yield Move("G", self.reconstruction(given, target, self.G(given)))
            return
        with torch.set_grad_enabled(now.reuse):
            made = self.G(given)
        yield self.critic_move(given, target, completed(given, made).detach(), now)
        if not now.reuse:
            made = self.G(given)
        move = self.generator_move(given, target, completed(given, made))
        yield Move("G", {**move.terms, **self.reconstruction(given, target, made)})

    def reconstruction(self, given: Tensor, target: Tensor, made: Tensor) -> dict[str, Tensor]:
        """The mean error in the holes, and of what is known."""
        hidden = given[:, -1:]
        return {"hole": l1(target, made, hidden), "known": l1(target, made, 1 - hidden)}

    def answer(self, given: Tensor) -> Tensor:
        """What G makes of the holes, in the image."""
        return completed(given, self.G(given))

    def verdict(self, given: Tensor, image: Tensor) -> Verdict:
        """D sees the image and where its holes were."""
        return self.D(torch.cat([image, given[:, -1:]], dim=1))


def completed(given: Tensor, made: Tensor) -> Tensor:
    """The known pixels of what is given, and what was made in the holes."""
    image, hidden = given[:, :-1], given[:, -1:]
    return image + made * hidden  # images are 0 in their holes
