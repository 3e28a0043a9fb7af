"""What watching costs: the same training with and without recording and the doctor, in turns, in one process.

    python -m benchmarks.watching        # benchmarks/results/watching.json

A DCGAN on images of 32×32 pixels in three channels (random ones: time does not depend on what they show), batch 64. The
trainings take short turns, so that whatever else the machine does falls on all of them alike; the turns of the others
do not count as time between two looks.
"doctor" records every loss, gradient, rate and logit, probes the game, asks all faults, and writes its journals, at the
default cadences; "all" draws sample grids and TensorBoard's scalars, pictures and histograms beside.
"""

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch

from benchmarks.speed import commit
from equipoise.data.source import Source, tensor_source
from equipoise.engine.trainer import Trainer
from equipoise.runs.environment import processor_name
from equipoise.runs.parts import Examples
from equipoise.runs.recipe import Recipe, with_settings
from equipoise.runs.run import Run, silent_console
from equipoise.runs.view import View
from equipoise.runs.watcher import Watcher

RESULTS = Path(__file__).parent / "results" / "watching.json"
ROUNDS, BLOCK = 40, 25
BASE = {
    "game.network.kind": "dcgan",
    "game.network.width": 32,
    "game.penalties": {"r1": {"weight": 0.5, "every": 16}},
    "training.steps": 10**6,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.save_every": 10**9,
}
QUIET = {"watching.tensorboard": False, "watching.samples_every": 10**9, "watching.histograms_every": 10**9}
BARE = {"watching.probes_every": "off", "training.measure_every": 10**9, "training.shares_every": 2**30}
VARIANTS = {"nothing": {**QUIET, **BARE}, "doctor": QUIET, "all": {}}


@dataclass
class Turns:
    """A training that goes on now and then."""

    trainer: Trainer
    watcher: Watcher | None
    left: float = 0.0

    def go_on(self) -> float:
        """A turn; the CPU seconds it took."""
        if self.watcher is not None and self.left:
            since, step = self.watcher.lookout.mark
            self.watcher.lookout.mark = (since + time.monotonic() - self.left, step)
        begin = time.process_time()
        self.trainer.fit(until=self.trainer.clock.step + BLOCK)
        self.left = time.monotonic()
        return time.process_time() - begin


def turns(name: str, folder: Path, source: Source) -> Turns:
    """A training that is watched in one of the three ways."""
    recipe = with_settings(Recipe(), {**BASE, **VARIANTS[name]})
    run = Run(folder / name, recipe, "benchmarks.watching", Examples("images", source.shape))
    run.folder.mkdir()
    parts = run.parts(source)
    if name == "nothing":
        return Turns(run.trainer(parts.train), None)
    view = View(name, recipe.training.steps, console=silent_console())
    watcher = Watcher(run, parts, view)
    made = run.trainer(parts.train, watcher=watcher, source=source)
    made.checkpoints = None  # saving is not watching
    watcher.begin(made)
    return Turns(made, watcher)


def error(values: list[float], base: list[float]) -> float:
    """The standard error of a cost: of the mean difference of turns side by side, relative to the base."""
    differences = [value - other for value, other in zip(values, base, strict=True)]
    return stdev(differences) / len(differences) ** 0.5 / mean(base)


def main() -> None:
    torch.set_num_threads(1)
    commit()
    source = tensor_source("images", torch.randint(0, 256, (4000, 3, 32, 32), dtype=torch.uint8))
    with tempfile.TemporaryDirectory() as folder:
        trainings = {name: turns(name, Path(folder), source) for name in VARIANTS}
        seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for turn in range(ROUNDS + 1):
            for name, training in trainings.items():
                taken = training.go_on()
                if turn:  # the first is a warm-up
                    seconds[name].append(taken)
    each = {name: mean(values) / BLOCK for name, values in seconds.items()}
    row = {
        "ms_per_step": {name: round(1000 * value, 2) for name, value in each.items()},
        "cost_of_the_doctor": round(each["doctor"] / each["nothing"] - 1, 4),
        "cost_of_all": round(each["all"] / each["nothing"] - 1, 4),
        "standard_error": {name: round(error(values, seconds["nothing"]), 4) for name, values in seconds.items()},
        "steps": ROUNDS * BLOCK,
        "machine": processor_name(),
        "commit": commit(),
    }
    RESULTS.write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
