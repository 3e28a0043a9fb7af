"""Learning rate too high: every step moves the weights by a large part of their size.

**What it sees.** The size of an update relative to that of the weights: 0.002 to 0.02 is healthy; above 0.05 for both
players, or more than the weights themselves for one, is not. Where learning rates are known, also that they rose to the
fivefold or more from one look to the next. A spike can be harmless, so it is called only if things got worse since, and
were not well in between: fakes moved away from the data, or the generator's outputs froze.

**Why it matters.** Within a few dozen steps units die or logits explode, and what is seen then looks like another
fault.

**False positives.** The first steps of a training move small initial weights by a lot; there, more is allowed.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import Fault, Seeded, Settings, capped_rate, unraised_rate
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import MEMORY, harm, last_well, warm

LIMIT, EARLY, HUGE = 0.05, 0.1, 1.0
"""For the smaller of the two players' updates, of which more is healthy in the first 100 steps; for any one of them."""
WORSE, ROSE = 1.25, 5.0
USUAL, LEAST, MOST = 0.01, 0.02, 0.1
"""The update that a remedy aims at, by learning rates of at least and at most such a share of the highest."""


def jumps(history: History) -> list[tuple[int, float]]:
    """The looks since all was well at which all learning rates had risen to a multiple: steps, and the multiple."""
    rates = [history.values[name][-MEMORY:] for name in history.named("learning_rate/")]
    well, found = last_well(history), []
    for looks in zip(*rates):
        step = looks[0][0]
        before = [[rate for at, rate in rate_of if at < step][-1:] for rate_of in rates]
        rises = [rate / past[0] for (_, rate), past in zip(looks, before) if past and past[0] > 0]
        if step > well and rises and min(rises) >= ROSE:
            found.append((step, min(rises)))
    return found


def too_large(history: History) -> list[tuple[int, float]]:
    """The looks since all was well at which players moved by too much: steps, and the larger of the updates."""
    moves = [dict(history.values[name][-MEMORY:]) for name in history.named("update/")]
    well = last_well(history)
    steps = sorted(step for step in set.intersection(*map(set, moves)) if step > well) if moves else []
    sizes = [(step, [move[step] for move in moves]) for step in steps]
    return [
        (step, max(both)) for step, both in sizes if min(both) > (EARLY if step <= 100 else LIMIT) or max(both) > HUGE
    ]


def began(history: History) -> int:
    """The first of those looks."""
    return min(jumps(history) + too_large(history))[0]


def symptom(history: History) -> list[Evidence]:
    """Large steps, now or before, confirmed by worsening since."""
    large = jumps(history) + too_large(history)
    if not large:
        return []
    step, _ = min(large)
    evidence = [Evidence(name, history.at(name, step), f"below {LIMIT}") for name in history.named("update/")]
    if any(step == at for at, _ in jumps(history)):
        evidence += [Evidence(name, history.at(name, step), "as before") for name in history.named("learning_rate/")]
    energy, diversity = history.last("energy"), history.last("diversity")
    best = min((value for at, value in history.values.get("energy", ()) if at <= step), default=float("nan"))
    if history.step > step and energy > WORSE * max(best, 0.02):
        return [*evidence, Evidence("energy", energy, f"near what it was before, {best:.3g}")]
    if history.step > step and history.median("diversity", 3) < 0.05:
        return [*evidence, Evidence("diversity", diversity, "0.5 to 1.5")]
    if history.last("constant_units") > 0.5:
        return [*evidence, Evidence("constant_units", history.last("constant_units"), "below 0.5")]
    if history.last("movement") > 1:
        return [*evidence, Evidence("movement", history.last("movement"), "below 1")]
    return [*evidence, *harm(history)] if warm(history, "energy") and harm(history) else []


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """Rates as they were before they rose; else such that an update is about a hundredth of the weights, or less."""
    moves = [item.value for item in evidence if item.signal.startswith("update/") and item.value > 0]
    share = min(max(USUAL / max(moves, default=LIMIT), LEAST), MOST)
    unraised = {**unraised_rate(settings, "D"), **unraised_rate(settings, "G")}
    return [
        *(
            [Remedy(unraised, "It went well before the learning rates rose: they stay where they began.")]
            * bool(unraised)
        ),
        *(
            Remedy({**capped_rate(settings, "D", cap), **capped_rate(settings, "G", cap)}, words)
            for cap, words in (
                (share, "Learning rates with which an update is about a hundredth of the weights."),
                (share / 5, "A fifth of those."),
            )
        ),
    ]


FAULT = Fault(
    name="learning-rate",
    title="Learning rate too high",
    severity="critical",
    needs=("update/G", "update/D"),
    symptom=symptom,
    explanation="Each step moves the weights of both players by a large part of their size, and the fakes got worse.",
    seeded=Seeded("ring", {"players.D.learning_rate": 0.05, "players.G.learning_rate": 0.05}, 300),
    looks=2,
    began=began,
    remedies=remedies,
    page=__doc__ or "",
)
