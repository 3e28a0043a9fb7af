"""The signals of a run over time, as the faults read them."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

COUNTED = "refused/"
"""Signals of which it matters how often they came up in a window."""


def is_number(value: object) -> bool:
    """Whether a value of a journal is a number that fits into a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


class History:
    """Looks at a training in the order of their steps; a look has the numbers of one window, by name.

    >>> history = History()
    >>> for step, value in ((25, 0.5), (50, 0.9), (75, 1.0)):
    ...     history.add(step, {"auc/held_out": value})
    >>> history.median("auc/held_out", 3)
    0.9
    """

    def __init__(self):
        self.steps: list[int] = []
        self.values: dict[str, list[tuple[int, float]]] = {}
        self.bad: list[tuple[int, str]] = []
        """Steps at which something was not finite, with what it was."""

    def add(self, step: int, numbers: Mapping[str, float | None]) -> None:
        """One more look. None and NaN stand for a number that was not finite."""
        self.steps.append(step)
        for name, value in numbers.items():
            number = math.nan if value is None else float(value)
            self.values.setdefault(name, []).append((step, number))
            if not math.isfinite(number):
                self.bad.append((step, name))

    def add_line(self, line: Mapping[str, Any]) -> None:
        """One line of `signals.jsonl`: means by their name, spreads with "/std" and counts with "/count" behind it."""
        numbers: dict[str, float | None] = {}
        signals = line.get("signals")
        for name, moments in signals.items() if isinstance(signals, Mapping) else ():
            if not isinstance(moments, Mapping) or "mean" not in moments:
                continue
            short = name.removeprefix("probe/")
            further = (
                ("std",) if short.startswith(("logits/", "watch/")) else ("count",) if short.startswith(COUNTED) else ()
            )
            for part in ("mean", *further):
                value = moments.get(part)
                if is_number(value):
                    numbers[short if part == "mean" else f"{short}/{part}"] = value
                elif part == "mean" and (value is None or isinstance(value, float)):
                    numbers[short] = None  # not finite: null in a journal, NaN in a training under way
        step = line.get("step")
        if isinstance(step, int):
            self.add(step, numbers)

    @property
    def step(self) -> int:
        """That of the newest look."""
        return self.steps[-1] if self.steps else 0

    def knows(self, *names: str) -> bool:
        """Whether all these were measured at least once."""
        return all(name in self.values for name in names)

    def looks(self, name: str) -> int:
        """How often it was measured."""
        return len(self.values.get(name, ()))

    def fresh(self, name: str) -> bool:
        """Whether it was measured at the newest look."""
        return bool(self.values.get(name)) and self.values[name][-1][0] == self.step

    def last(self, name: str) -> float:
        """The newest value; NaN if there is none."""
        return self.values[name][-1][1] if self.values.get(name) else math.nan

    def at(self, name: str, step: int) -> float:
        """The value at a step; NaN if it was not measured then."""
        return next((value for at, value in reversed(self.values.get(name, ())) if at == step), math.nan)

    def recent(self, name: str, num: int) -> list[float]:
        """The last `num` finite values."""
        return [value for _, value in self.values.get(name, ())[-num:] if math.isfinite(value)]

    def median(self, name: str, num: int) -> float:
        """The median of the last `num` finite values; NaN if there is none."""
        values = self.recent(name, num)
        return statistics.median(values) if values else math.nan

    def named(self, prefix: str) -> list[str]:
        """All signals whose names begin so."""
        return [name for name in self.values if name.startswith(prefix)]

    def curve(self, name: str, *, most: int = 120) -> tuple[tuple[int, float], ...]:
        """The finite values over time, thinned out to at most so many points."""
        points = [(step, value) for step, value in self.values.get(name, ()) if math.isfinite(value)]
        stride = max(-(-len(points) // most), 1)
        return tuple(points[::-1][::stride][::-1])
