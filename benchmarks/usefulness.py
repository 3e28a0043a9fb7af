"""Are generated digits of use to a classifier that knows twenty of each class?

    python -m benchmarks.usefulness --data mnist.npz     # rows of benchmarks/results/evaluation.json, and the table

Five draws of twenty MNIST digits of each class; for each a conditional GAN is trained on those 200 alone, and six
classifiers: with and without classical augmentation, with generated digits, with both, with nothing real. All are
tested on digits that neither has seen. Training takes about four minutes of one core a draw, the classifiers five. Runs
lie in benchmarks/results/.usefulness and are not trained again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

import equipoise
from benchmarks.speed import commit
from equipoise.runs.environment import processor_name
from equipoise.runs.run import Run
from equipoise.runs.usefulness import Outcome, fold_of, usefulness, write

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
RUNS = Path(__file__).parent / "results" / ".usefulness"
DRAWS = range(5)
SETTINGS = {"data.per_class": 20, "game.network.width": 32, "game.diffaugment": True, "training.steps": 4000}


def trained(data: Path, draw: int) -> Run:
    """The run of one draw; trained if it is not there."""
    folder = RUNS / f"draw-{draw}"
    if (folder / "report.html").exists():
        return Run.open(folder)
    if folder.exists():
        return equipoise.resume(folder, quiet=True)
    return equipoise.train(
        "conditional", data=data, settings={**SETTINGS, "data.draw": draw}, folder=folder, quiet=True
    )


def row_of(outcome: Outcome) -> dict[str, Any]:
    """One arm as a row of the table."""
    return {
        "check": f"usefulness: {outcome.arm.name}",
        "accuracy": outcome.accuracy,
        "spread": outcome.spread,
        "accuracies": outcome.accuracies,
        "confusion": outcome.confusion,
        "data": "mnist, 20 of each class, 5 draws",
        "machine": processor_name(),
        "commit": commit(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folds = [fold_of(trained(options.data, draw)) for draw in DRAWS]
    classes = folds[0][1]
    outcomes = usefulness([fold for fold, _ in folds], len(classes), seeds=1)
    write(outcomes, classes, RUNS / "usefulness", title="MNIST, 20 of each class")
    rows = {row["check"]: row for row in json.loads(RESULTS.read_text())}
    rows |= {row["check"]: row for row in map(row_of, outcomes)}
    RESULTS.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
    for outcome in outcomes:
        print(f"| {outcome.arm.name} | {100 * outcome.accuracy:.1f} ± {100 * outcome.spread:.1f} % |")


if __name__ == "__main__":
    main()
