"""Moments of whatever is watched, summed up on the device and read once per window."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation (of the population) of `count` numbers."""

    mean: float
    std: float
    count: int


class Record:
    """Sums per name: adding waits for no device, reading waits once.

    >>> record = Record()
    >>> record.add("loss/D/adversarial", torch.tensor([1.0, 3.0]))
    >>> record.read()
    {'loss/D/adversarial': Moments(mean=2.0, std=1.0, count=2)}
    """

    def __init__(self):
        # The number of values is known to the host; [sum, sum of squares] stays on the device that made the values.
        self._counts: dict[str, int] = {}
        self._sums: dict[tuple[str, torch.device], Tensor] = {}

    @torch.no_grad()
    def add(self, name: str, value: Tensor | float) -> None:
        """Add every element of `value`, of any shape, to the moments of `name`."""
        values = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
        if not values.numel():
            return
        values = values.to(torch.float32 if values.device.type == "mps" else torch.float64).flatten()
        sums = torch.stack((values.sum(), values.dot(values)))
        place = (name, values.device)
        self._sums[place] = self._sums[place] + sums if place in self._sums else sums
        self._counts[name] = self._counts.get(name, 0) + values.numel()

    def read(self) -> dict[str, Moments]:
        """The moments of all names since the last reading, in one transfer per device; then everything starts anew."""
        totals = dict.fromkeys(self._counts, (0.0, 0.0))
        for device in {device for _, device in self._sums}:
            names = [name for name, where in self._sums if where == device]
            table = torch.stack([self._sums[name, device] for name in names]).cpu().tolist()
            for name, (total, squares) in zip(names, table):
                before = totals[name]
                totals[name] = (before[0] + total, before[1] + squares)
        counts, self._counts, self._sums = self._counts, {}, {}
        return {name: _moments(count, *totals[name]) for name, count in counts.items()}


def _moments(count: int, total: float, squares: float) -> Moments:
    mean = total / count
    variance = squares / count - mean * mean
    return Moments(mean, math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else math.nan, count)
