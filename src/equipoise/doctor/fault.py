"""What a fault is to the doctor: a symptom that has to persist, and remedies in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from equipoise.doctor.finding import Evidence, Remedy, Severity
from equipoise.doctor.history import History

Settings = Mapping[str, Any]
"""A recipe as dotted keys and plain values; empty where there is no recipe."""


FLAT, MOMENTUM = 0.1, 0.5
"""The weight of R1 and of R2 that damps circling and still lets the critic follow, and the momentum that does."""


RATE = 2e-4
"""The learning rate that remedies start from where none is known."""
BOUND = 5.0
"""A norm of gradients that stands out: those of a healthy training, of about 1, stay as they are."""


@dataclass(frozen=True)
class Seeded:
    """A small training in which a fault was planted; the same without the plant is healthy. A test runs both."""

    recipe: str
    settings: Settings
    """Wrong ones."""
    steps: int = 500
    by_hand: str = ""
    """What is done besides, in words."""
    healthy: Settings = field(default_factory=dict)
    """Settings of both."""


@dataclass(frozen=True)
class Fault:
    """One file of `faults/`: its docstring is the page about it."""

    name: str
    title: str
    severity: Severity
    needs: tuple[str, ...]
    """Signals without which nothing can be said."""
    symptom: Callable[[History], Sequence[Evidence]]
    """What is wrong at the newest look; nothing if all is well. Only ratios, ranks and shares, no loss values."""
    explanation: str
    seeded: Seeded
    looks: int = 3
    """So many looks in a row must show the symptom."""
    remedies: Callable[[Settings, Sequence[Evidence]], Sequence[Remedy]] = lambda settings, evidence: ()
    began: Callable[[History], int] | None = None
    """The step since which the cause is there, where that is earlier than what confirms it."""
    surface: bool = False
    """Whether it is only what can be seen: then any other fault is the cause, however late it shows."""
    page: str = ""
    """The docstring of its file."""


def scaled_rate(settings: Settings, player: str, factor: float) -> dict[str, Any]:
    """The learning rate of a player, times a factor: a number or a schedule. 2e-4 where the recipe names none."""
    key = f"players.{player}.learning_rate"
    rate = settings.get(key, RATE)
    if isinstance(rate, Mapping):
        return {key: {**rate, **{end: rate[end] * factor for end in ("start", "end") if end in rate}}}
    return {key: rate * factor}


def unraised_rate(settings: Settings, player: str) -> dict[str, Any]:
    """The learning rate of a player where it began, if its schedule rises from there; nothing otherwise."""
    key = f"players.{player}.learning_rate"
    rate = settings.get(key)
    if isinstance(rate, Mapping) and 0 < rate.get("start", 0) < rate.get("end", 0):
        return {key: {**rate, "end": rate["start"]}}
    return {}


def capped_rate(settings: Settings, player: str, factor: float) -> dict[str, Any]:
    """The learning rate of a player, nowhere above so much of its highest value: schedules keep what is below that."""
    key, cap = f"players.{player}.learning_rate", factor * highest_rate(settings, player)
    rate = settings.get(key, RATE)
    if isinstance(rate, Mapping):
        return {key: {**rate, **{end: min(rate[end], cap) for end in ("start", "end") if end in rate}}}
    return {key: cap}


def optimiser_of_the_generator(settings: Settings) -> dict[str, Any]:
    """The critic moves by the generator's rule and rates."""
    copied = {key.replace(".G.", ".D.", 1): value for key, value in settings.items() if key.startswith("players.G.")}
    return {"players.D.learning_rate": RATE, **copied}


def rate_limits(settings: Settings, player: str) -> tuple[float, float]:
    """The lowest and the highest learning rate of a player."""
    rate = settings.get(f"players.{player}.learning_rate", RATE)
    ends = (rate.get("start", 0.0), rate.get("end", 0.0)) if isinstance(rate, Mapping) else (rate, rate)
    return float(min(ends)), float(max(ends))


def highest_rate(settings: Settings, player: str) -> float:
    """The highest learning rate of a player."""
    return rate_limits(settings, player)[1]


def balanced_rates(settings: Settings) -> dict[str, Any]:
    """Two time scales: a generator of a quarter of its rate before a critic of twice its own, or of the generator's.

    Of twice its own if that is never the slower one: a rate that fades away is none to double.
    """
    generator = scaled_rate(settings, "G", 0.25)
    if all(ours >= its for ours, its in zip(rate_limits(settings, "D"), rate_limits(settings, "G"))):
        return {**scaled_rate(settings, "D", 2.0), **generator}
    twice = scaled_rate(settings, "G", 2.0)
    return {"players.D.learning_rate": twice["players.G.learning_rate"], **generator}


def levelled_rates(settings: Settings) -> dict[str, Any]:
    """Both players at half the higher of their learning rates, or at the lower if that is more than half of it.

    Nothing for players that stand still.
    """
    rates = {player: highest_rate(settings, player) for player in ("D", "G")}
    level = max(0.5 * max(rates.values()), min(rates.values()))
    scaled = [scaled_rate(settings, player, level / rate) for player, rate in rates.items() if rate > 0]
    return {key: value for table in scaled for key, value in table.items()}


def scaled_penalty(settings: Settings, name: str, factor: float, *, otherwise: float) -> dict[str, Any]:
    """The weight of a penalty times a factor, lazy and scheduled ones too; `otherwise` where there is none."""
    for key in (f"game.penalties.{name}", f"game.penalties.{name}.weight"):
        weight = settings.get(key)
        if isinstance(weight, Mapping):
            return {key: {**weight, **{end: weight[end] * factor for end in ("start", "end") if end in weight}}}
        if isinstance(weight, int | float):
            return {key: weight * factor} if weight else {key: otherwise}
    return {f"game.penalties.{name}": otherwise}


def convergent(settings: Settings) -> dict[str, Any]:
    """Changes after which the game converges near its equilibrium: both slopes punished, each fake paired with a real.

    Momentum, which drives both players beyond it, is lowered to 0.5. Source: Mescheder et al. 2018; Huang et al. 2024
    (R3GAN).
    """
    found: dict[str, Any] = {"game.loss": "relativistic-pairing", "game.penalties.r1": FLAT, "game.penalties.r2": FLAT}
    if settings.get("game.clip") is not None:
        found["game.clip"] = None
    for key in ("players.D.betas", "players.G.betas"):
        first, second = settings.get(key, (0.0, 0.99))
        if first > MOMENTUM:
            found[key] = [MOMENTUM, second]
    return found


def less_by_heart(settings: Settings, evidence: Sequence[Evidence]) -> list[Remedy]:
    """What keeps a critic from learning its examples by heart: augmentation first where there are images."""
    images = settings.get("game.network.kind") != "mlp"
    relative = str(settings.get("game.loss", "")).startswith("relativistic")
    ada = {"game.diffaugment": True} if relative else {"game.ada": True}
    return [
        *([Remedy(ada, "Augmentation of all that the critic sees.")] if images else []),
        Remedy(scaled_penalty(settings, "r1", 10, otherwise=0.5), "R1 keeps the critic flat at the data."),
        Remedy({"game.instance_noise": {"std": 0.1}}, "Noise blurs single examples."),
        Remedy({"game.network.dropout": 0.3}, "Dropout: the critic cannot rely on single features.", restarts=True),
    ]
