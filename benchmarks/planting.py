"""Trainings that are broken on purpose: worlds whose truth is known, and what is planted into them.

A plant is a fault of the recipe, of the data, or something that happens to the weights on the way. Each has four
variants and three doses. What became of a training is judged by `World.score`, on examples that no doctor has seen.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.errors import DiskError, DivergedError, EquipoiseError, Interrupted
from equipoise.core.game import Clock, Game
from equipoise.data.digits import digits
from equipoise.data.open import open_source
from equipoise.data.source import Source, Split, split, subset, tensor_source
from equipoise.data.toy import Mixture, grid, ring
from equipoise.engine.trainer import Trainer
from equipoise.runs import features
from equipoise.runs.evaluation import evaluate
from equipoise.runs.parts import Examples
from equipoise.runs.piloting import Pilot
from equipoise.runs.recipe import Recipe, from_dict, read_toml, with_settings
from equipoise.runs.run import Run
from equipoise.runs.sampling import samples

DOSES = ("large", "medium", "small")
JUDGES = Path(__file__).parent / "results"

# ---------------------------------------------------------------- worlds


@dataclass(frozen=True)
class World:
    """Data, a recipe that trains well on it, and a judge who knows the truth."""

    name: str
    source: Source
    base: Mapping[str, Any]
    score: Callable[[Tensor, Tensor | None], dict[str, float]]
    """Of samples and the classes that they should show."""
    rate: float = 1e-3
    images: bool = False
    conditional: bool = False

    @property
    def onset(self) -> int:
        """The step at which what happens on the way happens."""
        return round(ONSET * self.base["training.steps"])


def rates(rate: float) -> dict[str, Any]:
    return {f"players.{player}": {"learning_rate": rate, "betas": (0.5, 0.99)} for player in "DG"}


SHARED = {
    "training.batch": 64,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.save_every": 100,
    "training.keep": 20,
    "watching.tensorboard": False,
    "watching.samples_every": 10**6,
    "watching.signals_every": 25,
    "watching.probes_every": 25,
    "training.measure_every": 25,
    "training.shares_every": 128,
    "judging.at_end": False,
}
PLANE = {
    **SHARED,
    **rates(1e-3),
    "game.network.kind": "mlp",
    "game.network.width": 64,
    "game.network.generator_activation": "relu",
    "game.z_dim": 2,
    "game.loss": "relativistic-pairing",
    "game.penalties": {"r1": 0.05, "r2": 0.05},
    "training.ema_half_life": 5000,
}
SQUARES = {**SHARED, "game.loss": "non-saturating", "game.penalties": {"r1": 0.15}, "game.z_dim": 64}


def mixture_world(mixture: Mixture, steps: int) -> World:
    """Points in the plane: modes and the reverse KL of the nearest centers."""

    def score(x: Tensor, requested: Tensor | None) -> dict[str, float]:
        found = mixture.coverage(x)
        p = torch.bincount(torch.cdist(x, mixture.centers).argmin(1), minlength=len(mixture.centers)).double() / len(x)
        kl = float((p[p > 0] * (p[p > 0] * len(p)).log()).sum())
        return {"modes": found.modes, "high_quality": found.high_quality, "reverse_kl": kl}

    return World(mixture.name, mixture.source(20_000), {**PLANE, "training.steps": steps}, score)


def image_world(name: str, source: Source, base: Mapping[str, Any], *, conditional: bool = False) -> World:
    """Labelled images: coverage, FID and agreement with the requested class, in the features of a classifier."""
    parts = split(source, min(2000, len(source) * 3 // 10), seed=12345)
    folder = JUDGES / f".judge-{source.name}"
    if not (folder / "extractor.json").exists():
        features.save(features.fit_feature_net(parts.train, held_out=parts.held_out, seed=0), folder)
    judge = features.load(folder)
    draw = torch.Generator().manual_seed(0)  # files may be sorted by class
    real, train = (
        part.examples(torch.randperm(len(part), generator=draw)[:1000]) for part in (parts.held_out, parts.train)
    )

    def score(x: Tensor, requested: Tensor | None) -> dict[str, float]:
        asked = None if requested is None else requested[: len(real)]
        found = evaluate(judge, real, fake=x[: len(real)], real_train=train, requested=asked)
        agreement = {} if found.agreement is None else {"agreement": found.agreement}
        return {"coverage": found.fake.coverage, "fid": found.fake.fid, **agreement}

    rate = base["players.D"]["learning_rate"]
    return World(name, parts.train, base, score, rate=rate, images=True, conditional=conditional)


def worlds(data: Path | None) -> dict[str, Callable[[], World]]:
    """By name; the convolutional one needs the MNIST digits."""
    small = {**SQUARES, **rates(3e-3), "training.steps": 1500}
    perceptron = {**small, "game.network.kind": "mlp", "game.network.generator_activation": "relu"}
    convolutions = {**small, "game.network.kind": "dcgan", "game.network.width": 16, "training.steps": 2000}
    found = {
        "ring": lambda: mixture_world(ring(sigma=0.05), 1200),
        "grid": lambda: mixture_world(grid(spacing=1.0, sigma=0.1), 1500),
        "digits": lambda: image_world("digits", digits(), perceptron),
        "classes": lambda: image_world(
            "classes", digits(), {**perceptron, "game.kind": "conditional"}, conditional=True
        ),
    }
    if data is not None:
        found["mnist"] = lambda: image_world("mnist", open_source(data, size=16, channels=1), convolutions)
    return found


# ---------------------------------------------------------------- plants


@dataclass(frozen=True)
class Plant:
    """What is wrong with a training; nothing, by default."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Wrong settings, from the start."""
    data: Callable[[Split], Split] | None = None
    """What is done to the examples."""
    game: Callable[[Game], None] | None = None
    """What is done to the game whenever it is made: a mistake in its code."""
    event: Callable[[Game], None] | None = None
    """What happens to the game's weights on the way; going back behind it undoes it."""
    onset: int = 0
    """The step at which that happens first."""
    times: int = 1
    """How often it happens, every 40 steps, in the whole life of the training."""
    remedy: bool = True
    """Whether a change of the recipe, or going back, can heal it."""


@dataclass(eq=False)
class Happening:
    """Lets an event come to pass."""

    plant: Plant
    past: int = 0

    def before_update(self, clock: Clock, player: str, parameters: Mapping[str, nn.Parameter]) -> None:
        pass

    def on_event(self, clock: Clock, kind: str, message: str) -> None:
        pass

    def after_step(self, clock: Clock, record: Any) -> None:
        late = clock.step - self.plant.onset
        if late >= 0 and late % 40 == 0 and self.past < self.plant.times:
            self.past += 1
            with torch.no_grad():
                assert self.plant.event is not None
                self.plant.event(self.game)

    def watch(self, trainer: Trainer) -> None:
        self.game = trainer.game
        trainer.observers = (self, *trainer.observers)


@dataclass(frozen=True)
class PlantedRun(Run):
    """A run with a plant in it."""

    plant: Plant = Plant()
    happening: Happening | None = None
    pilot_of: Callable[[Run], Pilot] | None = None

    def parts(self, source: Source) -> Split:
        parts = super().parts(source)
        return self.plant.data(parts) if self.plant.data else parts

    def build_game(self) -> Game:
        game = super().build_game()
        if self.plant.game:
            self.plant.game(game)
        return game

    def trainer(self, train: Source, **rest: Any) -> Trainer:
        trainer = super().trainer(train, **rest)
        if self.happening is not None and rest.get("watcher") is not None:
            self.happening.watch(trainer)
        return trainer

    def pilot(self) -> Pilot | None:
        return self.pilot_of(self) if self.pilot_of else super().pilot()


def played(
    world: World,
    plant: Plant,
    *,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    pilot_of: Callable[[Run], Pilot] | None = None,
    folder: Path | None = None,
) -> tuple[Run, dict[str, float], str]:
    """Train with a plant; the run, the scores of its final averaged weights, and how it ended."""
    torch.set_num_threads(1)
    all_settings = {**world.base, **(settings or {}), **plant.settings, "training.seed": seed}
    recipe = with_settings(Recipe(), all_settings)
    examples = Examples(world.source.name, world.source.shape, world.source.classes)
    happening = Happening(plant) if plant.event else None
    folder = folder or Path(tempfile.mkdtemp(prefix="planted-"))
    run = PlantedRun(
        folder,
        recipe,
        "benchmarks.doctor",
        examples,
        world.source,
        plant=plant,
        happening=happening,
        pilot_of=pilot_of,
    )
    ending = "finished"
    try:
        run = run.play(world.source, resume=False, quiet=True)
    except DivergedError:
        ending = "diverged"
    except (Interrupted, DiskError):
        raise
    except EquipoiseError as error:
        ending = type(error).__name__
    if ending != "finished" and (folder / "recipe.toml").exists():  # an intervention changed it
        run = replace(run, recipe=from_dict(read_toml(folder / "recipe.toml")))
    return run, outcome(world, run), ending


# ---------------------------------------------------------------- the plants


def paces(world: World, critic: float, generator: float | None = None) -> dict[str, Any]:
    """Both learning rates, as multiples of the world's."""
    factors = {"D": critic, "G": critic if generator is None else generator}
    return {f"players.{player}.learning_rate": factors[player] * world.rate for player in "DG"}


def jump(world: World, factor: float) -> dict[str, Any]:
    """Both learning rates, suddenly so many times as high."""
    steps = {"start": world.rate, "end": factor * world.rate, "until": ONSET, "shape": "step"}
    return {f"players.{player}.learning_rate": steps for player in "DG"}


def falling(world: World, factor: float) -> dict[str, Any]:
    """Both learning rates so many times as high at the start, and as they should be from the middle on."""
    rate = {"start": factor * world.rate, "end": world.rate, "until": 0.5}
    return {f"players.{player}.learning_rate": rate for player in "DG"}


MOMENTUM: dict[str, Any] = {"players.D.betas": (0.9, 0.99), "players.G.betas": (0.9, 0.99)}
FREE: dict[str, Any] = {"game.penalties": {}, "game.loss": "non-saturating"}
"""Without any penalty."""
ONSET = 0.4
"""When what happens on the way happens, as a share of training."""


def rising(world: World, factor: float) -> dict[str, Any]:
    """Both learning rates, rising all the time to so many times of what they should be."""
    return {f"players.{player}.learning_rate": {"start": world.rate, "end": factor * world.rate} for player in "DG"}


def fading(world: World, left: float) -> dict[str, Any]:
    """The critic's learning rate falls within a tenth of the training to so little."""
    rate = {"start": world.rate, "end": left * world.rate, "until": 0.1}
    return {"players.D.learning_rate": rate, "players.G.learning_rate": world.rate}


def bad_pixels(share: float, value: float = torch.nan) -> Callable[[Split], Split]:
    """One value of so many of the training examples is not a number, or infinite."""

    def spoil(parts: Split) -> Split:
        x, labels = everything(parts.train)
        x = x.clone()
        bad = torch.rand(len(x), generator=torch.Generator().manual_seed(5)) < share
        x.flatten(1)[bad, 0] = value
        return Split(tensor_source(parts.train.name, x, labels, classes=parts.train.classes), parts.held_out)

    return spoil


def everything(source: Source) -> tuple[Tensor, Tensor | None]:
    indices = torch.arange(len(source))
    return source.examples(indices), source.labels(indices) if source.classes else None


def fewer(num: int) -> Callable[[Split], Split]:
    """Only so many training examples."""
    return lambda parts: Split(subset(parts.train, torch.arange(num), name=parts.train.name), parts.held_out)


def stretched(train: Callable[[Tensor], Tensor], held_out: Callable[[Tensor], Tensor]) -> Callable[[Split], Split]:
    """Values of another range."""

    def change(parts: Split) -> Split:
        changed = []
        for part, function in zip(parts, (train, held_out), strict=True):
            x, labels = everything(part)
            changed.append(tensor_source(part.name, function(x), labels, classes=part.classes))
        return Split(*changed)

    return change


def relabelled(change: Callable[[Tensor], Tensor]) -> Callable[[Split], Split]:
    """The same examples with other labels, in both parts."""

    def relabel(parts: Split) -> Split:
        changed = []
        for part in parts:
            x, labels = everything(part)
            assert labels is not None
            changed.append(tensor_source(part.name, x, change(labels), classes=part.classes))
        return Split(*changed)

    return relabel


def shuffled_labels(share: float) -> Callable[[Split], Split]:
    """So many of the labels are drawn by lot."""

    def shuffle(labels: Tensor) -> Tensor:
        draw = torch.Generator().manual_seed(7)
        lot = labels[torch.randperm(len(labels), generator=draw)]
        return torch.where(torch.rand(len(labels), generator=draw) < share, lot, labels)

    return relabelled(shuffle)


def slipped(share: float) -> Callable[[Split], Split]:
    """The labels of so many examples are those of the line before."""

    def slip(labels: Tensor) -> Tensor:
        num = round(share * len(labels))
        return torch.cat([labels[:num].roll(1), labels[num:]])

    return relabelled(slip)


def backwards(share: float) -> Callable[[Split], Split]:
    """The labels of so many examples stand in the opposite order."""

    def turn(labels: Tensor) -> Tensor:
        num = round(share * len(labels))
        return torch.cat([labels[:num].flip(0), labels[num:]])

    return relabelled(turn)


def layers(network: nn.Module) -> list[nn.Module]:
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm1d, nn.BatchNorm2d)
    return [m for m in network.modules() if isinstance(m, kinds)]


def zeroed(share: float) -> Callable[[Split], Split]:
    """So many of the labels are those of the first class."""

    def zero(labels: Tensor) -> Tensor:
        chosen = torch.rand(len(labels), generator=torch.Generator().manual_seed(7)) < share
        return torch.where(chosen, 0, labels)

    return relabelled(zero)


def killed(share: float, *, how: str, layer: int = 1) -> Callable[[Game], None]:
    """So many of the units of a hidden layer of the generator never answer again: by their bias or by their weights."""
    number = layer

    def kill(game: Game) -> None:
        hidden, following = layers(game.G)[number], layers(game.G)[number + 1]
        norm = following if isinstance(following, nn.BatchNorm2d) else None
        layer = norm or hidden
        num = round(share * len(layer.bias))
        if how == "bias":
            layer.bias[:num] = -20 if norm is None else -200
        else:
            layer.weight[:num] = -layer.weight[:num].abs() - (0.5 if norm is None else 200)

    return kill


class Narrow(nn.Module):
    """A generator that hardly hears its latents."""

    def __init__(self, inner: nn.Module, factor: float):
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, z: Tensor, *rest: Tensor) -> Tensor:
        return self.inner(self.factor * z, *rest)


def narrow(factor: float) -> Callable[[Game], None]:
    """Latents that are multiplied by a small number."""

    def wrap(game: Game) -> None:
        game.G = Narrow(game.G, factor)

    return wrap


def infinite(game: Game) -> None:
    """One weight of the critic overflows."""
    layers(game.D)[0].weight.flatten()[0] = torch.inf


def undefined(game: Game) -> None:
    """One weight of the generator is no number any more."""
    layers(game.G)[0].weight.flatten()[0] = torch.nan


Dose = Callable[[World, int], Plant]
"""A plant of a world and a dose: 0 is large, 2 small."""


def a_critic(world: World, widths: tuple[int, int, int], dose: int) -> dict[str, Any]:
    """A narrow critic; convolutions need less of it."""
    return {"game.network.critic_width": max(widths[dose] // (8 if world.name == "mnist" else 1), 1)}


PLANTS: dict[str, dict[str, Dose]] = {
    "non-finite": {
        "nan in the data": lambda w, d: Plant(data=bad_pixels((0.05, 0.002, 0.0002)[d]), remedy=False),
        "overflow": lambda w, d: Plant(event=infinite, onset=w.onset, times=(6, 3, 1)[d]),
        "nan in a weight": lambda w, d: Plant(event=undefined, onset=w.onset, times=(6, 3, 1)[d]),
        "infinity in the data": lambda w, d: Plant(data=bad_pixels((0.05, 0.002, 0.0002)[d], torch.inf), remedy=False),
    },
    "learning-rate": {
        "from the start": lambda w, d: Plant(paces(w, (50, 20, 5)[d])),
        "jump": lambda w, d: Plant(jump(w, (50, 20, 5)[d]), onset=w.onset),
        "at first": lambda w, d: Plant(falling(w, (50, 20, 5)[d])),
        "rising": lambda w, d: Plant(rising(w, (50, 20, 5)[d])),
    },
    "dead-generator": {
        "biases": lambda w, d: Plant(event=killed((1.0, 0.9, 0.5)[d], how="bias"), onset=w.onset),
        "weights": lambda w, d: Plant(event=killed((1.0, 0.9, 0.5)[d], how="weights"), onset=w.onset),
        "first layer": lambda w, d: Plant(event=killed((1.0, 0.9, 0.5)[d], how="bias", layer=0), onset=w.onset),
        "third layer": lambda w, d: Plant(event=killed((1.0, 0.9, 0.5)[d], how="bias", layer=2), onset=w.onset),
    },
    "exploding-critic": {
        "wasserstein": lambda w, d: Plant({**FREE, "game.loss": "wasserstein", **paces(w, (3, 1, 0.2)[d], 1)}),
        "wasserstein, rmsprop": lambda w, d: Plant(
            {
                **FREE,
                "game.loss": "wasserstein",
                "game.critic_steps": (3, 2, 1)[d],
                "players.D": {"rule": "rmsprop", "learning_rate": w.rate * (1, 0.5, 0.1)[d]},
            }
        ),
        "wasserstein, momentum": lambda w, d: Plant(
            {**FREE, "game.loss": "wasserstein", **paces(w, (2, 0.7, 0.2)[d], 1), **MOMENTUM}
        ),
        "wasserstein, many steps": lambda w, d: Plant(
            {**FREE, "game.loss": "wasserstein", "game.critic_steps": (5, 3, 1)[d], **paces(w, (1, 0.5, 0.1)[d], 1)}
        ),
    },
    "critic-too-strong": {
        "minimax": lambda w, d: Plant(
            {
                **FREE,
                "game.loss": "minimax",
                "game.critic_steps": (5, 3, 2)[d],
                **paces(w, (5, 2, 1)[d], (0.1, 0.3, 0.5)[d]),
            }
        ),
        "slow generator": lambda w, d: Plant({**FREE, "game.critic_steps": 3, **paces(w, 1, (0.02, 0.05, 0.2)[d])}),
        "hinge, many steps": lambda w, d: Plant(
            {
                **FREE,
                "game.loss": "hinge",
                "game.critic_steps": (8, 5, 3)[d],
                **paces(w, (2, 1, 1)[d], (0.05, 0.2, 0.5)[d]),
            }
        ),
        "least squares, slow generator": lambda w, d: Plant(
            {
                **FREE,
                "game.loss": "least-squares",
                "game.critic_steps": (4, 3, 2)[d],
                **paces(w, (3, 1, 1)[d], (0.02, 0.1, 0.3)[d]),
            }
        ),
    },
    "critic-too-weak": {
        "slow critic": lambda w, d: Plant(paces(w, (0.002, 0.02, 0.2)[d], 1)),
        "narrow critic": lambda w, d: Plant(a_critic(w, (2, 6, 16), d)),
        "plain descent": lambda w, d: Plant(
            {"players.D": {"rule": "sgd", "learning_rate": w.rate * (0.01, 0.1, 1)[d], "momentum": 0.0}}
        ),
        "fading critic": lambda w, d: Plant(fading(w, (0.001, 0.01, 0.1)[d])),
    },
    "critic-overfitting": {
        "few examples": lambda w, d: Plant(
            {**FREE, "game.critic_steps": 2}, data=fewer((32, 128, 512)[d]), remedy=False
        ),
        "few examples, hinge": lambda w, d: Plant(
            {**FREE, "game.loss": "hinge", "game.critic_steps": 2}, data=fewer((48, 160, 600)[d]), remedy=False
        ),
        "few examples, relativistic": lambda w, d: Plant(
            {**FREE, "game.loss": "relativistic-average"}, data=fewer((40, 144, 560)[d]), remedy=False
        ),
        "few examples, least squares": lambda w, d: Plant(
            {**FREE, "game.loss": "least-squares", "game.critic_steps": 2},
            data=fewer((36, 136, 530)[d]),
            remedy=False,
        ),
    },
    "mode-collapse": {
        "fast generator": lambda w, d: Plant({**FREE, **paces(w, (0.1, 0.2, 0.5)[d], (3, 2, 1.5)[d])}),
        "narrow latents": lambda w, d: Plant(game=narrow((0.01, 0.03, 0.1)[d]), remedy=False),
        "least squares": lambda w, d: Plant(
            {**FREE, "game.loss": "least-squares", **paces(w, (0.1, 0.2, 0.5)[d], (3, 2, 1.5)[d])}
        ),
        "hinge": lambda w, d: Plant({**FREE, "game.loss": "hinge", **paces(w, (0.1, 0.2, 0.5)[d], (3, 2, 1.5)[d])}),
    },
    "oscillation": {
        "clipped wasserstein": lambda w, d: Plant(
            {**FREE, "game.loss": "wasserstein", "game.clip": 0.2, **paces(w, (0.4, 0.3, 0.2)[d])}
        ),
        "momentum": lambda w, d: Plant(
            {
                **FREE,
                **paces(w, (1, 0.5, 0.25)[d]),
                **MOMENTUM,
                "game.order": "simultaneous",
            }
        ),
        "hinge, momentum": lambda w, d: Plant(
            {**FREE, "game.loss": "hinge", **paces(w, (1, 0.5, 0.25)[d]), **MOMENTUM, "game.order": "simultaneous"}
        ),
        "least squares, momentum": lambda w, d: Plant(
            {
                **FREE,
                "game.loss": "least-squares",
                **paces(w, (1, 0.5, 0.25)[d]),
                **MOMENTUM,
                "game.order": "simultaneous",
            }
        ),
    },
    "dominating-term": {
        "orthogonality": lambda w, d: Plant({"game.orthogonality": {"weight": (1000.0, 10.0, 0.1)[d]}}),
        "l1": lambda w, d: Plant({"game.l1": {"weight": (10.0, 1.0, 0.1)[d]}}),
        "r1": lambda w, d: Plant({"game.penalties": {"r1": (1e5, 1e3, 10.0)[d]}}),
        "r2": lambda w, d: Plant({"game.penalties": {"r2": (1e5, 1e3, 10.0)[d]}}),
    },
    "range-mismatch": {
        "training data": lambda w, d: Plant(
            data=stretched(affine(*((0.5, 0.5), (0.75, 0.25), (0.9, 0.1))[d]), affine(1, 0)), remedy=False
        ),
        "all data": lambda w, d: Plant(
            data=stretched(affine((3, 1.5, 1.1)[d], 0), affine((3, 1.5, 1.1)[d] if w.images else 1, 0)), remedy=False
        ),
        "shifted": lambda w, d: Plant(data=stretched(affine(1, (0.8, 0.4, 0.1)[d]), affine(1, 0)), remedy=False),
        "shrunk": lambda w, d: Plant(data=stretched(affine((0.2, 0.5, 0.8)[d], 0), affine(1, 0)), remedy=False),
    },
    "empty-labels": {
        "shuffled": lambda w, d: Plant(data=shuffled_labels((1.0, 0.5, 0.1)[d]), remedy=False),
        "off by one line": lambda w, d: Plant(data=slipped((1.0, 0.5, 0.1)[d]), remedy=False),
        "mostly zero": lambda w, d: Plant(data=zeroed((0.95, 0.5, 0.1)[d]), remedy=False),
        "backwards": lambda w, d: Plant(data=backwards((1.0, 0.5, 0.1)[d]), remedy=False),
    },
}
"""Fault, variant and dose."""


HEALTHY: dict[str, dict[str, Any]] = {
    "base": {},
    "relativistic pairing": {"game.loss": "relativistic-pairing", "game.penalties": {"r1": 0.1, "r2": 0.1}},
    "non-saturating": {"game.loss": "non-saturating", "game.penalties": {"r1": 0.1, "r2": 0.1}},
    "least squares": {"game.loss": "least-squares", "game.penalties": {"r1": 0.1}},
    "hinge": {"game.loss": "hinge", "game.penalties": {"r1": 0.1, "r2": 0.1}},
    "WGAN-GP": {
        "game.loss": "wasserstein",
        "game.penalties": {"gradient-penalty": 1.0},
        "game.critic_steps": 2,
        "players.D.betas": (0.0, 0.9),
        "players.G.betas": (0.0, 0.9),
    },
    "relativistic average, DRAGAN": {"game.loss": "relativistic-average", "game.penalties": {"dragan": 1.0}},
    "two time scales": {"game.loss": "non-saturating", "game.critic_steps": 2},
    "leaky ReLU, packing": {"game.packing": 2, "game.network.generator_activation": "leaky-relu"},
    "consistency": {"game.loss": "hinge", "game.lecam": True, "game.instance_noise": True},
}
"""Recipes with different losses, networks and regularisers; whether each is healthy in a world, its outcome says."""


def healthy(world: World, recipe: str) -> Plant:
    """One of them in a world; the units of a convolutional generator cannot be chosen."""
    chosen = world.base["game.network.kind"] == "mlp"
    settings = HEALTHY[recipe].items()
    return Plant({k: v for k, v in settings if chosen or k != "game.network.generator_activation"})


def affine(factor: float, shift: float) -> Callable[[Tensor], Tensor]:
    return lambda x: factor * x + shift


def outcome(world: World, run: Run) -> dict[str, float]:
    """The scores of what the run would give a person now; of its first weights if it never saved any."""
    try:
        game = run.trained_game()[0]
    except EquipoiseError:
        game = run.build_game().eval()
    num = 1000 if world.images else 2500
    requested = torch.arange(num) % len(world.source.classes) if world.conditional else None
    return world.score(samples(run.latent(game), num, seed=999, labels=requested), requested)
