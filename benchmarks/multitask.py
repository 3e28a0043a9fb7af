"""One model of four tasks beside four of one task each, and ways to balance the tasks.

    python -m benchmarks.multitask twins --data FOLDER     # t91.zip, set14.zip: the one, and its four twins
    python -m benchmarks.multitask balance --data FOLDER   # ways to balance its tasks, beside fixed weights
    python -m benchmarks.multitask show --data FOLDER      # the tables
    python -m benchmarks.multitask gallery --data FOLDER   # docs/pictures/multitask.png

Every model has the same network and trains as many steps on as large batches. So the one model, whose batches hold all
four tasks, sees a quarter of each task's examples that its twin sees, and costs a quarter of what the four twins cost
together: the strict reading of "equal steps". Rows go to benchmarks/results/translation.json.
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


def balance(data: Path, seed: int) -> None:
    """The one model with each way to balance its tasks."""
    for name, settings in BALANCERS.items():
        kept(*trained(name, data, seed, {"game.balance": settings}), data, name)
    show(data, seed)


# ---------------------------------------------------------------- tables


def show(data: Path, seed: int) -> None:
    """Print both tables, from the runs that are there."""
    test = test_set(data)
    stages = {"one model": "fixed", **{task: f"only-{task}" for task in TASKS}, **{name: name for name in BALANCERS}}
    there = {name: WORK / f"multitask-{stage}-{seed}" for name, stage in stages.items()}
    scores = {}
    for name, folder in there.items():
        if (folder / "cpu-seconds.txt").exists():
            run = Run.open(folder)
            result = run.evaluate_own(data=test)
            size = sum(p.numel() for p in run.trained_game()[0].get_submodule("G").parameters())
            scores[name] = (result, size, float((folder / "cpu-seconds.txt").read_text()))
    together = [name for name in scores if name not in TASKS]
    print(f"\nPSNR on {test.name}, whole pictures, dB; {SMALLER['training.steps']} steps each")
    print(f"{'':18}" + "".join(f"{task:>15}" for task in TASKS) + f"{'mean':>9}{'CPU s':>8}")
    given, twinned = scores["one model"][0].beside, {task: scores[task] for task in TASKS if task in scores}
    told("given", [given[task] for task in TASKS], None)
    if len(twinned) == len(TASKS):
        told("four twins", [twinned[task][0].values[task] for task in TASKS], sum(one[2] for one in twinned.values()))
    for name in together:
        result, _, seconds = scores[name]
        told("fixed weights" if name == "one model" else name, [result.values[task] for task in TASKS], seconds)
    if len(twinned) == len(TASKS):
        result, size, seconds = scores["one model"]
        ratios = [result.values[task] / twinned[task][0].values[task] for task in TASKS]
        sizes, costs = (sum(one[at] for one in twinned.values()) for at in (1, 2))
        print(f"One model over its twins: {sum(ratios) / len(ratios):.4f} of the mean score, by task {ratios}")
        print(f"Parameters of G: {size:,} instead of {sizes:,}; CPU seconds {seconds:.0f} instead of {costs:.0f}")
    perceived(there, test)


def told(name: str, values: list[float], seconds: float | None) -> None:
    mean = sum(values) / len(values)
    cost = "" if seconds is None else f"{seconds:8.0f}"
    print(f"{name:18}" + "".join(f"{value:15.2f}" for value in values) + f"{mean:9.2f}{cost}")


@torch.no_grad()
def perceived(there: dict[str, Path], test: Path) -> None:
    """The perceptual distance, by a network that is part of no loss."""
    judge = None
    print(f"\nPerceptual distance on {test.name}; lower is better")
    for name, folder in there.items():
        if not (folder / "cpu-seconds.txt").exists():
            continue
        run = Run.open(folder)
        if judge is None:
            learnt = run.recipe.data.to_learn_from()
            judge = fit_small_vgg(learnt, seed=JUDGE_SEED, width=JUDGE_WIDTH, num_steps=JUDGE_STEPS)
            print(f"judge: {judge.name}")
        game = run.trained_game()[0]
        assert isinstance(game, Multitask)
        source, chosen = behind(with_settings(run.recipe, {"data.path": test}).data.open())
        line = []
        for number, task in enumerate(source.tasks):
            pairs = [source.whole(index, number) for index in chosen]
            ours = [feature_distance(judge, eight_bit(game.restore(p.given)), p.target)[0] for p in pairs]
            line.append(f"{task} {float(torch.stack(ours).mean()):.4f}")
        print(f"{'fixed weights' if name == 'one model' else name:18}", "  ".join(line))


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
    sheet(halves, PICTURES / "multitask.png")


if __name__ == "__main__":
    choose(__doc__, {"twins": twins, "balance": balance, "show": show, "gallery": gallery})
