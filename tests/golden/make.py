"""Write the golden losses: `python -m tests.golden.make` writes them all anew, with names of recipes only those.

A refactor may not change them; a change of mathematics or of a recipe must, and then they are written anew.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock
from equipoise.recipes import load
from equipoise.runs.parts import Examples
from equipoise.runs.run import Run

FOLDER = Path(__file__).parent
RECIPES = ("digits", "conditional-digits", "ring", "grid")
STEPS = 10


class Losses:
    """An observer that keeps the mean of every loss term, one line a step."""

    def __init__(self):
        self.lines: list[dict[str, float]] = []

    def before_update(self, clock: Clock, player: str, parameters: Mapping[str, nn.Parameter]) -> None:
        pass

    def after_step(self, clock: Clock, record: dict[str, Tensor | float]) -> None:
        losses = {name: value for name, value in record.items() if name.startswith("loss/")}
        self.lines.append({name: float(torch.as_tensor(value).double().mean()) for name, value in losses.items()})

    def on_event(self, clock: Clock, kind: str, message: str) -> None:
        pass


def play(name: str) -> list[dict[str, float]]:
    """The loss terms of the first steps of a shipped recipe: float32, one thread, seed 0."""
    recipe, origin = load(name, settings={"training.precision": "fp32", "training.seed": 0})
    source = recipe.data.open()
    run = Run(Path("golden"), recipe, origin, Examples(source.name, source.shape, source.classes))
    trainer = run.trainer(run.parts(source).train)
    losses = Losses()
    trainer.observers = (losses,)
    trainer.fit(until=STEPS)
    return losses.lines


def written(lines: list[dict[str, float]]) -> str:
    """Lines of `name=value` with six significant digits."""
    return "".join(" ".join(f"{name}={value:.6g}" for name, value in line.items()) + "\n" for line in lines)


def read(name: str) -> list[dict[str, float]]:
    """The golden losses of a recipe."""
    lines = (FOLDER / f"{name}.txt").read_text("utf-8").splitlines()
    return [{key: float(value) for key, value in (pair.split("=") for pair in line.split())} for line in lines]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for recipe in sys.argv[1:] or RECIPES:
        (FOLDER / f"{recipe}.txt").write_text(written(play(recipe)), "utf-8")
        print(f"Wrote {FOLDER / recipe}.txt")
