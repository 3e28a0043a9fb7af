"""Ranges that do not match: training and held-out examples, or the data and what the generator can make.

**What it sees.** Training examples with other values than the held-out ones, by more than an eighth of their range,
and apart from them as distributions; or real images far beyond [-1, 1], or all of them in [0, 1], while the generator
ends in tanh.

**Why it matters.** What is learned is not what is asked for; and with values that the generator cannot make, the
critic needs one look at the largest or smallest pixel to win, for ever.

**False positives.** Data without any dark pixel.
"""

from equipoise.doctor.fault import Fault, Seeded
from equipoise.doctor.finding import Evidence
from equipoise.doctor.history import History

SHIFT, APART = 0.12, 0.1
"""Of the whole range of the held-out examples; and the distance of the two parts of the data."""


def symptom(history: History) -> list[Evidence]:
    """Training and held-out examples of different ranges; images outside of [-1, 1], or in its upper half only."""
    high, low, fake = (history.last(name) for name in ("range/real", "lowest/real", "range/fake"))
    apart = history.median("energy/real", 3)
    for name, real in (("range/train", high), ("lowest/train", low)):
        if abs(history.last(name) - real) > SHIFT * max(high, -low) and apart > APART:
            return [Evidence(name, history.last(name), f"that of held-out examples, {real:.3g}")]
    if not history.knows("saturation/real"):
        return []  # no images
    if high > 1.2 and fake <= 1.01:
        return [Evidence("range/real", high, "at most 1")]
    if low > -0.05 and history.last("lowest/fake") < -0.3:
        return [Evidence("lowest/real", low, "near -1")]
    return []


FAULT = Fault(
    name="range-mismatch",
    title="Ranges do not match",
    severity="critical",
    needs=("range/real", "range/fake"),
    symptom=symptom,
    explanation="Training examples have other values than held-out ones, or images other values than [-1, 1].",
    seeded=Seeded("digits", {}, 150, by_hand="training images go from 0 to 1, held-out ones from -1 to 1"),
    looks=2,
    page=__doc__ or "",
)
