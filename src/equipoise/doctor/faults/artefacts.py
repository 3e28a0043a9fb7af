"""Artefacts: saturated pixels or a checkerboard.

**What it sees.** Far more pixels at the end of the range than in real images, or several times their energy in the
pattern that alternates from pixel to pixel.

**Why it matters.** Saturated outputs have no gradient; checkerboards are the mark of transposed convolutions.

**False positives.** Images whose real counterparts are black and white: compared with those.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import Fault, Seeded, Settings, scaled_rate
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import warm

SATURATED, PATTERN = 0.3, 3.0


def symptom(history: History) -> list[Evidence]:
    """Too many saturated pixels, or too much alternation."""
    if not warm(history, "saturation/fake"):
        return []
    fake, real = history.median("saturation/fake", 5), history.median("saturation/real", 5)
    if fake > real + SATURATED:
        return [Evidence("saturation/fake", fake, f"near that of real images, {real:.2f}")]
    fake, real = history.median("checkerboard/fake", 5), history.median("checkerboard/real", 5)
    if fake > PATTERN * max(real, 0.002):
        return [Evidence("checkerboard/fake", fake, f"near that of real images, {real:.3g}")]
    return []


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """A slower generator; where there are transposed convolutions, networks that enlarge by repetition."""
    slower = Remedy(scaled_rate(settings, "G", 0.25), "A slower generator.")
    if settings.get("game.network.kind") != "dcgan":
        return [slower]
    widths = ("game.network.width", "game.network.critic_width")
    kept = {key: settings[key] for key in widths if key in settings}
    repeating = {"game.network.kind": "resnet", **kept}
    return [slower, Remedy(repeating, "Blocks that repeat pixels and then convolve.", restarts=True)]


FAULT = Fault(
    name="artefacts",
    surface=True,
    title="Artefacts",
    severity="warning",
    needs=("saturation/fake", "saturation/real"),
    symptom=symptom,
    explanation="The fakes have saturated pixels or a checkerboard that real images do not have.",
    seeded=Seeded("digits", {"players.D.learning_rate": 3e-6}, 450),
    looks=4,
    remedies=remedies,
    page=__doc__ or "",
)
