"""Mode coverage on worlds whose modes are known: which methods find all of them, and how fast.

    python -m benchmarks.coverage ring
    python -m benchmarks.coverage grid
    python -m benchmarks.coverage stacked-mnist --data mnist.npz     # normal and quarter-width critic
    python -m benchmarks.coverage effects --data mnist.npz           # each technique alone, quarter-width critic
    python -m benchmarks.coverage show                               # the tables of what was measured, as Markdown

Every run appends its row to benchmarks/results/coverage.json at once, and rows that are there already are not run
again: stop it and start it as you like. The protocol is PacGAN's (Lin et al. 2018, section 4 and its published code).

ring, grid: 2,500 samples; of high quality within 3σ of the nearest center; a mode counts with one such sample; reverse
KL is that of the nearest centers of all samples from the uniform distribution. Perfect samples score 98.9 %.

stacked-mnist: 26,000 samples of 16×16×3; a classifier trained on the spot on other digits than it is scored on reads
each channel; KL is that of the 1,000 classes of the samples from the uniform distribution. The same
number of real stacks is scored as the ceiling.
"""

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import equipoise
from benchmarks.speed import commit
from equipoise.data.open import open_source
from equipoise.data.source import Source, split, subset
from equipoise.data.stacked import Stacked, stack_number
from equipoise.data.toy import Mixture, grid, ring
from equipoise.engine.trainer import Trainer
from equipoise.runs import features
from equipoise.runs.environment import processor_name
from equipoise.runs.parts import Examples
from equipoise.runs.recipe import Recipe, with_settings
from equipoise.runs.run import Run
from equipoise.runs.sampling import samples, settle

RESULTS = Path(__file__).parent / "results" / "coverage.json"
JUDGE = Path(__file__).parent / "results" / ".judge"


@dataclass(frozen=True)
class Method:
    """One way of training: settings on top of the world's, for so many steps or, where None, so many CPU seconds."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None


@dataclass(frozen=True)
class World:
    """Data whose modes are known."""

    name: str
    source: Source
    base: Mapping[str, Any]
    """Settings that every method shares."""
    score: Callable[[Tensor], dict[str, float | int | None]]
    num_samples: int


# ---------------------------------------------------------------- the worlds


def mixture_world(mixture: Mixture) -> World:
    """The ring or the grid: 100,000 fixed points."""

    def score(points: Tensor) -> dict[str, float | int | None]:
        found = mixture.coverage(points)
        nearest = torch.cdist(points, mixture.centers).argmin(1)
        divergence = from_uniform(nearest, len(mixture.centers))
        return {"modes": found.modes, "high_quality": found.high_quality, "reverse_kl": divergence, "kl": None}

    base = {
        "game.network.kind": "mlp",
        "game.network.width": 64,
        "game.z_dim": 2,
        "data.kind": "mixture",
        "data.layout": mixture.name,
        "training.batch": 64,
        "training.precision": "fp32",
    }
    return World(mixture.name, mixture.source(100_000), base, score, 2500)


def stacked_world(data: Path) -> World:
    """Stacks of three digits, made of 20,000 of the training digits."""
    digits = open_source(data, size=16, channels=1)
    parts = split(digits, len(digits) // 7, seed=0)
    if (JUDGE / "extractor.json").exists():
        judge = features.load(JUDGE)
    else:
        judge = features.fit_feature_net(parts.train, held_out=parts.held_out, seed=0)
        features.save(judge, JUDGE)
    print(f"judge: {judge.name}", flush=True)

    def score(stacks: Tensor) -> dict[str, float | int | None]:
        scores = judge.classes(stacks.reshape(-1, 1, 16, 16), batch=2000)
        assert scores is not None, f"{data} has no labels: expected the digits and their classes."
        kinds = stack_number(scores.argmax(1).view(-1, 3), 10)
        found = len(kinds.unique())
        return {"modes": found, "high_quality": None, "reverse_kl": None, "kl": from_uniform(kinds, 1000)}

    base = {
        "game.network.kind": "dcgan",
        "game.network.width": 16,
        "game.network.smallest": 2,
        "game.z_dim": 64,
        "data.kind": "stacked",
        "data.path": str(data),
        "data.size": 16,
        "training.batch": 64,
        "training.precision": "fp32",
    }
    twenty_thousand = subset(parts.train, torch.arange(20_000), name="digits")
    return World("stacked-mnist", Stacked(twenty_thousand, 200_000), base, score, 26_000)


def from_uniform(classes: Tensor, num: int) -> float:
    """KL(p ‖ uniform) of the histogram of class numbers."""
    p = torch.bincount(classes, minlength=num).double() / len(classes)
    return float((p[p > 0] * (p[p > 0] * num).log()).sum())


# ---------------------------------------------------------------- one run


def play(world: World, method: Method, *, critic: str, seed: int, seconds: float) -> dict[str, Any]:
    """Train with one seed, and score the final weights and their average."""
    torch.set_num_threads(1)
    settings = {**world.base, **method.settings}
    if critic == "quarter":
        settings |= {"game.network.critic_width": max(int(settings["game.network.width"]) // 4, 1)}
    steps = method.steps or probed_steps(world, settings, seed=seed, seconds=seconds)
    trainer = trainer_of(world, {**settings, "training.steps": steps}, seed=seed)
    start = time.process_time()
    ending = "finished"
    try:
        trainer.fit()
    except equipoise.DivergedError:
        ending = f"diverged at step {trainer.clock.step}"
    spent = time.process_time() - start
    raw = scored(world, trainer)
    with trainer.averaging.applied():
        settle(trainer.game)
        averaged = scored(world, trainer)
    return {
        "world": world.name,
        "method": method.name,
        "critic": critic,
        "seed": seed,
        **averaged,
        "raw": raw,
        "steps": steps,
        "ending": ending,
        "cpu_seconds": round(spent, 1),
        "critic_parameters": sum(p.numel() for p in trainer.game.D.parameters()),
        "generator_parameters": sum(p.numel() for p in trainer.game.G.parameters()),
        "settings": {k: v for k, v in method.settings.items()},
        "machine": processor_name(),
        "commit": commit(),
    }


def trainer_of(world: World, settings: Mapping[str, Any], *, seed: int) -> Trainer:
    """A trainer that writes nothing."""
    fixed = {"training.seed": seed, "training.threads": 1, "training.save_every": 10**9, "training.measure_every": 10**9}
    recipe = with_settings(Recipe(), {**settings, **fixed})
    examples = Examples(world.source.name, world.source.shape, ())
    return Run(Path("unwritten"), recipe, "benchmarks.coverage", examples).trainer(world.source)


def probed_steps(world: World, settings: Mapping[str, Any], *, seed: int, seconds: float) -> int:
    """How many steps fit into so many CPU seconds, from 60 steps of a training that is thrown away."""
    trainer = trainer_of(world, {**settings, "training.steps": 90}, seed=seed)
    trainer.fit(until=30)
    start = time.process_time()
    trainer.fit(until=90)
    return max(int(seconds * 60 / (time.process_time() - start)), 100)


def scored(world: World, trainer: Trainer) -> dict[str, float | int | None]:
    """Modes, high quality and divergence of fresh samples, rounded."""
    with torch.random.fork_rng():
        found = world.score(samples(trainer.game, world.num_samples, seed=12345))
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


# ---------------------------------------------------------------- the methods

RELATIVISTIC = {"game.loss": "relativistic-pairing"}


def rates(critic: float, generator: float | None = None, *, betas: tuple[float, float] = (0.5, 0.999)) -> dict[str, Any]:
    """Adam for both players, with learning rates that fall linearly to 0."""
    return {
        f"players.{player}": {"learning_rate": {"start": rate, "end": 0.0}, "betas": betas}
        for player, rate in (("D", critic), ("G", generator or critic))
    }


def slopes(weight: float) -> dict[str, Any]:
    """R1 and R2 of γ = 2 · weight."""
    return {"game.penalties": {"r1": weight, "r2": weight}}
