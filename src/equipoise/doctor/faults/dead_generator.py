"""Dead generator: its output does not depend on the latent any more, and no gradient gets through to change that.

**What it sees.** In one layer of the generator more than nine tenths of the units answer the same to every latent,
and the fakes are all alike.

**Why it matters.** Units of a ReLU layer that are negative for every input have no gradient: they never come back.
More training does not help.

**False positives.** A generator that has just begun can be nearly constant in the examples, but not in its units.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import BOUND, Fault, Seeded, Settings, scaled_rate
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History


def symptom(history: History) -> list[Evidence]:
    """Constant units and constant examples."""
    constant, diversity = history.last("constant_units"), history.last("diversity")
    if not (constant > 0.9 and diversity < 0.05):
        return []
    return [Evidence("constant_units", constant, "below 0.5"), Evidence("diversity", diversity, "0.5 to 1.5")]


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """Back to where it lived, more carefully."""
    return [
        Remedy(
            {"players.G.clip_norm": BOUND},
            "Back to the last healthy checkpoint, with a bound for single large gradients, which kill units.",
        ),
        Remedy({**scaled_rate(settings, "G", 0.25), "players.G.clip_norm": BOUND}, "A slower generator as well."),
    ]


FAULT = Fault(
    name="dead-generator",
    title="Dead generator",
    severity="critical",
    needs=("constant_units", "diversity"),
    symptom=symptom,
    explanation="The units of one of the generator's layers answer the same to every latent: nothing gets through.",
    seeded=Seeded(
        "ring",
        {},
        350,
        by_hand="the biases of a hidden layer of G become -20 at step 250",
        healthy={"game.network.generator_activation": "relu"},
    ),
    looks=2,
    remedies=remedies,
    page=__doc__ or "",
)
