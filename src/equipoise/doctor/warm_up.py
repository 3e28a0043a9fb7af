"""When there is enough to judge by, and whether things stand badly at all."""

from statistics import median

from equipoise.doctor.finding import Evidence
from equipoise.doctor.history import History

STEPS, LOOKS = 250, 4
FAR, NARROW = 0.22, 0.35
"""A distance to the data above which fakes are far from it, and a diversity below which they are all alike."""


def warm(history: History, name: str) -> bool:
    """Whether training has gone on for a while and the signal was measured a few times."""
    return history.step >= STEPS and history.looks(name) >= LOOKS


def course(history: History, name: str) -> float:
    """Where a signal went in the last 36 looks: its median in their last third, relative to that in the others."""
    recent = history.recent(name, 36)
    third = len(recent) // 3
    return median(recent[-third:]) / max(median(recent[:-third]), 1e-12) if third else 1.0


def getting_better(history: History) -> bool:
    """Whether the fakes come clearly nearer to the data."""
    return course(history, "energy") < 0.85


def harm(history: History) -> list[Evidence]:
    """What speaks for a training that goes badly, whatever the cause: fakes that are far away, or all alike."""
    energy, spread = history.median("energy", 3), history.median("diversity", 3)
    found = [Evidence("energy", energy, f"below {FAR}")] if energy > FAR else []
    return [*found, Evidence("diversity", spread, "0.5 to 1.5")] if spread < NARROW else found


def restless(history: History) -> bool:
    """Whether between two looks the fakes of the same latents move by a large part of the distance of two reals."""
    return history.median("movement", 8) > 0.4
