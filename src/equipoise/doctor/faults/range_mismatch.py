"""Ranges that do not match: real examples have values that the generator cannot make.

**What it sees.** Real images far beyond [-1, 1], or all of them in [0, 1], while the generator ends in tanh.

**Why it matters.** The critic needs one look at the largest or smallest pixel to win, for ever.

**False positives.** Data without any dark pixel.
"""

from equipoise.doctor.fault import Fault
from equipoise.doctor.finding import Evidence
from equipoise.doctor.history import History


def symptom(history: History) -> list[Evidence]:
    """Reals outside of [-1, 1], or in its upper half only, beside fakes within."""
    if not history.knows("saturation/real"):
        return []  # no images
    high, low = history.last("range/real"), history.last("lowest/real")
    fake = history.last("range/fake")
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
    explanation="Real examples have other values than the generator can make: bring images to [-1, 1].",
    looks=2,
    page=__doc__ or "",
)
