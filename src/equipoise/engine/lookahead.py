"""Lookahead for games: all players step back together, every few steps (Chavdarova et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.engine.averaging import shapes


@dataclass(frozen=True, kw_only=True)
class Lookahead:
    """Every few steps, all players go back part of the way to where they stood before, together.

    Slow weights s of all players are kept beside their own (fast) weights θ. After every k steps s ← s + α(θ − s), then
    θ ← s. Players that circle around an equilibrium go across the circle. The averaged weights follow after that.
    Optimiser moments and buffers, such as batch statistics, stay as they are. A step that was not applied because of a
    bad value moves nothing here either.

    Default: off (None); every = 5 (k) and share = 0.5 (α) when it is on.
    Cost: one copy of the parameters; no time to speak of.
    Source: Chavdarova et al. 2021, Taming GANs with Lookahead-Minmax, Algorithm 1; Zhang et al. 2019 (one player).
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    every: int = 5
    """Steps between two looks back."""
    share: float = 0.5
    """How much of the way the players keep: 1 is all of it, which is no lookahead."""

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"every is {self.every}: expected a whole number of steps of at least 1, for example 5.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}: expected a number above 0 and at most 1, for example 0.5.")


class SlowWeights:
    """Where the players stood when they last looked back."""

    def __init__(self, settings: Lookahead, weights: Mapping[str, Tensor]):
        self.settings, self.fast = settings, dict(weights)
        self.slow = {name: weight.detach().clone() for name, weight in weights.items()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over saved slow weights. Raises ValueError unless they are those of the same players."""
        if shapes(weights) != shapes(self.slow):
            names = sorted(name for name, _ in shapes(weights) ^ shapes(self.slow))
            raise ValueError(f"the slow weights differ in {', '.join(names[:3])}")
        for name, value in weights.items():
            self.slow[name].copy_(value)

    def after_step(self, number: int) -> None:
        """Look back, if step `number`, counted from 1, is one to do so."""
        if number % self.settings.every == 0:
            fast, slow = [weight.detach() for weight in self.fast.values()], list(self.slow.values())
            torch._foreach_lerp_(slow, fast, self.settings.share)
            torch._foreach_copy_(fast, slow)
