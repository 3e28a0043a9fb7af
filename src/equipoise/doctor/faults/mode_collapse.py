"""Mode collapse: the generator makes few kinds of examples.

**What it sees.** Fakes lie much nearer to each other than reals do (mean distance below 0.35 of the data's, or many
near repetitions), and that does not get better. With labels also: within a class all fakes are alike. In games that
make something of an input: the output is the same whatever the input.

**Why it matters.** Pictures may look good one by one; together they are one picture.

**False positives.** The first steps, before the generator has spread out. If the critic has won from the first look on,
before a generator that is slower than itself, narrow fakes are those of an untrained generator.
"""

from collections.abc import Sequence

from equipoise.doctor.fault import Fault, Seeded, Settings, balanced_rates, convergent, levelled_rates
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History
from equipoise.doctor.standing import HELD, NARROW, STILL, course, getting_better, outclassed, travelled, warm

VERY_NARROW, REPEATED, CLASS, IGNORED, SPREADING = 0.2, 0.25, 0.35, 0.1, 1.25
POINT = 0.1
"""A diversity that is next to nothing, even if it grows: from a thousandth to a hundredth is no recovery."""


def symptom(history: History) -> list[Evidence]:
    """Fakes that are all alike, altogether, within classes or whatever the input."""
    if not warm(history, "diversity") or held(history):
        return []
    heed = history.median("input/effect", 3)
    if heed < IGNORED:
        return [Evidence("input/effect", heed, f"above {IGNORED}")]
    spread, nearest = history.median("diversity", 3), history.median("nearest", 3)
    inside = history.median("labels/diversity", 3)
    if inside < CLASS and course(history, "labels/diversity") < SPREADING:
        return [Evidence("labels/diversity", inside, "0.5 to 1.5")]
    spreading = spread > POINT and course(history, "diversity") > SPREADING
    if getting_better(history) or spreading or outclassed(history):
        return []
    if spread < VERY_NARROW or (spread < NARROW and nearest < REPEATED):
        return [Evidence("diversity", spread, "0.5 to 1.5"), Evidence("nearest", nearest, "0.5 to 1.5")]
    covered, real = history.median("coverage", 3), history.median("coverage/real", 3)
    if nearest < REPEATED and covered < 0.25 * real:
        return [
            Evidence("nearest", nearest, "0.5 to 1.5"),
            Evidence("coverage", covered, f"near that of real examples, {real:.2f}"),
        ]
    return []


def held(history: History) -> bool:
    """Whether one player hardly moves, and never did: then that is the cause, and narrow fakes are a consequence."""
    critic, generator = history.median("update/D", 3), history.median("update/G", 3)
    return critic < min(STILL, generator / 20) or (generator < min(STILL, critic / 20) and travelled(history) < HELD)


def remedies(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """A loss for which every mode counts and equal players; then a critic that is ahead, or sees several examples."""
    steps = int(settings.get("game.critic_steps", 1))
    return [
        Remedy(
            {**convergent(settings), **levelled_rates(settings)},
            "Each fake is compared with a real example, so that every mode counts; R1 and R2 make it converge; both "
            "players are equally fast.",
        ),
        Remedy(balanced_rates(settings), "A faster critic before a slower generator."),
        Remedy({"game.critic_steps": steps + 2}, "More moves of the critic for each of the generator's."),
        Remedy({"game.packing": 2}, "A critic that sees two examples at once notices repetitions.", restarts=True),
    ]


FAULT = Fault(
    name="mode-collapse",
    title="Mode collapse",
    severity="critical",
    needs=("diversity", "nearest"),
    symptom=symptom,
    explanation="The fakes are far less varied than the data.",
    seeded=Seeded(
        "ring",
        {
            "game.loss": "non-saturating",
            "game.penalties": {},
            "players.D.learning_rate": 0.0001,
            "players.G.learning_rate": 0.003,
        },
        500,
    ),
    looks=3,
    remedies=remedies,
    page=__doc__ or "",
)
