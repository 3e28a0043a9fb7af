"""Quality of the default run, over seeds: what `equipoise train` reaches, judged by a classifier it never saw.

    python -m benchmarks.digits                 # three seeds: benchmarks/results/digits.json

For each seed: the process CPU seconds of training; the shares of the ten classes among 1,000 samples; density, coverage
(k = 5) and FID of 500 samples against the 500 held-out digits, in the penultimate layer of a classifier trained on the
1,297 training digits; the same for 500 training digits in place of the samples (the floor).
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

import equipoise
from equipoise.runs import features
from equipoise.runs.environment import processor_name

RESULTS = Path(__file__).parent / "results" / "digits.json"


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
    result = run.evaluate(num=500)
    classes = judge.classes(run.sample(1000, seed=1))
    assert classes is not None and judge.accuracy is not None
    shares = torch.bincount(classes.argmax(1), minlength=10) / len(classes)
    return {
        "recipe": recipe,
        "seed": seed,
        "training_cpu_seconds": round(seconds, 1),
        "judge": judge.name,
        "judge_accuracy": judge.accuracy,
        "density": round(result.fake.density, 3),
        "coverage": round(result.fake.coverage, 3),
        "precision": round(result.fake.precision, 3),
        "recall": round(result.fake.recall, 3),
        "fid": round(result.fake.fid, 3),
        "fid_floor": round(result.floor.fid, 3),
        "smallest_class_share": round(float(shares.min()), 3),
        "largest_class_share": round(float(shares.max()), 3),
        "agreement": result.agreement,
        "precision_format": json.loads((run.folder / "environment.json").read_text())["precision"],
        "machine": processor_name(),
        "threads": torch.get_num_threads(),
    }


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
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in ("density", "coverage", "fid", "fid_floor")}
    print("mean", {key: round(value, 3) for key, value in mean.items()})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(options.out.read_text()) if options.out.exists() else []
    kept = [row for row in earlier if row["recipe"] != options.recipe]
    options.out.write_text(json.dumps([*kept, *rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
