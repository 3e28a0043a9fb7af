"""Quality of the default run, over seeds: what `equipoise train` reaches, judged by a classifier it never saw.

    python -m benchmarks.digits                 # three seeds: benchmarks/results/digits.json

For each seed: the process CPU seconds of training; the shares of the ten classes among 1,000 samples; density, coverage
(k = 5) and FID of 500 samples against the 500 held-out digits, in the penultimate layer of a classifier trained on the
1,297 training digits; the FID of 500 training digits in place of the samples (the floor). Scores are means over five
draws of 500 samples (and of 500 training digits); the worst draw is given too.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch

import equipoise
from benchmarks.speed import commit
from equipoise.runs import features
from equipoise.runs.environment import processor_name

RESULTS = Path(__file__).parent / "results" / "digits.json"
SCORES = ("density", "coverage", "precision", "recall", "fid")
DRAWS = 5


def play(seed: int, recipe: str, folder: Path, *, judge_seed: int) -> dict:
    """Train with one seed and judge."""
    torch.set_num_threads(1)
    recipe_object, origin = equipoise.load(recipe, settings={"training.seed": seed, "judging.at_end": False})
    run = equipoise.Run.create(recipe_object, origin=origin, folder=folder)
    start = time.process_time()
    run.train(quiet=True)
    seconds = time.process_time() - start

    parts = run.parts(run.recipe.data.open())
    judge = features.fit_feature_net(parts.train, held_out=parts.held_out, seed=judge_seed)
    features.save(judge, run.folder / "features")
    results = [run.evaluate(num=500, seed=draw) for draw in range(DRAWS)]
    fakes, floors = [result.fake for result in results], [result.floor for result in results]
    classes = judge.classes(run.sample(1000, seed=1))
    assert classes is not None
    shares = torch.bincount(classes.argmax(1), minlength=10) / len(classes)
    return {
        "recipe": recipe,
        "seed": seed,
        "steps": run.recipe.training.steps,
        "training_cpu_seconds": round(seconds, 1),
        "judge": judge.name,
        "judge_accuracy": judge.accuracy,
        **{f"{name}": mean(getattr(fake, name) for fake in fakes) for name in SCORES},
        **{f"{name}_floor": mean(getattr(floor, name) for floor in floors) for name in SCORES},
        "density_worst": round(min(fake.density for fake in fakes), 3),
        "coverage_worst": round(min(fake.coverage for fake in fakes), 3),
        "fid_worst": round(max(fake.fid for fake in fakes), 3),
        "smallest_class_share": round(float(shares.min()), 3),
        "largest_class_share": round(float(shares.max()), 3),
        "agreement": None if results[0].agreement is None else mean(result.agreement for result in results),
        "precision_format": json.loads((run.folder / "environment.json").read_text())["precision"],
        "machine": processor_name(),
        "commit": commit(),
        "threads": torch.get_num_threads(),
    }


def mean(values: Iterable[float]) -> float:
    return round(statistics.mean(values), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--judge-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(play(seed, options.recipe, Path(folder) / "run", judge_seed=options.judge_seed))
        print({k: v for k, v in rows[-1].items() if k not in ("machine", "judge")}, flush=True)
    print("mean", {key: mean(row[key] for row in rows) for key in ("density", "coverage", "fid", "fid_floor")})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(options.out.read_text()) if options.out.exists() else []
    kept = [row for row in earlier if row["recipe"] != options.recipe]
    options.out.write_text(json.dumps([*kept, *rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
