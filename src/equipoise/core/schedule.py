"""Numbers that change while training: a schedule is a pure function of progress in [0, 1]."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """From `start` to `end` between the progress marks `begin` and `until`; constant outside, after a linear warm-up.

    `shape` "linear" moves evenly, "cosine" along half a cosine wave (Loshchilov & Hutter 2017, Eq. 5),
    "step" jumps from `start` to `end` at `until`.

    >>> Schedule(start=2e-4, end=0.0).at(0.5)
    0.0001
    """

    start: float
    end: float
    begin: float = 0.0
    until: float = 1.0
    shape: Literal["linear", "cosine", "step"] = "linear"
    warmup: float = 0.0

    def at(self, progress: float) -> float:
        """The value at `progress` in [0, 1]."""
        way = min(max((progress - self.begin) / max(self.until - self.begin, 1e-12), 0.0), 1.0)
        if self.shape == "cosine":
            way = (1 - math.cos(math.pi * way)) / 2
        if self.shape == "step":
            way = float(way >= 1.0)
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


@dataclass(frozen=True)
class Lazy:
    """A weight whose term is computed only every so many steps and then counts that many times (Karras et al. 2020, B).

    The expected gradient is that of `weight` at every step; the cost falls to 1/`every`.
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
