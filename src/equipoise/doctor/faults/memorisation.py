"""Memorisation: the generator copies training examples.

**What it sees.** Nine tenths of the fakes are nearer to a training example than to any of equally many held-out ones,
or three quarters of fakes that crowd around few points; in health it is half of them.

**Why it matters.** The samples look perfect and are no new examples; with private data this is a leak.

**False positives.** Fakes that are far from all data have one and the same nearest example: they do not count.
Training sets with near duplicates that are not in the held-out part.
"""

from equipoise.doctor.fault import Fault, Seeded, less_by_heart
from equipoise.doctor.finding import Evidence
from equipoise.doctor.history import History
from equipoise.doctor.standing import crowded, warm

LIMIT, SURE, NEAR = 0.75, 0.9, 0.2


def symptom(history: History) -> list[Evidence]:
    """Fakes nearer to training examples."""
    copies, energy = history.median("copies", 5), history.median("energy", 5)
    if not (warm(history, "copies") and copies > LIMIT and energy < NEAR):
        return []
    found = Evidence("copies", copies, f"0.5, below {LIMIT}")
    return [found, *crowded(history)] if copies > SURE or crowded(history) else []


FAULT = Fault(
    name="memorisation",
    title="Memorisation",
    severity="critical",
    needs=("copies", "energy"),
    symptom=symptom,
    explanation="Most fakes are nearer to a training example than to any held-out one: copies.",
    seeded=Seeded("digits", {}, 600, by_hand="only 40 training images"),
    looks=4,
    remedies=less_by_heart,
    page=__doc__ or "",
)
