"""Oscillation: the players chase each other in circles, and nothing gets better.

**What it sees.** Between two looks the fakes of the same latents move by a large part of the distance of two reals,
they move back and forth, and their distance to the data does not fall.

**Why it matters.** The generator forgets what it could a moment ago; the last weights are as good as any others.

**False positives.** Early in training everything moves, but then it gets better.
"""

from equipoise.doctor.fault import Fault, Settings, scaled_rate
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.warm_up import getting_better, warm

MOVING, TURNING = 0.4, -0.7
"""Positions that have nothing to do with each other turn by -0.5 on average."""


def symptom(history: History) -> list[Evidence]:
    """Large movements that take each other back, without progress."""
    if not warm(history, "turning"):
        return []
    moved, turned = history.median("movement", 6), history.median("turning", 6)
    if moved > MOVING and turned < TURNING and not getting_better(history):
        return [
            Evidence("movement", moved, f"below {MOVING}"),
            Evidence("turning", turned, f"above {TURNING}"),
        ]
    return []


def remedies(settings: Settings) -> list[Remedy]:
    """Smaller steps, damping, averaging."""
    slower = {**scaled_rate(settings, "D", 0.25), **scaled_rate(settings, "G", 0.25)}
    return [
        Remedy(slower, "A quarter of the learning rates: smaller circles."),
        Remedy({"game.penalties.r1": 0.5, "game.penalties.r2": 0.5}, "R1 and R2 damp the circling."),
        Remedy({"training.lookahead": {"every": 5, "share": 0.5}}, "Lookahead cuts through circles."),
    ]


FAULT = Fault(
    name="oscillation",
    title="Oscillation",
    severity="warning",
    needs=("turning", "movement", "energy"),
    symptom=symptom,
    explanation="The fakes of the same latents swing back and forth without coming nearer to the data.",
    looks=5,
    remedies=remedies,
    page=__doc__ or "",
)
