"""What the benchmarks of applications share: trainings that go on where they stopped, and rows of results.

A row is {game, recipe, data, metric, value, baseline, seed, cpu_seconds, machine, commit}.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import commit
from equipoise.recipes import load
from equipoise.runs.environment import processor_name
from equipoise.runs.run import Run

RESULTS = Path(__file__).parent / "results"

QUIET: dict[str, Any] = {
    "training.threads": 1,
    "watching.tensorboard": False,
    "watching.probes_every": "off",
    "watching.samples_every": 2000,
    "judging.at_end": False,
    "data.check": False,
}
"""Settings of trainings of which nothing but the result is looked at."""


def train(
    recipe: str, stage: str, data: Path | None, seed: int, changes: dict[str, Any], *, work: Path
) -> tuple[Run, float]:
    """The run of a recipe with changes, trained now, or as far as it is left, below `work`; and its CPU seconds."""
    folder = work / f"{recipe}-{stage}-{seed}"
    clock = folder / "cpu-seconds.txt"
    settings = {**QUIET, "name": f"{recipe}-{stage}", "training.seed": seed, **changes}
    chosen, _ = load(recipe, data=data, settings=settings)
    begin, before = time.process_time(), float(clock.read_text()) if clock.exists() else 0.0
    if not (folder / "run.json").exists():
        Run.create(chosen, origin="benchmarks", folder=folder)
    run = Run.open(folder)
    if run.newest_step() < chosen.training.steps:
        try:
            run = run.train(resume=run.newest_step() > 0, quiet=True)
        finally:
            clock.write_text(str(before + time.process_time() - begin))
    return run, float(clock.read_text())


def row(run: Run, data: str, metric: str, value: float, *, baseline: float | None, seconds: float) -> dict[str, Any]:
    """One line of the results."""
    return {
        "game": run.recipe.game.kind,  # type: ignore[attr-defined]
        "recipe": run.recipe.name,
        "data": data,
        "metric": metric,
        "value": round(value, 4),
        "baseline": None if baseline is None else round(baseline, 4),
        "seed": run.recipe.training.seed,
        "cpu_seconds": round(seconds),
        "machine": processor_name(),
        "commit": commit(),
    }


def keep(rows: list[dict[str, Any]], results: Path) -> None:
    """Append to the results, in place of rows of the same measurement."""
    key = ("recipe", "data", "metric", "seed")
    known = json.loads(results.read_text()) if results.exists() else []
    new = {tuple(row[name] for name in key) for row in rows}
    merged = [row for row in known if tuple(row[name] for name in key) not in new] + rows
    results.write_text(json.dumps(merged, indent=1) + "\n")
    for one in rows:
        told = ("recipe", "data", "metric", "value", "baseline", "cpu_seconds")
        print({name: one[name] for name in told}, flush=True)


def choose(about: str | None, functions: dict[str, Callable[[Path, int], None]]) -> None:
    """Do what the command line names, with its data and seed, on one thread."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(functions))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    functions[options.what](options.data, options.seed)
