"""Learning rate too high: every step moves the weights by a large part of their size.

**What it sees.** The size of an update relative to that of the weights: 0.002 to 0.008 is healthy, above 0.05 for
both players is not. A spike can be harmless, so it is called only if things got worse since: fakes moved away from
the data, or the generator's outputs froze.

**Why it matters.** Within a few dozen steps units die or logits explode, and what is seen then looks like another
fault.

**False positives.** The first steps of a training move small initial weights by a lot; the first 50 steps do not
count.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import Fault, Seeded, Settings, scaled_rate
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.warm_up import harm, warm

LIMIT, EARLY = 0.05, 0.1
"""The smaller of the two players' updates; in the first 50 steps more of it is healthy."""
WORSE = 1.25


def too_large(history: History) -> list[tuple[int, float]]:
    """The looks at which both players moved by too much: steps, and the smaller of the updates."""
    moves = [dict(history.values[name]) for name in history.named("update/")]
    steps = sorted(set.intersection(*map(set, moves))) if moves else []
    smaller = [(step, min(move[step] for move in moves)) for step in steps]
    return [(step, size) for step, size in smaller if size > (EARLY if step < 50 else LIMIT)]


def began(history: History) -> int:
    """The first of those looks."""
    return too_large(history)[0][0]


def symptom(history: History) -> list[Evidence]:
    """Large steps, now or before, confirmed by worsening since."""
    large = too_large(history)
    if not large:
        return []
    step, size = large[0]
    evidence = [Evidence("update/" + player, size, f"below {LIMIT}") for player in ("D", "G")]
    energy, diversity = history.last("energy"), history.last("diversity")
    best = min((value for at, value in history.values.get("energy", ()) if at <= step), default=float("nan"))
    if history.step > step and energy > WORSE * max(best, 0.02):
        return [*evidence, Evidence("energy", energy, f"near what it was before, {best:.3g}")]
    if history.step > step and history.median("diversity", 3) < 0.05:
        return [*evidence, Evidence("diversity", diversity, "0.5 to 1.5")]
    if history.last("constant_units") > 0.5:
        return [*evidence, Evidence("constant_units", history.last("constant_units"), "below 0.5")]
    if history.last("movement") > 1:
        return [*evidence, Evidence("movement", history.last("movement"), "below 1")]
    return [*evidence, *harm(history)] if warm(history, "energy") and harm(history) else []


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """A tenth, and a hundredth."""
    return [
        Remedy(
            {**scaled_rate(settings, "D", factor), **scaled_rate(settings, "G", factor)},
            f"Back to the last healthy checkpoint, and on with learning rates {words}.",
        )
        for factor, words in ((0.1, "of a tenth"), (0.02, "of a fiftieth"))
    ]


FAULT = Fault(
    name="learning-rate",
    title="Learning rate too high",
    severity="critical",
    needs=("update/G", "update/D"),
    symptom=symptom,
    explanation="Each step moves the weights of both players by a large part of their size, and the fakes got worse.",
    seeded=Seeded("ring", {"players.D.learning_rate": 0.05, "players.G.learning_rate": 0.05}, 300),
    looks=2,
    began=began,
    remedies=remedies,
    page=__doc__ or "",
)
