"""Critic overfitting: it knows its training examples by heart.

**What it sees.** The critic scores training examples above held-out ones: P(D(train) > D(held-out)) is 0.5 in health
and above 0.575 here.

**Why it matters.** It rejects everything that is not in the training set, good fakes too; quality peaks and then
falls.

**False positives.** Held-out examples of another kind than the training data: split at random.
"""

from equipoise.doctor.fault import Fault, less_by_heart
from equipoise.doctor.finding import Evidence
from equipoise.doctor.history import History
from equipoise.doctor.warm_up import warm

LIMIT = 0.575


def symptom(history: History) -> list[Evidence]:
    """Training examples above held-out ones."""
    overfit = history.median("overfit", 8)
    if not (warm(history, "overfit") and overfit > LIMIT):
        return []
    return [Evidence("overfit", overfit, f"0.5, below {LIMIT}")]


FAULT = Fault(
    name="critic-overfitting",
    title="Critic overfitting",
    severity="warning",
    needs=("overfit",),
    symptom=symptom,
    explanation="The critic scores what it was trained on above what it has never seen: it learns examples by heart.",
    looks=4,
    remedies=less_by_heart,
    page=__doc__ or "",
)
