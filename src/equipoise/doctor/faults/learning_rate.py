"""Learning rate too high: every step moves the weights by a large part of their size.

**What it sees.** The size of an update relative to that of the weights: 0.002 to 0.008 is healthy, above 0.05 for
both players is not. A spike can be harmless, so it is called only if things got worse since: fakes moved away from
the data, or the generator's outputs froze.

**Why it matters.** Within a few dozen steps units die or logits explode, and what is seen then looks like another
fault.

**False positives.** The first steps of a training move small initial weights by a lot; the first 50 steps do not
count.
"""

from equipoise.doctor.fault import Fault, Settings, scaled_rate
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History

LIMIT = 0.05
WORSE = 1.25


def symptom(history: History) -> list[Evidence]:
    """Large steps, confirmed by worsening."""
    updates = {name: history.last(name) for name in history.named("update/")}
    if history.step <= 50 or not updates or min(updates.values()) <= LIMIT:
        return []
    evidence = [Evidence(name, value, f"below {LIMIT}") for name, value in updates.items()]
    best = min(history.recent("energy", 10_000), default=float("nan"))
    energy = history.last("energy")
    if energy > WORSE * max(best, 0.02):
        return [*evidence, Evidence("energy", energy, f"near its best, {best:.3g}")]
    if history.last("movement") > 1:
        return [*evidence, Evidence("movement", history.last("movement"), "below 1")]
    if history.last("constant_units") > 0.5:
        return [*evidence, Evidence("constant_units", history.last("constant_units"), "below 0.5")]
    return []


def remedies(settings: Settings) -> list[Remedy]:
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
    looks=1,
    remedies=remedies,
    page=__doc__ or "",
)
