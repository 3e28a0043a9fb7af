"""Labels without information: classes are no more alike than the data as a whole, or the generator ignores them.

**What it sees.** The mean distance of two training examples of one class, relative to that of any two: 1 means that
the labels say nothing. And the change of a fake when only its label changes, relative to the distance of two fakes.

**Why it matters.** Labels in the wrong order, a shuffled file, a generator that never looks at its second input.

**False positives.** Classes that differ in what the space of comparison does not see.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import Fault, Seeded, Settings
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import warm

RANDOM, IGNORED = 0.985, 0.1


def symptom(history: History) -> list[Evidence]:
    """Labels that say nothing, or to which nobody listens."""
    within, effect = history.last("labels/within"), history.median("labels/effect", 5)
    if within > RANDOM:
        return [Evidence("labels/within", within, f"below {RANDOM}")]
    if warm(history, "labels/effect") and effect < IGNORED:
        return [Evidence("labels/effect", effect, f"above {IGNORED}")]
    return []


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """Check the data; otherwise, train without labels."""
    others = ("game.kind", "game.conditioning", "game.auxiliary")
    kept = {key: value for key, value in settings.items() if key.startswith("game.") and key not in others}
    return [
        Remedy(
            {"game.kind": "gan", **kept}, "Train without labels, or check that labels and examples fit.", restarts=True
        )
    ]


FAULT = Fault(
    name="empty-labels",
    title="Labels without information",
    severity="warning",
    needs=("labels/within",),
    symptom=symptom,
    explanation="Examples of one class are no more alike than any others, or the label does not change the fake.",
    seeded=Seeded("conditional-digits", {}, 150, by_hand="the labels are shuffled"),
    looks=3,
    remedies=remedies,
    page=__doc__ or "",
)
