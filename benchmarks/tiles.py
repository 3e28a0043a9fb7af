"""Large pictures: a picture of 3000 × 2000 pixels restored in tiles and as a whole.

    python -m benchmarks.tiles --data FOLDER  # t91.zip, set14.zip; after `benchmarks.restoration sr` and `denoising`

Networks without global statistics should give the same. For the others (instance normalisation, Fourier) the score of
seams is the mean step across the borders of tiles, relative to that of the whole picture at the same places: 1 where
nothing is seen. Beside it stands the score of tiles without overlap. Rows go to benchmarks/results/restoration.json.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.restoration import ALONE, keep, row, targets_of, through_classes, train
from equipoise.data.open import open_source
from equipoise.games.answers import Choice, PictureGame
from equipoise.runs.restored import restored
from equipoise.runs.run import Run

WIDTH, HEIGHT, TILE = 3000, 2000, 256
WHERE = f"{WIDTH} × {HEIGHT}"
SHORT = {**ALONE, "training.steps": 400, "training.batch": 8}
NORMED = {"kind": "unet", "width": 16, "depth": 3, "normalisation": "instance"}
FOURIER = {"kind": "fourier", "width": 16, "num_downs": 2, "num_blocks": 3}


def trainings(data: Path, seed: int) -> Iterator[tuple[Run, float]]:
    """Two runs of exact networks, two of networks that see the whole picture."""
    path = data / "t91.zip"
    yield train("sr4", "adversarial", path, seed, through_classes(data))
    yield train("denoising", "reconstruction", path, seed, ALONE)
    yield train("denoising", "instance-norm", path, seed, {**SHORT, "game.network": NORMED})
    yield train("inpainting", "fourier", path, seed, {**SHORT, "game.network": FOURIER})


def compared(run: Run, x: Tensor, seconds: float) -> Iterator[dict[str, Any]]:
    """The rows of a run: how far tiles are from the whole, how much memory both take, and what is seen of seams."""
    game = run.picture_game(run.trained_game()[0])
    tiles, small = measured(game, x, run.scale, tile=TILE)
    whole, large = measured(game, x, run.scale, tile=max(x.shape[2:]))
    difference = (tiles - whole).abs()
    found: dict[str, tuple[float, float | None]] = {
        "largest difference, levels": (difference.max().item(), None),
        "mean difference, levels": (difference.mean().item(), None),
        "memory, MB": (small, large),
    }
    if game.answerer(Choice()).fit.reach is None:
        bands = [torch.cat([answered(game, part) for part in band.split(TILE, 3)], 3) for band in x.split(TILE, 2)]
        bare = seams(torch.cat(bands, dim=2), whole, every=TILE)
        found["seams"] = (seams(tiles, whole, every=TILE // 2), bare)
    for metric, (value, baseline) in found.items():
        yield row(run, WHERE, metric, value, baseline=baseline, seconds=seconds)


def measured(game: PictureGame, x: Tensor, scale: int, *, tile: int) -> tuple[Tensor, float]:
    """The answer in levels, and by how many MB the memory of this process rose at most."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    answer = restored(game, x, scale=scale, tile=tile)
    return answer * 127.5, memory("VmHWM") - before


def memory(name: str) -> float:
    """A line of this process' status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


@torch.no_grad()
def answered(game: PictureGame, part: Tensor) -> Tensor:
    """The answer to a tile by itself, in levels."""
    return game.answerer(Choice()).answer(part) * 127.5


def seams(answer: Tensor, whole: Tensor, *, every: int) -> float:
    """The mean step across every so many columns and rows, relative to that of the whole picture there."""

    def steps(y: Tensor) -> Tensor:
        across, down = (y.diff(dim=dim).abs() for dim in (3, 2))
        return torch.cat([across[..., every - 1 :: every].flatten(), down[:, :, every - 1 :: every].flatten()]).mean()

    return (steps(answer) / steps(whole)).item()


def picture(path: Path, height: int, width: int) -> Tensor:
    """Pictures of a set side by side, [1, 3, height, width]."""
    source = open_source(path, size=250)
    squares = source.examples(torch.arange(len(source)))
    rows, columns = -(-height // 250), -(-width // 250)
    chosen = squares[torch.arange(rows * columns) % len(squares)].unflatten(0, (rows, columns))
    return chosen.permute(2, 0, 3, 1, 4).reshape(3, rows * 250, columns * 250)[None, :, :height, :width]


def given_of(run: Run, x: Tensor) -> Tensor:
    """What the run is given of a picture that it gets as it is: for inpainting with stripes as holes."""
    assert run.examples.given is not None
    if run.examples.given[0] == x.shape[1]:
        return x
    hidden = torch.zeros_like(x[:, :1])
    hidden[..., ::40] = hidden[..., 1::40] = 1
    return torch.cat([x * (1 - hidden), hidden], dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for run, seconds in trainings(options.data, options.seed):
        x = picture(targets_of(options.data / "set14.zip"), HEIGHT // run.scale, WIDTH // run.scale)
        keep(list(compared(run, given_of(run, x), seconds)))


if __name__ == "__main__":
    main()
