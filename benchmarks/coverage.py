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
import fcntl
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed import commit
from equipoise.core.errors import DivergedError
from equipoise.data.open import open_source
from equipoise.data.source import Source, split, subset
from equipoise.data.stacked import Stacked, stack_number
from equipoise.data.toy import Mixture, grid, ring
from equipoise.engine.trainer import Trainer
from equipoise.runs import features
from equipoise.runs.environment import processor_name
from equipoise.runs.parts import LOSSES, Examples
from equipoise.runs.recipe import Recipe, with_settings
from equipoise.runs.run import Run
from equipoise.runs.sampling import samples, settle

RESULTS = Path(__file__).parent / "results" / "coverage.json"
PAGE = Path(__file__).parents[1] / "docs" / "stability.md"
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
        "game.network.generator_activation": "relu",
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
        "game.network.width": 16,  # 64, 32, 16 channels
        "game.network.critic_width": 16,  # 16, 32, 64
        "game.network.smallest": 2,
        "game.z_dim": 64,
        "data.kind": "stacked",
        "data.path": str(data),
        "data.size": 16,
        "training.batch": 64,
        "training.precision": "fp32",
    }
    some = torch.randperm(len(parts.train), generator=torch.Generator().manual_seed(0))[:20_000]
    twenty_thousand = subset(parts.train, some, name="digits")  # drawn at random: files may be sorted by class
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
        settings |= {"game.network.critic_width": int(settings["game.network.critic_width"]) // 4}
    steps = method.steps or probed_steps(world, settings, seed=seed, seconds=seconds)
    trainer = trainer_of(world, {**settings, "training.steps": steps}, seed=seed)
    start = time.process_time()
    ending = "finished"
    try:
        trainer.fit()
    except DivergedError:
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
        "settings": {k: v for k, v in settings.items() if k != "data.path"},
        "machine": processor_name(),
        "commit": commit(),
    }


def trainer_of(world: World, settings: Mapping[str, Any], *, seed: int) -> Trainer:
    """A trainer that writes nothing."""
    fixed = {
        "training.seed": seed,
        "training.threads": 1,
        "training.save_every": 10**9,
        "training.measure_every": 10**9,
    }
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


def rates(
    critic: float,
    generator: float | None = None,
    *,
    betas: tuple[float, float] = (0.5, 0.999),
    begin: float = 0.0,
) -> dict[str, Any]:
    """Adam for both players, with learning rates that fall linearly to 0 from a share `begin` of the training on."""
    return {
        f"players.{player}": {"learning_rate": {"start": rate, "end": 0.0, "begin": begin}, "betas": betas}
        for player, rate in (("D", critic), ("G", generator or critic))
    }


def slopes(weight: float) -> dict[str, Any]:
    """R1 and R2 of γ = 2 · weight."""
    return {"game.penalties": {"r1": weight, "r2": weight}}


BATCH_NORM = {"game.network.critic_normalisation": "batch"}

RING = [
    Method("NS", {**rates(1e-3), "game.loss": "non-saturating"}, 20_000),
    Method("NS + R1 + R2", {**rates(1e-3), **slopes(0.05)}, 20_000),
    Method("RpGAN + R1 + R2", {**rates(1e-3), **RELATIVISTIC, **slopes(0.05)}, 20_000),
    Method("LSGAN", {**rates(1e-3), "game.loss": "least-squares"}, 20_000),
    Method("LSGAN + R1 + R2", {**rates(1e-3), "game.loss": "least-squares", **slopes(0.05)}, 20_000),
    Method(
        "WGAN-GP",
        {
            **rates(1e-3, betas=(0.0, 0.9)),
            "game.loss": "wasserstein",
            "game.critic_steps": 3,
            "game.penalties": {"gradient-penalty": 0.1},
        },
        10_000,
    ),
    Method("hinge + R1 + R2", {**rates(1e-3), "game.loss": "hinge", **slopes(0.05)}, 20_000),
    Method("RpGAN + R1 + R2, long", {**rates(1e-3), **RELATIVISTIC, **slopes(0.05)}, 60_000),
]

GRID = [
    Method("RpGAN + R1 + R2 (the recipe)", {**rates(1e-3), **RELATIVISTIC, **slopes(0.05)}, 100_000),
    Method("NS", {**rates(1e-3), "game.loss": "non-saturating"}, 40_000),
    Method("NS + packing 2", {**rates(1e-3), "game.loss": "non-saturating", "game.packing": 2}, 40_000),
    Method("NS + R1 + R2", {**rates(1e-3), "game.loss": "non-saturating", **slopes(0.05)}, 40_000),
    Method("RpGAN + R1 + R2", {**rates(1e-3), **RELATIVISTIC, **slopes(0.05)}, 40_000),
    Method(
        "RpGAN + R1 + R2, leaky ReLU",
        {**rates(1e-3), **RELATIVISTIC, **slopes(0.05), "game.network.generator_activation": "leaky-relu"},
        40_000,
    ),
]

DCGAN = {
    **rates(2e-4, begin=0.5),
    **BATCH_NORM,
    "game.loss": "non-saturating",
    "game.network.initialisation": "normal",
}
WGAN_GP = {
    **rates(1e-3, betas=(0.0, 0.9)),
    "game.loss": "wasserstein",
    "game.critic_steps": 3,
    "game.penalties": {"gradient-penalty": 10.0},
}
ALONE = {**rates(1e-3), "game.loss": "non-saturating"}
"""The collapse-prone setting to which each technique is added alone, with a critic of a quarter of the width."""

CLIPPED = {
    **ALONE,
    "game.loss": "wasserstein",
    "game.clip": 0.05,
    "game.critic_steps": 3,
    "players.D": {"rule": "rmsprop", "learning_rate": 1e-3},
    "players.G": {"rule": "rmsprop", "learning_rate": 1e-3},
}

EFFECTS = [
    Method("nothing", ALONE),
    *[Method(f"loss: {loss}", {**ALONE, "game.loss": loss}) for loss in LOSSES if loss != ALONE["game.loss"]],
    Method("one-sided label smoothing", {**ALONE, "game.targets": True}),
    Method("noisy labels", {**ALONE, "game.targets": {"real": 1.0, "flips": 0.05, "spread": 0.1}}),
    Method("R1", {**ALONE, "game.penalties": {"r1": 0.5}}),
    Method("R2", {**ALONE, "game.penalties": {"r2": 0.5}}),
    Method("R1 + R2", {**ALONE, **slopes(0.5)}),
    Method("RpGAN + R1 + R2", {**ALONE, **RELATIVISTIC, **slopes(0.5)}),
    Method("R1, lazy (16)", {**ALONE, "game.penalties": {"r1": {"weight": 0.5, "every": 16}}}),
    Method(
        "R1, lazy (16), apart",
        {**ALONE, "game.penalties": {"r1": {"weight": 0.5, "every": 16}}, "game.separate_penalties": True},
    ),
    Method("R1, finite difference", {**ALONE, "game.penalties": {"r1": 0.5}, "game.penalty_form": "finite-difference"}),
    Method("WGAN-GP", {**ALONE, **WGAN_GP}),
    Method("1-centred gradient penalty", {**ALONE, "game.penalties": {"gradient-penalty": 10.0}}),
    Method("0-centred gradient penalty", {**ALONE, "game.penalties": {"zero-centred-gradient-penalty": 1.0}}),
    Method("DRAGAN", {**ALONE, "game.penalties": {"dragan": 10.0}}),
    Method("WGAN, clipped", CLIPPED),
    Method("spectral norm", {**ALONE, "game.network.critic_normalisation": "spectral"}),
    Method("batch norm in D", {**ALONE, **BATCH_NORM}),
    Method("orthogonality", {**ALONE, "game.orthogonality": True}),
    Method("L1 decay", {**ALONE, "game.l1": True}),
    Method("L2 decay", {**ALONE, "players.D.weight_decay": 1e-4}),
    Method("dropout", {**ALONE, "game.network.dropout": 0.2}),
    Method("instance noise", {**ALONE, "game.instance_noise": True}),
    Method("gradient noise", {**ALONE, "players.D.gradient_noise": {"start": 0.01, "end": 0.0}}),
    Method("CR", {**ALONE, "game.consistency": {"fake": 0.0, "mirror": False}}),
    Method("bCR", {**ALONE, "game.consistency": {"mirror": False}}),
    Method("zCR", {**ALONE, "game.latent_consistency": True}),
    Method("LeCam", {**ALONE, "game.lecam": True}),
    Method("adversarial examples", {**ALONE, "game.adversarial_examples": True}),
    Method("path length", {**ALONE, "game.path_length": True}),
    Method("feature matching", {**ALONE, "game.feature_matching": True}),
    Method("feature matching alone", {**ALONE, "game.feature_matching.alone": True}),
    Method("minibatch discrimination", {**ALONE, "game.network.minibatch": "discrimination"}),
    Method("minibatch deviation", {**ALONE, "game.network.minibatch": "deviation"}),
    Method("packing 2", {**ALONE, "game.packing": 2}),
    Method("packing 4", {**ALONE, "game.packing": 4}),
    Method("unrolled 5", {**ALONE, "game.unrolled": 5}),
    Method("historical averaging", {**ALONE, "game.historical_averaging": True}),
    Method("3 critics (GMAN)", {**ALONE, "game.critics": 3}),
    Method("3 critics, random subset", {**ALONE, "game.critics.how": "random-subset"}),
    Method("3 critics, specialists", {**ALONE, "game.critics.how": "specialists"}),
    Method("3 past critics", {**ALONE, "game.past_critics": True}),
    Method("entropy", {**ALONE, "game.entropy": True}),
    Method("mode seeking", {**ALONE, "game.mode_seeking": True}),
    Method("diversity sensitive", {**ALONE, "game.diversity_sensitive": True}),
    Method("top-k", {**ALONE, "game.top_k": True}),
    Method("InfoGAN", {**ALONE, "game.mutual_information": True}),
    Method("two time scales", {**ALONE, **rates(2e-3, 5e-4)}),
    Method("3 critic steps", {**ALONE, "game.critic_steps": 3}),
    Method("throttle", {**ALONE, "game.throttle": True}),
    Method("constant rate", {**ALONE, "players.D.learning_rate": 1e-3, "players.G.learning_rate": 1e-3}),
    Method("gradient clipping", {**ALONE, "players.D.clip_norm": 1.0, "players.G.clip_norm": 1.0}),
    Method("simultaneous", {**ALONE, "game.order": "simultaneous"}),
    Method("optimistic Adam", {**ALONE, "players.D.rule": "optimistic-adam", "players.G.rule": "optimistic-adam"}),
    Method("extra-Adam", {**ALONE, "players.D.rule": "extra-adam", "players.G.rule": "extra-adam"}),
    Method("lookahead", {**ALONE, "training.lookahead": {"every": 5, "share": 0.5}}),
    Method("batch 32 to 128", {**ALONE, "training.batch": {"start": 32, "end": 128}}),
    Method("pixel norm in G", {**ALONE, "game.network.generator_normalisation": "pixel"}),
    Method("no norm in G", {**ALONE, "game.network.generator_normalisation": "none"}),
    Method("Kaiming weights", {**ALONE, "game.network.initialisation": "kaiming"}),
    Method("orthogonal weights", {**ALONE, "game.network.initialisation": "orthogonal"}),
    Method("DiffAugment", {**ALONE, "game.diffaugment": True}),
    Method("ADA", {**ALONE, "game.ada": True}),
    Method("APA", {**ALONE, "game.apa": True}),
]

BALANCED = {
    **RELATIVISTIC,
    **slopes(0.5),
    "game.network.initialisation": "normal",
}
"""What keeps a small critic in the game, together with a generator that moves more slowly than it does."""

COMBINATIONS = [
    Method("WGAN, clipped + packing 2", {**CLIPPED, "game.packing": 2}),
    Method("WGAN, clipped + minibatch deviation", {**CLIPPED, "game.network.minibatch": "deviation"}),
    Method("RpGAN + R1 + R2 + two time scales", {**ALONE, **BALANCED, **rates(8e-3, 4e-4)}),
    Method(
        "R1 + packing 2 + 3 critic steps",
        {**ALONE, "game.penalties": {"r1": 0.5}, "game.packing": 2, "game.critic_steps": 3},
    ),
]
"""Techniques together that were good alone."""

STACKED = [
    ("normal", Method("DCGAN", DCGAN, 30_000)),
    ("normal", Method("WGAN-GP", WGAN_GP, 10_000)),
    ("normal", Method("WGAN-GP, 2 critic steps", {**WGAN_GP, "game.critic_steps": 2}, 13_000)),
    ("normal", Method("WGAN-GP, two time scales", {**WGAN_GP, **rates(2e-3, 1e-3, betas=(0.0, 0.9))}, 10_000)),
    ("quarter", Method("RpGAN + R1 + R2", {**BALANCED, **rates(1e-3)}, 15_000)),
    ("quarter", Method("RpGAN + R1 + R2, two time scales", {**BALANCED, **rates(8e-3, 4e-4)}, 35_000)),
    (
        "quarter",
        Method(
            "RpGAN + R1 + R2, two time scales, packing 2",
            {**BALANCED, **rates(8e-3, 4e-4), "game.packing": 2},
            26_000,
        ),
    ),
]

PUBLISHED = {
    "ring": [
        ("GAN", "VEEGAN (Srivastava et al. 2017)", "1", "99.3 %", ""),
        ("ALI", "VEEGAN", "2.8", "0.13 %", ""),
        ("Unrolled", "VEEGAN", "7.6", "35.6 %", ""),
        ("VEEGAN", "VEEGAN", "8", "52.9 %", ""),
        ("GAN", "PacGAN (Lin et al. 2018)", "6.3", "98.2 %", ".45"),
        ("PacGAN2", "PacGAN", "7.9", "95.6 %", ".07"),
        ("PacGAN3", "PacGAN", "7.8", "97.7 %", ".10"),
        ("PacGAN4", "PacGAN", "7.8", "95.9 %", ".07"),
    ],
    "grid": [
        ("GAN", "VEEGAN (Srivastava et al. 2017)", "3.3", "0.5 %", ""),
        ("ALI", "VEEGAN", "15.8", "1.6 %", ""),
        ("Unrolled", "VEEGAN", "23.6", "16 %", ""),
        ("VEEGAN", "VEEGAN", "24.6", "40 %", ""),
        ("GAN", "PacGAN (Lin et al. 2018)", "17.3", "94.8 %", ".70"),
        ("PacGAN2", "PacGAN", "23.8", "91.3 %", ".13"),
        ("PacGAN3", "PacGAN", "24.6", "94.2 %", ".06"),
        ("PacGAN4", "PacGAN", "24.8", "93.6 %", ".04"),
    ],
    "stacked-mnist": [
        ("DCGAN", "VEEGAN (Srivastava et al. 2017)", "99", "", "3.4"),
        ("ALI", "VEEGAN", "16", "", "5.4"),
        ("Unrolled", "VEEGAN", "48.7", "", "4.32"),
        ("VEEGAN", "VEEGAN", "150", "", "2.95"),
        ("DCGAN", "PacGAN (Lin et al. 2018)", "78.9", "", "4.50"),
        ("PacDCGAN2", "PacGAN", "1000", "", ".06"),
        ("PacDCGAN4", "PacGAN", "1000", "", ".07"),
        ("WGAN-GP", "R3GAN (Huang et al. 2024), quoted from memory", "959", "", ".73"),
        ("StyleGAN2", "R3GAN, quoted from memory", "940", "", ".42"),
        ("R3GAN", "R3GAN, quoted from memory", "1000", "", ".029"),
        ("DCGAN, quarter-size critic", "PacGAN", "30.6", "", "5.99"),
        ("Unrolled 10, quarter-size critic", "PacGAN", "327", "", "4.66"),
        ("PacDCGAN4, quarter-size critic", "PacGAN", "667", "", "1.81"),
    ],
}
"""Rows of the papers: method, source, modes, high quality, divergence. Their protocol is larger: 400,000 steps and
perceptrons of 4 × 400 on the mixtures, 28×28 pixels and networks of four times the width on the stacks."""


# ---------------------------------------------------------------- keeping and showing


def saved() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def keep(row: dict[str, Any]) -> None:
    """Append a row at once; another process may do so at the same time."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with open(RESULTS.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        RESULTS.write_text(json.dumps([*saved(), row], indent=1) + "\n")


def measure(world: World, plan: list[tuple[str, Method, int]], *, seconds: float, table: str) -> None:
    """Run what has not been run yet."""
    commit()  # the code that runs is that of now, whatever is committed meanwhile
    for critic, method, seed in plan:
        key = {"world": world.name, "table": table, "method": method.name, "critic": critic, "seed": seed}
        if any(all(row.get(name) == value for name, value in key.items()) for row in saved()):
            continue
        row = key | play(world, method, critic=critic, seed=seed, seconds=seconds)
        keep(row)
        print({name: row[name] for name in SHOWN}, flush=True)


SHOWN = ("method", "critic", "seed", "modes", "high_quality", "reverse_kl", "kl", "cpu_seconds", "ending")


def show(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The tables, ours beside the published ones."""
    for world, published in PUBLISHED.items():
        mixture = world != "stacked-mnist"
        total, divergence = {"ring": 8, "grid": 25}.get(world, 1000), "reverse KL" if mixture else "KL"
        yield f"\n### {world}\n"
        yield f"| method | source | seeds | modes / {total} | high quality | {divergence} | CPU s |"
        yield "|---|---|---|---|---|---|---|"
        groups = defaultdict(list)
        for row in rows:
            if row["world"] == world and row["table"] == "coverage":
                groups[row["method"] + (", quarter-width critic" if row["critic"] == "quarter" else "")].append(row)
        for name, group in groups.items():
            quality = f"{100 * mean(group, 'high_quality'):.1f} %" if mixture else ""
            found = mean(group, "reverse_kl" if mixture else "kl")
            yield (
                f"| {name} | ours | {len(group)} | {mean(group, 'modes'):.1f} | {quality} | {found:.3f} | "
                f"{mean(group, 'cpu_seconds'):.0f} |"
            )
        for name, source, modes, quality, found in published:
            yield f"| {name} | {source} | | {modes} | {quality} | {found} | |"
    effects = [row for row in rows if row["table"] == "effects"]
    if effects:
        yield "\n### Each technique alone, and the best together: stacked-mnist, quarter-width critic\n"
        yield "| technique | seeds | modes | KL | raw modes | steps | ending |"
        yield "|---|---|---|---|---|---|---|"
        groups = defaultdict(list)
        for row in effects:
            groups[row["method"]].append(row)
        for name, group in sorted(groups.items(), key=lambda item: -mean(item[1], "modes")):
            raw = sum(row["raw"]["modes"] for row in group) / len(group)
            each = f" ({', '.join(str(row['modes']) for row in group)})" if len(group) > 1 else ""
            yield (
                f"| {name} | {len(group)} | {mean(group, 'modes'):.0f}{each} | {mean(group, 'kl'):.2f} | {raw:.0f} | "
                f"{mean(group, 'steps'):.0f} | {group[0]['ending']} |"
            )


def mean(rows: list[dict[str, Any]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ring", "grid", "stacked-mnist", "effects", "show"])
    parser.add_argument("--data", type=Path, help="mnist.npz, for the stacked digits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", help="only these, by name")
    parser.add_argument("--seconds", type=float, default=180, help="CPU seconds of each run, for effects")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/stability.md")
    options = parser.parse_args()
    if options.what == "show":
        tables = "\n".join(show(saved()))
        if options.write:
            before, _, rest = PAGE.read_text("utf-8").partition("<!-- coverage -->")
            PAGE.write_text(f"{before}<!-- coverage -->\n{tables}\n\n<!-- end -->{rest.partition('<!-- end -->')[2]}")
        print(tables)
        return
    stacked = options.what in ("stacked-mnist", "effects")
    if stacked and options.data is None:
        parser.error("the stacked digits need --data: the MNIST digits as .npz, see docs/data.md for its layout.")
    world = stacked_world(options.data) if stacked else mixture_world(ring() if options.what == "ring" else grid())
    ceiling = world.score(world.source.examples(torch.arange(world.num_samples)))
    print(f"real data: {ceiling}", flush=True)
    methods = {
        "ring": [("normal", method) for method in RING],
        "grid": [("normal", method) for method in GRID],
        "stacked-mnist": STACKED,
        "effects": [("quarter", method) for method in (*EFFECTS, *COMBINATIONS)],
    }[options.what]
    table = "effects" if options.what == "effects" else "coverage"
    seeds = options.seeds[:1] if options.what == "effects" and not options.methods else options.seeds
    plan = [(c, m, s) for s in seeds for c, m in methods if not options.methods or m.name in options.methods]
    measure(world, plan, seconds=options.seconds, table=table)


if __name__ == "__main__":
    main()
