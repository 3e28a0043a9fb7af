"""`equipoise usefulness`: what generated examples are worth to a classifier."""

from math import isnan
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def usefulness(
    *runs: Path,
    seeds: int = 5,
    steps: int = 600,
    at: str = "newest",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train a classifier with and without a run's examples, and test it on real ones that the run has not seen.

    Several runs with data.fold = "1/5" to "5/5" are a cross-validation.

    Parameters
    ----------
    runs
        Folders of conditional runs.
    seeds
        How many classifiers for each arm and run.
    steps
        Of each classifier; the same for all arms.
    at
        Of which checkpoint: newest, best, or a step.
    json
        Print the result as JSON.
    """
    from rich.console import Console
    from rich.table import Table

    from equipoise.cli.show import checkpoint
    from equipoise.core.errors import RecipeError
    from equipoise.runs.run import Run
    from equipoise.runs.usefulness import fold_of, write
    from equipoise.runs.usefulness import usefulness as measure

    if not runs or seeds < 1 or steps < 1:
        raise RecipeError(f"{len(runs)} runs, --seeds {seeds}, --steps {steps}: expected at least 1 of each.")
    opened = [Run.open(run) for run in runs]
    folds = [fold_of(run, at=checkpoint(at)) for run in opened]
    classes = folds[0][1]
    if any(names != classes for _, names in folds):
        raise RecipeError("The runs have different classes: expected folds of the same data.")
    outcomes = measure([fold for fold, _ in folds], len(classes), seeds=seeds, steps=steps)
    paths = write(outcomes, classes, opened[0].folder / "usefulness", title=opened[0].id)
    if json:
        print(paths[0].read_text("utf-8"))
        return
    table = Table(title="Accuracy on real examples", title_justify="left")
    for column in ("trained on", "accuracy", "±", "trainings"):
        table.add_column(column, justify="left" if column == "trained on" else "right")
    for outcome in outcomes:
        spread = "–" if isnan(outcome.spread) else f"{100 * outcome.spread:.1f}"
        numbers = f"{100 * outcome.accuracy:.1f} %", spread, str(len(outcome.accuracies))
        table.add_row(outcome.arm.name, *numbers)
    Console().print(table)
    print(f"Page: {paths[1]}")
