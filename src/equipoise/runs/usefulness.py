"""Are generated examples of use to a classifier? It is trained with and without them, and tested on real ones."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import DataError, RecipeError
from equipoise.core.schedule import Schedule
from equipoise.core.seeding import generator, stable_seed
from equipoise.data.classical import Changes, changed
from equipoise.networks.features import FeatureNet
from equipoise.runs.pages import rendered
from equipoise.runs.sampling import samples

if TYPE_CHECKING:
    from equipoise.runs.run import At, Run

Generate = Callable[[Tensor, int], Tensor]
"""From classes [N] and a seed to generated examples [N, *shape]."""

BATCH, STEPS = 64, 600
CLASSICAL = Changes(rotation=15, zoom=0.1, shift=0.1, fill="border")
"""What is done to images in the arms with classical augmentation; mirrored letters and digits would be others."""


@dataclass(frozen=True)
class Labelled:
    """Examples [N, *shape] with their classes [N]."""

    x: Tensor
    y: Tensor

    def __post_init__(self):
        if len(self.x) != len(self.y) or len(self.x) == 0:
            raise DataError(f"{len(self.x)} examples with {len(self.y)} classes: expected as many, and at least one.")


@dataclass(frozen=True)
class Arm:
    """What a classifier is trained on."""

    name: str
    real: bool = True
    ratio: float = 0.0
    """Generated examples for each real one."""
    classical: bool = False
    """Whether all of them are shifted, turned and scaled at random."""


ARMS = (
    Arm("real"),
    Arm("real, classical", classical=True),
    Arm("real + 1 x generated", ratio=1.0),
    Arm("real + 4 x generated", ratio=4.0),
    Arm("real + 4 x generated, classical", ratio=4.0, classical=True),
    Arm("generated alone", real=False, ratio=4.0),
)
"""Without, with classical augmentation, with generated examples at two ratios, with both, and with nothing real."""


@dataclass(frozen=True)
class Outcome:
    """What became of one arm, over folds and seeds."""

    arm: Arm
    accuracies: tuple[float, ...]
    """On real test examples, one for each fold and seed."""
    confusion: tuple[tuple[int, ...], ...]
    """Rows are true classes, columns are answers; summed over folds and seeds."""

    @property
    def accuracy(self) -> float:
        """The mean over folds and seeds."""
        return mean(self.accuracies)

    @property
    def spread(self) -> float:
        """The standard deviation over folds and seeds; NaN of a single one, which says nothing of it."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else math.nan

    def by_class(self) -> list[dict[str, float]]:
        """Precision, recall and F1 of each class, in [0, 1]; 0 where a class was never answered or never asked."""
        table = torch.tensor(self.confusion, dtype=torch.float64)
        right, asked, answered = table.diagonal(), table.sum(1).clamp_min(1), table.sum(0).clamp_min(1)
        precision, recall = right / answered, right / asked
        f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
        rows = zip(precision.tolist(), recall.tolist(), f1.tolist())
        return [{"precision": p, "recall": r, "f1": f} for p, r, f in rows]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "arm": asdict(self.arm),
            "accuracy": self.accuracy,
            "spread": None if math.isnan(self.spread) else self.spread,
            "accuracies": list(self.accuracies),
            "classes": self.by_class(),
            "confusion": [list(row) for row in self.confusion],
        }


@dataclass(frozen=True)
class Fold:
    """Real examples to train on, real examples to test on, and a generator that has seen none of the latter."""

    train: Labelled
    test: Labelled
    generate: Generate

    def leaks(self) -> int:
        """How many test examples are among the training examples, value for value."""
        known = {example.numpy().tobytes() for example in self.train.x.cpu()}
        return sum(example.numpy().tobytes() in known for example in self.test.x.cpu())


def usefulness(
    folds: Sequence[Fold], num_classes: int, *, arms: Sequence[Arm] = ARMS, seeds: int = 5, steps: int = STEPS
) -> list[Outcome]:
    """Train a classifier for every arm, fold and seed, each for the same number of steps, and test it on real examples.

    Raises `DataError` if a test example is among the training examples of its fold, or a class has no example.
    """
    for number, fold in enumerate(folds):
        if leaks := fold.leaks():
            raise DataError(
                f"Fold {number + 1}: {leaks} of {len(fold.test.x)} test examples are among the training examples, so "
                "the accuracy would say nothing. Remove duplicates: equipoise data clean"
            )
        missing = sorted({*range(num_classes)} - {*fold.train.y.tolist()})
        if missing:
            raise DataError(f"Fold {number + 1} has no training example of the classes {missing[:5]}. Add some.")
    outcomes = []
    for arm in arms:
        accuracies, confusion = [], torch.zeros(num_classes, num_classes, dtype=torch.int64)
        for number, fold in enumerate(folds):
            for seed in range(seeds):
                known = gathered(fold, arm, seed=stable_seed(seed, "fold", number))
                net = classifier(known, num_classes, arm=arm, seed=stable_seed(seed, "fold", number), steps=steps)
                table = answers(net, fold.test, num_classes)
                confusion += table
                accuracies.append(float(table.diagonal().sum() / table.sum()))
        outcomes.append(Outcome(arm, tuple(accuracies), tuple(map(tuple, confusion.tolist()))))
    return outcomes


def fold_of(run: "Run", *, at: "At" = "newest") -> tuple[Fold, tuple[str, ...]]:
    """A run's examples and its generator, which has seen none of those held out; and the names of the classes.

    Raises `RecipeError` for a run that cannot be asked for a class.
    """
    game, _ = run.trained_game(at)
    latent = run.latent(game)
    if not latent.num_classes:
        raise RecipeError(
            f"{run.id} makes examples without classes, which are of no use to a classifier. Train a conditional run: "
            "equipoise train conditional --data …"
        )
    source = run.source()
    run.check_data(source)
    parts = run.parts(source)

    def generate(y: Tensor, seed: int) -> Tensor:
        return samples(latent, len(y), seed=seed, labels=y, place=run.place)

    train, test = (
        Labelled(part.examples(torch.arange(len(part))), part.labels(torch.arange(len(part)))) for part in parts
    )
    return Fold(train, test, generate), source.classes


def gathered(fold: Fold, arm: Arm, *, seed: int) -> Labelled:
    """The training examples of an arm; generated ones have the classes of the real ones, in the same shares."""
    parts = [fold.train] if arm.real else []
    if arm.ratio > 0:
        num = max(round(arm.ratio * len(fold.train.y)), 1)
        y = fold.train.y.repeat(math.ceil(num / len(fold.train.y)))[:num]
        parts.append(Labelled(fold.generate(y, seed).to(fold.train.x), y))
    return Labelled(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


def classifier(known: Labelled, num_classes: int, *, arm: Arm, seed: int, steps: int) -> FeatureNet:
    """A small network trained on labelled examples; a function of its arguments alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stable_seed(seed, "classifier"))
        net = FeatureNet(tuple(known.x.shape[1:]), num_classes).to(known.x.device)
    optimizer = torch.optim.Adam(net.parameters())
    rate = Schedule(start=2e-3, end=0.0, shape="cosine", warmup=0.1)
    for step in range(steps):
        draw = generator(seed, "batch", step)
        indices = torch.randint(len(known.y), (BATCH,), generator=draw)
        x, y = known.x[indices], known.y[indices]
        x = changed(x, CLASSICAL, draw=draw) if arm.classical and x.ndim == 4 else x
        optimizer.param_groups[0]["lr"] = rate.at(step / steps)
        optimizer.zero_grad()
        cross_entropy(net(x).classes, y).backward()
        optimizer.step()
    return net.eval()


@torch.no_grad()
def answers(net: FeatureNet, test: Labelled, num_classes: int) -> Tensor:
    """The confusion matrix [K, K] of a classifier on examples: true classes by answers."""
    said = torch.cat([net(part).classes.argmax(1) for part in test.x.split(512)])
    return torch.bincount(test.y * num_classes + said, minlength=num_classes**2).view(num_classes, num_classes).cpu()


# ---------------------------------------------------------------- telling


def write(outcomes: Sequence[Outcome], classes: Sequence[str], stem: Path, *, title: str) -> tuple[Path, Path]:
    """Write the outcomes as JSON and as a page with tables and confusion matrices: `stem`.json and `stem`.html."""
    best = max(outcomes, key=lambda outcome: outcome.accuracy)
    page = rendered(
        "usefulness.html.jinja",
        title=title,
        classes=classes,
        outcomes=outcomes,
        best=best,
        percent=lambda share: "–" if math.isnan(share) else f"{100 * share:.1f}",
        shade=lambda row, value: round(100 * value / max(sum(row), 1)),
        notices=[],
    )
    content = {"classes": list(classes), "outcomes": [outcome.to_json() for outcome in outcomes]}
    paths = stem.with_suffix(".json"), stem.with_suffix(".html")
    with disk_errors("writing the result", stem.parent, num_bytes=len(page)):
        replace_file(paths[0], json.dumps(content, indent=1).encode())
        replace_file(paths[1], page)
    return paths
