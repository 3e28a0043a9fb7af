"""How good unpaired translation is: digits that change colour and slant, and horses beside deer.

    python -m benchmarks.unpaired digits --data FOLDER    # mnist.npz
    python -m benchmarks.unpaired animals --data FOLDER   # cifar10.zip

Each trains the recipes cyclegan and cut, made smaller, into benchmarks/results/.translation/, goes on where it
stopped, adds its rows to benchmarks/results/translation.json, and writes docs/pictures/translated-*.png. Judges are
networks that no training has seen, of another kind than the one by which runs are judged.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from benchmarks import rows
from benchmarks.gallery import PICTURES, sheet
from benchmarks.rows import choose, row
from equipoise.core.seeding import generator, shuffled
from equipoise.data.source import tensor_source, to_float
from equipoise.data.unpaired import Unpaired, domains_of
from equipoise.games.cyclegan import CycleGAN
from equipoise.metrics.image_quality import eight_bit, psnr
from equipoise.runs.feature_networks import FeatureNetwork, fit_small_vgg
from equipoise.runs.run import Run
from equipoise.runs.translated import answers

RESULTS = rows.RESULTS / "translation.json"
WORK = rows.RESULTS / ".translation"
SHOWN = 12
JUDGE_SEED, JUDGE_WIDTH, JUDGE_STEPS = 7, 16, 800
"""Of the networks that judge here; those of runs have the seed 0."""
SLANT = 0.3

NETWORKS: dict[str, Any] = {
    "game.network": {"width": 16, "num_blocks": 3, "num_downs": 1},
    "data.size": 32,
    "data.crop": None,
    "data.held_out": 1000,
    "training.batch": 8,
    "judging.num_samples": 1000,
}
PATCHES = {"game.num_patches": 64, "game.head_width": 64}
"""Of CUT, for pictures of 32 pixels."""


def rates(**starts: float) -> dict[str, Any]:
    """Learning rates of the players, constant for half of the training and then linearly to 0."""
    return {
        f"players.{player}.learning_rate": {"start": start, "end": 0.0, "begin": 0.5}
        for player, start in starts.items()
    }


class Way(NamedTuple):
    """One direction of a translation: what is given, and how its translations are judged."""

    name: str
    direction: str
    given: Tensor
    judges: dict[str, Callable[[Tensor], Tensor]]
    """By the name of a metric, of translations [N, C, H, W]: a number or a truth for each, [N]."""


def trained(recipe: str, stage: str, seed: int, changes: dict[str, Any]) -> tuple[Run, float]:
    """The run of a shipped recipe with changes, and the CPU seconds that it took."""
    more = PATCHES if recipe == "cut" else {}
    return rows.train(recipe, stage, None, seed, {**NETWORKS, **more, **changes}, work=WORK)


def measured(run: Run, data: str, ways: list[Way], seconds: float) -> Iterator[dict[str, Any]]:
    """What judges say of translations, and of what was given beside them; how the cycle comes back; FID."""
    game = run.picture_game(run.trained_game()[0])
    for way in ways:
        translations = eight_bit(answers(game, way.given, way.direction))
        for metric, judge in way.judges.items():
            value, baseline = (judge(x).double().mean().item() for x in (translations, way.given))
            yield row(run, data, f"{metric}, {way.name}", value, baseline=baseline, seconds=seconds)
        if isinstance(game, CycleGAN):
            back = {"AtoB": "BtoA", "BtoA": "AtoB"}[way.direction]
            cycle = psnr(eight_bit(answers(game, translations, back)), way.given).mean().item()
            yield row(run, data, f"PSNR of the cycle, {way.name}", cycle, baseline=None, seconds=seconds)
    own = run.evaluate_own()
    yield row(run, data, "FID", own.values["fid"], baseline=own.beside["fid"], seconds=seconds)
    yield row(run, data, "FID of real pictures", own.values["fid_real"], baseline=None, seconds=seconds)


def grid_of(runs: list[Run], given: dict[str, Tensor], path: Path) -> None:
    """What is given and its translations by each run, one below the other, for each direction that a run has."""
    lines = []
    for direction, x in given.items():
        lines.append(list(x[:SHOWN].split(1)))
        for run in runs:
            game = run.picture_game(run.trained_game()[0])
            if direction == "AtoB" or isinstance(game, CycleGAN):
                lines.append(list(answers(game, x[:SHOWN], direction).split(1)))
    sheet(lines, path, times=2)


def tells_apart(run: Run) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """A network that no training has seen: whether it takes pictures for the first domain, and for the second."""
    parts = run.parts(run.source())
    train, held_out = (domains_of(part) for part in parts if isinstance(part, Unpaired))
    judge = fit_small_vgg(train, held_out=held_out, seed=JUDGE_SEED, width=JUDGE_WIDTH, num_steps=JUDGE_STEPS)
    print(f"The judge of domains: {judge.name}", flush=True)
    return (lambda x: classes(judge, x) == 0), (lambda x: classes(judge, x) == 1)


@torch.no_grad()
def classes(judge: FeatureNetwork, x: Tensor) -> Tensor:
    """What a network takes pictures for, [N]."""
    return torch.cat([judge.net.classes(part).argmax(1) for part in x.split(256)])


def held_out_of(run: Run) -> tuple[Tensor, Tensor]:
    """The pictures of each domain that were held out."""
    held_out = run.parts(run.source()).held_out
    assert isinstance(held_out, Unpaired)
    return tuple(of(torch.arange(1000)) for of in (held_out.first, held_out.examples))


# ---------------------------------------------------------------- digits

STROKES = {"kind": "patch", "width": 32, "num_layers": 1, "normalisation": "instance"}
"""A critic of patches of 16 pixels, which sees strokes and colours rather than whole digits."""
DIGITS: dict[str, dict[str, Any]] = {
    "cyclegan": {"game.identity": 0.0, "game.critic": STROKES, "training.steps": 1500, **rates(G=1e-3, D=5e-4)},
    "cut": {"game.identity": 0.0, "game.critic": STROKES, "training.steps": 3000, **rates(G=1e-3, D=5e-4)},
}
"""Without identity: the term would hold colours that are to change."""


def digits(data: Path, seed: int) -> None:
    """Grey digits, and other digits inverted, coloured and slanted: has the look changed, and is the digit the same?"""
    labels, knows = digit_domains(data / "mnist.npz")
    places = {f"data.{x}": {"path": WORK / f"digits-{x}.npz", "part": "train", "test": "test"} for x in "ab"}
    runs = []
    for recipe, changes in DIGITS.items():
        run, seconds = trained(recipe, "digits", seed, {**places, "data.mirror": False, **changes})
        a, b = held_out_of(run)
        is_a, is_b = tells_apart(run)
        to_b = Way("A to B", "AtoB", a, {"domain": is_b, "digit kept": knows["b"](labels["a"]), "slant": slant})
        to_a = Way("B to A", "BtoA", b, {"domain": is_a, "digit kept": knows["a"](labels["b"]), "slant": slant})
        rows.keep(list(measured(run, "mnist", [to_b, to_a] if recipe == "cyclegan" else [to_b], seconds)), RESULTS)
        runs.append(run)
    for name, x, y in (("grey", a, labels["a"]), ("coloured", b, labels["b"])):
        right = knows["a" if name == "grey" else "b"](y)(x).double().mean().item()
        print(f"Real {name} digits: {right:.1%} classified rightly, slant {slant(x).mean().item():.2f}")
    grid_of(runs, {"AtoB": a, "BtoA": b}, PICTURES / "translated-digits.png")


def digit_domains(path: Path) -> tuple[dict[str, Tensor], dict[str, Callable[[Tensor], Callable[[Tensor], Tensor]]]]:
    """Writes the domains into the work folder; the labels of what is held out, and who knows the digits of each look.

    A are 10,000 digits and, held out, 1,000 test digits; B others, as `other_look` makes them. The
    classifiers learn from digits that are in neither.
    """
    with np.load(path) as arrays:
        train, test = (to_float(torch.from_numpy(arrays[f"{part}_images"])[:, None]) for part in ("train", "test"))
        known = {part: torch.from_numpy(arrays[f"{part}_labels"].astype(np.int64)) for part in ("train", "test")}
    orders = {part: shuffled(len(y), 0, "digits", part) for part, y in known.items()}  # the file is sorted by class
    known = {part: y[orders[part]] for part, y in known.items()}
    train, test = (pad(x, (2, 2, 2, 2), value=-1.0).expand(-1, 3, -1, -1) for x in (train, test))
    train, test = train[orders["train"]], test[orders["test"]]
    looks = {"a": lambda x: x, "b": other_look}
    labels, knows = {}, {}
    WORK.mkdir(parents=True, exist_ok=True)
    for number, (name, look) in enumerate(looks.items()):
        own, held_out = slice(20_000 * number, 20_000 * number + 10_000), slice(5000 * number, 5000 * number + 1000)
        images = {"train_images": look(train[own]), "test_images": look(test[held_out])}
        np.savez(WORK / f"digits-{name}.npz", **{key: as_bytes(x).numpy() for key, x in images.items()})
        labels[name] = known["test"][held_out]
        others = tensor_source(f"digits of domain {name}", as_bytes(look(train[40_000:])), known["train"][40_000:])
        network = fit_small_vgg(others, seed=JUDGE_SEED, width=JUDGE_WIDTH, num_steps=JUDGE_STEPS)
        knows[name] = partial(same_digit, network)
    return labels, knows


def same_digit(network: FeatureNetwork, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Whether a network takes pictures for the digits that they should be."""
    return lambda x: classes(network, x) == labels


def other_look(x: Tensor) -> Tensor:
    """Digits [N, 3, H, W] slanted by 0.3 and dark blue on yellow, each in colours of its own: always the same."""
    draw = generator(0, "look of digits")
    matrix = torch.tensor([[1.0, SLANT, 0.0], [0.0, 1.0, 0.0]]).expand(len(x), -1, -1)
    places = affine_grid(matrix, list(x.shape), align_corners=False)
    ink = (grid_sample(x, places, padding_mode="border", align_corners=False) + 1) / 2
    paper, blue = (
        torch.tensor(colour).view(1, 3, 1, 1) + 0.15 * (torch.rand(len(x), 3, 1, 1, generator=draw) - 0.5)
        for colour in ((0.8, 0.65, -0.2), (-0.75, -0.75, 0.2))
    )
    return paper + (blue - paper) * ink


def as_bytes(x: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def slant(x: Tensor) -> Tensor:
    """How far strokes lean to the right, [N]: the slope of the line of columns on rows, weighted by ink."""
    grey = x.double().mean(1)  # [N, H, W]
    ink = (grey - grey[:, 0, 0].view(-1, 1, 1)).abs()
    ink = ink / ink.sum((1, 2), keepdim=True)
    rows_, columns = (torch.arange(side, dtype=ink.dtype) for side in ink.shape[1:])
    down, right = (ink.sum(2) * rows_).sum(1), (ink.sum(1) * columns).sum(1)
    away = rows_ - down[:, None]  # [N, H]
    together = ((ink * away[:, :, None]) * (columns - right[:, None])[:, None]).sum((1, 2))
    return -together / (ink.sum(2) * away.square()).sum(1)


# ---------------------------------------------------------------- horses and deer

ANIMALS: dict[str, dict[str, Any]] = {
    "cyclegan": {"game.identity": 0.0, "game.cycle": 5.0, "training.steps": 3000, **rates(G=4e-4, D=2e-4)},
    "cut": {"training.steps": 3000, **rates(G=4e-4, D=2e-4)},
}


def animals(data: Path, seed: int) -> None:
    """Horses and deer of 32 pixels: for what a network takes them that no training has seen."""
    places = {
        f"data.{x}": {"part": f"train/{kind}", "test": f"test/{kind}"} for x, kind in (("a", "horse"), ("b", "deer"))
    }
    runs = []
    for recipe, changes in ANIMALS.items():
        changes = {"data.path": data / "cifar10.zip", **places, **changes}
        run, seconds = trained(recipe, "animals", seed, changes)
        a, b = held_out_of(run)
        is_a, is_b = tells_apart(run)
        ways = [Way("horse to deer", "AtoB", a, {"domain": is_b}), Way("deer to horse", "BtoA", b, {"domain": is_a})]
        rows.keep(list(measured(run, "cifar10", ways if recipe == "cyclegan" else ways[:1], seconds)), RESULTS)
        runs.append(run)
    grid_of(runs, {"AtoB": a, "BtoA": b}, PICTURES / "translated-animals.png")


if __name__ == "__main__":
    choose(__doc__, {"digits": digits, "animals": animals})
