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


def getting_better(history: History, *, by: float = 0.85) -> bool:
    """Whether the distance to the data is clearly below what it was: the last third of 36 looks against the others."""
    recent = history.recent("energy", 36)
    third = len(recent) // 3
    return third > 0 and median(recent[-third:]) < by * median(recent[:-third])


def harm(history: History) -> list[Evidence]:
    """What speaks for a training that goes badly, whatever the cause: fakes that are far away, or all alike."""
    energy, spread = history.median("energy", 3), history.median("diversity", 3)
    found = [Evidence("energy", energy, f"below {FAR}")] if energy > FAR else []
    return [*found, Evidence("diversity", spread, "0.5 to 1.5")] if spread < NARROW else found


def restless(history: History) -> bool:
    """Whether between two looks the fakes of the same latents move by a large part of the distance of two reals."""
    return history.median("movement", 8) > 0.4
