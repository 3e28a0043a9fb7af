"""Numbers that change while training: a schedule is a pure function of progress in [0, 1]."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

Shape = Literal["linear", "cosine", "exponential", "step"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A number that moves from `start` to `end` between two marks of training; constant outside, after a warm-up.

    With w from 0 at `begin` to 1 at `until`, evenly in progress: "linear" is start + (end − start)·w; "cosine" is
    start + (end − start)·(1 − cos πw)/2; "exponential" is start·(end/start)ʷ, an equal factor at every step; "step"
    jumps from `start` to `end` at `until`. While progress is below `warmup`, the value is multiplied by
    progress/`warmup`, so that it rises from 0.

    >>> Schedule(start=2e-4, end=0.0).at(0.5)
    0.0001

    Default: linear from the first step to the last, without warm-up. R3GAN moves its rates by "cosine".
    Cost: none.
    Source: Loshchilov & Hutter 2017, Eq. 5 (cosine); Goyal et al. 2017 (warm-up).
    """

    start: float
    end: float
    begin: float = 0.0
    until: float = 1.0
    shape: Shape = "linear"
    warmup: float = 0.0

    def __post_init__(self):
        if self.shape not in get_args(Shape):
            raise ValueError(f"shape is {self.shape!r}: expected one of {', '.join(get_args(Shape))}.")
        if self.begin > self.until:
            raise ValueError(
                f"begin is {self.begin} and until is {self.until}: expected shares of training, the first not above "
                "the second."
            )
        if self.warmup < 0:
            raise ValueError(f"warmup is {self.warmup}: expected a share of training of at least 0, for example 0.1.")
        if self.shape == "exponential" and not min(self.start, self.end) > 0:
            raise ValueError(
                f"An exponential schedule from {self.start} to {self.end} never gets there: expected two numbers above "
                "0, or another shape."
            )

    def at(self, progress: float) -> float:
        """The value at `progress` in [0, 1]."""
        way = min(max((progress - self.begin) / max(self.until - self.begin, 1e-12), 0.0), 1.0)
        if self.shape == "cosine":
            way = (1 - math.cos(math.pi * way)) / 2
        if self.shape == "step":
            way = float(way >= 1.0)
        if self.shape == "exponential":
            value = self.start * (self.end / self.start) ** way
        else:
            value = self.start + (self.end - self.start) * way
        return value * min(progress / self.warmup, 1.0) if self.warmup > 0 else value


Scheduled = float | Schedule
"""A constant or a schedule."""


def value_at(number: Scheduled, progress: float) -> float:
    """The value of a constant or a schedule at `progress` in [0, 1]."""
    return number.at(progress) if isinstance(number, Schedule) else number


def ends(number: Scheduled) -> tuple[float, float]:
    """The values between which a number moves; a constant stays where it is."""
    return (number.start, number.end) if isinstance(number, Schedule) else (number, number)


def scaled(number: Scheduled, factor: float) -> Scheduled:
    """A constant or a schedule, times a factor throughout."""
    if isinstance(number, Schedule):
        return replace(number, start=number.start * factor, end=number.end * factor)
    return number * factor


@dataclass(frozen=True)
class Lazy:
    """A weight whose term is computed only every so many steps and then counts that many times.

    At steps 0, k, 2k, … the term weighs k·`weight`, at the others nothing: its mean gradient is that of `weight` at
    every step. Where the penalty is a move of its own, see `Optimizer.for_separate_penalties`.

    Default: off; every = 16 for the critic's R1 and 8 for the generator's path length in the paper.
    Cost: that of the term, divided by `every`.
    Source: Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, Appendix B.
    """

    weight: Scheduled
    every: int

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(
                f"Lazy(every={self.every}): expected a number of steps of at least 1. Use 1 for every step."
            )


def weight_and_interval(weight: Scheduled | Lazy) -> tuple[Scheduled, int]:
    """A weight and every how many steps it applies: 1 unless it is lazy."""
    return (weight.weight, weight.every) if isinstance(weight, Lazy) else (weight, 1)
