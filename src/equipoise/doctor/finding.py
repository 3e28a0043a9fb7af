"""What the doctor says: a finding, its evidence and what helps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["note", "warning", "critical"]


@dataclass(frozen=True)
class Evidence:
    """A signal that is not as it should be."""

    signal: str
    value: float
    healthy: str
    """The healthy range, in words: "below 0.97"."""


@dataclass(frozen=True)
class Remedy:
    """A change of the recipe that helps, and why."""

    settings: Mapping[str, Any]
    """Dotted keys, as for `--set`."""
    why: str
    restarts: bool = False
    """It changes shapes or what is learned: training has to begin anew."""


@dataclass(frozen=True)
class Finding:
    """An instance of a fault, with what speaks for it."""

    fault: str
    title: str
    severity: Severity
    since: int
    """The step of the first look at which the symptom was there and stayed."""
    until: int
    """The step of the last look at which it was there."""
    evidence: tuple[Evidence, ...]
    explanation: str
    remedies: tuple[Remedy, ...] = ()
    active: bool = True
    """Whether it was still there at the newest look."""
    lately: int = 0
    """The step at which the newest episode began; `since` is that of the first."""
    curves: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    """The signals of the evidence over time: pairs of step and value."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "fault": self.fault,
            "title": self.title,
            "severity": self.severity,
            "since": self.since,
            "until": self.until,
            "lately": self.lately,
            "active": self.active,
            "evidence": [vars(item) for item in self.evidence],
            "explanation": self.explanation,
            "remedies": [{"settings": dict(r.settings), "why": r.why, "restarts": r.restarts} for r in self.remedies],
            "curves": {name: [list(point) for point in curve] for name, curve in self.curves.items()},
        }
