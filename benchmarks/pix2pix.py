"""How good paired translation is, with and without a critic: microscopy to segmentation, and back.

    python -m benchmarks.pix2pix labels --data FOLDER   # membrane.zip: microscopy -> membranes and cells
    python -m benchmarks.pix2pix images --data FOLDER   # segmentation -> microscopy
    python -m benchmarks.pix2pix gallery --data FOLDER  # docs/pictures/translated-membrane.webp

Each trains the recipe `pix2pix` twice, with the critic and without one (the likeness alone) for as many steps, into
benchmarks/results/.translation/, on slices 0 to 19; it goes on where it stopped, and adds its rows to
benchmarks/results/translation.json. The last ten slices are the test. What is made of segmentations is judged through a
network that was fitted to CIFAR-10 (cifar10.zip in the same folder).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import rows
from benchmarks.gallery import PICTURES, answer, cut, sheet
from benchmarks.rows import choose, row
from equipoise.runs.restored import whole_pictures
from equipoise.runs.run import Run

RESULTS = rows.RESULTS / "translation.json"
WORK = rows.RESULTS / ".translation"
TEST = "membrane, last 10 slices"
ARMS = {"adversarial": {}, "alone": {"game.warmup": 1.0}}
"""With the critic, and the same without one."""
SEGMENTS = {
    "game.network.noise": False,
    "game.network.dropout": 0.0,
    "game.network.final": "softmax",
    "game.terms": {"classes": 10.0},
    "game.first": "classes",
    "training.steps": 1500,
}
"""A segmentation has one answer, and is learnt sooner."""


def membrane(data: Path, direction: str) -> dict[str, Any]:
    """Settings of the data: 20 slices to train on, the last 10 held out; one side is a label map."""
    return {
        "data.part": "train/label",
        "data.given_part": "train/image",
        "data.labels": {"B": {"membrane": 0, "cell": 255}},
        "data.direction": direction,
        "data.held_out": 10,
        "data.held_out_at": "end",
        "data.turns": True,
        "game.features": {"images": str(data / "cifar10.zip")},
        "watching.samples_every": 500,
    } | (SEGMENTS if direction == "AtoB" else {})


def arms(data: Path, seed: int, direction: str) -> Iterator[tuple[Run, float]]:
    """The runs of both arms and the CPU seconds that they took."""
    for arm, changes in ARMS.items():
        settings = membrane(data, direction) | changes
        yield rows.train("pix2pix", f"{direction}-{arm}", data / "membrane.zip", seed, settings, work=WORK)


def labels(data: Path, seed: int) -> None:
    """Dice and IoU of membranes and cells, beside the commonest class everywhere."""
    measured(data, seed, "AtoB")


def images(data: Path, seed: int) -> None:
    """PSNR, SSIM, perceptual distance, and FID and KID of squares with real against real beside them."""
    measured(data, seed, "BtoA")


def measured(data: Path, seed: int, direction: str) -> None:
    """Rows of all that a run measures of itself on the test slices."""
    for run, seconds in arms(data, seed, direction):
        scored = run.evaluate_own()
        squares = f", {scored.more['squares']} squares" if "squares" in scored.more else ""
        where = f"{TEST}, {scored.features}{squares}"
        rows.keep(
            [
                row(run, where, name, value, baseline=scored.beside.get(name), seconds=seconds)
                for name, value in scored.values.items()
            ],
            RESULTS,
        )


def gallery(data: Path, seed: int) -> None:
    """Of two test slices, both ways: given, without the critic, with it, the truth."""
    lines = []
    for direction in ("AtoB", "BtoA"):
        adversarial, alone = (run for run, _ in arms(data, seed, direction))
        pictures, chosen = whole_pictures(alone.parts(alone.source()).held_out)
        for index in (chosen[0], chosen[7]):
            given, target = pictures.whole(index)
            made = [answer(run, given) for run in (alone, adversarial)]
            shown = alone.recipe.data.shown
            whole = [shown(given, given=True), *(shown(one) for one in (*made, target))]
            lines.append([cut(one, 128, 128, 192) for one in whole])
    sheet(lines, PICTURES / "translated-membrane.webp")


if __name__ == "__main__":
    choose(__doc__, {"labels": labels, "images": images, "gallery": gallery})
