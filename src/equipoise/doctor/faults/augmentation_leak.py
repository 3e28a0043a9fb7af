"""Augmentation leak: the generator makes augmented examples.

**What it sees.** The fakes are nearer to the augmented reals that the critic is shown than to the reals themselves.

**Why it matters.** Turned digits, shifted faces, odd colours: the generator learned what was meant for the critic
alone.

**False positives.** A generator far from both.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import Fault, Seeded, Settings
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import warm

MARGIN = 0.03


def symptom(history: History) -> list[Evidence]:
    """Fakes nearer to what the critic is shown."""
    clean, shown = history.median("energy", 5), history.median("energy/shown", 5)
    if not (warm(history, "energy/shown") and shown + MARGIN < clean and shown < 0.85 * clean):
        return []
    return [Evidence("energy", clean, f"at most that to augmented reals, {shown:.3g}")]


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """Less augmentation."""
    return [
        Remedy({"game.ada.limit": 0.5} if "game.ada.limit" in settings else {"game.ada": {"limit": 0.5}}, "A lower p."),
        Remedy({"game.ada": False, "game.diffaugment": False}, "No augmentation."),
    ]


FAULT = Fault(
    name="augmentation-leak",
    title="Augmentation leak",
    severity="warning",
    needs=("energy/shown", "energy"),
    symptom=symptom,
    explanation="The fakes look like the augmented examples that only the critic should see.",
    seeded=Seeded("digits", {"game.ada.p": 0.8}, 1000),
    looks=4,
    remedies=remedies,
    page=__doc__ or "",
)
