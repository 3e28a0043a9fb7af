"""One term dominates: a player follows one of its loss terms and hardly notices the others.

**What it sees.** The share of one term in the sum of the gradients' norms of a player: above 0.97, or above 0.85 before
a critic that answers the same to everything, look after look, while the fakes are far from the data or all alike.

**Why it matters.** A reconstruction that drowns the adversarial loss makes blurred pictures; a penalty that drowns it
stops the critic from learning.

**False positives.** A term that is meant to rule in a first phase.
"""

from collections.abc import Sequence
from typing import Any

from equipoise.doctor.fault import FLAT, Fault, Seeded, Settings, scaled_penalty
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import harm, indifferent, warm

USUAL = {"r1": FLAT, "r2": FLAT, "gradient-penalty": 10.0, "dragan": 10.0}
LIMIT, LARGE = 0.97, 0.85
"""A share that is too much, and one that is if the critic says nothing any more."""


def ruling(history: History) -> list[tuple[str, float]]:
    """Terms other than the adversarial one with nearly all of their player's gradient, and their shares."""
    shares = history.named("share/")
    players = {name.split("/")[1] for name in shares}
    several = {player for player in players if sum(name.startswith(f"share/{player}/") for name in shares) > 1}
    others = [name for name in shares if name.split("/")[1] in several and not name.endswith("/adversarial")]
    limit = LARGE if indifferent(history) else LIMIT
    return [(name, share) for name in others if (share := history.median(name, 3)) > limit]


def began(history: History) -> int:
    """The first look at which one of them had as much."""
    names = [name for name, _ in ruling(history)]
    return min(step for name in names for step, share in history.values[name] if share > LARGE)


def symptom(history: History) -> list[Evidence]:
    """A term with nearly all of the gradient, and fakes that are far away or all alike."""
    if not warm(history, "energy") or not harm(history):
        return []
    found = [Evidence(name, share, f"below {LIMIT}") for name, share in ruling(history)]
    return [*found, *harm(history)] if found else []


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """The term at its usual weight."""
    terms = [item.signal.split("/")[2] for item in evidence if item.signal.startswith("share/")]
    found = []
    for term in terms:
        key, penalty = f"game.{term}", term.replace("_", "-")
        if any(name.startswith(f"game.penalties.{penalty}") for name in settings):
            found.append(Remedy(at_usual_weight(settings, penalty), "The penalty at its usual weight."))
        elif any(name.startswith(f"{key}.") for name in settings):
            found.append(Remedy({key: True}, "The term at its usual weight."))
    return found


def at_usual_weight(settings: Settings, penalty: str) -> dict[str, Any]:
    """The usual weight of a penalty, lazy ones too; a hundredth of what it is where none is usual."""
    if penalty not in USUAL:
        return scaled_penalty(settings, penalty, 0.01, otherwise=0.5)
    key = f"game.penalties.{penalty}"
    return {f"{key}.weight" if f"{key}.weight" in settings else key: USUAL[penalty]}


FAULT = Fault(
    name="dominating-term",
    title="One term dominates",
    severity="warning",
    needs=("energy",),
    symptom=symptom,
    explanation="Nearly all of a player's gradient comes from one term; the others have no say.",
    seeded=Seeded("ring", {"game.orthogonality.weight": 1000.0}, 500),
    looks=5,
    began=began,
    remedies=remedies,
    page=__doc__ or "",
)
