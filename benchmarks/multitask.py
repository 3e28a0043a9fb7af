"""One model of four tasks beside four of one task each, and ways to balance the tasks.

    python -m benchmarks.multitask twins --data FOLDER     # t91.zip, set14.zip: the one, and its four twins
    python -m benchmarks.multitask quarter --data FOLDER   # twins of a quarter of the steps: as many examples of a task
    python -m benchmarks.multitask balance --data FOLDER   # ways to balance its tasks, beside fixed weights
    python -m benchmarks.multitask show --data FOLDER      # the tables
    python -m benchmarks.multitask gallery --data FOLDER   # docs/pictures/multitask.webp

Every model has the same network and trains as many steps on as large batches. So the one model, whose batches hold all
four tasks, sees a quarter of each task's examples that its twin sees, and costs a quarter of what the four twins cost
together: the strict reading of "equal steps". Twins of a quarter of the steps see as many examples of their task as the
one model does, and cost together what it costs. Rows go to benchmarks/results/translation.json.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import rows
from benchmarks.gallery import PICTURES, sheet
from benchmarks.restoration import targets_of
from benchmarks.rows import choose, row
from equipoise.games.multitask import Multitask
from equipoise.metrics.image_quality import eight_bit
from equipoise.metrics.perceptual import feature_distance
from equipoise.runs.feature_networks import fit_small_vgg
from equipoise.runs.multitasking import behind
from equipoise.runs.recipe import with_settings
from equipoise.runs.restored import JUDGE_SEED, JUDGE_STEPS, JUDGE_WIDTH
from equipoise.runs.run import Run
from equipoise.runs.scores import Scored

RESULTS = rows.RESULTS / "translation.json"
WORK = rows.RESULTS / ".translation"

TASKS = ("denoise", "super-resolve", "inpaint", "colourise")
SMALLER = {
    "training.steps": 800,
    "training.precision": "bf16",
    "game.network.width": 16,
    "game.critic.width": 16,
    "game.warmup": 0.8,
    "data.small": "mirror",
}
"""Of the shipped recipe: what a minute or two of a processor allow, nine times."""
NAMED = {"terms": list(TASKS)}
AT_THE_END = {**NAMED, "at": "G.out", "every": 2}
BALANCERS: dict[str, dict[str, Any]] = {
    "uncertainty": {"kind": "uncertainty", **NAMED},
    "gradnorm": {"kind": "gradnorm", **AT_THE_END},
    "dynamic-average": {"kind": "dynamic-average", "window": 50, **NAMED},
    "gradient-shares": {"kind": "gradient-shares", **AT_THE_END},
}


def trained(stage: str, data: Path, seed: int, changes: dict[str, Any]) -> tuple[Run, float]:
    """The run of the recipe with changes, and its CPU seconds."""
    return rows.train("multitask", stage, data / "t91.zip", seed, {**SMALLER, **changes}, work=WORK)


def one(data: Path, seed: int) -> tuple[Run, float]:
    """The model of all tasks, with fixed weights."""
    return trained("fixed", data, seed, {})


def twin(task: str, data: Path, seed: int) -> tuple[Run, float]:
    """The model of one task."""
    return trained(f"only-{task}", data, seed, {"data.tasks": [{"name": task}]})


def test_set(data: Path) -> Path:
    """The pictures of Set14 that have colours: of grey ones there is nothing to colour, and what is given is exact."""
    folder = WORK / "set14-in-colour"
    for path in sorted(targets_of(data / "set14.zip").iterdir()):
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        if np.ptp(pixels, axis=2).max() > 0:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def kept(run: Run, seconds: float, data: Path, stage: str) -> None:
    """Add what whole pictures of Set14 score."""
    result = run.evaluate_own(data=test_set(data))
    found = []
    for name, value in result.values.items():
        if name in run.examples.tasks or len(run.examples.tasks) > 1:
            metric = f"psnr, {name}, {stage}"
            found.append(
                row(run, f"set14, {result.num} in colour", metric, value, baseline=result.beside[name], seconds=seconds)
            )
    rows.keep(found, RESULTS)


def twins(data: Path, seed: int) -> None:
    """The one model, and its four twins."""
    kept(*one(data, seed), data, "one model")
    for task in TASKS:
        kept(*twin(task, data, seed), data, "twin")
    show(data, seed)


def quarter(data: Path, seed: int) -> None:
    """Four twins that share the steps of the one model."""
    for task in TASKS:
        changes = {"data.tasks": [{"name": task}], "training.steps": SMALLER["training.steps"] // len(TASKS)}
        kept(*trained(f"quarter-{task}", data, seed, changes), data, "twin of a quarter of the steps")
    show(data, seed)


def balance(data: Path, seed: int) -> None:
    """The one model with each way to balance its tasks."""
    for name, settings in BALANCERS.items():
        kept(*trained(name, data, seed, {"game.balance": settings}), data, name)
    show(data, seed)


# ---------------------------------------------------------------- tables


def show(data: Path, seed: int) -> None:
    """Print both tables, from the runs that are there."""
    test = test_set(data)
    alone = {f"only-{task}": task for task in TASKS}
    shared = {f"quarter-{task}": task for task in TASKS}
    stages = ["fixed", *BALANCERS, *alone, *shared]
    runs = {stage: WORK / f"multitask-{stage}-{seed}" for stage in stages}
    seconds = {s: float(clock.read_text()) for s, f in runs.items() if (clock := f / "cpu-seconds.txt").exists()}
    scores = {stage: Run.open(runs[stage]).evaluate_own(data=test) for stage in seconds}
    print(
        f"\nPSNR on {test.name}, whole pictures, dB; {SMALLER['training.steps']} steps, the last rows a quarter of it"
    )
    print(f"{'':26}" + "".join(f"{task:>15}" for task in TASKS) + f"{'mean':>9}{'CPU s':>8}{'of twins':>10}")
    given = [scores["fixed"].beside[task] for task in TASKS]
    twinned = of_twins(scores, alone)
    told("given", given, None, twinned)
    for name, group in (("four twins", alone), ("four twins, a quarter", shared)):
        if values := of_twins(scores, group):
            told(name, values, sum(seconds[stage] for stage in group), twinned)
    for stage in ("fixed", *BALANCERS):
        if stage in scores:
            told(f"one model, {stage}", [scores[stage].values[task] for task in TASKS], seconds[stage], twinned)
    sizes = [size_of(runs["fixed"]), sum(size_of(runs[stage]) for stage in alone if stage in seconds)]
    print(f"Parameters of G: {sizes[0]:,} in one model, {sizes[1]:,} in its twins")
    perceived({stage: runs[stage] for stage in seconds}, test)


def of_twins(scores: dict[str, Scored], group: dict[str, str]) -> list[float]:
    """The score of each task by the model of that task; nothing where one is missing."""
    return [scores[stage].values[task] for stage, task in group.items()] if group.keys() <= scores.keys() else []


def size_of(folder: Path) -> int:
    """Parameters of a run's generator."""
    return sum(p.numel() for p in Run.open(folder).trained_game()[0].get_submodule("G").parameters())


def told(name: str, values: list[float], seconds: float | None, twinned: list[float]) -> None:
    """A line of the table; at its end the mean over that of the twins."""
    cost = f"{'' if seconds is None else f'{seconds:.0f}':>8}"
    mean = sum(values) / len(values)
    beside = f"{mean / (sum(twinned) / len(twinned)):10.3f}" if twinned else ""
    print(f"{name:26}" + "".join(f"{value:15.2f}" for value in values) + f"{mean:9.2f}{cost}{beside}")


@torch.no_grad()
def perceived(there: dict[str, Path], test: Path) -> None:
    """The perceptual distance, by a network that is part of no loss."""
    learnt = Run.open(there["fixed"]).recipe.data.to_learn_from()
    judge = fit_small_vgg(learnt, seed=JUDGE_SEED, width=JUDGE_WIDTH, num_steps=JUDGE_STEPS)
    print(f"\nPerceptual distance on {test.name} by {judge.name}; lower is better")
    for stage, folder in there.items():
        run = Run.open(folder)
        game = run.trained_game()[0]
        assert isinstance(game, Multitask)
        source, chosen = behind(with_settings(run.recipe, {"data.path": test}).data.open())
        line = []
        for number, task in enumerate(source.tasks):
            pairs = [source.whole(index, number) for index in chosen]
            ours = [feature_distance(judge, eight_bit(game.restore(p.given)), p.target)[0] for p in pairs]
            line.append(f"{task} {float(torch.stack(ours).mean()):.4f}")
        print(f"{stage:26}", "  ".join(line))


# ---------------------------------------------------------------- pictures


@torch.no_grad()
def gallery(data: Path, seed: int) -> None:
    """A row for each task: given, its twin's answer, that of the one model, and the true picture."""
    run, test = one(data, seed)[0], test_set(data)
    source, chosen = behind(with_settings(run.recipe, {"data.path": test}).data.open())
    game, lines = run.trained_game()[0], []
    assert isinstance(game, Multitask)
    for number, task in enumerate(TASKS):
        other = twin(task, data, seed)[0]
        alone = other.trained_game()[0]
        assert isinstance(alone, Multitask)
        for index in (chosen[1 + number], chosen[6 + number]):
            given, target = source.whole(index, number)
            own = torch.cat([given[:, :-1], torch.zeros_like(given[:, -1:])], dim=1)
            top, left = (max(side // 2 - 64, 0) for side in target.shape[2:])
            holes = given[:, :3] + given[:, 3:4]  # white
            pictures = [holes, alone.restore(own), game.restore(given), target]
            lines.append([picture[..., top : top + 128, left : left + 128] for picture in pictures])
    halves = [[*left, *right] for left, right in zip(lines[::2], lines[1::2])]
    sheet(halves, PICTURES / "multitask.webp")


if __name__ == "__main__":
    choose(__doc__, {"twins": twins, "quarter": quarter, "balance": balance, "show": show, "gallery": gallery})
