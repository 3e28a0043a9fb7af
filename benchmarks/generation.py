"""What the games of generation reach: labels spared, codes that nobody named, pairs without pairs, reconstructions.

    python -m benchmarks.generation sgan --data FOLDER      # error on MNIST's test digits with 100 labels
    python -m benchmarks.generation infogan --data FOLDER   # how codes agree with digits
    python -m benchmarks.generation cogan --data FOLDER     # whether both images of a pair show the same digit
    python -m benchmarks.generation lapgan --data FOLDER    # FID
    python -m benchmarks.generation vaegan --data FOLDER    # FID and reconstruction error
    python -m benchmarks.generation aae --data FOLDER

FOLDER holds mnist.npz. Each trains a shipped recipe into benchmarks/results/.generation/, goes on where it stopped, and
adds its rows to benchmarks/results/generation.json. Another seed also tells other labels.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import rows, unpaired
from benchmarks.rows import choose, row
from equipoise.data.open import open_source
from equipoise.games.sgan import SGAN
from equipoise.runs.classified import confusion, shares, supervised_baseline
from equipoise.runs.run import Run

RESULTS = rows.RESULTS / "generation.json"
WORK = rows.RESULTS / ".generation"
NUM = 2000
"""Generated and held-out examples that are compared."""

MNIST: dict[str, Any] = {"data.part": "train", "data.held_out": NUM, "judging.num_samples": NUM}
CONVOLUTIONS: dict[str, Any] = {"game.network": {"kind": "dcgan", "width": 32}}


def trained(recipe: str, stage: str, data: Path | None, seed: int, changes: dict[str, Any]) -> tuple[Run, float]:
    """The run of a shipped recipe with changes, and the CPU seconds that it took."""
    return rows.train(recipe, stage, data, seed, changes, work=WORK)


def sgan(data: Path, seed: int) -> None:
    """Ten labels of each digit: errors on the 10,000 test digits, beside the same critic with those labels alone."""
    path = data / "mnist.npz"
    changes = {**MNIST, "data.labelled": 10, "data.draw": seed, "training.steps": 6000}
    run, seconds = trained("sgan", "mnist-100", path, seed, changes)
    game, test = run.trained_game()[0], open_source(path, part="test")
    assert isinstance(game, SGAN)
    found, alone = (shares(confusion(run, one, test, len(test))) for one in (game, supervised_baseline(run)))
    kept = [
        row(run, "mnist", f"{name}, 100 labels", found[name], baseline=alone[name], seconds=seconds)
        for name in ("error", "worst_class")
    ]
    rows.keep(kept, RESULTS)


def infogan(data: Path, seed: int) -> None:
    """Ten codes: how many samples, and held-out digits by the codes' reader, fit the digit that a code stands for."""
    changes = {**MNIST, **CONVOLUTIONS, "training.steps": 6000}
    run, seconds = trained("infogan", "mnist", data / "mnist.npz", seed, changes)
    result = run.evaluate(num=NUM)
    kept = [
        row(run, "mnist", one.name, one.value, baseline=one.floor, seconds=seconds)
        for one in result.further
        if one.name.startswith("codes")
    ]
    rows.keep([*kept, of_fid(run, result.fake.fid, result.floor.fid, seconds)], RESULTS)


def cogan(data: Path, seed: int) -> None:
    """Grey digits, and others slanted and in colours: is it the same digit in both domains of a pair?"""
    _, knows = unpaired.digit_domains(data / "mnist.npz")
    places = {f"data.{x}": {"path": unpaired.WORK / f"digits-{x}.npz", "part": "train", "test": "test"} for x in "ab"}
    run, seconds = trained("cogan", "digits", None, seed, {**places, "data.held_out": 1000, "training.steps": 6000})
    a, b = run.couples(NUM)

    def same(b: Tensor) -> float:
        """The share of pairs of which both are taken for the same digit."""
        digits = [torch.full((NUM,), digit) for digit in range(10)]
        return sum((knows["a"](digit)(a) & knows["b"](digit)(b)).double().mean().item() for digit in digits)

    kept = [row(run, "mnist", "same digit in both domains", same(b), baseline=same(b.roll(1, 0)), seconds=seconds)]
    own = run.evaluate_own(num=1000)
    for name in own.values:
        kept.append(row(run, "mnist", name, own.values[name], baseline=own.beside[name], seconds=seconds))
    rows.keep(kept, RESULTS)


def lapgan(data: Path, seed: int) -> None:
    """Digits of 32 pixels from 8, by two bands."""
    changes = {**MNIST, **CONVOLUTIONS, "data.size": 32, "game.num_levels": 2, "training.steps": 6000}
    run, seconds = trained("lapgan", "mnist", data / "mnist.npz", seed, changes)
    result = run.evaluate(num=NUM)
    rows.keep([of_fid(run, result.fake.fid, result.floor.fid, seconds)], RESULTS)


def vaegan(data: Path, seed: int) -> None:
    """Digits made and reconstructed through the features of a critic."""
    autoencoder("vaegan", data, seed)


def aae(data: Path, seed: int) -> None:
    """Digits made and reconstructed, with a critic of latents alone."""
    autoencoder("aae", data, seed)


def autoencoder(recipe: str, data: Path, seed: int) -> None:
    """FID of samples, and the error of reconstructions beside that of the mean digit."""
    changes = {**MNIST, **CONVOLUTIONS, "training.steps": 6000}
    run, seconds = trained(recipe, "mnist", data / "mnist.npz", seed, changes)
    result = run.evaluate(num=NUM)
    copy = next(one for one in result.further if one.name.startswith("reconstruction error"))
    kept = row(run, "mnist", "reconstruction error", copy.value, baseline=copy.floor, seconds=seconds)
    rows.keep([of_fid(run, result.fake.fid, result.floor.fid, seconds), kept], RESULTS)


def of_fid(run: Run, value: float, floor: float, seconds: float) -> dict[str, Any]:
    """The row of FID, beside that of training examples."""
    return row(run, "mnist", "FID", value, baseline=floor, seconds=seconds)


if __name__ == "__main__":
    parts = {"sgan": sgan, "infogan": infogan, "cogan": cogan, "lapgan": lapgan, "vaegan": vaegan, "aae": aae}
    choose(__doc__, parts)
