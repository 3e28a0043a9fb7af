"""Oscillation: the players chase each other in circles, and nothing gets better.

**What it sees.** Between two looks the fakes of the same latents move by a large part of the distance of two reals,
and their distance to the data does not fall for good. In wide circles it falls now and then, and narrow fakes are no
objection.

**Why it matters.** The generator forgets what it could a moment ago; the last weights are as good as any others.

**False positives.** Early in training everything moves, but then it gets better.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import Fault, Seeded, Settings, convergent, scaled_rate
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import FAR, NARROW, course, getting_better, restless, warm

WON, CIRCLING, SMALL, FALLING = 0.97, 0.15, 0.2, 0.6


def symptom(history: History) -> list[Evidence]:
    """Large movements without progress; narrow fakes that jump are a collapse, and not before a critic that has won."""
    if not warm(history, "movement") or not restless(history):
        return []
    energy, spread, auc = (history.median(name, 6) for name in ("energy", "diversity", "auc/held_out"))
    circling = history.median("turning", 8) > CIRCLING
    if energy < FAR or spread < (SMALL if circling else NARROW) or auc > WON:
        return []
    if course(history, "energy") < FALLING or (getting_better(history) and not circling):
        return []
    movement = Evidence("movement", history.median("movement", 8), "below 0.4")
    return [movement, Evidence("energy", energy, f"below {FAR}, or falling")]


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """Damping, smaller steps, averaging."""
    slower = {**scaled_rate(settings, "D", 0.25), **scaled_rate(settings, "G", 0.25)}
    return [
        Remedy(convergent(settings), "R1 and R2 damp the circling; each fake is compared with a real example."),
        Remedy(slower, "A quarter of the learning rates: smaller circles."),
        Remedy({"training.lookahead": {"every": 5, "share": 0.5}}, "Lookahead cuts through circles."),
    ]


FAULT = Fault(
    name="oscillation",
    title="Oscillation",
    severity="warning",
    needs=("movement", "energy", "diversity"),
    symptom=symptom,
    explanation="The fakes of the same latents move far and without coming nearer to the data.",
    seeded=Seeded(
        "ring",
        {
            "game.loss": "wasserstein",
            "game.penalties": {},
            "game.clip": 0.2,
            "players.D.learning_rate": 0.001,
            "players.G.learning_rate": 0.001,
        },
        1300,
    ),
    looks=8,
    remedies=remedies,
    page=__doc__ or "",
)
