"""Critic overfitting: it knows its training examples by heart.

**What it sees.** The critic scores training examples above held-out ones: P(D(train) > D(held-out)) is 0.5 in health
and above 0.8 here; or above 0.62, now or before, and the fakes suffer: they are far from the data, all alike, crowd
around few points, or the critic knows 70 % of them. Where training examples are so few that a quarter of the held-out
ones have none near, such fakes are enough.

**Why it matters.** It rejects everything that is not in the training set, good fakes too; quality peaks and then
falls.

**False positives.** Held-out examples of another kind than the training data: split at random.
"""

from statistics import median

from equipoise.doctor.fault import Fault, Seeded, less_by_heart
from equipoise.doctor.finding import Evidence
from equipoise.doctor.history import History
from equipoise.doctor.standing import MEMORY, crowded, harm, last_well, warm

LIMIT, LOOKS, SURE = 0.62, 6, 0.8
FEW, TOLD = 0.75, 0.7
"""Held-out examples with a training example near; pairs of a held-out example and a fake in the right order."""


def clear(history: History) -> int | None:
    """The first of the earliest six looks in a row, since all was well, with a clear preference; None without any."""
    well = last_well(history)
    points = [point for point in history.values.get("overfit", [])[-MEMORY:] if point[0] > well]
    for first in range(len(points) - LOOKS + 1):
        if median(value for _, value in points[first : first + LOOKS]) > LIMIT:
            return points[first][0]
    return None


def began(history: History) -> int:
    """Since when: that look, or now."""
    since = clear(history)
    return history.step if since is None else since


def symptom(history: History) -> list[Evidence]:
    """Training examples above held-out ones: by far, or now or before with harm since."""
    if not warm(history, "overfit"):
        return []
    overfit, covered = history.median("overfit", 8), history.median("coverage/real", 3)
    found = [Evidence("overfit", overfit, f"0.5, below {LIMIT}")]
    if covered < FEW:
        found.append(Evidence("coverage/real", covered, f"above {FEW}: training examples near every held-out one"))
    if overfit > SURE:
        return found
    auc = history.median("auc/held_out", 8)
    if overfit > LIMIT and auc > TOLD:
        return [*found, Evidence("auc/held_out", auc, f"below {TOLD}")]
    worse = [*harm(history), *crowded(history)]
    known = covered < FEW or overfit > LIMIT or clear(history) is not None
    return [*found, *worse] if worse and known else []


FAULT = Fault(
    name="critic-overfitting",
    title="Critic overfitting",
    severity="warning",
    needs=("overfit",),
    symptom=symptom,
    explanation="The critic scores what it was trained on above what it has never seen: it learns examples by heart.",
    seeded=Seeded(
        "ring",
        {"game.loss": "non-saturating", "game.penalties": {}, "game.critic_steps": 2},
        500,
        by_hand="only 32 training points",
    ),
    looks=4,
    began=began,
    remedies=less_by_heart,
    page=__doc__ or "",
)
