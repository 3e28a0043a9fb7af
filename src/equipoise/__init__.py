"""Equipoise trains generative adversarial networks in balance.

>>> import equipoise
>>> recipe, _ = equipoise.load("digits")
>>> recipe.game.kind
'gan'
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equipoise.core.errors import EquipoiseError
from equipoise.core.game import Clock, Game, LatentGame, Move, Verdict
from equipoise.core.schedule import Lazy, Schedule
from equipoise.doctor.doctor import Doctor
from equipoise.engine.conformance import check_game
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan, Trainer
from equipoise.recipes import load
from equipoise.runs.parts import DataSettings, Examples, GameSettings
from equipoise.runs.recipe import Judging, Recipe, Watching
from equipoise.runs.run import Run
from equipoise.version import __version__

__all__ = [
    "Clock",
    "DataSettings",
    "Doctor",
    "EquipoiseError",
    "Examples",
    "Game",
    "GameSettings",
    "Judging",
    "LatentGame",
    "Lazy",
    "Move",
    "Optimizer",
    "Plan",
    "Recipe",
    "Run",
    "Schedule",
    "Trainer",
    "Verdict",
    "Watching",
    "__version__",
    "check_game",
    "load",
    "resume",
    "train",
]


def train(
    recipe: str | Path | Recipe | None = None,
    *,
    data: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    quiet: bool = False,
) -> Run:
    """Train a recipe (a name, a TOML file, `file.py:function`, or a `Recipe`) and return the finished run.

    `settings` are dotted keys such as {"training.steps": 2000}. Everything is written into `folder`, by default a new
    one under runs/. Raises `EquipoiseError`s that say what to do.

    Example: `run = equipoise.train("digits"); run.sample(16)`.
    """
    chosen, origin = load(recipe, data=data, settings=settings)
    run = Run.create(chosen, origin=origin, folder=Path(folder) if folder is not None else None)
    return run.train(quiet=quiet)


def resume(
    folder: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    quiet: bool = False,
) -> Run:
    """Go on with a run from its newest sound checkpoint, and return it finished.

    `recipe` is needed only where the run was trained from a `Recipe` object with a game of your own.
    """
    return Run.open(folder, like=recipe).train(resume=True, settings=settings, quiet=quiet)
