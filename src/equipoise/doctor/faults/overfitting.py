"""Critic overfitting: it knows its training examples by heart.

**What it sees.** The critic scores training examples above held-out ones: P(D(train) > D(held-out)) is 0.5 in health
and above 0.575 here.

**Why it matters.** It rejects everything that is not in the training set, good fakes too; quality peaks and then
falls.

**False positives.** Held-out examples of another kind than the training data: split at random.
"""

from equipoise.doctor.fault import Fault, Settings
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.warm_up import warm

LIMIT = 0.575


def symptom(history: History) -> list[Evidence]:
    """Training examples above held-out ones."""
    overfit = history.median("overfit", 8)
    if not (warm(history, "overfit") and overfit > LIMIT):
        return []
    return [Evidence("overfit", overfit, f"0.5, below {LIMIT}")]


def remedies(settings: Settings) -> list[Remedy]:
    """Augmentation that follows the overfitting, a flatter critic."""
    images = settings.get("game.network.kind") != "mlp"
    relative = str(settings.get("game.loss", "")).startswith("relativistic")
    ada = {"game.diffaugment": True} if relative else {"game.ada": True}
    weight = 10 * settings["game.penalties.r1"] if isinstance(settings.get("game.penalties.r1"), float) else 0.5
    return [
        *([Remedy(ada, "Augmentation of all that the critic sees.")] if images else []),
        Remedy({"game.penalties.r1": weight}, "R1 keeps the critic flat at the data."),
        Remedy({"game.instance_noise": {"std": 0.1}}, "Noise blurs single examples."),
        Remedy({"game.network.dropout": 0.3}, "Dropout: the critic cannot rely on single features.", restarts=True),
    ]


FAULT = Fault(
    name="critic-overfitting",
    title="Critic overfitting",
    severity="warning",
    needs=("overfit",),
    symptom=symptom,
    explanation="The critic scores what it was trained on above what it has never seen: it learns examples by heart.",
    looks=4,
    remedies=remedies,
    page=__doc__ or "",
)
