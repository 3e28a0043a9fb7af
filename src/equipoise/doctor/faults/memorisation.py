"""Memorisation: the generator copies training examples.

**What it sees.** Three quarters of the fakes are nearer to a training example than to any of equally many held-out
ones; in health it is half of them.

**Why it matters.** The samples look perfect and are no new examples; with private data this is a leak.

**False positives.** Fakes that are far from all data have one and the same nearest example: they do not count.
Training sets with near duplicates that are not in the held-out part.
"""

from equipoise.doctor.fault import Fault, Settings
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.warm_up import warm

LIMIT, NEAR = 0.75, 0.2


def symptom(history: History) -> list[Evidence]:
    """Fakes nearer to training examples."""
    copies, energy = history.median("copies", 5), history.median("energy", 5)
    if not (warm(history, "copies") and copies > LIMIT and energy < NEAR):
        return []
    return [Evidence("copies", copies, f"0.5, below {LIMIT}")]


def remedies(settings: Settings) -> list[Remedy]:
    """As for an overfitting critic, and less training."""
    images = settings.get("game.network.kind") != "mlp"
    relative = str(settings.get("game.loss", "")).startswith("relativistic")
    ada = {"game.diffaugment": True} if relative else {"game.ada": True}
    return [
        *([Remedy(ada, "Augmentation of all that the critic sees.")] if images else []),
        Remedy({"game.instance_noise": {"std": 0.1}}, "Noise blurs single examples."),
        Remedy({"game.network.dropout": 0.3}, "Dropout in the critic.", restarts=True),
    ]


FAULT = Fault(
    name="memorisation",
    title="Memorisation",
    severity="critical",
    needs=("copies", "energy"),
    symptom=symptom,
    explanation="Most fakes are nearer to a training example than to any held-out one: copies.",
    looks=4,
    remedies=remedies,
    page=__doc__ or "",
)
