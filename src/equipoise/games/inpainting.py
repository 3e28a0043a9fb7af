"""Inpainting: holes are filled, by Fourier convolutions (Suvorov et al. 2022) or gated ones (Yu et al. 2019)."""

from collections.abc import Iterator
from math import lcm
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, Move, Moves, Verdict
from equipoise.core.schedule import Scheduled
from equipoise.games.answers import Answerer, Choice, Fit
from equipoise.games.restorer import Aims, Restorer
from equipoise.networks.anysize import Span, check_sides, padded, reach_of, smallest_side
from equipoise.networks.filling import before_filling, filled
from equipoise.objectives.reconstruction import l1


class Inpainting(Restorer):
    """Given is [N, C + 1, H, W]: an image that is 0 in its holes, and the mask, 1 there. What is known stays.

    Reconstruction counts the pixels in holes by `hole` and the known ones by `known`, of what G makes before the known
    pixels are put back: LaMa counts the known ones alone, DeepFillv2 both alike. The critic judges patches of the
    completed image and is shown the mask (SN-PatchGAN, Yu et al. 2019, Sec. 3.3).

    With `prefill`, which is in none of the papers, holes are filled smoothly before, from cells of up to 2^prefill
    pixels (`networks.filling`), and G answers what is to be added there: a short training begins at what is simple.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        aims: Aims,
        *,
        hole: Scheduled = 1.0,
        known: Scheduled = 1.0,
        prefill: int = 0,
    ):
        super().__init__(G, D, aims)
        self.weights, self.prefill = {**self.weights, "G/hole": hole, "G/known": known}, prefill

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        given, target = next(data)
        if now.progress < self.warmup:
            yield Move("G", self.reconstruction(given, target, self.made(given)))
            return
        with torch.set_grad_enabled(now.reuse):
            made = self.made(given)
        yield self.critic_move(given, target, completed(given, made).detach(), now)
        if not now.reuse:
            made = self.made(given)
        move = self.generator_move(given, target, completed(given, made))
        yield Move("G", {**move.terms, **self.reconstruction(given, target, made)})

    def reconstruction(self, given: Tensor, target: Tensor, made: Tensor) -> dict[str, Tensor]:
        """The mean error in the holes, and of what is known."""
        hidden = given[:, -1:]
        return {"hole": l1(target, made, hidden), "known": l1(target, made, 1 - hidden)}

    def answer(self, given: Tensor) -> Tensor:
        """What G makes of the holes, in the image."""
        return completed(given, self.made(given))

    def made(self, given: Tensor) -> Tensor:
        """A whole image, of which the holes are of use."""
        if not self.prefill:
            return self.G(given)
        height, width = given.shape[-2:]
        check_sides(given, smallest_side(2**self.prefill), "Inpainting", "Enlarge them, or use a smaller prefill.")
        given = padded(given, 2**self.prefill)
        begun, hidden = filled(given[:, :-1], 1 - given[:, -1:], self.prefill), given[:, -1:]
        return (begun + self.G(torch.cat([begun, hidden], dim=1)))[..., :height, :width]

    def answerer(self, choice: Choice) -> Answerer:
        answer, fit, given, scale = super().answerer(choice)
        if not self.prefill:
            return Answerer(answer, fit, given, scale)
        period, reach = lcm(fit.period, 2**self.prefill), None
        if (r := fit.reach) is not None:
            reach = reach_of(lambda x: before_filling(Span(x.first - r, x.last + r), self.prefill), period=period)
        return Answerer(answer, Fit(reach, period, max(fit.smallest, smallest_side(period))), given, scale)

    def verdict(self, given: Tensor, image: Tensor) -> Verdict:
        """D sees the image and where its holes were."""
        return self.D(torch.cat([image, given[:, -1:]], dim=1))


def completed(given: Tensor, made: Tensor) -> Tensor:
    """The known pixels of what is given, and what was made in the holes."""
    image, hidden = given[:, :-1], given[:, -1:]
    return image + made * hidden  # images are 0 in their holes
