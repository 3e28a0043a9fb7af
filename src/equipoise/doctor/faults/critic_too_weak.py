"""Critic too weak, or a generator that runs away: fakes are wrong, and the critic does not notice.

**What it sees.** The critic orders hardly more pairs than a coin would, though another test tells the fakes from the
data at once: they are far away, or spread much wider than the data. Or the critic hardly moves while the generator
does. Or it does move, and its logits are nearly the same for all examples: it has not the capacity.

**Why it matters.** The generator gets no direction, or drives off the data altogether.

**False positives.** At the equilibrium the critic is a coin too, but then the fakes are near.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import (
    Fault,
    Seeded,
    Settings,
    balanced_rates,
    optimiser_of_the_generator,
    rate_limits,
    scaled_penalty,
)
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import FAR, INDIFFERENT, STILL, getting_better, indifferent, restless, warm

AUC, WIDE = 0.58, 2.5
SLOWER = 5.0
"""A critic that is so many times slower than the generator has no time to tell."""


def symptom(history: History) -> list[Evidence]:
    """A critic that hardly moves, or a coin, before fakes that are far away; or fakes much too wide."""
    if not warm(history, "energy"):
        return []
    auc, energy, spread = (history.median(name, 10) for name in ("auc/held_out", "energy", "diversity"))
    wide, far = Evidence("diversity", spread, "0.5 to 1.5"), Evidence("energy", energy, f"below {FAR}")
    if energy < FAR and not spread > WIDE:
        return []
    critic, generator = history.median("update/D", 3), history.median("update/G", 3)
    if critic < min(STILL, generator / 20):
        still = Evidence("update/D", critic, f"near that of the generator, {generator:.2g}")
        return [still, wide if spread > WIDE else far]
    if spread > WIDE:
        return [wide]
    if indifferent(history) and generator < SLOWER * critic:
        spread_of_logits = history.median("logits/held_out/std", 10)
        return [Evidence("logits/held_out/std", spread_of_logits, f"above {INDIFFERENT}"), far]
    if auc > AUC or restless(history) or getting_better(history):
        return []
    return [Evidence("auc/held_out", auc, f"above {AUC}"), far]


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """Shift the balance to the critic."""
    steps = int(settings.get("game.critic_steps", 1))
    present = [name for name in ("r1", "r2") if any(key.startswith(f"game.penalties.{name}") for key in settings)]
    weaker = {k: v for name in present for k, v in scaled_penalty(settings, name, 0.1, otherwise=0.05).items()}
    width = int(settings.get("game.network.width", 64))
    critic_width = max(4 * int(settings.get("game.network.critic_width") or width), width)
    wider = Remedy({"game.network.critic_width": critic_width}, "A wider critic.", restarts=True)
    shown = {item.signal for item in evidence}
    differ = settings.get("players.D.rule", "adam") != settings.get("players.G.rule", "adam")
    fades = fading(settings, "D") and not fading(settings, "G")
    return [
        *(
            [Remedy(optimiser_of_the_generator(settings), "It hardly moves: the generator's optimiser for both.")]
            if "update/D" in shown or differ or fades
            else []
        ),
        *([wider] if "logits/held_out/std" in shown else []),  # it moves, and says nothing
        Remedy(
            balanced_rates(settings),
            "Two time scales: a faster critic before a slower generator.",
        ),
        Remedy({"game.critic_steps": steps + 2}, "More moves of the critic for each of the generator's."),
        *([Remedy(weaker, "A tenth of the penalties.")] if weaker else []),
        *([] if "logits/held_out/std" in shown else [wider]),
    ]


def fading(settings: Settings, player: str) -> bool:
    """Whether the learning rate of a player falls to next to nothing."""
    lowest, highest = rate_limits(settings, player)
    return lowest < 0.02 * highest


FAULT = Fault(
    name="critic-too-weak",
    title="Critic too weak",
    severity="warning",
    needs=("auc/held_out", "energy", "diversity"),
    symptom=symptom,
    explanation="The fakes are far from the data, and the critic cannot tell.",
    seeded=Seeded("ring", {"players.D.learning_rate": 1e-6}, 400),
    looks=5,
    remedies=remedies,
    page=__doc__ or "",
)
