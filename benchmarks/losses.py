"""Every loss with no regulariser, with R1 + R2, and with spectral normalisation: a short DCGAN training on MNIST.

    python -m benchmarks.losses --data mnist.npz      # docs/pictures/losses.png, benchmarks/results/losses.json

Each training has 1,500 steps of 64 digits of 16×16 pixels at one seed. It says whether every value stayed finite and
how many of the ten digits are among 1,000 samples, each of at least 2 %, by a classifier trained on the spot. The
picture shows eight samples of the averaged generator from the same latents. What has been run already is kept.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.coverage import JUDGE
from benchmarks.speed import commit
from equipoise.data.open import open_source
from equipoise.data.source import split
from equipoise.monitor.grids import grid
from equipoise.runs import features
from equipoise.runs.environment import processor_name
from equipoise.runs.parts import LOSSES, Examples
from equipoise.runs.recipe import Recipe, with_settings
from equipoise.runs.run import Run
from equipoise.runs.sampling import samples, settle

RESULTS = Path(__file__).parent / "results" / "losses.json"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "losses.png"
REGULARISERS = {
    "none": {},
    "R1 + R2": {"game.penalties": {"r1": 0.5, "r2": 0.5}},
    "spectral norm": {"game.network.critic_normalisation": "spectral"},
}
STEPS = 1500
BASE = {
    "game.network.kind": "dcgan",
    "game.network.width": 16,
    "game.z_dim": 64,
    "players.D": {"learning_rate": 5e-4, "betas": (0.5, 0.999)},
    "players.G": {"learning_rate": 5e-4, "betas": (0.5, 0.999)},
    "training.steps": STEPS,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.save_every": 10**9,
}


class Complaints:
    """An observer that counts the moves that were refused because something was not finite."""

    def __init__(self):
        self.bad = 0

    def before_update(self, clock, player, parameters) -> None:
        pass

    def after_step(self, clock, record) -> None:
        pass

    def on_event(self, clock, kind: str, message: str) -> None:
        self.bad += kind == "bad_step"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    options = parser.parse_args()
    torch.set_num_threads(1)
    commit()  # the code that runs is that of now, whatever is committed meanwhile
    digits = open_source(options.data, size=16, channels=1)
    parts = split(digits, len(digits) // 7, seed=0)
    judge = features.load(JUDGE) if (JUDGE / "extractor.json").exists() else features.fit_feature_net(parts.train)
    cells = JUDGE.parent / ".losses.safetensors"
    pictures = load_file(cells) if cells.exists() else {}
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for loss in LOSSES:
        for name, settings in REGULARISERS.items():
            if f"{loss}/{name}" in pictures and any((r["loss"], r["regulariser"]) == (loss, name) for r in rows):
                continue
            recipe = with_settings(Recipe(), {**BASE, "game.loss": loss, **settings})
            run = Run(Path("unwritten"), recipe, "benchmarks.losses", Examples("digits", digits.shape))
            trainer, complaints = run.trainer(parts.train), Complaints()
            trainer.observers = (complaints,)
            start = time.process_time()
            trainer.fit()
            seconds = time.process_time() - start
            with trainer.averaging.applied():
                settle(trainer.game)
                x = samples(trainer.game, 1000, seed=0)
            finite = all(bool(torch.isfinite(p).all()) for p in trainer.game.parameters()) and bool(x.isfinite().all())
            scores = judge.classes(x)
            assert scores is not None
            shares = torch.bincount(scores.argmax(1), minlength=10) / len(x)
            rows.append(
                {
                    "loss": loss,
                    "regulariser": name,
                    "steps": STEPS,
                    "seed": recipe.training.seed,
                    "refused_moves": complaints.bad,
                    "finite": finite,
                    "digits_found": int((shares >= 0.02).sum()),
                    "cpu_seconds": round(seconds, 1),
                    "machine": processor_name(),
                    "commit": commit(),
                }
            )
            pictures[f"{loss}/{name}"] = x[:8].clone()
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
            save_file(pictures, cells)
            print(
                {k: rows[-1][k] for k in ("loss", "regulariser", "refused_moves", "finite", "digits_found")}, flush=True
            )
    draw(pictures)


def draw(pictures: dict[str, torch.Tensor]) -> None:
    """Losses in rows, regularisers in columns, eight samples each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(LOSSES), len(REGULARISERS), figsize=(10, 0.62 * len(LOSSES) + 0.5), dpi=120)
    for row, loss in zip(axes, LOSSES):
        for axis, name in zip(row, REGULARISERS):
            axis.imshow(grid(pictures[f"{loss}/{name}"], columns=8))
            axis.set_xticks([])
            axis.set_yticks([])
            if loss == next(iter(LOSSES)):
                axis.set_title(name, fontsize=10)
        row[0].set_ylabel(loss, rotation=0, ha="right", va="center", fontsize=9)
    figure.tight_layout(h_pad=0.2, w_pad=0.4)
    figure.savefig(PICTURE)
    print(PICTURE)


if __name__ == "__main__":
    main()
