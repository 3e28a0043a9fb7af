"""Critic too strong: it separates reals and fakes perfectly, and the generator learns nothing from it.

**What it sees.** On held-out reals the critic puts 97 % of pairs in the right order, look after look, while the fakes
stay far away from the data.

**Why it matters.** With a saturating loss the generator's gradient vanishes; with any loss its direction means
little.

**False positives.** High accuracy alone is no fault: big critics win often while the generator improves. The distance
to the data has to stay. Before a generator that did move, and makes one and the same example now, the critic wins by
the collapse.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import Fault, Seeded, Settings, convergent, levelled_rates, scaled_penalty, scaled_rate
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import FAR, HELD, POINT, WON, getting_better, outclassed, travelled, warm

ALIKE, LIVELY = 0.2, 1e-3


def symptom(history: History) -> list[Evidence]:
    """A perfect critic before fakes that stay far away."""
    auc, energy = history.median("auc/held_out", 6), history.median("energy", 6)
    if not (warm(history, "energy") and auc > WON and energy > FAR) or getting_better(history):
        return []
    spread, generator, critic = (history.median(name, 6) for name in ("diversity", "update/G", "update/D"))
    if spread < POINT and travelled(history) > HELD:
        return []  # the generator did move, and makes one and the same example: that is what the critic wins by
    if spread < ALIKE and generator > max(LIVELY, critic / 2) and not outclassed(history):
        return []  # it does move, and makes only one kind of example
    return [Evidence("auc/held_out", auc, f"below {WON}"), Evidence("energy", energy, f"below {FAR}, or falling")]


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """Equal players and a loss with a gradient where the critic wins; then a flatter, a slower, a bounded critic."""
    return [
        Remedy(
            {**convergent(settings), **levelled_rates(settings), "game.critic_steps": 1},
            "Both move as often and as fast; each fake is compared with a real example, which has a gradient where the "
            "critic wins; R1 and R2 keep it flat.",
        ),
        Remedy(scaled_penalty(settings, "r1", 10, otherwise=0.5), "R1 keeps the critic flat at the data."),
        Remedy(scaled_rate(settings, "D", 0.25), "A critic of a quarter of the learning rate."),
        Remedy({"game.instance_noise": True}, "Noise makes the two distributions overlap."),
        Remedy({"game.network.critic_normalisation": "spectral"}, "Spectral norm bounds the critic.", restarts=True),
    ]


FAULT = Fault(
    name="critic-too-strong",
    title="Critic too strong",
    severity="warning",
    needs=("auc/held_out", "energy"),
    symptom=symptom,
    explanation="The critic separates reals and fakes perfectly, and the fakes do not come nearer.",
    seeded=Seeded(
        "ring",
        {
            "game.loss": "minimax",
            "game.penalties": {},
            "game.critic_steps": 5,
            "players.D.learning_rate": 0.005,
            "players.G.learning_rate": 0.0001,
        },
        450,
    ),
    looks=6,
    remedies=remedies,
    page=__doc__ or "",
)
