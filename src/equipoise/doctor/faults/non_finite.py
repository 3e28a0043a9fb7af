"""Values that are not finite: a loss, a gradient, a logit or an example is NaN or infinite.

**What it sees.** The trainer never applies such a move; it says which loss term or which layer's gradient was not
finite, and the doctor repeats that. In other loops: any signal that is not a number.

**Why it matters.** One applied NaN destroys all weights. Several refused moves in a row mean that the same will
happen again: after rolling back, something has to change.

**False positives.** A single bad move in half precision is harmless: it is refused, and training goes on.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import BOUND, Fault, Seeded, Settings, scaled_rate
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History

MANY = 3


def symptom(history: History) -> list[Evidence]:
    """What was not finite at this look."""
    names = [name for step, name in history.bad if step == history.step]
    counts = [name for name in history.named("refused/") if name.endswith("/count") and history.fresh(name)]
    found = [Evidence(name, float("nan"), "finite") for name in names]
    refused = [(name, num) for name in counts if (num := history.last(name)) >= MANY]
    return [
        *found,
        *(Evidence(name, num, f"fewer than {MANY} refused moves between two looks") for name, num in refused),
    ]


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """Bounded steps first; the trainer has gone back and on with lower rates by itself before."""
    bound = {"players.D.clip_norm": BOUND, "players.G.clip_norm": BOUND}
    slower = {**scaled_rate(settings, "D", 0.25), **scaled_rate(settings, "G", 0.25)}
    return [
        Remedy(bound, "Back to the last healthy checkpoint, and on with a bound for gradients that stand out."),
        Remedy({"training.precision": "fp32"}, "Full precision has the widest range."),
        Remedy({**bound, **slower}, "A quarter of the learning rates as well."),
    ]


FAULT = Fault(
    name="non-finite",
    title="Values that are not finite",
    severity="critical",
    needs=(),
    symptom=symptom,
    explanation="A loss, gradient or logit is NaN or infinite. The move was not applied where the trainer is ours.",
    seeded=Seeded("ring", {}, 50, by_hand="one value in twenty training examples is NaN"),
    looks=1,
    remedies=remedies,
    page=__doc__ or "",
)
