"""How a training stands, whatever the fault: long enough under way, badly, getting better, well before, restless."""

from statistics import median

from equipoise.doctor.finding import Evidence
from equipoise.doctor.history import History

STEPS, LOOKS, WELL, MEMORY = 250, 4, 5, 500
FAR, NARROW, POINT = 0.22, 0.35, 0.03
"""A distance to the data above which fakes are far from it; a diversity below which they are all alike, or one."""
INDIFFERENT = 0.05
"""Logits that differ by less say nothing."""
STILL, HELD = 3e-4, 0.1
"""Updates below which a player hardly moves; a way, relative to the critic's, below which a generator never went."""
WON, CROWD = 0.97, 0.65
"""The share of pairs that a critic which has won puts in the right order; fakes whose nearest neighbours are nearer to
each other than that share of the distance among reals."""


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


def crowded(history: History) -> list[Evidence]:
    """What speaks for fakes that crowd around few points."""
    nearest = history.median("nearest", 8)
    return [Evidence("nearest", nearest, f"above {CROWD}")] if nearest < CROWD else []


def last_well(history: History) -> int:
    """The last step that ended five looks in a row with near and varied fakes; 0 if there was none."""
    energy, diversity = (history.values.get(name, [])[-MEMORY:] for name in ("energy", "diversity"))
    well = [near[0] for near, wide in zip(energy, diversity) if near[1] <= FAR and wide[1] >= NARROW]
    steps = [step for step, _ in energy]
    for last in range(len(steps) - 1, WELL - 2, -1):
        if set(steps[last - WELL + 1 : last + 1]) <= set(well):
            return steps[last]
    return 0


def travelled(history: History) -> float:
    """How far the generator's weights have gone, relative to the critic's: the sums of their updates. 1 if unknown."""
    if not history.knows("update/G", "update/D"):
        return 1.0
    generator, critic = (sum(history.recent(f"update/{player}", MEMORY)) for player in "GD")
    return generator / max(critic, 1e-12)


def outclassed(history: History) -> bool:
    """Whether the critic has won from the first look on, before a generator that is not faster and not yet a point."""
    early = [value for _, value in history.values.get("auc/held_out", ())[:6]]
    always = bool(early) and min(median(early), history.median("auc/held_out", MEMORY)) > WON
    return always and history.median("diversity", 6) > POINT and travelled(history) < 1


def indifferent(history: History) -> bool:
    """Whether the critic's logits are the same for all held-out examples, and for the fakes."""
    real, fake = history.median("logits/held_out", 10), history.median("logits/fake", 10)
    return max(history.median("logits/held_out/std", 10), abs(real - fake)) < INDIFFERENT


def restless(history: History) -> bool:
    """Whether between two looks the fakes of the same latents move by a large part of the distance of two reals."""
    return history.median("movement", 8) > 0.4
