"""Exploding critic: its logits or gradients grow without bound.

**What it sees.** Logits of a magnitude above 60 that grow, while the critic does not even separate reals from fakes
perfectly, or above 100,000 in any case; and fakes that are far from the data or all alike.

**Why it matters.** The generator follows a slope that has lost its meaning. It happens to losses without a bound,
such as Wasserstein, before a critic without one: no clipping, no penalty, no spectral norm.

**False positives.** A Wasserstein critic with a proper penalty on data of a large scale can have large logits that
stay.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import Fault, Seeded, Settings, convergent, levelled_rates
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import WON, harm

LIMIT, BEYOND = 60.0, 1e5
LOGITS = ("logits/held_out", "logits/fake", "logits/held_out/std", "logits/fake/std")


def began(history: History) -> int:
    """Since when logits are so large without a break."""
    sizes: dict[int, float] = {}
    for name in LOGITS:
        for step, value in history.values.get(name, ()):
            sizes[step] = max(sizes.get(step, 0.0), abs(value))
    first = history.step
    for step in sorted(sizes, reverse=True):
        if sizes[step] <= LIMIT:
            break
        first = step
    return first


def symptom(history: History) -> list[Evidence]:
    """Large logits that are still growing."""
    sizes = {name: abs(history.last(name)) for name in LOGITS if history.knows(name)}
    name = max(sizes, key=lambda key: sizes[key])
    before = [abs(value) for value in history.recent(name, 9)[:-1]]
    growing = not before or sizes[name] > 1.02 * sorted(before)[len(before) // 2]
    if history.knows("energy") and not harm(history):
        return []
    if sizes[name] > BEYOND or (sizes[name] > LIMIT and growing and not history.last("auc/held_out") > WON):
        return [Evidence(name, history.last(name), f"between -{LIMIT:.0f} and {LIMIT:.0f}, and not growing")]
    return []


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """A bound for the critic's slope."""
    penalty = {"game.penalties.gradient-penalty": 10.0} if settings.get("game.loss") == "wasserstein" else {}
    return [
        Remedy(
            {**convergent(settings), **levelled_rates(settings)},
            "Both slopes punished, and each fake compared with a real example: nothing gains from large logits.",
        ),
        *([Remedy(penalty, "A gradient penalty bounds the critic's slope.")] if penalty else []),
        Remedy(
            {"game.network.critic_normalisation": "spectral"},
            "Spectral normalisation bounds the slope of every layer.",
            restarts=True,
        ),
    ]


FAULT = Fault(
    name="exploding-critic",
    title="Exploding critic",
    severity="critical",
    needs=("logits/held_out", "logits/fake"),
    symptom=symptom,
    explanation="The critic's logits grow without bound: nothing limits its slope.",
    seeded=Seeded(
        "ring",
        {
            "game.loss": "wasserstein",
            "game.penalties": {},
            "players.D.learning_rate": 0.003,
            "players.G.learning_rate": 0.001,
        },
        400,
    ),
    looks=3,
    began=began,
    remedies=remedies,
    page=__doc__ or "",
)
